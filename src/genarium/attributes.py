"""What the attributes of a tree say, of those that are kept as JSON."""

import json
import reprlib
from typing import Any

import xarray as xr

from genarium.errors import InputError

MAY_LACK = {"model_options": "{}", "sizes": "{}", "preparation": "{}", "labels": "{}", "fixed": "[]"}
"""Attributes that a tree may be without, and what that means."""


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
        raise InputError(f"the tree has no attribute {name!r}. Make it with `fit`, which says there what was done.")
    try:
        found = json.loads(text)
    except (TypeError, json.JSONDecodeError):
        found = None
    kind = list if MAY_LACK.get(name) == "[]" else dict
    if not isinstance(found, kind):
        shown = {dict: "an object", list: "a list"}[kind]
        raise InputError(
            f"attribute {name!r} of the tree must be {shown} in JSON, and is {reprlib.repr(text)}. Take the tree as "
            "`fit`, `read` or `simulate` made it, or put the attribute right."
        )
    return found
