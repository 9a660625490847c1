"""Reader of the course's format: a table of transcripts over segments, and the number of reads of each segment."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from genarium.errors import InputError
from genarium.readers.formats import takes
from genarium.readers.ledger import Account, Ledger, Told

from .lines import lines, whole, wrong

SEGMENT = 1000.0
"""Nucleotides of a segment."""

FORM = (
    "Lines are `Arc1 xxxxx 4 ABCD` (name, abundance or x, number of segments, segments) and `a 97512` (segment, reads)"
)


@takes(".txt", number=1, example="reads.txt")
def course(paths: Sequence[Path]) -> Told:
    """Read a file of the course: transcripts that cover runs of segments of a circular locus, and reads by segment.

    Parameters
    ----------
    paths : sequence of Path
        One file.

    Returns
    -------
    Told
        ``count`` by segment and the conditional weights 1 / L of the segments of each transcript (eq. 5); effective
        lengths of 1000 nucleotides a segment.

    Raises
    ------
    InputError
        With file, line, value and remedy.
    """
    if len(paths) != 1:
        raise InputError(f"reader 'course' takes one file, not {len(paths)}. Read each on its own.")
    path = Path(paths[0])
    covered: dict[str, str] = {}
    reads: dict[str, int] = {}
    comments: list[tuple[int, str]] = []
    for line, row in enumerate(lines(path), 1):
        if row.startswith("#"):
            comments.append((line, row.strip()))
        if not row.strip() or row.startswith(("The ", "#")):
            continue
        tokens = row.split()
        if len(tokens) == 4:
            name, _, size, segments = tokens
            if name in covered:
                raise wrong(path, line, f"the transcript {name!r} stands there twice", "Names must be unique")
            if whole(path, line, size, "the number of segments", FORM) != len(segments):
                raise wrong(path, line, f"{name!r} has {size} segments, but {segments!r} are {len(segments)}", FORM)
            if not re.fullmatch("[A-Z]+", segments) or len(set(segments)) < len(segments):
                raise wrong(path, line, f"the segments {segments!r} must be different capital letters", FORM)
            covered[name] = segments
        elif len(tokens) == 2 and re.fullmatch("[a-z]", tokens[0]):
            letter = tokens[0].upper()
            if letter in reads:
                raise wrong(path, line, f"the segment {tokens[0]!r} stands there twice", "Add the two counts up")
            reads[letter] = whole(path, line, tokens[1], f"the reads of {tokens[0]!r}", FORM)
        else:
            raise wrong(path, line, f"{row.strip()!r} is neither a transcript nor a count", FORM)
    last = len(lines(path))
    if not covered or not reads:
        raise wrong(path, last, f"the file ends without {'transcripts' if not covered else 'counts'}", FORM)
    names, letters = list(covered), sorted(set(reads) | set("".join(covered.values())))
    missing = [letter for letter in letters if letter not in reads]
    if missing:
        raise wrong(path, last, f"the file ends without the reads of segment {missing[0].lower()!r}", FORM)
    lost = [letter for letter in letters if reads[letter] and letter not in "".join(covered.values())]
    if lost:
        raise wrong(path, last, f"segment {lost[0].lower()!r} has reads, but no transcript covers it", FORM)
    if not any(reads.values()):
        raise wrong(path, last, "all counts are 0", "There is nothing to estimate")
    entries = [(letters.index(s), k, 1 / len(covered[n])) for k, n in enumerate(names) for s in covered[n]]
    classes, transcripts, weights = (np.array(column) for column in zip(*entries, strict=True))
    length = np.array([SEGMENT * len(covered[name]) for name in names])
    found = {
        "count": xr.DataArray(
            [reads[s] for s in letters], dims="equivalence_class", coords={"equivalence_class": letters}
        ),
        "entry_class": classes,
        "entry_transcript": transcripts,
        "weight": weights,
        "effective_length": xr.DataArray(length, dims="transcript", coords={"transcript": names}),
    }
    ledger = Ledger(Account("equivalence_class", len(letters), entry="segment"), Account("transcript", len(names)))
    ledger.notes += [f"Line {line} was taken for a comment: {row!r}" for line, row in comments]
    return Told(found, ledger)
