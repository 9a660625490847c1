"""What users hold: each object gives the fit that the same arrays give in a mapping, with its labels in every group."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from anndata import AnnData, read_h5ad
from scipy import sparse

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Model
from genarium.errors import InputError
from genarium.holding import hold

X = np.array([[0, 9], [1, 8], [7, 0], [9, 1], [8, 2]])
CELLS, GENES = [f"cell{i}" for i in range(5)], ["CD3E", "MS4A1"]
FACTOR, PHI = np.array([1.0, 2.0, 0.5, 1.0, 1.5]), np.array([0.3, 0.2])
MIXTURE = registry.get("nb_mixture")
SUMMARY = registry.get("mendelian_randomization")

pytestmark = pytest.mark.filterwarnings("ignore:The '(future.infer_string|mode.chained_assignment)' option")
"""What anndata does with pandas, when an AnnData is made."""


def cells(x: Any = X, **parts: Any) -> AnnData:
    """Return an AnnData with names, and what else is given."""
    adata = AnnData(x, obs=pd.DataFrame(index=CELLS), var=pd.DataFrame(index=GENES), layers=parts.get("layers"))
    adata.obs["size_factor"], adata.var["phi"] = FACTOR, PHI
    return adata


def frame(x: Any = X) -> pd.DataFrame:
    return pd.DataFrame(x, index=CELLS, columns=GENES)


def held(data: Any, model: Model = MIXTURE, **settings: Any) -> Any:
    return check(model, data, {"component": 2} if model is MIXTURE else None, **settings)


def refused(data: Any, *parts: str, model: Model = MIXTURE, **settings: Any) -> None:
    with pytest.raises(InputError) as caught:
        held(data, model, **settings)
    message = str(caught.value)
    for part in (f"{model.name}: ", *parts):
        assert part in message, message
    assert message.endswith("."), message


# Each kind of object


def stored(adata: AnnData, folder: Path) -> AnnData:
    adata.write_h5ad(folder / "cells.h5ad")
    return read_h5ad(folder / "cells.h5ad", backed="r")


def view(adata: AnnData) -> AnnData:
    order = [f"cell{i}" for i in (4, 3, 2, 1, 0)]
    twice = adata[order][order[::-1]]
    assert twice.is_view
    return twice


ANNDATA: dict[str, Callable[[Path], AnnData]] = {
    "dense": lambda _: cells(),
    "whole floats": lambda _: cells(X.astype(np.float32)),
    "sparse": lambda _: cells(sparse.csr_matrix(X)),
    "sparse array, by column": lambda _: cells(sparse.csc_array(X)),
    "view": lambda _: view(cells()),
    "sparse view": lambda _: view(cells(sparse.csr_matrix(X))),
    "backed": lambda folder: stored(cells(), folder),
    "sparse backed": lambda folder: stored(cells(sparse.csr_matrix(X)), folder),
    "backed view": lambda folder: stored(cells(), folder)[CELLS],
    "sparse backed view": lambda folder: stored(cells(sparse.csr_matrix(X)), folder)[CELLS],
}


@pytest.mark.parametrize("kind", ANNDATA)
def test_an_anndata_is_its_matrix_its_columns_and_its_names(kind: str, tmp_path: Path) -> None:
    problem = held(ANNDATA[kind](tmp_path))
    np.testing.assert_array_equal(problem["x"], X)
    np.testing.assert_array_equal(problem["size_factor"], FACTOR)
    np.testing.assert_array_equal(problem["phi"], PHI)
    assert problem.coords["cell"].tolist() == CELLS
    assert problem.coords["gene"].tolist() == GENES


def test_layers_raw_and_entries_of_obsm() -> None:
    adata = cells(np.log1p(X), layers={"counts": X, "other": X + 1})
    refused(
        adata, "adata.X is not all whole numbers from zero (cell0, MS4A1: 2.3", "counts, other are: pass layer='counts'"
    )
    np.testing.assert_array_equal(held(adata, layer="other")["x"], X + 1)
    refused(adata, "no layer 'count'. The layers are counts, other.", layer="count")
    refused(cells(), "There are no layers.", layer="counts")
    refused(cells(X / 2), "x[cell=0 (cell0), gene=1 (MS4A1)] = 4.5", "raw counts")
    adata = cells(np.log1p(X))
    adata.raw = cells()
    refused(adata, "but .raw is: pass layer='.raw'")
    few = adata[:, ["CD3E"]]  # the raw matrix keeps its genes
    problem = held(few, layer=".raw", values={"phi": 1})
    np.testing.assert_array_equal(problem["x"], X)
    assert problem.coords["gene"].tolist() == GENES
    refused(few, "known variable 'phi' (gene) is missing", layer=".raw")
    bare = AnnData(obs=pd.DataFrame(index=CELLS), var=pd.DataFrame(index=GENES), layers={"counts": X})
    refused(bare, "the AnnData has no X. The layers are counts")
    assert held(bare, layer="counts", values={"phi": 1})["x"].sum() == X.sum()

    model = registry.get("notmad")
    values = np.random.default_rng(0).normal(size=(5, 2))
    adata = AnnData(values, obs=pd.DataFrame(index=CELLS), var=pd.DataFrame(index=GENES))
    adata.obsm["context"] = pd.DataFrame({"age": np.arange(5.0), "sex": np.ones(5)}, index=CELLS)
    adata.obs["alpha"] = 7.0  # of the name of a variable without dims: not it
    problem = check(model, adata, {"archetype": 2})
    np.testing.assert_array_equal(problem["context"], adata.obsm["context"])
    assert problem.coords["covariate"].tolist() == ["age", "sex"]
    assert problem.coords["sample"].tolist() == CELLS
    assert problem["alpha"] != 7
    np.testing.assert_array_equal(problem["x"], values)  # real numbers need no layer of counts


def test_names_that_are_no_names() -> None:
    with pytest.warns(UserWarning, match="not unique"):
        adata = AnnData(X, obs=pd.DataFrame(index=["a", "b", "a", "c", "d"]), var=pd.DataFrame(index=GENES))
    refused(adata, "adata.obs_names has 'a' more than once", "no single cell", "adata.obs_names_make_unique()")
    adata.obs_names_make_unique()
    assert held(adata, values={"phi": 1}).coords["cell"][2] == "a-1"


MATRICES: dict[str, Any] = {
    "frame": frame(),
    "frame of whole floats": frame(X.astype(float)),
    "frame of sparse columns": frame().astype(pd.SparseDtype(np.int64, 0)),
    "array": X,
    "sparse matrix": sparse.csr_matrix(X),
    "sparse array": sparse.coo_array(X),
    "data array": xr.DataArray(X.T, dims=("gene", "cell"), coords={"gene": GENES, "cell": CELLS}),
    "data array with a column": xr.DataArray(X, dims=("cell", "gene"), coords={"index": ("cell", CELLS)}),
    "data array of another name": xr.DataArray(X, dims=("cell", "gene"), name="counts"),
    "dataset": xr.Dataset({"x": (("cell", "gene"), X)}, coords={"gene": GENES, "cell": CELLS}),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_a_matrix_alone_is_the_observed_variable(kind: str) -> None:
    problem = held(MATRICES[kind], values={"phi": 0.3})
    np.testing.assert_array_equal(problem["x"], X)
    labelled = kind.startswith("frame") or kind in ("data array", "dataset")
    assert problem.coords["cell"].tolist() == (CELLS if labelled else list(range(5)))
    assert problem.coords["gene"].tolist() == (GENES if labelled else [0, 1])


def test_a_series_or_the_columns_of_a_table(toy: Model) -> None:
    y = np.array([1.0, 2.0, 4.0])
    for data in (y, pd.Series(y, index=list("abc")), pd.Series(y, name="y"), xr.DataArray(y, dims="item", name="y")):
        np.testing.assert_array_equal(check(toy, data)["y"], y)
    assert check(toy, pd.Series(y, index=list("abc"))).coords["item"].tolist() == list("abc")
    table = pd.DataFrame({"y": y, "note": list("uvw"), "sigma": 9.0}, index=list("abc"))
    problem = check(toy, table)
    np.testing.assert_array_equal(problem["y"], y)
    assert problem.coords["item"].tolist() == list("abc")
    assert problem["sigma"] == 1  # a column is no number
    refused(table[["note"]], "the DataFrame has no column y (it has note)", "Rename", "{'y': ...}", model=toy)
    variants = pd.DataFrame({"beta_exposure": y, "beta_outcome": y, "se_exposure": y, "se_outcome": y}, list("abc"))
    assert check(SUMMARY, variants).coords["variant"].tolist() == list("abc")
    assert set(hold(SUMMARY, variants)) == set(variants.columns)


# What is refused


def test_what_is_missing_is_said_with_how_to_give_it(toy: Model) -> None:
    both = "{'beta_exposure': ..., 'beta_outcome': ...}"
    refused(
        {"se_exposure": [1.0]},
        f"beta_exposure, beta_outcome are missing. Give the data by name, {both}.",
        model=SUMMARY,
    )
    refused(pd.Series([1.0, 2]), "observed variable 'beta_outcome' (variant) is missing", "by name", model=SUMMARY)
    refused({"x": cells(), "phi": 1}, "'x' (cell, gene) is an AnnData. Give it as the data, alone", "as settings")
    refused(cells(), "no observed variable has the 2 dims of the given AnnData matrix", "y (item)", model=toy)
    refused(X, "no observed variable has the 2 dims of the given ndarray", "{'y': ...}", model=toy)
    refused(np.zeros((2, 2, 2)), "the 3 dims of the given ndarray; there are x (cell, gene)")


# Types of numbers and labels


TYPES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "half precision": lambda f: f.astype(np.float16),
    "half precision, array": lambda f: f.to_numpy().astype(np.float16),
    "unsigned": lambda f: f.astype(np.uint8),
    "nullable": lambda f: f.astype("Int64"),
    "nullable floats": lambda f: f.astype("Float32"),
    "arrow": lambda f: f.astype("int64[pyarrow]"),
    "arrow floats": lambda f: f.astype("double[pyarrow]"),
    "categories of numbers": lambda f: f.astype("category"),
    "names as categories": lambda f: f.set_axis(pd.CategoricalIndex(GENES), axis=1).set_axis(
        pd.CategoricalIndex(CELLS)
    ),
    "arrow names": lambda f: f.set_axis(pd.Index(GENES, dtype="string[pyarrow]"), axis=1),
    "anndata of half precision": lambda f: AnnData(f.to_numpy().astype(np.float16), f[[]], f.T[[]]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_numbers_of_every_type_are_the_same_numbers(kind: str) -> None:
    problem = held(TYPES[kind](frame()), partial=True)
    np.testing.assert_array_equal(problem["x"], X)
    assert problem["x"].dtype == np.int64
    if "array" not in kind:
        assert problem.coords["cell"].tolist() == CELLS
        assert problem.coords["gene"].tolist() == GENES


@pytest.mark.parametrize("kind", ["Int64", "int64[pyarrow]", "category", "float16"])
def test_columns_of_obs_of_every_type(kind: str) -> None:
    adata = cells()
    column: Any = pd.Series([1, 2, 3, 4, 5], index=CELLS)
    adata.obs["size_factor"] = column.astype(kind)
    assert held(adata, partial=True)["size_factor"].tolist() == [1, 2, 3, 4, 5]


def regions(labels: Any) -> Any:
    effects = {name: np.full(3, 0.5) for name in ("beta_exposure", "se_exposure", "beta_outcome", "se_outcome")}
    return pd.DataFrame({**effects, "region": labels})


def test_categories_are_labels_in_their_order() -> None:
    problem = held(regions(pd.Categorical(["b", " a", "b"], categories=["unused", "b", " a"])), SUMMARY)
    assert problem["region"].tolist() == [0, 1, 0]
    assert problem.coords["region"].tolist() == ["b", "a"]
    for categories in (["10", "2", "0"], [10, 2, 0]):  # whole numbers in their order; gaps are no categories
        problem = held(regions(pd.Categorical([categories[0], categories[1], categories[2]])), SUMMARY)
        assert problem["region"].tolist() == [2, 1, 0]
        assert problem.coords["region"].tolist() == ["0", "2", "10"]
    problem = held(regions(pd.Categorical([2, 1, 0])), SUMMARY)
    assert problem["region"].tolist() == [2, 1, 0]
    problem = check(SUMMARY, regions(pd.Categorical(["2", "0", "0"])), {"region": 4})  # not all of four occur
    assert problem["region"].tolist() == [2, 0, 0]
    assert held({**regions([0] * 3), "region": pd.Series(["x", "y", "x"], dtype="category")}, SUMMARY)[
        "region"
    ].tolist() == [0, 1, 0]
    refused(regions(pd.Categorical(["b", None, "b"])), "region[variant=1] = nan", model=SUMMARY)
    problem = held(regions(["b", "a", "b"]), SUMMARY)  # names alone have no order but their own
    assert [problem.coords["region"][at] for at in problem["region"]] == ["b", "a", "b"]


def test_categories_are_found_by_name_among_the_labels_of_their_dim() -> None:
    model = registry.get("perturbation_score").variant(replicates="nested")
    count = pd.DataFrame([[5, 6], [1, 2], [9, 1]], ["r1", "r2", "r3"], ["x", "y"])
    features = pd.DataFrame(np.arange(6.0).reshape(3, 2), ["A", "B", "C"], ["f", "g"])
    given = {"count": count, "features": features}
    of = pd.Series(pd.Categorical(["C", "A", "C"]), count.index)  # none is of B
    problem = check(model, {**given, "condition": of})
    assert problem["condition"].tolist() == [2, 0, 2]
    assert problem.coords["perturbation"].tolist() == ["A", "B", "C"]
    turned = check(model, {**given, "condition": of}, order={"perturbation": np.array(["B", "C", "A"])})
    assert [turned.coords["perturbation"][at] for at in turned["condition"]] == ["C", "A", "C"]
    assert turned["features"].tolist() == [[2, 3], [4, 5], [0, 1]]
    odd = pd.Series(pd.Categorical(["A", "D", "A"]), count.index)
    with pytest.raises(InputError, match=r"condition\[replicate=1\] = 'D' is none of the 3 perturbations"):
        check(model, {**given, "condition": odd})


BIG = 2**53 + 1
ROUNDED: dict[str, Any] = {
    "table of two types": pd.DataFrame({"a": [1, BIG], "b": [0.0, 2.0]}),
    "list": [[1, 0.0], [BIG, 2.0]],
    "boxed": np.array([[1, 0.0], [BIG, 2.0]], dtype=object),
    "nullable": pd.DataFrame({"a": pd.array([None, BIG], dtype="Int64"), "b": [1, 2]}),
}


@pytest.mark.parametrize("kind", ROUNDED)
def test_no_whole_number_is_rounded_in_silence(kind: str) -> None:
    refused({"x": ROUNDED[kind]}, "x[cell=1", f"] = {BIG} is too large")


def test_large_numbers_of_known_variables() -> None:
    refused({"x": X, "a0": BIG, "phi": 0.3}, f"a0 = {BIG} is too large")
    assert float(held({"x": X, "a0": BIG - 1, "phi": 0.3})["a0"]) == BIG - 1
    refused({"x": X, "phi": "0,3"}, "'phi' (gene) is the text '0,3', not a number. Write a number with a decimal point")


@pytest.mark.parametrize("data", [None, 3, [X], "cells.h5ad", object(), {1, 2}], ids=lambda d: type(d).__name__)
def test_anything_else_is_refused_with_what_is_accepted(data: Any) -> None:
    kinds = ("DataTree", "AnnData", "Dataset", "DataArray", "DataFrame", "Series", "NumPy", "SciPy", "{'x': ...}")
    refused(data, f"cannot be of type {type(data).__name__}", *kinds)


@pytest.mark.parametrize("data", [{"x": X}, frame(), X], ids=lambda d: type(d).__name__)
def test_a_layer_of_anything_but_an_anndata_is_refused(data: Any) -> None:
    kind = type(data).__name__
    refused(data, f"layer='counts' is for AnnData, not for {kind}. Leave it out.", layer="counts", values={"phi": 1})


# Through the verbs


@pytest.mark.parametrize("method", ["vi", "gibbs", "em"])
def test_labels_are_in_every_group_of_a_fit(method: str) -> None:
    adata = cells(np.log1p(X), layers={"counts": X})
    few = {"draws": 20, "tune": 5, "chains": 1} if method == "gibbs" else {}
    tree = gn.fit("nb_mixture", adata, method, 1, layer="counts", component=2, **few)
    plain = gn.fit("nb_mixture", {"x": X, "phi": PHI, "size_factor": FACTOR}, method, 1, component=2, **few)
    for name, group in tree.children.items():
        for dim, labels in {"cell": CELLS, "gene": GENES}.items():
            if dim in group.sizes:
                assert group[str(dim)].to_numpy().tolist() == labels, name
        for variable, values in group.data_vars.items():
            np.testing.assert_array_equal(values, plain[name][str(variable)])


@pytest.mark.slow
def test_choose_predict_and_validate_take_them_too() -> None:
    adata = cells(np.log1p(X), layers={"counts": X})
    best = gn.choose("nb_mixture", adata, "component", [1, 2], seed=1, layer="counts")
    assert best["posterior"]["gene"].to_numpy().tolist() == GENES
    again = gn.predict(best, adata, layer="counts")["predictions"]
    xr.testing.assert_equal(again.to_dataset(), gn.predict(best)["predictions"].to_dataset())
    few = cells(np.log1p(X), layers={"counts": X})[["cell3"]]
    alone = gn.predict(best, few, layer="counts")["predictions"]["probability"]
    assert alone["cell"].to_numpy().tolist() == ["cell3"]
    np.testing.assert_allclose(alone, again["probability"].sel(cell=["cell3"]))
    plain = gn.predict(best, frame().loc[["cell3"]], size_factor=[1.0])["predictions"]["probability"]
    np.testing.assert_array_equal(plain, alone)
    turned = gn.predict(best, frame()[GENES[::-1]])["predictions"]  # genes are found by name
    xr.testing.assert_equal(turned.to_dataset(), gn.predict(best, frame())["predictions"].to_dataset())


def test_validation_around_data_takes_them_too(toy: Model) -> None:
    y = np.random.default_rng(2).normal(1, 1, 6)
    tables = [
        gn.validate(toy, "conjugate", 4, seed=1, data=data).tree["posterior_sbc"].to_dataset()
        for data in (pd.Series(y, list("abcdef")), {"y": y})
    ]
    xr.testing.assert_equal(*tables)
    with pytest.raises(InputError, match="layer='counts' is for AnnData, not for dict"):
        gn.validate(toy, "conjugate", 4, data={"y": y}, layer="counts")
    with pytest.raises(InputError, match="layer='counts' is one of an AnnData: give that as data="):
        gn.validate(toy, "conjugate", 4, layer="counts")
