"""Draws that know what mean field leaves out: chains of Gibbs sweeps from the optimum; equation numbers: the card."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from genarium.declaration import Array, Arrays, Labelled, Problem, Result
from genarium.engines import chains as engine
from genarium.engines.labels import match_labels
from genarium.progress import track

from . import random_loci
from .corpus import Corpus
from .dirichlet import FLOOR, concentration
from .gibbs import State, Sweep

CHAINS = 4
"""Chains, each from a draw of q."""

WARM_UP = 0.25
"""Share of the sweeps that is thrown away."""

SETTLE = 0.25
"""Share of the warm-up before hyperparameters move."""

FORGETTING = 0.6
"""Sweep t of those that estimate hyperparameters counts for t^-0.6 of what is averaged (eq. 37)."""


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters; each (K,)."""

    alpha: Array
    tau: Array
    dispersion: Array | None = None


def corrected(
    problem: Problem,
    data: Corpus,
    fitted: Result,
    rng: np.random.Generator,
    *,
    draws: int,
    sweeps: int,
    empirical_bayes: bool,
) -> Result:
    """Put draws of short chains in the place of those of q (eqs. 36 and 37).

    Parameters
    ----------
    problem : Problem
    data : Corpus
    fitted : Result
        Of mean field: draws of q, and its hyperparameters.
    rng : Generator
    draws : int
        To be kept, of all chains together.
    sweeps : int
        Of all chains together.
    empirical_bayes : bool
        Whether hyperparameters are estimated, from the sweeps of the warm-up.

    Returns
    -------
    Result
        Processes sorted by decreasing share, as before.
    """
    told = {name: np.asarray(value) for name, (_, value) in fitted.variational.items()}
    start, found = _hyper(problem, told, empirical_bayes)
    sweep = Sweep(data, problem, told["beta_mean"])
    sweep.hold(start.alpha, start.tau, start.dispersion)
    streams = rng.spawn(CHAINS)
    of_q = {name: np.asarray(value)[0] for name, value in fitted.posterior.items()}
    own = np.linspace(0, len(of_q["beta"]) - 1, CHAINS).astype(int)
    first = [{name: value[i] for name, value in of_q.items()} for i in own]
    states = [sweep.state(one) for one in first]
    warm_up = round(WARM_UP * sweeps / CHAINS)
    estimate = Estimate(sweep, start, fixed=told["alpha"] <= FLOOR)
    for i in track(range(warm_up), "correction: warm-up"):
        states = [sweep(stream, state) for stream, state in zip(streams, states, strict=True)]
        if empirical_bayes and i >= SETTLE * warm_up:
            found = estimate(states)
            sweep.hold(found.alpha, found.tau, found.dispersion)
    kept = -(-draws // CHAINS)
    thin = max(1, round((sweeps / CHAINS - warm_up) / kept))
    starts = iter(states)

    def chain(stream: np.random.Generator) -> Iterator[Arrays]:
        state = next(starts)
        while True:
            state = sweep(stream, state)
            yield sweep.unknown(state)

    posterior = engine.run(chain, rng, chains=CHAINS, draws=kept, tune=0, thin=thin)
    posterior = match_labels(problem.model, posterior)
    order = _order(posterior["pi"], data.given)
    return replace(
        fitted,
        variational=_with_hyper(fitted.variational, found),
        posterior=_sorted(problem, posterior, order),
        sample_stats={},
        notes={**fitted.notes, "sweeps": CHAINS * (warm_up + kept * thin)},
    )


class Estimate:
    """Hyperparameters from the states of all chains, averaged over sweeps (eq. 37).

    Parameters
    ----------
    sweep : Sweep
    start : Hyper
    fixed : ndarray of bool, shape (K,)
        Processes that were dropped: their alpha stays at the floor.
    """

    def __init__(self, sweep: Sweep, start: Hyper, fixed: Array) -> None:
        self.genomes, self.found, self.fixed = sweep.data.genomes, start, fixed
        self.count = 0
        self.average: list[Array] = []

    def __call__(self, states: list[State]) -> Hyper:
        """Take the states of one more sweep in; return the hyperparameters that fit best."""
        self.count += 1
        size = self.count**-FORGETTING
        parts = [np.mean([part[i] for part in map(_statistics, states)], 0) for i in range(3)]
        before = self.average or parts
        self.average = [old + size * (new - old) for old, new in zip(before, parts, strict=True)]
        log_pi, square, gap = self.average
        old = self.found
        alpha = np.where(self.fixed, FLOOR, concentration(log_pi, self.genomes, old.alpha))
        spread = None if old.dispersion is None else random_loci.dispersions(gap, old.dispersion)
        self.found = Hyper(alpha, np.sqrt(np.maximum(square, 1e-8)), spread)
        return self.found


def _statistics(state: State) -> tuple[Array, Array, Array]:
    """Return log pi averaged over genomes, beta^2 over features, and what the dispersion follows from; each (K,)."""
    effect = np.ones((len(state.beta), 1)) if state.locus_effect is None else state.locus_effect
    return np.log(state.pi).mean(0), (state.beta**2).mean(1), random_loci.gap(np.log(effect), effect)


def _hyper(problem: Problem, told: Arrays, empirical_bayes: bool) -> tuple[Hyper, Hyper]:
    """Return the hyperparameters to start from, and those of mean field.

    Estimates start from the given values: those of mean field go with its mode, which may be far from the posterior.
    """
    found = Hyper(told["alpha"], told["tau"], told.get("dispersion"))
    if not empirical_bayes:
        return found, found
    alpha = np.where(told["alpha"] <= FLOOR, FLOOR, problem["alpha"])
    return Hyper(alpha, problem["tau"], problem.arrays.get("dispersion")), found


def _with_hyper(variational: Mapping[str, Labelled], found: Hyper) -> dict[str, Labelled]:
    known = {name: value for name, value in vars(found).items() if value is not None}
    return {name: (dims, known.get(name, value)) for name, (dims, value) in variational.items()}


def _order(pi: Array, given: int) -> Array:
    """Return the processes by decreasing share, given ones before; pi is (chain, draw, G, K)."""
    share = pi.mean((0, 1, 2))
    return np.concatenate([np.arange(given), given + np.argsort(-share[given:], kind="stable")])


def _sorted(problem: Problem, posterior: Arrays, order: Array) -> dict[str, Array]:
    """Put the processes of every variable in an order."""
    out = {}
    for name, value in posterior.items():
        dims = problem.model.unknown.variables[name].dims
        free = order[len(order) - value.shape[2] :] - (len(order) - value.shape[2]) if "free" in dims else order
        axis = 2 + dims.index("free" if "free" in dims else "process")
        out[name] = np.take(value, free, axis)
    return out
