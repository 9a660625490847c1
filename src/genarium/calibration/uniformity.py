"""Are ranks uniform? Tests, and what a departure means; shapes: R replicates, Q quantities.

PIT stands for (rank + U) / (L + 1): the probability that the posterior gives to values below the truth, which is
uniform on [0, 1] over replicates for a method that draws from the posterior (Talts et al. 2018, arXiv 1804.06788).
"""

import numpy as np

from genarium.declaration import Array

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Central intervals whose coverage is reported."""


def uniformity(pit: Array) -> Array:
    """Test whether each column is uniform.

    Three tests are combined (Cauchy combination, Liu and Xie 2020): the pointwise test of ArviZ (``pot_c``), which
    sees any departure, and two that see the commonest ones sooner. If s is the normal score of a PIT value, the mean of
    s is what a posterior that is shifted by so many of its sds gives, and the mean of s^2 the square of one that is so
    many times too narrow. At 300 replicates and p < .0005, a sd of .8 is seen in .89 of cases (``pot_c`` alone: .52), a
    shift of .3 sd in .91 (.86).

    Parameters
    ----------
    pit : ndarray, shape (R, Q)

    Returns
    -------
    ndarray, shape (Q,)
        p-values.
    """
    from scipy.special import ndtri
    from scipy.stats import chi2, norm

    R = len(pit)
    scores = ndtri(np.clip(pit, 1e-12, 1 - 1e-12))
    location = 2 * norm.sf(np.abs(scores.mean(0)) * np.sqrt(R))
    square = (scores**2).sum(0)
    scale = np.minimum(1, 2 * np.minimum(chi2.cdf(square, R), chi2.sf(square, R)))
    parts = np.clip([pointwise(pit), location, scale], 1e-15, 0.999)  # one that is sure of nothing outweighs no other
    return np.asarray(0.5 - np.arctan(np.tan((0.5 - parts) * np.pi).mean(0)) / np.pi)


def pointwise(pit: Array) -> Array:
    """ArviZ's pointwise test of uniformity with Cauchy combination, ``pot_c``; shape (Q,)."""
    from arviz_stats.base import array_stats

    return np.atleast_1d(np.asarray(array_stats.uniformity_test(pit, axis=0, method="pot_c")[0], dtype=float))


def holm(p: Array) -> Array:
    """Adjust p-values for their number (Holm 1979).

    Parameters
    ----------
    p : ndarray, shape (Q,)

    Returns
    -------
    ndarray, shape (Q,)
        Reject where it is at most alpha: the chance of any false rejection is then at most alpha.
    """
    order = np.argsort(p)
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    out = np.empty(len(p))
    out[order] = np.minimum(stepped, 1)
    return out


def inside(pit: Array, level: float) -> Array:
    """Count how often the truth lies in the central interval of a level; shape (Q,)."""
    counted: Array = (np.abs(pit - 0.5) < level / 2).sum(0)
    return counted


def interval(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a binomial proportion (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    found = binomtest(int(count), int(of)).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def coverage_p(pit: Array, level: float, slack: float = 0.0) -> Array:
    """Test the coverage of a level.

    Parameters
    ----------
    pit : ndarray, shape (R, Q)
    level : float
    slack : float
        The hypothesis is that the coverage lies within this distance of the level.

    Returns
    -------
    ndarray, shape (Q,)
        Two-sided exact binomial p-values.
    """
    from scipy.stats import binom

    R, count = len(pit), inside(pit, level)
    low, high = max(level - slack, 0), min(level + slack, 1)
    p: Array = np.minimum(1, 2 * np.minimum(binom.cdf(count, R, low), binom.sf(count - 1, R, high)))
    return p


def bias_z(pit: Array) -> Array:
    """Mean of the PIT against 1/2 in standard errors; shape (Q,). Positive: the posterior lies below the truth."""
    return np.asarray((pit.mean(0) - 0.5) * np.sqrt(12 * len(pit)))


def width_z(pit: Array) -> Array:
    """Second moment of the PIT around 1/2 against 1/12, in standard errors; shape (Q,). Positive: too narrow."""
    return np.asarray((((pit - 0.5) ** 2).mean(0) - 1 / 12) * np.sqrt(180 * len(pit)))


def direction(bias: float, width: float, limit: float = 2.0) -> str:
    """Say in words what a departure means."""
    said = []
    if abs(bias) > limit:
        said.append("too low" if bias > 0 else "too high")
    if abs(width) > limit:
        said.append("too narrow" if width > 0 else "too wide")
    return " and ".join(said)


def asymmetry_p(pit: Array) -> Array:
    """Test the histogram of p = Pr(theta < truth) for symmetry, as VSBC does (Yao et al. 2018, ICML).

    An approximation centred on the truth gives a symmetric histogram whatever its width; asymmetry is bias. The
    statistic is the largest distance between the distributions of p and 1 - p; under symmetry the signs of p - 1/2 are
    random, so that it is the largest distance of a random walk from its start, whose distribution is known exactly.

    Parameters
    ----------
    pit : ndarray, shape (R, Q)

    Returns
    -------
    ndarray, shape (Q,)
    """
    from_tails = np.argsort(-np.abs(pit - 0.5), axis=0)
    sides = np.where(np.take_along_axis(pit, from_tails, 0) >= 0.5, 1, -1)
    return np.array([_walk_p(len(pit), int(a)) for a in np.abs(np.cumsum(sides, axis=0)).max(0)])


def _walk_p(steps: int, a: int) -> float:
    """Probability that a random walk of +-1 goes as far as a (reflection principle; Feller 1968, section XIV.9)."""
    from scipy.stats import binom

    k = np.arange(-(steps // (2 * a)) - 1, steps // (2 * a) + 2)
    low, high = (2 * k - 1) * a, (2 * k + 1) * a  # the walk ends between them, at 2 heads - steps
    ends = binom.cdf(-(-(high + steps) // 2) - 1, steps, 0.5) - binom.cdf((low + steps) // 2, steps, 0.5)
    return float(np.clip(1 - np.where(k % 2, -ends, ends).sum(), 0, 1))


def looks(simulations: int, first: int = 50) -> list[int]:
    """Numbers of replicates at which the results are looked at: 50, 100, 200 ... and the last."""
    out = []
    at = first
    while at < simulations:
        out.append(at)
        at *= 2
    return [*out, simulations]


def spent(alpha: float, count: int) -> list[float]:
    """Split alpha over looks: half for the last, the other half evenly over those before it."""
    if count == 1:
        return [alpha]
    return [alpha / 2 / (count - 1)] * (count - 1) + [alpha / 2]
