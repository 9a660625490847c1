"""The numbers behind the figures of a validation; shapes: R replicates, Q quantities, T points of a line."""

from functools import cache

import numpy as np
import xarray as xr

from genarium.calibration import uniformity
from genarium.declaration import Array

CONFIDENCE = 0.95
"""Of every band."""

BAND_DRAWS = 2000
"""Uniform samples behind the simultaneous band."""

LEVELS = np.arange(1, 20) / 20
"""Central intervals whose coverage is drawn."""


def matrix(tree: xr.DataTree, group: str) -> tuple[list[str], Array]:
    """Return the scalars of a group of a validation's tree.

    Parameters
    ----------
    tree : DataTree
    group : str
        Its variables have dims (chain, draw = replicate, ...).

    Returns
    -------
    names : list of str
    values : ndarray, shape (R, Q)
    """
    names, columns = [], []
    for name, values in tree[group].to_dataset().data_vars.items():
        array = values.to_numpy()[0]
        names += [f"{name}[{', '.join(map(str, i))}]" if i else str(name) for i in np.ndindex(*array.shape[1:])]
        columns.append(array.reshape(len(array), -1))
    return names, np.concatenate(columns, axis=1) if columns else np.empty((0, 0))


@cache
def simultaneous_band(count: int) -> tuple[Array, Array, Array]:
    """Band that the ECDF of uniform values stays within as a whole (Säilynoja, Bürkner and Vehtari 2022).

    Parameters
    ----------
    count : int
        Values R in a sample.

    Returns
    -------
    x, lower, upper : ndarray, shape (R + 1,)
        The band at 0, 1/R ... 1; the same on every call.
    """
    from arviz_stats.ecdf_utils import ecdf_pit

    anything = (np.arange(count) + 0.5) / count
    x, _, lower, upper = ecdf_pit(anything, CONFIDENCE, BAND_DRAWS, rng=np.random.default_rng(count))
    return np.asarray(x), np.asarray(lower), np.asarray(upper)


def ecdf_differences(pit: Array) -> tuple[Array, Array, Array, Array]:
    """ECDF of PIT values minus that of the uniform distribution.

    Parameters
    ----------
    pit : ndarray, shape (R, Q)
        In [0, 1]; never ranks.

    Returns
    -------
    x : ndarray, shape (R + 1,)
    difference : ndarray, shape (R + 1, Q)
    lower, upper : ndarray, shape (R + 1,)
        Simultaneous band of the differences of one quantity.
    """
    x, lower, upper = simultaneous_band(len(pit))
    ecdf = np.stack([np.searchsorted(np.sort(column), x, side="right") for column in pit.T], axis=1) / len(pit)
    return x, ecdf - x[:, None], lower - x, upper - x


def outside(values: Array, lower: Array, upper: Array) -> Array:
    """Say which values (T, Q) lie outside a band (T,), beyond rounding."""
    out: Array = (values < lower[:, None] - 1e-9) | (values > upper[:, None] + 1e-9)
    return out


def binomial_band(count: int, share: Array) -> tuple[Array, Array]:
    """Pointwise band of the observed share of ``count`` replicates, where each share is the true one."""
    from scipy.stats import binom

    low, high = (binom.ppf(q, count, share) / count for q in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return np.asarray(low), np.asarray(high)


def bins(ranks: int, count: int) -> int:
    """Return how many bins divide the ranks 0 to L evenly, 20 at most and 5 replicates in each if possible.

    Where L + 1 has no fitting divisor, ten bins of equal width cut through ranks (the PIT knows where).
    """
    target = int(np.clip(count // 5, 5, 20))
    return next((b for b in range(target, 3, -1) if (ranks + 1) % b == 0), 10)


def rank_counts(pit: Array, number: int) -> Array:
    """Histogram of the ranks, as counts (bins, Q); a rank r has PIT values from r / (L + 1) to (r + 1) / (L + 1)."""
    at = np.minimum((pit * number).astype(int), number - 1)
    return np.stack([np.bincount(column, minlength=number) for column in at.T], axis=1)


def coverage(pit: Array) -> Array:
    """Share of truths in the central interval of each of ``LEVELS``; shape (19, Q)."""
    return np.stack([uniformity.inside(pit, level) for level in LEVELS]) / len(pit)


def z_and_contraction(mean: Array, truth: Array, sd: Array) -> tuple[Array, Array]:
    """z-score of the posterior mean, and how far the prior's variance has shrunk; both (R, Q), NaN where undefined.

    The variance of the prior is that of the truths (Betancourt 2020, Towards a principled Bayesian workflow).
    """
    spread = np.where(sd > 0, sd, np.nan)
    variance = truth.var(0, ddof=1)
    return (mean - truth) / spread, 1 - sd**2 / np.where(variance > 0, variance, np.nan)


def spans(values: Array) -> float:
    """Ratio of the ends of the middle nine tenths of positive values."""
    low, high = np.quantile(values, (0.05, 0.95))
    return float(high / low) if low > 0 else 1.0
