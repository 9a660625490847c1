"""Correlated instruments: one effect, from variants in linkage disequilibrium; equation numbers refer to the card.

A variant shows what those that it is correlated with do, too: the model has the effects of each on its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays, Calibration, Method, Problem, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.supports import positive, real

from . import intercepts
from .density import intercept
from .independence import independence
from .likelihood import LOG_2PI, half_normal, normal
from .story import MEAN_SD, PLEIOTROPY, draw_intercept, root_mean_square

BLOCK = 4_000_000
"""Numbers in a work array, at most."""

KNOWN = {
    "se_exposure": Var(("variant",), positive, "Standard error of the effect on the exposure.", "s_x"),
    "se_outcome": Var(("variant",), positive, "Standard error of the effect on the outcome.", "s_y"),
    "ld": Var(("variant", "other_variant"), real, "Correlation of variants, signed by their effect alleles.", "R"),
    "error_correlation": Var(
        (), real, "Correlation of a variant's two errors (overlapping samples).", "ρ", default=0.0
    ),
    "exposure_scale": Var(
        (), positive, "Scale of effects on the exposure in the priors.", "S_x",
        default=lambda beta_exposure: root_mean_square(beta_exposure),
    ),
    "outcome_scale": Var(
        (), positive, "Scale of effects on the outcome in the priors.", "S_y",
        default=lambda beta_outcome: root_mean_square(beta_outcome),
    ),
}  # fmt: skip

UNKNOWN = {
    "theta": Var((), real, "Causal effect.", "θ"),
    "intercept": Var((), real, "Mean pleiotropic effect of alleles that raise the exposure.", "α"),
    "exposure_sd": Var((), positive, "Standard deviation of true effects on the exposure.", "σ_γ"),
    "pleiotropy_sd": Var((), positive, "Standard deviation of pleiotropic effects.", "ω"),
}

HIDDEN = {
    "gamma": Var(("variant",), real, "Effect of a variant itself on the exposure.", "γ"),
    "pleiotropy": Var(("variant",), real, "Its effect on the outcome that does not go through the exposure.", "a"),
}

OBSERVED = {
    "beta_exposure": Var(("variant",), real, "Estimated effect on the exposure, with what correlated ones do.", "x"),
    "beta_outcome": Var(("variant",), real, "Estimated effect on the outcome, likewise.", "y"),
}

TOGETHER = 3
"""Variants in linkage disequilibrium with each other, in simulations; neighbours correlate by 0.6."""


def _ld(sizes: Sizes) -> Array:
    at = np.arange(sizes["variant"])
    same = at[:, None] // TOGETHER == at // TOGETHER
    return np.where(same, 0.6 ** np.abs(at[:, None] - at), 0.0)


def _errors(rng: np.random.Generator, sizes: Sizes) -> Array:
    return 0.3 * rng.lognormal(0, 0.2, sizes["variant"])


DESIGN: dict[str, Callable[..., Any]] = {
    "se_exposure": _errors,
    "se_outcome": _errors,
    "ld": _ld,
    "error_correlation": lambda: 0.3,
    "exposure_scale": lambda: 1.0,
    "outcome_scale": lambda: 1.0,
}

PRIOR: dict[str, Callable[..., Any]] = {
    "theta": lambda rng, exposure_scale, outcome_scale: np.asarray(
        rng.normal(0, MEAN_SD) * outcome_scale / exposure_scale
    ),
    "intercept": lambda rng, outcome_scale: draw_intercept(rng, {"region": 1}, outcome_scale)[0],
    "exposure_sd": lambda rng, exposure_scale: np.asarray(np.abs(rng.normal()) * exposure_scale),
    "pleiotropy_sd": lambda rng, outcome_scale: np.asarray(np.abs(rng.normal(0, PLEIOTROPY)) * outcome_scale),
}

HIDE: dict[str, Callable[..., Any]] = {
    "gamma": lambda rng, sizes, exposure_sd: rng.normal(0, exposure_sd, sizes["variant"]),
    "pleiotropy": lambda rng, sizes, pleiotropy_sd: rng.normal(0, pleiotropy_sd, sizes["variant"]),
}


def draw_effects(
    rng: np.random.Generator,
    gamma: Array,
    pleiotropy: Array,
    theta: Array,
    intercept: Array,
    se_exposure: Array,
    se_outcome: Array,
    ld: Array,
    error_correlation: Array,
) -> Mapping[str, Array]:
    """Spread every variant's effects over those that it is correlated with, and add errors (eq. 29)."""
    first, second = _errors_of(ld, rng.normal(size=(len(gamma), 2))).T
    x = se_exposure * (ld @ (gamma / se_exposure) + first)
    own = theta * gamma + pleiotropy + np.sign(x) * intercept
    error = error_correlation * first + np.sqrt(1 - error_correlation**2) * second
    return {"beta_exposure": x, "beta_outcome": se_outcome * (ld @ (own / se_outcome) + error)}


