"""The places that the alignments of one read speak of: each place once, mates joined."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from genarium.declaration import Array

from .differences import differences

if TYPE_CHECKING:
    from pysam import AlignedSegment

REPEATED = "that repeat another of the read"

APART = UNMAPPED_MATE, TWO_TRANSCRIPTS, ALONE, NOT_FACING = (
    "of pairs with an unmapped mate",
    "of pairs on two transcripts",
    "of mates without the other one",
    "of mates that do not face each other",
)
"""Why the alignments of a pair are no place of a fragment; where there are several reasons, the first one counts."""


class Hit(NamedTuple):
    """A place that a read may come from: what its likelihood depends on, and its orientation.

    ``reach`` is the length of the fragment if it is known (pairs), and else the most it can be: nucleotides from the
    read's first base to the end of the transcript that the read points to.
    """

    transcript: int
    reach: int
    mismatches: int
    reverse: bool


Counted = list[tuple["AlignedSegment", int]]
"""Alignments, each with the bases in which it differs from the transcript."""


def once(alignments: "Sequence[AlignedSegment]", where: str) -> tuple[Counted, bool]:
    """Drop what is stored twice; of alignments of one start and orientation, the one that differs least is kept.

    Returns
    -------
    list of (alignment, bases that differ)
    told : bool
        Whether the file tells how all of them differ; if not, none is said to.
    """
    numbers = [differences(one, where) for one in alignments]
    told = None not in numbers
    best: dict[tuple[object, ...], tuple[AlignedSegment, int]] = {}
    for one, number in zip(alignments, numbers, strict=True):
        mine = number if told and number is not None else 0
        key: tuple[object, ...] = (one.is_read2, *_joint(one))
        if not one.is_paired:  # a read starts where it points away from
            key = (one.reference_id, one.reference_end if one.is_reverse else one.reference_start, one.is_reverse)
        if key not in best or mine < best[key][1]:
            best[key] = one, mine
    return list(best.values()), told


def singles(alignments: Counted, lengths: Array) -> list[Hit]:
    """Return the places of a single read; ``lengths``: of the transcripts."""
    hits = []
    for one, mismatches in alignments:
        start, end = one.reference_start, one.reference_end or one.reference_start
        reach = end if one.is_reverse else int(lengths[one.reference_id]) - start
        hits.append(Hit(one.reference_id, reach, mismatches, one.is_reverse))
    return hits


def pairs(alignments: Counted) -> tuple[list[Hit], Counter[str]]:
    """Return the places of a pair, and how many alignments are no part of one, by reason."""
    mates = {_joint(one): (one, mismatches) for one, mismatches in alignments if one.is_read2}
    found: dict[tuple[int, int, int, bool], Hit] = {}
    left, used = Counter[str](), set[int]()
    for one, mismatches in alignments:
        if not one.is_read1 or one.next_reference_id != one.reference_id or one.mate_is_unmapped:
            continue
        mate, more = mates.get(_of_mate(one, not one.is_reverse), (None, 0))
        if mate is None:
            continue
        first, last = (mate, one) if one.is_reverse else (one, mate)
        start, end = first.reference_start, last.reference_end or 0
        if end <= start:
            continue
        used |= {id(one), id(mate)}
        place = (one.reference_id, start, end, one.is_reverse)
        left[REPEATED] += 2 * (place in found)
        hit = Hit(one.reference_id, end - start, mismatches + more, one.is_reverse)
        found[place] = min(hit, found.get(place, hit))
    have = {_joint(one) for one, _ in alignments}
    for one, _ in alignments:
        if id(one) not in used:
            left[_reason(one, have)] += 1
    return list(found.values()), left


Joint = tuple[int, int, int, int, bool]


def _joint(one: "AlignedSegment") -> Joint:
    """Return where a mate is, and where it says that the other one is."""
    return one.reference_id, one.reference_start, one.next_reference_id, one.next_reference_start, one.is_reverse


def _of_mate(one: "AlignedSegment", reverse: bool) -> Joint:
    """Return what :func:`_joint` is of the other one."""
    return one.next_reference_id, one.next_reference_start, one.reference_id, one.reference_start, reverse


def _reason(one: "AlignedSegment", have: set[Joint]) -> str:
    """Why an alignment is no part of a fragment."""
    if one.mate_is_unmapped:
        return UNMAPPED_MATE
    if one.next_reference_id not in (-1, one.reference_id):
        return TWO_TRANSCRIPTS
    there = any(_of_mate(one, reverse) in have for reverse in (False, True))
    return NOT_FACING if there and one.next_reference_id >= 0 else ALONE
