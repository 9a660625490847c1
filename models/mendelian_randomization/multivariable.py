"""Several exposures: direct effects of each on the outcome; equation numbers refer to the card (README.md)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays, Calibration, Method, Problem, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.supports import positive, real

from .independence import independence
from .likelihood import LOG_2PI, half_normal, normal
from .story import MEAN_SD, PLEIOTROPY, root_mean_square

KNOWN = {
    "se_exposure": Var(("variant", "exposure"), positive, "Standard errors of the effects on the exposures.", "s_x"),
    "se_outcome": Var(("variant",), positive, "Standard error of the effect on the outcome.", "s_y"),
    "exposure_correlation": Var(
        ("exposure", "other_exposure"), real, "Correlation of the errors of a variant's effects on the exposures.", "P",
        default=lambda beta_exposure: np.eye(beta_exposure.shape[1]),
    ),
    "outcome_correlation": Var(
        ("exposure",), real, "Correlation of the outcome's error with that of each exposure.", "ρ", default=0.0
    ),
    "exposure_scale": Var(
        ("exposure",), positive, "Scale of effects on each exposure in the priors.", "S_x",
        default=lambda beta_exposure: np.array([root_mean_square(one) for one in beta_exposure.T]),
    ),
    "outcome_scale": Var(
        (), positive, "Scale of effects on the outcome in the priors.", "S_y",
        default=lambda beta_outcome: root_mean_square(beta_outcome),
    ),
}  # fmt: skip

UNKNOWN = {
    "theta": Var(("exposure",), real, "Direct effect of each exposure, the others held.", "θ"),
    "exposure_sd": Var(("exposure",), positive, "Sd of true effects that earlier exposures do not explain.", "σ_γ"),
    "loading": Var(("pair",), real, "Regression of an exposure's true effects on an earlier one's.", "φ"),
    "pleiotropy_sd": Var((), positive, "Standard deviation of pleiotropic effects.", "ω"),
}

HIDDEN = {
    "gamma": Var(("variant", "exposure"), real, "True effects on the exposures.", "γ"),
    "pleiotropy": Var(("variant",), real, "Effect on the outcome that goes through none of them.", "a"),
}

OBSERVED = {
    "beta_exposure": Var(("variant", "exposure"), real, "Estimated effects on the exposures.", "x"),
    "beta_outcome": Var(("variant",), real, "Estimated effect on the outcome.", "y"),
}


def pairs(exposure: Array) -> Array:
    """Return the labels of pairs of exposures, the earlier one last."""
    return np.array([f"{later} on {earlier}" for k, later in enumerate(exposure) for earlier in exposure[:k]])


def _errors(rng: np.random.Generator, *shape: int) -> Array:
    return 0.3 * rng.lognormal(0, 0.2, shape)


DESIGN: dict[str, Callable[..., Any]] = {
    "se_exposure": lambda rng, sizes: _errors(rng, sizes["variant"], sizes["exposure"]),
    "se_outcome": lambda rng, sizes: _errors(rng, sizes["variant"]),
    "exposure_correlation": lambda sizes: 0.7 * np.eye(sizes["exposure"]) + 0.3,
    "outcome_correlation": lambda sizes: np.full(sizes["exposure"], 0.3),
    "exposure_scale": lambda sizes: np.ones(sizes["exposure"]),
    "outcome_scale": lambda: 1.0,
}

PRIOR: dict[str, Callable[..., Any]] = {
    "theta": lambda rng, exposure_scale, outcome_scale: rng.normal(0, MEAN_SD * outcome_scale / exposure_scale),
    "exposure_sd": lambda rng, exposure_scale: np.abs(rng.normal(0, exposure_scale)),
    "loading": lambda rng, exposure_scale: rng.normal(0, loading_scale(exposure_scale)),
    "pleiotropy_sd": lambda rng, outcome_scale: np.asarray(np.abs(rng.normal(0, PLEIOTROPY)) * outcome_scale),
}


def loading_scale(exposure_scale: Array) -> Array:
    """Return the scales of the loadings' priors: of the later exposure over the earlier one."""
    later, earlier = np.tril_indices(len(exposure_scale), -1)
    return np.asarray(exposure_scale[later] / exposure_scale[earlier])


def factor(exposure_sd: Array, loading: Array) -> Array:
    """Return the lower-triangular factor of the covariance of true effects (eq. 31), shape (..., K, K)."""
    K = exposure_sd.shape[-1]
    out = np.zeros((*exposure_sd.shape, K))
    at = 0
    for k in range(K):
        out[..., k, :] = (loading[..., at : at + k, None] * out[..., :k, :]).sum(-2)
        out[..., k, k] = exposure_sd[..., k]
        at += k
    return out


