"""EM and variational Bayes for more cells than a sweep should see at once; equation numbers refer to the card.

A mode is found on some of the cells, one epoch of small steps (Cappé and Moulines 2009; eq. 28) carries it to all of
them, and a few whole sweeps, which tell the bound, end it.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, Restarts, ascend
from genarium.progress import bar, track

from . import adjusted_step, em_step
from .adjusted import Adjusted
from .adjusted_fit import collected, run
from .adjusted_sums import Told
from .blocks import Blocks, InMemory, Source
from .counts import Sums
from .depth import DepthStep
from .em import sought, told
from .factors import known_grid
from .search import ROUGH, part, picked
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
    step, found, notes = climb(cells_of(problem, rng), rng, restarts, epochs, forgetting, sweeps, tolerance)
    return told(step, found.state, (("restart", "iteration"), found.bounds[None]), notes)


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
    cells = cells_of(problem, rng)
    em_step, mode, notes = climb(cells, rng, restarts, epochs, forgetting, min(sweeps, FEW), tolerance)
    starts = {name: notes[name] for name in ("restarts", "restarts_at_best")}
    goal = tolerance * abs(mode.bound)
    if isinstance(cells, AdjustedCells):
        wide = adjusted_step.Step(problem, point=False)
        one = run(wide, wide.widened(mode.state), goal, sweeps, accelerate=True)
        trace = (("restart", "iteration"), one.bounds[None])
        return collected(wide, one.state, trace, {**noted(one), **starts}, rng, draws)
    counts, story, at = em_step.counts, em_step.story, mode.state
    if story.dispersion == "known":
        grid = known_grid(problem, story)
    else:
        sums = counts.expect(em_step.logits(at)[0])
        grid = grid_at(problem, counts, story, at.phi, at.mu, sums, DepthStep.nodes)
    step = DepthStep(problem, counts, story, grid)

    def ascent(step: Any, state: Any) -> Ascent[Any]:
        return ascend(step, state, tolerance=goal, max_iterations=sweeps, vector=(step.pack, step.unpack))

    one = ascent(step, step.first(at.mu, at.pi))
    found = Restarts(one, (one,))
    final, found = resolved(problem, step, found, lambda grid: DepthStep(problem, counts, story, grid), ascent)
    return collect(problem, final, found, rng, draws, starts)


class Cells(Protocol):
    """Cells that are too many for a sweep over all of them at every turn."""

    number: int
    small: Problem
    step: Any

    def batches(self, rng: np.random.Generator) -> Iterator[Any]:
        """Yield all cells once, in batches from several places."""

    def sums(self, state: Any, batch: Any) -> Any:
        """Return the sums over the cells of a batch (a dataclass), and the share of the cells that it is."""

    def maximised(self, state: Any, sums: Any) -> Any:
        """Return the parameters that sums lead to, on the scale of all cells."""


class PlainCells:
    """Cells of a source, without covariates, batches or lost counts; ``problem`` need not hold them."""

    def __init__(self, problem: Problem, source: Source, rng: np.random.Generator) -> None:
        self.counts = counts = Blocks(source, SAMPLE, rng)
        self.number, self.source, self.small = source.cells, source, sampled(problem, counts)
        self.step = em_step.Step(problem, counts=counts)
        self.maximised = self.step.maximised

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
        """Yield counts and size factors."""
        for parts in slices(self.number, rng):
            rows = [self.source.rows(part.start, part.stop) for part in parts]
            yield np.concatenate([x for x, _ in rows]), np.concatenate([s for _, s in rows])

    def sums(self, state: Any, batch: tuple[Array, Array]) -> tuple[Sums, float]:
        """Return the sums over a batch, and its share of the cells."""
        block = self.counts.block(*batch)
        found = block.expect(self.step.logits(state)[0])
        if found.frequency is None and not self.step.phi_is_constant:
            found = replace(found, frequency=block.own_frequency())  # those of all cells would not go with these sums
        return found, len(batch[0]) / self.number


class AdjustedCells:
    """Cells in memory, with covariates, batches or lost counts."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self.problem, self.number = problem, problem.sizes["cell"]
        self.small = part(problem, rng, SAMPLE) if self.number > SAMPLE else problem
        self.step = adjusted_step.Step(problem, point=True)
        light = copy(self.step)  # with the covariates of some cells, to normalise the weights by, scaled to all
        light.bound = self.step.bound.at_covariates(self.small) if light.story.covariates else self.step.bound
        self.maximised = light.maximised

    def batches(self, rng: np.random.Generator) -> Iterator[Problem]:
        """Yield problems of some cells."""
        for parts in slices(self.number, rng):
            yield picked(self.problem, np.concatenate([np.arange(one.start, one.stop) for one in parts]))

    def sums(self, state: Any, batch: Problem) -> tuple[Told, float]:
        """Return the sums over a batch, and its share of the cells."""
        step = adjusted_step.Step(batch, point=True, like=self.step.cells)
        found, _, _ = step.bound.expect(state)
        if found.frequency is None and step.bound.estimates_phi:
            found = replace(found, frequency=step.cells.counts.own_frequency())
        return found, batch.sizes["cell"] / self.number


