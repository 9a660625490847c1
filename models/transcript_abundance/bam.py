"""Reader of alignments in transcript coordinates (BAM, SAM or CRAM): start and orientation of every read are known."""

import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.progress import spinner
from genarium.readers.formats import takes
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.messages import listed
from genarium.remedies import option
from genarium.settings import only_with

from .alignments import Alignments
from .fragments import Fragments
from .lengths import said_of_short
from .protocol import Kept, Reads, Strand, kept
from .sparse import from_matrix

EXCLUDED = "on the strand that the protocol excludes"

LONGEST = 1_000_000
"""No fragment has more nucleotides than this, and hardly a transcript."""


@takes(".bam", ".sam", ".cram", number=1, example="reads.bam --option strand=auto")
def bam(
    paths: Sequence[Path],
    *,
    strand: Strand = "unstranded",
    error: float = 0.001,
    read_length: int = 0,
    fragment_mean: float = 0.0,
    fragment_sd: float = 0.0,
    digits: int = 2,
    duplicates: Literal["keep", "drop"] = "keep",
) -> Told:
    """Read alignments to transcripts, all alignments of a read in a row (as aligners write them).

    Alignments to a genome are refused. Those that failed quality checks (flag 512) are left out, and one that is
    stored twice counts once.

    Parameters
    ----------
    paths : sequence of Path
        One file, of single reads or of pairs. Pairs whose mates do not face each other on one transcript are left out.
    strand : {"unstranded", "forward", "reverse", "auto"}
        Whether reads (of a pair, the first) may have both orientations, or that of the transcript, or the opposite one.
        Alignments that the protocol excludes are dropped. "auto": learned from the reads.
    error : float
        Probability of a wrong base, which tells alignments apart that differ from the transcript in more or fewer bases
        (tag NM, or MD, or = and X of the CIGAR; clipped bases differ).
    read_length : int
        Nucleotides of a single read; 0 takes the median of the alignments. Only where the lengths of fragments are not
        known, as those of pairs are.
    fragment_mean, fragment_sd : float
        Of the lengths of fragments, in nucleotides. For single reads, 0 means that nothing is known: starts are then
        uniform. For pairs, 0 means that the distribution is learned from those of unambiguous length.
    digits : int
        Decimals to which the likelihoods of reads, scaled to add up to one, must agree for the reads to be one class,
        which gets the mean of them. Fewer classes make sampling faster; 12 is as good as exact.
    duplicates : {"keep", "drop"}
        What to do with alignments that are marked as duplicates (flag 1024).

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
    _check_numbers(error, read_length, fragment_mean, fragment_sd, digits)
    with spinner("alignments"):
        found = Alignments(Path(paths[0]), keep_duplicates=duplicates == "keep")
    kind = "pairs" if found.paired else "reads"
    chosen = kept(found.count, strand, kind)
    alarms = [*file_alarms(found), *(chosen.notes[-1:] if chosen.alarm else [])]
    given = Fragments.normal(fragment_mean, fragment_sd) if fragment_mean > 0 else None
    if not chosen.count:
        _warn(found.path, [*_apart(found), *alarms])
        raise InputError(
            f"{found.path}: no read is aligned that can be used ({found.records} records; {option('strand', strand)}"
            f"{_why(found)}). Check the mapping."
        )
    if found.paired:
        given = given or Fragments.observed(lengths_of_pairs(chosen.count))
    switch = "single reads whose fragment_mean and fragment_sd are not given"
    only_with("reader 'bam'", switch, given is None, read_length=read_length or None)
    size = read_length or _median(found.sizes)
    data, short = _classes(found, chosen.count, given, size, float(np.log(error / 3 / (1 - error))), digits)
    _warn(found.path, [*_apart(found), *alarms, *short])
    merged = f"{chosen.count.total():,} {kind} of equal likelihood are one class: {len(data['count']):,} classes."
    notes = [merged, *chosen.notes, *file_alarms(found), *file_notes(found), *short]
    return Told(data, _ledger(found, chosen, notes))


def _check_numbers(error: float, read_length: int, fragment_mean: float, fragment_sd: float, digits: int) -> None:
    """Refuse numbers that mean nothing."""
    if not 0 < error < 0.5:
        raise InputError(f"reader 'bam': {option('error', error)} must be above zero and below a half.")
    lengths = f"{option('fragment_mean', fragment_mean)} and {option('fragment_sd', fragment_sd)}"
    if not fragment_mean + 6 * fragment_sd <= LONGEST:
        raise InputError(
            f"reader 'bam': {lengths} are lengths in nucleotides, and none is above {LONGEST:,}. Correct them."
        )
    if (fragment_mean > 0) != (fragment_sd > 0) or min(fragment_mean, fragment_sd) < 0:
        raise InputError(f"reader 'bam': {lengths} must both be above zero, or both be left out.")
    if read_length < 0:
        raise InputError(
            f"reader 'bam': {option('read_length', read_length)} must not be negative. Leave it out for the median."
        )
    if not 1 <= digits <= 12:
        raise InputError(f"reader 'bam': {option('digits', digits)} must be from 1 to 12.")


def _warn(path: Path, alarms: Sequence[str]) -> None:
    for told in alarms:
        warnings.warn(f"{path}: {told}", stacklevel=5)


def _apart(found: Alignments) -> list[str]:
    """Say which pairs are left out."""
    lost = found.apart.total()
    if not lost:
        return []
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in found.apart.items())
    return [f"{lost:,} reads ({lost / (lost + found.count.total()):.1%}) are left out: {reasons}."]


def _why(found: Alignments) -> str:
    """Say what became of the records of a file that leaves no read."""
    return "".join(f"; {number:,} {reason}" for reason, number in found.left.items() if number)


def file_alarms(found: Alignments) -> list[str]:
    """Say what makes the result doubtful."""
    out, total = [], found.count.total() + found.apart.total()
    if found.untold:
        out.append(
            f"of {found.untold:,} reads nothing tells how all their alignments differ from the transcripts (no tag NM "
            "or MD, no = and X in the CIGAR): all their places are taken for equally good ones. Add the tags with "
            "`samtools calmd`."
        )
    for (what, tag), values in found.tagged.items():
        if what == "cells" and len(values) > 1:
            out.append(
                f"the reads of {len(values):,} cells (tag {tag}) are pooled into one sample. Split the file first "
                f"(`samtools split -d {tag}`) for one fit a cell."
            )
    if len(found.samples) > 1:
        out.append(
            f"the reads of {len(found.samples)} samples ({listed(found.samples)}, by @RG) are pooled into one. Split "
            "the file first (`samtools split`)."
        )
    if len(found.mates) > 1:
        out.append(
            f"names of reads end in /1 and /2, but their flags say that they are no pairs: each of the {total:,} "
            "mates counts as a read of its own. Align them as pairs."
        )
    long = np.flatnonzero(found.lengths > LONGEST)
    if long.size:
        out.append(
            f"reference {found.names[long[0]]!r} has {found.lengths[long[0]]:,} nucleotides, more than transcripts "
            "have: this looks like an alignment to a genome. Align to the transcriptome."
        )
    return out


def file_notes(found: Alignments) -> list[str]:
    """Say what was taken for granted."""
    out = []
    if found.copies:
        out.append(
            f"{found.copies:,} alignments are marked as duplicates (flag 1024) and kept; "
            "duplicates=drop leaves them out."
        )
    for (what, tag), values in found.tagged.items():
        if what == "molecules":
            out.append(f"Reads are counted, not molecules (tag {tag}, {len(values):,} values).")
    return out


def _ledger(found: Alignments, chosen: Kept, notes: list[str]) -> Ledger:
    """Account for the records of the file, and for the transcripts in its header."""
    rows = Account("alignment", found.records)
    each = 2 if found.paired else 1
    for reason, number in (*found.left.items(), (EXCLUDED, each * chosen.excluded)):
        rows.leave(reason, number)
    return Ledger(rows, Account("transcript", len(found.names), entry="reference"), notes)


def lengths_of_pairs(reads: Reads) -> Array:
    """Count fragments by length, of pairs that have the same one at all their places; shape (longest + 1,)."""
    out = np.zeros(max(one.reach for hits in reads for one in hits) + 1)
    for hits, count in reads.items():
        if len({one.reach for one in hits}) == 1:
            out[hits[0].reach] += count
    return out


def _classes(
    found: Alignments, reads: Reads, fragments: Fragments | None, size: int, penalty: float, digits: int
) -> tuple[dict[str, Any], list[str]]:
    """Merge reads of equal likelihood; ``penalty``: log likelihood of a mismatch. Also what short transcripts mean."""
    from scipy import sparse

    names, lengths = found.names, found.lengths
    effective = lengths - size + 1.0 if fragments is None else fragments.effective_lengths(lengths)
    places: Reads = Counter()
    for hits, number in reads.items():
        best = min(one.mismatches for one in hits)
        alike = sorted(one._replace(mismatches=one.mismatches - best, reverse=False) for one in hits)
        places[tuple(alike)] += number
    entries = [(row, *hit[:3]) for row, hits in enumerate(places) for hit in hits]
    row, transcript, reach, mismatches = np.array(entries, dtype=np.int64).T
    short = transcript[effective[transcript] <= 0]
    if short.size:
        raise InputError(
            f"{found.path}: transcript {names[short[0]]!r} has {lengths[short[0]]} nucleotides, fewer "
            f"than the {size} of a read: its effective length would be {effective[short[0]]:g}. Drop it, or set "
            "read_length."
        )
    if fragments is None:
        start = 1 / effective[transcript]
    else:
        start = fragments.starts(lengths[transcript], reach, known=found.paired)
    value = start * np.exp(penalty * mismatches)
    total = np.bincount(row, value)
    matrix = sparse.csr_array((value / total[row], (row, transcript)), shape=(len(total), len(names)))
    matrix.sum_duplicates()  # several starts on one transcript
    classes, count = merged_rows(matrix, np.array(list(places.values())), digits)
    floored = np.maximum(effective, 1.0)
    data = from_matrix(classes, floored, names=names, count=count, where=str(found.path))
    return data, said_of_short(names, floored, np.asarray(classes.T @ count))


def merged_rows(share: Any, count: Array, digits: int) -> tuple[Any, Array]:
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


def _median(sizes: Counter[int]) -> int:
    """Return the median of counted sizes, or 0 without any."""
    values = np.sort(np.fromiter(sizes.keys(), dtype=np.int64))
    total = np.cumsum([sizes[int(one)] for one in values])
    return int(values[np.searchsorted(total, total[-1] / 2)]) if values.size else 0
