"""Figures of a table of estimates: effects with their lines, single variants, funnel, leave one out."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from genarium.drawing import FAINT, INK, PALETTE, WIDTH, Titled
from genarium.found import short

from .estimates import oriented
from .mr_table import MrTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 60
"""Variants of a forest at most: those known best, or that move the estimate most."""

LINES = ("IVW", "Egger", "Weighted median", "RAPS", "Bayesian model")


def drawn(found: MrTable) -> Iterator[Titled]:
    """Make the figures.

    Parameters
    ----------
    found : MrTable
        Of three variants or more.

    Yields
    ------
    title, caption : str
    figure : matplotlib.figure.Figure
    """
    yield scatter(found)
    yield methods(found)
    yield single(found)
    yield funnel(found)
    if any(np.isfinite(row.estimate) for row in found.without):
        yield without_each(found)


def _axes(height: float) -> "tuple[Figure, Any]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def scatter(found: MrTable) -> Titled:
    """Draw effects on the outcome against those on the exposure, with the methods' lines."""
    figure, axes = _axes(4.8)
    data = oriented(found.data)
    axes.hlines(data.y, data.x - data.sx, data.x + data.sx, color=FAINT, lw=0.7)
    axes.vlines(data.x, data.y - data.sy, data.y + data.sy, color=FAINT, lw=0.7)
    axes.plot(data.x, data.y, "o", color=INK, ms=3, alpha=0.7)
    ends = np.array([0, 1.05 * float(data.x.max())])
    for color, row in zip(PALETTE, (r for r in found.rows if r.method in LINES), strict=False):
        start = found.pleiotropy[0] if row.method == "Egger" and found.pleiotropy else 0.0
        axes.plot(ends, start + row.estimate * ends, color=color, lw=1.4, label=f"{row.method}: {short(row.estimate)}")
    axes.axhline(0, color=FAINT, lw=0.8)
    axes.set(xlabel="effect on the exposure (allele that raises it)", ylabel="effect on the outcome", xlim=(0, None))
    axes.legend(loc="best")
    return "Effects", "Each dot is a variant, with one standard error either way; lines: estimates.", figure


def _forest(axes: Any, names: list[str], values: np.ndarray[Any, Any], line: float) -> None:
    """Draw estimates (n, 3) with their intervals, one below the other."""
    at = np.arange(len(names))
    axes.hlines(at, values[:, 1], values[:, 2], color=PALETTE[0], lw=2, alpha=0.45)
    axes.plot(values[:, 0], at, "o", color=PALETTE[0], ms=3.5)
    axes.axvline(line, color=INK, lw=0.8, ls=":")
    axes.axvline(0, color=FAINT, lw=0.8)
    axes.set_yticks(at, names)
    axes.set(xlabel="causal effect", ylim=(len(names) - 0.4, -0.6))


def methods(found: MrTable) -> Titled:
    """Draw the estimates of all methods."""
    rows = [row for row in found.rows if np.isfinite([row.estimate, *row.ci]).all()]
    figure, axes = _axes(1.2 + 0.22 * len(rows))
    _forest(axes, [r.method for r in rows], np.array([[r.estimate, *r.ci] for r in rows]), found.rows[0].estimate)
    return "Methods", f"Estimates with their {100 * found.level:g}% intervals; dotted: IVW.", figure


def single(found: MrTable) -> Titled:
    """Draw the ratio of each variant."""
    data = found.data
    some = np.flatnonzero(data.x != 0)
    ratio, se = data.y[some] / data.x[some], np.abs(data.sy[some] / data.x[some])
    best = np.argsort(se, kind="stable")[:SHOWN]
    best = best[np.argsort(ratio[best], kind="stable")]
    figure, axes = _axes(1.3 + 0.17 * len(best))
    values = np.stack([ratio[best], ratio[best] - 1.96 * se[best], ratio[best] + 1.96 * se[best]], 1)
    _forest(axes, [found.names[some[j]] for j in best], values, found.rows[0].estimate)
    left = len(data) - len(best)
    caption = "Ratio of each variant's effects, with its 95% interval; dotted: IVW."
    return "Single variants", caption + (f" The {left:,} least precise are not drawn." if left else ""), figure


def funnel(found: MrTable) -> Titled:
    """Draw the ratios against their precision."""
    data = found.data
    some = data.x != 0
    ratio, precision = data.y[some] / data.x[some], np.abs(data.x[some]) / data.sy[some]
    whole = found.rows[0].estimate
    reach = 4 * float(np.median(1 / precision)) + abs(whole)
    figure, axes = _axes(4.4)
    heights = np.linspace(precision.max() * 0.005, precision.max() * 1.05, 100)
    axes.fill_betweenx(heights, whole - 1.96 / heights, whole + 1.96 / heights, color=FAINT, alpha=0.35, lw=0)
    axes.axvline(whole, color=PALETTE[0], lw=1.5)
    axes.plot(np.clip(ratio, whole - reach, whole + reach), precision, "o", color=INK, ms=3, alpha=0.7)
    axes.set(xlabel="ratio of a variant's effects", ylabel="precision of the ratio (1 / standard error)")
    axes.set(xlim=(whole - 1.06 * reach, whole + 1.06 * reach), ylim=(0, 1.05 * precision.max()))
    caption = (
        "Each dot is a variant; ratios beyond an edge are drawn on it. The grey funnel would hold 95% of them if "
        "errors of the outcome were the only source of scatter. Asymmetry points to directional pleiotropy."
    )
    return "Funnel", caption, figure


def without_each(found: MrTable) -> Titled:
    """Draw IVW without each variant."""
    rows = [row for row in found.without if np.isfinite([row.estimate, *row.ci]).all()]
    values = np.array([[row.estimate, *row.ci] for row in rows])
    whole = found.rows[0].estimate
    most = np.argsort(-np.abs(values[:, 0] - whole), kind="stable")[:SHOWN]
    most = most[np.argsort(values[most, 0], kind="stable")]
    figure, axes = _axes(1.3 + 0.17 * len(most))
    _forest(axes, [rows[j].method for j in most], values[most], whole)
    left = len(values) - len(most)
    caption = f"IVW without each variant, with its {100 * found.level:g}% interval; dotted: with all."
    return "Leave one out", caption + (f" The {left:,} that move it least are not drawn." if left else ""), figure
