"""Switches: in a genome, a process is put off or on, or its share given to another one; eq. 46 of the card.

With a concentration below one the bound has a maximum for each choice of the processes that a genome uses. A sweep ends
at the nearest of them: a share that is 0 stays so.
"""

from dataclasses import replace
from math import exp, lgamma, log

import numpy as np
from numba import njit

from genarium.declaration import Array
from genarium.engines.ascent import Ascent, ascend

from .dirichlet import FLOOR
from .sweep import State, Step

UPDATES = 12
"""Updates of a genome's exposures in which a switch must become better."""

ON = 0.05
"""Share of its mutations that a process begins with when it is put on."""

USED = 0.5
"""Mutations of a genome from which on a process may be put off; it may be put on below a fiftieth of that share."""

CANDIDATES = 3
"""Processes that are put on, at most, in the place of each other one."""

LEAST = 0.01
"""Nats that a switch must gain."""

ROUNDS = 10
"""Switches of all genomes with sweeps after each, at most."""

MOST = 500
"""Sweeps after a move."""


@njit(cache=True)
def _digamma(x: float) -> float:
    found = 0.0
    while x < 6:
        found -= 1 / x
        x += 1
    y = 1 / (x * x)
    return float(found + log(x) - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132)))))


@njit(cache=True, fastmath={"contract", "arcp", "nsz", "reassoc"})
def _update(likelihood: Array, count: Array, alpha: Array, gamma: Array, following: Array, slope: Array) -> float:
    """Return a genome's part of the bound at gamma; find what gamma is next, and how steep the likelihood is.

    ``slope`` (K,) is the derivative of the log likelihood with respect to the share of a process, less that of all
    others in proportion: what is not above 0 gains nothing by being put on.
    """
    K = len(alpha)
    weight, ratio = np.empty(K), np.zeros(K)
    total = gamma.sum()
    top = _digamma(total)
    bound = lgamma(alpha.sum()) - lgamma(total)
    for k in range(K):
        log_weight = _digamma(gamma[k]) - top
        weight[k] = exp(log_weight)
        bound += lgamma(gamma[k]) - lgamma(alpha[k]) - (gamma[k] - alpha[k]) * log_weight
    mutations = 0.0
    for i in range(len(count)):
        each = 1e-300
        for k in range(K):
            each += weight[k] * likelihood[i, k]
        bound += count[i] * log(each)
        mutations += count[i]
        scale = count[i] / each
        for k in range(K):
            ratio[k] += likelihood[i, k] * scale
    together = weight.sum()
    for k in range(K):
        following[k] = alpha[k] + weight[k] * ratio[k]
        slope[k] = together * ratio[k] - mutations
    return bound


@njit(cache=True)
def _settle(likelihood: Array, count: Array, alpha: Array, gamma: Array, slope: Array, to_beat: float) -> float:
    """Update gamma in place as long as the bound may get above ``to_beat``; return the bound."""
    following = np.empty(len(gamma))
    before = _update(likelihood, count, alpha, gamma, following, slope)
    for left in range(UPDATES, 0, -1):
        last = gamma.copy()
        gamma[:] = following
        bound = _update(likelihood, count, alpha, gamma, following, slope)
        if bound < before:  # rounding
            gamma[:] = last
            break
        if bound + left * (bound - before) < to_beat:
            return bound
        before = bound
    return before


@njit(cache=True)
def _without(gamma: Array, alpha: Array, process: int) -> Array:
    """Return gamma with a process's mutations given to the others, in proportion to theirs."""
    out = gamma.copy()
    moved, rest = gamma[process] - alpha[process], (gamma - alpha).sum() - gamma[process] + alpha[process]
    for k in range(len(gamma)):
        out[k] += moved * (gamma[k] - alpha[k]) / rest
    out[process] = alpha[process]
    return out


