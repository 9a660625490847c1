"""Readers of NOTMAD on ordinary files, and how later files are brought to the scale of the training samples."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium import cli
from genarium.errors import InputError
from genarium.models.notmad.preparation import prepare, split
from genarium.tree import load


def frame(n: int = 12, age: float = 50, seed: int = 0) -> Any:
    import pandas as pd

    rng = np.random.default_rng(seed)
    columns = {"a": rng.normal(5, 2, n), "b": rng.normal(size=n), "age": rng.normal(age, 10, n)}
    return pd.DataFrame({**columns, "tissue": np.resize(["gut", "liver", "lung"], n)})


def read(path: Path, **settings: Any) -> xr.DataTree:
    return gn.read("notmad", path, "table", **{"context": "age,tissue", **settings})


def write_h5ad(table: Any, path: Path) -> None:
    import anndata

    data = anndata.AnnData(table[["a", "b"]].to_numpy(), obs=table[["age", "tissue"]].set_axis(map(str, table.index)))
    data.var_names = ["a", "b"]
    with warnings.catch_warnings():  # anndata sets an option that pandas 3 deprecates
        warnings.filterwarnings("ignore", "The 'future.infer_string' option is deprecated")
        data.write_h5ad(path)


def x_of(tree: xr.DataTree) -> Any:
    return tree["observed_data"]["x"].to_numpy()


def context_of(tree: xr.DataTree) -> Any:
    return tree["constant_data"]["context"].to_numpy()


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option", "ignore:The 'mode.chained_assignment' option")
def test_a_missing_category_is_refused_with_its_place(tmp_path: Path) -> None:
    table = frame()
    table.loc[[3, 7], "tissue"] = None
    table.to_csv(tmp_path / "t.csv", index=False)
    told = r"t\.csv: line 5, column 'tissue': the category is missing \(2 such samples\)\. Fill it in"
    with pytest.raises(InputError, match=told):
        read(tmp_path / "t.csv")
    table.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"row \d, column 'tissue': the category is missing"):
        read(tmp_path / "t.parquet")
    write_h5ad(table, tmp_path / "t.h5ad")
    with pytest.raises(InputError, match=r"cell '3', column 'tissue' of obs: the category is missing"):
        gn.read("notmad", tmp_path / "t.h5ad", "h5ad", context="tissue")


def test_the_index_of_a_table_is_no_node(tmp_path: Path) -> None:
    frame().set_axis(range(100, 112)).to_csv(tmp_path / "t.csv")
    tree = read(tmp_path / "t.csv")
    assert list(tree["observed_data"]["node"].to_numpy()) == ["a", "b"]
    assert list(tree["observed_data"]["sample"].to_numpy()[:2]) == ["100", "101"]


@pytest.mark.parametrize("words", [("no", "yes"), ("False", "True"), ("F", "T"), ("absent", "Present"), (False, True)])
def test_truth_values_are_nodes_of_zero_and_one(tmp_path: Path, words: tuple[Any, Any]) -> None:
    truth = np.random.default_rng(1).uniform(size=(12, 2)) < 0.5
    given = {name: [words[v] for v in column] for name, column in zip("yz", truth.T.astype(int), strict=True)}
    table = pd.DataFrame({**given, "a": frame()["a"]})
    end = "parquet" if isinstance(words[0], bool) else "csv"
    table.to_parquet(tmp_path / "t.parquet") if end == "parquet" else table.to_csv(tmp_path / "t.csv", index=False)
    tree = gn.read("notmad", tmp_path / f"t.{end}", "table", context="none")
    assert list(tree["observed_data"]["node"].to_numpy()) == ["y", "z", "a"]  # the first names no samples
    np.testing.assert_array_equal(x_of(tree)[:, :2], truth)
    assert np.std(x_of(tree)[:, 2]) == pytest.approx(1)
    assert "Truth values were read as 0 and 1, and are not standardised: y, z." in tree.attrs["ledger"]
    table.iloc[:5].to_parquet(tmp_path / "new.parquet")
    new = gn.read("notmad", tmp_path / "new.parquet", "table", context="none", like=str(tmp_path / f"t.{end}"))
    np.testing.assert_array_equal(x_of(new), x_of(tree)[:5])


def test_words_that_are_no_truth_values_are_refused(tmp_path: Path) -> None:
    frame().assign(y=np.resize(["no", "yes", "perhaps"], 12)).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"column 'y' \(line 2: 'no'\) holds no numbers"):
        read(tmp_path / "t.csv")
    tree = read(tmp_path / "t.csv", context="y", nodes="a,b")
    assert list(tree["constant_data"]["covariate"].to_numpy()) == ["y=perhaps", "y=yes"]


def test_a_letter_alone_is_no_truth_value(tmp_path: Path) -> None:
    frame().assign(sex="F").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"column 'sex' \(line 2: 'F'\) holds no numbers"):
        read(tmp_path / "t.csv")


def test_a_truth_value_that_is_missing_is_missing(tmp_path: Path) -> None:
    frame().assign(y=np.resize(["no", "yes", "NA"], 12)).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"x\[sample=2, node=2 \(y\)\] = nan"):
        read(tmp_path / "t.csv")


def test_a_context_without_spread_is_refused(tmp_path: Path) -> None:
    frame().assign(age=40.0).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"context 'age' has one level, 40\.0\. Leave it out"):
        read(tmp_path / "t.csv")


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option", "ignore:The 'mode.chained_assignment' option")
@pytest.mark.parametrize("kind", ["table", "h5ad"])
def test_later_files_are_brought_to_the_scale_of_the_training_file(tmp_path: Path, kind: str) -> None:
    train, later = frame(), frame(5, 65, 1).assign(tissue=["lung", "gut", "gut", "lung", "lung"])
    paths = [tmp_path / f"{name}.{'csv' if kind == 'table' else kind}" for name in ("train", "later")]
    for table, path in zip((train, later), paths, strict=True):
        if kind == "table":
            table.to_csv(path, index=False)
        else:
            write_h5ad(table, path)
    settings = {"context": "age,tissue", "like": str(paths[0])}
    tree = gn.read("notmad", paths[1], kind, **settings)
    assert list(tree["constant_data"]["covariate"].to_numpy()) == ["age", "tissue=liver", "tissue=lung"]
    expected = (later["age"] - train["age"].mean()) / train["age"].std(ddof=0)
    np.testing.assert_allclose(context_of(tree)[:, 0], expected)
    np.testing.assert_array_equal(context_of(tree)[:, 1:], [[0, 1], [0, 0], [0, 0], [0, 1], [0, 1]])
    np.testing.assert_allclose(x_of(tree)[:, 0], (later["a"] - train["a"].mean()) / train["a"].std(ddof=0))
    own, same = (gn.read("notmad", paths[0], kind, **s) for s in ({"context": "age,tissue"}, settings))
    np.testing.assert_array_equal(context_of(own), context_of(same))
    raw = gn.read("notmad", paths[1], kind, standardise=False, **settings)
    np.testing.assert_allclose(context_of(raw)[:, 0], later["age"])
    np.testing.assert_array_equal(context_of(raw)[:, 1:], context_of(tree)[:, 1:])


def test_later_files_take_the_nodes_of_the_training_file_and_no_other_level(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "train.csv", index=False)
    frame(5)[["tissue", "b", "age", "a"]].assign(c=1.0).to_csv(tmp_path / "later.csv", index=False)
    tree = read(tmp_path / "later.csv", like=str(tmp_path / "train.csv"))
    assert list(tree["observed_data"]["node"].to_numpy()) == ["a", "b"]
    frame(4).assign(tissue=["gut", "gut", "brain", "gut"]).to_csv(tmp_path / "later.csv", index=False)
    told = (
        r"later\.csv: sample 2: tissue = 'brain' is not a level of 'tissue' in .*train\.csv, which has gut, liver, lung"
    )
    with pytest.raises(InputError, match=told):
        read(tmp_path / "later.csv", like=str(tmp_path / "train.csv"))
    frame(4).assign(age="old").to_csv(tmp_path / "later.csv", index=False)
    with pytest.raises(InputError, match=r"context 'age' holds text, but numbers in .*train"):
        read(tmp_path / "later.csv", like=str(tmp_path / "train.csv"))


def test_later_files_have_the_names_of_the_samples_in_any_column(tmp_path: Path) -> None:
    train, later = frame().rename_axis("sample").reset_index(), frame(3, 50, 1).assign(sample=["u", "v", "w"])
    train.to_csv(tmp_path / "train.csv", index=False)
    later[["a", "age", "sample", "b", "tissue"]].to_csv(tmp_path / "later.csv", index=False)
    tree = read(tmp_path / "later.csv", like=str(tmp_path / "train.csv"))
    assert list(tree["observed_data"]["sample"].to_numpy()) == ["u", "v", "w"]
    later.drop(columns="sample").to_csv(tmp_path / "later.csv", index=False)
    assert list(read(tmp_path / "later.csv", like=str(tmp_path / "train.csv"))["observed_data"]["sample"]) == [0, 1, 2]


def test_every_row_and_column_is_accounted_for(tmp_path: Path) -> None:
    frame().rename_axis("sample").assign(batch=1.0, c=2.5).to_csv(tmp_path / "t.csv")
    told = json.loads(read(tmp_path / "t.csv", drop="batch", nodes="a,b").attrs["ledger"])
    assert told["rows"] == {"unit": "sample", "entry": "row", "read": 12, "kept": 12, "left_out": {}, "names": {}}
    columns = told["columns"]
    assert (columns["unit"], columns["read"], columns["kept"]) == ("node", 7, 2)
    assert columns["names"] == {
        "taken as sample names": ["sample"],
        "taken as context": ["age", "tissue"],
        "asked for": ["batch"],
        "not among nodes": ["c"],
    }
    later = read(tmp_path / "t.csv", drop="batch", nodes="a,b", like=str(tmp_path / "t.csv"))
    assert json.loads(later.attrs["ledger"])["notes"] == [f"Nodes, levels and scale are those of {tmp_path / 't.csv'}."]


def test_a_column_that_serves_twice_is_counted_once(tmp_path: Path) -> None:
    frame().assign(tissue=[f"t{i}" for i in range(12)]).to_csv(tmp_path / "t.csv", index=False)
    columns = json.loads(read(tmp_path / "t.csv", context="age,tissue", samples="tissue").attrs["ledger"])["columns"]
    assert columns["names"] == {"taken as sample names": ["tissue"], "taken as context": ["age"]}


def test_samples_have_names_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for name, said in (
        ("None", r"line 2, column 'sample': the sample has no name"),
        ("s1", "name 's1' was used"),
    ):
        names = [name, *(f"s{i}" for i in range(1, 12))]
        frame().assign(sample=names)[["sample", *frame().columns]].to_csv(path, index=False)
        with pytest.raises(InputError, match=said):
            read(path)


def test_columns_that_are_neither_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame().assign(doctor="x").to_csv(path, index=False)
    with pytest.raises(
        InputError, match=r"column 'doctor' \(line 2: 'x'\) holds no numbers.*drop='doctor', or name the n"
    ):
        read(path)
    assert list(read(path, drop="doctor")["observed_data"]["node"].to_numpy()) == ["a", "b"]
    frame().assign(batch=[1, 2] * 6, number=range(12)).to_csv(path, index=False)
    with pytest.raises(
        InputError, match=r"'batch' is called as a label is; 'number' holds running numbers, from 0: no no"
    ):
        read(path)
    assert read(path, nodes="a,b,batch")["observed_data"].sizes["node"] == 3
    frame().assign(a="3,5").to_csv(path, index=False, sep=";")
    with pytest.raises(InputError, match=r"'a' \(line 2: '3,5' \(a decimal comma\? Write 3.5\)\)"):
        read(path)


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option", "ignore:The 'mode.chained_assignment' option")
def test_levels_keep_their_order_and_lose_their_blanks(tmp_path: Path) -> None:
    import pandas as pd

    numbers = pd.Categorical([str(i) for i in range(12)])  # categories sorted as text: 0, 1, 10, 11, 2
    stages = pd.Categorical(["late", "early", "late"] * 4, categories=["late", "middle", "early"])
    data = frame().assign(tissue=numbers)
    write_h5ad(data, tmp_path / "t.h5ad")
    data.to_parquet(tmp_path / "t.parquet")
    for kind, name in (("h5ad", "t.h5ad"), ("table", "t.parquet")):
        tree = gn.read("notmad", tmp_path / name, kind, context="tissue")
        told = [str(c) for c in tree["constant_data"]["covariate"].to_numpy()]
        assert told == [f"tissue={i}" for i in range(12)]  # more than ten: the first one, too
        np.testing.assert_array_equal(context_of(tree), np.eye(12))
    data = frame().assign(tissue=stages)
    write_h5ad(data, tmp_path / "t.h5ad")
    data.to_parquet(tmp_path / "t.parquet")
    for kind, name in (("h5ad", "t.h5ad"), ("table", "t.parquet")):
        tree = gn.read("notmad", tmp_path / name, kind, context="tissue")
        assert list(tree["constant_data"]["covariate"].to_numpy()) == ["tissue=early"]
        np.testing.assert_array_equal(context_of(tree)[:, 0], [0, 1, 0] * 4)
    data = frame().assign(tissue=[" gut", "gut ", "liver"] * 4)
    data.to_csv(tmp_path / "t.csv", index=False)
    write_h5ad(data, tmp_path / "t.h5ad")
    for kind, name in (("h5ad", "t.h5ad"), ("table", "t.csv")):
        tree = gn.read("notmad", tmp_path / name, kind, context="tissue")
        assert list(tree["constant_data"]["covariate"].to_numpy()) == ["tissue=liver"]


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option", "ignore:The 'mode.chained_assignment' option")
def test_genes_of_an_anndata_are_accounted_for(tmp_path: Path) -> None:
    write_h5ad(frame(), tmp_path / "t.h5ad")
    told = json.loads(gn.read("notmad", tmp_path / "t.h5ad", "h5ad", context="age").attrs["ledger"])
    assert (told["rows"]["entry"], told["rows"]["read"], told["rows"]["kept"]) == ("cell", 12, 12)
    assert (told["columns"]["entry"], told["columns"]["read"], told["columns"]["kept"]) == ("gene", 2, 2)


def test_a_split_prepares_later_data_as_its_training_samples(tmp_path: Path) -> None:
    frame(40).to_csv(tmp_path / "train.csv", index=False)
    frame(6, 65, 1).to_csv(tmp_path / "later.csv", index=False)
    raw = [read(tmp_path / f"{name}.csv", standardise=False) for name in ("train", "later")]
    training, _ = split(raw[0], 0.25, 0)
    fit = gn.fit("notmad", training, "map", 1, archetype=2, restarts=1)
    for like in (training, fit):
        found = prepare(raw[1], like)
        assert found.attrs["preparation"] == training.attrs["preparation"]
    told = json.loads(fit.attrs["preparation"])
    rows = told["training_samples"]
    for values, name in ((x_of, "x"), (context_of, "context")):
        np.testing.assert_allclose(told[name]["mean"], values(raw[0])[rows].mean(0))
        np.testing.assert_allclose(values(prepare(raw[0], fit))[rows], values(training))
        np.testing.assert_allclose(values(found) * told[name]["sd"] + told[name]["mean"], values(raw[1]))
    assert context_of(found)[:, 0].mean() > 0.5  # ages of 65 are above those of the fit
    with pytest.warns(UserWarning, match="extrapolation"):
        gn.predict(fit, found)
    with pytest.raises(InputError, match="no means and standard deviations are saved"):
        prepare(raw[1], raw[0])
    turned = read(tmp_path / "later.csv", standardise=False, nodes="b,a")
    with pytest.raises(InputError, match="the nodes of 'x' are b, a; those prepared like are a, b"):
        prepare(turned, training)
    with pytest.warns(UserWarning, match="were standardised over all samples when they were read"):
        split(read(tmp_path / "train.csv"), 0.25, 0)


@pytest.mark.slow
def test_without_a_context_one_network_is_read_fitted_and_exported_by_commands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=60)
    frame = pd.DataFrame({"a": a, "b": a + 0.3 * rng.normal(size=60), "c": rng.normal(size=60)})
    frame.to_csv(tmp_path / "x.csv", index=False)
    at = {name: str(tmp_path / name) for name in ("x.csv", "x.nc", "fit.nc", "edges.tsv")}
    assert cli.main(["read", "notmad", at["x.csv"], "--option", "context=none", "-o", at["x.nc"]]) == 0
    fit = ["fit", "notmad", at["x.nc"], "--method", "map", "-o", at["fit.nc"]]
    assert cli.main(fit) == 0  # that one network has one archetype is in the tree
    assert cli.main(["export", at["fit.nc"], "--as", "edges", "-o", at["edges.tsv"]]) == 0
    rows = (tmp_path / "edges.tsv").read_text().splitlines()
    assert len(rows) == 2
    assert set(rows[1].split("\t")[:2]) == {"a", "b"}
    assert cli.main([*fit, "--set", "archetype=2"]) == 2


@pytest.mark.slow
def test_new_files_are_predicted_on_the_scale_of_the_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "age"])
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame[:5].to_csv(tmp_path / "new.csv", index=False)
    tree = gn.read("notmad", tmp_path / "x.csv", format="table", context="age")
    fit = gn.fit("notmad", tree, "map", 1, archetype=2, restarts=1)
    fit.to_netcdf(tmp_path / "fit.nc")
    command = ["predict", str(tmp_path / "fit.nc"), str(tmp_path / "new.csv"), "-o", str(tmp_path / "p.nc")]
    assert cli.main(command) == 2
    assert "--option like=x.csv" in capsys.readouterr().err
    assert cli.main([*command, "--option", f"like={tmp_path / 'x.csv'}"]) == 0
    found = load(tmp_path / "p.nc")["predictions"]["network"].to_numpy()
    np.testing.assert_array_equal(found, gn.predict(fit)["predictions"]["network"].to_numpy()[:5])
