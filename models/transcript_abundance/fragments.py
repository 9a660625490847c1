"""Lengths of fragments: their distribution, and where a fragment may start in a transcript (eq. 3)."""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

SPREAD = 1e-6
"""Share of the fragments that may have any length, so that no read is impossible."""


@dataclass(frozen=True)
class Fragments:
    """A distribution of fragment lengths.

    Attributes
    ----------
    probability : ndarray, shape (F + 1,)
        Of the lengths 0 .. F; that of 0 is zero.
    """

    probability: Array

    @classmethod
    def normal(cls, mean: float, sd: float) -> "Fragments":
        """Take normal lengths (nucleotides), in whole numbers up to six standard deviations above the mean."""
        sizes = np.arange(int(np.ceil(mean + 6 * sd)) + 1)
        return cls._made(np.exp(-0.5 * ((sizes - mean) / sd) ** 2))

    @classmethod
    def observed(cls, count: Array) -> "Fragments":
        """Take counted lengths, shape (F + 1,), smoothed by a normal kernel of Silverman's width."""
        total = count.sum()
        if total == 0:
            return cls._made(np.ones_like(count))
        sizes = np.arange(len(count))
        mean = count @ sizes / total
        sd = np.sqrt(count @ (sizes - mean) ** 2 / total)
        width = max(1.06 * sd * total**-0.2, 1.0)
        offsets = np.arange(-int(4 * width), int(4 * width) + 1)
        kernel = np.exp(-0.5 * (offsets / width) ** 2)
        return cls._made(np.convolve(count, kernel)[-offsets[0] : len(count) - offsets[0]])

    @classmethod
    def _made(cls, weight: Array) -> "Fragments":
        weight = np.array(weight, dtype=float)
        weight[0] = 0.0
        p = (1 - SPREAD) * weight / weight.sum()
        p[1:] += SPREAD / (len(p) - 1)
        return cls(p)

    def effective_lengths(self, lengths: Array) -> Array:
        """Return the mean number of starts of a fragment that fits; shape of ``lengths`` (nucleotides, at least 1)."""
        p = self.probability
        fit = np.clip(lengths, 1, len(p) - 1)
        fits, weighted = np.cumsum(p), np.cumsum(p * np.arange(len(p)))
        return np.asarray(lengths + 1.0 - weighted[fit] / fits[fit])

    def starts(self, lengths: Array, reach: Array, *, known: bool) -> Array:
        """Return Σ P(f | f fits) / (L - f + 1) over what the fragment's length f may be.

        Parameters
        ----------
        lengths : ndarray of int, shape (M,)
            Nucleotides L of the transcript of each alignment.
        reach : ndarray of int, shape (M,)
            The fragment's length (``known``), or the most that it can be.
        known : bool

        Returns
        -------
        ndarray, shape (M,)
        """
        p, out = self.probability, np.empty(len(lengths))
        order = np.argsort(lengths, kind="stable")
        for some in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            length = int(lengths[some[0]])
            fit = p[: length + 1]
            each = fit / fit.sum() / (length + 1.0 - np.arange(len(fit)))
            at = reach[some]
            if known:
                out[some] = np.where(at < len(fit), each[np.minimum(at, len(fit) - 1)], SPREAD / len(p) / length)
            else:
                out[some] = np.cumsum(each)[np.minimum(at, len(fit) - 1)]
        return out
