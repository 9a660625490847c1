"""Figures of a fit for its report: signatures, effects of features, rates along the genome, exposures of genomes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import FAINT, INK, MARK, PALETTE, SMALL, WIDTH, Titled, kept, log_ticks, on
from genarium.estimates import LEVEL
from genarium.found import percent

from .along import rates
from .bias import bias
from .metrics import cosine
from .panels import bars
from .shown import PAGE, Fitted, collect, named, without_features

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SURE = "#3f97d6"
"""Intervals that do not hold zero."""

FEATURES = 30
"""Features of one figure at most."""

NAMED = 50
"""Genomes up to which each has its name and a gap beside it."""


def figures(tree: xr.DataTree, *, reference: Any = "") -> Iterator[Titled]:
    """Make the figures of a fit.

    Parameters
    ----------
    tree : DataTree
        From ``fit``, whatever the method.
    reference : path or DataFrame
        Known signatures in COSMIC's layout: above each process stand the most similar one and the cosine.

    Yields
    ------
    title, caption : str
    figure : matplotlib.figure.Figure
    """
    fitted = collect(tree, reference)
    yield from spectra(fitted)
    yield from bias(tree, fitted.processes)
    if not without_features(fitted.known):
        yield from effects(fitted)
    if len(fitted.rate) > 1:
        yield from rates(fitted)
    yield exposures(fitted)
    if len(fitted.processes) > 2:
        yield likeness(fitted)


def spectra(fitted: Fitted) -> Iterator[Titled]:
    """Draw the signature of each process: a bar for each channel, coloured by substitution."""
    from matplotlib.figure import Figure

    for which, part in fitted.pages:
        many_groups = len(bars(fitted.signature.labels[1].tolist()).groups) > 10  # their names need the whole width
        columns = 1 if len(part) <= PAGE // 2 or many_groups else 2
        rows = -(-len(part) // columns)
        figure = Figure(figsize=(WIDTH, 1.15 * rows + 0.55), layout="constrained")
        for axes, k in zip(_panels(figure, len(part), columns, sharey=False), part, strict=True):
            _spectrum(axes, fitted, int(k))
        shown = bars(fitted.signature.labels[1].tolist())
        figure.supxlabel(shown.axis)
        figure.supylabel("share of the process's mutations (%)")
        ends, true = fitted.signature.draws is not None, fitted.signature.truth is not None
        caption = (
            f"Share of each of the {len(fitted.signature.labels[1])} channels among the mutations of a process, given "
            "how often each context occurs in the genome: comparable with COSMIC's signatures of the same genome."
            + shown.told
            + (f" Grey lines: intervals of {LEVEL:.0%}." if ends else "")
            + (" Dots: the true signatures." if true else "")
            + " Percentages: share of the process in all mutations."
            + (" Nearest: the most similar signature of the table that was given." if fitted.nearest else "")
            + " Look for processes with the same signature, and "
            + ("for bars whose interval reaches zero." if ends else "for processes with hardly any mutations.")
        )
        yield "Signatures" + which, caption, figure


def _panels(figure: "Figure", count: int, columns: int, sharey: bool) -> Array:
    """Return axes row by row; those above a place that stays empty have the labels of the shared axis, too."""
    every = figure.subplots(-(-count // columns), columns, squeeze=False, sharex=True, sharey=sharey).ravel()
    for i in range(count, len(every)):
        every[i].set_visible(False)
        every[i - columns].tick_params(labelbottom=True)
    return every[:count]


def _spectrum(axes: "Axes", fitted: Fitted, k: int) -> None:
    one = fitted.signature
    height = 100 * one.centre[k]
    shown = [height]
    share = fitted.mutations @ fitted.pi.centre[:, k] / max(fitted.mutations.sum(), 1)
    title = f"{fitted.processes[k][0]}: {percent(share, 1)}"
    if fitted.nearest:
        name, value = fitted.nearest[k]
        title += f"; nearest {named('', name, 20)}, cosine {value:.2f}"
    at = np.arange(len(height))
    strip = axes.get_xaxis_transform()
    drawn = bars(one.labels[1].tolist())
    for name, color, mine in drawn.groups:
        for alpha in dict.fromkeys(drawn.opaque[mine].tolist()):
            some = mine[drawn.opaque[mine] == alpha]
            edges = (some[:, None] + [-0.4, 0.4]).ravel()  # bar, gap, bar ... bar
            heights = np.stack([height[some], 0 * some], 1).ravel()[:-1]
            axes.stairs(heights, edges, fill=True, color=color, alpha=alpha, label=name, gid=kept(color))
        edges = mine[[0, -1]] + [-0.4, 0.4]
        axes.hlines(1.03, edges[0], edges[-1], color=color, lw=3, transform=strip, clip_on=False, gid=kept(color))
        name = name if len(mine) > 2 else name[0]
        axes.text(mine.mean(), 0.97, name, transform=strip, ha="center", va="top", fontsize=SMALL)
    if one.draws is not None:
        ends = [100 * end[k] for end in one.interval]
        axes.vlines(at, *ends, color="#7b7b7b", lw=0.7)
        shown += ends
    if one.truth is not None and np.isfinite(one.truth[k, 0]):
        true = 100 * one.truth[k]
        axes.plot(at, true, "o", color=INK, markersize=2.4, markeredgecolor="white", markeredgewidth=0.4)
        title += f"; cosine to truth {cosine(height[None], true[None]).item():.3f}"
        shown.append(true)
    axes.set_title(title, pad=7)
    axes.set(xlim=(-1, len(at)), ylim=(0, 1.28 * max(values.max() for values in shown)))
    axes.set_xticks(*drawn.ticks, fontsize=SMALL)
    axes.tick_params(axis="x", length=0)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(False, axis="x")


def effects(fitted: Fitted) -> Iterator[Titled]:
    """Draw the effects of the features: a panel for each process, a row for each feature."""
    from matplotlib.figure import Figure

    one = fitted.beta
    F = one.centre.shape[1]
    kept = np.sort(np.argsort(-np.abs(one.centre).max(0), kind="stable")[:FEATURES])
    rows = np.arange(len(kept))
    for which, part in fitted.pages:
        lines = -(-len(part) // 3)
        figure = Figure(figsize=(WIDTH, lines * (0.19 * len(kept) + 0.45) + 0.45), layout="constrained")
        panels = _panels(figure, len(part), -(-len(part) // lines), sharey=True)
        for axes, k in zip(panels, part, strict=True):
            axes.axvline(0, color=INK, lw=0.7)
            if one.draws is None:
                dots: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4, "markersize": 4}
                axes.plot(one.centre[k, kept], rows, "o", color=PALETTE[0], **dots)
            else:
                low, high = (end[k, kept] for end in one.interval)
                sure = (low > 0) | (high < 0)
                axes.hlines(rows, low, high, color=np.where(sure, SURE, FAINT), lw=6)
                axes.plot(one.centre[k, kept], rows, "|", color=INK, markersize=9, markeredgewidth=0.7)
            if one.truth is not None:
                axes.plot(one.truth[k, kept], rows, "D", color="none", markeredgecolor=MARK, markersize=6)
            axes.set_title(fitted.processes[k][0])
            axes.set_yticks(rows, [named("feature", one.labels[1][f]) for f in kept])
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.locator_params(axis="x", nbins=5)
            axes.grid(False, axis="y")
        figure.supxlabel("effect β: change of the log rate per unit of the feature")
        caption = (
            "Effect of each feature on where a process makes its mutations: exp(β) times as many where the feature is "
            "one unit higher and all others are the same. "
            + (
                "Dots: estimates"
                if one.draws is None
                else f"Ticks: means; bars: {LEVEL:.0%} intervals, grey where they include 0"
            )
            + ("; diamonds: the true values" if one.truth is not None else "")
            + (". Look for effects whose sign is certain" if one.draws is not None else ". Look for large effects")
            + ", and for rows in which the processes differ."
            + (" Only the linear part of the rates is drawn; trees add to it." if fitted.trees else "")
            + (f" Drawn: the {len(kept)} of {F} features with the largest effects." if len(kept) < F else "")
        )
        yield "Effects of the features" + which, caption, figure


def exposures(fitted: Fitted) -> Titled:
    """Draw the mutations and the share of each process by genome, genomes ordered by their dominant process."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    share, total = fitted.pi.centre, fitted.mutations
    G, K = share.shape
    order = np.lexsort((-share.max(1), share.argmax(1)))
    tables = [("mutations", share * total[:, None]), ("share of mutations", share)]
    if fitted.pi.truth is not None:
        tables.append(("true share", np.nan_to_num(fitted.pi.truth)))
    wide = np.ptp(np.log(total)) > 3  # stacked bars have a linear axis: few genomes would hide the others
    heights = [*([1.2] if wide else []), *[2.2] * len(tables)]
    figure = Figure(figsize=(WIDTH, 1.1 + 0.75 * sum(heights)), layout="constrained")
    every = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    edges = np.arange(G + 1) - 0.5
    if wide:
        every[0].stairs(total[order], edges, fill=True, color=FAINT)
        every[0].set(yscale="log", ylabel="in all")
        log_ticks(every[0].yaxis, *every[0].get_ylim())
    grid = every[-len(tables) :]
    for axes, (label, table) in zip(grid, tables, strict=True):
        above = np.cumsum(table[order], 1)  # (G, K)
        for k, (_, color) in enumerate(fitted.processes):
            axes.stairs(above[:, k], edges, baseline=above[:, k - 1] if k else 0 * edges[1:], fill=True, color=color)
        axes.set(ylim=(0, 1.05 * total.max() if label == "mutations" else 1), ylabel=label)
    grid[0].locator_params(axis="y", nbins=4)
    grid[0].yaxis.set_major_formatter("{x:,.0f}")
    for axes in every:
        axes.grid(False)
        axes.tick_params(axis="x", length=0)
        if G <= NAMED:
            axes.vlines(edges[1:-1], 0, 1, transform=axes.get_xaxis_transform(), color="white", lw=40 / max(G, 20))
    grid[-1].set(xlim=(-0.5, G - 0.5), xlabel="genome" if G <= NAMED else f"genomes ({G:,})")
    names = [named("", fitted.pi.labels[0][g], 16).strip() for g in order] if G <= NAMED else []
    tilt = 90 if sum(map(len, names)) > 75 else 0
    grid[-1].set_xticks(range(len(names)), names, rotation=tilt)
    handles = [Patch(color=color, label=name) for name, color in fitted.processes]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(K, 6))
    caption = (
        "Mutations of each process in each genome, and their shares below. Genomes are ordered by their largest "
        "process, and then by its share."
        + (" On top: all mutations of a genome, on a logarithmic axis." if wide else "")
        + (" At the bottom: the true shares." if fitted.pi.truth is not None else "")
        + " Look for genomes with few mutations: their shares are mostly determined by the prior."
        + fitted.few
    )
    return "Exposures of the genomes", caption, figure


