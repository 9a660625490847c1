"""Where NUTS, ADVI and the other engines start: near a mode, found by short EM runs.

It runs EM, for every chain: five runs of ten updates from k-means++, of which the best goes on until it gains little
(Biernacki, Celeux and Govaert 2003). That is 5 CPU milliseconds for 200 cells of two genes and three components, and
grows with the counts. Chains of ``gibbs`` start here too.
"""

import numpy as np

from genarium.declaration import Array, Arrays, Problem
from genarium.engines.ascent import ascend

from .em import step_of

SHORT_RUNS, SHORT = 5, 10
"""Short runs, and the updates of each."""

NEAR = 0.01
"""Nats of the likelihood that a start may leave to gain: the engines go on from there."""


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start the engines from the best of a few short EM runs, continued, with no empty component."""
    step = step_of(problem)
    starts = (step.started(rng, i % 2 == 0) for i in range(SHORT_RUNS))
    runs = (ascend(step, at, max_iterations=SHORT, tolerance=NEAR) for at in starts)
    best = max(runs, key=lambda run: run.bound)
    state = best.state if best.converged else ascend(step, best.state, tolerance=NEAR).state
    order = np.arange(len(state.weight)) if problem.fixed else np.argsort(-state.weight, kind="stable")
    return inside(step.estimate(state, order))


def inside(values: Arrays) -> dict[str, Array]:
    """Keep values off the edges of their supports."""
    out = dict(values)
    pi = np.maximum(out["pi"], 1e-3)
    out |= {"pi": pi / pi.sum(), "mu": np.maximum(out["mu"], 1e-3)}
    ends = {"phi": (1e-3, 1e3), "zero": (1e-3, 0.9)}
    return out | {name: np.clip(out[name], *ends[name]) for name in ends if name in out}
