"""Reader of alignments in transcript coordinates (BAM, SAM or CRAM): start and orientation of every read are known."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.progress import spinner
from genarium.readers.files import present
from genarium.readers.formats import takes
from genarium.readers.ledger import Account, Ledger, Told
from genarium.remedies import option
from genarium.settings import only_with

from .fragments import Fragments
from .sparse import from_matrix

if TYPE_CHECKING:
    from pysam import AlignedSegment, AlignmentFile


EXCLUDED = "on the strand that the protocol excludes"

REMEDY = "It is cut short or damaged: write it again, e.g. with `samtools view -b`"

LONGEST = 1_000_000
"""No fragment has more nucleotides than this."""


class Hit(NamedTuple):
    """A place that a read may come from: what its likelihood depends on.

    ``reach`` is the length of the fragment if it is known (pairs), and else the most it can be: nucleotides from the
    read's first base to the end of the transcript that the read points to.
    """

    transcript: int
    reach: int
    mismatches: int


@takes(".bam", ".sam", ".cram", number=1, example="reads.bam --option strand=forward")
def bam(
    paths: Sequence[Path],
    *,
    strand: Literal["unstranded", "forward", "reverse"] = "unstranded",
    error: float = 0.001,
    read_length: int = 0,
    fragment_mean: float = 0.0,
    fragment_sd: float = 0.0,
    digits: int = 2,
) -> Told:
    """Read alignments to transcripts, all alignments of a read in a row (as aligners write them).

    Parameters
    ----------
    paths : sequence of Path
        One file, of single reads or of pairs. Pairs whose mates do not face each other on one transcript are left out.
    strand : {"unstranded", "forward", "reverse"}
        Whether reads (of a pair, the first) may have both orientations, or that of the transcript, or the opposite one.
        Alignments that the protocol excludes are dropped.
    error : float
        Probability of a wrong base, which tells alignments with different numbers of mismatches (tag NM) apart.
    read_length : int
        Nucleotides of a single read; 0 takes the median of the alignments. Only where the lengths of fragments are not
        known, as those of pairs are.
    fragment_mean, fragment_sd : float
        Of the lengths of fragments, in nucleotides. For single reads, 0 means that nothing is known: starts are then
        uniform. For pairs, 0 means that the distribution is learned from those of unambiguous length.
    digits : int
        Decimals to which the likelihoods of reads, scaled to add up to one, must agree for the reads to be one class,
        which gets the mean of them. Fewer classes make sampling faster; 12 is as good as exact.

    Returns
    -------
    Told
        P(read | transcript) of eq. 3, scaled for each read, merged into classes.

    Raises
    ------
    InputError
    """
    if len(paths) != 1:
        raise InputError(f"reader 'bam' takes one file, not {len(paths)}. Merge them with `samtools cat`.")
    if not 0 < error < 0.5:
        raise InputError(f"reader 'bam': {option('error', error)} must be above zero and below a half.")
    if not fragment_mean + 6 * fragment_sd <= LONGEST:
        raise InputError(
            f"reader 'bam': {option('fragment_mean', fragment_mean)} and {option('fragment_sd', fragment_sd)} are "
            f"lengths in nucleotides, and none is above {LONGEST:,}. Correct them."
        )
    if (fragment_mean > 0) != (fragment_sd > 0) or min(fragment_mean, fragment_sd) < 0:
        raise InputError(
            f"reader 'bam': {option('fragment_mean', fragment_mean)} and {option('fragment_sd', fragment_sd)} must "
            "both be above zero, "
            "or both be left out."
        )
    with spinner("alignments"):
        found = _Reads(Path(paths[0]), strand)
    given = Fragments.normal(fragment_mean, fragment_sd) if fragment_mean > 0 else None
    if found.paired:
        given = given or Fragments.observed(found.lengths_of_pairs())
    if read_length < 0:
        raise InputError(
            f"reader 'bam': {option('read_length', read_length)} must not be negative. Leave it out for the median."
        )
    switch = "single reads whose fragment_mean and fragment_sd are not given"
    only_with("reader 'bam'", switch, given is None, read_length=read_length or None)
    if not 1 <= digits <= 12:
        raise InputError(f"reader 'bam': {option('digits', digits)} must be from 1 to 12.")
    data = found.classes(given, read_length, float(np.log(error / 3 / (1 - error))), digits)
    return Told(data, found.ledger(len(data["count"])))


class _Reads:
    """Reads counted by their possible places, as far as these differ in likelihood."""

    def __init__(self, path: Path, strand: str) -> None:
        self.path, self.strand, self.paired = path, strand, False
        self.count: Counter[tuple[Hit, ...]] = Counter()
        self.sizes: Counter[int] = Counter()
        self.names: list[str] = []
        self.records = self.apart = 0
        self.left: Counter[str] = Counter()
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
        if self.apart:
            share = self.apart / (self.apart + self.count.total())
            warnings.warn(
                f"{path}: {self.apart:,} reads ({share:.1%}) are left out: their mates do not face each other on one "
                "transcript.",
                stacklevel=4,
            )
        if not self.count:
            raise InputError(
                f"{path}: no read is aligned ({self.records} records; {option('strand', strand)}). Check the mapping."
            )

    def _read(self, file: "AlignmentFile") -> None:
        """Count all reads of a file."""
        self.names, self.lengths = list(file.references), np.array(file.lengths, dtype=np.int64)
        if not self.names:
            raise InputError(f"{self.path}: the header names no transcripts. Align to a transcriptome.")
        seen: set[str] = set()
        for name, group in groupby(self._mapped(file), lambda one: one.query_name or ""):
            if name in seen:
                raise InputError(
                    f"{self.path}: the alignments of read {name!r} do not follow each other. Sort the file by read "
                    "name (`samtools sort -n`)."
                )
            seen.add(name)
            alignments = list(group)
            if any(one.is_paired != self.paired for one in alignments):
                if len(seen) > 1 or len({one.is_paired for one in alignments}) > 1:
                    kind = "single" if self.paired else "paired"
                    raise InputError(
                        f"{self.path}, record {self.records}: read {name!r} is {kind}, unlike those before. Read "
                        "single reads and pairs from files of their own."
                    )
                self.paired = True
            hits, wrong_strand = self._pairs(alignments) if self.paired else self._singles(alignments)
            if hits:
                best = min(one.mismatches for one in hits)
                self.count[tuple(sorted(one._replace(mismatches=one.mismatches - best) for one in hits))] += 1
            elif not wrong_strand:
                self.apart += 1

    def _mapped(self, file: "AlignmentFile") -> Iterator["AlignedSegment"]:
        """Yield the mapped records, whose places are checked."""
        for one in file.fetch(until_eof=True):
            self.records += 1
            if one.is_unmapped or one.is_supplementary:
                self.left["of unmapped reads" if one.is_unmapped else "supplementary"] += 1
                continue
            last = one.reference_end or one.reference_start
            if not 0 <= one.reference_id < len(self.names) or last > self.lengths[one.reference_id]:
                place = f"{one.reference_start + 1}-{last} of transcript {one.reference_id}"
                raise InputError(
                    f"{self.path}, record {self.records}: read {one.query_name!r} is aligned to {place}, which is not "
                    "there. Use the header of the transcriptome that was aligned to."
                )
            yield one

    def _singles(self, alignments: "Sequence[AlignedSegment]") -> tuple[list[Hit], bool]:
        """Return the places of a single read, and whether some are excluded by the protocol."""
        hits = []
        for one in alignments:
            if self.strand != "unstranded" and one.is_reverse != (self.strand == "reverse"):
                self.left[EXCLUDED] += 1
                continue
            start, end = one.reference_start, one.reference_end or one.reference_start
            reach = end if one.is_reverse else int(self.lengths[one.reference_id]) - start
            hits.append(Hit(one.reference_id, reach, _mismatches(one)))
            self.sizes[end - start] += 1
        return hits, not hits

    def _pairs(self, alignments: "Sequence[AlignedSegment]") -> tuple[list[Hit], bool]:
        """Return the places of a pair, and whether some are excluded by the protocol."""
        mates = {
            (one.reference_id, one.reference_start, one.next_reference_start): one for one in alignments if one.is_read2
        }
        hits, wrong_strand, used, excluded = [], False, set[int](), set[int]()
        for one in alignments:
            if not one.is_read1 or one.mate_is_unmapped or one.next_reference_id != one.reference_id:
                continue
            mate = mates.get((one.reference_id, one.next_reference_start, one.reference_start))
            if mate is None or one.is_reverse == mate.is_reverse:
                continue
            left, right = (mate, one) if one.is_reverse else (one, mate)
            size = (right.reference_end or 0) - left.reference_start
            if size <= 0:
                continue
            if self.strand != "unstranded" and one.is_reverse != (self.strand == "reverse"):
                wrong_strand = True
                excluded |= {id(one), id(mate)}
                continue
            used |= {id(one), id(mate)}
            hits.append(Hit(one.reference_id, size, _mismatches(one) + _mismatches(mate)))
        self.left[EXCLUDED] += len(excluded - used)
        self.left["of mates that do not face each other on one transcript"] += len(alignments) - len(excluded | used)
        return hits, wrong_strand

    def ledger(self, classes: int) -> Ledger:
        """Account for the records of the file, and for the transcripts in its header."""
        rows = Account("alignment", self.records)
        for reason, number in self.left.items():
            rows.leave(reason, number)
        kind = "pairs" if self.paired else "reads"
        note = f"{self.count.total():,} {kind} of equal likelihood are one class: {classes:,} classes."
        return Ledger(rows, Account("transcript", len(self.names), entry="reference"), [note])

    def lengths_of_pairs(self) -> Array:
        """Count fragments by length, of pairs that have the same one at all their places; shape (longest + 1,)."""
        out = np.zeros(max(one.reach for hits in self.count for one in hits) + 1)
        for hits, count in self.count.items():
            if len({one.reach for one in hits}) == 1:
                out[hits[0].reach] += count
        return out

    def classes(self, fragments: Fragments | None, read_length: int, penalty: float, digits: int) -> dict[str, Any]:
        """Merge reads of equal likelihood; ``penalty`` is the log likelihood of a mismatch."""
        from scipy import sparse

        size = read_length or _median(self.sizes)
        effective = self.lengths - size + 1.0 if fragments is None else fragments.effective_lengths(self.lengths)
        entries = [(row, *hit) for row, hits in enumerate(self.count) for hit in hits]
        row, transcript, reach, mismatches = np.array(entries, dtype=np.int64).T
        short = transcript[effective[transcript] <= 0]
        if short.size:
            raise InputError(
                f"{self.path}: transcript {self.names[short[0]]!r} has {self.lengths[short[0]]} nucleotides, fewer "
                f"than the {size} of a read: its effective length would be {effective[short[0]]:g}. Drop it, or set "
                "read_length."
            )
        if fragments is None:
            start = 1 / effective[transcript]
        else:
            start = fragments.starts(self.lengths[transcript], reach, known=self.paired)
        value = start * np.exp(penalty * mismatches)
        total = np.bincount(row, value)
        matrix = sparse.csr_array((value / total[row], (row, transcript)), shape=(len(total), len(self.names)))
        matrix.sum_duplicates()  # several starts on one transcript
        classes, count = _merged(matrix, np.array(list(self.count.values())), digits)
        return from_matrix(classes, np.maximum(effective, 1.0), names=self.names, count=count, where=str(self.path))


def _merged(share: Any, count: Array, digits: int) -> tuple[Any, Array]:
    """Merge rows that agree to so many decimals (a smaller share: in its power of ten) into their mean; also counts."""
    from scipy import sparse

    power = np.power(10.0, np.round(np.log10(np.maximum(share.data, 1e-300))))
    rounded = np.where(share.data >= 10.0**-digits, np.round(share.data, digits), power)
    found: dict[bytes, int] = {}
    label = np.empty(len(count), dtype=np.int64)
    for n, (low, high) in enumerate(pairwise(share.indptr)):
        key = share.indices[low:high].tobytes() + rounded[low:high].tobytes()
        label[n] = found.setdefault(key, len(found))
    total = np.bincount(label, count)
    mean = sparse.csr_array((count / total[label], (label, np.arange(len(count)))), shape=(len(total), len(count)))
    return mean @ share, total.astype(np.int64)


def _mismatches(one: "AlignedSegment") -> int:
    """Return the tag NM, or 0 without."""
    return int(one.get_tag("NM")) if one.has_tag("NM") else 0


def _median(sizes: Counter[int]) -> int:
    """Return the median of counted sizes, or 0 without any."""
    values = np.sort(np.fromiter(sizes.keys(), dtype=np.int64))
    total = np.cumsum([sizes[int(one)] for one in values])
    return int(values[np.searchsorted(total, total[-1] / 2)]) if values.size else 0
