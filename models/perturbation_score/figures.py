"""Figures of a fit for its report: scores with their intervals, what few cells do to a ranking, and the shares."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.data import check
from genarium.drawing import FAINT, INK, MARK, PALETTE, WIDTH, Titled, log_ticks, on, shades
from genarium.found import named
from genarium.registry import fitted_model

from .enrichment import programs
from .guides import concordance
from .posterior import known_shares
from .ranking import rank, score

MOST = 40
"""Perturbations drawn at most."""

FEWEST = 5
"""Perturbations from which on rankings are worth a figure."""

ROW = 0.22
"""Height of a row of text, in inches: bars are as high in every figure."""

LETTERS = 60
"""Letters of the names of states that fit beside each other."""

GENES = 8
"""Genes that a program is drawn by, up and down together."""


def figures(tree: xr.DataTree) -> Iterator[Titled]:
    """Make the figures of a fit.

    Parameters
    ----------
    tree : DataTree
        From ``fit``, whatever the method.

    Yields
    ------
    title, caption : str
    figure : matplotlib.figure.Figure
    """
    chosen = fitted_model(tree).chosen
    if chosen.get("observed") == "expression":
        yield loadings(tree)
        yield activities(tree)
        return
    ranked = rank(score(tree))
    yield scores(ranked)
    if ranked.sizes["perturbation"] >= FEWEST:
        yield rankings(ranked)
    yield shares(tree, ranked)
    if chosen.get("replicates", "pooled") != "pooled":
        yield from agreement(tree)


def scores(ranked: xr.Dataset) -> Titled:
    """Draw scores with the interval from the lower quantile to its mirror image, best first."""
    from matplotlib.figure import Figure

    top = ranked.isel(perturbation=slice(0, MOST))
    y = np.arange(top.sizes["perturbation"])
    figure = Figure(figsize=(WIDTH, 1.1 + ROW * len(y)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(y, top["lower"], top["score"], color=PALETTE[0], lw=3, alpha=0.45)
    axes.plot(top["score"], y, "o", color=PALETTE[0], ms=4, label="posterior mean")
    axes.plot(top["plug_in"], y, "x", color=MARK, ms=4, label="observed shares")
    names = top["perturbation"].to_numpy()
    axes.set_yticks(y, [f"{name} ({int(n)})" for name, n in zip(names, top["cells"].to_numpy(), strict=True)])
    axes.set_ylim(len(y) - 0.5, -0.5)
    axes.set_xlabel("score: minus the l1 distance from the target")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    quantile = float(ranked.attrs["quantile"])
    return (
        "Scores",
        "Dots: minus the expected distance from the target; bars reach down to the lower bound, the "
        f"{100 * quantile:g}% quantile of the score (given the estimate, for point methods), by which perturbations "
        f"are ordered{' (the best ' + str(MOST) + ')' if len(y) == MOST else ''}. Crosses: minus the distance of the "
        "observed shares. In brackets: number of cells.",
        figure,
    )


def rankings(ranked: xr.Dataset) -> Titled:
    """Draw ranks by observed shares and by lower quantile against each other, the number of cells as colour."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.subplots()
    cells = np.maximum(ranked["cells"].to_numpy(), 1)
    colours = LogNorm(cells.min(), max(cells.max(), cells.min() + 1))
    dots = axes.scatter(
        *(ranked["rank_plug_in"], ranked["rank_lower"]),
        **{"c": cells, "s": 16, "cmap": shades(), "norm": colours, "edgecolors": FAINT, "lw": 0.4},
    )
    last = ranked.sizes["perturbation"]
    axes.plot([1, last], [1, last], color=INK, lw=0.7)
    places = [1, *(int(tick) for tick in MaxNLocator(integer=True).tick_values(1, last) if 1 < tick <= last)]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(places)
    axes.set_xlabel("rank by observed shares")
    axes.set_ylabel("rank by lower bound")
    bar = figure.colorbar(dots, ax=axes)
    bar.set_label("cells")
    log_ticks(bar.ax.yaxis, *bar.ax.get_ylim())
    return (
        "What few cells do to a ranking",
        "By observed shares, perturbations with few cells come first by chance. Above the line are those that the "
        "lower bound ranks worse, because little is known about them.",
        figure,
    )


