"""Concentrations of Dirichlet priors: of shares, from the factors of many genomes; of spectra, symmetric ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln, polygamma, zeta

from genarium.declaration import Array
from genarium.simplex import dirichlet_log_norm

FLOOR = 1e-4
"""Concentration of a process that was dropped."""

LEAST = 1.01 * FLOOR
"""Smallest concentration of the others."""

MOST = 3.0
"""Longest step of a log concentration."""

HALVINGS = 20
"""Of a Newton step, at most."""

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


@dataclass(frozen=True)
class Target:
    """What is to be maximised over the concentrations (K,) of symmetric Dirichlet variables, each for itself.

    Attributes
    ----------
    value : callable
        Levels at concentrations; shape (K,).
    slopes : callable
        First and second derivatives there.
    """

    value: Callable[[Array], Array]
    slopes: Callable[[Array], tuple[Array, Array]]


def symmetric(target: Target, at: Array, median: Array, spread: float, steps: int = 1) -> Array:
    """Raise a target with the log normal prior of concentrations added: Newton steps in the log, halved until they do.

    Parameters
    ----------
    target : Target
    at : ndarray, shape (K,)
        Where to start.
    median, spread : ndarray (K,) and float
        Of the prior.
    steps : int
        Newton steps.

    Returns
    -------
    ndarray, shape (K,)
    """

    def value(at: Array) -> Array:
        return np.asarray(target.value(at) - 0.5 * (np.log(at / median) / spread) ** 2)

    best = value(at)
    for _ in range(steps):
        first, second = target.slopes(at)
        slope = at * first
        curvature = np.abs(slope + at**2 * second - spread**-2)
        step = (slope - np.log(at / median) / spread**2) / np.maximum(curvature, 1e-300)
        step = np.clip(step, -MOST, MOST)
        for _ in range(HALVINGS):
            trial = np.maximum(at * np.exp(step), LEAST)
            reached = value(trial)
            better = reached >= best
            if better.all():
                break
            step = np.where(better, step, step / 2)
        at, best = np.where(better, trial, at), np.where(better, reached, best)
    return at


def of_factors(log_sum: Array, size: int) -> Target:
    """Return the expected log density of one Dirichlet variable for each process, less what is constant.

    Parameters
    ----------
    log_sum : ndarray, shape (K,)
        E log of the shares, added up.
    size : int
        Number of shares.
    """

    def value(at: Array) -> Array:
        return np.asarray(gammaln(size * at) - size * gammaln(at) + at * log_sum)

    def slopes(at: Array) -> tuple[Array, Array]:
        first = size * (digamma(size * at) - digamma(at)) + log_sum
        return first, size * (size * trigamma(size * at) - trigamma(at))

    return Target(value, slopes)


def of_counts(counts: Array) -> Target:
    """Return the log probability of counts (K, F, D) whose F Dirichlet variables are summed out, less constants."""
    size, seen = counts.shape[2], counts.sum(2)

    def added(function: Callable[[Array], Array], at: Array, order: int) -> Array:
        """Add up a derivative of the log gamma function over all its arguments."""
        a, total = at[:, None, None], size * at[:, None]
        own = function(a + counts).sum((1, 2)) - function(total + seen).sum(1) * size**order
        return np.asarray(own + seen.shape[1] * (function(total)[:, 0] * size**order - size * function(at)))

    def slopes(at: Array) -> tuple[Array, Array]:
        return added(digamma, at, 1), added(trigamma, at, 2)

    return Target(lambda at: added(gammaln, at, 0), slopes)


def trigamma(x: Array) -> Array:
    """Return the second derivative of the log gamma function; SciPy's polygamma takes twice as long."""
    return np.asarray(zeta(2.0, x))
