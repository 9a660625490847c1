"""What users hold: trees, tables, matrices and AnnData objects, as a mapping from a model's variables to arrays."""

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from genarium.attributes import source
from genarium.declaration import Array, Model
from genarium.errors import InputError
from genarium.form import check_form, check_model
from genarium.readers.counts import first_odd
from genarium.remedies import either, option, setting, verb
from genarium.supports import LARGEST

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

type Table = AnnData | pd.DataFrame | pd.Series[Any]
type Matrix = np.ndarray[Any, Any] | sparse.sparray | sparse.spmatrix
type Data = xr.DataTree | xr.Dataset | xr.DataArray | Mapping[str, Any] | Table | Matrix
"""Data of a model, as the verbs take them; :func:`hold` says what is what."""

DATA_GROUPS = ("constant_data", "observed_data")


def hold(model: Model, data: Data, layer: str = "") -> dict[str, Any]:
    """Return the variables that data hold, with their labels.

    Parameters
    ----------
    model : Model
    data : DataTree, Dataset or mapping, AnnData, DataFrame, Series, DataArray, sparse matrix or ndarray
        A *mapping* or *Dataset* names its variables. Of a *tree*, the groups ``constant_data`` and ``observed_data``
        are taken. A *matrix* (ndarray, SciPy sparse) or *DataArray* is the first observed variable with as many dims;
        a DataArray or Series that has the name of a variable is that one. A *DataFrame* is the first observed variable
        with two dims, its index and columns being the labels; where the model has none, its columns are variables by
        name. An *AnnData*'s matrix is the first observed variable with two dims, labelled by ``obs_names`` and
        ``var_names``; columns of ``obs`` and ``var`` and entries of ``obsm``, ``varm`` and ``layers`` that have the
        name of a known or observed variable with these dims are taken as it. Of labels, a categorical column is taken
        in the order of its categories (whole numbers as they are). What else a tree, a table or an AnnData
        holds is left aside.
    layer : str
        Of an AnnData: the layer that takes the place of ``X``, or ".raw" for ``adata.raw``.

    Returns
    -------
    dict
        Values by variable; not looked at yet.

    Raises
    ------
    InputError
        If the model cannot take such an object, or there is no such layer.
    """
    if _is_anndata(data):
        return _from_anndata(model, data, layer)
    if layer:
        raise InputError(f"{model.name}: {option('layer', layer)} is for AnnData, not for {_kind(data)}. Leave it out.")
    if isinstance(data, xr.DataTree):
        return _from_tree(model, data)
    if isinstance(data, xr.Dataset):
        return {str(name): value for name, value in data.data_vars.items()}
    if isinstance(data, Mapping):
        return {str(name): value for name, value in data.items()}
    if _is_pandas(data) and hasattr(data, "columns"):
        return _from_table(model, data)
    if isinstance(data, xr.DataArray | np.ndarray) or _is_pandas(data) or hasattr(data, "toarray"):
        array: Any = data
        name = getattr(array, "name", None)
        return {name if name in model.variables() else _main(model, len(array.shape), _kind(array)): array}
    raise InputError(
        f"{model.name}: data cannot be of type {_kind(data)}. Give a DataTree (of `simulate` or `read`), an AnnData, "
        "a Dataset or DataArray of xarray, a DataFrame or Series of pandas, a NumPy array, a SciPy sparse matrix, or a "
        f"mapping from variable names to arrays, {example(model)}."
    )


def example(model: Model) -> str:
    """Return a mapping of the observed variables that a fit needs, as code."""
    observed = model.observed.variables
    needed = [name for name, var in observed.items() if var.default is None] or list(observed)
    return f"{{{', '.join(f'{name!r}: ...' for name in needed)}}}"


def give_data(model: Model) -> str:
    """Return the sentence that says how a model is given data."""
    formats = "|".join(model.readers)
    shell = f"Make a tree of your files: genarium read {model.name} FILE --format {formats or 'FORMAT'} -o data.nc"
    return either(
        f"Give the data by name, {example(model)}", shell if formats else f"Give a tree with {example(model)}"
    )


