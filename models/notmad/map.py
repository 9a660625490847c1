"""Maximum of the posterior: L-BFGS with continuation in the penalty, then Newton's method (equations in the card)."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array, Labelled, Problem, Result
from genarium.engines import newton
from genarium.errors import InputError
from genarium.progress import track
from genarium.remedies import option, setting
from genarium.settings import only_with

from .encoder import logits
from .graphs import matrices
from .objective import Objective
from .pack import Packed
from .projection import project_to_dag, topological_order
from .stochastic import adam
from .story import mixed

EARLY = 150
"""Iterations of L-BFGS in the stages before the last, at most."""

STRENGTH, BATCH, EPOCHS = 100.0, 1000, 60
"""What the options of these names are where they are not given."""

STAGES = (0.01, 0.1, 1.0)
"""Shares of the final penalty along the continuation."""


@dataclass(frozen=True)
class Run:
    """One restart: where it ended, the objective by iteration of its last stage (nats), and whether it converged."""

    vector: Array
    values: Array
    converged: bool

    @property
    def value(self) -> float:
        """Minus the log density at the end, without constants."""
        return float(self.values[-1])


def maximum(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 2,
    strength: float | None = None,
    max_iterations: int = 500,
    optimiser: Literal["lbfgs", "adam"] = "lbfgs",
    newton_finish: bool = False,
    batch: int | None = None,
    epochs: int | None = None,
) -> Result:
    """Maximise the posterior density of the natural parameters.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    restarts : int
        Random starts. Of their ends, and those along the orders that these suggest, the one is returned whose
        projected networks have the highest density.
    strength : float, optional
        The last stage weighs the mean of h by max(alpha, strength times the number of samples): as much as so many
        nats of every sample (100 where not given), which makes the networks all but acyclic whatever their number.
        Only with ``order="free"``.
    max_iterations : int
        Of L-BFGS, at most, in each stage.
    optimiser : {"lbfgs", "adam"}
        How the earlier stages are made: on all samples, or by Adam on random batches, for many samples.
    newton_finish : bool
        Whether Newton's method goes on over the parameters that are not at zero: hundredths of a nat, at twice the
        time.
    batch, epochs : int, optional
        Samples of an Adam step (1000 where not given), and passes over the data in each stage (60). Only with
        ``optimiser="adam"``.

    Returns
    -------
    Result
        ``point``: the unknown variables, ``archetype_network``, ``archetype_weight`` and ``bound`` (log density without
        constants by restart and iteration of the last stage). Notes: ``alpha`` used, ``mean_h``, ``acyclic_bound``.

    Raises
    ------
    InputError
        If an unknown variable is to be held fixed, ``optimiser`` is not known, or an option would be dropped.
    """
    packed = Packed(Objective(problem))
    free = packed.objective.order == "free"
    only_with("notmad", setting("order", "free"), free, strength=strength)
    only_with("notmad", option("optimiser", "adam"), optimiser == "adam", batch=batch, epochs=epochs)
    for name, value in (("restarts", restarts), ("max_iterations", max_iterations), ("batch", batch), ("epochs", epochs)):
        if value is not None and value < 1:
            raise InputError(f"notmad: {option(name, value)} must be 1 or more.")
    if strength is not None and not 0 <= strength < np.inf:
        raise InputError(f"notmad: {option('strength', strength)} must be a finite number, zero or larger.")
    batch, epochs = BATCH if batch is None else batch, EPOCHS if epochs is None else epochs
    final = max(packed.alpha, (STRENGTH if strength is None else strength) * packed.objective.total) if free else 0.0
    runs = []
    for stream in track(rng.spawn(restarts), "MAP restarts"):
        start = packed.random(stream)
        for share in STAGES[:-1] if free else ():
            packed.alpha = share * final
            if optimiser == "adam":
                start = adam(packed, start, stream, batch=batch, epochs=epochs)
            else:
                start = descend(packed, start, EARLY, 1e-5).vector
        if not free and optimiser == "adam":
            start = adam(packed, start, stream, batch=batch, epochs=epochs)
        packed.alpha = final
        if free:
            forward = along_order(problem, packed, start, max_iterations).vector
            start = min(start, forward, key=lambda v: packed(v)[0])
        end = descend(packed, start, max_iterations, 1e-9)
        ends = [end, along_order(problem, packed, end.vector, max_iterations)] if free else [end]
        runs.append(max(ends, key=lambda run: acyclic_density(packed, run.vector)))
    best = max(runs, key=lambda run: acyclic_density(packed, run.vector))
    others = [run for run in runs if run is not best]
    if newton_finish:
        best = finish(packed, best)
    return collect(problem, packed, [best, *others])


def descend(packed: Packed, start: Array, max_iterations: int, tolerance: float) -> Run:
    """Minimise by L-BFGS within bounds (Byrd et al. 1995); the values never rise."""
    from scipy.optimize import minimize

    n = packed.objective.total
    values = [packed(start)[0] * n]
    found = minimize(
        packed,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=packed.bounds,
        callback=lambda intermediate_result: values.append(float(intermediate_result.fun) * n),
        options={
            "maxiter": max_iterations,
            "maxfun": 2 * max_iterations,
            "maxcor": 20,
            "ftol": tolerance,
            "gtol": 1e-7,
        },
    )
    return Run(np.asarray(found.x), np.array(values), bool(found.success))


def acyclic_density(packed: Packed, vector: Array) -> float:
    """Log posterior density, without constants, when every network is replaced by its projection.

    What counts in the end: however large the penalty, small cycles remain, and in likelihood they may gain more by the
    determinant than the projected networks are worth.
    """
    objective, at = packed.objective, packed.unpack(vector)
    n, p = objective.x.shape
    networks = objective.networks(at)
    projected = project_to_dag(networks) if objective.order == "free" else networks
    square, sigma = objective.residuals(projected, objective.mean_of(at))[0], float(at["sigma"])
    l1 = packed.rate * float(vector[: 2 * packed.edges].sum())
    log_likelihood = -0.5 * square / sigma**2 - n * p * float(np.log(sigma) + 0.5 * np.log(2 * np.pi))
    return float(log_likelihood - l1 - objective.priors(at))


def along_order(problem: Problem, packed: Packed, vector: Array, max_iterations: int) -> Run:
    """Fit along the topological order that a vector suggests, where h is zero and costs nothing.

    The order is that of the projection of the root mean square network.
    """
    at = packed.unpack(vector)
    p = problem.sizes["node"]
    weights = softmax(logits(packed.objective.encoder, problem["context"], at), axis=-1)
    archetypes = matrices("free", p, at["edge_weight"])
    typical = np.sqrt((mixed(weights, archetypes) ** 2).mean(0))
    order = topological_order(project_to_dag(typical))
    forward = problem.model.variant(**{**problem.model.chosen, "order": "given"})
    sorted_ = Problem(forward, problem.sizes, {**problem.arrays, "x": problem["x"][:, order]})
    inner = Packed(Objective(sorted_))
    source, target = inner.objective.source, inner.objective.target
    sorted_archetypes = archetypes[:, order][:, :, order]
    mean: dict[str, Array] = {
        str(name): at[name][..., order] for name in ("mean_intercept", "mean_slope") if name in at
    }
    first = {**at, **mean, "edge_weight": sorted_archetypes[:, source, target]}
    run = descend(inner, inner.pack(first), max_iterations, 1e-9)
    found = inner.unpack(run.vector)
    back = np.argsort(order)
    full = matrices("given", p, found["edge_weight"])[:, back][:, :, back]
    edges = full[:, packed.objective.source, packed.objective.target]
    mean = {name: found[name][..., back] for name in mean}
    return replace(run, vector=packed.pack({**found, **mean, "edge_weight": edges}))


def finish(packed: Packed, run: Run) -> Run:
    """Newton's method over what is not at a bound; steps that leave the orthant of the signs are refused."""
    n = packed.objective.total
    held = np.zeros(len(run.vector), dtype=bool)
    held[: 2 * packed.edges] = run.vector[: 2 * packed.edges] <= 0
    base = run.vector.copy()

    def objective(moving: Array) -> tuple[float, Array]:
        vector = base.copy()
        vector[~held] = moving
        if (vector[: 2 * packed.edges] < 0).any():
            return np.inf, np.zeros_like(moving)
        value, gradient = packed(vector)
        return (np.inf if value >= 1e300 else value * n), gradient[~held] * n

    found = newton.minimise(objective, base[~held], tolerance=1e-6 * n**0.5, max_iterations=20, radius=0.1)
    vector = base.copy()
    vector[~held] = found.x
    values = [v for v in found.values if v < run.value]
    return Run(vector, np.append(run.values, values), run.converged or found.converged) if values else run


