"""Given signatures, as preferences for contexts and for the bases there; equation numbers refer to the card.

A signature s tells how often each channel mutates in a genome of opportunities T: s_ca is proportional to
lam_c T_c rho_ca. With T known, s determines lam and rho.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.settings import only_with

from .channels import SETS, by_context, set_of
from .reduced import without
from .tables import read_table

LEAST = 1e-10
"""Share of a signature that each channel has at least: a mutation that no process makes would have probability zero."""

GIVEN = ("signatures", "signature_opportunity", "context_opportunity", "context_exposure", "exposure")
"""What the given preferences follow from."""

FREE = ("lam_free", "rho_free")

CONCENTRATIONS = ("lam_concentration", "rho_concentration")
"""Of the Dirichlet priors of what is free."""


@dataclass(frozen=True)
class Held:
    """Preferences of the processes whose signature is given, which come first; lam (R, C), rho (R, C, A)."""

    lam: Array
    rho: Array

    @property
    def log_spectrum(self) -> Array:
        """Log lam_kc rho_kca; shape (R, C, A)."""
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
    rho : ndarray, shape (R, C, A)
    """
    T = signature_opportunity
    if not T.any():
        T = context_exposure * (context_opportunity @ exposure)
    T = np.where(T > 0, T, T.max())  # what occurs nowhere has no mutations either
    share = np.maximum(signatures / signatures.sum(1, keepdims=True), LEAST)
    each = by_context(share, len(T))
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
    free = given[FREE[0]]
    return np.concatenate([lam, free], -2), np.concatenate([rho, given.get(FREE[1], certain(free))], -3)


def certain(lam: Array) -> Array:
    """Return rho where each context has one alternative, which happens for sure; shape (..., K, C, 1)."""
    return np.ones((*lam.shape, 1))


def with_given(
    function: Callable[..., Any], spectra: str, single: bool = False, asks: Sequence[str] = ()
) -> Callable[..., Any]:
    """Return a function of lam and rho as one of what they follow from in a variant.

    Parameters
    ----------
    function : callable
    spectra : {"free", "given", "mixed"}
    single : bool
        Whether each context has one alternative only, so that there is no rho.
    asks : sequence of str
        What it asks for besides: "pi", whose draws say how many there are.
    """
    if spectra == "free":
        return without(function, ("lam",), rho=lambda given: certain(given["lam"])) if single else function
    values = {"lam": lambda given: whole(given)[0], "rho": lambda given: whole(given)[1]}
    own = inspect.signature(function).parameters
    return without(
        function, (*_asks(spectra, single), *asks), **{name: value for name, value in values.items() if name in own}
    )


def derive(name: str, spectra: str, single: bool = False) -> Callable[..., Array]:
    """Return lam or rho as a function of what it follows from, at a point or at draws of pi."""

    def pick(pi: Array, value: Array) -> Array:
        return np.array(value)

    return without(pick, _asks(spectra, single), value=lambda given: whole(given)[("lam", "rho").index(name)])


def _asks(spectra: str, single: bool) -> tuple[str, ...]:
    """Return what lam and rho follow from in a variant."""
    return GIVEN if spectra == "given" else (*GIVEN, *FREE[: 1 if single else 2])


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
        With ``signatures`` as a DataArray, ``spectra``, ``free`` and the number of those given.

    Raises
    ------
    InputError
        If the table is none, of other channels, or there are fewer processes than signatures.
    """
    out = dict(settings)
    columns = out.pop("columns", None)
    only_with("locus_regression", "signatures=", "signatures" in out, columns=columns)
    if "signatures" not in out:
        return out
    table = chosen(_table(out["signatures"]), columns)
    own = set_of(table.coords["channel"].to_numpy())
    if own is not None and own.name != next(iter(SETS)):
        out.setdefault("channels", own.name)
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
    dim = "reference" if out["spectra"] == "mixed" else "process"
    return {**out, "signatures": table.rename(reference=dim), dim: R}


def chosen(table: xr.DataArray, columns: Any) -> xr.DataArray:
    """Return the named signatures of a table, in the order of the names."""
    if columns is None:
        return table
    names = [name.strip() for name in columns.split(",")] if isinstance(columns, str) else [str(n) for n in columns]
    have = table.coords["reference"].to_numpy().astype(str).tolist()
    if lacking := [name for name in names if name not in have]:
        raise InputError(f"locus_regression: the table has no signature {lacking[0]!r} (it has {listed(have, 8)}).")
    return table.isel(reference=[have.index(name) for name in names])


def _ordered(table: xr.DataArray) -> xr.DataArray:
    """Return signatures (reference, channel) in the order of their channels, which the coordinate tells, if any."""
    if "channel" not in table.coords:
        return table
    if table["channel"].dtype.kind in "iu":  # positions
        return table.sortby("channel").drop_vars("channel")
    import pandas as pd

    names = table.coords["reference"].to_numpy() if "reference" in table.coords else range(table.sizes["reference"])
    found = read_table(pd.DataFrame(table.to_numpy().T, table["channel"].to_numpy(), list(names)))
    return found if "reference" in table.coords else found.drop_vars("reference")


def _table(given: Any) -> xr.DataArray:
    """Return signatures (reference, channel) that each have a positive sum."""
    if isinstance(given, xr.DataArray):
        other = [dim for dim in given.dims if dim != "channel"]
        if "channel" not in given.dims or len(other) != 1:
            raise InputError(f"locus_regression: signatures have dims {given.dims}. Give (process, channel).")
        table = _ordered(given.transpose(*other, "channel").rename({other[0]: "reference"}))
    elif hasattr(given, "columns") or isinstance(given, str) or hasattr(given, "__fspath__"):
        table = read_table(given)
    else:
        values = np.asarray(given, dtype=float)
        if values.ndim == 1:
            values = values[:, None]
        size = next((len(one.channels) for one in SETS.values() if len(one.channels) in values.shape), 0)
        if values.ndim != 2 or not size:
            raise InputError(
                f"locus_regression: signatures have shape {values.shape}. Give a table of 96 rows, in COSMIC's order "
                f"of channels (or those of {', '.join(list(SETS)[1:])}), with a column for each signature."
            )
        values = values.T if len(values) == size else values
        table = xr.DataArray(values, dims=("reference", "channel"))
    size = table.sizes["channel"]
    own = next((one for one in SETS.values() if len(one.channels) == size), None)
    if own is None:
        known = ", ".join(str(len(one.channels)) for one in SETS.values())
        raise InputError(f"locus_regression: signatures have {size} channels. Channel sets have {known}.")
    table = table.assign_coords(channel=list(own.channels)).rename("signatures")
    if "reference" not in table.coords:
        table = table.assign_coords(reference=[f"given {k}" for k in range(table.sizes["reference"])])
    bare = np.flatnonzero(~(table.to_numpy().sum(1) > 0))
    if bare.size:
        raise InputError(f"locus_regression: signature {table.coords['reference'].to_numpy()[bare[0]]} is all zero.")
    return table
