"""Read: from files to a checked tree, through the readers that a model declares."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import xarray as xr

from genarium.data import check
from genarium.declaration import Model
from genarium.errors import InputError
from genarium.readers.formats import guessed
from genarium.readers.ledger import Told
from genarium.registry import resolve
from genarium.remedies import flag
from genarium.settings import require_choice, split
from genarium.signatures import choices, keyword_options
from genarium.tree import data_tree, provenance, with_coordinates


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
    format : str
        One of the model's readers; where none is named, it is told from the files, if these leave no doubt.
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
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    for path in files:
        if not path.exists():
            raise InputError(f"{path}: there is no such file. Check the path.")
    if format not in declared.readers:
        format = _format(declared, format, files)  # noqa: A001
    reader = declared.readers[format]
    options = keyword_options(reader)
    own = {name: settings.pop(name) for name in list(settings) if name in options}
    for name, value in own.items():
        require_choice(f"{declared.name}: reader {format!r}", name, value, choices(reader))
    found = reader(files, **own)
    settings = {**(found.options if isinstance(found, Told) else {}), **settings}
    variant, sizes, values, _ = split(
        declared,
        settings,
        tables={f"options of the format {format}": options},
        elsewhere=lambda: {flag("format", name): keyword_options(one) for name, one in declared.readers.items()},
    )
    data = {**found, **values}
    try:
        problem = check(variant, data, sizes, partial=True)
    except InputError as error:
        raise InputError(f"{', '.join(map(str, files))}: {error.marked}") from error
    attrs = provenance(files=[path.name for path in files], format=format, reader_options=own)
    return with_coordinates(data_tree(problem, attrs=attrs), data)


def _format(model: Model, given: str, files: Sequence[Path]) -> str:
    """Return the format of files of which the user has named none, or refuse the one named."""
    if not model.readers:
        raise InputError(f"{model.name}: the model reads no files. Give its data as arrays in Python.")
    if not given:
        return guessed(model.name, model.readers, files)
    close = get_close_matches(given, model.readers, n=1)
    raise InputError(
        f"{model.name}: there is no format {given!r}.{f' Did you mean {close[0]!r}?' if close else ''} "
        f"The formats are {', '.join(model.readers)}."
    )
