"""The prior of hyperparameters that are estimated: each log normal around its given value; eqs. 18, 19 of the card."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numba import njit

from genarium.declaration import Array, Problem

from .dirichlet import FLOOR

SPREAD = 1.0
"""Standard deviation of the log of a hyperparameter: half lie within a factor of two, .95 within one of seven."""


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters; alpha and tau (K,), the dispersion too, or empty where loci have no effects of their own.

    Concentrations of lam and rho are of the processes that are free. Where contexts have one alternative, that of rho
    decides nothing.
    """

    alpha: Array
    tau: Array
    dispersion: Array = field(default_factory=lambda: np.empty(0))
    lam_concentration: Array = field(default_factory=lambda: np.empty(0))
    rho_concentration: Array = field(default_factory=lambda: np.empty(0))

    @classmethod
    def given(cls, problem: Problem) -> "Hyper":
        """Return those of a problem: the medians of their priors."""
        dispersion, of_lam = (problem.arrays.get(name, np.empty(0)) for name in ("dispersion", "lam_concentration"))
        of_rho = problem.arrays.get("rho_concentration", np.ones(len(of_lam)))
        each = (problem["alpha"], problem["tau"], dispersion, of_lam, of_rho)
        return cls(*(np.array(one, dtype=float) for one in each))


@njit(cache=True)
def log_prior(value: float, median: float) -> float:
    """Return the log prior density of the log of a hyperparameter, 0 at its median."""
    return float(-0.5 * (np.log(value / median) / SPREAD) ** 2)


def learned(options: Mapping[str, Any]) -> dict[str, float]:
    """Return which hyperparameters a method with these options estimates, and the standard deviations of their logs."""
    return dict.fromkeys((one.name for one in fields(Hyper)), SPREAD) if options.get("empirical_bayes") else {}


def gap(found: Hyper, medians: Hyper) -> float:
    """Return how far the log prior is below its maximum, all hyperparameters added up.

    Concentrations at the floor are those of processes that were dropped, and do not count.
    """
    kept = found.alpha > FLOOR
    pairs = [(getattr(found, one.name), getattr(medians, one.name)) for one in fields(Hyper)]
    pairs[0] = found.alpha[kept], medians.alpha[kept]
    return float(sum(0.5 * ((np.log(value / median) / SPREAD) ** 2).sum() for value, median in pairs))


def standard_deviations(squares: Array, features: int, median: Array, steps: int = 100) -> Array:
    """Maximise the expected log prior of the effects, and that of tau with it (eq. 19), in the log of tau.

    The slope falls and is convex, so that Newton steps from its left side climb to the one maximum.

    Parameters
    ----------
    squares : ndarray, shape (K,)
        E beta^2, added up over features.
    features : int
    median : ndarray, shape (K,)
    steps : int
        Newton steps, at most.

    Returns
    -------
    ndarray, shape (K,)
    """
    middle = np.log(median)
    log_tau = np.minimum(0.5 * np.log(np.maximum(squares, 1e-300) / features), middle)
    for _ in range(steps):
        own = squares * np.exp(-2 * log_tau)
        step = (own - features - (log_tau - middle) / SPREAD**2) / (2 * own + 1 / SPREAD**2)
        log_tau = log_tau + step
        if np.abs(step).max(initial=0) < 1e-12:
            break
    return np.asarray(np.exp(log_tau))
