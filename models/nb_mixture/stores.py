"""Fits of files that are never read whole: AnnData as HDF5 (.h5ad) or Zarr, block by block."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.data import check
from genarium.declaration import Array, Model, Problem
from genarium.errors import InputError
from genarium.progress import cpu_seconds, track
from genarium.readers.counts import first_odd
from genarium.readers.hdf5 import look_over
from genarium.readers.matrix import dense
from genarium.readers.messages import absent
from genarium.settings import generator
from genarium.supports import ROUND
from genarium.tree import data_tree, dataset, provenance, with_groups

from .blocks import CHUNK, InBlocks, InDask, InMemory, Source
from .stepwise import PlainCells, climb


class Stored(InBlocks):
    """Counts of an AnnData file, read by rows.

    Parameters
    ----------
    path : Path
        A file ``.h5ad``, or a folder of Zarr.
    genes : sequence of str
        Names of genes to take; none: all.
    layer : str
        The layer with the raw counts; empty: X.
    size_factor : str, optional
        "total" (a cell's total over the mean total, of all genes of the file), or a column of ``obs``.

    Raises
    ------
    InputError
        Naming file, place, value and remedy.
    """

    def __init__(self, path: Path, genes: Sequence[str], layer: str, size_factor: str | None) -> None:
        from anndata.io import read_elem, sparse_dataset

        self.path = path
        store = _opened(path)
        where = f"layers/{layer}" if layer else "X"
        if layer and layer not in store.get("layers", ()):
            raise absent(path, "layer", layer, store.get("layers", ()))
        if where not in store or "var" not in store or "obs" not in store:
            raise InputError(
                f"{path}: this is not AnnData with counts in {where}. Write it with write_h5ad or write_zarr."
            )
        kind = str(store[where].attrs.get("encoding-type", "array"))
        if kind == "csc_matrix":
            raise InputError(
                f"{path}: {where} is stored by columns (CSC), so that cells cannot be read block by block. Write it "
                "again with adata.X = adata.X.tocsr()."
            )
        self.matrix: Any = sparse_dataset(store[where]) if kind == "csr_matrix" else store[where]
        obs, names = read_elem(store["obs"]), [str(name) for name in read_elem(store["var"]).index]
        at = {name: i for i, name in enumerate(names)}
        asked = [name for name in names if name in genes] if genes else names
        for name, often in (Counter(asked) | Counter(genes)).items():
            if often > 1:
                raise InputError(
                    f"{path}: the gene name {name!r} is used more than once. Name it once; in the file, by "
                    "adata.var_names_make_unique()."
                )
        for name in genes:
            if name not in at:
                raise absent(path, "gene", name, names)
        self.names = list(genes) or names
        self.columns = np.array([at[name] for name in self.names])
        self.cells, self.genes = self.matrix.shape[0], len(self.names)
        self.size_factor = np.ones(self.cells)
        self.options: dict[str, Any] = {"layer": layer or None, "size_factor": size_factor}
        if size_factor == "total":
            total = self._totals()
            self.size_factor = total / total.mean()
            self.options["size_factor"] = {"total": float(total.mean()), "columns": len(names)}
        elif size_factor is not None:
            if size_factor not in obs:
                raise absent(path, "column of obs", size_factor, obs.columns)
            self.size_factor = np.asarray(obs[size_factor], dtype=float)
        positive(str(path), self.size_factor, obs.index)

    def _totals(self) -> Array:
        """Return the totals of all cells."""
        lows = range(0, self.cells, CHUNK)
        parts = [np.asarray(self.matrix[low : low + CHUNK].sum(1)).ravel() for low in track(lows, "totals of cells")]
        return np.concatenate(parts).astype(float)

    def rows(self, low: int, high: int) -> tuple[Array, Array]:
        """Return the counts (B, D) and size factors (B,) of consecutive cells."""
        block = self.matrix[low:high]
        if self.genes < block.shape[1] or (self.columns != np.arange(self.genes)).any():
            block = block[:, self.columns]
        return whole(block, str(self.path), self.names, low), self.size_factor[low:high]


class Given(InMemory):
    """Arrays that nobody has checked yet."""

    def rows(self, low: int, high: int) -> tuple[Array, Array]:
        """Return the counts (B, D) and size factors (B,) of consecutive cells."""
        x, s = super().rows(low, high)
        return whole(x, WHERE, range(self.genes), low), s


class GivenDask(InDask):
    """A Dask array that nobody has checked yet."""

    def rows(self, low: int, high: int) -> tuple[Array, Array]:
        """Return the counts (B, D) and size factors (B,) of consecutive cells."""
        x, s = super().rows(low, high)
        return whole(x, WHERE, range(self.genes), low), s

    def each[T](self, function: Callable[[Array, Array], T]) -> Iterator[T]:
        """Yield what a function makes of the counts and size factors of every block."""
        return super().each(lambda x, s: function(whole(x, f"{WHERE}, in a block", range(self.genes)), s))


WHERE = "nb_mixture: observed variable 'x' (cell, gene)"


def whole(block: Any, where: str, genes: Sequence[Any], low: int = 0) -> Array:
    """Return a block of counts, (B, D), checked to be counts; ``low``: its first cell."""
    if odd := first_odd(block):
        i, j, value = odd
        raise InputError(
            f"{where}: gene {genes[j]!r} of cell {low + i} is {value}, which is not a count. Give raw counts, "
            f"and {ROUND}."
        )
    return dense(block).astype(np.int64)


def positive(where: str, size_factor: Array, cells: Sequence[Any]) -> None:
    """Refuse size factors of other cells, or that are not positive."""
    if size_factor.shape != (len(cells),):
        raise InputError(f"{where}: there are {len(cells)} cells, but size factors of shape {size_factor.shape}.")
    if (bad := np.flatnonzero(~((size_factor > 0) & np.isfinite(size_factor)))).size:
        raise InputError(
            f"{where}: cell {cells[bad[0]]!r} has the size factor {size_factor[bad[0]]:g} ({bad.size} such "
            "cells); it must be positive. Remove cells without counts."
        )


def _opened(path: Path) -> Any:
    import h5py

    if path.is_dir():
        import zarr

        return zarr.open_group(path, mode="r")
    look_over(path, "AnnData", "If it is damaged or cut short, fetch it again")
    return h5py.File(path, "r")


def fit_file(
    model: Model,
    data: str | Path | Any,
    *,
    component: int,
    dispersion: str = "gene",
    genes: Sequence[str] = (),
    layer: str = "",
    size_factor: Any = None,
    seed: int = 0,
    restarts: int = 10,
    epochs: int = 1,
    forgetting: float = 0.6,
    sweeps: int = 10,
    tolerance: float = 1e-7,
    **values: Any,
) -> xr.DataTree:
    """Fit counts that are never held whole, by the method ``online``.

    Parameters
    ----------
    model : Model
    data : path, Dask array, or array
        AnnData (``.h5ad``, or a folder of Zarr); or counts, (cell, gene), that can be cut into rows.
    component : int
        Number of components.
    dispersion : {"gene", "shared", "component", "known"}
        With "known", give ``phi``.
    genes : sequence of str
        Genes to take of a file; none: all.
    layer : str
        Layer of a file with the raw counts; empty: X.
    size_factor : str or ndarray, optional
        Of a file: "total", or a column of ``obs``. Of arrays: an array, (cell,).
    seed : int
    restarts, epochs, forgetting, sweeps, tolerance
        As for the method ``online``.
    **values
        Known variables.

    Returns
    -------
    DataTree
        With the group ``point``. Of the cells it holds some thousand, drawn at random, on which ``diagnose`` and
        ``report`` look; ``notes`` says how many were fitted.

    Raises
    ------
    InputError
        If data or settings cannot be used.
    """
    if isinstance(data, str | Path):
        stored = Stored(Path(data), genes, layer, size_factor)
        source: Source = stored
        names: Any = np.array(stored.names, dtype=object)
        told = {"reader_options": stored.options}  # by which new cells are read
    else:
        if isinstance(size_factor, str):
            raise InputError(
                f"{WHERE}: size_factor={size_factor!r} is for files. Give an array with one for each cell."
            )
        factors = np.ones(data.shape[0]) if size_factor is None else np.asarray(size_factor, dtype=float)
        positive(WHERE, factors, range(data.shape[0]))
        source = GivenDask(data, factors) if hasattr(data, "to_delayed") else Given(data, factors)
        names, told = np.arange(source.genes), {}
    variant = model.variant(dispersion=dispersion)
    few = check(variant, {"x": source.rows(0, min(100, source.cells))[0], **values}, {"component": component})
    arrays = {name: a for name, a in few.arrays.items() if name not in ("x", "size_factor")}
    coords = {**{dim: c for dim, c in few.coords.items() if dim != "cell"}, "gene": names}
    problem = Problem(variant, {**few.sizes, "cell": source.cells}, arrays, few.fixed, coords)
    wall, cpu = time.perf_counter(), cpu_seconds()
    rng = generator(seed)
    cells = PlainCells(problem, source, rng)
    step, found, notes = climb(cells, rng, restarts, epochs, forgetting, sweeps, tolerance)
    order = np.argsort(-found.state.pi, kind="stable")
    held = cells.small
    q, _ = step.counts.block(held["x"], held["size_factor"]).assign(step.logits(found.state)[0])
    estimates = {
        **step.estimate(found.state, order),
        "responsibility": (("cell", "component"), q[order].T),
        "bound": (("restart", "iteration"), found.bounds[None]),
    }
    attrs = provenance(
        method="online",
        claim="point",
        engine="numpy",
        seed=seed,
        options={"epochs": epochs, "forgetting": forgetting, "sweeps": sweeps, "tolerance": tolerance},
        fixed=list(few.fixed),
        notes={**notes, "cells": source.cells},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - wall,
        cpu_seconds=cpu_seconds() - cpu,
        **told,
    )
    start = data_tree(held)
    return with_groups(start, {"point": dataset(variant, held.coords, estimates)}, attrs)
