"""The same ranks, byte by byte, from one process or more, from Dask, or from a run that was killed; and the command."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import genarium as gn
from genarium import cli
from genarium.calibration import schedule
from genarium.errors import InputError

QUICK: dict[str, Any] = {"cell": 20, "gene": 1, "component": 1}
"""Sizes of nb_mixture with which a replicate takes a tenth of a second."""

WORDS = ["nb_mixture", "--method", "gibbs", *(word for n, v in QUICK.items() for word in ("--set", f"{n}={v}"))]


def ranks(folder: Path) -> bytes:
    """The table of ranks in a folder."""
    return (folder / "ranks.csv").read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], bytes]:
    """``expected(simulations)``: the table that one process writes."""
    folder = tmp_path_factory.mktemp("one")
    gn.validate("nb_mixture", "gibbs", 8, seed=3, out=folder, **QUICK)
    rows = ranks(folder).splitlines(keepends=True)
    return lambda simulations: b"".join(rows[: simulations + 1])


def test_ranks_are_whole_numbers_in_range(expected: Callable[[int], bytes]) -> None:
    header, *rows = expected(8).decode().splitlines()
    assert header.startswith("replicate,")
    assert len({tuple(row.split(",")[1:]) for row in rows}) == 8
    assert all(0 <= int(rank) <= 99 for row in rows for rank in row.split(",")[1:])


# Where it runs


@pytest.mark.parametrize("workers", [2, "2"], ids=["number", "text"])
def test_two_processes_give_the_same_ranks(
    workers: int | str, expected: Callable[[int], bytes], tmp_path: Path
) -> None:
    gn.validate("nb_mixture", "gibbs", 4, workers, seed=3, out=tmp_path, **QUICK)
    assert ranks(tmp_path) == expected(4)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a Dask scheduler with two workers."""
    if find_spec("distributed") is None:
        pytest.skip("Dask is not installed (extra `dask`)")
    from distributed import LocalCluster

    settings: dict[str, Any] = {"dashboard_address": ":0", "protocol": "tcp://", "scheduler_port": 0}
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, host="127.0.0.1", **settings) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_a_dask_scheduler_gives_the_same_ranks(
    scheduler: str, expected: Callable[[int], bytes], tmp_path: Path
) -> None:
    assert scheduler.startswith("tcp://")
    gn.validate("nb_mixture", "gibbs", 6, scheduler, seed=3, out=tmp_path, **QUICK)
    assert ranks(tmp_path) == expected(6)


@pytest.mark.slow
def test_a_run_may_go_on_elsewhere(scheduler: str, expected: Callable[[int], bytes], tmp_path: Path) -> None:
    gn.validate("nb_mixture", "gibbs", 3, 1, seed=3, out=tmp_path, **QUICK)
    gn.validate("nb_mixture", "gibbs", 5, scheduler, seed=3, out=tmp_path, resume=True, **QUICK)
    assert ranks(tmp_path) == expected(5)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (extra `dask`)")

    def client(address: str, **settings: Any) -> None:
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", client)
    monkeypatch.setattr("dask.distributed.Client", client)
    with pytest.raises(
        InputError, match=r"workers='tcp://127\.0\.0\.1:9': no Dask scheduler answers there \(timed out\)"
    ):
        gn.validate("nb_mixture", "gibbs", 1, "tcp://127.0.0.1:9", **QUICK)


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(InputError, match=r"needs Dask.*pip install 'genarium\[dask\]'"):
        gn.validate("nb_mixture", "gibbs", 1, "tcp://127.0.0.1:9", **QUICK)


# Killed


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(expected: Callable[[int], bytes], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "genarium",
        "validate",
        *WORDS,
        "--simulations",
        "8",
        "--seed",
        "3",
    ]
    running = subprocess.Popen([*command, "--out", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    path, until = folder / "replicates.jsonl", time.monotonic() + 120
    while not (path.exists() and path.read_bytes().count(b"\n") >= 2):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    done = path.read_bytes().count(b"\n")
    assert running.returncode == -signal.SIGKILL
    assert 2 <= done < 8
    assert not (folder / "ranks.csv").exists()

    again = subprocess.run([*command, "--out", folder], capture_output=True, text=True)
    assert again.returncode == 2
    assert "Give --resume" in again.stderr
    resumed = subprocess.run([*command, "--out", folder, "--resume", "--json"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["simulations"] == 8
    assert ranks(folder) == expected(8)
    assert path.read_bytes().count(b"\n") == 8


# The command


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run(*words)``: a validation of nb_mixture in this process."""

    def main(*words: object) -> Said:
        return Said(cli.main(["validate", *WORDS, *map(str, words)]), *capsys.readouterr())

    return main


def test_a_method_that_passes(run: Run) -> None:
    said = run("--simulations", 6, "--seed", 3)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("nb_mixture by gibbs (claim: exact), 6 replicates: nothing found, but these are too few")


def test_json(run: Run) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    said = run("--simulations", 6, "--seed", 3, "--json")
    told = json.loads(said.out, parse_constant=refuse)
    assert (said.code, told["passed"], told["simulations"]) == (0, True, 6)
    assert (told["model"], told["method"], told["sizes"]) == ("nb_mixture", "gibbs", QUICK)


@pytest.mark.slow
def test_the_negative_control_is_rejected(run: Run) -> None:
    said = run("--control", "--simulations", 20, "--seed", 3, "--set", "phi=0.05", "--json")
    told = json.loads(said.out)
    assert said.code == 1
    assert told["wrong"] == {"phi": 0.6}
    assert not told["passed"]


@pytest.mark.slow
def test_a_wrong_value_is_rejected(run: Run) -> None:
    said = run("--wrong", "phi=3", "--simulations", 20, "--seed", 3)
    assert said.code == 1
    assert "deliberately wrong phi: FAILED" in said.out


def test_files_are_written(run: Run, tmp_path: Path) -> None:
    said = run("--simulations", 3, "--out", tmp_path / "run")
    assert (said.code, said.err) == (0, f"wrote {tmp_path / 'run'}\n")
    assert {"plan.json", "replicates.jsonl", "ranks.csv", "validation.nc"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume"], "--resume needs the folder of the run to go on with: --out DIR."),
        (["--workers", "0"], "workers='0' is neither"),
        (["--simulations", "0"], "--simulations 0 must be"),
        (["--wrong", "mu=1"], "'mu' cannot be given a wrong value"),
        (["--set", "mu=1"], "variable 'mu' is unknown and has to be drawn"),
        (["--option", "restart=2"], "there is no setting 'restart'"),
        (["--reference", "vi"], "--reference vi is not an exact method"),
    ],
    ids=lambda value: "-".join(value).replace("--", "") if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_told_on_one_line(run: Run, words: list[str], said: str) -> None:
    found = run(*words)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("genarium validate: ")
    assert said in found.err
    assert found.err.count("\n") == 1


def test_a_process_that_is_ended_from_outside_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_in_worker", lambda *_: os._exit(1))
    plan: Any = None
    with pytest.raises(InputError, match=r"one of the 2 processes was ended from outside.*replicates that are kept"):
        list(schedule.replicates(plan, [0, 1], 2))
