"""Files as lines of text, compressed or not, one after another: damage and truncation are errors."""

import gzip
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.readers.files import whole_blocks


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
        raise InputError(
            f"{path}: {'this is not a file' if path.exists() else 'there is no such file'}. Check the path."
        )
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        whole_blocks(path)
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
            f"{path}: this is not text in UTF-8 (after line {number}: {error.reason}). Check that it is the file meant."
        ) from error
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error}). Check its permissions.") from error


def numbered_blocks(path: Path, most: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a file in blocks, each with the number of its first line."""
    stream, number = lines(path), 1
    while block := list(islice(stream, most)):
        yield number, block
        number += len(block)
