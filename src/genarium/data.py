"""Input checking: from what a user holds to a :class:`~genarium.declaration.Problem`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from genarium.coding import coded
from genarium.declaration import Array, Model, Problem, Sizes
from genarium.errors import InputError
from genarium.holding import Data, give_data, hold, labelled, missing_value, where
from genarium.readers.messages import listed
from genarium.readers.sheet import lossy
from genarium.remedies import setting
from genarium.signatures import call, parents_of
from genarium.supports import LARGEST
from genarium.tree import stored_labels, stored_sizes
from genarium.words import plural


def check(
    model: Model,
    data: Data,
    sizes: Sizes | None = None,
    values: Mapping[str, Any] | None = None,
    *,
    partial: bool = False,
    unseen: bool = False,
    layer: str = "",
    order: Mapping[str, Array] | None = None,
) -> Problem:
    """Check data against a model's declaration.

    Parameters
    ----------
    model : Model
    data : DataTree, Dataset, mapping of str to array_like, AnnData, DataFrame, Series, DataArray or matrix
        Values of the known and observed variables, as :func:`genarium.holding.hold` finds them there. Labelled arrays
        (xarray) are put into the declared order of dims; others must have it. Labels are kept as coordinates; a
        variable that points into a dim may name its categories instead of counting them. Values with the same labels
        in another order are put into one. A known
        variable given as a scalar is broadcast to its dims; one not given takes its declared default. An unknown
        variable given in a mapping is held fixed.
    sizes : mapping of str to int, optional
        Sizes of dims that the data do not show, such as the number of components.
    values : mapping of str to array_like, optional
        Variables that take the place of those in ``data``.
    partial : bool
        Accept that sizes and known variables are missing (they can be given when fitting).
    unseen : bool
        Accept that observed variables are missing (they can be predicted).
    layer : str
        Of an AnnData, the layer that takes the place of ``X``.
    order : mapping of str to ndarray, optional
        Labels along dims in the order that values with the same labels are put into. Default: that of the first
        observed variable that has them.

    Returns
    -------
    Problem

    Raises
    ------
    InputError
        Naming model, role, variable, dims, the first bad index with its value, and the remedy.
    """
    given = {**hold(model, data, layer), **(values or {})}
    stored = stored_sizes(data, model) if isinstance(data, xr.DataTree) else {}
    known = model.variables("known", "unknown", "observed")
    for name in given:
        if name in model.hidden.variables:
            raise InputError(f"{where(model, name)} is hidden: a fit infers it. Leave it out of the data.")
        if name not in known:
            raise InputError(
                f"{model.name}: there is no variable {name!r} to give data for. Declared are "
                + "; ".join(f"{role}: {', '.join(model.stage(role).variables)}" for role in ("known", "observed"))
                + f"; to hold fixed: {', '.join(model.unknown.variables)}."
            )
    absent = [name for name, var in model.observed.variables.items() if name not in given and var.default is None]
    if len(absent) > 1 and not unseen:
        raise InputError(f"{model.name}: observed variables {', '.join(absent)} are missing. {give_data(model)}.")
    if absent and not unseen:
        raise missing_value(model, absent[0])
    arranged = {name: labelled(model, name, value) for name, value in given.items()}
    named, names = coded(model, arranged, order or {}, {**stored, **(sizes or {})})
    named = _aligned(model, named, order or {})
    size = _sizes(model, named, {**stored, **(sizes or {})}, sizes or {}, partial)
    kept = stored_labels(data, model) if isinstance(data, xr.DataTree) else {}
    kept = {dim: labels for dim, labels in kept.items() if len(labels) == size.get(dim)}
    coords = _coords(model, named, size, {**kept, **names})
    named = {name: _as_derived(model, name, array, coords) for name, array in named.items()}
    arrays: dict[str, Array] = {}
    fixed: dict[str, Array] = {}
    for name in sorted(known, key=lambda n: callable(known[n].default)):  # what follows from the data comes last
        role = model.role(name)
        default = known[name].default
        if name in named:
            value = _values(model, name, named[name], size, coords)
        elif callable(default) and set(parents_of(default)) <= set(arrays):
            found = xr.DataArray(np.asarray(call(default, arrays)), dims=known[name].dims)
            value = _values(model, name, found, size, coords)
        elif default is not None and not callable(default) and set(known[name].dims) <= set(size):
            value = np.full(model.shape(name, size), default, dtype=np.int64 if known[name].support.integer else None)
        elif role == "unknown" or (partial and role == "known") or (unseen and role == "observed"):
            continue
        else:
            raise missing_value(model, name)
        (fixed if role == "unknown" else arrays)[name] = value
    problem = Problem(model, size, arrays, fixed, coords)
    if model.check is not None and not partial:
        model.check(problem)
    return problem


def given_value(model: Model, name: str, value: Any, sizes: Sizes) -> Array:
    """Check one value on its own; a scalar is broadcast whatever the variable's role.

    Parameters
    ----------
    model : Model
    name : str
    value : array_like
    sizes : mapping of str to int

    Returns
    -------
    ndarray
        With the declared shape and type.

    Raises
    ------
    InputError
    """
    single = isinstance(value, int | float | str | np.generic) or (isinstance(value, np.ndarray) and not value.ndim)
    array = xr.DataArray(np.asarray(value)) if single else labelled(model, name, value)
    for dim, size in array.sizes.items():
        if size != sizes[str(dim)]:
            raise InputError(f"{where(model, name)} has size {size} along {dim!r}, which is {sizes[str(dim)]} here.")
    return _values(model, name, array, sizes, {dim: np.arange(n) for dim, n in sizes.items()})


def _sizes(
    model: Model, arrays: Mapping[str, xr.DataArray], asked: Sizes, explicit: Sizes, partial: bool
) -> dict[str, int]:
    """Read the size of every dim off the data, else off what was asked for."""
    found: dict[str, tuple[int, str]] = {}
    order = sorted(arrays, key=lambda name: model.role(name) != "observed")  # the observed data have the last word
    for name in order:
        for dim, size in arrays[name].sizes.items():
            have, owner = found.setdefault(str(dim), (size, name))
            if have != size:
                raise InputError(
                    f"{where(model, name)} has size {size} along {dim!r}, but {owner!r} has {have}. "
                    f"Both must cover the same {plural(str(dim))}{_unlike(arrays[name], arrays[owner], str(dim))}."
                )
    for dim in explicit:
        if dim not in model.sizes:
            raise InputError(f"{model.name}: there is no size {dim!r}; the sizes are {', '.join(model.sizes)}.")
        if dim in found and found[dim][0] != explicit[dim]:
            raise InputError(
                f"{model.name}: {setting(dim, explicit[dim], 'size')} was asked for, but {found[dim][1]!r} has "
                f"{found[dim][0]} "
                f"along {dim!r}. Leave the setting out."
            )
    counted = _counted(model, arrays)
    sizes: dict[str, int] = {}
    for dim in model.sizes:
        if dim in model.derived_dims:
            continue
        if dim in found:
            sizes[dim] = found[dim][0]
        elif dim in asked:
            sizes[dim] = _whole_size(model, dim, asked[dim])
        elif dim in model.labels:
            sizes[dim] = len(model.labels[dim])
        elif dim in counted:
            sizes[dim] = counted[dim]
        elif dim in model.default_sizes:
            sizes[dim] = model.default_sizes[dim]
        elif partial:
            continue
        elif lacking := _untold(model, dim, arrays):
            raise missing_value(model, lacking)
        else:
            raise InputError(
                f"{model.name}: the data do not show the size of {dim!r}. Give it: {setting(dim)}, such as "
                f"{setting(dim, model.sizes[dim])}."
            )
        if dim in model.labels and sizes[dim] != len(model.labels[dim]):
            raise InputError(
                f"{model.name}: {dim!r} has size {sizes[dim]}, but its categories are {len(model.labels[dim])}: "
                f"{', '.join(model.labels[dim][:3])} ..."
            )
        if sizes[dim] < 1:
            raise InputError(f"{model.name}: {dim!r} has size {sizes[dim]}; at least one {dim} is needed.")
    sizes = model.complete(sizes)
    for dim in model.derived_dims:
        if dim in found and found[dim][0] != sizes.get(dim, found[dim][0]):
            parents = " and ".join(parents_of(model.derived_dims[dim]))
            raise InputError(
                f"{where(model, found[dim][1])} has size {found[dim][0]} along {dim!r}, which follows from {parents} "
                f"and is {sizes[dim]} here."
            )
        if dim in sizes and sizes[dim] < 1:
            raise InputError(f"{model.name}: {dim!r} has size {sizes[dim]}; at least one {dim} is needed.")
    return {dim: sizes[dim] for dim in model.sizes if dim in sizes}


def _untold(model: Model, dim: str, arrays: Mapping[str, Any]) -> str | None:
    """Name of a known variable that would show the size of a dim, has to be given, and is not."""
    for name, var in model.known.variables.items():
        if dim in (*var.dims, var.support.of) and name not in arrays and var.default is None:
            return name
    return None


def _unlike(one: xr.DataArray, other: xr.DataArray, dim: str) -> str:
    """Name a label that only one of two arrays has; of unlabelled ones say that their order counts."""
    if dim not in one.coords or dim not in other.coords:
        return ", in the same order"
    mine, others = one.coords[dim].to_numpy().tolist(), other.coords[dim].to_numpy().tolist()
    here, there = set(mine), set(others)
    lacking = [label for label in others if label not in here]
    further = [label for label in mine if label not in there]
    told = [f"{kind} {labels[0]!r}" for kind, labels in (("without", lacking), ("beside", further)) if labels]
    return f"; it comes {' and '.join(told)}" if told else ""


MOST = 10**8
"""How many categories the numbers of labels may show, at most: each of them takes memory."""


def _counted(model: Model, arrays: Mapping[str, xr.DataArray]) -> dict[str, int]:
    """Return how many categories labels show, in the data or by a known one's default: one more than the largest."""
    out: dict[str, int] = {}
    for name, var in model.variables("known").items():
        if var.support.of and name not in arrays and isinstance(var.default, int | float):
            out[var.support.of] = max(out.get(var.support.of, 1), int(var.default) + 1)
    for name, array in arrays.items():
        support = model.variables()[name].support
        if support.of and array.size and array.dtype.kind in "biuf" and not np.isnan(array.to_numpy()).all():
            top = float(np.nanmax(array.to_numpy()))
            if MOST <= top < 2**53:
                at = [int(i) for i in np.unravel_index(np.nanargmax(array.to_numpy()), array.shape)]
                raise InputError(
                    f"{where(model, name)}: {name}{at} is number {top:.0f} of a {support.of}, and at most {MOST:,} are "
                    "taken. Number them from 0 without gaps, or give their names."
                )
            if 0 <= top < MOST:
                out[support.of] = max(out.get(support.of, 1), int(top) + 1)
    return out


