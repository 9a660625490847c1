"""Harmonisation: both traits' effects for the same allele of each variant."""

import warnings
from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option

COMPLEMENT = str.maketrans("ACGT", "TGCA")
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
    sign = np.zeros(len(names), dtype=int)
    unclear = np.zeros(len(names), dtype=bool)
    for j, (a, b, c, d) in enumerate(zip(exposure.effect, exposure.other, outcome.effect, outcome.other, strict=True)):
        found = _match(a, b, c, d)
        if found == 0:
            if incompatible == "error":
                raise InputError(
                    f"mendelian_randomization: variant {names[j]!s} has alleles {a}/{b} in the exposure and {c}/{d} in "
                    "the outcome, which match on neither strand. Correct them, or leave them out with "
                    f"{option('incompatible', 'drop')}."
                )
            continue
        if a == b.translate(COMPLEMENT) and palindromic != "keep":
            found = found * _strand(exposure, outcome, j, found) if palindromic == "frequency" else 0
            unclear[j] = found == 0
        sign[j] = found
    if unclear.any():
        warnings.warn(
            f"mendelian_randomization: {unclear.sum()} of {len(names)} variants are palindromic with no telling "
            "frequency, and are left out",
            stacklevel=2,
        )
    return sign, unclear


def _match(a: str, b: str, c: str, d: str) -> int:
    for effect, other in ((c, d), (c.translate(COMPLEMENT), d.translate(COMPLEMENT))):
        if (a, b) == (effect, other):
            return 1
        if (a, b) == (other, effect):
            return -1
    return 0


def _strand(exposure: Alleles, outcome: Alleles, j: int, sign: int) -> int:
    """Whether frequencies confirm (1) or contradict (-1) the alleles of a palindromic variant, or neither (0)."""
    if exposure.frequency is None or outcome.frequency is None:
        return 0
    p, q = float(exposure.frequency[j]), float(outcome.frequency[j])
    if sign < 0:
        q = 1 - q
    if abs(p - 0.5) < AMBIGUOUS or abs(q - 0.5) < AMBIGUOUS:
        return 0
    return 1 if (p > 0.5) == (q > 0.5) else -1
