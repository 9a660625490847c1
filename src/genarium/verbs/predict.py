"""Predict: what a fitted model says of new data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.data import check
from genarium.declaration import Array, Model, Problem
from genarium.errors import InputError
from genarium.evaluate import predictions
from genarium.holding import Data, hold
from genarium.readers.messages import listed
from genarium.registry import fitted_model
from genarium.remedies import verb, warn
from genarium.settings import split
from genarium.signatures import call, parents_of
from genarium.tree import data_tree, provenance, with_coordinates, with_groups
from genarium.words import plural


def predict(
    tree: xr.DataTree, data: Data | None = None, *, model: str | Path | Model = "", layer: Any = "", **settings: Any
) -> xr.DataTree:
    """Predict for new data from a fitted tree.

    Parameters
    ----------
    tree : DataTree
        From :func:`fit`.
    data : DataTree, Dataset, mapping, AnnData, DataFrame, Series, DataArray or matrix, optional
        New data, as for :func:`genarium.fit`; default: the data of the fit. Known variables that they lack are taken
        from the fit where these do not vary over the model's unit (such as the dispersion). Known variables along a
        dim that no unknown variable has (the windows of a genome) may be of others. Where a model can predict from
        known variables alone, the observed ones may be missing. Values of a tree that are neither defaults nor the
        fit's (another target) are taken, with a warning.
    model : str, Path or Model
        What the tree was fitted by, where that is neither built in nor installed.
    layer : str
        Of an AnnData, the layer that takes the place of ``X``.
    **settings
        Values of known variables, and options of the model's ``predict`` (its keyword-only parameters).

    Returns
    -------
    DataTree
        The new data with the group ``predictions``; the model's card says what that holds.

    Raises
    ------
    InputError
        If the tree holds no fit, the model predicts nothing, or the data do not agree with the fit.

    Examples
    --------
    >>> import genarium as gn
    >>> tree = gn.fit("nb_mixture", {"x": [[0, 9], [1, 8], [7, 0], [9, 1]], "phi": 0.3}, "em", component=2)
    >>> gn.predict(tree, {"x": [[0, 7]]})["predictions"]["probability"].shape
    (1, 2)
    """
    return _predict(fitted_model(tree, model), tree, data, layer, settings)


def _predict(
    model: Model, tree: xr.DataTree, data: Data | None, layer: str, settings: Mapping[str, Any]
) -> xr.DataTree:
    """Predict by a declaration."""
    if model.predict is None:
        raise InputError(f"{model.name}: the model predicts nothing.")
    _, _, values, options = split(model, settings, model.predict)
    fitted_sizes = attribute(tree, "sizes")
    data = tree if data is None else data
    _same_scale(model, tree, data)
    held = hold(model, data, layer)
    own = set() if isinstance(data, xr.DataTree) else set(held)
    elsewhere = _elsewhere(model, tree, data if isinstance(data, xr.DataTree) else held)
    missing = own and not own & set(model.observed.variables)  # known variables alone
    given = [v for v in model.known.variables.values() if model.unit in v.dims and v.default is None]
    given += [] if missing else model.observed.variables.values()
    shown = {model.unit} | {dim for var in given for dim in var.dims}
    constants = tree["constant_data"].to_dataset() if "constant_data" in tree else xr.Dataset()
    fixed = [name for name, var in model.known.variables.items() if not ({model.unit} | elsewhere) & set(var.dims)]
    fixed = [name for name in fixed if name in constants and name not in own | set(values)]
    others = _told(model, held, constants, fixed) if isinstance(data, xr.DataTree) and data is not tree else set()
    for name in (name for name in fixed if name not in others):
        values[name] = constants[name].drop_vars(shown & set(map(str, constants[name].coords)))
    rows = [var for var in model.variables("known", "observed").values() if model.unit in var.dims]
    kept = {dim for var in model.known.variables.values() for dim in var.dims} | set(model.labels)
    anew = ({var.support.of for var in rows} - kept) | elsewhere
    sizes = {dim: n for dim, n in fitted_sizes.items() if dim not in shown | anew}
    sizes = {dim: n for dim, n in sizes.items() if dim not in model.derived_dims}
    for dim, size in _sizes_of(model, held).items():
        if dim in (shown - {model.unit, *model.derived_dims, *elsewhere}) | set(sizes) and dim in fitted_sizes:
            _same_size(model, dim, fitted_sizes[dim], size, _lacking(tree, data, dim))
    given_data = data if isinstance(data, xr.DataTree) else held  # a tree tells its sizes, too
    fitted = _fitted_labels(tree)
    same = (shown | kept) & set(fitted) - {model.unit, *model.derived_dims, *elsewhere}
    order = {dim: fitted[dim] for dim in same if fitted[dim].dtype.kind not in "iu"}
    problem = check(replace(model, check=None), given_data, sizes, values, unseen=bool(missing), order=order)
    if missing:
        labels = _labels(tree, model, shown)
        for dim in sorted(set(labels) - set(model.derived_dims)):
            _same_labels(model, dim, labels[dim], problem.coords[dim])
        problem = replace(problem, coords={**problem.coords, **labels})
    for dim in sorted(same):
        _same_size(model, dim, fitted_sizes[dim], problem.sizes[dim])
        _same_labels(model, dim, fitted[dim], problem.coords[dim])
    if data is not tree:
        _tell_defaults(problem, constants, own | set(settings))
    out = predictions(model, tree, problem, **options)
    attrs = provenance(fitted_by=tree.attrs["method"], fit_seed=tree.attrs["seed"])
    return with_groups(with_coordinates(data_tree(problem), {**values, **held}), {"predictions": out}, attrs)


def _same_scale(model: Model, tree: xr.DataTree, data: Data) -> None:
    """Warn where a reader has scaled new data by themselves, and not by what those of the fit are relative to."""
    if not isinstance(data, xr.DataTree) or any("reader_options" not in one.attrs for one in (tree, data)):
        return
    before, now = (attribute(one, "reader_options") for one in (tree, data))
    for name, value in before.items():
        if isinstance(value, dict) and isinstance(now.get(name), dict) and now[name] != value:
            warn(
                f"{model.name}: {name} of the new data is relative to themselves, and not to the data of the fit. Read "
                f"them with {name}=json.loads(fit.attrs['reader_options'])['{name}'], or let {verb('predict')} read "
                "the file.",
                stacklevel=4,
            )


def _told(model: Model, held: Mapping[str, Any], fitted: xr.Dataset, names: Sequence[str]) -> set[str]:
    """Return which of some known variables of a tree are neither their defaults nor those of the fit, and warn.

    A tree holds defaults, too, also those that follow from its data: these are not what somebody has asked for.
    """
    out = set()
    arrays = {name: value.to_numpy() for name, value in held.items()}
    for name in (name for name in names if name in held):
        usual, value = model.known.variables[name].default, arrays[name]
        if callable(usual):
            if not set(parents_of(usual)) <= set(arrays):
                continue
            usual = call(usual, arrays)
        if usual is not None and np.shape(usual) in ((), value.shape) and np.allclose(value, usual, equal_nan=True):
            continue
        if _alike(fitted[name], held[name]):
            continue
        for dim in map(str, fitted[name].dims):
            lacking = sorted(set(fitted[name][dim].astype(str).values) - set(held[name][dim].astype(str).values))
            _same_size(model, dim, fitted.sizes[dim], held[name].sizes[dim], lacking)
        out.add(name)
        warn(
            f"{model.name}: known variable {name!r} of the new data is another one than that of the fit. Predictions "
            "are for that of the new data.",
            stacklevel=4,
        )
    return out


def _alike(old: xr.DataArray, new: xr.DataArray) -> bool:
    """Whether values are the same, by their labels; mere numbers say nothing."""
    new = new.transpose(*old.dims)
    if any(one[dim].dtype.kind in "iu" for one in (old, new) for dim in one.dims):
        return np.array_equal(old.to_numpy(), new.to_numpy())
    return bool(xr.Dataset.equals(*(one.to_dataset(name="value") for one in xr.align(old, new, join="outer"))))


def _tell_defaults(problem: Problem, fitted: xr.Dataset, given: set[str]) -> None:
    """Warn where new data lack what varies between the observations of the fit, so that its default is taken."""
    model = problem.model
    for name, var in model.known.variables.items():
        if model.unit not in var.dims or name in given or name not in problem.arrays or name not in fitted:
            continue
        usual = var.default
        if isinstance(usual, int | float) and (problem[name] == usual).all() and (fitted[name] != usual).any():
            warn(
                f"{model.name}: known variable {name!r} is {usual:g} for all of the new data, which is its default, "
                "but not for those of the fit. Give it.",
                stacklevel=4,
            )


def _elsewhere(model: Model, tree: xr.DataTree, given: Any) -> set[str]:
    """Return the dims along which the data are others than the fit's, and may be: no unknown variable has them.

    Such are the places of a genome, of whose features alone the fit tells. Known variables along them are then those
    of the data, all of them. What is known of every observation, or of what it belongs to, is no place: such features
    are the fit's. What observations belong to (perturbations, of replicates) may be others where the data tell all that
    is known of them.
    """
    stages = (model.unknown, model.derived)
    unknown = {dim for stage in stages for var in stage.variables.values() for dim in var.dims}
    known = {dim for var in model.known.variables.values() for dim in var.dims}
    groups = {v.support.of for v in model.known.variables.values() if model.unit in v.dims}
    own = {dim for v in model.known.variables.values() if {model.unit, *groups} & set(v.dims) for dim in v.dims}
    needed = {dim for v in model.known.variables.values() if v.default is None for dim in v.dims} & groups
    free = (known - unknown - own | needed) - {model.unit, *model.labels, *model.derived_dims}
    fitted, sizes = _fitted_labels(tree), attribute(tree, "sizes")
    out: set[str] = set()
    for dim in free & set(fitted):
        told = [name for name, var in model.known.variables.items() if dim in var.dims and name in _names(given)]
        for name in told:
            axis = model.known.variables[name].dims.index(dim)
            value = given["constant_data"][name] if isinstance(given, xr.DataTree) else given[name]
            shape = np.shape(value)
            labels = value[dim].to_numpy() if isinstance(value, xr.DataArray) and dim in value.coords else None
            if dim in needed and hasattr(value, "columns"):
                labels = value.axes[axis].to_numpy()
            other = labels is not None and labels.dtype.kind not in "iu" and not np.array_equal(labels, fitted[dim])
            if dim in needed and labels is not None and other:  # in another order they are the fit's
                other = set(map(str, labels)) != set(map(str, fitted[dim]))
            if (len(shape) > axis and shape[axis - len(shape)] != sizes[dim]) or other:
                out.add(dim)
    return out


def _names(given: Any) -> set[str]:
    """Return the names of the known variables that data hold."""
    if not isinstance(given, xr.DataTree):
        return set(given)
    return set(map(str, given["constant_data"].data_vars)) if "constant_data" in given else set()


def _sizes_of(model: Model, held: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes that variables of the data show, as far as their shapes are those of their dims."""
    out: dict[str, int] = {}
    for name, var in model.variables("known", "observed").items():
        value = held.get(name)
        shape = getattr(value, "shape", ())
        if len(shape) == len(var.dims):
            dims = map(str, value.dims) if isinstance(value, xr.DataArray) else var.dims
            out |= dict(zip(dims, shape, strict=True))
    return out


