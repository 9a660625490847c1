"""EM and variational Bayes for more cells than a sweep should see at once; equation numbers refer to the card.

A mode is found on some of the cells, one epoch of small steps (Cappé and Moulines 2009; eq. 28) carries it to all of
them, and a few whole sweeps, which tell the bound, end it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, Restarts, ascend
from genarium.progress import bar, track

from .blocks import Blocks, InMemory, Source
from .counts import Logits, Sums
from .depth import DepthStep
from .em import State, Step, em
from .factors import known_grid
from .vi import collect, grid_at, resolved

SAMPLE = 20_000
"""Cells on which the mode is looked for."""

FEW = 3
"""Whole sweeps of EM, at most, before those of the factors."""

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
    q, _ = step.counts.assign(step.logits(state)[0])
    point = estimate(step, state, order)
    point["responsibility"] = (("cell", "component"), q[order].T)
    point["bound"] = (("restart", "iteration"), found.bounds[None])
    return Result(point=point, notes=notes)


def svi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 10,
    epochs: int = 1,
    forgetting: float = 0.6,
    sweeps: int = 10,
    tolerance: float = 1e-7,
    draws: int = 1000,
) -> Result:
    """Fit q(G) q(pi) q(phi) q(mu | phi) for very many cells: from the mode that ``online`` finds, by whole sweeps.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    restarts, epochs, forgetting, sweeps, tolerance
        As for ``online``; the sweeps are those of the factors.
    draws : int
        Draws for the posterior group.

    Returns
    -------
    Result
        As from ``vi``.
    """
    source = InMemory(problem["x"], problem["size_factor"])
    em_step, mode, notes = climb(problem, source, rng, restarts, epochs, forgetting, min(sweeps, FEW), tolerance)
    counts, story, at = em_step.counts, em_step.story, mode.state
    if story.dispersion == "known":
        grid = known_grid(problem, story)
    else:
        sums = counts.expect(em_step.logits(at)[0])
        grid = grid_at(problem, counts, story, at.phi, at.mu, sums, DepthStep.nodes)
    step = DepthStep(problem, counts, story, grid)

    def ascent(step: Any, state: Any) -> Ascent[Any]:
        goal = tolerance * abs(mode.bound)
        return ascend(step, state, tolerance=goal, max_iterations=sweeps, vector=(step.pack, step.unpack))

    one = ascent(step, step.first(at.mu, at.pi))
    found = Restarts(one, (one,))
    final, found = resolved(problem, step, found, lambda grid: DepthStep(problem, counts, story, grid), ascent)
    starts = {name: notes[name] for name in ("restarts", "restarts_at_best")}
    return collect(problem, final, found, rng, draws, starts)


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
    """Find the mode of the cells of a source; ``problem`` need not hold them.

    Returns
    -------
    step : Step
    found : Ascent
        Of the whole sweeps.
    notes : dict
    """
    counts = Blocks(source, SAMPLE, rng)
    small = sampled(problem, counts)
    first = em(small, rng, restarts=restarts, tolerance=0.1)
    step = Step(problem, counts)
    point = {name: np.asarray(first.point[name]) for name in ("pi", "mu", "phi") if name in first.point}
    state = step.hold(State(point["pi"], point["mu"], point.get("phi", step.first_phi())))
    if source.cells > 2 * BATCH:
        state = small_steps(step, state, source, rng, epochs, forgetting)
    goal = max(1.0, tolerance * abs(float(first.notes["bound"])) * source.cells / small.sizes["cell"])
    with bar(f"sweeps over {source.cells:,} cells", sweeps + 1) as advance:

        def told(state: State) -> tuple[State, float]:
            following = step(state)
            advance(1)
            return following

        found = ascend(told, state, tolerance=goal, max_iterations=sweeps, vector=(step.pack, step.unpack))
    notes = {
        "bound": found.bound,
        "iterations": len(found.bounds) - 1,
        "converged": int(found.converged),
        "largest_fall": found.largest_fall,
        "restarts": first.notes["restarts"],
        "restarts_at_best": first.notes["restarts_at_best"],
    }
    return step, found, notes


def sampled(problem: Problem, counts: Blocks) -> Problem:
    """Return the problem of the cells that the first reading kept."""
    x, s = counts.sample
    coords = {dim: labels for dim, labels in problem.coords.items() if dim != "cell"}
    arrays = {**problem.arrays, "x": x, "size_factor": s}
    return replace(problem, sizes={**problem.sizes, "cell": len(x)}, arrays=arrays, coords=coords)


def small_steps(
    step: Any, state: State, source: Source, rng: np.random.Generator, epochs: int, forgetting: float
) -> State:
    """Follow the mode through batches of the cells, whose sums are mixed with those of earlier ones (eq. 28)."""
    sums: Sums | None = None
    total = epochs * -(-source.cells // BATCH)
    steps = (batch for _ in range(epochs) for batch in batches(source, rng))
    for t, (x, s) in enumerate(track(steps, "small steps", total)):
        logits: Logits = step.logits(state)[0]
        block = step.counts.block(x, s)
        found = block.expect(logits)
        if found.frequency is None and not step.phi_is_constant:
            found = replace(found, frequency=block.own_frequency())  # those of all cells would not go with these sums
        new = scaled(found, source.cells / len(x))
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
    return Sums(mix(old.log_sum, new.log_sum), mix(old.weight, new.weight), mix(old.total, new.total), frequency)
