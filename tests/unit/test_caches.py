"""The cache: nothing is run that somebody else could have put there, or that is damaged."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from genarium import caches
from genarium.engines import cmdstan
from genarium.engines.cmdstan import cache, programs
from genarium.engines.native import kept
from genarium.engines.native.program import Program

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes of POSIX")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, at the place of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GENARIUM_COMPILED", raising=False)
    return tmp_path / "cache" / "genarium"


def test_folders_made_are_the_users_alone(place: Path) -> None:
    made = caches.prepared(caches.folder("stan") / "programs")
    assert [folder.stat().st_mode & 0o777 for folder in (place, place / "stan", made)] == [0o700] * 3


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
@pytest.mark.parametrize("at", ["", "stan"])
def test_a_folder_that_others_can_write_to_is_refused(place: Path, mode: int, at: str) -> None:
    caches.prepared(place / "stan")
    (place / at).chmod(mode)
    with pytest.raises(caches.CacheError, match=rf"can be written to by other users.*chmod -R go-w {place / at}"):
        caches.prepared(place / "stan")


def test_a_folder_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caches.prepared(place / "stan")
    monkeypatch.setattr(os, "getuid", lambda: place.stat().st_uid + 1)
    with pytest.raises(caches.CacheError, match=r"belongs to another user.*XDG_CACHE_HOME"):
        caches.prepared(place / "stan")


def test_a_link_is_as_good_as_what_it_leads_to(place: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    place.parent.mkdir()
    place.symlink_to(tmp_path / "open")
    with pytest.raises(caches.CacheError, match="can be written to by other users"):
        caches.prepared(place / "stan")


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(caches.CacheError, match=r"cannot be used.*Set XDG_CACHE_HOME"):
        caches.prepared(caches.folder("stan"))


def test_without_a_home_the_cache_is_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert caches.prepared(caches.folder("stan")).is_relative_to(tmp_path)


# Stan


def test_a_damaged_executable_is_compiled_again(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(program: Path, folder: Path, *_: object) -> None:
        built.append(folder)
        folder.mkdir(parents=True)
        (folder / program.stem).write_bytes(b"machine code" * 10_000)
        cache.seal(folder / program.stem)

    monkeypatch.setattr(programs, "_build", build)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "stanc").touch()
    (tmp_path / "makefile").write_text("CMDSTAN_VERSION := 2.36.0\n")
    found = cmdstan.find(tmp_path)
    program = tmp_path / "a.stan"
    program.write_text("parameters { real x; }")
    executable = cmdstan.compile_program(program, found)
    assert cmdstan.compile_program(program, found) == executable
    assert len(built) == 1
    said: list[str] = []
    os.truncate(executable, 100_000)
    assert cmdstan.compile_program(program, found, progress=said.append) == executable
    assert executable.stat().st_size == 120_000
    executable.with_name("sha256").unlink()
    cmdstan.compile_program(program, found, progress=said.append)
    assert said == ["the compiled a in the cache is damaged: it is compiled again"] * 2
    assert len(built) == 3
    executable.chmod(0o777)
    with pytest.raises(caches.CacheError, match="can be written to by other users"):
        cmdstan.compile_program(program, found)
    shutil.rmtree(executable.parent)


# Densities


def test_densities_in_a_folder_of_others_are_not_used(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = Program(machine_code=b"code", calls=[], table=[], constants=[np.ones(1)], about={"n": 1})
    kept.save("0123", program)
    found = kept.load("0123")
    assert found is not None
    assert found.machine_code == b"code"
    (place / "compiled").chmod(0o777)
    assert kept.load("0123") is None
    kept.save("4567", program)
    assert [path.name for path in (place / "compiled").iterdir()] == ["0123"]
    told = capsys.readouterr().err
    assert told.startswith("genarium: compiled densities are not kept: ")
    assert f"chmod -R go-w {place / 'compiled'}" in told
    assert told.count("\n") == 1


def test_pytensor_gets_a_place_where_there_is_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.modules", {n: m for n, m in sys.modules.items() if n != "pytensor"})
    monkeypatch.setenv("PYTENSOR_FLAGS", "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    caches.give_pytensor_one()
    assert os.environ["PYTENSOR_FLAGS"] == ""
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "nowhere")
    caches.give_pytensor_one()
    (made,) = tmp_path.iterdir()
    assert os.environ["PYTENSOR_FLAGS"] == f"base_compiledir={made}"
    assert "PyTensor compiles in" in capsys.readouterr().err
