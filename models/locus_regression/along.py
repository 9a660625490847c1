"""The figure of rates along the genome."""

from collections.abc import Iterator

import numpy as np

from genarium.drawing import FAINT, INK, WIDTH, Titled

from .axis import axis_of
from .shown import Fitted

EDGE = "#9aa1aa"
"""Lines between chromosomes."""

BINS = 250
"""Steps along the genome at most; more loci are averaged."""


def rates(fitted: Fitted) -> Iterator[Titled]:
    """Draw expected and observed mutations along the genome: all of them, then those of each process."""
    from matplotlib.figure import Figure

    axis = axis_of(fitted.known, BINS)
    expected, found = axis.binned(fitted.rate), axis.binned(fitted.assigned)  # (bin, K)
    for which, part in fitted.pages:
        tracks = [("all", INK, expected.sum(1), found.sum(1))]
        tracks += [(*fitted.processes[k], expected[:, k], found[:, k]) for k in part]
        figure = Figure(figsize=(WIDTH, 0.62 * len(tracks) + 1.1), layout="constrained")
        grid = figure.subplots(len(tracks), 1, squeeze=False, sharex=True, height_ratios=[1.8] + [1] * len(part))
        for axes, (name, color, line, area) in zip(grid[:, 0], tracks, strict=True):
            axes.stairs(*axis.outline(area), fill=True, color=FAINT)
            axes.stairs(*axis.outline(line), baseline=None, color=color, lw=0.9)
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
            axes.set(xlim=(axis.low[0], axis.high[-1]), ylim=(0, 1.05 * max(line.max(), area.max(), 1e-9)))
            axes.locator_params(axis="y", nbins=3)
            for one in axis.chromosomes[1:]:
                axes.axvline(one.low, color=EDGE, lw=0.6)
            axes.grid(False, axis="x")
            axes.tick_params(axis="x", which="minor", length=0)
            axes.yaxis.set_major_formatter("{x:,.12g}")
        axis.label(grid[-1, 0])
        figure.align_ylabels(grid[:, 0])
        figure.supylabel(axis.unit)
        caption = (
            "Lines: expected mutations, of all processes and of each. Grey: the observed ones, shared out among the "
            "processes by the probabilities that they come from them."
            + (f" Means over {axis.step} neighbouring loci." if axis.step > 1 else "")
            + (" Gaps: stretches without loci." if np.isnan(axis.outline(expected[:, 0])[0]).any() else "")
            + " Look for stretches where grey and line part: what the features do not explain."
            + fitted.few
        )
        yield "Rates along the genome" + which, caption, figure
