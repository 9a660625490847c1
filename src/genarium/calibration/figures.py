"""The figures of a validation; shapes: R replicates, Q quantities."""

from collections.abc import Callable, Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from genarium.calibration.curves import (
    CONFIDENCE,
    LEVELS,
    binomial_band,
    bins,
    coverage,
    ecdf_differences,
    matrix,
    outside,
    rank_counts,
    spans,
    z_and_contraction,
)
from genarium.declaration import Array
from genarium.drawing import FAINT, INK, MARK, PALETTE, WIDTH, Titled, log_ticks
from genarium.engines.resample import KHAT_GOOD, KHAT_USABLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from genarium.calibration.outcome import Outcome
    from genarium.calibration.recovery import Recovery

PANELS = 24
"""Quantities that are drawn, at most: of more, those farthest from what is expected."""

FEW = 10
"""Replicates that a distribution is drawn of, at least."""

VECTOR = 4000
"""Points of a scatter above which they are drawn as pixels."""

DENSITIES = ("log_likelihood", "log_prior")
"""What is ranked, but is nothing that one estimates."""

REACH = 6.0
"""z-scores beyond this are drawn at the edge."""

GREY = "#8a90993d"

NARROW = 24
"""Letters of a name that a panel has room for in a line."""


def figures(found: "Outcome", recovery: "Recovery | None" = None) -> Iterator[Titled]:
    """Yield the figures of a validation: (title, caption, figure), as far as its results allow.

    Parameters
    ----------
    found : Outcome
    recovery : Recovery, optional
        Error against the size of the data.
    """
    tree = found.tree
    pit_group = f"{found.plan['kind']}_sbc_pit"
    if pit_group in tree and (pit := matrix(tree, pit_group))[1].shape[0] >= FEW:
        names, values = _worst(*pit, -np.array([found.quantities[name]["p"] for name in pit[0]]))
        yield _ecdf(names, values)
        yield _ranks(names, values, found.plan["ranks"], found.plan["claim"])
        yield _coverage(names, values)
    if "estimate" in tree and matrix(tree, "estimate")[1].shape[0] >= FEW:
        names, mean = matrix(tree, "estimate")
        truth = matrix(tree, "truth")[1]
        sd = matrix(tree, "spread")[1] if "spread" in tree else None
        keep = [j for j, name in enumerate(names) if name not in DENSITIES]
        names, mean, truth = [names[j] for j in keep], mean[:, keep], truth[:, keep]
        if sd is not None:
            sd = sd[:, keep]
            yield _shrinkage(names, mean, truth, sd, found.plan["kind"])
        yield _scatter(names, mean, truth, sd)
    if "khat" in tree["runs"]:
        khat = tree["runs"]["khat"].to_numpy()
        if np.isfinite(khat).sum() >= FEW:
            yield _khat(khat[np.isfinite(khat)])
    if recovery is not None and np.isfinite(recovery.slope):
        yield _growth(recovery)


def _worst(names: list[str], values: Array, badness: Array) -> tuple[list[str], Array]:
    """Keep the worst, in their order."""
    kept = np.sort(np.argsort(-badness, kind="stable")[:PANELS])
    return [names[j] for j in kept], values[:, kept]


def _left_out(names: list[str]) -> str:
    return f" Of all quantities, the {PANELS} farthest from uniform are drawn." if len(names) == PANELS else ""


def _panels(
    names: list[str], draw: Callable[["Axes", int], None], x: str, y: str, height: float = 1.35, **shared: Any
) -> "Figure":
    """Draw a panel for each quantity."""
    from matplotlib.figure import Figure

    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH * (0.25 + 0.75 * columns / 4), height * rows + 0.35), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for j, (axes, name) in enumerate(zip(grid, names, strict=False)):
        draw(axes, j)
        axes.set_title("\n".join(wrap(name, NARROW)))
        if shared.get("sharex") and j + columns >= len(names):
            axes.tick_params(labelbottom=True)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel(x)
    figure.supylabel(y)
    return figure


