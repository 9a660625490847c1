"""Moves from the best end of EM: two components become one, and a third is divided (Ueda et al. 2000).

Starts that miss the best mode mostly have one component too many in one place and one too few in another, and agree on
that: no ascent leads from there, and the chance that a start has all of them right falls with their number.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.engines.ascent import Ascent

from .search import ROUGH, Search, ranked, seen_at_once
from .seeding import k_means_plus_plus

PAIRS = 3
"""Pairs of components that are tried as one: those of which one alone lowers the likelihood least."""

SHORT, ENDS = 20, 2
"""Updates of every move, and how many, the highest, go on to their ends."""

ROUNDS = 10
"""Moves that are made, at most."""

FEWEST = 3
"""Components below which there is no third to divide."""


def moved(
    step: Any, found: Search[Any], rng: np.random.Generator, ascent: Callable[..., Ascent[Any]], tolerance: float
) -> Search[Any]:
    """Follow moves from the best end as long as they lead higher.

    Parameters
    ----------
    step : Step
        Of EM.
    found : Search
    rng : Generator
    ascent : callable
        ``ascent(state, tolerance=, most=)``, with at most so many updates (0: as many as the user allows).
    tolerance : float
        Nats that the last ascent may leave to gain.

    Returns
    -------
    Search
        The one that was given, if no move leads higher. Otherwise no start but that of the best end has reached it.
    """
    run = found.best
    for _ in range(ROUNDS):
        short = [ascent(state, tolerance=ROUGH, most=SHORT) for state in moves(step, run.state, rng)]
        ends = [ascent(end.state, tolerance=tolerance) for end in ranked(short)[:ENDS]]
        best = max(ends, key=lambda end: end.bound, default=run)
        if best.bound <= run.bound + 0.01 + 1e-6 * abs(run.bound):
            break
        run = replace(best, bounds=np.concatenate([run.bounds, best.bounds[best.bounds > run.bound]]))
    if run is found.best:
        return found
    found = found.ended(run)
    return replace(found, notes={**found.notes, "restarts_at_best": 1})


def worthwhile(step: Any, restarts: int) -> bool:
    """Whether moves are tried: of starts that see all cells, with nothing held fixed."""
    problem = step.problem
    seen = problem.sizes["cell"] <= seen_at_once(problem)
    return restarts > 1 and seen and not problem.fixed and problem.sizes["component"] >= FEWEST


def moves(step: Any, state: Any, rng: np.random.Generator) -> Iterator[Any]:
    """Yield states in which two components are one, and another is two, by k-means++ of its cells."""
    q = step.responsibilities(state)  # (K, N)
    x, s = step.uncorrected(state), step.problem["size_factor"]
    pairs = list(combinations(range(len(q)), 2))
    merged = {pair: step.merged(state, *pair) for pair in pairs}
    for pair in sorted(pairs, key=lambda pair: -step(merged[pair])[1])[:PAIRS]:
        for k in set(range(len(q))).difference(pair):
            own = np.flatnonzero(rng.random(q.shape[1]) < q[k])
            if len(np.unique(x[own], axis=0)) > 1:
                yield step.divided(merged[pair], k, pair[1], k_means_plus_plus(x[own], s[own], 2, rng))


def merged(weight: Array, mu: Array, i: int, j: int) -> tuple[Array, Array]:
    """Return weights (K,) and centroids (K, D) once component i stands for i and j, and j for no cell."""
    weight, mu = weight.copy(), mu.copy()
    both = weight[[i, j]].sum()
    if both > 0:
        mu[i] = weight[[i, j]] @ mu[[i, j]] / both
    weight[[i, j]] = both, 0
    return weight, mu


def divided(weight: Array, mu: Array, k: int, j: int, two: Array) -> tuple[Array, Array]:
    """Return weights (K,) and centroids (K, D) once components k and j have the cells of k, at two centroids."""
    weight, mu = weight.copy(), mu.copy()
    mu[[k, j]] = two
    weight[[k, j]] = weight[k] / 2
    return weight, mu
