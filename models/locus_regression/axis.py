"""The axis along which a figure shows loci: places on chromosomes where these are known, else the loci one by one."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import SMALL

from .answers import MEGABASE, PLACES, blocks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHROMOSOMES = 40
"""Chromosomes that the axis has room for."""

DETAILED = 6
"""Chromosomes up to which places on them are told."""

POINTS = 460
"""Width of the axis, about, in points."""


@dataclass(frozen=True)
class Chromosome:
    """A stretch of the axis: its name, where it begins and ends on the axis, and the place that it begins at."""

    name: str
    low: float
    high: float
    place: float


@dataclass(frozen=True)
class Axis:
    """Loci in bins of neighbours; B bins.

    Attributes
    ----------
    order : ndarray of int, shape (L,)
        Loci along the axis.
    starts : ndarray of int, shape (B,)
        Where in that order a bin begins.
    low, high : ndarray, shape (B,)
        Ends of a bin on the axis.
    size : ndarray, shape (B,)
        What numbers of mutations are divided by: loci, or megabases of them.
    step : int
        Loci of a bin, at most.
    chromosomes : list of Chromosome
        Empty where places are not known.
    """

    order: Array
    starts: Array
    low: Array
    high: Array
    size: Array
    step: int
    chromosomes: list[Chromosome]

    @property
    def unit(self) -> str:
        """Of what is drawn over the axis."""
        return "mutations per megabase" if self.chromosomes else "mutations per locus"

    def binned(self, values: Array) -> Array:
        """Return sums over loci (L, K) by bin, divided by its size; shape (B, K)."""
        return np.asarray(np.add.reduceat(values[self.order], self.starts, axis=0) / self.size[:, None])

    def outline(self, values: Array) -> tuple[Array, Array]:
        """Return steps (B + gaps,) and their edges: NaN between bins that do not touch."""
        apart = self.low[1:] > self.high[:-1]
        at = np.arange(1, len(values))
        edges = np.insert(np.append(self.low, self.high[-1]), at[apart], self.high[:-1][apart])
        return np.insert(values, at[apart], np.nan), edges

    def label(self, axes: "Axes") -> None:
        """Write ticks and a label at the foot of a figure."""
        from matplotlib.ticker import MaxNLocator

        axes.grid(False, axis="x")
        if not self.chromosomes:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("locus, by its index")
            return
        T = self.chromosomes[-1].high
        detailed = len(self.chromosomes) <= DETAILED
        kilo = T < 1
        scale, unit = (1e3, "kb") if kilo else (1.0, "Mb")
        middles = [(one.low + one.high) / 2 for one in self.chromosomes]
        names = staggered([one.name.removeprefix("chr") for one in self.chromosomes], self._widths())
        if not detailed:
            axes.set_xticks(middles, names, fontsize=SMALL)
            axes.tick_params(axis="x", length=0)
            axes.set_xlabel(f"chromosome ({T:,.0f} Mb in all)")
            return
        at, labels = self._places(T, scale)
        axes.set_xticks(at, labels)
        if len(self.chromosomes) == 1:
            axes.set_xlabel(f"{self.chromosomes[0].name}, place in {unit}")
            return
        axes.xaxis.remove_overlapping_locs = False  # names may stand below a place
        axes.set_xticks(middles, [one.name for one in self.chromosomes], minor=True, fontsize=SMALL)
        axes.tick_params(axis="x", which="minor", pad=15)
        axes.set_xlabel(f"chromosome, place in {unit}")

    def _widths(self) -> list[float]:
        total = self.chromosomes[-1].high
        return [POINTS * (one.high - one.low) / total for one in self.chromosomes]

    def _places(self, total: float, scale: float) -> tuple[list[float], list[str]]:
        """Return round places on the chromosomes, some eight in all."""
        rough = total * scale / 8
        power = 10.0 ** np.floor(np.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        at, labels, last = [], [], -np.inf
        for one in self.chromosomes:
            first, end = one.place * scale, (one.place + one.high - one.low) * scale
            for place in np.arange(np.ceil(first / step), np.floor(end / step) + 1) * step:
                x = one.low + (place - first) / scale
                begins_next = x > one.high - 0.02 * total and one is not self.chromosomes[-1]
                if x - last > 0.05 * total and not begins_next:  # or it would lie over its neighbour
                    at.append(x)
                    labels.append(f"{place:,.12g}")
                    last = x
        return at, labels


def staggered(names: list[str], widths: list[float], point: float = 5.2) -> list[str]:
    """Write names that are wider than their place alternately in two lines; leave out those that are far too wide."""
    out, lowered = [], False
    for name, width in zip(names, widths, strict=True):
        needed = point * len(name) + 2
        lowered = needed > width and not lowered
        out.append("" if needed > 3 * width else f"\n{name}" if lowered else name)
    return out


def axis_of(known: xr.Dataset, most: int) -> Axis:
    """Lay the loci along an axis, in bins of neighbours.

    Parameters
    ----------
    known : Dataset
        With the dim ``locus``; places are its coordinates ``chrom``, ``start`` and ``end`` or stand in the labels, as
        chr1:1000-2000.
    most : int
        Bins at most, if no chromosome ended in the midst of one.

    Returns
    -------
    Axis
        By index where a place is missing, places overlap, or chromosomes are too many.
    """
    L = known.sizes["locus"]
    step = -(-L // most)
    by_index = np.arange(0, L, step)
    ends = np.append(by_index[1:], L)
    plain = Axis(np.arange(L), by_index, by_index - 0.5, ends - 0.5, ends - by_index, step, [])
    told = _told(known)
    if told is None:
        return plain
    chrom, start, end = told
    names, first = np.unique(chrom, return_index=True)
    rank = np.argsort(np.argsort(first))[np.searchsorted(names, chrom)]  # chromosomes as they come
    order = np.lexsort((start, rank))
    chrom, start, end, rank = chrom[order], start[order] / MEGABASE, end[order] / MEGABASE, rank[order]
    same = rank[1:] == rank[:-1]
    if len(names) > CHROMOSOMES or (start[1:] < end[:-1])[same].any():
        return plain
    edges = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
    chromosomes, low, high, starts = [], np.empty(L), np.empty(L), []
    offset = 0.0
    for a, b in pairwise(edges):
        low[a:b], high[a:b] = start[a:b] - start[a] + offset, end[a:b] - start[a] + offset
        chromosomes.append(Chromosome(str(chrom[a]), offset, high[b - 1], start[a]))
        offset = high[b - 1]
        starts.append(np.arange(a, b, step))
    bins = np.concatenate(starts)
    last = np.append(bins[1:], L) - 1
    length = end - start
    if "blocks" in known.coords:
        length = np.array([sum(b - a for a, b in each) for each in blocks(known)])[order] / MEGABASE
    size = np.add.reduceat(length, bins)
    return Axis(order, bins, low[bins], high[last], size, step, chromosomes)


def _told(known: xr.Dataset) -> tuple[Array, Array, Array] | None:
    """Return chromosome, start and end of every locus, or None."""
    if set(PLACES) <= set(known.coords):
        chrom, start, end = (known.coords[name].to_numpy() for name in PLACES)
        return None if (chrom == ".").any() else (chrom.astype(str), start, end)
    found = [re.fullmatch(r"(.+):(\d+)-(\d+)", str(label)) for label in known["locus"].to_numpy()]
    parts = [one.groups() for one in found if one is not None]
    if len(parts) < len(found):
        return None
    start, end = (np.array([int(part[i]) for part in parts]) for i in (1, 2))
    return (np.array([part[0] for part in parts]), start, end) if (end > start).all() else None
