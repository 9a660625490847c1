"""Problems of mendelian_randomization that several tests share."""

from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.models.mendelian_randomization import (
    contamination_mixture,
    divw,
    egger,
    ivw,
    likelihood,
    maximum_likelihood,
    pivw,
    raps,
    weighted_median,
)

NAME = "mendelian_randomization"
Data = tuple[Array, Array, Array, Array]
ALL = (ivw, egger, weighted_median, maximum_likelihood, divw, pivw, raps, contamination_mixture)
"""Classical estimators; mode and PRESSO, which simulate more, are tried apart."""


def simulate(seed: int = 1, **settings: Any) -> xr.DataTree:
    return gn.simulate(NAME, seed, **{"variant": 60, "region": 4, **settings})


def problem_of(seed: int = 1, **settings: Any) -> Problem:
    return check(gn.get(NAME).variant(**{k: v for k, v in settings.items() if k == "correlated_pleiotropy"}),
                 simulate(seed, **settings))  # fmt: skip


def truth(seed: int = 1, **settings: Any) -> dict[str, Array]:
    return {str(n): v.to_numpy() for n, v in simulate(seed, **settings)["truth"].data_vars.items()}


def joint(problem: Problem, gamma: Array, weak: Array, **at: Array) -> float:
    """Log density of (x, y, gamma, which variants are weak) and the unknown variables, pleiotropy summed out: loops."""
    known = problem.arrays
    total = float(problem.call(likelihood.log_prior, **at))
    for j in range(problem.sizes["variant"]):
        s = int(known["region"][j])
        sx2, c = known["se_exposure"][j] ** 2, known["error_covariance"][j]
        B = known["se_outcome"][j] ** 2 + float(at["pleiotropy_sd"]) ** 2
        mean = [gamma[j], at["theta"][s] * gamma[j] + np.sign(gamma[j]) * at["intercept"][s]]
        seen = [known["beta_exposure"][j], known["beta_outcome"][j]]
        total += float(stats.multivariate_normal(mean, [[sx2, c], [c, B]]).logpdf(seen))
        sd = float(at["exposure_sd"]) * (0.1 if weak[j] else 1)
        total += float(stats.norm(float(known["exposure_mean"]), sd).logpdf(gamma[j]))
        total += float(np.log1p(-at["strong_share"]) if weak[j] else np.log(at["strong_share"]))
    return total


def simulated(seed: int, J: int = 60, theta: float = 0.5, strength: float = 5.0) -> Data:
    """Summary statistics of J valid instruments: effects on exposure and outcome, each with its standard errors."""
    rng = np.random.default_rng(seed)
    sx, sy = rng.uniform(0.02, 0.05, (2, J))
    gamma = rng.normal(0, strength * 0.035, J)
    return rng.normal(gamma, sx), sx, rng.normal(theta * gamma, sy), sy
