"""Readers of counts: delimited or Parquet tables, and AnnData files.

What is wrong with a file (its form, its names, text among numbers) is said here, with its place and the remedy. What is
wrong with a value (negative, fractional, missing) is said by the check against the declaration, which names cell and
gene.
"""

import bz2
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

IDENTIFIERS = {"barcode", "barcodes", "cell", "cell_barcode", "cell_id", "cellid", "cells", "index"}
"""Names of a first column that mark it as the cells' identifiers even where these are numbers."""

MISSING = ["", "NA", "N/A", "n/a", "nan", "NaN", "NAN", "-nan", "null", "NULL", "None", "<NA>", "#N/A"]
"""What stands for a missing number."""

METHODS = ("total", "median")
"""Size factors that are computed from the counts."""

COMPRESSION = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SEPARATORS = {".csv": ",;\t", ".tsv": "\t,;", ".tab": "\t,;", ".tbl": ""}

LOOKS_LIKE = {
    b"\x89HDF": "an HDF5 file. Read AnnData with format='h5ad'",
    b"PAR1": "a Parquet file. Give it a name that ends in .parquet",
    b"\x1f\x8b": "gzip data. Give it a name that ends in .gz",
    b"BZh": "bzip2 data. Give it a name that ends in .bz2",
    b"\xfd7zXZ": "xz data. Give it a name that ends in .xz",
    b"PK\x03\x04": "a zip archive or a spreadsheet. Save the table as CSV",
    b"%%MatrixMarket": "a Matrix Market file. Make an AnnData file of it (.h5ad), with its genes and cells",
}


def table(
    paths: Sequence[Path],
    *,
    cells: str | None = "auto",
    genes: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = "",
    transpose: bool = False,
    size_factor: str | None = None,
) -> Mapping[str, Any]:
    """Read wide tables of counts, one row a cell and one column a gene.

    Parameters
    ----------
    paths : sequence of Path
        CSV (``.csv``), TSV (``.tsv``, ``.tab``), columns between white space (``.tbl``) or Parquet (``.parquet``,
        ``.pq``); of any other name, the header tells the delimiter. Also compressed (``.gz``, ``.bz2``, ``.xz``). The
        first line names the columns; it may begin with ``#``. Cells of several files follow each other.
    cells : str, optional
        Column with the cells' identifiers. "auto": the first column if it holds text, has no name, or is called cell,
        cell_id, barcode or index. None: the cells are numbered.
    genes : str or sequence of str, optional
        Genes to read (a comma between them), in this order. Default: every column that mostly holds numbers.
    drop : str or sequence of str
        Columns that hold no counts, such as a label coded as a number.
    transpose : bool
        Genes are in rows and cells in columns; ``cells`` then tells where the genes' names are, and ``drop`` may also
        name genes.
    size_factor : str, optional
        Column with size factors, or how to compute them from all counts of the file, dropped columns aside and before
        ``genes`` are chosen: "total" (a cell's total over the mean total) or "median" (median of the ratios to the
        genes' geometric means, over genes without zeros; Anders and Huber 2010, eq. 5).

    Returns
    -------
    dict
        ``x``: DataFrame (cell, gene); ``size_factor``: Series (cell), where asked for.

    Raises
    ------
    InputError
        Naming file, line, column, value and remedy.
    """
    _texts("table", cells=cells, size_factor=size_factor)
    if not isinstance(transpose, bool):
        raise InputError(f"reader 'table': transpose={transpose!r} must be true or false.")
    chosen, left_out = _names("genes", genes), _names("drop", drop)
    if both := [name for name in chosen if name in left_out]:
        raise InputError(f"reader 'table': {both[0]!r} is in genes and in drop. Take it out of one of them.")
    parts = [_table_part(path, cells, chosen, left_out, transpose, size_factor) for path in _files("table", paths)]
    return _together(parts, chosen, size_factor, "drop that row")


