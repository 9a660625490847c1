"""The readers of nb_mixture: what is written comes back, and every fault of a file is named with place and remedy."""

import bz2
import contextlib
import gzip
import itertools
import json
import lzma
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anndata.io import write_elem
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

import genarium as gn
from genarium.data import check
from genarium.errors import InputError
from genarium.models.nb_mixture import MODEL
from genarium.models.nb_mixture.readers import h5ad, table

COURSE = Path(__file__).parents[3] / "shared" / "data" / "mcb112" / "mcb112_2022_w05-nbmix.tbl"
steady = settings(deadline=None, max_examples=15, derandomize=True, database=None)
number = itertools.count()

Counts = NDArray[np.int64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers")


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    def one(content: str | bytes, name: str = "x.csv") -> Path:
        path = folder / str(next(number)) / name
        path.parent.mkdir()
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return one


def refuses(reader: Callable[..., Any], paths: Path | list[Path], *parts: str, **options: Any) -> None:
    """Check that an error names the file and holds all parts."""
    paths = [paths] if isinstance(paths, Path) else paths
    with pytest.raises(InputError) as caught:
        reader(paths, **options)
    message = str(caught.value)
    assert any(str(path) in message for path in paths) or not paths, message
    for part in parts:
        assert part in message, message
    assert message.endswith(".")


names = st.lists(
    st.text("abcXYZ019_.-é β", min_size=1, max_size=6).map(str.strip).filter(lambda s: any(c.isalpha() for c in s)),
    min_size=1,
    max_size=5,
    unique_by=str.lower,
).filter(lambda found: not {s.lower() for s in found} & {"nan", "inf", "index", "e"})


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    genes = draw(names)
    cells = draw(st.integers(1, 6))
    counts = st.lists(st.integers(0, 10**9), min_size=len(genes), max_size=len(genes))
    x = draw(st.lists(counts, min_size=cells, max_size=cells))
    index = pd.Index([f"cell {i}" for i in range(cells)], name="cell", dtype=object)
    return pd.DataFrame(np.array(x, dtype=np.int64), index=index, columns=pd.Index(genes, name="gene", dtype=object))


def same(found: Any, frame: pd.DataFrame) -> None:
    assert list(found["x"].index) == list(frame.index)
    assert list(found["x"].columns) == list(frame.columns)
    np.testing.assert_array_equal(found["x"].to_numpy(), frame.to_numpy())
    assert found["x"].index.name == "cell"
    assert found["x"].columns.name == "gene"


# Tables --------------------------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "x.csv": lambda f, p: f.to_csv(p),
    "x.tsv": lambda f, p: f.to_csv(p, sep="\t"),
    "semicolons.csv": lambda f, p: f.assign(last=0).to_csv(p, sep=";"),
    "x.csv.gz": lambda f, p: f.to_csv(p),
    "x.tsv.bz2": lambda f, p: f.to_csv(p, sep="\t"),
    "x.csv.xz": lambda f, p: f.to_csv(p),
    "quoted.txt": lambda f, p: f.to_csv(p, sep="\t", quoting=1),
    "x.tbl": lambda f, p: f.to_csv(p, sep=" ", quoting=2),
    "nameless.csv": lambda f, p: f.rename_axis(index=None).to_csv(p),
    "windows.csv": lambda f, p: f.to_csv(p, lineterminator="\r\n", encoding="utf-8-sig"),
    "x.parquet": lambda f, p: f.rename_axis(columns=None).to_parquet(p),
    "nameless.parquet": lambda f, p: f.rename_axis(index=None, columns=None).to_parquet(p),
    "x.pq": lambda f, p: f.rename_axis(columns=None).reset_index().to_parquet(p, index=False),
}


@pytest.mark.parametrize("form", FORMS)
@steady
@given(frame=frames())
def test_tables_come_back_as_written(form: str, folder: Path, frame: pd.DataFrame) -> None:
    path = folder / form
    FORMS[form](frame, path)
    found = table([path], drop="last" if form == "semicolons.csv" else "")
    same(found, frame)
    assert set(found) == {"x"}
    assert found["x"].to_numpy().dtype == np.int64


@steady
@given(frame=frames())
def test_genes_in_rows(folder: Path, frame: pd.DataFrame) -> None:
    path = folder / "transposed.csv"
    frame.T.to_csv(path)
    same(table([path], transpose=True), frame)
    first = str(frame.columns[0])
    if len(frame.columns) > 1:
        same(table([path], transpose=True, drop=[first]), frame.drop(columns=first))
        factor = table([path], transpose=True, size_factor=first)["size_factor"]
        np.testing.assert_array_equal(factor.to_numpy(), frame[first].to_numpy())


