"""The reference: what the package exports, from its docstrings."""

import importlib.resources
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.reporting.page import paragraph, table

KINDS = {"parameters": "Parameters", "other parameters": "Parameters", "attributes": "Attributes"}


MARKED = re.compile(r"(?::\w+:)?``?([^`]+)``?")
"""What docstrings mark as code: names, or references to them."""


def reference() -> list[tuple[str, str, str]]:
    """Return a section for each exported name.

    Returns
    -------
    list of (key, title, html)

    Raises
    ------
    InputError
        If griffe is missing.
    """
    try:
        import griffe
    except ImportError as error:
        raise InputError(f"the gallery needs griffe ({error}). Install it: pip install 'genarium[gallery]'.") from error
    package = Path(str(importlib.resources.files("genarium")))

    @cache
    def read(module: str) -> Any:
        """Read a module of the package by its dotted name: its source alone, nothing is imported."""
        place = package.joinpath(*module.split(".")[1:])
        path = place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
        return griffe.visit(module, path, path.read_text(encoding="utf-8"), docstring_parser=griffe.Parser.numpy)

    def named(module: str, name: str) -> Any:
        """Follow a name to where it is defined."""
        one = read(module).members.get(name)
        while one is not None and one.is_alias:
            module, _, name = one.target_path.rpartition(".")
            one = read(module).members.get(name)
        return one

    found = []
    for name in sorted(map(str, read("genarium").exports or ())):
        one = named("genarium", name)
        if one is not None and one.docstring is not None and one.kind.value in ("function", "class"):
            found.append((name, name, "\n".join(_parts(name, one))))
    return found


def _parts(name: str, one: Any) -> Iterator[str]:
    """Yield the parts of a section."""
    if one.kind.value == "function":
        yield f"<pre>{escape(_call(name, one))}</pre>"
    for section in one.docstring.parsed:
        kind = section.kind.value
        if kind == "text":
            yield "\n".join(paragraph(_said(part)) for part in section.value.split("\n\n"))
        elif kind in KINDS:
            rows = [
                (f"<code>{escape(p.name)}</code>", _said(str(p.annotation or "")), _said(p.description))
                for p in section.value
            ]
            yield f"<h3>{KINDS[kind]}</h3>\n{table(('name', 'type', 'meaning'), rows, prose=2, label=KINDS[kind])}"
        elif kind in ("returns", "raises", "yields"):
            pairs = [(_said(str(p.annotation or "")), _said(p.description)) for p in section.value]
            yield f"<h3>{kind.title()}</h3>\n{table(('type', 'meaning'), pairs, prose=1, label=kind.title())}"
        elif kind == "examples":
            text = "\n".join(str(part[1]) for part in section.value)
            yield f"<h3>Examples</h3>\n<pre>{escape(text)}</pre>"


def _said(text: str) -> str:
    """Return the words of a docstring as HTML, with names in the typewriter face."""
    return MARKED.sub(r"<code>\1</code>", escape(text, quote=False))


def _call(name: str, function: Any) -> str:
    """Return how a function is called, one parameter a line where they are many."""
    parts, starred = [], False
    for one in function.parameters:
        kind = one.kind.value
        if kind == "keyword-only" and not starred:
            parts.append("*")
            starred = True
        sign = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        default = f"={one.default}" if one.default is not None and not sign else ""
        parts.append(f"{sign}{one.name}{default}")
    inside = ", ".join(parts)
    return f"gn.{name}({inside})" if len(inside) < 80 else f"gn.{name}(\n    " + ",\n    ".join(parts) + ",\n)"
