"""What the functions on plain arrays refuse: the same as ``fit``, with place and remedy."""

import warnings

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option, setting, warn

DEPENDENT = 1e-12
"""Share of a node's variance that the others must leave; below it, it is a sum of them."""


def numbers(name: str, values: object, what: str = "") -> Array:
    """Return an array of real numbers.

    Raises
    ------
    InputError
        If it is ragged, text or complex.
    """
    try:
        given = np.asarray(values)
        if isinstance(values, np.ma.MaskedArray):
            given = np.where(np.ma.getmaskarray(values), np.nan, given)
        out = given.astype(float) if given.dtype.kind not in "cSUmM" else None
    except (TypeError, ValueError):
        out = None
    if out is None:
        raise InputError(f"notmad: {name} must be {what or 'an array of real numbers'}.")
    return np.asarray(out)


def matrix(name: str, values: Array, rows: int | None = None) -> Array:
    """Return a matrix (N, columns) of finite numbers.

    Raises
    ------
    InputError
        If it has other dims, no entry, another number of rows, or an entry that is not finite, naming the first one.
    """
    out = numbers(name, values, "a matrix of numbers")
    if out.ndim != 2 or out.size == 0:
        raise InputError(
            f"notmad: {name} has the shape {out.shape}; give a matrix (samples, columns), with one or more of each."
        )
    if rows is not None and len(out) != rows:
        raise InputError(f"notmad: {name} has {len(out)} rows, x has {rows}. Give one row a sample.")
    finite(name, out)
    return out


def networks(name: str, values: Array, rows: int | None = None) -> Array:
    """Return networks (..., p, p) of finite weights; (rows, p, p), where a number of rows is given.

    Raises
    ------
    InputError
        If the last two dims differ, there is no network, another number of them, or a weight that is not finite.
    """
    out = numbers(name, values, "an array of weights (..., nodes, nodes)")
    if out.ndim < 2 or out.shape[-1] != out.shape[-2]:
        raise InputError(f"notmad: {name} of shape {out.shape}: the last two dims must be equal.")
    if out.size == 0:
        raise InputError(f"notmad: {name} of shape {out.shape}: there is no network in it.")
    if rows is not None and (out.ndim != 3 or len(out) != rows):
        raise InputError(f"notmad: {name} of shape {out.shape}: give one network for each of {rows}.")
    finite(name, out, "Leave these networks out, or correct the weights")
    return out


def finite(name: str, values: Array, remedy: str = "Drop these samples, or fill the values in") -> None:
    """Refuse arrays with entries that are not finite.

    Raises
    ------
    InputError
        Naming the first one.
    """
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        at = tuple(int(v) for v in bad[0])
        raise InputError(
            f"notmad: {name}{list(at)} = {values[at]:g} is not finite ({len(bad)} of {values.size} values are not). "
            f"{remedy}."
        )


def nonnegative(name: str, value: float) -> None:
    """Refuse a number that is negative or not finite.

    Raises
    ------
    InputError
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
        raise InputError(f"notmad: {name}={value!r} must be a finite number, zero or larger.")


def whole(name: str, value: int, most: int | None = None) -> None:
    """Refuse what is no whole number from one on, or above ``most``.

    Raises
    ------
    InputError
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"notmad: {name}={value!r} must be a whole number, 1 or larger.")
    if most is not None and value > most:
        raise InputError(f"notmad: {name}={value!r} is more than the {most} samples. Ask for fewer.")