def missing_value(model: Model, name: str) -> InputError:
    """Return the error for a known or observed variable that is not given, with what gives it or makes it needless."""
    var = model.variables()[name]
    if model.role(name) == "observed":
        return InputError(f"{where(model, name)} is missing. {var.about} {give_data(model)}.")
    remedy = f"Give it: {setting(name)} ({var.support.says}{f', or one for each {var.dims[0]}' if var.dims else ''})"
    without = [setting(option_, value) for option_, value in alternatives(model, name)]
    also = f", or let the model do without: {' or '.join(without)}" if without else ""
    return InputError(f"{where(model, name)} is missing. {var.about} {remedy}{also}.")


def alternatives(model: Model, name: str) -> list[tuple[str, str]]:
    """Return the options of a model, with their values, under each of which it does without a known variable."""

    def needs(variant: Model) -> bool:
        return name in variant.known.variables and variant.known.variables[name].default is None

    return [
        (option_, value)
        for option_, values in model.options.items()
        for value in values
        if value != model.option(option_) and not needs(model.variant(**{**model.chosen, option_: value}))
    ]


def where(model: Model, name: str) -> str:
    """Return what a message calls a variable: model, role, name and dims."""
    dims = ", ".join(model.variables()[name].dims)
    return f"{model.name}: {model.role(name)} variable {name!r} ({dims})"


def _is_anndata(data: Any) -> bool:
    """Whether an object is an AnnData, told without importing anndata."""
    return any(c.__name__ == "AnnData" and c.__module__.split(".")[0] == "anndata" for c in type(data).__mro__)


def _is_pandas(data: Any) -> bool:
    return hasattr(data, "to_numpy") and hasattr(data, "index") and not isinstance(data, xr.DataArray)


def _kind(data: Any) -> str:
    return type(data).__name__


def _main(model: Model, dims: int, kind: str) -> str:
    """Return the first observed variable with so many dims."""
    for name, var in model.observed.variables.items():
        if len(var.dims) == dims:
            return name
    have = "; ".join(f"{name} ({', '.join(var.dims)})" for name, var in model.observed.variables.items())
    raise InputError(
        f"{model.name}: no observed variable has the {dims} dims of the given {kind}; there are {have}. "
        f"{give_data(model)}."
    )


def _from_tree(model: Model, tree: xr.DataTree) -> dict[str, Any]:
    check_model(check_form(tree), model)
    declared = model.variables("known", "observed")
    found: dict[str, Any] = {}
    for group in DATA_GROUPS:
        if group in tree.children:
            found |= {str(n): v for n, v in tree[group].to_dataset().data_vars.items() if n in declared}
    if not found and {"obs", "var"} <= {*tree.children}:
        raise InputError(f"{model.name}: {source(tree)} is AnnData, no tree. Make one of it with {verb('read')}.")
    if not found:
        raise InputError(
            f"{model.name}: {source(tree)} has neither of the groups {' and '.join(DATA_GROUPS)} (it has "
            f"{', '.join(tree.children) or 'no groups'}). Make one with {verb('simulate')} or {verb('read')}."
        )
    return found


def _from_table(model: Model, table: Any) -> dict[str, Any]:
    """Take a DataFrame as a matrix, or its columns where all observed variables have one dim."""
    observed = model.observed.variables
    if any(len(var.dims) == 2 for var in observed.values()):
        return {_main(model, 2, _kind(table)): table}
    row = observed[_main(model, 1, f"columns of the {_kind(table)}")].dims
    names = [name for name, var in model.variables("known", "observed").items() if var.dims == row]
    found = {name: table[name] for name in names if name in table}
    if not found.keys() & observed.keys():
        have = ", ".join(map(str, table.columns[:5])) + (" ..." if len(table.columns) > 5 else "")
        raise InputError(
            f"{model.name}: the DataFrame has no column {' or '.join(observed)} (it has {have}). Rename its columns, "
            f"or {give_data(model)[0].lower()}{give_data(model)[1:]}."
        )
    return found


