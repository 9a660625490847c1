"""A matrix with labelled rows and columns, from one file or several."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
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
    """

    terms: Terms
    paths: list[Path]
    rows: Array | None
    columns: list[str]
    entries: Any
    apart: dict[str, Array] = field(default_factory=dict)
    origin: Array | None = None

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

    def take(self, columns: Sequence[int] | Array) -> "Matrix":
        """Return the matrix with the columns at these positions."""
        return replace(self, columns=[self.columns[i] for i in columns], entries=self.entries[:, columns])

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
