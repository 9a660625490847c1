"""Tracks: what bigWig, bigBed, bedGraph, BED, GTF and expression files say of each locus."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent, listed

from .contigs import Contigs
from .intervals import Gene, Intervals, by_contig, merged, read_bed, read_genes
from .windows import Loci

SUMMARIES = ("mean", "max", "sd", "coverage", "distance", "density")

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


class Sums:
    """Sums over the bases of each locus that a track covers."""

    def __init__(self, loci: Loci) -> None:
        self.loci = loci
        self.bases, self.total, self.square = (np.zeros(len(loci)) for _ in range(3))
        self.most = np.full(len(loci), -np.inf)

    def add(self, found: Intervals) -> None:
        """Add intervals: every base that an interval shares with a locus counts with its value."""
        of = self.loci.on(found.contig)
        start, end = self.loci.piece_start[of], self.loci.piece_end[of]
        first, last = np.searchsorted(end, found.start, "right"), np.searchsorted(start, found.end, "left")
        count = np.maximum(last - first, 0)
        which = np.repeat(np.arange(len(count)), count)  # (pairs,): the interval
        piece = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + first[which]
        shared = np.minimum(found.end[which], end[piece]) - np.maximum(found.start[which], start[piece])
        locus, value, L = self.loci.piece_locus[of][piece], found.value[which], len(self.loci)
        self.bases += np.bincount(locus, shared, L)
        self.total += np.bincount(locus, shared * value, L)
        self.square += np.bincount(locus, shared * value**2, L)
        np.maximum.at(self.most, locus, np.where(shared > 0, value, -np.inf))

    def summary(self, name: str) -> Array:
        """Return mean, max or sd over the covered bases, NaN where there are none, or the share that is covered."""
        with np.errstate(invalid="ignore", divide="ignore"):
            if name == "coverage":
                return np.asarray(self.bases / self.loci.lengths)
            covered = self.bases > 0
            mean = self.total / self.bases
            found = {"mean": mean, "max": self.most, "sd": np.sqrt(np.maximum(self.square / self.bases - mean**2, 0))}
            return np.where(covered, found[name], np.nan)


def measure(source: Source, summary: str, loci: Loci, notes: list[str]) -> Array:
    """Return the summary of a track in every locus.

    Parameters
    ----------
    source : Source
    summary : str
        One of ``SUMMARIES``: "mean", "max" and "sd" of the values over the bases that the track covers; "coverage":
        the share of bases covered; "distance": bases to the nearest interval, 0 where one overlaps; "density":
        intervals a megabase, each counted where its midpoint is.
    loci : Loci
    notes : list of str
        What should be known is added here.

    Returns
    -------
    ndarray, shape (L,)
        NaN where the track says nothing.

    Raises
    ------
    InputError
    """
    kind = source.kind
    lost: dict[str, int] = {}
    allowed = ("mean", "max") if kind == "expression" else SUMMARIES
    if kind in ("bigwig", "bedgraph", "genes"):
        allowed = ("mean", "max", "sd", "coverage") if kind != "genes" else ("coverage", "distance", "density")
    if kind == "bigbed":
        allowed = ("coverage", "distance", "density")
    if summary not in allowed:
        raise InputError(f"{source.path}: {summary!r} cannot be taken of it. Take one of {', '.join(allowed)}.")
    if kind == "expression":
        found = _expression(source, summary, loci, notes, lost)
    elif summary in ("mean", "max", "sd") or kind in ("bigwig", "bedgraph"):
        sums = Sums(loci)
        stream = _bigwig(source.path, loci) if kind == "bigwig" else _valued(source.path, kind, loci.contigs, lost)
        for intervals in stream:
            sums.add(intervals)
        found = sums.summary(summary)
    else:
        found = _of_places(_places(source, loci.contigs, lost), summary, loci)
    if lost:
        notes.append(
            f"{source.path.name}: {sum(lost.values())} intervals lie on chromosomes that {loci.contigs.source} does "
            f"not have ({listed(lost, 3)})."
        )
    if kind == "expression":
        return found
    nothing = not np.nan_to_num(found).any() if summary == "coverage" else np.isnan(found).all()
    if nothing:
        raise InputError(
            f"{source.path}: the track covers no base of any window. Check that it is of the genome's assembly "
            f"({loci.contigs.source})."
        )
    return found


def total(source: Source, summary: str, loci: Loci, notes: list[str]) -> Array:
    """Return the sum of a track over the bases of each locus, bases that it does not cover being zero.

    Returns
    -------
    ndarray, shape (L,)
    """
    if summary not in ("mean", "coverage"):
        raise InputError(f"{source.path}: an exposure is the mean or the coverage of a track, not {summary!r}.")
    return np.nan_to_num(measure(source, "coverage", loci, notes)) * (
        loci.lengths if summary == "coverage" else loci.lengths * np.nan_to_num(measure(source, "mean", loci, notes))
    )


def regions(sources: Iterable[Source], contigs: Contigs, notes: list[str]) -> dict[int, tuple[Array, Array]]:
    """Return the union of intervals of files: contig -> starts and ends, sorted, without overlap."""
    found: dict[int, list[Intervals]] = {}
    for source in sources:
        lost: dict[str, int] = {}
        for contig, intervals in _places(source, contigs, lost).items():
            found.setdefault(contig, []).append(intervals)
        if lost:
            notes.append(f"{source.path.name}: {sum(lost.values())} regions lie on chromosomes the genome has not.")
    out = {}
    for contig, parts in found.items():
        start, end = (np.concatenate([getattr(part, side) for part in parts]) for side in ("start", "end"))
        order = np.argsort(start, kind="stable")
        out[contig] = merged(start[order], end[order])
    return out


def _places(source: Source, contigs: Contigs, lost: dict[str, int]) -> dict[int, Intervals]:
    """Return all intervals of a file by contig, whatever their value."""
    kind = source.kind
    if kind == "genes":
        genes = read_genes(source.path, contigs, lost)
        return {one.contig: one for one in by_contig(genes, np.ones(len(genes)))}
    parts: dict[int, list[Intervals]] = {}
    stream = _bigbed(source.path, contigs) if kind == "bigbed" else read_bed(source.path, contigs, None, lost)
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


def _of_places(places: dict[int, Intervals], summary: str, loci: Loci) -> Array:
    if summary == "coverage":
        sums = Sums(loci)
        for one in places.values():
            start, end = merged(one.start, one.end)
            sums.add(Intervals(one.contig, start, end, np.ones(len(start)), start))
        return sums.summary("coverage")
    if summary == "density":
        count = np.zeros(len(loci))
        for one in places.values():
            locus = loci.find(one.contig, (one.start + one.end) // 2)
            count += np.bincount(locus[locus >= 0], minlength=len(loci))
        return np.asarray(count / loci.lengths * 1e6)
    distance = np.full(len(loci), np.nan)
    for contig, one in places.items():
        of = np.flatnonzero(loci.contig == contig)
        reach = np.maximum.accumulate(one.end)
        before = np.searchsorted(one.start, loci.end[of], "left")  # intervals that start before the locus ends
        left = np.where(before > 0, loci.start[of] - reach[before - 1], np.inf)
        right = np.where(
            before < len(one.start), one.start[np.minimum(before, len(one.start) - 1)] - loci.end[of], np.inf
        )
        distance[of] = np.maximum(np.minimum(left, right), 0)
    return distance


def _valued(path: Path, kind: str, contigs: Contigs, lost: dict[str, int]) -> Iterator[Intervals]:
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


def _open(path: Path) -> Any:
    import pybigtools

    if not path.is_file():
        raise InputError(f"{path}: there is no such file. Check the path.")
    try:
        return pybigtools.open(str(path))
    except (ValueError, OSError, pybigtools.BBIReadError) as error:
        raise InputError(f"{path}: this cannot be read as bigWig or bigBed ({error}). Fetch it again.") from error


def _bigwig(path: Path, loci: Loci) -> Iterator[Intervals]:
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
                edge = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
                covered = edge[~np.isnan(values[edge])]
                ends = np.r_[edge[1:], len(values)][~np.isnan(values[edge])]
                yield Intervals(contig, covered + start, ends + start, values[covered], covered)


def _bigbed(path: Path, contigs: Contigs) -> Iterator[Intervals]:
    with _open(path) as file:
        for name in file.chroms():
            contig = contigs.find(name)
            if contig < 0:
                continue
            pairs = np.array([row[:2] for row in file.records(name)], dtype=np.int64).reshape(-1, 2)
            start, end = pairs[np.argsort(pairs[:, 0], kind="stable")].T
            yield Intervals(contig, start, end, np.ones(len(start)), start)


def _expression(source: Source, summary: str, loci: Loci, notes: list[str], lost: dict[str, int]) -> Array:
    """Return mean over all bases of a locus (those of no gene are zero), or the highest, of genes' expression."""
    from genarium.readers.tables import read_sheet

    assert source.genes is not None
    genes = read_genes(source.genes, loci.contigs, lost)
    sheet = read_sheet(source.path)
    key = sheet.identifiers("auto", "gene", [])
    numeric = [name for name in sheet.names if name != key and sheet.is_numeric(name)]
    if key is None or not numeric:
        raise absent(source.path, "column", "gene and a column of numbers", sheet.names)
    if len(numeric) > 1:
        notes.append(f"{source.path.name}: of its {len(numeric)} columns of numbers, {numeric[0]!r} was taken.")
    values = sheet.numbers(numeric[0], "leave the gene out").astype(float)
    of = {str(name): float(value) for name, value in zip(sheet.labels(key, "gene", "add them up"), values, strict=True)}
    of |= {name.partition(".")[0]: value for name, value in of.items() if name.startswith("ENS")}
    told = [_value(gene, of) for gene in genes]
    known = [i for i, value in enumerate(told) if value is not None]
    if not known:
        raise InputError(
            f"{source.path}: none of its genes ({listed(of, 3)}) is in {source.genes.name} "
            f"({listed([gene.names[0] for gene in genes if gene.names], 3)}). Name genes as the annotation does."
        )
    if len(known) < len(genes):
        notes.append(f"{source.path.name}: {len(genes) - len(known)} of {len(genes)} genes have no value; taken as 0.")
    sums = Sums(loci)
    for one in by_contig([genes[i] for i in known], np.array([told[i] for i in known], dtype=float)):
        sums.add(one)
    if summary == "max":
        return np.where(sums.bases > 0, sums.most, 0.0)
    return np.asarray(sums.total / loci.lengths)


def _value(gene: Gene, values: dict[str, float]) -> float | None:
    for name in gene.names:
        for form in (name, name.partition(".")[0]):
            if form in values:
                return values[form]
    return None
