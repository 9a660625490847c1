"""Where long reads begin and end in their transcripts, learned from the reads themselves (eqs. 37 and 38)."""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

EDGES = np.array([0, 10, 30, 100, 200, 400, 700, 1000, 1500, 2000, 3000])
"""Nucleotides missing at an end of a transcript: first of each bin, within which all are as likely."""

ROUNDS, SHARING, STEPS = 8, 30, 5
"""Times that reads are shared out anew; steps of EM in each, and of the distributions' own fixed point."""

PRIOR = 1.0
"""Reads that each bin has in advance."""


@dataclass(frozen=True)
class Places:
    """The places of long reads: M in all, of N reads.

    Attributes
    ----------
    read, transcript : ndarray of int, shape (M,)
    five, three : ndarray of int, shape (M,)
        Nucleotides of the transcript before and behind the read.
    length : ndarray of int, shape (M,)
        Nucleotides of the transcript.
    weight : ndarray, shape (M,)
        P(read | transcript) but for coverage, up to a factor for each read.
    """

    read: Array
    transcript: Array
    five: Array
    three: Array
    length: Array
    weight: Array


def coverage(places: Places, least: int) -> tuple[Array, Array, Array]:
    """Learn what is missing at the ends of the reads, and return how that weighs places.

    Parameters
    ----------
    places : Places
    least : int
        Nucleotides that a read covers at least.

    Returns
    -------
    weight : ndarray, shape (M,)
        P(begin and end | transcript).
    five, three : ndarray, shape (11,)
        Share of the reads by bin of :data:`EDGES`, at either end.
    """
    N, K = places.read.max() + 1, places.transcript.max() + 1
    size = int(places.length.max()) + 1
    bins = [np.searchsorted(EDGES, gap, side="right") - 1 for gap in (places.five, places.three)]
    number = np.bincount(places.read, minlength=N)
    share = (number == 1)[places.read].astype(float)  # those of one place come first
    density = [np.ones(len(EDGES)), np.ones(len(EDGES))]
    weight = np.ones(len(places.read))
    for _ in range(ROUNDS):
        density, weight = _learned(places, bins, share, density, size, least)
        share = _shared(places, places.weight * weight, N, K)
    told = [np.bincount(b, share, len(EDGES)) for b in bins]
    return weight, told[0] / told[0].sum(), told[1] / told[1].sum()


def _learned(
    places: Places, bins: list[Array], share: Array, density: list[Array], size: int, least: int
) -> tuple[list[Array], Array]:
    """Return the densities by bin that fit best, given which place each read is from, and P(ends | transcript)."""
    from scipy.signal import fftconvolve

    of = np.searchsorted(EDGES, np.arange(size), side="right") - 1  # bin of each number of nucleotides
    at = np.maximum(places.length - least, 0)
    density = [one / one[of].sum() for one in density]
    for step in range(STEPS * 2):
        h = [one[of] for one in density]
        whole = np.maximum(
            np.cumsum(fftconvolve(h[0], h[1])[:size]), 1e-12
        )  # of a transcript so much longer than least
        w = np.bincount(at, share / whole[at], size)
        side = step % 2
        other = np.cumsum(h[1 - side])
        # reads that could miss so many here, each by what may be missing at the other end: Σ_L w_L H(L - least - gap)
        exposure = np.maximum(fftconvolve(w[::-1], other)[:size][::-1], 0)
        new = _density(np.bincount(bins[side], share, len(EDGES)), np.bincount(of, exposure, len(EDGES)))
        density[side] = new / new[of].sum()
    h = [one[of] for one in density]
    whole = np.maximum(np.cumsum(fftconvolve(h[0], h[1])[:size]), 1e-12)
    return density, density[0][bins[0]] * density[1][bins[1]] / whole[at]


def _density(seen: Array, exposure: Array) -> Array:
    """Return reads by exposure of each bin, those of :data:`PRIOR` being as dense as the bin before.

    So a bin that no read could show (of gaps that only transcripts without reads are long enough for) goes on as the
    one before, and takes no mass from the others.
    """
    new = (seen + PRIOR) / np.maximum(exposure, 1e-12)
    for m in range(1, len(new)):
        new[m] = (seen[m] + PRIOR) / (exposure[m] + PRIOR / new[m - 1])
    return np.asarray(new)


def _shared(places: Places, weight: Array, reads: int, transcripts: int) -> Array:
    """Share each read out among its places by EM; returns the shares (M,)."""
    a = np.ones(transcripts)
    for _ in range(SHARING):
        joint = weight * a[places.transcript]
        share = joint / np.maximum(np.bincount(places.read, joint, reads), 1e-300)[places.read]
        a = np.bincount(places.transcript, share, transcripts)
    return np.asarray(share)
