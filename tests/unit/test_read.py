"""Reading: the ledger accounts for every row and column, nothing is lost in silence, and what is next is said."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.cli import main
from genarium.declaration import Model
from genarium.errors import DeclarationError, InputError
from genarium.readers.ledger import Account, Ledger, Told
from genarium.readers.sheet import lossy
from genarium.readers.suspects import suspects
from genarium.readers.tables import read_sheet

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(text: str, name: str = "x.csv") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return one


def read(path: Any, **options: Any) -> Any:
    return gn.read("nb_mixture", path, "table", **options)


def refused(path: Any, *parts: str, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    for part in (str(path), *parts):
        assert part in str(caught.value), str(caught.value)


# The ledger


def test_the_ledger_accounts_for_every_row_and_column(write: Write) -> None:
    path = write("cell,dilution,depth,g1,g2\nu,1,.5,3,0\nv,2,2,4,1\n")
    tree = read(path, drop="dilution", size_factor="depth", genes="g2")
    told = json.loads(tree.attrs["ledger"])
    assert told["rows"] == {"unit": "cell", "entry": "row", "read": 2, "kept": 2, "left_out": {}, "names": {}}
    columns = told["columns"]
    assert (columns["unit"], columns["read"], columns["kept"]) == ("gene", 5, 1)
    assert columns["names"] == {
        "taken as cell names": ["cell"],
        "taken as the size factor": ["depth"],
        "asked for": ["dilution"],
        "not among genes": ["g1"],
    }
    assert columns["read"] == columns["kept"] + sum(columns["left_out"].values())


def test_genes_in_rows_and_files_that_follow_each_other(write: Write) -> None:
    one = write("gene,u,v,chromosome\na,1,2,X\nb,3,4,Y\nspike,9,9,none\n")
    told = json.loads(read(one, transpose=True, drop="chromosome,spike").attrs["ledger"])
    assert [told["rows"][key] for key in ("unit", "entry", "read", "kept")] == ["cell", "column", 4, 2]
    assert told["rows"]["names"] == {"taken as gene names": ["gene"], "asked for": ["chromosome"]}
    assert [told["columns"][key] for key in ("entry", "read", "kept")] == ["row", 3, 2]
    assert told["columns"]["names"] == {"asked for": ["spike"]}
    parts = [write("cell,a,kind\nu,1,T\nv,2,B\n"), write("cell,a,kind\nw,3,T\n", "y.csv")]
    told = json.loads(gn.read("nb_mixture", parts, "table", drop="kind").attrs["ledger"])
    assert (told["rows"]["read"], told["rows"]["kept"], told["columns"]["read"]) == (3, 3, 3)


def test_what_a_person_is_told() -> None:
    rows, columns = Account("cell", 1600), Account("gene", 12, entry="column")
    columns.leave("asked for", ["dilution"])
    columns.leave("taken as cell names", ["cell"])
    columns.leave("not among genes", [f"g{i}" for i in range(9)])
    rows.leave("of no sample", 1200)
    assert Ledger(rows, columns, ["Look."]).told() == [
        "400 cells x 1 gene; left out: column dilution (asked for), 9 columns (not among genes), 1,200 cells (of no "
        "sample); column cell taken as cell names",
        "Look.",
    ]
    assert Account.from_dict(columns.to_dict()).to_dict() == columns.to_dict()


def test_the_command_prints_the_ledger_and_what_is_next(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    write("dilution,yeast\n1,3\n1,2\n2,1\n")
    words = ["read", "nb_mixture", "x.csv", "--format", "table", "--option", "drop=dilution", "-o", "y.nc"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[:3] == [
        "wrote y.nc",
        "3 cells x 1 gene; left out: column dilution (asked for)",
        "next: genarium fit nb_mixture y.nc --method gibbs --set component=3 --set phi=... -o fit.nc",
    ]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["columns"]["left_out"] == {"asked for": 1}
    assert told == json.loads(gn.load(tmp_path / "y.nc").attrs["ledger"])


def test_a_reader_without_a_ledger_says_what_it_kept(toy: Model, tmp_path: Path, write: Write) -> None:
    plain = replace(toy, readers={"any": lambda paths: {"y": [1.0, 2.0, 4.0]}})
    told = json.loads(gn.read(plain, write("x")).attrs["ledger"])
    assert (told["rows"]["unit"], told["rows"]["kept"]) == ("item", 3)
    assert told["notes"] == ["The reader does not tell what it left out: this is what it kept."]


def test_a_ledger_that_does_not_add_up_is_the_readers_mistake(toy: Model, write: Write) -> None:
    ledger = Ledger(Account("item", 4), Account("column", 1))
    wrong = replace(toy, readers={"any": lambda paths: Told({"y": [1.0, 2.0, 4.0]}, ledger)})
    with pytest.raises(DeclarationError, match="4 item entries were read and 0 left out, but the data hold 3"):
        gn.read(wrong, write("x"))
    ledger.rows.leave("asked for", 1)
    assert json.loads(gn.read(wrong, write("x")).attrs["ledger"])["rows"]["kept"] == 3
    ledger.columns.leave("asked for", 2)
    with pytest.raises(DeclarationError, match="1 column entries were read and 2 left out"):
        gn.read(wrong, write("x"))


def test_a_file_twice_is_refused_by_whatever_name(write: Write, tmp_path: Path) -> None:
    path = write("cell,a\nu,1\n")
    (tmp_path / "link.csv").symlink_to(path)
    for other in (path, tmp_path / "link.csv"):
        with pytest.raises(InputError, match="the same file is given twice"):
            gn.read("nb_mixture", [path, other], "table", cells=None)
    two = write("cell,a\nu,1\n", "copy.csv")
    assert gn.read("nb_mixture", [path, two], "table", cells=None)["observed_data"]["x"].shape == (2, 1)


# Columns that are neither taken nor asked to be dropped


def test_a_column_that_holds_no_numbers_is_an_error_that_names_it(write: Write) -> None:
    path = write("cell\tg1\tg2\nu\t1,234\t3\nv\t2,111\t4\nw\t7\t5\n", "x.tsv")
    refused(path, "'g1' (line 2: '1,234' (a thousands separator? Write 1234, or 1.234", "drop='g1'", "with genes=")
    refused(path, "line 2, column 'g1': '1,234' is not a number", "Write 1234", genes="g1,g2")
    np.testing.assert_array_equal(read(path, drop="g1")["observed_data"]["x"], [[3], [4], [5]])
    path = write("cell,kind,g,live\nu,T,1,True\nv,B,2,False\n")
    refused(path, "columns 'kind' (line 2: 'T'), 'live' (line 2: 'True') hold no numbers", "drop='kind,live'")
    path = write("cell,g,h\nu,low,1\nv,low,2\nw,3,3\n")
    refused(path, "column 'g' (line 2: 'low') holds no numbers")
    refused(write("cell,g,h\nu,1,1\nv,2,2\nw,low,3\n"), "line 4, column 'g': 'low' is not a number", "drop='g'")


@pytest.mark.parametrize(
    ("value", "looks"),
    [
        ("3,5", "a decimal comma? Write 3.5"),
        (",5", "a decimal comma? Write .5"),
        ("1,234,567", "a thousands separator? Write 1234567"),
        ("1,234.5", "a thousands separator? Write 1234.5"),
        ("1 234", "a thousands separator? Write 1234"),
        ("1.234.567", "a thousands separator? Write 1234567"),
        ("1.234.567,5", "a thousands separator? Write 1234567.5"),
    ],
)
def test_commas_in_numbers_are_recognised(write: Write, value: str, looks: str) -> None:
    refused(write(f"cell;g;h\nu;{value};1\nv;{value};2\n"), f"'g' (line 2: '{value}' ({looks})) holds no numbers")


def test_delimiters_are_recognised(write: Write) -> None:
    for text, name in (("cell;g\nu;3\n", "x.csv"), ("cell;g\nu;3\n", "x.tsv"), ("cell;g\nu;3\n", "x.txt")):
        np.testing.assert_array_equal(read(write(text, name))["observed_data"]["x"], [[3]])
    refused(write("cell;g\nu;3\n", "x.tbl"), "delimiter seems to be ';'", "ends in .csv")
    refused(write("cell|g\nu|3\n"), "delimiter seems to be '|'", "save the table with commas")
    refused(write("cell,g,h\nu,3,5,1,5\n"), "line 2 has 5 fields", "no number has a comma in it")


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("cell,g,h,total\nu,1,2,3\n", "total", "called as a total"),
        ("cell,g,h,all\nu,1,2,3\nv,4,0,4\nw,1,1,2\n", "all", "the sum of the other columns in every row"),
        ("cell,nCount_RNA,g\nu,100,2\n", "nCount_RNA", "called as a total"),
        ("cell,id,g\nu,1,2\nv,2,2\nw,3,1\n", "id", "running numbers, from 1"),
        ("cell,sample,g\nu,0,2\nv,1,2\nw,2,1\n", "sample", "running numbers, from 0"),
        ("cell,sample,g\nu,1,2\nv,1,2\nw,2,1\n", "sample", "called as an identifier"),
        ("cell,Cell_Type,g\nu,1,2\nv,1,2\n", "Cell_Type", "called as a label"),
        ("cell,k,g\n" + "".join(f"c{i},{i},7\n" for i in range(6)), "k", "running numbers, from 0"),
    ],
)
def test_totals_running_numbers_and_labels_are_suspected(write: Write, text: str, name: str, why: str) -> None:
    path = write(text)
    refused(path, f"column {name!r}", why, f"drop={name!r}", "name the genes to read with genes='NAME,NAME'")
    genes = [gene for gene in text.splitlines()[0].split(",")[1:] if gene != name]
    assert list(read(path, drop=name)["observed_data"]["gene"].to_numpy()) == genes
    assert list(read(path, genes=[*genes, name])["observed_data"]["gene"].to_numpy()) == [*genes, name]
    with pytest.raises(InputError, match="no gene, it seems" if name != "total" else "also the name of a column"):
        read(path, genes=genes, size_factor="total")  # it would be counted in


def test_chance_is_not_suspected() -> None:
    assert suspects(["a", "b", "c"], np.array([[1, 2, 3], [2, 1, 3]])) == {}  # two rows add up
    assert suspects(["a", "b"], np.array([[1, 1], [2, 2], [3, 3]])) == {}
    assert suspects(["a", "b", "c"], np.zeros((5, 3))) == {}
    assert suspects(["a"], np.arange(9)[:, None]) == {}
    assert suspects(["id"], np.array([[0.5], [1.25]])) == {}
    assert suspects(["a", "b", "c"], np.array([[1, 2, 3.0], [np.nan, 1, 1], [4, 5, 6]])) == {}


# Large numbers


def test_whole_numbers_that_would_be_rounded_are_refused(write: Write) -> None:
    refused(write("cell,g,h\nu,9007199254740993,1\nv,.5,2\n"), "line 2, column 'g': 9007199254740993 is too large")
    refused(write("cell,g,h\nu,1,.5\n\nv,9007199254740993,2\n"), "line 4, column 'g': 9007199254740993 is too large")
    refused(write("cell,g\nu,9007199254740993\nv,NA\n"), "line 2, column 'g': 9007199254740993 is too large")
    refused(write(f"cell,g\nu,1\nv,{10**30 + 1}\n"), f"line 3, column 'g': {10**30 + 1} is too large")


@pytest.mark.parametrize("value", ["9223372036854775807", "9007199254740993", "1e300", "18446744073709551615"])
def test_counts_that_are_too_large_are_named_so(write: Write, value: str) -> None:
    told = (
        r"line 3, column 'h': .* too large" if value[-1] == "5" else r"x\[cell=1 \(v\), gene=1 \(h\)\] = .* too large"
    )
    with pytest.raises(InputError, match=told) as caught:
        read(write(f"cell,g,h\nu,1,2\nv,3,{value}\n"))
    assert "must be a whole number" not in str(caught.value)
    largest = read(write(f"cell,g\nu,1\nv,{2**53}\n"))["observed_data"]["x"].to_numpy()
    assert largest.tolist() == [[1], [9007199254740992]]


def test_columns_that_would_be_rounded() -> None:
    assert lossy(np.array([2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, 5])).tolist() == [False, True, False, True, False]
    assert lossy(np.array([2**64 - 1], dtype=np.uint64)).tolist() == [True]
    assert not lossy(np.array([0.5, 1e300])).any()


def test_a_column_as_it_is_written(write: Write) -> None:
    sheet = read_sheet(write("cell,a\nu,1.50\n\nv,2\n"))
    assert sheet.source is not None
    assert sheet.source("a").tolist() == ["1.50", "2"]


@pytest.mark.parametrize(
    ("given", "kind"), [(xr.Dataset(), "Dataset"), (np.ones(3), "ndarray"), (3, "int"), (["a.csv", 2], "int")]
)
def test_what_is_no_path_is_refused(given: Any, kind: str) -> None:
    with pytest.raises(InputError, match=f"read takes the paths of files, not an? {kind}.*goes straight to fit"):
        gn.read("nb_mixture", given)