def h5ad(
    paths: Sequence[Path],
    *,
    layer: str | None = None,
    genes: str | Sequence[str] | int | None = None,
    size_factor: str | None = None,
    cells: str | None = None,
) -> Mapping[str, Any]:
    """Read raw counts from AnnData files.

    Parameters
    ----------
    paths : sequence of Path
        Files written by ``AnnData.write_h5ad``. Cells of several files follow each other.
    layer : str, optional
        Layer with the raw counts, or ".raw" for ``adata.raw``. Default: ``adata.X``, if it holds raw counts.
    genes : str, sequence of str or int, optional
        Names of genes (a comma between them); "highly_variable" for those that ``adata.var`` marks so; or the number
        of genes to take, those whose log(1 + count) varies most. Default: all.
    size_factor : str, optional
        Numeric column of ``adata.obs``, or "total" or "median" as in :func:`table`, from all genes of the file.
    cells : str, optional
        Boolean column of ``adata.obs`` that marks the cells to read. Default: all.

    Returns
    -------
    dict
        ``x``: DataFrame (cell, gene), dense; ``size_factor``: Series (cell), where asked for.

    Raises
    ------
    InputError
        Naming file, place, value and remedy.
    """
    _texts("h5ad", layer=layer, cells=cells, size_factor=size_factor)
    if isinstance(genes, str) and genes.strip().isdecimal():
        genes = int(genes)
    flag = "highly_variable" if genes == "highly_variable" else ""
    parts = [_h5ad_part(path, layer, cells, size_factor, flag) for path in _files("h5ad", paths)]
    for part in parts if flag else ():
        if set(part.marked) != set(parts[0].marked):
            raise InputError(
                f"{part.path}: var[{flag!r}] marks other genes than in {parts[0].path}. Choose genes over all files "
                "together, and name them in genes."
            )
    chosen = genes if isinstance(genes, int) else parts[0].marked if flag else _names("genes", genes)
    return _together(parts, chosen, size_factor, "leave it out with cells='<a boolean column of obs>'")


@dataclass
class _Part:
    """Counts of one file."""

    path: Path
    cells: Array | None  # (N,), None where they are to be numbered
    genes: list[str]  # (D,)
    counts: Any  # (N, D), dense or sparse
    factor: Array | None = None  # (N,), size factors that the file gives
    marked: list[str] = field(default_factory=list)  # genes that the file marks as highly variable


# What both formats share: joining files, choosing genes, size factors ------------------------------------------------


def _together(parts: list[_Part], chosen: list[str] | int, method: str | None, remedy: str) -> dict[str, Any]:
    import pandas as pd
    from scipy import sparse

    first = parts[0]
    for part in parts[1:]:
        if odd := sorted(set(part.genes) ^ set(first.genes)):
            raise InputError(
                f"{part.path}: it has other genes than {first.path}; in only one of them: {_listed(odd)}. Files that "
                "are read together need the same genes: choose common ones with genes."
            )
        if (part.cells is None) != (first.cells is None):
            raise InputError(f"{part.path}: only one of this file and {first.path} names its cells. Pass cells=None.")
        part.counts = part.counts[:, _positions(str(part.path), part.genes, first.genes)]
    kinds = {sparse.issparse(part.counts) for part in parts}
    blocks: list[Any] = [sparse.csr_array(part.counts) if len(kinds) > 1 else part.counts for part in parts]
    counts: Any = sparse.vstack(blocks, format="csr") if True in kinds else np.concatenate(blocks)
    owner = np.repeat([str(part.path) for part in parts], [part.counts.shape[0] for part in parts])  # (N,)
    cells = pd.RangeIndex(len(owner), name="cell") if first.cells is None else _cell_names(parts, owner)
    found: dict[str, Any] = {}
    if method in METHODS:
        found["size_factor"] = pd.Series(_depth(method, counts, cells, first.genes, owner, remedy), index=cells)
    elif method is not None:
        found["size_factor"] = pd.Series(np.concatenate([np.asarray(part.factor) for part in parts]), index=cells)
    if isinstance(chosen, int):
        picks = _most_variable(chosen, counts, cells, first.genes, owner)
    else:
        picks = _positions(str(first.path), first.genes, chosen or first.genes)
    genes = pd.Index([first.genes[i] for i in picks], name="gene", dtype=object)
    return {"x": pd.DataFrame(_dense(counts[:, picks]), index=cells, columns=genes), **found}