def _whole_size(model: Model, dim: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{model.name}: {setting(dim, value, 'size')} is not a whole number.")
    return int(value)


def _aligned(model: Model, arrays: Mapping[str, xr.DataArray], order: Mapping[str, Array]) -> dict[str, xr.DataArray]:
    """Put values with the labels of others, in another order, into the given one, or that of the observed data.

    Along dims of declared categories into the order of these: a model counts them.
    """
    wanted = dict(order)
    out = dict(arrays)
    for name in sorted(arrays, key=lambda n: model.role(n) != "observed"):
        for dim in (str(dim) for dim in arrays[name].dims if dim in arrays[name].coords):
            labels = _names(model, name, dim, np.asarray(arrays[name].coords[dim].to_numpy()))
            if dim in model.labels and len(labels) == len(model.labels[dim]) and labels.dtype.kind == "U":
                wanted.setdefault(dim, _categories(model, name, dim, labels))
            first = wanted.setdefault(dim, labels)
            if len(first) == len(labels) and not _same(first, labels).all():
                place = {label: i for i, label in enumerate(labels.tolist())}
                if place.keys() == set(first.tolist()):
                    out[name] = out[name].isel({dim: [place[label] for label in first.tolist()]})
    return out


def _categories(model: Model, name: str, dim: str, labels: Array) -> Array:
    """Return the declared categories of a dim; refuse labels that are others, for a model counts by these."""
    categories = np.array(model.labels[dim])
    odd = [label for label in labels.tolist() if label not in model.labels[dim]]
    if odd:
        raise InputError(
            f"{where(model, name)} labels {dim!r} with {odd[0]!r}, but its categories are {listed(categories)}. Give "
            "these labels, in whatever order, or values without labels in the order of the categories."
        )
    return categories


def _coords(
    model: Model, arrays: Mapping[str, xr.DataArray], sizes: Sizes, names: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the labels of every dim: those of the arrays along it, the names of those that point into it, numbers."""
    coords: dict[str, Array] = {}
    owner: dict[str, str] = {}
    for name in sorted(arrays, key=lambda n: model.role(n) != "observed"):
        for dim in arrays[name].dims:
            if dim not in arrays[name].coords:
                continue
            labels = np.asarray(arrays[name].coords[dim].to_numpy())
            labels = _names(model, name, str(dim), labels)
            key = str(dim)
            if key in coords and not _same(coords[key], labels).all():
                there = set(coords[key].tolist())
                lacking = [one for one in labels.tolist() if one not in there]
                odd = lacking[0] if lacking else labels[~_same(coords[key], labels)][0].item()
                raise InputError(
                    f"{where(model, name)} labels {dim!r} otherwise than {owner[key]!r}, which has no {odd!r} but "
                    f"{listed(coords[key])}. Give both the same labels; their order does not matter."
                )
            coords.setdefault(key, labels)
            owner.setdefault(key, name)
    for name, array in arrays.items():  # the names of categories, where labels came as such
        of, levels = model.variables()[name].support.of, array.attrs.get("levels")
        if of and levels and len(levels) == sizes.get(of):
            if [str(label) for label in coords.setdefault(of, np.array(levels))] != levels:
                raise InputError(
                    f"{where(model, name)} has the categories {listed(levels)}, but {of!r} is labelled "
                    f"{listed(coords[of])} by {owner.get(of)!r}. Give the categories in that order, all of them."
                )
            owner.setdefault(of, name)
    usual = {dim: np.array(each) for dim, each in model.labels.items() if len(each) == sizes.get(dim)}
    for dim, found in names.items():
        if len(found) != sizes[dim]:
            raise InputError(
                f"{model.name}: {dim!r} has size {sizes[dim]}, but {len(found)} {plural(dim)} are named. Leave the "
                "size out."
            )
        usual[dim] = found
    out = {dim: coords.get(dim, usual.get(dim, np.arange(size))) for dim, size in sizes.items()}
    derived = {dim: call(model.derived_dims[dim], out) for dim in model.derived_dims if dim in sizes}
    for dim, labels in derived.items():
        if dim not in coords or set(labels.tolist()) == set(coords[dim].tolist()):
            out[dim] = labels
        elif labels.dtype.kind == coords[dim].dtype.kind == "U":
            odd = next(one for one in coords[dim].tolist() if one not in labels)
            raise InputError(
                f"{where(model, owner[dim])} labels {dim!r} with {odd!r}, but by the labels of "
                f"{' and '.join(parents_of(model.derived_dims[dim]))} they are {listed(labels)}. Give these; their "
                "order does not matter."
            )
    return out


def _as_derived(model: Model, name: str, array: xr.DataArray, coords: Mapping[str, Array]) -> xr.DataArray:
    """Put a value along dims whose labels follow from others' into the order of these."""
    for dim in model.derived_dims:
        if dim in array.dims and dim in array.coords:
            place = {
                label: i for i, label in enumerate(_names(model, name, dim, array.coords[dim].to_numpy()).tolist())
            }
            if list(place) != coords[dim].tolist() and place.keys() == set(coords[dim].tolist()):
                array = array.isel({dim: [place[label] for label in coords[dim].tolist()]})
    return array


def _names(model: Model, name: str, dim: str, labels: Array) -> Array:
    """Return labels along a dim: text without blanks around it, as in files; each may be there once."""
    labels = labels.astype(str) if labels.dtype == object else labels
    labels = np.char.strip(labels) if labels.dtype.kind == "U" else labels
    _, first, counts = np.unique(labels, return_index=True, return_counts=True)
    if (counts > 1).any():
        twice = labels[first[counts > 1].min()]
        at = np.flatnonzero(labels == twice)
        raise InputError(
            f"{where(model, name)}: the label {twice.item()!r} of {dim!r} is used more than once (at positions {at[0]} "
            f"and {at[1]}). Make the labels unique, or give the values without labels."
        )
    return labels


def _same(a: Array, b: Array) -> Array:
    """Whether labels agree, element by element; a missing one agrees with a missing one."""
    return np.asarray((a == b) | ((a != a) & (b != b)))


def _values(model: Model, name: str, array: xr.DataArray, sizes: Sizes, coords: Mapping[str, Array]) -> Array:
    """Return checked values with the declared shape and type."""
    var = model.variables()[name]
    values = array.to_numpy()
    if values.dtype.kind == "b" and not values.ndim and not var.support.integer:
        raise InputError(f"{where(model, name)} is {values.item()}, not a number. Write a number, such as 0.3.")
    if values.dtype.kind in "US" and not values.ndim:
        raise InputError(
            f"{where(model, name)} is the text {values.item()!r}, not a number. Write a number with a decimal point, "
            "such as 0.3; several in square brackets, such as [0.3, 0.5]."
        )
    if not values.ndim and values.dtype.kind == "O":
        raise InputError(
            f"{where(model, name)} is {values.item()!r}, which is not a number. Give a number, such as 0.3, or several "
            "in square brackets, such as [0.3, 0.5]; leave it out for its default."
        )
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"{where(model, name)} holds {values.dtype} values, not numbers. "
            "Convert it (a text column or a missing entry in a table is the usual cause)."
        )
    lacking = [dim for dim in var.dims if dim not in sizes]
    if lacking:
        raise InputError(
            f"{where(model, name)} needs the size of {lacking[0]!r}. Give that too: {setting(lacking[0])}."
        )
    if values.ndim == 0:
        values = np.broadcast_to(values, model.shape(name, sizes))
    bad = var.support.bad(values, sizes)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0]) if values.ndim else ()
        place = ", ".join(_place(dim, i, coords[dim]) for dim, i in zip(var.dims, index, strict=True))
        count = int(bad.sum())
        if var.support.too_large(values[index]):
            raise InputError(
                f"{where(model, name)}: {name}{f'[{place}]' if place else ''} = {values[index]!s} is too large: whole "
                f"numbers go up to {LARGEST} (2^53). Correct it, or give all in a larger unit."
            )
        raise InputError(
            f"{where(model, name)}: {name}{f'[{place}]' if place else ''} = {values[index]!s}, but every value must "
            f"be {var.support.says}"
            + (f" ({count} of {values.size} values are not)" if count > 1 else "")
            + f". {var.support.remedy}."
        )
    if not var.support.integer and (inexact := lossy(values)).any():
        at = tuple(int(i) for i in np.argwhere(inexact)[0])
        place = ", ".join(_place(dim, i, coords[dim]) for dim, i in zip(var.dims, at, strict=True))
        raise InputError(
            f"{where(model, name)}: {name}{f'[{place}]' if place else ''} = {values[at]!s} is too large: of the whole "
            f"numbers above {LARGEST} (2^53), not all can be held. Correct it, or give all in a larger unit."
        )
    return np.array(var.support.exact(values), dtype=np.int64 if var.support.integer else np.float64, order="C")


def _place(dim: str, index: int, labels: Array) -> str:
    label = labels[index]
    return f"{dim}={index}" if label == index else f"{dim}={index} ({label})"
