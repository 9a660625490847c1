"""Trees: ``xarray.DataTree`` in ArviZ's schema; building, provenance, reading and writing."""

import hashlib
import io
import json
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Arrays, Model, Problem
from genarium.errors import InputError
from genarium.form import check_form
from genarium.groups import GROUPS
from genarium.home import Home
from genarium.readers import hdf5
from genarium.readers.files import present
from genarium.registry import origin
from genarium.remedies import verb
from genarium.sources import meaning
from genarium.writing import replacing

RECORDED = (
    *("genarium", "numpy", "scipy", "xarray", "numba", "pymc", "pytensor", "nutpie", "jax", "blackjax", "arviz"),
    "cmdstanpy",
)


def dataset(
    model: Model,
    coords: Arrays,
    variables: Mapping[str, Any],
    lead: tuple[str, ...] = (),
) -> xr.Dataset:
    """Label arrays by the declaration.

    Parameters
    ----------
    model : Model
    coords : mapping of str to ndarray
        Labels along the model's dims; other dims are numbered.
    variables : mapping of str to ndarray or (dims, ndarray)
        A declared variable needs no dims; any other is given with its dims.
    lead : tuple of str
        Dims before the declared ones, e.g. ``("chain", "draw")``.

    Returns
    -------
    Dataset
        Every dim has coordinate values; declared variables carry ``about`` and ``symbol``. With leading dims, variables
        are in an order in which dims come up as each of them has them: ``arviz.summary`` mixes up labels otherwise.
    """
    declared = model.variables()
    out: dict[str, Any] = {}
    for name, value in variables.items():
        if isinstance(value, tuple):
            out[name] = value
        elif name in declared:
            var = declared[name]
            out[name] = ((*lead, *var.dims), value, {"about": var.about, "symbol": var.symbol})
        else:
            out[name] = (lead, value)
    data = xr.Dataset(
        {name: out[name] for name in _by_dims({name: one[0] for name, one in out.items()})} if lead else out
    )
    return data.assign_coords({d: coords.get(str(d), np.arange(n)) for d, n in data.sizes.items()})


