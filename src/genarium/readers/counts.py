"""Raw counts: whether a matrix holds them."""

from typing import Any

import numpy as np

from genarium.errors import InputError
from genarium.readers.matrix import Matrix
from genarium.supports import ROUND


def first_odd(entries: Any) -> tuple[int, int, Any] | None:
    """Return row, column and value of the first entry that is no count, of a dense or sparse matrix."""
    stored = entries.tocoo() if hasattr(entries, "tocoo") else None
    values = entries if stored is None else stored.data
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(values) & (values >= 0) & (values == np.floor(values)))
    if not bad.any():
        return None
    if stored is None:
        i, j = np.unravel_index(np.argmax(bad), bad.shape)
        return int(i), int(j), values[i, j]
    at = np.flatnonzero(bad)
    k = at[np.lexsort((stored.col[at], stored.row[at]))[0]]
    return int(stored.row[k]), int(stored.col[k]), values[k]


def only_counts(matrix: Matrix) -> None:
    """Check that a matrix holds nothing but counts."""
    if odd := first_odd(matrix.entries):
        i, j, value = odd
        row, column, _ = matrix.terms
        raise InputError(
            f"{matrix.path(i)}: {column} {matrix.columns[j]!r} of {row} {matrix.name(i)} is {value}, but size factors "
            f"and variable {column}s are computed from whole numbers not below zero. Give raw counts, drop columns "
            f"that hold none, and {ROUND}."
        )
