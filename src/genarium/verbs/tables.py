"""Tables: a group of a tree as tables for other programs, one for each set of dims."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from genarium.errors import InputError
from genarium.writing import replacing

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""What separates the columns of a table, by the end of its file's name."""


def tables_of(data: xr.Dataset) -> "dict[str, pd.DataFrame]":
    """Spread a dataset over as few tables as its dims allow.

    Parameters
    ----------
    data : Dataset

    Returns
    -------
    dict of str to DataFrame
        Variables of one or two dims that share their first one make a wide table: one row a label of it, one column a
        variable, or a variable and label of its second dim (``probability[0]``). Variables of more dims make a long
        one: one row an element, with its labels. Single values make a table of one row. The keys are the dims of the
        rows, joined with "-"; "single" for none.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, values in data.data_vars.items():
        dims = tuple(map(str, values.dims))
        groups.setdefault(dims[:1] if len(dims) <= 2 else dims, []).append(str(name))
    return {"-".join(dims) or "single": _table(data[names], dims) for dims, names in groups.items()}


def _table(data: xr.Dataset, rows: tuple[str, ...]) -> "pd.DataFrame":
    """Return the table of variables with the same rows."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, values in data.data_vars.items():
        if values.ndim == len(rows) or not rows:
            columns[str(name)] = np.atleast_1d(values.to_numpy()).ravel()
        else:
            for i, at in enumerate(values[values.dims[1]].to_numpy()):
                columns[f"{name}[{at}]"] = values.to_numpy()[:, i]
    labels = [data[dim].to_numpy() for dim in rows]
    if not rows:
        return pd.DataFrame(columns, index=pd.Index([0], name="row"))
    index = pd.Index(labels[0], name=rows[0]) if len(rows) == 1 else pd.MultiIndex.from_product(labels, names=rows)
    return pd.DataFrame(columns, index=index)


def is_table(path: Path) -> bool:
    """Whether a file to write is a table, by its name."""
    return path.suffix.lower() in SEPARATORS


def write_tables(tables: "dict[str, pd.DataFrame]", path: Path) -> list[Path]:
    """Write tables as text, all or none.

    Parameters
    ----------
    tables : dict of str to DataFrame
    path : Path
        ``x.csv`` or ``x.tsv``: the table where there is one, else ``x.<key>.csv`` for each.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If the name says no format, or there is nothing to write.
    """
    if not is_table(path):
        raise InputError(f"{path}: tables are written as {' or '.join(SEPARATORS)}. Name it {path.stem}.csv.")
    if not tables:
        raise InputError(f"{path}: there is nothing to write in a table.")
    files = {key: path if len(tables) == 1 else path.with_suffix(f".{key}{path.suffix}") for key in tables}
    with ExitStack() as stack:
        for key, file in files.items():
            temporary = stack.enter_context(replacing(file))
            tables[key].to_csv(temporary, sep=SEPARATORS[path.suffix.lower()])
    return list(files.values())
