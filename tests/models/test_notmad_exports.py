"""Files of networks: what they hold is what predictions say."""

import csv
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium.errors import InputError
from genarium.models.notmad import as_networkx, compare
from genarium.models.notmad.exports import _chosen, _groups
from genarium.models.notmad.graphs import matrices, places


def test_edges_and_graphml_hold_the_networks_of_predict(tmp_path: Path) -> None:
    tree = gn.simulate("notmad", 4, sample=30)
    fit = gn.fit("notmad", tree, "map", 1, restarts=1)
    network = gn.predict(fit)["predictions"]["network"].to_numpy()
    present = np.abs(network) > 0.2
    gn.export(fit, "edges", tmp_path / "mean.tsv", smallest=0.2)
    rows = list(csv.DictReader((tmp_path / "mean.tsv").read_text().splitlines(), delimiter="\t"))
    assert len(rows) == present.any(0).sum() > 0
    for row in rows:
        i, j = int(row["source"]), int(row["target"])
        assert float(row["weight"]) == pytest.approx(network[:, i, j].mean(), rel=1e-5)
        assert float(row["frequency"]) == pytest.approx(present[:, i, j].mean(), rel=1e-5)
    gn.export(fit, "edges", tmp_path / "each.tsv", by="sample", smallest=0.2)
    rows = list(csv.DictReader((tmp_path / "each.tsv").read_text().splitlines(), delimiter="\t"))
    assert len(rows) == present.sum()
    made = np.zeros_like(network)
    for row in rows:
        made[int(row["sample"]), int(row["source"]), int(row["target"])] = float(row["weight"])
    np.testing.assert_allclose(made, np.where(present, network, 0), rtol=1e-5)
    gn.export(fit, "graphml", tmp_path / "net.graphml", smallest=0.2)
    found = ElementTree.parse(tmp_path / "net.graphml").getroot()
    space = {"g": "http://graphml.graphdrawing.org/xmlns"}
    assert len(found.findall(".//g:node", space)) == 3
    assert len(found.findall(".//g:edge", space)) == present.any(0).sum()
    with pytest.raises(InputError, match=r"smallest=-1\.0 must be"):
        gn.export(fit, "graphml", tmp_path / "net.graphml", smallest=-1.0)
    with pytest.raises(InputError, match=r"fdr=0\.1 would be dropped"):
        gn.export(fit, "edges", tmp_path / "mean.tsv", fdr=0.1)
    with pytest.raises(InputError, match="by='group' needs group="):
        gn.export(fit, "edges", tmp_path / "mean.tsv", by="group")


