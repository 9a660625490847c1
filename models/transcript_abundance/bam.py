"""Reader of alignments in transcript coordinates (BAM): start and orientation of every read are known."""

import gzip
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genarium.errors import InputError

from .sparse import from_matrix

UNMAPPED, REVERSE, PAIRED, SUPPLEMENTARY = 0x4, 0x10, 0x1, 0x800
STRANDS = ("unstranded", "forward", "reverse")

REMEDY = "It is cut short or damaged: write it again, e.g. with `samtools view -b`"


class Alignment(NamedTuple):
    """A read on a transcript: name, transcript, leftmost position, end, orientation and mismatches."""

    read: str
    transcript: int
    start: int
    end: int
    reverse: bool
    mismatches: int


def bam(
    paths: Sequence[Path], *, strand: str = "unstranded", error: float = 0.001, read_length: int = 0
) -> Mapping[str, Any]:
    """Read single-end alignments to transcripts, all alignments of a read in a row (as aligners write them).

    Parameters
    ----------
    paths : sequence of Path
        One BAM file.
    strand : {"unstranded", "forward", "reverse"}
        Whether reads may have both orientations, or that of the transcript, or the opposite one. Alignments that the
        protocol excludes are dropped.
    error : float
        Probability of a wrong base, which tells alignments with different numbers of mismatches (tag NM) apart.
    read_length : int
        Nucleotides of a read; 0 takes the median of the alignments.

    Returns
    -------
    dict
        P(read | transcript) = P(orientation) · 1 / (L - l + 1) · (ε/3)^m (1 - ε)^(l - m) (eq. 3), relative to the
        best alignment of the read, merged into classes.

    Raises
    ------
    InputError
    """
    from scipy import sparse

    if len(paths) != 1:
        raise InputError(f"reader 'bam' takes one file, not {len(paths)}. Merge them with `samtools cat`.")
    if strand not in STRANDS:
        raise InputError(f"reader 'bam': strand={strand!r} is not known; use one of {', '.join(STRANDS)}.")
    if not 0 < error < 0.5:
        raise InputError(f"reader 'bam': error={error} must be above zero and below a half.")
    path = Path(paths[0])
    stream = _Stream(path)
    names, lengths = stream.header()
    wanted = [
        one for one in stream.alignments(lengths) if strand == "unstranded" or one.reverse == (strand == "reverse")
    ]
    if not wanted:
        raise InputError(
            f"{path}: no read is aligned ({stream.records} records; strand={strand!r}). Check the mapping."
        )
    size = read_length or int(np.median([one.end - one.start for one in wanted]))
    effective = lengths - size + 1.0
    orientation = 0.5 if strand == "unstranded" else 1.0
    rows: list[int] = []
    seen: set[str] = set()
    last, n = None, -1
    for one in wanted:
        if one.read != last:
            if one.read in seen:
                raise InputError(
                    f"{path}: the alignments of read {one.read!r} do not follow each other. Sort the file by read name "
                    "(`samtools sort -n`)."
                )
            seen.add(one.read)
            last, n = one.read, n + 1
        rows.append(n)
        if effective[one.transcript] <= 0:
            raise InputError(
                f"{path}: transcript {names[one.transcript]!r} has {lengths[one.transcript]} nucleotides, fewer than "
                f"the {size} of a read: its effective length would be {effective[one.transcript]:g}. Drop it, or set "
                "read_length."
            )
    row = np.array(rows)
    mismatches = np.array([one.mismatches for one in wanted])
    best = np.full(n + 1, np.iinfo(np.int64).max)
    np.minimum.at(best, row, mismatches)
    column = np.array([one.transcript for one in wanted])
    value = orientation / effective[column] * (error / 3 / (1 - error)) ** (mismatches - best[row])
    matrix = sparse.coo_array((value, (row, column)), shape=(n + 1, len(names)))  # several starts are added up
    return from_matrix(matrix, np.maximum(effective, 1.0), names=names, where=str(path))


