"""Names in the place of numbers: variables that point into a dim may name its categories."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from genarium.declaration import Array, Model
from genarium.errors import InputError
from genarium.holding import where
from genarium.words import plural

SHOWN = 5
"""Known names that a message lists."""


def coded(model: Model, arrays: Mapping[str, xr.DataArray]) -> tuple[dict[str, xr.DataArray], dict[str, Array]]:
    """Turn names into numbers: positions among the labels of the dim that a variable points into.

    Parameters
    ----------
    model : Model
    arrays : mapping of str to DataArray
        Values of variables, labels as numbers or as names.

    Returns
    -------
    arrays : dict of str to DataArray
        The same, all labels as numbers.
    labels : dict of str to ndarray
        Labels of those dims that no array has along it and that have no usual ones: the names, sorted.

    Raises
    ------
    InputError
        Naming the first name that the dim does not have.
    """
    out, labels = dict(arrays), dict[str, Array]()
    pointing = {name: model.variables()[name].support.of for name in arrays}
    named = {name: dim for name, dim in pointing.items() if dim and _is_text(arrays[name])}
    for dim in dict.fromkeys(named.values()):
        texts = {name: arrays[name].to_numpy().astype(str) for name, of in named.items() if of == dim}
        have = _labels(model, arrays, dim)
        if have is None:
            have = labels[dim] = np.unique(np.concatenate([text.ravel() for text in texts.values()]))
        order = np.argsort(have, kind="stable")
        for name, text in texts.items():
            at = order[np.minimum(np.searchsorted(have, text, sorter=order), len(have) - 1)]
            wrong = np.argwhere(have[at] != text)
            if len(wrong):
                _refuse(model, name, dim, text, tuple(int(i) for i in wrong[0]), have, len(wrong))
            out[name] = arrays[name].copy(data=at)
    return out, labels


def _is_text(array: xr.DataArray) -> bool:
    if array.dtype.kind == "O":
        return bool(array.size) and all(isinstance(value, str) for value in array.to_numpy().flat)
    return array.dtype.kind == "U"


def _labels(model: Model, arrays: Mapping[str, xr.DataArray], dim: str) -> Array | None:
    """Return the labels that a dim has: of the first array that brings them, or the usual ones."""
    for array in arrays.values():
        if dim in array.dims and dim in array.coords:
            return np.asarray(array.coords[dim].to_numpy()).astype(str)
    return np.array(model.labels[dim]) if dim in model.labels else None


def _refuse(model: Model, name: str, dim: str, text: Array, at: tuple[int, ...], have: Array, wrong: int) -> None:
    dims = model.variables()[name].dims
    place = ", ".join(f"{d}={i}" for d, i in zip(dims, at, strict=True))
    some = ", ".join(map(str, have[:SHOWN])) + (" ..." if len(have) > SHOWN else "")
    more = f" ({wrong} of {text.size} values are not)" if wrong > 1 else ""
    raise InputError(
        f"{where(model, name)}: {name}[{place}] = {str(text[at])!r} is none of the {len(have)} {plural(dim)}{more}, "
        f"which are {some}. Name one of these, or label the {plural(dim)} of the other variables alike."
    )
