"""Effective lengths so short that a few reads become a large part of all transcripts."""

from collections.abc import Sequence

import numpy as np

from genarium.declaration import Array
from genarium.readers.messages import listed

from .likelihood import tpm

SHORT = 100.0
"""Effective lengths below this (nucleotides) are short: their errors are a large part of them."""

LARGE = 1e5
"""Transcripts per million that those of short effective length may hold together without a word."""


def short_and_large(effective_length: Array, rate: Array) -> tuple[Array, float]:
    """Find transcripts of short effective length that hold much of the transcripts per million together.

    Parameters
    ----------
    effective_length : ndarray, shape (K,)
    rate : ndarray, shape (K,)
        Transcripts per million.

    Returns
    -------
    ndarray of int
        Their positions, most abundant first; empty where they hold little.
    float
        What they hold, per million.
    """
    short = np.flatnonzero((effective_length < SHORT) & (rate > 0))
    held = float(rate[short].sum())
    short = short[np.argsort(-rate[short], kind="stable")]
    mixed = bool((effective_length >= SHORT).any())  # of short RNAs only, none is short among them
    return (short if mixed and held > LARGE else short[:0]), held


def said_of_short(names: Sequence[str], effective_length: Array, reads: Array) -> list[str]:
    """Say which transcripts of short effective length take much of the transcripts per million, by their reads (K,)."""
    short, held = short_and_large(effective_length, tpm(reads, effective_length))
    if not short.size:
        return []
    return [
        f"{short.size:,} transcripts of effective lengths below {SHORT:g} nucleotides would hold about {held:,.0f} "
        f"transcripts per million ({named(names, effective_length, short)}): a few reads, or an effective length that "
        "is off by a little, decide that. Check read and fragment lengths, or drop transcripts that are as short as a "
        "fragment."
    ]


def named(names: Sequence[str] | Array, effective_length: Array, some: Array, most: int = 3) -> str:
    """Name transcripts, each with its effective length."""
    return listed([f"{names[k]}: {effective_length[k]:.3g} nt" for k in some], most)
