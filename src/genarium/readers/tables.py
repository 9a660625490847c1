"""Tables in files: delimited or Parquet, compressed or not, as sheets; and wide ones as matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import delimited, files
from genarium.readers.matrix import Matrix, Terms, dense
from genarium.readers.messages import absent, listed
from genarium.readers.sheet import Sheet, lossy, named, unique
from genarium.readers.suspects import suspects
from genarium.remedies import option

RENAME = "give the file a name that ends in .csv"

NAMES = "NAME,NAME"
"""How messages show names that the user has to fill in."""


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
    fixed: bool = False,
) -> Matrix:
    """Take a matrix from a sheet that has a column for each of the matrix's columns.

    Parameters
    ----------
    sheet : Sheet
    terms : Terms
    key : str, optional
        Column with the rows' names; "auto" for the first if it can hold them; None to number the rows.
    columns : sequence of str
        Columns to read. Default: all; one that holds text, or that looks like a total, a running number or a label, is
        an error then. Not used where ``transpose`` is true.
    every : bool
        Read all columns even so; ``columns`` then are checked to be there and to hold numbers only.
    drop : sequence of str
        Columns to leave out; where ``transpose`` is true, also columns of the matrix.
    apart : mapping of str to str, optional
        Columns that hold a number of each row outside the matrix, and what each is, for messages.
    transpose : bool
        The sheet has a row for each of the matrix's columns.
    fixed : bool
        The user has no options to choose columns by: messages then ask for another table.

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
    named_by, numbered = terms.column if transpose else terms.row, key is None
    key = sheet.identifiers("auto" if numbered else key, terms.row, [*asked, *drop])
    left = {} if key is None else {key: f"the {named_by}s are numbered" if numbered else f"taken as {named_by} names"}
    key = None if numbered else key
    left |= {name: "asked for" for name in drop if name in sheet.names}
    left |= {name: "without a name and empty" for name in sheet.names if sheet.is_empty(name) and name not in asked}
    if columns and not transpose and not every:
        left = {**dict.fromkeys((n for n in sheet.names if n not in asked), f"not among {terms.column}s"), **left}
    kept = [name for name in sheet.names if name not in left]
    if set(kept) <= set(apart):
        raise _none_left(sheet, terms, {**left, **apart})
    if not transpose and (lost := [name for name in apart if name not in kept]):
        raise InputError(
            f"{path}: column {lost[0]!r} is named as the {apart[lost[0]]}, and also by {option('drop')} or "
            f"{option(f'{terms.row}s')}. Name it once."
        )
    choose = (
        "" if transpose or fixed else f"name the columns of {terms.entries} with {option(f'{terms.column}s', NAMES)}"
    )
    only_numbers(sheet, [name for name in kept if name not in asked], choose, fixed=fixed)
    entries = _stacked(sheet, kept)
    if not transpose:
        remedy = f"number the {terms.row}s with {option(f'{terms.row}s', None)}"
        labels = None if key is None else sheet.labels(key, terms.row, remedy)
        matrix = Matrix(terms, [path], labels, kept, entries, columns_left=left)
    else:
        remedy = f"add up the rows of a {terms.column}"
        labels = None if key is None else sheet.labels(key, terms.column, remedy)
        names = [str(label) for label in (range(len(entries)) if labels is None else labels)]
        no_suspects(path, kept, entries, terms.row)
        matrix = Matrix(terms, [path], np.array(kept, dtype=object), names, entries.T, rows_left=list(left.items()))
        matrix.positions([*apart, *(name for name in drop if name not in sheet.names)])
    matrix.apart = {name: matrix.entries[:, matrix.columns.index(name)].astype(float) for name in apart}
    matrix.columns_left |= {name: f"taken as the {what}" for name, what in apart.items()}
    matrix.columns_left |= {name: "asked for" for name in matrix.columns if name in drop}
    matrix = matrix.take([i for i, name in enumerate(matrix.columns) if name not in matrix.columns_left])
    if not fixed and (every or transpose or not columns):
        naming = "" if transpose else option(f"{terms.column}s", NAMES)
        no_suspects(path, matrix.columns, matrix.entries, terms.column, naming, columns)
    return matrix


