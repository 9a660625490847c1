"""Packaging: the wheel holds the zoo, though its folders lie elsewhere; what is published names no machine."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LEFT_OUT = (".csv", ".png", ".svg", ".pyc", ".nbi", ".nbc")
"""Data of tests, figures of cards, caches."""


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built in a copy of it."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("copy")
    without = shutil.ignore_patterns("__pycache__", "*.egg-info", "replicates")
    for name in ("src", "models", "stan", "validation"):
        shutil.copytree(root / name, copy / name, symlinks=True, ignore=without)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy / name)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(copy / "dist")], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_wheel_holds_every_source(contents: set[str], root: Path) -> None:
    source = root / "src"
    expected = {
        str(Path(folder, name).relative_to(source))
        for folder, _, names in os.walk(source / "genarium", followlinks=True)
        for name in names
        if not re.search(r"/(__pycache__|\.)", folder) and not name.endswith(LEFT_OUT)
    }
    assert "genarium/models/nb_mixture/__init__.py" in expected  # the links were followed
    assert "genarium/py.typed" in expected
    assert expected <= contents


@pytest.mark.parametrize(
    "pattern",
    [r"models/nb_mixture/em\.py", r"models/nb_mixture/README\.md", r"reporting/\w+\.css", r"certificates/\S+\.json"],
)
def test_wheel_holds_one_of_each_kind(contents: set[str], pattern: str) -> None:
    assert any(re.fullmatch(f"genarium/{pattern}", name) for name in contents)


def test_wheel_holds_nothing_else(contents: set[str]) -> None:
    tops = {name.split("/")[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"genarium"}
    assert not [name for name in contents if name.endswith(LEFT_OUT) or "__pycache__" in name]


@pytest.mark.slow
def test_wheel_works_where_the_project_is_not(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = """
import genarium as gn
print(gn.__file__, *(row.name for row in gn.models()))
gn.fit("nb_mixture", gn.simulate("nb_mixture", cell=20), "em", restarts=1)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    where, *names = done.stdout.split()
    assert Path(where).is_relative_to(tmp_path)
    assert "nb_mixture" in names


def test_command_is_installed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "genarium = genarium.cli:main" in archive.read(points).decode()


def test_constraints_pin_versions_and_nothing_else(root: Path) -> None:
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line.strip() and not line.startswith("#")]
    assert len(pins) > 50
    for line in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[\w,]+\])?==[\w.!+]+( ; .+)?", line), line


def strings(value: Any) -> Iterator[str]:
    """Every string of a TOML document, its project's URLs aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "urls":
                yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def test_project_file_names_no_machine(root: Path) -> None:
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    for text in strings(document):
        assert not re.search(r"://|index-url|^/|\s/\w|^[A-Z]:\\|file:", text), text


def test_constraints_cover_what_the_project_needs(root: Path) -> None:
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    needs = [*document["project"]["dependencies"], *document["project"]["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=;~! ]", need)[0].lower().replace("_", "-") for need in needs}
    pinned = {
        line.split("==")[0].split("[")[0].lower().replace("_", "-")
        for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    assert names <= pinned
