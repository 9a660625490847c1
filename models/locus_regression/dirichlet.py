"""The concentration of a Dirichlet prior from the factors of many genomes."""

import numpy as np
from scipy.special import digamma, polygamma

from genarium.declaration import Array
from genarium.simplex import dirichlet_log_norm

FLOOR = 1e-4
"""Concentration of a process that was dropped."""

LEAST = 1.01 * FLOOR
"""Smallest concentration of the others."""

MOST = 3.0
"""Longest step of a log concentration."""


def concentration(log_mean: Array, factors: int, alpha: Array, median: Array, spread: float, steps: int = 5) -> Array:
    """Maximise the expected log prior over the concentration, and the log normal prior of that, from ``alpha`` on.

    Newton steps in log alpha (after Minka 2000), halved until they rise; what makes the curvature positive is left out.

    Parameters
    ----------
    log_mean : ndarray, shape (K,)
        E log pi, averaged over the factors.
    factors : int
        Their number.
    alpha : ndarray, shape (K,)
        Those at the floor stay there.
    median, spread : ndarray (K,) and float
        Of the prior of alpha: the median, and the standard deviation of the log.
    steps : int
        Newton steps.

    Returns
    -------
    ndarray, shape (K,)
    """

    def value(at: Array) -> float:
        away = np.log(at[moved] / median[moved]) / spread
        return float(factors * (dirichlet_log_norm(at) + (at - 1) @ log_mean) - 0.5 * (away**2).sum())

    if len(alpha) == 1:
        return alpha  # a simplex of one: any concentration gives the same
    moved = alpha > FLOOR
    best = value(alpha)
    for _ in range(steps):
        total = alpha.sum()
        slope = factors * alpha * (digamma(total) - digamma(alpha) + log_mean)
        gradient = slope - np.log(alpha / median) / spread**2
        diagonal = np.minimum(slope, 0) - factors * alpha**2 * polygamma(1, alpha) - spread**-2
        common = factors * polygamma(1, total)
        scaled = np.where(moved, alpha / diagonal, 0)
        shift = common * (scaled @ gradient) / (1 + common * (scaled @ alpha))
        step = np.where(moved, -(gradient - shift * alpha) / diagonal, 0)
        step *= min(1.0, MOST / max(np.abs(step).max(), 1e-300))
        for halving in range(20):
            trial = np.where(moved, np.maximum(alpha * np.exp(0.5**halving * step), LEAST), alpha)
            reached = value(trial)
            if reached >= best:
                break
        else:
            return alpha
        done = reached - best < 1e-8
        alpha, best = trial, reached
        if done:
            break
    return alpha
