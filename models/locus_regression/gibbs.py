"""Gibbs sampling; equation numbers refer to the card (README.md)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine

from . import moves
from .channels import channel_of
from .corpus import Corpus, corpus
from .hyperprior import Hyper
from .spectra import FREE, certain
from .start import start

CAREFUL = 0.2, 0.2
"""Share of the sweeps with a small step of the effects, and that step (eq. 31); the others have 1."""


def gibbs(
    problem: Problem,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    draws: int = 1000,
    tune: int = 500,
    thin: int = 1,
) -> Result:
    """Sample processes of mutations, shares, spectra and effects in turn.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior``: beta, lam, rho, pi (and locus_effect); labels are not yet matched between draws.

    """
    data = corpus(problem)

    def chain(stream: np.random.Generator) -> Iterator[Arrays]:
        first = start(problem, stream)
        sweep = Sweep(data, problem, first["beta"])
        state = sweep.state(first)
        while True:
            state = sweep(stream, state)
            yield sweep.unknown(state)

    return Result(posterior=engine.run(chain, rng, chains=chains, draws=draws, tune=tune, thin=thin))


@dataclass(frozen=True)
class State:
    """Where a chain is: beta (K, F), lam (K, C), rho (K, C, A), pi (G, K); locus_effect (K, L), where there is one.

    Given preferences are the first rows of lam and rho.
    """

    beta: Array
    lam: Array
    rho: Array
    pi: Array
    locus_effect: Array | None = None


class Sweep:
    """One sweep, ``sweep(rng, state)``.

    Parameters
    ----------
    data : Corpus
    problem : Problem
        Has the hyperparameters.
    reference : ndarray, shape (K, F)
        Effects at which the proposals take the covariance of the features; where it is far from the posterior, more of
        them are rejected.
    learning_spectra : bool
        Whether concentrations of lam and rho move, too: :attr:`of_lam` and :attr:`of_rho` are the last ones.
    learning_alpha : bool
        The same for :attr:`alpha`.
    """

    def __init__(
        self,
        data: Corpus,
        problem: Problem,
        reference: Array,
        *,
        learning_spectra: bool = False,
        learning_alpha: bool = False,
    ) -> None:
        self.data, self.names = data, set(problem.model.unknown.variables)
        given = Hyper.given(problem)
        self.hold(given)
        spectra = [x if learning_spectra else x[:0] for x in (given.lam_concentration, given.rho_concentration)]
        self.medians = [given.alpha if learning_alpha else given.alpha[:0], *spectra]
        C, A = len(data.opportunity), data.alternatives
        context, alternative = np.indices((C, A))
        self.channel_of = channel_of(context, alternative, C, A)  # (C, A)
        around = data.log_exposure + (np.log(data.opportunity.mean(0)) if data.form == "joint" else 0.0)
        _, _, mean, weight = moves.normalise(data.features, reference, np.tile(around, (len(reference), 1)))
        each = [
            [(X - m).T @ ((X - m) * w[:, None]) for m, w in zip(*of_group, strict=True)]
            for X, *of_group in zip(data.features, mean, weight, strict=True)
        ]
        self.covariance = np.array(each)  # (J, K, F, F)
        empty = np.empty((0, 0, 0))
        self._last: tuple[Array, ...] = (empty, empty, np.empty((0, 0)), empty, empty)  # beta, and what normalise says

    def hold(self, found: Hyper) -> None:
        """Take these hyperparameters from now on."""
        self.alpha, self.precision, self.shape = found.alpha, found.tau**-2, 1 / found.dispersion
        self.of_lam, self.of_rho = found.lam_concentration, found.rho_concentration

    def state(self, unknown: Arrays) -> State:
        """Return the state at values of the unknown variables."""
        known = self.data.held
        if known is None:
            return State(**{"rho": certain(unknown["lam"]), **unknown})
        rest = {name: value for name, value in unknown.items() if name not in FREE}
        lam, rho = known.lam, known.rho
        if FREE[0] in unknown:
            free = unknown[FREE[0]]
            lam, rho = np.concatenate([lam, free]), np.concatenate([rho, unknown.get(FREE[1], certain(free))])
        return State(lam=lam, rho=rho, **rest)

    def unknown(self, state: State) -> dict[str, Array]:
        """Return the values of the unknown variables in a state."""
        found = {name: value for name, value in vars(state).items() if value is not None}
        if R := self.data.given:
            lam, rho = found.pop("lam"), found.pop("rho")
            found |= {FREE[0]: lam[R:], FREE[1]: rho[R:]} if len(lam) > R else {}
        return {name: value for name, value in found.items() if name in self.names}

    def __call__(self, rng: np.random.Generator, state: State) -> State:
        """Draw every block given the others."""
        data = self.data
        share, small = CAREFUL
        none = np.empty((len(state.beta), 0))
        move: Any = moves.sweep
        fixed = data.form == "conditional" and state.locus_effect is None  # rates depend on beta alone
        beta, lam, rho, pi, effect, self.alpha, self.of_lam, self.of_rho, *last = move(
            rng,
            rng.random(int(data.count.sum())),  # faster at once than one by one
            *(data.genome, data.row, data.channel, data.count),
            *(data.features, data.log_exposure, data.opportunity, self.channel_of),
            *(data.form == "joint", data.given, self.covariance),
            *(self.alpha, self.precision, self.shape, self.of_lam, self.of_rho, *self.medians),
            small if rng.uniform() < share else 1.0,
            *(np.ascontiguousarray(x) for x in (state.beta, state.lam, state.rho, state.pi)),  # compiled once
            none if state.locus_effect is None else state.locus_effect,
            *(fixed and state.beta is self._last[0], *self._last[1:]),
        )
        self._last = (beta, *last)
        return State(beta, lam, rho, pi, None if state.locus_effect is None else effect)
