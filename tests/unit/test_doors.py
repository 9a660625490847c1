"""Doors that can be found: formats told from files, messages in the words of whoever reads them, tables of "
"everything."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium import cli
from genarium.docstrings import parameters_of, summary_of
from genarium.errors import InputError
from genarium.readers.formats import guessed
from genarium.remedies import MARK, flag, in_python, in_shell, option, setting, verb
from genarium.verbs.show import describe
from genarium.verbs.tables import tables_of, write_tables

Say = Callable[[str], tuple[int | str | None, str, str]]

FILES = {
    "counts.csv": "cell,a,b\nc1,3,40\nc2,0,2\nc3,12,1\n",
    "long.csv": "barcode,gene,count\nc1,a,3\nc1,b,40\nc2,a,1\nc3,b,2\n",
    "twice.csv": "barcode,gene,count\nc1,a,3\nc1,a,4\n",
    "negative.csv": "cell,a,b\nc1,3,-1\n",
    "text.csv": "cell,a,b\nc1,3,many\nc2,1,2\nc3,4,5\n",
    "effects.csv": "SNP,beta_exposure,se_exposure,beta_outcome\nrs1,.1,.01,.2\nrs2,.1,.01,.2\n",
    "expression.csv": "sample,age,g1,g2\ns1,3,1.5,2\ns2,4,2.5,1\n",
    "sheet.docx": "PK\x03\x04abc",
    "what.dat": "\0\1\2\3",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, fits, and the files above."""
    made = tmp_path_factory.mktemp("doors")
    tree = gn.simulate("nb_mixture", seed=3, cell=20)
    gn.save(tree, made / "data.nc")
    gn.save(gn.fit("nb_mixture", tree, "em", seed=1), made / "fit.nc")
    gn.save(gn.fit("nb_mixture", tree, "vi", seed=1, draws=50), made / "draws.nc")
    gn.save(gn.simulate("nb_mixture", seed=4, cell=15, gene=3), made / "genes.nc")
    gn.save(gn.simulate("perturbation_score", seed=3), made / "other.nc")
    (made / "quant").mkdir()
    for name, text in FILES.items():
        (made / name).write_text(text, encoding="latin-1")
    return made


