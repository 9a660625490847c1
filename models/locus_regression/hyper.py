"""Hyperparameters as the correction samples them, each log normal around its given value; eq. 42 of the card."""

from math import lgamma

import numpy as np
from numba import njit

from genarium.declaration import Array

from .dirichlet import LEAST, UNDERFLOW
from .gibbs import State
from .hyperprior import Hyper, log_prior

STEPS = 0.2, 0.8
"""Standard deviations of the Metropolis steps in the log, one after the other."""


def draw(rng: np.random.Generator, state: State, found: Hyper, given: Hyper, fixed: Array) -> Hyper:
    """Move the hyperparameters, given exposures, effects, spectra and effects of loci.

    Parameters
    ----------
    rng : Generator
    state : State
        Of the Gibbs sampler.
    found, given : Hyper
        Where they are, and the medians of their priors.
    fixed : ndarray of bool, shape (K,)
        Processes that were dropped: their alpha stays at the floor.

    Returns
    -------
    Hyper
    """
    alpha, tau = found.alpha.copy(), found.tau.copy()
    _move_alpha(rng, len(state.pi), np.log(state.pi).sum(0), given.alpha, fixed, alpha)
    _move_tau(rng, (state.beta**2).sum(1), state.beta.shape[1], given.tau, tau)
    of_lam, of_rho = found.lam_concentration.copy(), found.rho_concentration.copy()
    free = slice(len(state.lam) - len(of_lam), None)
    lam, rho = (np.log(np.maximum(each[free], UNDERFLOW)) for each in (state.lam, state.rho))
    C, A = rho.shape[1:]
    _move_concentration(rng, 1, C, lam.sum(1), given.lam_concentration, of_lam)
    if A > 1:
        _move_concentration(rng, C, A, rho.sum((1, 2)), given.rho_concentration, of_rho)
    dispersion = found.dispersion.copy()
    if state.locus_effect is not None:
        effect = state.locus_effect
        _move_dispersion(rng, (np.log(effect) - effect).sum(1), effect.shape[1], given.dispersion, dispersion)
    return Hyper(alpha, tau, dispersion, of_lam, of_rho)


@njit(cache=True)
def _move_alpha(rng: np.random.Generator, genomes: int, sums: Array, median: Array, fixed: Array, alpha: Array) -> None:
    """Move the concentrations in place; sums (K,): log pi added up over genomes."""
    for step in STEPS:
        for k in range(len(alpha)):
            if fixed[k]:
                continue
            old, total = alpha[k], alpha.sum()
            new = max(old * np.exp(step * rng.standard_normal()), LEAST)
            ratio = genomes * (lgamma(total - old + new) - lgamma(total) + lgamma(old) - lgamma(new))
            ratio += (new - old) * sums[k] + log_prior(new, median[k]) - log_prior(old, median[k])
            if np.log(rng.random()) < ratio:
                alpha[k] = new


@njit(cache=True)
def _move_tau(rng: np.random.Generator, squares: Array, features: int, median: Array, tau: Array) -> None:
    """Move the standard deviations in place; squares (K,): beta^2 added up over features."""
    for step in STEPS:
        for k in range(len(tau)):
            old = tau[k]
            new = old * np.exp(step * rng.standard_normal())
            ratio = features * np.log(old / new) + 0.5 * squares[k] * (old**-2 - new**-2)
            ratio += log_prior(new, median[k]) - log_prior(old, median[k])
            if np.log(rng.random()) < ratio:
                tau[k] = new


@njit(cache=True)
def _move_concentration(
    rng: np.random.Generator, factors: int, size: int, sums: Array, median: Array, concentration: Array
) -> None:
    """Move the concentrations of symmetric Dirichlet variables in place; sums (K,): logs of all shares added up."""
    for step in STEPS:
        for k in range(len(concentration)):
            old = concentration[k]
            new = max(old * np.exp(step * rng.standard_normal()), LEAST)
            ratio = lgamma(size * new) - lgamma(size * old) - size * (lgamma(new) - lgamma(old))
            ratio = factors * ratio + (new - old) * sums[k] + log_prior(new, median[k]) - log_prior(old, median[k])
            if np.log(rng.random()) < ratio:
                concentration[k] = new


@njit(cache=True)
def _move_dispersion(rng: np.random.Generator, sums: Array, loci: int, median: Array, dispersion: Array) -> None:
    """Move the dispersions in place; sums (K,): log eps - eps added up over loci."""
    for step in STEPS:
        for k in range(len(dispersion)):
            old = dispersion[k]
            new = old * np.exp(step * rng.standard_normal())
            r, s = 1 / old, 1 / new
            ratio = loci * (s * np.log(s) - lgamma(s) - r * np.log(r) + lgamma(r)) + (s - r) * sums[k]
            ratio += log_prior(new, median[k]) - log_prior(old, median[k])
            if np.log(rng.random()) < ratio:
                dispersion[k] = new
