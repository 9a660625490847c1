"""What is known of the edges, from files: lists of edges, tiers, regulators."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.files import existing, text
from genarium.readers.messages import absent, listed
from genarium.readers.tables import read_sheet

from .knowledge import rules

KINDS = ("forbidden", "required")


@dataclass(frozen=True)
class RuleFiles:
    """Names of the files, or None.

    Attributes
    ----------
    known_edges : str, optional
        Table with the columns source, target and rule (forbidden or required).
    tiers : str, optional
        Table with the columns node and tier (a number): no edge leads from a later tier to an earlier one.
    regulators : str, optional
        Text file with a name a line (``#`` for comments): the only nodes that may be parents.
    """

    known_edges: str | None = None
    tiers: str | None = None
    regulators: str | None = None

    def read(self, nodes: Sequence[str], notes: list[str]) -> Array | None:
        """Return the rules for these nodes; None without files. What speaks of other nodes is left out, and noted.

        Raises
        ------
        InputError
            Naming file, row and remedy.
        """
        if self.known_edges is self.tiers is self.regulators is None:
            return None
        have = set(nodes)
        edges = self._edges(have, notes)
        return rules(
            nodes,
            forbidden=[e[:2] for e in edges if e[2] == KINDS[0]],
            required=[e[:2] for e in edges if e[2] == KINDS[1]],
            tiers=self._tiers(have, notes),
            regulators=self._regulators(have, notes),
        )

    def _edges(self, have: set[str], notes: list[str]) -> list[tuple[str, str, str]]:
        if self.known_edges is None:
            return []
        path, rows = _columns(self.known_edges, ["source", "target", "rule"])
        for number, row in enumerate(rows, 1):
            if row[2] not in KINDS:
                raise InputError(
                    f"{path}: row {number}, column 'rule': {row[2]!r} is not one of {', '.join(KINDS)}. Correct it."
                )
        kept = [(a, b, kind) for a, b, kind in rows if a in have and b in have]
        _note(notes, path, [f"{a}->{b}" for a, b, _ in rows if not (a in have and b in have)], "edges")
        return kept

    def _tiers(self, have: set[str], notes: list[str]) -> dict[str, float] | None:
        if self.tiers is None:
            return None
        path, rows = _columns(self.tiers, ["node", "tier"])
        out = {}
        for number, (node, tier) in enumerate(rows, 1):
            if node in out:
                raise InputError(f"{path}: row {number}, column 'node': {node!r} is there twice. Give it one tier.")
            try:
                out[node] = float(tier)
            except ValueError:
                out[node] = math.nan
            if not math.isfinite(out[node]):
                raise InputError(
                    f"{path}: row {number}, column 'tier': {tier!r} is not a number. Number the tiers from the first."
                )
        _note(notes, path, [node for node in out if node not in have], "nodes")
        return {node: tier for node, tier in out.items() if node in have}

    def _regulators(self, have: set[str], notes: list[str]) -> list[str] | None:
        if self.regulators is None:
            return None
        path = existing("regulators", [Path(self.regulators)])[0]
        lines = [line.split("#")[0].strip() for line in text(path).splitlines()]
        named = [line for line in lines if line]
        kept = [name for name in named if name in have]
        if not kept:
            raise InputError(f"{path}: none of {listed(named)} is a node. The nodes are {listed(sorted(have))}.")
        _note(notes, path, [name for name in named if name not in have], "regulators")
        return kept


def _columns(name: str, wanted: list[str]) -> tuple[Path, list[tuple[str, ...]]]:
    """Return the columns of these names, row by row, as they are written ("01", "NA")."""
    path = existing("rules", [Path(name)])[0]
    sheet = read_sheet(path, None)
    for column in wanted:
        if column not in sheet.names:
            raise absent(path, "column", column, sheet.names)
    written = sheet.source or sheet.frame.__getitem__
    texts = [written(column).astype(str).str.strip() for column in wanted]
    return path, list(zip(*texts, strict=True))


def _note(notes: list[str], path: Path, left: list[str], what: str) -> None:
    if left:
        notes.append(f"{path}: {len(left)} {what} that are not among the nodes were left out: {listed(left)}.")
