"""Reader of a saved corpus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.errors import InputError
from genarium.readers.ledger import Account, Ledger, Told

from .channels import channel_of

SHORT = {"g": "genome", "l": "locus", "n": "count", "X": "features", "t": "context_opportunity", "ell": "exposure"}
"""Short names of arrays; ``c`` and ``a``, context and alternative, stand for the channel together."""

WANTED = ("genome", "locus", "channel", "features")
MAY = ("count", "exposure", "context_opportunity", "context_exposure", "group")


def npz(paths: Sequence[Path]) -> Told:
    """Read a corpus saved by ``numpy.savez``.

    Parameters
    ----------
    paths : sequence of Path
        One file, with arrays under the model's names (genome, locus, channel, features; count, exposure,
        context_opportunity, context_exposure, group) or under the short ones (g, l, c with a, X; n, ell, t). An array
        ``names`` labels the features. Other arrays are left aside, as the ledger says.

    Returns
    -------
    Told
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
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: this is no corpus saved by numpy.savez ({error}).") from error
    found = {SHORT.get(name, name): value for name, value in arrays.items() if name not in ("c", "a")}
    if "channel" not in found and {"c", "a"} <= set(arrays):
        found["channel"] = channel_of(arrays["c"], arrays["a"])
    for short, name in SHORT.items():
        if {short, name} <= set(arrays):
            raise InputError(f"{path}: there are arrays {short!r} and {name!r}, which are the same. Keep one of them.")
    for name in WANTED:
        if name not in found:
            raise InputError(f"{path}: there is no array {name!r} (it has {', '.join(arrays)}).")
    out: dict[str, Any] = {name: found[name] for name in (*WANTED, *MAY) if name in found}
    used = {name for name in arrays if SHORT.get(name, name) in out}
    used |= {"c", "a"} if "channel" not in arrays else set()
    names = arrays.get("names")
    if names is not None and out["features"].ndim == 2 and len(names) == len(out["features"]):
        import xarray as xr

        out["features"] = xr.DataArray(out["features"], dims=("feature", "locus"), coords={"feature": names})
        used.add("names")
    columns = Account("array", len(arrays))
    columns.leave("not of the model", [name for name in arrays if name not in used])
    return Told(out, Ledger(Account("cell", int(np.size(out["genome"])), entry="entry"), columns))
