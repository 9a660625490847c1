"""Exposures of genomes that a fit did not see, given its processes; equation numbers refer to the card."""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array
from genarium.simplex import dirichlet_expected_log

from .corpus import Corpus
from .expectation import expect
from .moves import assign

SWEEPS = 500
"""Updates of the variational start, at most."""

BURN, KEEP = 20, 20
"""Gibbs sweeps at each draw of the processes: thrown away, and kept."""


@dataclass(frozen=True)
class Exposures:
    """Exposures of genomes: their mean at each draw of the processes (D, G, K), and draws of them (S, G, K)."""

    means: Array
    draws: Array


@dataclass(frozen=True)
class Processes:
    """A draw of the processes, as what it gives a mutation by its row (R, K) and its channel (M, K)."""

    place: Array
    spectrum: Array


def infer(data: Corpus, processes: list[Processes], alpha: Array, rng: np.random.Generator) -> Exposures:
    """Sample the exposures at every draw of the processes (eq. 20), each chain from a variational start.

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
    start = first(data, processes, alpha)
    means, draws = [], []
    for each in processes:
        top = each.place.max(1, keepdims=True)
        place = np.ascontiguousarray(each.place / np.where(top > 0, top, 1))
        spectrum = np.ascontiguousarray(each.spectrum)
        pi, kept = start, np.zeros(start.shape)
        for sweep in range(BURN + KEEP):
            sums = tuple(np.zeros((n, len(alpha))) for n in (data.genomes, data.rows, data.channels))
            uniform = rng.random(int(data.count.sum()))
            assign(uniform, data.genome, data.row, data.channel, data.count, pi, place, spectrum, *sums)
            shape = alpha + sums[0]
            pi = np.maximum(rng.standard_gamma(shape), 1e-300)
            pi /= pi.sum(1, keepdims=True)
            if sweep >= BURN:
                kept += shape / shape.sum(1, keepdims=True) / KEEP
                draws.append(pi)
        means.append(kept)
    return Exposures(np.array(means), np.array(draws))


def first(data: Corpus, processes: list[Processes], alpha: Array) -> Array:
    """Return exposures by variational Bayes, the processes held at the mean of their logs; shape (G, K)."""
    tables = [[np.log(np.maximum(t, 1e-300)) for t in (each.place, each.spectrum)] for each in processes]
    log_place, log_spectrum = (np.mean([pair[i] for pair in tables], 0) for i in range(2))
    total = np.bincount(data.genome, data.count, data.genomes)
    gamma = alpha + total[:, None] / len(alpha)
    for _ in range(SWEEPS):
        of_genome, *_ = expect(data, dirichlet_expected_log(gamma), log_place, log_spectrum)
        following = alpha + of_genome
        change = np.abs(following - gamma).sum(1) / following.sum(1)
        gamma = following
        if change.max() < 1e-4:
            break
    return np.asarray(gamma / gamma.sum(1, keepdims=True))


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
    edges = np.searchsorted(data.genome, np.arange(data.genomes + 1))
    parts = [np.split(x, edges[1:-1]) for x in (data.row, data.channel, data.count)]
    return list(zip(*parts, strict=True))
