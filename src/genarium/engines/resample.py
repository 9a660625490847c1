"""Pareto-smoothed importance resampling: from draws of an approximation to draws of the posterior, or a refusal.

Vehtari, Simpson, Gelman, Yao and Gabry (2024, JMLR 25(72)): the shape k of the generalised Pareto density fitted to the
largest importance ratios says how far the approximation can be trusted.
"""

import numpy as np

from genarium.declaration import Array
from genarium.errors import ApproximationError

KHAT_GOOD, KHAT_USABLE = 0.5, 0.7
"""Pareto k-hat below which an approximation is good, and below which it is usable."""

EVEN = 0.99
"""Share of the draws that the weighted ones are worth, above which the ratios count as constant."""

NORMAL_DRAWS = 4000
"""Draws of a normal approximation from which those of the posterior are chosen."""


def smoothed(log_ratio: Array) -> tuple[Array, float]:
    """Smooth importance ratios.

    Parameters
    ----------
    log_ratio : ndarray, shape (S,)
        Log of density over approximation at draws of the approximation, up to a constant.

    Returns
    -------
    weights : ndarray, shape (S,)
        They sum to one.
    khat : float
        -inf where the ratios hardly vary (the effective sample size is 99 % of the draws): there is nothing to
        correct, and the shape of a tail so short says nothing.
    """
    from arviz_stats.base import array_stats
    from scipy.special import softmax

    centred = np.where(np.isnan(log_ratio), -np.inf, log_ratio)
    centred = np.maximum(centred - centred.max(), -1e6)
    raw = np.exp(centred)
    if raw.sum() ** 2 > EVEN * len(raw) * (raw**2).sum():
        return raw / raw.sum(), -np.inf
    log_weights, khat = array_stats.psislw(-centred, axis=-1)  # it negates its input
    return softmax(np.asarray(log_weights)), float(khat)


def resample(
    log_ratio: Array, rng: np.random.Generator, draws: int, *, limit: float = KHAT_USABLE
) -> tuple[Array, float]:
    """Choose draws by their smoothed importance ratios (systematic resampling, in random order).

    Parameters
    ----------
    log_ratio : ndarray, shape (S,)
    rng : Generator
    draws : int
        How many to choose; S should be several times as many.
    limit : float
        Largest Pareto k-hat that is accepted.

    Returns
    -------
    index : ndarray of int, shape (draws,)
    khat : float

    Raises
    ------
    ApproximationError
        If k-hat is above the limit.
    """
    weights, khat = smoothed(log_ratio)
    if not khat <= limit:
        raise ApproximationError(
            f"Pareto k-hat of the approximation is {khat:.2f}, above {limit:g}: its draws cannot be corrected by "
            "importance ratios. Use option polish=True (a short run of NUTS from here) or an exact method.",
            khat,
        )
    at = (np.arange(draws) + rng.uniform()) / draws
    index = np.minimum(np.searchsorted(np.cumsum(weights), at), len(weights) - 1)
    return rng.permutation(index), khat
