"""Both directions: each trait acts on the other, and each has instruments of its own.

Equation numbers refer to the card (README.md).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays, Calibration, Method, Problem, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.supports import boolean, positive, real

from .independence import independence
from .likelihood import LOG_2PI, half_normal, normal
from .story import PLEIOTROPY, root_mean_square

EFFECT = 0.5
"""Scale of the effects' priors, in units of the traits' scales."""

KNOWN = {
    "se_exposure": Var(("variant",), positive, "Standard error of the effect on the first trait.", "s_x"),
    "se_outcome": Var(("variant",), positive, "Standard error of the effect on the second trait.", "s_y"),
    "error_covariance": Var(("variant",), real, "Covariance of a variant's two errors.", "c", default=0.0),
    "of_outcome": Var(("variant",), boolean, "Whether a variant is an instrument of the second trait.", "v"),
    "exposure_scale": Var(
        (), positive, "Scale of effects on the first trait in the priors.", "S_x",
        default=lambda beta_exposure: root_mean_square(beta_exposure),
    ),
    "outcome_scale": Var(
        (), positive, "Scale of effects on the second trait in the priors.", "S_y",
        default=lambda beta_outcome: root_mean_square(beta_outcome),
    ),
}  # fmt: skip

UNKNOWN = {
    "theta": Var((), real, "Effect of the first trait on the second.", "θ"),
    "reverse": Var((), real, "Effect of the second trait on the first.", "ψ"),
    "exposure_sd": Var((), positive, "Sd of direct effects of the first trait's instruments on it.", "σ_x"),
    "outcome_sd": Var((), positive, "Sd of direct effects of the second trait's instruments on it.", "σ_y"),
    "pleiotropy_sd": Var((), positive, "Sd of direct effects of the first one's instruments on the second.", "ω_y"),
    "pleiotropy_exposure_sd": Var((), positive, "The same the other way round.", "ω_x"),
}

HIDDEN = {
    "direct_exposure": Var(("variant",), real, "Effect on the first trait that does not go through the other.", "d_x"),
    "direct_outcome": Var(("variant",), real, "Effect on the second trait, likewise.", "d_y"),
}

OBSERVED = {
    "beta_exposure": Var(("variant",), real, "Estimated effect on the first trait.", "x"),
    "beta_outcome": Var(("variant",), real, "Estimated effect on the second trait.", "y"),
}


def _errors(rng: np.random.Generator, sizes: Sizes) -> Array:
    return 0.3 * rng.lognormal(0, 0.2, sizes["variant"])


DESIGN: dict[str, Callable[..., Any]] = {
    "se_exposure": _errors,
    "se_outcome": _errors,
    "error_covariance": lambda se_exposure, se_outcome: 0.3 * se_exposure * se_outcome,
    "of_outcome": lambda sizes: np.arange(sizes["variant"]) % 2,
    "exposure_scale": lambda: 1.0,
    "outcome_scale": lambda: 1.0,
}


def draw_unknown(rng: np.random.Generator, exposure_scale: Array, outcome_scale: Array) -> Mapping[str, Array]:
    """Draw effects until no circle of them amplifies itself, and half-normal spreads (eq. 33)."""
    ratio = outcome_scale / exposure_scale
    while True:
        there, back = rng.normal(0, EFFECT, 2)
        if abs(there * back) < 1:
            break
    scales = {
        "exposure_sd": exposure_scale,
        "outcome_sd": outcome_scale,
        "pleiotropy_sd": PLEIOTROPY * outcome_scale,
        "pleiotropy_exposure_sd": PLEIOTROPY * exposure_scale,
    }
    spreads = {name: np.asarray(np.abs(rng.normal()) * scale) for name, scale in scales.items()}
    return {"theta": np.asarray(there * ratio), "reverse": np.asarray(back / ratio), **spreads}


def draw_hidden(
    rng: np.random.Generator,
    of_outcome: Array,
    exposure_sd: Array,
    outcome_sd: Array,
    pleiotropy_sd: Array,
    pleiotropy_exposure_sd: Array,
) -> Mapping[str, Array]:
    """Draw direct effects, by what a variant is an instrument of."""
    return {
        "direct_exposure": rng.normal(0, np.where(of_outcome, pleiotropy_exposure_sd, exposure_sd)),
        "direct_outcome": rng.normal(0, np.where(of_outcome, outcome_sd, pleiotropy_sd)),
    }


def draw_effects(
    rng: np.random.Generator,
    direct_exposure: Array,
    direct_outcome: Array,
    theta: Array,
    reverse: Array,
    se_exposure: Array,
    se_outcome: Array,
    error_covariance: Array,
) -> Mapping[str, Array]:
    """Let effects go round between the traits, and add errors (eq. 33)."""
    first, second = rng.normal(size=(2, len(direct_exposure)))
    slope = error_covariance / se_exposure
    more = 1 / (1 - theta * reverse)
    x = more * (direct_exposure + reverse * direct_outcome) + se_exposure * first
    y = more * (direct_outcome + theta * direct_exposure)
    return {"beta_exposure": x, "beta_outcome": y + slope * first + np.sqrt(se_outcome**2 - slope**2) * second}


def log_likelihood(
    theta: Array,
    reverse: Array,
    exposure_sd: Array,
    outcome_sd: Array,
    pleiotropy_sd: Array,
    pleiotropy_exposure_sd: Array,
    beta_exposure: Array,
    beta_outcome: Array,
    se_exposure: Array,
    se_outcome: Array,
    error_covariance: Array,
    of_outcome: Array,
) -> Array:
    """Log density of each variant's pair of effects, direct ones summed out (eq. 33); shape (..., J)."""
    theta, reverse, sx, sy, wy, wx = (
        np.asarray(v)[..., None]
        for v in (theta, reverse, exposure_sd, outcome_sd, pleiotropy_sd, pleiotropy_exposure_sd)
    )
    on_x, on_y = np.where(of_outcome, wx, sx) ** 2, np.where(of_outcome, sy, wy) ** 2
    more = 1 / (1 - theta * reverse) ** 2
    A = more * (on_x + reverse**2 * on_y) + se_exposure**2
    B = more * (on_y + theta**2 * on_x) + se_outcome**2
    C = more * (theta * on_x + reverse * on_y) + error_covariance
    determinant = A * B - C**2
    quadratic = (B * beta_exposure**2 - 2 * C * beta_exposure * beta_outcome + A * beta_outcome**2) / determinant
    return np.asarray(-LOG_2PI - 0.5 * np.log(determinant) - 0.5 * quadratic)