class _Stream:
    """The decompressed content of a BAM file, read from the front."""

    def __init__(self, path: Path) -> None:
        self.path, self.at, self.records = path, 0, 0
        if not path.is_file():
            raise InputError(f"{path}: there is no such file. Check the path.")
        try:
            self.data = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: the file cannot be decompressed ({error}). {REMEDY}.") from error
        if self.data[:4] != b"BAM\1":
            raise InputError(f"{path}: this is no BAM file. Convert SAM with `samtools view -b`.")
        self.at = 4

    def take(self, form: str) -> tuple[Any, ...]:
        """Read numbers."""
        size = struct.calcsize(form)
        if self.at + size > len(self.data):
            raise InputError(f"{self.path}, record {self.records}: the file ends within a record. {REMEDY}.")
        found = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return found

    def bytes(self, size: int) -> bytes:
        """Read bytes."""
        if size < 0 or self.at + size > len(self.data):
            raise InputError(f"{self.path}, record {self.records}: the file ends within a record. {REMEDY}.")
        self.at += size
        return self.data[self.at - size : self.at]

    def header(self) -> tuple[list[str], np.ndarray[Any, Any]]:
        """Read names and lengths of the transcripts."""
        (text,) = self.take("<i")
        self.bytes(text)
        (many,) = self.take("<i")
        if many < 1:
            raise InputError(f"{self.path}: the header names no transcripts. Align to a transcriptome.")
        names, lengths = [], []
        for _ in range(many):
            (size,) = self.take("<i")
            names.append(self.bytes(size).rstrip(b"\0").decode("utf-8", "replace"))
            lengths.append(self.take("<i")[0])
        return names, np.array(lengths)

    def alignments(self, lengths: np.ndarray[Any, Any]) -> Iterator[Alignment]:
        """Yield the mapped single-end alignments."""
        while self.at < len(self.data):
            self.records += 1
            (block,) = self.take("<i")
            end = self.at + block
            if block < 32 or end > len(self.data):
                raise InputError(f"{self.path}, record {self.records}: the file ends within a record. {REMEDY}.")
            ref, pos, name_size, _, _, cigar_size, flag, bases, _, _, _ = self.take("<iiBBHHHiiii")
            name = self.bytes(name_size)[:-1].decode("utf-8", "replace")
            cigar = np.frombuffer(self.bytes(4 * cigar_size), dtype="<u4")
            self.bytes((bases + 1) // 2 + bases)
            tags = self.bytes(end - self.at)
            if flag & (UNMAPPED | SUPPLEMENTARY):
                continue
            if flag & PAIRED:
                raise InputError(
                    f"{self.path}, record {self.records}: read {name!r} is paired. Only single-end reads are known "
                    "here: let salmon make classes of pairs (--dumpEqWeights)."
                )
            span = int((cigar >> 4)[np.isin(cigar & 15, (0, 2, 3, 7, 8))].sum())
            if not 0 <= ref < len(lengths) or pos < 0 or pos + span > lengths[ref]:
                raise InputError(
                    f"{self.path}, record {self.records}: read {name!r} is aligned to {pos + 1}-{pos + span} of "
                    f"transcript {ref}, which is not there. Use the header of the transcriptome that was aligned to."
                )
            yield Alignment(name, ref, pos, pos + span, bool(flag & REVERSE), _mismatches(tags))


SIZES = {"A": 1, "c": 1, "C": 1, "s": 2, "S": 2, "i": 4, "I": 4, "f": 4}


def _mismatches(tags: bytes) -> int:
    """Return the tag NM, or 0 without."""
    at = 0
    while at + 3 <= len(tags):
        tag, kind = tags[at : at + 2], chr(tags[at + 2])
        at += 3
        if kind in "ZH":
            stop = tags.find(b"\0", at)
            if stop < 0:
                return 0
            at = stop + 1
        elif kind == "B":
            if at + 5 > len(tags):
                return 0
            at += 5 + SIZES.get(chr(tags[at]), 4) * int(struct.unpack_from("<I", tags, at + 1)[0])
        elif kind in SIZES:
            if tag == b"NM" and at + SIZES[kind] <= len(tags):
                return int.from_bytes(tags[at : at + SIZES[kind]], "little")
            at += SIZES[kind]
        else:
            return 0
    return 0
