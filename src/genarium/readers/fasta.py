"""FASTA files, plain or compressed by bgzip, indexed without writing anything beside them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.remedies import option


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a FASTA file as a ``pysam.FastaFile``.

    An index (.fai) that is there and not older than the file is used; else one is made in a temporary folder.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If there is no such file, it is compressed by plain gzip, or it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file. Give the genome's FASTA file: {option('fasta')}.")
    pysam = htslib("a FASTA file")
    magic = _head(path)
    if magic[:2] == b"\x1f\x8b" and b"BC\x02\x00" not in magic:
        raise InputError(
            f"{path}: this FASTA is compressed by gzip, in which no contig can be looked up. Unpack it "
            "(gunzip), or compress it by bgzip."
        )
    if not magic.lstrip().startswith(b">") and magic[:2] != b"\x1f\x8b":
        raise InputError(f"{path}: this is not a FASTA file: it does not begin with '>'.")
    beside = [path.with_name(path.name + end) for end in (".fai", ".gzi")]
    packed = magic[:2] == b"\x1f\x8b"
    needed = beside if packed else beside[:1]
    fresh = all(one.is_file() and one.stat().st_mtime >= path.stat().st_mtime for one in needed)
    with tempfile.TemporaryDirectory() as folder:
        fai, gzi = beside if fresh else [Path(folder) / "fai", Path(folder) / "gzi"]
        verbosity = pysam.set_verbosity(0)
        try:
            if not fresh:
                packed_options = ["--gzi-idx", str(gzi)] if packed else []
                pysam.faidx(str(path), "--fai-idx", str(fai), *packed_options)
            options = {"filepath_index_compressed": str(gzi)} if packed else {}
            with pysam.FastaFile(str(path), filepath_index=str(fai), **options) as file:
                yield file
        except InputError:  # of who reads from it
            raise
        except (OSError, ValueError, pysam.utils.SamtoolsError) as error:
            raise InputError(
                f"{path}: the FASTA file cannot be read ({str(error).strip()}). Lines of a contig must be of "
                "one length, names unique."
            ) from error
        finally:
            pysam.set_verbosity(verbosity)


def htslib(what: str) -> Any:
    """Return the package pysam.

    Parameters
    ----------
    what : str
        What it is needed for.

    Raises
    ------
    InputError
        If it cannot be imported, as on Windows.
    """
    try:
        import pysam
        import pysam.utils
    except ImportError as error:
        raise InputError(
            f"{what} needs pysam, which cannot be imported here ({error}). Use Linux or macOS; mutations with a "
            "column of contexts are read without it."
        ) from error
    return pysam


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error}). Check its permissions.") from error
