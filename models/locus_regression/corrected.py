"""Draws that know what mean field leaves out: chains of Gibbs sweeps from the optimum; equation numbers: the card."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine
from genarium.engines.labels import match_labels

from . import hyper
from .corpus import Corpus
from .dirichlet import FLOOR, UNDERFLOW
from .gibbs import Sweep
from .hyperprior import Hyper
from .trees import NAMES, log_rates

CHAINS = 4
"""Chains, each from a draw of q."""

EMPTIED = 0.01
"""Mean share below which q has emptied a process: every second chain then begins at exposures drawn at random."""

WARM_UP = 0.25
"""Share of the sweeps that is thrown away."""

FEWEST, MOST = 2000, 10_000
"""Sweeps, where none are asked for."""

ENOUGH = 1.0
"""CPU seconds beyond which sweeps stay below the most; estimated from sizes alone, so that all machines do the same."""

LONG, TIMES, LEAST = 20.0, 3.5, 400
"""CPU seconds beyond which sweeps may go below the fewest, to the least, for they take that many times what the ascents
took."""


def enough(data: Corpus, processes: int, random: bool, ascents: int) -> int:
    """Return the number of sweeps that a corpus gets: the more, the cheaper they are.

    Parameters
    ----------
    data : Corpus
    processes : int
    random : bool
        Whether loci have effects of their own.
    ascents : int
        Sweeps of the ascents, all starts together.
    """
    rates = processes * data.rows
    each = 85e-6 + 30e-9 * float(data.count.sum()) + (2.5e-7 if random else 8e-8) * rates
    ascent = ascents * (1e-3 + 4.7e-8 * len(data.count) + 8e-8 * rates)
    if FEWEST * each > LONG:
        return int(np.clip(max(LONG, TIMES * ascent) / each, LEAST, FEWEST))
    return int(np.clip(ENOUGH / each, FEWEST, MOST))


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
    """Put draws of short chains in the place of those of q (eqs. 41 and 42); trees are held as they were found.

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
        Of all chains together; 0: enough.
    empirical_bayes : bool
        Whether hyperparameters are sampled too. They start from the given values: those of mean field go with its mode,
        which may be far from the posterior.

    Returns
    -------
    Result
        Processes sorted by decreasing share, as before. With hyperparameters at their geometric means.
    """
    told = {name: np.asarray(value[1]) for name, value in fitted.variational.items()}
    fixed = told["alpha"] <= FLOOR
    start = Hyper.given(problem)
    start = replace(start, alpha=np.where(fixed, FLOOR, start.alpha))
    share = (told["gamma"] / told["gamma"].sum(1, keepdims=True)).mean(0)
    emptied = bool(((share < EMPTIED) & ~fixed)[data.given :].any())
    learned = [name for name in vars(start) if name in problem.model.known.variables]
    of_q = {name: np.asarray(value)[0] for name, value in fitted.posterior.items()}
    trees = {name: of_q.pop(name)[0] for name in NAMES if name in of_q}
    if trees:
        split_feature, split_at, leaf_value = trees.values()
        rate = np.exp(log_rates(split_feature, split_at, leaf_value, data.features[0].T))
        of_q["locus_effect"] = np.broadcast_to(rate, (len(of_q["beta"]), *rate.shape))
    own = enumerate(np.linspace(0, len(of_q["beta"]) - 1, CHAINS).astype(int))
    sweep = Sweep(data, problem, told["beta_mean"], learning_spectra=empirical_bayes, learning_alpha=empirical_bayes)

    def chain(stream: np.random.Generator) -> Iterator[Arrays]:
        number, at = next(own)
        state, found = sweep.state({name: value[at] for name, value in of_q.items()}), start
        if emptied and number % 2:
            pi = stream.dirichlet(np.where(fixed, FLOOR, 1.0), data.genomes)
            state = replace(state, pi=np.maximum(pi, UNDERFLOW))
        while True:
            sweep.hold(found)
            state = sweep(stream, state)
            if empirical_bayes:
                found = replace(
                    found, alpha=sweep.alpha, lam_concentration=sweep.of_lam, rho_concentration=sweep.of_rho
                )
                found = hyper.draw(stream, state, found, start)
            hyperparameters = {name: value for name, value in vars(found).items() if name in learned}
            yield {**sweep.unknown(state), **trees, **hyperparameters}

    ascents = int(np.isfinite(told["bound"]).sum())
    each = (sweeps or enough(data, len(start.alpha), start.dispersion.size > 0, ascents)) / CHAINS
    warm_up, kept = round(WARM_UP * each), -(-draws // CHAINS)
    thin = max(1, round((each - warm_up) / kept))
    found = engine.run(chain, rng, chains=CHAINS, draws=kept, tune=warm_up, thin=thin)
    posterior = match_labels(problem.model, found)
    order = _order(posterior["pi"], data.given)
    dims = {name: var.dims for name, var in problem.model.variables("known", "unknown").items()}
    ordered = {name: _taken(value, dims[name], order) for name, value in posterior.items()}
    means = {name: np.exp(np.log(ordered.pop(name)).mean((0, 1))) for name in learned}
    labelled = {
        name: _taken(np.asarray(value)[None, None], of, order)[0, 0] for name, (of, value) in fitted.variational.items()
    }
    return replace(
        fitted,
        variational={name: (of, means.get(name, labelled[name])) for name, (of, _) in fitted.variational.items()},
        posterior=ordered,
        sample_stats={},
        notes={**fitted.notes, "sweeps": CHAINS * (warm_up + kept * thin)},
    )


def _order(pi: Array, given: int) -> Array:
    """Return the processes by decreasing share, given ones before; pi is (chain, draw, G, K)."""
    share = pi.mean((0, 1, 2))
    return np.concatenate([np.arange(given), given + np.argsort(-share[given:], kind="stable")])


def _taken(value: Array, dims: Sequence[str], order: Array) -> Array:
    """Put the processes of draws in an order, given ones first, or those that are free."""
    for axis, dim in enumerate(dims, 2):
        if dim in ("process", "free"):
            given = len(order) - value.shape[axis]
            value = np.take(value, order[given:] - given, axis)
    return value
