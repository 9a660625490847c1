"""What a fit found: the groups of cells, their sizes, and the genes that mark them."""

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Answer, Array
from genarium.estimates import LEVEL
from genarium.found import ENDS, cells, centre_and_ends, listed, named, percent, short
from genarium.simplex import normalised

MOST = 20
"""Groups in the table, the largest ones."""

DRAWS = 400
"""Draws over which shares that depend on covariates are averaged, at most."""

MARKERS = 3
"""Genes that are named of each group."""


def found(tree: xr.DataTree) -> Answer:
    """Return the groups of a fit by any method."""
    group = tree["posterior" if "posterior" in tree else "point"]
    names, total = group["component"].to_numpy(), attribute(tree, "sizes")["cell"]
    mu, _ = centre_and_ends(tree, "mu")  # (K, D)
    share, ends = _shares(tree, len(names))
    genes = np.array([named("gene", name) for name in tree["observed_data"]["gene"].to_numpy()])
    order = np.argsort(-share, kind="stable")
    head = [
        "group",
        "share of cells",
        *(ENDS if ends is not None else ()),
        "cells",
        "marker genes (mean count)",
    ]
    rows = [
        [str(names[k]), *cells(share, ends, k), f"{share[k] * total:,.0f}", _markers(mu, genes, k)]
        for k in order[:MOST].tolist()
    ]
    K = len(names)
    sizes = [f"{percent(share[k], 1)}" for k in order[:5]]
    notes = [
        f"{K} group{'s' * (K > 1)} among {total:,} cells"
        + (f", which hold {listed(sizes)} of them." if K <= 5 else f"; the five largest hold {listed(sizes)} of them.")
    ]
    if (sure := _sure(tree)) is not None:
        notes.append(f"{percent(sure, 1)} of the cells belong to one group with a probability of 0.9 or more.")
    if K > MOST:
        notes.append(f"The table has the {MOST} largest groups; {K - MOST} smaller ones are among the estimates.")
    return Answer("Groups of cells", {"Groups, the largest first": [head, *rows]}, notes)


def _shares(tree: xr.DataTree, K: int) -> tuple[Array, tuple[Array, Array] | None]:
    """Return the share of each group in the cells; where it depends on covariates, the mean over the cells."""
    group = tree["posterior" if "posterior" in tree else "point"]
    if "effect" not in group:
        return centre_and_ends(tree, "pi")
    sampled = "posterior" in tree
    lead = ("chain", "draw") if sampled else ()
    pi = group["pi"].transpose(*lead, "component").to_numpy().reshape(-1, K)
    effect = group["effect"].transpose(*lead, "covariate", "component").to_numpy().reshape(len(pi), -1, K)
    some = np.unique(np.linspace(0, len(pi) - 1, DRAWS).astype(int))
    Z = tree["constant_data"]["covariates"].transpose("cell", "covariate").to_numpy()
    shares = np.array([normalised(np.log(pi[s]) + Z @ effect[s])[0].mean(0) for s in some])
    low, high = np.quantile(shares, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    return shares.mean(0), (low, high) if sampled else None


def _responsibility(tree: xr.DataTree) -> Array | None:
    """Return the probabilities of the groups of every cell where the method tells them; shape (N, K)."""
    held = next((g for g in ("variational", "point") if g in tree and "responsibility" in tree[g]), None)
    return None if held is None else tree[held]["responsibility"].transpose("cell", "component").to_numpy()


def _sure(tree: xr.DataTree) -> float | None:
    held = _responsibility(tree)
    return None if held is None else float((held.max(1) >= 0.9).mean())


def _markers(mu: Array, genes: Array, k: int) -> str:
    """Name the genes whose mean in a group exceeds that in every other by the largest factor."""
    others = np.delete(mu, k, 0)
    if not len(others):
        first = np.argsort(-mu[k], kind="stable")[:MARKERS]
        return ", ".join(f"{genes[d]} ({short(float(mu[k, d]))})" for d in first)
    ratio = np.log1p(mu[k]) - np.log1p(others.max(0))
    most = [d for d in np.argsort(-ratio, kind="stable")[:MARKERS] if ratio[d] > 0]
    told = [
        f"{genes[d]} ({short(float(mu[k, d]))}, elsewhere at most {short(float(others[:, d].max()))})" for d in most
    ]
    return ", ".join(told) or "none: each gene has a higher mean in another group"
