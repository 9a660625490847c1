"""Gibbs sampling; equation numbers refer to the card (README.md)."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine

from .directions import axes, update_along
from .em import ascend
from .pairs import draw_abundances, draw_origins, update_pairs
from .start import SWEEPS, near_maximum
from .table import Table, table_of


def gibbs(
    problem: Problem,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    draws: int = 1000,
    tune: int = 500,
    thin: int = 1,
) -> Result:
    """Sample origins and abundances in turn, then abundances alone: shares within pairs, and moves of whole components.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior``: nu. Any prior is fine, sparse ones too.
    """
    table = table_of(problem)
    posterior = engine.run(Sampler(table, problem["alpha"]), rng, chains=chains, draws=draws, tune=tune, thin=thin)
    return Result(posterior=posterior, notes={"never_hit": int((~table.hit).sum())})


class Sampler:
    """The Markov chain; ``sampler(rng)`` yields its draws."""

    def __init__(self, table: Table, alpha: Array) -> None:
        self.table, self.alpha = table, alpha
        self.count = np.round(table.count).astype(np.int64)
        width = np.diff(table.first)
        self.owner = np.repeat(np.arange(len(width)), width)
        self.entry = np.argsort(table.column, kind="stable")
        self.axes = axes(table, alpha, ascend(table, tolerance=0.1, max_iterations=SWEEPS).a)
        self.begin = np.searchsorted(table.column[self.entry], np.arange(table.transcripts + 1))

    def __call__(self, rng: np.random.Generator) -> Iterator[Arrays]:
        """Yield draws of nu, from a start of its own (eqs. 16 to 19)."""
        t = self.table
        nu = near_maximum(t, self.alpha, rng)
        p = np.empty(len(t.count))
        while True:
            n = t.sole.copy()
            draw_origins(rng, t.first, t.column, t.weight, self.count, nu, n)
            draw_abundances(rng, self.alpha + n, nu)
            update_pairs(
                rng, t.first, t.column, t.weight, t.count, t.sole, self.alpha, self.begin, self.entry, self.owner, p, nu
            )
            for one in self.axes:
                mine, own = nu[one.members], p[one.classes]
                power = self.alpha[one.members] + t.sole[one.members] - 1
                update_along(rng, one.along, one.moved, t.count[one.classes], power, own, mine)
                nu[one.members] = np.maximum(mine, 1e-300)
            yield {"nu": np.maximum(nu / nu.sum(), 1e-300)}
