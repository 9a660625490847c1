"""Channel sets: what kinds of mutations are told apart, as contexts and the alternatives of each.

``SBS96``: 32 contexts times 3 alternatives, in COSMIC's order. A context is a pyrimidine with its two neighbours: first
the sixteen of C, then the sixteen of T, neighbours in the order AA, AC, ... TT. A channel is counted by substitution
(C>A, C>G, C>T, T>A, T>C, T>G), then by neighbours.

``SBS192`` and ``SBS288``: the same for each strand that the pyrimidine is on (``T``, ``U``; ``N`` where no strand is
told); within a substitution by strand, then by neighbours.

``DBS78`` and ``ID83``: each channel is a context of its own with one alternative, so that its preference is all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

BASES = "ACGT"
ALTERNATIVES = {"C": "AGT", "T": "ACG"}
STRANDS = "TUN"
"""Where the pyrimidine is: on the strand that the polymerase reads, on the other one, or where no strand is told."""

ALTERNATIVE_NAMES = ("A", "G|C", "T|G")
"""The bases that an alternative stands for, where C and where T is mutated."""

DOUBLETS = ("AC", "AT", "CC", "CG", "CT", "GC", "TA", "TC", "TG", "TT")
"""Reference doublets in COSMIC's order: the other six are the reverse complements of six of them."""

OWN_COMPLEMENT = {
    "AT": ("CA", "CC", "CG", "GA", "GC", "TA"),
    "CG": ("AT", "GC", "GT", "TA", "TC", "TT"),
    "GC": ("AA", "AG", "AT", "CA", "CG", "TA"),
    "TA": ("AT", "CG", "CT", "GC", "GG", "GT"),
}
"""Alternatives of doublets that read the same on both strands: COSMIC's choice of either strand's name."""


@dataclass(frozen=True)
class ChannelSet:
    """Channels, and the contexts and alternatives that make them.

    Attributes
    ----------
    name : str
    contexts, alternatives, channels : tuple of str
        Labels.
    strands : str
        Letters before the labels, one for each strand; "" where strands are not told apart.
    """

    name: str
    contexts: tuple[str, ...]
    alternatives: tuple[str, ...]
    channels: tuple[str, ...]
    strands: str = ""

    @property
    def in_cosmic_order(self) -> list[int]:
        """Return the channels in the order of files: strand by strand."""
        at = range(len(self.channels))
        return sorted(at, key=lambda m: self.strands.find(self.channels[m][0])) if self.strands else list(at)


def _substitutions(name: str, strands: str) -> ChannelSet:
    lead = [f"{strand}:" for strand in strands] or [""]
    flanks = [(before, five, three) for before in lead for five in BASES for three in BASES]
    contexts = tuple(f"{before}{five}[{ref}]{three}" for ref in "CT" for before, five, three in flanks)
    channels = tuple(
        f"{before}{five}[{ref}>{alt}]{three}"
        for ref in "CT"
        for alt in ALTERNATIVES[ref]
        for before, five, three in flanks
    )
    return ChannelSet(name, contexts, ALTERNATIVE_NAMES, channels, strands)


def _events(name: str, channels: Iterable[str]) -> ChannelSet:
    events = tuple(channels)
    return ChannelSet(name, events, ("the event",), events)


def _doublets() -> Iterable[str]:
    for ref in DOUBLETS:
        every = [one + two for one in BASES for two in BASES if one != ref[0] and two != ref[1]]
        yield from (f"{ref}>{alt}" for alt in OWN_COMPLEMENT.get(ref, every))


def _indels() -> Iterable[str]:
    for kind, base in (("Del", "C"), ("Del", "T"), ("Ins", "C"), ("Ins", "T")):
        yield from (f"1:{kind}:{base}:{repeats}" for repeats in range(6))
    for kind in ("Del", "Ins"):
        yield from (f"{size}:{kind}:R:{repeats}" for size in range(2, 6) for repeats in range(6))
    yield from (f"{size}:Del:M:{shared}" for size in range(2, 6) for shared in range(1, size if size < 5 else 6))


SETS = {
    one.name: one
    for one in (
        _substitutions("SBS96", ""),
        _substitutions("SBS192", STRANDS[:2]),
        _substitutions("SBS288", STRANDS),
        _events("DBS78", _doublets()),
        _events("ID83", _indels()),
    )
}
"""Name -> channel set; the first is the usual one."""

CONTEXTS, CHANNELS = SETS["SBS96"].contexts, SETS["SBS96"].channels
"""Names of the usual contexts, e.g. ``A[C]G``, and channels, e.g. ``A[C>A]A``."""


def set_of(labels: Iterable[str]) -> ChannelSet | None:
    """Return the channel set that most labels are of, or None if none has one of them."""
    have = set(labels)
    shared = {name: len(have & set(one.channels)) for name, one in SETS.items()}
    best = max(shared, key=lambda name: (shared[name], -len(SETS[name].channels)))
    return SETS[best] if shared[best] else None


def set_of_size(contexts: int) -> ChannelSet | None:
    """Return the channel set of a number of contexts, or None if there is none."""
    return next((one for one in SETS.values() if len(one.contexts) == contexts), None)


def chosen_channels(kinds: ChannelSet) -> dict[str, str]:
    """Return the option of the model that a reader's channel set is, where it is not the usual one."""
    return {"channels": kinds.name} if kinds.name != next(iter(SETS)) else {}


def channel_of(context: Array, alternative: Array, contexts: int = 32, alternatives: int = 3) -> Array:
    """Return the channel of a context and an alternative.

    Parameters
    ----------
    context : ndarray of int
        Below ``contexts``.
    alternative : ndarray of int
        Below ``alternatives``.
    contexts : int
        Number of contexts: the first half of them have one reference base, the others another.
    alternatives : int

    Returns
    -------
    ndarray of int
    """
    half = contexts // 2
    return np.asarray((context // half * alternatives + alternative) * half + context % half)


def split_channel(channel: Array, contexts: int = 32, alternatives: int = 3) -> tuple[Array, Array]:
    """Return the context and the alternative of a channel; the inverse of :func:`channel_of`."""
    half = contexts // 2
    substitution, neighbours = np.divmod(channel, half)
    base, alternative = np.divmod(substitution, alternatives)
    return np.asarray(base * half + neighbours), np.asarray(alternative)


def by_channel(table: Array) -> Array:
    """Put numbers by context and alternative (..., C, A) into the order of channels (..., M)."""
    C, A = table.shape[-2:]
    context, alternative = split_channel(np.arange(C * A), C, A)
    return np.asarray(table[..., context, alternative])


def by_context(table: Array, contexts: int) -> Array:
    """Put numbers by channel (..., M) into the order (..., C, A); the inverse of :func:`by_channel`."""
    A = table.shape[-1] // contexts
    return np.asarray(table[..., channel_of(np.arange(contexts)[:, None], np.arange(A), contexts, A)])
