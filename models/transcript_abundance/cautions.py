"""What is easily misread in a fit: splits that the data leave open, and effective lengths that decide the answer."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.declaration import Array, Caution, Problem
from genarium.readers.messages import listed

from .groups import ridges_of
from .lengths import SHORT, named, short_and_large

SHOWN = 3
"""Groups, and transcripts of each, that are named."""


def cautions(tree: xr.DataTree, problem: Problem) -> Iterator[Caution]:
    """Yield what a user of a fit should know."""
    data = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    yield open_splits(data, ridges_of(tree))
    yield short_lengths(data, problem["effective_length"])


def open_splits(data: xr.Dataset, found: xr.DataArray | None) -> Caution:
    """Name the groups of transcripts whose split the data leave open."""
    check = "transcripts that the reads cannot tell apart"
    ridge = np.zeros(0, dtype=int) if found is None else found.to_numpy()
    number = int(ridge.max(initial=0))
    if number == 0:
        return Caution(check, 0)
    names, groups = data["transcript"].to_numpy(), [np.flatnonzero(ridge == group) for group in range(1, number + 1)]
    reads = mean(data["ridge_counts"])
    groups.sort(key=lambda members: -reads[members[0]])
    told = [f"{listed(names[members], SHOWN)}: together {_interval(data, int(members[0]))} reads" for members in groups]
    where = "; ".join(told[:SHOWN]) + (f" and {number - SHOWN} more groups" if number > SHOWN else "")
    advice = (
        "The data determine the sum of such a group (ridge_counts), but not its split: how counts and tpm are divided "
        "among its transcripts follows the prior or the start. Report the sum; the coordinate ridge numbers the groups."
    )
    return Caution(check, int((ridge > 0).sum()), where, advice)


def short_lengths(data: xr.Dataset, effective_length: Array) -> Caution:
    """Name transcripts of short effective length that hold much of the transcripts per million."""
    check = f"tpm of effective lengths below {SHORT:g} nt"
    if "tpm" not in data:
        return Caution(check, 0)
    short, held = short_and_large(effective_length, mean(data["tpm"]))
    if not short.size:
        return Caution(check, 0)
    advice = (
        "A few reads, or a small error of the effective length, determine these tpm, and so all others: check read "
        "and fragment lengths, or drop transcripts that are as short as a fragment."
    )
    return Caution(check, round(held), named(data["transcript"].to_numpy(), effective_length, short), advice)


def mean(values: xr.DataArray) -> Array:
    """Return the mean of the draws, or the point estimate."""
    return np.asarray(values.mean([dim for dim in values.dims if dim in ("chain", "draw")]).to_numpy())


def _interval(data: xr.Dataset, at: int) -> str:
    """Return the reads of a transcript's group, with the 90 % interval where there are draws."""
    values = data["ridge_counts"].isel(transcript=at).to_numpy()
    if not values.ndim:
        return _rounded(float(values))
    low, high = np.quantile(values, (0.05, 0.95))
    return f"{_rounded(values.mean())} (90%: {_rounded(low)} to {_rounded(high)})"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
