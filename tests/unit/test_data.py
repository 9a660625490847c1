"""Checked data: valid data pass unchanged, and what is wrong is named with its place, value and remedy."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import sparse

import genarium as gn
from genarium import supports
from genarium.data import check
from genarium.declaration import Model, Problem, Stage, Var
from genarium.errors import GenariumError, InputError
from genarium.models.nb_mixture import MODEL as MIXTURE
from genarium.tree import data_tree, with_coordinates

steady = settings(deadline=None, max_examples=40, derandomize=True, database=None)


def no_draw() -> Mapping[str, Any]:
    """Stand for the draw functions, which nothing here calls."""
    raise AssertionError


def no_pair(problem: Problem) -> None:
    """Stand for a model's own check."""
    if problem["y"][0, 0] == 666:
        raise InputError("toy: not this number.")


TOY = Model(
    name="toy",
    title="Toy",
    sizes={"row": 3, "column": 2, "kind": 2},
    known=Stage(
        {
            "scale": Var((), supports.positive, "A number.", "s", default=2.0),
            "weight": Var(("column",), supports.nonnegative, "A weight.", "w"),
            "offset": Var(("row",), supports.real, "An offset.", "o", default=0.0),
            "fraction": Var(("row",), supports.unit_interval, "A fraction.", "f", default=0.5),
        }
    ),
    unknown=Stage(
        {
            "centre": Var(("kind", "column"), supports.real, "A centre.", "c"),
            "share": Var(("kind",), supports.simplex, "A share.", "p"),
        },
        no_draw,
    ),
    hidden=Stage({"state": Var(("row",), supports.label("kind"), "A state.", "z")}, no_draw),
    observed=Stage(
        {
            "y": Var(("row", "column"), supports.count, "A count.", "y"),
            "group": Var(("row",), supports.label("kind"), "A label.", "g", default=0),
            "hit": Var(("row",), supports.boolean, "A flag.", "h", default=1),
        },
        no_draw,
    ),
    check=no_pair,
)

Y = np.array([[1, 2], [3, 4], [5, 6]])
WHOLE: dict[str, Any] = {"y": Y, "weight": [1.0, 0.5]}
KIND = {"kind": 2}


def good(sizes: Mapping[str, int] | None = KIND, **data: Any) -> Problem:
    return check(TOY, {**WHOLE, **data}, sizes)


def refused(data: Any, *parts: str, sizes: Any = KIND, model: Model = TOY, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        check(model, data, sizes, **options)
    message = str(caught.value)
    for part in (f"{model.name}: ", *parts):
        assert part in message, message
    assert message.endswith("."), message
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, GenariumError)


def frame(values: Any = Y, index: Any = ("a", "b", "c"), columns: Any = ("u", "v")) -> pd.DataFrame:
    return pd.DataFrame(values, index=list(index), columns=list(columns))


# What passes ---------------------------------------------------------------------------------------------------------


def test_values_sizes_and_coordinates() -> None:
    problem = good()
    assert problem.model is TOY
    assert problem.sizes == {"row": 3, "column": 2, "kind": 2}
    assert list(problem.arrays) == ["scale", "weight", "offset", "fraction", "y", "group", "hit"]
    assert not problem.fixed
    assert problem["y"].tolist() == Y.tolist()
    assert problem["weight"].tolist() == [1.0, 0.5]
    assert {dim: labels.tolist() for dim, labels in problem.coords.items()} == {
        "row": [0, 1, 2],
        "column": [0, 1],
        "kind": [0, 1],
    }


def test_defaults_fill_their_dims() -> None:
    problem = good()
    assert problem["scale"].shape == ()
    assert problem["scale"] == 2
    assert problem["offset"].tolist() == [0, 0, 0]
    assert problem["group"].tolist() == [0, 0, 0]
    assert problem["hit"].tolist() == [1, 1, 1]
    given = good(offset=[1, 2, 3], scale=7, hit=[True, False, True])
    assert given["offset"].tolist() == [1, 2, 3]
    assert given["scale"] == 7
    assert given["hit"].tolist() == [1, 0, 1]


def test_a_known_scalar_is_broadcast() -> None:
    for scalar in (3, 3.0, np.float32(3), np.array(3), xr.DataArray(3)):
        assert good(weight=scalar)["weight"].tolist() == [3, 3]