def draw_gamma(rng: np.random.Generator, sizes: Sizes, exposure_sd: Array, loading: Array) -> Array:
    """gamma_j ~ Normal(0, L L')."""
    return np.asarray(rng.normal(size=(sizes["variant"], sizes["exposure"])) @ factor(exposure_sd, loading).T)


HIDE: dict[str, Callable[..., Any]] = {
    "gamma": draw_gamma,
    "pleiotropy": lambda rng, sizes, pleiotropy_sd: rng.normal(0, pleiotropy_sd, sizes["variant"]),
}


def correlation(exposure_correlation: Array, outcome_correlation: Array) -> Array:
    """Return the correlation of all errors of a variant, the outcome's last."""
    c = np.asarray(outcome_correlation)[:, None]
    return np.block([[exposure_correlation, c], [c.T, np.ones((1, 1))]])


def draw_effects(
    rng: np.random.Generator,
    gamma: Array,
    pleiotropy: Array,
    theta: Array,
    se_exposure: Array,
    se_outcome: Array,
    exposure_correlation: Array,
    outcome_correlation: Array,
) -> Mapping[str, Array]:
    """Add correlated errors to the true effects (eq. 31)."""
    root = np.linalg.cholesky(correlation(exposure_correlation, outcome_correlation))
    error = rng.normal(size=(len(gamma), len(root))) @ root.T
    return {
        "beta_exposure": gamma + se_exposure * error[:, :-1],
        "beta_outcome": gamma @ theta + pleiotropy + se_outcome * error[:, -1],
    }


def log_likelihood(
    theta: Array,
    exposure_sd: Array,
    loading: Array,
    pleiotropy_sd: Array,
    beta_exposure: Array,
    beta_outcome: Array,
    se_exposure: Array,
    se_outcome: Array,
    exposure_correlation: Array,
    outcome_correlation: Array,
) -> Array:
    """Log density of each variant's effects, true ones summed out (eq. 32); shape (..., J)."""
    K = theta.shape[-1]
    L = factor(exposure_sd, loading)
    through = np.concatenate([L, (theta[..., None, :] @ L)], -2)  # (..., K + 1, K)
    own = through @ np.swapaxes(through, -1, -2)
    own[..., K, K] += np.asarray(pleiotropy_sd) ** 2
    s = np.concatenate([se_exposure, se_outcome[:, None]], 1)
    noise = correlation(exposure_correlation, outcome_correlation) * s[:, :, None] * s[:, None, :]
    seen = np.concatenate([beta_exposure, beta_outcome[:, None]], 1)
    total = own[..., None, :, :] + noise
    bad = ~np.isfinite(total).all((-1, -2))
    total[bad] = np.eye(K + 1)
    root = np.linalg.cholesky(total)
    z = np.linalg.solve(root, seen[..., None])[..., 0]
    value = -0.5 * (z**2).sum(-1) - np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(-1) - 0.5 * (K + 1) * LOG_2PI
    return np.where(bad, -np.inf, value)


def log_prior(
    theta: Array, exposure_sd: Array, loading: Array, pleiotropy_sd: Array, exposure_scale: Array, outcome_scale: Array
) -> Array:
    """Log prior density of the unknown variables, shape (...)."""
    each = normal(theta, MEAN_SD * outcome_scale / exposure_scale) + half_normal(exposure_sd, exposure_scale)
    loadings = normal(loading, loading_scale(exposure_scale)).sum(-1)
    return np.asarray(each.sum(-1) + loadings + half_normal(pleiotropy_sd, PLEIOTROPY * outcome_scale))


