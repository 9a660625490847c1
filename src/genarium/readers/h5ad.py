"""AnnData files: the matrix of raw counts, and columns of ``obs`` and ``var`` that select cells and genes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import hdf5
from genarium.readers.counts import first_odd
from genarium.readers.matrix import Matrix, Terms
from genarium.readers.messages import absent, listed
from genarium.readers.sheet import Sheet
from genarium.remedies import flag, option, verb
from genarium.supports import ROUND

COUNTS = Terms("cell", "gene", "counts")

REMEDY = f"If it is a table, use {flag('format', 'table')}; if it is damaged or cut short, fetch it again"


@dataclass
class Stored:
    """What an AnnData file holds.

    Attributes
    ----------
    path : Path
    obs, var : DataFrame
        Columns of cells and of genes.
    counts : array
        Dense or sparse, (N, D); None if not asked for.
    obsm : mapping of str to ndarray
        Those matrices of ``obsm`` that were asked for, (N, ...).
    """

    path: Path
    obs: Any
    var: Any
    counts: Any
    obsm: Mapping[str, Array] = field(default_factory=dict)

    def flagged(self, axis: Literal["obs", "var"], column: str) -> Array:
        """Return a boolean column, checked to be true somewhere."""
        frame = getattr(self, axis)
        if column not in frame:
            raise absent(self.path, f"column of {axis}", column, frame.columns)
        flags = frame[column]
        where = f"{self.path}: {axis}[{column!r}]"
        if flags.dtype.kind != "b" or flags.isna().any():
            raise InputError(f"{where} holds {flags.dtype} values. Make it true or false everywhere.")
        if not flags.any():
            raise InputError(f"{where} is false everywhere, so that nothing is left. Choose another column.")
        return np.asarray(flags.to_numpy(dtype=bool))

    def marked(self, column: str) -> list[str]:
        """Return the genes for which a boolean column of ``var`` is true."""
        return [str(gene) for gene in self.var.index[self.flagged("var", column)]]

    def sheet(self, cells: str | None = None) -> Sheet:
        """Return ``obs`` as a sheet; of the cells that a boolean column marks, if one is named."""
        frame = self.obs.reset_index(drop=True)
        return Sheet(self.path, frame[self.flagged("obs", cells)] if cells else frame, 1, "row of obs")

    def matrix(self, cells: str | None = None, apart: Sequence[str] = ()) -> Matrix:
        """Return the counts.

        Parameters
        ----------
        cells : str, optional
            Boolean column of ``obs`` that marks the cells to take. Default: all.
        apart : sequence of str
            Numeric columns of ``obs`` to take along.
        """
        for name in apart:
            if name not in self.obs:
                raise absent(self.path, "column of obs", name, self.obs.columns)
        sheet = self.sheet()
        beside = {name: sheet.numbers(name, "choose another column").astype(float) for name in apart}
        names = self.obs.index.to_numpy(dtype=object)
        whole = Matrix(COUNTS, [self.path], names, [str(gene) for gene in self.var.index], self.counts, beside)
        types = dict(self.var["feature_types"].astype(str).value_counts()) if "feature_types" in self.var else {}
        if len(types) > 1:
            some = listed(f"{number:,} {name}" for name, number in types.items())
            whole.notes.append(
                f"{self.path.name}: all features are read as genes, though var['feature_types'] has types ({some})."
            )
        return whole.rest(self.flagged("obs", cells), f"obs[{cells!r}] is false") if cells else whole


def same_marks(marks: Mapping[Path, list[str]], column: str) -> list[str]:
    """Return the genes that all files mark in a boolean column of ``var``, or raise an error if these differ."""
    start, first = next(iter(marks.items()))
    for path, genes in marks.items():
        if set(genes) != set(first):
            raise InputError(
                f"{path}: var[{column!r}] marks other genes than in {start}. Choose genes over all files together, and "
                f"name them with {option('genes')}."
            )
    return first


def read_stored(
    path: Path, layer: str | None = None, *, raw: bool = True, matrices: Sequence[str] = (), counts: bool = True
) -> Stored:
    """Read a file written by ``AnnData.write_h5ad``.

    Parameters
    ----------
    path : Path
    layer : str, optional
        Layer with the raw counts, or ".raw" for ``adata.raw``. Default: ``adata.X``, if it holds raw counts.
    raw : bool
        False: any numbers will do.
    matrices : sequence of str
        Matrices of ``obsm`` to read, as far as the file has them.
    counts : bool
        False: of the matrix nothing is read (``counts`` is None), unless a layer is named.

    Returns
    -------
    Stored

    Raises
    ------
    InputError
        Naming file, place, value and remedy.
    """
    import h5py

    hdf5.look_over(path, "AnnData", REMEDY)
    try:
        with h5py.File(path, "r") as file:
            return _stored(path, file, layer, raw, matrices, counts or layer is not None)
    except InputError:
        raise
    except Exception as error:  # HDF5 and anndata raise a dozen kinds for damaged or foreign files
        raise hdf5.unreadable(path, "AnnData", error, REMEDY) from error


def _stored(path: Path, file: Any, layer: str | None, raw: bool, matrices: Sequence[str], counted: bool) -> Stored:
    from anndata.io import read_elem

    if {"constant_data", "observed_data"} & set(file):
        raise InputError(f"{path}: this is a tree that genarium wrote, not AnnData. Give it to {verb('fit')} as it is.")
    if "obs" not in file or "var" not in file:
        raise InputError(
            f"{path}: this HDF5 file is not AnnData; it has {listed(file)}. Convert it first (10x Genomics: "
            "scanpy.read_10x_h5), and write it with write_h5ad."
        )
    frames = [file["obs"], file["raw/var" if layer == ".raw" and "raw" in file else "var"]]
    if any(frame.attrs.get("encoding-type") != "dataframe" for frame in frames):
        raise InputError(f"{path}: this AnnData file has an old form. Write it again with a current anndata.")
    obs, var = map(read_elem, frames)
    for name, column in obs.items():
        if column.dtype.kind == "V" or (len(column) and isinstance(column.iloc[0], np.void | bytes)):
            raise InputError(
                f"{path}: column {name!r} of obs holds bytes without a meaning, not numbers or text. Write it again "
                "with AnnData, or remove it."
            )
    for axis, frame in (("obs", obs), ("var", var)):  # as names in a table, without blanks around them
        if (lost := np.flatnonzero(frame.index.isna())).size:
            raise InputError(
                f"{path}: the name of row {lost[0] + 1} of {axis} is missing ({lost.size} such). Fill in "
                f"adata.{axis}_names, and write the file again."
            )
        frame.index = frame.index.astype(str).str.strip()
    for what, axis, index in (("cell", "obs", obs.index), ("gene", "var", var.index)):
        if not len(index):
            raise InputError(f"{path}: the file has no {what}s. At least one is needed.")
        if index.has_duplicates:
            raise InputError(
                f"{path}: the {what} name {index[index.duplicated()][0]!r} is used more than once. "
                f"Call adata.{axis}_names_make_unique() and write the file again."
            )
    counts = _counts(path, file, layer, raw, obs.index, var.index) if counted else None
    if counts is not None and counts.shape != (len(obs), len(var)):
        raise InputError(
            f"{path}: obs has {len(obs)} cells and var {len(var)} genes, but the matrix has the shape {counts.shape}. "
            "Write the file again with write_h5ad."
        )
    beside = {name: _beside(path, file, name, len(obs)) for name in matrices if name in file.get("obsm", ())}
    return Stored(path, obs, var, counts, beside)


def _beside(path: Path, file: Any, name: str, rows: int) -> Array:
    """Read a matrix of ``obsm``, (rows, ...)."""
    from anndata.io import read_elem

    matrix = sound(path, f"obsm/{name}", read_elem(file[f"obsm/{name}"]))
    matrix = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)
    if matrix.ndim != 2 or len(matrix) != rows or matrix.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: obsm[{name!r}] has the shape {matrix.shape} and {matrix.dtype} values, but must be {rows} rows "
            "of numbers. Choose another matrix."
        )
    return matrix


def sound(path: Path, where: str, matrix: Any) -> Any:
    """Return a matrix, checked that a sparse one keeps to its shape: SciPy would read outside the memory."""
    if not hasattr(matrix, "indptr"):
        return matrix
    indptr, indices = matrix.indptr, matrix.indices
    across = matrix.format == "csr"
    major, minor = matrix.shape if across else matrix.shape[::-1]
    wrong = ""
    if any(a.ndim != 1 for a in (indptr, indices, matrix.data)) or {indptr.dtype.kind, indices.dtype.kind} - set("iu"):
        wrong = "indptr and indices must be lists of whole numbers"
    elif len(indptr) != major + 1 or indptr[0] != 0 or (np.diff(indptr.astype(np.int64)) < 0).any():
        wrong = f"indptr must rise from 0 in {major} steps"
    elif not indptr[-1] == len(indices) == len(matrix.data):
        wrong = f"indptr ends at {indptr[-1]}, but there are {len(indices)} indices and {len(matrix.data)} values"
    elif len(indices) and not (indices.min() >= 0 and indices.max() < minor):
        at = int(np.flatnonzero((indices < 0) | (indices >= minor))[0])
        wrong = f"index {at} is {indices[at]}, of {minor} {'columns' if across else 'rows'}"
    if wrong:
        raise InputError(f"{path}: {where} is damaged: as a sparse matrix, {wrong}. Fetch the file again.")
    return matrix


def _counts(path: Path, file: Any, layer: str | None, raw: bool, cells: Any, genes: Any) -> Any:
    """Read the raw counts, dense or sparse; shape (N, D)."""
    from anndata.io import read_elem

    def read(where: str) -> Any:
        matrix = sound(path, where, read_elem(file[where]))
        if matrix.dtype.kind not in "iuf":
            held = "text" if matrix.dtype.kind in "USO" else f"{matrix.dtype} values"
            raise InputError(f"{path}: {where} holds {held}, not numbers. Name a layer that does: {option('layer')}.")
        return matrix

    others = {name: f"layers/{name}" for name in file.get("layers", ())} | ({".raw": "raw/X"} if "raw" in file else {})
    if layer is not None:
        if layer not in others:
            raise absent(path, "layer", layer, others)
        return read(others[layer])
    odd: tuple[int, int, Any] | None = None
    if "X" in file:
        matrix = read("X")
        if not raw or (odd := first_odd(matrix)) is None:
            return matrix
    what = f"X holds no raw counts (gene {str(genes[odd[1]])!r} of cell {cells[odd[0]]} is {odd[2]})" if odd else ""
    good = [name for name, where in others.items() if first_odd(read(where)) is None]
    raise InputError(
        f"{path}: {what or 'it has no X'}. "
        + (
            f"Whole numbers are in the layers {listed(good)}: use {option('layer', good[0])}."
            if good
            else f"No layer holds whole numbers either (layers: {listed(others)}). Add the raw counts as a layer, or "
            f"{ROUND}."
        )
    )
