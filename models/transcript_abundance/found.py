"""What a fit found: abundances in transcripts per million, and which transcripts the reads cannot tell apart."""

import numpy as np
import xarray as xr

from genarium.declaration import Answer
from genarium.found import cells, centre_and_ends, heads, listed, named, short

from .groups import ridges_of

MOST = 10
"""Transcripts in the table, the most abundant ones."""


def found(tree: xr.DataTree) -> Answer:
    """Return the abundances of a fit by any method."""
    tpm, ends = centre_and_ends(tree, "tpm")
    reads, _ = centre_and_ends(tree, "counts")
    names = [named("transcript", name) for name in tree["constant_data"]["transcript"].to_numpy()]
    ridges = ridges_of(tree)
    number = np.zeros(len(tpm), dtype=int) if ridges is None else ridges.to_numpy()
    order = np.argsort(-tpm, kind="stable")
    rows = [["transcript", *heads("TPM", ends), "reads", *(["cannot be told apart from"] if number.any() else [])]]
    for k in order[:MOST]:
        same = [str(names[j]) for j in np.flatnonzero(number == number[k]) if number[k] and j != k]
        beside = ", ".join(same[:3]) + (f" and {len(same) - 3} more" if len(same) > 3 else "")
        rows.append(
            [str(names[k]), *cells(tpm, ends, int(k)), short(float(reads[k])), *([beside] if number.any() else [])]
        )
    first = [f"{names[k]} ({short(float(tpm[k]))} TPM)" for k in order[:3]]
    notes = [
        f"{int((tpm >= 1).sum()):,} of {len(tpm):,} transcripts have 1 TPM or more; the most abundant "
        f"{'are' if len(first) > 1 else 'is'} {listed(first)}."
    ]
    if groups := int(number.max(initial=0)):
        notes.append(
            f"{int((number > 0).sum()):,} transcripts fall into {groups:,} group{'s' * (groups > 1)} within which "
            "these reads cannot tell them apart: rely only on the sum of a group (ridge_counts)."
        )
    if ends is None:
        notes.append(
            "A point estimate has no intervals, and may be far from the truth for transcripts with few unique reads. "
            "The method gibbs gives intervals."
        )
    title = f"The {min(MOST, len(tpm))} most abundant transcripts"
    return Answer("Abundances", {title: rows}, notes)
