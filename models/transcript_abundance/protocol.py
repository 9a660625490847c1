"""The protocol of a library: whether reads point as their transcripts do, and which places that excludes."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .places import Hit

Strand = Literal["unstranded", "forward", "reverse", "auto"]

STRANDED = 0.8
"""Share of the reads that point one way from which on a protocol is taken for stranded."""

MANY_LEFT = 0.2
"""Share of the reads that a protocol may exclude without a warning."""

SURE = np.log(1000)
"""Log likelihood ratio from which on a stranded library is told from an unstranded one."""

Reads = Counter[tuple[Hit, ...]]


@dataclass(frozen=True)
class Kept:
    """Reads that a protocol lets through.

    Attributes
    ----------
    strand : str
        The protocol, learned where it was "auto".
    count : Counter of tuple of Hit
        Reads by their places.
    excluded : int
        Places left out (of reads, not of kinds of reads).
    lost : int
        Reads without a place left.
    notes : list of str
    alarm : bool
        Whether the notes deserve a warning.
    """

    strand: str
    count: Reads
    excluded: int
    lost: int
    notes: list[str]
    alarm: bool


def kept(reads: Reads, strand: Strand, kind: str) -> Kept:
    """Keep the places that a protocol has.

    Parameters
    ----------
    reads : Counter of tuple of Hit
    strand : {"unstranded", "forward", "reverse", "auto"}
    kind : str
        "reads" or "pairs", for what is said.

    Returns
    -------
    Kept
    """
    forward, reverse = orientations(reads)
    likely, taken = protocol(forward, reverse), protocol(forward, reverse) if strand == "auto" else strand
    count, excluded, lost = Counter[tuple[Hit, ...]](), 0, 0
    for hits, number in reads.items():
        some = tuple(one for one in hits if taken == "unstranded" or one.reverse == (taken == "reverse"))
        excluded += number * (len(hits) - len(some))
        if some:
            count[some] += number
        else:
            lost += number
    share = f"{forward / max(forward + reverse, 1):.1%} of the {kind} point as their transcripts"
    notes, total = [], lost + count.total()
    if strand == "auto":
        notes.append(f"{share}: read as strand={taken}.")
    elif taken == "unstranded" and likely != taken and _stranded(forward, reverse):
        notes.append(f"{share}, so that the protocol is likely stranded: strand={likely} would use that.")
    if lost:
        told = f"{lost:,} of {total:,} {kind} ({lost / total:.1%}) are left out, as strand={taken} excludes"
        notes.append(f"{told} all their places.")
    alarm = lost > MANY_LEFT * total
    if alarm:
        notes[-1] += (
            f" {share}; nearly all do in a forward protocol, nearly none in a reverse one, half in an unstranded one. "
            f"The likely protocol is {likely}: give strand={likely}, or strand=auto."
        )
    return Kept(taken, count, excluded, lost, notes, alarm)


def orientations(reads: Reads) -> tuple[int, int]:
    """Count the reads all whose places point as the transcript does, and those of the other orientation."""
    found = [0, 0]
    for hits, number in reads.items():
        if len({one.reverse for one in hits}) == 1:
            found[hits[0].reverse] += number
    return found[0], found[1]


def protocol(forward: int, reverse: int) -> Literal["unstranded", "forward", "reverse"]:
    """Tell the likely protocol by the reads of either orientation."""
    total = forward + reverse
    if total == 0 or max(forward, reverse) < STRANDED * total:
        return "unstranded"
    return "forward" if forward > reverse else "reverse"


def _stranded(forward: int, reverse: int) -> bool:
    """Whether the reads are too one-sided for an unstranded protocol."""
    from scipy.special import xlogy

    total = forward + reverse
    ratio = xlogy(forward, forward / total) + xlogy(reverse, reverse / total) + total * np.log(2)
    return bool(ratio > SURE)