@pytest.fixture
def say(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """``say(words)``: exit code, output and message of a command in that folder."""
    monkeypatch.chdir(folder)

    def run(words: str) -> tuple[int | str | None, str, str]:
        try:
            code: int | str | None = cli.main(shlex.split(words))
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


# Mistakes, each with what its message must name: the place, the value and the remedy, in the words of the command line

MISTAKES = {
    "show nb_mixtur": ["'nb_mixtur'", "Did you mean 'nb_mixture'?"],
    "fit nb_mixture data.nc --method emm -o x.nc": ["'emm'", "Did you mean 'em'?", "gibbs (exact)"],
    "fit nb_mixture data.nc -o x.nc": ["--method"],
    "fit nb_mixture data.nc --method em --option restart=3 -o x.nc": ["'restart'", "Did you mean 'restarts'?"],
    "fit nb_mixture data.nc --method em --option thin=3 -o x.nc": ["'thin'", "an option of --method gibbs"],
    "fit nb_mixture data.nc --method em --option restarts=many -o x.nc": ["--option restarts=many", "a whole number"],
    "fit nb_mixture data.nc --method em --set component=0 -o x.nc": ["--set component=0", "at least one"],
    "fit nb_mixture data.nc --method em --set dispersion=gen -o x.nc": ["--set dispersion=gen", "known, shared, gene"],
    "fit nb_mixture data.nc --method em --seed -3 -o x.nc": ["--seed -3", "not below zero"],
    "fit nb_mixture data.nc --method em -o x.png": ["x.png", "'.png'", "Name it x.nc"],
    "fit nb_mixture counts.csv --method em -o x.nc": ["counts.csv", "`genarium read`"],
    "fit nb_mixture other.nc --method em -o x.nc": ["other.nc", "'perturbation_score'", "`genarium read`"],
    "diagnose data.nc": ["data.nc", "no fit", "genarium fit nb_mixture TREE --method METHOD"],
    "summary data.nc": ["data.nc", "no fit", "genarium fit nb_mixture TREE --method METHOD"],
    "summary fit.nc --variables p": ["fit.nc", "'p'", "Did you mean 'pi'?"],
    "summary fit.nc --group posterior": ["fit.nc", "'posterior'", "point"],
    "report data.nc -o r.html": ["data.nc", "no fit", "genarium fit nb_mixture TREE --method METHOD"],
    "report fit.nc -o r.pdf": ["r.pdf", "'.pdf'", "Name it r.html"],
    "predict data.nc fit.nc -o x.csv": ["data.nc", "no fit"],
    "predict fit.nc other.nc -o x.csv": ["other.nc", "'perturbation_score'"],
    "predict fit.nc genes.nc -o x.csv": ["3 genes", "the fit has 2", "Give the genes of the fit"],
    "predict fit.nc -o x.xlsx": ["x.xlsx", "'.xlsx'", ".csv, .tsv"],
    "read nb_mixture counts.csv --option dorp=a -o x.nc": [
        "'dorp'",
        "Did you mean 'drop'?",
        "format table: cells, genes",
    ],
    "read nb_mixture counts.csv --option layer=a -o x.nc": ["'layer'", "It is an option of --format h5ad"],
    "read nb_mixture counts.csv --format tabel -o x.nc": ["'tabel'", "Did you mean 'table'?", "table, h5ad"],
    "read nb_mixture sheet.docx -o x.nc": ["sheet.docx", "Save the table as CSV", "--format table (.csv"],
    "read nb_mixture what.dat -o x.nc": ["what.dat", "--format table (.csv", "--format h5ad (.h5ad)"],
    "read nb_mixture fit.nc -o x.nc": ["fit.nc", "a tree that genarium wrote", "`genarium fit`"],
    "read nb_mixture absent.csv -o x.nc": ["absent.csv", "no such file", "Check the path"],
    "read nb_mixture long.csv -o x.nc": ["long.csv", "a long table", "--option long=barcode,gene,count"],
    "read nb_mixture long.csv --option long=barcode,gene -o x.nc": ["--option long=barcode,gene", "three columns"],
    "read nb_mixture long.csv --option long=barcode,gen,count -o x.nc": ["'gen'", "Did you mean 'gene'?"],
    "read nb_mixture twice.csv --option long=barcode,gene,count -o x.nc": [
        "line 3",
        "'c1'",
        "'a'",
        "line 2",
        "add them up",
    ],
    "read nb_mixture negative.csv -o x.nc": ["negative.csv", "cell=0 (c1)", "-1", "raw counts"],
    "read nb_mixture text.csv -o x.nc": ["text.csv", "line 2", "column 'b'", "'many'", "--option drop=b"],
    "read nb_mixture text.csv --format h5ad -o x.nc": ["text.csv", "no HDF5 file", "--format table"],
    "read nb_mixture negative.csv --set phi=null -o x.nc": ["'phi'", "is None", "Give a number"],
    "read nb_mixture . -o x.nc": ["features.tsv", "in this folder", "or name a file"],
    "read nb_mixture counts.csv --option transpose=3 -o x.nc": ["--option transpose=3", "true or false"],
    "read mendelian_randomization effects.csv -o x.nc": ["effects.csv", "'se_outcome'", "beta_outcome"],
    "read mendelian_randomization effects.csv expression.csv counts.csv -o x.nc": ["--format table", "--format traits"],
    "read notmad expression.csv -o x.nc": ["expression.csv", "--option context=", "sample, age, g1, g2"],
    "read transcript_abundance quant -o x.nc": ["quant", "eq_classes.txt", "--dumpEqWeights"],
    "read transcript_abundance counts.csv -o x.nc": ["counts.csv", "--format salmon", "--format bam"],
    "simulate nb_mixture --set cells=3 -o x.nc": ["'cells'", "Did you mean 'cell'?", "`genarium show nb_mixture`"],
    "validate nb_mixture --method vi --simulations 0": ["--simulations 0", "at least one"],
    "validate nb_mixture --method vi --resume": ["--resume", "--out DIR"],
    "validate nb_mixture --method vi --n-reference 3": ["--n-reference 3", "--reference nuts"],
    "validate nb_mixture --method vi --references kept": ["--references kept", "--reference nuts"],
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_told_with_place_value_and_remedy(say: Say, words: str) -> None:
    code, out, err = say(words)
    assert (code, out) == (2, "")
    for part in MISTAKES[words]:
        assert part in err, err
    assert "Traceback" not in err
    assert not MARK.search(err)


def test_what_is_missing_is_told_as_the_words_that_give_it(say: Say) -> None:
    assert say("read nb_mixture counts.csv -o read.nc")[0] == 0
    for given, wanted in {
        "": ["--set component=3"],
        "--set component=2": ["--set phi=...", "greater than zero", "--set dispersion=shared or --set dispersion=gene"],
    }.items():
        code, _, err = say(f"fit nb_mixture read.nc --method em {given} -o x.nc")
        assert code == 2
        assert all(part in err for part in wanted), err
    assert say("fit nb_mixture read.nc --method em --set component=2 --set dispersion=shared -o x.nc")[0] == 0


# Remedies


def test_a_message_has_two_forms() -> None:
    message = (
        f"Give {setting('phi')}, {option('drop', 'cell type')}, {option('cells', None)} or {flag('method', 'vi')}."
    )
    error = InputError(f"{message} Or {verb('read')} again.")
    assert str(error) == "Give phi=..., drop='cell type', cells=None or method='vi'. Or `read` again."
    assert error.in_shell == (
        "Give --set phi=..., --option drop='cell type', --option cells=null or --method vi. Or `genarium read` again."
    )
    nested = InputError(f"file.csv: {error.marked}")
    assert nested.in_shell == f"file.csv: {error.in_shell}"


@pytest.mark.parametrize("value", ["a b", "x", "", None, True, 3, 0.5, ["a", "b"], {"a": 1}])
def test_the_words_for_the_command_line_give_the_value(value: Any) -> None:
    (word,) = shlex.split(in_shell(option("name", value)))[1:]
    assert cli.parse_settings([word]) == {"name": value}
    assert in_python(option("name", value)) == f"name={value!r}"


# Formats


def table(paths: list[Path], *, cells: str = "auto", genes: str = "") -> None:
    """Read a table.

    With more to say.

    Parameters
    ----------
    paths : list of Path
        One.
    cells, genes : str
        Names, as of :func:`~genarium.read`,
        with a ``,``.

    Raises
    ------
    InputError
        Never.
    """


def test_docstrings_are_read_as_numpydoc_has_them() -> None:
    assert summary_of(table) == "Read a table."
    assert parameters_of(table) == {
        "paths": "One.",
        "cells": "Names, as of read, with a `,`.",
        "genes": "Names, as of read, with a `,`.",
    }
    for name in ("nb_mixture", "transcript_abundance", "notmad", "mendelian_randomization", "perturbation_score"):
        for reader in describe(gn.get(name))["readers"].values():
            assert reader["about"]
            assert all(told["about"] for told in reader["options"].values()), reader


@pytest.mark.parametrize(
    ("model", "names", "format_"),
    [
        ("nb_mixture", ["x.csv.gz"], "table"),
        ("nb_mixture", ["x.PARQUET"], "table"),
        ("nb_mixture", ["x.h5ad"], "h5ad"),
        ("nb_mixture", ["text.dat"], "table"),
        ("nb_mixture", ["hdf5.dat"], "h5ad"),
        ("mendelian_randomization", ["x.csv"], "table"),
        ("mendelian_randomization", ["x.csv", "y.csv"], "traits"),
        ("transcript_abundance", ["."], "salmon"),
        ("transcript_abundance", ["eq_classes.txt.gz"], "salmon"),
        ("transcript_abundance", ["x.txt"], "course"),
        ("transcript_abundance", ["x.bam"], "bam"),
        ("transcript_abundance", ["x.npz", "x.tsv"], "sparse"),
        ("transcript_abundance", ["x.npz"], "sparse"),
        ("locus_regression", ["x.npz"], "npz"),
        ("locus_regression", ["x.vcf", "y.vcf.gz"], "vcf"),
        ("locus_regression", ["x.maf.gz"], "maf"),
    ],
)
def test_format_is_told_from_the_files(model: str, names: list[str], format_: str, tmp_path: Path) -> None:
    (tmp_path / "text.dat").write_text("cell,a\nc1,3\n")
    (tmp_path / "hdf5.dat").write_bytes(b"\x89HDF\r\n\x1a\n\0\0")
    assert guessed(model, gn.get(model).readers, [tmp_path / name for name in names]) == format_


def test_show_lists_readers_with_options_and_an_example(say: Say) -> None:
    _, out, _ = say("show nb_mixture")
    for part in (
        "table: Read",
        "--option drop=''",
        "--option genes=null",
        "example: genarium read nb_mixture counts.csv",
    ):
        assert part in out
    told = json.loads(say("show transcript_abundance --json")[1])["readers"]
    assert told["salmon"]["options"]["unweighted"]["choices"] == ["accept", "refuse"]
    assert told["bam"]["options"]["error"]["default"] == 0.001
    assert told["bam"]["takes"]["ends"] == [".bam", ".sam", ".cram"]


def test_long_table_is_made_wide(say: Say, folder: Path) -> None:
    assert say("read nb_mixture long.csv --option long=barcode,gene,count -o long.nc")[0] == 0
    x = gn.load(folder / "long.nc")["observed_data"]["x"]
    np.testing.assert_array_equal(x, [[3, 40], [1, 0], [0, 2]])
    assert (list(x["cell"].to_numpy()), list(x["gene"].to_numpy())) == (["c1", "c2", "c3"], ["a", "b"])


# Tables


def test_tables_are_one_for_each_kind_of_row(tmp_path: Path) -> None:
    data = xr.Dataset(
        {
            "p": (("cell", "kind"), [[0.1, 0.9], [0.2, 0.8]]),
            "best": (("cell",), [1, 1]),
            "net": (("cell", "a", "b"), np.arange(8).reshape(2, 2, 2)),
            "total": ((), 3.0),
        },
        {"cell": ["x", "y"], "kind": [0, 1], "a": ["u", "v"], "b": ["u", "v"]},
    )
    made = write_tables(tables_of(data), tmp_path / "out.csv")
    assert [path.name for path in made] == ["out.cell.csv", "out.cell-a-b.csv", "out.single.csv"]
    wide, long, single = (pd.read_csv(path) for path in made)
    assert list(wide.columns) == ["cell", "p[0]", "p[1]", "best"]
    assert long.query("cell == 'y' and a == 'u' and b == 'v'")["net"].item() == 5
    assert single["total"].item() == 3
    assert [path.name for path in write_tables(tables_of(data[["best"]]), tmp_path / "one.tsv")] == ["one.tsv"]


def test_tables_are_written_all_or_none(tmp_path: Path) -> None:
    frames = tables_of(xr.Dataset({"a": (("row",), [1]), "b": (("other",), [2])}))
    (tmp_path / "x.other.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_tables(frames, tmp_path / "x.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["x.other.csv"]


# Summary


def test_summary_of_draws_agrees_with_arviz(folder: Path) -> None:
    import arviz as az

    tree = gn.simulate("nb_mixture", seed=3, cell=20)
    tree = gn.fit("nb_mixture", tree, "gibbs", seed=1, draws=50, tune=10, chains=2)
    found, peer = gn.summary(tree), az.summary(tree, var_names=["pi", "mu"], round_to="none")
    assert len(found) == len(peer)
    for column, other in {"mean": "mean", "ess_bulk": "ess_bulk", "rhat": "r_hat"}.items():
        np.testing.assert_allclose(found[column], peer[other].astype(float), rtol=1e-6)
    np.testing.assert_allclose(found["sd"], peer["sd"].astype(float), rtol=0.01)
    tail = az.ess(tree, var_names=["pi"], method="tail", prob=(0.05, 0.95))["pi"]
    np.testing.assert_allclose(found["ess_tail"][:3], tail, rtol=1e-6)
    assert (found["low"] < found["mean"]).all()
    assert found["label"].tolist()[-1] == "2, 1"


def test_summary_of_a_point_and_of_other_groups(say: Say, folder: Path) -> None:
    tree = gn.load(folder / "fit.nc")
    found = gn.summary(tree, "pi")
    np.testing.assert_array_equal(found["value"], tree["point"]["pi"])
    assert found.attrs == {"model": "nb_mixture", "method": "em", "claim": "point", "group": "point"}
    assert set(gn.summary(tree, group="truth")["variable"]) == {"pi", "mu", "group"}
    said = json.loads(say("summary draws.nc --json --variables mu")[1])
    assert (said["claim"], {row["variable"] for row in said["estimates"]}) == ("approximate", {"mu"})
    assert say("summary draws.nc")[1].startswith("nb_mixture by vi (claim: approximate), group posterior\n")
    assert say("summary draws.nc -o s.csv") == (0, "", "wrote s.csv\n")
    written = pd.read_csv(folder / "s.csv")
    np.testing.assert_allclose(written["mean"], gn.summary(gn.load(folder / "draws.nc"))["mean"], rtol=1e-12)


def test_standard_errors_stand_beside_points() -> None:
    point = xr.Dataset({"b": (("x",), [1.0, 2.0]), "b_se": (("x",), [0.1, 0.2])}, {"x": ["u", "v"]})
    tree = xr.DataTree.from_dict({"point": point})
    tree.attrs = {"model": "m", "method": "ml", "claim": "point"}
    found = gn.summary(tree)
    assert found[["label", "value", "se"]].to_numpy().tolist() == [["u", 1.0, 0.1], ["v", 2.0, 0.2]]


def test_constant_and_few_draws_have_no_chain_statistics() -> None:
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"a": (("chain", "draw"), np.ones((2, 9)))})})
    tree.attrs = {"model": "m", "method": "gibbs", "claim": "exact"}
    assert gn.summary(tree)[["ess_bulk", "ess_tail", "rhat"]].isna().all(axis=None)
    tree["posterior"] = tree["posterior"].isel(draw=slice(3))
    assert gn.summary(tree)["mean"].item() == 1
