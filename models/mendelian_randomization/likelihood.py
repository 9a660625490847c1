"""Densities in NumPy, true effects and pleiotropy of variants summed out; draws may lead in every unknown variable."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array

from .story import HETEROGENEITY, INTERCEPT, MEAN_SD, PLEIOTROPY

LOG_2PI = float(np.log(2 * np.pi))


def log_likelihood(
    theta: Array,
    intercept: Array,
    exposure_sd: Array,
    pleiotropy_sd: Array,
    beta_exposure: Array,
    beta_outcome: Array,
    se_exposure: Array,
    se_outcome: Array,
    error_covariance: Array,
    region: Array,
    exposure_mean: Array,
) -> Array:
    """Log density of each variant's pair of effects (eq. 3); shape (..., J)."""
    slope = theta[..., region]
    between = np.asarray(exposure_sd)[..., None] ** 2
    A = between + se_exposure**2
    C = slope * between + error_covariance
    B = slope**2 * between + np.asarray(pleiotropy_sd)[..., None] ** 2 + se_outcome**2
    u = beta_exposure - exposure_mean
    r = beta_outcome - intercept[..., region] - slope * exposure_mean
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
    whole = _normal(global_effect, MEAN_SD * ratio) + _half_normal(heterogeneity, HETEROGENEITY * ratio)
    whole = whole + _half_normal(exposure_sd, exposure_scale) + _half_normal(pleiotropy_sd, PLEIOTROPY * outcome_scale)
    deviation = theta - np.asarray(global_effect)[..., None]
    regional = _normal(deviation, np.asarray(heterogeneity)[..., None]) + _normal(intercept, INTERCEPT * outcome_scale)
    return np.asarray(whole + regional.sum(-1))


def _normal(x: Array, sd: Array) -> Array:
    return np.asarray(-0.5 * (x / sd) ** 2 - np.log(sd) - 0.5 * LOG_2PI)


def _half_normal(x: Array, sd: Array) -> Array:
    return np.asarray(_normal(x, sd) + np.log(2))


def quantities(theta: Array, intercept: Array, global_effect: Array, heterogeneity: Array) -> Mapping[str, Any]:
    """Scalars whose ranks are sensitive: averages over regions, and what a new region would show."""
    return {
        "mean_theta": theta.mean(-1),
        "sd_theta": theta.std(-1),
        "mean_intercept": intercept.mean(-1),
        "signal": global_effect / heterogeneity,
    }


def statistics(beta_exposure: Array, beta_outcome: Array, se_exposure: Array, se_outcome: Array) -> Mapping[str, Any]:
    """Statistics of the effects for predictive checks."""
    w = se_outcome**-2.0
    slope = (w * beta_exposure * beta_outcome).sum() / (w * beta_exposure**2).sum()
    return {
        "ivw": slope,
        "heterogeneity_q": (w * (beta_outcome - slope * beta_exposure) ** 2).mean(),
        "mean_f": ((beta_exposure / se_exposure) ** 2).mean(),
        "largest_residual": (np.sqrt(w) * np.abs(beta_outcome - slope * beta_exposure)).max(),
    }
