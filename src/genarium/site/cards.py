"""Markdown as HTML: cards and how-to pages, with links that lead somewhere."""

import re
from collections.abc import Sequence
from typing import Any

from genarium.errors import InputError
from genarium.reporting.page import scrolling
from genarium.site.mathematics import with_equations

EQUATIONS = {"class": "scroll equations", "role": "group", "aria-label": "Equations", "tabindex": "0"}
"""Attributes of equations that are written as text: their lines are not broken."""

NUMBER = re.compile(r" {3,}(\(\d+\w*'?(?:, \d+\w*)*\))$", re.MULTILINE)
"""The number of an equation that is written as text, far to the right."""


def parts_of(text: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Return what stands above the first heading of the second level as HTML, and a section for each such heading.

    Parameters
    ----------
    text : str
        Markdown without its title.

    Returns
    -------
    intro : str
    sections : list of (key, title, html)
    """
    intro, *rest = re.split(r"^## ", text, flags=re.MULTILINE)
    found = []
    for part in rest:
        title, _, body = part.partition("\n")
        plain = re.sub(r"[`*]", "", title).strip()
        found.append((re.sub(r"\W+", "-", plain.lower()).strip("-"), plain, rendered(body)))
    return rendered(intro), found


def rendered(text: str) -> str:
    """Return Markdown as HTML: tables that can be scrolled, links to pages of the web alone.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Raises
    ------
    InputError
        If markdown-it-py is missing.
    """
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise InputError(
            f"the gallery needs markdown-it-py and griffe ({error}). Install them: pip install 'genarium[gallery]'."
        ) from error
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(with_equations(text))
    for token in tokens:
        if token.type == "code_block" and NUMBER.search(token.content):
            token.content = NUMBER.sub(r"   \1", token.content)
            token.attrs.update(EQUATIONS)
        if token.children:
            token.children = list(_without_files(token.children))
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html.replace("<table>", f'{scrolling("Table")}<table class="card">').replace("</table>", "</table></div>")


def _without_files(children: Sequence[Any]) -> Sequence[Any]:
    """Leave out links to files that are not beside the page; what they say stays. The notebook is on the page."""
    out, dropped = [], 0
    for token in children:
        if token.type == "link_open" and str(token.attrs.get("href", "")).startswith("notebook/"):
            token.attrs["href"] = "#notebook"
        if token.type == "link_open" and not str(token.attrs.get("href", "")).startswith(("http", "#")):
            dropped += 1
        elif token.type == "link_close" and dropped:
            dropped -= 1
        else:
            out.append(token)
    return out
