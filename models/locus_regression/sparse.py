"""Which processes a corpus needs: those are dropped that the bound is higher without."""

from dataclasses import replace

import numpy as np

from genarium.declaration import Array
from genarium.engines.ascent import Ascent, ascend
from genarium.progress import track
from genarium.simplex import dirichlet_expected_log

from .dirichlet import FLOOR, concentration
from .hyperprior import SPREAD
from .sweep import State, Step

TRIAL = 40
"""Sweeps after which a process must be missed no more."""

ROUNDS = 3
"""Passes through all processes, at most."""


def pruned(step: Step, run: Ascent[State], tolerance: float) -> Ascent[State]:
    """Drop processes one after another, the rarest first, as long as the bound rises.

    A process that is dropped has alpha and every gamma at the floor, so that no mutation is of it; it stays so.

    Parameters
    ----------
    step : Step
    run : Ascent
        At an optimum with all processes.
    tolerance : float
        Nats that a sweep must gain for a trial to go on.

    Returns
    -------
    Ascent
        Its bounds are those of ``run`` and of every drop that was kept.
    """
    for _ in range(ROUNDS):
        before = run.bound
        mutations = _mutations(run.state)
        for k in track(np.argsort(mutations), "processes to drop"):
            if run.state.alpha[k] > FLOOR and np.count_nonzero(run.state.alpha > FLOOR) > 1:
                run = _without(step, run, int(k), tolerance)
        if run.bound == before:
            break
    return run


def _mutations(state: State) -> Array:
    """Return the expected mutations of each process."""
    return np.asarray((state.gamma - state.alpha).sum(0))


def _without(step: Step, run: Ascent[State], process: int, tolerance: float) -> Ascent[State]:
    """Return the ascent without a process, if it gets higher than with it; else as it was."""
    state = dropped(run.state, process, step.empirical_bayes, step.data.hyper.alpha)
    trial = ascend(step, state, tolerance=tolerance, max_iterations=TRIAL, vector=(step.pack, step.unpack))
    if trial.bound < run.bound:
        return run
    return Ascent(
        dropped(trial.state, process, False, step.data.hyper.alpha), np.append(run.bounds, trial.bound), run.converged
    )


def dropped(state: State, process: int, estimate: bool, median: Array) -> State:
    """Return a state in which no mutation is of a process, its share given to the others."""
    gamma, alpha = state.gamma.copy(), state.alpha.copy()
    kept = np.arange(len(alpha)) != process
    moved = gamma[:, process] - FLOOR
    rest = gamma[:, kept]
    gamma[:, kept] = rest * (1 + moved[:, None] / rest.sum(1, keepdims=True))
    gamma[:, process] = alpha[process] = FLOOR
    if estimate:
        alpha = concentration(dirichlet_expected_log(gamma).mean(0), len(gamma), alpha, median, SPREAD)
    return replace(state, gamma=gamma, alpha=alpha)
