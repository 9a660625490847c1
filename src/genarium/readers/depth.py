"""Size factors: the relative sequencing depth of each row of a matrix of counts."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.counts import only_counts
from genarium.readers.matrix import Matrix, dense
from genarium.remedies import option as marked
from genarium.remedies import warn

METHODS = ("total", "median")
"""Ways to compute size factors."""


def not_a_column(path: Path, option: str, method: Any, columns: Container[str]) -> None:
    """Check that no column is called as the way to compute size factors that ``option`` asks for."""
    if isinstance(method, str) and method in METHODS and method in columns:
        raise InputError(
            f"{path}: {marked(option, method)} is a way to compute size factors, and also the name of a column. "
            "Rename the "
            "column."
        )


Reference = Mapping[str, Any]
"""What size factors are relative to: {"total": the mean total, "columns": of how many columns}, or {"median": log
geometric means by column}."""


def is_computed(option: "str | Reference | None") -> bool:
    """Whether size factors are to be computed, rather than read from a column."""
    return isinstance(option, Mapping) or option in METHODS


def from_counts(matrix: Matrix, option: str, how: str | Reference, remedy: str) -> tuple[Array, Reference]:
    """Compute size factors.

    Parameters
    ----------
    matrix : Matrix
    option : str
        Name of the reader's option that asks for them, for messages.
    how : str or mapping
        "total": a row's total over the mean total. "median": median of the ratios to the columns' geometric means, over
        columns without zeros (Anders and Huber 2010, eq. 5). Or what factors of other rows were relative to: these are
        then relative to the same (by "median", over the columns in which a row has counts).
    remedy : str
        How a row without counts is left out.

    Returns
    -------
    factors : ndarray, shape (N,)
        Positive.
    reference : mapping
        What they are relative to.

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
    known = _checked(option, how) if isinstance(how, Mapping) else {}
    if how == "total" or "total" in known:
        now = {"total": float(total.mean()), "columns": len(matrix.columns)}
        _tell_other_columns(matrix, option, known, now)
        return total / (known or now)["total"], known or now
    if known:
        return _by_medians(matrix, option, known["median"]), known
    full = np.flatnonzero(np.asarray((matrix.entries > 0).sum(0)).ravel() == len(total))
    if not full.size:
        raise InputError(
            f"{matrix.paths[0]}: every {column} has a zero in some {row}, and {marked(option, 'median')} needs "
            f"{column}s "
            f"without zeros. Use {marked(option, 'total')}."
        )
    logs = np.log(dense(matrix.entries[:, full]).astype(float))
    means = logs.mean(0)
    names = [matrix.columns[at] for at in full]
    factors = np.exp(np.median(logs - means, axis=1))
    return np.asarray(factors), {"median": dict(zip(names, means.tolist(), strict=True))}


def _checked(option: str, how: Reference) -> Reference:
    """Return what size factors are to be relative to, if it is that."""
    (method, value), *more = [*((name, value) for name, value in how.items() if name != "columns"), ("", None)]
    numbers = value.values() if method == "median" and isinstance(value, Mapping) else [value]
    good = all(isinstance(number, int | float) and np.isfinite(number) for number in numbers)
    good = good and isinstance(how.get("columns", 0), int)
    if method not in METHODS or len(more) > 1 or not good or (method == "total" and value <= 0):
        raise InputError(
            f"{marked(option, how)} must be {{'total': a mean total}} or {{'median': log geometric means by name}}, as "
            "the attribute reader_options of a fit has it."
        )
    return how


def _tell_other_columns(matrix: Matrix, option: str, known: Reference, now: Reference) -> None:
    """Warn where totals are over another number of columns than those that they are relative to."""
    if known.get("columns", now["columns"]) != now["columns"]:
        column = matrix.terms.column
        warn(
            f"{matrix.paths[0]}: totals are over {now['columns']:,} {column}s, those that {option} is relative to over "
            f"{known['columns']:,}: the factors are off by the share of the counts that only one of both has. "
            f"Give a file with the same {column}s, or a column with the factors.",
            stacklevel=4,
        )


def _by_medians(matrix: Matrix, option: str, means: Mapping[str, float]) -> Array:
    """Return the median ratios (N,) to given geometric means, over the columns in which a row has counts."""
    at = [i for i, name in enumerate(matrix.columns) if name in means]
    counts = dense(matrix.entries[:, at]).astype(float)
    if not at or not (counts > 0).any(1).all():
        lone = matrix.name(int(np.argmin((counts > 0).any(1)))) if at else "any"
        raise InputError(
            f"{matrix.paths[0]}: {matrix.terms.row} {lone} has no counts of the {len(means)} {matrix.terms.column}s "
            f"that {marked(option)} is relative to. Leave it out."
        )
    logs = np.log(np.where(counts > 0, counts, np.nan))
    return np.asarray(np.exp(np.nanmedian(logs - [means[matrix.columns[i]] for i in at], axis=1)))
