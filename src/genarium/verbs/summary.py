"""Summary: the numbers of a fit as one table, whatever the method."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from genarium.attributes import require_fit, source
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.estimates import LEVEL
from genarium.readers.messages import absent

if TYPE_CHECKING:
    import pandas as pd

LEAST = 4
"""Draws of a chain from which on effective sample size and R-hat are told."""


def summary(tree: xr.DataTree, variables: str | Iterable[str] = (), group: str = "") -> "pd.DataFrame":
    """Return the estimates of a fit, one row a number.

    Parameters
    ----------
    tree : DataTree
        From :func:`genarium.fit`.
    variables : str or iterable of str
        Those to tell of. Default: all of the group, but the bound by iteration.
    group : str
        Default: ``posterior``, or ``point`` where there are no draws.

    Returns
    -------
    DataFrame
        Columns ``variable`` and ``label`` (the labels along its dims, a comma between them), then of draws ``mean``,
        ``sd``, ``low`` and ``high`` (ends of the central 90 % interval), ``ess_bulk``, ``ess_tail`` and ``rhat`` (NaN
        where draws do not vary, or there are fewer than four of a chain; R-hat also of one chain); of points ``value``,
        and ``se`` where the group has the standard error of a variable under its name with ``_se``. Coordinates
        beside the labels, where there are any (``ridge``), are columns after ``label``. The frame's
        ``attrs`` say model, method, claim and group.

    Raises
    ------
    InputError
        If the tree holds no fit, or no such group or variable.

    Examples
    --------
    >>> import genarium as gn
    >>> tree = gn.fit("nb_mixture", {"x": [[0, 9], [1, 8], [7, 0], [9, 1]], "phi": 0.3}, "em", component=2)
    >>> gn.summary(tree, "pi")["value"].round(2).tolist()
    [0.5, 0.5]
    """
    import pandas as pd

    model = str(tree.attrs.get("model", "genarium"))
    if not group:
        require_fit(model, tree)
        group = "posterior" if "posterior" in tree else "point"
    if group not in tree.children:
        raise absent(f"{model}: {source(tree)}", "group", group, tree.children)
    data = tree[group].to_dataset()
    if group == "posterior" and "sample_stats" in tree:  # where coordinates stand that not all variables have
        further = tree["sample_stats"].coords.items()
        data = data.assign_coords({n: c for n, c in further if n not in data.coords and set(c.dims) <= set(data.dims)})
    asked = [variables] if isinstance(variables, str) else list(variables)
    for name in asked:
        if name not in data:
            raise absent(f"{model}: group {group!r} of {source(tree)}", "variable", name, data.data_vars)
    names = asked or [str(name) for name, values in data.data_vars.items() if "iteration" not in values.dims]
    beside = set() if asked else {f"{name}_se" for name in names} & set(names)
    frames = [_rows(name, data) for name in names if name not in beside and data[name].dtype.kind in "biuf"]
    if not frames:
        raise InputError(f"{model}: group {group!r} of {source(tree)} holds no numbers. Choose another group.")
    found = pd.concat(frames, ignore_index=True)
    found.attrs = {"model": model, **{key: str(tree.attrs.get(key, "")) for key in ("method", "claim")}, "group": group}
    return found


def _rows(name: str, data: xr.Dataset) -> "pd.DataFrame":
    """Return the rows of a variable."""
    import pandas as pd

    values = data[name]
    if {"chain", "draw"} <= set(values.dims):
        values = values.transpose("chain", "draw", ...)
        dims, columns = values.dims[2:], of_draws(values.to_numpy().reshape(*values.shape[:2], -1))
    else:
        dims, columns = values.dims, {"value": values.to_numpy().ravel()}
        if f"{name}_se" in data:
            columns["se"] = data[f"{name}_se"].transpose(*dims).to_numpy().ravel()
    flat = {dim: np.ravel(i) for dim, i in zip(dims, np.indices([data.sizes[dim] for dim in dims]), strict=True)}
    beside = {
        str(one): data[one].to_numpy()[flat[data[one].dims[0]]]
        for one in values.coords
        if one not in data.dims and len(data[one].dims) == 1 and data[one].dims[0] in dims
    }
    return pd.DataFrame({"variable": name, "label": _labels(data, dims), **beside, **columns})


def of_draws(draws: Array) -> dict[str, Array]:
    """Return what draws say of each number.

    Parameters
    ----------
    draws : ndarray, shape (chain, draw, number)

    Returns
    -------
    dict of str to ndarray, shape (number,)
    """
    from arviz_stats.base import array_stats

    chains, length = draws.shape[:2]
    draws = draws.astype(float)
    low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=(0, 1))
    out = {"mean": draws.mean((0, 1)), "sd": draws.std((0, 1)), "low": low, "high": high}
    varies = np.ptp(draws, axis=(0, 1)) > 0
    for statistic in ("ess_bulk", "ess_tail", "rhat"):
        out[statistic] = np.full(draws.shape[2], np.nan)
        if length < LEAST or not varies.any() or (statistic == "rhat" and chains < 2):
            continue
        over: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
        if statistic == "rhat":
            told = array_stats.rhat(draws[..., varies], **over)
        else:
            over |= {"prob": (0.05, 0.95)} if statistic == "ess_tail" else {}
            told = array_stats.ess(draws[..., varies], method=statistic[4:], **over)
        out[statistic][varies] = np.asarray(told)
    return out


def _labels(data: xr.Dataset, dims: Sequence[Any]) -> list[str]:
    """Return what names each element, in the order of the flattened array; "" for a single one."""
    axes = [[str(label) for label in data[dim].to_numpy()] for dim in dims]
    shape = tuple(len(axis) for axis in axes)
    return [", ".join(axis[i] for axis, i in zip(axes, at, strict=True)) for at in np.ndindex(shape)]
