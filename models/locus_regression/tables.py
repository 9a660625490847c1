"""Tables with a row for each channel of a set, as COSMIC and SigProfiler lay them out."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.errors import InputError
from genarium.readers.messages import listed

from .channels import SETS, set_of

HEADS = ("Type", "MutationType", "Mutation Types", "Mutation Type", "")
"""What the column of channels is called: by COSMIC, SigProfiler's tools and, without a name, others."""


def read_table(table: Any, what: str = "signatures") -> xr.DataArray:
    """Return a table, checked, with its channels in the order of their set, which their names tell.

    Parameters
    ----------
    table : DataFrame or path
        A row for each channel, named A[C>A]A and so on in any order by the index or a column ``Type``; a column for
        each signature or genome. Or a file of such a table: separated by tabs, or by commas if it is a ``.csv``; the
        channels are in a column ``Type`` or ``MutationType``, or in a first column without a name.
    what : str
        What the columns are, for messages.

    Returns
    -------
    DataArray
        (reference, channel), not negative.

    Raises
    ------
    InputError
        Naming channels that are missing, unknown or there twice, and entries that are negative or no numbers.
    """
    import pandas as pd

    where = "locus_regression: table"
    if isinstance(table, str | Path):
        where, table = f"{table}", _read(Path(table), what)
    elif not isinstance(table, pd.DataFrame):
        raise InputError(f"{where} is a {type(table).__name__}. Give a DataFrame, or the path of COSMIC's table.")
    frame = next((table.set_index(head) for head in HEADS if head in table), table)
    rows = [str(row).strip() for row in frame.index]
    kinds = set_of(rows) or SETS["SBS96"]
    every = kinds.channels
    faults = {
        "missing": [name for name in every if name not in set(rows)],
        "unknown": [name for name in dict.fromkeys(rows) if name not in set(every)],
        "there twice": [name for name in dict.fromkeys(rows) if rows.count(name) > 1],
    }
    if any(faults.values()):
        said = "; ".join(f"{len(names)} {fault} ({listed(names, 3)})" for fault, names in faults.items() if names)
        raise InputError(
            f"{where}: channels: {said}. Each of the {len(every)} of {kinds.name} is named once, such as {every[0]}."
        )
    names = [str(name) for name in frame.columns]
    if not names or len(set(names)) < len(names):
        raise InputError(f"{where}: the {what} are named {listed(names)}. Give one at least, each once.")
    order = [rows.index(name) for name in every]
    values = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)[order].T  # (reference, channel)
    bad = np.argwhere(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        row, channel = bad[0]
        raise InputError(
            f"{where}: {names[row]!r} has the entry {frame.iloc[order[channel], row]!s} for {every[channel]}, but "
            f"every entry is a number that is not negative ({len(bad)} are not). Correct it."
        )
    coords = {"reference": names, "channel": list(every)}
    return xr.DataArray(values, dims=("reference", "channel"), coords=coords, name="signature")


def _read(path: Path, what: str) -> Any:
    """Read the file of a table."""
    import pandas as pd

    from genarium.readers.files import existing, text

    content = text(existing(what, [path])[0])
    comma = Path(path.name.removesuffix(".gz")).suffix == ".csv"
    try:
        rows = pd.read_csv(
            io.StringIO(content), sep="," if comma else "\t", header=None, dtype=str, keep_default_na=False
        )
    except ValueError as error:
        raise InputError(f"{path}: this cannot be read as a table ({str(error).strip()}). Write it again.") from error
    names = [str(name).strip() for name in rows.iloc[0]]
    table = rows.iloc[1:].set_axis(names, axis=1)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: the column {twice!r} is there more than once. Give each a name of its own.")
    if "" in names and any(head in names for head in HEADS[:-1]):
        raise InputError(f"{path}: column {names.index('') + 1} has no name. Name it, or delete it.")
    if not any(head in names for head in HEADS):
        raise InputError(
            f"{path}: there is no column 'Type' with the channels, only {listed(names, 5)}. Give a table of "
            "the channels in COSMIC's or SigProfiler's layout, separated by tabs."
        )
    return table
