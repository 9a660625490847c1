"""Maximum likelihood by expectation maximisation; equation numbers refer to the card (README.md)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, ascend

from . import adjusted_step, em_step
from .adjusted import Adjusted
from .em_step import State, Vector
from .finish import finished, on_a_ridge
from .moves import moved, worthwhile
from .nodes import ERROR
from .search import Search, search


class Step[S](Protocol):
    """One update of points, ``step(state) -> (next state, bound of state)``; a state has a ``weight`` (K,)."""

    problem: Problem

    def __call__(self, state: S) -> tuple[S, float]:
        """Update all parameters."""

    def started(self, rng: np.random.Generator, corrected: bool) -> S:
        """Start from k-means++, of what is left when the batches' mean differences are off if ``corrected``."""

    def vector(self, like: S) -> Vector[S]:
        """Return how a state becomes an unconstrained vector, and one a state."""

    def uncorrected(self, state: S) -> Array:
        """Return the counts (N, D) that centroids are started from, batches' differences off."""

    def merged(self, state: S, i: int, j: int) -> S:
        """Return the state in which component i stands for i and j, and j for no cell."""

    def divided(self, state: S, k: int, j: int, two: Array) -> S:
        """Return the state in which components k and j have the cells of k, at two centroids."""

    def estimate(self, state: S, order: Array) -> dict[str, Array]:
        """Return the unknown variables with the components in the given order."""

    def responsibilities(self, state: S) -> Array:
        """Return q of the groups; shape (K, N)."""


def step_of(problem: Problem, error: float = ERROR) -> Step[Any]:
    """Return the update of a problem; ``error`` is that of the interpolation over size factors."""
    if Adjusted.of(problem).plain:
        return em_step.Step(problem, error)
    return adjusted_step.Step(problem, point=True, error=error)


def em(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 10,
    tolerance: float = 1e-6,
    max_iterations: int = 2000,
    accelerate: bool = True,
) -> Result:
    """Fit by EM from several k-means++ starts and keep the best mode.

    Parameters
    ----------
    problem : Problem
        ``fixed`` may hold pi, mu or phi, without covariates, batches or lost counts.
    rng : Generator
    restarts : int
        Number of starts.
    tolerance : float
        Nats that may be left to gain.
    max_iterations : int
    accelerate : bool
        Extrapolate by SQUAREM.

    Returns
    -------
    Result
        ``point``: the unknown variables, components sorted by decreasing weight; the responsibilities; the bound (log
        likelihood, plus log prior of effects, shifts and shares of lost counts) by restart and iteration.
    """
    step, found = sought(problem, rng, restarts, tolerance, max_iterations, accelerate)
    if not problem.fixed and on_a_ridge(found.best):
        found = found.ended(along_the_ridge(step, found.best, tolerance))
    return told(step, found.best.state, found.trace, found.notes)


def sought(
    problem: Problem,
    rng: np.random.Generator,
    restarts: int,
    tolerance: float,
    max_iterations: int = 2000,
    accelerate: bool = True,
) -> tuple[Step[Any], Search[Any]]:
    """Follow several starts, and moves from their best end; returns the update, and what they led to."""

    def ascent(problem: Problem, error: float) -> Callable[..., Ascent[Any]]:
        return along(step_of(problem, error))

    def along(step: Step[Any]) -> Callable[..., Ascent[Any]]:
        turn = iter(range(10**9))

        def go(state: Any, *, tolerance: float, most: int = 0) -> Ascent[Any]:
            if state is None:
                state = step.started(rng, next(turn) % 2 == 0)
            vector = step.vector(state) if accelerate else None
            return ascend(step, state, tolerance=tolerance, max_iterations=most or max_iterations, vector=vector)

        return go

    step, found = step_of(problem), search(problem, rng, ascent, restarts, tolerance, "EM restarts")
    if worthwhile(step, restarts):
        found = moved(step, found, rng, along(step), tolerance)
    return step, found


def told(step: Step[Any], state: Any, trace: Any, notes: dict[str, Any]) -> Result:
    """Return a state as the result of a fit, with the bound by restart and iteration."""
    q = step.responsibilities(state)  # the final E-step, for the state that is returned
    order = np.arange(len(q)) if step.problem.fixed else np.argsort(-state.weight, kind="stable")
    point: dict[str, Any] = {**step.estimate(state, order)}
    point["responsibility"] = (("cell", "component"), q[order].T)
    point["bound"] = trace
    return Result(point=point, notes={**notes, "empty_components": int((q.sum(1) < 1e-6).sum())})


def along_the_ridge(step: Step[Any], run: Ascent[Any], tolerance: float) -> Ascent[Any]:
    """Go on by quasi-Newton steps where EM ran out of iterations."""
    if isinstance(step, adjusted_step.Step):
        return finished(step, run, tolerance)
    points = adjusted_step.Step(step.problem, point=True)
    first = points.start_at(run.state.mu, np.empty(0))
    centre = {**first.centre, **({"log_r": -np.log(run.state.phi)} if "log_r" in first.centre else {})}
    begun = Ascent(replace(first, centre=centre, weight=run.state.pi), run.bounds, run.converged)
    ended = finished(points, begun, tolerance)
    at = ended.state
    phi = np.exp(-at.centre["log_r"]) if "log_r" in at.centre else run.state.phi
    return Ascent(State(at.weight, np.exp(at.centre["log_mu"]), phi), ended.bounds, ended.converged)
