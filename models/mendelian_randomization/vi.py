"""Variational Bayes by coordinate ascent; equation numbers refer to the card (README.md).

Pleiotropic effects stay summed out (augmenting them would narrow q further): their spread omega, like sigma and tau,
has a factor on nodes of its logarithm, in which every expectation is a sum.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from genarium.declaration import Problem, Result
from genarium.engines.ascent import Ascent, ascend, best_of

from .response import correct, packing
from .sides import other_side
from .sweep import Factors, Step

SETTLED = 1e-3
"""Nats of the bound that linear response leaves to be gained: it goes on to the fixed point by itself."""

TURNS, FINER = 5, 10
"""Moves to the other side of intercepts, and refinements of the nodes, at most."""

STRONG = (0.5, 0.05)
"""Shares of strong variants that the ascents start at, in turn: many of narrow effects, or few of wide ones."""

WITHIN, APART = 10.0, 0.1
"""Nats below the best bound up to which a mode counts; share and ln sigma by which two modes differ."""


def vi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    covariance: Literal["mean_field", "linear_response"] = "linear_response",
    polish: bool = True,
    draws: int = 1000,
    restarts: int = 4,
    tolerance: float = 1e-6,
    max_iterations: int = 5000,
) -> Result:
    """Fit by variational Bayes.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    covariance : {"linear_response", "mean_field"}
        Draws from a proposal with linear-response covariance, resampled by their importance ratios to the posterior; or
        from q itself, which is too narrow.
    polish : bool
        With linear response: whether a short run of Gibbs sampling takes the place of draws that importance ratios
        cannot correct (Pareto k-hat above 0.7), or that miss a second mode of a region; else such a fit is refused.
    draws, restarts : int
        Draws; ascents, which start with few or many strong variants in turn.
    tolerance : float
        Nats of the bound that may be left to gain.
    max_iterations : int

    Returns
    -------
    Result
        ``posterior``, and the parameters of q at the best optimum in ``variational``; in the notes of linear response
        ``khat``, ``polished``, ``modes``, and in ``divided`` how many regions have two.

    Raises
    ------
    ApproximationError
        With linear response and ``polish=False``, if Pareto k-hat is above 0.7 or a region has two modes.
    """
    enough = tolerance if covariance == "mean_field" else max(tolerance, SETTLED)
    stop: dict[str, Any] = {"tolerance": enough, "max_iterations": max_iterations}
    steps: list[Step] = []

    def ascent(step: Step, state: Factors) -> tuple[Step, Ascent[Factors]]:
        """Ascend; then on nodes that resolve the factors better, as long as there are any."""
        found = ascend(step, state, vector=packing(step, state), **stop)
        for _ in range(FINER):
            finer = step.refined(found.state)
            if finer is None:
                break
            step, state = finer
            found = ascend(step, state, vector=packing(step, state), **stop)
        return step, found

    def run(strong: float) -> Ascent[Factors]:
        """Ascend, and again from the other side of a region's intercept, as long as that is better."""
        step = Step(problem)
        step, found = ascent(step, step.first(rng, strong))
        for _ in range(TURNS):
            other = other_side(problem, step, found.state)
            if other is None or (trial := ascent(step, other))[1].bound <= found.bound:
                break
            step, found = trial
        steps.append(step)
        return found

    found = best_of((run(STRONG[i % len(STRONG)]) for i in range(restarts)), "VI restarts", restarts)
    modes = distinct(steps, found.runs)
    step, state = modes[0]
    drawn = step.draw(state, rng, draws)
    result = Result(
        variational={**step.parameters(state), "bound": found.trace},
        posterior=drawn[0],
        sample_stats={"log_q": drawn[1]},
        notes=found.notes,
    )
    if covariance == "mean_field":
        return result
    return correct(problem, rng, modes, result, draws=draws, polish=polish)


def distinct(steps: Sequence[Step], runs: Sequence[Ascent[Factors]]) -> list[tuple[Step, Factors]]:
    """Return where the ascents ended, the best first: one of each mode whose bound is not far below the best."""
    found: list[tuple[Step, Factors]] = []
    at: list[tuple[float, float]] = []
    best = max(run.bound for run in runs)
    for step, run in sorted(zip(steps, runs, strict=True), key=lambda one: -one[1].bound):
        share, log_sd = float(run.state.share[0] / run.state.share.sum()), float(np.exp(run.state.sd) @ step.nodes[1])
        if run.bound > best - WITHIN and all(abs(share - p) + abs(log_sd - s) > APART for p, s in at):
            found.append((step, run.state))
            at.append((share, log_sd))
    return found
