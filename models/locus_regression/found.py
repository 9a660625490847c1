"""What a fit found: the processes, what each does to the rate along the genome, and which channels it mutates."""

import numpy as np
import xarray as xr

from genarium.declaration import Answer, Array
from genarium.estimates import LEVEL
from genarium.found import centre_and_ends, listed, percent, short
from genarium.registry import fitted_model

from .metrics import signatures
from .shown import named, without_features

MOST = 20
"""Processes in the table, the commonest ones."""

NAMED = 3
"""Channels and features that are named of each process."""


def found(tree: xr.DataTree) -> Answer:
    """Return the signatures and effects of a fit by any method and of every variant."""
    group = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    names = [named("process", label, 24).replace(" ", "\u00a0") for label in group["process"].to_numpy()]
    share = _shares(tree)
    spectra = signatures(tree)
    channels, shape = spectra["channel"].to_numpy(), spectra.to_numpy()
    beta, ends = centre_and_ends(tree, "beta")  # (K, F)
    features = [named("feature", label, 24) for label in group["feature"].to_numpy()]
    sure = np.ones(beta.shape, dtype=bool) if ends is None else (ends[0] > 0) | (ends[1] < 0)
    order = np.argsort(-share, kind="stable")
    alone = without_features(tree["constant_data"].to_dataset())
    rows = [["process", "share of mutations", "commonest channels"]]
    rows[0] += [] if alone else ["effects of features on the rate, per unit"]
    for k in order[:MOST]:
        first = np.argsort(-shape[k], kind="stable")[:NAMED]
        common = ", ".join(f"{channels[m]} ({percent(shape[k, m], 1)})" for m in first)
        told = [] if alone else [_effects(features, beta[k], sure[k], ends, int(k))]
        rows.append([names[k], f"{percent(share[k], 1)}", common, *told])
    K, F = beta.shape
    parts = [f"{names[k]} {percent(share[k])}" for k in order[:5]]
    notes = [
        f"{K} mutational process{'es' * (K > 1)}: {listed(parts)} of the mutations"
        f"{' (the five commonest)' if K > 5 else ''}."
    ]
    if alone:
        return Answer("Signatures", {"Processes, the commonest first": rows}, notes)
    if ends is not None:
        notes.append(
            f"The {LEVEL:.0%} interval excludes zero for {int(sure.sum()):,} of {K * F:,} effects of features."
        )
    trees = fitted_model(tree).option("rates") == "trees"
    notes.append(
        "An effect of × 2 means that the process makes twice as many mutations where the feature is one unit higher "
        "and all other features are the same."
        + (
            " These effects are those of the linear part, to which the regression trees add; intervals are conditional "
            "on the trees."
            if trees
            else ""
        )
    )
    return Answer("Signatures and effects", {"Processes, the commonest first": rows}, notes)


def _shares(tree: xr.DataTree) -> Array:
    """Return the share of each process in all mutations; shape (K,)."""
    pi, known = centre_and_ends(tree, "pi")[0], tree["constant_data"].to_dataset()
    mutations = np.bincount(known["genome"].to_numpy(), known["count"].to_numpy(), len(pi))
    return np.asarray(mutations @ pi / max(mutations.sum(), 1))


def _effects(features: list[str], beta: Array, sure: Array, ends: tuple[Array, Array] | None, k: int) -> str:
    """Name the strongest effects of a process whose intervals exclude zero, as factors with these intervals."""
    order = [int(f) for f in np.argsort(-np.abs(beta), kind="stable") if sure[f]][:NAMED]
    told = []
    for f in order:
        factor = f"{features[f]} × {short(float(np.exp(beta[f])))}"
        if ends is not None:
            factor += f" ({short(float(np.exp(ends[0][k, f])))} to {short(float(np.exp(ends[1][k, f])))})"
        told.append(factor)
    return ", ".join(told) or ("none with an interval that excludes zero" if ends is not None else "none")
