"""Files as lines of text, compressed or not, one after another: damage and truncation are errors."""

import gzip
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from genarium.errors import InputError

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every whole file of bgzip."""


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, without the line break.

    Parameters
    ----------
    path : Path
        Plain text, or gzip or bgzip data whatever the name is.

    Raises
    ------
    InputError
        If the file is absent, cannot be read, is cut short or is no text; says after which line.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'this is no file' if path.exists() else 'there is no such file'}. Check the path.")
    number = 0
    try:
        with path.open("rb") as raw:
            head = raw.read(18)
        packed = head[:2] == b"\x1f\x8b"
        if packed and head[12:16] == b"BC\x02\x00":
            _require_end(path)
        opener: Any = gzip.open if packed else open
        with opener(path, "rt", encoding="utf-8-sig", newline=None) as stream:
            for line in stream:
                number += 1
                yield line.rstrip("\n")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the compressed file is truncated or damaged after line {number} ({error}). Fetch it again."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: this is no text in UTF-8 (after line {number}: {error.reason}). Check that it is the file meant."
        ) from error
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error}). Check its permissions.") from error


def numbered_blocks(path: Path, most: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a file in blocks, each with the number of its first line."""
    stream, number = lines(path), 1
    while block := list(islice(stream, most)):
        yield number, block
        number += len(block)


def _require_end(path: Path) -> None:
    with path.open("rb") as raw:
        raw.seek(max(path.stat().st_size - len(BGZF_END), 0))
        if raw.read() != BGZF_END:
            raise InputError(f"{path}: the bgzip file is truncated: its last block is missing. Fetch it again.")
