"""The store: nothing done is lost, nothing of another run is taken, and a run that broke ends as if it had not."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from genarium.calibration import schedule, validate
from genarium.calibration.store import Store, ranks_table
from genarium.declaration import Model
from genarium.errors import InputError

PLAN: dict[str, Any] = {"model": "toy", "seed": 1, "sizes": {"item": 3}}


def record(index: int, **more: Any) -> dict[str, Any]:
    return {"index": index, "names": ["a", "b[0, 1]"], "rank": [index, 7], "pit": [0.1 + 0.2, 1 / 3], **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three records, not in order."""
    store = Store(tmp_path / "run", PLAN, resume=False)
    for index in (0, 2, 1):
        store.append(record(index))
    return tmp_path / "run"


def lines(folder: Path) -> list[str]:
    return (folder / "replicates.jsonl").read_text().splitlines()


# Records


def test_records_come_back_exactly(folder: Path) -> None:
    store = Store(folder, PLAN, resume=True)
    assert store.records == {index: record(index) for index in range(3)}
    assert store.finish(2) == [record(0), record(1)]


def test_records_are_appended(folder: Path) -> None:
    before = (folder / "replicates.jsonl").read_bytes()
    Store(folder, PLAN, resume=True).append(record(3))
    after = (folder / "replicates.jsonl").read_bytes()
    assert after.startswith(before)
    assert [json.loads(text)["index"] for text in lines(folder)] == [0, 2, 1, 3]


def test_a_record_is_on_disk_when_append_returns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append((folder / "replicates.jsonl").read_bytes())
        real(handle)

    store = Store(folder, PLAN, resume=True)
    monkeypatch.setattr(os, "fsync", fsync)
    store.append(record(3))
    assert synced
    assert synced[-1].splitlines()[-1] == json.dumps(record(3), separators=(",", ":")).encode()


@pytest.mark.parametrize("left", [1, 20])
def test_a_torn_last_line_is_cut_off(folder: Path, left: int) -> None:
    path = folder / "replicates.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + json.dumps(record(3)).encode()[:left])
    store = Store(folder, PLAN, resume=True)
    assert sorted(store.records) == [0, 1, 2]
    assert path.read_bytes() == whole
    store.append(record(3))
    store.close()
    assert sorted(Store(folder, PLAN, resume=True).records) == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", ["{", "3", '{"rank": [1]}', "\0\0"], ids=["torn", "number", "nameless", "zeros"])
def test_a_damaged_line_within_is_refused(folder: Path, bad: str) -> None:
    path = folder / "replicates.jsonl"
    first, *others = lines(folder)
    path.write_text("\n".join([first, bad, *others]) + "\n")
    with pytest.raises(InputError, match=f"byte {len(first) + 1}: this line is not a record"):
        Store(folder, PLAN, resume=True)


def test_records_may_be_kept_in_memory_only() -> None:
    store = Store(None, PLAN, resume=False)
    store.append(record(0))
    assert store.finish(1) == [record(0)]


# Whose records


def test_records_are_not_gone_on_with_unasked(folder: Path) -> None:
    with pytest.raises(InputError, match=r"holds replicates already\. Give --resume"):
        Store(folder, PLAN, resume=False)


def test_an_empty_run_may_be_started_again(tmp_path: Path) -> None:
    Store(tmp_path, PLAN, resume=False)
    assert Store(tmp_path, PLAN, resume=False).records == {}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 2}, r"\(seed: 1 there, 2 now\)"),
        ({"sizes": {"item": 4}}, r"\(sizes: \{'item': 3\} there, \{'item': 4\} now\)"),
        ({"extra": 1}, r"\(extra: None there, 1 now\)"),
    ],
    ids=["seed", "sizes", "new"],
)
def test_a_run_of_other_settings_is_refused(folder: Path, other: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"holds a run of other settings {said}"):
        Store(folder, {**PLAN, **other}, resume=True)
    assert len(lines(folder)) == 3


