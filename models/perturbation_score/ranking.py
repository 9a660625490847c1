"""Scores of perturbations with their uncertainty, and rankings by them (eqs. 4, 5)."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.readers.messages import absent, listed
from genarium.registry import fitted_model

from .distance import checked_target, l1, same_states
from .posterior import Shares, known_shares, of_counts
from .readers import shares_of

EQUAL = 10
"""Scores that agree to so many decimals are equal: they are computed to no more."""


def score(fit: xr.DataTree, target: Any = None, quantile: float = 0.05, control: Hashable = None) -> xr.Dataset:
    """Score the perturbations of a fit: minus the distance of their proportions from a target, larger is better.

    A row's numbers depend on its own cells and on the unknown variables only, not on its place, nor on a seed.

    Parameters
    ----------
    fit : DataTree
        From ``gn.fit("perturbation_score", ...)``, by any method.
    target : array_like, shape (K,), mapping or str, optional
        Wanted shares, in the order of the states. A mapping, Series or DataArray is aligned by its labels, which must
        be all the states; in text such as "progenitor=0.7,cycling=0.3", states that are not named have none.
        Default: the target of the fit.
    quantile : float
        Quantile of the score's posterior that ``lower`` gives: what a cautious choice looks at.
    control : label, optional
        Name of the unperturbed condition, which :func:`rank` leaves out. Default: the one that the file was read with.

    Returns
    -------
    Dataset
        Over ``perturbation``: ``score`` (minus the posterior mean of the l1 distance), ``sd``, ``lower``, ``plug_in``
        (minus the distance of the observed proportions), ``cells``, ``control`` (whether it is the control). ``score``
        is in closed form given the unknown variables, ``sd`` and ``lower`` are of 2,048 fixed points (``points.py``).

    Raises
    ------
    InputError
        If the target is no set of shares, or has other states; if ``quantile`` is not between 0 and 1; if no
        perturbation has the control's name.
    """
    if not isinstance(quantile, float | np.floating) or not 0 < quantile < 1:
        raise InputError(f"perturbation_score: quantile={quantile!r} must lie between 0 and 1.")
    model = fitted_model(fit, "perturbation_score")
    problem = check(model, fit)
    of_counts(problem)
    Q = problem["target"] if target is None else checked_target(by_label(target, problem.coords["state"]))
    same_states(Q, problem["count"])
    if Q.ndim > 1:
        raise InputError(f"perturbation_score: the target has shape {Q.shape}, but scores are of one. Give K shares.")
    names = np.asarray(problem.coords["perturbation"])
    if control is not None and str(control) not in names.astype(str):
        raise absent("perturbation_score: score", "control", str(control), names)
    if control is None:
        control = attribute(fit, "reader_options").get("control") if "reader_options" in fit.attrs else None
    found = scores(known_shares(fit, problem, np.random.default_rng(0)), Q, quantile)
    counts = totals(problem)
    total = counts.sum(1)
    found["plug_in"] = -l1(counts / np.maximum(total, 1)[:, None], Q)
    found |= {"cells": total, "control": names.astype(str) == str(control)}
    return xr.Dataset(
        {name: (("perturbation",), value) for name, value in found.items()},
        coords={"perturbation": names},
        attrs={"quantile": quantile, "target": Q.tolist()},
    )


def by_label(target: Any, states: Array) -> Any:
    """Put a target with labels (Series, DataArray, mapping, text) in the order of the states; others as they are."""
    import pandas as pd

    if isinstance(target, str):
        return shares_of(target, [str(one) for one in states]).to_numpy()
    if isinstance(target, Mapping):
        target = pd.Series(list(target.values()), index=[str(name) for name in target])
    if isinstance(target, xr.DataArray) and target.ndim == 1 and target.dims[0] in target.coords:
        target = target.to_series()
    if not isinstance(target, pd.Series):
        return target
    where, wanted, given = "perturbation_score: target", [str(one) for one in states], target.index.astype(str)
    if odd := [name for name in given if name not in wanted]:
        raise absent(where, "state", odd[0], wanted)
    if given.has_duplicates:
        raise InputError(f"{where}: the state {given[given.duplicated()][0]!r} has two shares. Keep one of them.")
    if lacking := [name for name in wanted if name not in given]:
        raise InputError(
            f"{where}: there is no share for the state {lacking[0]!r}. Give one for each of {listed(wanted)}; zero "
            "where none is wanted."
        )
    return target.set_axis(given)[wanted].to_numpy()


def totals(problem: Problem) -> Array:
    """Cells of each perturbation by state, all of its replicates together; shape (P, K)."""
    if problem.option("replicates") == "pooled":
        return problem["count"]
    out = np.zeros((problem.sizes["perturbation"], problem.sizes["state"]), dtype=np.int64)
    np.add.at(out, problem["condition"], problem["count"])
    return out


def scores(known: Shares, target: Array, quantile: float) -> dict[str, Array]:
    """Mean, sd and a quantile of minus the distance of what is known of the shares."""
    spread = np.empty((2, known.a.shape[1]))
    for p, q in enumerate(known.points()):
        minus = -l1(q, target)
        spread[:, p] = minus.std(), np.quantile(minus, quantile)
    return {"score": -known.expected_distance(target), "sd": spread[0], "lower": spread[1]}


def rank(scored: xr.Dataset) -> xr.Dataset:
    """Rank perturbations by plug-in score, posterior mean and lower quantile, side by side; 1 is best.

    Parameters
    ----------
    scored : Dataset
        From :func:`score`.

    Returns
    -------
    Dataset
        The perturbations without the control, with ``rank_plug_in``, ``rank_score`` and ``rank_lower`` beside the
        scores; equal scores share the best of their ranks. Sorted by ``rank_lower``, ties by the other two and by
        name. ``control`` among the attributes names what was left out.
    """
    from scipy.stats import rankdata

    left_out = scored["control"].to_numpy()
    out = scored.isel(perturbation=~left_out).drop_vars("control")
    out.attrs["control"] = [str(name) for name in scored["perturbation"].to_numpy()[left_out]]
    for name in ("plug_in", "score", "lower"):
        place = rankdata(-np.round(out[name].to_numpy(), EQUAL), method="min").astype(np.int64)
        out[f"rank_{name}"] = (("perturbation",), place)
    keys = [out["perturbation"].to_numpy().astype(str)]
    keys += [out[f"rank_{name}"].to_numpy() for name in ("plug_in", "score", "lower")]
    return out.isel(perturbation=np.lexsort(keys))
