"""Exposures of genomes that a fit did not see, given its processes; equation numbers refer to the card."""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

from .corpus import Corpus
from .moves import LEAST, reassign

BURN, KEEP = 20, 20
"""Gibbs sweeps at each draw of the processes: thrown away, and kept."""

SWEEPS = 1000
"""Sweeps of all draws of the processes together, at least: a point estimate alone has as many as 25 draws."""


@dataclass(frozen=True)
class Exposures:
    """Exposures of genomes: their mean at each draw of the processes (D, G, K), and draws of them (S, G, K)."""

    means: Array
    draws: Array


@dataclass(frozen=True)
class Processes:
    """A draw of the processes: what it gives a mutation by its row (R, K), over the most there, and channel (M, K)."""

    place: Array
    spectrum: Array


def infer(data: Corpus, processes: list[Processes], alpha: Array, rng: np.random.Generator) -> Exposures:
    """Sample the exposures at every draw of the processes (eq. 20), in one chain through all of them.

    Parameters
    ----------
    data : Corpus
    processes : list of Processes
    alpha : ndarray, shape (K,)
        Of the Dirichlet prior.
    rng : Generator

    Returns
    -------
    Exposures
        The means are of (alpha + n_g) / sum, n_g being the numbers of a genome's mutations by process (Rao-Blackwell).
    """
    mutations = int(data.count.sum())
    z, of_genome = np.full(mutations, -1), np.zeros((data.genomes, len(alpha)))
    keep = max(KEEP, -(-SWEEPS // len(processes)) - BURN)
    means, draws = [], []
    for each in processes:
        place, spectrum = np.ascontiguousarray(each.place), np.ascontiguousarray(each.spectrum)
        kept = np.zeros(of_genome.shape)
        for sweep in range(BURN + keep):
            cells = (data.genome, data.row, data.channel, data.count)
            reassign(rng.random(mutations), *cells, alpha, place, spectrum, z, of_genome)
            if sweep >= BURN:
                shape = alpha + of_genome
                pi = np.maximum(rng.standard_gamma(shape), LEAST)
                kept += shape / shape.sum(1, keepdims=True) / keep
                draws.append(pi / pi.sum(1, keepdims=True))
        means.append(kept)
    return Exposures(np.array(means), np.array(draws))


def same_genomes(fitted: Corpus, names: Array, data: Corpus, new_names: Array) -> Array:
    """Return which genome of a fit each genome is: the one of its name, if it has the same mutations; else -1.

    Parameters
    ----------
    fitted, data : Corpus
    names, new_names : ndarray, shapes (G of the fit,) and (G,)

    Returns
    -------
    ndarray of int, shape (G,)
    """
    position = {str(name): g for g, name in enumerate(names)}
    old, new = _tables(fitted), _tables(data)
    out = np.full(data.genomes, -1)
    for g, name in enumerate(new_names):
        at = position.get(str(name), -1)
        if at >= 0 and all(np.array_equal(a, b) for a, b in zip(old[at], new[g], strict=True)):
            out[g] = at
    return out


def _tables(data: Corpus) -> list[tuple[Array, ...]]:
    """Return the mutations of each genome: rows, channels and counts, in order."""
    order = np.argsort(data.genome, kind="stable")
    edges = np.searchsorted(data.genome[order], np.arange(data.genomes + 1))
    parts = [np.split(x[order], edges[1:-1]) for x in (data.row, data.channel, data.count)]
    return list(zip(*parts, strict=True))
