"""Trees from outside: what genarium writes is accepted, and of anything else is said what is wrong and what to do.

A tree may be edited by hand, cut short, or come from somewhere else. :func:`check_form` looks at what every tree has in
common, on loading and wherever a verb is given one; :func:`check_fit` at what a fit by a model must hold besides.
"""

from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np
import xarray as xr

from genarium.attributes import attribute, require_fit, source
from genarium.declaration import Array, Claim, Model
from genarium.errors import InputError
from genarium.groups import GROUPS
from genarium.remedies import verb

LARGEST = 2**31
"""A size of a dim is below this."""

MADE = f"Take the tree as {verb('simulate')}, {verb('read')} or {verb('fit')} made it, or put this right."

AGAIN = f"Take the tree as {verb('fit')} made it, or fit again."

FITTED = ("method", "claim", "engine", "seed", "options", "notes", "fixed")
"""Attributes that every fit has."""

NUMBERS_IN_NOTES = (
    *("converged", "iterations", "largest_fall", "restarts", "restarts_at_best", "empty_components", "khat"),
    *("polished", "noisy_bound", "max_treedepth", "bound"),
)
"""Notes of methods that verbs compute with."""

LEAD = ("chain", "draw")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _is_size(value: Any) -> bool:
    return _is_whole(value) and 0 <= value < LARGEST


def _is_scalar(value: Any) -> bool:
    return _is_text(value) or _is_number(value)


def _anything(value: Any) -> bool:
    return True


def _is_name(value: Any) -> bool:
    return _is_text(value) and all(part.isidentifier() for part in value.split("."))


Test = Callable[[Any], bool]

PLAIN: dict[str, tuple[Test, str]] = {
    "model": (_is_name, "the name of a model"),
    **dict.fromkeys(
        ("model_origin", "model_digest", "genarium_version", "method", "engine", "created_at", "format", "chosen_size"),
        (_is_text, "text"),
    ),
    "claim": (lambda value: _is_text(value) and value in get_args(Claim), f"one of {', '.join(get_args(Claim))}"),
    **dict.fromkeys(
        ("seed", "simulation_seed", "fit_seed"),
        (lambda value: _is_whole(value) and value >= 0, "a whole number, not below zero"),
    ),
    **dict.fromkeys(("seconds", "cpu_seconds"), (_is_number, "a number")),
}
"""Attributes as they stand, what each must be, and how a message says so."""

JSON: dict[str, tuple[Test, str]] = {
    "model_options": (_is_text, "text"),
    "sizes": (_is_size, "a whole number, not below zero"),
    "notes": (_is_scalar, "a number or text"),
    "versions": (_is_text, "text"),
    "fixed": (_is_text, "text"),
    "files": (_is_text, "text"),
    **dict.fromkeys(("options", "reader_options", "preparation", "ledger"), (_anything, "")),
}
"""Attributes that are kept as JSON, and what each of their entries must be."""


def check_form(tree: xr.DataTree) -> xr.DataTree:
    """Check what all trees have in common: attributes, groups, and the types of their variables.

    Parameters
    ----------
    tree : DataTree

    Returns
    -------
    DataTree
        The same.

    Raises
    ------
    InputError
        Naming the file, the attribute or variable, what is wrong and the remedy.
    """
    from_ = source(tree)
    for name in PLAIN.keys() & tree.attrs.keys():
        good, says = PLAIN[name]
        if not good(tree.attrs[name]):
            raise InputError(f"{from_}: attribute {name!r} must be {says}, and is {_shown(tree.attrs[name])}. {MADE}")
    for name in JSON.keys() & tree.attrs.keys():
        found = attribute(tree, name)
        good, says = JSON[name]
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            if not good(value):
                raise InputError(
                    f"{from_}: in attribute {name!r}, {key!r} must be {says}, and is {_shown(value)}. {MADE}"
                )
    for name in NUMBERS_IN_NOTES if "notes" in tree.attrs else ():
        if not _is_number(value := attribute(tree, "notes").get(name, 0)):
            raise InputError(
                f"{from_}: in attribute 'notes', {name!r} must be a number, and is {_shown(value)}. {MADE}"
            )
    for name in GROUPS:
        if name in tree.data_vars:
            raise InputError(f"{from_}: {name!r} must be a group, and is a variable. {MADE}")
        if name in tree.children:
            _check_group(tree, name)
    return tree


def _shown(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _check_group(tree: xr.DataTree, name: str) -> None:
    """Check that a group is a flat one, of numbers and text."""
    from pandas.api.types import infer_dtype

    group = tree[name]
    if group.children:
        inner = next(iter(group.children))
        raise InputError(f"{source(tree)}: group {name!r} has a group {inner!r} within it, and must have none. {MADE}")
    for variable, values in group.variables.items():
        kind = values.dtype.kind
        if kind == "O":
            found = infer_dtype(values.to_numpy().ravel(), skipna=False) if values.size else "string"
            kind = "U" if found in ("string", "empty") else f"O ({found})"
        if kind not in "biufSUT":
            what = f"Python objects ({found})" if kind.startswith("O") else f"{values.dtype} values"
            raise InputError(
                f"{source(tree)}: {variable!r} in group {name!r} holds {what}, not numbers or text. Convert it, or "
                "take the tree as genarium made it."
            )


def check_model(tree: xr.DataTree, model: Model) -> None:
    """Check that a tree of data was made for this model, if it says for which.

    Raises
    ------
    InputError
    """
    for_ = tree.attrs.get("model", model.name)
    if for_ != model.name:
        raise InputError(
            f"{source(tree)}: the tree was made for the model {for_!r}, not for {model.name!r}. Name that model, or "
            f"make a tree for {model.name!r} with {verb('read')} or {verb('simulate')}."
        )


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
                f"{from_}: attribute 'fixed' names {name!r}, which is no unknown variable of {model.name}. {AGAIN}"
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


def lacking(tree: xr.DataTree, error: KeyError) -> InputError:
    """Return the error about a fit that lacks what its model's own functions look for."""
    what = str(error.args[0]).partition(". ")[0]
    return InputError(f"{source(tree)}: the fit is not complete ({what}). {AGAIN}")


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
        dims = tuple(map(str, tree["choice"].sizes))
        if len(dims) != 1:
            raise InputError(
                f"{source(tree)}: group 'choice' has the dims {tuple(dims)}, not one of candidates. {AGAIN}"
            )
        for name in ("bound", "iterations", "converged"):
            _numbers(tree, "choice", name, dims)
