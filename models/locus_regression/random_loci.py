"""Factors of random effects of loci: q(locus_effect_kl) is Gamma(shape, inverse scale); eqs. 23 to 26 of the card."""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from genarium.declaration import Array

ROUNDS = 3
"""Fixed-point rounds of an update; each raises the bound."""

LEAST, MOST = 1e-6, 1e2
"""Range of the dispersion."""


@dataclass(frozen=True)
class LocusEffects:
    """Gamma factors of all processes and loci; both (K, L)."""

    shape: Array
    inverse_scale: Array

    @classmethod
    def prior(cls, dispersion: Array, loci: int) -> "LocusEffects":
        """Return the prior: mean one, variance ``dispersion`` (K,)."""
        each = np.repeat(1 / dispersion[:, None], loci, 1)
        return cls(each, each)

    @property
    def mean(self) -> Array:
        """E locus_effect; shape (K, L)."""
        return self.shape / self.inverse_scale

    @property
    def expected_log(self) -> Array:
        """E log locus_effect; shape (K, L)."""
        return np.asarray(digamma(self.shape) - np.log(self.inverse_scale))


def update(found: LocusEffects, counts: Array, log_weight: Array, total: Array, dispersion: Array) -> LocusEffects:
    """Update the factors (eq. 24), by rounds of the tangent of the log normaliser.

    Parameters
    ----------
    found : LocusEffects
    counts : ndarray, shape (K, L)
        Expected mutations.
    log_weight : ndarray, shape (K, J, L)
        Log of what an effect multiplies in the normaliser of its process and group.
    total : ndarray, shape (K, J)
        Expected mutations of a process and group.
    dispersion : ndarray, shape (K,)

    Returns
    -------
    LocusEffects
    """
    weight = np.exp(log_weight - log_weight.max(-1, keepdims=True))
    precision = 1 / dispersion[:, None]
    for _ in range(ROUNDS):
        normaliser = np.einsum("kjl,kl->kj", weight, found.mean)
        pull = np.einsum("kj,kjl->kl", total / normaliser, weight)
        found = LocusEffects(precision + counts, precision + pull)
    return found


def divergence(found: LocusEffects, dispersion: Array) -> float:
    """Kullback-Leibler divergence from the prior, added up (eq. 25)."""
    a, b, r = found.shape, found.inverse_scale, 1 / dispersion[:, None]
    own = (a - r) * digamma(a) - gammaln(a) + gammaln(r) + r * (np.log(b) - np.log(r)) + a * (r - b) / b
    return float(own.sum())


def draw(rng: np.random.Generator, draws: int, shape: Array, inverse_scale: Array) -> tuple[Array, Array]:
    """Draw from Gamma factors (K, L); also return the log density of each draw."""
    x = np.maximum(rng.gamma(shape, 1 / inverse_scale, (draws, *shape.shape)), 1e-300)
    each = shape * np.log(inverse_scale) - gammaln(shape) + (shape - 1) * np.log(x) - inverse_scale * x
    return x, each.sum((-2, -1))


def dispersions(found: LocusEffects, dispersion: Array, median: Array, spread: float, steps: int = 10) -> Array:
    """Maximise the expected log prior of the effects, and the log normal one of the dispersion (eq. 26), in its log.

    Returns
    -------
    ndarray, shape (K,)
    """
    gap = (found.expected_log - found.mean).mean(1) + 1  # at most 0; 0 where nothing varies
    log_r = -np.log(dispersion)
    tie = 1 / (spread**2 * found.shape.shape[1])  # of the prior, for each locus
    for _ in range(steps):
        r = np.exp(log_r)
        own = r * (log_r - digamma(r) + gap)  # slope of r log r - log Gamma(r) + r (gap - 1), in log r
        slope = own - tie * (log_r + np.log(median))
        curvature = own + r * (1 - r * polygamma(1, r)) - tie
        step = np.where(curvature < 0, -slope / np.where(curvature < 0, curvature, 1), np.sign(slope))
        log_r = np.clip(log_r + np.clip(step, -2, 2), -np.log(MOST), -np.log(LEAST))
    best = np.exp(-log_r)

    def value(at: Array) -> Array:
        r = 1 / at
        own = r * np.log(r) - gammaln(r) + r * (gap - 1)
        return np.asarray(own - 0.5 * tie * np.log(at / median) ** 2)

    return np.where(value(best) >= value(dispersion), best, dispersion)
