"""The registry: every folder of ``models/`` that exports ``MODEL`` is a model, under the folder's name."""

import json
import pkgutil
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import xarray as xr

from genarium.declaration import Model
from genarium.errors import DeclarationError, InputError

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


def resolve(model: str | Path | Model, data: Any = None) -> Model:
    """Return the declaration that a user means.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration, which is returned as it is.
    data : DataTree or anything else, optional
        A tree says which options of the model it was made with; they are taken where the declaration has none chosen.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        If there is no such model.
    """
    declared = model if isinstance(model, Model) else get(model)
    if isinstance(data, xr.DataTree) and not declared.chosen:
        declared = declared.variant(**json.loads(data.attrs.get("model_options", "{}")))
    return declared


def fitted_model(tree: xr.DataTree, model: str | Path | Model = "") -> Model:
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
    declared = resolve(model or named)
    if declared.name != named:
        raise InputError(f"{declared.name}: the tree holds a fit of {named!r}. Name that model.")
    return declared.variant(**json.loads(tree.attrs.get("model_options", "{}")))


def program(model: Model) -> Path | None:
    """Return the Stan program of a model's variant, or None where there is none.

    The default variant is ``<model>.stan``; another one appends its option values, ``<model>-<value>.stan``.
    """
    values = [value for name, value in model.chosen.items() if value != model.options[name][0]]
    path = ROOT / "stan" / ("-".join([model.name, *values]) + ".stan")
    return path if path.is_file() else None
