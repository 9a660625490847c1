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


def test_some_inputs_through_all_readers() -> None:
    chosen = {key: weight for key, (weight, _) in PLAN.items() if key in QUICK}
    tally = command.run(1, range(300), chosen, 1)
    assert not tally.failed, tally.text()
    accepted = Counter(kind for (_, kind), n in tally.counts.items() for _ in range(n))["equal"]
    assert 50 < accepted < 250


@pytest.mark.slow
@pytest.mark.parametrize("key", PLAN, ids=" ".join)
def test_many_inputs(key: tuple[str, str]) -> None:
    tally = _tried(2, 60 if key[0] == "trees" else 1500, 2, *key)
    assert not tally.failed, tally.text()


def test_streams_differ_by_number() -> None:
    assert stream(1, 2).random() != stream(1, 3).random()
