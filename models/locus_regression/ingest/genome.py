"""The genome: sequence by contig, contexts of positions, opportunities of windows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numba import njit

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import fasta
from genarium.remedies import option

from ..channels import BASES, CONTEXTS
from .contigs import Contigs
from .lines import lines

NONE = 255
"""Code of a base other than A, C, G and T, and of a context with one."""

LONGEST = 2**40
"""Bases of a contig, at most."""

FETCHED = 8_000_000
"""Bases that are letters at a time."""

CODES = np.full(256, NONE, dtype=np.uint8)
"""Code of each letter: soft-masked (small) ones count as others do."""
for _code, _base in enumerate(BASES):
    CODES[[ord(_base), ord(_base.lower())]] = _code


class Genome:
    """A FASTA file, plain or compressed by bgzip, which is indexed; one of plain gzip is refused.

    An index (.fai) that is there and not older than the file is used; else one is made in a temporary folder, so that
    nothing is written beside the file.

    Attributes
    ----------
    path : Path
    contigs : Contigs
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: there is no such file. Give the genome's FASTA file: {option('fasta')}.")
        with fasta.opened(self.path) as file:
            self.contigs = Contigs(file.references, file.lengths, path.name)

    def each(self, wanted: list[int]) -> Iterator[tuple[int, Array]]:
        """Yield the wanted contigs one after another, as codes of bases; one is in memory at a time.

        Yields
        ------
        contig : int
        codes : ndarray of uint8, shape (length,)
        """
        with fasta.opened(self.path) as file:
            for contig in wanted:
                name, length = self.contigs.names[contig], self.contigs.lengths[contig]
                codes = np.empty(length, dtype=np.uint8)
                for start in range(0, length, FETCHED):
                    text = file.fetch(name, start, min(start + FETCHED, length))
                    if len(text) != min(FETCHED, length - start):
                        raise InputError(
                            f"{self.path}: contig {name!r} has {length} bases by its index, but from base {start + 1} "
                            f"on {len(text)} could be read where {min(FETCHED, length - start)} should be. The file is "
                            "damaged or has changed: fetch it again, and remove its .fai file."
                        )
                    codes[start : start + len(text)] = CODES[np.frombuffer(text.encode(), dtype=np.uint8)]
                yield contig, codes


def contexts(five: Array, base: Array, three: Array) -> Array:
    """Return the contexts of bases, folded to the pyrimidine.

    Parameters
    ----------
    five, base, three : ndarray of uint8
        Codes of the base before, the base itself and the one after.

    Returns
    -------
    ndarray of int16
        In the order of ``CONTEXTS``; -1 where one of the three is no A, C, G or T.
    """
    five, base, three = (np.asarray(part).astype(np.int16) for part in (five, base, three))
    purine = (base == 0) | (base == 2)
    first, last = np.where(purine, 3 - three, five), np.where(purine, 3 - five, three)
    middle = np.where(purine, 3 - base, base)  # 1 for C, 3 for T
    found = (middle // 2) * 16 + first * 4 + last
    return np.where((five > 3) | (base > 3) | (three > 3), -1, found).astype(np.int16)


def _table() -> Array:
    codes = np.arange(64)
    return contexts(codes // 16, codes // 4 % 4, codes % 4)


CONTEXT_OF = _table()
"""Context of three bases, by 16 times the first plus 4 times the second plus the third."""


@njit(cache=True)
def count_contexts(
    codes: Array,
    start: Array,
    end: Array,
    locus: Array,
    side: Array,
    context_of: Array,
    opportunity: Array,
    usable: Array,
) -> None:
    """Add the contexts of stretches of a contig to those of their loci.

    Parameters
    ----------
    codes : ndarray of uint8
        Bases of the contig.
    start, end, locus : ndarray of int, shape (P,)
        Stretches, half open, and the locus each belongs to.
    side : ndarray of int, shape (P,)
        Which strand there is a gene on; 0 where strands are not told apart.
    context_of : ndarray of int16, shape (sides, 64)
    opportunity : ndarray, shape (L, C)
        Added to.
    usable : ndarray, shape (L,)
        Bases other than N; added to.
    """
    last = len(codes) - 1
    for p in range(len(start)):
        row, table = opportunity[locus[p]], context_of[side[p]]
        bases = 0
        for i in range(start[p], end[p]):
            if codes[i] > 3:
                continue
            bases += 1
            if 0 < i < last and codes[i - 1] < 4 and codes[i + 1] < 4:
                row[table[16 * codes[i - 1] + 4 * codes[i] + codes[i + 1]]] += 1
        usable[locus[p]] += bases


def read_sizes(path: Path) -> Contigs:
    """Read the names and lengths of contigs from a chromosome-sizes file or a FASTA's index (.fai).

    Raises
    ------
    InputError
        Naming the line.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file. Give chromosomes and lengths: {option('sizes')}.")
    names, lengths = [], []
    for number, line in enumerate(lines(path), 1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        if len(fields) < 2 or not fields[1].isdecimal() or not 0 < int(fields[1]) <= LONGEST:
            raise InputError(
                f"{path}: line {number} ({line.strip()[:60]!r}) is not a chromosome's name and its length. Write "
                "'chr1<tab>248956422'."
            )
        names.append(fields[0])
        lengths.append(int(fields[1]))
    if not names:
        raise InputError(f"{path}: the file names no chromosome. Write a line for each: name, tab, length.")
    return Contigs(names, lengths, path.name)


__all__ = ["CONTEXTS", "CONTEXT_OF", "NONE", "Genome", "contexts", "count_contexts", "read_sizes"]