def test_checked_arrays_are_copies_with_declared_types() -> None:
    y = np.asfortranarray(Y.astype(np.float32))
    problem = good(y=y, weight=1, offset=[True, False, True])
    y[0, 0] = 99
    assert problem["y"][0, 0] == 1
    assert problem["y"].dtype == np.int64
    assert problem["y"].flags.c_contiguous
    assert problem["y"].flags.writeable
    assert problem["weight"].flags.writeable
    assert problem["offset"].dtype == np.float64


@pytest.mark.parametrize(
    "y",
    [
        Y.tolist(),
        Y.astype(np.uint8),
        Y.astype(float),
        frame(),
        frame(Y.astype(np.float32)).assign(v=[2, 4, 6]),
        xr.DataArray(Y, dims=("row", "column")),
        xr.DataArray(Y.T, dims=("column", "row")),
        sparse.csr_matrix(Y),
        sparse.coo_array(Y),
        frame().astype(pd.SparseDtype(np.int64, 0)),
    ],
    ids=lambda y: type(y).__name__,
)
def test_kinds_of_arrays(y: Any) -> None:
    np.testing.assert_array_equal(good(y=y)["y"], Y)


def test_labels_come_from_pandas_and_xarray() -> None:
    problem = good(y=frame(), offset=pd.Series([1.0, 2, 3], index=list("abc")))
    assert problem.coords["row"].tolist() == ["a", "b", "c"]
    assert problem.coords["column"].tolist() == ["u", "v"]
    labelled = xr.DataArray(Y.T, dims=("column", "row"), coords={"row": [7, 8, 9], "batch": ("row", [0, 0, 1])})
    problem = good(y=labelled, weight=xr.DataArray([1, 2], dims="column", coords={"column": ["u", "v"]}))
    assert problem.coords["row"].tolist() == [7, 8, 9]
    assert problem.coords["column"].tolist() == ["u", "v"]
    assert set(problem.coords) == set(TOY.sizes)


def test_labels_in_memory_are_treated_as_those_in_files() -> None:
    assert good(y=frame().rename(index={"a": " a "})).coords["row"].tolist() == ["a", "b", "c"]
    for again in ({"c": "a"}, {"c": "a "}):
        with pytest.raises(InputError, match=r"'a' of 'row' is used more than once \(at positions 0 and 2\)"):
            good(y=frame().rename(index=again))
    with pytest.raises(InputError, match=r"7 of 'row' is used more than once"):
        good(y=frame().set_axis([7, 8, 7]))


def test_what_is_no_number_is_shown() -> None:
    for value in (None, {1, 2}):
        with pytest.raises(InputError, match=r"offset.* is .*, which is not a number. Give a number"):
            good(offset=value)


def test_unknown_variables_are_held_fixed() -> None:
    problem = good(None, share=[0.25, 0.75])
    assert problem.sizes["kind"] == 2
    assert list(problem.fixed) == ["share"]
    assert problem.fixed["share"].tolist() == [0.25, 0.75]
    assert "share" not in problem.arrays
    assert problem.call(lambda y, share, sizes: (y.sum(), share.sum(), sizes["row"])) == (21, 1, 3)


def test_datasets_and_trees() -> None:
    data = xr.Dataset({"y": (("row", "column"), Y), "weight": ("column", [1.0, 2.0])})
    assert check(TOY, data, KIND)["weight"].tolist() == [1, 2]
    tree = xr.DataTree.from_dict(
        {
            "observed_data": data[["y"]].assign(something=1),
            "constant_data": data[["weight"]],
            "truth": xr.Dataset({"share": ("kind", [0.5, 0.5])}),
        }
    )
    problem = check(TOY, tree, KIND)
    np.testing.assert_array_equal(problem["y"], Y)
    assert not problem.fixed
    tree.attrs["sizes"] = '{"kind": 3, "other": 4}'
    assert check(TOY, tree).sizes == {"row": 3, "column": 2, "kind": 3}
    assert check(TOY, tree, {"kind": 5}).sizes["kind"] == 5


