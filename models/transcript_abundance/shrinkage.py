"""Mixtures over spreads and effects, learned from all features: posteriors of their changes.

Equation numbers refer to the card (README.md). Sizes: N samples, F features, P columns of the design, J and M
components of the two mixtures.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

SPREADS = np.concatenate([[0.0], np.geomspace(0.02, 4.0, 15)])
"""Standard deviations between samples of a condition (log2) that are mixed."""

_STEPS = np.geomspace(0.1, 8.0, 14)
CENTRES = np.concatenate([[0.0], -_STEPS[::-1], _STEPS])
WIDTHS = np.concatenate([[0.0], 0.25 * _STEPS[::-1], 0.25 * _STEPS])
"""Means and standard deviations of log2 fold changes that are mixed; the first is no change.

They lie on either side of zero, so that changes may be large where none are small: a mixture around zero would take
some features without a change for such small ones.
"""

NULL_WEIGHT = 10.0
"""Features without a change that the prior counts in advance, so that in doubt there is none."""

CHUNK = 4000
"""Features that are worked on at a time."""

LEARNED_FROM = 10_000
"""Features, evenly spaced, that the mixtures' weights are learned from at most."""

LARGEST_TERMS = 40
"""Components of a feature's posterior that signs and intervals are computed from."""

ITERATIONS, TOLERANCE = 300, 1e-6
"""Steps of EM for the mixtures' weights at most, and the change of a weight at which it ends."""


@dataclass(frozen=True)
class Shrunk:
    """Posterior of the changes of F features, and the weights of the mixtures."""

    mean: Array
    sd: Array
    low: Array
    high: Array
    lfsr: Array
    lfdr: Array
    effect_weight: Array
    spread_weight: Array

    def columns(self) -> dict[str, Array]:
        """Return what is said of each feature."""
        order = np.argsort(self.lfdr, kind="stable")
        q = np.empty_like(self.lfdr)
        q[order] = np.cumsum(self.lfdr[order]) / np.arange(1, len(order) + 1)
        return {
            "log2_fold_change": self.mean,
            "log2_fold_change_sd": self.sd,
            "log2_fold_change_low": self.low,
            "log2_fold_change_high": self.high,
            "lfsr": self.lfsr,
            "lfdr": self.lfdr,
            "q_value": q,
        }


def shrink(y: Array, v: Array, X: Array, probability: float = 0.9) -> Shrunk:
    """Learn the mixtures by EM, and return the posterior of the last coefficient (eqs. 32 to 35).

    Parameters
    ----------
    y, v : ndarray, shape (N, F)
        Measurements and their variances.
    X : ndarray, shape (N, P)
        Design; the last column's coefficient is of interest, those of the others have flat priors.
    probability : float

    Returns
    -------
    Shrunk
    """
    F = y.shape[1]
    estimate, error, weight = np.empty((F, len(SPREADS))), np.empty((F, len(SPREADS))), np.empty((F, len(SPREADS)))
    for part in _chunks(F):
        for j, sd in enumerate(SPREADS):
            estimate[part, j], error[part, j], weight[part, j] = least_squares(y[:, part], v[:, part] + sd**2, X)
    weight = np.exp(weight - weight.max(1, keepdims=True))  # (F, J), up to a factor by feature
    some = np.unique(np.linspace(0, F - 1, min(F, LEARNED_FROM)).astype(int))
    a, w = _weights(_likelihood(estimate[some], error[some], weight[some]))
    parts = []
    for p in _chunks(F):
        r = _likelihood(estimate[p], error[p], weight[p]) * a[:, None] * w
        parts.append(_posterior(estimate[p], error[p], r / r.sum((1, 2), keepdims=True), probability))
    mean, sd, low, high, lfsr, lfdr = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Shrunk(mean, sd, low, high, lfsr, lfdr, w, a)


def _chunks(size: int) -> Iterator[slice]:
    yield from (slice(first, first + CHUNK) for first in range(0, size, CHUNK))