def _none_left(sheet: Sheet, terms: Terms, uses: Mapping[str, str]) -> InputError:
    """Return the error for a table without a column of the matrix."""
    others = [mark for mark in ";|," if len(sheet.names) == 1 and mark in sheet.names[0]]
    remedy = f"Check the delimiter, or name the columns with {option(f'{terms.column}s', NAMES)}"
    if others:
        remedy = (
            f"The delimiter seems to be {others[0]!r}: {'save the table with commas' if others[0] == '|' else RENAME}"
        )
    return InputError(
        f"{sheet.path}: no column of {terms.entries} is left; the columns are "
        + listed(f"{name!r} ({uses.get(name, 'text')})" for name in sheet.names)
        + f". {remedy}."
    )


def only_numbers(sheet: Sheet, names: Sequence[str], choose: str = "", *, fixed: bool = False) -> None:
    """Check that columns hold numbers, or raise an error that names those that do not.

    Parameters
    ----------
    sheet : Sheet
    names : sequence of str
    choose : str
        What may be done besides dropping columns; "" for correcting them.
    fixed : bool
        There is no option ``drop``.
    """
    text = [name for name in names if not sheet.is_numeric(name)]
    if not text:
        return
    told = ", ".join(f"{name!r} ({sheet.first_text(name)})" for name in text[:3])
    more = f" and {len(text) - 3} more" if len(text) > 3 else ""
    one = len(text) == 1
    drop = (
        f"Delete {'it' if one else 'them'}"
        if fixed
        else f"Leave {'it' if one else 'them'} out with {option('drop', ','.join(text[:10]))}"
    )
    raise InputError(
        f"{sheet.path}: column{'s' * (not one)} {told}{more} {'holds' if one else 'hold'} no numbers. {drop}, or "
        f"{choose or ('correct it' if one else 'correct them')}."
    )


def no_suspects(
    path: Path, names: Sequence[str], entries: Array, what: str, naming: str = "", asked: Sequence[str] = ()
) -> None:
    """Check that no column looks like a total, a running number or a label coded as a number.

    Parameters
    ----------
    path : Path
    names : sequence of str
    entries : ndarray, shape (N, D)
    what : str
        What a column would be taken for.
    naming : str
        The option that names columns to keep, as messages show it; "" for none.
    asked : sequence of str
        Columns that it does name, which are above suspicion.
    """
    found = {name: why for name, why in suspects(names, dense(entries)).items() if name not in asked}
    if not found:
        return
    told = [f"{name!r} {why}" for name, why in found.items()]
    keep = f"name the {what}s to read with {naming}" if naming else "rename it"
    raise InputError(
        f"{path}: column {'; '.join(told[:3])}: no {what}, it seems. Leave it out with "
        f"{option('drop', ','.join(list(found)[:10]))}, or, if it is a {what}, {keep}."
    )


def _stacked(sheet: Sheet, names: Sequence[str]) -> Array:
    """Return columns of numbers side by side; shape (N, D)."""
    found = [sheet.numbers(name, f"leave the column out with {option('drop', name)}") for name in names]
    whole = np.column_stack(found)
    for name, column in zip(names, found, strict=True):
        if whole.dtype.kind == "f" and (inexact := lossy(column)).any():
            raise sheet.too_large(name, int(np.argmax(inexact)), str(column[np.argmax(inexact)]))
    return whole


def _parquet(path: Path) -> Sheet:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = files.content(path)
    try:
        stored = pq.ParquetFile(pa.BufferReader(content)).read()
        places = {name.strip(): i for i, name in enumerate(stored.column_names)}
        unique(path, [name.strip() for name in stored.column_names])
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
    frame.columns = pd.Index(named(str(name).strip() for name in frame.columns), dtype=object)

    def written(name: str) -> Any:
        return pd.Series(stored.column(places[name]).to_pylist() if name in places else frame[name], dtype=object)

    return Sheet(path, frame.reset_index(drop=True), 1, "row", written)
