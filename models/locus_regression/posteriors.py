"""Probabilities of the processes of mutations by genome, locus and channel, averaged over draws of a fit."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.evaluate import fitted_problem
from genarium.registry import fitted_model

from .corpus import corpus
from .predict import draws_of, tables

BLOCK = 200_000
"""Mutations that are looked at at once."""


@dataclass(frozen=True)
class Attribution:
    """Tables of a fit's draws (D): shares (D, G, K), by row (D, R, K) and by channel (D, M, K).

    Attributes
    ----------
    genomes, processes : list of str
    group : ndarray, shape (G,)
        Covariate group of each genome.
    loci : int
    """

    share: Array
    place: Array
    spectrum: Array
    genomes: list[str]
    processes: list[str]
    group: Array
    loci: int

    @classmethod
    def of(cls, fitted: xr.DataTree) -> "Attribution":
        """Take the tables from a fit."""
        problem = fitted_problem(fitted_model(fitted), fitted)
        data = corpus(problem)
        draws = list(draws_of(fitted))
        parts = [tables(data, each)[0] for each in draws]
        group = np.zeros(data.genomes, dtype=np.int64)
        group[data.genome] = data.row // problem.sizes["locus"]
        return cls(
            np.array([each["pi"] for each in draws]),
            np.array([part.place for part in parts]),
            np.array([part.spectrum for part in parts]),
            [str(name) for name in problem.coords["genome"]],
            [str(name) for name in problem.coords["process"]],
            group,
            problem.sizes["locus"],
        )

    def probability(self, genome: Array, locus: Array, channel: Array) -> Array:
        """Return the probability of each process for mutations; shape (I, K)."""
        out = np.zeros((len(genome), len(self.processes)))
        for low in range(0, len(genome), BLOCK):
            at = slice(low, low + BLOCK)
            g, m = genome[at], channel[at]
            row = self.group[g] * self.loci + locus[at]
            for share, place, spectrum in zip(self.share, self.place, self.spectrum, strict=True):
                weight = share[g] * place[row] * spectrum[m]
                out[at] += weight / weight.sum(1, keepdims=True)
        return out / len(self.share)