def test_records_without_a_plan_are_refused(folder: Path) -> None:
    (folder / "plan.json").unlink()
    with pytest.raises(InputError, match=r"holds replicates\.jsonl but no plan\.json"):
        Store(folder, PLAN, resume=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Store(tmp_path / "file", PLAN, resume=False)


def test_going_on_needs_a_folder() -> None:
    with pytest.raises(InputError, match="give out"):
        Store(None, PLAN, resume=True)


# The table


def test_the_table_of_ranks() -> None:
    failed = {"index": 1, "error": "ValueError: no"}
    unconverged = record(2, error="not converged: ESS 3")
    assert ranks_table([record(0), failed, unconverged, record(3)]) == (
        'replicate,a,"b[0, 1]"\n0,0,7\n1,,\n2,,\n3,3,7\n'
    )


def test_the_table_of_a_method_without_ranks() -> None:
    assert ranks_table([{"index": 0, "names": ["a"]}, {"index": 1, "error": "no"}]) == "replicate\n0\n1\n"


# A validation that is gone on with


class Stop(Exception):
    """What ends a run in these tests."""


@pytest.fixture
def broken(toy: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the first seven replicates of twelve, and half of the next one's line."""
    folder, append = tmp_path / "broken", Store.append

    def seven(store: Store, one: dict[str, Any]) -> None:
        if one["index"] == 7:
            raise Stop
        append(store, one)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "append", seven)
        with pytest.raises(Stop):
            validate(toy, "conjugate", 12, seed=3, out=folder)
    with (folder / "replicates.jsonl").open("a") as file:
        file.write('{"index": 7, "unk')
    return folder


@pytest.mark.slow
def test_a_run_that_broke_ends_as_if_it_had_not(toy: Model, broken: Path, tmp_path: Path) -> None:
    before = lines(broken)[:7]
    resumed = validate(toy, "conjugate", 12, seed=3, out=broken, resume=True)
    whole = validate(toy, "conjugate", 12, seed=3, out=tmp_path / "whole")
    assert lines(broken)[:7] == before
    assert len(lines(broken)) == 12
    assert (broken / "ranks.csv").read_bytes() == (tmp_path / "whole" / "ranks.csv").read_bytes()
    assert resumed.quantities == whole.quantities
    xr.testing.assert_identical(resumed.tree["prior_sbc"].to_dataset(), whole.tree["prior_sbc"].to_dataset())


def test_what_is_done_is_not_done_again(toy: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validate(toy, "conjugate", 4, out=tmp_path)
    monkeypatch.setattr(schedule, "run", None)
    assert validate(toy, "conjugate", 4, out=tmp_path, resume=True).simulations == 4


def test_more_replicates_are_added_to_those_there(toy: Model, tmp_path: Path) -> None:
    validate(toy, "conjugate", 4, out=tmp_path)
    few = lines(tmp_path)
    found = validate(toy, "conjugate", 6, out=tmp_path, resume=True)
    assert found.simulations == 6
    assert lines(tmp_path)[:4] == few
    rows = (tmp_path / "ranks.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["replicate", *map(str, range(6))]


def test_other_settings_are_named(toy: Model, tmp_path: Path) -> None:
    validate(toy, "conjugate", 2, out=tmp_path)
    with pytest.raises(InputError, match=r"other settings \(seed: 0 there, 1 now\)"):
        validate(toy, "conjugate", 2, seed=1, out=tmp_path, resume=True)
    with pytest.raises(InputError, match=r"other settings \(values: \{\} there, \{'sigma': 2\.0\} now\)"):
        validate(toy, "conjugate", 2, out=tmp_path, resume=True, sigma=2.0)
    with pytest.raises(InputError, match="holds replicates already"):
        validate(toy, "conjugate", 2, out=tmp_path)


def test_the_tree_is_written(toy: Model, tmp_path: Path) -> None:
    found = validate(toy, "conjugate", 5, out=tmp_path)
    with xr.open_datatree(tmp_path / "validation.nc", engine="h5netcdf") as stored:
        xr.testing.assert_equal(stored["prior_sbc"].to_dataset(), found.tree["prior_sbc"].to_dataset())
        assert stored["prior_sbc"].attrs["L"] == 99
    assert json.loads((tmp_path / "plan.json").read_text()) == found.plan
