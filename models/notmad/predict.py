"""Networks for contexts, seen or not, from a fit; edge probabilities and intervals from draws."""

import warnings

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

DRAWS = 200
"""Draws of a posterior that networks are made from, at most."""


def predict(
    fitted: xr.DataTree,
    problem: Problem,
    *,
    project: bool = True,
    threshold: float | None = None,
    smallest: float = 0.1,
    probability: float = 0.9,
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

    Returns
    -------
    dict
        ``network`` (sample, source, target): of a posterior, the mean of its draws; ``archetype_weight``; ``h``: its
        penalty before projection; ``acyclic``: whether it was acyclic before, edges below ``smallest`` aside. Of a
        posterior also ``edge_probability``: share of projected draws with that edge; ``low`` and ``high``: ends of
        the intervals of the draws, unprojected; ``h`` averages over draws. With ``x``, ``error`` (sample): mean squared
        error of the nodes given their parents; of a posterior also ``draw_error`` (network_draw): the same for the
        projected networks of each draw, averaged over samples. Its spread is that of a posterior ensemble. Nodes whose
        value, or a parent's, is missing have no part in errors. For nodes with a link, errors are minus the log
        probability of a value, in nats, in place of squares.
    """
    encoder, order = problem.option("encoder"), problem.option("order")
    _warn_outside(fitted, problem["context"])
    context = scaled_contexts(problem)
    sampled = "posterior" in fitted
    only_with("notmad", option("project", True), project or sampled, threshold=threshold)
    threshold = threshold or 0.0
    group = fitted["posterior" if sampled else "point"].to_dataset()
    wanted = list(problem.model.unknown.variables)
    at = arrays(group, wanted)
    if sampled:
        at = stacked(at, DRAWS)
    weights = softmax(logits(encoder, context, {n: at[n] for n in names(encoder)}), axis=-1)
    rule = along(problem["rule"], problem.arrays)
    networks = mixed(weights, archetypes(order, at, rule))
    h = penalty(networks, "notears")[0]
    out: dict[str, Labelled] = {}
    dims = ("sample", "source", "target")
    if sampled:
        projected = project_to_dag(networks, threshold, rule)
        out["edge_probability"] = (dims, edge_frequency(projected, smallest))
        tails = (1 - probability) / 2
        out["low"], out["high"] = ((dims, np.quantile(networks, q, axis=0)) for q in (tails, 1 - tails))
        if "x" in problem.arrays:
            each = _errors(problem, at, context, projected).mean(1)
            out["draw_error"] = (("network_draw",), each)
            at = {name: value.mean(0) for name, value in at.items()}
        networks, weights, h = networks.mean(0), weights.mean(0), h.mean(0)
    final = project_to_dag(networks, threshold, rule) if project else networks
    out |= {
        "network": (dims, final),
        "archetype_weight": (("sample", "archetype"), weights),
        "h": (("sample",), h),
        "acyclic": (("sample",), is_acyclic(networks, smallest)),
    }
    if "x" in problem.arrays:
        out["error"] = (("sample",), _errors(problem, at, context, final))
    return out


Members = Array | slice
"""Which samples."""


def mean_networks(fitted: xr.DataTree, problem: Problem, members: Members) -> Array:
    """Draws of the mean of the networks of some samples, unprojected (S, p, p); of a point, one."""
    sampled = "posterior" in fitted
    group = fitted["posterior" if sampled else "point"].to_dataset()
    at = arrays(group, list(problem.model.unknown.variables))
    at = stacked(at, DRAWS) if sampled else {name: value[None] for name, value in at.items()}
    encoder = problem.option("encoder")
    weights = softmax(logits(encoder, scaled_contexts(problem)[members], {n: at[n] for n in names(encoder)}), axis=-1)
    found = archetypes(problem.option("order"), at, along(problem["rule"], problem.arrays))
    return mixed(weights.mean(-2)[:, None], found)[:, 0]


def _mean(at: dict[str, Array], context: Array) -> Array | float:
    """Means of the samples; shape (..., N or 1, p), or 0."""
    if "mean_intercept" not in at:
        return 0.0
    base = at["mean_intercept"][..., None, :]
    return np.asarray(context @ at["mean_slope"] + base if "mean_slope" in at else base)


def _errors(problem: Problem, at: dict[str, Array], context: Array, networks: Array) -> Array:
    """Mean errors of the nodes given their parents; shape (..., N)."""
    x, mean, kind = problem["x"], _mean(at, context), problem.option("nodes")
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
