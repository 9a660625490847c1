"""The story as draw functions: every variable from its parents."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Sizes

ERROR = 0.3
"""Typical standard error in simulations, in units of the effects' scale."""

MEAN_SD, HETEROGENEITY, INTERCEPT, PLEIOTROPY = 1.0, 0.5, 0.3, 0.5
"""Scales of the priors, in units of the effects' scales."""

DIRECTIONAL, BALANCED = 0.2, 0.05
"""Chance that pleiotropy in a region is directional; sd of intercepts where it is not, in units of the outcome's scale.
Directional pleiotropy is the exception: a wide prior for all intercepts would cost precision where there is none."""

WEAK = 0.1
"""Spread of the effects of variants that are not strong, over that of the strong ones."""

CONFOUNDED = (1.0, 10.0)
"""Beta prior of the share of confounded variants: few of them, as in CAUSE (Morrison et al. 2020)."""


def root_mean_square(beta: Array) -> float:
    """Root mean square of effects: where a few are strong and the others are not, about that of the strong."""
    top = float(np.abs(beta).max())
    return top * float(np.sqrt(((beta / top) ** 2).mean())) if top > 0 else 1.0


def orientation(signs_given: Array, gamma: Array) -> Array:
    """Return the factor of each variant's mean pleiotropic effect: 1, or the sign of its effect on the exposure."""
    return np.where(np.asarray(signs_given) != 0, 1.0, np.sign(gamma))


def _errors(rng: np.random.Generator, sizes: Sizes) -> Array:
    return ERROR * rng.lognormal(0, 0.2, sizes["variant"])


DESIGN: Mapping[str, Callable[..., Any]] = {
    "se_exposure": _errors,
    "se_outcome": _errors,
    "error_covariance": lambda se_exposure, se_outcome: 0.4 * se_exposure * se_outcome,
    "region": lambda sizes: np.arange(sizes["variant"]) * sizes["region"] // sizes["variant"],
    "exposure_mean": lambda: 0.0,
    "signs_given": lambda: 0,
    "exposure_scale": lambda: 1.0,
    "outcome_scale": lambda: 1.0,
}


def draw_global(rng: np.random.Generator, exposure_scale: Array, outcome_scale: Array) -> Array:
    """Theta ~ Normal(0, 1), in units of the ratio of the scales."""
    return np.asarray(rng.normal(0, MEAN_SD) * outcome_scale / exposure_scale)


def draw_heterogeneity(rng: np.random.Generator, exposure_scale: Array, outcome_scale: Array) -> Array:
    """Draw tau from a half-normal distribution."""
    return np.asarray(np.abs(rng.normal(0, HETEROGENEITY)) * outcome_scale / exposure_scale)


def draw_theta(rng: np.random.Generator, sizes: Sizes, global_effect: Array, heterogeneity: Array) -> Array:
    """theta_s ~ Normal(Theta, tau)."""
    return rng.normal(global_effect, heterogeneity, sizes["region"])


def draw_intercept(rng: np.random.Generator, sizes: Sizes, outcome_scale: Array) -> Array:
    """alpha_s ~ Normal(0, 0.3), in units of the outcome's scale, where pleiotropy is directional; else 0.05."""
    directional = rng.uniform(size=sizes["region"]) < DIRECTIONAL
    return rng.normal(0, np.where(directional, INTERCEPT, BALANCED) * outcome_scale)


def draw_exposure_sd(rng: np.random.Generator, exposure_scale: Array) -> Array:
    """Draw sigma_gamma from a half-normal distribution."""
    return np.asarray(np.abs(rng.normal()) * exposure_scale)


def draw_pleiotropy_sd(rng: np.random.Generator, outcome_scale: Array) -> Array:
    """Draw omega from a half-normal distribution."""
    return np.asarray(np.abs(rng.normal(0, PLEIOTROPY)) * outcome_scale)