def _errors_of(ld: Array, noise: Array) -> Array:
    """Return errors that correlate as variants do, shape (J, 2), from independent ones."""
    out = np.empty_like(noise)
    for at in blocks(ld):
        out[at] = np.linalg.cholesky(ld[at[:, :, None], at[:, None, :]]) @ noise[at]
    return out


def blocks(ld: Array) -> list[Array]:
    """Return which variants are correlated with each other, directly or by others: blocks of equal size together.

    Returns
    -------
    list of ndarray of int, shape (B, m)
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    _, of = connected_components(csr_array(ld != 0), directed=False)
    members = [np.flatnonzero(of == one) for one in np.unique(of)]
    sizes = sorted({len(one) for one in members})
    return [np.stack([one for one in members if len(one) == size]) for size in sizes]


def log_likelihood(
    theta: Array,
    intercept: Array,
    exposure_sd: Array,
    pleiotropy_sd: Array,
    beta_exposure: Array,
    beta_outcome: Array,
    se_exposure: Array,
    se_outcome: Array,
    ld: Array,
    error_correlation: Array,
) -> Array:
    """Log density of all effects (eq. 30), shape (...)."""
    lead = np.shape(theta)
    theta, alpha, sd, omega = (np.ravel(v)[:, None, None] for v in (theta, intercept, exposure_sd, pleiotropy_sd))
    rho, rest = float(error_correlation), float(np.sqrt(1 - error_correlation**2))
    total = np.full(len(theta), -float(np.log(se_exposure * se_outcome * rest).sum()) - len(ld) * LOG_2PI)
    for at in blocks(ld):  # (B, m)
        R = ld[at[:, :, None], at[:, None, :]]
        sx, sy = se_exposure[at], se_outcome[at]
        first = beta_exposure[at] / sx
        second = (beta_outcome[at] / sy - rho * first) / rest
        q = np.sign(first) / (sy * rest)
        inverse = np.linalg.inv(R)
        spread = np.einsum("bij,bj->bi", R, q)
        fixed = sum(np.einsum("bi,bij,bj->", z, inverse, z) for z in (first, second))
        total -= 0.5 * fixed + float(np.linalg.slogdet(R)[1].sum())
        total += alpha[:, 0, 0] * (q * second).sum() - 0.5 * alpha[:, 0, 0] ** 2 * (q * spread).sum()
        size = max(1, BLOCK // (at.size * 4 * at.shape[1]))
        for low in range(0, len(theta), size):
            some = slice(low, low + size)
            b11 = sd[some] / sx
            b21 = (theta[some] * sd[some] / sy - rho * b11) / rest
            b22 = omega[some] / (sy * rest)
            moved = second - alpha[some] * spread
            total[some] += _evidence(R, b11, b21, b22, first, moved)
    return total.reshape(lead)


def _evidence(R: Array, b11: Array, b21: Array, b22: Array, first: Array, second: Array) -> Array:
    """Return what knowing effects only by their prior adds to the log density of blocks, summed; shape (S,)."""
    m = R.shape[-1]
    C = np.empty((*b11.shape[:2], 2 * m, 2 * m))
    C[..., :m, :m] = R * (b11[..., :, None] * b11[..., None, :] + b21[..., :, None] * b21[..., None, :])
    C[..., m:, :m] = R * b22[..., :, None] * b21[..., None, :]
    C[..., m:, m:] = R * b22[..., :, None] * b22[..., None, :]
    C[..., np.arange(2 * m), np.arange(2 * m)] += 1
    w = np.concatenate([b11 * first + b21 * second, b22 * second], -1)
    finite = np.isfinite(C[..., m:, :]).all((-3, -2, -1)) & np.isfinite(C[..., :m, :m]).all((-3, -2, -1))
    out = np.full(len(C), -np.inf)
    factor = np.linalg.cholesky(C[finite])
    solved = np.linalg.solve(factor, w[finite][..., None])[..., 0]
    log_diagonal = np.log(np.diagonal(factor, axis1=-2, axis2=-1))
    out[finite] = (0.5 * (solved**2).sum(-1) - log_diagonal.sum(-1)).sum(-1)
    return out


def log_prior(
    theta: Array,
    intercept: Array,
    exposure_sd: Array,
    pleiotropy_sd: Array,
    exposure_scale: Array,
    outcome_scale: Array,
) -> Array:
    """Log prior density of the unknown variables, shape (...)."""
    of_effects = normal(theta, MEAN_SD * outcome_scale / exposure_scale)
    of_effects = of_effects + intercepts.log_prior(intercept, outcome_scale)
    spreads = half_normal(exposure_sd, exposure_scale) + half_normal(pleiotropy_sd, PLEIOTROPY * outcome_scale)
    return np.asarray(of_effects + spreads)


def density(
    sizes: Sizes,
    beta_exposure: Any,
    beta_outcome: Any,
    se_exposure: Any,
    se_outcome: Any,
    ld: Any,
    error_correlation: Any,
    exposure_scale: Any,
    outcome_scale: Any,
) -> None:
    """Declare the density in PyMC: effects summed out, x first, then y given x."""
    import pymc as pm
    import pytensor.tensor as pt

    theta = pm.Normal("theta", 0, outcome_scale / exposure_scale)
    alpha = intercept(outcome_scale)
    sd = pm.HalfNormal("exposure_sd", exposure_scale)
    omega = pm.HalfNormal("pleiotropy_sd", 0.5 * outcome_scale)

    def by(left: Any, middle: Any, right: Any) -> Any:
        return left[:, None] * middle * right[None, :]

    to_x, to_y = by(se_exposure, ld, 1 / se_exposure), by(se_outcome, ld, 1 / se_outcome)
    of_x = sd**2 * to_x @ to_x.T + by(se_exposure, ld, se_exposure)
    both = theta * sd**2 * to_y @ to_x.T + error_correlation * by(se_outcome, ld, se_exposure)
    of_y = (theta**2 * sd**2 + omega**2) * to_y @ to_y.T + by(se_outcome, ld, se_outcome)
    slope = pt.linalg.solve(of_x, both.T, assume_a="pos").T
    mean = alpha * to_y @ pt.sign(beta_exposure) + slope @ beta_exposure
    left = of_y - slope @ both.T
    zero = pt.zeros_like(beta_exposure)
    total = pm.logp(pm.MvNormal.dist(zero, cov=of_x), beta_exposure)
    pm.Potential("effects", total + pm.logp(pm.MvNormal.dist(mean, cov=(left + left.T) / 2), beta_outcome))


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start at moments of the data, as if variants were independent."""
    x, y, sx, sy = (problem[name] for name in ("beta_exposure", "beta_outcome", "se_exposure", "se_outcome"))
    w = sy**-2.0
    theta = float((w * x * y).sum() / (w * np.maximum(x**2 - 0.9 * sx**2, 0.1 * x**2)).sum())
    rest = y - theta * x
    tiny_x, tiny_y = (1e-12 * problem[name] ** 2 for name in ("exposure_scale", "outcome_scale"))
    return {
        "theta": np.array(theta),
        "intercept": np.array(0.0),
        "exposure_sd": np.sqrt(np.maximum((x**2 - sx**2).mean(), 0.05 * (x**2).mean() + tiny_x)),
        "pleiotropy_sd": np.sqrt(np.maximum((rest**2 - sy**2).mean(), 0.05 * (y**2).mean() + tiny_y)),
    }


