"""Readers of perturbation_score: tables, AnnData files and features, good and bad."""

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium import InputError, registry
from genarium.data import check
from genarium.methods import methods
from genarium.models.perturbation_score import ranking, readers
from genarium.verbs.annotate import annotate
from genarium.verbs.fit import read_with

NAME = "perturbation_score"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(text, name)``: a file with this text."""

    def make(text: str, name: str = "counts.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


GOOD = "gene,prog,cyc,n\nTox,3,1,4\nMyb,0,5,5\nControl,10,10,20\n"


def test_table_of_counts(write: Write) -> None:
    tree = gn.read(NAME, write(GOOD), "table", drop="n", control="Control", regression="none")
    count = tree["observed_data"]["count"]
    assert count["perturbation"].to_numpy().tolist() == ["Tox", "Myb", "Control"]
    assert count["state"].to_numpy().tolist() == ["prog", "cyc"]
    assert count.to_numpy().tolist() == [[3, 1], [0, 5], [10, 10]]


def test_the_control_of_a_file_is_not_ranked(write: Write, tmp_path: Path) -> None:
    tree = gn.read(NAME, write(GOOD), "table", drop="n", control="Control", regression="none")
    gn.save(gn.fit(NAME, tree, "conjugate"), tmp_path / "fit.nc")
    scored = ranking.score(gn.load(tmp_path / "fit.nc"), "prog=1")
    assert scored["perturbation"].to_numpy()[scored["control"]].tolist() == ["Control"]
    ranked = ranking.rank(scored)
    assert ranked["perturbation"].to_numpy().tolist() == ["Tox", "Myb"]
    assert ranked["rank_score"].to_numpy().tolist() == [1, 2]


def test_states_are_read_in_the_order_asked_for(write: Write) -> None:
    found = readers.table([write(GOOD)], states="cyc,prog", least=5)["count"]
    assert found.columns.tolist() == ["cyc", "prog"]
    assert found.index.tolist() == ["Myb", "Control"]
    assert found.to_numpy().tolist() == [[5, 0], [10, 10]]


def test_a_target_is_given_by_state(write: Write) -> None:
    tree = gn.read(NAME, write(GOOD), "table", drop="n", target="cyc=.3, prog=.7", regression="none")
    assert tree["constant_data"]["target"].to_numpy().tolist() == [0.7, 0.3]


def test_shares_and_cell_numbers_make_counts(write: Write) -> None:
    path = write("gene,prog,cyc,n\nTox,0.75,0.25,4\nMyb,0.3333,0.6667,3\n")
    assert readers.table([path], cells="n")["count"].to_numpy().tolist() == [[3, 1], [1, 2]]


def test_features_are_found_by_name(write: Write) -> None:
    features = write("gene,a,b\nMyb,1,2\nOther,9,9\nTox,3,4\n", "features.csv")
    tree = gn.read(NAME, write(GOOD), "table", drop="n", control="Control", features=str(features))
    X = tree["constant_data"]["features"]
    assert X.to_numpy().tolist() == [[3, 4], [1, 2], [0, 0]]
    assert X["feature"].to_numpy().tolist() == ["a", "b"]
    fit = gn.fit(NAME, tree, "conjugate")
    assert fit["point"]["concentration"].shape == (3, 2)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (GOOD, {"states": "prog,cycling"}, "no column 'cycling'"),
        (GOOD, {"control": "control", "drop": "n"}, "no control 'control'. Did you mean 'Control'"),
        ("gene,prog,cyc\nTox,3,1\nMyb,0,0\n", {}, "'Myb' has no cells"),
        ("gene,prog,cyc\nTox,3,1\nTox,1,2\n", {}, "the condition name 'Tox' was used in line 2 already"),
        ("gene,prog,cyc\nTox,3,1\nMyb,,2\n", {}, "'Myb' has nan cells in state 'prog'"),
        ("gene,prog,cyc\nTox,3,1\nMyb,1.5,2\n", {}, "'Myb' has 1.5 cells in state 'prog'.*cells="),
        ("gene,prog,cyc\nTox,3,1\nMyb,-1,2\n", {}, "'Myb' has -1.0 cells"),
        ("gene,prog,cyc,n\nTox,.5,.4,10\n", {"cells": "n"}, "shares sum to 0.9, not to one"),
        ("gene,prog,cyc,n\nTox,.5,.5,3\n", {"cells": "n"}, "no whole counts"),
        ("gene,prog,cyc,n\nTox,.5,.5,0\n", {"cells": "n"}, "has 0.0 cells in column 'n'"),
        (GOOD, {"target": "prog=.5", "drop": "n"}, "the shares sum to 0.5, not to one"),
        (GOOD, {"target": "progg=1", "drop": "n"}, "there is no state 'progg'. Did you mean 'prog'"),
        (GOOD, {"target": "prog", "drop": "n"}, "'prog' is not of the form state=share"),
        (GOOD, {"least": 100, "drop": "n"}, "no perturbation has 100 cells or more"),
        (GOOD, {"least": 6, "control": "Tox", "drop": "n"}, "the control 'Tox' has fewer than 6 cells"),
        (GOOD, {"least": True, "drop": "n"}, "least=True must be a whole number"),
    ],
)
def test_bad_tables(write: Write, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        readers.table([write(text)], **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,a\nTox,1\n", "there are no features for Myb"),
        ("gene,a\nTox,1\nMyb,2\nTox,3\n", "'Tox'"),
        ("gene,a\nTox,1\nMyb,\n", "feature 'a' of 'Myb' is missing"),
    ],
)
def test_bad_features(write: Write, text: str, message: str) -> None:
    features = write(text, "features.csv")
    with pytest.raises(InputError, match=message):
        readers.table([write(GOOD)], drop="n", control="Control", features=str(features))


def test_features_with_a_gene_twice() -> None:
    frame = pd.DataFrame([[1.0], [2.0]], index=["Tox", "Tox"])
    with pytest.raises(InputError, match="the gene 'Tox' has features twice"):
        readers.align(frame, ["Tox"])


def test_every_row_and_column_is_accounted_for(write: Write) -> None:
    features = write("gene,a\nMyb,1\nOther,9\nTox,3\n", "features.csv")
    options = {"drop": "n", "least": 5, "control": "Control", "features": str(features)}
    told = json.loads(gn.read(NAME, write(GOOD), "table", **options).attrs["ledger"])
    rows, columns = told["rows"], told["columns"]
    assert (rows["unit"], rows["read"], rows["kept"]) == ("perturbation", 3, 2)
    assert rows["names"] == {"fewer than 5 cells": ["Tox"]}
    assert (columns["unit"], columns["read"], columns["kept"]) == ("state", 4, 2)
    assert columns["names"] == {"taken as condition names": ["gene"], "asked for": ["n"]}
    assert told["notes"] == [f"{features}: 2 of 3 genes are no perturbation here."]
    told = json.loads(gn.read(NAME, write(GOOD), "table", states="cyc,prog", regression="none").attrs["ledger"])
    assert told["columns"]["names"]["not among states"] == ["n"]


def test_a_total_and_text_are_no_states_and_no_features(write: Write) -> None:
    with pytest.raises(InputError, match=r"column 'n' is the sum .*drop='n', or, if it is a state, name"):
        readers.table([write(GOOD)])
    with pytest.raises(InputError, match=r"column 'kind' \(line 2: 'T'\) holds no numbers.*drop='kind'"):
        readers.table([write("gene,prog,kind,cyc\nTox,3,T,1\n")])
    features = write("gene,a,family\nTox,1,HMG\n", "features.csv")
    with pytest.raises(
        InputError, match=r"features.csv: column 'family' \(line 2: 'HMG'\) .* Delete it, or correct it"
    ):
        readers.table([write("gene,prog,cyc\nTox,3,1\n")], features=str(features))


@pytest.mark.parametrize("value", ["9223372036854775807", "1e300", "9007199254740993"])
def test_counts_that_do_not_fit_are_too_large(write: Write, value: str) -> None:
    with pytest.raises(InputError, match=r"'Myb' has .* cells in state 'cyc', which is too large"):
        readers.table([write(f"gene,prog,cyc\nTox,3,1\nMyb,2,{value}\n")])


@pytest.mark.parametrize("off", [1e-7, -1e-7])
def test_a_rounded_target_is_taken_alike_in_data_and_in_a_score(write: Write, off: float) -> None:
    tree = gn.read(NAME, write(GOOD), "table", drop="n", target=f"prog={0.7 + off:.7f},cyc=0.3", regression="none")
    exact = np.array([0.7 + off, 0.3]) / (1 + off)
    np.testing.assert_allclose(tree["constant_data"]["target"], exact, rtol=0, atol=1e-15)
    fit = gn.fit(NAME, tree, "conjugate")
    found, again = (ranking.score(fit, target) for target in (None, [0.7 + off, 0.3]))
    assert found.attrs["target"] == pytest.approx(again.attrs["target"], abs=1e-15)
    np.testing.assert_allclose(found["score"], again["score"], rtol=1e-12)
    with pytest.raises(InputError, match="sum one over the last dim"):
        gn.fit(NAME, {"count": [[1, 2]], "target": [0.7, 0.30001]}, "conjugate", regression="none")
    with pytest.raises(InputError, match="shares sum to one"):
        ranking.score(fit, [0.7, 0.30001])


# AnnData


@pytest.fixture
def h5ad(tmp_path: Path) -> Write:
    """``h5ad(conditions, states, name)``: an AnnData file."""
    anndata = importlib.import_module("anndata")

    def make(conditions: list[Any], states: list[Any], name: str = "cells.h5ad") -> Path:
        n = len(conditions)
        obs = pd.DataFrame({"condition": conditions, "state": states}, index=[f"{name}{i}" for i in range(n)])
        adata = anndata.AnnData(np.arange(2 * n, dtype=np.float32).reshape(n, 2), obs=obs)
        adata.var_names = ["A", "B"]
        with warnings.catch_warnings():  # anndata asks pandas for an option that it will give up
            warnings.simplefilter("ignore")
            adata.write_h5ad(tmp_path / name)
        return tmp_path / name

    return make


def test_cells_are_counted(h5ad: Write) -> None:
    path = h5ad(["Tox", "Myb", "Tox", "Tox"], ["cyc", "prog", "cyc", "eff"])
    tree = gn.read(NAME, path, "h5ad", regression="none")
    count = tree["observed_data"]["count"]
    assert count["perturbation"].to_numpy().tolist() == ["Myb", "Tox"]
    assert count["state"].to_numpy().tolist() == ["cyc", "eff", "prog"]
    assert count.to_numpy().tolist() == [[0, 0, 1], [2, 1, 0]]
    with importlib.import_module("h5py").File(path, "r+") as file:
        file["X"][...] = file["X"][...] / 3  # what the genes' counts are is nothing to those of cells
    xr.testing.assert_equal(gn.read(NAME, path, "h5ad", regression="none")["observed_data"]["count"], count)
    with pytest.raises(InputError, match="X holds no raw counts"):
        gn.read(NAME, path, "expression")


def test_cells_of_several_files_are_added_up(h5ad: Write) -> None:
    paths = [h5ad(["Tox", "Myb"], ["cyc", "prog"], "a.h5ad"), h5ad(["Tox", "Tox"], ["cyc", "eff"], "b.h5ad")]
    found = readers.h5ad(paths)["count"]
    assert found.loc["Tox"].to_dict() == {"cyc": 2, "eff": 1, "prog": 0}
    assert found.loc["Myb"].to_dict() == {"cyc": 0, "eff": 0, "prog": 1}
    ordered = readers.h5ad(paths, states="prog,cyc,eff,none")["count"]
    assert ordered.columns.tolist() == ["prog", "cyc", "eff", "none"]
    assert ordered.loc["Tox"].tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("conditions", "states", "options", "message"),
    [
        (["Tox"], ["cyc"], {"states": "prog"}, r"obs\['state'\] of cell 'cells.h5ad0' is 'cyc', which is none of"),
        (["Tox"], ["cyc"], {"control": "Unperturbed"}, "no control 'Unperturbed'"),
        (["Tox"], ["cyc"], {"condition": "gene"}, "no column of obs 'gene'"),
        (["Tox", "Myb"], ["cyc", None], {}, r"obs\['state'\] of cell 'cells.h5ad1' is missing"),
        (["Tox"], ["cyc"], {"layer": "counts"}, "no layer 'counts'"),
    ],
)
def test_bad_cells(h5ad: Write, conditions: list[Any], states: list[Any], options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        readers.h5ad([h5ad(conditions, states)], **options)


def test_clusters_keep_their_order(h5ad: Write) -> None:
    numbers = [str(i) for i in range(12)]
    clusters = pd.Categorical(numbers[::-1])  # its categories are sorted as text: 0, 1, 10, 11, 2
    found = readers.h5ad([h5ad(["Tox"] * 12, clusters)])["count"]
    assert found.columns.tolist() == numbers
    assert found.loc["Tox"].tolist() == [1] * 12
    stages = pd.Categorical(["late", "early", "late"], categories=["early", "middle", "late"])
    genes = pd.Categorical(["b", "a", "b"], categories=["b", "a"])
    found = readers.h5ad([h5ad(genes, stages)])["count"]
    assert found.columns.tolist() == ["early", "late"]
    assert found.index.tolist() == ["b", "a"]
    assert found.to_numpy().tolist() == [[0, 2], [1, 0]]
    both = readers.h5ad([h5ad(["Tox"] * 2, ["2", "10"], "a.h5ad"), h5ad(["Tox"], ["9"], "b.h5ad")])["count"]
    assert both.columns.tolist() == ["2", "9", "10"]


def test_new_cells_are_predicted_from_a_file_of_the_fits_format(h5ad: Write) -> None:
    """Two readers take .h5ad: the one of the fit's data does."""
    tree = gn.read(NAME, h5ad(["a", "a", "b", "b"], ["x", "y", "x", "x"]), "h5ad", regression="none")
    fit = gn.fit(NAME, tree, "conjugate")
    new = annotate(fit, h5ad(["c", "b", "c"], ["y", "x", "y"], "new.h5ad"))
    assert new["predictions"]["perturbation"].to_numpy().tolist() == ["b", "c"]
    assert new["predictions"]["proportion"]["state"].to_numpy().tolist() == ["x", "y"]
    assert new["observed_data"]["count"].to_numpy().tolist() == [[1, 0], [0, 2]]
    with pytest.warns(UserWarning, match="known variable 'target' of the new data is another one"):
        other = annotate(fit, h5ad(["c", "b", "c"], ["y", "x", "y"], "new.h5ad"), target="y=1")
    wanted = gn.predict(fit, new, target=[0.0, 1.0])["predictions"]["score"].to_numpy()
    np.testing.assert_array_equal(other["predictions"]["score"], wanted)
    assert abs(wanted - new["predictions"]["score"].to_numpy()).min() > 0.01


