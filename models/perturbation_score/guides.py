"""Guides of a perturbation: which of their cells were not hit, and whether they agree (eqs. 48 to 51)."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import expit, logit, softmax

from genarium.data import check
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent
from genarium.registry import fitted_model

from .contrasts import drawn_shares, of_number, paired
from .distance import l1
from .hits import LEAST
from .posterior import alike
from .story import draw_proportion

FOLDS, ROUNDS, INNER = 5, 12, 15
"""Parts of the cells, whose direction is found from the others; updates of it; steps of EM in each."""

FAR = 0.9
"""Share of a perturbation's cells that one of the two starts takes for not hit: all but the farthest."""

CLEAR = 1.5
"""Sd between hit cells and control from which on shares of cells that were not hit are believed."""

PAIRED = 500
"""Draws that guides are compared at."""


def escapees(
    x: Any,
    condition: Sequence[Hashable] | Array,
    control: Hashable,
    *,
    guide: Sequence[Hashable] | Array | None = None,
    state: Sequence[Hashable] | Array | None = None,
    seed: int = 0,
) -> tuple[xr.Dataset, Array]:
    """Estimate, for every guide, the share of its cells that were not hit and are as the control's.

    Parameters
    ----------
    x : array_like, shape (N, d)
        Cells: principal components of log expression, say. There must be more control cells than columns.
    condition : sequence of N labels
    control : label
        The condition that was not perturbed.
    guide : sequence of N labels, optional
        Default: one guide a perturbation.
    state : sequence of N labels, optional
        States of the cells: what the control's cells of the same state show is taken away first (mixscape's local
        signature), so that a change of the states' shares alone is not taken for a hit.
    seed : int
        For the folds.

    Returns
    -------
    guides : Dataset
        Over ``guide``: ``perturbation``, ``cells``, ``not_hit`` with ``low`` and ``high`` (90 %), ``apart`` (sd between
        hit cells and control) and ``clear`` (whether that is enough to tell: if not, shares are not identified, and
        their intervals go from 0 to 1).
    hit : ndarray, shape (N,)
        Probability that a cell was hit; zero for the control.

    Raises
    ------
    InputError
        For lengths that differ, labels that are missing, an unknown control, or too few control cells.
    """
    try:
        X = np.array(x, dtype=float)
    except (TypeError, ValueError):
        raise InputError("perturbation_score: escapees: cells must be a table of numbers.") from None
    labels = texts("condition", condition)
    guides = labels if guide is None else texts("guide", guide)
    kinds = np.zeros(len(labels), dtype=str) if state is None else texts("state", state)
    if X.ndim != 2 or not len(X) == len(labels) == len(guides) == len(kinds):
        raise InputError(
            f"perturbation_score: escapees: there are cells of shape {X.shape}, {len(labels)} conditions, "
            f"{len(guides)} guides and {len(kinds)} states. Give one of each for every cell."
        )
    if not np.isfinite(X).all():
        raise InputError("perturbation_score: escapees: cells hold values that are missing or infinite. Correct them.")
    if str(control) not in labels:
        raise absent("perturbation_score: escapees", "control", str(control), list(dict.fromkeys(labels)))
    base = labels == str(control)
    if base.sum() <= X.shape[1] + 1:
        raise InputError(
            f"perturbation_score: escapees: {int(base.sum())} control cells are too few for {X.shape[1]} columns. Give "
            "fewer principal components."
        )
    X, means = X - X[base].mean(0), 0
    for kind in np.unique(kinds):
        at = kinds == kind
        if (at & base).sum() > 2:
            X[at] -= X[at & base].mean(0)
            means += 1
    spread = X[base].std(0)
    X = X / np.where(spread > 0, spread, 1.0)  # so that units do not matter beside the floor below
    free = int(base.sum()) - max(means, 1)
    covariance = X[base].T @ X[base] / max(free - X.shape[1] - 1, 1)  # so that its inverse is right on average
    white = X @ np.linalg.cholesky(np.linalg.inv(covariance + 1e-9 * np.trace(covariance) * np.eye(len(covariance))))
    rng, hit, rows = np.random.default_rng(seed), np.zeros(len(X)), []
    for name in dict.fromkeys(labels[~base]):
        at = np.flatnonzero(labels == name)
        own, which = np.unique(guides[at], return_inverse=True)
        hit[at], share, error, apart = mixed(white[at], which, rng)
        rows += [
            (g, name, int((which == j).sum()), share[j], *interval(share[j], error[j], apart), apart)
            for j, g in enumerate(own)
        ]
    told = [np.array(column) for column in zip(*rows, strict=True)]
    names = ("perturbation", "cells", "not_hit", "low", "high", "apart")
    out = {name: (("guide",), column) for name, column in zip(names, told[1:], strict=True)}
    return xr.Dataset({**out, "clear": (("guide",), told[6] >= CLEAR)}, coords={"guide": told[0]}), hit


