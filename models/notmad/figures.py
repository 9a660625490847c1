"""Figures of a fit for its report: archetypes, how contexts choose them, and the samples' networks as points."""

import warnings
from collections.abc import Iterator
from textwrap import fill
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.drawing import FAINT, INK, PALETTE, SMALL, WIDTH, Titled, on, shades, style
from genarium.evaluate import fitted_problem, predictions
from genarium.found import percent
from genarium.registry import fitted_model

from .encoder import SCALE, curves
from .found import names_of, networks

DRAWN, SMALLEST = 40, 0.1
"""Nodes that graphs are drawn of at most; size from which an entry is an edge there."""

SAMPLES, COVARIATES = 2000, 6
"""Samples and covariates drawn at most."""

LETTER, SMALL_LETTER = 0.085, 0.072
"""Width of a letter of size ``SIZE`` and ``SMALL``, in inches, as far as the layout has to know it."""

ROOM, LINE, WIDEST = 0.3, 0.14, 0.34
"""Side of a cell, in inches, that a number fits into, that a line of text needs, and at most."""

NAME = 28
"""Letters of a covariate's name in a line."""

PANEL = 4.2
"""Width of a graph, in inches, at most."""

RADIAL = 14
"""Nodes of a graph from which on their names point outwards, since side by side they would overlap."""


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
    model = fitted_model(tree)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = predictions(model, tree, fitted_problem(model, tree))
    if found.sizes["source"] <= DRAWN:
        yield graphs(tree)
    yield archetypes(tree)
    if "posterior" not in tree and model.option("encoder") != "mlp" and found.sizes["archetype"] > 1:
        yield context_curves(tree)
    if found.sizes["archetype"] > 1:
        yield embedding(tree, found)


def _weights(tree: xr.DataTree) -> tuple[Array, Array, list[str], str]:
    """Names of the nodes, the archetypes (K, p, p), their titles with their mean shares, and what captions add."""
    nodes, W = tree["observed_data"]["node"].to_numpy(), networks(tree)[0]
    drawn = " Weights are means of the draws." if "posterior" in tree else ""
    if len(W) == 1:  # the network of all samples
        return nodes, W, [""], drawn
    titles = names_of(tree)
    if "point" in tree and "archetype_weight" in tree["point"]:
        share = tree["point"]["archetype_weight"].to_numpy().mean(0)
        titles = [f"{title} ({percent(one)})" for title, one in zip(titles, share, strict=True)]
        drawn += " In brackets: mean share of an archetype over the samples."
    return nodes, W, titles, drawn


