"""The registry: every folder of ``models/`` that exports ``MODEL`` is a model, under the folder's name."""

import pkgutil
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import xarray as xr

from genarium.declaration import Model
from genarium.errors import DeclarationError, InputError
from genarium.tree import attribute

ROOT = Path(str(files("genarium")))


def names() -> list[str]:
    """Return the names of all models, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(import_module("genarium.models").__path__) if m.ispkg)


@cache
def get(name: str) -> Model:
    """Return a model's declaration.

    Parameters
    ----------
    name : str
        Folder name of the model.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        If there is no such model.
    DeclarationError
        If its package exports no ``MODEL``.
    """
    if name not in names():
        close = get_close_matches(name, names(), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"The models are {', '.join(names())}."
        raise InputError(f"there is no model {name!r}. {hint}")
    model = getattr(import_module(f"genarium.models.{name}"), "MODEL", None)
    if not isinstance(model, Model):
        raise DeclarationError(f"model {name!r}: its package exports no MODEL of type genarium.Model")
    return replace(model, name=name)


def fitted_model(tree: xr.DataTree, model: str | Model = "") -> Model:
    """Return the declaration, with its options, that a tree was made by.

    Parameters
    ----------
    tree : DataTree
    model : str or Model
        What the user says it was made by; "" takes the tree's word.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        If the tree does not say, says otherwise, or there is no such model here.
    """
    named = tree.attrs.get("model", "")
    if not named:
        raise InputError("the tree does not say which model it belongs to (attribute 'model'). Make it with `fit`.")
    declared = model if isinstance(model, Model) else get(model or named)
    if declared.name != named:
        raise InputError(f"{declared.name}: the tree holds a fit of {named!r}. Name that model.")
    return declared.variant(**attribute(tree, "model_options"))


def program(model: Model) -> Path | None:
    """Return the Stan program of a model's variant, or None where there is none.

    The default variant is ``<model>.stan``; another one appends its option values, ``<model>-<value>.stan``.
    """
    values = [value for name, value in model.chosen.items() if value != model.options[name][0]]
    path = ROOT / "stan" / ("-".join([model.name, *values]) + ".stan")
    return path if path.is_file() else None
