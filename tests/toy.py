"""Normal mean: one unknown number behind noisy measurements; the smallest model that has every part.

y_i ~ Normal(theta, sigma) for each item i, theta ~ Normal(0, tau); sigma and tau are known.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array, Labelled, Method, Model, Problem, Result, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.supports import positive, real

LOG_2PI = np.log(2 * np.pi)


def draw_theta(rng: np.random.Generator, tau: Array) -> float:
    """Draw the mean from its prior."""
    return float(rng.normal(0, tau))


def draw_y(rng: np.random.Generator, sizes: Sizes, sigma: Array, theta: Array) -> Array:
    """Draw the measurements."""
    return rng.normal(theta, sigma, sizes["item"])


def density(sizes: Sizes, y: Any, sigma: Any, tau: Any) -> None:
    """Build the PyMC model; written from the story, not from the NumPy densities below."""
    import pymc as pm

    theta = pm.Normal("theta", 0, tau)
    pm.Normal("y", theta, sigma, observed=y, dims="item")


def log_likelihood(y: Array, sigma: Array, theta: Array) -> Array:
    """Log density of each measurement; shape (..., N) for means of shape (...)."""
    return np.asarray(-0.5 * ((y - np.asarray(theta)[..., None]) / sigma) ** 2 - np.log(sigma) - 0.5 * LOG_2PI)


def log_prior(theta: Array, tau: Array) -> Array:
    """Log prior density of the mean."""
    return np.asarray(-0.5 * (theta / tau) ** 2 - np.log(tau) - 0.5 * LOG_2PI)


def conjugate(problem: Problem, rng: np.random.Generator, *, chains: int = 4, draws: int = 1000) -> Result:
    """Draw independently from the posterior, which is normal.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws : int

    Returns
    -------
    Result
        ``posterior``: theta.
    """
    precision = problem.sizes["item"] / problem["sigma"] ** 2 + 1 / problem["tau"] ** 2
    mean = problem["y"].sum() / problem["sigma"] ** 2 / precision
    return Result(posterior={"theta": rng.normal(mean, precision**-0.5, (chains, draws))})


def quantities(theta: Array) -> Mapping[str, Any]:
    """Scalars to calibrate besides the unknown variables."""
    return {"theta_squared": theta**2}


def statistics(y: Array) -> Mapping[str, Any]:
    """Scalars of the data for predictive checks."""
    return {"mean": y.mean(), "sd": y.std()}


def predict(fitted: xr.DataTree, problem: Problem) -> Mapping[str, Labelled]:
    """Log predictive density of new measurements: averaged over draws, or at the point estimate."""
    theta = fitted["posterior" if "posterior" in fitted else "point"]["theta"].to_numpy().ravel()
    each = log_likelihood(problem["y"], problem["sigma"], theta)  # (S, N)
    return {"log_density": (("item",), np.logaddexp.reduce(each) - np.log(len(theta)))}


def column(paths: Sequence[Path], *, skip: int = 0) -> Mapping[str, Any]:
    """Read text files of one number a line.

    Parameters
    ----------
    paths : sequence of Path
        The measurements of several files follow each other.
    skip : int
        Lines at the head of each file that hold no measurement.

    Returns
    -------
    dict
        ``y``.

    Raises
    ------
    InputError
        Naming file, line and what stands there.
    """
    y = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[skip:], skip + 1):
            try:
                y.append(float(line))
            except ValueError:
                raise InputError(f"{path}, line {number}: {line!r} is not a number. Correct it, or skip it.") from None
    return {"y": np.array(y)}


MODEL = Model(
    name=__name__,
    title="Normal mean",
    sizes={"item": 30},
    known=Stage(
        {
            "sigma": Var((), positive, "Standard deviation of a measurement.", "σ", default=1.0),
            "tau": Var((), positive, "Standard deviation of the prior of theta.", "τ", default=2.0),
        }
    ),
    unknown=Stage({"theta": Var((), real, "Mean of the measurements.", "θ")}, {"theta": draw_theta}),
    hidden=Stage({}),
    observed=Stage({"y": Var(("item",), real, "A measurement.", "y")}, {"y": draw_y}),
    density=density,
    log_likelihood=log_likelihood,
    log_prior=log_prior,
    unit="item",
    methods={"conjugate": Method(conjugate, "exact", "Independent draws from the posterior in closed form.")},
    test_quantities=quantities,
    statistics=statistics,
    readers={"column": column},
    predict=predict,
    vectorized=True,
    source="Gelman et al. (2013), Bayesian Data Analysis, third edition, section 2.5.",
)