@pytest.mark.parametrize(
    ("text", "name", "cells", "genes"),
    [
        ("# made by hand\n#cell  kind a  b\nu 1 2 3\n\nv 2 4 5  \n\n", "x.tbl", ["u", "v"], ["kind", "a", "b"]),
        ("# a comment, of several fields\ncell,a,b\nu,2,3\nv,4,5", "x.csv", ["u", "v"], ["a", "b"]),
        ('"a" "b"\n"u 1" 2 3\n"v 1" 4 5\n', "from_r.txt", ["u 1", "v 1"], ["a", "b"]),
        ("a\tb\nu\t2\t3\nv\t4\t5\n", "from_r", ["u", "v"], ["a", "b"]),
        ("index,a,b\n7,2,3\n9,4,5\n", "x.csv", [7, 9], ["a", "b"]),
        ("a,b\n2,3\n4,5\n", "x.csv", [0, 1], ["a", "b"]),
        ("0,1\n2,3\n4,5\n", "x.csv", [0, 1], ["0", "1"]),
        ("a,b,\n2,3,\n4,5,\n", "trailing.csv", [0, 1], ["a", "b"]),
        ("cell,a,b\nNA,2,3\nnan,4,5\n", "x.csv", ["NA", "nan"], ["a", "b"]),
        ("cell\ra\r1\r2\r", "mac.csv", [0, 1], []),
        ('cell,a,b\n"u\nw",2,3\nv,4,5\n', "breaks.csv", ["u\nw", "v"], ["a", "b"]),
    ],
)
def test_forms_of_tables(write: Callable[..., Path], text: str, name: str, cells: list[Any], genes: list[str]) -> None:
    if not genes:
        refuses(table, write(text, name), "no column of counts is left", "'cell' (taken as cell names)")
        return
    x = table([write(text, name)])["x"]
    assert list(x.index) == cells
    assert list(x.columns) == genes
    assert x["a" if "a" in x else "0"].tolist() == [2, 4]


def test_options_of_tables(write: Callable[..., Path]) -> None:
    path = write("sample,type,depth,a,b,c\nu,1,0.5,10,20,0\nv,2,2,20,80,4\n")
    assert list(table([path], drop="type, depth")["x"]) == ["a", "b", "c"]
    found = table([path], genes="c,a", size_factor="depth")
    assert found["x"].to_numpy().tolist() == [[0, 10], [4, 20]]
    assert found["size_factor"].to_dict() == {"u": 0.5, "v": 2.0}
    assert list(table([path], genes=("b",), cells=None)["x"].index) == [0, 1]
    assert list(table([path], cells="type", drop="depth,sample")["x"].index) == [1, 2]
    assert list(table([path], drop=["sample", "type", "depth"])["x"].index) == [0, 1]
    total = table([path], drop="type,depth", genes="a", size_factor="total")["size_factor"]
    np.testing.assert_allclose(total, np.array([30, 104]) / 67)
    few = table([path], drop="type,depth", size_factor="total").ledger.notes
    assert "totals of which the 3 genes read are 100%" in few[0]
    assert "near -0.5)" in few[0]
    median = table([path], drop="type,depth", size_factor="median")["size_factor"]  # ratios of a and b; c has a zero
    np.testing.assert_allclose(median, [8**-0.25, 8**0.25])


@pytest.mark.parametrize("separator", [",", "\t", " "])
@steady
@given(frame=frames(), data=st.data())
def test_one_fault_is_found_in_its_line(folder: Path, separator: str, frame: pd.DataFrame, data: st.DataObject) -> None:
    path = folder / ("fault.tbl" if separator == " " else "fault.csv")
    i = data.draw(st.integers(0, len(frame) - 1))
    j = data.draw(st.integers(0, frame.shape[1] - 1))
    rows = frame.astype(object)
    rows.iloc[i, j] = "12o"
    lines = rows.to_csv(sep=separator, quoting=2).splitlines()
    blank = data.draw(st.integers(0, i + 1))  # blank lines above it, which count as lines
    lines[i + 1 : i + 1] = [""] * blank
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    line = f"line {i + 2 + blank}"
    genes = [str(name) for name in frame.columns]
    refuses(table, path, f"{line}, column {genes[j]!r}: '12o' is not a number", genes=genes)
    lines[i + 1 + blank] = lines[i + 1 + blank].rpartition(separator)[0]
    path.write_text("\n".join(lines), encoding="utf-8")
    fields = f"{len(genes)} field{'s' * (len(genes) > 1)}"
    refuses(table, path, f"{line} has {fields}, but the header has {len(genes) + 1}", genes=genes)


@pytest.mark.parametrize("value", ["-1", "2.5", "NA", "inf"])
def test_values_that_are_no_counts_are_found_by_the_check(write: Callable[..., Path], value: str) -> None:
    path = write(f"cell,a,b\nu,1,2\nv,3,{value}\n")
    with pytest.raises(InputError, match=r"x\[cell=1 \(v\), gene=1 \(b\)\] = .*raw counts"):
        check(MODEL, table([path]), partial=True)
    problem = check(MODEL, table([path], genes="a"), partial=True)
    assert problem["x"].tolist() == [[1], [3]]


