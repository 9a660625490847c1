"""Reader of a saved corpus."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.errors import InputError
from genarium.readers.formats import takes

from .channels import channel_of

SHORT = {"g": "genome", "l": "locus", "n": "count", "X": "features", "t": "context_opportunity", "ell": "exposure"}
"""Short names of arrays; ``c`` and ``a``, context and alternative, stand for the channel together."""

WANTED = ("genome", "locus", "channel", "features")
MAY = ("count", "exposure", "context_opportunity", "context_exposure", "group")


@takes(".npz", number=1, example="corpus.npz")
def npz(paths: Sequence[Path]) -> Mapping[str, Any]:
    """Read a corpus saved by ``numpy.savez``.

    Parameters
    ----------
    paths : sequence of Path
        One file, with arrays under the model's names (genome, locus, channel, features; count, exposure,
        context_opportunity, context_exposure, group) or under the short ones (g, l, c with a, X; n, ell, t). An array
        ``names`` labels the features. Other arrays are left aside.

    Returns
    -------
    dict
        Known and observed variables.

    Raises
    ------
    InputError
        If the file cannot be read, or lacks an array.
    """
    if len(paths) != 1:
        raise InputError(f"reader 'npz' takes one file, not {len(paths)}. Join the mutations into one corpus.")
    path = paths[0]
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if stored[name].dtype.kind != "O"}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: this is no corpus saved by numpy.savez ({error}).") from error
    found = {SHORT.get(name, name): value for name, value in arrays.items() if name not in ("c", "a")}
    if "channel" not in found and {"c", "a"} <= set(arrays):
        found["channel"] = channel_of(arrays["c"], arrays["a"])
    for name in WANTED:
        if name not in found:
            raise InputError(f"{path}: there is no array {name!r} (it has {', '.join(arrays)}).")
    out: dict[str, Any] = {name: found[name] for name in (*WANTED, *MAY) if name in found}
    names = arrays.get("names")
    if names is not None and out["features"].ndim == 2 and len(names) == len(out["features"]):
        import xarray as xr

        out["features"] = xr.DataArray(out["features"], dims=("feature", "locus"), coords={"feature": names})
    return out
