"""Tables of samples: where each sample's files lie, and what else is known of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .files import no_file_twice
from .messages import absent
from .sheet import Sheet
from .tables import read_sheet

SEPARATOR = ";"
"""Between the files of one sample."""

NAME, PATH = "sample", "path"
"""Columns that a table of samples must have."""

Samples = str | Path | Mapping[str, str | Path] | Sequence[str | Path]


def read_samples(samples: Samples) -> tuple[dict[str, list[Path]], dict[str, Array]]:
    """Return the files of each sample, and the other columns of the table.

    Parameters
    ----------
    samples : path, mapping or sequence of paths
        A table (CSV, TSV) with the columns ``sample`` and ``path`` (from the table's folder; several files with ";"
        between them); or paths by sample; or paths, whose names name the samples.

    Returns
    -------
    paths : dict of str to list of Path
    about : dict of str to ndarray, shape (samples,)

    Raises
    ------
    InputError
        If a column is missing, or a sample stands in it twice, or two samples are one file or folder.
    """
    files, about = _read(samples)
    no_file_twice([path for some in files.values() for path in some])
    return files, about


def _read(samples: Samples) -> tuple[dict[str, list[Path]], dict[str, Array]]:
    if isinstance(samples, Mapping):
        return {str(name): [Path(path)] for name, path in samples.items()}, {}
    if not isinstance(samples, str | Path):
        paths = [Path(path) for path in samples]
        named = {path.name if path.is_dir() else path.name.partition(".")[0]: [path] for path in paths}
        if len(named) < len(paths):
            raise InputError("two samples have one name: give a table with the columns sample and path, or a mapping.")
        return named, {}
    table = Path(samples)
    sheet = read_sheet(table, key=None)
    columns = {str(name): _as_written(sheet, name) for name in sheet.frame.columns}
    for name in (NAME, PATH):
        if name not in columns:
            raise absent(table, "column", name, columns)
    paths_of: dict[str, list[Path]] = {}
    for record, (sample, told) in enumerate(zip(columns[NAME], columns[PATH], strict=True)):
        if sample is None or told is None or sample != sample or told != told or not str(told).strip():
            raise InputError(f"{table}, {sheet.at(record)}: a sample has no name or no path. Give both.")
        if str(sample) in paths_of:
            raise InputError(f"{table}, {sheet.at(record)}: sample {sample!r} stands in it twice. Give each one row.")
        paths_of[str(sample)] = [table.parent / part.strip() for part in str(told).split(SEPARATOR)]
    return paths_of, {name: _plain(values) for name, values in columns.items() if name not in (NAME, PATH)}


def _as_written(sheet: Sheet, name: str) -> Array:
    """Return a column of names as it is written ("01", "1.10"), also one of codes with leading zeros."""
    column = sheet.frame[name]
    if sheet.source is None or column.dtype.kind not in "iufb":
        return np.asarray(column)
    text = sheet.source(name).astype(str).str.strip()
    if name in (NAME, PATH) or text.str.fullmatch(r"0\d+").any():
        return np.asarray(text.astype(object).where(column.notna(), None))
    return np.asarray(column)


def _plain(values: Array) -> Array:
    """Return a column that netCDF can hold: numbers, or text."""
    return values if values.dtype.kind in "fiub" else np.array([_text(value) for value in values])


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)
