"""Counts of single cells, added up to one sample: alevin, alevin-fry, bustools and kb-python."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.binary import matrix_market

from .lines import content, lines
from .salmon import SHORTEST, per_million

REMEDY = "Give the file as the program wrote it"


def alevin(path: Path) -> dict[str, Any]:
    """Add up the cells of alevin's or alevin-fry's matrix; in USA mode without unspliced counts.

    Parameters
    ----------
    path : Path
        ``quants_mat.mtx`` or ``quants_mat.gz``, beside ``quants_mat_rows.txt`` and ``quants_mat_cols.txt``.

    Returns
    -------
    dict
        As of :func:`~genarium.models.transcript_abundance.quantified.read_one`.

    Raises
    ------
    InputError
        If a file is missing or damaged, or files do not fit each other.
    """
    rows, columns = (path.with_name(f"quants_mat_{side}.txt") for side in ("rows", "cols"))
    cells, names = lines(rows), lines(columns)
    if path.name == "quants_mat.gz":
        total, program = _packed(path, len(cells), len(names)), "alevin"
    else:
        total, program = _added(path, rows, columns, len(cells), len(names)), "alevin-fry"
    notes = []
    if _is_usa(path, names):
        G = len(names) // 3
        if len(names) != 3 * G:
            raise InputError(
                f"{columns}: {len(names)} names are no three for each gene, as its USA mode has. {REMEDY}."
            )
        spliced, unspliced, ambiguous = total.reshape(3, G)
        names, total = names[:G], spliced + ambiguous
        notes.append(f"unspliced counts left out: {unspliced.sum():,.0f} of {unspliced.sum() + total.sum():,.0f}")
    return _sample(names, total, program, len(cells), notes)


def bustools(path: Path) -> dict[str, Any]:
    """Add up the cells of a matrix of ``bustools count --genecounts``, or of kb-python.

    Parameters
    ----------
    path : Path
        ``NAME.mtx``, beside ``NAME.barcodes.txt`` and ``NAME.genes.txt``.

    Returns
    -------
    dict
        As of :func:`~genarium.models.transcript_abundance.quantified.read_one`.

    Raises
    ------
    InputError
        If names of cells or genes are missing, the matrix is damaged, or files do not fit each other.
    """
    own = path.name.removesuffix(".gz").removesuffix(".mtx")
    stems = (own, own.rpartition(".")[0])  # cells_x_genes.mature.mtx goes with cells_x_genes.genes.txt
    found = [path.with_name(f"{stem}.genes.txt") for stem in stems if stem]
    columns = next((file for file in found if file.is_file()), found[0])
    rows = columns.with_name(columns.name.removesuffix("genes.txt") + "barcodes.txt")
    for file in (columns, rows):
        if not file.is_file():
            raise InputError(
                f"{path}: {file.name} is not beside it. Matrices of bustools go with their .barcodes.txt and "
                ".genes.txt (bustools count --genecounts, kb count); counts of equivalence classes cannot be read."
            )
    cells, names = lines(rows), lines(columns)
    return _sample(names, _added(path, rows, columns, len(cells), len(names)), "bustools", len(cells), [])


def _sample(names: list[str], total: Array, program: str, cells: int, notes: list[str]) -> dict[str, Any]:
    lengths = np.full(len(names), SHORTEST)
    told = {"kind": "none", "unit": "gene", "program": program, "notes": [f"{cells:,} cells are added up", *notes]}
    return {"name": names, "counts": total, "effective_length": lengths, "tpm": per_million(total, lengths), **told}


def _added(path: Path, rows: Path, columns: Path, cells: int, genes: int) -> Array:
    """Return the sums over the cells of a matrix in text, shape (genes,)."""
    matrix = matrix_market(path).tocsr()
    if matrix.shape != (cells, genes):
        raise InputError(
            f"{path}: {matrix.shape[0]} x {matrix.shape[1]} counts, but {cells} cells and {genes} genes are named in "
            f"{rows.name} and {columns.name}. Use the files of one run."
        )
    _check(path, matrix.data)
    return np.asarray(matrix.sum(0), dtype=float).ravel()


def _packed(path: Path, cells: int, genes: int) -> Array:
    """Return the sums over the cells of alevin's binary matrix, shape (genes,).

    A cell has a bit for each gene, the highest of a byte first, and then the counts above zero in single precision;
    alevin before version 0.14 wrote all counts in double precision.
    """
    raw, total, at = content(path), np.zeros(genes), 0
    flags = -(-genes // 8)
    for _ in range(cells):
        bits = np.unpackbits(np.frombuffer(raw[at : at + flags], dtype=np.uint8))
        at += flags
        some = np.flatnonzero(bits)
        values = np.frombuffer(raw[at : at + 4 * len(some)], dtype="<f4")
        at += 4 * len(some)
        if at > len(raw) or (some >= genes).any():
            at = -1
            break
        _check(path, values)
        total[some] += values
    if at == len(raw):
        return total
    if len(raw) == 8 * cells * genes:
        every = np.frombuffer(raw, dtype="<f8")
        _check(path, every)
        return np.asarray(every.reshape(cells, genes).sum(0))
    raise InputError(
        f"{path}: its {len(raw):,} bytes are not the counts of {cells} cells and {genes} genes, which "
        "quants_mat_rows.txt and quants_mat_cols.txt name. Use the files of one run, or run `salmon "
        "alevin` with --dumpMtx."
    )


def _check(path: Path, values: Array) -> None:
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError(f"{path}: a count is negative or not finite. {REMEDY}.")


def _is_usa(path: Path, names: list[str]) -> bool:
    """Whether alevin-fry counted unspliced, spliced and ambiguous molecules apart; without its JSON, by the names."""
    for name in ("quant.json", "meta_info.json"):
        for folder in (path.parent.parent, path.parent):
            try:
                told = json.loads((folder / name).read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError) as error:
                raise InputError(f"{folder / name}: this is no object in JSON ({error}). {REMEDY}.") from error
            return isinstance(told, dict) and bool(told.get("usa_mode", False))
    genes = names[: len(names) // 3]
    return names[len(genes) :] == [f"{gene}-{kind}" for kind in "UA" for gene in genes]
