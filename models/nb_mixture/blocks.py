"""Counts that are read block by block: in memory, in files, or in Dask arrays; no more than a block is held.

Shapes: N cells, D genes, B cells of a block.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from genarium.declaration import Array
from genarium.progress import track

from .counts import Counts, Distinct, Logits, Sums
from .nodes import Frame, Nodes, frame

CHUNK = 65_536
"""Cells read at once."""


class Source(Protocol):
    """Counts and size factors by rows."""

    cells: int
    genes: int

    def rows(self, low: int, high: int) -> tuple[Array, Array]:
        """Return the counts (B, D) and size factors (B,) of consecutive cells."""

    def each[T](self, function: Callable[[Array, Array], T]) -> Iterator[T]:
        """Yield what a function makes of the counts and size factors of every block."""


class InBlocks:
    """What every source does with its rows."""

    cells: int

    def rows(self, low: int, high: int) -> tuple[Array, Array]:
        """Return the counts (B, D) and size factors (B,) of consecutive cells."""
        raise NotImplementedError

    def each[T](self, function: Callable[[Array, Array], T]) -> Iterator[T]:
        """Yield what a function makes of the counts and size factors of every block."""
        for low in range(0, self.cells, CHUNK):
            yield function(*self.rows(low, min(low + CHUNK, self.cells)))


class InMemory(InBlocks):
    """Arrays, or what can be cut into rows like them (a memory map, an array of HDF5 or Zarr)."""

    def __init__(self, x: Any, size_factor: Array) -> None:
        self.x, self.size_factor = x, size_factor
        self.cells, self.genes = x.shape

    def rows(self, low: int, high: int) -> tuple[Array, Array]:
        """Return the counts (B, D) and size factors (B,) of consecutive cells."""
        return np.asarray(self.x[low:high]), self.size_factor[low:high]


class InDask:
    """A Dask array of counts, in blocks of rows; what is done with a block is done by the scheduler in use."""

    def __init__(self, x: Any, size_factor: Array) -> None:
        self.x, self.size_factor = x.rechunk({1: -1}), size_factor
        self.cells, self.genes = x.shape

    def rows(self, low: int, high: int) -> tuple[Array, Array]:
        """Return the counts (B, D) and size factors (B,) of consecutive cells."""
        return np.asarray(self.x[low:high].compute()), self.size_factor[low:high]

    def each[T](self, function: Callable[[Array, Array], T]) -> Iterator[T]:
        """Yield what a function makes of the counts and size factors of every block."""
        import dask

        ends = np.cumsum(self.x.chunks[0])
        blocks = self.x.to_delayed()[:, 0]
        work = [
            dask.delayed(function)(block, self.size_factor[end - size : end])
            for block, end, size in zip(blocks, ends, self.x.chunks[0], strict=True)
        ]
        yield from dask.compute(*work)


class Blocks(Counts):
    """The counts of a source, as the sweeps see them: an E-step reads all of it once.

    Parameters
    ----------
    source : Source
    keep : int
        Cells to keep of the first reading, drawn at random.
    rng : Generator

    Attributes
    ----------
    sample : (ndarray, ndarray)
        Counts and size factors of the cells that were kept.
    """

    def __init__(self, source: Source, keep: int, rng: np.random.Generator) -> None:
        self.source, self.cells = source, source.cells
        share = min(1.0, keep / source.cells)
        seeds = iter(rng.spawn(source.cells // 1000 + 1000))

        def look(x: Array, s: Array, own: np.random.Generator) -> tuple[Any, ...]:
            pick = own.random(len(x)) < share
            found = [np.unique(column, return_counts=True) for column in x.T]
            return found, (s.min(), s.max()), float(x.sum(1) @ np.log(s)), x[pick], s[pick]

        looked = track(source.each(_Seeded(look, seeds)), "first reading", None)
        tables: list[dict[int, int]] = [{} for _ in range(source.genes)]
        ends, depth, samples = list[float](), 0.0, list[tuple[Array, Array]]()
        for found, range_of_s, log_depth, x, s in looked:
            for table, (values, often) in zip(tables, found, strict=True):
                for value, number in zip(values.tolist(), often.tolist(), strict=True):
                    table[value] = table.get(value, 0) + number
            ends += range_of_s
            depth += log_depth
            samples.append((x, s))
        self.sample = (np.concatenate([x for x, _ in samples]), np.concatenate([s for _, s in samples]))
        self.where: Frame = frame(np.array([min(ends), max(ends)]), cells=self.cells)
        self.has_depth = min(ends) != 1 or max(ends) != 1
        self.log_depth = depth if self.has_depth else 0.0
        values = [np.array(sorted(table), dtype=np.int64) for table in tables]
        often = [np.array([table[v] for v in sorted(table)], dtype=float) for table in tables]
        gene = np.repeat(np.arange(source.genes), [len(v) for v in values])
        self.distinct = Distinct(np.concatenate(values), gene, np.concatenate(often))
        self.x = np.empty((0, source.genes), dtype=np.int64)

    @property
    def nodes(self) -> Nodes:
        """Nodes of all size factors, of which no cell has a share here."""
        return Nodes(np.empty(0), Frame(self.where.at))

    def block(self, x: Array, size_factor: Array) -> Counts:
        """Arrange the counts of a block."""
        return Counts(x, size_factor, where=self.where, distinct=self.distinct)

    def expect(self, logits: Logits) -> Sums:
        """E-step over all blocks: the sums over cells."""
        return added(list(self.source.each(lambda x, s: self.block(x, s).expect(logits))))

    def assign(self, logits: Logits) -> tuple[Array, Array]:
        """Return the responsibilities (K, N) that logits at the nodes give, and the log normaliser of each cell."""
        parts = list(self.source.each(lambda x, s: self.block(x, s).assign(logits)))
        return np.concatenate([q for q, _ in parts], 1), np.concatenate([norm for _, norm in parts])


class _Seeded:
    """A function of a block and of random numbers of its own."""

    def __init__(self, function: Callable[..., Any], seeds: Iterator[np.random.Generator]) -> None:
        self.function, self.seeds = function, seeds

    def __call__(self, x: Array, s: Array) -> Any:
        return self.function(x, s, next(self.seeds))


def added(parts: Sequence[Sums]) -> Sums:
    """Add up the sums over blocks."""
    frequency = None if parts[0].frequency is None else np.sum([part.frequency for part in parts], 0)
    return Sums(
        sum(part.log_sum for part in parts),
        np.sum([part.weight for part in parts], 0),
        np.sum([part.total for part in parts], 0),
        frequency,
    )
