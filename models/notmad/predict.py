"""Networks for contexts, seen or not, from a fit; edge probabilities and intervals from draws."""

import warnings
from collections import defaultdict

import numpy as np
import xarray as xr
from scipy.special import softmax

from genarium.declaration import Array, Labelled, Problem
from genarium.remedies import option
from genarium.settings import only_with
from genarium.tree import arrays, stacked

from . import links
from .encoder import logits, names
from .graphs import archetypes, edge_frequency, is_acyclic, penalty
from .knowledge import along
from .objective import scaled_contexts
from .projection import project_to_dag
from .story import mixed

NETWORK = ("sample", "source", "target")
DIMS = {
    **dict.fromkeys(("edge_probability", "low", "high", "network"), NETWORK),
    "archetype_weight": ("sample", "archetype"),
    "h": ("sample",),
    "acyclic": ("sample",),
}
"""Dims of what is predicted."""

BLOCK = 2**22
"""Entries of the networks of draws that are made at a time, about."""


def predict(
    fitted: xr.DataTree,
    problem: Problem,
    *,
    project: bool = True,
    threshold: float | None = None,
    smallest: float = 0.1,
    probability: float = 0.9,
    draws: int | None = None,
) -> dict[str, Labelled]:
    """Predict the networks of samples from their contexts.

    Parameters
    ----------
    fitted : DataTree
        With the group ``posterior`` or ``point``.
    problem : Problem
        ``context``, and ``x`` if errors are wanted.
    project : bool
        Whether ``network`` is projected onto acyclic networks (eq. 14).
    threshold : float, optional
        Edges of at most this size are dropped in the projection (none where not given). Of a point estimate, only with
        ``project``.
    smallest : float
        Size from which an entry counts as an edge in ``edge_probability``.
    probability : float
        Of the intervals.
    draws : int, optional
        Take so many draws of a posterior at most, evenly spaced (all where not given): less time, but ends of intervals
        and frequencies that are less exact.

    Returns
    -------
    dict
        ``network`` (sample, source, target): of a posterior, the mean of its draws; ``archetype_weight``; ``h``: its
        penalty before projection; ``acyclic``: whether it was acyclic before, edges below ``smallest`` aside. Of a
        posterior also ``edge_probability``: share of projected draws with that edge; ``low`` and ``high``: ends of
        the intervals of the draws, unprojected; ``h`` averages over draws. With ``x``, ``error`` (sample): mean squared
        error of the nodes given their parents; of a posterior also ``draw_error`` (network_draw): the same for the
        projected networks of each draw, averaged over the samples that have one. Its spread is that of a posterior
        ensemble. Nodes whose value, or a parent's, is missing have no part in errors. For nodes with a link, errors
        are minus the log probability of a value, in nats, in place of squares.
    """
    encoder, order = problem.option("encoder"), problem.option("order")
    _warn_outside(fitted, problem["context"])
    context = scaled_contexts(problem)
    sampled = "posterior" in fitted
    only_with("notmad", option("project", True), project or sampled, threshold=threshold)
    threshold = threshold or 0.0
    only_with("notmad", "a fit by draws, such as that of method='nuts'", sampled, draws=draws)
    group = fitted["posterior" if sampled else "point"].to_dataset()
    at = arrays(group, list(problem.model.unknown.variables))
    at = stacked(at, draws) if sampled else {name: value[None] for name, value in at.items()}
    rule = along(problem["rule"], problem.arrays)
    found = archetypes(order, at, rule)  # (S, K, p, p)
    S, N, p = len(found), len(context), found.shape[-1]
    x = problem.arrays.get("x")
    tails = (1 - probability) / 2
    parts: dict[str, list[Array]] = defaultdict(list)
    error, known = np.zeros(S), np.zeros(S)
    for some in _blocks(N, S * p * p):
        weights = softmax(logits(encoder, context[some], {n: at[n] for n in names(encoder)}), axis=-1)
        networks = mixed(weights, found)  # (S, some, p, p)
        mean = networks.mean(0)
        parts["network"].append(project_to_dag(mean, threshold, rule) if project else mean)
        parts["archetype_weight"].append(weights.mean(0))
        parts["h"].append(penalty(networks, "notears")[0].mean(0))
        parts["acyclic"].append(is_acyclic(mean, smallest))
        if sampled:
            projected = project_to_dag(networks, threshold, rule)
            parts["edge_probability"].append(edge_frequency(projected, smallest))
            low, high = np.quantile(networks, (tails, 1 - tails), axis=0)
            parts["low"].append(low)
            parts["high"].append(high)
            if x is not None:
                each = _errors(problem, x[some], at, context[some], projected)
                error += np.nansum(each, 1)
                known += (~np.isnan(each)).sum(1)
    out: dict[str, Labelled] = {name: (DIMS[name], np.concatenate(values)) for name, values in parts.items()}
    if x is not None:
        if sampled:
            out["draw_error"] = (("network_draw",), np.where(known > 0, error / np.maximum(known, 1), np.nan))
        centre = {name: value.mean(0) for name, value in at.items()}
        out["error"] = (("sample",), _errors(problem, x, centre, context, out["network"][1]))
    return out


