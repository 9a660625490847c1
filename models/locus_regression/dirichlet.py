"""The concentration of a Dirichlet prior from the factors of many genomes."""

import numpy as np
from scipy.special import digamma, polygamma

from genarium.declaration import Array
from genarium.simplex import dirichlet_log_norm

FLOOR = 1e-4
"""Smallest concentration."""


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
        return float(dirichlet_log_norm(at) + (at - 1) @ log_mean)

    if len(alpha) == 1:
        return alpha  # a simplex of one: any concentration gives the same
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
