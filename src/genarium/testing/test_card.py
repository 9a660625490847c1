"""The card (README.md): its headings, in the one order of all models, and its example."""

import re
from pathlib import Path

import pytest

from genarium.home import Home
from genarium.testing.cases import Case, cards, each

BEFORE = ("First ten minutes", "What it is for", "Model", "Data you bring", "Example", "Inference")
AFTER = ("How far to trust it", "Where it breaks", "Slips of the source", "Limits", "References")
"""Headings of every card; those of the model's own stand between the two."""

every_model = each(cards)


def card_of(case: Case) -> str:
    folder = Home.of(case.model).folder
    assert folder is not None
    return (folder / "README.md").read_text(encoding="utf-8")


@every_model
def test_card_has_the_headings_in_order(case: Case) -> None:
    without_code = re.sub(r"^```.*?^```", "", card_of(case), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^## (.+?)\s*$", without_code, flags=re.MULTILINE)
    assert tuple(titles[: len(BEFORE)]) == BEFORE
    assert tuple(titles[-len(AFTER) :]) == AFTER
    own = titles[len(BEFORE) : -len(AFTER)]
    assert not {*own} & {*BEFORE, *AFTER}, own


@every_model
def test_no_section_of_the_card_is_empty(case: Case) -> None:
    _, *parts = re.split(r"^## ", card_of(case), flags=re.MULTILINE)
    empty = [title for title, _, body in (part.partition("\n") for part in parts) if not body.strip()]
    assert not empty


@every_model
def test_example_of_the_card_runs(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder: an example needs no file that it has not written itself."""
    section = card_of(case).partition("\n## Example\n")[2].partition("\n## ")[0]
    code = re.search(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    assert code is not None, "the card's section Example has no Python"
    monkeypatch.chdir(tmp_path)
    name = f"<example of {case.model.name}>"
    exec(compile(code[1].replace(f'"./{case.model.name}"', repr(str(Home.of(case.model).folder))), name, "exec"), {})
