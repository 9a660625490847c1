"""The counts, arranged once for the sweeps that EM and VI repeat.

Shapes: N cells, D genes, K components, T nodes of the size factors, U distinct counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.simplex import normalised

from .nodes import ERROR, Frame, Nodes, frame
from .rising import log_rising

BLOCK = 8192
"""Cells handled at once: a block of logits stays in the processor's cache."""

WORK = 200_000
"""Numbers in a work array of a sweep with nodes: it stays in the processor's cache."""

FEW_GENES, MANY_LOGITS = 16, 100_000
"""When the compiled sweep pays: with more genes BLAS is faster, with fewer logits the compiler's import costs more."""


@dataclass(frozen=True)
class Moments:
    """What a sweep without size factors leaves of the responsibilities q.

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


@dataclass(frozen=True)
class Sums:
    """What a sweep leaves of the responsibilities q: all that any update of the parameters needs.

    Attributes
    ----------
    log_sum : float
        Sum over cells of the log of the sum of exp over components.
    weight : ndarray, shape (T, K)
        Sum over cells of q, each cell shared among the nodes of its size factor.
    total : ndarray, shape (T, K, D)
        Likewise of q x.
    frequency : ndarray, shape (K, U), optional
        Likewise of q by distinct count, where components have their own dispersion, or these are not all cells (then
        its sum over components matters).
    """

    log_sum: float
    weight: Array
    total: Array
    frequency: Array | None = None


@dataclass(frozen=True)
class Logits:
    """Logits of the responsibilities, ``intercept + x slope`` at every node, and a value for every distinct count.

    Attributes
    ----------
    slope : ndarray, shape (T, K, D)
    intercept : ndarray, shape (T, K)
    table : ndarray, shape (K, U), optional
    """

    slope: Array
    intercept: Array
    table: Array | None = None


@dataclass(frozen=True)
class Distinct:
    """The distinct counts of each gene, one gene after another.

    Attributes
    ----------
    values, gene : ndarray of int, shape (U,)
    frequency : ndarray, shape (U,)
        Number of cells with each.
    """

    values: Array
    gene: Array
    frequency: Array


class Counts:
    """Counts and size factors.

    Parameters
    ----------
    x : ndarray of int, shape (N, D)
    size_factor : ndarray, shape (N,)
    error : float
        Of the interpolation over size factors (:func:`.nodes.frame`).
    where : Frame, optional
        Nodes of more cells than these.
    distinct : Distinct, optional
        Distinct counts of more cells than these.
    """

    def __init__(
        self,
        x: Array,
        size_factor: Array,
        error: float = ERROR,
        where: Frame | None = None,
        distinct: Distinct | None = None,
    ) -> None:
        self.x = x
        self.size_factor = size_factor
        self.error, self.where = error, where
        self.has_depth = bool((size_factor != 1).any())
        if distinct is not None:
            self.distinct = distinct

    @cached_property
    def nodes(self) -> Nodes:
        """Nodes of the size factors; one where all are the same."""
        return Nodes(self.size_factor, self.where or frame(self.size_factor, self.error))

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
            log_sum += softmax(logits)
            sums += logits @ ones_x.T
        return Moments(log_sum, sums[:, 0], sums[:, 1:])

    def expect(self, logits: Logits) -> Sums:
        """E-step for logits at the nodes: the sums over cells.

        Returns
        -------
        Sums
        """
        if logits.table is None and len(logits.slope) == 1:
            sums = self.sweep(logits.slope[0], logits.intercept[0])
            return Sums(sums.log_sum, sums.weight[None], sums.total[None])
        log_sum, own = 0.0, logits.table is not None
        K = logits.intercept.shape[1]
        out = np.zeros((*logits.intercept.shape, 1 + self.x.shape[1]))  # (T, K, 1 + D)
        q = np.empty((K, len(self.x))) if own else None
        for cells, nodes, ones_x, share, block in self._blocks(logits):
            log_sum += softmax(block)
            if q is not None:
                q[:, cells] = block
            out[nodes] += _spread(block, share, ones_x)
        frequency = None if q is None else self.weighted_frequency(q)
        return Sums(log_sum, out[..., 0], out[..., 1:], frequency)

    def assign(self, logits: Logits) -> tuple[Array, Array]:
        """Return the responsibilities (K, N) that logits at the nodes give, and the log normaliser of each cell."""
        q = np.empty((logits.intercept.shape[1], len(self.x)))
        for cells, _, _, _, block in self._blocks(logits):
            q[:, cells] = block
        return normalised(q, 0)

    def sums(self, q: Array) -> Sums:
        """Return the sums over cells that responsibilities (K, N) give, without the log."""
        out = np.zeros((len(self.nodes.at), len(q), 1 + self.x.shape[1]))
        for cells, nodes, ones_x, share in self._cells(len(q)):
            out[nodes] += _spread(q[:, cells], share, ones_x)
        return Sums(0.0, out[..., 0], out[..., 1:], self.weighted_frequency(q))

    @cached_property
    def _by_bin(self) -> Array:
        """What ``transposed`` holds, with the cells of a bin next to each other."""
        bins = self.nodes.bins
        return self.transposed if len(bins) == 1 else self.transposed[:, np.concatenate([one.cells for one in bins])]

    def _cells(self, K: int) -> Iterator[tuple[Any, slice, Array, Array]]:
        """Yield blocks of cells: which, their nodes, their counts below a row of ones, and shares (M, B)."""
        whole, start = len(self.nodes.bins) == 1, 0
        for one in self.nodes.bins:
            step = max(64, WORK // (K * len(one.share)))
            for low in range(0, len(one.cells), step):
                cells = slice(low, low + step) if whole else one.cells[low : low + step]
                high = min(low + step, len(one.cells))
                yield cells, one.nodes, self._by_bin[:, start + low : start + high], one.share[:, low:high]
            start += len(one.cells)

    def _blocks(self, logits: Logits) -> Iterator[tuple[Any, slice, Array, Array, Array]]:
        """Yield what :meth:`_cells` does and the logits of these cells (K, B)."""
        weights = np.concatenate([logits.intercept[..., None], logits.slope], -1).swapaxes(0, 1)  # (K, T, 1 + D)
        extra = None if logits.table is None else self.looked_up(logits.table)
        for cells, nodes, ones_x, share in self._cells(len(weights)):
            at_nodes = np.ascontiguousarray(weights[:, nodes]).reshape(-1, len(ones_x)) @ ones_x
            if len(share) == 1:
                block = at_nodes
            else:
                at_nodes = at_nodes.reshape(len(weights), len(share), -1)
                at_nodes *= share
                block = at_nodes.sum(1)
            if extra is not None:
                block += extra[:, cells]
            yield cells, nodes, ones_x, share, block

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
    def log_depth(self) -> float:
        """Sum over cells and genes of x ln s."""
        return float(self.x.sum(1) @ np.log(self.size_factor)) if self.has_depth else 0.0

    @cached_property
    def distinct(self) -> Distinct:
        """The distinct counts."""
        found = [np.unique(column, return_counts=True) for column in self.x.T]
        gene = np.repeat(np.arange(len(found)), [len(values) for values, _ in found])
        return Distinct(
            np.concatenate([values for values, _ in found]),
            gene,
            np.concatenate([often for _, often in found]).astype(float),
        )

    @property
    def values(self) -> Array:
        """Distinct counts of each gene, one gene after another; shape (U,)."""
        return self.distinct.values

    @property
    def gene(self) -> Array:
        """Gene of each distinct count; shape (U,)."""
        return self.distinct.gene

    @property
    def frequency(self) -> Array:
        """Number of cells with each distinct count; shape (U,)."""
        return self.distinct.frequency

    @cached_property
    def inverse(self) -> Array:
        """Position of every count among the distinct ones; shape (N, D)."""
        edges = np.searchsorted(self.gene, np.arange(self.x.shape[1] + 1))
        out = np.empty(self.x.shape, dtype=np.int64)
        for d, (low, high) in enumerate(pairwise(edges.tolist())):
            out[:, d] = low + np.searchsorted(self.values[low:high], self.x[:, d])
        return out

    @cached_property
    def _indicator(self) -> Any:
        """Which distinct counts a cell has, as a sparse matrix of ones (N, U)."""
        from scipy import sparse

        N, D = self.x.shape
        parts = (np.ones(N * D), self.inverse.ravel(), np.arange(0, N * D + 1, D))
        return sparse.csr_array(parts, shape=(N, len(self.values)))

    def own_frequency(self) -> Array:
        """Return the number of these cells with each distinct count; shape (1, U)."""
        return np.bincount(self.inverse.ravel(), minlength=len(self.values)).astype(float)[None]

    def weighted_frequency(self, q: Array) -> Array:
        """Responsibility of each component for each distinct count; (K, N) to (K, U)."""
        return np.asarray((self._indicator.T @ np.ascontiguousarray(q.T)).T)

    def looked_up(self, table: Array) -> Array:
        """Sum over genes what a table says of each cell's counts; (K, U) to (K, N)."""
        return np.asarray((self._indicator @ np.ascontiguousarray(table.T)).T)

    def by_gene(self, terms: Array) -> Array:
        """Sum terms over the distinct counts of each gene; (..., U) to (..., D)."""
        starts = np.searchsorted(self.gene, np.arange(self.x.shape[1]))
        return np.add.reduceat(terms, starts, axis=-1)


