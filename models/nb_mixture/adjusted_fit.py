"""EM and variational Bayes with covariates, batches or lost counts; equation numbers refer to the card (README.md)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from genarium.declaration import Array, Labelled, Problem, Result
from genarium.engines.ascent import Ascent, ascend, best_of
from genarium.simplex import dirichlet_log_norm

from .adjusted_bound import State
from .adjusted_step import Step, started
from .finish import finished, on_a_ridge
from .search import LEAST, search

OWN = 2
"""Starts of its own that variational Bayes has beside the mode of EM."""


def climbing(
    problem: Problem, rng: np.random.Generator, max_iterations: int, accelerate: bool
) -> Callable[[Problem, float], Callable[..., Ascent[State]]]:
    """Return what :func:`.search.search` follows starts by."""

    def ascent(problem: Problem, error: float) -> Callable[..., Ascent[State]]:
        step = Step(problem, point=True, error=error)
        turn = iter(range(10**9))

        def go(state: State | None, *, tolerance: float, most: int = 0) -> Ascent[State]:
            if state is None:
                state = started(step, problem, rng, next(turn) % 2 == 0)
            return run(step, state, tolerance, most or max_iterations, accelerate)

        return go

    return ascent


def run(step: Step, state: State, tolerance: float, max_iterations: int, accelerate: bool) -> Ascent[State]:
    """Ascend from a state."""
    vector = (step.pack, lambda at: step.unpack(at, state)) if accelerate else None
    return ascend(step, state, tolerance=tolerance, max_iterations=max_iterations, vector=vector)


def adjusted_em(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 10,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
    accelerate: bool = True,
) -> Result:
    """Fit by EM from several k-means++ starts and keep the best mode.

    Parameters
    ----------
    problem : Problem
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
        likelihood plus log prior of effects, shifts and shares of lost counts) by restart and iteration.
    """
    found = search(problem, rng, climbing(problem, rng, max_iterations, accelerate), restarts, tolerance, "EM restarts")
    step = Step(problem, point=True)
    if on_a_ridge(found.best):
        found = found.ended(finished(step, found.best, tolerance))
    state = found.best.state
    _, q, _ = step.bound.expect(state, keep=True)
    order = np.argsort(-state.weight, kind="stable")
    point: dict[str, Any] = natural(step, state, order)
    point["responsibility"] = (("cell", "component"), q[order].T)
    point["bound"] = found.trace
    empty = int((q.sum(1) < 1e-6).sum())
    return Result(point=point, notes={**found.notes, "empty_components": empty})


def natural(step: Step, state: State, order: Array) -> dict[str, Array]:
    """Return the unknown variables at the means of the logs, components in the given order."""
    own = step.story.dispersion == "component"
    out: dict[str, Array] = {}
    if "log_r" in state.centre:
        phi = np.exp(-state.centre["log_r"])
        out["phi"] = phi[order] if own else phi
    out |= {"pi": state.weight[order] / state.weight.sum(), "mu": np.exp(state.centre["log_mu"])[order]}
    if "effect" in state.centre:
        out["effect"] = zero_summed(state.centre["effect"] @ step.bound.of_component.T)[:, order]
    if "shift" in state.centre:
        out["shift"] = zero_summed(state.centre["shift"] @ step.bound.of_batch.T)
    if step.story.inflated:
        out["zero"] = state.zero[0]
    return out


def zero_summed(values: Array) -> Array:
    """Take off what rounding has left of the sum over the last dim."""
    return np.asarray(values - values.mean(-1, keepdims=True))


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
    mode = search(problem, rng, climbing(problem, rng, max_iterations, accelerate), restarts, 0.1, "EM restarts")
    step = Step(problem, point=False)
    own = OWN if restarts > 1 and len(problem["x"]) <= LEAST else 0
    starts = (started(step, problem, rng, i == 1) if i else step.widened(mode.best.state) for i in range(1 + own))
    runs = (run(step, state, tolerance, max_iterations, accelerate) for state in starts)
    found = best_of(runs, "VI from the mode of EM", 1 + own)
    notes = found.notes
    if found.best is found.runs[0]:
        notes |= {name: mode.notes[name] for name in ("restarts", "restarts_at_best")}
    state = found.best.state
    _, q, _ = step.bound.expect(state, keep=True)
    order = np.argsort(-state.weight, kind="stable")
    posterior, log_q = drawn(step, state, rng, draws, order)
    variational: dict[str, Any] = {
        "alpha": (("component",), state.weight[order]),
        "responsibility": (("cell", "component"), q[order].T),
        "bound": found.trace,
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