def least_squares(y: Array, variance: Array, X: Array) -> tuple[Array, Array, Array]:
    """Return the last coefficient (F,), its standard error, and the log likelihood, all coefficients integrated out.

    Parameters
    ----------
    y, variance : ndarray, shape (N, F)
    X : ndarray, shape (N, P)
    """
    precision = 1 / variance
    A = np.einsum("np,nf,nq->fpq", X, precision, X)
    b = np.einsum("np,nf->fp", X, precision * y)
    inverse = np.linalg.inv(A)
    beta = np.einsum("fpq,fq->fp", inverse, b)
    left = y - X @ beta.T
    log = -0.5 * np.log(variance).sum(0) - 0.5 * np.linalg.slogdet(A)[1] - 0.5 * (precision * left**2).sum(0)
    return beta[:, -1], np.sqrt(inverse[:, -1, -1]), log


def _likelihood(estimate: Array, error: Array, weight: Array) -> Array:
    """Likelihood of each pair of components, up to a factor by feature, (F, J, M) (eq. 33)."""
    total = error[..., None] ** 2 + WIDTHS**2
    log = np.log(np.maximum(weight, 1e-300))[..., None]
    log = log - 0.5 * (estimate[..., None] - CENTRES) ** 2 / total - 0.5 * np.log(total)
    return np.asarray(np.exp(log - log.max((1, 2), keepdims=True)))


def _weights(likelihood: Array) -> tuple[Array, Array]:
    """Learn the weights of the spreads (J,) and of the effects (M,) by EM, from likelihoods (F, J, M)."""
    a, w = (np.full(size, 1 / size) for size in likelihood.shape[1:])
    for _ in range(ITERATIONS):
        by_spread = likelihood @ w  # (F, J)
        by_effect = np.einsum("fjm,j->fm", likelihood, a)
        total = by_spread @ a
        new_a, new_w = a * (by_spread / total[:, None]).sum(0), w * (by_effect / total[:, None]).sum(0)
        new_w[0] += NULL_WEIGHT
        new_a, new_w = new_a / new_a.sum(), new_w / new_w.sum()
        change = max(np.abs(new_a - a).max(), np.abs(new_w - w).max())
        a, w = new_a, new_w
        if change < TOLERANCE:
            break
    return a, w


def _posterior(estimate: Array, error: Array, r: Array, probability: float) -> tuple[Array, ...]:
    """Mean, sd, interval, lfsr and lfdr of each feature (eqs. 34 and 35)."""
    from scipy.special import ndtr

    share = WIDTHS**2 / (error[..., None] ** 2 + WIDTHS**2)  # (F, J, M)
    m, s = CENTRES + (estimate[..., None] - CENTRES) * share, np.sqrt(share) * error[..., None]
    mean = (r * m).sum((1, 2))
    sd = np.sqrt(np.maximum((r * (m**2 + s**2)).sum((1, 2)) - mean**2, 0))
    null = r[:, :, 0].sum(1)
    m, s, r = (x[:, :, 1:].reshape(len(mean), -1) for x in (m, s, r))
    if r.shape[1] > LARGEST_TERMS:  # the others weigh next to nothing
        top = np.argpartition(-r, LARGEST_TERMS, axis=1)[:, :LARGEST_TERMS]
        m, s, r = (np.take_along_axis(x, top, 1) for x in (m, s, r))
        r = r * ((1 - null) / np.maximum(r.sum(1), 1e-300))[:, None]

    def below(x: Array) -> Array:
        return np.asarray((r * ndtr((x[:, None] - m) / s)).sum(1))

    negative = below(np.zeros(len(mean)))
    lfsr = np.clip(null + np.minimum(negative, 1 - null - negative), 0, 1)
    ends = []
    for target in ((1 - probability) / 2, (1 + probability) / 2):
        reach = 12 * sd + 1e-9
        left, right = mean - reach, mean + reach
        for _ in range(26):
            middle = (left + right) / 2
            high = below(middle) + null * (middle >= 0) >= target
            left, right = np.where(high, left, middle), np.where(high, middle, right)
        inside = (negative < target) & (negative + null >= target)
        ends.append(np.where(inside, 0.0, right))
    return mean, sd, ends[0], ends[1], lfsr, null
