"""The counts, arranged once for the sweeps that EM and VI repeat; shapes: N cells, D genes, K components."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genarium.declaration import Array
from genarium.simplex import normalised

BLOCK = 8192
"""Cells handled at once: a block of logits stays in the processor's cache."""

FEW_GENES, MANY_LOGITS = 16, 100_000
"""When the compiled sweep pays: with more genes BLAS is faster, with fewer logits the compiler's import costs more."""


@dataclass(frozen=True)
class Moments:
    """What a sweep leaves of the responsibilities q.

    Attributes
    ----------
    log_sum : float
        Sum over cells of the log of the sum of exp over components.
    weight : ndarray, shape (K,)
        Sum over cells of q.
    total : ndarray, shape (K, D)
        Sum over cells of q x.
    """

    log_sum: float
    weight: Array
    total: Array


class Counts:
    """Counts and size factors.

    Parameters
    ----------
    x : ndarray of int, shape (N, D)
    size_factor : ndarray, shape (N,)
    """

    def __init__(self, x: Array, size_factor: Array) -> None:
        self.x = x
        self.size_factor = size_factor
        self.has_depth = bool((size_factor != 1).any())

    @cached_property
    def transposed(self) -> Array:
        """A row of ones above the counts by gene, as floats; shape (1 + D, N)."""
        out = np.ones((1 + self.x.shape[1], len(self.x)))
        out[1:] = self.x.T
        return out

    def sweep(self, slope: Array, intercept: Array, extra: Array | None = None) -> Moments:
        """E-step for logits that are linear in the counts, ``intercept + x slope' + extra``, never stored whole.

        Parameters
        ----------
        slope : ndarray, shape (K, D)
        intercept : ndarray, shape (K,)
        extra : ndarray, shape (K, N), optional

        Returns
        -------
        Moments
        """
        if extra is None and self.x.shape[1] <= FEW_GENES and len(self.x) * len(intercept) >= MANY_LOGITS:
            from .kernels import sweep

            return Moments(*sweep(self.transposed[1:], slope, intercept))
        return self.sweep_blocks(slope, intercept, extra)

    def sweep_blocks(self, slope: Array, intercept: Array, extra: Array | None = None) -> Moments:
        """Do what :meth:`sweep` does, in NumPy."""
        weights = np.column_stack([intercept, slope])  # (K, 1 + D)
        sums = np.zeros((len(intercept), weights.shape[1]))
        log_sum = 0.0
        for low in range(0, len(self.x), BLOCK):
            ones_x = self.transposed[:, low : low + BLOCK]  # (1 + D, B)
            logits = weights @ ones_x  # (K, B)
            if extra is not None:
                logits += extra[:, low : low + BLOCK]
            top = logits.max(0)
            logits -= top
            np.exp(logits, out=logits)
            norm = logits.sum(0)
            log_sum += float(top.sum() + np.log(norm).sum())
            logits /= norm
            sums += logits @ ones_x.T
        return Moments(log_sum, sums[:, 0], sums[:, 1:])

    def responsibilities(self, logits: Array) -> tuple[Array, float]:
        """Normalise logits over components.

        Parameters
        ----------
        logits : ndarray, shape (K, N)

        Returns
        -------
        q : ndarray, shape (K, N)
        log_sum : float
            Sum over cells of the log normaliser.
        """
        q, log_norm = normalised(logits, 0)
        return q, float(log_norm.sum())

    def linear(self, slope: Array, intercept: Array) -> Array:
        """Logits that are linear in the counts; shape (K, N)."""
        out: Array = np.column_stack([intercept, slope]) @ self.transposed
        return out

    @cached_property
    def factorial(self) -> float:
        """Sum over cells and genes of ln x!."""
        from scipy.special import gammaln

        return float((gammaln(self.values + 1) * self.frequency).sum())

    @cached_property
    def _table(self) -> tuple[Array, Array, Array, Array]:
        values, gene, inverse, offset = [], [], np.empty(self.x.shape, dtype=np.int64), 0
        for d, column in enumerate(self.x.T):
            distinct, where = np.unique(column, return_inverse=True)
            values.append(distinct)
            gene.append(np.full(len(distinct), d))
            inverse[:, d] = where + offset
            offset += len(distinct)
        flat = np.concatenate(values)
        return flat, np.concatenate(gene), np.bincount(inverse.ravel(), minlength=len(flat)).astype(float), inverse

    @property
    def values(self) -> Array:
        """Distinct counts of each gene, one gene after another; shape (U,)."""
        return self._table[0]

    @property
    def gene(self) -> Array:
        """Gene of each distinct count; shape (U,)."""
        return self._table[1]

    @property
    def frequency(self) -> Array:
        """Number of cells with each distinct count; shape (U,)."""
        return self._table[2]

    @property
    def inverse(self) -> Array:
        """Position of every count among the distinct ones; shape (N, D)."""
        return self._table[3]

    def weighted_frequency(self, q: Array) -> Array:
        """Responsibility of each component for each distinct count; shape (K, U)."""
        D = self.x.shape[1]
        flat, U = self.inverse.ravel(), len(self.values)
        return np.stack([np.bincount(flat, np.repeat(row, D), minlength=U) for row in q])

    def by_gene(self, terms: Array) -> Array:
        """Sum terms over the distinct counts of each gene; (..., U) to (..., D)."""
        starts = np.searchsorted(self.gene, np.arange(self.x.shape[1]))
        return np.add.reduceat(terms, starts, axis=-1)
