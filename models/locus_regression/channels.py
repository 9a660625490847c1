"""The 96 channels of single-base substitutions: 32 contexts times 3 alternatives, in COSMIC's order.

A context is a pyrimidine with its two neighbours: first the sixteen of C, then the sixteen of T, neighbours in the
order AA, AC, ... TT. A channel is counted by substitution (C>A, C>G, C>T, T>A, T>C, T>G), then by neighbours.
"""

import numpy as np

from genarium.declaration import Array

BASES = "ACGT"
ALTERNATIVES = {"C": "AGT", "T": "ACG"}

CONTEXTS = tuple(f"{five}[{ref}]{three}" for ref in "CT" for five in BASES for three in BASES)
"""Names of the contexts, e.g. ``A[C]G``."""

ALTERNATIVE_NAMES = ("A", "G|C", "T|G")
"""The bases that an alternative stands for, where C and where T is mutated."""

CHANNELS = tuple(
    f"{five}[{ref}>{alt}]{three}" for ref in "CT" for alt in ALTERNATIVES[ref] for five in BASES for three in BASES
)
"""Names of the channels, e.g. ``A[C>A]A``."""


def channel_of(context: Array, alternative: Array, contexts: int = 32) -> Array:
    """Return the channel of a context and an alternative.

    Parameters
    ----------
    context : ndarray of int
        Below ``contexts``.
    alternative : ndarray of int
        0, 1 or 2.
    contexts : int
        Number of contexts, even: half of them have one reference base, half the other.

    Returns
    -------
    ndarray of int
    """
    half = contexts // 2
    return np.asarray((context // half * 3 + alternative) * half + context % half)


def split_channel(channel: Array, contexts: int = 32) -> tuple[Array, Array]:
    """Return the context and the alternative of a channel; the inverse of :func:`channel_of`."""
    half = contexts // 2
    substitution, neighbours = np.divmod(channel, half)
    base, alternative = np.divmod(substitution, 3)
    return np.asarray(base * half + neighbours), np.asarray(alternative)