def _cell_names(parts: list[_Part], owner: Array) -> Any:
    import pandas as pd

    labels = [np.asarray(part.cells) for part in parts]
    if len({a.dtype.kind for a in labels}) > 1:
        labels = [a.astype(str).astype(object) for a in labels]
    names = pd.Index(np.concatenate(labels), name="cell")
    if names.has_duplicates:
        again = names[names.duplicated()][0]
        raise InputError(
            f"{' and '.join(dict.fromkeys(owner[names == again]))}: the cell name {again!r} is used more than once. "
            "Put the sample before the names of its cells, or number the cells of tables with cells=None."
        )
    return names


def _positions(where: str, names: list[str], wanted: Iterable[str]) -> Array:
    at = {name: i for i, name in enumerate(names)}
    for name in wanted:
        if name not in at:
            raise _absent(where, "gene", name, names)
    return np.array([at[name] for name in wanted], dtype=np.int64)


def _dense(matrix: Any) -> Array:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


def _most_variable(number: int, counts: Any, cells: Any, genes: list[str], owner: Array) -> Array:
    """Return the positions of the genes whose log(1 + count) varies most."""
    if isinstance(number, bool) or not 1 <= number <= len(genes):
        raise InputError(f"{owner[0]}: genes={number} is not between 1 and {len(genes)}, the number of genes there.")
    _only_counts(counts, cells, genes, owner)
    logs = np.log1p(counts.astype(float))
    square = logs.multiply(logs) if hasattr(logs, "multiply") else logs**2
    variance = np.asarray(square.mean(0)).ravel() - np.asarray(logs.mean(0)).ravel() ** 2  # (D,)
    return np.sort(np.argsort(-variance, kind="stable")[:number])


def _depth(method: str, counts: Any, cells: Any, genes: list[str], owner: Array, remedy: str) -> Array:
    """Compute size factors from counts; shape (N,)."""
    _only_counts(counts, cells, genes, owner)
    total = np.asarray(counts.sum(1, dtype=float)).ravel()
    if (total == 0).any():
        at, number = int(np.argmax(total == 0)), int((total == 0).sum())
        raise InputError(
            f"{owner[at]}: cell {cells[at]!s} has no counts at all{f' ({number} such cells)' if number > 1 else ''}, "
            f"and so no size factor. Drop it: {remedy}."
        )
    if method == "total":
        return total / total.mean()
    full = np.flatnonzero(np.asarray((counts > 0).sum(0)).ravel() == len(total))
    if not full.size:
        raise InputError(
            f"{owner[0]}: every gene has a zero in some cell, and size_factor='median' needs genes without zeros. "
            "Use size_factor='total'."
        )
    logs = np.log(_dense(counts[:, full]).astype(float))
    return np.asarray(np.exp(np.median(logs - logs.mean(0), axis=1)))


def _first_odd(counts: Any) -> tuple[int, int, Any] | None:
    """Return row, column and value of the first entry that is no count."""
    stored = counts.tocoo() if hasattr(counts, "tocoo") else None
    values = counts if stored is None else stored.data
    with np.errstate(invalid="ignore"):
        bad = ~(np.isfinite(values) & (values >= 0) & (values == np.floor(values)))
    if not bad.any():
        return None
    if stored is None:
        i, j = np.unravel_index(np.argmax(bad), bad.shape)
        return int(i), int(j), values[i, j]
    at = np.flatnonzero(bad)
    k = at[np.lexsort((stored.col[at], stored.row[at]))[0]]
    return int(stored.row[k]), int(stored.col[k]), values[k]


