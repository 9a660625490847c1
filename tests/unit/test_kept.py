"""Compiled densities on disk: found by the next process, never mistaken, and never in the way."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genarium.data import check
from genarium.declaration import Model
from genarium.engines.native import kept
from genarium.engines.native.program import Program

FIT = """
import sys
from dataclasses import replace
sys.path.insert(0, {folder!r})
import genarium as gn
from genarium.engines import compiled as densities
from toy import MODEL

def made(sd):
    def density(sizes, y, sigma):
        import pymc as pm
        pm.Normal("y", pm.Normal("theta", 0, sd), sigma, observed=y, dims="item")
    return replace(MODEL, density=density, start=lambda problem, rng: {{"theta": problem["y"].mean()}})

for sd in {sds}:
    fit = gn.fit(made(sd), {{"y": {y}}}, {method!r}, seed=1, **{options})
    group = "posterior" if "posterior" in fit else "point"
    print("found", float(fit[group]["theta"].mean()), sum(densities.COMPILED.values()), "pymc" in sys.modules)
"""
FEW = {"chains": 2, "draws": 200, "tune": 200}


def run(
    folder: Path, *sds: float, method: str = "nuts", y: tuple[float, ...] = (10, 10, 10), **more: str
) -> list[tuple[float, int, bool]]:
    """Fit in a process of its own; for each prior sd the mean, compilations so far, and whether PyMC is imported."""
    options = FEW if method == "nuts" else {}
    code = FIT.format(folder=str(Path(__file__).parents[1]), sds=sds, y=list(y), method=method, options=options)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "GENARIUM_COMPILED": str(folder), **more},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("found")]
    return [(float(mean), int(compiled), imported == "True") for mean, compiled, imported in rows]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[float, int, bool]]:
    """A folder that a process has put a density into, and what that process found."""
    folder = tmp_path_factory.mktemp("compiled")
    (told,) = run(folder, 100.0)
    return folder, told


def test_first_process_compiles_and_keeps(filled: tuple[Path, tuple[float, int, bool]]) -> None:
    folder, (_, compiled, imported) = filled
    assert compiled == 1
    assert imported
    assert [path.name for path in folder.iterdir() if len(path.name) == 64]


def test_second_process_compiles_nothing_and_draws_the_same(filled: tuple[Path, tuple[float, int, bool]]) -> None:
    folder, (mean, _, _) = filled
    assert run(folder, 100.0) == [(mean, 0, False)]


@pytest.mark.slow
def test_other_data_of_the_same_shape_compile_nothing(filled: tuple[Path, tuple[float, int, bool]]) -> None:
    ((mean, compiled, _),) = run(filled[0], 100.0, y=(20, 20, 20))
    assert compiled == 0
    assert mean == pytest.approx(20, abs=0.5)


@pytest.mark.slow
def test_a_changed_density_is_compiled_anew(filled: tuple[Path, tuple[float, int, bool]]) -> None:
    (first, second) = run(filled[0], 100.0, 0.1)
    assert first[1:] == (0, False)
    assert second[1:] == (1, True)
    assert second[0] == pytest.approx(30 / 103, abs=0.05)


@pytest.mark.slow
def test_other_sizes_and_other_settings_compile_anew(filled: tuple[Path, tuple[float, int, bool]]) -> None:
    assert run(filled[0], 100.0, y=(10, 10))[0][1] == 1
    assert run(filled[0], 100.0, PYTENSOR_FLAGS="numba__fastmath=False")[0][1] == 1


@pytest.mark.slow
def test_a_maximum_finds_its_density_too(tmp_path: Path) -> None:
    (first,), (second,) = (run(tmp_path, 0.1, method="map") for _ in range(2))
    assert second[0] == first[0] == pytest.approx(30 / 103, abs=1e-6)
    assert first[1] - second[1] == 1


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    half = len(content) // 2
    flipped = bytes([content[half] ^ 1])
    path.write_bytes(
        {"empty": b"", "cut": content[:half], "flipped": content[:half] + flipped + content[half + 1 :]}[how]
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "empty", "cut"])
def test_a_damaged_file_is_replaced(filled: tuple[Path, tuple[float, int, bool]], tmp_path: Path, how: str) -> None:
    for path in filled[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
        damage(tmp_path / path.name, how)
    mean = filled[1][0]
    assert run(tmp_path, 100.0) == [(mean, 1, True)]
    assert run(tmp_path, 100.0) == [(mean, 0, False)]


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_costs_time_only(
    filled: tuple[Path, tuple[float, int, bool]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(tmp_path / "file" / "compiled", 100.0) == [(filled[1][0], 1, True)]


def test_none_are_kept_where_none_are_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program) -> None:
    monkeypatch.setenv("GENARIUM_COMPILED", "")
    monkeypatch.chdir(tmp_path)
    kept.save("a", program)
    assert kept.load("a") is None
    assert not list(tmp_path.iterdir())


def test_the_folder_is_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GENARIUM_COMPILED", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept.folder() == tmp_path / "genarium" / "compiled"


@pytest.fixture
def program() -> Program:
    return Program(b"code", ["exp"], [("x", "float64", (2, 3))], [np.arange(3)], {"n": 3, "names": ["a", "b"]})


def equal(a: Program, b: Program) -> bool:
    same = a.machine_code == b.machine_code and a.calls == b.calls and a.table == b.table and a.about == b.about
    return same and all(map(np.array_equal, a.constants, b.constants))


def test_what_is_kept_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program) -> None:
    monkeypatch.setenv("GENARIUM_COMPILED", str(tmp_path / "new"))
    assert kept.load("a") is None
    kept.save("a", program)
    found = kept.load("a")
    assert found is not None
    assert equal(found, program)


def test_writers_at_once_do_not_break_each_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program
) -> None:
    """A reader sees a whole program or none, while others write it."""
    monkeypatch.setenv("GENARIUM_COMPILED", str(tmp_path))
    large = Program(os.urandom(200_000), [], [], [], program.about)
    kept.save("a", large)
    failures: list[Any] = []

    def each(work: Callable[[], Any]) -> None:
        for _ in range(40):
            try:
                work()
            except Exception as error:
                failures.append(error)

    def read() -> None:
        found = kept.load("a")
        assert found is not None
        assert equal(found, large)

    threads = [threading.Thread(target=each, args=(w,)) for w in (lambda: kept.save("a", large), read) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
def test_processes_at_once_do_not_break_each_other(tmp_path: Path) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(run(tmp_path, 100.0))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0][0][0] == found[1][0][0]
    assert run(tmp_path, 100.0)[0][1] == 0


def test_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program) -> None:
    monkeypatch.setenv("GENARIUM_COMPILED", str(tmp_path))
    monkeypatch.setattr(kept, "MOST", 2)
    for i, name in enumerate("abc"):
        kept.save(name, program)
        os.utime(tmp_path / name, (i, i))
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c"}
    assert kept.load("b") is not None  # used now
    kept.save("d", program)
    assert {path.name for path in tmp_path.iterdir()} == {"b", "d"}


def test_the_fit_without_machine_code_is_the_same(toy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an operation has no code here, nutpie compiles the density; both know the same density."""
    from genarium.engines import compiled as densities
    from genarium.engines.native import density, program

    problem = check(toy, {"y": [1.0, 2.0, 4.0, 5.0, 6.0]})
    monkeypatch.setenv("GENARIUM_COMPILED", "")
    at = np.array([0.3])
    swift = densities.Compiled(problem).log_density(at, jacobian=True)
    monkeypatch.setattr(program, "OPERATIONS", {})
    monkeypatch.setattr(density, "_KNOWN", {})
    found = density.density(problem, frozenset(), lambda: densities.Compiled(problem), densities.COMPILED)
    assert isinstance(found, densities.Compiled)
    slow = found.log_density(at, jacobian=True)
    assert swift[0] == pytest.approx(slow[0], rel=1e-12)
    np.testing.assert_allclose(swift[1], slow[1], rtol=1e-12)
