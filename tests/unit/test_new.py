"""New: the folder of a model works as it is, under any name; a name that cannot be used is refused."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import genarium as gn
from genarium import cli

NAME = "splice_bursts"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new model; not to be changed."""
    return gn.new(NAME, tmp_path_factory.mktemp("new"))


def test_every_file_has_the_name(made: Path) -> None:
    files = {
        str(path.relative_to(made)) for path in made.rglob("*") if path.is_file() and "__pycache__" not in str(path)
    }
    assert files == {
        *("__init__.py", "README.md", "density.py", "figures.py", "found.py", "gibbs.py", "likelihood.py"),
        *("predict.py", "pyproject.toml", "readers.py", f"{NAME}.stan", f"tests/test_{NAME}.py"),
    }
    for file in files:
        assert not re.search("my.model", (made / file).read_text(encoding="utf-8")), file
    assert not list(made.parent.glob(".*"))  # nothing is left of the making


@pytest.mark.slow
def test_its_own_tests_pass(made: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(made)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(words, cwd=made.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_its_stan_program_is_tried_by_the_contract(made: Path) -> None:
    """A model is named by its path here, its program by the model's own name."""
    from genarium.testing.cases import programs

    assert [case.options for case in programs([str(made)])] == [()]


def test_card_names_variables_and_methods(made: Path) -> None:
    from genarium.methods import methods

    model = gn.get(made)
    quoted = set(re.findall(r"`([^`\n]+)`", (made / "README.md").read_text(encoding="utf-8")))
    assert {*model.variables(), *methods(model)} <= quoted


def test_card_has_the_headings_of_every_card(made: Path) -> None:
    from genarium.testing.test_card import AFTER, BEFORE

    titles = re.findall(r"^## (.+)$", (made / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert tuple(titles) == (*BEFORE, *AFTER)


def test_densities_are_the_same_up_to_a_constant(made: Path) -> None:
    """NumPy and PyMC, at points around a simulated truth; the Stan program is compared with Gibbs elsewhere."""
    import numpy as np

    from genarium.data import check
    from genarium.engines.compiled import Compiled
    from genarium.tree import arrays

    model = gn.get(made)
    assert model.log_likelihood is not None
    assert model.log_prior is not None
    tree = gn.simulate(model, 1, sample=4, gene=3)
    problem = check(model, tree)
    density = Compiled(problem, interpreted=True)
    centre = density.unconstrained(arrays(tree["truth"].to_dataset(), model.unknown.variables))
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(5):
        point = centre + rng.normal(0, 0.5, centre.shape)
        natural, _ = density.constrained(point)
        here = problem.call(model.log_likelihood, **natural).sum() + problem.call(model.log_prior, **natural)
        differences.append(density.log_density(point)[0] - here)
    assert np.ptp(differences) < 1e-9


def test_package_of_it_holds_what_it_needs(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path / NAME
    shutil.copytree(made, copy, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    words = [sys.executable, "-c", build, str(tmp_path)]
    done = subprocess.run(words, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("genarium_splice_bursts-0.1.0")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert archive.read(points).decode().split() == ["[genarium.models]", NAME, "=", NAME]
    python = {path.name for path in made.glob("*.py")}
    assert held == {f"{NAME}/{name}" for name in {*python, f"{NAME}.stan", "README.md"}}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("two words", "Python could not import it"),
        ("1st", "Python could not import it"),
        ("my-model", "Python could not import it"),
        ("../out", "Python could not import it"),
        ("class", "Python could not import it"),
        ("_hidden", "Python could not import it"),
        ("größe", "Python could not import it"),
        ("nb_mixture", r"there is a model 'nb_mixture' already \(a built-in one\)"),
        ("numpy", "there is a Python module 'numpy' already"),
        (NAME, "exists already"),
    ],
)
def test_name_that_cannot_be_used(name: str, said: str, made: Path) -> None:
    before = sorted(made.parent.iterdir())
    with pytest.raises(gn.InputError, match=said):
        gn.new(name, made.parent)
    assert sorted(made.parent.iterdir()) == before


def test_folder_to_write_into_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(gn.InputError, match=r"does not exist\. Create it first"):
        gn.new(NAME, tmp_path / "nowhere")


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", NAME]) == 0
    said = capsys.readouterr()
    assert said.out == f"{NAME}\n"
    assert f"genarium simulate ./{NAME}" in said.err
    assert cli.main(["new", NAME]) == 2
    assert cli.main(["new", NAME, "--folder", NAME]) == 0
    assert (tmp_path / NAME / NAME / "__init__.py").is_file()
