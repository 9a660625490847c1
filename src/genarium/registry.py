"""The registry: the models that come with this package, those of other packages, and those in folders."""

import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module, invalidate_caches
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import xarray as xr

from genarium import folders
from genarium.attributes import attribute, source
from genarium.completeness import check_fit
from genarium.declaration import Model
from genarium.errors import DeclarationError, GenariumError, InputError
from genarium.form import check_form, check_model
from genarium.home import BUILT_IN, Home
from genarium.home import program as program
from genarium.remedies import flag, verb
from genarium.words import did_you_mean

GROUP = "genarium.models"
"""Entry points of this group are models: the name is the model's, the value its module, or ``module:MODEL``."""


def built_in() -> list[str]:
    """Return the names of the models that come with this package, sorted."""
    return sorted(m.name for m in iter_modules(import_module(BUILT_IN).__path__) if m.ispkg)


@cache
def installed() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the models that other packages offer, by name; nothing is imported."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def hidden() -> dict[str, list[str]]:
    """Return which packages offer a model that the built-in one of the same name hides, by name."""
    return {name: sorted(map(distribution, points)) for name, points in installed().items() if name in built_in()}


def names() -> list[str]:
    """Return the names of all models, sorted."""
    return sorted({*built_in(), *installed()})


def is_path(model: str | Path) -> bool:
    """Whether a user names a folder: by a path with a separator in it, or a ``Path``; a bare word is a name."""
    return isinstance(model, Path) or bool(re.search(r"^~|^\.\.?$|/", model)) or os.sep in model


def get(name: str | Path) -> Model:
    """Return a model's declaration.

    Parameters
    ----------
    name : str or Path
        Name of a model, or the path of its folder (``./my_model``): a bare word is never looked for in a folder.

    Returns
    -------
    Model
        The declaration.

    Raises
    ------
    InputError
        If there is no such model.
    DeclarationError
        If its package cannot be imported, or exports no ``MODEL``.
    """
    if not is_path(name):
        return named(str(name))
    path = Path(name).expanduser().resolve()
    own = (Path(root).resolve() for root in import_module(BUILT_IN).__path__)
    return named(path.name) if path.parent in own and path.name in built_in() else _in_folder(path)


@cache
def named(name: str) -> Model:
    """Return the model of a name; a built-in one goes before that of another package."""
    if name in built_in():
        module = f"{BUILT_IN}.{name}"
        return replace(_exported(f"model {name!r}", module), name=name, module=module)
    points = installed().get(name, ())
    if not points:
        hint = did_you_mean(name, names()).strip() or f"The models are {', '.join(names())}."
        if Path(name, "__init__.py").is_file():
            hint = f"Give a model's folder by its path: ./{name}."
        raise InputError(f"there is no model {name!r}. {hint}")
    if len(points) > 1:
        raise InputError(
            f"model {name!r} is offered by several packages: {', '.join(sorted(map(distribution, points)))}. "
            "Uninstall all but one of them, or give the folder of the one that you mean."
        )
    (point,) = points
    model = _exported(f"model {name!r} of {distribution(point)}", point.module, point.attr or "MODEL")
    own = model.module in sys.modules and model.module.endswith(f".{name}")  # declared there, exported elsewhere
    return replace(model, name=name, module=model.module if own else point.module)


@cache
def _in_folder(path: Path) -> Model:
    """Return the model of an absolute folder."""
    if not path.is_dir():
        raise InputError(f"{path}: there is no such folder. Give the folder of a model, or a name of `genarium list`.")
    if not (path / "__init__.py").is_file():
        raise InputError(
            f"{path} holds no model: it has no __init__.py that exports MODEL. `genarium new NAME` writes a folder to "
            "start from."
        )
    if not path.name.isidentifier():
        raise InputError(f"{path}: Python cannot import {path.name!r}. Rename the folder: letters, digits and _ only.")
    invalidate_caches()  # the folder may be younger than what Python remembers of the one above it
    module = folders.module_name(path)
    return replace(_exported(f"model {path}", module), name=path.name, module=module)


