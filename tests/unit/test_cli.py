"""The command line: results on stdout, messages on stderr, exit codes 0, 1 and 2, and no traceback for a mistake."""

import csv
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import cli


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int | str | None
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], files: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run(*words)``: a command of this process, in the folder of ``files``."""
    monkeypatch.chdir(files)

    def main(*words: object) -> Said:
        try:
            code: int | str | None = cli.main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        return Said(code, *capsys.readouterr())

    return main


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, fits and a few files that are none."""
    folder = tmp_path_factory.mktemp("files")
    tree = gn.simulate("nb_mixture", seed=3, cell=40)
    gn.save(tree, folder / "data.nc")
    gn.save(gn.fit("nb_mixture", tree, "em", seed=1), folder / "fit.nc")
    gn.save(gn.fit("nb_mixture", tree, "em", seed=1, restarts=1, max_iterations=1), folder / "early.nc")
    gn.save(gn.simulate("nb_mixture", seed=4, cell=15), folder / "new.nc")
    gn.save(gn.simulate("nb_mixture", seed=4, cell=15, gene=3), folder / "genes.nc")
    gn.save(gn.simulate("nb_mixture", seed=4, cell=15, dispersion="gene"), folder / "variant.nc")
    other = gn.load(folder / "fit.nc")
    other.attrs["model"] = "nb_mixtures"
    gn.save(other, folder / "unknown.nc")
    xr.DataTree().to_netcdf(folder / "empty.nc", engine="h5netcdf")
    (folder / "text.nc").write_text("not a tree\n")
    (folder / "counts.csv").write_text("cell,a,b\nc1,3,40\nc2,0,2\nc3,12,1\n")
    (folder / "negative.csv").write_text("cell,a,b\nc1,3,-1\n")
    (folder / "nothing.csv").write_text("")
    return folder


# What each command prints


def test_list(run: Run) -> None:
    said = run("list")
    assert (said.code, said.err) == (0, "")
    told = " ".join(said.out.split())
    assert told.count("nb_mixture Negative binomial mixture point: em, online, map, stan-map approximate: vi") == 1
    assert max(map(len, said.out.splitlines())) <= 120


def test_list_json(run: Run) -> None:
    rows = json.loads(run("list", "--json").out)
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    (row,) = (row for row in rows if row["name"] == "nb_mixture")
    assert row["methods"]["em"] == "point"


def test_show(run: Run) -> None:
    said = run("show", "nb_mixture")
    assert (said.code, said.err) == (0, "")
    for part in ("observed", "pi -> group", "Option dispersion: known, shared", "options of em: restarts=10"):
        assert part in said.out


def test_show_json_of_a_variant(run: Run) -> None:
    told = json.loads(run("show", "nb_mixture", "--set", "dispersion=gene", "--json").out)
    roles = {var["name"]: var["role"] for var in told["variables"]}
    assert roles["phi"] == "unknown"
    assert ["phi", "x"] in told["edges"]


def test_simulate(run: Run, files: Path) -> None:
    said = run("simulate", "nb_mixture", "--seed", 3, "--set", "cell=40", "-o", "same.nc")
    assert said == (0, "", "wrote same.nc\n")
    xr.testing.assert_identical(gn.load(files / "same.nc"), gn.load(files / "data.nc"))


def test_read(run: Run, files: Path) -> None:
    said = run("read", "nb_mixture", "counts.csv", "--format", "table", "--set", "phi=.2", "-o", "read.nc")
    assert (said.code, said.out) == (0, "")
    assert said.err.splitlines() == [
        "wrote read.nc",
        "3 cells x 2 genes; column cell taken as cell names",
        "next: genarium fit nb_mixture read.nc --method gibbs --set component=3 -o fit.nc",
        "choose: component, which the files do not tell; --method vi --choose component=1:8 compares several",
    ]
    tree = gn.load(files / "read.nc")
    np.testing.assert_array_equal(tree["observed_data"]["x"], [[3, 40], [0, 2], [12, 1]])
    assert list(tree["observed_data"]["cell"].to_numpy()) == ["c1", "c2", "c3"]
    np.testing.assert_array_equal(tree["constant_data"]["phi"], [0.2, 0.2])


