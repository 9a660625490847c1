"""Columns of a file of summary statistics by the roles that they play; numbers are read where they are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.delimited import number

from .streams import line_of

MISSING = [
    *("", "NA", "na", "<NA>", "#NA", "#N/A", "N/A", "n/a", "NaN", "nan", "null", "Null", "NULL", ".", "-"),
    *("None", "none", "Inf", "inf", "-inf"),
]  # fmt: skip
"""What stands for no value."""

NUMBERS = ("beta", "odds_ratio", "se", "low", "high", "z", "p", "log10_p", "frequency", "samples", "position")
"""Roles of numbers."""


@dataclass
class Columns:
    """Columns of one file by their roles, unread numbers as text.

    Attributes
    ----------
    path : Path
    table : pyarrow.Table
        Texts, one column a role.
    used : mapping of str to str
        Role -> the file's own name of the column.
    names : list of str
        All columns of the file.
    first : int
        Line of the first row.
    build : str, optional
        Of the genome, where the file tells it.
    notes : list of str
    lost : dict of str to int
        Rows that were left out already, by reason.
    kept : ndarray of int, optional
        Numbers of the rows that were not, in the file.
    scale : {"auto", "beta", "odds_ratio"}
        What the effects are by metadata, where the column's name does not say it.
    contradicted : str
        What to raise unless an option says the scale: name and metadata do not agree.
    size : float, optional
        Number of samples, where there is no column of it.
    from_zero : bool
        Whether positions count from 0.
    trait : str
        Its name; empty where none is told.
    """

    path: Path
    table: Any
    used: Mapping[str, str]
    names: list[str]
    first: int
    build: str | None
    notes: list[str] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    kept: Array | None = None
    scale: Literal["auto", "beta", "odds_ratio"] = "auto"
    contradicted: str = ""
    size: float | None = None
    from_zero: bool = False
    trait: str = ""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def line(self, row: int) -> int:
        """Return the line of the file that a row is in."""
        return line_of(self.path, self.first, int(row if self.kept is None else self.kept[row]))

    def has(self, role: str) -> bool:
        """Whether there is a column of a role."""
        return role in self.used

    def text(self, role: str, rows: Array | None = None) -> Array:
        """Return texts of a role, empty where there is none."""
        if role not in self.used:
            return np.full(len(self) if rows is None else len(rows), "", dtype=object)
        import pyarrow.compute as pc

        column = self.table[role] if rows is None else self.table[role].take(rows)
        return np.asarray(pc.fill_null(column, "").to_numpy(zero_copy_only=False), dtype=object)

    def numbers(self, role: str, rows: Array) -> Array:
        """Return numbers of a role at some rows, NaN where there is none.

        Raises
        ------
        InputError
            With file, line, column and value of the first that is no number.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if role not in self.used:
            return np.full(len(rows), self.size if role == "samples" and self.size else np.nan)
        column = self.table[role].take(rows)
        if not pa.types.is_string(column.type):
            return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
        try:
            return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            return self._slowly(column, role, rows)

    def _slowly(self, column: Any, role: str, rows: Array) -> Array:
        found = np.full(len(rows), np.nan)
        for j, text in enumerate(column.to_pylist()):
            if text is None or not text.strip():
                continue
            try:
                found[j] = number(text.strip())
            except ValueError:
                raise InputError(
                    f"{self.path}: line {self.line(rows[j])}, column {self.used[role]!r}: {text!r} is no "
                    "number. Correct it, or leave it empty."
                ) from None
        return found
