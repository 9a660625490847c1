"""M-steps from the sums of an E-step: centroids with size factors, and dispersion (eqs. 4 to 6 of the card).

Shapes: K components, D genes, T nodes of the size factors, U distinct counts.
"""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array

from .counts import Counts, Sums, rising_table
from .likelihood import FLOOR, Story

PHI_RANGE = (1e-8, 1e6)
"""Where the dispersion may go: below, the counts are Poisson to double precision."""

WORK = 50_000
"""Numbers in a work array, at most."""

SHORTER = 4
"""How often a step that lowers the expected log likelihood is tried at an eighth of its length; then it is none."""


def newton_centroids(sums: Sums, at: Array, mu: Array, r: Array) -> Array:
    """Solve sum_n q_nk (x_n - s_n mu) / (1 + phi s_n mu) = 0 for mu by Newton's method on ln mu (eq. 4).

    Parameters
    ----------
    sums : Sums
    at : ndarray, shape (T,)
        Size factors of the nodes.
    mu : ndarray, shape (K, D)
        Where to start.
    r : ndarray, shape (K, D)

    Returns
    -------
    ndarray, shape (K, D)
    """
    out = np.empty_like(mu)
    for genes in blocks(sums):
        some = Sums(0.0, sums.weight, sums.total[..., genes])
        out[:, genes] = _newton(some, at, mu[:, genes], r[:, genes])
    return out


