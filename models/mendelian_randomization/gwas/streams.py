"""Texts of summary statistics as streams, compressed or not by what is in them: names of files may say otherwise."""

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

from genarium.errors import InputError

UNREADABLE = (OSError, EOFError, zlib.error)
"""What a stream that is cut off or damaged raises."""

PACKED = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
}
"""How other files begin, and what they are."""


def packed(path: Path) -> bool:
    """Whether a file is compressed by gzip."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def opened(path: Path) -> Any:
    """Open a text.

    Raises
    ------
    InputError
        If it is packed by anything but gzip.
    """
    with path.open("rb") as stream:
        first = stream.read(6)
    what = next((what for begins, what in PACKED.items() if first.startswith(begins)), "")
    if what:
        raise InputError(f"{path}: this is {what}. Save the table as text in UTF-8, compressed by gzip or not at all.")
    if packed(path):
        return gzip.open(path, "rt", encoding="utf-8", errors="strict")
    return path.open(encoding="utf-8", errors="strict")


def arrow(path: Path) -> Any:
    """Open a file for Arrow."""
    import pyarrow as pa

    return pa.input_stream(str(path), compression="gzip" if packed(path) else None)


def line_of(path: Path, first: int, row: int) -> int:
    """Return the line that a row is in, where blank lines are no rows.

    Parameters
    ----------
    path : Path
    first : int
        Line of the first row, or of a blank line before it.
    row : int
        From 0.
    """
    try:
        with opened(path) as stream:
            for number, line in enumerate(stream, 1):
                if number >= first and line.strip():
                    if row == 0:
                        return number
                    row -= 1
    except (*UNREADABLE, UnicodeDecodeError):
        pass
    return first + row


def uneven(path: Path, skip: int, separator: str, width: int) -> bool:
    """Raise if a line has another number of cells than the header; a cell in quotes may hold what separates others.

    Returns
    -------
    bool
        Whether there are remarks among the rows, such lines that begin with "#" (SNPTEST ends with one).

    Raises
    ------
    InputError
        With the first such line.
    """
    remarks = False
    try:
        with opened(path) as stream:
            for number, line in enumerate(stream, 1):
                if number <= skip or line.count('"') % 2 or not line.strip():
                    continue
                if '"' in line:
                    line = re.sub('"[^"]*"', "quoted", line)
                cells = len(line.split()) if separator == " " else line.count(separator) + 1
                if cells != width and line.startswith("#"):
                    remarks = True
                elif cells != width:
                    named = cells == width + 1 and not line.rstrip("\r\n").endswith(separator)
                    told = " (R writes names of rows without a header, unless row.names = FALSE)" if named else ""
                    raise InputError(
                        f"{path}: line {number} has {cells} cells, but the header {width}{told}. Complete or "
                        "correct it."
                    )
    except UnicodeDecodeError as error:
        raise not_text(path, error) from error
    except UNREADABLE as error:
        raise damaged(path, error) from error
    return remarks


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error of a file that ends before its end."""
    return InputError(f"{path}: this cannot be read ({error}). It is damaged or cut short: fetch it again.")


def not_text(path: Path, error: UnicodeDecodeError) -> InputError:
    """Return the error of a file in another encoding."""
    what = "text in UTF-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else f"no text in UTF-8 ({error.reason})"
    return InputError(f"{path}: this is {what}. Save the table as text in UTF-8, compressed by gzip or not at all.")
