"""Export: what a fit says, as files of the field's formats that its model declares."""

from pathlib import Path
from typing import Any

import xarray as xr

from genarium.declaration import Model
from genarium.errors import InputError
from genarium.registry import fitted_model
from genarium.settings import require_options


def export(
    tree: xr.DataTree, kind: str, path: str | Path, *, model: str | Path | Model = "", **options: Any
) -> list[Path]:
    """Write what a fit says as files of a kind that its model declares.

    Parameters
    ----------
    tree : DataTree
        From :func:`fit`.
    kind : str
        One of the model's ``exports`` (``genarium show MODEL`` lists them).
    path : str or Path
        File to write; some kinds write several, named after it.
    model : str, Path or Model
        What the tree was fitted by, where that is neither built in nor installed.
    **options
        Of the kind.

    Returns
    -------
    list of Path
        The files, each written whole or not at all.

    Raises
    ------
    InputError
        If the tree holds no fit, or the model has no such kind or option.
    """
    declared = fitted_model(tree, model)
    if "posterior" not in tree and "point" not in tree:
        raise InputError(f"{declared.name}: the tree holds no fit (groups posterior or point). Run `fit` first.")
    if kind not in declared.exports:
        have = ", ".join(declared.exports) or "none"
        raise InputError(f"{declared.name}: there is no export {kind!r}. The kinds are {have}.")
    writer = declared.exports[kind]
    require_options(f"{declared.name}: export {kind!r}", options, writer)
    return [Path(written) for written in writer(tree, Path(path), **options)]
