"""What a fit found: the networks, as the edges of each archetype and how many samples follow it."""

import numpy as np
import xarray as xr

from genarium.declaration import Answer, Array
from genarium.estimates import LEVEL
from genarium.found import cells, heads, listed, named, percent
from genarium.registry import fitted_model

from .graphs import archetypes as weights_of
from .knowledge import along
from .story import EDGES, FACTORS

EDGE = 0.1
"""Size of a weight from which an entry counts as an edge."""

MOST = 12
"""Edges in the table, the largest ones."""


def found(tree: xr.DataTree) -> Answer:
    """Return the network of a fit by any method."""
    W, ends = networks(tree)  # (K, p, p)
    nodes = [str(name) for name in tree["observed_data"]["node"].to_numpy()]
    names = names_of(tree)
    edges = np.argwhere(np.abs(W) > EDGE)
    edges = edges[np.argsort(-np.abs(W[tuple(edges.T)]), kind="stable")]
    several = len(W) > 1
    rows = [[*(["network"] if several else []), "edge", *heads("weight", ends)]]
    for k, i, j in edges[:MOST].tolist():
        edge = f"{nodes[i]} → {nodes[j]}"
        rows.append([*([names[k]] if several else []), edge, *cells(W, ends, (k, i, j))])
    notes = [
        f"The networks of the samples mix {len(W)} archetypes: {listed(_each(tree, names, W))}."
        if several
        else f"One network of {len(nodes)} nodes for all samples, with {_count(W[0])}."
    ]
    if len(edges) > MOST:
        notes.append(f"The table has the {MOST} largest of {len(edges):,} weights.")
    if ends is not None and len(edges):
        sure = int(((ends[0] > 0) | (ends[1] < 0))[tuple(edges.T)].sum())
        notes.append(f"The {LEVEL:.0%} interval excludes zero for {sure:,} of these {len(edges):,} weights.")
    else:
        notes.append(
            "This is a point estimate: which edges exist, and which way they point, is uncertain. Before relying on an "
            "edge, fit again from other seeds, or fit an ensemble."
        )
    table = {f"Edges, the largest first (weights above {EDGE:g} in size)": rows} if len(rows) > 1 else {}
    return Answer("The network", table, notes)


def names_of(tree: xr.DataTree) -> list[str]:
    """Return the names of the archetypes, as a reader may know them."""
    group = tree["posterior" if "posterior" in tree else "point"]
    return [named("archetype", name) for name in group["archetype"].to_numpy()]


def networks(tree: xr.DataTree) -> tuple[Array, tuple[Array, Array] | None]:
    """Return the archetypes, shape (K, p, p), and the ends of the intervals of their weights from draws."""
    model, known = fitted_model(tree), tree["constant_data"].to_dataset()
    sampled = "posterior" in tree
    group = tree["posterior" if sampled else "point"]
    lead = ("chain", "draw") if sampled else ()
    variables = [name for name in (*EDGES, *FACTORS) if name in model.unknown.variables]
    at = {name: group[name].transpose(*lead, ...).to_numpy() for name in variables}
    rule = along(known["rule"].to_numpy(), {name: known[name].to_numpy() for name in ("position",) if name in known})
    W = weights_of(model.option("order"), at, rule)
    if not sampled:
        return W, None
    low, high = np.quantile(W, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=(0, 1))
    return W.mean((0, 1)), (low, high)


def _each(tree: xr.DataTree, names: list[str], W: Array) -> list[str]:
    """Name each archetype with its edges, and its share of the samples where the method tells it."""
    if "point" not in tree or "archetype_weight" not in tree["point"]:
        return [f"{name} ({_count(one)})" for name, one in zip(names, W, strict=True)]
    share = tree["point"]["archetype_weight"].to_numpy().mean(0)
    return [
        f"{name} ({percent(s)} of the mixture, {_count(one)})" for name, s, one in zip(names, share, W, strict=True)
    ]


def _count(W: Array) -> str:
    count = int((np.abs(W) > EDGE).sum())
    return f"{count:,} edge{'s' * (count != 1)}"
