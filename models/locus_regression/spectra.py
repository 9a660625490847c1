"""Given signatures, as preferences for contexts and for the bases there; equation numbers refer to the card.

A signature s tells how often each channel mutates in a genome of opportunities T: s_ca is proportional to
lam_c T_c rho_ca. With T known, s determines lam and rho.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.settings import only_with

from .channels import CHANNELS
from .reduced import without
from .tables import read_table

LEAST = 1e-10
"""Share of a signature that each channel has at least: a mutation that no process makes would have probability zero."""

GIVEN = ("signatures", "signature_opportunity", "context_opportunity", "context_exposure", "exposure")
"""What the given preferences follow from."""

FREE = ("lam_free", "rho_free")


@dataclass(frozen=True)
class Held:
    """Preferences of the processes whose signature is given, which come first; lam (R, C), rho (R, C, 3)."""

    lam: Array
    rho: Array

    @property
    def log_spectrum(self) -> Array:
        """Log lam_kc rho_kca; shape (R, C, 3)."""
        return np.asarray(np.log(self.lam[..., None] * self.rho))


def held(problem: Problem) -> Held | None:
    """Return the given preferences of a problem, or None where none are."""
    if "signatures" not in problem.arrays:
        return None
    return Held(*problem.call(decomposed))


def decomposed(
    signatures: Array,
    signature_opportunity: Array,
    context_opportunity: Array,
    context_exposure: Array,
    exposure: Array,
) -> tuple[Array, Array]:
    """Return lam and rho of signatures (eqs. 34 and 35).

    Parameters
    ----------
    signatures : ndarray, shape (R, M)
    signature_opportunity : ndarray, shape (C,)
        T: contexts of the genome that the signatures were made in; zero everywhere: those of the data.
    context_opportunity : ndarray, shape (C, L)
    context_exposure : ndarray, shape (C,)
    exposure : ndarray, shape (L,)

    Returns
    -------
    lam : ndarray, shape (R, C)
    rho : ndarray, shape (R, C, 3)
    """
    T = signature_opportunity
    if not T.any():
        T = context_exposure * (context_opportunity @ exposure)
    T = np.where(T > 0, T, T.max())  # what occurs nowhere has no mutations either
    share = np.maximum(signatures / signatures.sum(1, keepdims=True), LEAST)
    C = len(T)
    each = share.reshape(-1, 2, 3, C // 2).swapaxes(2, 3).reshape(-1, C, 3)
    of_context = each.sum(-1)
    lam = of_context / T
    return lam / lam.sum(1, keepdims=True), each / of_context[..., None]


def whole(given: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return lam and rho of all processes, given ones first, with the leading dims of ``pi`` or ``lam_free``."""
    lam, rho = decomposed(**{name: given[name] for name in GIVEN})
    lead = given["pi"].shape[:-2] if "pi" in given else ()
    lam, rho = (np.broadcast_to(x, (*lead, *x.shape)) for x in (lam, rho))
    if FREE[0] not in given:
        return lam, rho
    return np.concatenate([lam, given["lam_free"]], -2), np.concatenate([rho, given["rho_free"]], -3)


def with_given(function: Callable[..., Any], spectra: str) -> Callable[..., Any]:
    """Return a function of lam and rho as one of what they follow from in a variant."""
    if spectra == "free":
        return function
    asks = GIVEN if spectra == "given" else (*GIVEN, *FREE)
    values = {"lam": lambda given: whole(given)[0], "rho": lambda given: whole(given)[1]}
    return without(function, asks, **values)


def derive(name: str, spectra: str) -> Callable[..., Array]:
    """Return lam or rho as a function of what it follows from, at a point or at draws of pi."""

    def pick(pi: Array, value: Array) -> Array:
        return np.array(value)

    asks = GIVEN if spectra == "given" else (*GIVEN, *FREE)
    return without(pick, asks, value=lambda given: whole(given)[("lam", "rho").index(name)])


def prepare(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Take signatures= (a table in COSMIC's layout), of it columns=..., and set spectra and free by process=.

    Parameters
    ----------
    settings : mapping
        ``signatures``: a table in COSMIC's layout (path, DataFrame or array of 96 rows), or a DataArray with a dim
        ``channel``; ``columns``: names of those to take; ``process``: of all processes, those without a signature
        being free.

    Returns
    -------
    dict
        With ``signatures`` as a DataArray, and ``spectra`` and ``free``.

    Raises
    ------
    InputError
        If the table is none, or there are fewer processes than signatures.
    """
    out = dict(settings)
    columns = out.pop("columns", None)
    only_with("locus_regression", "signatures=", "signatures" in out, columns=columns)
    if "signatures" not in out:
        return out
    table = chosen(_table(out["signatures"]), columns)
    R = table.sizes["reference"]
    process = out.get("process")
    if out.get("spectra") == "free":
        raise InputError("locus_regression: spectra='free' has no signatures given. Leave it out.")
    if isinstance(process, int | np.integer) and not isinstance(process, bool):
        if process < R:
            raise InputError(
                f"locus_regression: process={process} is less than the {R} signatures given. Choose some by "
                "columns=..., or leave process out; it counts the given processes and those that are free."
            )
        out.pop("process")
        if process > R:
            out.setdefault("free", int(process - R))
    out.setdefault("spectra", "mixed" if "free" in out else "given")
    out["signatures"] = table if out["spectra"] == "mixed" else table.rename(reference="process")
    return out


def chosen(table: xr.DataArray, columns: Any) -> xr.DataArray:
    """Return the named signatures of a table, in the order of the names."""
    if columns is None:
        return table
    names = [name.strip() for name in columns.split(",")] if isinstance(columns, str) else [str(n) for n in columns]
    have = table.coords["reference"].to_numpy().astype(str).tolist()
    if lacking := [name for name in names if name not in have]:
        raise InputError(f"locus_regression: the table has no signature {lacking[0]!r} (it has {listed(have, 8)}).")
    return table.isel(reference=[have.index(name) for name in names])


def _table(given: Any) -> xr.DataArray:
    """Return signatures (reference, channel) that each have a positive sum."""
    if isinstance(given, xr.DataArray):
        other = [dim for dim in given.dims if dim != "channel"]
        if "channel" not in given.dims or len(other) != 1:
            raise InputError(f"locus_regression: signatures have dims {given.dims}. Give (process, channel).")
        table = given.transpose(*other, "channel").rename({other[0]: "reference"}).drop_vars("channel", errors="ignore")
    elif hasattr(given, "columns") or isinstance(given, str) or hasattr(given, "__fspath__"):
        table = read_table(given)
    else:
        values = np.asarray(given, dtype=float)
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2 or len(CHANNELS) not in values.shape:
            raise InputError(
                f"locus_regression: signatures have shape {values.shape}. Give a table of {len(CHANNELS)} rows, in "
                "COSMIC's order of channels, with a column for each signature."
            )
        values = values.T if len(values) == len(CHANNELS) else values
        table = xr.DataArray(values, dims=("reference", "channel"))
    if table.sizes["channel"] != len(CHANNELS):
        raise InputError(f"locus_regression: signatures have {table.sizes['channel']} channels, not {len(CHANNELS)}.")
    table = table.assign_coords(channel=list(CHANNELS)).rename("signatures")
    if "reference" not in table.coords:
        table = table.assign_coords(reference=[f"given {k}" for k in range(table.sizes["reference"])])
    bare = np.flatnonzero(~(table.to_numpy().sum(1) > 0))
    if bare.size:
        raise InputError(f"locus_regression: signature {table.coords['reference'].to_numpy()[bare[0]]} is all zero.")
    return table