def shares(tree: xr.DataTree, ranked: xr.Dataset) -> Titled:
    """Draw posterior means of the shares of the best perturbations as stacked bars, the target above them."""
    from matplotlib.figure import Figure

    problem = check(fitted_model(tree), tree)
    q = known_shares(tree, problem, np.random.default_rng(0)).mean()
    labels = [str(name) for name in problem.coords["perturbation"]]
    best = [str(name) for name in ranked["perturbation"].to_numpy()[: MOST // 2]]
    rows = np.vstack([problem["target"], q[[labels.index(name) for name in best]]])
    y = np.arange(len(rows))
    columns = 4
    lines = -(-rows.shape[1] // columns)
    figure = Figure(figsize=(WIDTH, 0.7 + ROW * (len(y) + lines)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(rows))
    for k, state in enumerate(problem.coords["state"]):
        axes.barh(y, rows[:, k], left=left, color=PALETTE[k % len(PALETTE)], height=0.8, label=named("state", state))
        left += rows[:, k]
    axes.set_yticks(y, ["target", *best])
    axes.set_ylim(len(y) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of cells")
    axes.grid(False)
    handles, names = axes.get_legend_handles_labels()
    by_row = [k for column in range(columns) for k in range(column, len(names), columns)]  # a legend fills columns
    some = min(columns, len(names))
    handles, names = [handles[k] for k in by_row], [names[k] for k in by_row]
    figure.legend(handles, names, loc="outside lower center", ncols=some, frameon=False)
    return "Shares of the states", "Posterior means, the best perturbations first, below the target.", figure


def effects(found: xr.Dataset) -> Titled:
    """Draw how perturbations change the shares of the states, from :func:`hits`, in its order."""
    from matplotlib.figure import Figure

    top = found.isel(perturbation=slice(0, MOST))
    fold, sure = (top[name].transpose("perturbation", "state").to_numpy() for name in ("log2_fold", "lfsr"))
    states = [named("state", name) for name in top["state"].to_numpy()]
    tilted = sum(map(len, states)) > LETTERS
    room = 0.08 * max(map(len, states)) if tilted else 0.2
    figure = Figure(figsize=(WIDTH, 1.0 + room + ROW * len(fold)), layout="constrained")
    axes = figure.subplots()
    most = float(np.abs(fold).max())
    limit = float(np.quantile(np.abs(fold), 0.95)) or most or 1.0  # a state without cells would fade all others
    drawn = axes.imshow(fold, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    for i, j in np.argwhere(sure <= 0.05):
        colour = on(drawn.cmap(drawn.norm(fold[i, j]))[:3])
        axes.text(j, i, "*", ha="center", va="center", color=colour)
    axes.set_yticks(np.arange(len(fold)), [named("perturbation", name) for name in top["perturbation"].to_numpy()])
    axes.set_xticks(np.arange(len(states)), states, rotation=90 if tilted else 0)
    axes.grid(False)
    extend = "both" if most > limit else "neither"
    scale = figure.colorbar(drawn, ax=axes, location="bottom", aspect=40, shrink=0.6, extend=extend)
    scale.set_label("log2 fold change of the share of cells")
    left = found.sizes["perturbation"] - len(fold)
    return (
        "Changes of the states",
        f"Against {found.attrs['control']}, the perturbations most likely to have an effect first"
        f"{f' ({left:,} others are not drawn)' if left else ''}; posterior means, which are drawn towards no change "
        "where it is in doubt. * where the sign is wrong with a probability of 5% or less.",
        figure,
    )


def agreement(tree: xr.DataTree) -> Iterator[Titled]:
    """Draw how far replicates of each perturbation lie apart, beside what the fit expects."""
    from matplotlib.figure import Figure

    problem = check(fitted_model(tree), tree)
    if np.bincount(problem["condition"]).max() < 2:
        return
    told = concordance(tree)
    order = np.argsort(told["p"].to_numpy(), kind="stable")[:MOST]
    top = told.isel(perturbation=order)
    y = np.arange(len(order))
    figure = Figure(figsize=(WIDTH, 0.9 + ROW * len(y)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(
        y, np.minimum(top["apart"], top["expected"]), np.maximum(top["apart"], top["expected"]), color=FAINT, lw=2
    )
    axes.plot(top["expected"], y, "|", color=INK, ms=9, label="expected by the fit")
    axes.plot(top["apart"], y, "o", color=PALETTE[0], ms=4, label="observed")
    names, p = top["perturbation"].to_numpy(), top["p"].to_numpy()
    axes.set_yticks(y, [f"{name} (p {value:.2f})" for name, value in zip(names, p, strict=True)])
    axes.set_ylim(len(y) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("mean l1 distance between replicates")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    yield (
        "Do replicates (guides, wells) agree?",
        "Those that agree least come first; p: how often, according to the fit, replicates with these numbers of "
        "cells would be as far apart.",
        figure,
    )


def loadings(tree: xr.DataTree) -> Titled:
    """Draw the genes of each program: log expression per sd of the program."""
    from matplotlib.figure import Figure

    told = programs(tree)
    z, value = told["total_loading_z"].to_numpy(), told["total_loading"].to_numpy()
    genes, reliability = told["gene"].to_numpy().astype(str), told["reliability"].to_numpy()
    shown = np.flatnonzero(reliability > 0)[:6] if (reliability > 0).any() else np.arange(1)
    some = min(GENES, len(genes))
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(WIDTH, lines * (0.75 + ROW * some)), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.ravel()[len(shown) :]:
        axes.set_visible(False)
    for axes, j in zip(grid.ravel(), shown, strict=False):
        first = np.argsort(-np.abs(z[j]), kind="stable")[:some]
        first = first[np.argsort(-value[j, first], kind="stable")]
        y = np.arange(some)
        axes.barh(y, value[j, first], height=0.7, color=[PALETTE[0] if v > 0 else MARK for v in value[j, first]])
        axes.set_yticks(y, genes[first])
        axes.set_ylim(some - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.set_title(f"program {told['program'].to_numpy()[j]} (reliability {reliability[j]:.2f})")
    return (
        "Programs by their genes",
        "Change of mean log expression per sd of a program over perturbations, for the genes with the clearest change. "
        "Reliability: share of the variance between perturbations that is not due to sampling their cells.",
        figure,
    )


def activities(tree: xr.DataTree) -> Titled:
    """Draw which perturbations move which programs, against the control."""
    from matplotlib.figure import Figure

    told = programs(tree)
    moved, fdr = told["moved"].to_numpy(), told["moved_fdr"].to_numpy()
    order = np.argsort(fdr.min(1), kind="stable")[:MOST]
    names = told["perturbation"].to_numpy().astype(str)[order]
    limit = float(np.abs(moved[order]).max()) or 1.0
    figure = Figure(figsize=(WIDTH, 1.1 + ROW * len(order)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(moved[order], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    for i, j in np.argwhere(fdr[order] <= 0.05):
        colour = on(drawn.cmap(drawn.norm(moved[order][i, j]))[:3])
        axes.text(j, i, "*", ha="center", va="center", color=colour)
    axes.set_yticks(np.arange(len(order)), names)
    axes.set_xticks(np.arange(moved.shape[1]), told["program"].to_numpy().astype(str))
    axes.set_xlabel("program")
    axes.grid(False)
    figure.colorbar(drawn, ax=axes).set_label("difference from the control (sd)")
    return (
        "Which perturbations move which programs",
        f"The {len(order)} perturbations with the lowest false discovery rates; * where it is 5% or less "
        "over all perturbations and programs. Programs are scaled to an sd of one over perturbations.",
        figure,
    )
