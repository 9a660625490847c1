"""Residuals of networks with few candidates for each node's parents, edge by edge (eq. 29 of the card)."""

from dataclasses import dataclass

import numba
import numpy as np

from genarium.declaration import Array


@dataclass(frozen=True)
class SparseSquares:
    """Sums of squares of the nodes (p,), and gradients of half their sum, each times its precision.

    By edge (K, E), by weight of an archetype (n, K), and by mean (n, p).
    """

    total: Array
    edges: Array
    weights: Array
    mean: Array


class SparseResiduals:
    """The same as :class:`Residuals`, for edges that are listed: n K operations each.

    Parameters
    ----------
    x : ndarray, shape (n, p)
    source, target : ndarray of int, shape (E,)
    """

    def __init__(self, x: Array, source: Array, target: Array) -> None:
        self.x = np.ascontiguousarray(x.T)
        self.by_target = np.argsort(target, kind="stable")
        self.source = source[self.by_target]
        self.first = np.searchsorted(target[self.by_target], np.arange(len(self.x) + 1))

    def __call__(self, weights: Array, edges: Array, mu: Array | float, precision: Array) -> SparseSquares:
        """Return the sums, and what half their sum, each times its precision, changes by."""
        r = self.x - np.asarray(mu).T if np.ndim(mu) else self.x
        p, n = r.shape
        total, d_edges, d_weights = np.empty(p), np.empty(edges.shape), np.zeros((weights.shape[1], n))
        d_mean = np.zeros((p, n) if np.ndim(mu) else (0, 0))
        own = np.ascontiguousarray(edges[:, self.by_target])
        shares = np.ascontiguousarray(weights.T)
        squares(r, shares, own, self.source, self.first, precision, total, d_edges, d_weights, d_mean)
        back = np.empty_like(d_edges)
        back[:, self.by_target] = d_edges
        return SparseSquares(total, back, d_weights.T, d_mean.T)


@numba.njit(cache=True, fastmath=True)
def squares(
    r: Array,
    shares: Array,
    edges: Array,
    source: Array,
    first: Array,
    precision: Array,
    total: Array,
    d_edges: Array,
    d_weights: Array,
    d_mean: Array,
) -> None:
    """Fill the arrays of :class:`SparseSquares`; r is (p, n), shares (K, n), edges (K, E) sorted by target."""
    p, n = r.shape
    K = len(shares)
    y, t, e = np.empty((K, n)), np.empty((K, n)), np.empty(n)
    for j in range(p):
        y[:, :] = 0.0
        for at in range(first[j], first[j + 1]):
            row = r[source[at]]
            for k in range(K):
                w = edges[k, at]
                if w != 0.0:
                    for i in range(n):
                        y[k, i] += w * row[i]
        for i in range(n):
            e[i] = r[j, i]
        for k in range(K):
            for i in range(n):
                e[i] -= shares[k, i] * y[k, i]
        square = 0.0
        for i in range(n):
            square += e[i] * e[i]
            e[i] *= precision[j]
        total[j] = square
        for k in range(K):
            for i in range(n):
                t[k, i] = shares[k, i] * e[i]
                d_weights[k, i] -= e[i] * y[k, i]
        for at in range(first[j], first[j + 1]):
            row = r[source[at]]
            for k in range(K):
                found = 0.0
                for i in range(n):
                    found += t[k, i] * row[i]
                d_edges[k, at] = -found
        if d_mean.size:
            for i in range(n):
                d_mean[j, i] -= e[i]
            for at in range(first[j], first[j + 1]):
                for k in range(K):
                    w = edges[k, at]
                    if w != 0.0:
                        for i in range(n):
                            d_mean[source[at], i] += w * t[k, i]