def collect(problem: Problem, packed: Packed, runs: list[Run]) -> Result:
    """Label the best run."""
    best = runs[0]
    packed(best.vector)
    at = packed.unpack(best.vector)
    p = problem.sizes["node"]
    weights = softmax(logits(packed.objective.encoder, problem["context"], at), axis=-1)
    order = np.argsort(-weights.mean(0), kind="stable")
    at = {name: _sorted(value, problem.model.unknown.variables[name].dims, order) for name, value in at.items()}
    bound = np.full((len(runs), max(len(run.values) for run in runs)), np.nan)
    for row, run in zip(bound, runs, strict=True):
        row[: len(run.values)] = -run.values
    ends = np.array([-acyclic_density(packed, run.vector) for run in runs])
    notes = {
        "bound": -best.value,
        "iterations": len(best.values) - 1,
        "converged": int(best.converged),
        "largest_fall": float(max(0.0, np.diff(best.values).max(initial=0.0) - 1e-9 * abs(best.value))),
        "restarts": len(runs),
        "restarts_at_best": int((ends <= ends.min() + 0.01 + 1e-6 * abs(ends.min())).sum()),
        "alpha": packed.alpha,
        "mean_h": packed.last.h,
        "acyclic_bound": acyclic_density(packed, best.vector),
        "evaluations": packed.calls,
    }
    extra: dict[str, Array | Labelled] = {
        "archetype_network": matrices(packed.objective.order, p, at["edge_weight"]),
        "archetype_weight": weights[:, order],
        "bound": (("restart", "iteration"), bound),
    }
    return Result(point={**at, **extra}, notes=notes)


def _sorted(value: Array, dims: tuple[str, ...], order: Array) -> Array:
    return np.take(value, order, dims.index("archetype")) if "archetype" in dims else np.asarray(value)
