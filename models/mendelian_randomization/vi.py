"""Variational Bayes by coordinate ascent; equation numbers refer to the card (README.md).

Pleiotropic effects stay summed out (augmenting them would narrow q further): their spread omega, like sigma and tau,
has a factor on nodes of its logarithm, in which every expectation is a sum.
"""

from itertools import chain
from typing import Literal

import numpy as np

from genarium.declaration import Problem, Result
from genarium.engines.ascent import Ascent, ascend, best_of

from .sides import other_side
from .sweep import Factors, Step

SETTLED = 1e-3
"""Nats of the bound that linear response leaves to be gained: it goes on to the fixed point by itself."""

TURNS = 5
"""Moves to the other side of intercepts, at most."""


def vi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    covariance: Literal["mean_field", "linear_response"] = "linear_response",
    polish: bool = True,
    draws: int = 1000,
    restarts: int = 2,
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
        With linear response: whether a short run of NUTS goes on where importance ratios cannot correct the proposal
        (Pareto k-hat above 0.7); else such a fit is refused.
    draws, restarts : int
    tolerance : float
        Nats of the bound that may be left to gain.
    max_iterations : int

    Returns
    -------
    Result
    """
    step = Step(problem)
    enough = tolerance if covariance == "mean_field" else max(tolerance, SETTLED)

    def ascent(state: Factors, again: int = 10) -> Ascent[Factors]:
        """Ascend; then on nodes that resolve the factors better, as long as there are any."""
        nonlocal step
        found = ascend(step, state, tolerance=enough, max_iterations=max_iterations)
        for _ in range(again):
            finer = step.refined(found.state)
            if finer is None:
                break
            step, state = finer
            found = ascend(step, state, tolerance=enough, max_iterations=max_iterations)
        return found

    def turned(state: Factors, again: int = 10) -> Ascent[Factors]:
        """Ascend, and again from the other side of a region's intercept, as long as that is better."""
        found = ascent(state, again)
        for _ in range(TURNS):
            other = other_side(problem, step, found.state)
            if other is None or (trial := ascent(other, again)).bound <= found.bound:
                break
            found = trial
        return found

    first = turned(step.first(rng))  # finds the nodes
    more = (turned(step.first(rng), 0) for _ in range(restarts - 1))
    found = best_of(chain([first], more), "VI restarts", restarts)
    state = found.best.state
    drawn = step.draw(state, rng, draws)
    result = Result(
        variational={**step.parameters(state), "bound": found.trace},
        posterior=drawn[0],
        sample_stats={"log_q": drawn[1]},
        notes=found.notes,
    )
    if covariance == "mean_field":
        return result
    from .response import correct

    return correct(problem, rng, step, state, result, draws=draws, polish=polish)
