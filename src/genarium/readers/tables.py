"""Tables in files: delimited or Parquet, compressed or not, as sheets; and wide ones as matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genarium.errors import InputError
from genarium.readers import delimited, files
from genarium.readers.matrix import Matrix, Terms
from genarium.readers.messages import absent, listed
from genarium.readers.sheet import Sheet, named, unique
from genarium.remedies import option


def read_sheet(path: Path, key: str | None = "auto") -> Sheet:
    """Read a table as it is.

    Parameters
    ----------
    path : Path
        CSV (``.csv``), TSV (``.tsv``, ``.tab``), columns between white space (``.tbl``) or Parquet (``.parquet``,
        ``.pq``); of any other name, the header tells the delimiter. Also compressed (``.gz``, ``.bz2``, ``.xz``).
    key : str, optional
        Column with identifiers, which stay text; "auto" for the first; None for none.

    Raises
    ------
    InputError
        Naming file, line and remedy.
    """
    is_parquet = {".parquet", ".pq"} & {suffix.lower() for suffix in path.suffixes[-2:]}
    sheet = _parquet(path) if is_parquet else delimited.parse(path, files.text(path), key)
    if not len(sheet.frame):
        raise InputError(f"{path}: the table names columns ({listed(sheet.names)}) but has no rows. Write it again.")
    return sheet


def wide(
    sheet: Sheet,
    terms: Terms,
    key: str | None = "auto",
    *,
    columns: Sequence[str] = (),
    every: bool = False,
    drop: Sequence[str] = (),
    apart: Mapping[str, str] | None = None,
    transpose: bool = False,
) -> Matrix:
    """Take a matrix from a sheet that has a column for each of the matrix's columns.

    Parameters
    ----------
    sheet : Sheet
    terms : Terms
    key : str, optional
        Column with the rows' names; "auto" for the first if it can hold them; None to number the rows.
    columns : sequence of str
        Columns to read. Default: all that mostly hold numbers. Not used where ``transpose`` is true.
    every : bool
        Read all columns even so; ``columns`` then are checked to be there and to hold numbers only.
    drop : sequence of str
        Columns to leave out; where ``transpose`` is true, also columns of the matrix.
    apart : mapping of str to str, optional
        Columns that hold a number of each row outside the matrix, and what each is, for messages.
    transpose : bool
        The sheet has a row for each of the matrix's columns.

    Returns
    -------
    Matrix

    Raises
    ------
    InputError
        Naming file, line, column, value and remedy.
    """
    path, apart = sheet.path, apart or {}
    asked = [] if transpose else [*columns, *apart]
    for name in [*asked, *([] if transpose else drop)]:
        if name not in sheet.names:
            raise absent(path, "column", name, sheet.names)
    key = sheet.identifiers(key, terms.row, [*asked, *drop])
    kept = [name for name in sheet.names if name != key and name not in drop]
    if columns and not transpose and not every:
        kept = [name for name in kept if name in asked]
    kept = [name for name in kept if name in asked or sheet.is_numeric(name)]
    if set(kept) <= set(apart):
        uses = {**dict.fromkeys(drop, "dropped"), **apart, key or "": "names"}
        rest = f"not in {terms.column}s" if columns else "text"
        raise InputError(
            f"{path}: no column of {terms.entries} is left; the columns are "
            + listed(f"{name!r} ({uses.get(name, rest)})" for name in sheet.names)
            + f". Check the delimiter, {terms.row}s and drop, or name the columns in {terms.column}s."
        )
    if not transpose and (lost := [name for name in apart if name not in kept]):
        raise InputError(
            f"{path}: column {lost[0]!r} is named as the {apart[lost[0]]}, and also in drop or {terms.row}s. Name it "
            "in one of them."
        )
    entries = np.column_stack(
        [sheet.numbers(name, f"leave the column out with {option('drop', name)}") for name in kept]
    )
    if not transpose:
        remedy = f"number the {terms.row}s with {option(f'{terms.row}s', None)}"
        labels = None if key is None else sheet.labels(key, terms.row, remedy)
        matrix = Matrix(terms, [path], labels, kept, entries)
    else:
        remedy = f"add up the rows of a {terms.column}"
        labels = None if key is None else sheet.labels(key, terms.column, remedy)
        names = [str(label) for label in (range(len(entries)) if labels is None else labels)]
        matrix = Matrix(terms, [path], np.array(kept, dtype=object), names, entries.T)
        matrix.positions([*apart, *(name for name in drop if name not in sheet.names)])
    matrix.apart = {name: matrix.entries[:, matrix.columns.index(name)].astype(float) for name in apart}
    return matrix.take([i for i, name in enumerate(matrix.columns) if name not in drop and name not in apart])


def _parquet(path: Path) -> Sheet:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = files.content(path)
    try:
        stored = pq.ParquetFile(pa.BufferReader(content)).read()
        unique(path, stored.column_names)
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
    frame.columns = pd.Index(named(map(str, frame.columns)), dtype=object)
    return Sheet(path, frame.reset_index(drop=True), 1, "row")
