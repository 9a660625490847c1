"""Reader of a saved corpus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import binary
from genarium.readers.formats import takes
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.messages import listed

from .channels import channel_of

CONTEXTS, ALTERNATIVES = 32, 3
"""How many there are, counted from zero in a file."""

SHORT = {"g": "genome", "l": "locus", "n": "count", "X": "features", "t": "context_opportunity", "ell": "exposure"}
"""Short names of arrays; ``c`` and ``a``, context and alternative, stand for the channel together."""

WANTED = ("genome", "locus", "channel", "features")
MAY = ("count", "exposure", "context_opportunity", "context_exposure", "group")


@takes(".npz", number=1, example="corpus.npz")
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
    arrays = binary.npz(path)
    found = {SHORT.get(name, name): value for name, value in arrays.items() if name not in ("c", "a")}
    if "channel" not in found and {"c", "a"} <= set(arrays):
        found["channel"] = _channel(path, arrays["c"], arrays["a"])
    for short, name in SHORT.items():
        if {short, name} <= set(arrays):
            raise InputError(f"{path}: there are arrays {short!r} and {name!r}, which are the same. Keep one of them.")
    for name in WANTED:
        if name not in found:
            also = next((f" (or {short!r})" for short, long in SHORT.items() if long == name), "")
            also = " (or 'c' and 'a')" if name == "channel" else also
            raise InputError(
                f"{path}: there is no array {name!r}{also}; it has {listed(arrays)}. Add it by numpy.savez."
            )
    for name in ("genome", "locus", "channel"):
        if found[name].ndim != 1:
            raise InputError(
                f"{path}: array {name!r} has the shape {found[name].shape}, but must hold one entry a cell."
            )
    out: dict[str, Any] = {name: found[name] for name in (*WANTED, *MAY) if name in found}
    used = {name for name in arrays if SHORT.get(name, name) in out}
    used |= {"c", "a"} if "channel" not in arrays else set()
    names = arrays.get("names")
    if names is not None:
        import xarray as xr

        if out["features"].ndim != 2:
            raise InputError(
                f"{path}: array 'features' has the shape {out['features'].shape}, but must have a row a feature and a "
                "column a locus."
            )

        labels = _labels(path, names, len(out["features"]))
        out["features"] = xr.DataArray(out["features"], dims=("feature", "locus"), coords={"feature": labels})
        used.add("names")
    columns = Account("array", len(arrays))
    columns.leave("not of the model", [name for name in arrays if name not in used])
    return Told(out, Ledger(Account("cell", int(np.size(out["genome"])), entry="entry"), columns))


def _channel(path: Path, context: Array, alternative: Array) -> Array:
    """Return the channel of contexts and alternatives, checked to be some."""
    if context.shape != alternative.shape or context.ndim != 1:
        raise InputError(
            f"{path}: arrays 'c' and 'a' have the shapes {context.shape} and {alternative.shape}, but must be a "
            "context and an alternative for each mutation. Save them so."
        )
    for name, values, most in (("c", context, CONTEXTS), ("a", alternative, ALTERNATIVES)):
        known = values.dtype.kind in "iuf"
        bad = np.flatnonzero(~((values >= 0) & (values < most) & (values == np.floor(values)))) if known else [0]
        if len(values) and len(bad):
            raise InputError(
                f"{path}: array {name!r}, entry {bad[0]}: {values[bad[0]].item()!r} is not a whole number from 0 to "
                f"{most - 1}. Correct it."
            )
    return channel_of(context.astype(np.int64), alternative.astype(np.int64))


def _labels(path: Path, names: Array, features: int) -> Array:
    """Return the names of the features as text, one for each."""
    labels = np.char.decode(names, "utf-8", "replace") if names.dtype.kind == "S" else names.astype(str)
    if labels.shape != (features,):
        raise InputError(
            f"{path}: array 'names' has the shape {names.shape}, but there are {features} features. Give one name for "
            "each, or leave the array out."
        )
    if len(again := np.flatnonzero(np.unique(labels, return_counts=True)[1] > 1)):
        name = np.unique(labels)[again[0]].item()
        raise InputError(f"{path}: array 'names' has {name!r} more than once. Make the names unique.")
    return labels
