"""Groups of transcripts that the reads cannot tell apart: of every fit a coordinate, and the reads of each group."""

import numpy as np
import xarray as xr

from genarium.declaration import Array

from .em import TOLERANCE, ascend
from .ridges import ridges
from .table import tabulate

MOST_SWEEPS = 10_000
"""Passes over the classes for the maximum where a method has not found it."""


def ridge(entry_class: Array, entry_transcript: Array, weight: Array, count: Array, effective_length: Array) -> Array:
    """Return the ridge of each transcript at the maximum of the likelihood (eq. 10); shape (K,), 0 for none."""
    table = tabulate(entry_class, entry_transcript, weight, count.astype(float), len(effective_length))
    found = ascend(table, tolerance=TOLERANCE, max_iterations=MOST_SWEEPS)
    return ridges(table, found.a, found.ratio, ends=False).group


def ridge_counts(nu: Array, reads: Array, ridge: Array) -> Array:
    """Add up the reads expected from the transcripts of each ridge; of a transcript that is on none, its own."""
    out = np.asarray(reads * nu)
    some = np.argsort(ridge, kind="stable")
    some = some[ridge[some] > 0]  # by group
    if some.size:
        first = np.searchsorted(ridge[some], np.arange(1, ridge.max() + 1))
        out[..., some] = np.add.reduceat(out[..., some], first, axis=-1)[..., ridge[some] - 1]
    return out


def ridges_of(tree: xr.DataTree) -> xr.DataArray | None:
    """Return the ridges that a fit has found (of draws beside scalar variables, they stand with ``sample_stats``)."""
    for group in ("posterior", "point", "sample_stats"):
        if group in tree and "ridge" in tree[group].coords:
            return tree[group].coords["ridge"]
    return None
