"""Variational Bayes with covariates, batches or lost counts; equation numbers refer to the card (README.md)."""

from typing import Any

import numpy as np

from genarium.declaration import Array, Labelled, Problem, Result
from genarium.engines.ascent import Ascent, ascend, best_of
from genarium.simplex import dirichlet_log_norm

from .adjusted import zero_summed
from .adjusted_bound import State
from .adjusted_step import Step
from .em import sought
from .search import LEAST, ROUGH

OWN = 2
"""Starts of its own that variational Bayes has beside the mode of EM."""


def run(step: Step, state: State, tolerance: float, max_iterations: int, accelerate: bool) -> Ascent[State]:
    """Ascend from a state."""
    vector = step.vector(state) if accelerate else None
    return ascend(step, state, tolerance=tolerance, max_iterations=max_iterations, vector=vector)


def adjusted_vi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 10,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
    accelerate: bool = True,
    draws: int = 1000,
) -> Result:
    """Fit normal factors of the logs of means, dispersion, shifts and effects, by coordinate ascent.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    restarts : int
        Starts of the EM whose mode it starts from.
    tolerance : float
        Nats of the evidence lower bound that may be left to gain.
    max_iterations : int
    accelerate : bool
        Extrapolate by SQUAREM.
    draws : int
        Draws for the posterior group.

    Returns
    -------
    Result
        ``variational``: parameters of the factors, the responsibilities, the bound by start and iteration;
        ``posterior``: draws, with their log density under q in ``sample_stats``. Components are sorted by decreasing
        weight.
    """
    _, mode = sought(problem, rng, restarts, ROUGH, max_iterations, accelerate)
    step = Step(problem, point=False)
    own = OWN if restarts > 1 and len(problem["x"]) <= LEAST else 0
    starts = (step.started(rng, i == 1) if i else step.widened(mode.best.state) for i in range(1 + own))
    runs = (run(step, state, tolerance, max_iterations, accelerate) for state in starts)
    found = best_of(runs, "VI from the mode of EM", 1 + own)
    notes = found.notes
    if found.best is found.runs[0]:
        notes |= {name: mode.notes[name] for name in ("restarts", "restarts_at_best")}
    return collected(step, found.best.state, found.trace, notes, rng, draws)


def collected(
    step: Step, state: State, trace: Labelled, notes: dict[str, Any], rng: np.random.Generator, draws: int
) -> Result:
    """Draw from the factors, and label their parameters with the components sorted by decreasing weight."""
    q = step.responsibilities(state)
    order = np.argsort(-state.weight, kind="stable")
    posterior, log_q = drawn(step, state, rng, draws, order)
    variational: dict[str, Any] = {
        "alpha": (("component",), state.weight[order]),
        "responsibility": (("cell", "component"), q[order].T),
        "bound": trace,
        **factors(step, state, order),
    }
    return Result(variational=variational, posterior=posterior, sample_stats={"log_q": log_q[None]}, notes=notes)


def factors(step: Step, state: State, order: Array) -> dict[str, Labelled]:
    """Return means and sds of the factors, effects and shifts in the declared coordinates."""
    dims = {name: var.dims for name, var in step.problem.model.unknown.variables.items()}
    sd = {name: np.exp(value) for name, value in state.log_sd.items()}
    out: dict[str, Labelled] = {
        "log_mu_mean": (dims["mu"], state.centre["log_mu"][order]),
        "log_mu_sd": (dims["mu"], sd["log_mu"][order]),
    }
    if "log_r" in sd:
        own = order if step.story.dispersion == "component" else ...
        out["log_phi_mean"] = (dims["phi"], -state.centre["log_r"][own])
        out["log_phi_sd"] = (dims["phi"], sd["log_r"][own])
    every = np.arange(step.cells.batches)
    for name, into, some in (("effect", step.bound.of_component, order), ("shift", step.bound.of_batch, every)):
        if name in sd:
            out[f"{name}_mean"] = (dims[name], (state.centre[name] @ into.T)[:, some])
            out[f"{name}_sd"] = (dims[name], np.sqrt(sd[name] ** 2 @ into.T**2)[:, some])
    if step.story.inflated:
        out |= {"zero_a": (("gene",), state.zero[0]), "zero_b_of_q": (("gene",), state.zero[1])}
    return out


def drawn(
    step: Step, state: State, rng: np.random.Generator, draws: int, order: Array
) -> tuple[dict[str, Array], Array]:
    """Draw the unknown variables from their factors, with the log density of each draw (S,)."""
    from scipy.special import betaln

    pi = np.maximum(rng.dirichlet(state.weight, draws), 1e-300)
    log_q = ((state.weight - 1) * np.log(pi)).sum(1) + dirichlet_log_norm(state.weight)
    normal: dict[str, Array] = {}
    for name, mean in state.centre.items():
        z = rng.normal(size=(draws, *mean.shape))
        normal[name] = mean + np.exp(state.log_sd[name]) * z
        each = -0.5 * z**2 - state.log_sd[name] - 0.5 * np.log(2 * np.pi)
        log_q += each.reshape(draws, -1).sum(1)
    log_q -= normal["log_mu"].reshape(draws, -1).sum(1)  # d mu = mu d ln mu
    out: dict[str, Array] = {}
    if "log_r" in normal:
        phi = np.exp(-normal["log_r"])
        log_q += normal["log_r"].reshape(draws, -1).sum(1)  # d phi = phi d ln r
        out["phi"] = (phi[:, order] if step.story.dispersion == "component" else phi)[None]
    out |= {"pi": pi[None, :, order], "mu": np.exp(normal["log_mu"])[None][:, :, order]}
    if "effect" in normal:
        out["effect"] = zero_summed(normal["effect"] @ step.bound.of_component.T)[None][..., order]
    if "shift" in normal:
        out["shift"] = zero_summed(normal["shift"] @ step.bound.of_batch.T)[None]
    if step.story.inflated:
        a, b = state.zero
        zero = np.clip(rng.beta(a, b, (draws, len(a))), 1e-300, 1 - 1e-16)
        log_q += ((a - 1) * np.log(zero) + (b - 1) * np.log1p(-zero) - betaln(a, b)).sum(1)
        out["zero"] = zero[None]
    return out, log_q
