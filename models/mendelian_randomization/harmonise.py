"""Harmonisation: both traits' effects for the same allele of each variant."""

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option

COMPLEMENT = str.maketrans("ACGT", "TGCA")
BASES = re.compile("[ACGT]+")
WRITTEN = re.compile("[ACGT]+|-|I|D|<[^<>]+>")
"""How alleles are written: bases, a dash for none, I and D for an insertion and a deletion, a symbol."""

AMBIGUOUS = 0.08
"""A frequency this near one half says nothing of the strand."""


@dataclass(frozen=True)
class Alleles:
    """Alleles of J variants in one table.

    Attributes
    ----------
    effect, other : ndarray of str, shape (J,)
        Upper case; insertions and deletions as strings of bases.
    frequency : ndarray, shape (J,), optional
        Of the effect allele.
    """

    effect: Array
    other: Array
    frequency: Array | None = None


def harmonise(
    exposure: Alleles, outcome: Alleles, names: Array, *, incompatible: str = "error", palindromic: str = "frequency"
) -> tuple[Array, Array]:
    """Find the sign that codes the outcome's effects by the exposure's effect alleles.

    Parameters
    ----------
    exposure, outcome : Alleles
        Of the same J variants.
    names : ndarray, shape (J,)
        Of the variants, for messages.
    incompatible : {"error", "drop"}
    palindromic : {"frequency", "drop", "keep"}

    Returns
    -------
    sign : ndarray of int, shape (J,)
        1, -1, or 0 for a variant to leave out.
    unclear : ndarray of bool, shape (J,)
        Palindromic variants among these.

    Raises
    ------
    InputError
        If alleles do not match on either strand, and ``incompatible`` is "error".
    """
    first, which = _kinds(exposure, outcome)
    kinds = [
        (str(exposure.effect[j]), str(exposure.other[j]), str(outcome.effect[j]), str(outcome.other[j])) for j in first
    ]
    sign = np.array([match(*kind) for kind in kinds], dtype=int)[which]
    wrong = np.flatnonzero(sign == 0)
    if wrong.size and incompatible == "error":
        a, b, c, d = kinds[which[wrong[0]]]
        raise InputError(
            f"mendelian_randomization: variant {names[wrong[0]]!s} has alleles {_shown(a, b)} in the exposure and "
            f"{_shown(c, d)} in the outcome, {_why(a, b, c, d)}. Correct them, or leave them out with "
            f"{option('incompatible', 'drop')}."
        )
    unclear = np.zeros(len(names), dtype=bool)
    if palindromic != "keep":
        both = np.array([a == other_strand(b) for a, b, _, _ in kinds], dtype=bool)[which] & (sign != 0)
        if palindromic == "frequency":
            sign[both] *= _strand(exposure, outcome, both, sign[both])
        else:
            sign[both] = 0
        unclear = both & (sign == 0)
    if unclear.any():
        told = exposure.frequency is not None and outcome.frequency is not None
        how = (
            "with a frequency near one half, or none" if told else "in tables without a frequency of the effect allele"
        )
        warnings.warn(
            f"mendelian_randomization: {unclear.sum()} of {len(names)} variants are palindromic"
            f"{f' {how}' if palindromic == 'frequency' else ''}, and are left out",
            stacklevel=2,
        )
    return sign, unclear


@lru_cache(maxsize=4096)
def match(a: str, b: str, c: str, d: str) -> int:
    """Return the sign that codes an effect of c against d as one of a against b; 0 if they are of different alleles.

    Alleles are compared as they are, then with the other strand's: complemented, and read backwards.
    """
    if a == b or c == d or not all(WRITTEN.fullmatch(allele) for allele in (a, b, c, d)):
        return 0
    for effect, other in ((c, d), (other_strand(c), other_strand(d))):
        if (a, b) == (effect, other):
            return 1
        if (a, b) == (other, effect):
            return -1
    return 0


def other_strand(allele: str) -> str:
    """Return an allele as the other strand has it; what is not written in bases is the same there."""
    return allele.translate(COMPLEMENT)[::-1] if BASES.fullmatch(allele) else allele


def _shown(effect: str, other: str) -> str:
    return f"{effect or '(none)'}/{other or '(none)'}"


def _why(*alleles: str) -> str:
    """Say why alleles do not match."""
    unread = [allele for allele in alleles if not WRITTEN.fullmatch(allele)]
    if unread:
        return f"of which {unread[0]!r} is no allele" if unread[0] else "one of which is missing"
    if alleles[0] == alleles[1] or alleles[2] == alleles[3]:
        return "an allele against itself"
    return "which match on neither strand"


def _kinds(exposure: Alleles, outcome: Alleles) -> tuple[Array, Array]:
    """Return the first variant of each combination of four alleles, and which one each variant has."""
    import pandas as pd

    parts = (exposure.effect, exposure.other, outcome.effect, outcome.other)
    codes, every = pd.factorize(np.concatenate([np.asarray(part, dtype=object) for part in parts]))
    key = np.zeros(len(exposure.effect), dtype=np.int64)
    for part in codes.reshape(4, -1):
        key, _ = pd.factorize(key * len(every) + part)  # again from 0 on, so that it cannot overflow
    first = np.flatnonzero(~pd.Series(key).duplicated().to_numpy())
    return first, np.asarray(key)


def _strand(exposure: Alleles, outcome: Alleles, some: Array, sign: Array) -> Array:
    """Whether frequencies confirm (1) or contradict (-1) the alleles of palindromic variants, or neither (0)."""
    if exposure.frequency is None or outcome.frequency is None:
        return np.zeros(len(sign), dtype=int)
    p, q = exposure.frequency[some], outcome.frequency[some]
    q = np.where(sign < 0, 1 - q, q)
    telling = (np.abs(p - 0.5) >= AMBIGUOUS) & (np.abs(q - 0.5) >= AMBIGUOUS)  # false where one is missing
    return np.where(telling, np.where((p > 0.5) == (q > 0.5), 1, -1), 0)
