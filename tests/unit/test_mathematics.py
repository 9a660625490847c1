"""Equations of cards as MathML."""

import re

import pytest

from genarium import registry
from genarium.home import Home

pytest.importorskip("latex2mathml", reason="needs the extra `gallery`")

from genarium.site.cards import rendered
from genarium.site.mathematics import DISPLAYED, displayed, with_equations


def test_an_equation_with_its_number() -> None:
    html = displayed("x_{nd} \\sim \\operatorname{NB}(\\mu) \\quad \\ln p\n\n\\tag{12b}")
    assert html.startswith('<div class="scroll equation" role="group" aria-label="Equation 12b" tabindex="0"><math')
    assert html.endswith('</math><span class="number">(12b)</span></div>')
    assert "<msub><mi>x</mi><mrow><mi>n</mi><mi>d</mi></mrow></msub><mo>&#x0223C;</mo>" in html
    assert 'ln</mo><mspace width="0.17em"/><mi>p</mi>' in html or 'ln</mi><mspace width="0.17em"/><mi>p</mi>' in html
    assert "http" not in html
    assert "\n" not in html


def test_only_displayed_equations_are_touched() -> None:
    text = "It costs $$ 5.\n\n    $$ code $$\n\n$$\na + b\n$$\n\nAfter."
    assert with_equations("It costs $$ 5.") == "It costs $$ 5."
    html = rendered(text)
    assert html.count("<math") == 1
    assert "<p>It costs $$ 5.</p>" in html
    assert "<p>After.</p>" in html


@pytest.mark.parametrize("name", registry.built_in())
def test_the_generative_process_of_every_card_is_set(name: str) -> None:
    folder = Home.of(name).folder
    assert folder is not None
    card = (folder / "README.md").read_text(encoding="utf-8")
    model = card.partition("\n## Model\n")[2].partition("\n## ")[0]
    equations = DISPLAYED.findall(model)
    assert equations
    for latex in equations:
        html = displayed(latex)
        left = re.findall(
            r"\\[a-z]+|&amp;(?!#)|merror", html
        )  # commands that the converter does not know stay as they are
        assert not left, (latex, left)
