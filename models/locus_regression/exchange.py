"""Exchanges: two processes are merged, and the one that becomes free takes half of a third; eq. 48 of the card.

An ascent can end where one process of the truth is split into two and two others are merged. No sweep leaves that.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numba import njit

from genarium.declaration import Array
from genarium.engines.ascent import Ascent, ascend

from .channels import by_context
from .corpus import Corpus
from .dirichlet import FLOOR
from .effects import Effects
from .random_loci import LocusEffects
from .sweep import State, Step, hyper_of
from .switches import continued, onward

PAIRS = 3
"""Pairs of processes that are merged on trial: those that lose least."""

SPLITS = 3
"""Processes that are split on trial, of each pair: those that gain most."""

SWEEPS = 6
"""Sweeps of the two halves alone, which tell what a split gains."""

TRIAL = 40
"""Sweeps of all processes in which a move must become better."""

SHARE = 0.02
"""Probability from which on a mutation counts for the halves of a process."""

STEPS = 30
"""Of the factorisation that the halves start from."""

KNOWN = ("features", "log_exposure", "opportunity", "form", "genomes", "alternatives")
"""What the halves know of the loci and genomes, as all processes do."""

BUDGET = 0.1
"""Sweeps of trials that gain nothing, as a fraction of those of the ascents before."""


def exchanged(step: Step, run: Ascent[State], tolerance: float, sweeps: int) -> Ascent[State]:
    """Return where the first exchange leads that gets above an ascent; the ascent itself if none does.

    Parameters
    ----------
    step : Step
        Of a corpus in memory.
    run : Ascent
        At an optimum.
    tolerance : float
        As of ``vi``.
    sweeps : int
        Of the ascents so far: trials that gain nothing take a part of that.

    Returns
    -------
    Ascent
        Its bounds go on from those of ``run``.
    """
    state, free = run.state, np.flatnonzero(run.state.alpha > FLOOR)
    free = free[free >= step.given]
    if len(free) < 3:
        return run
    shares = probabilities(step, state)
    lost = _lost(step, state, shares)
    pairs = [(i, j) for a, i in enumerate(free) for j in free[:a]]
    pairs = sorted(pairs, key=lambda pair: lost[pair])[:PAIRS]
    halves = {int(k): _halves(step, state, shares[k], int(k)) for k in free}
    trials = [
        (lost[i, j] - halves[int(k)][0], int(i), int(j), int(k))
        for i, j in pairs
        for k in sorted((k for k in free if k not in (i, j)), key=lambda k: -halves[int(k)][0])[:SPLITS]
        if halves[int(k)][0] > -np.inf
    ]
    budget = BUDGET * sweeps
    for _, i, j, k in sorted(trials):
        at, budget = tried(step, _with_exchange(step, state, i, j, k, halves[k][1]), run.bound, budget)
        if at is not None:
            return continued(run, onward(step, at, tolerance))
    return run


def tried(step: Step, at: State, bound: float, budget: float) -> tuple[State | None, float]:
    """Sweep as long as that may lead above a bound within forty sweeps, at its last gain.

    Returns
    -------
    State or None
        The first that is above it; None if there is none, or no sweep is left.
    float
        Sweeps that are left.
    """
    last = -np.inf
    for left in range(TRIAL, -1, -1):
        if budget <= 0:
            return None, budget
        following, found = step(at)
        budget -= 1
        if found > bound:
            return at, budget
        if last > -np.inf and found + left * (found - last) < bound:
            return None, budget
        at, last = following, found
    return None, budget


def with_hyperparameters_of(step: Step, state: State, own: State) -> State:
    """Return the state with another's hyperparameters, where these are given; as it is where they are estimated."""
    if step.empirical_bayes:
        return state
    names = ("alpha", "tau", "dispersion", "lam_concentration", "rho_concentration")
    return replace(state, **{name: getattr(own, name) for name in names})


@njit(cache=True)
def _attribute(genome: Array, row: Array, channel: Array, weight: Array, place: Array, spectrum: Array) -> Array:
    out = np.empty((weight.shape[1], len(genome)))
    for i in range(len(genome)):
        total = 0.0
        for k in range(len(out)):
            out[k, i] = weight[genome[i], k] * spectrum[channel[i], k] * place[row[i], k]
            total += out[k, i]
        for k in range(len(out)):
            out[k, i] /= total
    return out


