"""Fits to data with missing values: by EM, whose completed data are fitted as any (eq. 27 of the card)."""

from collections.abc import Callable, Mapping

import numpy as np

from genarium.declaration import Array, Problem

from .descent import Run
from .gaps import precision
from .objective import SPREAD, SPREAD_ROW, Objective
from .pack import Packed

FIRST, RIDGE = 20, 1e-6
"""Iterations of EM for the covariance that a fit starts from; share of a variance that is added to it."""

STEPS, GAIN = 60, 0.01
"""Iterations of a descent at most; EM ends where it gains less, in nats."""

Along = Callable[[Problem, Packed, Array, int], Run]


def whole(problem: Problem) -> Problem:
    """Return a problem without missing values: completed by the covariance of all samples, found by EM, or itself."""
    x = problem["x"]
    absent = np.isnan(x)
    if not absent.any():
        return problem
    filled, spread, row = np.where(absent, np.nanmean(x, 0), x), np.zeros((0, x.shape[1])), np.zeros(0, dtype=np.int64)
    for _ in range(FIRST):
        mean = filled.mean(0)
        centred = np.vstack([filled - mean, spread])
        covariance = centred.T @ centred / len(x)
        Q = np.linalg.inv(covariance + RIDGE * np.diag(np.diag(covariance)))
        filled, spread, row = _completed(x, np.broadcast_to(mean, x.shape), lambda i, Q=Q: Q)  # type: ignore[misc]
    return _with(problem, filled, spread, row)


def again(problem: Problem, objective: Objective, at: Mapping[str, Array]) -> Problem:
    """Complete a problem by the conditional means and covariances under a fit (eq. 27)."""
    n, p = problem["x"].shape
    weights, archetypes = objective.weights(at)[:n], objective.archetypes(at)
    sigma = np.broadcast_to(at["sigma"], p)
    mean = np.broadcast_to(objective.mean_of(at), (len(objective.context), p))[:n]

    def of(i: int) -> Array:
        return precision(np.tensordot(weights[i], archetypes, 1), sigma)

    return _with(problem, *_completed(problem["x"], mean, of))


def _completed(x: Array, mean: Array, precision_of: Callable[[int], Array]) -> tuple[Array, Array, Array]:
    """Values with conditional means in the gaps; rows whose outer products sum to the covariances; whose they are."""
    filled, spread, row = x.copy(), [], []
    for i in np.flatnonzero(np.isnan(x).any(1)):
        gone = np.flatnonzero(np.isnan(x[i]))
        r = np.where(np.isnan(x[i]), 0.0, x[i] - mean[i])
        Q = precision_of(int(i))
        own = np.linalg.inv(Q[np.ix_(gone, gone)])
        filled[i, gone] = mean[i, gone] - own @ (Q[gone] @ r)
        rows = np.zeros((len(gone), x.shape[1]))
        rows[:, gone] = np.linalg.cholesky(own).T
        spread.append(rows)
        row += [i] * len(gone)
    return filled, np.vstack(spread), np.array(row, dtype=np.int64)


def _with(problem: Problem, filled: Array, spread: Array, row: Array) -> Problem:
    arrays = {**problem.arrays, "x": filled, SPREAD: spread, SPREAD_ROW: row}
    return Problem(problem.model, problem.sizes, arrays, coords=problem.coords)


def ascend(problem: Problem, packed: Packed, start: Run, along: Along, max_iterations: int) -> tuple[Packed, Run]:
    """Go on by EM from the end of a fit to completed data, to a mode of the density of what was observed.

    Parameters
    ----------
    problem : Problem
        With missing values.
    packed : Packed
        Of the completed problem that ``start`` is a fit to.
    start : Run
    along : callable
        ``along(whole, packed, vector, iterations)``: a descent for a completed problem.
    max_iterations : int
        Of EM at most; descents have at most ``STEPS`` iterations each.

    Returns
    -------
    packed, run
        Of the last completion; the run's values are minus the observed log density, in nats, without constants.
    """
    vector, values, converged = start.vector, [_observed(problem, packed, start.vector)], False
    for _ in range(max_iterations):
        completed = again(problem, packed.objective, packed.unpack(vector))
        new = Packed(Objective(completed))
        new.alpha = packed.alpha
        moved = along(completed, new, vector, STEPS).vector
        value = _observed(problem, new, moved)
        if value > values[-1] - GAIN:
            converged = True
            break
        packed, vector = new, moved
        values.append(value)
    return packed, Run(vector, np.array(values), converged)


def _observed(problem: Problem, packed: Packed, vector: Array) -> float:
    """Minus the log density of what was observed, without constants."""
    value = packed(vector)[0] * packed.objective.total
    log_likelihood = problem.model.log_likelihood
    assert log_likelihood is not None
    observed = float(problem.call(log_likelihood, **packed.unpack(vector)).sum())
    return value + packed.last.log_likelihood - observed
