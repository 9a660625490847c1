"""The graph of a model's story: one column a role, an arrow from every variable to those drawn from it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genarium.declaration import ROLES, Model
from genarium.drawing import INK, SIZE, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Node = tuple[str, int]
"""A variable in its own column, or the place where an arrow from it passes through another one."""

TALL, STEP, GAP, EDGE, BOW = 0.5, 0.74, 0.62, 0.15, 0.45
"""Height of a box, of a row, room between columns and beside them, and of an arrow within a column; in inches."""

PALE = "#555b63"
FACE = {"known": "#eceff2", "unknown": "#ffffff", "hidden": "#ffffff", "observed": "#cfe3f3"}
ARROW: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "color": "#8a9099", "lw": 1, "fill": False}


def story(model: Model) -> "Figure":
    """Draw the graph of a model.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Figure
        Columns for the roles in use; arrows as in ``Model.edges``.
    """
    from matplotlib.figure import Figure

    roles = [role for role in ROLES if model.stage(role).variables]
    column = {name: roles.index(model.role(name)) for name in model.variables()}
    places = arrange(column, list(model.edges()))
    tall = max(sum(1 for node in places if node[1] == c) for c in range(len(roles)))
    wide = [max(box_width(model, name) for name in column if column[name] == c) for c in range(len(roles))]
    left = BOW if any(column[parent] == column[child] == 0 for parent, child in model.edges()) else EDGE
    middles = [left + sum(wide[:c]) + wide[c] / 2 + c * GAP for c in range(len(roles))]
    width, height = left + sum(wide) + (len(roles) - 1) * GAP + EDGE, tall * STEP + 0.45
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(-height / 2, height / 2))
    axes.axis("off")
    top = height / 2 - 0.2
    for c, role in enumerate(roles):
        axes.text(middles[c], top, role, ha="center", va="center", color=PALE)
    shift = -0.2  # room for the headings
    at = {node: (middles[node[1]], y * STEP + shift) for node, y in places.items()}
    for parent, child in model.edges():
        if column[parent] == column[child]:
            _bow(axes, at[parent, column[parent]], at[child, column[child]], wide[column[child]] / 2)
        else:
            between = range(column[parent], column[child])
            stops = [(*at[parent, c], wide[c] / 2) for c in between]
            _arrow(axes, [*stops, (*at[child, column[child]], wide[column[child]] / 2)])
    for name in model.variables():
        _box(axes, model, name, at[name, column[name]], wide[column[name]])
    return figure


def labels(model: Model, name: str) -> list[tuple[str, float]]:
    """Return what stands in the box of a variable, each line with its size of letters."""
    var = model.variables()[name]
    title = name if var.symbol == name else f"{var.symbol}  {name}"
    return [(title, SIZE), (" × ".join(var.dims), SMALL)]


def box_width(model: Model, name: str) -> float:
    """Return the width that the labels of a variable need, in inches."""
    from matplotlib.textpath import TextPath

    drawn = [TextPath((0, 0), text, size=size).get_extents().width for text, size in labels(model, name) if text]
    return max(1.1, max(drawn) / 72 + 0.2)


def arrange(column: dict[str, int], edges: Sequence[tuple[str, str]]) -> dict[Node, float]:
    """Give every node a height so that few arrows cross.

    Parameters
    ----------
    column : dict of str to int
        Column of each variable.
    edges : sequence of (parent, child)

    Returns
    -------
    dict
        Height of each node, in rows around zero. An arrow that passes a column has a node of its own there. Nodes are
        ordered by the mean height of their neighbours (Sugiyama et al. 1981).
    """
    columns: list[list[Node]] = [[] for _ in range(max(column.values()) + 1)]
    for name, c in column.items():
        columns[c].append((name, c))
    links: list[tuple[Node, Node]] = []
    for parent, child in edges:
        for c in range(column[parent], column[child]):
            end = (child if c + 1 == column[child] else parent, c + 1)
            links.append(((parent, c), end))
            if end not in columns[c + 1]:
                columns[c + 1].append(end)

    def heights() -> dict[Node, float]:
        return {node: (len(nodes) - 1) / 2 - i for nodes in columns for i, node in enumerate(nodes)}

    def mean(node: Node, side: int) -> float:
        y = heights()
        beside = [y[link[side]] for link in links if link[1 - side] == node]
        return sum(beside) / len(beside) if beside else y[node]

    for sweep in range(6):
        side = sweep % 2  # by the parents, then by the children
        for nodes in columns[::-1] if side else columns:
            nodes.sort(key={node: -mean(node, side) for node in nodes}.__getitem__)
    return heights()


def _arrow(axes: "Axes", stops: Sequence[tuple[float, float, float]]) -> None:
    """Draw an arrow from the right of the first stop through the others to the left of the last; x, y, half a box."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    vertices, codes = [(stops[0][0] + stops[0][2], stops[0][1])], [Path.MOVETO]
    for i, (x, y, half) in enumerate(stops[1:], 1):
        before = vertices[-1]
        middle = (before[0] + x - half) / 2
        vertices += [(middle, before[1]), (middle, y), (x - half, y)]
        codes += [Path.CURVE4] * 3
        if i < len(stops) - 1:
            vertices.append((x + half, y))
            codes.append(Path.LINETO)
    axes.add_patch(FancyArrowPatch(path=Path(vertices, codes), **ARROW))


def _bow(axes: "Axes", start: tuple[float, float], end: tuple[float, float], wide: float) -> None:
    """Draw an arrow within a column: straight to a neighbour, else beside the boxes, on the left."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    down = 1 if start[1] > end[1] else -1
    if abs(start[1] - end[1]) < 1.5 * STEP:
        half = TALL / 2 * down
        axes.add_patch(
            FancyArrowPatch((start[0], start[1] - half), (end[0], end[1] + half), shrinkA=0, shrinkB=0, **ARROW)
        )
        return
    a, b = (start[0] - wide, start[1]), (end[0] - wide, end[1])
    out = min(a[0], b[0]) - BOW
    path = Path([a, (out, a[1]), (out, b[1]), b], [Path.MOVETO, *[Path.CURVE4] * 3])
    axes.add_patch(FancyArrowPatch(path=path, **ARROW))


def _box(axes: "Axes", model: Model, name: str, at: tuple[float, float], wide: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    role, (title, dims) = model.role(name), labels(model, name)
    axes.add_patch(
        FancyBboxPatch(
            (at[0] - wide / 2, at[1] - TALL / 2), wide, TALL, boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=FACE[role], edgecolor="#3b4754", lw=1, linestyle="--" if role == "hidden" else "-",
        )
    )  # fmt: skip
    axes.text(at[0], at[1] + (0.1 if dims[0] else 0), title[0], ha="center", va="center", color=INK)
    if dims[0]:
        axes.text(at[0], at[1] - 0.12, dims[0], ha="center", va="center", color=PALE, fontsize=dims[1])
