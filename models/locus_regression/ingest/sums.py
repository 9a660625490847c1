"""Sums of a track over the bases of loci."""

import numpy as np

from genarium.declaration import Array

from .intervals import Intervals
from .windows import Loci


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
