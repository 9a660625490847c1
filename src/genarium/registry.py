"""The registry: every folder of ``models/`` that exports ``MODEL`` is a model, under the folder's name."""

import pkgutil
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module

import genarium.models
from genarium.declaration import Claim, Model
from genarium.errors import DeclarationError, InputError


def names() -> list[str]:
    """Return the names of all models, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(genarium.models.__path__) if m.ispkg)


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
        from difflib import get_close_matches

        close = get_close_matches(name, names(), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"The models are {', '.join(names())}."
        raise InputError(f"there is no model {name!r}. {hint}")
    model = getattr(import_module(f"genarium.models.{name}"), "MODEL", None)
    if not isinstance(model, Model):
        raise DeclarationError(f"model {name!r}: its package exports no MODEL of type genarium.Model")
    return replace(model, name=name)


def methods(model: Model) -> dict[str, tuple[Claim, str]]:
    """Return the methods a model can be fitted by: name -> (claim, one sentence)."""
    table: dict[str, tuple[Claim, str]] = {name: (m.claim, m.about) for name, m in model.methods.items()}
    if model.density is not None:
        from genarium.engines import blackjax, pymc

        engines = {**pymc.METHODS, **blackjax.METHODS}
        table |= {name: told for name, told in engines.items() if name not in table}
    from genarium.engines import stan

    if stan.program(model) is not None:
        table |= {name: told for name, told in stan.METHODS.items() if name not in table}
    return {name: told for name, told in table.items() if name not in model.lacks}


@dataclass(frozen=True)
class Entry:
    """A row of the table of models."""

    name: str
    title: str
    methods: dict[str, Claim]
    certificates: dict[str, str]


def table() -> list[Entry]:
    """Return name, title, methods and the status of the certificates of every model, sorted by name."""
    from genarium.validate.certificate import statuses

    rows = [get(name) for name in names()]
    return [Entry(m.name, m.title, {n: claim for n, (claim, _) in methods(m).items()}, statuses(m.name)) for m in rows]
