"""Files of networks: what they hold is what predictions say."""

import csv
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import genarium as gn
from genarium.errors import InputError
from genarium.models.notmad import compare


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


def test_graphs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match=r"estimate of shape \(2, 3\)"):
        compare(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(InputError, match="of other shapes"):
        compare(np.zeros((2, 2)), np.zeros((3, 3)))
