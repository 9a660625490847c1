"""Loci: windows of one size, or those of a BED file, and the stretches of the genome that each is made of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option

from .contigs import Contigs
from .intervals import HEADER, merged
from .lines import lines

MOST = 50_000_000
"""Windows, at most."""

UNITS = {"": 1, "bp": 1, "kb": 1_000, "k": 1_000, "mb": 1_000_000, "m": 1_000_000}


@dataclass(frozen=True)
class Loci:
    """The loci of a corpus, L of them, in the order of the genome, and their P stretches.

    Attributes
    ----------
    contigs : Contigs
    contig, start, end : ndarray of int64, shape (L,)
        From the start of the first stretch to the end of the last, half open, from zero.
    strand : ndarray of str, shape (L,)
        "+", "-" or ".".
    names : list of str
        Labels: chr1:0-500, or the name that the BED file gives.
    piece_contig, piece_start, piece_end, piece_locus : ndarray of int64, shape (P,)
        Stretches, sorted; none overlaps another.
    """

    contigs: Contigs
    contig: Array
    start: Array
    end: Array
    strand: Array
    names: list[str]
    piece_contig: Array
    piece_start: Array
    piece_end: Array
    piece_locus: Array

    def __len__(self) -> int:
        return len(self.names)

    @property
    def lengths(self) -> Array:
        """Bases of each locus; shape (L,)."""
        return np.bincount(self.piece_locus, self.piece_end - self.piece_start, len(self))

    def on(self, contig: int) -> slice:
        """Return where the stretches of a contig are."""
        return slice(*np.searchsorted(self.piece_contig, [contig, contig + 1]).tolist())

    def find(self, contig: int, position: Array) -> Array:
        """Return the locus of positions (from zero) on a contig; -1 outside of all."""
        of = self.on(contig)
        start, end, locus = self.piece_start[of], self.piece_end[of], self.piece_locus[of]
        if not len(start):
            return np.full(len(position), -1)
        at = np.maximum(np.searchsorted(start, position, "right") - 1, 0)
        return np.where((position >= start[at]) & (position < end[at]), locus[at], -1)

    def without(self, excluded: dict[int, tuple[Array, Array]]) -> "Loci":
        """Take regions out of the stretches (contig -> starts and ends, sorted, without overlap)."""
        out: list[tuple[int, int, int, int]] = []
        pieces = zip(
            *(getattr(self, f"piece_{name}").tolist() for name in ("contig", "start", "end", "locus")), strict=True
        )
        for contig, a, b, locus in pieces:
            starts, ends = excluded.get(contig, (np.empty(0), np.empty(0)))
            for i in range(int(np.searchsorted(ends, a, "right")), int(np.searchsorted(starts, b, "left"))):
                if starts[i] > a:
                    out.append((contig, a, int(starts[i]), locus))
                a = max(a, int(ends[i]))
            if a < b:
                out.append((contig, a, b, locus))
        contigs, start, end, loci = np.array(out, dtype=np.int64).reshape(-1, 4).T
        return replace(self, piece_contig=contigs, piece_start=start, piece_end=end, piece_locus=loci)

    def keep(self, kept: Array) -> "Loci":
        """Return the loci where ``kept`` (L,) is true."""
        new = np.cumsum(kept) - 1
        of = kept[self.piece_locus]
        names = [name for name, keep in zip(self.names, kept, strict=True) if keep]
        whole = {name: getattr(self, name)[kept] for name in ("contig", "start", "end", "strand")}
        pieces = {name: getattr(self, name)[of] for name in ("piece_contig", "piece_start", "piece_end")}
        return replace(self, names=names, **whole, **pieces, piece_locus=new[self.piece_locus[of]])

    def blocks(self) -> list[str]:
        """Return the stretches of each locus as text, "0-100,200-300"; to be stored."""
        out: list[list[str]] = [[] for _ in self.names]
        for start, end, locus in zip(self.piece_start, self.piece_end, self.piece_locus, strict=True):
            out[locus].append(f"{start}-{end}")
        return [",".join(parts) for parts in out]


def from_windows(asked: Any, contigs: Contigs) -> tuple[Loci, list[str]]:
    """Make loci of what a user gives as ``windows``.

    Parameters
    ----------
    asked : int, str or Path
        A size in bases ("10kb" is one too), or a BED file.
    contigs : Contigs

    Returns
    -------
    Loci
    notes : list of str
    """
    size = _size(asked)
    if size:
        return _of_size(size, contigs), []
    if not Path(asked).exists():
        raise InputError(
            f"{option('windows', str(asked))} is neither a size, such as 10000 or 10kb, nor a BED file that is there. "
            "Give a size, or check the path."
        )
    return _of_bed(Path(asked), contigs)


def whole(contigs: Contigs) -> Loci:
    """Make one locus of the whole genome."""
    count = len(contigs.names)
    zero = np.zeros(count, dtype=np.int64)
    one = zero[:1]
    ends = np.array(contigs.lengths, dtype=np.int64)
    total = np.array([ends.sum()])
    return Loci(
        contigs, one - 1, one, total, np.array(["."]), ["genome"], np.arange(count, dtype=np.int64), zero, ends, zero
    )


def _size(asked: Any) -> int:
    """Return a size in bases; 0 if a file is meant."""
    if isinstance(asked, bool) or not isinstance(asked, int | float | str | Path | np.integer):
        raise InputError(f"windows={asked!r} must be a size in bases, such as 10000, or a BED file.")
    if isinstance(asked, Path):
        return 0
    if isinstance(asked, str):
        text = re.sub(r"[\s_,]", "", asked.lower())
        number = text.rstrip("bkmp")
        if not number.isdecimal() or text[len(number) :] not in UNITS:
            return 0
        asked = int(number) * UNITS[text[len(number) :]]
    if asked < 1 or asked != int(asked):
        raise InputError(f"windows={asked} must be a whole number of bases, at least one.")
    return int(asked)


def _of_size(size: int, contigs: Contigs) -> Loci:
    counts = np.array([-(-length // size) for length in contigs.lengths], dtype=np.int64)
    if counts.sum() > MOST:
        raise InputError(f"windows of {size} bases would be {counts.sum():,}, more than {MOST:,}. Take larger ones.")
    contig = np.repeat(np.arange(len(counts)), counts)
    start = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) * size
    end = np.minimum(start + size, np.array(contigs.lengths, dtype=np.int64)[contig])
    names = [f"{contigs.names[c]}:{a}-{b}" for c, a, b in zip(contig, start, end, strict=True)]
    strand = np.full(len(contig), ".")
    return Loci(contigs, contig, start, end, strand, names, contig, start, end, np.arange(len(contig)))


@dataclass(frozen=True)
class _Row:
    line: int
    contig: int
    blocks: Sequence[tuple[int, int]]
    name: str
    strand: str


def _of_bed(path: Path, contigs: Contigs) -> tuple[Loci, list[str]]:
    rows: list[_Row] = []
    lost = 0
    for number, line in enumerate(lines(path), 1):
        if line.strip() and not line.startswith(HEADER):
            row = _row(path, number, line, contigs)
            rows += [row] if row.contig >= 0 else []
            lost += row.contig < 0
    if not rows:
        have = f", only on chromosomes that {contigs.source} does not have" if lost else ""
        raise InputError(f"{path}: there are no windows in it{have}. Give a BED file, or a size: {option('windows')}.")
    notes = [f"{path.name}: {lost} windows lie on chromosomes that {contigs.source} does not have."] if lost else []
    order = sorted(range(len(rows)), key=lambda i: (rows[i].contig, rows[i].blocks[0][0]))
    if order != list(range(len(rows))):
        notes.append(f"{path.name}: the windows were put into the order of the genome.")
    rows = [rows[i] for i in order]
    pieces = sorted((row.contig, a, b, at) for at, row in enumerate(rows) for a, b in row.blocks)
    for one, other in pairwise(pieces):
        if one[0] == other[0] and other[1] < one[2]:
            where = f"{contigs.names[one[0]]}:{other[1]}-{min(one[2], other[2])}"
            at, also = sorted((rows[one[3]].line, rows[other[3]].line))
            raise InputError(
                f"{path}: the windows of lines {at} and {also} overlap at {where}, so that a mutation there would "
                "have two loci. Cut one of them."
            )
    names = [row.name for row in rows]
    if len(set(names)) < len(names) or not all(names):
        names = [f"{contigs.names[r.contig]}:{r.blocks[0][0]}-{r.blocks[-1][1]}" for r in rows]
    if len(set(names)) < len(names):  # hulls of blocks that lie within each other
        names = [f"{name} {i}" for i, name in enumerate(names)]
    contig, start, end, locus = np.array(pieces, dtype=np.int64).T
    hull = np.array([(r.contig, r.blocks[0][0], r.blocks[-1][1]) for r in rows], dtype=np.int64).T
    strand = np.array([r.strand for r in rows])
    return Loci(contigs, hull[0], hull[1], hull[2], strand, names, contig, start, end, locus), notes


def _row(path: Path, number: int, line: str, contigs: Contigs) -> _Row:
    fields = line.split("\t") if "\t" in line else line.split()
    where = f"{path}: line {number}"
    if len(fields) < 3 or not (fields[1].strip().isdecimal() and fields[2].strip().isdecimal()):
        raise InputError(f"{where} ({line[:60]!r}) is not a window: chromosome, start and end. Correct it.")
    start, end = int(fields[1]), int(fields[2])
    contig = contigs.find(fields[0])
    if end <= start:
        raise InputError(f"{where}: the window {fields[0]}:{start}-{end} has no bases. Delete it, or correct its end.")
    if contig >= 0 and end > contigs.lengths[contig]:
        raise InputError(
            f"{where}: the window {fields[0]}:{start}-{end} goes beyond the end of {contigs.names[contig]} in "
            f"{contigs.source}, {contigs.lengths[contig]}. Are the windows of another assembly?"
        )
    blocks = [(start, end)]
    if len(fields) >= 12:
        sizes, starts = ([int(x) for x in fields[i].split(",") if x.strip().isdecimal()] for i in (10, 11))
        blocks = sorted((start + a, start + a + n) for a, n in zip(starts, sizes, strict=False))
        if len(sizes) != len(starts) or str(len(sizes)) != fields[9].strip() or not blocks or blocks[-1][1] > end:
            raise InputError(f"{where}: its blocks (columns 10 to 12) do not agree with each other. Correct them.")
        joined = merged(*(np.array(part) for part in zip(*blocks, strict=True)))
        blocks = list(zip(*(part.tolist() for part in joined), strict=True))
    name = fields[3].strip() if len(fields) > 3 and fields[3].strip() not in (".", "") else ""
    strand = fields[5].strip() if len(fields) > 5 and fields[5].strip() in ("+", "-") else "."
    label = name or f"{contigs.names[contig] if contig >= 0 else fields[0]}:{start}-{end}"
    return _Row(number, contig, blocks, label, strand)
