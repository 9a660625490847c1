"""Trees from outside: what genarium writes is accepted, and of anything else is said what is wrong and what to do.

A tree may be edited by hand, cut short, or come from somewhere else. :func:`check_form` looks at what every tree has in
common, on loading and wherever a verb is given one; :func:`genarium.completeness.check_fit` at what a fit by a model
must hold besides.
"""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import xarray as xr

from genarium.attributes import attribute, source
from genarium.declaration import Claim, Model
from genarium.errors import InputError
from genarium.groups import GROUPS
from genarium.remedies import verb

LARGEST = 2**31
"""A size of a dim is below this."""

MADE = f"Take the tree as {verb('simulate')}, {verb('read')} or {verb('fit')} made it, or put this right."

NUMBERS_IN_NOTES = (
    *("converged", "iterations", "largest_fall", "restarts", "restarts_at_best", "empty_components", "khat"),
    *("polished", "noisy_bound", "max_treedepth", "bound"),
)
"""Notes of methods that verbs compute with."""


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
    try:
        variables = group.to_dataset().variables
    except ValueError as error:  # xarray puts a damaged group together only where it is asked for
        why = " ".join(str(error).split())
        raise InputError(f"{source(tree)}: the variables of group {name!r} do not agree ({why}). {MADE}") from error
    for variable, values in variables.items():
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
