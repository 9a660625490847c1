"""Estimators that profile out the true effects, or correct for their errors: maximum likelihood, debiased IVW."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError

from .estimates import (
    Estimate,
    Variants,
    check_between,
    check_number,
    error_covariance,
    interval,
    one_of,
    shown_p,
    variants,
)
from .regression import _weights

TELLING = 1e-3
"""p value of heterogeneity below which maximum likelihood is not to be trusted."""


class HeterogeneityWarning(UserWarning):
    """Variants have effects on the outcome that an estimator takes them not to have."""


@dataclass(frozen=True)
class MaximumLikelihood(Estimate):
    """Maximum likelihood estimate.

    Attributes
    ----------
    Q, Q_p : float
        Likelihood-ratio heterogeneity and its p value on J - 1 degrees of freedom.
    residual_se : float
    """

    Q: float
    Q_p: float
    residual_se: float


@dataclass(frozen=True)
class Debiased(Estimate):
    """Debiased or penalised IVW estimate.

    Attributes
    ----------
    condition : float
        (mean F - 1) sqrt(J): the normal approximation wants 20 or more.
    tau2 : float
        Variance of balanced pleiotropy.
    """

    condition: float
    tau2: float


def maximum_likelihood(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    model: str = "fixed",
    correlation: float = 0.0,
    covariance: ArrayLike | None = None,
    level: float = 0.95,
) -> MaximumLikelihood:
    """Estimate by maximum likelihood, the variants' true effects profiled out (Burgess, Butterworth and Thompson 2013).

    The likelihood knows no pleiotropy. Where there is some, the estimate is further from zero than the effect, by more
    the weaker the instruments are: ``raps``, ``divw`` and ``pivw`` are not.

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    model : {"fixed", "random"}
        Whether heterogeneity widens the standard error.
    correlation : float
        Of the errors of a variant's two effects (overlapping samples), the same for all variants.
    covariance : array_like, shape (J,), optional
        Of the errors of a variant's two effects, in place of ``correlation``.
    level : float

    Returns
    -------
    MaximumLikelihood

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than two variants), an option is not known, or ``correlation`` and
        ``covariance`` are both given.

    Warns
    -----
    HeterogeneityWarning
        If the variants disagree by more than their errors (p < 0.001).
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import chi2

    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 2)
    one_of("model", model, ("fixed", "random"))
    check_between("correlation", correlation, -1, 1, "Leave it out for separate samples.")
    if covariance is not None and correlation:
        raise InputError("mendelian_randomization: correlation and covariance are both given. Leave one of them out.")
    crossed = correlation * data.sx * data.sy if covariance is None else error_covariance(data, covariance)

    def variance(theta: float) -> Array:
        return np.asarray(data.sy**2 + theta**2 * data.sx**2 - 2 * theta * crossed)

    def deviance(theta: float) -> float:
        return float(((data.y - theta * data.x) ** 2 / variance(theta)).sum())

    unit = float(np.median(data.sy) / np.median(data.sx))

    def turned(angle: float) -> float:
        """Return the deviance at a slope of unit tan(angle), infinity included."""
        c, s = np.cos(angle), unit * np.sin(angle)
        spread = (c * data.sy) ** 2 + (s * data.sx) ** 2 - 2 * c * s * crossed
        return float(((c * data.y - s * data.x) ** 2 / spread).sum())

    weight = _weights(data, "simple") * data.x**2  # of a ratio: little for one whose denominator is near zero
    start = float((data.x * data.y / data.sy**2).sum() / weight.sum())
    away = np.abs(data.y - start * data.x) * np.abs(data.x) / data.sy**2
    spread = float(away.sum() / weight.sum()) + abs(start) + 3 * float(weight.sum() ** -0.5)
    near = np.arctan((start + spread * np.linspace(-2, 2, 401)) / unit)
    # where variants disagree, the least deviance may be far from there: slopes of every size, as angles
    angles = np.unique(np.concatenate([near, np.pi * np.linspace(-0.5, 0.5, 801)]))
    at = int(np.argmin([turned(float(angle)) for angle in angles]))
    low = angles[at - 1] if at else angles[-2] - np.pi
    high = angles[at + 1] if at + 1 < len(angles) else angles[1] + np.pi
    best = minimize_scalar(turned, bounds=(float(low), float(high)), method="bounded", options={"xatol": 1e-14})
    estimate = unit * float(np.tan(best.x))
    h = 0.01 * float((data.x**2 / variance(estimate)).sum() ** -0.5)  # of about a standard error
    estimate = _polished(deviance, estimate, h)
    values = [deviance(estimate + k * h) for k in (-2, -1, 0, 1, 2)]
    curvature = (-values[0] + 16 * values[1] - 30 * values[2] + 16 * values[3] - values[4]) / (12 * h**2)
    Q = deviance(estimate)
    scale = float(np.sqrt(Q / (len(data) - 1)))
    se = float(np.sqrt(2 / curvature)) * (max(1.0, scale) if model == "random" else 1.0)
    ci, p_value = interval(estimate, se, level)
    Q_p = float(chi2.sf(Q, len(data) - 1))
    if Q_p < TELLING:
        warnings.warn(
            f"mendelian_randomization: maximum_likelihood: the variants disagree by more than their errors (Q {Q:.4g} "
            f"on {len(data) - 1} degrees of freedom, p {shown_p(Q_p, 2)}); under pleiotropy its estimate is too far "
            "from zero. Compare with RAPS, dIVW or pIVW.",
            HeterogeneityWarning,
            stacklevel=2,
        )
    return MaximumLikelihood(estimate, se, ci, p_value, Q, Q_p, scale)


