"""Names in the place of numbers: variables that point into a dim may name its categories."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from genarium.declaration import Array, Model, Sizes
from genarium.errors import InputError
from genarium.holding import where
from genarium.words import plural

SHOWN = 5
"""Known names that a message lists."""


def coded(
    model: Model, arrays: Mapping[str, xr.DataArray], order: Mapping[str, Array], sizes: Sizes
) -> tuple[dict[str, xr.DataArray], dict[str, Array]]:
    """Turn names into numbers: positions among the labels of the dim that a variable points into.

    Parameters
    ----------
    model : Model
    arrays : mapping of str to DataArray
        Values of variables, labels as numbers or as names; numbers whose attribute ``levels`` names them are as names.
    order : mapping of str to ndarray
        Labels along dims in the order that they are to be in.
    sizes : mapping of str to int
        Sizes of dims, as far as they are known: categories called by whole numbers then need not all occur.

    Returns
    -------
    arrays : dict of str to DataArray
        The same, all labels as numbers.
    labels : dict of str to ndarray
        Labels of those dims that no array has along it and that have no usual ones: the names, in the order of the
        categories or sorted.

    Raises
    ------
    InputError
        Naming the first name that the dim does not have.
    """
    out, labels = dict(arrays), dict[str, Array]()
    pointing = {name: model.variables()[name].support.of for name in arrays}
    named = {name: dim for name, dim in pointing.items() if dim and (_is_text(arrays[name]) or _levels(arrays[name]))}
    for dim in dict.fromkeys(named.values()):
        have = _labels(model, arrays, dim, order)
        if have is None:
            mine = [arrays[name] for name, of in named.items() if of == dim]
            have = labels[dim] = _categories(mine, sizes.get(dim, 0))
        at = {label: i for i, label in enumerate(have.tolist())}
        for name in (name for name, of in named.items() if of == dim):
            levels, code = _coded(arrays[name])
            place = np.array([*(at.get(level, -1) for level in levels), np.nan])[code]
            wrong = np.argwhere(place < 0)
            if len(wrong):
                text = np.array([*levels, ""])[code]
                _refuse(model, name, dim, text, tuple(int(i) for i in wrong[0]), have, len(wrong))
            out[name] = arrays[name].copy(data=place if np.isnan(place).any() else place.astype(np.int64))
            if _levels(arrays[name]):
                out[name].attrs = {**arrays[name].attrs, "levels": have.tolist()}
    return out, labels


def _is_text(array: xr.DataArray) -> bool:
    if array.dtype.kind == "O":
        return bool(array.size) and all(isinstance(value, str) for value in array.to_numpy().flat)
    return array.dtype.kind == "U"


def _levels(array: xr.DataArray) -> list[str]:
    """Return the names of an array's numbers, if it has any."""
    found = [str(level) for level in array.attrs.get("levels", ())] if array.ndim and array.dtype.kind in "iuf" else []
    values = array.to_numpy() if found else np.empty(0)
    good = np.isnan(values) | ((values >= 0) & (values < len(found)) & (values == np.floor(values)))
    return found if good.all() else []  # numbers that are no labels are told of as such


def _coded(array: xr.DataArray) -> tuple[list[str], Array]:
    """Return the names that labels have, and which of them each has; missing ones have the number after the last."""
    if _is_text(array):
        levels, code = np.unique(np.char.strip(array.to_numpy().astype(str)), return_inverse=True)
        return levels.tolist(), code.reshape(array.shape)
    names, values = _levels(array), array.to_numpy()
    return names, np.where(np.isnan(values), len(names), values).astype(np.int64)


def _categories(arrays: list[xr.DataArray], size: int) -> Array:
    """Return the names that there are: in the order of the categories, others sorted after them."""
    every = list(dict.fromkeys(level for array in arrays for level in _levels(array)))
    further = {level for array in arrays if _is_text(array) for level in _coded(array)[0]}
    every += sorted(further - set(every))
    if len(every) < size and all(name.isdecimal() and int(name) < size for name in every):
        return np.arange(size).astype(str)
    return np.array(every)


def _labels(model: Model, arrays: Mapping[str, xr.DataArray], dim: str, order: Mapping[str, Array]) -> Array | None:
    """Return the labels that a dim has, in the order that values along it will have; of none, the usual ones."""
    wanted = np.asarray(order[dim]).astype(str) if dim in order else None
    for name in sorted(arrays, key=lambda n: model.role(n) != "observed"):
        array = arrays[name]
        if dim in array.dims and dim in array.coords:
            own = np.char.strip(np.asarray(array.coords[dim].to_numpy()).astype(str))
            return wanted if wanted is not None and set(wanted) == set(own) else np.asarray(own)
    if wanted is not None:
        return wanted
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