def _said(names: list[str], marked: Array, what: str, none: str) -> str:
    """List the quantities that are marked."""
    listed = [name for name, one in zip(names, marked, strict=True) if one]
    return f"{what}: {', '.join(listed)}." if listed else none


def _ecdf(names: list[str], pit: Array) -> Titled:
    x, difference, lower, upper = ecdf_differences(pit)
    left = outside(difference, lower, upper).any(0)

    def draw(axes: "Axes", j: int) -> None:
        axes.fill_between(x, lower, upper, color=GREY, lw=0)
        axes.axhline(0, color=FAINT, lw=0.8)
        axes.plot(x, difference[:, j], color=MARK if left[j] else PALETTE[0], lw=1.4)
        axes.set(xticks=[0, 0.5, 1], xlim=(0, 1))

    figure = _panels(names, draw, "PIT of the truth", "ECDF − uniform", sharex=True, sharey=True)
    caption = (
        f"Distribution of the truth's place in the posterior (PIT, 0 to 1) over {len(pit)} replicates, minus the "
        f"uniform one. Grey: simultaneous {CONFIDENCE:.0%} band; a calibrated quantity stays inside it in 19 of "
        "20 cases (the checks above allow for the number of quantities). Look for orange lines, which leave it. A line "
        "above zero: the posterior lies too high; below: too low; first above, then below: too narrow; first below, "
        "then above: too wide. "
    )
    none = "No line leaves its band."
    return "Are ranks uniform?", caption + _said(names, left, "Outside", none) + _left_out(names), figure


