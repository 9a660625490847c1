"""Perturbations of two genes at once: effects on log shares add up, but for a shrunk interaction (eqs. 52 to 55)."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from genarium.data import check
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import absent
from genarium.registry import fitted_model

from .contrasts import drawn_shares
from .hits import LEAST
from .story import centred

LITTLE = 0.05
"""Least information of a combination's cells, as a part of the prior's."""


def combinations(
    fit: xr.DataTree, control: Hashable, *, separator: str = "+", pairs: Sequence[tuple[Any, Any]] = (), seed: int = 0
) -> xr.Dataset:
    """Compare combinations with what their parts add up to, and predict those that were not seen.

    Parameters
    ----------
    fit : DataTree
        Whose perturbations have names such as "A", "B" and "A+B". One with the control ("A+ctrl", "ctrl+A") is the
        other alone; where it has several names, the mean of their log shares is taken.
    control : label
        One of two parts ("ctrl+ctrl", "neg1+neg2") does for each of these parts, too.
    separator : str
        What stands between the names of a combination.
    pairs : sequence of pairs of labels
        Combinations that were not seen, to be predicted from their parts.
    seed : int

    Returns
    -------
    Dataset
        Over ``combination`` and ``state``: ``seen``; ``additive``, the shares that parts without interaction lead to;
        ``share`` with ``low`` and ``high`` (90 %): for seen ones those with their shrunk interaction, for others with
        what an interaction may be; ``interaction`` (on log shares, shrunk) and its ``interaction_sd``, zero and ω where
        not seen. The attribute ``interaction_scale`` is ω; ``left_out`` names the combinations that were
        not compared, as they are of more than two, or a part was not seen alone.

    Raises
    ------
    InputError
        If the control or a part is no perturbation of the fit, or there is no combination.
    """
    problem = check(fitted_model(fit, "perturbation_score"), fit)
    names = [str(name) for name in problem.coords["perturbation"]]
    control = str(control)
    if control not in names:
        raise absent("perturbation_score: combinations", "control", control, names)
    alone = singles(names, control, separator)
    joined = [
        name for name in names if separator in name and name not in {one for own in alone.values() for one in own}
    ]
    seen = [(name, *name.split(separator)) for name in joined if name.count(separator) == 1]
    seen = [row for row in seen if {row[1], row[2]} <= set(alone) - {control}]
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2:
            raise InputError(
                f"perturbation_score: combinations: {pair!r} is not a pair of perturbations. Give pairs=[('A', 'B')]."
            )
        if lacking := [str(part) for part in pair if str(part) not in alone]:
            raise absent("perturbation_score: combinations", "part", lacking[0], [*alone])
        if control in map(str, pair) or str(pair[0]) == str(pair[1]):
            raise InputError(f"perturbation_score: combinations: {pair!r} is not a combination of two perturbations.")
    have = {frozenset(row[1:]) for row in seen}
    asked = [(str(a), str(b)) for a, b in pairs]
    new = [(separator.join(pair), *pair) for pair in asked if frozenset(pair) not in have]
    if not seen and not new:
        raise InputError(
            f"perturbation_score: no perturbation is named after two others with {separator!r} between, and no pairs "
            "are given. Name the separator, or pairs."
        )
    log = centred(np.log(np.maximum(drawn_shares(fit, problem, np.asarray(names)), LEAST)))  # (S, P, K)
    at = {name: i for i, name in enumerate(names)}
    own = {name: log[:, [at[one] for one in those]].mean(1) for name, those in alone.items()}

    def added(rows: Sequence[tuple[str, ...]]) -> Array:
        parts = [own[a] + own[b] - own[control] for _, a, b in rows]
        return np.stack(parts, 1) if parts else np.empty((len(log), 0, log.shape[2]))

    sums = added(seen)
    level, spread = unshrunk(log, log[:, [at[row[0]] for row in seen]])
    gap, variance = level - sums.mean(0), spread + sums.var(0)
    omega2 = scale_of(gap, variance)
    kept, own_share = omega2 / (omega2 + variance), omega2 / (omega2 + spread)
    rng = np.random.default_rng(seed)
    K = log.shape[2]
    noise = np.sqrt(K / (K - 1)) * centred(rng.normal(size=(len(log), len(seen) + len(new), K)))
    left = np.sqrt(np.concatenate([own_share * spread, np.full((len(new), K), omega2)]))  # open of the interaction (55)
    drawn = np.concatenate([sums + own_share * (level - sums), added(new)], 1) + left * noise
    share, additive = shares_of(drawn), shares_of(np.concatenate([sums, added(new)], 1)).mean(0)
    low, high = np.quantile(share, (0.05, 0.95), axis=0)
    interaction = np.concatenate([kept * gap, np.zeros((len(new), K))])
    sd = np.concatenate([np.sqrt(kept * variance), np.full((len(new), K), np.sqrt(omega2))])
    dims = ("combination", "state")
    told = {"additive": additive, "share": share.mean(0), "low": low, "high": high, "interaction": interaction}
    return xr.Dataset(
        {
            "seen": (dims[:1], np.array([True] * len(seen) + [False] * len(new))),
            **{name: (dims, value) for name, value in told.items()},
            "interaction_sd": (dims, sd),
        },
        coords={
            "combination": np.array([row[0] for row in [*seen, *new]]),
            "state": np.asarray(problem.coords["state"]),
        },
        attrs={
            "interaction_scale": float(np.sqrt(omega2)),
            "control": control,
            "left_out": [name for name in joined if name not in {row[0] for row in seen}],
        },
    )


def singles(names: Sequence[str], control: str, separator: str) -> dict[str, list[str]]:
    """Return the names of each perturbation that is alone: its own, and those beside the control."""
    alone = {name: [name] for name in names if separator not in name or name == control}
    nothing = {control, *control.split(separator)} - (set(alone) - {control})  # "ctrl+ctrl": each of its parts is one
    for name in names:
        rest = [part for part in name.split(separator) if part not in nothing]
        if name != control and len(rest) == 1 and name.count(separator) == 1:
            alone.setdefault(rest[0], []).append(name)
    return alone


def unshrunk(log: Array, own: Array) -> tuple[Array, Array]:
    """Return what the cells of combinations alone say of their log shares, without the fit's prior (eq. 53).

    Parameters
    ----------
    log : ndarray, shape (S, P, K)
        Draws of the log shares of all perturbations: their mean and variance over all are those of the prior.
    own : ndarray, shape (S, C, K)
        Draws of those of the combinations.

    Returns
    -------
    mean, variance : ndarray, shape (C, K)
    """
    of_all, mean, variance = log.mean((0, 1)), own.mean(0), np.maximum(own.var(0), 1e-12)
    wide = np.maximum(log.var((0, 1)), 1e-12)
    spread = 1 / np.maximum(1 / variance - 1 / wide, LITTLE / wide)
    return of_all + spread * (mean - of_all) / variance, spread


def scale_of(mean: Array, variance: Array) -> float:
    """Return the variance of interactions, by likelihood, with a half-normal prior of sd .5 on its root (eq. 54)."""
    grid = np.concatenate([[1e-4], np.geomspace(0.01, 3, 200)])
    if not mean.size:
        return 0.25**2
    total = grid[:, None, None] ** 2 + variance
    log = -0.5 * (np.log(total) + mean**2 / total).sum((1, 2)) - 2 * grid**2
    return float(grid[np.argmax(log)] ** 2)


def shares_of(log: Array) -> Array:
    """Return shares from their unnormalised logarithms."""
    out = np.exp(log - log.max(-1, keepdims=True))
    return np.asarray(out / out.sum(-1, keepdims=True))
