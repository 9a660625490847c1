"""Which starts are followed where cells are many: all for a little on a part of them, some on, the best on all."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from genarium.declaration import Array, Labelled, Problem
from genarium.engines.ascent import Ascent, Restarts, best_of
from genarium.progress import track

from .nodes import ERROR

MANY = 1000
"""Cells up to which every start is followed to its end."""

SHARE, LEAST, ENOUGH = 0.1, 4000, 400_000
"""Part of the cells that the starts see, and the cells up to which they see all; and counts, where genes are many."""

FIRST, FOLLOWED, THEN = 15, 4, 100
"""Updates of every start on that part; how many of them, the highest, go on there; and their updates, at most."""

LEADERS, CLOSE = 2, 3.0
"""Ends that go on with all cells, at most: the highest, and others of another height whose distance from it is within
what chance may have given to it, in nats by square root of the cells."""

ROUGH, COARSE = 0.1, 1e-6
"""Nats that an ascent may leave to gain, but for the last; error of the starts' interpolation over size factors."""


@dataclass(frozen=True)
class Search[S]:
    """What several starts led to.

    Attributes
    ----------
    best : Ascent
    trace : (dims, ndarray)
        Bound by restart and iteration, of the ascents on all cells.
    notes : dict
        For ``diagnose``.
    """

    best: Ascent[S]
    trace: Labelled
    notes: dict[str, float | int]

    def ended(self, best: Ascent[S]) -> "Search[S]":
        """Return the search with an end of its best ascent that goes on from there."""
        if best is self.best:
            return self
        dims, table = self.trace
        row = int(np.argmax(np.nanmax(table, 1)))
        wide = np.full((len(table), max(table.shape[1], len(best.bounds))), np.nan)
        wide[:, : table.shape[1]] = table
        wide[row, : len(best.bounds)] = best.bounds
        more = {"bound": best.bound, "iterations": len(best.bounds) - 1, "converged": int(best.converged)}
        return replace(self, best=best, trace=(dims, wide), notes={**self.notes, **more})


def part(problem: Problem, rng: np.random.Generator, cells: int) -> Problem:
    """Return the problem of some of its cells, drawn at random."""
    return picked(problem, np.sort(rng.choice(problem.sizes["cell"], cells, replace=False)))


def picked(problem: Problem, pick: Array) -> Problem:
    """Return the problem of some of its cells, by their positions."""
    dims = {name: var.dims for name, var in problem.model.variables().items()}
    arrays = {name: a[pick] if dims[name][:1] == ("cell",) else a for name, a in problem.arrays.items()}
    coords = {dim: labels for dim, labels in problem.coords.items() if dim != "cell"}
    return replace(problem, sizes={**problem.sizes, "cell": len(pick)}, arrays=arrays, coords=coords)


def seen_at_once(problem: Problem) -> int:
    """Return the number of cells up to which starts see all."""
    return min(LEAST, max(MANY, ENOUGH // problem.sizes["gene"]))


def search[S](
    problem: Problem,
    rng: np.random.Generator,
    ascent: Callable[[Problem, float], Callable[..., Ascent[S]]],
    restarts: int,
    tolerance: float,
    label: str,
) -> Search[S]:
    """Follow several starts.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    ascent : callable
        ``ascent(problem, error)`` gives, for an error of the interpolation over size factors, a function
        ``go(state, tolerance=, most=)``: from a state or, with None, from a start of its own, with at most so many
        updates (0: as many as the user allows).
    restarts : int
    tolerance : float
    label : str
        For the progress bar.

    Returns
    -------
    Search
    """
    cells = problem.sizes["cell"]
    some = min(cells, max(seen_at_once(problem), int(SHARE * cells)))
    go = ascent(problem, ERROR)
    if cells <= MANY or restarts == 1:
        found = best_of((go(None, tolerance=tolerance) for _ in range(restarts)), label, restarts)
        return Search(found.best, found.trace, found.notes)
    sample = part(problem, rng, some) if some < cells else problem
    if len(np.unique(sample["x"], axis=0)) < problem.sizes["component"]:
        sample = problem
    rough = ascent(sample, COARSE)
    tried = best_of((rough(None, tolerance=ROUGH, most=FIRST) for _ in range(restarts)), f"{label}, a part", restarts)
    ends = [rough(run.state, tolerance=ROUGH, most=THEN) for run in ranked(tried.runs)[:FOLLOWED]]
    chosen = leaders(ends, CLOSE * np.sqrt(some))
    runs = [go(run.state, tolerance=ROUGH) for run in track(chosen, f"{label}, all cells", len(chosen))]
    first, leading = max(zip(runs, chosen, strict=True), key=lambda pair: pair[0].bound)
    (last,) = [go(run.state, tolerance=tolerance) for run in track([first], f"{label}, the best to its end", 1)]
    best = joined(first, last)
    found = Restarts(best, tuple(best if run is first else run for run in runs))
    notes = {
        **found.notes,
        "largest_fall": max(run.largest_fall for run in (*tried.runs, *ends, *found.runs)),
        "restarts": restarts,
        "restarts_at_best": sum(abs(run.bound - leading.bound) <= same(leading) for run in ends),
    }
    return Search(best, found.trace, notes)


def ranked[S](runs: Iterable[Ascent[S]]) -> list[Ascent[S]]:
    """Sort ascents by their end, the highest first."""
    return sorted(runs, key=lambda run: -run.bound)


def joined[S](first: Ascent[S], second: Ascent[S]) -> Ascent[S]:
    """Make one ascent of two, of which the second went on where the first ended."""
    return replace(second, bounds=np.concatenate([first.bounds, second.bounds[1:]]))


def leaders[S](ends: list[Ascent[S]], chance: float) -> list[Ascent[S]]:
    """Return the highest ends of different height, the highest first."""
    out: list[Ascent[S]] = []
    for run in ranked(ends):
        gaps = [other.bound - run.bound for other in out]
        if len(out) < LEADERS and all(same(run) < gap < chance for gap in gaps):
            out.append(run)
    return out


def same[S](run: Ascent[S]) -> float:
    """Nats within which another end is taken for the same one."""
    return 3 * ROUGH + 1e-6 * abs(run.bound)
