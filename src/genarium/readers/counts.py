"""Raw counts: whether a matrix holds them, and which of its columns vary most."""

from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.matrix import Matrix
from genarium.remedies import option
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


def most_variable(matrix: Matrix, number: int) -> Array:
    """Return the positions of the columns whose log(1 + count) varies most, in their order; shape (number,)."""
    column, many = matrix.terms.column, len(matrix.columns)
    if isinstance(number, bool) or not 1 <= number <= many:
        raise InputError(
            f"{matrix.paths[0]}: {option(f'{column}s', number)} is not between 1 and {many}, the number of {column}s "
            "there."
        )
    only_counts(matrix)
    logs = np.log1p(matrix.entries.astype(float))
    square = logs.multiply(logs) if hasattr(logs, "multiply") else logs**2
    variance = np.asarray(square.mean(0)).ravel() - np.asarray(logs.mean(0)).ravel() ** 2  # (D,)
    return np.sort(np.argsort(-variance, kind="stable")[:number])