def random(rng: np.random.Generator) -> np.random.Generator:
    """Return a generator of random numbers.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(rng, np.random.Generator):
        raise InputError(f"notmad: rng={rng!r} is no generator of random numbers. Give numpy.random.default_rng(seed).")
    return rng


def shares(weight: Array | None, samples: int) -> Array:
    """Return weights of samples that sum to one.

    Raises
    ------
    InputError
        If they are not one a sample, one is negative or not finite, or fewer than two are positive.
    """
    if weight is None:
        return np.full(samples, 1 / samples)
    weight = numbers("weight", weight)
    if weight.shape != (samples,):
        raise InputError(f"notmad: weight has the shape {weight.shape}; it must be ({samples},), one a sample.")
    finite("weight", weight)
    if weight.min() < 0:
        raise InputError(
            f"notmad: weight[{weight.argmin()}] = {weight.min():g} is negative; use zero to leave one out."
        )
    if (weight > 0).sum() < 2:
        raise InputError(f"notmad: weight: {(weight > 0).sum()} of {samples} are positive; at least two are needed.")
    return np.asarray(weight / weight.sum())


def labels(group: Array, samples: int) -> Array:
    """Return labels of samples.

    Raises
    ------
    InputError
        If they are not one a sample, or one is missing.
    """
    group = np.asarray(group)
    if group.shape != (samples,):
        raise InputError(f"notmad: group has the shape {group.shape}; it must be ({samples},), one label a sample.")
    missing = np.flatnonzero([one is None or one != one for one in group.tolist()])
    if missing.size:
        raise InputError(
            f"notmad: group[{missing[0]}] = {group[missing[0]]!s}: {missing.size} samples have no group. Drop them, or "
            "give them a label of their own."
        )
    return group.astype(str) if group.dtype.kind == "O" else group


def distinct(x: Array, covariance: Array) -> None:
    """Refuse nodes that are constant, or equal to others or to sums of others: their edges cannot be told apart.

    Parameters
    ----------
    x : ndarray, shape (N, p)
        Named by column.
    covariance : ndarray, shape (p, p)

    Raises
    ------
    InputError
        Naming the first column.
    """
    n, p = x.shape
    spread = np.sqrt(np.diag(covariance))
    constant = np.flatnonzero(spread <= 1e-12 * np.maximum(np.abs(x).max(0), 1e-300))
    if constant.size:
        raise InputError(f"notmad: x: column {constant[0]} is {x[0, constant[0]]:g} in every sample. Drop it.")
    unit = covariance / np.outer(spread, spread)
    same = np.argwhere(np.triu(np.abs(unit) > 1 - DEPENDENT, 1)) if n > 2 else np.empty((0, 2), dtype=int)
    if same.size:
        i, j = same[0]
        raise InputError(f"notmad: x: columns {i} and {j} are the same up to scale. Drop one of them.")
    if n > p + 1:
        column = first_dependent(unit)
        if column is not None:
            raise InputError(
                f"notmad: x: column {column} is an exact sum of multiples of columns before it, so that its edges "
                "cannot be told from theirs. Drop one of them."
            )


def first_dependent(correlation: Array) -> int | None:
    """Position of the first node that those before it determine, by Cholesky; None where there is none."""
    p = len(correlation)
    L = np.zeros((p, p))
    for j in range(p):
        L[j, :j] = np.linalg.solve(L[:j, :j], correlation[:j, j]) if j else 0.0
        left = correlation[j, j] - float(L[j, :j] @ L[j, :j])
        if left <= DEPENDENT:
            return j
        L[j, j] = np.sqrt(left)
    return None


def warn_of_two_values(x: Array, names: Array | None = None) -> None:
    """Warn of nodes that take two values only, which no Gaussian node does."""
    two = np.flatnonzero([len(np.unique(column)) == 2 for column in x.T]) if len(x) > 2 else np.empty(0, dtype=int)
    if two.size:
        named = ", ".join(str(j if names is None else names[j]) for j in two[:5])
        warn(
            f"notmad: nodes that take only two values ({len(two)}: {named}{', ...' if len(two) > 5 else ''}) are "
            "fitted as Gaussian: weights into them are differences of shares, and their directions and intervals "
            "are not to be trusted. Where all nodes are Booleans, give them as 0 and 1 (read with "
            f"{option('standardise', False)}), and fit with {setting('nodes', 'logistic')}; else give them as context "
            "where they cause the others.",
            stacklevel=3,
        )


def warn_of_few(samples: float, nodes: int, whose: str = "") -> None:
    """Warn where weak edges are lost, and few directions certain, for want of samples."""
    if samples < 2 * nodes:
        warnings.warn(
            f"notmad: {whose}there are {samples:.4g} samples for {nodes} nodes. Only strong edges are found, and some "
            "of them are wrong: look which of them stay in bootstrap samples, or take fewer nodes or more samples.",
            UserWarning,
            stacklevel=3,
        )