def graphs(tree: xr.DataTree) -> Titled:
    """Draw the archetypes as graphs: nodes on a circle, an arrow for each edge."""
    from matplotlib.figure import Figure

    nodes, W, titles, told = _weights(tree)
    K, columns = len(W), min(len(W), 3)
    rows = -(-K // columns)
    angle = 2 * np.pi * np.arange(len(nodes)) / len(nodes)
    place = np.column_stack([np.sin(angle), np.cos(angle)])
    panel, room = min(WIDTH / columns, PANEL), SMALL_LETTER * max(len(str(name)) for name in nodes)
    radial = len(nodes) > RADIAL
    wide = 1.15 * panel / max(panel - 2 * room, 0.4 * panel)
    high = wide if radial else 1.3
    top = max(float(np.abs(W).max()), 1e-9)
    with style():
        figure = Figure(figsize=(WIDTH, (panel * high / wide + 0.3) * rows), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
        for k, axis in enumerate(axes):
            axis.set_axis_off()
            if k >= K:
                continue
            axis.set(xlim=(-wide, wide), ylim=(-high, high), aspect="equal")
            for i, j in np.argwhere(np.abs(W[k]) > SMALLEST):
                size = abs(W[k, i, j]) / top
                arrow = {
                    "arrowstyle": "-|>",
                    "color": PALETTE[0] if W[k, i, j] > 0 else PALETTE[1],
                    "lw": 0.4 + 2 * size,
                    "alpha": 0.4 + 0.6 * size,
                    "shrinkA": 3,
                    "shrinkB": 3,
                    "connectionstyle": "arc3,rad=0.12",
                }
                axis.annotate("", place[j], place[i], arrowprops=arrow)
            axis.plot(*place.T, "o", color=INK, ms=2.5)
            for (x, y), turn, name in zip(place, 90 - np.degrees(angle), nodes, strict=True):  # outside the circle
                side = "center" if abs(x) < 0.05 and not radial else "left" if x >= 0 else "right"
                level = "center" if abs(y) < 0.95 or radial else "bottom" if y > 0 else "top"
                turned = {"rotation": turn if x >= 0 else turn + 180, "rotation_mode": "anchor"} if radial else {}
                axis.text(1.07 * x, 1.07 * y, str(name), ha=side, va=level, size=SMALL, **turned)
            axis.set_title(titles[k])
    caption = (
        f"Edges with an absolute weight above {SMALLEST:g}, drawn wider for larger weights; blue: positive; orange: "
        f"negative.{told}"
    )
    return "Archetypes as graphs" if len(W) > 1 else "The network as a graph", caption, figure


def archetypes(tree: xr.DataTree, covariate: int = 0) -> Titled:
    """Heat maps of the archetypes' weights, source in rows and target in columns."""
    from matplotlib.figure import Figure

    nodes, W, titles, told = _weights(tree)
    K, label = len(W), LETTER * max(len(str(name)) for name in nodes)
    side = {n: ((WIDTH - 0.9) / n - label - 0.25) / len(nodes) for n in range(min(K, 3), 0, -1)}
    columns = next((n for least in (ROOM, LINE) for n in side if side[n] >= least), 1)
    cell, rows = min(max(side[columns], 0.02), WIDEST), -(-K // columns)
    some = slice(None, None, int(np.ceil(LINE / cell)))  # the names that have room
    top = max(float(np.abs(W).max()), 1e-9)
    with style():
        height = rows * (cell * len(nodes) + label + 0.6)
        figure = Figure(figsize=(WIDTH, height), layout="compressed")
        axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
        for k, axis in enumerate(axes):
            axis.grid(False)
            if k >= K:
                axis.set_axis_off()
                continue
            image = axis.imshow(W[k], cmap="RdBu", vmin=-top, vmax=top)
            axis.set_xticks(range(len(nodes))[some], [str(n) for n in nodes[some]], rotation=90)
            axis.set_yticks(range(len(nodes))[some], [str(n) for n in nodes[some]])
            axis.set_title(titles[k])
            axis.set_xlabel("target")
            if cell >= ROOM:
                for i, j in np.argwhere(np.abs(W[k]) > 0.05):
                    color = on(image.cmap(image.norm(W[k, i, j])))
                    value = f"{W[k, i, j]:.1f}".replace("-", "\u2212")
                    axis.text(j, i, value, ha="center", va="center", size=SMALL, color=color)
        axes[0].set_ylabel("source")
        figure.colorbar(image, ax=list(axes), shrink=0.8 / rows, label="weight of the edge")
    caption = "Weight of the edge from the node of a row to that of a column; blue: positive; red: negative."
    return "Archetypes" if len(W) > 1 else "Weights of the network", caption + told, figure


def context_curves(tree: xr.DataTree) -> Titled:
    """Contribution of each covariate to the logits of the archetypes, over its range."""
    from matplotlib.figure import Figure

    model = fitted_model(tree)
    encoder = model.option("encoder")
    at = {name: tree["point"][name].to_numpy() for name in model.unknown.variables}
    context = tree["constant_data"]["context"].to_numpy()
    names = tree["constant_data"]["covariate"].to_numpy()
    titles = names_of(tree)
    shown = min(context.shape[1], COVARIATES)
    with style():
        figure = Figure(figsize=(WIDTH, 2.4 * -(-shown // 3)), layout="constrained")
        axes = np.atleast_1d(figure.subplots(-(-shown // 3), min(shown, 3), squeeze=False, sharey=True)).ravel()
        for j in range(shown):
            values = np.linspace(context[:, j].min(), context[:, j].max(), 101)
            centre, spread = (float(tree["constant_data"][name].to_numpy()[j]) for name in SCALE)
            for k, curve in enumerate(curves(encoder, at, j, (values - centre) / spread).T):
                axes[j].plot(values, curve, color=PALETTE[k % len(PALETTE)], label=titles[k])
            told = str(names[j]) if names.dtype.kind in "US" else f"covariate {names[j]}"
            axes[j].set_xlabel(fill(told, NAME))
            axes[j].locator_params(axis="x", nbins=5)
            _two_values(axes[j].xaxis, context[:, j])
        for axis in axes[shown:]:
            axis.set_axis_off()
        axes[0].set_ylabel("contribution to the logit")
        axes[0].legend()
    caption = "What a covariate adds to the logit of each archetype, relative to the mean of the archetypes."
    return "From context to archetypes", caption, figure


def embedding(tree: xr.DataTree, found: xr.Dataset, covariate: int = 0) -> Titled:
    """First two principal components of the samples' networks, coloured by a covariate."""
    from matplotlib.figure import Figure

    context = tree["constant_data"]["context"].to_numpy()
    names = tree["constant_data"]["covariate"].to_numpy()
    pick = np.unique(np.linspace(0, len(context) - 1, min(len(context), SAMPLES)).astype(int))
    flat = found["network"].to_numpy()[pick].reshape(len(pick), -1)
    points, share = principal(flat)
    shade = context[pick, covariate]
    low, high = np.quantile(shade, [0.02, 0.98])  # a few extreme contexts would take all of the colours
    if low == high:
        low, high = shade.min(), shade.max()
    with style():
        figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
        axis = figure.subplots()
        name = str(names[covariate]) if names.dtype.kind in "US" else f"covariate {names[covariate]}"
        dots: dict[str, Any] = {"s": 12, "edgecolors": FAINT, "linewidths": 0.4, "rasterized": len(pick) > 1500}
        if share[1] < 1e-9:  # as networks of two archetypes are, on a line: the covariate takes the second axis
            axis.scatter(points[:, 0], shade, color=PALETTE[0], **dots)
            axis.set_ylabel(name)
            _two_values(axis.yaxis, shade)
            caption = (
                f"Every point is a sample: its network's place on the line between the archetypes, against {name}."
            )
        else:
            drawn = axis.scatter(points[:, 0], points[:, 1], c=shade, cmap=shades(), vmin=low, vmax=high, **dots)
            axis.set_ylabel(f"second component ({share[1]:.0%})")
            figure.colorbar(drawn, ax=axis, label=name, extend="both" if low > shade.min() else "neither")
            caption = f"Every point is the projected network of a sample, coloured by {name}."
        axis.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
        if len(np.unique(context[pick], axis=0)) < len(pick):
            caption += " Samples of the same context lie on each other."
    return "Networks of the samples", caption, figure


def _two_values(axis: Any, values: Array) -> None:
    """Label an axis by the values of a covariate that has two, as that of a category does, and by none between them."""
    two = np.unique(values)
    if len(two) == 2:
        axis.set_ticks(two, labels=[f"{v:.3g}" for v in two])


def principal(flat: Array) -> tuple[Array, Array]:
    """Return the first two principal components of the rows (N, 2), and their shares of the variance (2,)."""
    centred = flat - flat.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    u, s = np.pad(u, ((0, 0), (0, max(0, 2 - u.shape[1])))), np.pad(s, (0, max(0, 2 - len(s))))
    total = max(float((s**2).sum()), 1e-300)
    return np.asarray(u[:, :2] * s[:2]), np.asarray(s[:2] ** 2 / total)
