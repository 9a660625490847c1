"""The ledger: what became of every row and column of the files that a reader was given."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from genarium.words import plural

MOST = 10
"""How many names of what was left out are kept for each reason."""

SHOWN = 5
"""Up to how many names are shown to a person, before there is a number in their place."""

TAKEN = "taken as"
"""How a reason begins where entries are not lost, but serve another purpose (as the names of rows, say)."""


@dataclass
class Account:
    """What became of the entries of one kind: rows, or columns.

    Attributes
    ----------
    unit : str
        What one entry is, in the singular: "cell", "gene", "mutation", "read".
    read : int
        How many the files hold.
    left_out : dict of str to int
        How many were left out, by reason; a reason reads after the unit ("asked for", "beyond the contig's end").
    names : dict of str to list of str
        The first ten of these, by reason, where they have names.
    entry : str
        What an entry is called as long as it is not known to be a unit: "column" of a table; default: the unit.
    """

    unit: str
    read: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    entry: str = ""

    @property
    def kept(self) -> int:
        """How many went into the variables."""
        return self.read - sum(self.left_out.values())

    def leave(self, reason: str, entries: int | Iterable[Any]) -> None:
        """Note that entries were left out: their number, or their names."""
        names = [] if isinstance(entries, int) else [str(name) for name in entries]
        number = entries if isinstance(entries, int) else len(names)
        if number:
            self.left_out[reason] = self.left_out.get(reason, 0) + number
            told = self.names.setdefault(reason, [])
            told += names[: MOST - len(told)]

    def told(self) -> dict[str, str]:
        """Return what was left out, as phrases by reason: "column dilution"."""
        entry, out = self.entry or self.unit, {}
        for reason, number in self.left_out.items():
            names = self.names.get(reason, [])
            noun = (entry if number == 1 else plural(entry)).replace("_", " ")
            out[reason] = f"{noun} {', '.join(names)}" if 0 < number == len(names) <= SHOWN else f"{number:,} {noun}"
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON takes."""
        names = {reason: told for reason, told in self.names.items() if told}
        counted = {"read": self.read, "kept": self.kept, "left_out": self.left_out, "names": names}
        return {"unit": self.unit, "entry": self.entry or self.unit, **counted}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Account":
        """Return the account that :meth:`to_dict` told of."""
        return cls(told["unit"], told["read"], dict(told["left_out"]), dict(told["names"]), told["entry"])


@dataclass
class Ledger:
    """The accounts of rows and of columns, and what else the user should know.

    Attributes
    ----------
    rows, columns : Account
    notes : list of str
        Sentences: what was taken for granted, what looks wrong though it was read.
    coding : dict of str to Any
        Of columns that variables hold in another form: ``levels`` of categories in their order, ``mean`` and ``sd`` of
        numbers that were standardised. JSON can hold it.
    """

    rows: Account
    columns: Account
    notes: list[str] = field(default_factory=list)
    coding: dict[str, Any] = field(default_factory=dict)

    def told(self) -> list[str]:
        """Return lines for a person: what was kept and what left out, then the notes."""
        sides = [
            f"{side.kept:,} {(side.unit if side.kept == 1 else plural(side.unit)).replace('_', ' ')}"
            for side in (self.rows, self.columns)
        ]
        both = [told for side in (self.columns, self.rows) for told in side.told().items()]
        left = [f"{what} ({reason})" for reason, what in both if not reason.startswith(TAKEN)]
        other = [f"{what} {reason}" for reason, what in both if reason.startswith(TAKEN)]
        line = "; ".join([" x ".join(sides), *([f"left out: {', '.join(left)}"] if left else []), *other])
        return [line, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON takes."""
        told = {"rows": self.rows.to_dict(), "columns": self.columns.to_dict(), "notes": self.notes}
        return {**told, "coding": self.coding} if self.coding else told

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Ledger":
        """Return the ledger that :meth:`to_dict` told of."""
        return cls(Account.from_dict(told["rows"]), Account.from_dict(told["columns"]), list(told["notes"]))


@dataclass(frozen=True)
class Told(Mapping[str, Any]):
    """What a reader returns: the values of variables, the ledger of what it read, and options of the model.

    Attributes
    ----------
    variables : mapping of str to array_like
    ledger : Ledger
    options : mapping of str to str
        Options of the model that go with the variables ("groups": "several").
    sizes : mapping of str to int
        Sizes that variables do not show, where the files leave no choice.
    again : mapping of str to Any
        Options of the reader by which other files are brought to the scale of these: they are kept in place of those
        that were given. JSON can hold them.
    """

    variables: Mapping[str, Any]
    ledger: Ledger
    options: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    again: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)
