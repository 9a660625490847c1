"""Whether a tree holds a whole fit: its attributes, what was found, in sizes that agree."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from traceback import walk_tb

import numpy as np
import xarray as xr

from genarium.attributes import attribute, require_fit, source
from genarium.declaration import Array, Model
from genarium.errors import InputError
from genarium.groups import GROUPS
from genarium.remedies import verb

AGAIN = f"Take the tree as {verb('fit')} made it, or fit again."

FITTED = ("method", "claim", "engine", "seed", "options", "notes", "fixed")
"""Attributes that every fit has."""

LEAD = ("chain", "draw")


def check_fit(tree: xr.DataTree, model: Model) -> None:
    """Check that a tree holds a fit by a model: complete, of the declared variables, of sizes that agree.

    Parameters
    ----------
    tree : DataTree
        Its form has been checked.
    model : Model

    Raises
    ------
    InputError
    """
    from_ = source(tree)
    if "method" not in tree.attrs and not {"posterior", "point"} & set(tree.children):
        require_fit(model.name, tree)
    for name in FITTED:
        if name not in tree.attrs:
            raise InputError(f"{from_}: the tree of a fit has no attribute {name!r}. {AGAIN}")
    held = "point" if tree.attrs["claim"] == "point" else "posterior"
    for name in ("observed_data", held):
        if name not in tree.children:
            raise InputError(f"{from_}: the tree of a fit has no group {name!r}. {AGAIN}")
    _check_sizes(tree, model)
    lead = LEAD if held == "posterior" else ()
    for name in model.unknown.variables:
        _declared(tree, model, held, name, lead)
    for name in attribute(tree, "fixed"):
        if name not in model.unknown.variables:
            raise InputError(
                f"{from_}: attribute 'fixed' names {name!r}, which is not an unknown variable of {model.name}. {AGAIN}"
            )
    if lead:
        _check_draws(tree, model)
    for name in model.variables("unknown", "hidden") if "truth" in tree.children else ():
        if name in tree["truth"]:
            _finite(tree, "truth", name, _numbers(tree, "truth", name, model.variables()[name].dims))
    _check_course(tree)


def _check_sizes(tree: xr.DataTree, model: Model) -> None:
    """Check that sizes are told, and that all groups but those of other data agree with them; that dims have labels."""
    from_ = source(tree)
    sizes = attribute(tree, "sizes")
    if lacking := [dim for dim in model.sizes if dim not in sizes]:
        raise InputError(f"{from_}: attribute 'sizes' does not tell the size of {lacking[0]!r}. {AGAIN}")
    for name, group in tree.children.items():
        if name not in GROUPS or name in ("truth", "predictions"):
            continue
        for dim, size in group.sizes.items():
            if dim in model.sizes and size != sizes[str(dim)]:
                raise InputError(
                    f"{from_}: group {name!r} has size {size} along {dim!r}, and attribute 'sizes' says "
                    f"{sizes[str(dim)]}. {AGAIN}"
                )
            if dim not in group.coords:
                raise InputError(f"{from_}: group {name!r} has no labels along {dim!r} (no coordinate). {AGAIN}")


def _declared(tree: xr.DataTree, model: Model, group: str, name: str, lead: tuple[str, ...]) -> None:
    """Check that a group holds a variable as it is declared, within its support."""
    var, from_ = model.variables()[name], source(tree)
    values = _numbers(tree, group, name, (*lead, *var.dims))
    if not values.size:
        raise InputError(f"{from_}: {name!r} in group {group!r} is empty. {AGAIN}")
    if var.support.event > 1:  # to look for circles in every graph takes long
        _finite(tree, group, name, values)
    else:
        _refuse(tree, group, name, values, var.support.bad(values, attribute(tree, "sizes")), var.support.says)


def _finite(tree: xr.DataTree, group: str, name: str, values: Array) -> None:
    _refuse(tree, group, name, values, ~np.isfinite(values), "a finite number")


def _refuse(tree: xr.DataTree, group: str, name: str, values: Array, bad: Array, says: str) -> None:
    """Refuse values that are bad, naming the first."""
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{source(tree)}: {name}{list(at)} in group {group!r} is {values[at]}, but every value must be "
            f"{says}. {AGAIN}"
        )


def _numbers(tree: xr.DataTree, group: str, name: str, dims: Iterable[str]) -> Array:
    """Return a variable of a group, checked to be there, to hold numbers and to have these dims."""
    from_ = source(tree)
    if name not in tree[group].data_vars:
        raise InputError(f"{from_}: group {group!r} has no variable {name!r}. {AGAIN}")
    found = tree[group][name]
    if found.dtype.kind not in "biuf":
        raise InputError(f"{from_}: {name!r} in group {group!r} holds {found.dtype} values, not numbers. {AGAIN}")
    if found.dims != tuple(dims):
        raise InputError(f"{from_}: {name!r} in group {group!r} has the dims {found.dims}, not {tuple(dims)}. {AGAIN}")
    values: Array = found.to_numpy()
    return values


def _check_draws(tree: xr.DataTree, model: Model) -> None:
    """Check what stands beside draws: that it has as many, and is of the declared dims."""
    from_, posterior = source(tree), tree["posterior"]
    beside = [name for name in ("sample_stats", "log_likelihood", "log_prior") if name in tree.children]
    for name, dim in ((name, dim) for name in beside for dim in LEAD):
        if tree[name].sizes.get(dim, posterior.sizes[dim]) != posterior.sizes[dim]:
            raise InputError(
                f"{from_}: group {name!r} has size {tree[name].sizes[dim]} along {dim!r}, and the posterior "
                f"{posterior.sizes[dim]}. {AGAIN}"
            )
    for name in ("lp", "log_q", "log_ratio", "diverging", "tree_depth", "energy"):
        if "sample_stats" in tree.children and name in tree["sample_stats"].data_vars:
            _numbers(tree, "sample_stats", name, LEAD)
    if "log_likelihood" in tree.children:
        first = next(iter(tree["log_likelihood"].data_vars), next(iter(model.observed.variables)))
        _numbers(tree, "log_likelihood", str(first), (*LEAD, *((model.unit,) if model.unit else ())))
    if "posterior_predictive" in tree.children:
        for name, var in model.observed.variables.items():
            _numbers(tree, "posterior_predictive", name, (*LEAD, *var.dims))


@contextmanager
def whole(tree: xr.DataTree) -> Iterator[None]:
    """Say of a fit that it lacks what a model's own functions look for in it.

    Raises
    ------
    InputError
        If a name is not found in a tree or Dataset. One that is not found elsewhere (a dict, a table) is the model's
        mistake, and its KeyError stays.
    """
    try:
        yield
    except KeyError as error:
        raised_in = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
        if not raised_in[-1].startswith("xarray."):
            raise
        what = str(error.args[0]).partition(". ")[0]
        raise InputError(f"{source(tree)}: the fit is not complete ({what}). {AGAIN}") from error


def _check_course(tree: xr.DataTree) -> None:
    """Check what a method and `choose` noted of how they went."""
    for group in ("variational", "point"):
        if group in tree.children and "bound" in tree[group].data_vars:
            dims = tuple(map(str, tree[group]["bound"].dims))
            values = _numbers(tree, group, "bound", dims)
            if set(dims) != {"restart", "iteration"} or not np.isfinite(values).any():
                raise InputError(
                    f"{source(tree)}: 'bound' in group {group!r} must be numbers of each restart and iteration. {AGAIN}"
                )
    if "choice" in tree.children:
        dims = tuple(str(dim) for dim in tree["choice"].sizes if dim != "part")  # parts: those that were held out
        if len(dims) != 1:
            raise InputError(
                f"{source(tree)}: group 'choice' has the dims {tuple(dims)}, not one of candidates. {AGAIN}"
            )
        for name in ("bound", "iterations", "converged"):
            _numbers(tree, "choice", name, dims)
