"""Models: the table of all models."""

from dataclasses import dataclass

from genarium import registry
from genarium.certificates import of_model
from genarium.declaration import Claim, Model
from genarium.methods import methods


@dataclass(frozen=True)
class Entry:
    """A row of the table of models."""

    name: str
    title: str
    methods: dict[str, Claim]
    certificates: dict[str, str]
    stale: dict[str, str]
    """Why, of each certificate that no longer speaks for what is installed."""


def models() -> list[Entry]:
    """Return name, title, methods and the status of the certificates of every model, sorted by name."""
    rows = [registry.get(name) for name in registry.names()]
    return [_entry(model) for model in rows]


def _entry(model: Model) -> Entry:
    made = of_model(model.name)
    claims = {name: method.claim for name, method in methods(model).items()}
    status = {label: one.status for label, one in made.items()}
    stale = {label: one.stale for label, one in made.items() if one.stale}
    return Entry(model.name, model.title, claims, status, stale)