def _ranks(names: list[str], pit: Array, ranks: int, claim: str) -> Titled:
    number = bins(ranks, len(pit))
    counts = rank_counts(pit, number)
    low, high = (float(edge) * len(pit) for edge in binomial_band(len(pit), np.array(1 / number)))
    width = (ranks + 1) / number
    left = np.arange(number) * width

    def draw(axes: "Axes", j: int) -> None:
        axes.axhspan(low, high, color=GREY, lw=0)
        axes.axhline(len(pit) / number, color=FAINT, lw=0.8)
        odd = (counts[:, j] < low) | (counts[:, j] > high)
        axes.bar(left, counts[:, j], width * 0.86, align="edge", color=np.where(odd, MARK, PALETTE[0]), alpha=0.85)
        axes.set(xticks=[0, (ranks + 1) // 2, ranks + 1], xlim=(0, ranks + 1))
        axes.grid(False, axis="x")

    figure = _panels(names, draw, f"rank of the truth among {ranks} draws", "replicates", sharex=True, sharey=True)
    vsbc = (
        " This is also the histogram of Pr(θ < truth) of VSBC: if it is lopsided, the approximation is biased in its "
        "location and not only in its width."
    )
    caption = (
        f"{number} bins. Grey: where {CONFIDENCE:.0%} of the bars of a calibrated quantity lie; orange bars lie "
        "outside. Look for a ∪ (too narrow), a hump (too wide), a slope up (too low) or down (too high)."
    )
    return "Ranks of the truth", caption + (vsbc if claim == "approximate" else "") + _left_out(names), figure


def _coverage(names: list[str], pit: Array) -> Titled:
    share = coverage(pit)
    low, high = binomial_band(len(pit), LEVELS)
    odd = outside(share, low, high)

    def draw(axes: "Axes", j: int) -> None:
        axes.fill_between(LEVELS, low - LEVELS, high - LEVELS, color=GREY, lw=0)
        axes.axhline(0, color=FAINT, lw=0.8)
        beyond = share[:, j] - LEVELS
        axes.plot(LEVELS, beyond, color=PALETTE[0], lw=1.2)
        axes.plot(LEVELS[odd[:, j]], beyond[odd[:, j]], ".", color=MARK, markersize=6)
        axes.set(xticks=[0, 0.5, 1], xlim=(0, 1))

    figure = _panels(names, draw, "level of the central interval", "coverage − level", sharex=True, sharey=True)
    caption = (
        "How much more or less often the truth lies in a central interval than its level says, for levels from 5% to "
        f"95%. Grey: pointwise {CONFIDENCE:.0%} binomial band; orange dots lie outside. Look for lines that run below "
        "the band (too narrow: overconfident) or above it (too wide). "
    )
    none = "No line leaves it at more than a fifth of the levels."
    far = odd.mean(0) > 0.2
    said = _said(names, far, "Outside at more than a fifth of the levels", none)
    return "Coverage by level", caption + said + _left_out(names), figure


def _shrinkage(names: list[str], mean: Array, truth: Array, sd: Array, kind: str) -> Titled:
    from matplotlib.figure import Figure

    z, contraction = z_and_contraction(mean, truth, sd)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=FAINT, lw=0.8)
    members: dict[str, list[int]] = {}
    for j, name in enumerate(names):
        members.setdefault(name.split("[")[0], []).append(j)
    known = contraction[np.isfinite(contraction)]
    left = max(-0.5, float(np.quantile(known, 0.01)) - 0.03) if known.size else 0.0
    for i, (name, columns) in enumerate(members.items()):
        x, y = contraction[:, columns].ravel().clip(left), z[:, columns].ravel().clip(-REACH, REACH)
        color, marker = PALETTE[i % len(PALETTE)], "os^DvPX*"[i // len(PALETTE) % 8]
        axes.scatter(
            x, y, s=13, marker=marker, color=color, alpha=0.55, linewidths=0, label=name, rasterized=z.size > VECTOR
        )
    limit = max(3.0, min(REACH, float(np.nanmax(np.abs(z), initial=0)))) * 1.06
    axes.set(ylim=(-limit, limit), xlabel="contraction, 1 − posterior variance / prior variance", ylabel="z-score")
    axes.set_xlim(left - 0.02 * (1 - left), 1 + 0.03 * (1 - left))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.1, markerscale=1.6)
    beyond = int(((np.abs(z) > REACH) | (contraction < left)).sum())
    prior = "prior" if kind == "prior" else "posterior given your data"
    caption = (
        "z-score: (posterior mean − truth) / posterior sd; a point for each replicate and quantity. The variance of "
        f"the {prior} is taken from the truths. To the right the data are informative, to the left they are hardly so. "
        "Points should lie within ±2 or 3; those farther out on the right are overconfident."
    )
    return "z-score and contraction", caption + (f" Drawn at the edges: {beyond} beyond them." * (beyond > 0)), figure


def _scatter(names: list[str], mean: Array, truth: Array, sd: Array | None) -> Titled:
    relative = ((mean - truth) ** 2).mean(0) / np.maximum(truth.var(0), 1e-300)
    order, _ = _worst(names, mean, relative)
    chosen = [names.index(name) for name in order]
    logarithmic = []

    def draw(axes: "Axes", k: int) -> None:
        j = chosen[k]
        x, y = truth[:, j], mean[:, j]
        both = np.concatenate([x, y])
        both = both[np.isfinite(both)]
        low, high = float(both.min()), float(both.max())
        if low > 0 and spans(x) > (10 if high > 1 else 100):
            logarithmic.append(names[j])
            low, high = low / 1.4, high * 1.4
            axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
            log_ticks(axes.xaxis, low, high, most=3)
            log_ticks(axes.yaxis, low, high, most=3)
        else:
            pad = 0.06 * (high - low) or 1.0
            low, high = low - pad, high + pad
            axes.set(xlim=(low, high), ylim=(low, high))
            axes.locator_params(nbins=4)
            if max(-low, high) >= 100:  # wide labels
                axes.locator_params(axis="x", nbins=2)
        axes.plot([low, high], [low, high], color=INK, lw=0.8)
        pixels = len(names) * len(x) > VECTOR
        if sd is not None:
            least = low / 10 if logarithmic and logarithmic[-1] == names[j] else -np.inf
            bottom = np.maximum(y - sd[:, j], least)
            axes.vlines(x, bottom, y + sd[:, j], color=PALETTE[0], lw=0.8, alpha=0.35, rasterized=pixels)
        axes.scatter(x, y, s=7, color=PALETTE[0], alpha=0.7, linewidths=0, rasterized=pixels)

    figure = _panels(order, draw, "truth", "estimate", height=1.9)
    bars = " Bars: one posterior sd to each side." if sd is not None else ""
    caption = (
        f"Estimate ({'posterior mean' if sd is not None else 'the point'}) against the truth, a dot for each "
        f"replicate; the line is where they agree.{bars} Look for dots far from the line, and for clouds that lie "
        f"beside it or are flatter."
    )
    some = " Logarithmic axes where positive values span decades." if logarithmic else ""
    left = f" Of all quantities, the {PANELS} with the largest errors, in units of the truth's sd, are drawn."
    return "Recovery of the truth", caption + some + left * (len(names) > PANELS), figure


def _khat(khat: Array) -> Titled:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
    axes = figure.subplots()
    low, high = min(0.0, float(khat.min())), max(1.0, float(np.quantile(khat, 0.98)))
    axes.hist(khat.clip(low, high), bins=np.linspace(low, high, 31).tolist(), color=PALETTE[0], alpha=0.85)
    for place, word in ((KHAT_GOOD, "good below"), (KHAT_USABLE, "usable below")):
        axes.axvline(place, color=MARK, lw=1.4)
        axes.text(place, 1.02, f"{word} {place:g} ", transform=axes.get_xaxis_transform(), ha="right")
    axes.set(xlabel="Pareto k-hat", ylabel="replicates", xlim=(low, high))
    beyond = int((khat > high).sum())
    caption = (
        f"How far the approximation is from the posterior, by replicate: {np.mean(khat <= KHAT_GOOD):.0%} are good, "
        f"{np.mean(khat <= KHAT_USABLE):.0%} good or usable. To the right of both lines not even importance weights "
        "can correct the approximation."
    )
    return "Pareto k-hat", caption + (f" In the last bar: {beyond} beyond {high:.2g}." * (beyond > 0)), figure


def _growth(recovery: "Recovery") -> Titled:
    from matplotlib.figure import Figure

    sizes = np.array(recovery.sizes)
    log_error = np.log(np.maximum(np.abs(recovery.error), 1e-300))
    kept = log_error[~np.isnan(log_error).any((1, 2))]  # (truths, sizes, Q)
    each, typical = np.exp(kept.mean(0)), np.exp(kept.mean((0, 2)))
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    members = list(dict.fromkeys(name.split("[")[0] for name in recovery.names))
    for j, name in enumerate(recovery.names):
        own = members.index(name.split("[")[0])
        label = members[own] if name.split("[")[0] not in axes.get_legend_handles_labels()[1] else None
        if each[:, j].min() > 1e-30:  # an error of exactly zero has no logarithm
            axes.plot(sizes, each[:, j], color=PALETTE[own % len(PALETTE)], lw=0.9, alpha=0.7, label=label)
    centre = np.exp(np.log(typical).mean()), np.exp(np.log(sizes).mean())
    axes.plot(sizes, centre[0] * (sizes / centre[1]) ** -0.5, "--", color=MARK, lw=1.5, label="slope −1/2")
    axes.plot(sizes, typical, "o-", color=INK, lw=2, markersize=4, label="all")
    axes.set(xscale="log", yscale="log", xlabel="units in the data, N", ylabel="geometric mean of |error|")
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.set_xticks([], minor=True)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    caption = (
        f"Error of the estimates of {len(kept)} truths as the data grow; slope of the thick line "
        f"{recovery.slope:.2f} ± {recovery.standard_error:.2f}. Look for lines that do not fall along the dashed one."
    )
    return "Error against the size of the data", caption, figure
