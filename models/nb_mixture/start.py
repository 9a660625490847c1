"""Where NUTS, ADVI and the other engines start: near a mode, found by short EM runs.

It runs EM, for every chain: five runs of ten updates from k-means++, of which the best goes on until it gains little
(Biernacki, Celeux and Govaert 2003). That is 5 CPU milliseconds for 200 cells of two genes and three components, and
grows with the counts. Chains of ``gibbs`` start here too.
"""

import numpy as np

from genarium.declaration import Arrays, Problem
from genarium.engines.ascent import ascend

from .em import State, Step
from .seeding import k_means_plus_plus

SHORT_RUNS, SHORT = 5, 10
"""Short runs, and the updates of each."""

NEAR = 0.01
"""Nats of the likelihood that a start may leave to gain: the engines go on from there."""


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start the engines from the best of a few short EM runs, continued, with no empty component."""
    state = near_mode(problem, rng)
    order = np.arange(len(state.pi)) if problem.fixed else np.argsort(-state.pi, kind="stable")
    pi = np.maximum(state.pi[order], 1e-3)
    out = {"pi": pi / pi.sum(), "mu": np.maximum(state.mu[order], 1e-3)}
    if "phi" in problem.model.unknown.variables:
        own = problem.option("dispersion") == "component"
        out["phi"] = np.clip(state.phi[order] if own else state.phi, 1e-3, 1e3)
    return out


def near_mode(problem: Problem, rng: np.random.Generator) -> State:
    """Return a state within about ``NEAR`` nats of the mode that it is on the way to."""
    step, K = Step(problem), problem.sizes["component"]
    starts = (step.start_at(k_means_plus_plus(problem["x"], problem["size_factor"], K, rng)) for _ in range(SHORT_RUNS))
    best = max((ascend(step, at, max_iterations=SHORT, tolerance=NEAR) for at in starts), key=lambda run: run.bound)
    return best.state if best.converged else ascend(step, best.state, tolerance=NEAR).state
