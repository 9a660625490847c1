"""Scores of perturbations with their uncertainty, and rankings by them (eqs. 4, 5)."""

from typing import Any

import numpy as np
import xarray as xr

from genarium.data import check
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent, listed
from genarium.registry import fitted_model

from .distance import checked_target, expected_l1, l1, same_states
from .posterior import concentrations
from .story import draw_proportion


def score(fit: xr.DataTree, target: Any = None, quantile: float = 0.05, seed: int = 0) -> xr.Dataset:
    """Score the perturbations of a fit: minus the distance of their proportions from a target, larger is better.

    Parameters
    ----------
    fit : DataTree
        From ``gn.fit("perturbation_score", ...)``, by any method.
    target : array_like, shape (K,), optional
        Wanted shares, in the order of the states; a Series or DataArray is aligned by its labels, which must be all
        the states. Default: the target of the fit.
    quantile : float
        Quantile of the score's posterior that ``lower`` gives: what a cautious choice looks at.
    seed : int
        For the draws of proportions, which ``sd`` and ``lower`` are made of; ``score`` is in closed form given the
        unknown variables.

    Returns
    -------
    Dataset
        Over ``perturbation``: ``score`` (minus the posterior mean of the l1 distance), ``sd``, ``lower``, ``plug_in``
        (minus the distance of the observed proportions), ``cells``.

    Raises
    ------
    InputError
        If the target is no set of shares, or has other states; if ``quantile`` is not between 0 and 1.
    """
    if not 0 < quantile < 1:
        raise InputError(f"perturbation_score: quantile={quantile!r} must lie between 0 and 1.")
    model = fitted_model(fit, "perturbation_score")
    problem = check(model, fit)
    Q = problem["target"] if target is None else checked_target(by_label(target, problem.coords["state"]))
    same_states(Q, problem["count"])
    rng = np.random.default_rng(seed)
    found = scores(concentrations(fit, problem, rng), Q, quantile, rng)
    counts = problem["count"]
    total = counts.sum(1)
    found["plug_in"] = -l1(counts / np.maximum(total, 1)[:, None], Q)
    return xr.Dataset(
        {**{name: (("perturbation",), value) for name, value in found.items()}, "cells": (("perturbation",), total)},
        coords={"perturbation": problem.coords["perturbation"]},
        attrs={"quantile": quantile, "target": Q.tolist()},
    )


def by_label(target: Any, states: Array) -> Any:
    """Put a target that has labels (Series, DataArray) into the order of the states; return any other as it is."""
    import pandas as pd

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


def scores(a: Array, target: Array, quantile: float, rng: np.random.Generator) -> dict[str, Array]:
    """Mean, sd and a quantile of minus the distance, from concentrations (S, P, K); a few proportions a draw."""
    each = max(1, 2000 // len(a))
    drawn = np.concatenate([-l1(draw_proportion(rng, a), target) for _ in range(each)])  # (each S, P)
    return {
        "score": -expected_l1(target, a).mean(0),
        "sd": drawn.std(0),
        "lower": np.quantile(drawn, quantile, axis=0),
    }


def rank(scored: xr.Dataset) -> xr.Dataset:
    """Rank perturbations by plug-in score, posterior mean and lower quantile, side by side; 1 is best.

    Parameters
    ----------
    scored : Dataset
        From :func:`score`.

    Returns
    -------
    Dataset
        With ``rank_plug_in``, ``rank_score`` and ``rank_lower`` beside the scores, sorted by ``rank_lower``.
    """
    out = scored.copy()
    for name in ("plug_in", "score", "lower"):
        order = np.argsort(-scored[name].to_numpy(), kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(1, len(order) + 1)
        out[f"rank_{name}"] = (("perturbation",), place)
    return out.isel(perturbation=np.argsort(out["rank_lower"].to_numpy(), kind="stable"))
