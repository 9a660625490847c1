"""The fuzzer: its cases run, its oracles and its watch can fail, and what it finds in the readers is nothing."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from validation.fuzz import command, parsers
from validation.fuzz.case import Case, UnlikeError, stream
from validation.fuzz.formats import nb_mixture
from validation.fuzz.plan import PLAN
from validation.fuzz.pool import outcomes
from validation.fuzz.tally import Tally
from validation.fuzz.trial import Outcome, attempt

pytestmark = pytest.mark.filterwarnings("ignore:.*os.fork:RuntimeWarning")  # JAX, where another test has imported it


def test_cases_are_determined_by_their_seed_and_number() -> None:
    chosen = command.select("nb_mixture", "table")
    first, second = (command.make(7, 11, chosen) for _ in range(2))
    assert (first.files, first.options, first.steps) == (second.files, second.options, second.steps)
    assert first.files != command.make(7, 12, chosen).files


def test_every_reader_has_cases() -> None:
    from genarium import registry

    readers = {(name, format_) for name in registry.built_in() for format_ in registry.get(name).readers}
    assert not readers - set(PLAN)


@pytest.mark.parametrize(
    ("text", "number"),
    [("3", 3), ("9007199254740993", 9007199254740993), (" 1.5 ", 1.5), ("1e3", 1000.0), ("NA", None)],
)
def test_numbers_are_python_s(text: str, number: float | None) -> None:
    assert parsers.number(text) == number


@pytest.mark.parametrize("text", ["1,234", "1_000", "٣", "0x10", "text"])
def test_what_is_no_number_is_none(text: str) -> None:
    with pytest.raises(UnlikeError):
        parsers.number(text)


@pytest.mark.parametrize(
    ("cells", "values", "said"),
    [
        ("a,b", [[1, 2], [3, 4]], None),
        ("a,b", [[1, 2], [3, 5]], "values"),
        ("b,a", [[1, 2], [3, 4]], "labels"),
    ],
)
def test_the_oracle_of_tables_sees_values_and_labels(cells: str, values: list[list[int]], said: str | None) -> None:
    case = Case("nb_mixture", "table", {"t.csv": b"cell,g1,g2\na,1,2\nb,3,4\n"}, ["t.csv"])
    x = xr.DataArray(np.array(values), coords={"cell": cells.split(","), "gene": ["g1", "g2"]}, dims=("cell", "gene"))
    tree = xr.DataTree.from_dict({"observed_data": xr.Dataset({"x": x})})
    if said is None:
        nb_mixture.check_table(tree, case)
        return
    with pytest.raises(UnlikeError, match=said):
        nb_mixture.check_table(tree, case)


def test_what_becomes_of_a_case_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = Case("nb_mixture", "table", {"t.csv": b"cell,g1\na,1\n"}, ["t.csv"])
    bad = Case("nb_mixture", "table", {"t.csv": b"cell,g1\na,-1\n"}, ["t.csv"])
    broken = Case("nb_mixture", "table", {"t.csv": b""}, [None])  # type: ignore[list-item]
    unlike = Case("nb_mixture", "table", good.files, ["t.csv"], check=lambda tree: "values: wrong")
    kinds = [attempt(case, 0, tmp_path, 10).kind for case in (good, bad, broken, unlike)]
    assert kinds == ["equal", "clean", "traceback", "different"]


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_costs_its_case() -> None:
    def run(number: int, folder: Path) -> Outcome:
        if number == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == 4:
            time.sleep(60)
        return Outcome(number, "x", "clean")

    found = {one.number: one.kind for one in outcomes(range(6), run, 1, -2.5)}
    assert found == {0: "clean", 1: "clean", 2: "signal", 3: "clean", 4: "hang", 5: "clean"}


def test_failures_are_grouped() -> None:
    tally = Tally()
    for number in range(3):
        tally.add(Outcome(number, "m f", "traceback", "KeyError at x.py:1 f", "KeyError: 'a'"))
    tally.add(Outcome(3, "m f", "equal"))
    assert tally.failed
    assert [one.number for one in tally.examples()] == [0]
    assert "traceback x 3: KeyError at x.py:1 f" in tally.text()


def _tried(seed: int, inputs: int, workers: int, model: str = "", format_: str = "") -> Tally:
    return command.run(seed, range(inputs), command.select(model, format_), workers)


QUICK = [key for key in PLAN if key[0] != "trees"]


@pytest.mark.slow
def test_some_inputs_through_all_readers() -> None:
    chosen = {key: weight for key, (weight, _) in PLAN.items() if key in QUICK}
    tally = command.run(1, range(40), chosen, 1)
    assert not tally.failed, tally.text()
    accepted = Counter(kind for (_, kind), n in tally.counts.items() for _ in range(n))["equal"]
    assert 3 < accepted < 37


@pytest.mark.slow
@pytest.mark.parametrize("key", PLAN, ids=" ".join)
def test_many_inputs(key: tuple[str, str]) -> None:
    tally = _tried(2, 60 if key[0] == "trees" else 1500, 2, *key)
    assert not tally.failed, tally.text()


def test_streams_differ_by_number() -> None:
    assert stream(1, 2).random() != stream(1, 3).random()


TABLE: dict[str, bytes | str] = {"t.csv": b"cell,g1\na,1\n"}
FOUND = {
    "an argument of the command as a setting": Case(
        "x", "x", TABLE, arguments=["read", "nb_mixture", "t.csv", "--option", "format=x", "-o", "o.nc"], inputs=[]
    ),
    "a setting given both ways": Case(
        "x",
        "x",
        TABLE,
        arguments=["read", "nb_mixture", "t.csv", "--option", "cells=a", "--set", "cells=b", "-o", "o.nc"],
        inputs=[],
    ),
    "no name where one is wanted": Case("nb_mixture", "table", TABLE, ["t.csv"], {"size_factor": ""}),
    "a number of the wrong kind": Case("transcript_abundance", "bam", TABLE, ["t.csv"], {"digits": None}),
    "text for a number": Case("transcript_abundance", "bam", TABLE, ["t.csv"], {"error": "x"}),
    "a fragment longer than any": Case(
        "transcript_abundance", "bam", TABLE, ["t.csv"], {"fragment_mean": 1e300, "fragment_sd": 1.0}
    ),
    "a quotation mark left open": Case("nb_mixture", "table", {"t.csv": b'"cell","g1\n"a",1\n'}, ["t.csv"]),
    "a list of correlations": Case(
        "mendelian_randomization",
        "table",
        {"t.csv": b"beta_exposure,se_exposure,beta_outcome,se_outcome\n1,1,1,1\n2,1,2,1\n"},
        ["t.csv"],
        {"error_correlation": [0.1]},
    ),
    "samples named by a node": Case(
        "notmad",
        "table",
        {"t.csv": b"n1,n2,age\n1,2,3\n2,1,5\n4,4,4\n"},
        ["t.csv"],
        {"context": "age", "nodes": "n1,n2", "samples": "n1"},
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = attempt(FOUND[name], 0, tmp_path, 60)
    assert (outcome.kind, outcome.unnamed) == ("clean", False), outcome


@pytest.mark.parametrize("seen", [b"'<i8", b"(\x03,)"])
def test_damaged_headers_of_arrays_are_refused(seen: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.chdir(tmp_path)
    out = io.BytesIO()
    np.savez(out, genome=np.arange(3))
    data = out.getvalue()
    old = b"'<i8'" if seen.startswith(b"'") else b"(3,)"
    assert old in data
    case = Case("locus_regression", "npz", {"c.npz": data.replace(old, seen.ljust(len(old)))}, ["c.npz"])
    assert attempt(case, 0, tmp_path, 60).kind == "clean"


def test_missing_names_of_cells_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from validation.fuzz.stored import base, inside

    def mask(file: object) -> None:
        group = file["obs/_index"]  # type: ignore[index]
        group["mask"][2] = True

    monkeypatch.chdir(tmp_path)
    case = Case("nb_mixture", "h5ad", {"a.h5ad": inside(base("dense", 0), mask)}, ["a.h5ad"])
    outcome = attempt(case, 0, tmp_path, 60)
    assert outcome.kind == "clean"
    assert "the name of row 3 of obs is missing" in outcome.message
