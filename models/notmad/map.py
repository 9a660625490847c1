"""Maximum of the posterior: L-BFGS with continuation in the penalty, then Newton's method (equations in the card)."""

from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array, Labelled, Problem, Result
from genarium.engines import newton
from genarium.engines.threads import one_thread
from genarium.errors import InputError
from genarium.progress import track
from genarium.remedies import option, setting
from genarium.settings import only_with

from .descent import Run, descend
from .encoder import logits
from .incomplete import ascend, whole
from .objective import Objective, scaled_contexts
from .ordering import Ordering
from .pack import Packed
from .projection import project_to_dag
from .stochastic import adam
from .wide import Wide

SHORT, EARLY = 40, 60
"""Iterations of L-BFGS at most: before an order is looked for, and in the stages of the penalty before the last."""

AGREE = 1.0
"""Starts that end within so many nats of the best agree."""

EXACT = 20
"""Nodes up to which the end of a fit is let go of its order where nothing is said."""

FEW = 30
"""Nodes up to which starts go on until two agree, and neighbours in the order change places."""

WIDE = 30
"""Of more nodes, each has few candidates for its parents along an order."""

STRENGTH, BATCH, EPOCHS = 100.0, 1000, 60
"""What the options of these names are where they are not given."""

STAGES = (0.01, 0.1, 1.0)
"""Shares of the final penalty along the continuation."""


@one_thread()
def maximum(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int | None = None,
    strength: float | None = None,
    max_iterations: int = 500,
    optimiser: Literal["lbfgs", "adam"] = "lbfgs",
    route: Literal["auto", "exact", "ordered"] = "auto",
    newton_finish: bool = False,
    batch: int | None = None,
    epochs: int | None = None,
) -> Result:
    """Maximise the posterior density of the natural parameters.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    restarts : int, optional
        Independent random starts, one in four near a single network for all samples, each along orders of its own
        (where not given, 4 up to 30 nodes, else 2); where the end of the best is reached by no other, and nodes are no
        more than 30, up to as many again. Up to 30 nodes, neighbours in the order of the best, and in that of sparse
        regressions on all samples, change places while that raises the density. Of the end of the better one, what it
        becomes without an order, and the fit along the order of that, the one is returned whose projected networks
        have the highest density.
    strength : float, optional
        The last stage weighs the mean of h by max(alpha, strength times the number of samples): as much as so many
        nats of every sample (100 where not given), which makes the networks all but acyclic whatever their number.
        Only with ``order="free"``.
    max_iterations : int
        Of L-BFGS, at most, in each stage.
    optimiser : {"lbfgs", "adam"}
        How a start approaches a first order: on all samples, or by Adam on random batches, for many samples.
    route : {"auto", "exact", "ordered"}
        Whether the best start is let go of its order in the end, at a cost of n p³ an evaluation; or its order, which
        all samples share, stays: then an evaluation costs n p² archetypes. "auto" is "exact" up to 20 nodes.
        Only with ``order="free"``.
    newton_finish : bool
        Whether Newton's method goes on over the parameters that are not at zero: hundredths of a nat, at twice the
        time.
    batch, epochs : int, optional
        Samples of an Adam step (1000 where not given), and passes over the data (60). Only with
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
    given, problem = problem, whole(problem)
    incomplete = given is not problem
    packed = Packed(Objective(problem))
    free = packed.objective.cyclic
    only_with("notmad", setting("order", "free"), free, strength=strength, route=None if route == "auto" else route)
    exact = free and (packed.objective.nodes <= EXACT if route == "auto" else route == "exact")
    only_with("notmad", option("route", "exact"), exact or not free, strength=strength)
    only_with("notmad", option("optimiser", "adam"), optimiser == "adam", batch=batch, epochs=epochs)
    if incomplete and (optimiser == "adam" or newton_finish):
        raise InputError(
            f"notmad: {option('optimiser', 'adam')} and {option('newton_finish', True)} take no missing values. Leave "
            "them out, or drop the samples that have some."
        )
    if strength is not None and not 0 <= strength < np.inf:
        raise InputError(f"notmad: {option('strength', strength)} must be a finite number, zero or larger.")
    batch, epochs = BATCH if batch is None else batch, EPOCHS if epochs is None else epochs
    wide = free and not exact and packed.objective.nodes > WIDE and not (incomplete or packed.objective.factored)
    ordering = Wide(problem, packed) if wide else Ordering(problem, packed)

    def approach(inner: Packed, vector: Array, stream: np.random.Generator) -> Array:
        if optimiser == "adam":
            return adam(inner, vector, stream, batch=batch, epochs=epochs)
        return descend(inner, vector, SHORT, 1e-5).vector

    few = packed.objective.nodes <= FEW
    if restarts is None:
        restarts = 4 if few else 2
    streams = rng.spawn(2 * restarts)
    runs: list[Run] = []

    def start(number: int) -> None:
        first = packed.random(streams[number], alone=number % 4 == 2)
        runs.append(ordering.fit(first, streams[number], approach, max_iterations, shared=number % 2 == 1))

    def agreeing() -> int:
        return sum(run.value <= min(run.value for run in runs) + AGREE for run in runs)

    for number in track(range(restarts), "MAP restarts"):
        start(number)
    if few and restarts > 1 and agreeing() < 2:
        for number in track(range(restarts, 2 * restarts), "MAP restarts until two agree"):
            start(number)
            if agreeing() >= 2:
                break
    runs.sort(key=lambda run: run.value)
    best, agreed = runs[0], agreeing()
    if free and few:
        other = ordering.along(best.vector, ordering.sparse(), max_iterations)
        best = min((ordering.exchanged(run, max_iterations) for run in (best, other)), key=lambda run: run.value)
    if exact:
        best = released(
            packed, ordering, best, max(packed.alpha, _strength(strength) * packed.objective.total), max_iterations
        )
    if newton_finish:
        best = finish(packed, best)
    if incomplete:
        along = partial(_along, exact)
        runs = [_observed(run, ascend(given, packed, run, along, 0)[1].value) for run in runs]
        packed, best = ascend(given, packed, best, along, max_iterations)
    return collect(problem, packed, [best, *runs[1:]], agreed, exact or not free)


def _observed(run: Run, end: float) -> Run:
    """Return a fit to completed data with values that end at that of what was observed, by which EM goes on."""
    return replace(run, values=run.values + end - run.value)


def _along(exact: bool, problem: Problem, packed: Packed, vector: Array, iterations: int) -> Run:
    """Descend from the end of a fit: freely, or along its order."""
    ordering = Ordering(problem, packed)
    order = ordering.suggested(vector) if ordering.free and not exact else None
    return ordering.along(vector, order, iterations)


def _strength(given: float | None) -> float:
    return STRENGTH if given is None else given


def released(packed: Packed, ordering: Ordering, start: Run, final: float, max_iterations: int) -> Run:
    """Let go of the order of a fit, and bring the penalty back in stages: networks may have no order in common.

    The end, and the fit along the order that it suggests, are compared with where this started (eq. 19).
    """
    vector = start.vector
    for share in STAGES[:-1]:
        packed.alpha = share * final
        vector = descend(packed, vector, EARLY, 1e-5).vector
    packed.alpha = final
    end = descend(packed, min(vector, start.vector, key=lambda v: packed(v)[0]), max_iterations, 1e-9)
    along = ordering.along(end.vector, ordering.suggested(end.vector), max_iterations)
    return max([start, end, along], key=lambda run: acyclic_density(packed, run.vector))


def acyclic_density(packed: Packed, vector: Array) -> float:
    """Log posterior density, without constants, when every network is replaced by its projection.

    What counts in the end: however large the penalty, small cycles remain, and in likelihood they may gain more by the
    determinant than the projected networks are worth.
    """
    objective, at = packed.objective, packed.unpack(vector)
    if objective.linked is not None:
        return -packed(vector)[0] * objective.total
    networks = objective.networks(at)
    projected = project_to_dag(networks, rule=objective.rule) if objective.order == "free" else networks
    squares = objective.residuals.of(projected, objective.mean_of(at))
    return objective.log_likelihood(squares, np.asarray(at["sigma"])) - packed.l1(vector) - objective.priors(at)


def finish(packed: Packed, run: Run) -> Run:
    """Newton's method over what is not at a bound; steps that leave the orthant of the signs are refused."""
    n = packed.objective.total
    held = np.zeros(len(run.vector), dtype=bool)
    held[: 2 * packed.edges] = (run.vector[: 2 * packed.edges] <= 0) & packed.signed | ~packed.open
    base = run.vector.copy()

    def objective(moving: Array) -> tuple[float, Array]:
        vector = base.copy()
        vector[~held] = moving
        if (vector[: 2 * packed.edges][packed.signed] < 0).any():
            return np.inf, np.zeros_like(moving)
        value, gradient = packed(vector)
        return (np.inf if value >= 1e300 else value * n), gradient[~held] * n

    found = newton.minimise(objective, base[~held], tolerance=1e-6 * n**0.5, max_iterations=20, radius=0.1)
    vector = base.copy()
    vector[~held] = found.x
    values = [v for v in found.values if v < run.value]
    return Run(vector, np.append(run.values, values), run.converged or found.converged) if values else run


