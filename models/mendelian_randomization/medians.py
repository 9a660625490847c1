"""Estimators that need only a majority or a plurality of valid variants: medians, contamination mixture."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.settings import generator, only_with

from .estimates import (
    Estimate,
    check_iterations,
    check_level,
    check_number,
    interval,
    one_of,
    oriented,
    variants,
    with_ratio,
)

PENALTY = 20
"""A variant whose heterogeneity has a p value below one in so many is weighed down."""

EQUAL = 1e-12
"""Relative difference up to which ratios are equal but for rounding."""


@dataclass(frozen=True)
class Median(Estimate):
    """Weighted median of the ratios."""


@dataclass(frozen=True)
class ContaminationMixture(Estimate):
    """Estimate of the contamination mixture; ``se`` is that of a normal with an interval of this length.

    Attributes
    ----------
    intervals : tuple of (float, float)
        Where the profile likelihood is high enough: more than one interval says that groups of variants disagree, the
        whole line that no effect can be ruled out.
    psi : float
        Standard deviation of invalid ratios.
    valid : int
        Variants that the estimate takes as valid.
    over_dispersion : float
        Residual standard error of the valid ratios, at least 1: widens interval and p value.
    """

    intervals: tuple[tuple[float, float], ...]
    psi: float
    valid: int
    over_dispersion: float


def weighted_median(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    weighting: str = "weighted",
    weights: str | None = None,
    iterations: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Median:
    """Estimate by the median of the ratios: consistent if half of the weight is valid (Bowden et al. 2016).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    weighting : {"weighted", "simple", "penalised"}
        Inverse variances of the ratios, equal weights, or inverse variances less those of outliers.
    weights : {"simple", "delta"}, optional
        Variances to first order (where not given), or to second (the two packages in use differ in this). Not with
        equal weights.
    iterations, seed : int
        Of the parametric bootstrap for the standard error.
    level : float

    Returns
    -------
    Median
        An effect of exactly 0 on the exposure has an infinite ratio of either sign: it is left out, which is what half
        a variant at either end comes to, and all the same where weights are inverse variances.

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than three variants with an effect on the exposure) or an option is not
        known.
    """
    from scipy.stats import chi2

    # samples, too, are the same whichever allele is coded
    data = oriented(with_ratio(variants(beta_exposure, se_exposure, beta_outcome, se_outcome)))
    check_iterations(iterations)
    one_of("weighting", weighting, ("weighted", "simple", "penalised"))
    only_with("mendelian_randomization", "weighting='weighted' or 'penalised'", weighting != "simple", weights=weights)
    weights = weights or "simple"
    one_of("weights", weights, ("simple", "delta"))
    ratio = data.ratio
    weight = np.ones(len(data)) if weighting == "simple" else data.ratio_se(weights) ** -2.0
    if weighting == "penalised":
        middle = median(ratio, weight)
        weight = weight * np.minimum(1, PENALTY * chi2.sf(weight * (ratio - middle) ** 2, 1))
    estimate = median(ratio, weight)
    rng = generator(seed)
    x = rng.normal(data.x, data.sx, (iterations, len(data)))
    y = rng.normal(data.y, data.sy, (iterations, len(data)))
    se = float(_median(y / x, weight).std(ddof=1))
    ci, p_value = interval(estimate, se, level)
    return Median(estimate, se, ci, p_value)


def median(ratio: Array, weight: Array) -> float:
    """Return the weighted median; equal ratios share their weight evenly, so that no order of theirs counts."""
    order = np.argsort(ratio, kind="stable")
    new = np.diff(ratio[order]) > EQUAL * np.abs(ratio[order][1:])
    group = np.empty(len(ratio), dtype=int)
    group[order] = np.r_[0, new.cumsum()]
    return float(_median(ratio[None], (np.bincount(group, weight) / np.bincount(group))[group])[0])


def _median(ratio: Array, weight: Array) -> Array:
    """Return the weighted median of each row: where half of the weight is reached, linearly between the ratios."""
    order = np.argsort(ratio, axis=1, kind="stable")
    sorted_ratio, sorted_weight = np.take_along_axis(ratio, order, 1), weight[order]
    reached = (sorted_weight.cumsum(1) - 0.5 * sorted_weight) / weight.sum()
    below = np.clip((reached < 0.5).sum(1) - 1, 0, ratio.shape[1] - 2)
    rows = np.arange(len(ratio))
    left, right = reached[rows, below], reached[rows, below + 1]
    part = np.clip((0.5 - left) / (right - left), 0, 1)
    low, high = sorted_ratio[rows, below], sorted_ratio[rows, below + 1]
    return np.asarray(low + part * (high - low))


def contamination_mixture(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    psi: float = 0.0,
    level: float = 0.95,
) -> ContaminationMixture:
    """Estimate by the contamination mixture: ratios are around the effect, or of no use (Burgess et al. 2020).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    psi : float
        Standard deviation of invalid ratios; 0 for 1.5 times that of all.
    level : float

    Returns
    -------
    ContaminationMixture
        The profile log likelihood is a maximum of quadratics in pieces: its maximum and the ends of its interval are
        exact, not of a grid. Effects of exactly 0 on the exposure say the same of every effect, and are left out.

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than three variants with an effect on the exposure), or all ratios are so
        near to 0 and to each other that none is told to be valid.
    """
    from scipy.stats import chi2, norm

    data = with_ratio(variants(beta_exposure, se_exposure, beta_outcome, se_outcome))
    check_level(level)
    check_number("psi", psi, zero=True)
    ratio, se = data.ratio, data.ratio_se()
    psi = psi or 1.5 * float(ratio.std(ddof=1))
    invalid = norm.logpdf(ratio, 0, np.sqrt(psi**2 + se**2))
    constant = -np.log(se) - 0.5 * np.log(2 * np.pi) - invalid
    reach = se * np.sqrt(np.maximum(2 * constant, 0))  # a variant counts as valid where the effect is so near
    edges = np.unique(np.concatenate([ratio - reach, ratio + reach]))

    def profile(theta: Array) -> Array:
        gain = constant - 0.5 * ((ratio - np.atleast_1d(theta)[:, None]) / se) ** 2
        return np.asarray(np.maximum(gain, 0).sum(1))

    middles = 0.5 * (edges[1:] + edges[:-1])
    tops: list[float] = []
    for low, high, middle in zip(edges[:-1], edges[1:], middles, strict=True):
        inside = np.abs(ratio - middle) < reach
        if inside.any():
            w = inside / se**2
            tops.append(float(np.clip((w * ratio).sum() / w.sum(), low, high)))
    if not tops:
        raise InputError(
            "mendelian_randomization: no variant tells valid from invalid ratios: all ratios are near 0 and near each "
            "other. Give psi, the standard deviation that invalid ratios would have."
        )
    heights = profile(np.array(tops))
    estimate = tops[int(heights.argmax())]
    chosen = np.abs(ratio - estimate) < reach
    spread = 1.0
    if chosen.sum() > 1:
        w = se[chosen] ** -2.0
        centre = (w * ratio[chosen]).sum() / w.sum()
        spread = max(1.0, float(np.sqrt((w * (ratio[chosen] - centre) ** 2).sum() / (chosen.sum() - 1))))
    least = float(heights.max()) - 0.5 * float(chi2.ppf(level, 1)) * spread**2
    if least < 0:  # the profile is nowhere below zero, which it is far away: no effect can be ruled out
        intervals = [(-np.inf, np.inf)]
    else:
        intervals = _where_above(profile, np.unique(np.concatenate([edges, tops])), least)
    ci = (intervals[0][0], intervals[-1][1])
    width = (ci[1] - ci[0]) / (2 * float(norm.ppf(0.5 + level / 2)))
    p_value = float(chi2.sf(2 * (float(heights.max()) - float(profile(np.zeros(1))[0])) / spread**2, 1))
    return ContaminationMixture(estimate, width, ci, p_value, tuple(intervals), psi, int(chosen.sum()), spread)


def _where_above(profile: Callable[[Array], Array], knots: Array, least: float) -> list[tuple[float, float]]:
    """Return the intervals where a function, smooth between knots, is above a level."""
    from scipy.optimize import brentq

    def over(at: float) -> float:
        return float(profile(np.array([at]))[0]) - least

    beyond = float(np.ptp(knots))
    wide = np.concatenate([[knots[0] - beyond], knots, [knots[-1] + beyond]])
    above = [over(float(k)) > 0 for k in wide]
    ends: list[float] = []
    for a, b, left, right in zip(wide[:-1], wide[1:], above[:-1], above[1:], strict=True):
        if left != right:
            ends.append(float(brentq(over, float(a), float(b), xtol=1e-12 * beyond)))
    return list(zip(ends[::2], ends[1::2], strict=True))
