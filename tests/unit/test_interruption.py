"""What ends a command before its end, and what it leaves: nothing, or what the next one removes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from genarium import cli, interruption, leftovers, progress
from genarium.calibration.store import Store
from genarium.errors import InputError
from genarium.writing import replacing

PLAN: dict[str, Any] = {"model": "toy", "seed": 1, "sizes": {"item": 3}}
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that is to happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


# Signals


@pytest.mark.parametrize("name", CODES)
def test_signals_end_a_verb_as_control_c_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(signal, name)

    def struck(*_: object, **__: object) -> None:
        with replacing(tmp_path / "data.nc"):
            os.kill(os.getpid(), number)
            time.sleep(10)

    monkeypatch.setattr("genarium.verbs.simulate.simulate", struck)
    started = time.monotonic()
    before = signal.signal(number, signal.SIG_DFL)  # a job in the background ignores SIGINT, and nohup SIGHUP
    try:
        code = cli.main(["simulate", "nb_mixture", "-o", str(tmp_path / "data.nc")])
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert code == CODES[name]
    assert time.monotonic() - started < 5
    assert capsys.readouterr().err == "genarium simulate: interrupted; nothing was written.\n"
    assert not list(tmp_path.iterdir())


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption.heeded():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_ends_the_children_first() -> None:
    child = subprocess.Popen(["sleep", "60"])

    @interruption.heeded()
    def struck() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    with pytest.raises(interruption.Ended) as caught:
        struck()
    assert child.wait(10) == -signal.SIGTERM
    assert caught.value.code == 143


# Leftovers


def dead() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def test_the_next_write_removes_what_a_dead_one_left(tmp_path: Path) -> None:
    live, gone = leftovers.prefix("out.nc"), leftovers.prefix("out.nc").replace(f"-{os.getpid()}.", f"-{dead()}.")
    elsewhere = ".out.nc.another_machine-1."
    for name in (live, gone, elsewhere, gone.replace("out.nc", "other.nc")):
        (tmp_path / f"{name}abc.part").touch()
    old = tmp_path / f"{elsewhere}old.part"
    old.touch()
    os.utime(old, (0, 0))
    with replacing(tmp_path / "out.nc") as temporary:
        temporary.write_text("whole")
    kept = {f"{live}abc.part", f"{elsewhere}abc.part", f"{gone.replace('out.nc', 'other.nc')}abc.part", "out.nc"}
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.slow
def test_a_killed_command_leaves_what_the_next_removes(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from genarium.writing import replacing\n"
        "with replacing(Path(sys.argv[1])) as path:\n    path.write_text('half'); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")])
    until(lambda: any(path.read_text() == "half" for path in tmp_path.iterdir()))
    child.kill()
    child.wait()
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".part"
    with replacing(tmp_path / "out") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_temporary_folders_of_dead_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"{leftovers.prefix('work').replace(f'-{os.getpid()}.', f'-{dead()}.')}abc"
    left.mkdir()
    (left / "file").touch()
    with leftovers.scratch("work") as folder:
        assert [folder] == list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_temporary_folders_that_others_make_are_removed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = dead()
    with leftovers.named("other"):
        left = Path(tempfile.mkdtemp())
    left.rename(tmp_path / left.name.replace(f"-{os.getpid()}.", f"-{gone}."))
    ours = Path(tempfile.mkdtemp())
    assert not ours.name.startswith(".other")
    with leftovers.named("other"):
        assert list(tmp_path.iterdir()) == [ours]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with (
        pytest.raises(InputError, match=r"out\.nc was not written: nothing may be written in .*Permission denied"),
        replacing(tmp_path / "out.nc"),
    ):
        pass


# Validation


@pytest.mark.slow
def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    code = (
        "import json, sys, time; from pathlib import Path; from genarium.calibration.store import Store\n"
        "store = Store(Path(sys.argv[1]), json.loads(sys.argv[2]), False); print(flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run"), json.dumps(PLAN)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for resume in (False, True):
            with pytest.raises(InputError, match="another validation is writing to this folder"):
                Store(tmp_path / "run", PLAN, resume)
        other.kill()
    with Store(tmp_path / "run", PLAN, True) as store, pytest.raises(InputError, match="another validation"):
        Store(tmp_path / "run", PLAN, True)
    assert store.records == {}
    Store(tmp_path / "run", PLAN, True).close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_workers_end_with_their_parent(name: str, tmp_path: Path) -> None:
    words = ["validate", "nb_mixture", "--method", "gibbs", "--simulations", "200", "--workers", "2"]
    words += ["--set", "cell=500", "--out", str(tmp_path / "run")]
    parent = subprocess.Popen([sys.executable, "-m", "genarium", *words], stderr=subprocess.PIPE, text=True)
    until(lambda: (tmp_path / "run" / "replicates.jsonl").exists(), 120)
    children = psutil.Process(parent.pid).children(recursive=True)
    parent.send_signal(getattr(signal, name))
    _, said = parent.communicate(timeout=30)
    assert not psutil.wait_procs(children, timeout=10)[1]
    if name == "SIGTERM":
        assert parent.returncode == 143
        assert said.endswith(f"interrupted; continue with --resume --out {tmp_path / 'run'}.\n")


# Progress


def test_a_line_is_told_where_stderr_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with progress.lines("outer"), progress.bar("inner", 10) as advance:
        advance(3)
        time.sleep(0.3)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "outer; inner: 3 of 10 (0 s)"
    time.sleep(0.15)
    assert not capsys.readouterr().err  # over
    progress.silence()
    try:
        with progress.spinner("quiet"):
            time.sleep(0.15)
    finally:
        progress.silence(False)
    assert not capsys.readouterr().err


def test_every_command_can_be_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(*_: object, **__: object) -> None:
        time.sleep(0.2)
        raise InputError("so far")

    monkeypatch.setattr(progress, "EVERY", 0.05)
    monkeypatch.setattr("genarium.verbs.simulate.simulate", slow)
    words = ["simulate", "nb_mixture", "-o", str(tmp_path / "data.nc")]
    assert cli.main(words) == 2
    assert "genarium simulate (0 s)\n" in capsys.readouterr().err
    assert cli.main([*words, "--quiet"]) == 2
    assert capsys.readouterr().err == "genarium simulate: so far\n"
    assert not progress.silenced()
