"""Lines of text files, compressed or not, and errors that name them."""

import contextlib
import gzip
import zlib
from pathlib import Path

from genarium.errors import InputError
from genarium.readers import delimited
from genarium.readers.files import present, whole_blocks

GZIP = b"\x1f\x8b"


def content(path: Path) -> bytes:
    """Read a file, decompressed where it begins as gzip does, whatever its name.

    Raises
    ------
    InputError
        If it is absent, empty, cut short or damaged; with the number of lines that could still be read.
    """
    try:
        raw = present(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}). Check its permissions.") from error
    if not raw.startswith(GZIP):
        if path.suffix == ".gz" and raw:
            raise InputError(f"{path}: the name says gzip, the content does not. Rename it, or fetch it again.")
        found = raw
    else:
        found = _decompressed(path, raw)
        whole_blocks(path)
    if not found.strip():
        raise InputError(f"{path}: the file is empty. Run the program that wrote it again.")
    return found


def _decompressed(path: Path, raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        reader = zlib.decompressobj(wbits=31)
        part = b""
        with contextlib.suppress(zlib.error):
            part = reader.decompress(raw)
        lines = part.count(b"\n")
        raise InputError(
            f"{path}: the gzip data are cut short or damaged after line {lines} ({error}). Fetch the file again, or "
            "wait until the program that writes it has ended."
        ) from error


def lines(path: Path) -> list[str]:
    """Return the lines of a text file, without what ends them (LF or CRLF)."""
    found = content(path)
    try:
        text = found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = found[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {at}: this is not text in UTF-8 ({error.reason}). Check the file.") from error
    if "\0" in text:
        raise InputError(f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: binary data, not text.")
    rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while rows and not rows[-1].strip():
        rows.pop()
    return rows


def wrong(path: Path, line: int, what: str, remedy: str) -> InputError:
    """Return an error about a line, counted from one."""
    return InputError(f"{path}, line {line}: {what}. {remedy}.")


def whole(path: Path, line: int, text: str, what: str, remedy: str) -> int:
    """Read a whole number not below zero."""
    plain = text.strip()
    if plain.isascii() and plain.isdigit() and len(plain) > 15:
        shown = plain if len(plain) < 30 else f"{plain[:20]}..., of {len(plain)} digits"
        raise wrong(path, line, f"{what} is {shown}, which is too large (15 digits at most)", remedy)
    if not (plain.isascii() and plain.isdigit()):
        raise wrong(path, line, f"{what} is {text!r}, but must be a whole number not below zero", remedy)
    return int(plain)


def number(path: Path, line: int, text: str, what: str, remedy: str) -> float:
    """Read a finite number not below zero."""
    try:
        value = delimited.number(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise wrong(path, line, f"{what} is {text!r}, but must be a finite number not below zero", remedy)
    return value
