"""Formats: which files each reader takes, and which reader is meant where the user names none."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genarium.docstrings import summary_of
from genarium.errors import InputError
from genarium.readers.files import COMPRESSION, LOOKS_LIKE
from genarium.remedies import flag

TABLES = (".csv", ".tsv", ".tab", ".tbl", ".txt", ".parquet", ".pq")
"""Ends of the names of tables."""

OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}

BEGINS: dict[bytes, str] = {
    b"\x89HDF": ".h5ad",
    b"PAR1": ".parquet",
    b"PK\x03\x04": ".npz",
    b"BAM\x01": ".bam",
    b"CRAM": ".cram",
    b"%%MatrixMarket": ".mtx",
    b"@HD\t": ".sam",
    b"@SQ\t": ".sam",
    b"##fileformat=VCF": ".vcf",
}
"""What the end of a file's name usually is, by how the file begins (decompressed)."""


@dataclass(frozen=True)
class Takes:
    """What files a reader takes.

    Attributes
    ----------
    ends : tuple of str
        How their names end, compression aside.
    number : int
        How many of them; 0 for any number.
    folder : bool
        Whether it takes a folder.
    example : str
        Files and options of an example, as words of the command line.
    """

    ends: tuple[str, ...] = ()
    number: int = 0
    folder: bool = False
    example: str = "FILE"

    def __str__(self) -> str:
        several = {0: "", 1: "one file: "}.get(self.number, f"{self.number} files: ")
        return several + ", ".join([*self.ends, *(["a folder"] if self.folder else [])])


def takes[Reader: Callable[..., Any]](
    *ends: str, number: int = 0, folder: bool = False, example: str = "FILE"
) -> Callable[[Reader], Reader]:
    """Declare, above a reader, what files it takes; see :class:`Takes`."""

    def marked(reader: Reader) -> Reader:
        reader.takes = Takes(ends, number, folder, example)  # type: ignore[attr-defined]
        return reader

    return marked


def taken_by(reader: Callable[..., Any]) -> Takes:
    """Return what files a reader takes, as far as it says."""
    found = getattr(reader, "takes", None)
    return found if isinstance(found, Takes) else Takes()


def guessed(model: str, readers: Mapping[str, Callable[..., Any]], files: Sequence[Path]) -> str:
    """Return the one format that files can be of.

    Parameters
    ----------
    model : str
    readers : mapping of str to callable
        By format.
    files : sequence of Path
        They exist.

    Raises
    ------
    InputError
        If there is none, or more than one, with what each format takes.
    """
    if len(readers) == 1:
        return next(iter(readers))
    found: list[str] = []
    for counting in (True, False):  # where the number of files is wrong, the reader says so best
        fits = {name: _fit(taken_by(reader), files, counting) for name, reader in readers.items()}
        best = max(fits.values(), default=0)
        found = found or [name for name, fit in fits.items() if fit == best > 0]
        if len(found) == 1:
            return found[0]
    lines = "; ".join(f"{flag('format', name)} ({_said(reader)})" for name, reader in readers.items())
    shown = ", ".join(map(str, files[:3]))
    if not found and (looks := next(filter(None, map(looks_like, files)), "")):
        raise InputError(f"{shown}: this is {looks}. The formats of {model} are {lines}.")
    if not found and (folder := next(filter(Path.is_dir, files), None)):
        raise InputError(f"{folder}: this is a folder. Name the file in it; the formats of {model} are {lines}.")
    if found:
        what = "; ".join(f"{flag('format', name)} ({summary_of(readers[name]).rstrip('.')})" for name in found)
        raise InputError(f"{shown}: this may be {' or '.join(found)}. Name the format: {what}.")
    why = "tells its format neither by its name nor by how it begins"
    raise InputError(f"{shown}: this {why}. Name the format that {model} shall read it as: {lines}.")


def _said(reader: Callable[..., Any]) -> str:
    return str(taken_by(reader)) or summary_of(reader)


def _fit(what: Takes, files: Sequence[Path], counting: bool) -> int:
    """How well files fit a reader: 0 not at all, else by the least telling of them, names before contents."""
    if counting and what.number and len(files) != what.number:
        return 0
    return min(_fit_one(what, path) for path in files)


def _fit_one(what: Takes, path: Path) -> int:
    if path.is_dir():
        return int(what.folder)
    name = path.name.lower()
    for end in COMPRESSION:
        name = name.removesuffix(end)
    by_name = max((len(end) + 1 for end in what.ends if name.endswith(end)), default=0)
    return by_name or int(path.is_file() and _usual_end(path) in what.ends)


def looks_like(path: Path) -> str:
    """Return what a file is that no reader of tables takes, with the remedy; "" for any other."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        begin = stream.read(16)
    return next((what for magic, what in LOOKS_LIKE.items() if begin.startswith(magic)), "")


def _usual_end(path: Path) -> str:
    """Return the end of a name that goes with how a file begins; that of a table for text; "" where nothing is told."""
    try:
        with path.open("rb") as stream:
            begin = stream.read(512)
        opener = next((opener for magic, opener in OPENERS.items() if begin.startswith(magic)), None)
        if opener is not None:
            with opener(path, "rb") as stream:
                begin = stream.read(512)
    except (OSError, EOFError, lzma.LZMAError):
        return ""
    if found := next((end for magic, end in BEGINS.items() if begin.startswith(magic)), ""):
        return found
    return "" if b"\0" in begin or not begin.strip() else TABLES[0]