def cells_of(problem: Problem, rng: np.random.Generator) -> Cells:
    """Arrange the cells that a problem holds."""
    if Adjusted.of(problem).plain:
        return PlainCells(problem, InMemory(problem["x"], problem["size_factor"]), rng)
    return AdjustedCells(problem, rng)


def climb(
    cells: Cells,
    rng: np.random.Generator,
    restarts: int,
    epochs: int,
    forgetting: float,
    sweeps: int,
    tolerance: float,
) -> tuple[Any, Ascent[Any], dict[str, Any]]:
    """Find the mode.

    Returns
    -------
    step : Step
    found : Ascent
        Of the whole sweeps.
    notes : dict
    """
    _, first = sought(cells.small, rng, restarts, ROUGH)
    step, state = cells.step, first.best.state
    if cells.number > 2 * BATCH:
        state = small_steps(cells, state, rng, epochs, forgetting)
    goal = max(1.0, tolerance * abs(first.best.bound) * cells.number / cells.small.sizes["cell"])
    with bar(f"sweeps over {cells.number:,} cells", sweeps + 1) as advance:

        def told(state: Any) -> tuple[Any, float]:
            following: tuple[Any, float] = step(state)
            advance(1)
            return following

        found = ascend(told, state, tolerance=goal, max_iterations=sweeps, vector=step.vector(state))
    return step, found, {**noted(found), **{name: first.notes[name] for name in ("restarts", "restarts_at_best")}}


def noted(found: Ascent[Any]) -> dict[str, Any]:
    """Return what ``diagnose`` reads of an ascent."""
    return {
        "bound": found.bound,
        "iterations": len(found.bounds) - 1,
        "converged": int(found.converged),
        "largest_fall": found.largest_fall,
    }


def sampled(problem: Problem, counts: Blocks) -> Problem:
    """Return the problem of the cells that the first reading kept."""
    x, s = counts.sample
    coords = {dim: labels for dim, labels in problem.coords.items() if dim != "cell"}
    arrays = {**problem.arrays, "x": x, "size_factor": s}
    return replace(problem, sizes={**problem.sizes, "cell": len(x)}, arrays=arrays, coords=coords)


def small_steps(cells: Cells, state: Any, rng: np.random.Generator, epochs: int, forgetting: float) -> Any:
    """Follow the mode through batches of the cells, whose sums are mixed with those of earlier ones (eq. 28)."""
    sums: Any = None
    total = epochs * -(-cells.number // BATCH)
    steps = (batch for _ in range(epochs) for batch in cells.batches(rng))
    for t, batch in enumerate(track(steps, "small steps", total)):
        found, share = cells.sums(state, batch)
        new = combined((1 / share, found))
        rate = (t + 2.0) ** -forgetting
        sums = new if sums is None else combined((1 - rate, sums), (rate, new))
        state = cells.maximised(state, sums)
    return state


def slices(cells: int, rng: np.random.Generator) -> Iterator[list[slice]]:
    """Yield the places of batches, in random order; each cell is in one."""
    size = BATCH // PIECES
    starts = rng.permutation(np.arange(0, cells, size))
    for low in range(0, len(starts), PIECES):
        yield [slice(a, min(a + size, cells)) for a in np.sort(starts[low : low + PIECES]).tolist()]


def combined[S: Any](*parts: tuple[float, S]) -> S:
    """Return a combination of sums over cells, field by field; what is None stays so."""
    first = parts[0][1]
    values = {f.name: [(c, getattr(one, f.name)) for c, one in parts] for f in fields(first)}
    return replace(first, **{n: None if v[0][1] is None else sum(c * x for c, x in v) for n, v in values.items()})