def _from_anndata(model: Model, adata: Any, layer: str) -> dict[str, Any]:
    """Take the matrix of an AnnData (in memory, backed or a view), and what else has a variable's name."""
    main = _main(model, 2, "AnnData matrix")
    raw = layer == ".raw" and adata.raw is not None  # it may have other genes
    names = {"obs": adata.obs_names, "var": adata.raw.var_names if raw else adata.var_names}
    row, column = model.variables()[main].dims
    for axis, dim in (("obs", row), ("var", column)):
        if names[axis].has_duplicates:
            twice = names[axis][names[axis].duplicated()][0]
            raise InputError(
                f"{model.name}: adata.{axis}_names has {twice!r} more than once, so that it names no single {dim}. "
                f"Call adata.{axis}_names_make_unique() first."
            )
    labels = {row: _axis_labels(names["obs"]), column: _axis_labels(names["var"])}
    places = {(row,): adata.obs, (column,): adata.var, (row, column): adata.layers}
    found: dict[str, Any] = {}
    for name, var in model.variables("known", "observed").items():
        place = places.get(var.dims)
        if place is None and len(var.dims) == 2:
            place = {row: adata.obsm, column: adata.varm}.get(var.dims[0])
        if place is not None and name in place and not (raw and column in var.dims):
            found[name] = _in_memory(place[name])
    if layer or main not in found:
        found[main] = _matrix(model, adata, main, layer)
    for name, value in found.items():
        dims = model.variables()[name].dims
        if not _is_pandas(value):
            values, _ = _plain(model, name, value)
            coords = {dim: labels[dim] for dim in dims if dim in labels}
            found[name] = xr.DataArray(values, dims=dims, coords=coords) if values.ndim == len(dims) else values
    return found


def _matrix(model: Model, adata: Any, main: str, layer: str) -> Any:
    """Return ``X`` or a layer; refuse one without whole numbers, naming those that have them."""
    names = [name for name in adata.layers if name is not None]  # None: X itself
    names += [".raw"] if adata.raw is not None else []

    def stored(name: str) -> Any:
        return _in_memory(adata.raw.X if name == ".raw" else adata.layers[name])

    have = f"The layers are {', '.join(names)}" if names else "There are no layers"
    if layer and layer not in names:
        raise InputError(f"{model.name}: the AnnData has no layer {layer!r}. {have}.")
    if layer:
        return stored(layer)
    if adata.X is None:
        raise InputError(f"{model.name}: the AnnData has no X. {have}; name one: {option('layer')}")
    matrix = _in_memory(adata.X)
    odd = _odd(matrix) if model.variables()[main].support.integer else None
    good = [name for name in names if _odd(stored(name)) is None] if odd else []
    if not odd or not good:  # the check says what is wrong with it
        return matrix
    i, j, value = odd
    raise InputError(
        f"{where(model, main)}: adata.X is not all whole numbers from zero ({adata.obs_names[i]}, "
        f"{adata.var_names[j]}: {value}), but {', '.join(good)} {'is' if len(good) == 1 else 'are'}: "
        f"pass {option('layer', good[0])}."
    )


def _odd(matrix: Any) -> tuple[int, int, Any] | None:
    return first_odd(matrix) if matrix.dtype.kind in "iuf" else None


def _in_memory(value: Any) -> Any:
    """Return what an AnnData holds as a table, a sparse matrix or an array in memory."""
    if hasattr(value, "to_memory"):  # of a backed file, sparse
        return value.to_memory()
    return value if _is_pandas(value) or hasattr(value, "toarray") else np.asarray(value)


def labelled(model: Model, name: str, value: Any) -> xr.DataArray:
    """Give the value its declared dims, without looking at sizes or values yet."""
    dims = model.variables()[name].dims
    if _is_anndata(value):
        raise InputError(
            f"{where(model, name)} is an AnnData. Give it as the data, alone, and other variables as settings."
        )
    if isinstance(value, xr.DataArray):
        if value.ndim and set(value.dims) != set(dims):
            raise InputError(f"{where(model, name)} has dims {tuple(value.dims)}. Rename them to the declared ones.")
        array = value.transpose(*dims) if value.ndim else value
    else:
        values, coords = _plain(model, name, value)
        if values.ndim not in (0, len(dims)):
            raise InputError(
                f"{where(model, name)} needs {len(dims)} dims but has {values.ndim} (shape {values.shape}). "
                "Reshape it to the declared dims."
            )
        array = xr.DataArray(values, dims=dims, coords=coords) if values.ndim else xr.DataArray(values)
        if _is_categorical(value) and dims == array.dims:
            array.attrs["levels"] = _codes(value)[1]
    if dims and not array.ndim and model.role(name) != "known":
        raise InputError(f"{where(model, name)} is the single value {array.item()!r}. Give an array of its dims.")
    return array


