"""Files of a fit's networks: a table of edges, and GraphML for network viewers."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.evaluate import fitted_problem, predictions
from genarium.registry import fitted_model
from genarium.writing import replacing

from .doors import nonnegative

Row = dict[str, str | float]

NUMBERS = ("weight", "frequency")
"""What GraphML says of an edge."""


def edges(
    tree: xr.DataTree, path: Path, *, by: Literal["mean", "sample"] = "mean", smallest: float = 0.1
) -> list[Path]:
    """Write a table of edges (TSV): source, target, weight, frequency, and of draws the intervals of samples.

    Parameters
    ----------
    tree : DataTree
        A fit.
    path : Path
    by : {"mean", "sample"}
        One row for each edge that any sample has, with the mean of its weight over samples, and the share of the
        samples that have it (their edges together need not be acyclic); or a row for each sample and edge, with a
        column ``sample``, and of draws with ``low`` and ``high``.
    smallest : float
        An edge has a weight larger than this, in size. Of draws, the frequency is that in projected draws.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If ``smallest`` is negative.
    """
    nonnegative("smallest", smallest)
    found = _networks(tree, smallest)
    rows = list(_by_sample(found, smallest) if by == "sample" else _mean(found, smallest))
    columns = ["source", "target", "weight", "frequency"]
    if by == "sample":
        columns = ["sample", *columns, *(n for n in ("low", "high") if n in found)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()} for row in rows)
    return [path]


def graphml(tree: xr.DataTree, path: Path, *, smallest: float = 0.1) -> list[Path]:
    """Write the mean network over the samples as GraphML, which Cytoscape, Gephi, igraph and networkx read.

    Parameters
    ----------
    tree : DataTree
        A fit.
    path : Path
    smallest : float
        Of :func:`edges`; the edges have the numbers of its rows.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If ``smallest`` is negative.
    """
    nonnegative("smallest", smallest)
    found = _networks(tree, smallest)
    root = ElementTree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    for name in NUMBERS:
        ElementTree.SubElement(root, "key", {"id": name, "for": "edge", "attr.name": name, "attr.type": "double"})
    graph = ElementTree.SubElement(root, "graph", id="notmad", edgedefault="directed")
    for node in found["source"].to_numpy():
        ElementTree.SubElement(graph, "node", id=str(node))
    for row in _mean(found, smallest):
        edge = ElementTree.SubElement(graph, "edge", source=str(row["source"]), target=str(row["target"]))
        for name in NUMBERS:
            ElementTree.SubElement(edge, "data", key=name).text = f"{row[name]:.6g}"
    ElementTree.indent(root)
    with replacing(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
    return [path]


EXPORTS = {"edges": edges, "graphml": graphml}
"""Kinds of files of a fit."""


def _networks(tree: xr.DataTree, smallest: float) -> xr.Dataset:
    """Projected networks of the samples of a fit."""
    model = fitted_model(tree)
    return predictions(model, tree, fitted_problem(model, tree), smallest=smallest)


def _mean(found: xr.Dataset, smallest: float) -> Iterator[Row]:
    network = found["network"].to_numpy()
    present = np.abs(network) > smallest
    share = found["edge_probability"].to_numpy() if "edge_probability" in found else present
    for i, j in _largest(network.mean(0), present.any(0)):
        yield _row(found, i, j, network[:, i, j].mean(), share[:, i, j].mean())


def _by_sample(found: xr.Dataset, smallest: float) -> Iterator[Row]:
    network = found["network"].to_numpy()
    present = np.abs(network) > smallest
    share = found["edge_probability"].to_numpy() if "edge_probability" in found else present
    limits = {name: found[name].to_numpy() for name in ("low", "high") if name in found}
    for n, sample in enumerate(found["sample"].to_numpy()):
        for i, j in _largest(network[n], present[n]):
            own = {name: float(values[n, i, j]) for name, values in limits.items()}
            yield {"sample": str(sample), **_row(found, i, j, network[n, i, j], share[n, i, j]), **own}


def _largest(weight: Array, kept: Array) -> list[tuple[int, int]]:
    """Places of the edges that are kept, largest first."""
    places = [(int(i), int(j)) for i, j in np.argwhere(kept)]
    return sorted(places, key=lambda place: -abs(weight[place]))


def _row(found: xr.Dataset, i: int, j: int, weight: float, frequency: float) -> Row:
    names = found["source"].to_numpy()
    return {
        "source": str(names[i]),
        "target": str(names[j]),
        "weight": float(weight),
        "frequency": float(frequency),
    }
