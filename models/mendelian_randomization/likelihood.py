"""Densities in NumPy, true effects and pleiotropy of variants summed out; draws may lead in every unknown variable."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array

from . import intercepts
from .story import CONFOUNDED, HETEROGENEITY, MEAN_SD, PLEIOTROPY, WEAK

LOG_2PI = float(np.log(2 * np.pi))


def log_likelihood(
    theta: Array,
    intercept: Array,
    exposure_sd: Array,
    pleiotropy_sd: Array,
    strong_share: Array,
    beta_exposure: Array,
    beta_outcome: Array,
    se_exposure: Array,
    se_outcome: Array,
    error_covariance: Array,
    region: Array,
    exposure_mean: Array,
    signs_given: Array,
) -> Array:
    """Log density of each variant's pair of effects (eq. 4); shape (..., J)."""
    if not signs_given:
        from .kernels import effects

        lead, S = np.shape(exposure_sd), theta.shape[-1]
        regional = (np.ascontiguousarray(v, dtype=float).reshape(-1, S) for v in (theta, intercept))
        single = (np.ravel(np.asarray(v, dtype=float)) for v in (exposure_sd, np.square(pleiotropy_sd), strong_share))
        data = (np.ascontiguousarray(v, dtype=float) for v in (beta_exposure, beta_outcome))
        noise = (np.ascontiguousarray(v, dtype=float) for v in (se_exposure**2, se_outcome**2, error_covariance))
        values: tuple[Any, ...] = (
            *regional,
            *single,
            np.ascontiguousarray(region, dtype=np.int64),
            *data,
            *noise,
            WEAK,
        )
        found = effects(*values)
        return np.asarray(found).reshape(*lead, -1)
    errors = se_exposure**2, se_outcome**2 + np.asarray(pleiotropy_sd)[..., None] ** 2, error_covariance
    of_gamma = np.asarray(exposure_sd)[..., None], np.asarray(strong_share)[..., None]
    of_y = theta[..., region], intercept[..., region]
    return spread(*of_y, *of_gamma, beta_exposure, beta_outcome, exposure_mean, *errors, bool(signs_given))


def mixture_log_likelihood(
    theta: Array,
    intercept: Array,
    exposure_sd: Array,
    pleiotropy_sd: Array,
    strong_share: Array,
    confounded_share: Array,
    confounded_effect: Array,
    beta_exposure: Array,
    beta_outcome: Array,
    se_exposure: Array,
    se_outcome: Array,
    error_covariance: Array,
    region: Array,
    exposure_mean: Array,
    signs_given: Array,
) -> Array:
    """Log density of each variant's pair of effects, confounded or not (eq. 4b); shape (..., J)."""
    errors = se_exposure**2, se_outcome**2 + np.asarray(pleiotropy_sd)[..., None] ** 2, error_covariance
    of_gamma = np.asarray(exposure_sd)[..., None], np.asarray(strong_share)[..., None]
    slope, more = theta[..., region], np.asarray(confounded_effect)[..., None]
    share, alpha = np.asarray(confounded_share)[..., None], intercept[..., region]
    rest: tuple[Any, ...] = beta_exposure, beta_outcome, exposure_mean, *errors, bool(signs_given)
    without, with_it = (spread(b, alpha, *of_gamma, *rest) for b in (slope, slope + more))
    with np.errstate(divide="ignore"):
        return np.asarray(np.logaddexp(np.log1p(-share) + without, np.log(share) + with_it))


def spread(
    slope: Array,
    alpha: Array,
    sd: Array,
    share: Array,
    x: Array,
    y: Array,
    mean: Array | float,
    A0: Array,
    B0: Array,
    C0: Array,
    signs_given: bool,
) -> Array:
    """Log density of (x, y), whether a variant is strong and its effect's sign being summed out (eq. 4)."""
    signs = (1.0,) if signs_given else (1.0, -1.0)
    with np.errstate(divide="ignore"):
        log_share = np.log(share), np.log1p(-share)
    total: Array | None = None
    for of, own in zip(log_share, (1.0, WEAK), strict=True):
        for o in signs:
            given = slope, (own * sd) ** 2, x, y - o * alpha, mean, A0, B0, C0
            one = of + pair(*given)
            if not signs_given:
                one = one + log_sign(*given, o)
            total = one if total is None else np.logaddexp(total, one)
    return np.asarray(total)


def log_sign(
    slope: Array,
    between: Array,
    x: Array,
    rest: Array,
    mean: Array | float,
    A0: Array,
    B0: Array,
    C0: Array,
    sign: Array | float,
) -> Array:
    """Log probability that the true effect has a sign, given x and rest; effects have no mean (eq. 3b)."""
    from scipy.special import log_ndtr

    determinant = A0 * B0 - C0**2
    pull = (x * (B0 - C0 * slope) + rest * (A0 * slope - C0)) / determinant
    information = (B0 - 2 * C0 * slope + A0 * slope**2) / determinant
    return np.asarray(log_ndtr(sign * pull * np.sqrt(between / (1 + between * information))))


