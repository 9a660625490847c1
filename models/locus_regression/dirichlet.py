"""Concentrations of Dirichlet priors: of shares, from the factors of many genomes; of spectra, symmetric ones."""

from collections.abc import Callable

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from genarium.declaration import Array
from genarium.simplex import dirichlet_log_norm

FLOOR = 1e-4
"""Concentration of a process that was dropped."""

LEAST = 1.01 * FLOOR
"""Smallest concentration of the others."""

MOST = 3.0
"""Longest step of a log concentration."""

UNDERFLOW = 1e-300
"""What a share is at least where its log is taken."""


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


Levels = Callable[[Array], tuple[Array, Array, Array]]
"""What is to be maximised, and its first and second derivative, as functions of the concentrations (K,)."""


def climbed(levels: Levels, at: Array, median: Array, spread: float, steps: int = 20) -> Array:
    """Maximise functions of one concentration each, with the log normal prior added: Newton steps in the log.

    Parameters
    ----------
    levels : callable
    at : ndarray, shape (K,)
        Where to start; the maximum found is at least as high.
    median, spread : ndarray (K,) and float
        Of the prior.
    steps : int
        At most.

    Returns
    -------
    ndarray, shape (K,)
    """
    best, x = at, np.log(at)
    reached = np.full(len(at), -np.inf)
    longest = np.full(len(at), MOST)
    step = np.zeros(len(at))
    for _ in range(steps):
        trial = np.exp(x + step)
        value, first, second = levels(trial)
        away = np.log(trial / median) / spread**2
        value = value - 0.5 * away**2 * spread**2
        better = value >= reached
        rise = np.where(np.isfinite(reached), value - reached, np.inf)
        x, best, reached = np.where(better, x + step, x), np.where(better, trial, best), np.maximum(value, reached)
        slope = trial * first
        curvature = slope + trial**2 * second - spread**-2
        newton = (slope - away) / np.maximum(np.abs(curvature), 1e-300)
        longest = np.where(better, longest, np.abs(step) / 2)
        step = np.where(better, np.clip(newton, -longest, longest), step / 2)
        step = np.maximum(x + step, np.log(LEAST)) - x
        if (better & (rise < 1e-10) | (np.abs(step) < 1e-10)).all():
            break
    return np.asarray(best)


def of_factors(log_sum: Array, size: int) -> Levels:
    """Return the expected log density of symmetric Dirichlet variables, one for each process, less what is constant.

    Parameters
    ----------
    log_sum : ndarray, shape (K,)
        E log of the shares, added up.
    size : int
        Number of shares.
    """

    def levels(at: Array) -> tuple[Array, Array, Array]:
        value = gammaln(size * at) - size * gammaln(at) + at * log_sum
        first = size * (digamma(size * at) - digamma(at)) + log_sum
        return value, first, size * (size * polygamma(1, size * at) - polygamma(1, at))

    return levels


def of_counts(counts: Array) -> Levels:
    """Return the log probability of counts (K, F, D) whose F shares each are summed out, less what is constant."""
    size = counts.shape[2]
    seen = counts.sum(2)

    def levels(at: Array) -> tuple[Array, Array, Array]:
        a, total = at[:, None, None], size * at[:, None]
        out = []
        for order, function in enumerate((gammaln, digamma, lambda x: polygamma(1, x))):
            each = (function(a + counts) - function(a)).sum((1, 2))
            out.append(each + size**order * (function(total) - function(total + seen)).sum(1))
        return out[0], out[1], out[2]

    return levels
