"""Metropolis moves of the concentrations of lam and rho, these summed out; equation numbers refer to the card."""

from math import lgamma

import numpy as np
from numba import njit

from genarium.declaration import Array

from .dirichlet import LEAST
from .hyperprior import log_prior

STEPS = 0.2, 0.8
"""Standard deviations of the Metropolis steps in the log of a hyperparameter, one after the other."""


@njit(cache=True)
def move_of_rho(rng: np.random.Generator, counts: Array, at: float, median: float) -> float:
    """Move the concentration of the alternatives of a process, whose mutations are counts (C, A) (eq. 44)."""
    for step in STEPS:
        trial = max(at * np.exp(step * rng.standard_normal()), LEAST)
        ratio = log_prior(trial, median) - log_prior(at, median)
        ratio += log_counted(counts, trial) - log_counted(counts, at)
        if np.log(rng.random()) < ratio:
            at = trial
    return at


@njit(cache=True)
def log_counted(counts: Array, at: float) -> float:
    """Return the log probability of counts (C, A), up to what does not depend on the concentration."""
    C, A = counts.shape
    none, alone, value = lgamma(at), lgamma(A * at), 0.0
    for c in range(C):
        seen = counts[c].sum()
        if seen == 0:
            continue
        value += alone - lgamma(A * at + seen)
        for a in range(A):
            if counts[c, a] > 0:
                value += lgamma(at + counts[c, a]) - none
    return value


@njit(cache=True)
def move_of_lam(rng: np.random.Generator, counts: Array, rate: Array, at: float, median: float) -> float:
    """Move the concentration of the preferences of a process, given counts and scales by context (C,) (eq. 45)."""
    exponent = np.log1p(rate).sum()
    for step in STEPS:
        trial = max(at * np.exp(step * rng.standard_normal()), LEAST)
        ratio = log_prior(trial, median) - log_prior(at, median) - (trial - at) * exponent
        old, new = lgamma(at), lgamma(trial)
        for s in counts:
            if s > 0:
                ratio += lgamma(trial + s) - new - lgamma(at + s) + old
        if np.log(rng.random()) < ratio:
            at = trial
    return at
