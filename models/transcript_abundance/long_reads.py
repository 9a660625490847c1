"""Reader of long reads aligned to transcripts: a read is a molecule, whose scores say where it may be from."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.progress import spinner
from genarium.readers.formats import takes
from genarium.readers.ledger import Account, Ledger, Told
from genarium.remedies import option

from .alignments import Alignments
from .bam import EXCLUDED, file_alarms, file_notes, merged_rows
from .coverage import EDGES, Places
from .coverage import coverage as learned
from .differences import differences
from .places import REPEATED
from .sparse import from_matrix

if TYPE_CHECKING:
    from pysam import AlignedSegment

SHORT, PARTIAL, POOR = "too short", "that align too small a part of the read", "scored far below the read's best"


class LongReads(Alignments):
    """Alignments of single long reads.

    Attributes
    ----------
    found : list of tuple
        Of each place: read, transcript, start, end, orientation, score, bases that differ (-1: not told).
    reads : int
    """

    def __init__(self, path: Path, *, least: int, part: float, keep_duplicates: bool = True) -> None:
        self.least, self.part, self.reads = least, part, 0
        self.found: list[tuple[int, int, int, int, bool, float, int]] = []
        super().__init__(path, keep_duplicates=keep_duplicates)

    def _add(self, name: str, group: "list[AlignedSegment]", *, first: bool) -> None:
        """Note the places of one read, each once, the best of each."""
        where = f"{self.path}, read {name!r}"
        if any(one.is_paired for one in group):
            raise InputError(f"{where} is of a pair, which no long read is. Read pairs as format bam.")
        self._note_tags(name, group)
        best: dict[tuple[int, int, int, bool], tuple[float, int]] = {}
        for one in group:
            end = one.reference_end or one.reference_start
            if one.query_alignment_length < self.least:
                self.left[SHORT] += 1
            elif one.query_alignment_length < self.part * (one.infer_read_length() or 0):
                self.left[PARTIAL] += 1
            else:
                place = (one.reference_id, one.reference_start, end, one.is_reverse)
                told = differences(one, where)
                mine = (_score(one, where), -1 if told is None else told)
                self.left[REPEATED] += place in best
                best[place] = max(mine, best.get(place, mine))
        self.found += [(self.reads, *place, *told) for place, told in best.items()]
        self.reads += bool(best)
        self.apart["without a place"] += not best


def _score(one: "AlignedSegment", where: str) -> float:
    """Return the score of an alignment; NaN without one."""
    if not one.has_tag("AS"):
        return np.nan
    score = one.get_tag("AS")
    if not isinstance(score, int | float):
        raise InputError(f"{where}: the tag AS is {score!r}, not a number. Align again.")
    return float(score)


@takes(example="reads.bam --option coverage=ends")
def long(
    paths: Sequence[Path],
    *,
    strand: Literal["unstranded", "forward", "reverse"] = "unstranded",
    error: float = 0.0,
    score_scale: float = 5.0,
    score_share: float = 0.95,
    least: int = 50,
    part: float = 0.5,
    coverage: Literal["none", "ends"] = "none",
    length: Literal["off", "on"] = "off",
    digits: int = 2,
    duplicates: Literal["keep", "drop"] = "keep",
) -> Told:
    """Read alignments of long reads (PacBio, Nanopore) to transcripts, by oarfish's assumptions.

    A read is a molecule: there is no correction for length, and tpm are reads per million. How well an alignment scores
    says how probably the read is from there. All alignments of a read follow each other, as minimap2 writes them.

    Parameters
    ----------
    paths : sequence of Path
        One file: BAM, SAM or CRAM.
    strand : {"unstranded", "forward", "reverse"}
        Whether reads may have both orientations, or that of the transcript (direct RNA), or the opposite one.
    error : float
        Probability of a wrong base; alignments then weigh by their mismatches (NM, MD or CIGAR), not by their scores.
    score_scale : float
        An alignment weighs exp((its score - the read's best) / this), by the tag AS.
    score_share : float
        Alignments that score less than this share of the read's best are left out.
    least : int
        Bases of a read that are aligned at least.
    part : float
        Share of the read that is aligned at least.
    coverage : {"none", "ends"}
        Whether places also weigh by what is missing of the transcript at either end, as learned from the reads.
    length : {"off", "on"}
        Whether reads may begin anywhere, so that long transcripts have more of them.
    digits : int
        Decimals to which the likelihoods of reads must agree for the reads to be one class.
    duplicates : {"keep", "drop"}
        What to do with alignments that are marked as duplicates (flag 1024).

    Returns
    -------
    Told
        P(read | transcript) of eq. 36, scaled for each read, merged into classes.

    Raises
    ------
    InputError
    """
    if len(paths) != 1:
        raise InputError(f"reader 'long' takes one file, not {len(paths)}. Merge them with `samtools cat`.")
    _check(error, score_scale, score_share, least, part, digits)
    with spinner("alignments"):
        found = LongReads(Path(paths[0]), least=least, part=part, keep_duplicates=duplicates == "keep")
    places, notes = _places(found, strand, error, score_scale, score_share)
    total = found.reads + found.apart.total()
    reads = int(places.read.max()) + 1 if len(places.read) else 0
    if not reads:
        raise InputError(
            f"{found.path}: no read is aligned that can be used ({found.records} records). Check the mapping."
        )
    alarms = file_alarms(found)
    if reads < total:
        lost = total - reads
        said = f"{lost:,} of {total:,} reads ({lost / total:.1%}) are left out: none of their places is left."
        (alarms if lost > 0.2 * total else notes).append(said)
    weight = places.weight / places.length if length == "on" else places.weight
    if coverage == "ends":
        ends, five, three = learned(places, least)
        weight = weight * ends
        full = int((EDGES < 100).sum())
        notes.append(
            f"Of the reads, {five[:full].sum():.0%} lack fewer than 100 nucleotides at the 5' end of their transcript, "
            f"{three[:full].sum():.0%} at the 3' end."
        )
    data = _classes(
        found, places, weight, np.asarray(found.lengths if length == "on" else np.ones(len(found.names))), digits
    )
    for told in alarms:
        warnings.warn(f"{found.path}: {told}", stacklevel=4)
    merged = f"{reads:,} reads of equal likelihood are one class: {len(data['count']):,} classes."
    rows = Account("alignment", found.records)
    for reason, number in found.left.items():
        rows.leave(reason, number)
    ledger = Ledger(
        rows, Account("transcript", len(found.names), entry="reference"), [merged, *notes, *alarms, *file_notes(found)]
    )
    return Told(data, ledger)


def _check(error: float, scale: float, share: float, least: int, part: float, digits: int) -> None:
    """Refuse numbers that mean nothing."""
    for name, value, good, says in (
        ("error", error, 0 <= error < 0.5, "from 0 (alignment scores) to below a half"),
        ("score_scale", scale, scale > 0, "above zero"),
        ("score_share", share, 0 <= share <= 1, "from 0 to 1"),
        ("least", least, least >= 1, "at least 1"),
        ("part", part, 0 <= part <= 1, "from 0 to 1"),
        ("digits", digits, 1 <= digits <= 12, "from 1 to 12"),
    ):
        if not good:
            raise InputError(f"reader 'long': {option(name, value)} must be {says}.")


def _places(found: LongReads, strand: str, error: float, scale: float, share: float) -> tuple[Places, list[str]]:
    """Weigh the places by score, or by mismatches; reads are numbered anew."""
    table = np.array(found.found, dtype=float).reshape(-1, 7)
    read, transcript, start, end, reverse = table[:, :5].astype(np.int64).T
    score, differ = table[:, 5], table[:, 6]
    notes: list[str] = []
    if strand != "unstranded":
        good = (reverse == 1) == (strand == "reverse")
        found.left[EXCLUDED] += int((~good).sum())
    else:
        good = np.ones(len(read), dtype=bool)
    N = found.reads
    if error:
        if (differ[good] < 0).any():
            raise InputError(
                f"{found.path}: nothing tells how an alignment differs from its transcript (no tag NM or MD, no = and "
                f"X in the CIGAR). Add the tags with `samtools calmd`, or leave {option('error')} out, for the scores."
            )
        value = -differ * np.log(3 * (1 - error) / error)
    else:
        if np.isnan(score[good]).any():
            raise InputError(
                f"{found.path}: an alignment has no score (tag AS). Align with minimap2, or give {option('error')}: "
                "the probability of a wrong base, for mismatches to tell."
            )
        value = score / scale
    top = np.full(N, -np.inf)
    np.maximum.at(top, read[good], (value if error else score)[good])
    if not error:
        poor = good & (score < share * top[read])
        found.left[POOR] += int(poor.sum())
        good &= ~poor
        top = top / scale
    read, transcript, start, end = read[good], transcript[good], start[good], end[good]
    weight = np.exp(np.maximum(value[good] - top[read], -700.0))
    length = np.asarray(found.lengths)[transcript]
    _, read = np.unique(read, return_inverse=True)
    return Places(read, transcript, start, length - end, length, weight), notes


def _classes(found: LongReads, places: Places, weight: Array, effective: Array, digits: int) -> dict[str, Any]:
    """Merge reads of equal likelihood."""
    from scipy import sparse

    N = int(places.read.max()) + 1
    total = np.bincount(places.read, weight, N)
    matrix = sparse.csr_array(
        (weight / total[places.read], (places.read, places.transcript)), shape=(N, len(found.names))
    )
    matrix.sum_duplicates()  # several places on one transcript
    classes, count = merged_rows(matrix, np.ones(N, dtype=np.int64), digits)
    return from_matrix(classes, np.maximum(effective, 1.0), names=found.names, count=count, where=str(found.path))
