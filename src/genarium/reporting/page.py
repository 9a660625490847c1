"""The parts of an HTML page, as functions from content to text."""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import SupportsFloat

CODE = re.compile(r"<code[ >].*?</code>", re.DOTALL)

OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def number(value: SupportsFloat, digits: int = 4) -> str:
    """Write a number with significant digits, without exponent where it can be read so; "–" where there is none."""
    x = float(value)
    if not math.isfinite(x):
        return "–"
    exponent = math.floor(math.log10(abs(x))) if x else 0
    text = f"{x:.{max(0, digits - 1 - exponent)}f}" if -4 <= exponent < 7 else f"{x:.{digits - 1}e}"
    return text.replace("-", "\u2212", 1) if x < 0 else text


def short(value: float) -> str:
    """Write a number for running text: four digits, no zeros that say nothing."""
    return f"{value:,}" if isinstance(value, int) else number(value) if abs(value) >= 1e4 else f"{value:.4g}"


def code(text: object) -> str:
    """Text in the typewriter face."""
    return f"<code>{escape(str(text))}</code>"


def paragraph(*sentences: str, kind: str = "") -> str:
    """One paragraph of sentences that are HTML already."""
    return f"<p{_kind(kind)}>{' '.join(s for s in sentences if s)}</p>"


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    numeric: Iterable[int] = (),
    prose: int = -1,
    kinds: Sequence[str] = (),
    label: str = "",
    kind: str = "",
) -> str:
    """Make a table.

    Parameters
    ----------
    head : sequence of str
        Names of the columns.
    rows : iterable of sequences of str
        Cells, as HTML.
    numeric : iterable of int
        Columns that hold numbers, aligned to the right.
    prose : int
        The column that holds sentences and needs width, if any.
    kinds : sequence of str
        A class for each row.
    label : str
        What the table holds, for those who cannot see it.
    kind : str
        A class for the table: "first", of which the first column is seen whatever the scroll.

    Returns
    -------
    str
    """
    column = {**dict.fromkeys(numeric, "n"), prose: "prose"}

    def line(cells: Sequence[str], tag: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(f"<{tag}{scope}{_kind(column.get(i, ''))}>{cell}</{tag}>" for i, cell in enumerate(cells))

    body = "\n".join(f"<tr{_kind(kinds[i] if kinds else '')}>{line(row, 'td')}</tr>" for i, row in enumerate(rows))
    named = f' aria-label="{escape(label)}"' if label else ""
    heading = f"<thead><tr>{line(head, 'th')}</tr></thead>"
    return f"{scrolling(label or 'Table')}<table{_kind(kind)}{named}>{heading}\n<tbody>\n{body}\n</tbody></table></div>"


def scrolling(label: str, kind: str = "") -> str:
    """Open an element whose content scrolls sideways where it is wider than the page, by the keyboard, too."""
    return f'<div class="scroll{" " + kind if kind else ""}" role="group" aria-label="{escape(label)}" tabindex="0">'


def listing(html: str, label: str = "Code", kind: str = "lines") -> str:
    """Make a block of lines that are not broken: it scrolls where they are longer than the page is wide."""
    return f'<pre class="scroll {kind}" role="group" aria-label="{label}" tabindex="0"><code>{html}\n</code></pre>\n'


def commands(text: str) -> str:
    """Make a block of commands, whose lines are broken where they are longer than the page is wide."""
    return f"<pre>{_whole(escape(text))}</pre>"


def whole_options(html: str) -> str:
    """Keep every option of a command on one line: a browser would break it after its hyphens."""
    return CODE.sub(lambda found: _whole(found[0]), html)


def _whole(html: str) -> str:
    return OPTION.sub(r'<span class="whole">\g<0></span>', html)


def folded(summary: str, content: str) -> str:
    """Hide content, HTML already, behind a line that opens it."""
    return f"<details><summary>{summary}</summary>\n{content}\n</details>"


def figure(title: str, caption: str, svg: str) -> str:
    """Make a figure with its title above and its caption below."""
    parts = (
        f"<h3>{escape(title)}</h3>",
        f"{scrolling(title, 'drawn')}{svg}</div>",
        f"<figcaption>{escape(caption)}</figcaption>",
    )
    return "<figure>\n" + "\n".join(parts) + "\n</figure>"


def section(key: str, title: str, *parts: str) -> str:
    """Make a section that the page's contents point at."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{key}">\n<h2>{escape(title)}</h2>\n{body}\n</section>'


def document(title: str, header: str, sections: Sequence[tuple[str, str, str]], footer: str, generator: str) -> str:
    """Put a page together.

    Parameters
    ----------
    title : str
    header : str
        HTML above the contents.
    sections : sequence of (key, title, html)
    footer : str
    generator : str
        What made the page.

    Returns
    -------
    str
        A whole document that refers to no other file.
    """
    css = (files("genarium") / "reporting" / "style.css").read_text(encoding="utf-8")
    contents = "\n".join(f'<li><a href="#{key}">{escape(name)}</a></li>' for key, name, _ in sections)
    body = "\n".join(section(key, name, html) for key, name, html in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{escape(generator)}">
<title>{escape(title)}</title>
<style>
{css.strip()}
</style>
</head>
<body>
<main>
<header>
{header}
</header>
<nav aria-label="Contents">
<ul>
{contents}
</ul>
</nav>
{body}
<footer>
{footer}
</footer>
</main>
</body>
</html>
"""
