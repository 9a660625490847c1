"""Streams in the place of files: the standard input, and pipes that the shell has opened."""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from genarium.errors import InputError
from genarium.readers.files import present

STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")

ENDINGS = {
    b"\x89HDF": ".h5ad",
    b"PAR1": ".parquet",
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"PK\x03\x04": ".npz",
    b"%%MatrixMarket": ".mtx",
}
"""How a file is called that begins so."""


@contextlib.contextmanager
def without_streams(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the paths, with a file in the place of each stream: the standard input (``-``), and pipes that are open.

    A reader may then read twice, seek, and go by the name: what a stream holds is told by how it begins.

    Raises
    ------
    InputError
        If a path is of nothing that can be read to its end: it is absent, a device, a socket, a pipe that nobody has
        opened.
    """
    streams = [path for path in paths if _is_stream(path)]
    if not streams:
        yield [_there(path) for path in paths]
        return
    if len(streams) != len({"-" if str(path) in STANDARD_INPUT else str(path) for path in streams}):
        raise InputError(f"{streams[-1]}: a stream can be read once only. Write it to a file first.")
    with tempfile.TemporaryDirectory(prefix="genarium-") as folder:
        copies = {path: _copied(path, Path(folder, f"stream{i}")) for i, path in enumerate(streams)}
        try:
            yield [copies.get(path) or _there(path) for path in paths]
        except InputError as error:
            told = error.marked
            for path, copy in copies.items():
                told = told.replace(str(copy), "standard input" if str(path) in STANDARD_INPUT else str(path))
            raise InputError(told) from error


def _there(path: Path) -> Path:
    """Check that a path is of a file, or of a folder: some formats are one."""
    return path if os.path.isdir(path) else present(path)


def _is_stream(path: Path) -> bool:
    """Whether a path is of the standard input, or of a pipe that the shell has opened for us, as in ``<(...)``."""
    if str(path) in STANDARD_INPUT:
        return True
    opened = str(path).startswith(("/dev/fd/", "/proc/self/fd/"))
    return opened and path.exists() and stat.S_ISFIFO(path.stat().st_mode)


def _copied(path: Path, place: Path) -> Path:
    """Write what a stream holds to a file with the ending of its format."""
    standard = str(path) in STANDARD_INPUT
    if standard and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        raise InputError(f"{path}: nothing comes by the standard input. Pass it a file: genarium ... - < FILE.")
    try:
        with (
            place.open("wb") as copy,
            contextlib.nullcontext(sys.stdin.buffer) if standard else path.open("rb") as all_,
        ):
            shutil.copyfileobj(all_, copy)
        with place.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InputError(f"{path}: the stream cannot be read ({error.strerror}). Write it to a file first.") from error
    ending = next((end for magic, end in ENDINGS.items() if head.startswith(magic)), "")
    return place.rename(place.with_name(place.name + ending))
