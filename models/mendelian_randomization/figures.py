"""Figures of a fit for its report: effects with the fits through them, local effects, asymmetry, single variants."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import FAINT, INK, MARK, PALETTE, WIDTH, Titled
from genarium.estimates import LEVEL
from genarium.found import centre_and_ends, named, short

from .estimates import oriented, variants
from .meta import meta_analysis
from .regression import egger, ivw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REGIONS = 40
"""Rows of the forest at most: those known best."""

SINGLE = 60
"""Variants of the leave-one-out figure at most: those that move the estimate most."""

USABLE = 0.7
"""Pareto k-hat up to which importance weights are worth something."""

DOTS = 3000
"""Dots of a figure at most, the most precise ones."""


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
    if "region" not in tree["constant_data"]:  # a design whose variants are no independent dots around one line
        return
    data = effects(tree)
    yield scatter(tree, data)
    if not of_one_region(tree):
        yield forest(tree)
    if len(data[0]) >= 4:
        yield funnel(tree, data)
        yield from without_each(tree)


def effects(tree: xr.DataTree) -> tuple[Array, Array, Array, Array]:
    """Effects and standard errors of a tree, in the order of the estimators' parameters."""
    known, observed = tree["constant_data"], tree["observed_data"]
    return (
        observed["beta_exposure"].to_numpy(),
        known["se_exposure"].to_numpy(),
        observed["beta_outcome"].to_numpy(),
        known["se_outcome"].to_numpy(),
    )


def of_one_region(tree: xr.DataTree) -> bool:
    """Whether there is one region, whose effect is the one of interest."""
    return bool(tree["posterior"].sizes["region"] == 1)


def of_interest(tree: xr.DataTree) -> tuple[float, tuple[float, float]]:
    """Return the effect that a line through the variants shows, and its interval: the one region's, or the global."""
    value, ends = centre_and_ends(tree, "theta" if of_one_region(tree) else "global_effect")
    assert ends is not None  # there are draws
    low, high = (float(np.ravel(end)[0]) for end in ends)
    return float(value.ravel()[0]), (low, high)


def scatter(tree: xr.DataTree, data: tuple[Array, Array, Array, Array]) -> Titled:
    """Draw effects on the outcome against those on the exposure, with the fits through them."""
    from matplotlib.figure import Figure

    shown = oriented(variants(*data, least=1))
    some = np.argsort(shown.sy, kind="stable")[:DOTS]
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    axes = figure.subplots()
    x, y, sx, sy = (part[some] for part in (shown.x, shown.y, shown.sx, shown.sy))
    axes.hlines(y, x - sx, x + sx, color=FAINT, lw=0.7)
    axes.vlines(x, y - sy, y + sy, color=FAINT, lw=0.7)
    axes.plot(x, y, "o", color=INK, ms=3, alpha=0.7)
    ends = np.array([0, 1.05 * float(x.max())])
    whole, band = of_interest(tree)
    axes.plot(ends, whole * ends, color=PALETTE[0], lw=2, label=f"hierarchical: {short(whole)}")
    axes.fill_between(ends, band[0] * ends, band[1] * ends, color=PALETTE[0], alpha=0.15, lw=0)
    if len(shown) >= 3:
        line = ivw(*data)
        axes.plot(ends, line.estimate * ends, color=PALETTE[1], lw=1.3, ls="--", label=f"IVW: {short(line.estimate)}")
        tilted = egger(*data)
        axes.plot(
            ends,
            tilted.intercept + tilted.estimate * ends,
            color=PALETTE[2],
            lw=1.3,
            ls=":",
            label=f"Egger: {short(tilted.estimate)}",
        )
    axes.axhline(0, color=FAINT, lw=0.8)
    axes.set(xlabel="effect on the exposure (allele that raises it)", ylabel="effect on the outcome", xlim=(0, None))
    axes.legend(loc="best")
    left = len(shown) - len(some)
    caption = (
        "Each dot is a variant, with one standard error either way; lines: causal effects by three methods; band: "
        f"{LEVEL:.0%} interval of the hierarchical model."
    )
    return (
        "Effects of the variants",
        caption + (f" {left:,} less precise variants are not drawn." if left else ""),
        figure,
    )


