"""Figures of a comparison of two conditions: changes, the surest ones by sample, and how many there are."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import FAINT, INK, MARK, PALETTE, WIDTH, Titled, log_ticks

from .cohort import feature, replicates_of
from .differential import size_factors

SHOWN, BY_SAMPLE = 30, 6
"""Changes in the list, and in the figure by sample, at most: the surest ones."""


def drawn(
    told: xr.Dataset, cohort: xr.Dataset, second: Array, level: float, gene_of: Mapping[str, str] | None = None
) -> Iterator[Titled]:
    """Make the figures.

    Parameters
    ----------
    told : Dataset
        From ``differential``.
    cohort : Dataset
        The samples that it compared.
    second : ndarray of bool, shape (N,)
        Samples of the second condition.
    level : float
        False discovery rate of what is marked.
    gene_of : mapping, optional
        Genes of the transcripts, where usage was compared.
    """
    yield changes(told, level)
    yield surest(told, level)
    yield by_sample(told, cohort, second, gene_of)
    yield discoveries(told, level)


def order(told: xr.Dataset) -> Array:
    """Return the features, those first whose change is surest."""
    return np.lexsort((-np.abs(told["log2_fold_change"].to_numpy()), told["q_value"].to_numpy()))


def changes(told: xr.Dataset, level: float) -> Titled:
    """Draw changes against abundances."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.subplots()
    x, y = told["log2_mean"].to_numpy(), told["log2_fold_change"].to_numpy()
    found = told["q_value"].to_numpy() <= level
    dense = len(x) > 1000
    axes.plot(x[~found], y[~found], "o", color=FAINT, ms=2, rasterized=dense, label="others")
    axes.plot(x[found], y[found], "o", color=MARK, ms=3, rasterized=dense, label=f"q value at most {level:g}")
    axes.axhline(0, color=INK, lw=0.7)
    axes.set(xlabel="mean reads (log2, by size factors)", ylabel=_label(told))
    figure.legend(loc="outside lower center", ncols=2)
    return (
        "Changes",
        f"Each dot is a {feature_of(told)}: posterior mean of its change. Changes in doubt are drawn towards none.",
        figure,
    )


def feature_of(told: xr.Dataset) -> str:
    """Return what the features are: "transcript", or "gene"."""
    return str(told["log2_fold_change"].dims[0])


def _label(told: xr.Dataset) -> str:
    first, second = told.attrs["between"]
    return f"log2 fold change of {'usage' if told.attrs['by'] == 'usage' else 'abundance'}\n{second} / {first}"


def surest(told: xr.Dataset, level: float) -> Titled:
    """Draw the surest changes with their intervals."""
    from matplotlib.figure import Figure

    top = order(told)[:SHOWN]
    y = np.arange(len(top))
    figure = Figure(figsize=(WIDTH, 1.0 + 0.19 * len(top)), layout="constrained")
    axes = figure.subplots()
    low, high, mean = (told[f"log2_fold_change{end}"].to_numpy()[top] for end in ("_low", "_high", ""))
    found = told["q_value"].to_numpy()[top] <= level
    colors = np.where(found, MARK, FAINT)
    axes.hlines(y, low, high, color=colors, lw=3, alpha=0.5)
    axes.scatter(mean, y, color=colors, s=14, zorder=3)
    axes.axvline(0, color=INK, lw=0.7)
    axes.set_yticks(y, [str(name) for name in told[feature_of(told)].to_numpy()[top]])
    axes.set(xlabel=_label(told).replace("\n", ", "), ylim=(len(top) - 0.4, -0.6))
    return (
        "The surest changes",
        f"Posterior mean and 90% interval; grey where the q value is above {level:g}.",
        figure,
    )


