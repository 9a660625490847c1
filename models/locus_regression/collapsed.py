"""Metropolis moves of the concentrations of pi, lam and rho, these summed out; equation numbers refer to the card."""

from math import lgamma

import numpy as np
from numba import njit

from genarium.declaration import Array

from .dirichlet import FLOOR, LEAST
from .hyperprior import log_prior

STEPS = 0.2, 0.8
"""Standard deviations of the Metropolis steps in the log of a hyperparameter, one after the other."""


FEW = 8
"""Counts below it are taken by products."""

SMALL, LARGE = 1e-100, 1e100
"""The log of a product is taken when it leaves this range."""


@njit(cache=True)
def move_of_alpha(rng: np.random.Generator, counts: Array, alpha: Array, median: Array) -> Array:
    """Move the concentrations of shares, given the mutations of genomes and processes (G, K) (eq. 42).

    Those of processes that were dropped stay at the floor.
    """
    alpha, seen = alpha.copy(), counts.sum(1)
    of_process = np.ascontiguousarray(counts.T)
    total = log_rising(seen, alpha.sum())
    for k in range(len(alpha)):
        if alpha[k] <= FLOOR:
            continue
        level = log_rising(of_process[k], alpha[k]) - total + log_prior(alpha[k], median[k])
        for step in STEPS:
            at, trial = alpha[k], alpha[k] * np.exp(step * rng.standard_normal())
            if trial < min(at, LEAST):
                continue
            alpha[k] = trial
            then = log_rising(seen, alpha.sum())
            reached = log_rising(of_process[k], trial) - then + log_prior(trial, median[k])
            if np.log(rng.random()) < reached - level:
                level, total = reached, then
            else:
                alpha[k] = at
    return alpha


@njit(cache=True)
def move_of_rho(rng: np.random.Generator, counts: Array, at: float, median: float) -> float:
    """Move the concentration of the alternatives of a process, whose mutations are counts (C, A) (eq. 44)."""
    A = counts.shape[1]
    each, seen = counts.ravel(), counts.sum(1)
    level = log_rising(each, at) - log_rising(seen, A * at) + log_prior(at, median)
    for step in STEPS:
        trial = at * np.exp(step * rng.standard_normal())
        if trial < min(at, LEAST):
            continue
        reached = log_rising(each, trial) - log_rising(seen, A * trial) + log_prior(trial, median)
        if np.log(rng.random()) < reached - level:
            at, level = trial, reached
    return at


@njit(cache=True)
def move_of_lam(rng: np.random.Generator, counts: Array, rate: Array, at: float, median: float) -> float:
    """Move the concentration of the preferences of a process, given counts and scales by context (C,) (eq. 45)."""
    fall = np.log1p(rate).sum()
    level = log_rising(counts, at) - at * fall + log_prior(at, median)
    for step in STEPS:
        trial = at * np.exp(step * rng.standard_normal())
        if trial < min(at, LEAST):
            continue
        reached = log_rising(counts, trial) - trial * fall + log_prior(trial, median)
        if np.log(rng.random()) < reached - level:
            at, level = trial, reached
    return at


@njit(cache=True)
def log_rising(counts: Array, at: float) -> float:
    """Return the log of Gamma(at + n) / Gamma(at), added up over whole numbers n."""
    value, product, alone = 0.0, 1.0, lgamma(at)
    for n in counts:
        if n >= FEW:
            value += lgamma(at + n) - alone
            continue
        for i in range(int(n)):
            product *= at + i
        if not SMALL < product < LARGE:
            value += np.log(product)
            product = 1.0
    return float(value + np.log(product))