def test_partial_data_may_lack_sizes_and_known_variables() -> None:
    problem = check(TOY, {"y": Y}, partial=True)
    assert problem.sizes == {"row": 3, "column": 2}
    assert "weight" not in problem.arrays
    assert problem["offset"].tolist() == [0, 0, 0]
    refused({"weight": [1, 2]}, "observed variable 'y' (row, column) is missing", partial=True)
    refused({"y": -Y}, "y[row=0, column=0] = -1", partial=True)
    check(TOY, {"y": Y + 665}, partial=True)
    refused({**WHOLE, "y": Y + 665}, "not this number")


# What is refused -----------------------------------------------------------------------------------------------------


def test_data_that_hold_no_variables() -> None:
    for data in ([Y], None):
        refused(data, f"cannot be of type {type(data).__name__}", "a mapping from variable names to arrays, {'y': ...}")


def test_a_tree_without_data() -> None:
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"share": ("kind", [1.0, 0])})})
    refused(tree, "neither of the groups constant_data and observed_data (it has posterior)", "`simulate` or `read`")
    refused(xr.DataTree(), "it has no groups")


def test_unknown_and_missing_variables() -> None:
    refused({**WHOLE, "z": 1}, "no variable 'z'", "known: scale, weight", "observed: y, group", "fixed: centre, share")
    refused({**WHOLE, "state": [0, 0, 0]}, "hidden variable 'state' (row) is hidden: a fit infers it")
    refused({"y": Y}, "known variable 'weight' (column) is missing. A weight. Give it: weight=...")
    refused({"weight": [1, 2]}, "observed variable 'y' (row, column) is missing. A count.")
    refused({"weight": [1, 2], "offset": [1]}, "observed variable 'y' (row, column) is missing. A count.")


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"y": [1, 2, 3]}, ["variable 'y' (row, column) needs 2 dims but has 1 (shape (3,))", "Reshape"]),
        ({"y": np.ones((3, 2, 1))}, ["needs 2 dims but has 3 (shape (3, 2, 1))"]),
        ({"scale": [1.0]}, ["known variable 'scale' () needs 0 dims but has 1"]),
        ({"offset": frame()}, ["known variable 'offset' (row) needs 1 dims but has 2"]),
        ({"y": xr.DataArray(Y, dims=("row", "gene"))}, ["'y' (row, column) has dims ('row', 'gene')", "Rename"]),
        ({"scale": xr.DataArray([1], dims="row")}, ["known variable 'scale' () has dims ('row',)"]),
        ({"y": [[1, 2], [3]]}, ["'y' (row, column) is not a rectangular array"]),
        ({"group": 1}, ["observed variable 'group' (row) is the single value 1. Give an array of its dims"]),
        ({"share": 0.5}, ["unknown variable 'share' (kind) is the single value 0.5. Give an array of its dims"]),
    ],
)
def test_wrong_dims(data: Mapping[str, Any], parts: list[str]) -> None:
    refused({**WHOLE, **data}, *parts)


def test_known_labels_by_default_show_their_number() -> None:
    known = {**TOY.known.variables, "batch": Var(("row",), supports.label("batches"), "A batch.", "b", default=0)}
    model = replace(TOY, known=Stage(known, TOY.known.draw), sizes={**TOY.sizes, "batches": 3})
    assert check(model, WHOLE, {"kind": 2}).sizes["batches"] == 1
    assert check(model, WHOLE, {"kind": 2, "batches": 2}).sizes["batches"] == 2


def test_an_observed_number_is_no_array() -> None:
    said = "observed variable 'y' (row, column) is the single value 3. Give an array of its dims"
    refused({"y": 3, "weight": 1}, said, sizes=TOY.sizes)


def test_sizes_that_disagree() -> None:
    both = "Both must cover the same columns, in the same order"
    refused({**WHOLE, "weight": [1, 2, 3]}, "'weight' (column) has size 3 along 'column', but 'y' has 2", both)
    refused({**WHOLE, "centre": np.ones((2, 3))}, "unknown variable 'centre'", "size 3 along 'column', but 'y' has 2")
    refused({**WHOLE, "share": [1.0]}, "size kind=2 was asked for, but 'share' has 1 along 'kind'", "Leave the setting")
    refused(WHOLE, "size row=5 was asked for, but 'y' has 3 along 'row'", sizes={"row": 5, "kind": 2})
    refused(
        WHOLE,
        "the data do not show the size of 'kind'",
        "Give it: kind=..., such as kind=2",
        sizes=None,
    )
    refused(WHOLE, "there is no size 'kinds'; the sizes are row, column, kind", sizes={"kinds": 2})
    for wrong in (2.0, "2", True, None):
        refused(WHOLE, f"size kind={wrong!r} is not a whole number", sizes={"kind": wrong})
    for few in (0, -1):
        refused(WHOLE, f"'kind' has size {few}; at least one kind is needed", sizes={"kind": few})
    refused({**WHOLE, "y": np.ones((0, 2))}, "'row' has size 0; at least one row is needed")
    refused({"y": np.ones((3, 0)), "weight": 1}, "'column' has size 0; at least one column is needed")
    assert good({"kind": np.int64(2), "row": 3}).sizes["kind"] == 2  # type: ignore[dict-item]