def log_prior(
    theta: Array,
    reverse: Array,
    exposure_sd: Array,
    outcome_sd: Array,
    pleiotropy_sd: Array,
    pleiotropy_exposure_sd: Array,
    exposure_scale: Array,
    outcome_scale: Array,
) -> Array:
    """Log prior density of the unknown variables, shape (...); what the limit on circles takes is a constant."""
    ratio = outcome_scale / exposure_scale
    effects = normal(theta, EFFECT * ratio) + normal(reverse, EFFECT / ratio)
    own = half_normal(exposure_sd, exposure_scale) + half_normal(outcome_sd, outcome_scale)
    across = half_normal(pleiotropy_sd, PLEIOTROPY * outcome_scale)
    across = across + half_normal(pleiotropy_exposure_sd, PLEIOTROPY * exposure_scale)
    return np.where(np.abs(theta * reverse) < 1, effects + own + across, -np.inf)


def density(
    sizes: Sizes,
    beta_exposure: Any,
    beta_outcome: Any,
    se_exposure: Any,
    se_outcome: Any,
    error_covariance: Any,
    of_outcome: Any,
    exposure_scale: Any,
    outcome_scale: Any,
) -> None:
    """Declare the density in PyMC: y, then x given y."""
    import pymc as pm
    import pytensor.tensor as pt

    ratio = outcome_scale / exposure_scale
    theta = pm.Normal("theta", 0, 0.5 * ratio)
    reverse = pm.Normal("reverse", 0, 0.5 / ratio)
    own_x = pm.HalfNormal("exposure_sd", exposure_scale)
    own_y = pm.HalfNormal("outcome_sd", outcome_scale)
    across_y = pm.HalfNormal("pleiotropy_sd", 0.5 * outcome_scale)
    across_x = pm.HalfNormal("pleiotropy_exposure_sd", 0.5 * exposure_scale)
    pm.Potential("circle", pt.switch(pt.lt(pt.abs(theta * reverse), 1), 0.0, -np.inf))
    on_x = pt.switch(pt.neq(of_outcome, 0), across_x, own_x)
    on_y = pt.switch(pt.neq(of_outcome, 0), own_y, across_y)
    round_ = 1 - theta * reverse
    # loadings of (x, y) on the two direct effects
    xx, xy, yx, yy = on_x / round_, reverse * on_y / round_, theta * on_x / round_, on_y / round_
    of_y = yx**2 + yy**2 + se_outcome**2
    slope = (xx * yx + xy * yy + error_covariance) / of_y
    left = xx**2 + xy**2 + se_exposure**2 - slope**2 * of_y
    total = pm.logp(pm.Normal.dist(0, pt.sqrt(of_y)), beta_outcome)
    total += pm.logp(pm.Normal.dist(slope * beta_outcome, pt.sqrt(left)), beta_exposure)
    pm.Potential("effects", total.sum())


LARGE = 0.9
"""Size of a circle of effects from which on a start has a smaller one."""

