"""Predictions for perturbations: proportions and scores, of unseen genes from their features alone."""

import numpy as np
import xarray as xr

from genarium.declaration import Labelled, Problem

from .posterior import concentrations
from .ranking import scores
from .story import draw_proportion


def predict(fitted: xr.DataTree, problem: Problem) -> dict[str, Labelled]:
    """Predict the perturbations of a problem from a fitted tree.

    Parameters
    ----------
    fitted : DataTree
        With the group ``posterior`` or ``point``.
    problem : Problem
        Perturbations with their features; counts where there are cells, else none (zeros).

    Returns
    -------
    dict
        ``proportion`` (perturbation, state): posterior mean of the shares; ``proportion_low`` and ``proportion_high``:
        their 90 % intervals; ``score``, ``score_sd``, ``score_low`` (perturbation): minus the expected distance from
        the target, its sd and its 5 % quantile.
    """
    rng = np.random.default_rng(0)
    a = concentrations(fitted, problem, rng)
    each = max(1, 2000 // len(a))
    q = np.concatenate([draw_proportion(rng, a) for _ in range(each)])
    found = scores(a, problem["target"], 0.05, rng)
    dims = ("perturbation", "state")
    low, high = np.quantile(q, (0.05, 0.95), axis=0)
    return {
        "proportion": (dims, (a / a.sum(-1, keepdims=True)).mean(0)),
        "proportion_low": (dims, low),
        "proportion_high": (dims, high),
        "score": (dims[:1], found["score"]),
        "score_sd": (dims[:1], found["sd"]),
        "score_low": (dims[:1], found["lower"]),
    }
