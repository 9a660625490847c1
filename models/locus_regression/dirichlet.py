"""Dirichlet factors: divergence from a prior, and the prior's concentration from the factors of many genomes."""

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from genarium.declaration import Array

FLOOR = 1e-4
"""Smallest concentration."""


def expected_log(parameter: Array) -> Array:
    """Return E log of a Dirichlet variable over the last dim."""
    return np.asarray(digamma(parameter) - digamma(parameter.sum(-1, keepdims=True)))


def divergence(parameter: Array, prior: Array | float) -> float:
    """Return the Kullback-Leibler divergence of Dirichlet factors from Dirichlet(prior), added up."""
    prior = np.broadcast_to(prior, parameter.shape)
    log_norm = gammaln(parameter.sum(-1)) - gammaln(prior.sum(-1)) + (gammaln(prior) - gammaln(parameter)).sum(-1)
    return float(log_norm.sum() + ((parameter - prior) * expected_log(parameter)).sum())


def concentration(log_mean: Array, factors: int, alpha: Array, steps: int = 5) -> Array:
    """Maximise the expected log prior over the concentration (Minka 2000), from ``alpha`` on.

    Parameters
    ----------
    log_mean : ndarray, shape (K,)
        E log pi, averaged over the factors.
    factors : int
        Their number.
    alpha : ndarray, shape (K,)
    steps : int
        Newton steps.

    Returns
    -------
    ndarray, shape (K,)
    """

    def value(at: Array) -> float:
        return float(gammaln(at.sum()) - gammaln(at).sum() + (at - 1) @ log_mean)

    best = value(alpha)
    for _ in range(steps):
        total = alpha.sum()
        gradient = digamma(total) - digamma(alpha) + log_mean
        diagonal, common = -polygamma(1, alpha), polygamma(1, total)
        shift = (gradient / diagonal).sum() / (1 / common + (1 / diagonal).sum())
        step = -(gradient - shift) / diagonal
        for halving in range(20):
            trial = np.maximum(alpha + 0.5**halving * step, FLOOR)
            reached = value(trial)
            if reached >= best:
                break
        else:
            return alpha
        done = factors * (reached - best) < 1e-8
        alpha, best = trial, reached
        if done:
            break
    return alpha