def _only_counts(counts: Any, cells: Any, genes: list[str], owner: Array) -> None:
    if odd := _first_odd(counts):
        i, j, value = odd
        raise InputError(
            f"{owner[i]}: gene {genes[j]!r} of cell {cells[i]!s} is {value}, but size factors and variable genes are "
            "computed from whole numbers not below zero. Give raw counts, and drop columns that hold none."
        )


def _files(reader: str, paths: Sequence[Path]) -> list[Path]:
    files = [Path(path) for path in paths]
    if not files:
        raise InputError(f"reader {reader!r}: no file was given. Name at least one.")
    for path in files:
        if not path.is_file():
            raise InputError(
                f"{path}: {'this is no file' if path.exists() else 'there is no such file'}. Check the path."
            )
    return files


def _texts(reader: str, **options: Any) -> None:
    for name, value in options.items():
        if not isinstance(value, str | None):
            raise InputError(f"reader {reader!r}: {name}={value!r} must be a name. Numbers are given when fitting.")


def _names(option: str, value: str | Sequence[str] | None) -> list[str]:
    """Split an option at its commas."""
    if not isinstance(value, Iterable | None):
        raise InputError(f"{option}={value!r} must be names, with a comma between them.")
    names = [
        str(name).strip() for name in (value.split(",") if isinstance(value, str) else () if value is None else value)
    ]
    names = [name for name in names if name]
    if again := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{option}: {again[0]!r} is named more than once. Name it once.")
    return names


def _listed(names: Iterable[Any], most: int = 10) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "none"


def _absent(where: str, what: str, name: str, have: Iterable[Any]) -> InputError:
    have = [str(other) for other in have]
    close = get_close_matches(name, have, n=1)
    return InputError(
        f"{where}: there is no {what} {name!r}.{f' Did you mean {close[0]!r}?' if close else ''} "
        f"There are: {_listed(have)}."
    )


def _clash(path: Path, method: str) -> InputError:
    return InputError(
        f"{path}: size_factor={method!r} is a way to compute size factors, and also the name of a column. Rename the "
        "column."
    )


# Tables --------------------------------------------------------------------------------------------------------------


@dataclass
class _Sheet:
    """A table as it is in the file; the frame's index numbers the records."""

    path: Path
    frame: Any
    first: int  # number of the line (or row) of record 0
    unit: str

    def at(self, record: Any) -> str:
        return f"{self.unit} {self.first + int(record)}"


def _table_part(
    path: Path, cells: str | None, chosen: list[str], drop: list[str], transpose: bool, factor: str | None
) -> _Part:
    parquet = {".parquet", ".pq"} & {suffix.lower() for suffix in path.suffixes[-2:]}
    sheet = _parquet_sheet(path) if parquet else _text_sheet(path, cells)
    columns = list(sheet.frame.columns)
    if not len(sheet.frame):
        raise InputError(f"{path}: the table names columns ({_listed(columns)}) but has no rows. Write it again.")
    if factor in METHODS and factor in columns and factor not in drop:
        raise _clash(path, factor)
    own = [factor] if factor and factor not in METHODS else []
    asked = {} if transpose else dict.fromkeys([*chosen, *own])
    for name in [*asked, *([] if transpose else drop)]:
        if name not in columns:
            raise _absent(str(path), "column", name, columns)
    key = _identifiers(sheet, cells, [*asked, *drop])
    picks = [name for name in columns if name != key and name not in drop]
    if chosen and not transpose and factor not in METHODS:
        picks = [name for name in picks if name in asked]
    picks = [name for name in picks if name in asked or _is_numeric(sheet.frame[name], name)]
    if set(picks) <= set(own):
        uses = {**dict.fromkeys(drop, "dropped"), **dict.fromkeys(own, "size factor"), key or "": "names"}
        raise InputError(
            f"{path}: no column of counts is left; the columns are "
            + _listed(f"{name!r} ({uses.get(name, 'not in genes' if chosen else 'text')})" for name in columns)
            + ". Check the delimiter, cells and drop, or name the columns in genes."
        )
    counts = np.column_stack([_numbers(sheet, name) for name in picks])
    labels = None if key is None else _labels(sheet, key, "gene" if transpose else "cell")
    genes: list[str] = picks
    if transpose:
        genes = [str(label) for label in (range(len(counts)) if labels is None else labels)]
        labels, counts = np.array(picks, dtype=object), counts.T
        _positions(str(path), genes, [*own, *(name for name in drop if name not in columns)])
    given = counts[:, genes.index(own[0])].astype(float) if own else None
    keep = [i for i, name in enumerate(genes) if name not in drop and name not in own]
    return _Part(path, labels, [genes[i] for i in keep], counts[:, keep], given)


