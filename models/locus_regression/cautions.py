"""What is easily misread in a fit: intervals of chains that have not met, and loci that the features do not explain."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Array, Arrays, Caution, Problem
from genarium.readers.messages import listed
from genarium.tree import arrays

from .corpus import corpus
from .predict import UNKNOWN, complete, tables

APART = 1.1
"""R-hat above which chains count as apart: some forty effective draws have one below it."""

SURE = 4.0
"""Standard errors that the variation of loci must exceed Poisson's by."""

SMALL, LARGE = 0.02, 100.0
"""Standard deviations of a feature: below the one, times tau, the prior keeps a rate from following it; above the
other, `nuts` and `advi` may not find its effects."""


def cautions(tree: xr.DataTree, problem: Problem) -> Iterator[Caution]:
    """Yield what a user of a fit should know."""
    if "posterior" in tree and tree.attrs["claim"] != "exact" and tree["posterior"].sizes["chain"] > 1:
        yield from apart(arrays(tree["posterior"].to_dataset()))
    if "mutations_kept" in (notes := attribute(tree, "notes")):
        where = f"checks of the data use {notes['mutations_kept']:.0f} of {notes['mutations']:.0f} mutations"
        advice = (
            "Intervals of a corpus in blocks are those of mean field, and too narrow. For calibrated intervals, fit a "
            "part of the corpus that fits into memory, by vi or gibbs."
        )
        yield Caution("intervals that are not corrected", 1, where, advice)
    yield scales(problem)
    if problem.option("loci") == "fixed" and ("posterior" in tree or "point" in tree):
        yield dispersed(tree, problem)


def apart(posterior: Arrays) -> Iterator[Caution]:
    """Say of effects, signatures and exposures how many have intervals on which the chains do not agree."""
    from arviz_stats.base import array_stats

    posterior = complete(posterior)
    signature = posterior["lam"][..., None] * posterior["rho"]
    blocks = {"effects": posterior["beta"], "signatures": signature, "exposures": posterior["pi"]}
    for name, draws in blocks.items():
        flat = draws.reshape(*draws.shape[:2], -1).transpose(2, 0, 1)
        flat = flat[np.ptp(flat, axis=(1, 2)) > 0]
        if not flat.size or flat.shape[2] < 4:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.asarray(array_stats.rhat(flat, chain_axis=-2, draw_axis=-1))
        rhat = np.nan_to_num(found, nan=np.inf, posinf=np.inf)
        count = int((rhat > APART).sum())
        advice = "Their intervals are imprecise: raise sweeps several-fold, or use gibbs." if count else ""
        where = f"of {len(rhat)}; R-hat up to {rhat.max():.2f}"
        yield Caution(f"{name} whose chains disagree", count, where, advice)


def scales(problem: Problem) -> Caution:
    """Say which features vary so much, or so little, that engines or the prior of effects do not suit them."""
    X = problem["features"]
    sd = X.reshape(-1, *X.shape[-2:]).std(-1).max(0)  # (F,)
    odd = (sd > LARGE) | ((sd > 0) & (sd * problem["tau"].max() < SMALL))
    check = "features of another scale than effects are expected on"
    if not odd.any():
        return Caution(check, 0)
    names = problem.coords["feature"]
    told = [f"{names[f]}: {sd[f]:.2g}" for f in np.flatnonzero(odd)]
    advice = (
        "Standard deviations should be about one: of far larger features nuts and advi may not find the effects, "
        "and of far smaller ones effects are shrunk to nothing. Standardise them (standardise in "
        "models.locus_regression.features, or :standardise after a track)."
    )
    return Caution(check, int(odd.sum()), f"of {len(sd)}; {listed(told, 3)}", advice)


def dispersed(tree: xr.DataTree, problem: Problem) -> Caution:
    """Compare the variation of the loci's mutations around what is expected there with Poisson's (Pearson)."""
    expected, observed = expectation(tree, problem)
    seen = expected > 0
    excess = (observed[seen] - expected[seen]) ** 2 / expected[seen] - 1
    error = np.sqrt((2 + 1 / expected[seen]).sum())
    check = "variation between loci that the features do not explain"
    if not excess.sum() > SURE * error:
        return Caution(check, 0)
    ratio = 1 + float(excess.mean())
    advice = (
        f"Mutation counts of loci have {ratio:.2g} times the variance of Poisson counts, so that intervals of effects "
        "are too narrow. Fit with loci='random' (an effect for each locus), or look for a missing feature."
    )
    return Caution(check, ratio, f"{excess.sum() / error:.0f} standard errors", advice)


def expectation(tree: xr.DataTree, problem: Problem) -> tuple[Array, Array]:
    """Return expected and observed mutations of every row (group and locus), at the means of a fit; shape (R,)."""
    group = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    lead = [dim for dim in ("chain", "draw") if dim in group.dims]
    means = {name: group[name].mean(lead).to_numpy() for name in UNKNOWN if name in group}
    data = corpus(problem)
    _, share = tables(data, complete(means))  # (J, K, L)
    J, K, L = share.shape
    mutations = np.zeros((J, K))
    np.add.at(mutations, data.row // L, data.count[:, None] * means["pi"][data.genome])
    return np.einsum("jk,jkl->jl", mutations, share).ravel(), data.row_total
