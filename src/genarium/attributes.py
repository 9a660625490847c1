"""What the attributes of a tree say, of those that are kept as JSON."""

import json
import reprlib
from typing import Any

import xarray as xr

from genarium.errors import InputError

MAY_LACK = {"model_options": "{}", "sizes": "{}", "preparation": "{}", "fixed": "[]"}
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
            f"{source(tree)} has no attribute {name!r}. Make it with `fit`, which says there what was done."
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
            "as `fit`, `read` or `simulate` made it, or put the attribute right."
        )
    return found
