"""Where NUTS, ADVI and the other engines start: near a mode, found by short EM runs.

It runs EM, for every chain: five runs of ten updates from k-means++, of which the best goes on until it gains little
(Biernacki, Celeux and Govaert 2003). That is 5 CPU milliseconds for 200 cells of two genes and three components, and
grows with the counts. Chains of ``gibbs`` start here too.
"""

from collections.abc import Callable, Iterable

import numpy as np

from genarium.declaration import Array, Arrays, Problem
from genarium.engines.ascent import ascend

from . import adjusted_step
from .adjusted import Adjusted
from .adjusted_fit import natural
from .em import State, Step
from .seeding import k_means_plus_plus

SHORT_RUNS, SHORT = 5, 10
"""Short runs, and the updates of each."""

NEAR = 0.01
"""Nats of the likelihood that a start may leave to gain: the engines go on from there."""


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start the engines from the best of a few short EM runs, continued, with no empty component."""
    if not Adjusted.of(problem).plain:
        return adjusted_start(problem, rng)
    state = near_mode(problem, rng)
    order = np.arange(len(state.pi)) if problem.fixed else np.argsort(-state.pi, kind="stable")
    own = problem.option("dispersion") == "component"
    out = {"pi": state.pi[order], "mu": state.mu[order]}
    if "phi" in problem.model.unknown.variables:
        out["phi"] = state.phi[order] if own else state.phi
    return inside(out)


def inside(values: Arrays) -> dict[str, Array]:
    """Keep values off the edges of their supports."""
    out = dict(values)
    pi = np.maximum(out["pi"], 1e-3)
    out |= {"pi": pi / pi.sum(), "mu": np.maximum(out["mu"], 1e-3)}
    ends = {"phi": (1e-3, 1e3), "zero": (1e-3, 0.9)}
    return out | {name: np.clip(out[name], *ends[name]) for name in ends if name in out}


def best_short[S](step: Callable[[S], tuple[S, float]], starts: Iterable[S]) -> S:
    """Return where the best of a few short runs leads to."""
    runs = (ascend(step, at, max_iterations=SHORT, tolerance=NEAR) for at in starts)
    best = max(runs, key=lambda run: run.bound)
    return best.state if best.converged else ascend(step, best.state, tolerance=NEAR).state


def adjusted_start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start where covariates, batches or lost counts are part of the story."""
    step = adjusted_step.Step(problem, point=True)
    starts = (adjusted_step.started(step, problem, rng, i % 2 == 0) for i in range(SHORT_RUNS))
    state = best_short(step, starts)
    return inside(natural(step, state, np.argsort(-state.weight, kind="stable")))


def near_mode(problem: Problem, rng: np.random.Generator) -> State:
    """Return a state within about ``NEAR`` nats of the mode that it is on the way to."""
    step, K = Step(problem), problem.sizes["component"]
    starts = (step.start_at(k_means_plus_plus(problem["x"], problem["size_factor"], K, rng)) for _ in range(SHORT_RUNS))
    return best_short(step, starts)
