"""A model is added by adding its folder: tried in a copy of the sources, from the outside."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CARD = """# Normal mean

| role | variable |
|---|---|
| known | `sigma`, `tau` |
| unknown | `theta` |
| observed | `y` |

Methods: `conjugate`, `nuts`, `nuts-jax`, `advi`, `dadvi`, `map`.
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which two folders were added to ``models`` and nothing else was touched."""
    copy = tmp_path_factory.mktemp("project")
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "src" / "genarium", copy / "src" / "genarium", ignore=without)
    for name in ("pyproject.toml", "tests/conftest.py", "tests/toy.py", "tests/contract/test_models.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, copy / name)
    models = copy / "src" / "genarium" / "models"
    (models / "toy").mkdir()
    shutil.copy(root / "tests" / "toy.py", models / "toy" / "__init__.py")
    (models / "toy" / "README.md").write_text(CARD, encoding="utf-8")
    shutil.copytree(models / "nb_mixture", models / "nb_again", ignore=without)
    return copy


@pytest.fixture(scope="module")
def run(project: Path) -> Run:
    """``run(*words, code=0)``: python with these words, in the copy."""

    def python(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(project / "src")}
        done = subprocess.run(
            [sys.executable, *words], cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return python


def test_new_models_are_listed(run: Run) -> None:
    methods = {row["name"]: row["methods"] for row in json.loads(run("-m", "genarium", "list", "--json").stdout)}
    exact, approximate = dict.fromkeys(("conjugate", "nuts", "nuts-jax"), "exact"), ("advi", "dadvi")
    assert methods["toy"] == {**exact, **dict.fromkeys(approximate, "approximate"), "map": "point"}
    own = {name: claim for name, claim in methods["nb_mixture"].items() if not name.startswith("stan")}
    assert methods["nb_again"] == own  # its Stan program, too, would be found by its name


def test_every_command_works_on_a_new_model(run: Run, project: Path) -> None:
    def genarium(*words: str) -> str:
        return run("-m", "genarium", *words).stdout

    assert "theta" in genarium("show", "toy")
    genarium("simulate", "toy", "--seed", "1", "--set", "item=20", "-o", "data.nc")
    assert genarium("fit", "toy", "data.nc", "--method", "conjugate", "-o", "fit.nc").startswith("toy by conjugate")
    assert "passed" in genarium("diagnose", "fit.nc")
    genarium("predict", "fit.nc", "-o", "predictions.csv")
    assert len((project / "predictions.csv").read_text().splitlines()) == 21
    genarium("report", "fit.nc", "-o", "report.html")
    assert "Normal mean" in (project / "report.html").read_text(encoding="utf-8")
    (project / "y.txt").write_text("1.5\n0.5\n")
    genarium("read", "toy", "y.txt", "-o", "read.nc")
    assert genarium("fit", "toy", "read.nc", "--method", "conjugate", "-o", "fit.nc").startswith("toy by conjugate")


def test_a_copied_folder_is_a_model_of_its_own(run: Run, project: Path) -> None:
    run("-m", "genarium", "simulate", "nb_again", "--set", "cell=50", "-o", "again.nc")
    told = run("-m", "genarium", "fit", "nb_again", "again.nc", "--method", "em", "--json", "-o", "em.nc").stdout
    assert json.loads(told)["model"] == "nb_again"
    run("-m", "genarium", "predict", "em.nc", "-o", "again.csv")
    assert len((project / "again.csv").read_text().splitlines()) == 51


def test_contract_holds_for_a_new_model(run: Run) -> None:
    said = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "toy", "tests/contract/test_models.py").stdout
    assert " passed" in said
    assert "failed" not in said
    assert "skipped" not in said