def likeness(fitted: Fitted) -> Titled:
    """Draw how alike the processes are, by the cosine of their signatures, and of their rates along the genome."""
    from matplotlib.figure import Figure

    names = [name for name, _ in fitted.processes]
    K = len(names)
    figure = Figure(figsize=(WIDTH, float(np.clip(0.4 * K, 1.6, 2.9)) + 1.1), layout="compressed")
    compared = {"signatures": fitted.signature.centre}
    if not (alone := without_features(fitted.known)):
        compared["rates along the genome"] = np.maximum(fitted.rate.T, 1e-12)
    pair = figure.subplots(1, len(compared), squeeze=False, sharex=True, sharey=True)[0]
    edges = np.arange(K + 1) - 0.5
    both = [cosine(v, v).to_numpy() for v in compared.values()]
    for axes, table, title in zip(pair, both, compared, strict=True):
        mesh = axes.pcolormesh(edges, edges, table, vmin=0, vmax=1, cmap="cividis", edgecolors="white", linewidth=0.6)
        axes.set(ylim=(K - 0.5, -0.5), aspect="equal", title=title)
        axes.set_xticks(range(K), names, rotation=90)
        axes.set_yticks(range(K), names)
        axes.tick_params(length=0)
        axes.grid(False)
        for j, k in np.ndindex(K, K) if K <= PAGE else ():
            text, color = f"{table[j, k]:.2f}".removeprefix("0"), on(mesh.cmap(mesh.norm(table[j, k])))
            axes.text(k, j, text, ha="center", va="center", color=color, fontsize=SMALL)
    figure.colorbar(mesh, ax=list(pair), label="cosine", fraction=0.05, pad=0.02)
    largest = both[0][np.triu_indices(K, 1)].max()
    caption = (
        f"Cosine similarity of the processes; the largest between two signatures is {largest:.2f}. Look for pairs of "
        "signatures near one: "
        + (
            "one process may have been split in two."
            if alone
            else "if their rates are similar too, one process has been split in two; if not, one process acts in two "
            "ways along the genome."
        )
    )
    return "Similarity of the processes", caption, figure
