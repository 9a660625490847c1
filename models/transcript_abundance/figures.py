"""Figures of a fit for its report: abundances, who shares reads with whom, and how well the classes are explained."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import INK, MARK, PALETTE, WIDTH, Titled, log_ticks

from .groups import ridges_of
from .likelihood import is_conditional

TRANSCRIPTS = 40
"""Transcripts drawn at most, the most abundant ones."""

DOTS = 3000
"""Classes drawn at most, those with most reads."""

FAR_APART = 100.0
"""Largest abundance over the median from which a linear axis would show it alone."""


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
    yield abundances(tree)
    yield shared(tree)
    if is_conditional(
        tree["constant_data"]["weight"].to_numpy(),
        tree["constant_data"]["entry_transcript"].to_numpy(),
        tree["constant_data"].sizes["transcript"],
    ):
        yield explained(tree)


def centre(tree: xr.DataTree, name: str) -> Array:
    """Mean of the draws, or the point estimate."""
    if "posterior" in tree:
        return np.asarray(tree["posterior"][name].to_numpy().mean((0, 1)))
    return np.asarray(tree["point"][name].to_numpy())


def labels(tree: xr.DataTree, some: Array) -> list[str]:
    """Names of transcripts."""
    return [str(name) for name in tree["constant_data"]["transcript"].to_numpy()[some]]


def _with_groups(names: list[str], ridges: xr.DataArray | None, some: Array) -> list[str]:
    """Add the number of its ridge to the name of a transcript."""
    numbers = np.zeros(len(names), dtype=int) if ridges is None else ridges.to_numpy()[some]
    return [f"{name} ({group})" if group else name for name, group in zip(names, numbers, strict=True)]


def abundances(tree: xr.DataTree) -> Titled:
    """Draw transcripts per million with 90% intervals; ridges as their range and their sum."""
    from matplotlib.figure import Figure

    tpm = centre(tree, "tpm")
    top = np.argsort(-tpm, kind="stable")[:TRANSCRIPTS]
    y = np.arange(len(top))
    figure = Figure(figsize=(WIDTH, 0.9 + 0.19 * len(top)), layout="constrained")
    axes = figure.subplots()
    said = "Dots: transcripts per million. "
    if "posterior" in tree:
        low, high = np.quantile(tree["posterior"]["tpm"].to_numpy()[..., top], (0.05, 0.95), axis=(0, 1))
        axes.hlines(y, low, high, color=PALETTE[0], lw=3, alpha=0.45)
        said += "Bars: 90% intervals. "
    axes.plot(tpm[top], y, "o", color=PALETTE[0], ms=4)
    ridges = ridges_of(tree)
    if ridges is not None and (ridges > 0).any():
        said += "Transcripts of one group, by its number in brackets, cannot be told apart: only the sum is known. "
    if "point" in tree and "counts_low" in tree["point"]:
        point = tree["point"]
        ridge = point["ridge"].to_numpy()[top]
        if ridge.any():
            rate = centre(tree, "nu") / tree["constant_data"]["effective_length"].to_numpy()
            each = 1e6 / rate.sum() / tree["constant_data"]["effective_length"].to_numpy()[top]
            reads = float(tree["constant_data"]["reads"])
            low, high = (point[f"counts_{end}"].to_numpy()[top] / reads * each for end in ("low", "high"))
            axes.hlines(y[ridge > 0], low[ridge > 0], high[ridge > 0], color=MARK, lw=1.5)
            said += "Thin lines: range of abundances that have the same likelihood. "
    if "truth" in tree and "nu" in tree["truth"]:
        rate = tree["truth"]["nu"].to_numpy() / tree["constant_data"]["effective_length"].to_numpy()
        axes.plot((1e6 * rate / rate.sum())[top], y, "|", color=INK, ms=9, mew=1.5)
        said += "Strokes: true values. "
    left = len(tpm) - len(top)
    said += f"{left:,} less abundant transcripts are not drawn." if left else ""
    axes.set_yticks(y, _with_groups(labels(tree, top), ridges, top))
    axes.set(xlabel="transcripts per million", ylim=(len(top) - 0.4, -0.6))
    if tpm[top].max() > FAR_APART * np.median(tpm[top]):
        axes.set_xscale("symlog", linthresh=1.0)
        said += " The axis is logarithmic above 1."
    axes.set_xlim(left=0)
    return "Transcripts per million", said.strip(), figure


def shared(tree: xr.DataTree) -> Titled:
    """Draw how many reads each transcript gets from classes of its own and from shared ones."""
    from matplotlib.figure import Figure

    data = tree["constant_data"]
    e, k, w = (data[n].to_numpy() for n in ("entry_class", "entry_transcript", "weight"))
    count, nu = tree["observed_data"]["count"].to_numpy(), centre(tree, "nu")
    joint = w * nu[k]
    p = np.bincount(e, joint, len(count))
    share = joint / np.where(p > 0, p, 1)[e]
    reads = share * count[e]
    several = np.bincount(e, w > 0, len(count))[e] > 1
    own = np.bincount(k, np.where(several, 0, reads), len(nu))
    sure = np.bincount(k, np.where(several & (share > 0.9), reads, 0), len(nu))
    split = np.bincount(k, np.where(several & (share <= 0.9), reads, 0), len(nu))
    top = np.argsort(-(own + sure + split), kind="stable")[:TRANSCRIPTS]
    y, left = np.arange(len(top)), np.zeros(len(top))
    figure = Figure(figsize=(WIDTH, 1.2 + 0.19 * len(top)), layout="constrained")
    axes = figure.subplots()
    kinds = ((own, "fit no other transcript"), (sure, "fit others too, which get less than one in ten"))
    for i, (part, name) in enumerate((*kinds, (split, "are split"))):
        axes.barh(y, part[top], left=left, color=PALETTE[i], height=0.7, label=f"reads that {name}")
        left += part[top]
    axes.set_yticks(y, labels(tree, top))
    axes.set(xlabel="reads", ylim=(len(top) - 0.4, -0.6))
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return (
        "Where the reads come from",
        "Expected reads of each transcript at the estimate. The more of them are split, the less certain the estimate.",
        figure,
    )


def explained(tree: xr.DataTree) -> Titled:
    """Draw the residual of each class against its expected count."""
    from matplotlib.figure import Figure

    data = tree["constant_data"]
    e, k, w = (data[n].to_numpy() for n in ("entry_class", "entry_transcript", "weight"))
    count = tree["observed_data"]["count"].to_numpy()
    p = np.bincount(e, w * centre(tree, "nu")[k], len(count))
    expected = count.sum() * p / p.sum()
    top = np.argsort(-count, kind="stable")[:DOTS]
    top = top[expected[top] > 0]
    residual = (count[top] - expected[top]) / np.sqrt(expected[top])
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    for at in (-2, 0, 2):
        axes.axhline(at, color=INK, lw=0.6, ls="-" if at == 0 else ":")
    axes.plot(expected[top], residual, "o", color=PALETTE[0], ms=3, rasterized=len(top) > 1000)
    axes.set(xscale="log", xlabel="expected reads of the class", ylabel="(observed − expected)\n/ √expected")
    low, high = axes.get_xlim()
    log_ticks(axes.xaxis, low, high, most=6)
    return (
        "How well classes are explained",
        "Each dot is a class. Most should lie between the dotted lines; a pattern suggests that the weights are wrong.",
        figure,
    )
