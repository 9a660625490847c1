"""How well processes were found: their signatures, what matches what, errors, likeness to known signatures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.remedies import verb

from .channels import by_channel, set_of_size
from .spectra import certain
from .tables import read_table

GROUPS = ("posterior", "point", "truth")
"""Groups of a tree that hold parameters; the first that is there is taken."""

DIMS = {
    "beta": ("process", "feature"),
    "lam": ("process", "context"),
    "rho": ("process", "context", "alternative"),
    "pi": ("genome", "process"),
}
"""The parameters and their dims; chain and draw may come before."""

DRAWS = ("chain", "draw")


def signatures(source: Any, *, group: str = "", opportunity: Any = "genome", keep_draws: bool = False) -> xr.DataArray:
    """Return signatures S_kca, proportional to lam_kc t_c rho_kca: the channels of a process in the whole genome.

    Parameters
    ----------
    source : DataTree, Dataset or mapping
        With ``lam`` ([chain, draw,] process, context) and ``rho`` ([chain, draw,] process, context, alternative), which
        channel sets of one alternative (DBS78, ID83) have not.
    group : {"", "posterior", "point", "truth"}
        Group of a tree; "" for the first of these that is there.
    opportunity : "genome", None or array_like of shape (context,)
        t_c: sum_l exposure_l context_opportunity_cl context_exposure_c of the data, left out, or given.
    keep_draws : bool
        Whether to keep chain and draw, for intervals; else their mean is returned.

    Returns
    -------
    DataArray
        ([chain, draw,] process, channel), adding up to one over channels, which are in the order of their set.

    Raises
    ------
    InputError
        If a parameter or the opportunities are missing, not finite or of the wrong shape.
    """
    found = _parameters(source, group)
    lam, rho = found["lam"], found["rho"]
    A = rho.shape[-1]
    if rho.shape != (*lam.shape, A) or A not in (1, 3) or (A > 1 and lam.sizes["context"] % 2):
        raise InputError(
            f"locus_regression: lam has shape {lam.shape} and rho {rho.shape}. Give ([chain, draw,] process, context) "
            "and the same with 3 alternatives, of an even number of contexts (32)."
        )
    C = lam.sizes["context"]
    t = _opportunity(source, opportunity, C)
    table = by_channel((lam.to_numpy() * t)[..., None] * rho.to_numpy())
    table /= table.sum(-1, keepdims=True)
    kinds = set_of_size(C)
    coords = {str(d): lam.coords[d].to_numpy() for d in lam.dims[:-1] if d in lam.coords}
    coords["channel"] = np.array(kinds.channels) if kinds is not None else np.arange(A * C)
    out = xr.DataArray(table, dims=(*lam.dims[:-1], "channel"), coords=coords, name="signature")
    return out if keep_draws else _mean(out)


def cosine(a: Any, b: Any) -> xr.DataArray:
    """Cosine similarity of each signature of ``a`` with each of ``b``.

    Parameters
    ----------
    a, b : DataArray, array_like, or what :func:`signatures` or :func:`read_table` takes
        (process, channel); the channels of labelled ones are brought into the same order.

    Returns
    -------
    DataArray
        (process, reference), with the labels of ``a`` and ``b``.

    Raises
    ------
    InputError
        If channels differ, or a signature is zero or not finite.
    """
    one, other = _table(a), _table(b)
    if one.sizes["channel"] != other.sizes["channel"]:
        raise InputError(
            f"locus_regression: signatures of {one.sizes['channel']} and {other.sizes['channel']} channels cannot be "
            "compared. Give the same channels."
        )
    other = _aligned(other, one, "channel")
    unit = [x.to_numpy() / np.linalg.norm(x.to_numpy(), axis=1, keepdims=True) for x in (one, other)]
    coords = {dim: x.coords[x.dims[0]].to_numpy() for dim, x in (("process", one), ("reference", other))}
    return xr.DataArray(np.clip(unit[0] @ unit[1].T, -1, 1), dims=tuple(coords), coords=coords, name="cosine")


def match(a: Any, b: Any) -> Array:
    """Match the processes of ``a`` to those of ``b``: the assignment of largest summed cosine (Hungarian method).

    Parameters
    ----------
    a, b : DataArray, array_like, or what :func:`signatures` or :func:`read_table` takes
        (process, channel); not necessarily as many processes.

    Returns
    -------
    ndarray of int, shape (K of a,)
        Position in ``b``; -1 where none is left.

    Raises
    ------
    InputError
        As :func:`cosine`.
    """
    from scipy.optimize import linear_sum_assignment

    similarity = cosine(a, b).to_numpy()
    order = np.full(len(similarity), -1)
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    order[rows] = columns
    return order


def recovery(fitted: Any, truth: Any = None, *, opportunity: Any = "genome") -> xr.Dataset:
    """Compare a fit with the truth, processes matched by their signatures.

    Parameters
    ----------
    fitted : DataTree, Dataset or mapping
        With ``posterior`` (its means are taken) or ``point``; else parameters by name, of which lam and rho are needed.
    truth : DataTree, Dataset or mapping, optional
        With the group ``truth``, as a simulation has it; else parameters by name. Default: the fitted tree.
    opportunity : "genome", None or array_like of shape (context,)
        Of the signatures of both; see :func:`signatures`.

    Returns
    -------
    Dataset
        By true process: ``matched`` (position of the fitted process, -1 for none) and ``cosine`` (NaN for none). Over
        all matched processes, where the shapes allow: ``beta_rmse`` (root mean squared error), ``pi_mae``,
        ``lam_mae``, ``rho_mae``, ``signature_mae`` (mean absolute errors).

    Raises
    ------
    InputError
        If parameters, groups or opportunities are missing.
    """
    group = next((g for g in GROUPS[:2] if _has_group(fitted, g)), GROUPS[0])
    truth = fitted if truth is None else truth
    sides = [(fitted, group), (truth, GROUPS[2])]
    found, true = ({n: _mean(v) for n, v in _parameters(source, group).items()} for source, group in sides)
    if isinstance(opportunity, str):
        owner = next((s for s, _ in sides if _has_group(s, "constant_data") or "context_opportunity" in s), fitted)
        opportunity = _opportunity(owner, opportunity, found["lam"].sizes["context"])
    shapes, wanted = (signatures(source, group=group, opportunity=opportunity) for source, group in sides)
    similarity, order = cosine(wanted, shapes).to_numpy(), match(wanted, shapes)
    rows = np.flatnonzero(order >= 0)
    out: dict[str, Any] = {
        "matched": ("process", order),
        "cosine": ("process", np.where(order >= 0, similarity[np.arange(len(order)), order], np.nan)),
    }
    found["signature"], true["signature"] = shapes, wanted
    for name in ("beta", "pi", "lam", "rho", "signature"):
        if name not in found or name not in true:
            continue
        mine, other = found[name].isel(process=order[rows]), true[name].isel(process=rows)
        if mine.shape != other.shape:
            continue
        for dim in (d for d in other.dims if d != "process"):
            mine = _aligned(mine, other, str(dim))
        error = mine.to_numpy() - other.to_numpy()
        if name == "beta":
            out["beta_rmse"] = np.sqrt((error**2).mean())
        else:
            out[f"{name}_mae"] = np.abs(error).mean()
    return xr.Dataset(out, coords={"process": wanted.coords["process"].to_numpy()})


def compare(signatures: Any, table: Any, best: int = 3) -> xr.Dataset:
    """Compare signatures with a table of known ones, such as COSMIC's.

    Parameters
    ----------
    signatures : DataArray, array_like, or what :func:`signatures` takes
        (process, channel); a plain array in COSMIC's order. COSMIC's signatures are those in a human genome: compare
        with the opportunities of the whole genome.
    table : DataFrame or path
        A row for each channel, named A[C>A]A and so on in any order by the index or a column ``Type``; a column for
        each signature. Or COSMIC's tab-separated file.
    best : int
        How many matches to list.

    Returns
    -------
    Dataset
        ``cosine`` (process, reference); ``match`` (process, rank), names of the best matches, and ``match_cosine``.

    Raises
    ------
    InputError
        Naming channels that are missing, unknown or there twice, and entries that are negative or no numbers.
    """
    similarity = cosine(signatures, read_table(table))
    order = np.argsort(-similarity.to_numpy(), axis=1, kind="stable")[:, :best]
    names = similarity.coords["reference"].to_numpy()
    out = {
        "cosine": similarity,
        "match": (("process", "rank"), names[order]),
        "match_cosine": (("process", "rank"), np.take_along_axis(similarity.to_numpy(), order, 1)),
    }
    return xr.Dataset(out, coords={"rank": np.arange(1, order.shape[1] + 1)})


def _has_group(source: Any, group: str) -> bool:
    return isinstance(source, xr.DataTree) and group in source.children


def _opportunity(source: Any, given: Any, contexts: int) -> Array:
    """Return checked opportunities of contexts, shape (C,)."""
    if given is None:
        return np.ones(contexts)
    if isinstance(given, str):
        known: Any = source["constant_data"].to_dataset() if _has_group(source, "constant_data") else source
        if given != "genome" or "context_opportunity" not in known:
            lacks = "the data give no 'context_opportunity'" if given == "genome" else "this is not known"
            raise InputError(
                f"locus_regression: opportunity={given!r}: {lacks}. Give 'genome' with such data, an array (context,), "
                "or None to leave opportunities out."
            )
        t, exposure, factor = (
            np.asarray(known.get(name, 1.0), dtype=float)
            for name in ("context_opportunity", "exposure", "context_exposure")
        )
        if t.ndim != 2 or exposure.shape not in ((), t.shape[1:]) or factor.shape not in ((), t.shape[:1]):
            raise InputError(
                f"locus_regression: context_opportunity has shape {t.shape}, exposure {exposure.shape} and "
                f"context_exposure {factor.shape}. Give (context, locus), (locus,) and (context,)."
            )
        given = (t * exposure).sum(1) * factor
    t = np.asarray(given, dtype=float)
    if t.shape != (contexts,) or not (np.isfinite(t) & (t >= 0)).all() or not t.any():
        raise InputError(
            f"locus_regression: the opportunities, of shape {t.shape}, must be {contexts} numbers that are not "
            "negative, one for each context, and not all zero."
        )
    return t


def _parameters(source: Any, group: str) -> dict[str, xr.DataArray]:
    """Return the parameters that are there, labelled and in the order of dims, and check that they are finite."""
    values: Any = source
    if isinstance(source, xr.DataTree):
        have = [name for name in GROUPS if name in source.children]
        if not have or (group and group not in have):
            raise InputError(
                f"locus_regression: the tree has no group {group or ' or '.join(GROUPS)!s} (it has "
                f"{listed(source.children)}). Make one with {verb('fit')}, or {verb('simulate')} for the truth."
            )
        values = source[group or have[0]].to_dataset()
    elif not isinstance(source, Mapping):
        raise InputError(f"locus_regression: parameters come as a DataTree or by name, not as {type(source).__name__}.")
    out = {}
    if "lam" in values and "rho" not in values:
        kinds = set_of_size(np.shape(values["lam"])[-1])
        if kinds is not None and len(kinds.alternatives) == 1:
            values = {**{name: values[name] for name in values}, "rho": certain(np.asarray(values["lam"]))}
    if lacking := [name for name in ("lam", "rho") if name not in values]:
        raise InputError(f"locus_regression: there is no {lacking[0]!r} to make signatures of. Give lam and rho.")
    for name, dims in DIMS.items():
        if name not in values:
            continue
        value = values[name]
        if not isinstance(value, xr.DataArray):
            value = np.asarray(value, dtype=float)
            lead = value.ndim - len(dims)
            if lead not in (0, 1, 2):
                raise InputError(f"locus_regression: {name} has shape {value.shape}. Give ([chain, draw,] {dims}).")
            value = xr.DataArray(value, dims=(*DRAWS[2 - lead :], *dims))
        before = [dim for dim in DRAWS if dim in value.dims]
        if set(value.dims) != {*before, *dims}:
            raise InputError(f"locus_regression: {name} has dims {value.dims}. Give {(*before, *dims)}.")
        out[name] = value.transpose(*before, *dims)
        bad = np.argwhere(~np.isfinite(out[name].to_numpy()))
        if len(bad):
            at = ", ".join(f"{dim}={i}" for dim, i in zip(out[name].dims, bad[0], strict=True))
            raise InputError(f"locus_regression: {name}[{at}] is not finite. Drop that draw, or fit again.")
    return out


def _mean(value: xr.DataArray) -> xr.DataArray:
    return value.mean([dim for dim in DRAWS if dim in value.dims])


def _table(given: Any) -> xr.DataArray:
    """Return labelled signatures (.., channel), and check that each has a direction."""
    if hasattr(given, "columns"):  # a pandas DataFrame
        x = read_table(given)
    elif isinstance(given, xr.DataArray):
        x = given
    elif isinstance(given, Mapping):  # trees and datasets are mappings
        x = signatures(given)
    else:
        values = np.atleast_2d(np.asarray(given, dtype=float))
        x = xr.DataArray(values, dims=("process", "channel")[-values.ndim :] if values.ndim == 2 else None)
    if x.ndim != 2 or "channel" not in x.dims:
        raise InputError(f"locus_regression: signatures have dims {x.dims}. Give (process, channel), draws averaged.")
    x = x.transpose(..., "channel")
    x = x.assign_coords({d: np.arange(n) for d, n in x.sizes.items() if d not in x.coords})
    size = np.linalg.norm(x.to_numpy(), axis=1)
    bad = np.flatnonzero(~(np.isfinite(size) & (size > 0)))
    if bad.size:
        label = x.coords[x.dims[0]].to_numpy()[bad[0]]
        raise InputError(f"locus_regression: signature {label} is zero or not finite, so that it has no cosine.")
    return x


def _aligned(value: xr.DataArray, like: xr.DataArray, dim: str) -> xr.DataArray:
    """Bring a dim into the order of another array's labels; where either is only numbered, positions count."""
    labels = [x.coords[dim].to_numpy().astype(str) if dim in x.coords else None for x in (value, like)]
    have, want = labels
    numbers = np.arange(value.sizes[dim]).astype(str)
    if have is None or want is None or any(np.array_equal(x, numbers) for x in (have, want)):
        return value
    position = {label: i for i, label in enumerate(have)}
    lacking = [label for label in want if label not in position]
    if lacking:
        raise InputError(
            f"locus_regression: {dim} {lacking[0]!s} is on one side only (the other has {listed(have, 3)}). Name both "
            "sides alike."
        )
    return value.isel({dim: [position[label] for label in want]})