NEAR = 5.0
"""Nats below the best reading of the data up to which others are starts, too."""


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start at one of the readings of the data that fit about as well as the best, drawn at random.

    Instruments of the first trait whose effects lie along a line may show what it does to the second trait, or act on
    that one alone, which acts on the first; likewise those of the second trait. Such readings are modes.
    """
    found = readings(problem)
    unknown = {name: np.stack([one[name] for one in found]) for name in UNKNOWN}
    value = problem.call(log_likelihood, **unknown).sum(-1) + problem.call(log_prior, **unknown)
    return found[int(rng.choice(np.flatnonzero(value >= value.max() - NEAR)))]


def readings(problem: Problem) -> list[Arrays]:
    """Return the unknown variables if the slopes of either trait's instruments are effects in one direction or other.

    The slopes are weighted; given both effects, direct ones are known up to the errors, and so are their spreads.
    """
    x, y, sx, sy = (problem[name] for name in ("beta_exposure", "beta_outcome", "se_exposure", "se_outcome"))
    c, of = problem["error_covariance"], problem["of_outcome"] != 0

    def slope(some: Array, x: Array, y: Array, sx: Array, sy: Array) -> float:
        below = (np.maximum(x**2 - sx**2, 0.1 * x**2) / sy**2)[some].sum()
        return float(((x * y - c) / sy**2)[some].sum() / below) if below > 0 else 0.0

    def size(some: Array, direct: Array, noise: Array, scale: Array) -> Array:
        square, least = direct[some] ** 2, 1e-12 * scale**2
        return np.sqrt(np.maximum((square - noise[some]).mean(), 0.05 * square.mean() + least))

    there, there_by_other = (slope(some, x, y, sx, sy) for some in (~of, of))
    back, back_by_other = (slope(some, y, x, sy, sx) for some in (of, ~of))
    out: list[Arrays] = []
    for theta, reverse in ((there, back), (there, 0.0), (0.0, back), (there_by_other, 0.0), (0.0, back_by_other)):
        shrink = min(1.0, 0.5 / max(abs(theta * reverse), 1e-12)) ** 0.5 if abs(theta * reverse) >= LARGE else 1.0
        a, b = shrink * theta, shrink * reverse
        direct_x, noise_x = x - b * y, sx**2 - 2 * b * c + b**2 * sy**2
        direct_y, noise_y = y - a * x, sy**2 - 2 * a * c + a**2 * sx**2
        out.append(
            {
                "theta": np.array(a),
                "reverse": np.array(b),
                "exposure_sd": size(~of, direct_x, noise_x, problem["exposure_scale"]),
                "outcome_sd": size(of, direct_y, noise_y, problem["outcome_scale"]),
                "pleiotropy_sd": size(~of, direct_y, noise_y, problem["outcome_scale"]),
                "pleiotropy_exposure_sd": size(of, direct_x, noise_x, problem["exposure_scale"]),
            }
        )
    return out


def check(problem: Problem) -> None:
    """Reject data with the instruments of one trait alone, and covariances that no errors can have."""
    of = problem["of_outcome"]
    if of.min() == of.max():
        raise InputError(
            "mendelian_randomization: known variable 'of_outcome' is the same for all variants, but either direction "
            "needs instruments. Give both sets, or leave design='bidirectional' out."
        )
    bad = np.flatnonzero(np.abs(problem["error_covariance"]) >= problem["se_exposure"] * problem["se_outcome"])
    if bad.size:
        raise InputError(
            f"mendelian_randomization: known variable 'error_covariance' at variant="
            f"{problem.coords['variant'][bad[0]]} is {problem['error_covariance'][bad[0]]:g}, but must be below "
            "se_exposure se_outcome in size. Give covariances, not correlations."
        )


def quantities(theta: Array, reverse: Array, exposure_sd: Array, outcome_sd: Array) -> Mapping[str, Any]:
    """Scalars whose ranks are sensitive."""
    return {"circle": theta * reverse, "difference": theta * exposure_sd - reverse * outcome_sd}


def statistics(beta_exposure: Array, beta_outcome: Array, se_exposure: Array, se_outcome: Array) -> Mapping[str, Any]:
    """Statistics of the effects for predictive checks."""
    x, y = beta_exposure / se_exposure, beta_outcome / se_outcome
    return {"mean_f": (x**2).mean(), "mean_f_outcome": (y**2).mean(), "products": (x * y).mean()}


def parts() -> dict[str, Any]:
    """Return what the declaration is made of."""
    return {
        "sizes": {"variant": 120},
        "known": Stage(KNOWN, DESIGN),
        "unknown": Stage(UNKNOWN, draw_unknown),
        "hidden": Stage(HIDDEN, draw_hidden),
        "observed": Stage(OBSERVED, draw_effects),
        "density": density,
        "log_likelihood": log_likelihood,
        "log_prior": log_prior,
        "vectorized": True,
        "unit": "variant",
        "methods": {"independence": Method(independence, "exact", "Metropolis sampling from a fitted t density.")},
        "start": start,
        "test_quantities": quantities,
        "statistics": statistics,
        "check": check,
        "headline": lambda sizes: ("theta", "reverse"),
        "calibration": Calibration(settings={"variant": 100}, control={"error_covariance": 0.0}),
    }