def check(problem: Problem) -> None:
    """Reject what is no matrix of correlations, and a correlation of errors that none can have."""
    require_ld(problem["ld"], problem.coords["variant"])
    if not -1 < float(problem["error_correlation"]) < 1:
        raise InputError(
            f"mendelian_randomization: known variable 'error_correlation' is {float(problem['error_correlation']):g}, "
            "but must be between -1 and 1."
        )


def require_ld(
    ld: Array, names: Array, source: str = "mendelian_randomization: known variable 'ld'", invertible: bool = True
) -> None:
    """Raise an error unless a matrix is one of correlations that variants can have, and can be inverted.

    Parameters
    ----------
    ld : ndarray, shape (J, J)
    names : sequence, length J
        Of the variants.
    source : str
        What the matrix is, for messages.
    invertible : bool
        Whether it is to be invertible.

    Raises
    ------
    InputError
    """
    if ld.ndim != 2 or ld.shape != (len(names), len(names)):
        raise InputError(f"{source} has shape {ld.shape}, but there are {len(names)} variants. Give one row for each.")
    for what, bad in (
        ("is not finite", ~np.isfinite(ld)),
        ("differs from what it is the other way round", ~np.isclose(ld, ld.T, rtol=0, atol=1e-6)),
        ("is beyond -1 or 1", np.abs(ld) > 1 + 1e-6),
        ("should be 1, of a variant with itself", (np.eye(len(ld)) == 1) & ~np.isclose(ld, 1, rtol=0, atol=1e-3)),
    ):
        if bad.any():
            i, k = np.argwhere(bad)[0]
            raise InputError(
                f"{source} at {names[i]}, {names[k]} is {ld[i, k]:g}: it {what} ({int(bad.sum())} such values). Give "
                "correlations (r, not r squared) of the variants' effect alleles."
            )
    values, vectors = np.linalg.eigh(ld) if invertible else (np.ones(1), ld)
    if values[0] < 1e-6:
        first, second = np.argsort(-np.abs(vectors[:, 0]))[:2] if len(ld) > 1 else (0, 0)
        raise InputError(
            f"{source} cannot be inverted (least eigenvalue {values[0]:.2g}): variants such as {names[first]} and "
            f"{names[second]} say the same, or the correlations fit no sample. Leave out variants whose squared "
            "correlation with a stronger one is high (clumping)."
        )


