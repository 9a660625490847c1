"""MM-regression: a bounded-influence fit from the S-estimate (Yohai 1987; Salibian-Barrera and Yohai 2006)."""

from itertools import combinations

import numpy as np

from genarium.declaration import Array

TUNING_S, TUNING_M = 1.547645, 4.685061
"""Tukey's bisquare: breakdown point one half; efficiency 95 % under normal errors."""

BREAKDOWN = 0.5
SUBSETS = 5000
EXACT = 1e-12
"""Residuals this small, relative to the response, are rounding."""


def rho(u: Array, c: float) -> Array:
    """Tukey's bisquare loss, scaled to end at 1."""
    v = np.minimum((u / c) ** 2, 1)
    return np.asarray(1 - (1 - v) ** 3)


def psi(u: Array, c: float) -> Array:
    """Return the derivative of c² rho / 6."""
    v = (u / c) ** 2
    return np.where(v < 1, u * (1 - v) ** 2, 0.0)


def psi_slope(u: Array, c: float) -> Array:
    """Return the derivative of psi."""
    v = (u / c) ** 2
    return np.where(v < 1, (1 - v) * (1 - 5 * v), 0.0)


def s_scale(residual: Array, parameters: int, steps: int = 200) -> float:
    """M-scale of residuals: the mean loss over it is one half, with n - p in place of n."""
    scale = float(np.median(np.abs(residual))) / 0.6745
    if scale == 0:
        return 0.0
    for _ in range(steps):
        new = scale * np.sqrt(float(rho(residual / scale, TUNING_S).sum()) / (BREAKDOWN * (len(residual) - parameters)))
        if abs(new - scale) < 1e-12 * scale:
            return float(new)
        scale = float(new)
    return scale


def _is_exact(scale: float, y: Array) -> bool:
    return scale <= EXACT * float(np.abs(y).max())


def _is_settled(X: Array, new: Array, old: Array, share: float) -> bool:
    """Whether a step moves every fitted value by less than a share of the largest one, whatever the units."""
    return float(np.abs(X @ (new - old)).max()) <= share * float(np.abs(X @ new).max())


def weighted_step(X: Array, y: Array, coefficient: Array, scale: float, c: float) -> Array:
    """One step of iteratively reweighted least squares."""
    u = (y - X @ coefficient) / scale
    w = np.maximum(1 - (u / c) ** 2, 0) ** 2
    return np.asarray(np.linalg.lstsq(X * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0])


def s_estimate(X: Array, y: Array) -> tuple[Array, float]:
    """Coefficients of the least M-scale: from exact fits to subsets (all, if not too many), refined."""
    n, p = X.shape
    subsets: list[list[int]]
    if n**p <= SUBSETS * np.prod(np.arange(1, p + 1)):
        subsets = [list(some) for some in combinations(range(n), p)]
    else:
        rng = np.random.default_rng(0)
        subsets = [[int(i) for i in rng.permutation(n)[:p]] for _ in range(SUBSETS)]
    found: list[tuple[float, Array]] = []
    for rows in subsets:
        if abs(np.linalg.det(X[rows])) <= 1e-12 * np.abs(X[rows]).max() ** p:
            continue
        coefficient = np.linalg.solve(X[rows], y[rows])
        for _ in range(2):
            scale = float(np.median(np.abs(y - X @ coefficient))) / 0.6745
            if not _is_exact(scale, y):
                coefficient = weighted_step(X, y, coefficient, scale, TUNING_S)
        found.append((float(np.median(np.abs(y - X @ coefficient))), coefficient))
    found.sort(key=lambda each: each[0])
    best: tuple[float, Array] = (np.inf, found[0][1])
    for _, coefficient in found[:20]:
        scale = s_scale(y - X @ coefficient, p)
        for _ in range(500):
            if _is_exact(scale, y):
                return coefficient, 0.0
            new = weighted_step(X, y, coefficient, scale, TUNING_S)
            scale = s_scale(y - X @ new, p)
            done = _is_settled(X, new, coefficient, 1e-12)
            coefficient = new
            if done:
                break
        if scale < best[0]:
            best = (scale, coefficient)
    return best[1], best[0]


def mm_regression(X: Array, y: Array) -> tuple[Array, Array, float]:
    """Fit by MM-regression.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    y : ndarray, shape (n,)

    Returns
    -------
    coefficient : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
        Valid under heteroscedastic and skew errors (Croux, Dhaene and Hoorelbeke 2003, Avar1).
    scale : float
        0 where half of the rows or more are fitted exactly: then their residuals tell no covariance, and it is that of
        least squares on them for a scale of 1.
    """
    first, scale = s_estimate(X, y)
    if scale == 0:
        on = X[np.abs(y - X @ first) <= EXACT * np.abs(y).max()]
        return first, np.asarray(np.linalg.inv(on.T @ on)), 0.0
    coefficient = first
    for _ in range(1000):
        new = weighted_step(X, y, coefficient, scale, TUNING_M)
        done = _is_settled(X, new, coefficient, 1e-13)
        coefficient = new
        if done:
            break
    u, u0 = (y - X @ coefficient) / scale, (y - X @ first) / scale
    n = len(y)
    A = np.linalg.inv(X.T @ (X * psi_slope(u, TUNING_M)[:, None])) * scale
    slope0 = 6 / TUNING_S**2 * psi(u0, TUNING_S)
    a = A @ (X.T @ (psi_slope(u, TUNING_M) * u)) / float((slope0 * u0).mean())
    w, w0 = psi(u, TUNING_M), rho(u0, TUNING_S)
    crossed = X.T @ (w * w0)
    own = n * A @ (X.T @ (X * (w**2)[:, None])) @ A
    mixed = np.outer(a, A @ crossed)
    covariance = (own - mixed - mixed.T + float((w0**2).mean() - BREAKDOWN**2) * np.outer(a, a)) / n
    return coefficient, np.asarray(covariance), scale
