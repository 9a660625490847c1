"""Docstrings in numpydoc's form: the summary, and what is said of each parameter."""

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def summary_of(function: Callable[..., Any]) -> str:
    """Return the first paragraph of a function's docstring, on one line."""
    return _plain((inspect.getdoc(function) or "").partition("\n\n")[0])


@cache
def parameters_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return what the section "Parameters" of a function's docstring says of each, on one line each.

    Examples
    --------
    >>> def read(*, cells=None, genes=None):
    ...     '''Read.
    ...
    ...     Parameters
    ...     ----------
    ...     cells, genes : str
    ...         Names, with a comma
    ...         between them.
    ...     '''
    >>> parameters_of(read)
    {'cells': 'Names, with a comma between them.', 'genes': 'Names, with a comma between them.'}
    """
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n?[A-Z][^\n]*\n-{3,}(?:\n|$)|\Z)", text, re.DOTALL | re.MULTILINE)
    found: dict[str, str] = {}
    entries = re.findall(
        r"^(\S[^\n]*)\n((?:(?:[ \t]+[^\n]*)?(?:\n|\Z))*)", section[1] + "\n" if section else "", re.MULTILINE
    )
    for head, about in entries:
        for name in head.partition(" : ")[0].split(","):
            found[name.strip().lstrip("*")] = _plain(about)
    return found


def _plain(text: str) -> str:
    """Return reStructuredText on one line, without the marks of its roles."""
    text = re.sub(r":\w+:`~[\w.]*\.(\w+)`", r"\1", text)
    text = re.sub(r":\w+:`([\w.]+)`", r"\1", text)
    return " ".join(text.replace("``", "`").split())
