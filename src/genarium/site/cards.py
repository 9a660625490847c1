"""Markdown as HTML: cards and how-to pages, with links that lead somewhere."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from genarium.errors import InputError
from genarium.reporting.page import listing, scrolling, whole_options
from genarium.site.mathematics import indexed, with_equations

NUMBER = re.compile(r" +(\(\d+\w*'?(?:, \d+\w*'?)*\))$", re.MULTILINE)
"""The number of an equation that is written as text, at the end of its line."""

CELL = re.compile(r"<td(?: style=\"[^\"]*\")?>([^<]{0,24})</td>")
"""A short cell of a table: a number with its error or sign, one or two words, or nothing."""

TABLE = re.compile(r"<table>(.*?)</table>", re.DOTALL)

PAGES = {"notebook/": "#notebook", "../../validation/README.md": "../howto/certificates.html"}
"""Where on the site that is which a card's link to a file begins with."""


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
            equations = indexed(NUMBER.sub(r"   \1", token.content.rstrip()))
            token.type, token.content = "html_block", listing(equations, "Equations", "equations")
        elif token.type == "fence" and token.info == "python":
            token.type, token.content = "html_block", listing(escape(token.content.rstrip()))
        if token.children:
            token.children = list(_without_files(token.children))
    html: str = parser.renderer.render(tokens, parser.options, {})
    html = CELL.sub(r'<td class="short">\1</td>', whole_options(html))
    return TABLE.sub(_scrolled, html)


def _scrolled(table: re.Match[str]) -> str:
    """Let a table scroll; the first column of a wide one stays in view, and a value of an option may begin a line."""
    kind = "card wide" if table[1].count("<th") > 3 else "card"
    inside = table[1].replace("=&quot;", "=<wbr>&quot;")
    return f'{scrolling("Table")}<table class="{kind}">{inside}</table></div>'


def _without_files(children: Sequence[Any]) -> Sequence[Any]:
    """Set indices in text, and leave out links to files that are not beside the page; what they say stays."""
    out: list[Any] = []
    dropped = 0
    for token in _joined(children):
        if token.type == "text":
            token.type, token.content = "html_inline", re.sub(r"(\d) %", "\\1\u00a0%", indexed(token.content))
        target = str(token.attrs.get("href", "")) if token.type == "link_open" else ""
        for file, place in PAGES.items():
            if target.startswith(file):
                target = token.attrs["href"] = place
        if target and not target.startswith(("http", "#", "../howto/")):
            dropped += 1
        elif token.type == "link_close" and dropped:
            dropped -= 1
        else:
            out.append(token)
    return out


def _joined(children: Sequence[Any]) -> Sequence[Any]:
    """Join the lines of a text: an index may begin on one and end on the next."""
    out: list[Any] = []
    for token in children:
        if token.type == "softbreak":
            token.type, token.content = "text", "\n"
        if token.type == "text" and out and out[-1].type == "text":
            out[-1].content += token.content
        else:
            out.append(token)
    return out
