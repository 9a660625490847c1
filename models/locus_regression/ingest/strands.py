"""Strands of the genome, by genes or by replication: which one a polymerase reads, and where the pyrimidine is then."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed

from ..channels import STRANDS
from .contigs import Contigs
from .genome import CONTEXT_OF
from .intervals import HEADER, read_genes
from .lines import lines
from .sources import Source
from .windows import Loci

NEITHER, PLUS, MINUS, BOTH = range(4)
"""Sides of a base: of which strands there are intervals."""

STRAND_OF = np.array([[2, 2], [1, 0], [0, 1], [2, 2]])
"""Position in ``STRANDS`` by side, and by whether the genome's strand + has a purine (row PLUS: a polymerase that moves
along + reads -, where the pyrimidine is if + has a purine)."""

FLANKS = 16
"""Pairs of neighbours of a context."""


@dataclass(frozen=True)
class Strands:
    """Sides along the genome.

    Attributes
    ----------
    edges : dict of int to ndarray of int64
        By contig, positions from which on the side is another one; sorted.
    sides : dict of int to ndarray of int64
        One more than there are edges.
    """

    edges: dict[int, Array]
    sides: dict[int, Array]

    def at(self, contig: int, position: Array) -> Array:
        """Return the side of positions (from zero) on a contig."""
        if contig not in self.edges:
            return np.full(len(position), NEITHER)
        return np.asarray(self.sides[contig][np.searchsorted(self.edges[contig], position, "right")])

    def cut(self, contig: int, start: Array, end: Array, locus: Array) -> tuple[Array, Array, Array, Array]:
        """Cut stretches of a contig where the side changes; return starts, ends, loci and sides."""
        edges = self.edges.get(contig, np.empty(0, dtype=np.int64))
        low, high = np.searchsorted(edges, start, "right"), np.searchsorted(edges, end, "left")
        parts = high - low + 1
        owner = np.repeat(np.arange(len(start)), parts)
        rank = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        first, last = rank == 0, rank == parts[owner] - 1
        at = np.append(edges, 0)
        begin = np.where(first, start[owner], at[np.minimum(low[owner] + rank - 1, len(edges))])
        stop = np.where(last, end[owner], at[np.minimum(low[owner] + rank, len(edges))])
        return begin, stop, locus[owner], self.at(contig, begin)

    def within(self, loci: Loci) -> Loci:
        """Return loci without what lies on no strand, or on both."""
        parts = []
        for contig in np.unique(loci.piece_contig).tolist():
            of = loci.on(contig)
            start, end, locus, side = self.cut(
                contig, *(x[of] for x in (loci.piece_start, loci.piece_end, loci.piece_locus))
            )
            kept = (side == PLUS) | (side == MINUS)
            parts.append(np.stack([np.full(kept.sum(), contig), start[kept], end[kept], locus[kept]]))
        contig, start, end, locus = np.concatenate(parts, 1)
        return replace(loci, piece_contig=contig, piece_start=start, piece_end=end, piece_locus=locus)


def contexts_on(side: Array, purine: Array, context: Array, strands: str) -> Array:
    """Return contexts that tell strands, of those that do not.

    Parameters
    ----------
    side : ndarray of int
    purine : ndarray of bool
        Whether the genome's strand + has a purine in the middle.
    context : ndarray of int
        In the order of ``CONTEXTS``; negative for none.
    strands : str
        "TU" or "TUN".

    Returns
    -------
    ndarray of int
        In the order of the channel set; -1 for none, and for a strand that the set has not.
    """
    strand = STRAND_OF[side, purine.astype(int)]
    base, flanks = np.divmod(context, FLANKS)
    found = (base * len(strands) + strand) * FLANKS + flanks
    return np.where((context < 0) | (strand >= len(strands)), -1, found)


def context_table(strands: str) -> Array:
    """Return the context of three bases (codes as of ``CONTEXT_OF``) by side; shape (4, 64)."""
    if not strands:
        return CONTEXT_OF[None]
    side, codes = np.arange(4)[:, None], np.arange(64)
    return contexts_on(side, codes // 4 % 2 == 0, CONTEXT_OF.astype(np.int64), strands).astype(np.int16)


def read_strands(given: Any, contigs: Contigs, notes: list[str]) -> Strands:
    """Read genes (GTF, GFF3) or intervals with a strand (BED).

    Parameters
    ----------
    given : str or Path
    contigs : Contigs
    notes : list of str
        Added to.

    Returns
    -------
    Strands

    Raises
    ------
    InputError
        Naming the line.
    """
    path = Path(given)
    kind = Source(path).kind
    lost: dict[str, int] = {}
    if kind == "genes":
        rows = [(gene.contig, gene.start, gene.end, gene.strand) for gene in read_genes(path, contigs, lost)]
    elif kind == "bed":
        rows = _bed(path, contigs, lost)
    else:
        raise InputError(f"{path}: strands are read from GTF, GFF3 or BED files with a strand, not from this one.")
    told = [row for row in rows if row[3] in ("+", "-")]
    if lost:
        notes.append(
            f"{path.name}: {sum(lost.values())} intervals lie on chromosomes that {contigs.source} does not have "
            f"({listed(lost, 3)})."
        )
    if not told:
        raise InputError(
            f"{path}: no interval has a strand, + or -, on the chromosomes of {contigs.source}. BED files have it in "
            "their sixth column, GTF files in the seventh."
        )
    if len(told) < len(rows):
        notes.append(f"{path.name}: {len(rows) - len(told)} of {len(rows)} intervals have no strand, and say nothing.")
    edges, sides = {}, {}
    for contig in sorted({row[0] for row in told}):
        edges[contig], sides[contig] = _sides([row for row in told if row[0] == contig])
    return Strands(edges, sides)


def _sides(rows: list[tuple[int, int, int, str]]) -> tuple[Array, Array]:
    """Return edges, and the side before the first and from each on."""
    start, end = (np.array([row[i] for row in rows], dtype=np.int64) for i in (1, 2))
    plus = np.array([row[3] == "+" for row in rows])
    edges = np.unique(np.concatenate([start, end]))
    side = np.zeros(len(edges) + 1, dtype=np.int64)
    for flag, of in ((PLUS, plus), (MINUS, ~plus)):
        change = np.zeros(len(edges), dtype=np.int64)
        np.add.at(change, np.searchsorted(edges, start[of]), 1)
        np.add.at(change, np.searchsorted(edges, end[of]), -1)
        side[1:] += flag * (np.cumsum(change) > 0)
    return edges, side


def _bed(path: Path, contigs: Contigs, lost: dict[str, int]) -> list[tuple[int, int, int, str]]:
    rows = []
    for number, line in enumerate(lines(path), 1):
        if not line.strip() or line.startswith(HEADER):
            continue
        fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split())]
        whole = len(fields) > 5 and fields[1].isdecimal() and fields[2].isdecimal()
        if not whole or fields[5] not in ("+", "-", "."):
            raise InputError(
                f"{path}: line {number} ({line[:60]!r}) is not an interval with a strand. Write chromosome, start, "
                "end, name, score and strand (+, - or .) in six columns."
            )
        start, end = int(fields[1]), int(fields[2])
        if end < start:
            raise InputError(
                f"{path}: line {number}: the interval ends before it starts ({start} to {end}). Correct it."
            )
        contig = contigs.find(fields[0])
        if contig < 0:
            lost[fields[0]] = lost.get(fields[0], 0) + 1
        else:
            rows.append((contig, start, end, fields[5]))
    return rows


__all__ = ["STRANDS", "Strands", "context_table", "contexts_on", "read_strands"]
