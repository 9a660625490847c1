"""Bases in which an aligned read differs from its transcript: what the tags NM and MD and the CIGAR tell."""

import re
from typing import TYPE_CHECKING

from genarium.errors import InputError

if TYPE_CHECKING:
    from pysam import AlignedSegment

INSERTED, DELETED, SKIPPED, SOFT, HARD, EQUAL, DIFFERENT = 1, 2, 3, 4, 5, 7, 8
"""Operations of a CIGAR, by their numbers in BAM: I, D, N, S, H, = and X."""


def is_spliced(one: "AlignedSegment") -> bool:
    """Whether an alignment skips part of the reference (N in its CIGAR), as only those to a genome do."""
    return any(operation == SKIPPED for operation, _ in one.cigartuples or ())


def differences(one: "AlignedSegment", where: str) -> int | None:
    """Count the bases in which a read differs from the transcript at one of its places.

    Mismatches, inserted and deleted bases come from the tag NM; without it mismatches and deletions from MD, or from =
    and X of the CIGAR. Clipped bases, which NM and MD leave out, differ too, also those that the record does not hold
    (hard-clipped, as BWA writes further places of a read).

    Parameters
    ----------
    one : AlignedSegment
    where : str
        File and record, for errors.

    Returns
    -------
    int or None
        None where nothing tells.

    Raises
    ------
    InputError
        If a tag is damaged.
    """
    size = dict.fromkeys(range(16), 0)
    for operation, length in one.cigartuples or ():
        size[operation] += length
    clipped = size[SOFT] + size[HARD]
    if one.has_tag("NM"):
        told = one.get_tag("NM")
        if not isinstance(told, int) or told < 0:
            raise InputError(f"{where}: the tag NM is {told!r}, not a number of bases. {_again('NM')}")
        return told + clipped
    if one.has_tag("MD"):
        return _by_md(str(one.get_tag("MD")), where) + size[INSERTED] + clipped
    if size[EQUAL] or size[DIFFERENT]:
        return size[DIFFERENT] + size[INSERTED] + size[DELETED] + clipped
    return None


def _by_md(told: str, where: str) -> int:
    """Mismatched and deleted bases by the tag MD: `10C5^AG5` has one and two."""
    if not re.fullmatch(r"[0-9A-Za-z^]+", told):
        raise InputError(f"{where}: the tag MD is {told!r}, not numbers and bases such as 10C5^AG5. {_again('MD')}")
    return sum(letter.isalpha() for letter in told)


def _again(tag: str) -> str:
    return f"Compute it again with `samtools calmd`, or remove {tag}."
