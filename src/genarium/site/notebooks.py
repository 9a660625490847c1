"""Notebooks of the models as pages: scripts of cells (``# %%``), as jupytext and editors read them."""

import re
from html import escape
from pathlib import Path

from genarium.declaration import Model
from genarium.home import Home
from genarium.reporting.page import listing, paragraph
from genarium.site.cards import rendered


def notebook_of(model: Model) -> Path | None:
    """Return the notebook of a model: ``notebook/<name>.py`` in its folder, or None where there is none."""
    folder = Home.of(model).folder
    path = folder / "notebook" / f"{model.name}.py" if folder is not None else None
    return path if path is not None and path.is_file() else None


def cells_of(text: str) -> list[tuple[str, str]]:
    """Cut a script at its marks of cells.

    Parameters
    ----------
    text : str
        ``# %% [markdown]`` begins a cell of text, whose lines are comments; ``# %%`` one of code.

    Returns
    -------
    list of (kind, content)
        Kind is "markdown" or "code"; empty cells are left out.
    """
    found = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        kind = "markdown" if "[markdown]" in head else "code"
        content = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if kind == "markdown" else body
        found += [(kind, content.strip("\n"))] if content.strip() else []
    return found


def shown(path: Path) -> str:
    """Return a notebook as HTML: its text rendered, its code as it is; headings begin at the third level."""
    pieces = []
    for kind, content in cells_of(path.read_text(encoding="utf-8")):
        if kind == "code":
            pieces.append(listing(escape(content)))
        else:
            pieces.append(rendered(re.sub(r"^(#+) ", r"#\1 ", _without_title(content), flags=re.MULTILINE)))
    said = paragraph(f"<code>{escape(path.name)}</code>, a script of cells: run it as it is, or open it as a notebook.")
    return "\n".join([said, *pieces])


def _without_title(content: str) -> str:
    """Make a heading of the first level bold: the page has its own."""
    return re.sub(r"^# (.+)$", r"**\1**", content, count=1, flags=re.MULTILINE)
