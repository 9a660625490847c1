"""What the attributes of a tree say, of those that are kept as JSON."""

import json
import reprlib
from typing import Any

import xarray as xr

from genarium.errors import InputError
from genarium.remedies import either, verb

MAY_LACK = {"model_options": "{}", "sizes": "{}", "preparation": "{}", "labels": "{}", "fixed": "[]"}
"""Attributes that a tree may be without, and what that means."""

LISTS = ("fixed", "files")
"""Attributes that hold a list; the others hold an object."""


def source(tree: xr.DataTree) -> str:
    """Say where a tree is from: the file that it was loaded from, or just "the tree"."""
    return str(tree.encoding.get("source", "the tree"))


def attribute(tree: xr.DataTree, name: str) -> Any:
    """Return what an attribute of a tree says that is kept as JSON: a dict, or a list of names.

    Parameters
    ----------
    tree : DataTree
    name : str
        One that trees may lack (of ``MAY_LACK``) is empty then.

    Raises
    ------
    InputError
        If it is missing, or is no such JSON.
    """
    text = tree.attrs.get(name, MAY_LACK.get(name))
    if text is None:
        raise InputError(
            f"{source(tree)} has no attribute {name!r}. Make it with {verb('fit')}, which says there what was done."
        )
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        found = None
    kind = list if name in LISTS else dict
    if not isinstance(found, kind):
        shown = {dict: "an object", list: "a list"}[kind]
        raise InputError(
            f"{source(tree)}: attribute {name!r} must be {shown} in JSON, and is {reprlib.repr(text)}. Take the tree "
            f"as {verb('fit')}, {verb('read')} or {verb('simulate')} made it, or put the attribute right."
        )
    return found


def require_fit(model: str, tree: xr.DataTree) -> None:
    """Refuse a tree that holds data only.

    Raises
    ------
    InputError
    """
    if "method" not in tree.attrs or not {"posterior", "point"} & set(tree.children):
        shell = f"genarium fit {model} TREE --method METHOD -o fit.nc"
        raise InputError(
            f"{source(tree)}: {model}: the tree holds no fit (groups posterior or point): it has "
            f"{', '.join(tree.children) or 'no groups'}. Make a fit of it first: {either('`fit`', shell)}."
        )
