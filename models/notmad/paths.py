"""The published paths to one network: central path of the log determinant, and augmented Lagrangian (eqs. 16, 17)."""

from collections.abc import Callable

import numpy as np

from genarium.declaration import Array

FACTOR, LARGEST, SLOW, LEAST = 10.0, 1e16, 0.25, 1e-8
"""rho grows by FACTOR while h stays above SLOW times its last value, up to LARGEST; the end is at h below LEAST."""


def _minimise(
    objective: Callable[[Array], tuple[float, Array]], start: Array, bounds: list[tuple[float, float | None]], most: int
) -> Array:
    from scipy.optimize import minimize

    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": most, "ftol": 1e-9, "maxcor": 20},
    )
    return np.asarray(found.x)


def _bounds(rule: Array) -> list[tuple[float, float | None]]:
    closed = (rule < 0) | np.eye(len(rule), dtype=bool)
    off: list[tuple[float, float | None]] = [(0.0, 0.0 if shut else None) for shut in closed.ravel()]
    return off + off


def _residual(covariance: Array, w: Array) -> tuple[float, Array]:
    """Half the mean squared error of (I - W), and its gradient."""
    left = np.eye(len(w)) - w
    product = covariance @ left
    return 0.5 * float((left * product).sum()), -product


def central_path(covariance: Array, beta: float, rule: Array) -> tuple[Array, float, int]:
    """Minimise mu (loss + beta |w|) - log det(I - W o W) as mu falls (eq. 17)."""
    p = len(covariance)
    v, rate = np.zeros(2 * p * p), np.tile(np.where(rule > 0, 0.0, beta).ravel(), 2)
    rounds = 0
    for mu in (1.0, 0.1, 0.01, 0.001):
        rounds += 1

        def objective(v: Array, mu: float = mu) -> tuple[float, Array]:
            w = (v[: p * p] - v[p * p :]).reshape(p, p)
            sign, log_det = np.linalg.slogdet(np.eye(p) - w * w)
            if sign <= 0:
                return 1e300, np.zeros_like(v)
            inverse = np.linalg.inv(np.eye(p) - w * w)
            if inverse.min() < -1e-9:
                return 1e300, np.zeros_like(v)
            loss, slope = _residual(covariance, w)
            g = (mu * slope + 2 * w * inverse.T).ravel()
            return mu * (loss + float(rate @ v)) - log_det, np.concatenate([g, -g]) + mu * rate

        v = _minimise(objective, v, _bounds(rule), 400)
    w = (v[: p * p] - v[p * p :]).reshape(p, p)
    return w, float(-np.linalg.slogdet(np.eye(p) - w * w)[1]), rounds


def lagrangian(covariance: Array, beta: float, rule: Array) -> tuple[Array, float, int]:
    """Augmented Lagrangian of the trace exponential (eq. 16)."""
    from scipy.linalg import expm

    p = len(covariance)
    rate = np.tile(np.where(rule > 0, 0.0, beta).ravel(), 2)
    v, rho, multiplier, h, rounds = np.zeros(2 * p * p), 1.0, 0.0, np.inf, 0
    while h > LEAST and rho < LARGEST:
        rounds += 1
        last = h
        while True:

            def objective(v: Array, rho: float = rho, multiplier: float = multiplier) -> tuple[float, Array]:
                w = (v[: p * p] - v[p * p :]).reshape(p, p)
                e = expm(w * w)
                h = float(np.trace(e)) - p
                loss, slope = _residual(covariance, w)
                g = (slope + (rho * h + multiplier) * 2 * w * e.T).ravel()
                value = loss + float(rate @ v) + 0.5 * rho * h**2 + multiplier * h
                return value, np.concatenate([g, -g]) + rate

            new = _minimise(objective, v, _bounds(rule), 1000)
            w = (new[: p * p] - new[p * p :]).reshape(p, p)
            h = float(np.trace(expm(w * w))) - p
            if h <= SLOW * last or rho >= LARGEST:
                break
            rho *= FACTOR
        v = new
        multiplier += rho * h
    return (v[: p * p] - v[p * p :]).reshape(p, p), h, rounds
