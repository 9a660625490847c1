"""What a fit found: the networks, as the edges of each archetype and how many samples follow it."""

import numpy as np
import xarray as xr

from genarium.declaration import Answer, Array
from genarium.found import cells, centre_and_ends, heads, listed

EDGE = 0.1
"""Size of a weight from which an entry counts as an edge."""

MOST = 12
"""Edges in the table, the largest ones."""


def found(tree: xr.DataTree) -> Answer:
    """Return the network of a fit by any method."""
    W, ends = centre_and_ends(tree, "archetype_network")  # (K, p, p)
    nodes = [str(name) for name in tree["observed_data"]["node"].to_numpy()]
    share = centre_and_ends(tree, "archetype_weight")[0].mean(0)
    group = tree["posterior" if "posterior" in tree else "point"]
    labels = [str(name) for name in group["archetype"].to_numpy()]
    names = [f"archetype {name}" if name.isdecimal() else name for name in labels]
    edges = np.argwhere(np.abs(W) > EDGE)
    edges = edges[np.argsort(-np.abs(W[tuple(edges.T)]), kind="stable")]
    rows = [["network", "edge", *heads("weight", ends)]]
    for k, i, j in edges[:MOST].tolist():
        rows.append([names[k], f"{nodes[i]} → {nodes[j]}", *cells(W, ends, (k, i, j))])
    several = len(W) > 1
    each = [f"{names[k]} ({share[k]:.0%} of the mixture, {_count(W[k])})" for k in range(len(W))]
    notes = [
        f"The networks of the samples mix {len(W)} archetypes: {listed(each)}."
        if several
        else f"One network of {len(nodes)} nodes for all samples, with {_count(W[0])}."
    ]
    if len(edges) > MOST:
        notes.append(f"The table has the {MOST} largest of {len(edges):,} weights; the figure below has all.")
    if ends is None:
        notes.append(
            "A point estimate: which edges are there, and which way they point, is not certain. Fit again from other "
            "seeds, or by an ensemble, before relying on one."
        )
    table = {f"Edges, the largest first (weights above {EDGE:g} in size)": rows} if len(rows) > 1 else {}
    return Answer("The network", table, notes)


def _count(W: Array) -> str:
    count = int((np.abs(W) > EDGE).sum())
    return f"{count:,} edge{'s' * (count != 1)}"
