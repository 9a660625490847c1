"""The end of an ascent of EM along a flat ridge: quasi-Newton steps up the likelihood, whose slope EM's sums give."""

from dataclasses import replace

import numpy as np

from genarium.declaration import Array
from genarium.engines.ascent import Ascent

from .adjusted_bound import State, climb
from .adjusted_step import LEAST_ZERO, Step

RIDGE = 100
"""Updates after which an ascent that has not converged is taken to be on a ridge; one cut shorter is left as it is."""

ROUNDS, STEPS = 10, 50
"""Rounds of so many steps, at most."""


def on_a_ridge[S](run: Ascent[S]) -> bool:
    """Whether an ascent ran out of iterations, of which it had many."""
    return not run.converged and len(run.bounds) > RIDGE


def finished(step: Step, run: Ascent[State], tolerance: float) -> Ascent[State]:
    """Go on where EM ran out of iterations.

    By Fisher's identity, the slope of the log likelihood is that of its expectation under the responsibilities.

    Parameters
    ----------
    step : Step
        Of points.
    run : Ascent
    tolerance : float
        Nats that the last round may gain.

    Returns
    -------
    Ascent
        With the bound after each round.
    """
    state, bounds = run.state, list(run.bounds)
    limits = ends(step, state)
    for _ in range(ROUNDS):
        told, _, bound = step.bound.expect(state)
        size, N = np.maximum(told.weight.sum(0), 1), len(step.cells.counts.x)
        curvature = step.curvature(state, told)
        share = state.zero.ravel()
        of_zero = N * np.maximum(share * (1 - share), 1e-6)
        scale = np.concatenate([size, of_zero, *(curvature[name].ravel() for name in state.centre)]) ** -0.5

        def objective(vector: Array, like: State = state) -> tuple[float, Array]:
            return likelihood(step, step.unpack(vector, like))

        state = step.unpack(climb(objective, step.pack(state), scale, limits, STEPS), state)
        bounds.append(likelihood(step, state)[0])
        if bounds[-1] - bound < tolerance:
            return replace(run, state=state, bounds=np.array(bounds), converged=True)
    return replace(run, state=state, bounds=np.array(bounds))


def likelihood(step: Step, state: State) -> tuple[float, Array]:
    """Return the bound of points and its slopes by what :meth:`Step.pack` returns."""
    told, _, value = step.bound.expect(state)
    _, slope, wide = step.bound.means_and_slopes(state, told)
    size = told.weight.sum(0)
    by_weight = size - size.sum() * state.weight
    if step.story.covariates:
        _, by_weight, slope["effect"], _ = step.bound.weights_and_slopes(state, told)
    by_zero = np.empty(0)
    if step.story.inflated:
        all_ = len(step.cells.counts.x) + float(step.problem["zero_b"]) - 1
        by_zero = told.lost.sum((0, 1)) - state.zero[0] * all_
    return value, np.concatenate([by_weight, by_zero, step.gradient(state, list(state.centre), slope, wide)])


def ends(step: Step, state: State) -> Array:
    """Return where the numbers of :meth:`Step.pack` may go; shape (V, 2)."""
    zero = np.log(LEAST_ZERO)
    parts = [np.tile([-300.0, 0.0], (len(state.weight), 1)), np.tile([zero, -zero], (state.zero.size, 1))]
    return np.concatenate([*parts, step.limits(state, list(state.centre))])
