"""Sums of squared residuals of all nodes and their gradients (eqs. 11, 12 of the card)."""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

from .story import mixed


class Residuals:
    """Sums of the squared residuals e_i = r_i - sum_k Z_ik r_i W_k, r_i = x_i - mu_i; no network of a sample is made.

    Parameters
    ----------
    x : ndarray, shape (n, p)
    samples : int, optional
        Rows after so many are parts of the uncertainty of missing values, about zero (eq. 27).
    """

    def __init__(self, x: Array, samples: int | None = None) -> None:
        self.x, self.samples = x, len(x) if samples is None else samples

    def __call__(self, weights: Array, archetypes: Array, mu: Array | float, precision: Array) -> "Squares":
        """Return the sums, and what half their sum, each times its precision, changes by."""
        r = self._deviations(mu)
        y = r @ archetypes  # (K, n, p)
        e = r - np.einsum("nk,knj->nj", weights, y)
        scaled = e * precision
        parts = weights.T[:, :, None] * scaled  # (K, n, p)
        d_weights = -np.einsum("nj,knj->nk", scaled, y)
        d_mean = np.zeros(0)
        if np.ndim(mu):
            d_mean = -scaled
            for part, network in zip(parts, archetypes, strict=True):
                d_mean += part @ network.T
            d_mean[self.samples :] = 0
        return Squares((e**2).sum(0), -(r.T @ parts), d_weights, d_mean)

    def of(self, networks: Array, mu: Array | float) -> Array:
        """Return the sums (p,) for networks (n, p, p) that are given."""
        r = self._deviations(mu)
        return np.asarray(((r - np.einsum("ni,nij->nj", r, networks)) ** 2).sum(0))

    def _deviations(self, mu: Array | float) -> Array:
        """Rows about their means (n, p)."""
        r = self.x - mu
        if np.ndim(mu):
            r[self.samples :] = self.x[self.samples :]
        return np.asarray(r)


class GroupedResiduals:
    """The same for groups of samples with one context, and so one network, each: from their second moments.

    Parameters
    ----------
    x : ndarray, shape (n, p)
    group : ndarray of int, shape (n,)
    groups : int
    """

    def __init__(self, x: Array, group: Array, groups: int) -> None:
        self.count = np.bincount(group, minlength=groups)[:, None].astype(float)
        self.first = np.stack([x[group == g].sum(0) for g in range(groups)])  # (G, p)
        self.second = np.stack([x[group == g].T @ x[group == g] for g in range(groups)])  # (G, p, p)

    def __call__(self, weights: Array, archetypes: Array, mu: Array | float, precision: Array) -> "Squares":
        """Return the sums, and what half their sum, each times its precision, changes by."""
        moment = self._moment(mu)
        mu = np.broadcast_to(mu, self.first.shape)
        r = self.first - self.count * mu  # sums of r
        left = np.eye(mu.shape[1]) - mixed(weights, archetypes)
        product = moment @ left
        d_networks = -product * precision
        d_mean = -(((r[:, None, :] @ left) * precision) @ left.swapaxes(1, 2))[:, 0]
        flat = d_networks.reshape(len(weights), -1)
        d_archetypes = (weights.T @ flat).reshape(archetypes.shape)
        return Squares(
            (left * product).sum((0, 1)), d_archetypes, flat @ archetypes.reshape(len(archetypes), -1).T, d_mean
        )

    def of(self, networks: Array, mu: Array | float) -> Array:
        """Return the sums (p,) for networks (G, p, p) that are given."""
        left = np.eye(networks.shape[-1]) - networks
        return np.asarray((left * (self._moment(mu) @ left)).sum((0, 1)))

    def _moment(self, mu: Array | float) -> Array:
        """Second moments of r (G, p, p)."""
        mu = np.broadcast_to(mu, self.first.shape)
        outer = self.first[:, :, None] * mu[:, None, :]
        both = self.count[:, :, None] * mu[:, :, None] * mu[:, None, :]
        return np.asarray(self.second - outer - outer.swapaxes(1, 2) + both)


@dataclass(frozen=True)
class Squares:
    """Sums of squares of the nodes (p,), and gradients of half their sum, each times its precision.

    By archetype (K, p, p), by weight of an archetype (G, K), and by mean (G, p).
    """

    total: Array
    archetypes: Array
    weights: Array
    mean: Array