def _polished(function: Callable[[float], float], at: float, h: float) -> float:
    """Newton steps by five-point differences: a minimiser of values alone stops at the root of the rounding."""
    for _ in range(3):
        f = [function(at + k * h) for k in (-2, -1, 0, 1, 2)]
        slope = (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * h)
        curvature = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * h**2)
        if curvature <= 0:
            break
        at -= slope / curvature
    return at


def divw(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    covariance: ArrayLike = 0.0,
    over_dispersion: bool = True,
    level: float = 0.95,
) -> Debiased:
    """Estimate by debiased inverse-variance weighting (Ye, Shao and Kang 2021).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    covariance : array_like, shape (J,) or ()
        Of the errors of a variant's two effects (overlapping samples); it is taken out of the numerator as the
        exposure's variance is out of the denominator.
    over_dispersion : bool
        Whether variants have pleiotropic effects of mean zero.
    level : float

    Returns
    -------
    Debiased
        Without attenuation by weak instruments as long as ``condition`` is large.

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than two variants), ``covariance`` does not belong to them, or the instruments'
        mean F statistic is 1 or less.
    """
    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 2)
    c = error_covariance(data, covariance)
    strength = (data.x**2 - data.sx**2) / data.sy**2
    condition = (data.mean_f - 1) * np.sqrt(len(data))
    _weak(condition)
    estimate = float(((data.x * data.y - c) / data.sy**2).sum() / strength.sum())
    tau2 = _pleiotropy(data, estimate, c) if over_dispersion else 0.0
    se = float(np.sqrt(_variance(data, estimate, tau2, c).sum())) / abs(float(strength.sum()))
    ci, p_value = interval(estimate, se, level)
    return Debiased(estimate, se, ci, p_value, float(condition), tau2)


def pivw(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    penalty: float = 1.0,
    covariance: ArrayLike = 0.0,
    over_dispersion: bool = True,
    level: float = 0.95,
) -> Debiased:
    """Estimate by penalised inverse-variance weighting (Xu et al. 2023), which keeps away from a zero below.

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    penalty : float
        Of the log likelihood of the denominator.
    covariance : array_like, shape (J,) or ()
        Of the errors of a variant's two effects (overlapping samples); as of :func:`divw`, and in the covariance of
        numerator and denominator.
    over_dispersion : bool
    level : float

    Returns
    -------
    Debiased

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than two variants), ``covariance`` does not belong to them, ``penalty`` is
        negative, or the instruments' mean F statistic is 1 or less.
    """
    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 2)
    check_number("penalty", penalty, zero=True)
    c = error_covariance(data, covariance)
    w, strength = data.sy**-2.0, data.x**2 - data.sx**2
    condition = (data.mean_f - 1) * np.sqrt(len(data))
    _weak(condition)
    above, below = float((w * (data.x * data.y - c)).sum()), float((w * strength).sum())
    variance = float((w**2 * (4 * strength * data.sx**2 + 2 * data.sx**4)).sum())
    crossed = float((w**2 * 2 * (data.x * data.y * data.sx**2 + c * strength)).sum())
    kept = below / 2 + np.sign(below) * np.sqrt(below**2 / 4 + penalty * variance)
    estimate = float((above + crossed * penalty / kept) / kept)  # kept - below is penalty variance / kept
    tau2 = _pleiotropy(data, estimate, c) if over_dispersion else 0.0
    se = float(np.sqrt(_variance(data, estimate, tau2, c).sum())) / abs(float(kept))
    ci, p_value = interval(estimate, se, level)
    return Debiased(estimate, se, ci, p_value, float(condition), tau2)


def _weak(condition: float) -> None:
    if condition <= 0:
        raise InputError(
            "mendelian_randomization: the instruments' mean F is 1 or less: they say nothing of the exposure "
            "beyond noise. Choose stronger variants."
        )


def _pleiotropy(data: Variants, estimate: float, c: Array) -> float:
    w = data.sy**-2.0
    excess = (data.y - estimate * data.x) ** 2 - data.sy**2 - estimate**2 * data.sx**2 + 2 * estimate * c
    return max(0.0, float((w * excess).sum() / w.sum()))


def _variance(data: Variants, estimate: float, tau2: float, c: Array) -> Array:
    """Variance of each variant's part of the numerator, x (y - theta x), at the estimate; c: covariance of errors."""
    residual = data.sy**2 + tau2 + estimate**2 * data.sx**2 - 2 * estimate * c
    return np.asarray((data.x**2 * residual + (c - estimate * data.sx**2) ** 2) / data.sy**4)