def blocks(sums: Sums) -> Iterator[slice]:
    """Split the genes so that work arrays (T, K, d) stay in the processor's cache."""
    T, K, D = sums.total.shape
    step = max(1, WORK // (T * K))
    return (slice(low, low + step) for low in range(0, D, step))


def _newton(sums: Sums, at: Array, mu: Array, r: Array) -> Array:
    total = sums.total.sum(0)  # (K, d)
    none = total <= 0
    weight = sums.total + sums.weight[..., None] * r  # (T, K, d)
    log_mu = np.log(np.maximum(mu, FLOOR))
    poisson = np.log(np.maximum(total, FLOOR) / np.maximum(at @ sums.weight, 1e-300)[:, None])
    log_mu = np.where(np.abs(poisson - log_mu) > 1, np.maximum(poisson, np.log(FLOOR)), log_mu)
    s = at[:, None, None]
    for _ in range(50):
        mean = s * np.exp(log_mu)
        share = mean / (r + mean)
        part = weight * share
        gone = part.sum(0)
        curvature = gone - np.einsum("tkd,tkd->kd", part, share)
        step = np.where(none, 0, np.clip((total - gone) / np.maximum(curvature, 1e-300), -2, 2))
        before, log_mu = log_mu, np.maximum(log_mu + step, np.log(FLOOR))
        if np.abs(log_mu - before).max(initial=0) < 1e-4:  # what is left is of the order of its square
            break
    return np.where(none, FLOOR, np.exp(log_mu))


def newton_dispersion(sums: Sums, counts: Counts, mu: Array, phi: Array, story: Story) -> Array:
    """Raise the expected log likelihood in phi by a safeguarded Newton step on ln r (eqs. 5 and 6).

    Returns
    -------
    ndarray, same shape as ``phi``
    """
    objective = DispersionObjective(sums, counts, mu, story)
    log_r = -np.log(phi)
    low, high = -np.log(PHI_RANGE[1]), -np.log(PHI_RANGE[0])
    value, first, second = objective(log_r)
    step = np.clip(np.where(second < 0, -first / np.minimum(second, -1e-300), np.sign(first)), -1, 1)
    for _ in range(SHORTER):
        worse = objective.value(np.clip(log_r + step, low, high)) < value - 1e-13 * np.abs(value)
        if not worse.any():
            break
        step = np.where(worse, step / 8, step)
    else:
        step = np.where(worse, 0, step)
    return np.asarray(np.exp(-np.clip(log_r + step, low, high)))


class DispersionObjective:
    """Expected complete log likelihood as a function of ln r, with two derivatives, summed by the variant's dims."""

    def __init__(self, sums: Sums, counts: Counts, mu: Array, story: Story) -> None:
        self.sums, self.counts, self.mu, self.story = sums, counts, mu, story
        self.total = sums.total.sum(0)  # (K, D)
        self.own = story.dispersion == "component"
        frequency = counts.frequency if sums.frequency is None else sums.frequency
        self.frequency = frequency if self.own or frequency.ndim == 1 else frequency.sum(0)

    def __call__(self, log_r: Array) -> tuple[Array, Array, Array]:
        """Value, first and second derivative by ln r; each has the shape of ``log_r``."""
        r = 1 / self.story.spread(np.exp(-log_r), self.mu)  # (K, D)
        rise = rising_sums(self.counts, r if self.own else r[0], self.frequency)  # (K, D) or (D,) each
        rest = self._rest(r)
        value, first, second = (
            (self._reduce(a) if self.own else self._reduce_genes(a)) + self._reduce(b)
            for a, b in zip(rise, rest, strict=True)
        )
        R = np.exp(log_r)
        return value, R * first, R**2 * second + R * first

    def value(self, log_r: Array) -> Array:
        """Value alone."""
        r = 1 / self.story.spread(np.exp(-log_r), self.mu)  # (K, D)
        at = r if self.own else r[0]
        rise = self.counts.by_gene(rising_table(self.counts, at) * self.frequency)
        w, rest = self.sums.weight[..., None], -self.total * np.log(r)
        for genes in blocks(self.sums):
            both = w * r[:, genes] + self.sums.total[..., genes]
            rest[:, genes] -= np.einsum("tkd,tkd->kd", both, np.log1p(self._mean(genes) / r[:, genes]))
        return (self._reduce(rise) if self.own else self._reduce_genes(rise)) + self._reduce(rest)

    def _reduce(self, terms: Array) -> Array:
        """Sum (K, D) terms to the dims of phi."""
        axis = {"shared": None, "gene": 0, "component": 1}[self.story.dispersion]
        return np.asarray(terms.sum(axis))

    def _reduce_genes(self, terms: Array) -> Array:
        return np.asarray(terms.sum()) if self.story.dispersion == "shared" else terms

    def _rest(self, r: Array) -> tuple[Array, Array, Array]:
        """Sum what is not a rising factorial over the nodes; its derivatives by r."""
        w, out = self.sums.weight[..., None], np.zeros((3, *r.shape))
        for genes in blocks(self.sums):
            x, mean, R = self.sums.total[..., genes], self._mean(genes), r[:, genes]
            both = R + mean
            log_ratio = np.log1p(mean / R)
            residual = (w * mean - x) / both
            out[0][:, genes] = -np.einsum("tkd,tkd->kd", w * R + x, log_ratio)
            out[1][:, genes] = (residual - w * log_ratio).sum(0)
            out[2][:, genes] = ((w * mean / R - residual) / both).sum(0)
        return out[0] - self.total * np.log(r), out[1], out[2]

    def _mean(self, genes: slice) -> Array:
        """Means at the nodes; shape (T, K, d)."""
        return np.asarray(self.counts.nodes.at[:, None, None] * self.mu[:, genes])


def rising_sums(counts: Counts, r: Array, frequency: Array) -> tuple[Array, Array, Array]:
    """Sum ln Gamma(x + r) - ln Gamma(r), and its two derivatives by r, over the counts of each gene.

    Parameters
    ----------
    counts : Counts
    r : ndarray, shape (..., D)
    frequency : ndarray, shape (..., U)
        Weight of each distinct count.

    Returns
    -------
    tuple of ndarray, shape (..., D) each
    """
    from scipy.special import psi

    at = r[..., counts.gene]
    size = counts.by_gene(frequency)
    shifted = counts.values + at
    value = counts.by_gene(rising_table(counts, r) * frequency)
    first, second = (counts.by_gene(f(shifted) * frequency) - size * f(r) for f in (psi, trigamma))
    return value, first, second


def trigamma(x: Array) -> Array:
    """Second derivative of ln Gamma for x > 0: recurrence up to 8, then the asymptotic series (error below 1e-13)."""
    y = np.array(x, dtype=np.float64)
    small = np.flatnonzero(y.ravel() < 8)
    flat = y.reshape(-1)
    low, more = flat[small], np.zeros(len(small))
    for _ in range(8):
        below = low < 8
        more += np.where(below, 1 / low**2, 0)
        low = np.where(below, low + 1, low)
    flat[small] = low
    z = 1 / y**2
    series = z * (1 / 6 - z * (1 / 30 - z * (1 / 42 - z * (1 / 30 - z * (5 / 66 - z * (691 / 2730 - z * 7 / 6))))))
    out = 1 / y + z / 2 + series / y
    out.reshape(-1)[small] += more
    return np.asarray(out)
