"""Figures of a fit for its report: scores with their intervals, what few cells do to a ranking, and the shares."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from genarium.data import check
from genarium.drawing import INK, MARK, PALETTE, WIDTH, Titled
from genarium.registry import fitted_model

from .posterior import known_shares
from .ranking import rank, score

MOST = 40
"""Perturbations drawn at most."""


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
    ranked = rank(score(tree))
    yield scores(ranked)
    yield rankings(ranked)
    yield shares(tree, ranked)


def scores(ranked: xr.Dataset) -> Titled:
    """Draw scores with the interval from the lower quantile to its mirror image, best first."""
    from matplotlib.figure import Figure

    top = ranked.isel(perturbation=slice(0, MOST))
    y = np.arange(top.sizes["perturbation"])
    figure = Figure(figsize=(WIDTH, 0.9 + 0.19 * len(y)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(y, top["lower"], top["score"], color=PALETTE[0], lw=3, alpha=0.45)
    axes.plot(top["score"], y, "o", color=PALETTE[0], ms=4, label="posterior mean")
    axes.plot(top["plug_in"], y, "x", color=MARK, ms=4, label="plug-in")
    names = top["perturbation"].to_numpy()
    axes.set_yticks(
        y, [f"{name} ({int(n)})" for name, n in zip(names, top["cells"].to_numpy(), strict=True)], fontsize=7
    )
    axes.set_ylim(len(y) - 0.5, -0.5)
    axes.set_xlabel("score: minus the l1 distance from the target")
    axes.legend(loc="lower right", frameon=False)
    quantile = float(ranked.attrs["quantile"])
    return (
        "Scores",
        f"Dots: minus the expected distance from the target; bars down to the {100 * quantile:g} % quantile, by which "
        f"perturbations are ordered{' (the best ' + str(MOST) + ')' if len(y) == MOST else ''}. Crosses: minus the "
        "distance of the observed shares. In brackets: cells.",
        figure,
    )


def rankings(ranked: xr.Dataset) -> Titled:
    """Draw ranks by plug-in and by lower quantile against each other, the number of cells as colour."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * 0.62, 3.6), layout="constrained")
    axes = figure.subplots()
    cells = np.maximum(ranked["cells"].to_numpy(), 1)
    dots = axes.scatter(ranked["rank_plug_in"], ranked["rank_lower"], c=np.log10(cells), s=16, cmap="viridis")
    last = ranked.sizes["perturbation"]
    axes.plot([1, last], [1, last], color=INK, lw=0.7)
    axes.set_xlabel("rank by observed shares")
    axes.set_ylabel("rank by lower quantile")
    bar = figure.colorbar(dots, ax=axes)
    bar.set_label("log10 cells")
    return (
        "What few cells do to a ranking",
        "Perturbations of few cells lead rankings by observed shares by chance; the lower quantile puts them where "
        "what is known of them belongs (above the line: ranked worse).",
        figure,
    )


def shares(tree: xr.DataTree, ranked: xr.Dataset) -> Titled:
    """Draw posterior means of the shares of the best perturbations as stacked bars, the target above them."""
    from matplotlib.figure import Figure

    problem = check(fitted_model(tree), tree)
    q = known_shares(tree, problem, np.random.default_rng(0)).mean()
    labels = [str(name) for name in problem.coords["perturbation"]]
    best = [str(name) for name in ranked["perturbation"].to_numpy()[: MOST // 2]]
    rows = np.vstack([problem["target"], q[[labels.index(name) for name in best]]])
    y = np.arange(len(rows))
    figure = Figure(figsize=(WIDTH, 0.9 + 0.19 * len(y)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(rows))
    for k, state in enumerate(problem.coords["state"]):
        axes.barh(y, rows[:, k], left=left, color=PALETTE[k % len(PALETTE)], height=0.8, label=str(state))
        left += rows[:, k]
    axes.set_yticks(y, ["target", *best], fontsize=7)
    axes.set_ylim(len(y) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of cells")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=min(5, rows.shape[1]), frameon=False)
    return "Shares of the states", "Posterior means, best perturbations first; the target on top.", figure
