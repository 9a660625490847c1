"""Mathematics of cards: equations in LaTeX between ``$$`` as MathML, indices and powers in text as they are printed."""

import re
from html import escape

from genarium.errors import InputError
from genarium.reporting.page import scrolling

DISPLAYED = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.MULTILINE | re.DOTALL)
"""An equation on lines of its own."""

TAG = re.compile(r"\s*\\tag\{([^}]*)\}")

WORD = re.compile(r"<m[io][^>]*>([A-Za-z]{2,})</m[io]>")
"""The name of a function or a distribution."""

CLOSED = ("</mi>", "</mn>", "</msub>", "</msup>", "</msubsup>", "</mfrac>")
"""Ends of what a name does not touch that follows it."""

SCRIPTED = ("<msub>", "<msup>", "<msubsup>", "<munder>")
"""Beginnings of what a name is a part of."""

OPERATORS = "Cov|Var|var|mean|max|softmax|val|id|lfdr|lfsr|fdr|RSS"

LETTER = rf"(?:(?<![^\W\d])[^\W\d_]|[Α-Ωα-ω]|(?<!\w)(?:{OPERATORS}))[\u0300-\u036f'~]*"

BASE = rf"(?:{LETTER}|[\])|])[⁰¹²³⁴-⁹⁻₀-₉]*|[^\W\d_]+(?=_{{)"
"""What bears an index in text: a letter with its accents, an operator, a bracket, or any word before braces."""

INDEX = re.compile(rf"({BASE})_(?:{{((?:[^{{}}]|{{[^{{}}]*}})*)}}|([A-Za-zΑ-Ωα-ωℓ0-9]+|[-+](?=[\s,)]|$)))")
"""An index in text: in braces, which are not shown, or letters and numbers, or a sign alone."""

POWER = re.compile(
    r"(?<=[\w)\]|>}])\^(?:{((?:[^{}]|{[^{}]*})*)}|\(((?:[^()]|\([^()]*\))*)\)|([-±]?\.?[^\W_]+(?:[./][^\W_]+)*))"
)
"""A power in text: in braces or brackets, which are not shown, or a number or letter, perhaps with a sign."""


def with_equations(text: str) -> str:
    """Return Markdown in which every displayed equation is a block of HTML.

    Parameters
    ----------
    text : str
        Equations stand between lines of ``$$``; their numbers in a ``tag``.

    Returns
    -------
    str
    """
    return DISPLAYED.sub(lambda found: displayed(found[1]), text)


def displayed(latex: str) -> str:
    """Return an equation as one line of HTML, its number to the right.

    Raises
    ------
    InputError
        If latex2mathml is missing.
    """
    number = found[1] if (found := TAG.search(latex)) else ""
    tail = f'<span class="number">({escape(number)})</span>' if number else ""
    name = f"Equation {number}" if number else "Equation"
    return f"{scrolling(name, 'equation')}{mathml(TAG.sub('', latex))}{tail}</div>"


def mathml(latex: str) -> str:
    """Return LaTeX as a ``<math>`` element."""
    try:
        from latex2mathml.converter import convert
    except ImportError as error:
        raise InputError(
            f"the gallery needs latex2mathml ({error}). Install it: pip install 'genarium[gallery]'."
        ) from error
    text: str = convert(" ".join(latex.split()), display="block")
    text = text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")
    text = text.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")  # distributed as: a relation, with its spaces
    return WORD.sub(_spaced, text)


def _spaced(name: re.Match[str]) -> str:
    """Set the name of a function upright, with thin spaces as in print: none before a bracket or beside a relation."""
    space, before, after = '<mspace width="0.17em"/>', name.string[: name.start()], name.string[name.end() :]
    closes = after.startswith("</")
    left = space if before.endswith(CLOSED) and not closes else ""
    right = "" if closes or before.endswith(SCRIPTED) or after.startswith(("<mo", "<mrow><mo")) else space
    return f"{left}<mi>{name[1]}</mi>{right}"


def indexed(text: str) -> str:
    """Return text as HTML, with indices and powers lowered and raised.

    Parameters
    ----------
    text : str
        ``x_ij``, ``x_{t-1}``, ``e^-2``, ``e^{a_k}``. An index ends at the first mark that is neither letter nor number,
        unless it stands in braces. Names of two letters and more (``beta_exposure``) stay as they are.

    Returns
    -------
    str
    """
    return _raised(_lowered(escape(text, quote=False)))


def _lowered(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        return f"{found[1]}<sub>{_lowered(found[2] or found[3])}</sub>"

    return INDEX.sub(one, text)


def _raised(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        return f"<sup>{_raised(found[1] or found[2] or found[3])}</sup>"

    return POWER.sub(one, text)
