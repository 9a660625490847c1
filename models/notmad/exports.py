"""Files of a fit's networks: a table of edges, and GraphML for network viewers."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.evaluate import fitted_problem, predictions
from genarium.readers.messages import absent
from genarium.registry import fitted_model
from genarium.remedies import option
from genarium.settings import only_with
from genarium.writing import replacing

from .doors import nonnegative
from .predict import Members, mean_networks

Row = dict[str, str | float]

FDR = 0.05
"""Expected share of false edges among those called, where none is given."""

COLUMNS = ["source", "target", "weight", "frequency"]
"""Of a table of edges, at least."""

NUMBERS = ("weight", "frequency")
"""What GraphML says of an edge."""


def edges(
    tree: xr.DataTree,
    path: Path,
    *,
    by: Literal["mean", "sample", "group"] = "mean",
    group: str = "",
    smallest: float = 0.1,
    fdr: float | None = None,
) -> list[Path]:
    """Write a table of edges (TSV): source, target, weight, frequency, and of draws intervals and calls.

    Parameters
    ----------
    tree : DataTree
        A fit.
    path : Path
    by : {"mean", "sample", "group"}
        One row for each edge that any sample has, with the mean of its weight over samples, and the share of the
        samples that have it (their edges together need not be acyclic); or a row for each sample and edge, with a
        column ``sample``; or the means by group, with a column ``group``.
    group : str
        With ``by="group"``: the covariate whose values are the groups (as the file has them, where a reader has
        standardised it), or the column of categories whose levels are.
    smallest : float
        An edge has a weight larger than this, in size. Of draws, the frequency is that in projected draws; the interval
        is of the mean over samples, each of which counts, as in ``weight``, if its network has the edge, else as zero.
    fdr : float
        Of draws: the edges called are the most frequent ones, as many as keep the mean of one minus their frequency,
        which is the expected share of false ones among them, at or below this (.05 where not given; columns ``q``, that
        share down to the edge's row, and ``called``).

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If ``smallest`` is negative, ``fdr`` is no probability, or the group is no covariate.
    """
    nonnegative("smallest", smallest)
    only_with("notmad", "a fit by draws, such as that of method='nuts'", "posterior" in tree, fdr=fdr)
    fdr = FDR if fdr is None else fdr
    if not 0 < fdr < 1:
        raise InputError(f"notmad: {option('fdr', fdr)} must be between 0 and 1.")
    only_with("notmad", option("by", "group"), by == "group", group=group or None)
    found, draws = _networks(tree, smallest)
    if by == "sample":
        rows = list(_by_sample(found, smallest))
    else:
        rows = []
        for name, members in _groups(tree, group) if by == "group" else [("", slice(None))]:
            own = found.isel(sample=members)
            means = draws(members, own["network"].to_numpy() != 0) if draws else None
            rows += [{**({"group": name} if name else {}), **row} for row in _mean(own, smallest, means)]
    if draws:
        called(rows, fdr)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()} for row in rows)
    return [path]


def called(rows: list[Row], fdr: float) -> None:
    """Add to rows with a frequency ``q`` and ``called``: the expected share of false edges down to each, and whether.

    The frequency in draws of the posterior is the probability that the edge is there, given that the model holds;
    one minus that, averaged over the rows called, is the expected share of false ones (Newton et al. 2004,
    Biostatistics 5). Rows of one frequency have one ``q``.
    """
    frequency = np.array([float(row["frequency"]) for row in rows])
    order = np.argsort(-frequency, kind="stable")
    share = np.cumsum(1 - frequency[order]) / np.arange(1, len(rows) + 1)
    last = np.searchsorted(-frequency[order], -frequency, side="right") - 1
    for row, at in zip(rows, last, strict=True):
        row["q"] = float(share[at])
        row["called"] = "yes" if share[at] <= fdr else "no"


def as_networkx(
    tree: xr.DataTree, sample: object = None, *, group: str = "", value: object = None, smallest: float = 0.1
) -> Any:
    """Return the mean network over the samples, that of one sample, or of a group of them, as a networkx.DiGraph.

    Parameters
    ----------
    tree : DataTree
        A fit.
    sample : optional
        Name of a sample. Default: the mean over samples.
    group, value : optional
        The mean over those samples whose covariate or category ``group`` is ``value``, as :func:`edges` names it.
    smallest : float
        Of :func:`edges`; nodes have their names, edges ``weight`` and ``frequency``.

    Returns
    -------
    networkx.DiGraph

    Raises
    ------
    InputError
        If networkx is not installed, or there is no such sample or group.
    """
    try:
        import networkx
    except ImportError:
        raise InputError("notmad: networkx is not installed. Install it, or export --as graphml.") from None
    nonnegative("smallest", smallest)
    found = _chosen(tree, smallest, sample, group, value)
    graph = networkx.DiGraph()
    graph.add_nodes_from(str(node) for node in found["source"].to_numpy())
    for row in _mean(found, smallest):
        numbers = {name: value for name, value in row.items() if name not in ("source", "target")}
        graph.add_edge(row["source"], row["target"], **numbers)
    return graph


def graphml(
    tree: xr.DataTree, path: Path, *, sample: Any = None, group: str = "", value: Any = None, smallest: float = 0.1
) -> list[Path]:
    """Write a network as GraphML, which Cytoscape, Gephi, igraph and networkx read.

    Parameters
    ----------
    tree : DataTree
        A fit.
    path : Path
    sample, group, value : optional
        Of :func:`as_networkx`: which samples the network is the mean of. Default: all.
    smallest : float
        Of :func:`edges`; the edges have the numbers of its rows.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If ``smallest`` is negative, or there is no such sample or group.
    """
    nonnegative("smallest", smallest)
    found = _chosen(tree, smallest, sample, group, value)
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


EXPORTS: dict[str, Callable[..., Any]] = {"edges": edges, "graphml": graphml}
"""Kinds of files of a fit."""


def _networks(tree: xr.DataTree, smallest: float) -> tuple[xr.Dataset, Callable[[Members, Array], Array] | None]:
    """Projected networks of the samples of a fit; and of draws, what makes those of the mean of some of them."""
    model = fitted_model(tree)
    problem = fitted_problem(model, tree)
    found = predictions(model, tree, problem, smallest=smallest)
    if "posterior" not in tree:
        return found, None
    return found, lambda members, kept: mean_networks(tree, problem, members, kept)


def _chosen(tree: xr.DataTree, smallest: float, sample: object, group: str, value: object) -> xr.Dataset:
    """Networks of all samples, of one, or of those whose covariate or category has a value.

    Raises
    ------
    InputError
        If there is no such sample or group, or a sample and a group are asked for.
    """
    found, _ = _networks(tree, smallest)
    only_with("notmad", option("group", "..."), bool(group), value=value)
    if sample is not None:
        only_with("notmad", f"no {option('sample', sample)}", False, group=group or None)
        names, told = found["sample"].to_numpy().astype(str), str(_plain(sample))
        if told not in names:
            raise absent("notmad", "sample", told, names)
        return found.isel(sample=names == told)
    if not group:
        return found
    groups, value = dict(_groups(tree, group)), _plain(value)
    told = str(value)
    if told not in groups and isinstance(value, int | float):
        told = f"{value:g}"
    if told not in groups:
        raise absent("notmad", f"value of {group}", told, np.array(list(groups)))
    return found.isel(sample=groups[told])


def _plain(value: Any) -> Any:
    """Return a name or number as Python has it, out of an array of one."""
    return value.item() if hasattr(value, "item") else value


def _groups(tree: xr.DataTree, group: str) -> list[tuple[str, Array]]:
    """Values of a covariate, or levels of a column of categories (``column=level``), and which samples have each.

    Values are in the units of the file, where a reader has standardised them.
    """
    context = tree["constant_data"]["context"]
    names = context["covariate"].to_numpy().astype(str)
    if not group:
        raise InputError(
            f"notmad: {option('by', 'group')} needs {option('group', '<one of ' + ', '.join(names) + '>')}."
        )
    coding = json.loads(tree.attrs.get("ledger", "{}")).get("coding", {}).get(group, {})
    if group in names:
        values = context.to_numpy()[:, list(names).index(group)]
        if coding.get("sd", 0) > 0:
            digits = 9 - int(np.floor(np.log10(coding["sd"])))
            values = np.round(coding["mean"] + coding["sd"] * values, digits) + 0.0
        told = np.array([f"{value:g}" for value in values])  # one group for values that read alike
        return [(name, told == name) for name in dict.fromkeys(told[np.argsort(values, kind="stable")].tolist())]
    coded = [name for name in names if name.startswith(f"{group}=")]
    if not coded:
        raise absent("notmad", "covariate", group, names)
    one = context.sel(covariate=coded).to_numpy() > 0  # (N, levels)
    levels = [name.removeprefix(f"{group}=") for name in coded]
    rest = [level for level in coding.get("levels", []) if level not in levels]  # the first one has no covariate
    found = [(rest[0] if len(rest) == 1 else f"none of {', '.join(levels)}", ~one.any(1))]
    found += [(level, one[:, k]) for k, level in enumerate(levels)]
    return [(level, members) for level, members in found if members.any()]


def _mean(found: xr.Dataset, smallest: float, draws: Array | None = None) -> Iterator[Row]:
    network = found["network"].to_numpy()
    present = np.abs(network) > smallest
    share = found["edge_probability"].to_numpy() if "edge_probability" in found else present
    low, high = (None, None) if draws is None else np.quantile(draws, (0.05, 0.95), axis=0)
    for i, j in _largest(network.mean(0), present.any(0)):
        row = _row(found, i, j, network[:, i, j].mean(), share[:, i, j].mean())
        yield row if low is None or high is None else {**row, "low": float(low[i, j]), "high": float(high[i, j])}


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