def probabilities(step: Step, state: State) -> Array:
    """Return how probably the mutations of a cell are of a process (eq. 4); shape (K, I)."""
    data, tables = step.data, step.tables(state)
    return np.asarray(_attribute(data.genome, data.row, data.channel, *(table.scaled for table in tables)))


@njit(cache=True)
def _doubt(count: Array, shares: Array) -> Array:
    """Return the entropy of which one of two processes a mutation is of that is of either, all added up; (K, K)."""
    K = len(shares)
    out = np.zeros((K, K))
    for i in range(len(count)):
        for k in range(K):
            a = shares[k, i]
            if a > 1e-4:
                for j in range(k):
                    b = shares[j, i]
                    if b > 1e-4:
                        out[k, j] -= count[i] * (a * np.log(a / (a + b)) + b * np.log(b / (a + b)))
    return out + out.T


def _lost(step: Step, state: State, shares: Array) -> Array:
    """Return about how many nats are lost if two processes become one (eq. 48); shape (K, K)."""
    data = step.data
    by = ((data.genome, data.genomes), (data.row, data.rows), (data.channel, data.channels))
    counts = [np.stack([np.bincount(at, data.count * share, n) for share in shares]) for at, n in by]
    logs = [table.log.T for table in step.tables(state)]
    total = np.log(np.maximum(counts[0].sum(1), 1e-300))
    lost = _doubt(data.count, shares)
    for number, (own, log) in enumerate(zip(counts, logs, strict=True)):
        for i in range(len(shares)):
            # what both have together: shares of genomes add up, places and spectra are averaged
            weight = 0.0 if number == 0 else total - np.logaddexp(total, total[i])
            weight_i = 0.0 if number == 0 else total[i] - np.logaddexp(total, total[i])
            both = np.logaddexp(log + np.reshape(weight, (-1, 1)), log[i] + np.reshape(weight_i, (-1, 1)))
            lost[i] += ((log[i] - both) * own[i] + (log - both) * own).sum(1)
    return lost


def _halves(step: Step, state: State, share: Array, k: int) -> tuple[float, State]:
    """Fit two processes to the mutations of one; return the nats that they gain, and their factors."""
    own, data = share > SHARE, step.data
    if not own.any():  # a process that died
        return -np.inf, state
    cells: dict[str, Any] = {name: getattr(data, name)[own] for name in ("genome", "row", "channel")}
    whole = _some(state, [k], step.given)
    two = _some(state, [k, k], step.given)
    cells |= {"count": data.count[own] * share[own]}
    known = {name: getattr(data, name) for name in KNOWN}
    alone = Step(Corpus(**cells, **known, hyper=hyper_of(whole)), full=step.full)
    before = alone.bound(replace(whole, gamma=whole.alpha + alone.data.table.sum(1, keepdims=True)))
    alone.data = replace(alone.data, hyper=hyper_of(two))
    spectra, shares = _factorised(alone.data.table)
    parts = shares[:, :, None] * spectra
    parts *= (alone.data.table / np.maximum(parts.sum(1), 1e-300))[:, None]
    counts = by_context(parts.sum(0), state.delta.shape[1])
    by_genome, contexts = parts.sum(2), counts.sum(-1)
    prior = two.lam_concentration[:, None]
    delta = prior + np.maximum(two.delta - prior, 0) * (contexts + 0.1) / (contexts.sum(0) + 0.2)
    two = replace(two, gamma=two.alpha + by_genome, delta=delta, omega=alone.alternatives(two, counts))
    found = ascend(alone, alone.normalised(two), tolerance=0.01, max_iterations=SWEEPS)
    return found.bound - before, found.state