def logits_at(at: Array, log_pi: Array, mu: Array, r: Array, table: Array | None = None) -> Logits:
    """Return the logits of given parameters, but for what all components share.

    Parameters
    ----------
    at : ndarray, shape (T,)
        Size factors of the nodes.
    log_pi : ndarray, shape (K,)
    mu, r : ndarray, shape (K, D)
    table : ndarray, shape (K, U), optional
        Rising factorials by distinct count, where they differ by component.
    """
    log_ratio = np.log1p(at[:, None, None] * (mu / r))  # (T, K, D)
    return Logits(np.log(mu / r) - log_ratio, log_pi - (r * log_ratio).sum(-1), table)


def rising_table(counts: Counts, r: Array) -> Array:
    """Log of Gamma(x + r) / Gamma(r) at every distinct count; (..., D) to (..., U)."""
    return log_rising(counts.values, r, counts.gene)


def log_weights(pi: Array) -> Array:
    """Return ln pi, finite where a weight is zero."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(pi), -1e300)


def softmax(logits: Array) -> float:
    """Replace logits (K, B) by their softmax over components; return the sum of the log normalisers."""
    top = logits.max(0)
    logits -= top
    np.exp(logits, out=logits)
    norm = logits.sum(0)
    logits /= norm
    return float(top.sum() + np.log(norm).sum())


def _spread(q: Array, share: Array, ones_x: Array) -> Array:
    """Sum over cells of q share x; (K, B), (M, B), (1 + D, B) to (M, K, 1 + D)."""
    if len(share) == 1:
        return np.asarray(q @ ones_x.T)[None]
    joint = (share[:, None] * q).reshape(-1, q.shape[1])  # (M K, B)
    return np.asarray(joint @ ones_x.T).reshape(len(share), len(q), -1)