def quantities(theta: Array, pleiotropy_sd: Array, exposure_sd: Array) -> Mapping[str, Any]:
    """Scalars whose ranks are sensitive."""
    return {"through": theta * exposure_sd, "share": pleiotropy_sd / np.hypot(pleiotropy_sd, theta * exposure_sd)}


def statistics(beta_exposure: Array, beta_outcome: Array, se_exposure: Array, se_outcome: Array) -> Mapping[str, Any]:
    """Statistics of the effects for predictive checks."""
    x, y = beta_exposure / se_exposure, beta_outcome / se_outcome
    return {"mean_f": (x**2).mean(), "mean_f_outcome": (y**2).mean(), "products": (x * y).mean()}


def parts() -> dict[str, Any]:
    """Return what the declaration is made of."""
    return {
        "sizes": {"variant": 90, "other_variant": 90},
        "known": Stage(KNOWN, DESIGN),
        "unknown": Stage(UNKNOWN, PRIOR),
        "hidden": Stage(HIDDEN, HIDE),
        "observed": Stage(OBSERVED, draw_effects),
        "density": density,
        "log_likelihood": log_likelihood,
        "log_prior": log_prior,
        "vectorized": True,
        "derived_dims": {"other_variant": lambda variant: variant},
        "methods": {"independence": Method(independence, "exact", "Metropolis sampling from a fitted t density.")},
        "start": start,
        "test_quantities": quantities,
        "statistics": statistics,
        "check": check,
        "headline": lambda sizes: ("theta",),
        "calibration": Calibration(
            settings={"variant": 45},
            control={"error_correlation": -0.9},
        ),
    }