def by_sample(told: xr.Dataset, cohort: xr.Dataset, second: Array, gene_of: Mapping[str, str] | None) -> Titled:
    """Draw the surest changes in every sample, with what replicates say: reads, or shares of their genes."""
    from matplotlib.figure import Figure

    dim = feature(cohort)
    names = [str(name) for name in told[dim].to_numpy()[order(told)[:BY_SAMPLE]]]
    drawn = replicates_of(cohort)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH, 0.5 + 1.9 * rows), layout="constrained")
    at = np.argsort(second, kind="stable")
    kinds = ((PALETTE[0], told.attrs["between"][0], ~second), (MARK, told.attrs["between"][1], second))
    for i, (name, axes) in enumerate(zip(names, figure.subplots(rows, columns, squeeze=False).flat, strict=False)):
        y, again = _measured(told, cohort, name, gene_of)
        low, high = (y, y) if drawn is None else np.quantile(again, (0.05, 0.95), axis=1)
        for color, label, some in kinds:
            x = np.flatnonzero(some[at])
            axes.vlines(x, low[at][x], high[at][x], color=color, lw=2.5, alpha=0.4)
            axes.plot(x, y[at][x], "o", color=color, ms=3.5, label=label)
        axes.set_yscale("log")
        log_ticks(axes.yaxis, float(min(low.min(), y.min())) / 1.05, float(max(high.max(), y.max())) * 1.05)
        axes.set_title(name if len(name) < 28 else f"{name[:26]}…")
        axes.set_xticks([])
        if i % columns == 0:
            axes.set_ylabel("reads" if gene_of is None else "share of its gene")
    for axes in figure.axes[len(names) :]:
        axes.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    bars = "bars: 90% of its replicates." if drawn is not None else "there are no replicates."
    what = "reads of a sample, by size factors" if gene_of is None else "share of the gene's reads in a sample"
    return "The surest changes by sample", f"Dots: {what}; {bars}", figure


def _measured(
    told: xr.Dataset, cohort: xr.Dataset, name: str, gene_of: Mapping[str, str] | None
) -> tuple[Array, Array]:
    """Return a feature's reads or share by sample (N,), and of its replicates (N, R; without some, of the counts)."""
    dim = feature(cohort)
    where = {str(other): i for i, other in enumerate(cohort[dim].to_numpy())}
    kept = [str(other) for other in told[dim].to_numpy()]
    counts, drawn = cohort["counts"].to_numpy(), replicates_of(cohort)
    drawn = counts[:, None] if drawn is None else drawn
    k = where[name]
    if gene_of is None:
        factor = size_factors(counts[:, [where[other] for other in kept]])
        return (counts[:, k] + 0.5) / factor, (drawn[:, :, k] + 0.5) / factor[:, None]
    gene = [at for other, at in where.items() if gene_of.get(other) == gene_of[name]]
    half = 0.5 * sum(gene_of.get(other) == gene_of[name] for other in kept)
    return tuple((x[..., k] + 0.5) / (x[..., gene].sum(-1) + half) for x in (counts, drawn))  # type: ignore[return-value]


def discoveries(told: xr.Dataset, level: float) -> Titled:
    """Draw how many changes there are at each false discovery rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    q = np.sort(told["q_value"].to_numpy())
    left.step(q, np.arange(1, len(q) + 1), where="post", color=PALETTE[0], lw=1.5)
    left.axvline(level, color=MARK, lw=1, ls=":")
    left.set(xlabel="false discovery rate (q value)", ylabel=f"{feature_of(told)}s", xlim=(0, max(4 * level, 0.2)))
    top = int((q <= max(4 * level, 0.2)).sum())
    left.set_ylim(0, max(1.05 * top, 1))
    right.hist(told["lfdr"].to_numpy(), np.linspace(0, 1, 41), color=PALETTE[0])
    right.set(xlabel="probability of no change (lfdr)", ylabel=f"{feature_of(told)}s")
    return (
        "How many change",
        "Left: those found at each false discovery rate. Right: a heap near 0 and one near 1 speak of clear answers.",
        figure,
    )
