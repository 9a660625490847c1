"""Matrices of Cell Ranger (the folder with ``matrix.mtx``, the HDF5 file) and of bustools (a folder)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import hdf5
from genarium.readers.binary import matrix_market
from genarium.readers.files import text
from genarium.readers.h5ad import COUNTS, sound
from genarium.readers.matrix import Matrix
from genarium.readers.messages import listed

EXPRESSION = "Gene Expression"
"""Type of the features that are genes; others are antibodies, guides and tags."""

AGAIN = "Fetch it again, or write it again by Cell Ranger"


def matrix(path: Path, feature_type: str = EXPRESSION) -> Matrix:
    """Read the counts of a folder or file.

    Parameters
    ----------
    path : Path
    feature_type : str
        Features to take, where the file tells types.

    Returns
    -------
    Matrix
        Cells by genes, sparse. A gene is called by its symbol; where several share one, by symbol and identifier.

    Raises
    ------
    InputError
        Naming file, place and remedy.
    """
    entries, cells, ids, symbols, types = folder(path) if path.is_dir() else file(path)
    if entries.shape != (len(cells), len(ids)):
        raise InputError(
            f"{path}: the matrix has {entries.shape[1]} features and {entries.shape[0]} cells, but {len(ids)} features "
            f"and {len(cells)} barcodes are named. {AGAIN}."
        )
    if again := next((name for name, number in Counter(cells).items() if number > 1), ""):
        raise InputError(f"{path}: the barcode {again!r} is there more than once. {AGAIN}.")
    keep = np.array([one in ("", feature_type) for one in types], dtype=bool)
    often, of_all = Counter(np.array(symbols, dtype=object)[keep]), Counter(symbols)  # an antibody may be called CD3E
    named = zip(symbols, ids, keep, strict=True)
    names = [one if (often if kept else of_all)[one] == 1 else f"{one} ({it})" for one, it, kept in named]
    if again := next((name for name, number in Counter(names).items() if number > 1), ""):
        raise InputError(f"{path}: the feature {again!r} is there more than once. {AGAIN}.")
    whole = Matrix(COUNTS, [path], np.array(cells, dtype=object), names, entries)
    if shared := [symbol for symbol, number in often.items() if number > 1]:
        some = f"{listed(shared[:3])}{' and others' if len(shared) > 3 else ''}"
        whole.notes.append(f"Features that share a symbol ({some}) have their identifiers in their names.")
    if not keep.any():
        raise InputError(
            f"{path}: there are no features of the type {feature_type!r}. The types are {listed(set(types))}."
        )
    return whole if keep.all() else whole.take(np.flatnonzero(keep), f"not of the type {feature_type}")


def apart(parts: Sequence[Matrix]) -> list[Matrix]:
    """Return matrices in which no two have a barcode in common; those of several lanes often have.

    Where they do, the number at the end of a barcode becomes that of its file, as ``cellranger aggr`` writes it
    (AAAC-1 of the second file is AAAC-2); of barcodes without one number for all, the file's is added.

    Raises
    ------
    InputError
        If two hold the same counts of the same barcodes.
    """
    names = [[str(name) for name in part.rows] for part in parts if part.rows is not None]
    often = Counter(name for own in names for name in own)
    if all(number == 1 for number in often.values()):
        return list(parts)
    for i, one in enumerate(parts):
        for j in range(i):
            if names[i] == names[j] and one.columns == parts[j].columns and not (one.entries != parts[j].entries).nnz:
                raise InputError(f"{one.paths[0]}: it holds what {parts[j].paths[0]} holds. Give each sample once.")
    ends = {end for own in names for end in (name.rpartition("-")[2] if "-" in name else "" for name in own)}
    cut = len(ends) == 1 and next(iter(ends)).isdecimal()
    found = []
    for number, (part, own) in enumerate(zip(parts, names, strict=True), 1):
        rows = [f"{name.rpartition('-')[0] if cut else name}-{number}" for name in own]
        found.append(replace(part, rows=np.array(rows, dtype=object), notes=list(part.notes)))
    shared = sum(number > 1 for number in often.values())
    lanes = listed([f"-{number} is {part.paths[0]}" for number, part in enumerate(parts, 1)])
    noun = "barcode is" if shared == 1 else "barcodes are"
    found[0].notes.append(f"{shared:,} {noun} in several files: the number at the end is that of the file ({lanes}).")
    return found


Parts = tuple[Any, list[str], list[str], list[str], list[str]]
"""Cells by features, barcodes, and identifiers, symbols and types of the features."""


def folder(path: Path) -> Parts:
    """Read ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` (or ``genes.tsv``), compressed or not."""
    if named := sorted(path.glob("*.genes.txt")):
        return bustools(path, named)
    features = _lines(_member(path, "features.tsv", "genes.tsv"))
    cells = [line[0].strip() for line in _lines(_member(path, "barcodes.tsv"))]
    entries = matrix_market(_member(path, "matrix.mtx")).T.tocsr()
    return entries, cells, *_columns(features)


def bustools(path: Path, named: Sequence[Path]) -> Parts:
    """Read ``NAME.mtx``, of cells by genes, with ``NAME.barcodes.txt`` and ``NAME.genes.txt`` (bustools, kb-python)."""
    stem = named[0].name.removesuffix(".genes.txt")
    found = [path / f"{stem}{end}" for end in (".mtx", ".mtx.gz") if (path / f"{stem}{end}").is_file()]
    if len(named) > 1 or not found:
        several = [one.name for one in (named if len(named) > 1 else sorted(path.glob(f"{stem}.*.mtx*")))]
        raise InputError(
            f"{path}: which counts to take is not told by {listed(several) or 'a matrix ' + stem + '.mtx'}. Give a "
            "folder with one matrix, or make an AnnData file (kb count --h5ad)."
        )
    ids = [line[0].strip() for line in _lines(named[0])]
    cells = [line[0].strip() for line in _lines(path / f"{stem}.barcodes.txt")]
    called = path / f"{stem}.genes.names.txt"
    symbols = [line[0].strip() for line in _lines(called)] if called.is_file() else ids
    if len(symbols) != len(ids):
        raise InputError(f"{called}: {len(symbols)} names of {len(ids)} genes in {named[0].name}. Use one run's files.")
    return matrix_market(found[0]).tocsr(), cells, ids, symbols, [""] * len(ids)


def _member(path: Path, *names: str) -> Path:
    for name in names:
        for end in ("", ".gz"):
            if (found := path / f"{name}{end}").is_file():
                return found
    here = sorted(one.name for one in path.iterdir())
    if any(name.startswith("quants_mat") or name == "alevin" for name in here):
        raise InputError(
            f"{path}: this folder is alevin's ({listed(here)}), which cannot be read. Make an AnnData file of it "
            "(pyroe, or loadFry and zellkonverter in R), and give that."
        )
    raise InputError(
        f"{path}: there is no {' or '.join(names)} (or .gz) in this folder, which has {listed(here)}. Name the folder "
        "that Cell Ranger calls filtered_feature_bc_matrix, or name a file."
    )


def _lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in text(path).split("\n") if line.strip()]


def _columns(lines: list[list[str]]) -> tuple[list[str], list[str], list[str]]:
    """Return identifiers, symbols and types; a file of one column has identifiers alone."""
    return (
        [line[0].strip() for line in lines],
        [line[min(1, len(line) - 1)].strip() for line in lines],
        [line[2].strip() if len(line) > 2 else "" for line in lines],
    )


def file(path: Path) -> Parts:
    """Read an HDF5 file of Cell Ranger 3 or later (group ``matrix``), or of 2 (one group, called as the genome)."""
    import h5py
    from scipy import sparse

    hdf5.look_over(path, "a 10x Genomics matrix", AGAIN)
    try:
        with h5py.File(path, "r") as held:
            group = _group(path, held)
            size, cells = group["shape"][:], _texts(group["barcodes"])
            features = group.get("features", group)
            ids = _texts(features["id" if "id" in features else "genes"])
            symbols = _texts(features["name" if "name" in features else "gene_names"])
            types = _texts(features["feature_type"]) if "feature_type" in features else [""] * len(ids)
            parts = tuple(group[name][:] for name in ("data", "indices", "indptr"))
            # columns of features x cells are rows of cells x features
            entries = sparse.csr_array(
                (len(size) == 2 and (int(size[1]), int(size[0]))) or (0, 0), dtype=parts[0].dtype
            )
            entries.data, entries.indices, entries.indptr = parts
    except InputError:
        raise
    except Exception as error:  # HDF5 raises a dozen kinds for damaged or foreign files
        raise hdf5.unreadable(path, "a 10x Genomics matrix", error, AGAIN) from error
    return sound(path, "matrix", entries), cells, ids, symbols, types


def _group(path: Path, held: Any) -> Any:
    needed = {"barcodes", "data", "indices", "indptr", "shape"}
    found = [name for name in held if hasattr(held[name], "keys") and needed <= set(held[name])]
    if len(found) > 1:
        raise InputError(
            f"{path}: it holds a matrix for each of the genomes {listed(found)}, with cells of its own. Give the "
            "folder with matrix.mtx of one of them."
        )
    if found:
        return held[found[0]]
    raise InputError(
        f"{path}: this HDF5 file is not a 10x Genomics matrix; it has {listed(held)}. AnnData needs a name that ends "
        "in .h5ad."
    )


def _texts(values: Any) -> list[str]:
    found: Array = values[:]
    return [(one.decode("utf-8") if isinstance(one, bytes) else str(one)).strip() for one in found.tolist()]