def test_missing_values_and_values_that_are_no_counts_are_left_to_the_check(write: Callable[..., Path]) -> None:
    x = table([write("cell,a,b\nu,NA,-1\nv,,2.5\nw,3,NaN\n")])["x"].to_numpy()
    np.testing.assert_array_equal(x, [[np.nan, -1], [np.nan, 2.5], [3, np.nan]])


def test_files_follow_each_other(write: Callable[..., Path]) -> None:
    one, two = write("cell,a,b\nu,1,2\n"), write("cell,b,a\n5,3,4\n", "y.csv")
    found = table([one, two], size_factor="total")
    same(found, pd.DataFrame({"a": [1, 4], "b": [2, 3]}, index=["u", "5"]))
    assert found["size_factor"].tolist() == [0.6, 1.4]
    again = write(one.read_text())
    assert list(table([one, again], cells=None)["x"].index) == [0, 1]
    refuses(table, [one, again], "cell name 'u' is used more than once", "cells=None")
    refuses(table, [one, one], "the same file is given twice")
    refuses(table, [one, write("cell,a,d\nv,1,2\n")], "other genes than", str(one), "b, d", "genes")
    refuses(table, [one, write("a,b\n1,2\n")], "only one of this file", "Number them all with cells=None")


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        ("", {}, ["the file is empty"]),
        ("\n \t\n", {}, ["the file is empty"]),
        ("\ufeff", {}, ["nothing but white space"]),
        ("cell,a\n", {}, ["there is a header (line 1: cell, a) but no line after it"]),
        ("# cell,a\n\n", {}, ["there is a header (line 1: cell, a)"]),
        ("cell,a,b\nu,1\n", {}, ["line 2 has 2 fields, but the header has 3", "NA"]),
        ("cell,a,b\nu,1,2\n\nv,1\nw,1,\n", {}, ["line 4 has 2 fields, but the header has 3"]),
        ("cell,a,b\nu,1,2\n\nv,1,2,3\n", {}, ["line 4 has 4 fields, but the header has 3"]),
        ("cell,a,b\nu,1,2,\n", {}, ["line 2 has 4 fields, but the header has 3"]),
        ("cell,a,b\nu,1,2\n,,\n", {}, ["line 3, column 'cell': the cell has no name"]),
        ('cell,a\nu,1\n"v,1\n', {}, ["cannot be parsed", "quotation marks"]),
        ("cell,a,b,a\nu,1,2,3\n", {}, ["line 1: columns 2 and 4 are both called 'a'", "Rename one"]),
        ("cell,a\nu,1\nv,2\nu,3\n", {}, ["line 4, column 'cell'", "'u' was used in line 2", "cells=None"]),
        ("gene,u\na,1\na,2\n", {"transpose": True}, ["line 3", "gene name 'a'", "line 2", "add up the rows"]),
        ("cell,a,b\nu,1,2\n\nv,12o,4\nw,3,x\n", {}, ["line 4, column 'a': '12o' is not a number", "drop='a'"]),
        ("cell,a\nu,x\nv,1\nw,y\n", {"genes": "a"}, ["line 2, column 'a': 'x'", "(2 such values)"]),
        ("cell,a\nu,True\nv,False\n", {"genes": "a"}, ["line 2, column 'a': 'True' is not a number"]),
        ('cell,k,a\nu,"p\nq",1\nv,r,x\n', {"genes": "a"}, ["record 2, column 'a': 'x' is not a number"]),
        ("cell\ta\n\t\t\t\nu\t1\n", {}, ["line 2 has more fields than the header"]),
        ("12,30\n14,2\n", {}, ["line 1 holds numbers (12, 30)", "Add a header line"]),
        ("cell;a b\nu,1\n", {}, ["line 2 has 1 field, but the header has 2", "delimiter"]),
        ("cell|a\nu|1\n", {}, ["no column of counts", "'cell|a' (taken as cell names)", "delimiter seems to be '|'"]),
        ("cell,n\nu,1\n", {"drop": "n"}, ["'cell' (taken as cell names), 'n' (asked for)", "genes"]),
        ("cell,s\nu,1\n", {"size_factor": "s"}, ["no column of counts", "'s' (size factor)"]),
        ("cell,kiwi\nu,1\n", {"genes": "kiwis"}, ["no column 'kiwis'", "Did you mean 'kiwi'?", "cell, kiwi"]),
        ("cell,kiwi\nu,1\n", {"drop": "type"}, ["no column 'type'"]),
        ("cell,kiwi\nu,1\n", {"cells": "id"}, ["no column 'id'"]),
        ("cell,kiwi\nu,1\n", {"size_factor": "depth"}, ["no column 'depth'"]),
        ("gene,u\nkiwi,1\n", {"drop": "lime", "transpose": True}, ["no gene 'lime'", "kiwi"]),
        ("gene,u\nkiwi,1\n", {"genes": "lime", "transpose": True}, ["no gene 'lime'", "kiwi"]),
        ("gene,u\nkiwi,1\n", {"size_factor": "lime", "transpose": True}, ["no gene 'lime'", "kiwi"]),
        (
            "cell,a,s\nu,1,1\n",
            {"size_factor": "s", "drop": "s"},
            ["column 's' is named as the size factor", "Name it once"],
        ),
        ("cell,a,total\nu,1,1\n", {"size_factor": "total"}, ["size_factor='total'", "name of a column", "Rename"]),
        ("cell,a,b\nu,1,2\nv,0,0\n", {"size_factor": "total"}, ["cell v has no counts", "drop that row"]),
        ("cell,a\nu,0\nv,0\nw,1\n", {"size_factor": "median"}, ["cell u has no counts", "(2 such cells)"]),
        ("cell,a,b\nu,1,0\nv,0,1\n", {"size_factor": "median"}, ["every gene has a zero", "size_factor='total'"]),
        ("cell,a\nu,1.5\n", {"size_factor": "total"}, ["gene 'a' of cell u is 1.5", "raw counts"]),
        ("cell,a\nu,1\nv,NA\n", {"size_factor": "median"}, ["gene 'a' of cell v is nan"]),
        ("%%MatrixMarket matrix\n1 1 1\n", {}, ["Matrix Market", ".h5ad"]),
        (b"cell,a\n\xe9t\xe9,1\n", {}, ["not text in UTF-8", "byte 7", "Save the table as UTF-8"]),
        ("cell,a\nu,1\n".encode("utf-16"), {}, ["not text in UTF-8"]),
        (b"cell,a\nu,\0\n", {}, ["binary data"]),
        (b"PK\x03\x04\0", {}, ["zip archive or a spreadsheet", "CSV"]),
        (b"\x89HDF\r\n\x1a\n", {}, ["HDF5", "format='h5ad'"]),
        (gzip.compress(b"cell,a\nu,1\n", mtime=0), {}, ["gzip data", ".gz"]),
    ],
)
def test_faults_of_tables(
    write: Callable[..., Path], text: str | bytes, options: dict[str, Any], parts: list[str]
) -> None:
    refuses(table, write(text), *parts, **options)