def _some(state: State, processes: list[int], given: int) -> State:
    """Return the factors and hyperparameters of some processes whose signatures are not given."""
    at, free = np.array(processes), np.array(processes) - given
    every: dict[str, Any] = {name: getattr(state, name)[at] for name in ("delta", "omega", "alpha", "tau")}
    every |= {name: getattr(state, name)[free] for name in ("lam_concentration", "rho_concentration")}
    if state.locus_effects is not None and state.dispersion is not None:
        effects = LocusEffects(state.locus_effects.shape[at], state.locus_effects.inverse_scale[at])
        every |= {"locus_effects": effects, "dispersion": state.dispersion[at]}
    every |= {"gamma": state.gamma[:, at], "effects": state.effects.of(at), "moments": state.moments.of(at)}
    return replace(state, **every)


def _factorised(table: Array) -> tuple[Array, Array]:
    """Factorise mutations by genome and channel into two spectra, from the main direction of what one leaves out.

    Returns
    -------
    spectra : ndarray, shape (2, M)
    shares : ndarray, shape (G, 2)
    """
    total, mean = table.sum(1, keepdims=True), table.sum(0) / table.sum()
    expected = np.maximum(total * mean, 1e-12)
    left, _, right = np.linalg.svd((table - expected) / np.sqrt(expected), full_matrices=False)
    more = np.where(right[0] > 0, 1.5, 0.5) * mean
    spectra = np.stack([more, np.maximum(2 * mean - more, 0)]) + 1e-9
    spectra /= spectra.sum(1, keepdims=True)
    shares = np.where(np.stack([left[:, 0], -left[:, 0]], 1) > 0, 0.8, 0.2) * total
    for _ in range(STEPS):
        ratio = table / np.maximum(shares @ spectra, 1e-300)
        shares, spectra = shares * (ratio @ spectra.T), spectra * (shares.T @ ratio) + 1e-9
        spectra /= spectra.sum(1, keepdims=True)
    return spectra, shares


def _with_exchange(step: Step, state: State, i: int, j: int, k: int, halves: State) -> State:
    """Return the state with process j merged into i, and the halves of k in the places of k and j."""
    R, N = step.given, state.gamma.sum(0)
    weight = N[[i, j]] / N[[i, j]].sum()
    mutations = halves.gamma / halves.gamma.sum(1, keepdims=True)
    gamma, alpha = state.gamma.copy(), state.alpha.copy()
    gamma[:, i], alpha[i] = gamma[:, i] + gamma[:, j], alpha[i] + alpha[j]
    gamma[:, [k, j]] = gamma[:, [k]] * mutations
    alpha[[k, j]] = np.maximum(alpha[k] * halves.gamma.sum(0) / halves.gamma.sum(), 2 * FLOOR)

    def put(own: Array, merged: Array, half: Array) -> Array:
        out = own.copy()
        out[i], out[[k, j]] = merged, half
        return out

    def mixed(own: Array, half: Array) -> Array:
        return put(own, np.tensordot(weight, own[[i, j]], 1), half)

    def added(own: Array, half: Array, prior: Array) -> Array:
        return put(own, own[i] + np.maximum(own[j] - prior, 0), half)

    effects = Effects(
        mixed(state.effects.mean, halves.effects.mean),
        mixed(state.effects.covariance, halves.effects.covariance),
        mixed(state.effects.centre.swapaxes(0, 1), halves.effects.centre.swapaxes(0, 1)).swapaxes(0, 1),
    )
    concentrations = {}
    for name in ("lam_concentration", "rho_concentration"):
        own = getattr(state, name).copy()
        own[j - R] = own[k - R]
        concentrations[name] = own
    found = replace(
        state,
        gamma=gamma,
        alpha=alpha,
        tau=put(state.tau, state.tau[i], state.tau[[k, k]]),
        delta=added(state.delta, halves.delta, state.lam_concentration[j - R]),
        omega=added(state.omega, halves.omega, state.rho_concentration[j - R])
        if state.omega.shape[2] > 1
        else state.omega,
        effects=effects,
        **concentrations,
    )
    if state.locus_effects is not None and halves.locus_effects is not None and state.dispersion is not None:
        of_loci = [
            mixed(getattr(state.locus_effects, name), getattr(halves.locus_effects, name))
            for name in ("shape", "inverse_scale")
        ]
        dispersion = put(state.dispersion, state.dispersion[i], state.dispersion[[k, k]])
        found = replace(found, locus_effects=LocusEffects(*of_loci), dispersion=dispersion)
    return step.normalised(with_hyperparameters_of(step, found, state))
