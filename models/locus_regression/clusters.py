"""Births: a small process is given up for mutations that are crowded in few loci of few genomes; eq. 50 of the card.

A process of the genome as a whole explains such mutations badly, and no split of it finds them: they are too few.
"""

from dataclasses import replace

import numpy as np

from genarium.declaration import Array
from genarium.engines.ascent import Ascent

from .channels import by_context
from .contexts import preferred
from .effects import Effects
from .exchange import BUDGET, probabilities, tried, with_hyperparameters_of
from .random_loci import LocusEffects
from .sweep import State, Step
from .switches import continued, onward

FOLD = 3
"""Mutations of a genome at a locus, as a multiple of those that are expected, from which on they are crowded."""

LEAST = 3
"""Mutations that are crowded, at least."""

BEYOND_CHANCE = 3
"""Nats that they must be unexpected by, beyond the log of the number of genomes and rows."""

PLACES = 2
"""Processes that are given up on trial: those of the fewest mutations."""

ALPHA = 0.1
"""Of the new process, at first."""


def born(step: Step, run: Ascent[State], tolerance: float, sweeps: int) -> Ascent[State]:
    """Return where crowded mutations lead that a process takes over; the ascent itself if that is not higher.

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
    state, data = run.state, step.data
    free = np.arange(step.given, len(state.alpha))
    share = crowded(step, state)
    if len(free) < 2 or not share.any():
        return run
    shares, budget = probabilities(step, state), BUDGET * sweeps
    by_genome = np.bincount(data.genome, data.count * share, data.genomes)
    one = np.where(data.genome == by_genome.argmax(), share, 0)  # those of the genome that has most
    for k in sorted(free, key=lambda k: shares[k] @ data.count)[:PLACES]:
        for taken in [share, one] if (one != share).any() else [share]:
            at, budget = tried(step, _with_process(step, state, shares, int(k), taken), run.bound, budget)
            if at is not None:
                return continued(run, onward(step, at, tolerance))
    return run


def crowded(step: Step, state: State) -> Array:
    """Return which part of a cell's mutations is crowded; shape (I,).

    Parameters
    ----------
    step : Step
    state : State

    Returns
    -------
    ndarray, shape (I,)
        (n - e) / n at loci of a genome where n mutations stand and e are expected (eq. 50); 0 at all others.
    """
    data = step.data
    first = np.flatnonzero(np.diff(data.row, prepend=-1) | np.diff(data.genome, prepend=-1))
    genome, row = data.genome[first], data.row[first]
    n, expected = np.add.reduceat(data.count, first), _expected(step, state, genome, row)
    unexpected = n * np.log(n / expected) - n + expected
    enough = (n >= LEAST) & (n > FOLD * expected)
    enough &= unexpected > np.log(data.genomes * data.rows) + BEYOND_CHANCE
    share = np.where(enough, (n - expected) / n, 0.0)
    return np.repeat(share, np.diff(first, append=len(data.row)))


def _expected(step: Step, state: State, genome: Array, row: Array) -> Array:
    """Return the mutations that a genome is expected to have in a row (eq. 50), for pairs of these."""
    data = step.data
    J, L, _ = data.features.shape
    preference = state.delta / state.delta.sum(1, keepdims=True)
    at, inverse = np.unique(row, return_inverse=True)
    rate = np.exp(step.place(state).log[at]) * (preference @ data.opportunity[:, at % L]).T
    totals = np.zeros((data.genomes, J))
    np.add.at(totals, (data.genome, data.row // L), data.count)
    pi = state.gamma / state.gamma.sum(1, keepdims=True)
    return np.asarray(totals[genome, row // L] * np.einsum("ik,ik->i", pi[genome], rate[inverse])) + 1e-12


def _with_process(step: Step, state: State, shares: Array, k: int, taken: Array) -> State:
    """Return the state after an E-step in which process k has these parts of the cells, and nothing else.

    What it had is shared among the others, in proportion. Its effects and hyperparameters begin anew.
    """
    data, given, free = step.data, step.data.hyper, k - step.given
    others = np.where(np.arange(len(shares))[:, None] == k, 0, shares)
    parts = others * ((1 - taken) / np.maximum(others.sum(0), 1e-300))
    parts[k] = taken
    parts *= data.count
    sums = [
        np.stack([np.bincount(at, part, n) for part in parts], 1)
        for at, n in ((data.genome, data.genomes), (data.row, data.rows), (data.channel, data.channels))
    ]

    def put(own: Array, value: Array | float, at: int = k) -> Array:
        out = own.copy()
        out[at] = value
        return out

    own = by_context(sums[2][:, [k]].T, state.delta.shape[1]).sum(-1)
    found, flat = state.effects, Effects.flat(data.features, 1)
    centre = found.centre.copy()
    centre[:, k] = flat.centre[:, 0]
    begun = replace(
        state,
        effects=Effects(put(found.mean, 0), put(found.covariance, flat.covariance[0]), centre),
        delta=put(state.delta, given.lam_concentration[free] + parts[k].sum() * preferred(own, data.opportunity)[0]),
        alpha=put(state.alpha, min(ALPHA, given.alpha[k])),
        tau=put(state.tau, given.tau[k]),
        lam_concentration=put(state.lam_concentration, given.lam_concentration[free], free),
        rho_concentration=put(state.rho_concentration, given.rho_concentration[free], free),
    )
    if state.locus_effects is not None and state.dispersion is not None:
        prior = LocusEffects.prior(given.dispersion[[k]], data.features.shape[1])
        shape = put(state.locus_effects.shape, prior.shape[0])
        of_loci = LocusEffects(shape, put(state.locus_effects.inverse_scale, prior.inverse_scale[0]))
        begun = replace(begun, locus_effects=of_loci, dispersion=put(state.dispersion, given.dispersion[k]))
    begun = with_hyperparameters_of(step, begun, state)
    return step.maximised(step.normalised(begun), *sums)