def _same_size(model: Model, dim: str, fitted: int, new: int, lacking: Sequence[str] = ()) -> None:
    """Refuse new data with more or fewer of what the fit is of."""
    if new != fitted:
        told = f" They lack {listed(lacking)}." if lacking else ""
        raise InputError(
            f"{model.name}: the new data have {new} {plural(dim)}, the fit has {fitted}.{told} "
            f"Give the {plural(dim)} of the fit."
        )


def _lacking(tree: xr.DataTree, data: Data, dim: str) -> list[str]:
    """Names along a dim of the fit that a tree of new data has not."""
    old = _fitted_labels(tree).get(dim)
    new = _fitted_labels(data).get(dim) if isinstance(data, xr.DataTree) else None
    if old is None or new is None or old.dtype.kind in "iu":
        return []
    have = set(new.astype(str))
    return [name for name in old.astype(str) if name not in have]


def _fitted_labels(tree: xr.DataTree) -> dict[str, Array]:
    """Return the labels of the dims of the data of a fit."""
    groups = [tree[name].to_dataset() for name in ("constant_data", "observed_data") if name in tree]
    return {str(dim): labels.to_numpy() for data in groups for dim, labels in data.coords.items()}


def _labels(tree: xr.DataTree, model: Model, shown: set[str]) -> dict[str, Array]:
    """Return the fit's labels of the dims that the new data do not show."""
    known = {dim: labels for dim, labels in _fitted_labels(tree).items() if dim not in shown}
    derived = {dim: f for dim, f in model.derived_dims.items() if set(parents_of(f)) <= set(known)}
    return known | {dim: call(function, known) for dim, function in derived.items()}


def _same_labels(model: Model, dim: str, fitted: Array, new: Array) -> None:
    """Refuse new data with other labels along a dim than the fit; mere numbers say nothing."""
    if new.dtype.kind in "iu" or fitted.dtype.kind in "iu":
        return
    there = set(new.tolist())
    lacking = [one for one in fitted.tolist() if one not in there]
    if lacking:
        raise InputError(
            f"{model.name}: the new data have no {dim} {lacking[0]!r}, which the fit has ({len(lacking)} of "
            f"{len(fitted)}). Give the {plural(dim)} of the fit; their order does not matter."
        )
