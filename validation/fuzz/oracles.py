"""What an accepted table must hold: every label and value of the file, in its order, and an account of what is left."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from validation.fuzz.case import Oracle, UnlikeError
from validation.fuzz.parsers import name, number_or_text, same_number
from validation.fuzz.text import Grid


def oracle(check: Callable[[Any], None]) -> Oracle:
    """Return what says in words why a check of a tree fails."""

    def run(tree: Any) -> str | None:
        try:
            check(tree)
        except UnlikeError as unlike:
            return str(unlike)
        return None

    return run


def variable(tree: Any, name: str) -> Any:
    """Return a variable of a tree's data."""
    for group in ("observed_data", "constant_data"):
        if group in tree and name in tree[group]:
            return tree[group][name]
    raise UnlikeError(f"no variable: {name}")


def labels(tree: Any, variable_: str, dim: str) -> list[str]:
    """Return labels along a dim, as text."""
    return [str(label) for label in variable(tree, variable_).coords[dim].to_numpy().tolist()]


def ledger(tree: Any) -> dict[str, Any] | None:
    """Return the ledger, checked to add up; None where there is none."""
    if "ledger" not in tree.attrs:
        return None
    told: dict[str, Any] = json.loads(tree.attrs["ledger"])
    for kind in ("rows", "columns"):
        account = told[kind]
        if account["read"] != account["kept"] + sum(account["left_out"].values()):
            raise UnlikeError(f"ledger does not add up: {kind} {account}")
        if account["kept"] < 0 or any(count < 1 for count in account["left_out"].values()):
            raise UnlikeError(f"ledger counts below one: {kind} {account}")
    return told


def named(told: dict[str, Any] | None, kind: str) -> set[str]:
    """Return the names that a ledger says were left out."""
    return {name for names in (told or {kind: {"names": {}}})[kind]["names"].values() for name in names}


def account(tree: Any, kind: str, read: int, kept: int | None = None) -> None:
    """Check the numbers of an account, where the tree has one."""
    told = ledger(tree)
    if told is None:
        return
    if told[kind]["read"] != read:
        raise UnlikeError(f"ledger: {kind} read is {told[kind]['read']}, the file has {read}")
    if kept is not None and told[kind]["kept"] != kept:
        raise UnlikeError(f"ledger: {kind} kept is {told[kind]['kept']}, the tree has {kept}")


@dataclass
class Wide:
    """What was taken from a wide table.

    Attributes
    ----------
    columns : sequence of str
    labels : sequence of str
    values : ndarray, (rows, columns)
    chosen : sequence of str
        Columns that were asked for, in this order.
    dropped, aside : collection of str
        Columns that were to be left out, and those with another use.
    key : str or None
        As the reader's option.
    told : dict, optional
        The ledger.
    """

    columns: Sequence[str]
    labels: Sequence[str]
    values: Any
    chosen: Sequence[str] = ()
    dropped: Collection[str] = ()
    aside: Collection[str] = ()
    key: str | None = "auto"
    told: dict[str, Any] | None = field(default=None)

    def find(self, files: Sequence[Sequence[Grid]], transpose: bool = False) -> list[Grid]:
        """Return, of each file's ways to be read, the first that agrees; raise what is wrong with the best."""
        start, found = 0, []
        for candidates in files:
            best = UnlikeError("no table: none was found")
            grids = list(candidates)
            if transpose:
                grids = [_named(grid).transposed(named=named) for grid in candidates for named in (True, False)]
                grids = [grid for grid in grids if grid.rows]
            grids.sort(key=lambda grid: -len(set(grid.header) & set(self.columns)))
            for grid in grids:
                try:
                    self._agrees(grid, start)
                    found.append(grid)
                    break
                except UnlikeError as unlike:
                    best = unlike if str(best).startswith("no table: none") else best
            else:
                raise best
            start += len(found[-1].rows)
        if start != len(self.labels):
            raise UnlikeError(f"rows: the tree has {len(self.labels)}, the files {start}")
        return found

    def _agrees(self, grid: Grid, start: int) -> None:
        stop = start + len(grid.rows)
        if stop > len(self.labels):
            raise UnlikeError(f"rows: the tree has {len(self.labels)}, the files {stop} or more")
        self._rows(grid, start, stop)
        if len(set(grid.header)) < len(grid.header) and len(set(self.columns) & set(grid.header)) < len(self.columns):
            raise UnlikeError("columns: a name is used twice")
        wanted = [one for one in grid.header if one in self.columns]
        if self.chosen and list(self.columns) != list(self.chosen):
            raise UnlikeError(f"columns: chosen were {self.chosen}, got {self.columns}")
        if not self.chosen and start == 0 and wanted != list(self.columns):
            raise UnlikeError(f"columns: the tree has {self.columns}, the file {grid.header}")
        for j, column in enumerate(self.columns):
            if column not in grid.header:
                raise UnlikeError(f"columns: {column!r} is not in the file")
            for i, cell in enumerate(grid.column(column)):
                if not same_number(self.values[start + i, j], cell):
                    raise UnlikeError(
                        f"values: {cell!r} was read as {self.values[start + i, j]!r} ({column!r}, row {i})"
                    )

    def _rows(self, grid: Grid, start: int, stop: int) -> None:
        """Check that the labels are a column's, or numbers; and that no column is lost."""
        have = list(self.labels[start:stop])
        used = set()
        if self.key is not None:
            first = grid.header[0] if self.key == "auto" else self.key
            if first in grid.header and [name(cell) for cell in grid.column(first)] == have:
                used = {first}
        if not used and have != [str(i) for i in range(start, stop)]:
            raise UnlikeError(f"labels: the tree has {have[:5]}, the file {[name(row[0]) for row in grid.rows[:5]]}")
        known = {*self.columns, *used, *self.dropped, *self.aside, *named(self.told, "columns")}
        lost = [one for one in grid.header if one not in known]
        if lost and self.told is not None:
            left = sum(self.told["columns"]["left_out"].values())
            lost = lost if len(lost) > left else []
        if lost and not self.chosen and not all(_is_blank(grid, one) for one in lost):
            raise UnlikeError(f"column lost without a word: {lost[0][:40]!r}")


def _named(grid: Grid) -> Grid:
    """Return a table without columns that have neither name nor values."""
    keep = [j for j, one in enumerate(grid.header) if j == 0 or not _is_blank(grid, one)]
    return Grid([grid.header[j] for j in keep], [[row[j] for j in keep] for row in grid.rows])


def _is_blank(grid: Grid, column: str) -> bool:
    """Whether a column has neither name nor values, as a delimiter at the end of each line makes one."""
    return column.startswith("unnamed ") and all(number_or_text(cell) is None for cell in grid.column(column))


def close(have: Any, wanted: Any, what: str, rtol: float = 1e-9) -> None:
    """Check that computed numbers agree."""
    have, wanted = np.asarray(have, dtype=float), np.asarray(wanted, dtype=float)
    if have.shape != wanted.shape or not np.allclose(have, wanted, rtol=rtol, atol=1e-12, equal_nan=True):
        raise UnlikeError(f"{what}: {have.tolist()!s:.200} instead of {wanted.tolist()!s:.200}")


def equal(have: Any, wanted: Any, what: str) -> None:
    """Check that arrays are the same, element by element."""
    have, wanted = np.asarray(have), np.asarray(wanted)
    if have.shape != wanted.shape or have.tolist() != wanted.tolist():
        raise UnlikeError(f"{what}: {have.tolist()!s:.200} instead of {wanted.tolist()!s:.200}")
