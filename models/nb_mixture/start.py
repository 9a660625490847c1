"""Where NUTS, ADVI and the other engines start: near a mode, found by short EM runs."""

import numpy as np

from genarium.declaration import Arrays, Problem

from .em import near_mode


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