def test_fit(run: Run, files: Path) -> None:
    said = run("fit", "nb_mixture", "data.nc", "--method", "em", "--seed", 1, "-o", "out.nc")
    assert (said.code, said.err) == (0, "wrote out.nc\n")
    assert re.fullmatch(r"nb_mixture by em in \S+ s: bound -?\d.*converged 1.*\n", said.out)
    xr.testing.assert_identical(gn.load(files / "out.nc")["point"], gn.load(files / "fit.nc")["point"])


def test_fit_json(run: Run) -> None:
    words = ("--set", "component=2", "--option", "restarts=4", "--option", "accelerate=true")
    said = run("fit", "nb_mixture", "data.nc", "--method", "em", *words, "--json", "-o", "out.nc")
    told = json.loads(said.out)
    assert (told["method"], told["claim"], told["engine"]) == ("em", "point", "numpy")
    assert told["sizes"] == {"cell": 40, "gene": 2, "component": 2}
    assert told["notes"]["restarts"] == 4


@pytest.mark.slow
def test_fit_with_choice_of_a_size(run: Run, files: Path) -> None:
    said = run("fit", "nb_mixture", "data.nc", "--method", "vi", "--choose", "component=1:3", "-o", "out.nc")
    assert said.code == 0
    assert list(gn.load(files / "out.nc")["choice"]["component_candidate"].to_numpy()) == [1, 2, 3]


@pytest.mark.slow
def test_fit_with_the_prior(run: Run, files: Path) -> None:
    base = ("fit", "nb_mixture", "data.nc", "--method", "em", "--seed", 1, "-o", "out.nc", "--prior")
    assert run(*base).code == 0
    added = gn.add_prior("nb_mixture", gn.load(files / "fit.nc"), seed=1)
    xr.testing.assert_identical(gn.load(files / "out.nc")["prior"], added["prior"])
    assert run(*base, 7).code == 0
    assert gn.load(files / "out.nc")["prior_predictive"].sizes["draw"] == 7
    assert run(*base, -1) == (2, "", "genarium fit: --prior -1 must be a whole number, at least one.\n")


@pytest.mark.parametrize(("name", "separator"), [("out.csv", ","), ("out.tsv", "\t")])
def test_predict_table(run: Run, files: Path, name: str, separator: str) -> None:
    assert run("predict", "fit.nc", "new.nc", "-o", name) == (0, "", f"wrote {name}\n")
    with (files / name).open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter=separator))
    expected = gn.predict(gn.load(files / "fit.nc"), gn.load(files / "new.nc"))["predictions"].to_dataset()
    assert len(rows) == 15
    assert {"cell", "group", "log_density", "probability[0]"} <= set(rows[0])
    np.testing.assert_allclose([float(r["probability[1]"]) for r in rows], expected["probability"][:, 1], rtol=1e-12)


def test_predict_tree(run: Run, files: Path) -> None:
    assert run("predict", "fit.nc", "-o", "out.nc").code == 0
    assert gn.load(files / "out.nc")["predictions"].sizes["cell"] == 40


def test_diagnose(run: Run) -> None:
    said = run("diagnose", "fit.nc")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("nb_mixture fitted by em (claim: point): passed with reservations in 1 of ")


def test_diagnose_exit_code_tells_a_failed_verdict(run: Run) -> None:
    said = run("diagnose", "early.nc", "--json")
    assert (said.code, said.err) == (1, "")
    told = json.loads(said.out)
    assert not told["passed"]
    assert {v["check"]: v["status"] for v in told["verdicts"]}["converged"] == "fail"


def test_report(run: Run, files: Path) -> None:
    assert run("report", "fit.nc", "-o", "report.html") == (0, "", "wrote report.html\n")
    assert "</html>" in (files / "report.html").read_text(encoding="utf-8")


