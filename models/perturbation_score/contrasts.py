"""Perturbations against each other, and what a new replicate would show (eqs. 37 to 40), from the draws of a fit."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import xarray as xr
from scipy.special import softmax

from genarium.attributes import attribute
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.readers.messages import absent
from genarium.registry import fitted_model
from genarium.remedies import option
from genarium.settings import generator
from genarium.writing import replacing

from .hits import LEAST
from .posterior import draws_of, known_shares
from .predictor import SMALLEST
from .story import centred, draw_proportion

DRAWS = 2000
"""Draws of shares, at most: whole rounds of the fit's."""


def contrasts(fit: xr.DataTree, control: Hashable = "", level: float = 0.9) -> xr.Dataset:
    """Compare the shares of every perturbation with those of one of them, with intervals.

    Parameters
    ----------
    fit : DataTree
        From ``gn.fit("perturbation_score", ...)``; where replicates were read as such, intervals have their spread in.
    control : label
        The perturbation that the others are compared with. Default: the control that the file was read with.
    level : float
        Probability of the intervals.

    Returns
    -------
    Dataset
        Over the other perturbations and the states: ``log2_fold`` (posterior mean of log2 q / q_control) with
        ``fold_low`` and ``fold_high``; ``difference`` (of shares) with ``difference_low`` and ``difference_high``;
        ``lfsr``: probability that the sign of the difference is not the likelier one.

    Raises
    ------
    InputError
        If there is no such perturbation, or ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"perturbation_score: level={level!r} must lie between 0 and 1.")
    problem = check(fitted_model(fit, "perturbation_score"), fit)
    names = np.asarray(problem.coords["perturbation"]).astype(str)
    control = "" if control is None else str(control)
    if not control and "reader_options" in fit.attrs:
        control = str(attribute(fit, "reader_options").get("control") or "")
    if not control:
        raise InputError(f"perturbation_score: contrasts are told against a control. Name it: {option('control')}.")
    if control not in names:
        raise absent("perturbation_score: contrasts", "control", control, names)
    q = np.maximum(drawn_shares(fit, problem, names), LEAST)
    base = q[:, names == control]
    others = q[:, names != control]
    tails = ((1 - level) / 2, (1 + level) / 2)
    fold, difference = np.log2(others / base), others - base
    dims, out = ("perturbation", "state"), {"log2_fold": fold.mean(0), "difference": difference.mean(0)}
    out["fold_low"], out["fold_high"] = np.quantile(fold, tails, axis=0)
    out["difference_low"], out["difference_high"] = np.quantile(difference, tails, axis=0)
    out["lfsr"] = np.minimum((difference >= 0).mean(0), (difference <= 0).mean(0))
    return xr.Dataset(
        {name: (dims, value) for name, value in out.items()},
        coords={"perturbation": names[names != control], "state": np.asarray(problem.coords["state"])},
        attrs={"control": control, "level": level},
    )


def drawn_shares(fit: xr.DataTree, problem: Problem, names: Array) -> Array:
    """Return draws of the shares of all perturbations, (S, P, K); random numbers follow names of them and of states."""
    known = known_shares(fit, problem, np.random.default_rng(0))
    if known.drawn:
        return known.a
    rounds = max(1, DRAWS // len(known.a))
    a = np.repeat(known.a, rounds, axis=0)
    log = np.empty(a.shape)
    for k, state in enumerate(problem.coords["state"]):
        for p, name in enumerate(names):
            log[:, p, k] = _log_gamma(np.random.default_rng(crc32(f"{name}\n{state}".encode())), a[:, p, k])
    return np.asarray(softmax(log, axis=-1))


def _log_gamma(rng: np.random.Generator, shape: Array) -> Array:
    """Draw logs of gamma numbers, which are finite for small shapes, too."""
    return np.asarray(np.log(rng.standard_gamma(shape + 1)) + np.log(rng.uniform(size=shape.shape)) / shape)


def new_replicate(fit: xr.DataTree, cells: Any, *, batch: str = "", level: float = 0.9, seed: int = 0) -> xr.Dataset:
    """Say what a new replicate of each perturbation would show.

    Parameters
    ----------
    fit : DataTree
        Of a variant with replicates (``replicates="nested"`` or ``"batched"``).
    cells : int, or array_like of int, shape (P,)
        Cells of the new replicate.
    batch : str
        Batch of it, one of the fit's. Default: a new one, where there are batches.
    level : float
        Probability of the intervals.
    seed : int

    Returns
    -------
    Dataset
        Over perturbation and state: ``mean``, ``low`` and ``high`` of the counts.

    Raises
    ------
    InputError
        If the fit has no replicates, there is no such batch, the level is no probability, or cells are no numbers of
        cells.
    """
    if not 0 < level < 1:
        raise InputError(f"perturbation_score: level={level!r} must lie between 0 and 1.")
    counts = replicated(fit, cells, batch=batch, seed=seed)
    low, high = np.quantile(counts, ((1 - level) / 2, (1 + level) / 2), axis=0)
    problem = check(fitted_model(fit, "perturbation_score"), fit)
    told = {"mean": counts.mean(0), "low": low, "high": high}
    return xr.Dataset(
        {name: (("perturbation", "state"), value) for name, value in told.items()},
        coords={dim: np.asarray(problem.coords[dim]) for dim in ("perturbation", "state")},
        attrs={"level": level},
    )


def replicated(fit: xr.DataTree, cells: Any, *, batch: str = "", seed: int = 0) -> Array:
    """Draw the counts of a new replicate of each perturbation (eq. 40); shape (S, P, K). See :func:`new_replicate`."""
    problem = check(fitted_model(fit, "perturbation_score"), fit)
    if problem.option("replicates") == "pooled":
        raise InputError(
            "perturbation_score: the fit has one row for each perturbation, and nothing says how replicates differ. "
            "Read them as replicates, and fit with replicates='nested'."
        )
    rng = generator(seed)
    number = np.asarray(cells)
    if number.dtype.kind not in "iuf" or not (np.isfinite(number) & (number >= 1) & (number == np.rint(number))).all():
        raise InputError(f"perturbation_score: cells={cells!r} must be whole numbers, 1 or larger.")
    if number.shape not in ((), (problem.sizes["perturbation"],)):
        raise InputError(
            f"perturbation_score: cells of shape {number.shape}: give one number, or one for each of the "
            f"{problem.sizes['perturbation']} perturbations."
        )
    q = drawn_shares(fit, problem, np.asarray(problem.coords["perturbation"]).astype(str))
    S, P, _ = q.shape
    eta = np.log(np.maximum(q, LEAST)) + of_number(fit, problem, np.broadcast_to(number, P), S)
    if problem.option("replicates") == "batched":
        eta = eta + _shift(fit, problem, batch, S, rng)
    if problem.option("replicates") == "logistic_normal":
        spread = paired(fit, "replicate_spread", S)[:, None, None]
        u = softmax(eta + spread * centred(rng.normal(size=q.shape)), axis=-1)
        return rng.multinomial(np.broadcast_to(number.astype(np.int64), (S, P)), u)
    rho = paired(fit, "rho", S)[:, None, None]
    u = draw_proportion(rng, np.maximum(rho * softmax(eta, axis=-1), SMALLEST))
    return rng.multinomial(np.broadcast_to(number.astype(np.int64), (S, P)), u)


def paired(fit: xr.DataTree, name: str, S: int) -> Array:
    """Return the values of an unknown variable that go with S draws of :func:`drawn_shares`; shape (S, ...)."""
    value = draws_of(fit, [name], S)[name]
    return np.asarray(np.resize(value, (S, *value.shape[1:])))


def of_number(fit: xr.DataTree, problem: Problem, cells: Array, S: int) -> Array | float:
    """Return what numbers of cells (R,) add to log shares at each draw, (S, R, K); zero where they are not modelled."""
    if problem.option("abundance") != "joint":
        return 0.0
    relative = np.log(cells / paired(fit, "typical", S)[:, None])
    return np.asarray(relative[..., None] * paired(fit, "growth", S)[:, None])


def _shift(fit: xr.DataTree, problem: Problem, batch: str, S: int, rng: np.random.Generator) -> Array:
    """Return the effect of a batch of the fit at each draw, or draw that of a new one; shape (S, 1, K)."""
    if not batch:
        return 0.5 * centred(rng.normal(size=(S, 1, problem.sizes["state"])))
    labels = np.asarray(problem.coords["batch"]).astype(str)
    if batch not in labels:
        raise absent("perturbation_score: new_replicate", "batch", batch, labels)
    return paired(fit, "batch_effect", S)[:, labels == batch]


def write_contrasts(tree: xr.DataTree, path: Path, *, control: str = "", level: float = 0.9) -> list[Path]:
    """Write contrasts against the control (TSV): a row for each perturbation and state, with intervals.

    Parameters
    ----------
    tree : DataTree
    path : Path
    control, level
        As in :func:`contrasts`.

    Returns
    -------
    list of Path
    """
    frame = contrasts(tree, control, level).to_dataframe(dim_order=["perturbation", "state"])
    with replacing(path) as temporary:
        frame.to_csv(temporary, sep="\t", float_format="%.6g", lineterminator="\n")
    return [path]
