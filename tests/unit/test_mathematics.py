"""Equations of cards as MathML, and indices and powers in their text."""

import re

import pytest

from genarium import registry
from genarium.home import Home

pytest.importorskip("latex2mathml", reason="needs the extra `gallery`")

from genarium.site.cards import rendered
from genarium.site.mathematics import DISPLAYED, displayed, indexed, mathml, with_equations


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


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("h_kl = exp(β_k'X_l)", "h<sub>kl</sub> = exp(β<sub>k</sub>'X<sub>l</sub>)"),
        ("θ_{t-1}, N^-1/2, 10^6.", "θ<sub>t-1</sub>, N<sup>-1/2</sup>, 10<sup>6</sup>."),
        ("e^{Z_n γ_k} (1 - ε)^(l - m)", "e<sup>Z<sub>n</sub> γ<sub>k</sub></sup> (1 - ε)<sup>l - m</sup>"),
        ("A''_pj b₀_j (W a)_e v̄_f", "A''<sub>pj</sub> b₀<sub>j</sub> (W a)<sub>e</sub> v̄<sub>f</sub>"),
        ("dG/dδ_c, Cov_p X, t_- < t_+", "dG/dδ<sub>c</sub>, Cov<sub>p</sub> X, t<sub>-</sub> &lt; t<sub>+</sub>"),
        ("s_x²/σ_r⁻², se²_{REML}", "s<sub>x</sub>²/σ<sub>r</sub>⁻², se²<sub>REML</sub>"),
        ("beta_exposure, rs123_A_G, nb_mixture_mu", "beta_exposure, rs123_A_G, nb_mixture_mu"),
    ],
)
def test_indices_and_powers_in_text(text: str, html: str) -> None:
    assert indexed(text) == html
    assert html in rendered(f"So {text}")
    assert text.replace("<", "&lt;") in rendered(f"So `{text}`")  # but not in code


def test_names_of_functions_are_spaced_as_in_print() -> None:
    thin = '<mspace width="0.17em"/>'
    assert f"</msub>{thin}<mi>log</mi>{thin}<mi>x</mi>" in mathml(r"n_i \log x")
    assert f"<mi>κ</mi>{thin}<mi>softmax</mi><mo".replace("κ", "&#x003BA;") in mathml(
        r"\kappa \operatorname{softmax}(x)"
    )
    assert "<msub><mi>max</mi><mi>k</mi></msub>" in mathml(r"\max_k x")


@pytest.mark.parametrize("name", registry.built_in())
def test_equations_in_text_are_set_and_hold_no_sentence(name: str) -> None:
    folder = Home.of(name).folder
    assert folder is not None
    html = rendered((folder / "README.md").read_text(encoding="utf-8"))
    equations = re.findall(r'<pre class="scroll equations".*?</pre>', html, flags=re.DOTALL)
    assert equations
    for one in equations:
        text = re.sub("<[^>]+>", "", one)
        assert not re.findall(r"\S*[_^]\S*", text)
        assert not re.findall(r"(?:\b[a-z]{2,},? ){4}", text)
    paragraphs = re.findall("<p>(.*?)</p>", html, flags=re.DOTALL)  # after a list, Markdown takes code for one
    assert not [text for text in paragraphs if re.search("   |^from .* import ", text)]
    prose = re.sub("<(pre|code|math|table)[ >].*?</\\1>", "", html, flags=re.DOTALL)
    assert not [word for word in re.findall(r"\S*[_^]\S*", prose) if re.search(r"(?<!\w)[^\W\d_]_|\^", word)]


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
