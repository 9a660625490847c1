"""The contract holds at once for a model that `genarium new` wrote, and it notices what is wrong with one."""

import subprocess
import sys
from pathlib import Path

import pytest

import genarium as gn

NAME = "fresh"


def contract(folder: Path, *words: str) -> tuple[int, str]:
    """Run the contract's tests on a folder, as its author would."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "genarium.testing"]
    done = subprocess.run(
        [*command, "--model", f"./{folder.name}", *words],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.stan
@pytest.mark.slow
def test_it_holds_for_a_new_model(tmp_path: Path) -> None:
    code, said = contract(gn.new(NAME, tmp_path))
    assert code == 0, said
    assert " passed" in said
    assert "skipped" not in said


@pytest.mark.parametrize(
    ("file", "before", "after", "test"),
    [
        ("likelihood.py", "(shape - 1) * np.log(x)", "shape * np.log(x)", "test_densities_differ_by_a_constant"),
        pytest.param(
            *("README.md", "`rate`", "the rate", "test_card_names_variables_and_methods"), marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.slow
def test_it_notices_what_is_wrong(file: str, before: str, after: str, test: str, tmp_path: Path) -> None:
    folder = gn.new(NAME, tmp_path)
    text = (folder / file).read_text(encoding="utf-8")
    assert before in text
    (folder / file).write_text(text.replace(before, after), encoding="utf-8")
    code, said = contract(folder, "-m", "not stan and not slow", "-k", test)
    assert code == 1, said
    assert test in said
