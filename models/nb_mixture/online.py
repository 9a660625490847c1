"""EM and variational Bayes for more cells than a sweep should see at once; equation numbers refer to the card.

A mode is found on some of the cells, one epoch of small steps (Cappé and Moulines 2009; eq. 28) carries it to all of
them, and a few whole sweeps, which tell the bound, end it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, ascend
from genarium.progress import track

from .blocks import Blocks, InMemory, Source
from .counts import Logits, Sums
from .em import State, Step, em

SAMPLE = 20_000
"""Cells on which the mode is looked for."""

BATCH, PIECES = 16_384, 8
"""Cells of a small step, from so many places: files often hold one sample after another."""


def online(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 10,
    epochs: int = 1,
    forgetting: float = 0.6,
    sweeps: int = 10,
    tolerance: float = 1e-7,
) -> Result:
    """Fit by EM in small steps, for very many cells.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    restarts : int
        Starts on some of the cells.
    epochs : int
        How often the small steps go through all cells.
    forgetting : float
        The sums of step t count (t + 2)^-forgetting, above 1/2 and up to 1.
    sweeps : int
        Whole sweeps at the end, at most.
    tolerance : float
        Share of the log likelihood that they may leave to gain.

    Returns
    -------
    Result
        ``point`` as from ``em``.
    """
    source = InMemory(problem["x"], problem["size_factor"])
    step, found, notes = climb(problem, source, rng, restarts, epochs, forgetting, sweeps, tolerance)
    state, K = found.state, problem.sizes["component"]
    order = np.arange(K) if problem.fixed else np.argsort(-state.pi, kind="stable")
    logits = step.logits(state)[0]
    assigned = source.each(lambda x, s: step.counts.block(x, s).assign(logits)[0])
    point = estimate(step, state, order)
    point["responsibility"] = (("cell", "component"), np.concatenate([q[order].T for q in assigned]))
    point["bound"] = (("restart", "iteration"), found.bounds[None])
    return Result(point=point, notes=notes)


def estimate(step: Any, state: State, order: Array) -> dict[str, Any]:
    """Return the parameters with the components in the given order."""
    phi = state.phi[order] if step.story.dispersion == "component" else state.phi
    return {**({"phi": phi} if step.estimates_phi else {}), "pi": state.pi[order], "mu": state.mu[order]}


def climb(
    problem: Problem,
    source: Source,
    rng: np.random.Generator,
    restarts: int,
    epochs: int,
    forgetting: float,
    sweeps: int,
    tolerance: float,
) -> tuple[Any, Ascent[State], dict[str, Any]]:
    """Find the mode of the cells of a source; ``problem`` needs not hold them.

    Returns
    -------
    step : Step
    found : Ascent
        Of the whole sweeps.
    notes : dict
    """
    counts = Blocks(source, SAMPLE, rng)
    x, s = counts.sample
    arrays = {**problem.arrays, "x": x, "size_factor": s}
    coords = {dim: labels for dim, labels in problem.coords.items() if dim != "cell"}
    small = replace(problem, sizes={**problem.sizes, "cell": len(x)}, arrays=arrays, coords=coords)
    first = em(small, rng, restarts=restarts, tolerance=0.1)
    step = Step(problem, counts)
    point = {name: np.asarray(first.point[name]) for name in ("pi", "mu", "phi") if name in first.point}
    state = step.hold(State(point["pi"], point["mu"], point.get("phi", step.first_phi())))
    if source.cells > 2 * BATCH:
        state = small_steps(step, state, source, rng, epochs, forgetting)
    goal = max(1.0, tolerance * abs(float(first.notes["bound"])) * source.cells / len(x))
    bar = f"sweeps over {source.cells:,} cells"
    sweep = track(range(sweeps + 1), bar, sweeps + 1)

    def told(state: State) -> tuple[State, float]:
        next(sweep, None)
        return step(state)

    found = ascend(told, state, tolerance=goal, max_iterations=sweeps, vector=(step.pack, step.unpack))
    sweep.close()
    notes = {
        "bound": found.bound,
        "iterations": len(found.bounds) - 1,
        "converged": int(found.converged),
        "largest_fall": found.largest_fall,
        "restarts": first.notes["restarts"],
        "restarts_at_best": first.notes["restarts_at_best"],
    }
    return step, found, notes


def small_steps(
    step: Any, state: State, source: Source, rng: np.random.Generator, epochs: int, forgetting: float
) -> State:
    """Follow the mode through batches of the cells, whose sums are mixed with those of earlier ones (eq. 28)."""
    sums: Sums | None = None
    total = epochs * -(-source.cells // BATCH)
    steps = (batch for _ in range(epochs) for batch in batches(source, rng))
    for t, (x, s) in enumerate(track(steps, "small steps", total)):
        logits: Logits = step.logits(state)[0]
        new = scaled(step.counts.block(x, s).expect(logits), source.cells / len(x))
        sums = new if sums is None else mixed(sums, new, (t + 2.0) ** -forgetting)
        state = step.maximised(state, sums)
    return state


def batches(source: Source, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Yield all cells once, in batches from several places."""
    size = BATCH // PIECES
    starts = rng.permutation(np.arange(0, source.cells, size))
    for low in range(0, len(starts), PIECES):
        parts = [source.rows(a, min(a + size, source.cells)) for a in np.sort(starts[low : low + PIECES]).tolist()]
        yield np.concatenate([x for x, _ in parts]), np.concatenate([s for _, s in parts])


def scaled(sums: Sums, factor: float) -> Sums:
    """Multiply sums over cells."""
    frequency = None if sums.frequency is None else factor * sums.frequency
    return Sums(factor * sums.log_sum, factor * sums.weight, factor * sums.total, frequency)


def mixed(old: Sums, new: Sums, share: float) -> Sums:
    """Mix sums over cells, ``share`` of them new."""

    def mix(a: Any, b: Any) -> Any:
        return (1 - share) * a + share * b

    frequency = None if old.frequency is None else mix(old.frequency, new.frequency)
    return Sums(
        mix(old.log_sum, new.log_sum), mix(old.weight, new.weight), mix(old.total, new.total), frequency
    )