def texts(name: str, values: Any) -> Array:
    """Return labels of cells as text.

    Raises
    ------
    InputError
        Naming the first that is missing.
    """
    given = np.asarray(values, dtype=object)
    missing = [i for i, one in enumerate(given) if one is None or one != one]
    if missing:
        raise InputError(
            f"perturbation_score: escapees: {name}[{missing[0]}] is missing ({len(missing)} such cells). Label it, or "
            "drop the cell."
        )
    return given.astype(str)


def interval(share: float, error: float, apart: float) -> tuple[float, float]:
    """Return the 90 % interval of a share: symmetric in its logit, up to 0 or 1 if not excluded (eq. 51)."""
    if apart < CLEAR:
        return 0.0, 1.0
    away = 1.645 * error
    low, high = expit(logit(share) + np.array([-1, 1]) * away / (share * (1 - share)))
    return 0.0 if share < away else float(low), 1.0 if 1 - share < away else float(high)


def mixed(white: Array, which: Array, rng: np.random.Generator) -> tuple[Array, Array, Array, float]:
    """Fit the mixture of one perturbation: cells (n, d), whitened by the control; the guide of each.

    Returns
    -------
    hit : ndarray, shape (n,)
    share, error : ndarray, shape (guides,)
        Of cells that were not hit, and its standard error.
    apart : float
        Sd between the two.
    """
    n, G = len(white), int(which.max()) + 1
    fold, square = rng.permutation(n) % min(FOLDS, n), (white**2).sum(1)
    far = square >= np.quantile(square, FAR)
    beyond = float(np.sqrt(max(square[far].mean() - white.shape[1], 1.0)))
    usual = settled(white, which, fold, np.ones(n), 0.3, 1.0)
    few = settled(white, which, fold, far.astype(float), FAR, beyond)
    least = (white.shape[1] + G + 1) / 2 * np.log(n)  # by BIC, the control alone is as good a model
    _, y, share, mean, sd = few if few[0] > max(usual[0], least) else usual
    hit, far = hit_given(y, share[which], mean, sd), (y - mean) / sd
    score = np.zeros((n, G + 2))  # slopes of a cell's log density by the shares, the mean and the sd
    score[np.arange(n), which] = (1 - hit) / share[which] - hit / (1 - share[which])
    score[:, G:] = (hit * np.array([far, far**2 - 1]) / sd).T
    prior = np.r_[0.5 / share**2 + 0.5 / (1 - share) ** 2, 1e-9, 4 / sd**2]  # of the half cells and the two above
    variance = np.diag(np.linalg.inv(score.T @ score + np.diag(prior)))
    return hit, share, np.sqrt(variance[:G]), mean


