"""Sequences of regions: BED and FASTA files to one-hot windows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.fasta import opened
from genarium.readers.files import present

from .sequence import one_hot


@dataclass(frozen=True)
class Regions:
    """Windows about the middles of regions.

    Attributes
    ----------
    sequences : ndarray, shape (N, 4, L)
    names : list of str
        ``contig:start-end`` of the window, from 0.
    values : ndarray, shape (N, K)
        Further columns, where they are numbers asked for.
    left_out : dict of str to int
        Regions without a window, by reason.
    """

    sequences: Array
    names: list[str]
    values: Array
    left_out: dict[str, int]


def read_regions(bed: Path, fasta: Path, length: int, columns: int = 0) -> Regions:
    """Cut a window about the middle of every region.

    Parameters
    ----------
    bed : Path
        Contig, start and end (from 0, the end not included), separated by tabs or blanks; further columns may follow.
        Of several regions with one middle the first counts: the others say nothing more.
    fasta : Path
        Plain, or compressed by bgzip.
    length : int
        Bases of a window.
    columns : int
        Numbers wanted of each line, after the end.

    Raises
    ------
    InputError
        If a line is no region, a contig is not in the FASTA file, or no window is left.
    """
    rows = _lines(bed, columns)
    with opened(fasta) as genome:
        return _cut(bed, fasta, rows, length, genome)


def _cut(bed: Path, fasta: Path, rows: list[tuple[str, int, int, list[float]]], length: int, genome: Any) -> Regions:
    lengths = dict(zip(genome.references, genome.lengths, strict=True))
    texts, names, values = [], [], []
    left = {"at the end of a contig": 0, "with the window of another": 0, "with a base other than A, C, G and T": 0}
    seen: set[tuple[str, int, tuple[float, ...]]] = set()
    for line, (contig, start, end, more) in enumerate(rows, 1):
        if contig not in lengths:
            have = ", ".join(list(lengths)[:5])
            raise InputError(f"{bed}: region {line} is on {contig!r}, which {fasta.name} does not have ({have} ...).")
        low = (start + end) // 2 - length // 2
        if low < 0 or low + length > lengths[contig]:
            left["at the end of a contig"] += 1
            continue
        if (contig, low, tuple(more)) in seen:  # such as a peak with several summits
            left["with the window of another"] += 1
            continue
        seen.add((contig, low, tuple(more)))
        text = genome.fetch(contig, low, low + length).upper()
        if set(text) - set("ACGT"):
            left["with a base other than A, C, G and T"] += 1
            continue
        texts.append(text)
        names.append(f"{contig}:{low}-{low + length}")
        values.append(more)
    if not texts:
        raise InputError(f"{bed}: no region has a whole window of {length} bases in {fasta.name} ({left}).")
    return Regions(one_hot(texts), names, np.array(values), {why: n for why, n in left.items() if n})


def _lines(bed: Path, columns: int) -> list[tuple[str, int, int, list[float]]]:
    try:
        text = present(bed).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{bed}: this cannot be read as BED ({error}). Check the path.") from error
    rows: list[tuple[str, int, int, list[float]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        try:
            start, end = int(cells[1]), int(cells[2])
        except (IndexError, ValueError):
            if not rows and len(cells) > 2 and not cells[1].lstrip("-").isdigit():
                continue  # a header
            raise InputError(
                f"{bed}: line {number} is not a region: {line[:60]!r}. Give contig, start and end."
            ) from None
        if not 0 <= start < end:
            raise InputError(f"{bed}: line {number} has start {start} and end {end}. Starts count from 0, before ends.")
        rows.append((cells[0], start, end, _numbers(bed, number, cells[3 : 3 + columns], columns)))
    if not rows:
        raise InputError(f"{bed}: there are no regions in this file. Give contig, start and end, a line each.")
    return rows


def _numbers(bed: Path, line: int, cells: list[str], wanted: int) -> list[float]:
    """Return the numbers that follow a region: the measured exposure and outcome."""
    try:
        found = [float(cell) for cell in cells]
    except ValueError:
        found = []
    if len(found) < wanted or not np.isfinite(found).all():
        raise InputError(
            f"{bed}: line {line} has {' and '.join(map(repr, cells)) or 'nothing'} after the end of the region, where "
            f"{wanted} measured numbers are wanted: the exposure and the outcome."
        )
    return found