def _by_dims(dims: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return variables in an order in which no dim is seen before one that stands before it in any variable."""
    before: dict[str, set[str]] = {dim: set() for own in dims.values() for dim in own}
    for own in dims.values():
        for i, dim in enumerate(own):
            before[dim] |= set(own[:i])
    order: list[str] = []
    seen: set[str] = set()
    while len(order) < len(dims):
        left = [name for name in dims if name not in order]
        name = next(
            (n for n in left if all(before[d] <= seen | set(dims[n]) for d in dims[n] if d not in seen)), left[0]
        )
        order.append(name)
        seen |= set(dims[name])
    return order


def data_tree(problem: Problem, truth: Arrays | None = None, attrs: Mapping[str, Any] | None = None) -> xr.DataTree:
    """Make a tree of checked data.

    Parameters
    ----------
    problem : Problem
    truth : mapping of str to ndarray, optional
        Values of the unknown and hidden variables of a simulation.
    attrs : mapping, optional
        Attributes for the root.

    Returns
    -------
    DataTree
        With the groups ``constant_data``, ``observed_data`` and, for simulations, ``truth``.
    """
    model = problem.model
    groups: dict[str, dict[str, Any]] = {
        "constant_data": {n: problem.arrays[n] for n in model.known.variables if n in problem.arrays},
        "observed_data": {n: problem.arrays[n] for n in model.observed.variables if n in problem.arrays},
        "truth": dict(truth or {}),
    }
    tree = xr.DataTree.from_dict({n: dataset(model, problem.coords, g) for n, g in groups.items() if g})
    tree.attrs = {
        "model": model.name,
        "model_options": json.dumps(dict(model.chosen)),
        "model_origin": origin(model),
        "model_digest": digest(model),
        "sizes": json.dumps({dim: int(n) for dim, n in problem.sizes.items()}),
        **_names(problem),
        "genarium_version": _version("genarium"),
        **(attrs or {}),
    }
    return tree


def with_coordinates(tree: xr.DataTree, values: Mapping[str, Any]) -> xr.DataTree:
    """Return a tree whose data have the further coordinates and attributes of what they were made of.

    Parameters
    ----------
    tree : DataTree
        From :func:`data_tree`.
    values : mapping of str to array_like
        Values of its variables. Of labelled ones, coordinates other than those that label a dim (chromosome and start
        of a locus, say) and attributes are taken over, where their dims are in the tree.
    """
    groups: dict[str, xr.Dataset] = {}
    for group, node in tree.children.items():
        data = node.to_dataset()
        for name, value in values.items():
            if name not in data.data_vars or not isinstance(value, xr.DataArray):
                continue
            data[name].attrs = {**value.attrs, **data[name].attrs}
            more = {
                at: (coordinate.dims, coordinate.to_numpy())
                for at, coordinate in _in_order(value, data).coords.items()
                if at not in value.dims
                and at not in data
                and coordinate.dims
                and set(coordinate.dims) <= set(data.dims)
            }
            data = data.assign_coords(more)
        groups[str(group)] = data
    return with_groups(tree, groups, {})


def _in_order(value: xr.DataArray, data: xr.Dataset) -> xr.DataArray:
    """Put labelled values into the order of the data, where these have the same labels in another one."""
    for dim in set(value.dims) & set(value.indexes) & set(data.indexes):
        have, wanted = value.indexes[dim], data.indexes[dim]
        if not have.equals(wanted) and set(have) == set(wanted):
            value = value.isel({dim: have.get_indexer_for(wanted)})
    return value


def _names(problem: Problem) -> dict[str, str]:
    """Return, as an attribute, the names along dims that variables point into and none of the data has."""
    declared = problem.model.variables("known", "observed")
    shown = {dim for name in problem.arrays for dim in declared[name].dims}
    pointed = {declared[name].support.of for name in problem.arrays} - shown - {""}
    named = {dim: problem.coords[dim] for dim in sorted(pointed) if problem.coords[dim].dtype.kind == "U"}
    named = {dim: found.tolist() for dim, found in named.items() if dim not in problem.model.labels}
    return {"labels": json.dumps(named)} if named else {}


def with_groups(tree: xr.DataTree, groups: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]) -> xr.DataTree:
    """Return a tree with more groups and attributes; the given one is left as it was."""
    have = {str(name): node.to_dataset() for name, node in tree.children.items()}
    merged = {**have, **{name: data for name, data in groups.items() if data}}
    order = [n for n in GROUPS if n in merged] + [n for n in merged if n not in GROUPS]
    out = xr.DataTree.from_dict({name: merged[name] for name in order})
    out.attrs = {**tree.attrs, **attrs}
    return out


def stored_sizes(tree: xr.DataTree, model: Model) -> dict[str, int]:
    """Return the sizes that ``simulate`` or ``read`` stored with a tree of this model."""
    return {dim: int(n) for dim, n in attribute(tree, "sizes").items() if dim in model.sizes}


def stored_labels(tree: xr.DataTree, model: Model) -> dict[str, np.ndarray[Any, Any]]:
    """Return the names that a tree of this model has for dims of which it holds no variable."""
    return {dim: np.array(names) for dim, names in attribute(tree, "labels").items() if dim in model.sizes}


def arrays(data: xr.DataTree | xr.Dataset, names: Iterable[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """Return the variables of a group as plain arrays."""
    return {str(n): data[str(n)].to_numpy() for n in (names if names is not None else data.data_vars)}


def stacked(draws: Arrays, most: int | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """Put chains one after another: (chain, draw, ...) to (sample, ...).

    Parameters
    ----------
    draws : mapping of str to ndarray, shape (chain, draw, ...)
    most : int, optional
        Keep as many at most, evenly spaced.
    """
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in draws.items()}
    if most is None or not flat:
        return flat
    count = len(next(iter(flat.values())))
    picks = np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
    return {name: v[picks] for name, v in flat.items()}


def provenance(**more: Any) -> dict[str, Any]:
    """Return attributes that say what made a result: ``more``, and the versions of the packages in use."""
    versions = {name: v for name in RECORDED if (v := _version(name))}
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in more.items()}
    told = {
        key: value if isinstance(value, str | int | float) else json.dumps(value, default=_told)
        for key, value in plain.items()
    }
    return told | {"versions": json.dumps(versions)}


def _told(value: Any) -> str:
    """Say what JSON cannot hold: a path by its text, another object by its kind."""
    return str(value) if isinstance(value, Path) else f"a {type(value).__name__}"


def digest(model: str | Model) -> str:
    """Return a digest of a model's sources: its folder and its Stan programs.

    Parameters
    ----------
    model : str or Model
        A name is that of a built-in model.

    Returns
    -------
    str
        Twelve hexadecimal digits; they change with any Python or Stan source of the model, but not with comments,
        docstrings and layout, nor with the packages in its folder, which stand beside the model (the scores of a
        network, readers of files). "" for a declaration that no file holds (one made in a session): whether such a one
        has changed cannot be told.
    """
    return digest_of(Home.of(model))


@cache
def digest_of(home: Home) -> str:
    """Return the digest of the sources in a model's home, as they were when it was first asked for."""
    sources = home.sources()
    sha = hashlib.sha256()
    for label, path in sorted(sources.items()):
        sha.update(f"{label}\0{meaning(path)}\0".encode())
    return sha.hexdigest()[:12] if sources else ""


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def save(tree: xr.DataTree, path: str | Path) -> Path:
    """Write a tree to a netCDF file, whole or not at all.

    Parameters
    ----------
    tree : DataTree
        From any of the verbs.
    path : str or Path
        Destination; it is replaced in one step once the new file is complete (:func:`genarium.writing.replacing`).

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If nothing can be written there, or the file does not fit.
    """
    path = Path(path)
    compressed = {
        f"/{name}": {
            str(v): {"zlib": True, "complevel": 1} for v, a in tree[name].data_vars.items() if a.dtype.kind in "iuf"
        }
        for name in map(str, tree.children)
    }
    with replacing(path) as temporary:
        whole = io.BytesIO()  # HDF5 itself ends the process where a disk is full
        try:
            tree.to_netcdf(whole, engine="h5netcdf", encoding=compressed)
        except (TypeError, ValueError) as error:  # of a tree that was not made here, such as Python objects in it
            raise InputError(
                f"{path}: netCDF cannot hold this tree ({error}). Convert its values to numbers or text."
            ) from error
        temporary.write_bytes(whole.getvalue())
        hdf5.trust(temporary)
    return path


def load(path: str | Path) -> xr.DataTree:
    """Read a tree from a netCDF file into memory, and check it (:func:`genarium.form.check_form`).

    Parameters
    ----------
    path : str or Path
        A file that :func:`save` or the command line has written.

    Returns
    -------
    DataTree
        The tree as it was saved.

    Raises
    ------
    InputError
        If the file does not exist, is no such file or is damaged, or holds no tree of genarium's form.
    """
    path = present(Path(path))
    remedy = (
        f"Count tables and other formats go through {verb('read')} first; if it is damaged or cut short, make it again"
    )
    hdf5.look_over(path, "a netCDF tree", remedy)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*phony_dims")  # said of HDF5 that is no netCDF, such as .h5ad
            with xr.open_datatree(path, engine="h5netcdf") as tree:
                found = tree.load()
    except Exception as error:  # HDF5, h5netcdf and xarray raise a dozen kinds for damaged or foreign files
        raise hdf5.unreadable(path, "a netCDF tree", error, remedy) from error
    found.encoding = {"source": str(path)}
    return check_form(found)
