"""The reference: what the package exports, from its docstrings."""

import importlib.resources
import re
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.reporting.page import listing, paragraph, table

KINDS = {"parameters": "Parameters", "other parameters": "Parameters", "attributes": "Attributes"}

MARKED = re.compile(r"(?::\w+:)?``?(~?)([^`]+)``?")
"""What docstrings mark as code: names, or references to them, of which only the last part is shown after a tilde."""

TYPED = re.compile(r"^(\*{0,2}\w[\w, *]*?) : (.+)$", re.MULTILINE)
"""A parameter or attribute of a docstring, and its type in words."""

VERBS = {"models": "_models"}
"""A package that is a verb, too, and the function that it calls then."""

CONSTANT = re.compile(r"[A-Z][A-Z_]+")
"""A default that is named in the source."""


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
        one = named("genarium", VERBS.get(name, name))
        if one is not None and one.docstring is not None and one.kind.value in ("function", "class"):
            found.append((name, name, "\n".join(_parts(name, one, named))))
    return found


def _parts(name: str, one: Any, named: Callable[[str, str], Any]) -> Iterator[str]:
    """Yield the parts of a section; ``named`` finds what a name of a module stands for."""
    if one.kind.value == "function":
        yield listing(escape(_call(name, one, named)))
    family = _family(one, named)
    sections = list(one.docstring.parsed)
    if not any(section.kind.value in KINDS for section in sections):  # then those that it inherits
        sections += [part for each in family[1:] for part in each.docstring.parsed if part.kind.value in KINDS]
    types = {name: kind for each in reversed(family) for name, kind in TYPED.findall(each.docstring.value)}
    for section in sections:
        kind = section.kind.value
        if kind == "text":
            yield "\n".join(paragraph(_said(part)) for part in section.value.split("\n\n"))
        elif kind in KINDS:
            rows = [
                (
                    f"<code>{escape(p.name)}</code>",
                    _said(types.get(p.name, str(p.annotation or ""))),
                    _said(p.description),
                )
                for p in section.value
            ]
            yield f"<h3>{KINDS[kind]}</h3>\n{table(('name', 'type', 'meaning'), rows, prose=2, label=KINDS[kind])}"
        elif kind in ("returns", "raises", "yields"):
            pairs = [(_said(str(p.annotation or "")), _said(p.description)) for p in section.value]
            yield f"<h3>{kind.title()}</h3>\n{table(('type', 'meaning'), pairs, prose=1, label=kind.title())}"
        elif kind == "examples":
            text = "\n".join(str(part[1]) for part in section.value)
            yield f"<h3>Examples</h3>\n{listing(escape(text))}"
    if members := [row for each in family for row in _members(each, named)]:
        yield f"<h3>Methods</h3>\n{table(('name', 'meaning'), members, prose=1, label='Methods')}"


def _family(one: Any, named: Callable[[str, str], Any]) -> list[Any]:
    """Return a class and those of the package that it extends; a function alone."""
    above = [named(one.module.path, str(base)) for base in getattr(one, "bases", ())]
    return [one, *(base for base in above if base is not None and base.docstring is not None)]


def _members(one: Any, named: Callable[[str, str], Any]) -> Iterator[tuple[str, str]]:
    """Yield the public methods and properties of a class, each with its first sentence."""
    for member in one.members.values() if one.kind.value == "class" else ():
        if member.name.startswith("_") or member.is_alias or member.docstring is None:
            continue
        is_property = "property" in member.labels
        if is_property or member.kind.value == "function":
            call = member.name if is_property else _call(member.name, member, named).removeprefix("gn.")
            yield (
                f"<code>{escape(call.replace('self, ', '').replace('self', ''))}</code>",
                _said(member.docstring.value.partition("\n\n")[0]),
            )


def _said(text: str) -> str:
    """Return the words of a docstring as HTML, with names in the typewriter face."""

    def code(found: re.Match[str]) -> str:
        return f"<code>{found[2].rpartition('.')[2] if found[1] else found[2]}</code>"

    return MARKED.sub(code, escape(text, quote=False))


def _call(name: str, function: Any, named: Callable[[str, str], Any]) -> str:
    """Return how a function is called, one parameter a line where they are many."""
    parts, starred = [], False
    for one in function.parameters:
        kind = one.kind.value
        if kind == "keyword-only" and not starred:
            parts.append("*")
            starred = True
        sign = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        default = one.default
        if default is not None and CONSTANT.fullmatch(str(default)):
            constant = named(function.module.path, str(default))
            default = default if constant is None else constant.value
        parts.append(f"{sign}{one.name}{f'={default}' if default is not None and not sign else ''}")
    inside = ", ".join(parts)
    return f"gn.{name}({inside})" if len(inside) < 80 else f"gn.{name}(\n    " + ",\n    ".join(parts) + ",\n)"