def test_labels_in_another_order_are_the_same_labels() -> None:
    shifted = pd.Series([1.0, 2, 3], index=list("acb"))
    told = xr.DataArray(shifted.to_numpy(), dims="row", coords={"row": list("acb"), "place": ("row", [10, 30, 20])})
    for offset in (shifted, told, {"a": 1.0, "c": 2.0, "b": 3.0}):
        problem = good(y=frame(), offset=offset)
        assert problem.coords["row"].tolist() == list("abc")
        assert problem["offset"].tolist() == [1, 3, 2]
    tree = with_coordinates(data_tree(problem), {"offset": told})
    assert tree["constant_data"]["place"].to_numpy().tolist() == [10, 20, 30]


def test_labels_that_disagree() -> None:
    other = pd.Series([1.0, 2, 3], index=list("acd"))
    refused({**WHOLE, "y": frame(), "offset": other}, "known variable 'offset' (row) labels 'row' otherwise than 'y'")
    refused({**WHOLE, "y": frame(), "offset": other}, "has no 'd' but a, b, c", "their order does not matter")
    refused({**WHOLE, "y": frame(), "offset": pd.Series([1.0, 2, 3])}, "has no")
    refused({**WHOLE, "y": frame(), "offset": {"a": 1.0}}, "has size 1", "it comes without 'b'")
    refused({**WHOLE, "y": frame(), "offset": {"a": 1.0, "q": 2.0}}, "it comes without 'b' and beside 'q'")


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("y", frame().assign(v=["2", "4", "x"]), ["'y' (row, column) holds object values, not numbers", "text column"]),
        ("y", np.array([["1", "2"]] * 3), ["holds <U1 values"]),
        ("y", [[1, 2], [3, None], [5, 6]], ["y[row=1, column=1] = nan", "drop missing entries"]),
        ("scale", "2", ["known variable 'scale' () is the text '2', not a number. Write a number"]),
        ("scale", True, ["known variable 'scale' () is True, not a number"]),
        ("group", [0, 10**12, 1], ["group[1] is number 1000000000000 of a kind", "at most 100,000,000"]),
        ("offset", pd.to_datetime(["2020-01-01"] * 3).to_series(index=pd.RangeIndex(3)), ["holds datetime64"]),
    ],
)
def test_text_is_refused(name: str, value: Any, parts: list[str]) -> None:
    refused({**WHOLE, name: value}, *parts)


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        (
            "y",
            [[1, 2], [3, -4], [5, 6]],
            ["y[row=1, column=1] = -4, but", "a whole number not below zero", "raw counts"],
        ),
        ("y", Y / 2, ["y[row=0, column=0] = 0.5, but", "(3 of 6 values are not)"]),
        (
            "y",
            Y * np.array([[1, 1], [np.nan, 1], [np.inf, 1]]),
            ["y[row=1, column=0] = nan", "(2 of 6 values are not)"],
        ),
        ("y", frame(Y - [[0, 0], [0, 0], [9, 0]]), ["y[row=2 (c), column=0 (u)] = -4"]),
        ("y", xr.DataArray(-Y.T, dims=("column", "row"), coords={"row": [7, 1, 9]}), ["y[row=0 (7), column=0] = -1"]),
        ("y", sparse.csr_matrix(-Y), ["y[row=0, column=0] = -1"]),
        ("scale", 0, ["known variable 'scale' (): scale = 0, but every value must be finite and greater than zero"]),
        ("scale", np.inf, ["scale = inf"]),
        ("weight", -1, ["weight[column=0] = -1", "finite and not below zero", "(2 of 2 values are not)"]),
        ("offset", [1, np.nan, 2], ["offset[row=1] = nan", "a finite number", "Drop or impute missing values"]),
        ("fraction", [0, 1, 25], ["fraction[row=2] = 25", "between zero and one", "Rescale percentages to fractions"]),
        ("group", [0, 2, 1], ["group[row=1] = 2", "below the size of 'kind'", "Count categories from zero"]),
        ("group", [0, 0.5, 1], ["group[row=1] = 0.5"]),
        ("hit", [0, 1, 2], ["hit[row=2] = 2", "zero or one", "Code the two cases as 0 and 1"]),
        ("share", [0.5, 0.6], ["unknown variable 'share' (kind): share[kind=0] = 0.5", "sum one", "Divide by the sum"]),
        ("share", [-0.5, 1.5], ["share[kind=0] = -0.5"]),
        ("centre", [[0, 1], [np.nan, 0]], ["centre[kind=1, column=0] = nan"]),
    ],
)
def test_values_outside_the_support(name: str, value: Any, parts: list[str]) -> None:
    refused({**WHOLE, name: value}, f"variable {name!r}", *parts)