def density(
    sizes: Sizes,
    beta_exposure: Any,
    beta_outcome: Any,
    se_exposure: Any,
    se_outcome: Any,
    exposure_correlation: Any,
    outcome_correlation: Any,
    exposure_scale: Any,
    outcome_scale: Any,
) -> None:
    """Declare the density in PyMC: the regression of y on what the exposures' effects say."""
    import pymc as pm
    import pytensor.tensor as pt

    K = sizes["exposure"]
    theta = pm.Normal("theta", 0, outcome_scale / exposure_scale, dims="exposure")
    sd = pm.HalfNormal("exposure_sd", exposure_scale, dims="exposure")
    later, earlier = np.tril_indices(K, -1)
    loading = pm.Normal("loading", 0, exposure_scale[later] / exposure_scale[earlier], dims="pair")
    omega = pm.HalfNormal("pleiotropy_sd", 0.5 * outcome_scale)

    phi = pt.set_subtensor(pt.zeros((K, K))[later, earlier], loading)
    mixing = pt.linalg.solve_triangular(pt.eye(K) - phi, pt.diag(sd), lower=True)
    of_gamma = mixing @ mixing.T
    of_x = of_gamma + exposure_correlation * se_exposure[:, :, None] * se_exposure[:, None, :]
    cross = of_gamma @ theta + outcome_correlation * se_exposure * se_outcome[:, None]  # (J, K)
    of_y = theta @ of_gamma @ theta + omega**2 + se_outcome**2
    root = pt.linalg.cholesky(of_x)
    stacked = pt.stack([beta_exposure, cross], axis=-1)
    white = pt.linalg.solve_triangular(root, stacked, lower=True, b_ndim=2)  # (J, K, 2)
    left = of_y - (white[:, :, 1] ** 2).sum(1)
    expected = (white[:, :, 0] * white[:, :, 1]).sum(1)
    diagonal = pt.diagonal(root, axis1=-2, axis2=-1)
    of_effects = -0.5 * (white[:, :, 0] ** 2).sum() - pt.log(diagonal).sum()
    pm.Potential("effects", of_effects + pm.logp(pm.Normal.dist(expected, pt.sqrt(left)), beta_outcome).sum())


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start at a weighted regression."""
    x, y, sx, sy = (problem[name] for name in ("beta_exposure", "beta_outcome", "se_exposure", "se_outcome"))
    K = x.shape[1]
    w = sy[:, None] ** -2.0
    ridge = 1e-3 * np.diag((w * x**2).sum(0))
    theta = np.linalg.solve((w * x).T @ x + ridge, (w * x).T @ y)
    rest = y - x @ theta
    tiny_x, tiny_y = (1e-12 * problem[name] ** 2 for name in ("exposure_scale", "outcome_scale"))
    spread = np.maximum((x**2 - sx**2).mean(0), 0.05 * (x**2).mean(0) + tiny_x)
    return {
        "theta": theta,
        "exposure_sd": np.sqrt(spread),
        "loading": np.zeros(K * (K - 1) // 2),
        "pleiotropy_sd": np.sqrt(np.maximum((rest**2 - sy**2).mean(), 0.02 * (y**2).mean() + tiny_y)),
    }


def check(problem: Problem) -> None:
    """Reject a single exposure, and correlations that no errors can have."""
    if problem.sizes["exposure"] < 2:
        raise InputError("mendelian_randomization: there is one exposure. Leave design='multivariable' out.")
    matrix = correlation(problem["exposure_correlation"], problem["outcome_correlation"])
    if not (np.allclose(np.diag(matrix), 1) and np.allclose(matrix, matrix.T) and np.linalg.eigvalsh(matrix)[0] > 1e-8):
        raise InputError(
            "mendelian_randomization: known variables 'exposure_correlation' and 'outcome_correlation' are no "
            "correlations that errors can have: symmetric, 1 on the diagonal, and no combination without variance. "
            "Correct them (LDSC's intercepts), or leave them out for separate samples."
        )


def quantities(theta: Array, exposure_sd: Array, pleiotropy_sd: Array) -> Mapping[str, Any]:
    """Scalars whose ranks are sensitive."""
    return {
        "total": theta.sum(-1),
        "contrast": theta[..., 0] - theta[..., 1],
        "through": (theta * exposure_sd).sum(-1) / pleiotropy_sd,
    }


def statistics(beta_exposure: Array, beta_outcome: Array, se_exposure: Array, se_outcome: Array) -> Mapping[str, Any]:
    """Statistics of the effects for predictive checks."""
    x, y = beta_exposure / se_exposure, beta_outcome / se_outcome
    return {"mean_f": (x**2).mean(), "mean_f_outcome": (y**2).mean(), "products": (x[:, 0] * y).mean()}


def parts() -> dict[str, Any]:
    """Return what the declaration is made of."""
    return {
        "sizes": {"variant": 120, "exposure": 2, "other_exposure": 2, "pair": 1},
        "known": Stage(KNOWN, DESIGN),
        "unknown": Stage(UNKNOWN, PRIOR),
        "hidden": Stage(HIDDEN, HIDE),
        "observed": Stage(OBSERVED, draw_effects),
        "density": density,
        "log_likelihood": log_likelihood,
        "log_prior": log_prior,
        "vectorized": True,
        "unit": "variant",
        "derived_dims": {"other_exposure": lambda exposure: exposure, "pair": pairs},
        "methods": {"independence": Method(independence, "exact", "Metropolis sampling from a fitted t density.")},
        "start": start,
        "test_quantities": quantities,
        "statistics": statistics,
        "check": check,
        "headline": lambda sizes: ("theta",),
        "calibration": Calibration(settings={"variant": 80}, control={"outcome_correlation": -0.8}),
    }
