"""Delimited text as a sheet: finds header and delimiter, and keeps the line that each record is in."""

import csv
import io
import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from genarium.errors import InputError
from genarium.readers.files import COMPRESSION
from genarium.readers.messages import listed
from genarium.readers.sheet import MISSING, Sheet, named, unique

SEPARATORS = {".csv": ",;\t", ".tsv": "\t,;", ".tab": "\t,;", ".tbl": ""}
"""Delimiters to look for, in this order, by the end of the name; none: columns stand between white space."""


def parse(path: Path, text: str, key: str | None) -> Sheet:
    r"""Parse delimited text.

    Parameters
    ----------
    path : Path
        The file it is from; its name tells the usual delimiter.
    text : str
        Lines that end with ``\n``. The first names the columns and may begin with ``#``; blank lines are skipped.
    key : str or None
        Column to keep as text; "auto" for the first.

    Raises
    ------
    InputError
        Naming file, line and remedy.
    """
    import pandas as pd

    at, names, separator, start = _header(path, text)
    key = names[0] if key == "auto" else key
    stream = io.StringIO(text)

    def parsed(**how: Any) -> Any:
        stream.seek(start)
        return pd.read_csv(
            stream,
            sep=separator or r"\s+",
            header=None,
            names=names,
            na_values={name: MISSING for name in names if name != key},
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
            low_memory=False,
            **how,
        )

    def written(name: str) -> Any:
        column = parsed(usecols=[name], dtype=str)[name]
        return column.loc[sheet.frame.index] if len(column) > len(sheet.frame) else column

    try:
        frame = parsed(dtype={key: str} if key in names else None)
    except (ValueError, OverflowError) as error:
        message = str(error).strip()
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message):
            want, line, have = map(int, found.groups())
            raise _ragged(path, at + line, have, want) from error
        raise InputError(
            f"{path}: the table, whose header is in line {at}, cannot be parsed ({message}). Check its delimiter and "
            "quotation marks."
        ) from error
    sheet = _complete(Sheet(path, frame, at + 1, "line"), text[start:], separator)
    sheet.source = written
    return sheet


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
    candidates = [i for i in (plain - 1, plain) if 0 <= i < len(lines)]  # the last line with # may name columns
    for i in candidates:
        at, header, start = lines[i]
        header = header.lstrip("#").lstrip(" ")
        usual = SEPARATORS.get(suffix, "\t,;")
        separator = next((mark for mark in usual if mark in header), usual[:1] if suffix in SEPARATORS else "")
        names = _fields(path, at, header, separator, strict=i == plain)
        if i + 1 == len(lines):
            raise InputError(
                f"{path}: there is a header (line {at}: {listed(names)}) but no line after it. Write it again."
            )
        below, line, end = lines[i + 1]
        stream.seek(end)  # a quoted field may go on in the next line
        fields = _fields(path, below, line, separator, stream)
        if i == plain or (len(names) == len(fields) and any(map(is_number, fields))):
            break
    numbered = [[str(j) for j in range(k, k + len(names))] for k in (0, 1)]  # as pandas writes an array
    if names not in numbered and all(map(is_number, names)):
        raise InputError(
            f"{path}: line {at} holds numbers ({listed(names)}) where columns should be named. Add a header line."
        )
    if len(fields) == len(names) + 1 and fields[-1]:  # as R writes the names of rows
        names = ["", *names]
    unique(path, names := named(names), at)
    if len(fields) != len(names):
        raise _ragged(path, below, len(fields), len(names))
    return at, names, separator, start


def _complete(sheet: Sheet, text: str, separator: str) -> Sheet:
    """Drop blank lines; find lines with too few fields."""
    import pandas as pd

    frame, width = sheet.frame, sheet.frame.shape[1]
    if not isinstance(frame.index, pd.RangeIndex):  # such as a line of delimiters only
        raise InputError(f"{sheet.path}: line {sheet.first} has more fields than the header. Correct or delete it.")
    lines = text.removesuffix("\n").split("\n")
    if len(lines) != len(frame):  # line breaks within quotation marks: lines cannot be told
        return Sheet(sheet.path, frame.reset_index(drop=True), 1, "record")
    last = frame.iloc[:, -1]
    blank = []
    for record in map(int, np.flatnonzero(last.isna() | (last == ""))):
        if not lines[record].strip():
            blank.append(record)
        elif (have := len(_fields(sheet.path, sheet.first + record, lines[record], separator))) < width:
            raise _ragged(sheet.path, sheet.first + record, have, width)
    sheet.frame = frame.drop(index=blank)
    return sheet


def _fields(
    path: Path, number: int, line: str, separator: str, more: Iterable[str] = (), *, strict: bool = False
) -> list[str]:
    """Split a line; a quoted field may go on in ``more``, or, where ``strict``, must end in the line."""
    lines = (one.strip("\n") if separator else one.replace("\t", " ").strip(" \n") for one in chain([line], more))
    try:
        fields = next(csv.reader(lines, delimiter=separator or " ", skipinitialspace=True, strict=strict))
    except csv.Error as error:
        raise InputError(f"{path}: line {number} cannot be parsed ({error}). Check its quotation marks.") from error
    return [field.strip() for field in fields]


def number(text: str) -> float:
    """Return the number that a field is, NaN and infinite ones among them; not of Python's own spellings, such as 1_00.

    Raises
    ------
    ValueError
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def is_number(text: str) -> bool:
    """Whether a field of a table can be read as a number."""
    try:
        number(text)
    except ValueError:
        return False
    return True


def _ragged(path: Path, line: int, have: int, want: int) -> InputError:
    return InputError(
        f"{path}: line {line} has {have} field{'s' * (have != 1)}, but the header has {want}. Complete or correct the "
        "line (a missing value is written NA), or check the delimiter, and that no number has a comma in it."
    )
