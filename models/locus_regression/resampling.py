"""Gibbs sweeps from exposures drawn at random lead an ascent to another optimum; eq. 49 of the card.

Which processes all genomes use together, and a process's alpha with it, no switch within one genome changes. Chains
under a moderate alpha forget it within some tens of sweeps, unless they begin at the exposures of the optimum.
"""

from dataclasses import replace

import numpy as np

from genarium.declaration import Array, Problem
from genarium.engines.ascent import Ascent

from .gibbs import State as Place
from .gibbs import Sweep
from .hyperprior import Hyper
from .sweep import State, Step
from .switches import continued, onward, settled, switched

SWEEPS = 200
"""Gibbs sweeps, of which the second half is averaged."""

ALPHA = 0.5
"""Concentration of the exposures in them."""

FIRST = 10
"""Sweeps of the ascent before processes are switched."""


def resampled(
    step: Step, run: Ascent[State], problem: Problem, rng: np.random.Generator, tolerance: float
) -> Ascent[State]:
    """Ascend from the mean of Gibbs sweeps that began at exposures drawn at random, where that ends higher.

    Parameters
    ----------
    step : Step
        Of a corpus in memory.
    run : Ascent
        At an optimum.
    problem : Problem
    rng : Generator
    tolerance : float
        As of ``vi``.

    Returns
    -------
    Ascent
        Its bounds go on from those of ``run``; ``run`` itself if it is not higher.
    """
    state = _at(step, run.state, averaged(step, run.state, problem, rng))
    for _ in range(FIRST):
        state, _ = step(state)
    state, _ = switched(step, state)
    return continued(run, settled(step, onward(step, state, tolerance), tolerance))


def averaged(step: Step, state: State, problem: Problem, rng: np.random.Generator) -> list[Array]:
    """Return the means of beta, lam, rho and pi over the last half of the sweeps."""
    alpha = np.full(len(state.alpha), ALPHA)
    sweep = Sweep(step.data, problem, state.effects.mean, learning_spectra=step.empirical_bayes)
    sweep.hold(replace(Hyper.given(problem), alpha=alpha, tau=state.tau))
    of_loci = None if state.locus_effects is None else state.locus_effects.mean
    pi = rng.dirichlet(np.ones(len(alpha)), step.data.genomes)
    at = Place(state.effects.mean, _shares(state.delta), _shares(state.omega), pi, of_loci)
    total: list[Array] = []
    for number in range(SWEEPS):
        at = sweep(rng, at)
        if number >= SWEEPS // 2:
            found = (at.beta, at.lam, at.rho, at.pi)
            total = [a + b for a, b in zip(total, found, strict=True)] if total else list(found)
    return [value / (SWEEPS - SWEEPS // 2) for value in total]


def _at(step: Step, state: State, means: list[Array]) -> State:
    """Return the state at these means, with the hyperparameters of another one (eq. 49)."""
    beta, lam, rho, pi = means
    of_genome = step.data.table.sum(1, keepdims=True) * pi
    counts = lam * of_genome.sum(0)[:, None]
    own = np.concatenate([np.zeros(step.given), state.lam_concentration])
    state = replace(
        state,
        gamma=state.alpha + of_genome,
        delta=step.with_held("lam", own[:, None] + counts),
        omega=step.alternatives(state, rho * counts[..., None]),
        effects=replace(state.effects, mean=beta),
    )
    return step.normalised(state)


def _shares(weights: Array) -> Array:
    return np.asarray(weights / weights.sum(-1, keepdims=True))
