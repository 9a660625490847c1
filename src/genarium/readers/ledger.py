"""The ledger: what became of every row and column of the files that a reader was given."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 10
"""How many names of what was left out are kept for each reason."""


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
    """

    unit: str
    read: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

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

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON takes."""
        names = {reason: told for reason, told in self.names.items() if told}
        return {"unit": self.unit, "read": self.read, "kept": self.kept, "left_out": self.left_out, "names": names}


@dataclass
class Ledger:
    """The accounts of rows and of columns, and what else the user should know.

    Attributes
    ----------
    rows, columns : Account
    notes : list of str
        Sentences: what was taken for granted, what looks wrong though it was read.
    """

    rows: Account
    columns: Account
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON takes."""
        return {"rows": self.rows.to_dict(), "columns": self.columns.to_dict(), "notes": self.notes}


@dataclass(frozen=True)
class Told(Mapping[str, Any]):
    """What a reader returns: the values of variables, the ledger of what it read, and options of the model.

    Attributes
    ----------
    variables : mapping of str to array_like
    ledger : Ledger
    options : mapping of str to str
        Options of the model that go with the variables ("groups": "several").
    """

    variables: Mapping[str, Any]
    ledger: Ledger
    options: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)