def collect(problem: Problem, packed: Packed, runs: list[Run], agreeing: int, exact: bool) -> Result:
    """Label the best run; along an order, h is zero, and nothing is left to project."""
    best = runs[0]
    completed = packed(best.vector)[0] * packed.objective.total if exact else best.value
    at = packed.unpack(best.vector)
    weights = softmax(logits(packed.objective.encoder, scaled_contexts(problem), at), axis=-1)
    order = np.argsort(-weights.mean(0), kind="stable")
    at = {name: _sorted(value, problem.model.unknown.variables[name].dims, order) for name, value in at.items()}
    bound = np.full((len(runs), max(len(run.values) for run in runs)), np.nan)
    for row, run in zip(bound, runs, strict=True):
        row[: len(run.values)] = -run.values
    notes = {
        "bound": -best.value,
        "iterations": len(best.values) - 1,
        "converged": int(best.converged),
        "largest_fall": float(max(0.0, np.diff(best.values).max(initial=0.0) - 1e-9 * abs(best.value))),
        "restarts": len(runs),
        "starts_agreeing": agreeing,
        "alpha": packed.alpha,
        "mean_h": packed.last.h if exact else 0.0,
        "acyclic_bound": (acyclic_density(packed, best.vector) if exact else -best.value) + completed - best.value,
    }
    extra: dict[str, Array | Labelled] = {
        "archetype_network": packed.objective.archetypes(at),
        "archetype_weight": weights[:, order],
        "bound": (("restart", "iteration"), bound),
    }
    return Result(point={**at, **extra}, notes=notes)


def _sorted(value: Array, dims: tuple[str, ...], order: Array) -> Array:
    return np.take(value, order, dims.index("archetype")) if "archetype" in dims else np.asarray(value)
