"""Figures of a fit for its report: effects with the fits through them, local effects, asymmetry, single variants."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import FAINT, INK, MARK, PALETTE, WIDTH, Titled

from .estimates import oriented, variants
from .meta import meta_analysis
from .outliers import leave_one_out
from .regression import egger, ivw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REGIONS = 40
"""Rows of the forest at most: those known best."""

SINGLE = 60
"""Variants of the leave-one-out figure at most: those that move the estimate most."""

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
    if tree["constant_data"].sizes.get("region", len(centre(tree, "theta"))) > 1:
        yield forest(tree)
    if len(data[0]) >= 4:
        yield funnel(tree, data)
        yield without_each(tree, data)


def effects(tree: xr.DataTree) -> tuple[Array, Array, Array, Array]:
    """Effects and standard errors of a tree, in the order of the estimators' parameters."""
    known, observed = tree["constant_data"], tree["observed_data"]
    return (
        observed["beta_exposure"].to_numpy(),
        known["se_exposure"].to_numpy(),
        observed["beta_outcome"].to_numpy(),
        known["se_outcome"].to_numpy(),
    )


def centre(tree: xr.DataTree, name: str) -> Array:
    """Mean of the draws, or the point estimate."""
    if "posterior" in tree:
        return np.asarray(tree["posterior"][name].to_numpy().mean((0, 1)))
    return np.asarray(tree["point"][name].to_numpy())


def interval(tree: xr.DataTree, name: str) -> tuple[Array, Array] | None:
    """Return the ends of the 95 % interval, from draws."""
    if "posterior" not in tree:
        return None
    low, high = np.quantile(tree["posterior"][name].to_numpy(), (0.025, 0.975), axis=(0, 1))
    return low, high


def of_interest(tree: xr.DataTree) -> tuple[float, tuple[float, float] | None]:
    """Return the effect that a line through the variants shows, and its interval: the one region's, or the global."""
    one = len(centre(tree, "theta")) == 1
    name = "theta" if one else "global_effect"
    band = interval(tree, name)
    ends = None if band is None else (float(np.ravel(band[0])[0]), float(np.ravel(band[1])[0]))
    return float(np.ravel(centre(tree, name))[0]), ends


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
    axes.plot(ends, whole * ends, color=PALETTE[0], lw=2, label=f"hierarchical: {whole:.3g}")
    if band is not None:
        axes.fill_between(ends, band[0] * ends, band[1] * ends, color=PALETTE[0], alpha=0.15, lw=0)
    if len(shown) >= 3:
        line = ivw(*data)
        axes.plot(ends, line.estimate * ends, color=PALETTE[1], lw=1.3, ls="--", label=f"IVW: {line.estimate:.3g}")
        tilted = egger(*data)
        axes.plot(
            ends,
            tilted.intercept + tilted.estimate * ends,
            color=PALETTE[2],
            lw=1.3,
            ls=":",
            label=f"Egger: {tilted.estimate:.3g}",
        )
    axes.axhline(0, color=FAINT, lw=0.8)
    axes.set(xlabel="effect on the exposure (allele that raises it)", ylabel="effect on the outcome", xlim=(0, None))
    axes.legend(loc="best")
    left = len(shown) - len(some)
    caption = "Each dot is a variant, with one standard error either way; lines: causal effects by three methods" + (
        "; band: 95 % interval of the hierarchical model's." if band is not None else "."
    )
    return "Effects", caption + (f" {left:,} less precise variants are not drawn." if left else ""), figure


