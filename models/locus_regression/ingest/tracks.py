"""Tracks: what bigWig, bigBed, bedGraph, BED, GTF and expression files say of each locus."""

from collections.abc import Iterable

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed

from .contigs import Contigs
from .expression import expression
from .intervals import Intervals, merged
from .sources import Source, bigwig, places, valued
from .sums import Sums
from .windows import Loci

SUMMARIES = ("mean", "max", "sd", "coverage", "distance", "density")

ALLOWED: dict[str, tuple[str, ...]] = {
    "bigwig": ("mean", "max", "sd", "coverage"),
    "bedgraph": ("mean", "max", "sd", "coverage"),
    "bigbed": ("coverage", "distance", "density"),
    "genes": ("coverage", "distance", "density"),
    "expression": ("mean", "max"),
}
"""What can be taken of a track; of others, all."""


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
    allowed = ALLOWED.get(kind, SUMMARIES)
    if summary not in allowed:
        raise InputError(f"{source.path}: {summary!r} cannot be taken of it. Take one of {', '.join(allowed)}.")
    if kind == "expression":
        found = expression(source, summary, loci, notes, lost)
    elif summary in ("mean", "max", "sd") or kind in ("bigwig", "bedgraph"):
        found = sums_of(source, loci, lost).summary(summary)
    else:
        found = _of_places(places(source, loci.contigs, lost), summary, loci)
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
    if summary == "coverage":
        return measure(source, summary, loci, notes) * loci.lengths
    if source.kind not in ("bigwig", "bedgraph", "bed", "peaks"):
        raise InputError(f"{source.path}: an exposure is the mean or the coverage of a bigWig, bedGraph or BED file.")
    return sums_of(source, loci, {}).total


def sums_of(source: Source, loci: Loci, lost: dict[str, int]) -> Sums:
    """Return the sums of a track's values in every locus."""
    sums = Sums(loci)
    kind = source.kind
    for found in bigwig(source.path, loci) if kind == "bigwig" else valued(source.path, kind, loci.contigs, lost):
        sums.add(found)
    return sums


def regions(sources: Iterable[Source], contigs: Contigs, notes: list[str]) -> dict[int, tuple[Array, Array]]:
    """Return the union of intervals of files: contig -> starts and ends, sorted, without overlap."""
    found: dict[int, list[Intervals]] = {}
    for source in sources:
        lost: dict[str, int] = {}
        for contig, intervals in places(source, contigs, lost).items():
            found.setdefault(contig, []).append(intervals)
        if lost:
            notes.append(f"{source.path.name}: {sum(lost.values())} regions lie on chromosomes the genome has not.")
    out = {}
    for contig, parts in found.items():
        start, end = (np.concatenate([getattr(part, side) for part in parts]) for side in ("start", "end"))
        order = np.argsort(start, kind="stable")
        out[contig] = merged(start[order], end[order])
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
