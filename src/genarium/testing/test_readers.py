"""What every reader owes: rows and columns of its files accounted for, and nothing lost in silence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.testing.cases import Case, each, variants


def balanced(tree: xr.DataTree) -> dict[str, Any]:
    """Return the ledger of a tree, checked: read is kept and left out, and kept is what the tree holds."""
    told: dict[str, Any] = json.loads(tree.attrs["ledger"])
    sizes = json.loads(tree.attrs["sizes"])
    for side in (told["rows"], told["columns"]):
        assert side["read"] == side["kept"] + sum(side["left_out"].values())
        assert side["kept"] == sizes.get(side["unit"], side["kept"])
        assert set(side["names"]) <= set(side["left_out"])
    return told


@each(variants)
def test_a_table_is_accounted_for(case: Case, tree: xr.DataTree, tmp_path: Path) -> None:
    """Write the first observed matrix as a table: readers that take it must say what became of every column."""
    import pandas as pd

    matrix = next((name for name, var in case.model.observed.variables.items() if len(var.dims) == 2), None)
    if matrix is None:
        pytest.skip("no observed variable is a matrix")
    values = tree["observed_data"][matrix]
    row, column = values.shape
    index = pd.Index([f"row {i}" for i in range(row)], name="name")
    frame = pd.DataFrame(values.to_numpy(), index, [f"column {j}" for j in range(column)])
    frame.to_csv(tmp_path / "plain.csv")
    frame.assign(remark="none").to_csv(tmp_path / "remarked.csv")
    taken = 0
    for name in case.model.readers:
        try:
            found = gn.read(case.model, tmp_path / "plain.csv", name)
        except gn.InputError:
            continue  # it is a reader of something else, or needs to be told more
        taken += 1
        told = balanced(found)
        assert told["rows"]["read"] == row
        assert told["columns"]["kept"] == column
        np.testing.assert_array_equal(found["observed_data"][matrix], values)
        said = ""
        try:
            found = gn.read(case.model, tmp_path / "remarked.csv", name)
            said = " ".join(one for names in balanced(found)["columns"]["names"].values() for one in names)
        except gn.InputError as error:
            said = str(error)
        assert "remark" in said
    if not taken:
        pytest.skip("no reader takes a plain table")
