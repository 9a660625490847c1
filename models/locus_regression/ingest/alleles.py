"""Alleles: which of the changes that files write down are single-base substitutions."""

from functools import lru_cache
from typing import NamedTuple

from ..channels import BASES

COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")

MNV = "MNV"
INDEL = "indel"
SYMBOLIC = "symbolic allele"
STAR = "star allele"
NO_CHANGE = "without a change"
OTHER = "allele other than A, C, G, T"


class Change(NamedTuple):
    """What a reference and an alternative allele say.

    Attributes
    ----------
    reason : str
        Why this is no single-base substitution; "" if it is one.
    offset : int
        Bases from the start of the reference allele to the one that changes.
    code : int
        Reference times 4 plus alternative, A, C, G and T counted from 0.
    """

    reason: str
    offset: int = 0
    code: int = 0


@lru_cache(maxsize=1 << 16)
def change(reference: str, alternative: str) -> Change:
    """Say what changes from one allele to another.

    A substitution that is written with its neighbours (AGA to CGA) is told from its padding; several bases at once
    are one event of another class.

    Parameters
    ----------
    reference, alternative : str
        As VCF and MAF write them, upper or lower case.

    Returns
    -------
    Change
    """
    ref, alt = reference.strip().upper(), alternative.strip().upper()
    if alt in ("*", "<*>", "<NON_REF>"):
        return Change(STAR if alt == "*" else SYMBOLIC)
    if alt in ("", ".") or ref == alt:
        return Change(NO_CHANGE)
    if set(alt) & set("<>[]") or alt[0] == "." or alt[-1] == ".":
        return Change(SYMBOLIC)
    if "-" in (ref, alt):
        return Change(INDEL)
    if not set(ref) | set(alt) <= set(BASES):
        return Change(OTHER)
    if len(ref) != len(alt):
        return Change(INDEL)
    differ = [i for i, (a, b) in enumerate(zip(ref, alt, strict=True)) if a != b]
    if len(differ) > 1:
        return Change(MNV)
    at = differ[0]
    return Change("", at, BASES.index(ref[at]) * 4 + BASES.index(alt[at]))


@lru_cache(maxsize=1 << 12)
def context_code(text: str) -> int:
    """Return the code of the three bases of a context: 16 times the first plus 4 times the second plus the third.

    Parameters
    ----------
    text : str
        An odd number of bases, the mutated one in the middle (ACG, TTACGTA), or as signatures' tables write it,
        A[C]G or A[C>T]G.

    Returns
    -------
    int
        -1 if it holds other letters than A, C, G and T; -2 if it is no context.
    """
    bases = text.strip().upper()
    if "[" in bases:
        five, _, rest = bases.partition("[")
        middle, _, three = rest.partition("]")
        bases = five[-1:] + middle[:1] + three[:1]
    if len(bases) < 3 or len(bases) % 2 == 0 or not bases.isalpha():
        return -2
    middle_at = len(bases) // 2
    three_bases = bases[middle_at - 1 : middle_at + 2]
    if not set(three_bases) <= set(BASES):
        return -1
    one, two, three_ = (BASES.index(base) for base in three_bases)
    return 16 * one + 4 * two + three_