@njit(cache=True)
def _of_genome(likelihood: Array, count: Array, alpha: Array, gamma: Array) -> float:
    """Switch the processes of a genome as long as its part of the bound rises, gamma in place; return the gain."""
    K, n = len(alpha), count.sum()
    slope, following = np.empty(K), np.empty(K)
    bound = start = _settle(likelihood, count, alpha, gamma, slope, -np.inf)
    for off in range(-1, K):  # -1: none
        share = n * ON if off < 0 else gamma[off] - alpha[off]
        if share < USED or share > n - USED:
            continue
        base = gamma.copy() if off < 0 else _without(gamma, alpha, off)
        if off >= 0:
            trial = base.copy()
            found = _settle(likelihood, count, alpha, trial, slope, bound + LEAST)
            if found > bound + LEAST:
                bound = found
                gamma[:] = trial
                continue
        _update(likelihood, count, alpha, base, following, slope)
        for k in range(K):
            if k == off or gamma[k] - alpha[k] > max(USED, 0.02 * n) or alpha[k] <= FLOOR:
                slope[k] = 0
        for _ in range(CANDIDATES):
            on = int(slope.argmax())
            if slope[on] <= 0:
                break
            slope[on] = 0
            trial = alpha + (base - alpha) * (1 - share / n)
            trial[on] += share
            found = _settle(likelihood, count, alpha, trial, following, bound + LEAST)
            if found > bound + LEAST:
                bound = found
                gamma[:] = trial
                break
    return bound - start


@njit(cache=True)
def _of_genomes(
    edges: Array, row: Array, channel: Array, count: Array, place: Array, spectrum: Array, alpha: Array, gamma: Array
) -> Array:
    gained = np.zeros(len(gamma))
    for g in range(len(gamma)):
        low, high = edges[g], edges[g + 1]
        likelihood = np.empty((high - low, len(alpha)))
        for i in range(low, high):
            for k in range(len(alpha)):
                likelihood[i - low, k] = place[row[i], k] * spectrum[channel[i], k]
        gained[g] = _of_genome(likelihood, count[low:high], alpha, gamma[g])
    return gained


def switched(step: Step, state: State) -> tuple[State, float]:
    """Switch processes in every genome as long as its part of the bound rises; all else stays as it is.

    Parameters
    ----------
    step : Step
        Of a corpus in memory.
    state : State

    Returns
    -------
    State
    float
        Nats gained.
    """
    data = step.data
    _, place, spectrum = step.tables(state)
    order = np.argsort(data.genome, kind="stable")
    edges = np.searchsorted(data.genome[order], np.arange(data.genomes + 1))
    gamma = state.gamma.copy()
    cells = (data.row[order], data.channel[order], data.count[order])
    gained = _of_genomes(edges, *cells, place.scaled, spectrum.scaled, state.alpha, gamma)
    return replace(state, gamma=gamma), float(gained.sum())


def settled(step: Step, run: Ascent[State], tolerance: float) -> Ascent[State]:
    """Switch, and sweep from there to the next optimum, as long as switches gain.

    Parameters
    ----------
    step : Step
    run : Ascent
        At an optimum.
    tolerance : float
        As of ``vi``.

    Returns
    -------
    Ascent
        Its bounds go on from those of ``run``.
    """
    for _ in range(ROUNDS):
        state, gained = switched(step, run.state)
        if gained < LEAST:
            break
        run = continued(run, onward(step, state, tolerance))
    return run


def onward(step: Step, state: State, tolerance: float) -> Ascent[State]:
    """Ascend from where a move has led, to the end."""
    return ascend(step, state, tolerance=tolerance, max_iterations=MOST, vector=(step.pack, step.unpack))


def continued(run: Ascent[State], more: Ascent[State]) -> Ascent[State]:
    """Return an ascent that another one goes on, from where that one is higher; as it was if it never is."""
    if more.bound <= run.bound:
        return run
    return Ascent(more.state, np.concatenate([run.bounds, more.bounds[more.bounds > run.bound]]), more.converged)
