"""Models: the table of all models."""

from dataclasses import dataclass

from genarium import registry
from genarium.certificates import statuses
from genarium.declaration import Claim
from genarium.methods import methods


@dataclass(frozen=True)
class Entry:
    """A row of the table of models."""

    name: str
    title: str
    methods: dict[str, Claim]
    certificates: dict[str, str]


def models() -> list[Entry]:
    """Return name, title, methods and the status of the certificates of every model, sorted by name."""
    rows = [registry.get(name) for name in registry.names()]
    return [
        Entry(m.name, m.title, {name: method.claim for name, method in methods(m).items()}, statuses(m.name))
        for m in rows
    ]
