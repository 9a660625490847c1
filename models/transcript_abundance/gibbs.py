"""Gibbs sampling; equation numbers refer to the card (README.md)."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine

from . import presence
from .circuits import circuits
from .directions import axes, update_along
from .em import ascend
from .pairs import draw_abundances, draw_origins, update_pairs
from .start import SWEEPS, near_maximum
from .story import LEAST, SPREAD, SPREAD_SD
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
    """Sample origins and abundances in turn, then abundances alone: within pairs and along directions of several.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior``: nu, and under the sparse prior ``presence`` and ``spread``.
    """
    table = table_of(problem)
    sampler = (
        SparseSampler(table, problem["effective_length"])
        if problem.option("prior") == "sparse"
        else Sampler(table, problem["alpha"])
    )
    posterior = engine.run(sampler, rng, chains=chains, draws=draws, tune=tune, thin=thin)
    return Result(posterior=posterior, notes={"never_hit": int((~table.hit).sum())})


class Sampler:
    """The Markov chain under a Dirichlet prior; ``sampler(rng)`` yields its draws."""

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


AGAIN = 5
"""Times that a draw moves again the transcripts that others explain nearly."""


class SparseSampler:
    """The Markov chain under the sparse prior; ``sampler(rng)`` yields its draws (eqs. 26 to 30)."""

    def __init__(self, table: Table, effective_length: Array) -> None:
        self.table, self.log_length = table, np.log(effective_length)
        width = np.diff(table.first)
        entry = np.argsort(table.column, kind="stable")
        begin = np.searchsorted(table.column[entry], np.arange(table.transcripts + 1))
        self.classes = (table.first, table.column, table.weight, np.round(table.count).astype(np.int64))
        self.entries = (begin, entry, np.repeat(np.arange(len(width)), width))
        self.a = ascend(table, tolerance=0.1, max_iterations=SWEEPS).a
        found = circuits(table, np.random.default_rng(0))
        self.every, self.flat = np.arange(table.transcripts), found.flat
        self.lines = (found.lines, found.first, found.member, found.step)

    def __call__(self, rng: np.random.Generator) -> Iterator[Arrays]:
        """Yield draws, from a start of its own in which every transcript is there that a read may be from.

        With all of them, those without reads make the spread so wide that it takes hundreds of sweeps to part again.
        """
        t, K = self.table, self.table.transcripts
        a = np.where(t.hit, rng.standard_gamma(0.5 * self.a + 0.5) + 1e-3, 0.0)
        a *= t.reads / a.sum()
        pi, sd = 0.5, SPREAD * float(np.exp(SPREAD_SD * rng.normal()))
        slot = np.full(len(t.count), -1)
        while True:
            there = a > 0
            pi = _presence(rng, pi, int(there.sum()), K)
            x = np.log(a[there]) - self.log_length[there]
            sd = _spread(rng, sd, x)
            mean = self.log_length + rng.normal(x.mean(), sd / np.sqrt(len(x)))
            law = (t.sole, mean, sd, float(np.log(pi) - np.log1p(-pi)))
            for who in (self.every, *[self.flat] * AGAIN):
                presence.update_lines(rng, *self.classes, *law, *self.entries, slot, who, *self.lines, a)
            n = t.sole.copy()
            presence.draw_reads(rng, *self.classes, a, n)
            presence.update_abundances(rng, n, *law[1:], a)
            nu = a / a.sum()
            nu[a > 0] = np.maximum(nu[a > 0], LEAST)
            yield {"nu": nu, "presence": np.asarray(pi), "spread": np.asarray(sd)}


def _presence(rng: np.random.Generator, pi: float, there: int, transcripts: int) -> float:
    """Draw the probability of being there (eq. 27), proposed as if none might be there."""
    new = float(np.clip(rng.beta(there + 1, transcripts - there + 1), 1e-15, 1 - 1e-15))
    some, others = (np.log(-np.expm1(transcripts * np.log1p(-p))) for p in (pi, new))
    return new if np.log(rng.random()) < some - others else pi


def _spread(rng: np.random.Generator, sd: float, x: Array) -> float:
    """Draw the standard deviation of the log abundances x (eq. 27), their mean integrated out."""
    squares = ((x - x.mean()) ** 2).sum()

    def log_density(u: Array) -> Array:
        prior = ((u - np.log(SPREAD)) / SPREAD_SD) ** 2
        return np.asarray(-(len(x) - 1) * u - 0.5 * squares * np.exp(-2 * u) - 0.5 * prior)

    return float(np.exp(engine.slice_update(log_density, np.asarray(np.log(sd)), 0.3, rng)))
