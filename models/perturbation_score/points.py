"""Fixed points in place of draws: shares of a mixture of Dirichlet distributions, the same for equal concentrations.

A quantile of random draws moves with the seed and with the other rows. Here, every row sees the same points: Sobol
numbers, put through the quantile function of each gamma variable, which is read off a table by cubic interpolation.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np

from genarium.declaration import Array

POINTS = 2048
"""Points of a row; a power of two, so that each coordinate takes every one of as many levels once."""

LOWEST, HIGHEST, NODES = np.log(1e-4), np.log(1e8), 140
"""Range of the table in log shape, and its nodes; beyond it, what the limits of :func:`scale` say is exact enough."""


def scale(shape: Array) -> Array:
    """Return a for small a and sqrt(a) for large a, times which log(G / a) is smooth in log a and finite at both ends.

    For small a it tends to log u, for large a to the normal quantile of u.
    """
    return np.asarray(shape / np.sqrt(1 + shape))


@cache
def table() -> Array:
    """Return scaled log quantiles of gamma variables, by node and level; shape (NODES, POINTS)."""
    from scipy.special import gammaincinv, gammaln

    a = np.exp(np.linspace(LOWEST, HIGHEST, NODES))[:, None]
    u = (np.arange(POINTS) + 0.5) / POINTS
    x = gammaincinv(a, u)
    tiny = (np.log(u) + gammaln(a + 1)) / a  # the quantile's log where it is so small that P(G < x) = x^a / Γ(a + 1)
    log_x = np.where(x > 1e-30, np.log(np.maximum(x, 1e-300)), tiny)
    return np.asarray(scale(a) * (log_x - np.log(a)))


def log_gamma_quantile(shape: Array, level: Array) -> Array:
    """Return the log of the gamma quantile at the middle of a level of ``POINTS`` ones; the two arrays broadcast."""
    at = (np.clip(np.log(shape), LOWEST, HIGHEST) - LOWEST) / (HIGHEST - LOWEST) * (NODES - 1)
    i = np.clip(np.floor(at).astype(np.int64), 1, NODES - 3)
    t, T = at - i, table()
    y = -t * (t - 1) * (t - 2) / 6 * T[i - 1, level]
    y += (t + 1) * (t - 1) * (t - 2) / 2 * T[i, level]
    y -= (t + 1) * t * (t - 2) / 2 * T[i + 1, level]
    y += (t + 1) * t * (t - 1) / 6 * T[i + 2, level]
    return np.asarray(np.log(shape) + y / scale(shape))


@cache
def levels(dims: int) -> Array:
    """Return Sobol points as whole numbers below ``POINTS``; shape (POINTS, dims), a permutation in each dim."""
    from scipy.stats.qmc import Sobol

    u = Sobol(dims, scramble=False).random_base2(int(np.log2(POINTS)))
    return np.asarray(np.floor(u * POINTS), dtype=np.int64)


def shares(a: Array) -> Iterator[Array]:
    """Yield points of each row's mixture, equally likely.

    Parameters
    ----------
    a : ndarray, shape (S, P, K)
        Concentrations of S equally likely Dirichlet distributions of P rows.

    Yields
    ------
    ndarray, shape (POINTS, K)
        Of one row after the other; a row's points depend on its own concentrations only.
    """
    from scipy.special import softmax

    S, P, K = a.shape
    place = levels(K + 1)
    which = place[:, 0] * S // POINTS if S <= POINTS else place[:, 0]
    for p in range(P):
        yield softmax(log_gamma_quantile(a[which, p], place[:, 1:]), axis=-1)
