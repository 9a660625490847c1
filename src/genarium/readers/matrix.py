"""A matrix with labelled rows and columns, from one file or several."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.ledger import Account, Ledger
from genarium.readers.messages import absent, listed
from genarium.remedies import option


class Terms(NamedTuple):
    """What a matrix is of, such as ``Terms("cell", "gene", "counts")``; a reader's options are called after it."""

    row: str
    column: str
    entries: str


@dataclass
class Matrix:
    """Numbers with labels.

    Attributes
    ----------
    terms : Terms
    paths : list of Path
        Files that it is from.
    rows : array or None
        Names of the rows, (N,); None where they are to be numbered.
    columns : list of str
        Names of the columns, (D,).
    entries : array
        Dense or sparse, (N, D).
    apart : dict of str to array
        Numbers of each row outside the matrix, (N,) each.
    origin : array
        Position in ``paths`` of each row's file, (N,).
    columns_left : dict of str to str
        Columns of the files that are not in the matrix, and why.
    rows_left : list of (str, str)
        Rows likewise.
    notes : list of str
        What the user should know.
    """

    terms: Terms
    paths: list[Path]
    rows: Array | None
    columns: list[str]
    entries: Any
    apart: dict[str, Array] = field(default_factory=dict)
    origin: Array | None = None
    columns_left: dict[str, str] = field(default_factory=dict)
    rows_left: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def path(self, row: Any) -> Path:
        """Return the file that a row is from."""
        return self.paths[0 if self.origin is None else self.origin[row]]

    def name(self, row: Any) -> str:
        """Return the name or number of a row."""
        return str(row if self.rows is None else self.rows[row])

    def positions(self, names: Iterable[str]) -> Array:
        """Return the positions of columns, or raise an error that names the absent one."""
        at = {name: i for i, name in enumerate(self.columns)}
        names = list(names)
        for name in names:
            if name not in at:
                raise absent(self.paths[0], self.terms.column, name, self.columns)
        return np.array([at[name] for name in names], dtype=np.int64)

    def take(self, columns: Sequence[int] | Array, reason: str = "") -> "Matrix":
        """Return the matrix with the columns at these positions; ``reason``: why others are left out."""
        names = [self.columns[i] for i in columns]
        left = {name: self.columns_left.get(name, reason) for name in set(self.columns) - set(names)}
        ordered = {name: left[name] for name in self.columns if name in left}
        return replace(
            self, columns=names, entries=self.entries[:, columns], columns_left={**self.columns_left, **ordered}
        )

    def rest(self, rows: Array, reason: str) -> "Matrix":
        """Return the matrix with the rows where ``rows`` is true; ``reason``: why others are left out."""
        names = [self.name(i) for i in np.flatnonzero(~rows)]
        return replace(
            self,
            rows=None if self.rows is None else self.rows[rows],
            entries=self.entries[rows],
            apart={name: values[rows] for name, values in self.apart.items()},
            origin=None if self.origin is None else self.origin[rows],
            rows_left=[*self.rows_left, *((name, reason) for name in names)],
        )

    def ledger(self, rows: str = "row", columns: str = "column") -> Ledger:
        """Return the accounts of all rows and columns of the files; ``rows`` and ``columns``: what is in the files."""
        accounts: list[Account] = []
        for unit, entry, kept, left in (
            (self.terms.row, rows, self.entries.shape[0], self.rows_left),
            (self.terms.column, columns, len(self.columns), list(self.columns_left.items())),
        ):
            account = Account(unit, kept + len(left), entry=entry)
            for reason in dict.fromkeys(why for _, why in left):
                account.leave(reason, [name for name, why in left if why == reason])
            accounts.append(account)
        return Ledger(accounts[0], accounts[1], list(dict.fromkeys(self.notes)))

    def index(self) -> Any:
        """Return the rows' labels as an index of pandas."""
        import pandas as pd

        if self.rows is None:
            return pd.RangeIndex(self.entries.shape[0], name=self.terms.row)
        return pd.Index(self.rows, name=self.terms.row)

    def frame(self) -> Any:
        """Return a dense DataFrame."""
        import pandas as pd

        columns = pd.Index(self.columns, name=self.terms.column, dtype=object)
        return pd.DataFrame(dense(self.entries), index=self.index(), columns=columns)

    def series(self, values: Array) -> Any:
        """Return a Series of one number for each row."""
        import pandas as pd

        return pd.Series(values, index=self.index())


def dense(entries: Any) -> Array:
    """Return a dense array of a dense or sparse one."""
    return np.asarray(entries.toarray() if hasattr(entries, "toarray") else entries)


def join(parts: Sequence[Matrix]) -> Matrix:
    """Put the rows of several matrices, one from each file, below each other.

    Raises
    ------
    InputError
        If they have not the same columns (in any order), if only some name their rows, or if names repeat.
    """
    from scipy import sparse

    first = parts[0]
    (row, column, _), start = first.terms, first.paths[0]
    for part in parts[1:]:
        path = part.paths[0]
        if odd := sorted(set(part.columns) ^ set(first.columns)):
            raise InputError(
                f"{path}: it has other {column}s than {start}; in only one of them: {listed(odd)}. Files that "
                f"are read together need the same {column}s: choose common ones with {column}s."
            )
        if (part.rows is None) != (first.rows is None):
            raise InputError(
                f"{path}: only one of this file and {start} names its {row}s. Number them all with "
                f"{option(f'{row}s', None)}."
            )
    parts = [first, *(part.take(part.positions(first.columns)) for part in parts[1:])]
    kinds = {sparse.issparse(part.entries) for part in parts}
    blocks: list[Any] = [sparse.csr_array(part.entries) if len(kinds) > 1 else part.entries for part in parts]
    whole = Matrix(
        first.terms,
        [part.paths[0] for part in parts],
        _names(parts),
        first.columns,
        sparse.vstack(blocks, format="csr") if True in kinds else np.concatenate(blocks),
        {name: np.concatenate([part.apart[name] for part in parts]) for name in first.apart},
        np.repeat(np.arange(len(parts)), [part.entries.shape[0] for part in parts]),
        {name: why for part in parts for name, why in part.columns_left.items()},
        [left for part in parts for left in part.rows_left],
        [note for part in parts for note in part.notes],
    )
    index = whole.index()
    if index.has_duplicates:
        again = index[index.duplicated()][0]
        where = dict.fromkeys(str(whole.path(i)) for i in np.flatnonzero(index == again))
        raise InputError(
            f"{' and '.join(where)}: the {row} name {again!r} is used more than once. Put the sample before the names "
            f"of its {row}s, or number the {row}s of tables with {option(f'{row}s', None)}."
        )
    return whole


def _names(parts: Sequence[Matrix]) -> Array | None:
    """Return the names of all rows, text if some of them are."""
    labels = [part.rows for part in parts if part.rows is not None]
    if len({a.dtype.kind for a in labels}) > 1:
        labels = [a.astype(str).astype(object) for a in labels]
    return np.concatenate(labels) if labels else None
