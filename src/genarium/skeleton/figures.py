"""Figures of a fit for its report, drawn before those that every report has."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from genarium.drawing import FAINT, INK, PALETTE, WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(tree: xr.DataTree) -> Iterator[tuple[str, str, "Figure"]]:
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
    from matplotlib.figure import Figure

    rate = tree["posterior" if "posterior" in tree else "point"]["rate"]
    depth = float(tree["constant_data"]["exposure"].sum())
    raw = tree["observed_data"]["count"].sum("sample").to_numpy() / depth
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(raw))
    if "chain" in rate.dims:
        low, high = rate.quantile((0.05, 0.95), ("chain", "draw")).to_numpy()
        axes.vlines(at, low, high, color=PALETTE[0], linewidth=3)
        rate = rate.mean(("chain", "draw"))
    axes.plot(at, rate.to_numpy(), "o", color=PALETTE[0], label="estimate")
    axes.plot(at, raw, "x", color=INK, label="count / exposure")
    axes.axhline(rate.to_numpy().mean(), color=FAINT, zorder=0)
    axes.set_xticks(at, [str(name) for name in tree["observed_data"]["gene"].to_numpy()])
    axes.set(xlabel="gene", ylabel="rate")
    axes.legend()
    yield "Rates of the genes", "With 90% intervals; estimates lie between a gene's own mean and that of all.", figure
