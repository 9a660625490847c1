"""Annotate: predictions for the data of a file, and that file with them beside its data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Model
from genarium.errors import InputError
from genarium.readers.formats import guessed, taken_by
from genarium.registry import fitted_model
from genarium.remedies import option
from genarium.signatures import keyword_options
from genarium.verbs.predict import predict
from genarium.verbs.read import read

LIKE = "like"
"""What readers call the file of training samples whose scale and levels new files take."""


def is_source(fitted: xr.DataTree, path: Path, model: str | Path | Model = "") -> bool:
    """Whether a file or folder is one that a reader of the fit's model takes by its name, and no tree."""
    if path.suffix.lower() in (".nc", ".nc4", ".netcdf", ".cdf", ""):
        return path.is_dir()
    return any(_takes(reader, path) for reader in fitted_model(fitted, model).readers.values())


def _takes(reader: Callable[..., Any], path: Path) -> bool:
    """Whether a reader takes a file by its name."""
    return any(path.name.lower().endswith(end) for end in taken_by(reader).ends)


def annotate(
    fitted: xr.DataTree, source: str | Path, output: str | Path = "", *, model: str | Path | Model = "", **settings: Any
) -> xr.DataTree:
    """Predict for the data of a file, and write the file again with the predictions.

    Parameters
    ----------
    fitted : DataTree
        From :func:`fit`.
    source : str or Path
        File that one of the model's readers takes: the fit's own, if it takes files of this name. It is read with the
        options that the fit's data were read with, as far as its format has them, and the columns of the fit.
    output : str or Path
        File to write, of a kind that the model annotates (``.h5ad``); may be ``source`` itself. Empty: none.
    model : str, Path or Model
        What the tree was fitted by, where that is neither built in nor installed.
    **settings
        Options of the reader that take the place of the fit's; and what :func:`predict` takes.

    Returns
    -------
    DataTree
        With the group ``predictions``.

    Raises
    ------
    InputError
        If the model does not annotate such files, data and fit do not agree, or the reader scales data by those of the
        fit, and their file is not named.
    """
    declared, path, out = fitted_model(fitted, model), Path(source), Path(output) if output else None
    if out is not None and out.suffix.lower() not in declared.annotate:
        kinds = ", ".join(declared.annotate) or "none"
        raise InputError(f"{out}: {declared.name} writes predictions beside data in files of the kinds {kinds}.")
    if not path.exists():
        raise InputError(f"{path}: there is no such file. Check the path.")
    kind = str(fitted.attrs.get("format", ""))
    if kind not in declared.readers or not _takes(declared.readers[kind], path):  # else as the fit's data
        kind = guessed(declared.name, declared.readers, [path])
    reader = declared.readers[kind]
    taken = keyword_options(reader)
    before = attribute(fitted, "reader_options") if "reader_options" in fitted.attrs else {}
    options = {name: value for name, value in before.items() if name in taken and value is not None}
    for dim, labels in _labels(fitted, declared).items():
        if f"{dim}s" in taken:
            options[f"{dim}s"] = labels
    options |= {name: settings.pop(name) for name in list(settings) if name in taken}
    if LIKE in taken and LIKE not in options:  # else the file would be scaled by itself, not as the fit's data were
        first = next(iter(attribute(fitted, "files")), "<file>") if "files" in fitted.attrs else "<file>"
        raise InputError(
            f"{path}: it has to be brought to the scale of the fit's data. Name the file that these were read from, "
            f"with {option(LIKE, first)}."
        )
    data = read(declared, path, kind, **options)
    predicted = predict(fitted, data, model=model, **settings)
    if out is not None:
        declared.annotate[out.suffix.lower()](fitted, predicted, path, out)
    return predicted


def _labels(fitted: xr.DataTree, model: Model) -> dict[str, list[str]]:
    """Return the names along the dims of the fit's estimates, but for those of the model's unit."""
    estimates = fitted["posterior" if "posterior" in fitted else "point"].to_dataset()
    dims = [dim for dim in model.sizes if dim in estimates.coords and dim not in (model.unit, model.exchangeable)]
    return {dim: [str(v) for v in estimates[dim].to_numpy()] for dim in dims if estimates[dim].dtype.kind in "OUST"}
