"""The maximum of a posterior density, sought from several starts: the highest end, and how many starts reached it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from genarium.declaration import Result
from genarium.engines.ascent import Ascent, best_of

TOGETHER = 0.5
"""Ends within so many nats are the same maximum: where it is flat, searches stop some tenths of a nat below it."""


def highest(one: Callable[[np.random.Generator], Result], rng: np.random.Generator, restarts: int) -> Result:
    """Return the highest end of several searches, with how many of them reached it.

    Parameters
    ----------
    one : callable
        A search, from a start that it draws.
    rng : Generator
    restarts : int

    Returns
    -------
    Result
    """
    found = best_of((_as_ascent(one(stream)) for stream in rng.spawn(restarts)), "starts", restarts)
    best = found.best.state
    # two that begin at one density are the same start; Stan does not tell where it begins, which is drawn
    starts = {run.bounds[0] if len(run.bounds) > 1 else i: run for i, run in enumerate(found.runs)}.values()
    together = sum(run.bound > found.best.bound - TOGETHER for run in starts)
    traced = {"bound": found.trace} if "bound" in best.point else {}
    notes = {**best.notes, "restarts": len(starts), "restarts_at_best": together}
    return replace(best, point={**best.point, **traced}, notes=notes)


def _as_ascent(found: Result) -> Ascent[Result]:
    """Return a search as an ascent; where it tells no trace, its end alone."""
    bound = float(found.notes["bound"])
    trace = found.point["bound"][1][0] if "bound" in found.point else np.array([bound])
    return Ascent(found, np.append(trace[:-1], bound), bool(found.notes["converged"]))
