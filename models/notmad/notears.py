"""One network for all samples: population NOTEARS with exact L1, from the covariance alone (eqs. 15 and 16)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .projection import project_to_dag, topological_order

FACTOR, LARGEST, SLOW, LEAST = 10.0, 1e16, 0.25, 1e-8
"""rho grows by FACTOR while h stays above SLOW times its last value, up to LARGEST; the end is at h below LEAST."""


@dataclass(frozen=True)
class Population:
    """A network for all samples.

    Attributes
    ----------
    network : ndarray, shape (p, p)
        Acyclic; entry [i, j] is the edge from i to j.
    h : float
        Acyclicity penalty before projection.
    rounds : int
        Rounds of the augmented Lagrangian, or stages of the central path.
    """

    network: Array
    h: float
    rounds: int


def notears(
    x: Array,
    *,
    weight: Array | None = None,
    beta: float = 0.1,
    penalty: str = "logdet",
    threshold: float = 0.3,
    refit: bool = True,
    centre: bool = True,
) -> Population:
    """Fit a linear network for all samples.

    Parameters
    ----------
    x : ndarray, shape (N, p)
        Observations.
    weight : ndarray, shape (N,), optional
        Weights of the samples.
    beta : float
        L1 penalty of an edge, against half the mean squared error.
    penalty : {"logdet", "notears"}
        Central path of the log determinant (DAGMA), or augmented Lagrangian of the trace exponential (NOTEARS).
    threshold : float
        Edges of at most this size are dropped at the end.
    refit : bool
        Whether the order found is improved by moving single nodes (eq. 17), and weights are estimated anew by least
        squares along it, before the threshold: it undoes the shrinkage, and finds edges that the path lost.
    centre : bool
        Whether column means are taken off. Pass false where x is predicted about zero rather than about its mean:
        the loss of the fit is then the mean square of x - x W itself.

    Returns
    -------
    Population

    Raises
    ------
    InputError
        If ``penalty`` is not known, there are fewer than two samples, or an entry of x is not finite.

    References
    ----------
    Zheng et al. (2018, NeurIPS): DAGs with NO TEARS. Bello et al. (2022, NeurIPS): DAGMA.
    """
    x = np.asarray(x, dtype=float)
    if penalty not in ("logdet", "notears"):
        raise InputError(f"notears: penalty={penalty!r} is not known; use one of logdet, notears.")
    if len(x) < 2:
        raise InputError(f"notears: {len(x)} samples are too few; at least two are needed.")
    finite("x", x)
    share = np.full(len(x), 1 / len(x)) if weight is None else weight / weight.sum()
    r = x - share @ x if centre else x
    covariance = (r * share[:, None]).T @ r
    fit = _central_path if penalty == "logdet" else _lagrangian
    loose, h, rounds = fit(covariance, beta)
    dag = project_to_dag(loose)
    if refit:
        dag = least_squares(covariance, improved_order(covariance, topological_order(dag)), beta)
    return Population(np.where(np.abs(dag) > threshold, dag, 0.0), h, rounds)


def finite(name: str, values: Array) -> None:
    """Refuse a matrix with entries that are not finite.

    Raises
    ------
    InputError
        Naming the first one.
    """
    values = np.asarray(values, dtype=float)
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        i, j = (int(v) for v in bad[0])
        raise InputError(
            f"notmad: {name}[{i}, {j}] = {values[i, j]:g} is not finite ({len(bad)} of {values.size} values are not). "
            "Drop these samples, or fill the values in."
        )


def improved_order(covariance: Array, order: Array) -> Array:
    """Move single nodes along an order while that lowers the sum of the residual variances (eq. 17).

    With x = L z (Cholesky) in an order, the residual variance of a node given those before it is its squared diagonal
    element of L: an order is scored by one factorisation.
    """

    def score(trial: Array) -> float:
        return float((np.diag(np.linalg.cholesky(ridged[np.ix_(trial, trial)])) ** 2).sum())

    p = len(order)
    ridged = covariance + 1e-10 * np.trace(covariance) / p * np.eye(p)
    best, least = np.asarray(order), score(order)
    moved = True
    while moved:
        moved = False
        for node in range(p):
            rest = best[best != node]
            trials = [np.insert(rest, place, node) for place in range(p)]
            scores = [score(trial) for trial in trials]
            place = int(np.argmin(scores))
            if scores[place] < least * (1 - 1e-9):
                best, least, moved = trials[place], scores[place], True
    return best


def least_squares(covariance: Array, order: Array, beta: float = 0.0) -> Array:
    """Regress every node on those before it in an order; with ``beta``, weights that the L1 penalty kills stay zero."""
    p = len(covariance)
    out = np.zeros((p, p))
    for k in range(1, p):
        before, node = order[:k], order[k]
        gram = covariance[np.ix_(before, before)] + 1e-10 * np.trace(covariance) / p * np.eye(k)
        solved = np.linalg.solve(gram, covariance[before, node])
        out[before, node] = np.where(np.abs(solved) > beta, solved, 0.0)
    return out


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


def _bounds(p: int) -> list[tuple[float, float | None]]:
    off = [(0.0, 0.0 if i == j else None) for i in range(p) for j in range(p)]
    return off + off


def _residual(covariance: Array, w: Array) -> tuple[float, Array]:
    """Half the mean squared error of (I - W), and its gradient."""
    left = np.eye(len(w)) - w
    product = covariance @ left
    return 0.5 * float((left * product).sum()), -product


def _central_path(covariance: Array, beta: float) -> tuple[Array, float, int]:
    """Minimise mu (loss + beta |w|) - log det(I - W o W) as mu falls (eq. 16)."""
    p = len(covariance)
    v = np.zeros(2 * p * p)
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
            return mu * (loss + beta * float(v.sum())) - log_det, np.concatenate([g + mu * beta, mu * beta - g])

        v = _minimise(objective, v, _bounds(p), 400)
    w = (v[: p * p] - v[p * p :]).reshape(p, p)
    return w, float(-np.linalg.slogdet(np.eye(p) - w * w)[1]), rounds


def _lagrangian(covariance: Array, beta: float) -> tuple[Array, float, int]:
    """Augmented Lagrangian of the trace exponential (eq. 15)."""
    from scipy.linalg import expm

    p = len(covariance)
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
                value = loss + beta * float(v.sum()) + 0.5 * rho * h**2 + multiplier * h
                return value, np.concatenate([g + beta, beta - g])

            new = _minimise(objective, v, _bounds(p), 1000)
            w = (new[: p * p] - new[p * p :]).reshape(p, p)
            h = float(np.trace(expm(w * w))) - p
            if h <= SLOW * last or rho >= LARGEST:
                break
            rho *= FACTOR
        v = new
        multiplier += rho * h
    return (v[: p * p] - v[p * p :]).reshape(p, p), h, rounds
