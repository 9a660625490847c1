"""Figures of a fitted mixture for its report: groups of cells, centroids, certainty of the groups."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import INK, MARK, PALETTE, WIDTH, Titled, log_ticks, on
from genarium.estimates import centres, matched_truth
from genarium.evaluate import fitted_problem, predictions
from genarium.found import named, percent
from genarium.registry import fitted_model

from .likelihood import Story

CELLS = 5000
"""Cells drawn at most; more hide each other."""

VECTOR = 1500
"""Cells up to which every dot is a shape of its own; beyond, the dots are drawn as pixels."""

GENES = 30
"""Genes of the heat map at most."""

JITTER = 0.3
"""Counts that dots are moved by, at most."""

LETTER = 0.08
"""Inches that a letter of a name takes."""

LABELLED = 60
"""Cells of the heat map that have room for a number each."""

TICKS = np.array([0, 1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 1e7])


@dataclass(frozen=True)
class Fitted:
    """A fit as plain arrays.

    Attributes
    ----------
    pi : ndarray, shape (K,)
    mu, phi : ndarray, shape (K, D)
    low, high : ndarray, shape (K, D)
        Ends of the 90% intervals of mu; equal to it for a point estimate.
    cells : ndarray of int, shape (M,)
        The cells that are drawn.
    scaled : ndarray, shape (M, D)
        Their counts divided by their size factors.
    probability : ndarray, shape (M, K)
        Their probabilities of belonging to each component.
    true_group : ndarray, shape (M,), optional
        Their true groups by the labels of the estimate (-1: none of them).
    genes, components : ndarray
        Labels.
    total : int
        Cells of the data.
    has_depth, sampled : bool
    """

    pi: Array
    mu: Array
    phi: Array
    low: Array
    high: Array
    cells: Array
    scaled: Array
    probability: Array
    true_group: Array | None
    genes: Array
    components: Array
    total: int
    has_depth: bool
    sampled: bool

    @property
    def group(self) -> Array:
        """Most probable component of each cell drawn."""
        return self.probability.argmax(1)

    @property
    def largest(self) -> Array:
        """Probability of it."""
        return self.probability.max(1)

    @property
    def spread(self) -> Array:
        """Variance of ln(1 + mu) between components, weighted by pi; shape (D,)."""
        logs = np.log1p(self.mu)
        return np.asarray(self.pi @ (logs - self.pi @ logs) ** 2)

    @property
    def few(self) -> str:
        """What a caption says of the cells that are not drawn."""
        left = self.total - len(self.cells)
        return f" Drawn: {len(self.cells):,} of {self.total:,} cells, evenly spaced over the table." if left else ""


def figures(tree: xr.DataTree) -> Iterator[Titled]:
    """Make the figures of a fitted mixture.

    Parameters
    ----------
    tree : DataTree
        From ``fit``, whatever the method.

    Yields
    ------
    title, caption : str
    figure : matplotlib.figure.Figure
    """
    fitted = collect(tree)
    yield heat_map(fitted)
    if len(fitted.genes) > 1:
        yield scatter(fitted)
    if len(fitted.pi) > 1:
        yield certainty(fitted)


def collect(tree: xr.DataTree) -> Fitted:
    """Take from a fitted tree what the figures show.

    Parameters
    ----------
    tree : DataTree

    Returns
    -------
    Fitted
        With at most ``CELLS`` cells.
    """
    model = fitted_model(tree)
    x = tree["observed_data"]["x"]
    s = tree["constant_data"]["size_factor"].to_numpy()
    total = x.sizes["cell"]
    cells = np.unique(np.linspace(0, total - 1, min(total, CELLS)).round().astype(int))
    held = next((g for g in ("variational", "point") if g in tree and "responsibility" in tree[g]), None)
    if held is not None:
        probability = tree[held]["responsibility"].transpose("cell", "component").to_numpy()[cells]
    else:
        problem = fitted_problem(model, tree)
        dims = {name: var.dims for name, var in model.variables().items()}
        some = {name: a[cells] for name, a in problem.arrays.items() if dims[name][:1] == ("cell",)}
        probability = predictions(
            model,
            tree,
            replace(
                problem,
                sizes={**problem.sizes, "cell": len(cells)},
                arrays={**problem.arrays, **some},
                coords={**problem.coords, "cell": cells},
            ),
        )["probability"].to_numpy()
    centre = centres(model, tree)
    mu, low, high = centre["mu"], centre["mu"], centre["mu"]
    sampled = "posterior" in tree
    if sampled:
        low, high = np.quantile(tree["posterior"]["mu"].to_numpy(), (0.05, 0.95), axis=(0, 1))
    phi = centre["phi"] if "phi" in centre else tree["constant_data"]["phi"].to_numpy()
    truth = matched_truth(model, tree).get("group")
    return Fitted(
        centre["pi"],
        mu,
        Story(model.option("dispersion")).spread(phi, mu),
        low,
        high,
        cells,
        x.to_numpy()[cells] / s[cells, None],
        probability,
        None if truth is None else truth[cells],
        x["gene"].to_numpy(),
        tree["posterior" if sampled else "point"]["component"].to_numpy(),
        total,
        bool((s != 1).any()),
        sampled,
    )


def scatter(fitted: Fitted) -> Titled:
    """Draw the counts of the two genes whose centroids differ most, coloured by component."""
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure

    pair = np.sort(np.argsort(-fitted.spread, kind="stable")[:2])
    jitter = np.random.default_rng(0).uniform(-JITTER, JITTER, (len(fitted.cells), 2))
    xy = np.log1p(fitted.scaled[:, pair]) + jitter / (1 + fitted.scaled[:, pair])
    colors = np.array([to_rgba(PALETTE[k % len(PALETTE)]) for k in range(len(fitted.pi))])
    dots = colors[fitted.group]
    floor = 1 / len(fitted.pi)  # the largest probability can be no smaller
    dots[:, 3] = 0.12 + 0.58 * np.clip((fitted.largest - floor) / max(1 - floor, 1e-9), 0, 1)
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(xy[:, 0], xy[:, 1], s=9, c=dots, linewidths=0, rasterized=len(xy) > VECTOR)
    mu, low, high = (np.log1p(v[:, pair]) for v in (fitted.mu, fitted.low, fitted.high))
    for k, name in enumerate(fitted.components):
        axes.plot(*envelope(fitted.mu[k, pair], fitted.phi[k, pair]).T, color=colors[k], lw=1.1)
        if fitted.sampled:
            axes.hlines(mu[k, 1], low[k, 0], high[k, 0], color=INK, lw=1.6, zorder=4)
            axes.vlines(mu[k, 0], low[k, 1], high[k, 1], color=INK, lw=1.6, zorder=4)
        axes.plot(*mu[k], "o", color=colors[k], markeredgecolor=INK, markersize=7, zorder=5)
        axes.annotate(
            str(name), mu[k], (9, 7), textcoords="offset points", zorder=6, fontweight="bold", color=INK,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )  # fmt: skip
    _count_ticks(axes.xaxis, xy[:, 0])
    _count_ticks(axes.yaxis, xy[:, 1])
    unit = "count / size factor" if fitted.has_depth else "count"
    axes.set(xlabel=f"{_gene(fitted, pair[0])}: {unit}", ylabel=f"{_gene(fitted, pair[1])}: {unit}")
    caption = (
        (f"The two of {len(fitted.genes):,} genes whose centroids differ most. " if len(fitted.genes) > 2 else "")
        + "Each dot is a cell, in the colour of its most probable component, fainter the less certain it is. Ringed "
        f"dots: centroids{', with their 90% intervals' if fitted.sampled else ''}; closed lines: through the 5% and "
        "95% quantiles of the counts of each component. Look for cells far from every line, and for lines around two "
        "clouds or around none."
        + (f" There are only {len(PALETTE)} colours: go by the labels." if len(fitted.pi) > len(PALETTE) else "")
        + f" Dots are moved by up to {JITTER} counts so that equal cells can be told apart."
        + fitted.few
    )
    return "Cells and components", caption, figure


def _gene(fitted: Fitted, d: int) -> str:
    return named("gene", fitted.genes[d])


def envelope(mu: Array, phi: Array, points: int = 24) -> Array:
    """Return a closed line through the 5% and 95% quantiles of two counts, on the scale of ln(1 + count).

    Parameters
    ----------
    mu, phi : ndarray, shape (2,)
        Mean and dispersion of either gene.
    points : int
        Points of each quarter.

    Returns
    -------
    ndarray, shape (4 * points + 1, 2)
        Four quarter ellipses around the centroid.
    """
    from scipy.stats import nbinom

    r = 1 / phi
    low, high = (np.log1p(nbinom.ppf(q, r, r / (r + mu))) for q in (0.05, 0.95))
    centre = np.clip(np.log1p(mu), low, high)
    angle = np.linspace(0, 2 * np.pi, 4 * points + 1)
    turn = np.column_stack([np.cos(angle), np.sin(angle)])
    return np.asarray(centre + np.where(turn > 0, turn * (high - centre), turn * (centre - low)))


def _count_ticks(axis: Any, values: Array) -> None:
    """Label an axis of ln(1 + count) with counts, from one below the lowest."""
    at = np.log1p(TICKS)
    first = max(0, int(np.searchsorted(at, values.min(), "right")) - 1)
    ticks = TICKS[first:][at[first:] <= max(values.max(), at[min(first + 2, len(at) - 1)]) + 0.05]
    axis.set_ticks(np.log1p(ticks), [f"{t:,.0f}" for t in ticks])


def heat_map(fitted: Fitted) -> Titled:
    """Draw the weights as bars beside the centroids of the genes that differ most."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    K, D = fitted.mu.shape
    kept = np.argsort(-fitted.spread, kind="stable")[:GENES]
    # by the component in which a gene is highest, so that its own genes stand together
    kept = kept[np.lexsort((-fitted.mu[:, kept].max(0), fitted.mu[:, kept].argmax(0)))] if D > 3 else np.sort(kept)
    values = fitted.mu[:, kept]  # (K, G)
    high = float(values.max())
    floor, top = max(float(values.min()), high * 1e-5, 0.01), max(high, 0.1)
    norm = LogNorm(floor, top)
    names = [str(fitted.genes[d]) for d in kept]
    tilted = max(map(len, names)) * len(names) > 40
    room = max(0.9, LETTER * max(map(len, names))) if tilted else 0.45  # for the names of the genes
    figure = Figure(figsize=(WIDTH, max(0.27 * K, 0.8) + room + 0.9), layout="constrained")
    bars, axes = figure.subplots(1, 2, sharey=True, width_ratios=(1, 3.4))
    rows = np.arange(K)
    bars.barh(rows, fitted.pi, color=[PALETTE[k % len(PALETTE)] for k in rows], height=0.75)
    bars.set(xlabel="weight", ylabel="component", xlim=(0, fitted.pi.max() * 1.05))
    bars.locator_params(axis="x", nbins=3)
    bars.grid(False, axis="y")
    bars.set_yticks(rows, [str(c) for c in fitted.components])
    shown = np.maximum(values, floor)
    corners = np.arange(len(kept) + 1), np.arange(K + 1) - 0.5
    mesh = axes.pcolormesh(*corners, shown, norm=norm, cmap="cividis", edgecolors="white", linewidth=0.6)
    axes.set(xlim=(0, len(kept)), ylim=(K - 0.5, -0.5))
    axes.set_xticks(np.arange(len(kept)) + 0.5, names, rotation=90 if tilted else 0)
    axes.set_xlabel("gene")
    axes.tick_params(length=0, labelleft=False)
    axes.grid(False)
    if values.size <= LABELLED and len(kept) <= 8:
        for k, g in np.ndindex(*values.shape):
            text = f"{values[k, g]:,.3g}" if high < 1000 else f"{values[k, g]:,.0f}"
            axes.text(g + 0.5, k, text, ha="center", va="center", color=on(mesh.cmap(norm(shown[k, g]))))
    scale = figure.colorbar(mesh, ax=axes, label="mean count", fraction=0.05, pad=0.02)
    log_ticks(scale.ax.yaxis, floor, top)
    left = D - len(kept)
    which = f", of the {len(kept)} genes with the largest variance between components ({left:,} are left out)"
    caption = (
        f"Left: weight of each component. Right: its centroids, on a logarithmic scale{which if left else ''}. Look "
        "for components with the same row (one group split in two), and for weights near zero."
    )
    return "Weights and centroids", caption, figure


