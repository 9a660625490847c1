"""Power: the smallest error of a posterior that a validation of so many replicates sees in four of five cases."""

from collections.abc import Callable
from functools import cache

import numpy as np

from genarium.calibration.uniformity import uniformity
from genarium.declaration import Array

POWER = 0.8
"""Probability with which the errors that are told are seen."""

SETS = 200
"""Simulated validations for each error that is tried; the power at the one told is known to .03."""

STEPS = 6
"""Halvings of the bracket around the error: down to 1/64 of it."""


@cache
def detectable(replicates: int, quantities: int, ranks: int, alpha: float) -> dict[str, float]:
    """Return the smallest errors that are seen with a probability of .8.

    One of the quantities has a posterior that is normal with a wrong mean or sd; all others are right. It is seen where
    its p-value is at most ``alpha`` over the number of quantities (the first step of Holm's).

    Parameters
    ----------
    replicates, quantities, ranks : int
    alpha : float

    Returns
    -------
    dict
        ``shift``: of the mean, in posterior sds; ``narrow``, ``wide``: ratio of the sd to the right one. NaN where no
        error up to 8 sds, or a factor of 20, is seen.
    """
    level = alpha / max(quantities, 1)
    return {
        "shift": _smallest(lambda x: (x, 1.0), 8.0, replicates, ranks, level),
        "narrow": _exp(-_smallest(lambda x: (0.0, float(np.exp(-x))), 3.0, replicates, ranks, level)),
        "wide": _exp(_smallest(lambda x: (0.0, float(np.exp(x))), 3.0, replicates, ranks, level)),
    }


def _exp(x: float) -> float:
    return float(np.exp(x))


def _smallest(
    error: Callable[[float], tuple[float, float]], largest: float, replicates: int, ranks: int, level: float
) -> float:
    """Return the smallest x whose error is seen, by bisection on simulations of the same random numbers."""

    def seen(x: float) -> bool:
        return float((uniformity(_pit(*error(x), replicates, ranks)) <= level).mean()) >= POWER

    if not seen(largest):
        return float("nan")
    low, high = 0.0, largest
    while high > 0.05 and seen(high / 2):
        high /= 2
    low = high / 2
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def _pit(shift: float, ratio: float, replicates: int, ranks: int) -> Array:
    """PIT values where the posterior is N(shift, ratio) and the truth is N(0, 1); shape (replicates, SETS)."""
    from scipy.special import ndtr

    rng = np.random.default_rng(0)
    truth = rng.standard_normal((replicates, SETS))
    rank = rng.binomial(ranks, ndtr((truth - shift) / ratio))
    return np.asarray((rank + rng.uniform(size=rank.shape)) / (ranks + 1))
