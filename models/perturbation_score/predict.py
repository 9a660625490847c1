"""Predictions for perturbations: proportions and scores, of unseen genes from their features alone."""

import numpy as np
import xarray as xr

from genarium.declaration import Labelled, Problem

from .posterior import known_shares
from .ranking import scores


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
    known = known_shares(fitted, problem, np.random.default_rng(0))
    found = scores(known, problem["target"], 0.05)
    dims = ("perturbation", "state")
    low, high = np.stack([np.quantile(q, (0.05, 0.95), axis=0) for q in known.points()], 1)
    return {
        "proportion": (dims, known.mean()),
        "proportion_low": (dims, low),
        "proportion_high": (dims, high),
        "score": (dims[:1], found["score"]),
        "score_sd": (dims[:1], found["sd"]),
        "score_low": (dims[:1], found["lower"]),
    }