def _exported(what: str, module: str, attribute: str = "MODEL") -> Model:
    """Import a model's module, and return the declaration that it exports."""
    try:
        imported = import_module(module)
    except GenariumError:
        raise
    except Exception as error:
        if module.startswith(f"{BUILT_IN}."):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
        raise DeclarationError(f"{what} cannot be imported: {type(error).__name__}: {error}{place}.") from error
    try:
        model = attrgetter(attribute)(imported)
    except AttributeError:
        model = None
    if not isinstance(model, Model):
        raise DeclarationError(f"{what}: its package exports no {attribute} of type genarium.Model")
    return model


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
        If there is no such model, or it is something else, such as a function that makes one.
    """
    if not isinstance(model, str | Path | Model):
        what = getattr(model, "__name__", "") or type(model).__name__
        called = f" Give what it returns: {what}()." if callable(model) else ""
        raise InputError(
            f"{what} is not a model, but a {type(model).__name__}. A model is a name, a folder or a declaration."
            f"{called}"
        )
    declared = model if isinstance(model, Model) else get(model)
    if isinstance(data, xr.DataTree):
        check_model(check_form(data), declared)
        if not declared.chosen:
            declared = declared.variant(**attribute(data, "model_options"))
    return declared


def origin(model: Model) -> str:
    """Return where a model comes from, for a tree to keep.

    Returns
    -------
    str
        ``built-in``, ``distribution NAME VERSION``, ``folder PATH``, or ``object MODULE`` of a declaration that was
        given in Python (``object`` alone where no module declares it).
    """
    home = Home.of(model)
    if home.built_in:
        return "built-in"
    if folder := folders.folder_of(model.module):
        return f"folder {folder}"
    for point in installed().get(model.name, ()):
        if point.module.partition(".")[0] == model.module.partition(".")[0]:
            return f"distribution {distribution(point)}"
    return f"object {model.module}" if home.folder else "object"


def reference(model: Model) -> str:
    """Return what names a model in a call or on the command line: its name, or its folder; "" if nothing does."""
    kind, _, where = origin(model).partition(" ")
    return {"folder": where, "object": ""}.get(kind, model.name)


def distribution(point: EntryPoint) -> str:
    """Name and version of the package that an entry point is of."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def fitted_model(tree: xr.DataTree, model: str | Path | Model = "") -> Model:
    """Return the declaration, with its options, that a tree was made by.

    Parameters
    ----------
    tree : DataTree
    model : str, Path or Model
        What the user says it was made by; "" takes the tree's word. Nothing is imported from a folder that only the
        tree names.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        If the tree does not say, says otherwise, or there is no such model here.
    """
    named_ = str(check_form(tree).attrs.get("model", ""))
    if not named_:
        raise InputError(
            f"{source(tree)} does not say which model it belongs to (attribute 'model'). Make it with {verb('fit')}."
        )
    declared = resolve(model) if model else remembered(named_, str(tree.attrs.get("model_origin", "")))
    if declared.name != named_:
        raise InputError(f"{declared.name}: {source(tree)} holds a fit of {named_!r}. Name that model.")
    variant = declared.variant(**attribute(tree, "model_options"))
    check_fit(tree, variant)
    return variant


def remembered(name: str, came_from: str) -> Model:
    """Return the model that a tree names, if it is built in, installed, or was loaded in this process.

    Parameters
    ----------
    name, came_from : str
        The tree's attributes ``model`` and ``model_origin``.

    Raises
    ------
    InputError
        Saying what to install or to give.
    """
    kind, _, where = came_from.partition(" ")
    give = flag("model")
    if kind == "distribution":
        package = where.partition(" ")[0]
        points = installed().get(name, ())
        if name not in built_in() and [package] == [point.dist.name for point in points if point.dist]:
            return named(name)
        wanted = package if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", package) else "the package"
        raise InputError(
            f"{name}: the tree is of a model of the package {where!r}, which is not installed. If you trust it, "
            f"pip install {wanted}; or give the folder of the model ({give})."
        )
    if kind == "folder":
        module = folders.module_name(Path(where))
        if module in sys.modules:  # it was loaded here before, on the user's word
            return _in_folder(Path(where))
        raise InputError(
            f"{name}: the tree is of a model in the folder {where!r}, and nothing is run from there unless you say so. "
            f"Give the folder of the model ({give})."
        )
    if kind == "object":
        home = Home(name, where)
        if where and home.loaded is not None and home.folder is not None:
            return replace(_exported(f"model {name!r}", where), name=name, module=where)
        raise InputError(
            f"{name}: the tree is of a declaration that was given in Python{f' (module {where!r})' if where else ''}. "
            f"Give it, or the folder of the model ({give})."
        )
    if kind == "built-in" and name in set(installed()) - set(built_in()):
        raise InputError(
            f"{name}: the tree is of a built-in model, and this version has none of the name. A package offers one; if "
            f"it is the same, name it ({give})."
        )
    return named(name)  # never a path: get would run what lies there