def forest(tree: xr.DataTree) -> Titled:
    """Draw the effect of each region, the global one, and where a new region's would lie."""
    from matplotlib.figure import Figure

    theta, band = centre(tree, "theta"), interval(tree, "theta")
    names = tree["posterior" if "posterior" in tree else "point"]["region"].to_numpy()
    order = np.argsort((band[1] - band[0]) if band is not None else -np.abs(theta), kind="stable")[:REGIONS]
    order = order[np.argsort(theta[order], kind="stable")]
    y = np.arange(len(order))
    figure = Figure(figsize=(WIDTH, 1.6 + 0.2 * len(order)), layout="constrained")
    axes = figure.subplots()
    if band is not None:
        axes.hlines(y, band[0][order], band[1][order], color=PALETTE[0], lw=2.5, alpha=0.45)
    axes.plot(theta[order], y, "o", color=PALETTE[0], ms=4)
    whole, tau = float(centre(tree, "global_effect")), float(centre(tree, "heterogeneity"))
    caption = "Dots: causal effects by region. "
    foot = len(order) + 0.6
    if band is not None:
        posterior = tree["posterior"]
        rng = np.random.default_rng(0)
        mean, spread = posterior["global_effect"].to_numpy().ravel(), posterior["heterogeneity"].to_numpy().ravel()
        new = np.quantile(rng.normal(mean, spread), (0.025, 0.975))
        low, high = interval(tree, "global_effect") or (whole, whole)
        axes.hlines([foot + 1], *new, color=MARK, lw=2.5, alpha=0.45)
        axes.hlines([foot], float(low), float(high), color=INK, lw=4, alpha=0.6)
        caption += "Bars: 95 % intervals; below, of the global effect, and of the effect in a new region (prediction). "
    else:
        axes.hlines([foot + 1], whole - 1.96 * tau, whole + 1.96 * tau, color=MARK, lw=2.5, alpha=0.45)
    axes.plot([whole], [foot], "D", color=INK, ms=6)
    axes.axvline(whole, color=INK, lw=0.8, ls=":")
    axes.axvline(0, color=FAINT, lw=0.8)
    if "truth" in tree and "theta" in tree["truth"]:
        axes.plot(tree["truth"]["theta"].to_numpy()[order], y, "|", color=MARK, ms=9, mew=1.5)
        caption += "Strokes: the truth of the simulation. "
    labels = [*(f"{name}" for name in names[order]), "global", "a new region"]
    axes.set_yticks([*y, foot, foot + 1], labels)
    axes.set(xlabel="causal effect", ylim=(foot + 1.7, -0.7))
    left = len(theta) - len(order)
    said = f"{caption}{left:,} less well known regions are not drawn." if left else caption.strip()
    return "Local effects", said, figure


def funnel(tree: xr.DataTree, data: tuple[Array, Array, Array, Array]) -> Titled:
    """Draw the ratios against their precision: asymmetry says that pleiotropy is not balanced."""
    from matplotlib.figure import Figure

    shown = variants(*data, least=1)
    keep = shown.x != 0
    ratio, precision = (shown.y[keep] / shown.x[keep]), np.abs(shown.x[keep]) / shown.sy[keep]
    some = np.argsort(-precision, kind="stable")[:DOTS]
    ratio, precision = ratio[some], precision[some]
    whole, _ = of_interest(tree)
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    heights = np.linspace(precision.max() * 0.05, precision.max() * 1.05, 100)
    axes.fill_betweenx(heights, whole - 1.96 / heights, whole + 1.96 / heights, color=FAINT, alpha=0.35, lw=0)
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
        "Each dot is a variant; the funnel holds 95 % of them around the estimate if only the outcome's errors "
        "are at work. Asymmetry points to directional pleiotropy."
    )
    return "Funnel", caption + (f" Crosses: {beyond.sum():,} ratios beyond the edge." if beyond.any() else ""), figure


def without_each(tree: xr.DataTree, data: tuple[Array, Array, Array, Array]) -> Titled:
    """Draw the IVW estimate without each variant, or without each region where there are several."""
    from matplotlib.figure import Figure

    region = tree["constant_data"]["region"].to_numpy()
    several = region.max() > 0 and len(np.unique(region)) >= 4
    if several:
        names = tree["posterior" if "posterior" in tree else "point"]["region"].to_numpy()
        found = regions_out(data, region, len(names))
        what = "region"
    else:
        names = tree["observed_data"]["variant"].to_numpy()
        found, what = [(e.estimate, *e.ci) for e in leave_one_out(*data)], "variant"
    values = np.array(found)
    all_of_them = ivw(*data)
    order = np.argsort(-np.abs(values[:, 0] - all_of_them.estimate), kind="stable")[:SINGLE]
    order = order[np.argsort(values[order, 0], kind="stable")]
    y = np.arange(len(order))
    figure = Figure(figsize=(WIDTH, 1.3 + 0.17 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(y, values[order, 1], values[order, 2], color=PALETTE[0], lw=2, alpha=0.45)
    axes.plot(values[order, 0], y, "o", color=PALETTE[0], ms=3.5)
    axes.axvline(all_of_them.estimate, color=INK, lw=0.8, ls=":")
    axes.axvline(0, color=FAINT, lw=0.8)
    axes.set_yticks(y, [str(names[j]) for j in order])
    axes.set(xlabel="IVW estimate", ylim=(len(order) - 0.4, -0.6))
    left = len(values) - len(order)
    caption = f"IVW estimate and 95 % interval without each {what}; dotted: with all." + (
        f" Not drawn are {left:,} that move it less." if left else ""
    )
    return "Leave one out", caption, figure


def regions_out(data: tuple[Array, ...], region: Array, S: int) -> list[tuple[float, float, float]]:
    """IVW estimate and interval without each region; shape (S, 3)."""
    out: list[Any] = []
    for s in range(S):
        kept = ivw(*(part[region != s] for part in data))
        out.append((kept.estimate, *kept.ci))
    return out


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