def _content(path: Path) -> bytes:
    """Read and decompress a file."""
    suffix = path.suffix.lower()
    opener: Any = COMPRESSION.get(suffix, open)
    try:
        with opener(path, "rb") as stream:
            content: bytes = stream.read()
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        remedy = "It is damaged or cut short: fetch it again" if suffix in COMPRESSION else "Check its permissions"
        raise InputError(f"{path}: the file cannot be read ({error}). {remedy}.") from error
    if not content.strip():
        raise InputError(f"{path}: the file is empty. Write the table again, with a header and a line for each cell.")
    return content


def _parquet_sheet(path: Path) -> _Sheet:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = _content(path)
    try:
        stored = pq.ParquetFile(pa.BufferReader(content)).read()
        _unique(path, stored.column_names)
        frame = stored.to_pandas()
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: this cannot be read as Parquet ({str(error).strip()}). Write it again, or name it after its true "
            "format."
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index(names=["" if name is None else str(name) for name in frame.index.names])
    frame.columns = pd.Index(_named(map(str, frame.columns)), dtype=object)
    return _Sheet(path, frame.reset_index(drop=True), 1, "row")


def _text_sheet(path: Path, cells: str | None) -> _Sheet:
    """Parse delimited text; records keep the line they are in."""
    import pandas as pd

    text = _decoded(path, _content(path))
    at, names, separator, start = _header(path, text)
    key = names[0] if cells == "auto" else cells
    stream = io.StringIO(text)
    stream.seek(start)
    try:
        frame = pd.read_csv(
            stream,
            sep=separator or r"\s+",
            header=None,
            names=names,
            dtype={key: str} if key in names else None,
            na_values={name: MISSING for name in names if name != key},
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
            low_memory=False,
        )
    except (ValueError, OverflowError) as error:
        message = str(error).strip()
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message):
            want, line, have = map(int, found.groups())
            raise _ragged(path, at + line, have, want) from error
        raise InputError(
            f"{path}: the table, whose header is in line {at}, cannot be parsed ({message}). Check its delimiter and "
            "quotation marks."
        ) from error
    return _complete(_Sheet(path, frame, at + 1, "line"), text[start:], separator)


