"""Tracks as files: what a file is by its name, and its intervals, a stretch of the genome at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .bbi import look_over
from .contigs import Contigs
from .intervals import Intervals, by_contig, read_bed, read_genes
from .windows import Loci

KINDS = {
    ".bw": "bigwig",
    ".bigwig": "bigwig",
    ".bb": "bigbed",
    ".bigbed": "bigbed",
    ".bedgraph": "bedgraph",
    ".bdg": "bedgraph",
    ".bg": "bedgraph",
    ".bed": "bed",
    ".bed3": "bed",
    ".bed6": "bed",
    ".bed12": "bed",
    ".narrowpeak": "peaks",
    ".broadpeak": "peaks",
    ".gtf": "genes",
    ".gff": "genes",
    ".gff3": "genes",
}
"""What a track is, by the end of its name (without .gz)."""

USUAL = {"bigwig": "mean", "bedgraph": "mean", "genes": "density", "expression": "mean"}
"""The summary where none is asked for; of others, coverage."""

VALUE_COLUMN = {"bedgraph": 3, "bed": 4, "peaks": 6}
"""Where mean, max and sd find their values: the score of BED, the signal of peaks."""

STRETCH = 4_000_000
"""Bases of a bigWig that are in memory at a time."""


@dataclass(frozen=True)
class Source:
    """A track.

    Attributes
    ----------
    path : Path
    genes : Path, optional
        Annotation that says where the genes of an expression table are.
    """

    path: Path
    genes: Path | None = None

    @property
    def kind(self) -> str:
        """What the file is: "bigwig", "bed" ..."""
        if self.genes is not None:
            return "expression"
        ends = [suffix.lower() for suffix in self.path.suffixes if suffix.lower() != ".gz"]
        if not ends or ends[-1] not in KINDS:
            raise InputError(
                f"{self.path}: what this track is cannot be told from its name. It must end in one of "
                f"{', '.join(KINDS)}, with .gz or without; a table of expression is given with its annotation, as "
                "TABLE@GENES.gtf."
            )
        return KINDS[ends[-1]]


def places(source: Source, contigs: Contigs, lost: dict[str, int]) -> dict[int, Intervals]:
    """Return all intervals of a file by contig, whatever their value."""
    kind = source.kind
    if kind == "genes":
        genes = read_genes(source.path, contigs, lost)
        return {one.contig: one for one in by_contig(genes, np.ones(len(genes)))}
    parts: dict[int, list[Intervals]] = {}
    stream = bigbed(source.path, contigs) if kind == "bigbed" else read_bed(source.path, contigs, None, lost)
    for intervals in stream:
        parts.setdefault(intervals.contig, []).append(intervals)
    out = {}
    for contig, several in parts.items():
        start, end, value, line = (
            np.concatenate([getattr(part, field) for part in several]) for field in ("start", "end", "value", "line")
        )
        order = np.argsort(start, kind="stable")
        out[contig] = Intervals(contig, start[order], end[order], value[order], line[order])
    return out


def valued(path: Path, kind: str, contigs: Contigs, lost: dict[str, int]) -> Iterator[Intervals]:
    """Yield the intervals of a bedGraph or BED file with their values; those of a bedGraph must not overlap."""
    reached: dict[int, int] = {}
    for found in read_bed(path, contigs, VALUE_COLUMN[kind], lost):
        if kind == "bedgraph":
            before = np.maximum.accumulate(np.r_[reached.get(found.contig, 0), found.end])[:-1]
            if (bad := np.flatnonzero(found.start < before)).size:
                at = int(bad[0])
                raise InputError(
                    f"{path}: line {found.line[at]}: the interval {contigs.names[found.contig]}:{found.start[at]}-"
                    f"{found.end[at]} overlaps another, or the file is not sorted. Sort it by chromosome and start, "
                    "and give every base one value."
                )
            reached[found.contig] = int(max(before[-1], found.end[-1]))
        if (bad := np.flatnonzero(~np.isfinite(found.value))).size and kind != "bedgraph":
            raise InputError(f"{path}: line {found.line[bad[0]]}: the value is {found.value[bad[0]]}. Correct it.")
        finite = np.isfinite(found.value)
        yield Intervals(found.contig, *(part[finite] for part in (found.start, found.end, found.value, found.line)))


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a bigWig or bigBed; whatever is wrong with it is an InputError."""
    import pybigtools

    if not path.is_file():
        raise InputError(f"{path}: there is no such file. Check the path.")
    look_over(path)
    try:
        with pybigtools.open(str(path)) as file:
            yield file
    except InputError:
        raise
    except (ValueError, OSError, KeyError, pybigtools.BBIReadError) as error:
        raise InputError(f"{path}: this cannot be read as bigWig or bigBed ({error}). Fetch it again.") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what damaged files make of pybigtools
            raise
        raise InputError(f"{path}: the file is damaged ({error}). Fetch it again.") from error


def bigwig(path: Path, loci: Loci) -> Iterator[Intervals]:
    """Yield runs of equal values of a bigWig where loci are, a stretch at a time."""
    with _open(path) as file:
        for name, length in file.chroms().items():
            contig = loci.contigs.find(name)
            of = loci.on(contig)
            if contig < 0 or of.start == of.stop:
                continue
            low = int(loci.piece_start[of.start])
            high = min(int(loci.piece_end[of.stop - 1]), length)
            for start in range(low, high, STRETCH):
                values = file.values(name, start, min(start + STRETCH, high), fillna=None)
                yield Intervals(contig, *_runs(values, start))


def _runs(values: Array, first: int) -> tuple[Array, Array, Array, Array]:
    """Return starts, ends, values and numbers of the runs of equal values; NaN makes none."""
    none = np.isnan(values)
    edge = np.flatnonzero((values[1:] != values[:-1]) & ~(none[1:] & none[:-1])) + 1
    start, end = np.r_[0, edge], np.r_[edge, len(values)]
    kept = ~none[start]
    return start[kept] + first, end[kept] + first, values[start[kept]], start[kept]


def bigbed(path: Path, contigs: Contigs) -> Iterator[Intervals]:
    """Yield the intervals of a bigBed, a contig at a time."""
    with _open(path) as file:
        for name in file.chroms():
            contig = contigs.find(name)
            if contig < 0:
                continue
            pairs = np.array([row[:2] for row in file.records(name)], dtype=np.int64).reshape(-1, 2)
            start, end = pairs[np.argsort(pairs[:, 0], kind="stable")].T
            yield Intervals(contig, start, end, np.ones(len(start)), start)