# Properties ----------------------------------------------------------------------------------------------------------

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5)
counts = shapes.flatmap(lambda shape: hnp.arrays(np.int64, shape, elements=st.integers(0, 2**53)))
number_types = st.sampled_from([np.int64, np.uint64, np.float64])


@steady
@given(y=counts, dtype=number_types, kinds=st.integers(1, 4), data=st.data())
def test_valid_data_pass_and_keep_their_values(
    y: NDArray[np.int64], dtype: Any, kinds: int, data: st.DataObject
) -> None:
    n, d = y.shape
    finite = st.floats(allow_nan=False, allow_infinity=False)
    weight = data.draw(hnp.arrays(float, d, elements=st.floats(0, 1e300)))
    offset = data.draw(hnp.arrays(float, n, elements=finite))
    group = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, kinds - 1)))
    assume(y[0, 0] != 666)
    values: Any = y.astype(dtype)
    form = data.draw(st.sampled_from(["plain", "pandas", "xarray"]))
    if form == "pandas":
        values = pd.DataFrame(values)
    elif form == "xarray":
        values = xr.DataArray(values.T, dims=("column", "row"))
    problem = check(TOY, {"y": values, "weight": weight, "offset": offset, "group": group}, {"kind": kinds})
    for name, value in {"y": y, "weight": weight, "offset": offset, "group": group}.items():
        np.testing.assert_array_equal(problem[name], value)
    assert problem.sizes == {"row": n, "column": d, "kind": kinds}


@steady
@given(y=counts, bad=st.sampled_from([-1, 0.5, np.nan, np.inf, -np.inf, -(10.0**300)]), data=st.data())
def test_one_bad_entry_is_found_at_its_index(y: NDArray[np.int64], bad: float, data: st.DataObject) -> None:
    n, d = y.shape
    i, j = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, d - 1))
    values = y.astype(float)
    values[i, j] = bad
    place = f"y[row={i}, column={j}] = {values[i, j]!s}, but"
    refused({"y": values, "weight": 1}, place)
    rows, columns = [f"r{k}" for k in range(n)], [f"c{k}" for k in range(d)]
    labelled = f"y[row={i} (r{i}), column={j} (c{j})] = {values[i, j]!s}, but"
    refused({"y": frame(values, rows, columns), "weight": 1}, labelled)
    turned = xr.DataArray(values.T, dims=("column", "row"), coords={"row": rows, "column": columns})
    refused({"y": turned, "weight": 1}, labelled)


# The mixture ---------------------------------------------------------------------------------------------------------

X = np.array([[3, 0], [0, 0], [5, 7], [3, 0]])


def mixture(component: int = 2, **data: Any) -> Problem:
    return check(MIXTURE, {"x": X, "phi": 0.3, **data}, {"component": component})


