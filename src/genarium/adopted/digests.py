"""Digests of a user's functions: what draws parameters and data belongs to what a validation is of."""

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from genarium.engines.fingerprint import UncertainError, fingerprint

INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
"""Folders of Python and of packages, whose functions are not the user's own."""


def digest_of(function: Callable[..., Any], within: tuple[Any, ...] = ()) -> str:
    """Return a digest of what a function computes from, the same in every process.

    Where that cannot be told for certain (it reads a file, calls ``rng.random``, is of a compiled package), the digest
    is of the text of its module and of the user's own modules that are named there, and of what it closes over, as far
    as it goes; ``within`` are the functions that hold this one.
    """
    try:
        return fingerprint(function)
    except UncertainError:
        parts = sorted(_texts(function))
    holders = (*within, function)
    for value in _held(function):
        if not any(value is one for one in holders):
            with suppress(UncertainError):
                parts.append(digest_of(value, holders) if callable(value) else fingerprint(value))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _held(function: Any) -> list[Any]:
    """Return the values that a function, method, partial or callable object closes over or holds."""
    if isinstance(function, partial):
        return [function.func, *function.args, *function.keywords.values()]
    found = [getattr(function, "__func__", None), *(getattr(function, "__defaults__", None) or ())]
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # not filled yet
            found.append(cell.cell_contents)
    for one in (function, getattr(function, "__self__", None)):
        found += [value for _, value in sorted(getattr(one, "__dict__", {}).items())]
    return found


def _texts(function: Callable[..., Any]) -> set[str]:
    """Return the texts of the modules that a function may take something from."""
    texts, seen = set[str](), set[str]()
    ahead = [getattr(function, "__module__", None), type(function).__module__]
    while ahead:
        name = ahead.pop()
        module = sys.modules.get(name or "")
        if name is None or name in seen or module is None:
            continue
        seen.add(name)
        path = Path(getattr(module, "__file__", None) or "")
        if path.suffix == ".py" and not str(path).startswith(INSTALLED):
            texts.add(path.read_text(encoding="utf-8"))
            ahead += [
                value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
                for value in vars(module).values()
            ]
    try:
        texts.add(inspect.getsource(function))
    except (OSError, TypeError):
        texts.add(repr(getattr(getattr(function, "__code__", None), "co_code", type(function))))
    return texts
