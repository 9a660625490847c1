"""Files as bytes and as text: present, decompressed, decoded."""

import bz2
import gzip
import lzma
import os
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.remedies import flag
from genarium.writing import kind

COMPRESSION = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""What opens a compressed file, by the end of its name."""

BLOCKS_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every whole file of bgzip."""

LOOKS_LIKE = {
    b"\x89HDF": f"an HDF5 file. Read AnnData with {flag('format', 'h5ad')}",
    b"PAR1": "a Parquet file. Give it a name that ends in .parquet",
    b"\x1f\x8b": "gzip data. Give it a name that ends in .gz",
    b"BZh": "bzip2 data. Give it a name that ends in .bz2",
    b"\xfd7zXZ": "xz data. Give it a name that ends in .xz",
    b"PK\x03\x04": "a zip archive or a spreadsheet. Save the table as CSV",
    b"%%MatrixMarket": "a Matrix Market file. Name its folder, if it is of Cell Ranger; or make an AnnData file of it "
    "(.h5ad), with its genes and cells",
}
"""What a file is that begins so, and the remedy where text was expected."""


def present(path: Path) -> Path:
    """Check that a path is of a regular file, or a link to one.

    Raises
    ------
    InputError
        Saying what it is instead.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        gone = os.path.islink(path) and isinstance(error, FileNotFoundError)
        if gone:
            why = f"it is a link to {os.readlink(path)}, which is not there"
        elif isinstance(error, FileNotFoundError):
            raise InputError(f"{path}: there is no such file. Check the path.") from error
        else:
            why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: there is no file to read ({why}). Check the path.") from error
    if stat.S_ISREG(mode):
        return path
    remedy = "Name a file"
    if stat.S_ISDIR(mode):
        remedy = "Name the file in it"
    elif stat.S_ISFIFO(mode):
        remedy = f"Pass it by the standard input: cat {path} | genarium ... -"
    raise InputError(f"{path}: this is not a file, but {kind(mode)}. {remedy}.")


def existing(reader: str, paths: Sequence[Path]) -> list[Path]:
    """Check that there is a file, and that all are files."""
    if not paths:
        raise InputError(f"reader {reader!r}: no file was given. Name at least one.")
    files = [present(Path(path)) for path in paths]
    no_file_twice(files)
    return files


def no_file_twice(paths: Sequence[Path]) -> None:
    """Check that no file, or folder, is given twice, by whatever name.

    Raises
    ------
    InputError
    """
    seen: dict[tuple[int, int], Path] = {}
    for path in paths:
        if os.path.exists(path):  # false also for a name that no file can have
            about = path.stat()
            key = (about.st_dev, about.st_ino)
            if key in seen:
                alike = "" if seen[key] == path else f", as {seen[key]} too"
                what = "folder" if path.is_dir() else "file"
                raise InputError(f"{path}: the same {what} is given twice{alike}. Give each once.")
            seen[key] = path


def whole_blocks(path: Path) -> None:
    """Check that a file of bgzip has its last block: one cut between two blocks is decompressed without an error.

    Raises
    ------
    InputError
        If it is cut short; nothing is said of other files.
    """
    with path.open("rb") as raw:
        head = raw.read(16)
        if head[:2] == b"\x1f\x8b" and head[12:] == b"BC\x02\x00":
            raw.seek(max(path.stat().st_size - len(BLOCKS_END), 0))
            if raw.read() != BLOCKS_END:
                raise InputError(f"{path}: the bgzip file is truncated: its last block is missing. Fetch it again.")


def content(path: Path) -> bytes:
    """Read and decompress a file.

    Raises
    ------
    InputError
        If it cannot be read, is damaged or empty.
    """
    suffix = path.suffix.lower()
    opener: Any = COMPRESSION.get(suffix, open)
    try:
        with opener(path, "rb") as stream:
            found: bytes = stream.read()
    except (OSError, EOFError, ValueError, MemoryError, lzma.LZMAError, zlib.error) as error:
        remedy = "It is damaged or cut short: fetch it again" if suffix in COMPRESSION else "Check its permissions"
        raise InputError(f"{path}: the file cannot be read ({error}). {remedy}.") from error
    whole_blocks(path)
    if not found.strip():
        raise InputError(f"{path}: the file is empty. Write the table again, with a header and lines below it.")
    return found


def text(path: Path) -> str:
    r"""Read, decompress and decode a file; lines end with ``\n``.

    Raises
    ------
    InputError
        Also if it is no text in UTF-8; says what it is instead.
    """
    found = content(path)
    looks = next((what for magic, what in LOOKS_LIKE.items() if found.startswith(magic)), "")
    try:
        decoded = found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        looks = looks or f"not text in UTF-8 ({error.reason} at byte {error.start}). Save the table as UTF-8 text"
        raise InputError(f"{path}: this is {looks}.") from error
    if "\0" in decoded or found.startswith(b"%%MatrixMarket"):
        raise InputError(f"{path}: this is {looks or 'binary data, not a table. Name the file after its true format'}.")
    return decoded.replace("\r\n", "\n").replace("\r", "\n")
