"""Independent parsers of tables: text by Python's ``csv``, Parquet by pyarrow, numbers by Python."""

import codecs
import csv
import io
import re
from collections.abc import Iterator

from validation.fuzz.case import UnlikeError
from validation.fuzz.raw import decompressed
from validation.fuzz.text import Grid

MISSING = {"", "na", "n/a", "nan", "-nan", "null", "none", "<na>", "#n/a"}
PARQUET = (".parquet", ".pq")

csv.field_size_limit(2**27)


def grids(name: str, data: bytes) -> list[Grid]:
    """Return every way to read a file as a table: by delimiter, and by which line is the header.

    Raises
    ------
    UnlikeError
        If there is none.
    """
    if any(part in name.lower() for part in PARQUET):
        return [_parquet(decompressed(data))]
    found = [grid for text in _texts(decompressed(data)) for mark in "\t,; " for grid in _parsed(text, mark)]
    if not found:
        raise UnlikeError("no table: the file is not rectangular under any delimiter")
    return found


def _texts(data: bytes) -> Iterator[str]:
    bom = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        yield data.decode("utf-16" if bom else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnlikeError(f"no text: {error.reason}") from None


def _parsed(text: str, mark: str) -> Iterator[Grid]:
    if mark == " ":
        text = "\n".join(line.rstrip() for line in text.replace("\t", " ").splitlines())
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True))
    except csv.Error:
        return
    records = [record for record in records if any(cell.strip() for cell in record)]
    plain = next((i for i, record in enumerate(records) if not record[0].startswith("#")), len(records))
    for at in (plain - 1, plain):
        if not 0 <= at < len(records) - 1:
            continue
        header = [cell.strip() for cell in records[at]]
        if header[0].startswith("#"):
            header[0] = header[0].lstrip("#").strip(' "')
        rows = records[at + 1 :]
        widths = {len(row) for row in rows}
        if widths == {len(header) + 1}:
            if all(not row[-1].strip() for row in rows):
                rows = [row[:-1] for row in rows]
            else:
                header = ["", *header]
        elif widths != {len(header)}:
            continue
        yield Grid([cell or f"unnamed {i}" for i, cell in enumerate(header, 1)], rows)


def _parquet(data: bytes) -> Grid:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        columns = [column.to_pylist() for column in table.columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnlikeError(f"no Parquet: {error}") from None
    names = [one.strip() for one in table.column_names]
    told = (table.schema.pandas_metadata or {}).get("index_columns", ())
    index = [one.strip() for one in told if isinstance(one, str) and one.strip() in names]
    order = [names.index(one) for one in index] + [i for i, one in enumerate(names) if one not in index]
    names = ["" if names[i].startswith("__index_level_") and names[i] in index else names[i] for i in order]
    named = [one or f"unnamed {i}" for i, one in enumerate(names, 1)]
    return Grid(named, [list(row) for row in zip(*(columns[i] for i in order), strict=True)])


def number(cell: object) -> int | float | None:
    """Return the number that a cell holds; None if it is missing.

    Raises
    ------
    UnlikeError
        If it holds none.
    """
    if cell is None or isinstance(cell, bool):
        return None if cell is None else int(cell)
    if isinstance(cell, int | float):
        return cell
    text = str(cell).strip()
    if text.lower() in MISSING:
        return None
    if text.isascii() and re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if text.isascii() and (
        re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) or re.fullmatch(r"[+-]?inf(inity)?", text.lower())
    ):
        return float(text)
    raise UnlikeError(f"no number: {text[:40]!r}")


def number_or_text(cell: object) -> int | float | str | None:
    """Return a cell's number, None where it is missing, or its text."""
    try:
        return number(cell)
    except UnlikeError:
        return str(cell)


def name(cell: object) -> str:
    """Return a label as text, without blanks about it."""
    return (cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)).strip()


def same_number(have: object, cell: object) -> bool:
    """Whether a value of an accepted tree is the number in a cell, exactly (a float: the nearest one)."""
    wanted = number(cell)
    got = have.item() if hasattr(have, "item") else have
    if wanted is None or wanted != wanted:
        return bool(got != got)
    if isinstance(got, float) and isinstance(wanted, int):
        try:
            return got == float(wanted)
        except OverflowError:
            return False
    return bool(got == wanted)