def certainty(fitted: Fitted) -> Titled:
    """Draw the distribution over cells of the largest probability of a component."""
    from matplotlib.figure import Figure

    largest = fitted.largest
    edges = np.linspace(0, 1, 41)
    edges = edges[edges >= np.floor(40 * min(largest.min(), 0.5)) / 40 - 1e-9]
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    axes = figure.subplots()
    right = None if fitted.true_group is None else fitted.group == fitted.true_group
    label = None if right is None else "group right"
    axes.hist(largest, edges, color=PALETTE[0], label=label, histtype="stepfilled")
    if right is not None:
        axes.hist(largest[~right], edges, color=MARK, label="group wrong", histtype="stepfilled")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    axes.set_yscale("symlog", linthresh=10)
    ticks = [0, 5, *(10**k for k in range(1, 8) if 10**k <= max(10, len(largest)))]
    axes.set_yticks(ticks, [f"{t:,}" for t in ticks])
    axes.set_yticks([], minor=True)
    axes.set(xlabel="largest probability of a component", ylabel="cells", xlim=(edges[0], 1), ylim=(0, None))
    sure, wrong = float((largest >= 0.9).mean()), float(1 - largest.mean())
    caption = (
        f"{percent(sure, 1)} of the cells belong to a component with probability 0.9 or more; {percent(wrong, 1)} "
        "are expected to belong to a component that is not their most probable one."
        + (f" In truth, {percent(1 - right.mean(), 1)} do." if right is not None else "")
        + " Look for cells with low probabilities: they lie between components, or the components overlap."
        + (" Numbers of cells are on a logarithmic scale above 10." if len(largest) > 10 else "")
        + fitted.few
    )
    return "Certainty of the groups", caption, figure
