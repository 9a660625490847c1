"""Models: the table of all models."""

from dataclasses import dataclass, field

from genarium import registry
from genarium.certificates import of_model
from genarium.declaration import Claim
from genarium.errors import GenariumError
from genarium.methods import methods


@dataclass(frozen=True)
class Entry:
    """A row of the table of models.

    Attributes
    ----------
    name, title : str
    methods : dict of str to str
        What each method claims.
    certificates : dict of str to str
        Their status.
    stale : dict of str to str
        Why, of each certificate that no longer speaks for what is installed.
    origin : str
        Where the model comes from; see :func:`~genarium.registry.origin`.
    error : str
        Why it cannot be used: somebody's package that does not import, say. Nothing else is told of it then.
    """

    name: str
    title: str = ""
    methods: dict[str, Claim] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    origin: str = ""
    error: str = ""


def models() -> list[Entry]:
    """Return the built-in models and those of other packages, sorted by name.

    Returns
    -------
    list of Entry
        A row for each: ``name``, ``title``, ``methods`` with their claims, ``certificates`` with their status.
    """
    hidden = [
        Entry(name, error=f"the built-in model has this name, so that the one of {', '.join(told)} is hidden.")
        for name, told in registry.hidden().items()
    ]
    return sorted([*map(_entry, registry.names()), *hidden], key=lambda row: (row.name, row.error))


def _entry(name: str) -> Entry:
    try:
        model = registry.get(name)
        claims = {method: way.claim for method, way in methods(model).items()}
    except GenariumError as error:
        return Entry(name, error=str(error))
    origin = registry.origin(model)
    made = of_model(name) if origin == "built-in" else {}
    status = {label: one.status for label, one in made.items()}
    stale = {label: one.stale for label, one in made.items() if one.stale}
    return Entry(name, model.title, claims, status, stale, origin)
