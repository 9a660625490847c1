"""Displayed equations of cards, written in LaTeX between ``$$``, as MathML that every browser sets without a script."""

import re
from html import escape

from genarium.errors import InputError
from genarium.reporting.page import scrolling

DISPLAYED = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.MULTILINE | re.DOTALL)
"""An equation on lines of its own."""

TAG = re.compile(r"\s*\\tag\{([^}]*)\}")

FUNCTIONS = "log|ln|exp|det|tr"


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
    return re.sub(rf"(<m[io]>(?:{FUNCTIONS})</m[io]>)(?!<mo)", r'\1<mspace width="0.17em"/>', text)
