"""Size factors: the relative sequencing depth of each row of a matrix of counts."""

from collections.abc import Container
from pathlib import Path

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.counts import only_counts
from genarium.readers.matrix import Matrix, dense
from genarium.remedies import option as marked

METHODS = ("total", "median")
"""Ways to compute size factors."""


def not_a_column(path: Path, option: str, method: str | None, columns: Container[str]) -> None:
    """Check that no column is called as the way to compute size factors that ``option`` asks for."""
    if method in METHODS and method in columns:
        raise InputError(
            f"{path}: {marked(option, method)} is a way to compute size factors, and also the name of a column. "
            "Rename the "
            "column."
        )


def from_counts(matrix: Matrix, option: str, method: str, remedy: str) -> Array:
    """Compute size factors.

    Parameters
    ----------
    matrix : Matrix
    option : str
        Name of the reader's option that asks for them, for messages.
    method : str
        "total": a row's total over the mean total. "median": median of the ratios to the columns' geometric means, over
        columns without zeros (Anders and Huber 2010, eq. 5).
    remedy : str
        How a row without counts is left out.

    Returns
    -------
    ndarray
        Shape (N,), positive.

    Raises
    ------
    InputError
        If an entry is no count, a row has no counts, or (for "median") every column has a zero.
    """
    only_counts(matrix)
    row, column, _ = matrix.terms
    total = np.asarray(matrix.entries.sum(1, dtype=float)).ravel()
    if (total == 0).any():
        at, number = int(np.argmax(total == 0)), int((total == 0).sum())
        raise InputError(
            f"{matrix.path(at)}: {row} {matrix.name(at)} has no counts at all"
            f"{f' ({number} such {row}s)' if number > 1 else ''}, and so no size factor. Drop it: {remedy}."
        )
    if method == "total":
        return total / total.mean()
    full = np.flatnonzero(np.asarray((matrix.entries > 0).sum(0)).ravel() == len(total))
    if not full.size:
        raise InputError(
            f"{matrix.paths[0]}: every {column} has a zero in some {row}, and {marked(option, 'median')} needs "
            f"{column}s "
            f"without zeros. Use {marked(option, 'total')}."
        )
    logs = np.log(dense(matrix.entries[:, full]).astype(float))
    return np.asarray(np.exp(np.median(logs - logs.mean(0), axis=1)))
