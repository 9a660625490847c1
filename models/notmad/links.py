"""Nodes that are not Gaussian: what they pass on, conditional densities and gradients (eqs. 23 to 25 of the card).

The linear predictor of a node is eta_j = level_j + mean_j(c) + sum_a f(x_a) W[a, j], over the nodes a before it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln, logit, psi

from genarium.declaration import Array

LINKED = ("logistic", "count")
"""Kinds of nodes with a link on the conditional mean; "gaussian" has none."""

HIGHEST = 20.0
"""Simulated predictors are kept within so much of zero, so that counts can be drawn and stored."""


def level(kind: str, x: Array) -> Array:
    """Link of the nodes' means, half an observation added: logit of the share, or logarithm of the mean count; (p,)."""
    n = len(x)
    if kind == "logistic":
        return np.asarray(logit((x.sum(0) + 0.5) / (n + 1)))
    return np.asarray(np.log((x.sum(0) + 0.5) / n))


def passed(kind: str, x: Array, level: Array) -> Array:
    """Return what nodes pass on to their children, about zero: x less its share, or ln(1 + x) (eq. 23)."""
    if kind == "logistic":
        return np.asarray(x - expit(level))
    return np.asarray(np.log1p(x) - np.logaddexp(0, level))


def log_density(kind: str, x: Array, eta: Array, dispersion: Array | float) -> Array:
    """Log probability of each value given its parents (eqs. 24, 25); the shape of ``eta``.

    Parameters
    ----------
    kind : {"logistic", "count"}
    x, eta : ndarray
    dispersion : ndarray or float
        The variance of a count is m + dispersion m^2.
    """
    if kind == "logistic":
        return np.asarray(x * eta - np.logaddexp(0, eta))
    r = 1 / np.asarray(dispersion)
    s = eta - np.log(r)
    return np.asarray(gammaln(x + r) - gammaln(r) - gammaln(x + 1) + x * s - (x + r) * np.logaddexp(0, s))


def slopes(kind: str, x: Array, eta: Array, dispersion: Array | float) -> tuple[Array, Array]:
    """Differentiate :func:`log_density` by eta (n, p), and by the dispersion, summed over samples (p,)."""
    if kind == "logistic":
        return np.asarray(x - expit(eta)), np.zeros(x.shape[1])
    r = 1 / np.asarray(dispersion)
    s = eta - np.log(r)
    d_eta = x - (x + r) * expit(s)
    d_r = psi(x + r) - psi(r) - np.logaddexp(0, s)
    return np.asarray(d_eta), np.asarray((-(r**2) * d_r + r * d_eta).sum(0))


def draw(kind: str, rng: np.random.Generator, eta: Array, dispersion: float) -> Array:
    """Draw values of one node (n,) given their linear predictors."""
    eta = np.clip(eta, -HIGHEST, HIGHEST)
    if kind == "logistic":
        return np.asarray((rng.uniform(size=eta.shape) < expit(eta)).astype(np.int64))
    rate = rng.gamma(1 / dispersion, dispersion * np.exp(eta))
    return np.asarray(rng.poisson(np.minimum(rate, 1e12)))


@dataclass(frozen=True)
class Slopes:
    """Log likelihood, and gradients of its negative by archetype (K, p, p), weight (n, K), mean (n, p), spread (p,)."""

    log_likelihood: float
    archetypes: Array
    weights: Array
    mean: Array
    spread: Array


class Linked:
    """The log likelihood of nodes with a link, node by node given those before; no network of a sample is made.

    Parameters
    ----------
    kind : {"logistic", "count"}
    x : ndarray, shape (n, p)
    level : ndarray, shape (p,)
    """

    def __init__(self, kind: str, x: Array, level: Array) -> None:
        self.kind, self.x, self.level = kind, x, level
        self.passed = passed(kind, x, level)

    def __call__(self, weights: Array, archetypes: Array, mu: Array, dispersion: Array | float) -> Slopes:
        """Evaluate at weights (n, K), archetypes (K, p, p) and means (n, p)."""
        y = self.passed @ archetypes  # (K, n, p)
        eta = self.level + mu + np.einsum("nk,knj->nj", weights, y)
        value = float(log_density(self.kind, self.x, eta, dispersion).sum())
        d_eta, d_spread = slopes(self.kind, self.x, eta, dispersion)
        parts = weights.T[:, :, None] * d_eta
        d_weights = np.einsum("nj,knj->nk", d_eta, y)
        return Slopes(value, -(self.passed.T @ parts), -d_weights, -d_eta, -d_spread)
