"""The relaxed prior: absent transcripts have next to no reads instead of none, so that there is a density (eq. 39).

The unknown is the log abundance by nucleotide, up to a factor; nucleotide abundances follow from it. Shapes: K
transcripts, draws first.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Sizes

from . import groups, likelihood, story
from .start import near_maximum
from .table import table_of

ABSENT_AT, ABSENT_SD = 4.0, 2.0
"""How far absent transcripts lie below one read in the logarithm, roughly, and their standard deviation there."""


def drop(reads: Array, transcripts: int) -> float:
    """Return how far the log abundances of absent transcripts lie below those of the others."""
    return float(np.log(max(float(reads) / transcripts, 1.0)) + ABSENT_AT)


def draw_log_rate(rng: np.random.Generator, sizes: Sizes, presence: Array, spread: Array, reads: Array) -> Array:
    """Draw log abundances of transcripts that are there, at least one, and of those that nearly are not."""
    K = sizes["transcript"]
    there = story.draw_there(rng, presence, K)
    absent = ABSENT_SD * rng.normal(size=K) - drop(reads, K)
    return np.where(there, spread * rng.normal(size=K), absent)


def nu(log_rate: Array, effective_length: Array) -> Array:
    """Return nucleotide abundances, (..., K): shares of length times abundance by nucleotide."""
    x = log_rate + np.log(effective_length)
    out = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(np.maximum(out / out.sum(-1, keepdims=True), story.LEAST))


def draw_origin(
    rng: np.random.Generator,
    log_rate: Array,
    effective_length: Array,
    weight: Array,
    entry_transcript: Array,
    reads: Array,
) -> Array:
    """Draw how many reads come from each entry."""
    return story.draw_origin(rng, nu(log_rate, effective_length), weight, entry_transcript, reads)


def log_prior(log_rate: Array, presence: Array, spread: Array, reads: Array) -> Array:
    """Log density of presence, spread and log abundances; shape (...)."""
    K = log_rate.shape[-1]
    pi, sd = (np.asarray(value)[..., None] for value in (presence, spread))
    with np.errstate(divide="ignore"):
        there = np.log(pi) - 0.5 * (log_rate / sd) ** 2 - np.log(sd)
        z = (log_rate + drop(reads, K)) / ABSENT_SD
        absent = np.log1p(-pi) - 0.5 * z**2 - np.log(ABSENT_SD)
        none_there = -np.logaddexp(0.0, there - absent).sum(-1)  # log of its share in the mixture
        some = np.log(-np.expm1(none_there)) - np.log(-np.expm1(K * np.log1p(-np.asarray(presence))))
    each = np.logaddexp(there, absent) - 0.5 * np.log(2 * np.pi)
    return np.asarray(each.sum(-1) + some + likelihood.log_spread(spread))


def log_likelihood(
    log_rate: Array, effective_length: Array, count: Array, weight: Array, entry_class: Array, entry_transcript: Array
) -> Array:
    """Log probability of the reads of each class (eq. 4); shape (..., E)."""
    return likelihood.log_likelihood(nu(log_rate, effective_length), count, weight, entry_class, entry_transcript)


def tpm(log_rate: Array, effective_length: Array) -> Array:
    """Transcripts per million (eq. 2)."""
    return likelihood.tpm(nu(log_rate, effective_length), effective_length)


def counts(log_rate: Array, effective_length: Array, reads: Array) -> Array:
    """Return the reads expected from each transcript."""
    return likelihood.counts(nu(log_rate, effective_length), reads)


def ridge_counts(log_rate: Array, effective_length: Array, reads: Array, ridge: Array) -> Array:
    """Add up the reads expected from the transcripts of each ridge."""
    return groups.ridge_counts(nu(log_rate, effective_length), reads, ridge)


def quantities(log_rate: Array, effective_length: Array, reads: Array) -> Mapping[str, Any]:
    """Scalars of the abundances; a transcript with less than half a read expected counts as absent."""
    share = nu(log_rate, effective_length)
    found = likelihood.quantities(share, effective_length)
    return {**found, "there": (share * float(reads) > 0.5).sum(-1)}


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start the engines at abundances drawn around those of a short EM run, centred where half of those seen lie.

    Parameters
    ----------
    problem : Problem
    rng : Generator

    Returns
    -------
    dict
        ``presence``, ``spread``, ``log_rate``.
    """
    K = problem.sizes["transcript"]
    share = near_maximum(table_of(problem), np.full(K, 0.5), rng)
    x = np.log(share / problem["effective_length"])
    seen = share * float(problem["reads"]) > 1
    x -= np.median(x[seen]) if seen.any() else x.max()
    spread = story.SPREAD * np.exp(0.2 * rng.normal())
    return {"presence": np.asarray(0.5), "spread": np.asarray(spread), "log_rate": x}