def test_faulty_options_of_tables(write: Callable[..., Path], folder: Path) -> None:
    path = write("cell,a\nu,1\n")
    for options, part in (
        ({"transpose": "yes"}, "transpose='yes' must be true or false"),
        ({"genes": 3}, "genes=3 must be names"),
        ({"cells": 0}, "cells=0 must be a name"),
        ({"size_factor": 0.5}, "size_factor=0.5 must be a name. Numbers are given when fitting"),
        ({"genes": "a,a"}, "'a' is named more than once"),
        ({"genes": "a", "drop": "a"}, "'a' is named by genes=... and by drop=..."),
    ):
        with pytest.raises(InputError, match=part):
            table([path], **options)
    with pytest.raises(InputError, match="no file was given"):
        table([])
    refuses(table, folder / "absent.csv", "there is no such file")
    refuses(table, folder, "this is not a file")


@pytest.mark.parametrize(("suffix", "press"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_damaged_compression(write: Callable[..., Path], suffix: str, press: Callable[[bytes], bytes]) -> None:
    text = "cell,a\n" + "".join(f"cell{i},{i * i % 977}\n" for i in range(500))
    whole = press(text.encode())
    assert table([write(whole, f"x.csv{suffix}")])["x"].shape == (500, 1)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for damaged in (whole[: len(whole) // 2], whole[:-3], bytes(flipped), text.encode()):
        refuses(table, write(damaged, f"x.csv{suffix}"), "cannot be read", "damaged or cut short: fetch it again")


def test_faults_of_parquet(write: Callable[..., Path], folder: Path) -> None:
    path = folder / "faulty.parquet"
    frame = pd.DataFrame({"cell": ["u", "v", "w"], "a": ["1", "2", "12o"], "b": [1.0, None, 3.0]})
    frame.to_parquet(path)
    refuses(table, path, "row 3, column 'a': '12o' is not a number")
    nullable = table([path], genes="b")["x"]
    np.testing.assert_array_equal(nullable["b"], [1, np.nan, 3])
    frame.astype({"b": "Int64"}).to_parquet(path)
    np.testing.assert_array_equal(table([path], genes="b")["x"]["b"], [1, np.nan, 3])
    refuses(table, write(path.read_bytes()[:-20], "cut.parquet"), "cannot be read as Parquet", "true format")
    refuses(table, write("cell,a\nu,1\n", "text.parquet"), "cannot be read as Parquet")
    pq.write_table(pa.table([[1], [2]], names=["a ", "b"]), path)
    assert list(table([path])["x"].columns) == ["a", "b"]
    pq.write_table(pa.table([[1], [2]], names=["a", "a "]), path)
    refuses(table, path, "columns 1 and 2 are both called 'a'", "Rename one")
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    refuses(table, path, "columns 1 and 2 are both called 'a'", "Rename one")
    frame[:0].to_parquet(path)
    refuses(table, path, "names columns (cell, a, b) but has no rows")


@pytest.mark.data
def test_course_table() -> None:
    if not COURSE.is_file():
        pytest.skip("the course data (shared/data/mcb112 beside the repository) are absent")
    x = table([COURSE], drop="type")["x"]
    assert x.shape == (1000, 2)
    assert list(x) == ["caraway", "kiwi"]
    assert x.iloc[[0, -1]].to_numpy().tolist() == [[25, 1246], [22, 1240]]
    assert list(x.index) == list(range(1000))


# AnnData -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Let pass what AnnData 0.13 itself triggers under pandas 3.1 when it is constructed, and nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The 'future.infer_string' option is deprecated")
        yield


def made(path: Path, x: Any, cells: list[str] | None = None, genes: list[str] | None = None, **more: Any) -> Path:
    n, d = x.shape
    obs = pd.DataFrame(more.pop("obs", {}), index=cells or [f"c{i}" for i in range(n)])
    var = pd.DataFrame(more.pop("var", {}), index=genes or [f"g{i}" for i in range(d)])
    with writing():
        anndata.AnnData(x, obs, var, **more).write_h5ad(path)
    return path


KINDS: dict[str, Callable[[Counts], Any]] = {
    "dense": lambda x: x.astype(np.float32),
    "whole": lambda x: x,
    "csr": lambda x: sparse.csr_matrix(x.astype(np.float32)),
    "csc": lambda x: sparse.csc_array(x.astype(np.int32)),
}


@pytest.mark.parametrize("kind", ["dense", "whole", "csr", pytest.param("csc", marks=pytest.mark.slow)])
@steady
@given(frame=frames())
def test_anndata_comes_back_as_written(kind: str, folder: Path, frame: pd.DataFrame) -> None:
    frame = frame % 2**20
    path = made(folder / f"{kind}.h5ad", KINDS[kind](frame.to_numpy()), list(frame.index), list(frame.columns))
    found = h5ad([path])
    same(found, frame)
    assert set(found) == {"x"}


@pytest.fixture(params=["dense", "csr"])
def typical(request: pytest.FixtureRequest, folder: Path) -> Path:
    """Normalised X, counts in a layer and in .raw; columns for every option."""
    counts = np.array([[4, 0, 1, 9], [2, 50, 1, 0], [8, 7, 1, 3]])
    as_kind = KINDS[request.param]
    path = folder / f"typical_{request.param}.h5ad"
    with writing():
        data = anndata.AnnData(
            as_kind(counts),
            pd.DataFrame({"good": [True, False, True], "s": [0.5, 1, 2], "kind": ["u", "v", "w"]}, index=list("xyz")),
            pd.DataFrame({"highly_variable": [False, True, False, True], "none": [False] * 4}, index=list("abcd")),
        )
        data.raw = data.copy()
        data.layers["counts"] = as_kind(counts)
        data.layers["scaled"] = counts / 3
        data.X = np.log1p(counts)
        data.write_h5ad(path)
    return path


def test_options_of_anndata(typical: Path) -> None:
    refuses(h5ad, typical, "X holds no raw counts (gene 'a' of cell x is 1.6", "layers counts, .raw", "layer='counts'")
    whole = h5ad([typical], layer="counts")["x"]
    assert whole.to_numpy().tolist() == [[4, 0, 1, 9], [2, 50, 1, 0], [8, 7, 1, 3]]
    assert whole.equals(h5ad([typical], layer=".raw")["x"])
    assert h5ad([typical], layer="scaled")["x"].loc["z", "c"] == 1 / 3  # the check against the declaration refuses it
    assert list(h5ad([typical], layer="counts", genes="d,a")["x"]) == ["d", "a"]
    assert list(h5ad([typical], layer="counts", genes="highly_variable")["x"]) == ["b", "d"]
    for two in (2, "2"):
        assert list(h5ad([typical], layer="counts", genes=two)["x"]) == ["a", "d"]
    assert list(h5ad([typical], layer="counts", genes=3)["x"]) == ["a", "b", "d"]
    found = h5ad([typical], layer="counts", cells="good", size_factor="s", genes=["c"])
    assert found["x"].to_dict() == {"c": {"x": 1, "z": 1}}
    assert found["size_factor"].to_dict() == {"x": 0.5, "z": 2.0}
    total = h5ad([typical], layer="counts", genes="a", size_factor="total")["size_factor"]
    np.testing.assert_allclose(total, np.array([14, 53, 19]) / (86 / 3))
    median = h5ad([typical], layer="counts", size_factor="median")["size_factor"]  # over genes a and c
    np.testing.assert_allclose(median, np.exp([0, -np.log(2) / 2, np.log(2) / 2]))


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"layer": "count"}, ["no layer 'count'", "Did you mean 'counts'?", "counts, scaled, .raw"]),
        ({"layer": 3}, ["layer=3 must be a name"]),
        ({"layer": "counts", "genes": "a,e"}, ["no gene 'e'", "a, b, c, d"]),
        ({"layer": "counts", "genes": 5}, ["genes=5 is not between 1 and 4"]),
        ({"layer": "counts", "genes": 0}, ["genes=0 is not between 1 and 4"]),
        ({"layer": "scaled", "genes": 2}, ["gene 'a' of cell x is 1.33", "raw counts"]),
        ({"layer": "scaled", "size_factor": "total"}, ["gene 'a' of cell x is 1.33", "raw counts"]),
        ({"layer": "counts", "cells": "god"}, ["no column of obs 'god'", "Did you mean 'good'?", "good, s, kind"]),
        ({"layer": "counts", "cells": "kind"}, ["obs['kind'] holds", "true or false"]),
        ({"layer": "counts", "size_factor": "depth"}, ["no column of obs 'depth'", "good, s, kind"]),
        ({"layer": "counts", "size_factor": "kind"}, ["row of obs 1, column 'kind': 'u' is not a number"]),
    ],
)
def test_faulty_options_of_anndata(typical: Path, options: dict[str, Any], parts: list[str]) -> None:
    if options["layer"] == 3:
        with pytest.raises(InputError, match=parts[0]):
            h5ad([typical], **options)
    else:
        refuses(h5ad, typical, *parts, **options)


