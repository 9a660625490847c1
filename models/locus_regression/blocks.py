"""A corpus on disk, in blocks of neighbouring loci: what does not fit into memory is fitted block by block.

A folder holds ``corpus.nc``, a tree with all that is known of the loci and one mutation of each genome; ``sums.nc``,
sums over all mutations; and ``cells/00000.nc``, ``cells/00001.nc`` ..., the mutations of each block.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.data import check
from genarium.declaration import Array, Model, Problem
from genarium.engines.workers import Run
from genarium.errors import InputError
from genarium.holding import hold
from genarium.tree import data_tree, load, save, with_coordinates
from genarium.writing import replacing

from .channels import split_channel
from .corpus import CELLS, Corpus, corpus
from .expectation import Sums, Weights, distribute, with_tops

SUMS = ("row_total", "table", "starts", "log_opportunity")


class Writer:
    """Writes a corpus block by block.

    Parameters
    ----------
    folder : str or Path
        A new one, or empty.
    model : Model
        The variant, such as ``gn.get("locus_regression").variant(form="conditional")``.
    known : mapping of str to array_like
        What is known of the loci and the genomes: ``features`` and, if they are not as by default, ``exposure``,
        ``context_opportunity`` ...; with several covariate groups the features have three dims.
    genomes : int
    labels : mapping of str to ndarray, optional
        Names along dims, of genomes and features, say.

    Raises
    ------
    InputError
        If the folder is not empty.
    """

    def __init__(
        self,
        folder: str | Path,
        model: Model,
        known: Mapping[str, Any],
        *,
        genomes: int,
        labels: Mapping[str, Array] | None = None,
    ) -> None:
        self.folder, self.model, self.known, self.genomes = Path(folder), model, dict(known), genomes
        self.labels = dict(labels or {})
        if self.folder.exists() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder}: a corpus in blocks needs an empty folder. Give another name.")
        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        features = np.asarray(self.known["features"])
        self.groups, self.loci = (features.shape[0] if features.ndim == 3 else 1), features.shape[-1]
        sizes = {**model.sizes, "locus": self.loci, "genome": genomes}
        self.channels, C = sizes["channel"], sizes["context"]
        self.alternatives = self.channels // C
        opportunity = np.asarray(self.known.get("context_opportunity", np.ones((C, self.loci))), dtype=float)
        self.opportunity = opportunity * np.asarray(self.known.get("context_exposure", np.ones(C)))[:, None]
        self.starts = [0]
        self.row_total = np.zeros((self.groups, self.loci))
        self.table = np.zeros((genomes, self.channels))
        self.log_opportunity = 0.0
        self.first: dict[str, Array] = {name: np.full(genomes, -1) for name in ("locus", "channel", "group")}

    def add(
        self,
        high: int,
        genome: Array,
        locus: Array,
        channel: Array,
        count: Array | None = None,
        group: Array | None = None,
    ) -> None:
        """Write the mutations of the loci from the last block's end up to ``high``.

        Parameters
        ----------
        high : int
        genome, locus, channel : ndarray of int, shape (I,)
        count, group : ndarray of int, shape (I,), optional
            1 and 0 by default.

        Raises
        ------
        InputError
            If a label lies outside its range, or a mutation is of a context that its locus does not have.
        """
        low, block = self.starts[-1], len(self.starts) - 1
        count = np.ones(len(genome), dtype=np.int64) if count is None else np.asarray(count)
        group = np.zeros(len(genome), dtype=np.int64) if group is None else np.asarray(group)
        ranges = {"genome": (genome, 0, self.genomes), "locus": (locus, low, high), "count": (count, 1, 2**31)}
        ranges |= {"channel": (channel, 0, self.channels), "group": (group, 0, self.groups)}
        for name, (values, least, above) in ranges.items():
            if (wrong := np.flatnonzero((values < least) | (values >= above))).size:
                raise InputError(
                    f"locus_regression: block {block}, {name}[{wrong[0]}] is {values[wrong[0]]}, which is not from "
                    f"{least} up to {above - 1}. Give blocks in the order of the loci."
                )
        context, _ = split_channel(np.asarray(channel), self.channels // self.alternatives, self.alternatives)
        occurs = self.opportunity[context, locus]
        if (absent := np.flatnonzero(~(occurs > 0))).size:
            at = absent[0]
            raise InputError(
                f"locus_regression: block {block}, mutation {at} is of context {context[at]}, which locus {locus[at]} "
                "does not have. Check context_opportunity."
            )
        row = group.astype(np.int64) * (high - low) + (np.asarray(locus) - low)
        key = (row * self.genomes + genome) * self.channels + channel
        unique, inverse = np.unique(key, return_inverse=True)
        rest, own_channel = np.divmod(unique, self.channels)
        own_row, own_genome = np.divmod(rest, self.genomes)
        cells = (own_genome, own_row, own_channel, np.bincount(inverse, count, len(unique)).astype(np.int64))
        _write(self.folder / "cells" / f"{block:05d}.nc", dict(zip(CELLS, map(_narrow, cells), strict=True)))
        self.row_total[:, low:high] = np.bincount(row, count, self.groups * (high - low)).reshape(self.groups, -1)
        at = np.asarray(genome).astype(np.int64) * self.channels + channel
        self.table += np.bincount(at, count, self.table.size).reshape(self.table.shape)
        self.log_opportunity += float(count @ np.log(occurs))
        for name, values in (("locus", locus), ("channel", channel), ("group", group)):
            fresh = self.first[name] < 0
            seen = np.full(self.genomes, -1)
            seen[genome[::-1]] = np.asarray(values)[::-1]
            self.first[name] = np.where(fresh, seen, self.first[name])
        self.starts.append(high)

    def finish(self, like: xr.DataTree | None = None) -> Path:
        """Write what is known, and return the folder.

        Parameters
        ----------
        like : DataTree, optional
            What the mutations were taken from: its attributes, and coordinates of loci beside their names, are kept.

        Raises
        ------
        InputError
            If the last block ends before the last locus, or what is known cannot be used; genomes without mutations
            among it.
        """
        if self.starts[-1] != self.loci:
            raise InputError(f"locus_regression: blocks end at locus {self.starts[-1]} of {self.loci}. Add the rest.")
        if (bare := np.flatnonzero(self.first["locus"] < 0)).size:
            raise InputError(f"locus_regression: genome {bare[0]} has no mutations. Leave it out.")
        cells = {**self.first, "genome": np.arange(self.genomes), "count": np.ones(self.genomes, dtype=np.int64)}
        if self.groups == 1:
            del cells["group"]
        problem, variables = check(self.model, {**self.known, **cells}, {"process": 1}), self.model.variables()
        arrays = {name: value for name, value in problem.arrays.items() if "process" not in variables[name].dims}
        sizes = {dim: size for dim, size in problem.sizes.items() if dim != "process"}
        coords = {dim: self.labels.get(dim, names) for dim, names in problem.coords.items()}
        save(kept(replace(problem, arrays=arrays, sizes=sizes, coords=coords), like), self.folder / "corpus.nc")
        sums = {"row_total": self.row_total.ravel(), "table": self.table, "starts": np.array(self.starts)}
        _write(self.folder / "sums.nc", {**sums, "log_opportunity": np.array([self.log_opportunity])})
        return self.folder


def kept(problem: Problem, like: xr.DataTree | None) -> xr.DataTree:
    """Return a tree of data with the further coordinates and attributes of the tree that they came from."""
    tree = data_tree(problem)
    if like is None:
        return tree
    tree = with_coordinates(tree, hold(problem.model, like))
    tree.attrs = {**like.attrs, **tree.attrs}
    return tree


def split(problem: Problem, folder: str | Path, blocks: int, like: xr.DataTree | None = None) -> Path:
    """Write a problem's mutations in blocks of about as many loci each; ``like``: the tree that it was made of.

    What is known of single processes is not kept, as their number is left to the fit.

    Returns
    -------
    Path
        The folder.
    """
    known = {name: value for name, value in problem.arrays.items() if name in problem.model.known.variables}
    cells = {str(name): known.pop(name) for name in ("genome", "count", "group") if name in known}
    cells |= {str(name): problem[name] for name in ("locus", "channel")}
    known = {n: v for n, v in known.items() if "process" not in problem.model.known.variables[n].dims}
    labels = {dim: names for dim, names in problem.coords.items() if names.dtype.kind == "U" and dim != "process"}
    writer = Writer(folder, problem.model, known, genomes=problem.sizes["genome"], labels=labels)
    for high in np.linspace(0, writer.loci, blocks + 1).astype(int)[1:]:
        here = (cells["locus"] >= writer.starts[-1]) & (cells["locus"] < high) & (cells["count"] > 0)
        writer.add(int(high), **{name: value[here] for name, value in cells.items()})
    return writer.finish(like)


@dataclass(frozen=True)
class Stored(Corpus):
    """A corpus whose mutations lie on disk; it has none itself.

    Attributes
    ----------
    folder : Path
    starts : ndarray, shape (blocks + 1,)
        First locus of each block.
    sums : mapping of str to ndarray
        ``row_total`` (R,), ``table`` (G, M), ``log_opportunity`` (1,).
    first : mapping of str to ndarray, shape (G,)
        Genome, row, channel and count (1) of one mutation of each genome.
    """

    folder: Path = Path()
    starts: Array = ()  # type: ignore[assignment]
    sums: Mapping[str, Array] = ()  # type: ignore[assignment]
    first: Mapping[str, Array] = ()  # type: ignore[assignment]

    @classmethod
    def open(cls, folder: str | Path, sizes: Mapping[str, int], values: Mapping[str, Any]) -> "tuple[Stored, Problem]":
        """Open a folder; also return the problem that it and the given sizes and values make."""
        path = Path(folder)
        tree = load(path / "corpus.nc")
        from genarium.registry import resolve

        problem = check(resolve("locus_regression", tree), tree, sizes, values)
        sums = _read(path / "sums.nc", SUMS)
        own = {name: value for name, value in vars(corpus(problem)).items() if name in Corpus.__dataclass_fields__}
        first = {name: own[name][np.argsort(own["genome"])].astype(np.int64) for name in CELLS}
        own |= {name: np.empty(0, dtype=own[name].dtype) for name in CELLS}
        return cls(**own, folder=path, starts=sums.pop("starts"), sums=sums, first=first), problem

    @property
    def row_total(self) -> Array:
        """Mutations of each row."""
        return self.sums["row_total"]

    @property
    def table(self) -> Array:
        """Mutations by genome and channel; shape (G, M)."""
        return self.sums["table"]

    @property
    def log_opportunity(self) -> float:
        """Sum over mutations of the log opportunity of their context."""
        return float(self.sums["log_opportunity"][0])

    def mutations(self) -> Iterator[dict[str, Array]]:
        """Yield the cells block by block; rows count from the block's first locus."""
        for b in range(len(self.starts) - 1):
            yield _read(self.folder / "cells" / f"{b:05d}.nc", CELLS)

    def expect(
        self, run: Run, weight: Weights, place: Weights, spectrum: Weights, blocks: Iterable[int] | None = None
    ) -> Sums:
        """Distribute the mutations of all blocks, or of some, as :func:`.expectation.expect` does.

        Parameters
        ----------
        run : callable
            From :func:`genarium.engines.workers.running`.
        weight, place, spectrum : Weights
        blocks : iterable of int, optional
        """
        J, K = len(self.features), weight.scaled.shape[1]
        table = place.scaled.reshape(J, -1, K)
        chosen = list(range(len(self.starts) - 1) if blocks is None else blocks)
        edges = [(int(self.starts[b]), int(self.starts[b + 1])) for b in chosen]

        of_genome, of_channel = np.zeros(weight.scaled.shape), np.zeros(spectrum.scaled.shape)
        of_row, log_sum = np.zeros(table.shape), 0.0
        parts = [
            (str(self.folder / "cells" / f"{b:05d}.nc"), weight.scaled, table[:, low:high], spectrum.scaled)
            for b, (low, high) in zip(chosen, edges, strict=True)
        ]
        for (low, high), found in zip(edges, run(expect_block, parts), strict=True):
            of_genome += found[0]
            of_row[:, low:high] = found[1].reshape(J, -1, K)
            of_channel += found[2]
            log_sum += found[3]
        total = self.row_total
        if blocks is not None:
            seen = np.zeros((J, len(total) // J))
            for low, high in edges:
                seen[:, low:high] = total.reshape(J, -1)[:, low:high]
            total = seen.ravel()
        return with_tops((of_genome, of_row.reshape(-1, K), of_channel, log_sum), total, weight, place, spectrum)

    def sample(self, most: int, rng: np.random.Generator) -> dict[str, Array]:
        """Return some of the mutations, each as likely as any other, and at least one of every genome.

        Parameters
        ----------
        most : int
            About as many, or all.
        rng : Generator

        Returns
        -------
        dict
            ``genome``, ``row``, ``channel`` and ``count`` of the cells that have some.
        """
        share = min(1.0, most / float(self.table.sum()))
        found: list[list[Array]] = []
        for b, kept in enumerate(self.mutations()):
            count = rng.binomial(kept["count"].astype(np.int64), share)
            at = np.flatnonzero(count)
            group, locus = np.divmod(kept["row"][at].astype(np.int64), int(self.starts[b + 1] - self.starts[b]))
            row = group * self.features.shape[1] + locus + int(self.starts[b])
            found.append([kept["genome"][at].astype(np.int64), row, kept["channel"][at].astype(np.int64), count[at]])
        cells = [np.concatenate(parts) for parts in zip(*found, strict=True)]
        missing = np.setdiff1d(np.arange(self.genomes), cells[0])
        cells = [np.concatenate([have, self.first[name][missing]]) for name, have in zip(CELLS, cells, strict=True)]
        return dict(zip(CELLS, cells, strict=True))


def expect_block(path: str, weight: Array, place: Array, spectrum: Array) -> Sums:
    """Distribute the mutations of one block; place (J, loci of the block, K)."""
    kept = _read(Path(path), CELLS)
    index = [kept[name].astype(np.int32) for name in CELLS[:3]]
    rows = np.ascontiguousarray(place).reshape(-1, place.shape[2])
    return distribute((index[0], index[1], index[2], kept["count"].astype(float)), weight, rows, spectrum)


def _narrow(values: Array) -> Array:
    """Return integers in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    dims = {name: tuple(f"{name}_{axis}" for axis in range(value.ndim)) for name, value in arrays.items()}
    with replacing(path) as temporary:
        xr.Dataset({name: (dims[name], value) for name, value in arrays.items()}).to_netcdf(
            temporary, engine="h5netcdf"
        )


def _read(path: Path, names: Iterable[str]) -> dict[str, Array]:
    import h5py  # xarray takes ten times as long to open a file, which counts where blocks are small

    try:
        with h5py.File(path, "r") as file:
            return {name: np.asarray(file[name][...]) for name in names}
    except (OSError, KeyError) as error:
        raise InputError(
            f"{path}: this is not a block of a corpus, or a damaged one ({error}). Write it again."
        ) from error