def settled(
    white: Array, which: Array, fold: Array, hit: Array, not_hit: float, mean: float
) -> tuple[float, Array, Array, float, float]:
    """Find direction and mixture in turns, from a start; return how much likelier it is than the control, and both."""
    G, sd = int(which.max()) + 1, 1.0
    share = np.full(G, not_hit)
    for _ in range(ROUNDS):
        y = np.zeros(len(white))
        for part in range(fold.max() + 1):  # the direction of a cell is found from the others
            rest = fold != part
            weight = hit[rest]
            towards = (weight[:, None] * white[rest]).sum(0) / max(weight.sum(), 1e-9)
            noise = white.shape[1] / max(weight.sum(), 1e-9)
            length = float(np.sqrt((towards**2).sum()))
            if length**2 > noise:  # more than chance
                y[~rest] = white[~rest] @ towards / length
        for _ in range(INNER):
            hit = hit_given(y, share[which], mean, sd)
            share = np.array([(1 - hit[which == g]).sum() + 0.5 for g in range(G)]) / (
                np.bincount(which, minlength=G) + 1
            )
            mean = max(float((hit * y).sum() / max(hit.sum(), 1e-9)), 0.0)
            sd = float(np.sqrt(((hit * (y - mean) ** 2).sum() + 2.0) / (hit.sum() + 2.0)))
    own = share[which]
    likelier = np.logaddexp(np.log(own), np.log1p(-own) + 0.5 * y**2 - 0.5 * ((y - mean) / sd) ** 2 - np.log(sd))
    return float(likelier[y != 0].sum()), y, share, mean, sd


def hit_given(y: Array, share: Array, mean: float, sd: float) -> Array:
    """Return P(hit | y) of cells (n,), with the share of each one's guide that was not hit."""
    return np.asarray(expit(0.5 * y**2 - 0.5 * ((y - mean) / sd) ** 2 - np.log(sd) - logit(share)))


def concordance(fit: xr.DataTree, seed: int = 0) -> xr.Dataset:
    """Say whether replicates (guides, wells) of each perturbation agree as far as the fit says that they should.

    Parameters
    ----------
    fit : DataTree
        With replicates: read guides as replicates (``replicate="guide"``).
    seed : int

    Returns
    -------
    Dataset
        Over the perturbations with two replicates or more: ``replicates``, ``apart`` (mean l1 distance of their
        shares), ``expected`` (by the fit, for as many cells, in the same batches) and ``p``, the probability of being
        as far apart or further.

    Raises
    ------
    InputError
        If the fit pools replicates, or no perturbation has two.
    """
    problem = check(fitted_model(fit, "perturbation_score"), fit)
    if problem.option("replicates") == "pooled":
        raise InputError(
            "perturbation_score: concordance is of replicates. Read guides or wells as such: replicate=..."
        )
    names = np.asarray(problem.coords["perturbation"]).astype(str)
    rng, q = np.random.default_rng(seed), drawn_shares(fit, problem, names)
    S, some = len(q), np.linspace(0, len(q) - 1, PAIRED).astype(int)
    scale = "replicate_spread" if problem.option("replicates") == "logistic_normal" else "rho"
    draws, q = {scale: paired(fit, scale, S)[some]}, q[some]
    count, rows = problem["count"], []
    shift = np.broadcast_to(of_number(fit, problem, count.sum(1), S), (S, len(count), count.shape[1]))[some]
    if problem.option("replicates") == "batched":
        shift = shift + paired(fit, "batch_effect", S)[some][:, problem["batch"]]
    for p, name in enumerate(names):
        at = np.flatnonzero(problem["condition"] == p)
        if len(at) < 2:
            continue
        share = softmax(np.log(np.maximum(q[:, p, None], LEAST)) + shift[:, at], axis=-1)
        u = draw_proportion(rng, np.maximum(alike(draws, q[:, p])[:, None, None] * share, 1e-300))
        again = rng.multinomial(count[at].sum(1), u)  # (S, R, K)
        seen, others = spread_of(count[at][None])[0], spread_of(again)
        rows.append((name, len(at), seen, others.mean(), (others >= seen).mean()))
    if not rows:
        raise InputError("perturbation_score: no perturbation has two replicates, so that there is nothing to compare.")
    told = [np.array(column) for column in zip(*rows, strict=True)]
    keys = ("replicates", "apart", "expected", "p")
    return xr.Dataset(
        {key: (("perturbation",), column) for key, column in zip(keys, told[1:], strict=True)},
        coords={"perturbation": told[0]},
    )


def spread_of(counts: Array) -> Array:
    """Return the mean l1 distance between the shares of all pairs of rows; counts (S, R, K), result (S,)."""
    share = counts / counts.sum(-1, keepdims=True)
    i, j = np.triu_indices(counts.shape[1], 1)
    return np.asarray(l1(share[:, i], share[:, j]).mean(1))
