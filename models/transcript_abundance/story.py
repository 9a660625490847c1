"""The story as draw functions: a design with conditional weights, abundances, origins of reads, counts."""

from collections.abc import Mapping

import numpy as np

from genarium.declaration import Array, Sizes
from genarium.errors import InputError
from genarium.remedies import setting

READS = 100
"""Reads for each class of a default simulation."""

SPREAD, SPREAD_SD = 2.0, 0.5
"""Median of the spread in its prior, and the standard deviation of its logarithm there."""

LEAST = 1e-300
"""The least abundance of a transcript that is there."""

LOCUS = 10
"""Transcripts of a locus in a default simulation."""


def design(rng: np.random.Generator, sizes: Sizes) -> Mapping[str, Array]:
    """Lay transcripts around circles of classes, as the course's locus does: a circle for every ten transcripts.

    Every transcript covers a run of neighbouring classes and overlaps the next ones on its circle. Its weights are
    conditional probabilities P(class | transcript): they sum to one over the classes.
    """
    K, E, M = sizes["transcript"], sizes["equivalence_class"], sizes["entry"]
    start = np.arange(K + 1) * E // K
    length = np.maximum(np.diff(start), 1)
    left = M - int(length.sum())
    if left < 0:
        raise InputError(
            f"transcript_abundance: {setting('entry', M)} is too few for a simulation of {E} classes and {K} "
            "transcripts: every "
            f"class and every transcript needs one. Set entry to {length.sum()} or more."
        )
    length = length + np.diff(np.arange(K + 1) * left // K)
    transcript = np.repeat(np.arange(K), length)
    step = np.arange(M) - np.repeat(np.cumsum(length) - length, length)
    circles = max(1, min(K, E) // LOCUS)
    edge = start[-(-np.arange(circles + 1) * K // circles)]  # first class of each circle
    circle = transcript * circles // K
    first, size = edge[circle], np.diff(edge)[circle]
    weight = rng.standard_gamma(3.0, M)
    return {
        "entry_class": first + (start[transcript] - first + step) % size,
        "entry_transcript": transcript,
        "weight": weight / np.bincount(transcript, weight, K)[transcript],
        "effective_length": 200.0 * length * rng.uniform(0.5, 1.5, K),
        "reads": np.array(READS * E),
    }


def dirichlet_design(rng: np.random.Generator, sizes: Sizes) -> Mapping[str, Array]:
    """Lay transcripts around circles of classes (:func:`design`), all of concentration one."""
    return {**design(rng, sizes), "alpha": np.ones(sizes["transcript"])}


def draw_presence(rng: np.random.Generator) -> Array:
    """Draw the probability of being there: uniform (eq. 25)."""
    return np.asarray(rng.uniform())


def draw_spread(rng: np.random.Generator) -> Array:
    """Draw the standard deviation of log abundances: log-normal (eq. 25)."""
    return np.asarray(np.exp(rng.normal(np.log(SPREAD), SPREAD_SD)))


def draw_sparse_nu(
    rng: np.random.Generator, sizes: Sizes, presence: Array, spread: Array, effective_length: Array
) -> Array:
    """Draw who is there, at least one transcript, and abundances as length times a log-normal (eq. 25)."""
    K = sizes["transcript"]
    there = draw_there(rng, presence, K)
    log = np.log(effective_length) + spread * rng.normal(size=K)
    out = np.where(there, np.exp(log - log[there].max()), 0.0)
    return np.asarray(np.where(there, np.maximum(out / out.sum(), LEAST), 0.0))


def draw_there(rng: np.random.Generator, presence: Array, transcripts: int) -> Array:
    """Draw who is there, at least one transcript: the first of those, and then the others."""
    first = rng.choice(transcripts, p=_first(float(presence), transcripts))
    others = rng.uniform(size=transcripts - first - 1) < presence
    return np.concatenate([np.zeros(first, dtype=bool), [True], others])


def _first(presence: float, transcripts: int) -> Array:
    log = np.arange(transcripts) * np.log1p(-min(presence, 1 - 1e-16))
    return np.asarray(np.exp(log) / np.exp(log).sum())


def draw_nu(rng: np.random.Generator, alpha: Array) -> Array:
    """Draw the abundances: nu ~ Dirichlet(alpha)."""
    return rng.dirichlet(alpha)


def draw_origin(rng: np.random.Generator, nu: Array, weight: Array, entry_transcript: Array, reads: Array) -> Array:
    """Draw how many reads come from each entry: transcript G, and start S and orientation O within it, of every read.

    With conditional weights these are G ~ Categorical(nu) and (S, O) | G from the weights. Weights that are known up to
    a factor for each class only (salmon's) say nothing of the classes' own probabilities: there entries are drawn in
    proportion to nu times weight.
    """
    p = nu[entry_transcript] * weight
    return rng.multinomial(int(reads), p / p.sum())


def count_reads(sizes: Sizes, origin: Array, entry_class: Array) -> Array:
    """Count the reads of each class: what is seen of a read is its class."""
    counts: Array = np.bincount(entry_class, origin, sizes["equivalence_class"])
    return counts
