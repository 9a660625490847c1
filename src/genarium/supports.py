"""Supports: the set of values that a variable may take.

A support is used in four places: input checking (:meth:`Support.bad`), the variable table and Stan declarations
(:attr:`Support.name`, :attr:`Support.stan`), and tests that need any valid value (:attr:`Support.sample`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]

ROUNDED = 1e-6
"""How far the sum of shares may be from one: they may be rounded, to single precision say."""

ROUND = "round counts that a correction has left fractional (numpy.rint; SoupX: adjustCounts(roundToInt=TRUE))"
"""What to do with fractional counts."""

LARGEST = 2**53
"""Up to here, every whole number is a floating-point number; larger ones are refused."""


@dataclass(frozen=True)
class Support:
    """A set of values, elementwise or over the trailing dims.

    Attributes
    ----------
    name : str
        What an error message and the variable table call it ("positive", "count" ...).
    says : str
        Completes the sentence "every value must be ...".
    remedy : str
        What a user can do about a value outside it.
    contains : callable
        Maps an array to a boolean mask of its shape; ``True`` where the value belongs to the support.
    sample : callable
        Maps a generator and a shape to an array of valid values.
    event : int
        Number of trailing dims that are constrained jointly (1 for a simplex, 2 for a matrix).
    integer : bool
        Whether the values are whole numbers; they are then stored as ``int64``.
    stan : str
        The matching Stan constraint, written into the declared type ("<lower=0>"); "" where Stan has none.
    of : str
        For labels: the dim whose categories are meant, counted from zero.
    exact : callable
        Undoes what rounding has done to values that are accepted.
    """

    name: str
    says: str
    remedy: str
    contains: Callable[[Array], Mask]
    sample: Callable[[np.random.Generator, tuple[int, ...]], Array]
    event: int = 0
    integer: bool = False
    stan: str = ""
    of: str = ""
    exact: Callable[[Array], Array] = lambda x: x

    def bad(self, values: Array, sizes: Mapping[str, int]) -> Mask:
        """Mark the values outside the support.

        Parameters
        ----------
        values : ndarray
            Values of one variable.
        sizes : mapping of str to int
            Size of each dim; a label must be below the size of the dim it points into.

        Returns
        -------
        ndarray of bool, same shape
        """
        if values.dtype.kind == "f":
            values = values.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore"):
            good = self.contains(values)
            if self.of in sizes:
                good &= values < sizes[self.of]
        return ~good

    def too_large(self, value: Any) -> bool:
        """Whether a value would belong to this support of whole numbers, were it not so large."""
        return self.integer and bool(LARGEST < value < np.inf) and value == np.floor(value)

    def __str__(self) -> str:
        return self.name


def _finite(x: Array) -> Mask:
    return np.isfinite(x)


def _whole(x: Array) -> Mask:
    if x.dtype.kind in "iu":
        return np.asarray((x >= -LARGEST) & (x <= LARGEST))
    return np.asarray(np.isfinite(x) & (x == np.floor(x)) & (np.abs(x) <= LARGEST))


def _on_simplex(x: Array) -> Mask:
    rows = np.isclose(x.sum(-1, keepdims=True), 1.0, rtol=0, atol=ROUNDED)
    return _finite(x) & (x >= 0) & rows


def normalised(x: Array) -> Array:
    """Divide shares by their sum over the last dim, where that differs from one by more than Stan bears (1e-8)."""
    total = x.sum(-1, keepdims=True)
    return np.where(np.abs(total - 1) > 1e-8, x / total, x)


def _sums_to_zero(x: Array) -> Mask:
    """Whether rows sum to zero, up to the rounding of their largest value."""
    with np.errstate(invalid="ignore"):
        size = np.maximum(1.0, np.abs(x).max(-1, keepdims=True))
        return _finite(x) & (np.abs(x.sum(-1, keepdims=True)) <= 1e-8 * size)


def _acyclic(x: Array) -> Mask:
    """Whether each matrix over the last two dims is the weighted adjacency of a DAG (by Kahn's elimination)."""
    p = x.shape[-1]
    flat = x.reshape(-1, p, p)
    mask = _finite(flat).copy()
    for matrix, ok in zip(flat, mask, strict=True):
        left = np.arange(p)
        while left.size:
            parents = (matrix[np.ix_(left, left)] != 0).any(0)
            if parents.all():
                ok[np.ix_(left, left)] &= matrix[np.ix_(left, left)] == 0
                break
            left = left[parents]
    return mask.reshape(x.shape)


def _sample_acyclic(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    order = rng.permutation(shape[-1])
    return np.triu(rng.normal(size=shape), 1)[..., order, :][..., :, order]


real = Support(
    "real",
    "a finite number",
    "Drop or impute missing values",
    _finite,
    lambda rng, shape: rng.normal(size=shape),
)
whole = Support(
    "whole number",
    "a whole number",
    "Drop or impute missing values",
    _whole,
    lambda rng, shape: rng.integers(-10, 10, size=shape),
    integer=True,
)
positive = Support(
    "positive",
    "finite and greater than zero",
    "Correct the entry, or drop its row",
    lambda x: _finite(x) & (x > 0),
    lambda rng, shape: rng.lognormal(size=shape),
    stan="<lower=0>",
)
nonnegative = Support(
    "nonnegative",
    "finite and not below zero",
    "Correct the entry, or drop its row",
    lambda x: _finite(x) & (x >= 0),
    lambda rng, shape: rng.lognormal(size=shape),
    stan="<lower=0>",
)
unit_interval = Support(
    "unit interval",
    "between zero and one",
    "Rescale percentages to fractions",
    lambda x: _finite(x) & (x >= 0) & (x <= 1),
    lambda rng, shape: rng.uniform(size=shape),
    stan="<lower=0, upper=1>",
)
simplex = Support(
    "simplex",
    "not below zero, with sum one over the last dim",
    "Divide by the sum over the last dim",
    _on_simplex,
    lambda rng, shape: rng.dirichlet(np.ones(shape[-1]), shape[:-1]),
    event=1,
    exact=normalised,
)
zero_sum = Support(
    "zero-sum vector",
    "a finite number, with sum zero over the last dim",
    "Subtract the mean over the last dim",
    _sums_to_zero,
    lambda rng, shape: (lambda z: z - z.mean(-1, keepdims=True))(rng.normal(size=shape)),
    event=1,
)
count = Support(
    "count",
    "a whole number not below zero",
    f"Pass raw counts (not normalised or log-transformed), drop missing entries, and {ROUND}",
    lambda x: _whole(x) & (x >= 0),
    lambda rng, shape: rng.negative_binomial(2, 0.1, size=shape),
    integer=True,
    stan="<lower=0>",
)
boolean = Support(
    "boolean",
    "zero or one",
    "Code the two cases as 0 and 1",
    lambda x: (x == 0) | (x == 1),
    lambda rng, shape: rng.integers(2, size=shape),
    integer=True,
    stan="<lower=0, upper=1>",
)
acyclic = Support(
    "acyclic matrix",
    "a finite weight of a directed graph without cycles",
    "Remove an edge of each cycle",
    _acyclic,
    _sample_acyclic,
    event=2,
)


def label(dim: str) -> Support:
    """Return the support of an index into the categories of a dim, counted from zero.

    Parameters
    ----------
    dim : str
        Name of a dim of the model, e.g. "component".

    Returns
    -------
    Support
    """
    return Support(
        f"label of {dim}",
        f"a whole number from zero and below the size of {dim!r}",
        "Count categories from zero, or enlarge that size",
        lambda x: _whole(x) & (x >= 0),
        lambda rng, shape: np.zeros(shape, dtype=np.int64),
        integer=True,
        of=dim,
    )
