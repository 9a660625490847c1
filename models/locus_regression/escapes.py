"""Ways out of a local optimum, tried where the ascents have ended: eqs. 46 to 50 of the card."""

from dataclasses import replace

import numpy as np

from genarium.declaration import Problem
from genarium.engines.ascent import Ascent

from .clusters import born
from .exchange import exchanged
from .resampling import resampled
from .spectra import CONCENTRATIONS
from .sweep import State, Step
from .switches import continued, onward, settled

ROUNDS = 5
"""Times that all are tried, at most."""

SWEEPS = 10
"""Sweeps under concentrations of at least one."""

GAIN = 0.1
"""Nats that a round must gain for another one to follow."""


def improved(
    step: Step, run: Ascent[State], tolerance: float, sweeps: int, problem: Problem, rng: np.random.Generator
) -> Ascent[State]:
    """Switch processes within genomes, smooth spectra and exchange processes, until that gains nothing.

    Then Gibbs sweeps look for another optimum; where they find one, all of that follows once more.

    Parameters
    ----------
    step : Step
        Of a corpus in memory.
    run : Ascent
        At an optimum; one that has not converged is returned as it is.
    tolerance : float
        As of ``vi``.
    sweeps : int
        Of the ascents so far.
    problem : Problem
    rng : Generator

    Returns
    -------
    Ascent
        Its bounds go on from those of ``run``.
    """
    if not run.converged or len(run.state.alpha) < 2:
        return run
    run = moved(step, settled(step, run, tolerance), tolerance, sweeps)
    better = resampled(step, run, problem, rng, tolerance)
    return moved(step, better, tolerance, sweeps) if better.bound > run.bound + GAIN else better


def moved(step: Step, run: Ascent[State], tolerance: float, sweeps: int) -> Ascent[State]:
    """Smooth, exchange and give crowded mutations a process, with switches after each, until a round gains nothing."""
    for _ in range(ROUNDS):
        before = run.bound
        if (smooth := smoothed(step, run, tolerance)) is not run:
            run = settled(step, smooth, tolerance)
        if (better := exchanged(step, run, tolerance, sweeps)) is not run:
            run = settled(step, better, tolerance)
        if (better := born(step, run, tolerance, sweeps)) is not run:
            run = settled(step, better, tolerance)
        if run.bound < before + GAIN:
            break
    return run


def smoothed(step: Step, run: Ascent[State], tolerance: float) -> Ascent[State]:
    """Ascend again after some sweeps under concentrations of spectra of at least one (eq. 47), where that is higher.

    Parameters
    ----------
    step, run, tolerance
        As of :func:`improved`.

    Returns
    -------
    Ascent
    """
    own = {name: getattr(run.state, name) for name in CONCENTRATIONS}
    more = {name: np.maximum(value, 1) for name, value in own.items()}
    if all((more[name] == value).all() for name, value in own.items()):
        return run
    flat, at = Step(step.data, full=step.full), replace(run.state, **more)
    for _ in range(SWEEPS):
        at, _ = flat(at)
    return continued(run, onward(step, replace(at, **own), tolerance))