def test_the_mixture_takes_an_all_zero_cell_and_an_all_zero_gene() -> None:
    problem = mixture()
    assert problem["x"][1].tolist() == [0, 0]
    assert problem["phi"].tolist() == [0.3, 0.3]
    assert problem["size_factor"].tolist() == [1, 1, 1, 1]
    assert mixture(x=X * [1, 0])["x"].sum() == 11
    assert mixture(mu=[[1.0, 2.0], [3.0, 4.0]]).fixed["mu"].shape == (2, 2)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"x": X - 1}, ["x[cell=0, gene=1] = -1", "a whole number not below zero", "(4 of 8 values are not)"]),
        ({"x": np.log1p(X)}, ["x[cell=0, gene=0] = 1.38", "not normalised or log-transformed"]),
        ({"x": np.where(X == 7, np.nan, X)}, ["x[cell=2, gene=1] = nan", "drop missing entries"]),
        ({"x": X[:0]}, ["'cell' has size 0; at least one cell is needed"]),
        ({"phi": 0}, ["known variable 'phi' (gene): phi[gene=0] = 0", "greater than zero"]),
        ({"phi": [0.3, -1]}, ["phi[gene=1] = -1"]),
        ({"phi": [0.3] * 3}, ["'phi' (gene) has size 3 along 'gene', but 'x' has 2"]),
        ({"size_factor": [1, 0, 1, 1]}, ["size_factor[cell=1] = 0", "greater than zero"]),
        ({"size_factor": [1, 1]}, ["'size_factor' (cell) has size 2 along 'cell', but 'x' has 4"]),
        ({"mu": np.ones((2, 3))}, ["unknown variable 'mu' (component, gene) has size 3 along 'gene', but 'x' has 2"]),
        ({"mu": np.ones((3, 2))}, ["size component=2 was asked for, but 'mu' has 3"]),
        ({"mu": np.zeros((2, 2))}, ["mu[component=0, gene=0] = 0.0"]),
        ({"pi": [0.5, 0.4]}, ["pi[component=0] = 0.5", "sum one"]),
    ],
)
def test_the_mixture_refuses(data: Mapping[str, Any], parts: list[str]) -> None:
    refused({"x": X, "phi": 0.3, **data}, *parts, model=MIXTURE, sizes={"component": 2})


def test_the_mixture_counts_distinct_cells() -> None:
    assert mixture(component=3).sizes["component"] == 3
    parts = "component=4", "the 4 cells of observed variable 'x' (cell, gene) have only 3 distinct rows", "at most 3"
    refused({"x": X, "phi": 0.3}, *parts, model=MIXTURE, sizes={"component": 4})
    many = np.zeros((500, 2), dtype=int)
    many[-1] = 1  # the only other row, far behind the first ones
    assert check(MIXTURE, {"x": many, "phi": 0.3}, {"component": 2}).sizes["cell"] == 500


def test_the_mixture_with_unknown_dispersion_needs_no_phi() -> None:
    gene = MIXTURE.variant(dispersion="gene")
    problem = check(gene, {"x": X}, {"component": 2})
    assert "phi" not in problem.arrays
    assert check(gene, {"x": X, "phi": [0.1, 0.2]}, {"component": 2}).fixed["phi"].tolist() == [0.1, 0.2]
    refused(
        {"x": X}, "known variable 'phi' (gene) is missing", "dispersion='gene'", model=MIXTURE, sizes={"component": 2}
    )


def test_labels_that_are_missing_are_asked_for_by_name() -> None:
    """The number of categories alone would help nobody."""
    model = MIXTURE.variant(means="batch")
    refused({"x": X, "phi": 0.3}, "known variable 'batch' (cell) is missing", model=model, sizes={"component": 2})


def test_numbers_beyond_exact_integers_are_refused() -> None:
    for y in (Y.astype("u8") + np.uint64(2**63), Y * 1e30):
        refused({**WHOLE, "y": y}, "y[row=0, column=0] = ", "is too large: whole numbers go up to 9007199254740992")


def test_masked_and_nullable_entries_are_missing_values() -> None:
    refused({**WHOLE, "y": np.ma.masked_array(Y, mask=Y[1, 0] == Y)}, "y[row=1, column=0] = nan")
    boxed = pd.DataFrame(Y).astype("Int64")
    assert good(y=boxed)["y"].tolist() == Y.tolist()
    refused({**WHOLE, "y": boxed.mask(boxed == Y[1, 0])}, "y[row=1, column=0")


def test_what_partial_data_cannot_hold_is_said() -> None:
    refused({"y": Y, "share": [0.5, 0.5]}, "is missing", sizes=None)
    model = gn.get("nb_mixture").variant(dispersion="component")
    refused({"x": Y, "phi": 0.3}, "unknown variable 'phi' (component)", sizes=None, model=model, partial=True)