def test_stan_status(run: Run) -> None:
    said = run("stan", "status", "--json")
    assert said.err == ""
    assert said.code == (0 if json.loads(said.out)["selected"] else 1)
    assert run("stan", "status").out.startswith("selected: ")


def test_version(run: Run) -> None:
    said = run("--version")
    assert said.code == 0
    assert re.fullmatch(r"genarium \d+\.\d+\.\d+\n", said.out)


@pytest.mark.parametrize(
    "command", ["list", "show", "read", "simulate", "fit", "predict", "diagnose", "report", "stan"]
)
def test_help(run: Run, command: str) -> None:
    said = run(command, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"usage: genarium {command}")


# Mistakes

SIMULATE = "simulate nb_mixture -o out/x.nc --set cell=20"
FIT = "fit nb_mixture data.nc -o out/x.nc --method"
READ = "read nb_mixture -o out/x.nc"

MISTAKES = {
    "": "COMMAND",
    "fits": "invalid choice",
    "show": "MODEL",
    "show nb_mixtur": "Did you mean 'nb_mixture'?",
    "show zzz": "The models are",
    "show nb_mixture --set colour=red": "the options are dispersion",
    "show nb_mixture --set dispersion=gamma": "use one of known, shared",
    "simulate nb_mixture": "--output",
    "simulate nb_mixture -o absent/x.nc": "does not exist",
    "simulate nb_mixture -o folder": "folder",
    f"{SIMULATE} --seed one": "--seed",
    f"{SIMULATE} --seed -1": "seed",
    f"{SIMULATE} --set phi": "NAME=VALUE",
    f"{SIMULATE} --set cell=30": "given twice",
    f"{SIMULATE} --set gene=0": "at least one",
    f"{SIMULATE} --set gene=2.5": "whole number",
    f"{SIMULATE} --set gene=many": "whole number",
    f"{SIMULATE} --set genes=3": "Did you mean 'gene'?",
    f"{SIMULATE} --set restarts=3": "no setting 'restarts'",
    f"{SIMULATE} --set phi=-1": "greater than zero",
    f"{SIMULATE} --set phi=abc": "'phi'",
    f"{SIMULATE} --set phi=[0.1,0.2,0.3]": "'phi'",
    f"{SIMULATE} --set a0=2": "a0 > 2",
    f"{SIMULATE} --set mu=-3": "greater than zero",
    f"{SIMULATE} --set mu=[[1,2],[3]]": "'mu'",
    f"{SIMULATE} --set pi=[0.5,0.4,0.3]": "sum one",
    f"{SIMULATE} --set group=7": "'group'",
    f"{SIMULATE} --set x=-1": "whole number not below zero",
    f"{READ} absent.csv --format table": "no such file",
    f"{READ} counts.csv --format xls": "The formats are table, h5ad",
    f"{READ} counts.csv --format table --option dorp=a": "no setting 'dorp'",
    f"{READ} negative.csv --format table": "not below zero",
    f"{READ} nothing.csv --format table": "nothing.csv",
    f"{READ} counts.csv --format table --set phi=[1,2,3]": "'phi'",
    "fit nb_mixture data.nc -o out/x.nc": "--method",
    "fit nb_mixture absent.nc -o out/x.nc --method em": "no such file",
    "fit nb_mixture text.nc -o out/x.nc --method em": "cannot be read",
    "fit nb_mixture . -o out/x.nc --method em": "file",
    "fit nb_mixture empty.nc -o out/x.nc --method em": "Make one with",
    "fit nb_mixture counts.csv -o out/x.nc --method em": "go through `genarium read` first",
    f"{FIT} gradient": "The methods are em (point)",
    f"{FIT} em --seed -1": "seed",
    f"{FIT} em --option restarts=ten": "must be a whole number",
    f"{FIT} em --option restarts=0": "restarts",
    f"{FIT} em --option restart=3": "Did you mean 'restarts'?",
    f"{FIT} em --option accelerate=maybe": "must be true or false",
    f"{FIT} em --set component=41": "distinct rows",
    f"{FIT} em --set cell=7": "Leave the setting out",
    f"{FIT} em --set phi=0": "greater than zero",
    f"{FIT} em --choose component": "SIZE=FIRST:LAST",
    f"{FIT} em --choose component=3:1": "SIZE=FIRST:LAST",
    f"{FIT} em --choose component=1:2": "no evidence lower bound",
    f"{FIT} vi --choose components=1:2": "Did you mean 'component'?",
    f"{FIT} vi --option draws=0": "draws",
    f"{FIT} gibbs --option chains=0": "chains",
    f"{FIT} gibbs --option thin=0": "thin",
    f"{FIT} gibbs --set mu=[[1,2],[3,4],[5,6]]": "a method that can (em, online)",
    f"{FIT} nuts --set mu=[[1,2],[3,4],[5,6]]": "fixed",
    f"{FIT} advi --option iterations=1500": "multiple of --option window=1000",
    "predict data.nc -o out/x.nc": "no fit",
    "predict fit.nc genes.nc -o out/x.nc": "gene",
    "predict fit.nc absent.nc -o out/x.nc": "no such file",
    "predict fit.nc -o absent/x.csv": "does not exist",
    "predict fit.nc --set colour=1 -o out/x.nc": "no setting 'colour'",
    "diagnose data.nc": "no fit",
    "diagnose unknown.nc": "Did you mean 'nb_mixture'?",
    "diagnose empty.nc": "model",
    "report data.nc -o out/x.html": "no fit",
    "report fit.nc -o absent/x.html": "does not exist",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistake_is_explained(run: Run, files: Path, words: str) -> None:
    for folder in ("out", "folder"):
        (files / folder).mkdir(exist_ok=True)
    said = run(*words.split())
    assert said.code == 2
    assert said.out == ""
    assert MISTAKES[words] in said.err
    assert "Traceback" not in said.err
    assert not list((files / "out").iterdir())
    assert not list(files.glob(".*.part"))


def test_data_of_another_variant_carry_their_variant(run: Run, files: Path) -> None:
    assert run("fit", "nb_mixture", "variant.nc", "--method", "em", "-o", "out.nc").code == 0
    tree = gn.load(files / "out.nc")
    assert json.loads(tree.attrs["model_options"])["dispersion"] == "gene"
    assert "phi" in tree["point"]


# From the outside


def test_module_runs_as_a_program(files: Path) -> None:
    words = [sys.executable, "-m", "genarium", "fit", "nb_mixture", "absent.nc", "--method", "em", "-o", "x.nc"]
    done = subprocess.run(words, cwd=files, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "genarium fit: absent.nc: there is no such file. Check the path.\n"


@pytest.mark.parametrize("unbuffered", [pytest.param("", marks=pytest.mark.slow), "1"])
def test_reader_that_leaves_is_no_error(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "genarium", "show", "nb_mixture"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_a_newcomer_types_first_is_answered_with_the_next_step(run: Run, files: Path) -> None:
    said = run("read", "nb_mixture", "counts.csv", "--drop", "a", "-o", "read.nc")
    assert said.code == 2
    assert "unrecognized arguments: --drop a; options of a reader or method are given by --option" in said.err
    ad = pytest.importorskip("anndata")
    with warnings.catch_warnings():  # AnnData sets an option of pandas that pandas deprecates
        warnings.simplefilter("ignore")
        ad.AnnData(np.ones((3, 2), dtype=np.float32)).write_h5ad(files / "cells.h5ad")
    said = run("fit", "nb_mixture", "cells.h5ad", "--method", "em", "--set", "component=2", "-o", "never.nc")
    assert said == (
        2,
        "",
        "genarium fit: nb_mixture: cells.h5ad is AnnData, no tree. Make one of it with `genarium read`.\n",
    )
    said = run("read", "perturbation_score", "cells.h5ad", "-o", "never.nc")
    assert "may be h5ad or expression. Name the format: --format h5ad (Count the cells" in said.err
    assert "--format table" not in said.err
