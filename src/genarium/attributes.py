"""What the attributes of a tree say, of those that are kept as JSON."""

import json
import reprlib
from pathlib import Path
from typing import Any

import xarray as xr

from genarium.errors import InputError
from genarium.remedies import either, verb

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
        raise InputError(
            f"{called(tree)} has no attribute {name!r}. Make it with {verb('fit')}, which says there what was done."
        )
    try:
        found = json.loads(text)
    except (TypeError, json.JSONDecodeError):
        found = None
    kind = list if MAY_LACK.get(name) == "[]" else dict
    if not isinstance(found, kind):
        shown = {dict: "an object", list: "a list"}[kind]
        raise InputError(
            f"attribute {name!r} of {called(tree)} must be {shown} in JSON, and is {reprlib.repr(text)}. Take the "
            "tree as "
            f"{verb('fit')}, {verb('read')} or {verb('simulate')} made it, or put the attribute right."
        )
    return found


def called(tree: xr.DataTree) -> str:
    """Return what messages call a tree: with the file that it is from, where it was loaded."""
    source = tree.encoding.get("source")
    return f"the tree in {Path(source).name}" if source else "the tree"


def require_fit(model: str, tree: xr.DataTree) -> None:
    """Refuse a tree that holds data only.

    Raises
    ------
    InputError
    """
    if "method" not in tree.attrs or not {"posterior", "point"} & set(tree.children):
        shell = f"genarium fit {model} TREE --method METHOD -o fit.nc"
        raise InputError(
            f"{model}: {called(tree)} holds no fit (groups posterior or point): it has "
            f"{', '.join(tree.children) or 'no groups'}. Make a fit of it first: {either('`fit`', shell)}."
        )