def test_numbers_that_name_cells_conditions_and_states_are_names(h5ad: Write) -> None:
    tree = gn.read("perturbation_score", h5ad([20, 3, 20, 100], [1, 10, 2, 10]), "expression", control="3")
    sizes = json.loads(tree.attrs["sizes"])
    assert (sizes["perturbation"], sizes["state"]) == (3, 3)
    assert json.loads(tree.attrs["labels"]) == {"perturbation": ["3", "20", "100"]}
    assert tree["observed_data"]["state"].to_numpy().tolist() == [0, 2, 1, 2]
    assert tree["constant_data"]["target"]["state"].to_numpy().tolist() == ["1", "2", "10"]
    variant = registry.get(NAME).variant(observed="expression", regression="none")
    taken = read_with(tree, check(variant, tree, {"program": 2}), methods(variant)["statistic"])
    assert taken == {"control": "3"}  # the method's own option of this name
    with pytest.raises(InputError, match=r"control=3 must be a name.* written control='3'"):
        gn.read("perturbation_score", h5ad([20, 3], [1, 2]), "expression", control=3)


def test_blanks_around_labels_are_no_part_of_them(h5ad: Write, write: Write) -> None:
    found = readers.h5ad([h5ad(["Tox", " Tox ", "Myb"], ["cyc ", "cyc", "\tprog"])])["count"]
    assert found.loc["Tox"].to_dict() == {"cyc": 2, "prog": 0}
    assert found.index.tolist() == ["Myb", "Tox"]
    table = readers.table([write("gene,cyc , prog\nTox ,2,0\n Myb,0,1\n")])["count"]
    assert table.loc["Tox"].to_dict() == {"cyc": 2, "prog": 0}
    with pytest.raises(InputError, match=r"obs\['state'\] of cell 'cells.h5ad1' is missing \(1 such"):
        readers.h5ad([h5ad(["Tox", "Tox"], ["cyc", "  "])])


def test_cells_are_counted_once(h5ad: Write, tmp_path: Path) -> None:
    path = h5ad(["Tox", "Myb"], ["cyc", "prog"], "a.h5ad")
    with pytest.raises(InputError, match="the same file is given twice"):
        readers.h5ad([path, path])
    (tmp_path / "copy.h5ad").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"the cell name 'a\.h5ad0' is used in both"):
        readers.h5ad([path, tmp_path / "copy.h5ad"])


def test_every_cell_is_accounted_for(h5ad: Write) -> None:
    path = h5ad(["Tox", "Myb", "Tox", "Tox"], ["cyc", "prog", "cyc", "eff"])
    tree = gn.read(NAME, path, "h5ad", least=2, regression="none")
    told = json.loads(tree.attrs["ledger"])
    assert (told["rows"]["unit"], told["rows"]["read"], told["rows"]["kept"]) == ("cell", 4, 3)
    assert told["rows"]["left_out"] == {"of perturbations with fewer than 2 cells": 1}
    assert int(tree["observed_data"]["count"].sum()) == 3
    assert (told["columns"]["read"], told["columns"]["kept"]) == (2, 2)
