"""Alignments of a file in transcript coordinates, gathered by read."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genarium.errors import InputError
from genarium.readers.files import present

from .differences import is_spliced
from .places import APART, REPEATED, Hit, once, pairs, singles

if TYPE_CHECKING:
    from pysam import AlignedSegment, AlignmentFile

REMEDY = "It is cut short or damaged: write it again, e.g. with `samtools view -b`"

SPLICED = (
    "The file holds alignments to a genome, whose references are no transcripts: align to the transcriptome (STAR with "
    "`--quantMode TranscriptomeSAM`; bowtie2, minimap2 or salmon with the sequences of the transcripts)"
)

FAILED, COPIES = "that failed quality checks (flag 512)", "marked as duplicates (flag 1024)"

TAGS = {"cells": ("CB", "CR"), "molecules": ("UB", "RX", "UR", "MI")}
"""Tags of a record that say which cell or molecule its read is from; the first one that there is counts."""


class Alignments:
    """The reads of a file, counted by their possible places.

    Attributes
    ----------
    paired : bool
    count : Counter of tuple of Hit
    sizes : Counter of int
        Alignments of single reads, by nucleotides.
    names : list of str
    lengths : ndarray of int, shape (K,)
        Of the transcripts in the header.
    records : int
        Alignments in the file.
    left, apart : Counter of str
        Alignments that are left out, and pairs without any place, by reason.
    untold, copies : int
        Reads whose mismatches nothing tells; alignments marked as duplicates that are kept.
    tagged : dict of (str, str) to set of str
        Values of the tags of cells and molecules, by what they name and by tag.
    samples : list of str
        Samples of the header's read groups.
    mates : set of str
        Endings /1 and /2 of the names of single reads.
    """

    def __init__(self, path: Path, *, keep_duplicates: bool = True) -> None:
        self.path, self.keep_duplicates, self.paired = path, keep_duplicates, False
        self.count: Counter[tuple[Hit, ...]] = Counter()
        self.sizes, self.left, self.apart = Counter[int](), Counter[str](), Counter[str]()
        self.names: list[str] = []
        self.samples: list[str] = []
        self.records = self.untold = self.copies = 0
        self.tagged: dict[tuple[str, str], set[str]] = {}
        self.mates: set[str] = set()
        present(path)
        try:
            import pysam
        except ImportError as error:
            raise InputError(
                f"reader 'bam' needs pysam, which cannot be imported here ({error}). Use Linux or macOS, or let salmon "
                "make classes of the alignments (`salmon quant -a`, --dumpEqWeights)."
            ) from error
        said = pysam.set_verbosity(0)
        try:
            with pysam.AlignmentFile(str(path), check_sq=False) as file:
                self._read(file)
        except InputError:
            raise
        except (OSError, ValueError, NotImplementedError, OverflowError, MemoryError) as error:
            what = f"after record {self.records}: the file cannot be read ({error})"
            raise InputError(f"{path}, {what}. {REMEDY}.") from error
        finally:
            pysam.set_verbosity(said)

    def _read(self, file: "AlignmentFile") -> None:
        """Count all reads of a file."""
        self.names, self.lengths = list(file.references), np.array(file.lengths, dtype=np.int64)
        if not self.names:
            raise InputError(f"{self.path}: the header names no transcripts. Align to a transcriptome.")
        with contextlib.suppress(UnicodeDecodeError):  # a header that is no text names no samples
            self.samples = sorted(set(re.findall(r"^@RG\t(?:.*\t)?SM:([^\t\n]+)", str(file.header), re.MULTILINE)))
        seen: set[str] = set()
        for name, group in groupby(self._mapped(file), _name):
            if name in seen:
                raise InputError(
                    f"{self.path}: the alignments of read {name!r} do not follow each other. Sort the file by read "
                    "name (`samtools sort -n`)."
                )
            seen.add(name)
            self._add(name, list(group), first=len(seen) == 1)

    def _mapped(self, file: "AlignmentFile") -> Iterator["AlignedSegment"]:
        """Yield the mapped records, whose places are checked."""
        for one in file.fetch(until_eof=True):
            self.records += 1
            if reason := self._reason(one):
                self.left[reason] += 1
                continue
            self.copies += one.is_duplicate
            last = one.reference_end or one.reference_start
            where = f"{self.path}, record {self.records}: read {one.query_name!r}"
            if not 0 <= one.reference_id < len(self.names) or last > self.lengths[one.reference_id]:
                place = f"{one.reference_start + 1}-{last} of transcript {one.reference_id}"
                raise InputError(
                    f"{where} is aligned to {place}, which is not there. Use the header of the transcriptome that was "
                    "aligned to."
                )
            if is_spliced(one):
                at = f"{one.cigarstring} on {self.names[one.reference_id]!r}"
                raise InputError(f"{where} is spliced (N in its CIGAR, {at}). {SPLICED}.")
            yield one

    def _reason(self, one: "AlignedSegment") -> str:
        """Say why a record is left out at once; empty if it is not."""
        if one.is_unmapped:
            return "of unmapped reads"
        if one.is_supplementary:
            return "supplementary"
        if one.is_qcfail:
            return FAILED
        return COPIES if one.is_duplicate and not self.keep_duplicates else ""

    def _add(self, name: str, group: "list[AlignedSegment]", *, first: bool) -> None:
        """Count one read."""
        if any(one.is_paired != self.paired for one in group):
            if not first or len({one.is_paired for one in group}) > 1:
                kind = "single" if self.paired else "paired"
                raise InputError(
                    f"{self.path}, record {self.records}: read {name!r} is {kind}, unlike those before. Read single "
                    "reads and pairs from files of their own."
                )
            self.paired = True
        self._note_tags(name, group)
        alignments, told = once(group, f"{self.path}, read {name!r}")
        self.untold += not told
        self.left[REPEATED] += len(group) - len(alignments)
        if self.paired:
            hits, left = pairs(alignments)
            self.left += left
            if not hits:
                self.apart[next(reason for reason in APART if left[reason])] += 1
        else:
            hits = singles(alignments, self.lengths)
            self.sizes.update((one.reference_end or one.reference_start) - one.reference_start for one, _ in alignments)
        if hits:
            self.count[tuple(sorted(hits))] += 1

    def _note_tags(self, name: str, group: "list[AlignedSegment]") -> None:
        """Note what the records of a read say of its cell and molecule, and whether its name is that of a mate."""
        for what, tags in TAGS.items():
            if tag := next((tag for tag in tags if group[0].has_tag(tag)), ""):
                self.tagged.setdefault((what, tag), set()).add(str(group[0].get_tag(tag)))
        if not self.paired and name.endswith(("/1", "/2")):
            self.mates.add(name[-2:])


def _name(one: "AlignedSegment") -> str:
    """Return the name of the read; mates that are told apart by /1 and /2 share one."""
    name = one.query_name or ""
    return name[:-2] if one.is_paired and name.endswith(("/1", "/2")) else name
