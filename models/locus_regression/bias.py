"""Figure of strand asymmetry: how much more often each process mutates the strand that the polymerase reads."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.drawing import INK, WIDTH, Titled
from genarium.estimates import LEVEL

from .panels import SUBSTITUTIONS

SHOWN = "asymmetry_by_substitution"


def bias(tree: xr.DataTree, processes: list[tuple[str, str]]) -> Iterator[Titled]:
    """Draw the asymmetry of every process and substitution, where strands are told apart.

    Parameters
    ----------
    tree : DataTree
        A fit.
    processes : list of (str, str)
        Names, and colours.

    Yields
    ------
    title, caption : str
    figure : matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    group = "posterior" if "posterior" in tree else "point"
    found = tree[group].to_dataset()
    if SHOWN not in found:
        return
    ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    draws = [dim for dim in ("chain", "draw") if dim in found[SHOWN].dims]
    whole = xr.concat([found["asymmetry"].expand_dims(substitution=["all"], axis=-1), found[SHOWN]], "substitution")
    middle = whole.mean(draws).transpose("process", "substitution").to_numpy() / np.log(2)
    names, colors = whole["substitution"].to_numpy().tolist(), [INK, *SUBSTITUTIONS.values()]
    rows = -(-len(processes) // 6)
    figure = Figure(figsize=(WIDTH, 1.75 * rows + 0.35), layout="constrained")
    panels = figure.subplots(rows, -(-len(processes) // rows), squeeze=False, sharex=True, sharey=True).ravel()
    at = np.arange(len(names))
    for k, axes in enumerate(panels):
        axes.set_visible(k < len(processes))
        if k >= len(processes):
            continue
        axes.axvline(0, color=INK, lw=0.7)
        if draws:
            low, high = (whole.isel(process=k).quantile(end, draws).to_numpy() / np.log(2) for end in ends)
            axes.hlines(at, low, high, color=colors, lw=1.8)
        axes.scatter(middle[k], at, color=colors, s=16, zorder=3)
        axes.set_title(processes[k][0])
        axes.set_yticks(at, names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(False, axis="y")
    figure.supxlabel("strand asymmetry, log2 of T to U")
    caption = (
        "How much more often a process mutates pyrimidines on the strand that the polymerase reads (T) than on the "
        "other one (U), had both the same contexts: 1 is twice, -1 half as often. Above: all substitutions."
        + (f" Lines: intervals of {LEVEL:.0%}." if draws else "")
        + " Look for intervals that leave 0 out; those of substitutions that a process hardly makes are wide."
    )
    yield "Strand asymmetry", caption, figure
