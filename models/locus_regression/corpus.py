"""The mutation table as the fits use it: duplicates added up, sorted by locus and genome, indices of 32 bits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genarium.declaration import Array, Problem

from .channels import split_channel
from .hyperprior import Hyper
from .spectra import Held, held

CELLS = ("genome", "row", "channel", "count")

NO_HYPER = Hyper(np.empty(0), np.empty(0))
"""Where hyperparameters do not matter."""


@dataclass(frozen=True)
class Corpus:
    """Mutations and what is known of the loci; shapes: I cells, J covariate groups, L loci, C contexts, F features.

    Attributes
    ----------
    genome, row, channel : ndarray of int32, shape (I,)
        ``row`` counts loci through all covariate groups: group times L plus locus.
    count : ndarray, shape (I,)
        Mutations.
    features : ndarray, shape (J, L, F)
    log_exposure : ndarray, shape (L,)
    opportunity : ndarray, shape (C, L)
        Of contexts, their exposure multiplied in.
    form : {"conditional", "joint"}
    genomes : int
    alternatives : int
        Of each context.
    held : Held, optional
        Preferences of the first processes, whose signatures are given.
    hyper : Hyper
        Given hyperparameters.
    """

    genome: Array
    row: Array
    channel: Array
    count: Array
    features: Array
    log_exposure: Array
    opportunity: Array
    form: str
    genomes: int
    alternatives: int = 3
    held: Held | None = None
    hyper: Hyper = NO_HYPER

    @property
    def rows(self) -> int:
        """Covariate groups times loci."""
        return int(np.prod(self.features.shape[:2]))

    @property
    def given(self) -> int:
        """Processes whose signature is given; they come first."""
        return 0 if self.held is None else len(self.held.lam)

    @property
    def channels(self) -> int:
        """Alternatives of all contexts."""
        return self.alternatives * len(self.opportunity)

    @cached_property
    def table(self) -> Array:
        """Mutations by genome and channel; shape (G, M)."""
        at = self.genome.astype(np.int64) * self.channels + self.channel
        return np.bincount(at, self.count, self.genomes * self.channels).reshape(self.genomes, -1)

    @cached_property
    def row_total(self) -> Array:
        """Mutations of each row."""
        return np.bincount(self.row, self.count, self.rows)

    def mutations(self) -> Iterator[dict[str, Array]]:
        """Yield the cells, ``genome``, ``row``, ``channel`` and ``count``, part by part."""
        yield {name: getattr(self, name) for name in CELLS}

    @property
    def group_share(self) -> Array:
        """Share of the mutations in each covariate group; shape (J,)."""
        by_group = self.row_total.reshape(len(self.features), -1).sum(1)
        return np.asarray(by_group / by_group.sum())

    @cached_property
    def log_opportunity(self) -> float:
        """Sum over mutations of the log opportunity of their context: the part of the bound that is constant."""
        L = self.features.shape[1]
        context, _ = split_channel(self.channel, len(self.opportunity), self.alternatives)
        return float(self.count @ np.log(self.opportunity[context, self.row % L]))


def corpus(problem: Problem) -> Corpus:
    """Bring the mutations of a problem into order.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Corpus
    """
    X = problem["features"]
    X = X.reshape(-1, *X.shape[-2:]).transpose(0, 2, 1)  # (J, L, F)
    L, channels, G = X.shape[1], problem.sizes["channel"], problem.sizes["genome"]
    group = problem["group"] if "group" in problem.arrays else 0
    row = group * L + problem["locus"]
    key = (row * G + problem["genome"]) * channels + problem["channel"]
    used = problem["count"] > 0
    unique, inverse = np.unique(key[used], return_inverse=True)
    rest, channel = np.divmod(unique, channels)
    row, genome = np.divmod(rest, G)
    return Corpus(
        genome.astype(np.int32),
        row.astype(np.int32),
        channel.astype(np.int32),
        np.bincount(inverse, problem["count"][used]).astype(float),
        np.ascontiguousarray(X),
        np.log(problem["exposure"]),
        problem["context_opportunity"] * problem["context_exposure"][:, None],
        problem.option("form"),
        G,
        problem.sizes["alternative"],
        held(problem),
        Hyper.given(problem),
    )