Members = Array | slice
"""Which samples."""


def mean_networks(fitted: xr.DataTree, problem: Problem, members: Members, kept: Array) -> Array:
    """Draws of the mean of the networks of some samples (S, p, p); of a point, one.

    Each sample counts with the edges that it has after projection, ``kept`` (members, p, p), so that the mean of the
    draws is that of the projected networks.
    """
    sampled = "posterior" in fitted
    group = fitted["posterior" if sampled else "point"].to_dataset()
    at = arrays(group, list(problem.model.unknown.variables))
    at = stacked(at) if sampled else {name: value[None] for name, value in at.items()}
    encoder = problem.option("encoder")
    context, own = scaled_contexts(problem)[members], {n: at[n] for n in names(encoder)}
    found = archetypes(problem.option("order"), at, along(problem["rule"], problem.arrays))
    shares = np.zeros(found.shape)  # of an archetype in an edge
    for some in _blocks(len(context), found.shape[0] * found.shape[1]):
        weights = softmax(logits(encoder, context[some], own), axis=-1)  # (S, some, K)
        shares += np.tensordot(weights.swapaxes(-1, -2), kept[some].astype(float), 1)
    return np.asarray((shares * found).sum(1) / len(context))


def _blocks(samples: int, each: int) -> list[Array]:
    """Positions of samples, parts of which have about ``BLOCK`` numbers where a sample has ``each``."""
    return np.array_split(np.arange(samples), min(samples, 1 + samples * each // BLOCK))


def _mean(at: dict[str, Array], context: Array) -> Array | float:
    """Means of the samples; shape (..., N or 1, p), or 0."""
    if "mean_intercept" not in at:
        return 0.0
    base = at["mean_intercept"][..., None, :]
    return np.asarray(context @ at["mean_slope"] + base if "mean_slope" in at else base)


def _errors(problem: Problem, x: Array, at: dict[str, Array], context: Array, networks: Array) -> Array:
    """Mean errors of the nodes given their parents; shape (..., N)."""
    mean, kind = _mean(at, context), problem.option("nodes")
    if kind != "gaussian":
        level = problem["level"]
        handed = np.broadcast_to(links.passed(kind, x, level), networks.shape[:-1])
        spread = at["dispersion"][..., None, :] if "dispersion" in at else 1.0
        eta = level + mean + (handed[..., None, :] @ networks)[..., 0, :]
        return np.asarray(-links.log_density(kind, x, eta, spread).mean(-1))
    r = np.broadcast_to(x - mean, networks.shape[:-1])
    absent = np.isnan(r)
    known = np.where(absent, 0.0, r)
    e = known - (known[..., None, :] @ networks)[..., 0, :]
    unknown = absent | ((absent[..., None, :] @ (networks != 0))[..., 0, :] > 0)
    count = (~unknown).sum(-1)
    return np.where(count > 0, np.where(unknown, 0.0, e**2).sum(-1) / np.maximum(count, 1), np.nan)


def _warn_outside(fitted: xr.DataTree, context: Array) -> None:
    """Warn of contexts that lie beyond those of the fit by more than a tenth of their range."""
    seen = fitted["constant_data"]["context"].to_numpy()
    low, high = seen.min(0), seen.max(0)
    room = 0.1 * (high - low)
    outside = np.argwhere((context < low - room) | (context > high + room))
    if outside.size:
        i, j = outside[0]
        rows = len(np.unique(outside[:, 0]))
        warnings.warn(
            f"notmad: context[sample={i}, covariate={j}] = {context[i, j]:g} lies outside the range of the fit, "
            f"{low[j]:g} to {high[j]:g} ({rows} of {len(context)} samples do): its network is an extrapolation.",
            UserWarning,
            stacklevel=3,
        )
