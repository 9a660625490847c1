"""A table as it is in its file, and its columns as numbers or as identifiers."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.labels import stripped
from genarium.readers.messages import absent
from genarium.supports import LARGEST

MISSING = ["", "NA", "N/A", "n/a", "nan", "NaN", "NAN", "-nan", "null", "NULL", "None", "<NA>", "#N/A"]
"""What stands for a missing number."""

TRUTH = (("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), ("absent", "present"))
"""Pairs of words, in any case, for zero and one."""

WHOLE = re.compile(r"[+-]?\d+")
GROUPED = re.compile(r"[+-]?\d{1,3}([,' \u00a0\u202f]\d{3})+(\.\d*)?|[+-]?\d{1,3}(\.\d{3}){2,}(,\d*)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


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
    source : callable, optional
        Returns a column as it is written, as a Series of text over the same records.
    notes : list of str
        What the user should know of how it was read.
    """

    path: Path
    frame: Any
    first: int
    unit: str
    source: Callable[[str], Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.frame.columns)

    def at(self, record: Any) -> str:
        """Return the place of a record in the file."""
        return f"{self.unit} {self.first + int(record)}"

    def is_empty(self, name: str) -> bool:
        """Whether a column has neither a name nor a value, as a trailing delimiter makes one."""
        column = self.frame[name]
        return name.startswith("unnamed ") and bool((column.isna() | (column.astype(str).str.strip() == "")).all())

    def is_numeric(self, name: str) -> bool:
        """Whether a column mostly holds numbers; categories and truth values do not."""
        import pandas as pd

        column = self.frame[name]
        if column.dtype.kind in "iuf":
            return True
        if column.dtype.kind == "b" or isinstance(column.dtype, pd.CategoricalDtype):
            return False
        text, present = _as_text(column)
        return bool(2 * pd.to_numeric(text[present], errors="coerce").notna().sum() >= present.sum())

    def truth(self, name: str) -> Array | None:
        """Return a column of truth values as 0 and 1, missing ones NaN; None if it holds anything else."""
        if self.frame[name].dtype.kind in "iuf":
            return None
        text, present = _as_text(self.frame[name])
        text = text.str.lower()
        words = set(text[present])
        pair = next((pair for pair in TRUTH if words and words <= {*pair}), None)
        if pair is None or (len(words) == 1 and len(pair[0]) == 1):  # a letter alone may be a sex or a base
            return None
        return np.where(present, (text == pair[1]).astype(float), np.nan)

    def first_text(self, name: str) -> str:
        """Return place and value of the first entry of a column that is no number, and what it looks like."""
        record, value = self._bad(name)[1:]
        return f"{self.at(record)}: {value!r}{_looks(value)}"

    def numbers(self, name: str, remedy: str) -> Array:
        """Return a column as numbers; missing ones are NaN.

        Raises
        ------
        InputError
            At the first value that is no number, or a whole number too large to be held; ``remedy`` is what else can be
            done than correct it.
        """
        import pandas as pd

        column = self.frame[name]
        if column.dtype.kind not in "iuf":
            number, record, value = self._bad(name)
            if number:
                raise InputError(
                    f"{self.path}: {self.at(record)}, column {name!r}: {value!r} is not a number{_looks(value)}"
                    f"{f' ({number} such values)' if number > 1 else ''}. Correct it, or {remedy}."
                )
            text, present = _as_text(column)
            column = pd.to_numeric(text.where(present), errors="coerce")
        found = np.asarray(column.to_numpy(dtype=float, na_value=np.nan) if column.hasnans else column.to_numpy())
        if found.dtype.kind not in "iu":
            found = found.astype(float)
            self._only_exact(name, found)
        return found

    def too_large(self, name: str, position: int, value: str) -> InputError:
        """Return the error for a whole number that cannot be held; ``position`` is in the column."""
        return InputError(
            f"{self.path}: {self.at(self.frame.index[position])}, column {name!r}: {value} is too large: of the whole "
            f"numbers above {LARGEST} (2^53), not all can be held. Correct it, or give all in a larger unit."
        )

    def _bad(self, name: str) -> tuple[int, Any, str]:
        """Return how many values of a column are no numbers, and the record and the text of the first."""
        import pandas as pd

        column = self.frame[name]
        text, bad = _as_text(column)
        if column.dtype.kind != "b" and not isinstance(column.dtype, pd.CategoricalDtype):
            bad &= pd.to_numeric(text.where(bad), errors="coerce").isna()
        first = bad.idxmax()
        return int(bad.sum()), first, str(text[first])

    def _only_exact(self, name: str, found: Array) -> None:
        """Check that no whole number was rounded when the column became one of floating-point numbers."""
        with np.errstate(invalid="ignore"):
            large = np.flatnonzero(np.isfinite(found) & (np.abs(found) >= LARGEST))
        if not large.size:
            return
        text = self.source(name) if self.source else self.frame[name].astype(object)
        for i in large:
            written = str(text.iloc[i]).strip()
            if WHOLE.fullmatch(written) and len(written) < 400 and int(written) != int(found[i]):
                raise self.too_large(name, int(i), written)

    def labels(self, name: str, what: str, remedy: str) -> Array:
        """Return a column of identifiers: whole numbers if all are, else text as it is written.

        Raises
        ------
        InputError
            If one is missing or used twice; ``what`` is what they name.
        """
        column = self.frame[name]
        written = self.source(name) if self.source and column.dtype.kind in "iufb" else column
        text = written.astype(str).str.strip().mask(column.isna(), "")
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

    def texts(self, name: str) -> Array:
        """Return a column of labels as text: codes such as 01 as they are written, numbers without a fraction of 0."""
        column = self.frame[name]
        if self.source and column.dtype.kind in "iuf":
            written = self.source(name).astype(str).str.strip()
            if written.str.fullmatch(r"0\d+").any():
                return np.asarray(written.to_numpy(dtype=object))
        return stripped(column)

    def identifiers(self, key: str | None, row: str, taken: Iterable[str]) -> str | None:
        """Return the name of the column with the identifiers, or None if there is none.

        Parameters
        ----------
        key : str or None
            That name; None for none; "auto" for the first column if it holds text (but no numbers with commas), has no
            name, or is called after the rows, unless it is in ``taken``.
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
        known = first.lower() in usual or (first.lower().startswith("unnamed") and not self.is_empty(first))
        if known:
            return first
        counted = self.is_numeric(first) or self.frame[first].dtype.kind == "b" or _looks(self._bad(first)[2])
        return None if counted else first


def lossy(column: Array) -> Array:
    """Where whole numbers would be rounded as floating-point numbers."""
    if column.dtype.kind not in "iu":
        return np.zeros(column.shape, dtype=bool)
    rounded = column.astype(float)
    back = np.array([int(value) for value in rounded[np.abs(rounded) >= LARGEST]], dtype=object)
    out = np.zeros(column.shape, dtype=bool)
    out[np.abs(rounded) >= LARGEST] = column[np.abs(rounded) >= LARGEST].astype(object) != back
    return out


def _looks(value: str) -> str:
    """Return what a text looks like that is nearly a number: " (...)"."""
    if GROUPED.fullmatch(value):
        plain = value.replace(".", "").replace(",", ".") if "." in value and "," not in value.split(".")[0] else ""
        digits = plain or re.sub(r"[,'\s]", "", value)
        other = (
            f", or {value.replace(',', '.')} for a decimal comma" if value.count(",") == 1 and "." not in value else ""
        )
        return f" (a thousands separator? Write {digits}{other})"
    if DECIMAL_COMMA.fullmatch(value):
        return f" (a decimal comma? Write {value.replace(',', '.')})"
    return ""


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