def _plain(model: Model, name: str, value: Any) -> tuple[Array, dict[str, Any]]:
    """Return values as an array, and the labels that they bring."""
    dims = model.variables()[name].dims
    coords: dict[str, Any] = {}
    if isinstance(value, Mapping) and len(dims) == 1 and value:
        coords, value = {dims[0]: np.array([str(label) for label in value])}, list(value.values())
    whole = value
    if _is_pandas(value):
        axes = [value.index, value.columns] if hasattr(value, "columns") else [value.index]
        if len(axes) == len(dims):
            coords = {dim: _axis_labels(axis) for dim, axis in zip(dims, axes, strict=True)}
        if _is_categorical(value) and model.variables()[name].support.of:
            value = _codes(value)[0]
        whole, value = value, value.to_numpy()
    elif hasattr(value, "toarray"):  # a SciPy sparse matrix
        value = value.toarray()
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(float), np.nan)
    try:
        values = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{where(model, name)} is not a rectangular array: {error}") from error
    if values.dtype == object and values.ndim and not any(isinstance(v, str | bytes) for v in values.flat):
        with contextlib.suppress(TypeError, ValueError):  # missing entries, or numbers that pandas boxed
            values = np.array([np.nan if _is_missing(v) else float(v) for v in values.flat]).reshape(values.shape)
    _only_exact(model, name, whole, values, coords)
    return values, coords


def _only_exact(model: Model, name: str, given: Any, values: Array, coords: Mapping[str, Any]) -> None:
    """Check that no whole number was rounded when it came to stand beside others that are none."""
    if values.dtype.kind != "f" or values.dtype.itemsize < 4 or hasattr(given, "toarray"):
        return
    with np.errstate(invalid="ignore"):
        large = np.argwhere(np.isfinite(values) & (np.abs(values) >= LARGEST))
    if not large.size:
        return
    boxed = given.astype(object).to_numpy() if _is_pandas(given) else np.asarray(given, dtype=object)
    for at in map(tuple, large):
        one = boxed[at]
        if isinstance(one, int | np.integer) and int(one) != int(values[at]):
            dims = zip(model.variables()[name].dims, at, strict=False)
            place = ", ".join(f"{d}={i}" + (f" ({coords[d][i]})" if d in coords else "") for d, i in dims)
            raise InputError(
                f"{where(model, name)}: {name}{f'[{place}]' if place else ''} = {one} is too large: of the whole "
                f"numbers above {LARGEST} (2^53), not all can be held. Correct it, or give all in a larger unit."
            )


def _is_categorical(value: Any) -> bool:
    """Whether this is a Series of categories."""
    return _is_pandas(value) and type(getattr(value, "dtype", None)).__name__ == "CategoricalDtype"


def _codes(value: Any) -> tuple[Any, list[str]]:
    """Return categories as labels counted from zero, and their names in order; numbers without gaps stay what they are.

    Whole numbers are ordered as such ("2" before "10"); those with gaps are names as others: no label stands for a gap.
    """
    used = value.cat.remove_unused_categories()
    names = [str(name).strip() for name in used.cat.categories]
    if all(re.fullmatch(r"\d{1,15}", name) for name in names):
        number = dict(zip(used.cat.categories, map(int, names), strict=True))
        if set(number.values()) == set(range(len(names))):
            return used.map(number).astype(float), []
        used = used.cat.reorder_categories(sorted(used.cat.categories, key=number.__getitem__))
        names = sorted(names, key=int)
    return used.cat.codes.astype(float).where(used.notna()), names


def _axis_labels(axis: Any) -> Array:
    return np.array([str(label) for label in axis]) if axis.nlevels > 1 else np.asarray(axis.to_numpy())


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType")