@pytest.mark.slow
def test_networks_of_categories_are_those_of_their_samples(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    level = np.arange(90) % 3
    x = rng.normal(size=(90, 3))
    x[:, 1] += np.where(level == 1, 1.5, 0) * x[:, 0]
    x[:, 2] += np.where(level == 2, 0, 1.5) * x[:, 1]
    context = xr.DataArray(
        np.stack([level == 1, level == 2], 1).astype(float),
        dims=("sample", "covariate"),
        coords={"covariate": ["tissue=lung", "tissue=skin"]},
    )
    fit = gn.fit("notmad", {"x": x, "context": context}, "map", 1, archetype=3, restarts=1)
    network = gn.predict(fit)["predictions"]["network"].to_numpy()
    gn.export(fit, "edges", tmp_path / "g.tsv", by="group", group="tissue")
    rows = list(csv.DictReader((tmp_path / "g.tsv").read_text().splitlines(), delimiter="\t"))
    names = ["none of lung, skin", "lung", "skin"]
    for k, name in enumerate(names):
        mean = network[level == k].mean(0)
        own = {(int(r["source"]), int(r["target"])): float(r["weight"]) for r in rows if r["group"] == name}
        assert own == {(i, j): pytest.approx(mean[i, j], rel=1e-5) for i, j in np.argwhere(np.abs(mean) > 0.1).tolist()}
        gn.export(fit, "graphml", tmp_path / "g.graphml", group="tissue", value=name)
        found = ElementTree.parse(tmp_path / "g.graphml").getroot()
        assert len(found.findall(".//{http://graphml.graphdrawing.org/xmlns}edge")) == len(own)
    with pytest.raises(InputError, match="there is no value of tissue 'liver'"):
        gn.export(fit, "graphml", tmp_path / "g.graphml", group="tissue", value="liver")


def test_groups_of_a_file_have_its_own_levels_and_units(tmp_path: Path) -> None:
    """The first level, which has no covariate, and a dose that was standardised."""
    rng, N = np.random.default_rng(1), 30
    table = pd.DataFrame({"a": rng.normal(size=N), "b": rng.normal(size=N)})
    table["b"] += 2 * table["a"]
    table["tissue"] = rng.choice(["liver", "lung", "skin"], N)
    table["dose"] = rng.choice([0.0, 0.1, 30.0], N)
    table.to_csv(tmp_path / "t.csv", index=False)
    tree = gn.read("notmad", tmp_path / "t.csv", context="tissue,dose")
    for name in ("tissue", "dose"):
        found = {told: np.flatnonzero(members).tolist() for told, members in _groups(tree, name)}
        values = [f"{value:g}" if name == "dose" else value for value in table[name]]
        expected = {told: [i for i in range(N) if values[i] == told] for told in set(values)}
        assert found == expected
    fit = gn.fit("notmad", tree, "map", 1, archetype=2, restarts=1)
    gn.export(fit, "edges", tmp_path / "e.tsv", by="group", group="tissue", smallest=0)
    assert list(dict.fromkeys(pd.read_csv(tmp_path / "e.tsv", sep="\t")["group"])) == ["liver", "lung", "skin"]


def test_values_that_read_alike_are_one_group() -> None:
    values = [[0.12345678], [2.0], [-1.0], [0.12345679]]
    context = xr.DataArray(values, {"covariate": ["age"]}, ["sample", "covariate"])
    tree = xr.DataTree.from_dict({"constant_data": xr.Dataset({"context": context})})
    found = [(name, np.flatnonzero(members).tolist()) for name, members in _groups(tree, "age")]
    assert found == [("-1", [2]), ("0.123457", [0, 3]), ("2", [1])]


def test_groups_and_samples_are_found_by_what_names_them() -> None:
    """A number however it is held, with all its digits or as the table tells it."""
    values = np.array([1.0, 2.0, 0.123456789] * 8)
    data = gn.simulate("notmad", 4, sample=24, covariate=1, context=values[:, None])
    fit = gn.fit("notmad", data, "map", 1, archetype=2, restarts=1)
    ones: list[Any] = [1, 1.0, True, np.float64(1), "1", xr.DataArray(1.0)]
    for value in ones:
        assert _chosen(fit, 0.1, None, "0", value)["sample"].to_numpy().tolist() == list(range(0, 24, 3))
    third: list[Any] = [0.123456789, "0.123457", fit["constant_data"].to_dataset()["context"][2, 0]]
    for value in third:
        assert _chosen(fit, 0.1, None, "0", value)["sample"].to_numpy().tolist() == list(range(2, 24, 3))
    one = _chosen(fit, 0.1, fit["observed_data"].to_dataset()["sample"][7], "", None)
    assert one["sample"].to_numpy().tolist() == [7]


def drawn(fit: xr.DataTree) -> xr.DataTree:
    """A fit by draws: ten points around one by `map`."""
    rng = np.random.default_rng(0)
    variables = {}
    for name in gn.get("notmad").unknown.variables:
        mode = fit["point"][name]
        values = mode.to_numpy() * np.exp(rng.normal(0, 1.2, (1, 10, *mode.shape)))
        variables[name] = xr.DataArray(
            values, dims=("chain", "draw", *mode.dims), coords={**mode.coords, "chain": [0], "draw": range(10)}
        )
    groups = {name: fit[name].to_dataset() for name in ("constant_data", "observed_data")}
    out = xr.DataTree.from_dict({**groups, "posterior": xr.Dataset(variables)})
    out.attrs = {**fit.attrs, "claim": "exact"}
    return out


def test_edges_of_draws_have_intervals_and_calls(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    kind = np.repeat([0.0, 1.0], 20)
    data = gn.simulate("notmad", 4, sample=40, covariate=1, context=kind[:, None], order="given")
    x = data["observed_data"]["x"].to_numpy() + np.column_stack([np.zeros((40, 2)), rng.normal(size=40)])
    fit = drawn(gn.fit("notmad", {"x": x, "context": kind[:, None]}, "map", 1, archetype=2, restarts=1))
    gn.export(fit, "edges", tmp_path / "g.tsv", by="group", group="0", fdr=0.2)
    rows = list(csv.DictReader((tmp_path / "g.tsv").read_text().splitlines(), delimiter="\t"))
    found = gn.predict(fit)["predictions"]
    model = gn.get("notmad")
    networks = []
    for d in range(10):
        at = {name: fit["posterior"][name].to_numpy()[0, d] for name in model.unknown.variables}
        scaled = (kind - kind.mean()) / kind.std()
        logit = at["intercept"] + scaled[:, None] * at["slope"]
        Z = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
        networks.append(np.einsum("nk,kij->nij", Z, matrices("free", 3, at["edge_weight"])))
    for row in rows:
        i, j, own = int(row["source"]), int(row["target"]), kind == float(row["group"])
        kept = found["network"].to_numpy()[own, i, j] != 0
        means = (np.array(networks)[:, own, i, j] * kept).mean(1)
        assert float(row["weight"]) == pytest.approx(means.mean(), rel=1e-4)
        np.testing.assert_allclose([float(row["low"]), float(row["high"])], np.quantile(means, (0.05, 0.95)), rtol=1e-4)
        share = float(found["edge_probability"].to_numpy()[own, i, j].mean())
        assert float(row["frequency"]) == pytest.approx(share, rel=1e-4)
        above = [1 - float(r["frequency"]) for r in rows if float(r["frequency"]) >= float(row["frequency"])]
        assert float(row["q"]) == pytest.approx(np.mean(above), abs=1e-4)
        assert row["called"] == ("yes" if float(row["q"]) <= 0.2 else "no")
    assert len({row["q"] for row in rows}) > 1
    with pytest.raises(InputError, match=r"fdr=1\.5 must be between 0 and 1"):
        gn.export(fit, "edges", tmp_path / "g.tsv", fdr=1.5)
    with pytest.raises(InputError, match="there is no covariate 'tissue'"):
        gn.export(fit, "edges", tmp_path / "g.tsv", by="group", group="tissue")


def test_intervals_are_of_the_weights_beside_them(tmp_path: Path) -> None:
    """Where a cycle is cut at another edge in other samples: an edge's mean has zeros, and so have its draws."""
    kind = np.linspace(-2, 2, 40)[:, None]
    data = gn.simulate("notmad", 4, sample=40, covariate=1, context=kind)
    fit = drawn(gn.fit("notmad", data, "map", 1, archetype=2, restarts=1))
    posterior, rng = fit["posterior"].to_dataset(), np.random.default_rng(0)
    W = np.zeros((2, 3, 3))
    W[0, 0, 1], W[1, 0, 1], W[0, 1, 0], W[1, 1, 0] = 2.0, 0.8, 0.8, 2.0
    source, target = places("free", 3)
    edges = W[:, source, target] + rng.normal(0, 0.01, (1, 10, 2, len(source)))
    at = {"edge_weight": edges, "intercept": np.zeros((1, 10, 2)), "slope": np.tile([[-2.0, 2.0]], (1, 10, 1, 1))}
    fit["posterior"] = posterior.assign({name: (posterior[name].dims, value) for name, value in at.items()})
    gn.export(fit, "edges", tmp_path / "e.tsv")
    table = pd.read_csv(tmp_path / "e.tsv", sep="\t", index_col=["source", "target"])
    assert {(0, 1), (1, 0)} <= set(table.index)
    assert (table["low"] <= table["weight"]).all()
    assert (table["weight"] <= table["high"]).all()


def test_networkx_has_the_edges_of_the_table() -> None:
    pytest.importorskip("networkx")
    fit = gn.fit("notmad", gn.simulate("notmad", 4, sample=30), "map", 1, restarts=1)
    network = gn.predict(fit)["predictions"]["network"].to_numpy()
    graph = as_networkx(fit)
    assert sorted(graph.nodes) == ["0", "1", "2"]
    assert {(int(a), int(b)) for a, b in graph.edges} == {tuple(e) for e in np.argwhere((np.abs(network) > 0.1).any(0))}
    one = as_networkx(fit, 7)
    assert {(int(a), int(b)): w for a, b, w in one.edges(data="weight")} == {
        (int(i), int(j)): pytest.approx(network[7, i, j]) for i, j in np.argwhere(np.abs(network[7]) > 0.1)
    }
    with pytest.raises(InputError, match="there is no sample '99'"):
        as_networkx(fit, 99)


def test_graphs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match=r"estimate of shape \(2, 3\)"):
        compare(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(InputError, match="of other shapes"):
        compare(np.zeros((2, 2)), np.zeros((3, 3)))
