"""Predictions for perturbations: proportions and scores, of unseen genes from their features alone."""

import numpy as np
import xarray as xr

from genarium.data import check
from genarium.declaration import Labelled, Problem
from genarium.registry import fitted_model

from .likelihood import dirichlet_multinomial, negative_binomial
from .posterior import Shares, by_weight, draws_of, known_shares
from .predictor import SMALLEST
from .ranking import scores


def predict(fitted: xr.DataTree, problem: Problem) -> dict[str, Labelled]:
    """Predict the perturbations of a problem from a fitted tree.

    Parameters
    ----------
    fitted : DataTree
        With the group ``posterior`` or ``point``.
    problem : Problem
        Perturbations with their features; counts where there are cells, else none (zeros). Draws are weighed by how
        well they explain the cells of a perturbation that was not fitted.

    Returns
    -------
    dict
        ``proportion`` (perturbation, state): posterior mean of the shares; ``proportion_low`` and ``proportion_high``:
        their 90 % intervals; ``score``, ``score_sd``, ``score_low`` (perturbation): minus the expected distance from
        the target, its sd and its 5 % quantile.
    """
    known = resampled(fitted, problem, known_shares(fitted, problem, np.random.default_rng(0)))
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


def resampled(fitted: xr.DataTree, problem: Problem, known: Shares) -> Shares:
    """Resample the draws of each perturbation with cells that the fit has not seen, by how likely they make these."""
    count = problem["count"]
    if known.drawn or len(known.a) == 1 or not count.any():
        return known
    old = check(fitted_model(fitted, "perturbation_score"), fitted)
    seen = {(str(name), *row) for name, row in zip(old.coords["perturbation"], old["count"].tolist(), strict=True)}
    joint = problem.option("abundance") == "joint"
    draws = draws_of(fitted, ["typical", "evenness"] if joint else [])
    a = known.a.copy()
    for p, name in enumerate(problem.coords["perturbation"]):
        if not count[p].any() or (str(name), *count[p].tolist()) in seen:
            continue
        log = dirichlet_multinomial(count[p], np.maximum(known.a[:, p] - count[p], SMALLEST))
        if joint:
            log = log + negative_binomial(count[p].sum() - 1, draws["typical"], draws["evenness"])
        a[:, p] = a[by_weight(log), p]
    return Shares(a)
