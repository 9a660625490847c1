"""What a model's command says, as text, as JSON and as a page."""

import json
import re
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from genarium.declaration import Answer
from genarium.drawing import inline, style
from genarium.reporting.page import document, figure, paragraph, table
from genarium.writing import replacing

NUMBERED = re.compile(r"^(\w+) (\d+)$")
"""A name that is a word and a number, which are not to be parted."""

LONGEST = 20
"""Rows of a table that are printed for people."""


def as_text(answer: Answer) -> str:
    """Return an answer for a terminal: its tables, aligned, and its notes."""
    lines: list[str] = []
    for title, rows in answer.tables.items():
        lines += [title, *(f"  {line}" for line in _aligned(rows[: LONGEST + 1]))]
        if len(rows) > LONGEST + 1:
            lines.append(f"  ... and {len(rows) - LONGEST - 1} more rows (all with --json)")
        lines.append("")
    return "\n".join([*lines, *answer.notes]).rstrip()


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    numeric = [all(_is_number(row[i]) for row in rows[1:]) for i in range(len(widths))]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return cell == "–"
    return True


def _number(cell: str) -> float:
    """Read a number as people write it: with commas between thousands, and a minus sign that is no hyphen."""
    return float(cell.replace(",", "").replace("\u2212", "-"))


def as_json(answer: Answer) -> str:
    """Return an answer for programs: numbers as numbers."""

    def value(cell: str) -> float | str | None:
        return None if cell == "–" else _number(cell) if _is_number(cell) else cell

    tables = {
        title: [dict(zip(rows[0], map(value, row), strict=True)) for row in rows[1:]]
        for title, rows in answer.tables.items()
    }
    return json.dumps(
        {"title": answer.title, "tables": tables, "notes": list(answer.notes)}, indent=2, ensure_ascii=False
    )


def as_html(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a table of an answer as HTML: numbers to the right, sentences with room."""
    numeric = [k for k in range(len(rows[0])) if all(_is_number(row[k].removesuffix("%")) for row in rows[1:])]
    cells = [[NUMBERED.sub("\\1\u00a0\\2", escape(cell)) for cell in row] for row in rows]
    last = len(rows[0]) - 1
    prose = last if last not in numeric else -1
    return table(cells[0], cells[1:], numeric, prose, label=title)


def write_page(answer: Answer, path: Path) -> Path:
    """Write an answer as one HTML file, with its figures in it, that refers to no other file."""
    sections = [(f"t{i}", title, as_html(title, rows)) for i, (title, rows) in enumerate(answer.tables.items())]
    if answer.figures is not None:
        with style():
            drawn = [figure(t, c, inline(f, f"r{i}", t)) for i, (t, c, f) in enumerate(answer.figures())]
        sections.insert(1, ("figures", "Figures", "\n".join(drawn)))
    made = f"genarium {version('genarium')}"
    notes = "\n".join(paragraph(escape(note), kind="lead") for note in answer.notes)
    header = f"<h1>{escape(answer.title)}</h1>\n{notes}"
    footer = paragraph(f"Written by {made}. This page needs no network and no other file.")
    with replacing(path) as temporary:
        temporary.write_text(document(answer.title, header, sections, footer, made), encoding="utf-8", newline="\n")
    return path
