"""Hyperparameters as the correction samples them, each log normal around its given value; eq. 42 of the card."""

from dataclasses import replace
from math import lgamma

import numpy as np
from numba import njit

from genarium.declaration import Array

from .collapsed import STEPS
from .gibbs import State
from .hyperprior import Hyper, log_prior


def draw(rng: np.random.Generator, state: State, found: Hyper, given: Hyper) -> Hyper:
    """Move tau and the dispersion, given effects and effects of loci.

    Parameters
    ----------
    rng : Generator
    state : State
        Of the Gibbs sampler.
    found, given : Hyper
        Where they are, and the medians of their priors.

    Returns
    -------
    Hyper
    """
    tau = found.tau.copy()
    _move_tau(rng, (state.beta**2).sum(1), state.beta.shape[1], given.tau, tau)
    dispersion = found.dispersion.copy()
    if state.locus_effect is not None:
        effect = state.locus_effect
        _move_dispersion(rng, (np.log(effect) - effect).sum(1), effect.shape[1], given.dispersion, dispersion)
    return replace(found, tau=tau, dispersion=dispersion)


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
