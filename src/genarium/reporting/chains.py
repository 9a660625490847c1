"""The figure of Markov chains: traces and ranks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from genarium.declaration import Array, Model
from genarium.drawing import INK, PALETTE, WIDTH, Titled
from genarium.estimates import Estimate
from genarium.verbs.diagnose import RHAT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def chains(model: Model, tree: xr.DataTree, found: list[Estimate]) -> Iterator[Titled]:
    """Draw traces and ranks of the element of each variable whose chains agree least."""
    from matplotlib.figure import Figure

    rows = worst_mixing(model, tree, found)
    if not rows:
        return
    figure = Figure(figsize=(WIDTH, 1.35 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), 2, squeeze=False, width_ratios=(1.7, 1), sharex="col")
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree else xr.Dataset()
    diverging = np.flatnonzero(stats["diverging"].to_numpy().any(0)) if "diverging" in stats else np.empty(0)
    for (trace, rank), (name, draws) in zip(grid, rows, strict=True):
        for chain, values in enumerate(draws):
            trace.plot(values, color=PALETTE[chain % len(PALETTE)], lw=0.5, alpha=0.75, rasterized=True)
        if diverging.size:
            trace.plot(diverging, np.full(diverging.shape, draws.min()), "|", color=INK, markersize=7)
        trace.set_title(name)
        trace.margins(x=0)
        trace.locator_params(axis="y", nbins=4)
        _rank_bars(rank, draws)
    grid[0, 1].set_title("ranks by chain")
    grid[-1, 0].set_xlabel("draw")
    grid[-1, 1].set_xlabel("rank among the draws of all chains")
    yield (
        "Chains",
        "For each variable, the element with the largest R-hat; a colour for each chain. Left: the draws in order; "
        "look for chains that wander or stay apart. Right: how the draws of each chain rank among all; look for bars "
        "that slope or leave the dashed line far and in a pattern."
        + (" Ticks at the bottom: divergent transitions." if diverging.size else ""),
        figure,
    )


def worst_mixing(model: Model, tree: xr.DataTree, found: list[Estimate], most: int = 6) -> list[tuple[str, Array]]:
    """Return the draws, shape (chain, draw), of the worst element of each variable, and of the log density."""
    from arviz_stats.base import array_stats

    table: list[tuple[float, str, Array]] = []
    for one in found:
        if one.draws is None:
            continue
        flat = one.draws.reshape(*one.draws.shape[:2], -1).transpose(2, 0, 1)  # (element, chain, draw)
        moving = np.flatnonzero(flat.std((1, 2)) > 0)
        if not moving.size:
            continue
        statistic = array_stats.rhat if flat.shape[1] > 1 else _few
        with np.errstate(divide="ignore", invalid="ignore"):  # of chains that stand still
            values = np.nan_to_num(
                np.asarray(statistic(flat[moving], chain_axis=-2, draw_axis=-1)), nan=np.inf, posinf=np.inf
            )
        element = int(moving[int(values.argmax())])
        place = one.label(tuple(int(i) for i in np.unravel_index(element, one.centre.shape)))
        symbol = model.variables()[one.name].symbol
        table.append((float(values.max()), f"{symbol}[{place}]" if place else symbol, flat[element]))
    kept = sorted(sorted(range(len(table)), key=lambda i: -table[i][0])[:most])
    rows = [
        (f"{table[i][1]}   R-hat {table[i][0]:.3f}" if table[i][0] >= RHAT else table[i][1], table[i][2]) for i in kept
    ]
    if "sample_stats" in tree and "lp" in tree["sample_stats"]:
        rows.append(("log density", tree["sample_stats"]["lp"].to_numpy()))
    return rows


def _few(draws: Array, **axes: int) -> Array:
    """Rank elements by how few effective draws they have, where one chain gives no R-hat."""
    from arviz_stats.base import array_stats

    return -np.asarray(array_stats.ess(draws, method="bulk", **axes))


def _rank_bars(axes: "Axes", draws: Array, bins: int = 20) -> None:
    """Draw a histogram of ranks for each chain, one above the other, each with its expected height."""
    ranks = draws.ravel().argsort(kind="stable").argsort().reshape(draws.shape)
    edges = np.linspace(0, draws.size, bins + 1)
    heights = np.array([np.histogram(row, edges)[0] for row in ranks]) / (draws.shape[1] / bins)  # 1 where level
    level = min(0.45, 0.95 / heights.max())
    for chain, height in enumerate(heights):
        foot = len(draws) - 1 - chain
        color = PALETTE[chain % len(PALETTE)]
        axes.bar(edges[:-1], level * height, np.diff(edges), foot, align="edge", color=color, alpha=0.75)
        axes.axhline(foot + level, color=INK, lw=0.8, ls=(0, (3, 3)))
    axes.set_ylim(0, len(draws) + 0.05)
    axes.set_yticks(np.arange(len(draws)) + level, [str(c) for c in range(len(draws))[::-1]])
    axes.set_xlim(0, draws.size)
    axes.grid(False)
