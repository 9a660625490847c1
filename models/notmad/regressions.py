"""Regressions of one node with a link on others, with an L1 penalty on their weights (eq. 28 of the card)."""

import numpy as np
from numba import njit
from scipy.optimize import minimize_scalar
from scipy.special import expit

from genarium.declaration import Array

from . import links

STEPS, HALVINGS, PRECISION = 30, 30, 1e-3
"""Newton steps, and halvings of a step, at most; nats that the last step still gains at most."""

SWEEPS, FLAT = 100, 1e-8
"""Passes of coordinate descent in a Newton step, at most; what is added to curvatures that may vanish."""

DISPERSIONS = 1e-3, 100.0
"""Between these, dispersions of counts are estimated."""

ROUNDS = 10
"""Of weights and dispersion, at most."""


def fit(kind: str, x: Array, level: float, features: Array, rate: float) -> tuple[float, Array]:
    """Maximise the log density of a node less ``rate`` times the sum of the sizes of its weights.

    Parameters
    ----------
    kind : {"logistic", "count"}
    x : ndarray, shape (n,)
    level : float
        What its linear predictor is without features, up to a constant that is fitted and not penalised.
    features : ndarray, shape (n, k)
    rate : float

    Returns
    -------
    value : float
        The maximum, in nats; of counts also over their dispersion.
    weights : ndarray, shape (1 + k,)
        The constant and the weights there.
    """
    design = np.column_stack([np.ones(len(x)), features])
    value, at, dispersion = -np.inf, np.zeros(design.shape[1]), 1.0
    for _ in range(ROUNDS if kind == "count" else 1):
        if kind == "count":
            dispersion = _dispersion(x, level + design @ at)
        before, (value, at) = value, _weights(kind, x, level, design, rate, dispersion, at)
        if value - before < PRECISION:
            break
    return value, at


def _dispersion(x: Array, eta: Array) -> float:
    """Return the dispersion of counts that maximises their log density."""

    def loss(log_dispersion: float) -> float:
        return -float(links.log_density("count", x, eta, float(np.exp(log_dispersion))).sum())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(DISPERSIONS), method="bounded", options={"xatol": 1e-3}).x))


def _weights(
    kind: str, x: Array, level: float, design: Array, rate: float, dispersion: float, at: Array
) -> tuple[float, Array]:
    """Maximise over the weights from where they are, by Newton's method with coordinate descent; value and weights."""

    def value_at(weights: Array) -> tuple[float, Array]:
        eta = level + design @ weights
        return float(links.log_density(kind, x, eta, dispersion).sum()) - rate * float(np.abs(weights[1:]).sum()), eta

    value, eta = value_at(at)
    for _ in range(STEPS):
        gradient = design.T @ links.slopes(kind, x[:, None], eta[:, None], dispersion)[0][:, 0]
        weighted = design * curvature(kind, eta, dispersion)[:, None]
        step = _quadratic(weighted.T @ design + FLAT * np.eye(len(at)), gradient, at, rate) - at
        share = 1.0
        for _ in range(HALVINGS):
            trial, there = value_at(at + share * step)
            if trial >= value:
                break
            share /= 2
        else:
            break
        gained, at, value, eta = trial - value, at + share * step, trial, there
        if gained < PRECISION:
            break
    return value, at


def curvature(kind: str, eta: Array, dispersion: float) -> Array:
    """Negative second derivative of the log density by eta, as its mean over x."""
    if kind == "logistic":
        return np.asarray(expit(eta) * expit(-eta))
    return np.asarray(expit(eta + np.log(dispersion)) / dispersion)


@njit(cache=True)
def _quadratic(curvature: Array, gradient: Array, at: Array, rate: float) -> Array:
    """Minimise the quadratic about ``at`` plus the penalty, which spares the first weight, by coordinate descent."""
    w, slope = at.copy(), -gradient  # of the quadratic at w
    for _ in range(SWEEPS):
        most = 0.0
        for j in range(len(w)):
            centre = w[j] - slope[j] / curvature[j, j]
            edge = rate / curvature[j, j] if j else 0.0
            new = np.sign(centre) * max(abs(centre) - edge, 0.0)
            moved = new - w[j]
            if moved != 0.0:
                slope += moved * curvature[:, j]
                w[j] = new
                most = max(most, moved * moved * curvature[j, j])
        if most < 1e-6:
            break
    return w
