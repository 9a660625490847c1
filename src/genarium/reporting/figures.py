"""The figures of any fit, chosen by the groups that its tree holds: (title, caption, figure)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Array, Model
from genarium.drawing import FAINT, MARK, PALETTE, WIDTH, Titled, log_ticks
from genarium.estimates import LEVEL, Estimate
from genarium.reporting.page import short
from genarium.verbs.diagnose import replicated_statistics, tail
from genarium.words import plural, spelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODERATE = 40
"""Elements of a variable that an interval plot has room for."""

POINTS = 400
"""Points of a drawn line at most."""

WIDE = 20
"""Ratio of the largest to the smallest of positive numbers from which their axis is logarithmic."""


def bound(tree: xr.DataTree) -> Iterator[Titled]:
    """Draw the bound of every restart against the iteration: as it is, and as its distance to the best."""
    from matplotlib.figure import Figure

    group = next((g for g in ("variational", "point") if g in tree and "bound" in tree[g]), None)
    if group is None:
        return
    table = tree[group]["bound"].transpose("restart", "iteration").to_numpy()
    notes = attribute(tree, "notes")
    if notes.get("noisy_bound"):
        yield _noisy(table)
        return
    lengths = np.isfinite(table).sum(1)
    ends = np.array([row[n - 1] for row, n in zip(table, lengths, strict=True)])
    best, top = int(ends.argmax()), float(np.nanmax(table))
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    floor = 1e-6
    for i in sorted(range(len(table)), key=lambda i: i == best):
        at = np.unique(np.geomspace(1, lengths[i], POINTS).round().astype(int)) - 1
        line: dict[str, Any] = {"color": PALETTE[0], "lw": 1.6} if i == best else {"color": FAINT, "lw": 1.1}
        line |= {"marker": ".", "markersize": 4 if lengths[i] < 60 else 0}
        left.plot(at, table[i, at], **line)
        right.plot(at, np.maximum(top - table[i, at], floor), **line)
    later = table[:, 1:][np.isfinite(table[:, 1:])]
    low, high = float(later.min(initial=ends.min())), float(max(top, ends.max()))
    left.set_ylim(low - 0.05 * (high - low or 1), high + 0.08 * (high - low or 1))
    left.set(xlabel="iteration", ylabel="bound (nats)", title="The bound, after the first iteration")
    right.set(yscale="log", xlabel="iteration", ylabel="nats below the best", title="Distance to the best bound")
    for axes in (left, right):
        _iterations(axes, int(lengths[best]), int(lengths.max()))
    share = f", {notes['restarts_at_best']} of which reached the best" if "restarts_at_best" in notes else ""
    flat = "Look for lines that never fall and end flat"
    several = (
        f"{len(table)} restarts{share}; the one that was kept is blue. {flat}, and for more than one that reaches the "
        "best bound: grey lines that end higher in the right panel are local modes."
    )
    one = f"From one start. {flat}; whether other starts end higher is unknown."
    told = several if len(table) > 1 else one
    yield "Bound by iteration", f"{told} Distances below a millionth of a nat are drawn at a millionth.", figure


def _noisy(table: Array) -> Titled:
    from matplotlib.figure import Figure

    values = table[int(np.nanargmax(table[:, -1]))]
    values = values[np.isfinite(values)]
    window = max(1, len(values) // 50)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    at = np.unique(np.linspace(0, len(values) - 1, POINTS).astype(int))
    kept = np.unique(np.linspace(0, len(smooth) - 1, POINTS).astype(int))
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    axes = figure.subplots()
    axes.plot(at, values[at], color=FAINT, lw=0.6)
    axes.plot(kept + window - 1, smooth[kept], color=PALETTE[0], lw=1.6)
    low, high = np.quantile(values[len(values) // 4 :], (0.005, 0.995))
    axes.set(xlabel="iteration", ylabel="bound (nats)", ylim=(low, high + 0.1 * (high - low)))
    return (
        "Bound by iteration",
        f"Grey: the noisy estimate of the bound at {len(at):,} of {len(values):,} iterations. Blue: its mean over "
        f"the last {window} of them. Look for a blue line that has levelled off; the axis leaves out the initial rise.",
        figure,
    )


def choice(tree: xr.DataTree) -> Iterator[Titled]:
    """Draw how far each candidate size lies below the best."""
    from matplotlib.figure import Figure

    if "choice" not in tree:
        return
    table = tree["choice"].to_dataset()
    held = "held_out" in table  # what was held out decides where it was looked at
    score, scored = (
        (table["held_out"], "log density of held-out data") if held else (table["bound"], "evidence lower bound")
    )
    dim = str(score.dims[0])
    size = dim.removesuffix("_candidate")
    candidates, below = table[dim].to_numpy(), float(score.max()) - score.to_numpy()
    others = [
        f"{name.upper()} {candidates[int(table[name].to_numpy().argmin())]}"
        for name in ("bic", "icl")
        if _known(table, name)
    ]
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    named = candidates.dtype.kind not in "iu"  # values of an option
    names, candidates = candidates, np.arange(len(candidates)) if named else candidates
    axes.plot(candidates, below, color=FAINT, zorder=1)
    kept = table["chosen"].to_numpy()
    if held:
        axes.errorbar(candidates, below, table["behind_error"], fmt="none", color=PALETTE[0], linewidth=1, zorder=1)
    axes.scatter(candidates[~kept], below[~kept], s=28, color=PALETTE[0])
    axes.scatter(candidates[kept], below[kept], s=60, color=MARK, marker="D")
    for i, (x, y) in enumerate(zip(candidates, below, strict=True)):
        up = i + 1 < len(below) and below[i + 1] < y  # the line on the right leads upwards
        place, side = ((8, -11 if up else 4), "left") if held else ((0, 7), "center")  # beside a bar, off the line
        told = f"{y:,.0f}" if y >= 100 else short(round(float(y), 1))
        axes.annotate(told, (x, y), place, textcoords="offset points", ha=side)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(max(3 * below.max(), 2), -0.5)
    what = f"option {size}" if named else f"number of {plural(size)}"
    axes.set_xticks(candidates, [str(name) for name in names])
    axes.set(xlabel=what, ylabel="nats below the best", xlim=(candidates[0] - 0.5, candidates[-1] + 0.5))
    yield (
        f"Choice of the {what}",
        f"How far the {scored} of each candidate lies below the best; the diamond is the chosen one "
        f"({names[kept][0]}). {_rule(held, named)}"
        + (f" Other criteria choose: {', '.join(others)}." if others else ""),
        figure,
    )


def _rule(held: bool, named: bool) -> str:
    """Say how a candidate is chosen, and what to look for."""
    kind = "values" if named else "sizes"
    if not held:
        return f"Look for a clear peak: {kind} that lie within about a nat of it are nearly as well supported."
    rule = "" if named else "It is the smallest whose bar reaches the best. "
    return f"{rule}Bars are one standard error of the difference: {kind} whose bar reaches 0 predict about as well."


def _known(table: xr.Dataset, name: str) -> bool:
    """Whether a criterion could be computed for every candidate."""
    return name in table and bool(np.isfinite(table[name]).all())


def intervals(model: Model, found: list[Estimate]) -> Iterator[Titled]:
    """Draw estimates with their intervals, and the truth where it is known; nothing where there is neither."""
    from matplotlib.figure import Figure

    fitting = [one for one in found if one.centre.size <= MODERATE and (one.draws is not None or one.truth is not None)]
    if not fitting:
        return
    heights = [max(one.centre.size, 1.5) * 0.2 + 0.62 for one in fitting]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    grid = figure.subplots(len(fitting), 1, squeeze=False, height_ratios=heights)
    for axes, one in zip(grid[:, 0], fitting, strict=True):
        _interval_panel(axes, model, one)
    drawn, known = any(one.draws is not None for one in fitting), any(one.truth is not None for one in fitting)
    dots = (
        f"Dot: mean; thick line: the middle 50%; thin line: the middle {LEVEL:.0%}." if drawn else "Dot: the estimate."
    )
    advice = "Look for intervals too wide to answer your question, and for values whose intervals overlap."
    if known:
        rest = (
            "About one diamond in ten may lie outside its line; look for more than that."
            if drawn
            else "Look for dots away from their diamonds."
        )
        advice = f"Diamond: the true value. {rest}"
    left = [f"{one.name} ({' × '.join(map(str, one.centre.shape))})" for one in found if one.centre.size > MODERATE]
    yield (
        "Estimates with their intervals" if drawn else "Estimates beside the truth",
        f"{dots} {advice}" + (f" Too large to be drawn: {', '.join(left)}." if left else ""),
        figure,
    )


def _interval_panel(axes: "Axes", model: Model, one: Estimate) -> None:
    var = model.variables()[one.name]
    rows = np.arange(one.centre.size)
    centre = one.centre.ravel()
    ends = [centre]
    if one.draws is not None:
        for q, width in (((1 - LEVEL) / 2, 1.2), (0.25, 3.6)):
            low, high = one.quantile(q).ravel(), one.quantile(1 - q).ravel()
            axes.hlines(rows, low, high, color=PALETTE[0], lw=width)
            ends += [low, high]
    axes.plot(centre, rows, "o", color=PALETTE[0], markeredgecolor="white", markeredgewidth=0.7, markersize=6, zorder=3)
    if one.truth is not None:
        axes.plot(one.truth.ravel(), rows, "D", color="none", markeredgecolor=MARK, markersize=7, zorder=4)
        ends.append(one.truth.ravel())
    every = np.concatenate(ends)
    every = every[np.isfinite(every)]
    if every.min() > 0 and every.max() > WIDE * every.min():
        axes.set_xscale("log")
        log_ticks(axes.xaxis, *axes.get_xlim())
    labels = [one.label(index) for index in np.ndindex(*one.centre.shape)]
    axes.set_yticks(rows if one.dims else [], labels if one.dims else [])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_title(f"{var.symbol}  {one.name}" + (f"  by {', '.join(one.dims)}" if one.dims else ""))


def predictive(model: Model, tree: xr.DataTree, seed: int) -> Iterator[Titled]:
    """Draw the distribution of each declared statistic over replications, and its value in the data."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if model.statistics is None:
        return
    observed, again = replicated_statistics(model, tree, seed)
    if not observed:  # the model has none for data of this kind
        return
    columns = min(3, len(observed))
    rows = -(-len(observed) // columns)
    figure = Figure(figsize=(WIDTH, 1.85 * rows + 0.1), layout=ConstrainedLayoutEngine(hspace=0.12))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, value) in zip(grid, observed.items(), strict=False):
        values = again[name][np.isfinite(again[name])]
        every = np.append(values, value)
        wide = bool(every.min() > 0 and every.max() > WIDE * every.min())  # a few far ones would leave one bar
        if values.size:
            bins: Any = np.geomspace(values.min(), values.max(), 21) if wide else 20
            axes.hist(values, bins=bins, color=FAINT, histtype="stepfilled")
        p = tail(value, values) if values.size else np.nan
        axes.axvline(value, color=MARK, lw=1.8)
        axes.set_title(spelled(name))
        axes.set_xlabel(f"data {short(value)}; p {f'{p:.2g}' if np.isfinite(p) else '–'}")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        if wide:
            axes.set_xscale("log")
            low, high = axes.get_xlim()
            log_ticks(axes.xaxis, low, high, most=4)
        else:
            axes.locator_params(axis="x", nbins=4)
        axes.grid(False)
    for axes in grid[len(observed) :]:
        axes.set_visible(False)
    count = len(next(iter(again.values())))
    how = "draws of the posterior" if "posterior_predictive" in tree else "the estimate (ignoring its uncertainty)"
    yield (
        "Predictive checks",
        f"Grey: each statistic in {count} datasets replicated from {how}. Line: its value in the data, with the "
        "two-sided p-value of the checks: how often a replication is as extreme, on either side. Look for lines "
        "outside the grey, or at its edge: properties of the data that the model does not reproduce. Axes over a wide "
        "range are logarithmic.",
        figure,
    )


def _iterations(axes: "Axes", kept: int, longest: int) -> None:
    """Label an axis of iterations; where a restart ran far longer than the one that was kept, compress the rest."""
    from matplotlib.ticker import MaxNLocator

    linear = max(kept, 10)
    if longest <= 5 * linear:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    axes.set_xscale("symlog", linthresh=linear, linscale=1.5)
    powers = [10**k for k in range(12) if 1.5 * linear < 10**k <= longest]
    ticks = [0, linear // 2, linear, *powers]
    axes.set_xticks(ticks, [f"{t:,}" for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(-linear / 20, longest * 1.2)
    axes.set_xlabel(f"iteration (logarithmic above {linear:,})")