def test_a_column_of_bytes_is_refused(typical: Path) -> None:
    with h5py.File(typical, "a") as file:
        del file["obs/s"]
        file["obs/s"] = np.array([b"abcd"] * 3, dtype="V4")
        file["obs/s"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    with pytest.raises(InputError, match="column 's' of obs holds bytes without a meaning"):
        h5ad([typical], layer="counts")


def test_faults_of_anndata(write: Callable[..., Path], folder: Path) -> None:
    path = folder / "faulty.h5ad"
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    with pytest.warns(UserWarning, match="not unique"):
        made(path, x, genes=["a", "a"])
    refuses(h5ad, path, "gene name 'a' is used more than once", "var_names_make_unique()")
    with pytest.warns(UserWarning, match="not unique"):
        made(path, x, cells=["u", "u"])
    refuses(h5ad, path, "cell name 'u' is used more than once", "obs_names_make_unique()")
    refuses(h5ad, made(path, x - 2), "gene 'g0' of cell c0 is -1.0", "No layer holds whole numbers", "layers: none")
    refuses(h5ad, made(path, sparse.csr_matrix(x / 2)), "gene 'g0' of cell c0 is 0.5")
    refuses(h5ad, made(path, np.zeros((2, 0))), "no genes")
    refuses(h5ad, made(path, np.zeros((0, 2))), "no cells")
    refuses(h5ad, made(path, x * [[1], [0]]), "cell c1 has no counts", "cells='", size_factor="total")
    refuses(h5ad, made(path, x, obs={"total": [1, 2]}), "size_factor='total'", "Rename", size_factor="total")
    flags = {"highly_variable": [False, False]}
    refuses(h5ad, made(path, x, var=flags), "false everywhere", genes="highly_variable")
    refuses(h5ad, made(path, x), "no column of var 'highly_variable'", genes="highly_variable")
    with h5py.File(path, "a") as file:
        del file["X"]
    refuses(h5ad, path, "it has no X", "No layer holds whole numbers")
    for wrong, parts in {
        "text": ["X holds", "not numbers", "Name a layer that does: layer=..."],
        "shape": ["obs has 2 cells and var 2 genes, but the matrix has the shape (3, 2)"],
        "old": ["old form", "current anndata"],
    }.items():
        with h5py.File(path, "a") as file:
            if wrong != "text":
                del file["X"]
            write_elem(file, "X", np.array([["a", "b"]] * 2) if wrong == "text" else np.ones((3, 2)))
            if wrong == "old":
                del file["obs"]
                file["obs"] = np.array([(b"u", 1)], dtype=[("index", "S1"), ("depth", "f8")])
        refuses(h5ad, path, *parts)
    with h5py.File(folder / "10x.h5", "w") as file:
        file["matrix/barcodes"] = [1]
    refuses(h5ad, folder / "10x.h5", "not AnnData; it has matrix", "read_10x_h5")
    refuses(h5ad, write("cell,a\nu,1\n", "x.h5ad"), "cannot be read as AnnData", "format='table'")
    refuses(h5ad, write(b"", "x.h5ad"), "cannot be read as AnnData")
    refuses(h5ad, write(made(path, x).read_bytes()[:3000], "x.h5ad"), "cannot be read as AnnData", "cut short")
    refuses(h5ad, folder / "absent.h5ad", "there is no such file")


def test_anndata_files_follow_each_other(folder: Path) -> None:
    one = made(folder / "one.h5ad", np.array([[1.0, 2.0]]), ["u"], var={"highly_variable": [True, False]})
    two = folder / "two.h5ad"
    flags = {"highly_variable": [False, True]}
    made(two, sparse.csr_matrix([[3.0, 4.0]]), ["v"], genes=["g1", "g0"], var=flags)
    same(h5ad([one, two]), pd.DataFrame({"g0": [1, 4], "g1": [2, 3]}, index=["u", "v"]))
    same(h5ad([one, two], genes="highly_variable"), pd.DataFrame({"g0": [1, 4]}, index=["u", "v"]))
    made(two, np.array([[3.0, 4.0]]), ["v"], var=flags)
    refuses(h5ad, [one, two], "marks other genes than in", genes="highly_variable")
    refuses(h5ad, [one, made(two, np.array([[1.0]]), ["v"])], "other genes than", "g1")
    refuses(h5ad, [one, one], "the same file is given twice")
    two.write_bytes(one.read_bytes())
    refuses(h5ad, [one, two], "the cell name 'u' is used more than once")


def test_names_keep_no_blanks_and_come_once(folder: Path) -> None:
    path = made(folder / "names.h5ad", np.array([[1.0, 2.0], [3.0, 4.0]]), ["u ", "\tv"], [" a", "b"])
    same(h5ad([path]), pd.DataFrame({"a": [1, 3], "b": [2, 4]}, index=["u", "v"]))
    made(path, np.array([[1.0, 2.0], [3.0, 4.0]]), ["u ", "u"], ["a", "b"])
    refuses(h5ad, path, "the cell name 'u' is used more than once")
    made(path, np.array([[1.0, 2.0], [3.0, 4.0]]), genes=["a ", "a"])
    refuses(h5ad, path, "the gene name 'a' is used more than once")


def test_labels_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("cell,g1\n-1,3\n\n1e3,4\n007,5\n")
    tree = gn.read("nb_mixture", tmp_path / "t.csv", phi=0.3)
    assert tree["observed_data"]["cell"].to_numpy().tolist() == ["-1", "1e3", "007"]


@pytest.mark.parametrize("kind", [np.float16, np.uint8, np.int8, np.uint64])
def test_anndata_of_every_type(folder: Path, kind: Any) -> None:
    path = made(folder / "kinds.h5ad", np.array([[1, 2], [3, 4]], dtype=kind))
    for options in ({}, {"size_factor": "total"}, {"genes": 2}):
        assert check(MODEL, h5ad([path], **options), partial=True)["x"].tolist() == [[1, 2], [3, 4]]


def test_cells_and_genes_that_are_left_out_are_told(typical: Path) -> None:
    for genes, why in (("d,a", "not among genes"), ("highly_variable", "not marked highly_variable"), (2, "vary less")):
        told = h5ad([typical], layer="counts", cells="good", genes=genes).ledger.to_dict()
        assert (told["rows"]["read"], told["rows"]["kept"]) == (3, 2)
        assert told["rows"]["names"] == {"obs['good'] is false": ["y"]}
        assert (told["columns"]["read"], told["columns"]["kept"]) == (4, 2)
        assert told["columns"]["left_out"] == {why: 2}


PARQUET: dict[str, tuple[Any, Any]] = {
    "half precision": (pa.array(np.array([1, 2], dtype=np.float16)), [1, 2]),
    "decimals": (pa.array([1, 2], pa.decimal128(5, 0)), [1, 2]),
    "unsigned": (pa.array([1, 2], pa.uint64()), [1, 2]),
    "categories": (pa.array(["1", "2"]).dictionary_encode(), "column 'a' (row 1: '1') holds no numbers"),
    "truth values": (pa.array([True, False]), "column 'a' (row 1: 'True') holds no numbers"),
    "times": (pa.array([1, 2], pa.timestamp("s")), "column 'a' (row 1: '1970-01-01 00:00:01') holds no numbers"),
    "a large one beside a missing one": (
        pa.array([2**53 + 1, None]),
        "row 1, column 'a': 9007199254740993 is too large",
    ),
}


@pytest.mark.parametrize("kind", PARQUET)
def test_parquet_of_every_type(folder: Path, kind: str) -> None:
    column, expected = PARQUET[kind]
    path = folder / "kinds.parquet"
    pq.write_table(pa.table({"b": pa.array([5, 9]), "a": column}), path)
    if isinstance(expected, str):
        refuses(table, path, expected)
    else:
        assert check(MODEL, table([path]), partial=True)["x"].tolist() == [[5, 1], [9, 2]]


# Anything ------------------------------------------------------------------------------------------------------------

VALID = "#cell  kind a b\nu 1 20 3\nv 0 4 55\n"
fuzz = settings(steady, max_examples=60)
soup = st.text('ab#,;\t \n\r"10.-eN_\\\x1c\xa0\ufeff\x00', max_size=40).map(str.encode)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A valid table with some bytes replaced, inserted or cut out."""
    content = bytearray(VALID.replace(" ", draw(st.sampled_from([" ", ",", "\t"]))).encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=2) | soup.map(lambda s: s[:2]))
    return bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "x.csv",
        *(pytest.param(f"x.{end}", marks=pytest.mark.slow) for end in ("tbl", "txt", "csv.bz2", "csv.xz")),
        pytest.param("x.csv.gz", marks=pytest.mark.slow),
        "x.parquet",
        "x.h5ad",
    ],
)
@fuzz
@given(content=st.one_of(st.binary(max_size=60), soup, spoiled()), packed=st.booleans())
def test_any_bytes_are_read_or_refused(name: str, folder: Path, content: bytes, packed: bool) -> None:
    path = folder / f"fuzz_{name}"
    presses: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    press = presses.get(path.suffix)
    path.write_bytes(press(content) if press and packed else content)
    every: list[dict[str, Any]] = [{}, {"transpose": True}, {"cells": None, "size_factor": "total"}]
    for options in every:
        try:
            found = h5ad([path]) if path.suffix == ".h5ad" else table([path], **options)
        except InputError:
            continue
        x = found["x"]
        assert x.to_numpy().dtype.kind in "iuf"
        assert min(x.shape) > 0
        assert x.index.is_unique
        assert x.columns.is_unique


def read(path: Path, **options: Any) -> Any:
    return gn.read("nb_mixture", path, format="table", **options)


def test_empty_cells_are_said_or_dropped(write: Callable[..., Path]) -> None:
    path = write("cell,a,b,c\nu,1,2,0\nv,0,0,0\nw,0,0,3\n")
    told = json.loads((kept := read(path, genes="a,b")).attrs["ledger"])
    assert (kept["observed_data"].sizes["cell"], told["rows"]["left_out"]) == (3, {})
    assert "2 cells have no count of these genes, and are kept: empty=drop" in told["notes"][-1]
    told = json.loads((dropped := read(path, genes="a,b", empty="drop", size_factor="total")).attrs["ledger"])
    assert dropped["observed_data"]["cell"].to_numpy().tolist() == ["u"]
    assert told["rows"]["left_out"] == {"without counts": 2}
    assert told["rows"]["names"] == {"without counts": ["v", "w"]}
    assert dropped["constant_data"]["size_factor"].to_numpy().tolist() == [1.0]  # of 3 counts, of u and of w
    with pytest.raises(InputError, match=r"cell v has no counts at all.*empty='drop'"):
        read(path, size_factor="total")
    with pytest.raises(InputError, match="no cell has any count"):
        read(write("cell,a\nu,0\nv,0\n"), empty="drop")


def test_fractional_counts_are_told_to_be_rounded(write: Callable[..., Path]) -> None:
    path = write("cell,a,b\nu,1.25,2\nv,3,4\n")
    for options in ({}, {"size_factor": "total"}):
        with pytest.raises(InputError, match=r"1\.25.*round counts that a correction has left fractional.*SoupX"):
            read(path, **options)


def test_columns_beside_are_read_of_the_cells_that_are(folder: Path) -> None:
    flags = {"good": [True, True, False], "lane": ["a", "b", None], "age": [1.5, 2.5, np.nan]}
    path = made(folder / "beside.h5ad", np.array([[1.0], [2.0], [3.0]]), obs=flags)
    told = h5ad([path], cells="good", batch="lane", covariates="age")
    assert told["batch"].to_list() == ["a", "b"]
    assert told["covariates"]["age"].to_list() == [1.5, 2.5]
    assert told.ledger.rows.left_out == {"obs['good'] is false": 1}
    made(path, np.array([[1.0], [2.0], [3.0]]), obs=flags | {"lane": ["a", None, None]})
    refuses(h5ad, path, "row of obs 2, column 'lane': the value is missing (1 such)", cells="good", batch="lane")


def test_numbers_of_batches_are_names_in_whatever_form(folder: Path) -> None:
    x, cells = np.array([[1.0], [2.0]]), [["u", "v"], ["w", "x"], ["y", "z"]]
    lanes = ([1, 2], [1.0, 2.0], pd.Categorical([1.0, 2.0]))
    paths = [
        made(folder / f"lane{i}.h5ad", x, own, obs={"lane": lane})
        for i, (own, lane) in enumerate(zip(cells, lanes, strict=True))
    ]
    assert h5ad(paths, batch="lane")["batch"].to_list() == ["1", "2"] * 3


def test_codes_of_batches_keep_their_leading_zeros(write: Callable[..., Path]) -> None:
    paths = [write("cell,g,lane\nu,3,01\nv,4,1\n"), write("cell,g,lane\nw,3,01\nx,4,B\n")]
    assert table(paths, batch="lane")["batch"].to_list() == ["01", "1", "01", "B"]
