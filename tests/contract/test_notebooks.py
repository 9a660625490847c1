"""Notebooks and the cards' first ten minutes: every one runs, in an empty folder, and writes what it says.

A notebook writes the files that the card's commands read, so that both go the way of a user who has such files.
"""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import genarium as gn
from genarium import cli, registry
from genarium.home import Home
from genarium.site.notebooks import notebook_of

APART = {"locus_regression"}
"""Models whose commands another test runs, on files of its own."""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # a user sees warnings; they do not stop a notebook
@pytest.mark.parametrize("name", registry.built_in())
def test_notebook_and_first_ten_minutes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = notebook_of(gn.get(name))
    assert path is not None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])  # as Python runs a script
    runpy.run_path(str(path), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) > 10
    for words in [] if name in APART else commands(name):
        before = {file for file in tmp_path.rglob("*") if file.is_file()}
        assert cli.main(words) == 0, (words, capsys.readouterr().err)
        if words[0] != "diagnose":
            assert {file for file in tmp_path.rglob("*") if file.is_file()} - before, words
    capsys.readouterr()


def commands(name: str, section: str = "First ten minutes") -> list[list[str]]:
    """Return the commands of a section of the card (of all of it: ""), as words after ``genarium``."""
    folder = Home.of(name).folder
    assert folder is not None
    card = (folder / "README.md").read_text(encoding="utf-8")
    text = card.partition(f"\n## {section}\n")[2].partition("\n## ")[0] if section else card
    code = "\n".join(re.findall(r"^    (.*)$", text, flags=re.MULTILINE)).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in code.splitlines() if line.startswith("genarium ")]
    assert lines
    return [words[1:] for words in lines]


@pytest.mark.parametrize("name", registry.built_in())
def test_commands_of_the_card_are_known(name: str) -> None:
    for words in commands(name, ""):
        if "..." not in words:
            cli._parser(words[0]).parse_args(words)  # leaves with SystemExit where an option is none
