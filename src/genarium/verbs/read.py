"""Read: from files to a checked tree, through the readers that a model declares."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from genarium.data import check
from genarium.declaration import Model
from genarium.errors import InputError
from genarium.readers.streams import without_streams
from genarium.registry import resolve
from genarium.settings import require_choice, split
from genarium.signatures import choices, keyword_options
from genarium.tree import data_tree, provenance


def read(
    model: str | Path | Model,
    paths: str | Path | Sequence[str | Path],
    format: str = "",  # noqa: A002
    **settings: Any,
) -> xr.DataTree:
    """Read files into a tree that the other verbs take.

    Parameters
    ----------
    model : str, Path or Model
    paths : path or sequence of paths
        "-" is the standard input; a pipe that the shell has opened, ``<(...)``, is read to its end, too.
    format : str
        One of the model's readers; may be left out where the model has only one.
    **settings
        Options of the reader, sizes, options of the model, and values of known variables (``phi=0.3``).

    Returns
    -------
    DataTree
        Groups ``constant_data`` and ``observed_data``. What the files and the settings do not tell (the number of
        components, say) can be given when fitting.

    Raises
    ------
    InputError
        If a file cannot be read, or its content does not agree with the declaration.
    """
    declared = resolve(model)
    if not format and len(declared.readers) == 1:
        format = next(iter(declared.readers))  # noqa: A001
    if format not in declared.readers:
        have = ", ".join(declared.readers) or "none: give the data as arrays in Python"
        raise InputError(f"{declared.name}: there is no reader for format {format!r}. The formats are {have}.")
    reader = declared.readers[format]
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    options = keyword_options(reader)
    own = {name: settings.pop(name) for name in list(settings) if name in options}
    for name, value in own.items():
        require_choice(f"{declared.name}: reader {format!r}", name, value, choices(reader))
    variant, sizes, values, _ = split(declared, settings)
    with without_streams(files) as opened:
        data = {**reader(opened, **own), **values}
    problem = check(variant, data, sizes, partial=True)
    attrs = provenance(files=[path.name for path in files], format=format, reader_options=own)
    return data_tree(problem, attrs=attrs)
