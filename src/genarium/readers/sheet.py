"""A table as it is in its file, and its columns as numbers or as identifiers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent

MISSING = ["", "NA", "N/A", "n/a", "nan", "NaN", "NAN", "-nan", "null", "NULL", "None", "<NA>", "#N/A"]
"""What stands for a missing number."""


@dataclass
class Sheet:
    """A table whose columns are numbers or text.

    Attributes
    ----------
    path : Path
    frame : DataFrame
        Its index numbers the records from 0.
    first : int
        Number of the line (or row) of record 0 in the file.
    unit : str
        What that number counts: "line", "row".
    """

    path: Path
    frame: Any
    first: int
    unit: str

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.frame.columns)

    def at(self, record: Any) -> str:
        """Return the place of a record in the file."""
        return f"{self.unit} {self.first + int(record)}"

    def is_numeric(self, name: str) -> bool:
        """Whether a column mostly holds numbers; a nameless one without any (a trailing delimiter) does not."""
        import pandas as pd

        column = self.frame[name]
        if column.dtype.kind in "iuf":
            return not (name.startswith("unnamed") and column.isna().all())
        if column.dtype.kind == "b":
            return False
        text, present = _as_text(column)
        return bool(2 * pd.to_numeric(text[present], errors="coerce").notna().sum() >= present.sum())

    def numbers(self, name: str, remedy: str) -> Array:
        """Return a column as numbers; missing ones are NaN.

        Raises
        ------
        InputError
            At the first value that is no number; ``remedy`` is what else can be done than correct it.
        """
        import pandas as pd

        column = self.frame[name]
        if column.dtype.kind not in "iuf":
            text, present = _as_text(column)
            column = pd.to_numeric(text.where(present), errors="coerce")
            bad = column.isna() & present
            if number := int(bad.sum()):
                record = bad.idxmax()
                raise InputError(
                    f"{self.path}: {self.at(record)}, column {name!r}: {text[record]!r} is not a number"
                    f"{f' ({number} such values)' if number > 1 else ''}. Correct it, or {remedy}."
                )
        return np.asarray(column.to_numpy(dtype=float, na_value=np.nan) if column.hasnans else column.to_numpy())

    def labels(self, name: str, what: str, remedy: str) -> Array:
        """Return a column of identifiers: whole numbers if all are, else text.

        Raises
        ------
        InputError
            If one is missing or used twice; ``what`` is what they name.
        """
        column = self.frame[name]
        text = column.astype(str).str.strip().mask(column.isna(), "")
        place = f"{self.path}: {{}}, column {name!r}"
        if (empty := text == "").any():
            raise InputError(
                f"{place.format(self.at(empty.idxmax()))}: the {what} has no name. Give it one, or {remedy}."
            )
        if (again := text.duplicated()).any():
            record = again.idxmax()
            raise InputError(
                f"{place.format(self.at(record))}: the {what} name {text[record]!r} was used in "
                f"{self.at((text == text[record]).idxmax())} already. Make the names unique, or {remedy}."
            )
        if text.str.fullmatch(r"0|[1-9]\d{0,17}").all():
            return np.asarray(text.astype(np.int64).to_numpy())
        return np.asarray(text.to_numpy(dtype=object))

    def identifiers(self, key: str | None, row: str, taken: Iterable[str]) -> str | None:
        """Return the name of the column with the identifiers, or None if there is none.

        Parameters
        ----------
        key : str or None
            That name; None for none; "auto" for the first column if it holds text, has no name, or is called after the
            rows, unless it is in ``taken``.
        row : str
            What a row is, such as "cell".
        taken : iterable of str
            Columns that serve another purpose.
        """
        if key and key != "auto":
            if key not in self.frame.columns:
                raise absent(self.path, "column", key, self.frame.columns)
            return key
        first = str(self.frame.columns[0])
        if not key or first in taken:
            return None
        usual = {row, f"{row}s", f"{row}_id", f"{row}id", f"{row}_barcode", "barcode", "barcodes", "index"}
        known = first.lower() in usual or first.lower().startswith("unnamed")
        return first if known or not self.is_numeric(first) else None


def named(names: Iterable[str]) -> list[str]:
    """Give columns without a name one."""
    return [name or f"unnamed {i}" for i, name in enumerate(names, 1)]


def unique(path: Path, names: Iterable[str], line: int = 0) -> None:
    """Check that no two columns have the same name."""
    seen: dict[str, int] = {}
    for i, name in enumerate(names, 1):
        if seen.setdefault(name, i) != i:
            raise InputError(
                f"{path}: {f'line {line}: ' if line else ''}columns {seen[name]} and {i} are both called {name!r}. "
                "Rename one, or add them up."
            )


def _as_text(column: Any) -> tuple[Any, Any]:
    """Return a column as text, and where it has a value."""
    text = column.astype(str).str.strip()
    return text, ~(text.isin(MISSING) | column.isna())
