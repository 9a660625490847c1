"""Densities of the mixture in NumPy; shapes: N cells, D genes, K components."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.simplex import log_sum_exp

from .rising import log_rising

FLOOR = 1e-8
"""Smallest centroid: a gene without any count in a component has its mean there instead of at zero."""


class Story:
    """The likelihood and the prior under one value of the option ``dispersion``; draws may lead in every shape."""

    def __init__(self, dispersion: str) -> None:
        self.dispersion = dispersion
        self._axes = {"known": (), "shared": (-1, -2), "gene": (-2,), "component": (-1,)}[dispersion]

    def spread(self, phi: Array, mu: Array) -> Array:
        """Give every component and gene its dispersion."""
        return np.broadcast_to(np.expand_dims(np.asarray(phi), self._axes), mu.shape)  # (..., K, D)

    def log_likelihood(self, x: Array, size_factor: Array, pi: Array, mu: Array, phi: Array) -> Array:
        """Log density of each cell, its group summed out; shape (..., N)."""
        joint = log_joint(x, size_factor, pi, mu, self.spread(phi, mu))
        return log_sum_exp(joint, -2)

    @property
    def log_prior(self) -> Any:
        """``log_prior(<unknown, known>)``: log prior density with respect to Lebesgue measure on pi, mu and phi."""

        def known(pi: Array, mu: Array, phi: Array, alpha0: Array, a0: Array, b0: Array) -> Array:
            return _log_dirichlet(pi, alpha0) + _log_beta_prime(mu, self.spread(phi, mu), a0, b0)

        def unknown(
            pi: Array, mu: Array, phi: Array, alpha0: Array, a0: Array, b0: Array, phi0: Array, tau: Array
        ) -> Array:
            z = (np.log(phi) - np.log(phi0)) / tau
            log_normal = -0.5 * z**2 - np.log(phi * tau) - 0.5 * np.log(2 * np.pi)
            rest = known(pi, mu, phi, alpha0, a0, b0)
            return np.asarray(rest + log_normal.reshape(*rest.shape, -1).sum(-1))

        return known if self.dispersion == "known" else unknown


def log_joint(x: Array, size_factor: Array, pi: Array, mu: Array, phi: Array) -> Array:
    """Log of pi_k times the density of each cell in component k.

    Parameters
    ----------
    x : ndarray of int, shape (N, D)
    size_factor : ndarray, shape (N,)
    pi : ndarray, shape (..., K)
    mu : ndarray, shape (..., K, D)
    phi : ndarray, shape (..., K, D)

    Returns
    -------
    ndarray, shape (..., K, N)
    """
    from scipy.special import gammaln

    K, D = mu.shape[-2:]
    r = 1 / phi
    out = np.empty((*mu.shape[:-1], len(x)))
    with np.errstate(divide="ignore"):
        log_pi = np.log(pi)
    factorial = gammaln(x + 1).sum(1)
    same = bool((r == r[..., :1, :]).all())
    first = r.reshape(-1, K, D)[0]
    own = first if bool((r == first).all()) else r  # the same at every draw

    def rising(k: int) -> Array:
        """Log of Gamma(x + r) / Gamma(r), the genes multiplied."""
        shape = own[..., k, None, :]
        total: Array = log_rising(x, shape).sum(-1)
        return total

    up = rising(0)
    for k in range(K):
        mean = size_factor[:, None] * mu[..., k, None, :]  # (..., N, D)
        shape = r[..., k, None, :]
        falling = (x * np.log(mean / (shape + mean)) - shape * np.log1p(mean / shape)).sum(-1)
        out[..., k, :] = log_pi[..., k, None] + (up if same or k == 0 else rising(k)) - factorial + falling
    return out


def _log_dirichlet(pi: Array, alpha0: Array) -> Array:
    from scipy.special import gammaln

    K = pi.shape[-1]
    norm = gammaln(K * alpha0) - K * gammaln(alpha0)
    varying = (alpha0 - 1) * np.log(pi).sum(-1) if alpha0 != 1 else np.zeros(pi.shape[:-1])
    return np.asarray(norm + varying)


def _log_beta_prime(mu: Array, phi: Array, a0: Array, b0: Array) -> Array:
    """Log density of mu = r BetaPrime(b0, a0), that is of r (1 - p) / p with p ~ Beta(a0, b0)."""
    from scipy.special import betaln

    odds = mu * phi
    each: Array = (b0 - 1) * np.log(odds) - (a0 + b0) * np.log1p(odds) + np.log(phi) - betaln(a0, b0)
    return np.asarray(each.sum((-2, -1)))


def quantities(pi: Array, mu: Array) -> Mapping[str, Any]:
    """Label-invariant quantities: centroids and weights sorted by the first gene, concentration, mean of all."""
    order = np.argsort(mu[..., 0], -1)  # (..., K)
    return {
        "mu_sorted": np.take_along_axis(mu, order[..., None], -2),
        "pi_sorted": np.take_along_axis(pi, order, -1),
        "sum_pi_squared": np.sum(pi**2, -1),
        "mean": (pi[..., None] * mu).sum(-2),
    }


def statistics(x: Array, size_factor: Array) -> Mapping[str, Any]:
    """Statistics of the counts for predictive checks (depth removed where there are size factors)."""
    scaled = x / size_factor[:, None]
    logs = np.log1p(scaled)
    spread = logs.std(0)
    centred = (logs - logs.mean(0)) / np.where(spread > 0, spread, 1)
    rows = centred.sum(1)
    D = x.shape[1]
    correlation = {"gene_correlation": (np.mean(rows**2) - D) / (D * (D - 1))} if D > 1 else {}
    return {
        "zero_fraction": (x == 0).mean(),
        "mean": scaled.mean(),
        "log_variance": (spread**2).mean(),
        "dispersion_index": np.mean(scaled.var(0) / np.maximum(scaled.mean(0), 1e-300)),
        "maximum": scaled.max(),
        **correlation,
    }