def _decoded(path: Path, content: bytes) -> str:
    looks = next((what for magic, what in LOOKS_LIKE.items() if content.startswith(magic)), "")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        looks = looks or f"no text in UTF-8 ({error.reason} at byte {error.start}). Save the table as UTF-8 text"
        raise InputError(f"{path}: this is {looks}.") from error
    if "\0" in text or content.startswith(b"%%MatrixMarket"):
        raise InputError(f"{path}: this is {looks or 'binary data, no table. Name the file after its true format'}.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _header(path: Path, text: str) -> tuple[int, list[str], str, int]:
    """Find the line that names the columns.

    Returns
    -------
    line : int
    names : list of str
    separator : str
        "" for white space.
    start : int
        Where the text after that line begins.
    """
    suffix = next((s for s in map(str.lower, reversed(path.suffixes)) if s not in COMPRESSION), "")
    lines: list[tuple[int, str, int]] = []  # number, line, where the next begins: comments, then two other lines
    stream = io.StringIO(text)
    number = 0
    while len([1 for _, line, _ in lines if line[0] != "#"]) < 2 and (line := stream.readline()):
        number += 1
        if line.strip():
            lines.append((number, line.strip(" \n"), stream.tell()))
    if not lines:
        raise InputError(f"{path}: the file holds nothing but white space. Write the table again.")
    plain = next((i for i, (_, line, _) in enumerate(lines) if line[0] != "#"), len(lines))
    for i in [
        i for i in (plain - 1, plain) if 0 <= i < len(lines)
    ]:  # the last line that begins with # may name columns
        at, header, start = lines[i]
        header = header.lstrip("#").lstrip(" ")
        usual = SEPARATORS.get(suffix, "\t,;")
        separator = next((mark for mark in usual if mark in header), usual[:1] if suffix in SEPARATORS else "")
        names = _fields(path, at, header, separator)
        if i + 1 == len(lines):
            raise InputError(
                f"{path}: there is a header (line {at}: {_listed(names)}) but no line after it. Write it again."
            )
        below, line, end = lines[i + 1]
        stream.seek(end)  # a quoted field may go on in the next line
        fields = _fields(path, below, line, separator, stream)
        if i == plain or (len(names) == len(fields) and any(map(_is_number, fields))):
            break
    if names in ([str(j) for j in range(k, k + len(names))] for k in (0, 1)):
        pass  # numbered genes, as pandas writes an array
    elif all(map(_is_number, names)):
        raise InputError(
            f"{path}: line {at} holds numbers ({_listed(names)}) where columns should be named. Add a header line."
        )
    if len(fields) == len(names) + 1 and fields[-1]:  # as R writes the names of rows
        names = ["", *names]
    _unique(path, names := _named(names), at)
    if len(fields) != len(names):
        raise _ragged(path, below, len(fields), len(names))
    return at, names, separator, start


def _fields(path: Path, number: int, line: str, separator: str, more: Iterable[str] = ()) -> list[str]:
    lines = (one.strip("\n") if separator else one.replace("\t", " ").strip(" \n") for one in chain([line], more))
    try:
        fields = next(csv.reader(lines, delimiter=separator or " ", skipinitialspace=True))
    except csv.Error as error:
        raise InputError(f"{path}: line {number} cannot be parsed ({error}). Check its quotation marks.") from error
    return [field.strip() for field in fields]


def _complete(sheet: _Sheet, text: str, separator: str) -> _Sheet:
    """Drop blank lines; find lines with too few fields."""
    import pandas as pd

    frame, width = sheet.frame, sheet.frame.shape[1]
    if not isinstance(frame.index, pd.RangeIndex):  # such as a line of delimiters only
        raise InputError(f"{sheet.path}: line {sheet.first} has more fields than the header. Correct or delete it.")
    lines = text.removesuffix("\n").split("\n")
    if len(lines) != len(frame):  # line breaks within quotation marks: lines cannot be told
        return _Sheet(sheet.path, frame.reset_index(drop=True), 1, "record")
    last = frame.iloc[:, -1]
    blank = []
    for record in map(int, np.flatnonzero(last.isna() | (last == ""))):
        if not lines[record].strip():
            blank.append(record)
        elif (have := len(_fields(sheet.path, sheet.first + record, lines[record], separator))) < width:
            raise _ragged(sheet.path, sheet.first + record, have, width)
    sheet.frame = frame.drop(index=blank)
    return sheet


def _ragged(path: Path, line: int, have: int, want: int) -> InputError:
    return InputError(
        f"{path}: line {line} has {have} field{'s' * (have != 1)}, but the header has {want}. Complete or correct the "
        "line (a missing value is written NA), or check the delimiter."
    )


def _named(names: Iterable[str]) -> list[str]:
    return [name or f"unnamed {i}" for i, name in enumerate(names, 1)]


def _unique(path: Path, names: Iterable[str], line: int = 0) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(names, 1):
        if seen.setdefault(name, i) != i:
            raise InputError(
                f"{path}: {f'line {line}: ' if line else ''}columns {seen[name]} and {i} are both called {name!r}. "
                "Rename one, or add up the columns of a gene."
            )


def _identifiers(sheet: _Sheet, cells: str | None, taken: list[str]) -> str | None:
    """Return the column with the cells' identifiers."""
    first = str(sheet.frame.columns[0])
    if cells and cells != "auto":
        if cells not in sheet.frame.columns:
            raise _absent(str(sheet.path), "column", cells, sheet.frame.columns)
        return cells
    if not cells or first in taken:
        return None
    known = first.lower() in IDENTIFIERS or first.lower().startswith("unnamed")
    return first if known or not _is_numeric(sheet.frame[first], first) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_text(column: Any) -> tuple[Any, Any]:
    """Return a column as text, and where it has a value."""
    text = column.astype(str).str.strip()
    return text, ~(text.isin(MISSING) | column.isna())


def _is_numeric(column: Any, name: str) -> bool:
    """Whether a column mostly holds numbers; a nameless one without any value (a trailing delimiter) does not."""
    import pandas as pd

    if column.dtype.kind in "iuf":
        return not (name.startswith("unnamed") and column.isna().all())
    if column.dtype.kind == "b":
        return False
    text, present = _as_text(column)
    return bool(2 * pd.to_numeric(text[present], errors="coerce").notna().sum() >= present.sum())


def _numbers(sheet: _Sheet, name: str) -> Array:
    """Return a column as numbers; missing ones are NaN."""
    import pandas as pd

    column = sheet.frame[name]
    if column.dtype.kind not in "iuf":
        text, present = _as_text(column)
        column = pd.to_numeric(text.where(present), errors="coerce")
        bad = column.isna() & present
        if number := int(bad.sum()):
            record = bad.idxmax()
            raise InputError(
                f"{sheet.path}: {sheet.at(record)}, column {name!r}: {text[record]!r} is not a number"
                f"{f' ({number} such values)' if number > 1 else ''}. Correct it, or leave the column out with "
                f"drop={name!r}."
            )
    return np.asarray(column.to_numpy(dtype=float, na_value=np.nan) if column.hasnans else column.to_numpy())


def _labels(sheet: _Sheet, name: str, what: str) -> Array:
    """Return identifiers: whole numbers, else text."""
    column = sheet.frame[name]
    text = column.astype(str).str.strip().mask(column.isna(), "")
    place = f"{sheet.path}: {{}}, column {name!r}"
    remedy = "pass cells=None to number the cells" if what == "cell" else "add up the rows of a gene"
    if (empty := text == "").any():
        raise InputError(f"{place.format(sheet.at(empty.idxmax()))}: the {what} has no name. Give it one, or {remedy}.")
    if (again := text.duplicated()).any():
        record = again.idxmax()
        raise InputError(
            f"{place.format(sheet.at(record))}: the {what} name {text[record]!r} was used in "
            f"{sheet.at((text == text[record]).idxmax())} already. Make the names unique, or {remedy}."
        )
    if text.str.fullmatch(r"0|[1-9]\d{0,17}").all():
        return np.asarray(text.astype(np.int64).to_numpy())
    return np.asarray(text.to_numpy(dtype=object))


# AnnData -------------------------------------------------------------------------------------------------------------


def _h5ad_part(path: Path, layer: str | None, cells: str | None, factor: str | None, flag: str) -> _Part:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _from_anndata(path, file, layer, cells, factor, flag)
    except InputError:
        raise
    except Exception as error:  # HDF5 and anndata raise a dozen kinds for damaged or foreign files
        raise InputError(
            f"{path}: this cannot be read as AnnData ({' '.join(str(error).split())}). If it is a table, use "
            "format='table'; if it is damaged or cut short, fetch it again."
        ) from error


def _from_anndata(path: Path, file: Any, layer: str | None, cells: str | None, factor: str | None, flag: str) -> _Part:
    from anndata.io import read_elem

    if "obs" not in file or "var" not in file:
        raise InputError(
            f"{path}: this HDF5 file is not AnnData; it has {_listed(file)}. Convert it first (10x Genomics: "
            "scanpy.read_10x_h5), and write it with write_h5ad."
        )
    frames = [file["obs"], file["raw/var" if layer == ".raw" and "raw" in file else "var"]]
    if any(frame.attrs.get("encoding-type") != "dataframe" for frame in frames):
        raise InputError(f"{path}: this AnnData file has an old form. Write it again with a current anndata.")
    obs, var = map(read_elem, frames)
    for what, axis, index in (("cell", "obs", obs.index), ("gene", "var", var.index)):
        if not len(index):
            raise InputError(f"{path}: the file has no {what}s. At least one is needed.")
        if index.has_duplicates:
            raise InputError(
                f"{path}: the {what} name {index[index.duplicated()][0]!r} is used more than once. "
                f"Call adata.{axis}_names_make_unique() and write the file again."
            )
    names, genes = obs.index.astype(str).to_numpy(dtype=object), [str(gene) for gene in var.index]
    counts = _matrix(path, file, layer, names, genes)
    if counts.shape != (len(names), len(genes)):
        raise InputError(
            f"{path}: there are {len(names)} cells and {len(genes)} genes, but counts of shape {counts.shape}."
        )
    given = None
    if factor in METHODS and factor in obs:
        raise _clash(path, factor)
    if factor and factor not in METHODS:
        if factor not in obs:
            raise _absent(str(path), "column of obs", factor, obs.columns)
        given = _numbers(_Sheet(path, obs.reset_index(drop=True), 1, "row of obs"), factor).astype(float)
    if cells:
        keep = _flags(path, "obs", obs, cells)
        counts, names, given = counts[keep], names[keep], None if given is None else given[keep]
    marked = [gene for gene, mark in zip(genes, _flags(path, "var", var, flag), strict=True) if mark] if flag else []
    return _Part(path, names, genes, counts, given, marked)


def _matrix(path: Path, file: Any, layer: str | None, cells: Array, genes: list[str]) -> Any:
    """Read the raw counts, dense or sparse; shape (N, D)."""
    from anndata.io import read_elem

    def read(where: str) -> Any:
        matrix = read_elem(file[where])
        if matrix.dtype.kind not in "iuf":
            raise InputError(f"{path}: {where} holds {matrix.dtype} values, not numbers. Name a layer of raw counts.")
        return matrix

    others = {name: f"layers/{name}" for name in file.get("layers", ())} | ({".raw": "raw/X"} if "raw" in file else {})
    if layer is not None:
        if layer not in others:
            raise _absent(str(path), "layer", layer, others)
        return read(others[layer])
    odd: tuple[int, int, Any] | None = None
    if "X" in file and (odd := _first_odd(matrix := read("X"))) is None:
        return matrix
    what = (
        f"X holds no raw counts (gene {genes[odd[1]]!r} of cell {cells[odd[0]]} is {odd[2]})" if odd else "it has no X"
    )
    good = [name for name, where in others.items() if _first_odd(read(where)) is None]
    raise InputError(
        f"{path}: {what}. "
        + (
            f"Whole numbers are in the layers {_listed(good)}: pass layer={good[0]!r}."
            if good
            else f"No layer holds whole numbers either (layers: {_listed(others)}). Add the raw counts as a layer."
        )
    )


def _flags(path: Path, axis: str, frame: Any, column: str) -> Array:
    """Return a boolean column."""
    if column not in frame:
        raise _absent(str(path), f"column of {axis}", column, frame.columns)
    flags = frame[column]
    if flags.dtype.kind != "b" or flags.isna().any():
        raise InputError(f"{path}: {axis}[{column!r}] holds {flags.dtype} values. Make it true or false everywhere.")
    if not flags.any():
        raise InputError(
            f"{path}: {axis}[{column!r}] is false everywhere, so that nothing is left. Choose another column."
        )
    return np.asarray(flags.to_numpy(dtype=bool))