def pair(
    slope: Array, between: Array, x: Array, rest: Array, mean: Array | float, A0: Array, B0: Array, C0: Array
) -> Array:
    """Log density of (x, y): gamma ~ Normal(mean, between), x = gamma + e, rest = slope gamma + f (eq. 3).

    ``A0``, ``B0`` and ``C0`` are variances and covariance of (e, f); ``rest`` is y less its intercept.
    """
    A, B, C = between + A0, slope**2 * between + B0, slope * between + C0
    u, r = x - mean, rest - slope * mean
    determinant = A * B - C**2
    quadratic = (B * u**2 - 2 * C * u * r + A * r**2) / determinant
    return np.asarray(-LOG_2PI - 0.5 * np.log(determinant) - 0.5 * quadratic)


def log_prior(
    global_effect: Array,
    heterogeneity: Array,
    theta: Array,
    intercept: Array,
    exposure_sd: Array,
    pleiotropy_sd: Array,
    exposure_scale: Array,
    outcome_scale: Array,
) -> Array:
    """Log prior density of the unknown variables, shape (...)."""
    ratio = outcome_scale / exposure_scale
    whole = normal(global_effect, MEAN_SD * ratio) + half_normal(heterogeneity, HETEROGENEITY * ratio)
    whole = whole + half_normal(exposure_sd, exposure_scale) + half_normal(pleiotropy_sd, PLEIOTROPY * outcome_scale)
    deviation = theta - np.asarray(global_effect)[..., None]
    regional = normal(deviation, np.asarray(heterogeneity)[..., None])
    regional = regional + intercepts.log_prior(intercept, outcome_scale)
    return np.asarray(whole + regional.sum(-1))


def mixture_log_prior(
    global_effect: Array,
    heterogeneity: Array,
    theta: Array,
    intercept: Array,
    exposure_sd: Array,
    pleiotropy_sd: Array,
    confounded_share: Array,
    confounded_effect: Array,
    exposure_scale: Array,
    outcome_scale: Array,
) -> Array:
    """Log prior density of the unknown variables of the mixture, shape (...)."""
    from scipy.special import betaln, xlog1py, xlogy

    common = log_prior(
        global_effect, heterogeneity, theta, intercept, exposure_sd, pleiotropy_sd, exposure_scale, outcome_scale
    )
    a, b = CONFOUNDED
    share = xlogy(a - 1, confounded_share) + xlog1py(b - 1, -np.asarray(confounded_share)) - betaln(a, b)
    return np.asarray(common + share + normal(confounded_effect, MEAN_SD * outcome_scale / exposure_scale))


def normal(x: Array, sd: Array) -> Array:
    """Log density of a normal distribution of mean zero."""
    return np.asarray(-0.5 * (x / sd) ** 2 - np.log(sd) - 0.5 * LOG_2PI)


def half_normal(x: Array, sd: Array) -> Array:
    """Log density of a half-normal distribution."""
    return np.asarray(normal(x, sd) + np.log(2))


def quantities(theta: Array, intercept: Array, global_effect: Array, heterogeneity: Array) -> Mapping[str, Any]:
    """Scalars whose ranks are sensitive: averages over regions, and what a new region would show."""
    return {
        "mean_theta": theta.mean(-1),
        "sd_theta": theta.std(-1),
        "mean_intercept": intercept.mean(-1),
        "signal": global_effect / heterogeneity,
    }


def mixture_quantities(
    theta: Array, intercept: Array, global_effect: Array, confounded_share: Array, confounded_effect: Array
) -> Mapping[str, Any]:
    """Scalars whose ranks are sensitive, in the mixture."""
    return {
        "mean_theta": theta.mean(-1),
        "sd_theta": theta.std(-1),
        "mean_intercept": intercept.mean(-1),
        "confounding": confounded_share * confounded_effect,
        "total": global_effect + confounded_share * confounded_effect,
    }


def statistics(beta_exposure: Array, beta_outcome: Array, se_exposure: Array, se_outcome: Array) -> Mapping[str, Any]:
    """Statistics of the effects for predictive checks."""
    with np.errstate(over="ignore", invalid="ignore"):  # replicates of a draw far out: infinite, or not a number
        z = beta_outcome / se_outcome
        x = beta_exposure / se_outcome
        size = np.abs(x).max()  # squares are of numbers up to 1
        slope = ((x / size) * (z / size)).sum() / ((x / size) ** 2).sum() if size > 0 else np.float64(np.nan)
        residual = z - slope * x
        return {
            "ivw": slope,
            "heterogeneity_q": (residual**2).mean(),
            "mean_f": ((beta_exposure / se_exposure) ** 2).mean(),
            "largest_residual": np.abs(residual).max(),
        }
