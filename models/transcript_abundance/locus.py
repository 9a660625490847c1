"""The course's circular locus: reads simulated from the generative process, and their classes under two likelihoods.

Segments A, B, ... of equal length lie on a circle; every transcript is a run of them. A read is one end, ``read`` long,
of a fragment of its transcript; fragment lengths are normal, cut to what fits. No sequence repeats, so that a read is
known by where on the circle it lies and by its orientation; reads on segments that transcripts share are ambiguous.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from genarium.declaration import Array

from .sparse import from_matrix

ARC: dict[str, str] = {
    **{"Arc1": "ABCD", "Arc2": "BC", "Arc3": "CDE", "Arc4": "DEFG", "Arc5": "EFGH"},
    **{"Arc6": "FGH", "Arc7": "GH", "Arc8": "HI", "Arc9": "IJA", "Arc10": "JAB"},
}
"""The locus of the course (weeks 2 and 9)."""

ARC_NU = np.array([0.00801, 0.039, 0.291, 0.112, 0.127, 0.008, 0.059, 0.060, 0.022, 0.273])
"""Abundances that the homework of week 2 prints, to three digits; Arc1 from the 801 of its 100,000 reads."""


@dataclass(frozen=True)
class Locus:
    """A circular locus and a sequencing protocol.

    Attributes
    ----------
    transcripts : dict of str to str
        The segments of each transcript, such as ``{"Arc1": "ABCD"}``, consecutive on the circle.
    segment : int
        Nucleotides of a segment.
    read : int
        Nucleotides of a read.
    fragment_mean, fragment_sd : float
        Of the lengths of fragments, in nucleotides.
    """

    transcripts: dict[str, str] = field(default_factory=lambda: dict(ARC))
    segment: int = 1000
    read: int = 75
    fragment_mean: float = 150.0
    fragment_sd: float = 20.0

    @property
    def names(self) -> list[str]:
        """Names of the transcripts."""
        return list(self.transcripts)

    @cached_property
    def circle(self) -> int:
        """Nucleotides of the locus."""
        return self.segment * len(set("".join(self.transcripts.values())))

    @cached_property
    def lengths(self) -> Array:
        """Nucleotides L of each transcript; shape (K,)."""
        return np.array([self.segment * len(s) for s in self.transcripts.values()])

    @cached_property
    def starts(self) -> Array:
        """Where each transcript starts on the circle; shape (K,)."""
        return np.array([self.segment * (ord(s[0]) - ord("A")) for s in self.transcripts.values()])

    @cached_property
    def fragments(self) -> tuple[Array, Array]:
        """Lengths of fragments, and their probabilities."""
        sizes = np.arange(self.read, int(self.fragment_mean + 6 * self.fragment_sd) + 1)
        p = np.exp(-0.5 * ((sizes - self.fragment_mean) / self.fragment_sd) ** 2)
        return sizes, p / p.sum()

    def simulate(self, rng: np.random.Generator, nu: Array, reads: int) -> dict[str, Array]:
        """Draw reads: transcript G, then fragment, start S and orientation O given G, then what is seen.

        Parameters
        ----------
        rng : Generator
        nu : array_like, shape (K,)
            Nucleotide abundances.
        reads : int

        Returns
        -------
        dict
            Hidden ``transcript``, ``start`` (leftmost nucleotide of the read, from 0) and ``orientation`` (1: reverse),
            and seen ``position`` (leftmost nucleotide on the circle) with the orientation; shape (reads,) each.
        """
        transcript = rng.choice(len(self.names), reads, p=np.asarray(nu))
        sizes, p = self.fragments
        size = rng.choice(sizes, reads, p=p)
        left = rng.integers(0, self.lengths[transcript] - size + 1)
        orientation = rng.integers(0, 2, reads)
        start = left + np.where(orientation == 1, size - self.read, 0)
        position = (self.starts[transcript] + start) % self.circle
        return {"transcript": transcript, "start": start, "orientation": orientation, "position": position}

    def likelihood(self, protocol: str = "fragments") -> Array:
        """P(position, orientation | transcript), the start summed out; shape (circle, 2, K).

        Parameters
        ----------
        protocol : {"fragments", "uniform"}
            With ``fragments``, a read of a fragment of length f starts anywhere that f fits (eq. 3): near the ends of a
            transcript one orientation is rare. ``uniform`` is what kallisto assumes of single-end reads: any
            position that the read fits in, 1 / (effective length).

        Returns
        -------
        ndarray
        """
        out = np.zeros((self.circle, 2, len(self.names)))
        sizes, p = self.fragments
        for k, (length, first) in enumerate(zip(self.lengths, self.starts, strict=True)):
            places = np.zeros((length - self.read + 1, 2))
            if protocol == "uniform":
                places += 0.5 / (length - self.fragment_mean + 1)
            else:
                each = 0.5 * p / (length - sizes + 1)
                for size, weight in zip(sizes, each, strict=True):
                    places[: length - size + 1, 0] += weight
                    places[size - self.read :, 1] += weight
            at = (first + np.arange(len(places))) % self.circle
            out[at, :, k] = places
        return out

    def classes(self, seen: dict[str, Array], protocol: str = "fragments") -> dict[str, Any]:
        """Merge reads into classes of equal likelihood.

        Parameters
        ----------
        seen : mapping
            From :meth:`simulate`.
        protocol : {"fragments", "uniform"}

        Returns
        -------
        dict
            Data for ``gn.fit("transcript_abundance", ...)``; classes without reads are left out.
        """
        count = np.zeros((self.circle, 2), dtype=np.int64)
        np.add.at(count, (seen["position"], seen["orientation"]), 1)
        K = len(self.names)
        rows = self.likelihood(protocol).reshape(-1, K)
        effective = self.lengths - self.fragment_mean + 1.0
        some = count.ravel() > 0
        return from_matrix(rows[some], effective, names=self.names, count=count.ravel()[some])