def forest(tree: xr.DataTree) -> Titled:
    """Draw the effect of each region, the global one, and where a new region's would lie."""
    from matplotlib.figure import Figure

    theta, band = centre_and_ends(tree, "theta")
    assert band is not None  # there are draws
    names = tree["posterior"]["region"].to_numpy()
    order = np.argsort(band[1] - band[0], kind="stable")[:REGIONS]
    order = order[np.argsort(theta[order], kind="stable")]
    y = np.arange(len(order))
    figure = Figure(figsize=(WIDTH, 1.6 + 0.2 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(y, band[0][order], band[1][order], color=PALETTE[0], lw=2.5, alpha=0.45)
    axes.plot(theta[order], y, "o", color=PALETTE[0], ms=4)
    whole, ends = of_interest(tree)
    foot = len(order) + 0.6
    axes.hlines([foot + 1], *prediction(tree), color=MARK, lw=2.5, alpha=0.45)
    axes.hlines([foot], *ends, color=INK, lw=4, alpha=0.6)
    axes.plot([whole], [foot], "D", color=INK, ms=6)
    axes.axvline(whole, color=INK, lw=0.8, ls=":")
    axes.axvline(0, color=FAINT, lw=0.8)
    caption = (
        f"Dots: causal effects by region; bars: {LEVEL:.0%} intervals; last rows: the mean effect over "
        "regions, and the effect in a new region (prediction). "
    )
    if "truth" in tree and "theta" in tree["truth"]:
        axes.plot(tree["truth"]["theta"].to_numpy()[order], y, "|", color=MARK, ms=9, mew=1.5)
        caption += "Strokes: true values. "
    labels = [
        *(named("region", name) for name in names[order]),
        "mean",
        "a new region",
    ]
    axes.set_yticks([*y, foot, foot + 1], labels)
    axes.set(xlabel="causal effect", ylim=(foot + 1.7, -0.7))
    left = len(theta) - len(order)
    said = f"{caption}{left:,} regions with wider intervals are not drawn." if left else caption.strip()
    return "Local effects", said, figure


def prediction(tree: xr.DataTree) -> tuple[float, float]:
    """Return the ends of the interval of the effect in a new region."""
    from scipy.special import ndtri

    mean, spread = (tree["posterior"][name].to_numpy().ravel() for name in ("global_effect", "heterogeneity"))
    each = mean[:, None] + spread[:, None] * ndtri((np.arange(100) + 0.5) / 100)  # no chance beyond that of the draws
    low, high = np.quantile(each, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def funnel(tree: xr.DataTree, data: tuple[Array, Array, Array, Array]) -> Titled:
    """Draw the ratios against their precision: asymmetry says that pleiotropy is not balanced."""
    from matplotlib.figure import Figure
    from scipy.stats import norm

    shown = variants(*data, least=1)
    keep = shown.x != 0
    ratio, precision = (shown.y[keep] / shown.x[keep]), np.abs(shown.x[keep]) / shown.sy[keep]
    some = np.argsort(-precision, kind="stable")[:DOTS]
    ratio, precision = ratio[some], precision[some]
    whole, _ = of_interest(tree)
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    heights = np.linspace(precision.max() * 0.005, precision.max() * 1.05, 100)
    reach = float(norm.ppf((1 + LEVEL) / 2))
    axes.fill_betweenx(heights, whole - reach / heights, whole + reach / heights, color=FAINT, alpha=0.35, lw=0)
    axes.axvline(whole, color=PALETTE[0], lw=1.5)
    reach = 4 * float(np.median(1 / precision)) + abs(whole)
    inside = np.abs(ratio - whole) <= reach
    axes.plot(ratio[inside], precision[inside], "o", color=INK, ms=3, alpha=0.7)
    beyond = ~inside
    edge = whole + np.sign(ratio[beyond] - whole) * reach
    axes.plot(edge, precision[beyond], "x", color=MARK, ms=4)
    axes.set(xlabel="ratio of a variant's effects", ylabel="precision of the ratio (1 / standard error)")
    axes.set(xlim=(whole - 1.06 * reach, whole + 1.06 * reach), ylim=(0, 1.05 * precision.max()))
    caption = (
        f"Each dot is a variant; the funnel would hold {LEVEL:.0%} of them if the errors of the outcome were the only "
        "source of scatter. Asymmetry points to directional pleiotropy."
    )
    return (
        "Funnel",
        caption + (f" Crosses at the edges: ratios that lie farther out ({beyond.sum():,})." if beyond.any() else ""),
        figure,
    )


def without_each(tree: xr.DataTree) -> Iterator[Titled]:
    """Draw the model's own effect without each variant, or without each region where there are several."""
    from matplotlib.figure import Figure

    if "log_likelihood" not in tree:
        return
    draws = tree["posterior"]["theta" if of_one_region(tree) else "global_effect"].to_numpy().ravel()
    pointwise = tree["log_likelihood"]["beta_exposure"].to_numpy().reshape(len(draws), -1)
    region = tree["constant_data"]["region"].to_numpy()
    what = "variant" if of_one_region(tree) else "region"
    names = tree["posterior" if what == "region" else "observed_data"][what].to_numpy()
    if what == "region":
        pointwise = np.stack([pointwise[:, region == s].sum(1) for s in range(len(names))], 1)
    found, khat = left_out(draws, pointwise)
    whole, band = of_interest(tree)
    order = np.argsort(-np.abs(found[:, 0] - whole), kind="stable")[:SINGLE]
    order = order[np.argsort(found[order, 0], kind="stable")]
    y, usable = np.arange(len(order)), khat[order] <= USABLE
    figure = Figure(figsize=(WIDTH, 0.9 + 0.19 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(*band, color=PALETTE[0], alpha=0.1, lw=0)
    for these, color in ((usable, PALETTE[0]), (~usable, MARK)):
        axes.hlines(y[these], *found[order[these], 1:].T, color=color, lw=2, alpha=0.6)
        axes.plot(found[order[these], 0], y[these], "o", color=color, ms=3.5)
    axes.axvline(whole, color=INK, lw=0.8, ls=":")
    axes.set_yticks(y, [named(what, names[j]) for j in order])
    axes.grid(False, axis="y")
    axes.set(xlabel=f"causal effect without the {what}", ylim=(len(order) - 0.4, -0.6))
    left, off = len(found) - len(order), int((~usable).sum())
    caption = (
        f"The hierarchical model's effect and its {LEVEL:.0%} interval without each {what}, by importance weights; "
        f"dotted line and band: with all of them. Look for rows that leave the band: the effect rests on that {what}."
        + (
            f" Orange: unreliable weights (k-hat above {USABLE}) in {off} of the rows; fit again without these."
            if off
            else ""
        )
        + (f" The {left:,} that move it least are not drawn." if left else "")
    )
    yield "Leave one out", caption, figure


def left_out(draws: Array, log_likelihood: Array) -> tuple[Array, Array]:
    """Return mean and ends of the interval of draws without each observation, and the k-hat of the weights.

    Parameters
    ----------
    draws : ndarray, shape (S,)
    log_likelihood : ndarray, shape (S, N)

    Returns
    -------
    found : ndarray, shape (N, 3)
    khat : ndarray, shape (N,)
        Of the Pareto-smoothed weights 1 / likelihood (Vehtari, Gelman and Gabry 2017).
    """
    from arviz_stats.base import array_stats

    order = np.argsort(draws, kind="stable")
    found, khat = np.empty((log_likelihood.shape[1], 3)), np.empty(log_likelihood.shape[1])
    for j, values in enumerate(log_likelihood.T):
        weight = np.full(len(draws), 1 / len(draws))
        khat[j] = -np.inf
        if np.ptp(values) > 0:
            log_weight, khat[j] = array_stats.psislw(values, axis=-1)
            weight = np.exp(log_weight - log_weight.max())
            weight /= weight.sum()
        below = np.cumsum(weight[order]) - weight[order] / 2
        ends = np.interp(((1 - LEVEL) / 2, (1 + LEVEL) / 2), below, draws[order])
        found[j] = weight @ draws, *ends
    return found, khat


def meta_forest(y: Array, v: Array, names: Array | None = None) -> "Figure":
    """Draw effects, their random-effects mean (REML) and its prediction interval.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
        Effects and sampling variances, such as a causal effect for each sequence.
    names : ndarray, shape (k,), optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    found = meta_analysis(y, v)
    some = np.argsort(v, kind="stable")[:REGIONS]
    some = some[np.argsort(y[some], kind="stable")]
    at = np.arange(len(some))
    figure = Figure(figsize=(WIDTH, 1.6 + 0.2 * len(some)), layout="constrained")
    axes = figure.subplots()
    reach = 1.96 * np.sqrt(v[some])
    axes.hlines(at, y[some] - reach, y[some] + reach, color=PALETTE[0], lw=2.5, alpha=0.45)
    axes.plot(y[some], at, "o", color=PALETTE[0], ms=4)
    foot = len(some) + 0.6
    axes.hlines([foot], *found.ci, color=INK, lw=4, alpha=0.6)
    axes.plot([found.mu], [foot], "D", color=INK, ms=6)
    axes.hlines([foot + 1], *found.prediction_interval, color=MARK, lw=2.5, alpha=0.45)
    axes.axvline(0, color=FAINT, lw=0.8)
    labels = [str(j if names is None else names[j]) for j in some]
    axes.set_yticks([*at, foot, foot + 1], [*labels, "mean", "prediction"])
    axes.set(xlabel="causal effect", ylim=(foot + 1.7, -0.7))
    return figure