def draw_strong_share(rng: np.random.Generator) -> Array:
    """Draw the share of strong variants from a uniform distribution."""
    return np.asarray(rng.uniform())


PRIOR: Mapping[str, Callable[..., Array]] = {
    "global_effect": draw_global,
    "heterogeneity": draw_heterogeneity,
    "theta": draw_theta,
    "intercept": draw_intercept,
    "exposure_sd": draw_exposure_sd,
    "pleiotropy_sd": draw_pleiotropy_sd,
    "strong_share": draw_strong_share,
}


def draw_strong(rng: np.random.Generator, sizes: Sizes, strong_share: Array) -> Array:
    """r_j ~ Bernoulli(p)."""
    return (rng.uniform(size=sizes["variant"]) < strong_share).astype(np.int64)


def draw_gamma(rng: np.random.Generator, exposure_mean: Array, exposure_sd: Array, strong: Array) -> Array:
    """gamma_j ~ Normal(mu_gamma, sigma_gamma), of a tenth of that spread if the variant is not strong."""
    return rng.normal(exposure_mean, exposure_sd * np.where(strong, 1.0, WEAK))


def draw_pleiotropy(rng: np.random.Generator, sizes: Sizes, pleiotropy_sd: Array) -> Array:
    """a_j ~ Normal(0, omega)."""
    return rng.normal(0, pleiotropy_sd, sizes["variant"])


def draw_confounded_share(rng: np.random.Generator) -> Array:
    """Draw the share q of confounded variants from Beta(1, 10)."""
    return np.asarray(rng.beta(*CONFOUNDED))


def draw_confounded(rng: np.random.Generator, sizes: Sizes, confounded_share: Array) -> Array:
    """z_j ~ Bernoulli(q)."""
    return (rng.uniform(size=sizes["variant"]) < confounded_share).astype(np.int64)


MIXTURE_PRIOR: Mapping[str, Callable[..., Array]] = {
    **PRIOR,
    "confounded_share": draw_confounded_share,
    "confounded_effect": draw_global,  # eta ~ Normal(0, 1), on the scale of Theta
}


def draw_effects(
    rng: np.random.Generator,
    gamma: Array,
    pleiotropy: Array,
    theta: Array,
    intercept: Array,
    region: Array,
    se_exposure: Array,
    se_outcome: Array,
    error_covariance: Array,
    signs_given: Array,
) -> Mapping[str, Array]:
    """Add correlated errors to the true effects (eq. 1)."""
    outcome = theta[region] * gamma + pleiotropy
    return _observe(rng, gamma, outcome, intercept[region], se_exposure, se_outcome, error_covariance, signs_given)


def draw_confounded_effects(
    rng: np.random.Generator,
    gamma: Array,
    pleiotropy: Array,
    confounded: Array,
    confounded_effect: Array,
    theta: Array,
    intercept: Array,
    region: Array,
    se_exposure: Array,
    se_outcome: Array,
    error_covariance: Array,
    signs_given: Array,
) -> Mapping[str, Array]:
    """Add correlated errors to the true effects, those of confounded variants on the outcome being larger (eq. 2)."""
    slope = theta[region] + confounded_effect * confounded
    outcome = slope * gamma + pleiotropy
    return _observe(rng, gamma, outcome, intercept[region], se_exposure, se_outcome, error_covariance, signs_given)


def _observe(
    rng: np.random.Generator,
    exposure: Array,
    outcome: Array,
    directed: Array,
    se_exposure: Array,
    se_outcome: Array,
    covariance: Array,
    signs_given: Array,
) -> Mapping[str, Array]:
    first, second = rng.normal(size=(2, len(exposure)))
    slope = covariance / se_exposure
    error = slope * first + np.sqrt(se_outcome**2 - slope**2) * second
    x = exposure + se_exposure * first
    return {"beta_exposure": x, "beta_outcome": outcome + orientation(signs_given, exposure) * directed + error}
