"""Outputs: written whole or not at all, whatever stands where they go."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from genarium.cli import main
from genarium.errors import InputError
from genarium.writing import destination, replacing


def written(path: Path) -> Path:
    with replacing(path) as temporary:
        temporary.write_text("new")
    return path


def test_a_link_stays_a_link_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for name, before in (("there", "old"), ("not_there", "")):
        target, link = tmp_path / "far" / name, tmp_path / f"{name}_link"
        if before:
            target.write_text(before)
        link.symlink_to(target)
        written(link)
        assert link.is_symlink()
        assert not target.is_symlink()
        assert target.read_text() == "new"
    assert len(list((tmp_path / "far").iterdir())) == 2


def test_a_link_into_no_folder_or_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "absent" / "x")
    (tmp_path / "b").symlink_to(tmp_path / "c")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    with pytest.raises(InputError, match=r"a link to .*absent/x\): the folder .*absent does not exist"):
        written(tmp_path / "a")
    with pytest.raises(InputError, match="symbolic links"):
        written(tmp_path / "b")


def test_what_is_written_to_the_null_device_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(os.devnull)
    for path in (Path(os.devnull), tmp_path / "link"):
        written(path)
        assert stat.S_ISCHR(path.stat().st_mode)
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["/dev/full", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/zero"])
def test_devices_and_streams_are_left_as_they_are(name: str) -> None:
    if not os.path.exists(name):
        pytest.skip(f"this system has no {name}")
    with pytest.raises(InputError, match=r"is left as it is\. Name a regular file to write"):
        written(Path(name))


def test_pipes_are_left_as_they_are(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is a named pipe, and is left as it is"):
        written(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_write_protected_files_and_strange_names_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "kept")
    path.chmod(0o444)
    (tmp_path / "file").write_text("")
    for name, said in (
        ("kept", r"is write-protected\. Name another file, or allow it: chmod u\+w"),
        ("x" * 300, "cannot be written"),
        ("a\0b", "cannot be written"),
        ("file/inside", "Not a directory|is no folder"),
    ):
        with pytest.raises(InputError, match=said):
            written(tmp_path / name)
    assert path.read_text() == "new"
    for name in ("", "-"):
        with pytest.raises(InputError, match="cannot be the name of a file to write"):
            destination(Path(name))


def test_a_folder_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # for the superuser, every folder can be
    out = tmp_path / "t.nc"
    assert main(["simulate", "nb_mixture", "-o", str(out)]) == 2
    assert f"{out} was not written: nothing may be written in {tmp_path}" in capsys.readouterr().err
    assert main(["fit", "nb_mixture", "absent.nc", "--method", "em", "-o", str(out)]) == 2
    assert "was not written" in capsys.readouterr().err  # before the input is even looked for


LIMITED = """
import resource, sys
from genarium.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_file_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    command = ["simulate", "nb_mixture", "--set", "cell=20000", "-o", str(tmp_path / "t.nc")]
    done = subprocess.run([sys.executable, "-c", LIMITED, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "was not written: the disk is full, or a limit is reached (File too large). Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def full_disk(tmp_path: Path) -> Path:
    """A disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    return place


def test_a_full_disk_leaves_nothing_behind(full_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        command = ["simulate", "nb_mixture", "--set", "cell=20000", "-o", str(full_disk / "t.nc")]
        assert main(command) == 2
        assert "the disk is full" in capsys.readouterr().err
        assert not list(full_disk.iterdir())
    finally:
        subprocess.run(["umount", str(full_disk)], check=True)


@pytest.mark.slow
def test_output_that_nobody_can_take_is_an_error() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "genarium", "list", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"standard output" in done.stderr
    assert b"Traceback" not in done.stderr
