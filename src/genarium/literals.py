"""Values as people type them on a command line: numbers, truth values, lists, and text."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from genarium.errors import InputError

WHOLE = re.compile(r"[+-]?(0|[1-9]\d*(_\d+)*)")
FRACTION = re.compile(r"[+-]?(\d+(_\d+)*\.?\d*|\.\d+)([eE][+-]?\d+)?")
LEADING_ZERO = re.compile(r"[+-]?0\d")
NOT_FINITE = {"nan", "inf", "infinity"}
TRUTH = {"true": True, "false": False}
DIGITS = 300
"""A number of more digits is larger than any that is computed with."""

DEPTH = 5
"""Lists in lists, at most."""


def parse_settings(pairs: Sequence[str], flag: str = "--set") -> dict[str, Any]:
    """Read ``NAME=VALUE`` words.

    A value is a number (``5``, ``+1``, ``.3``, ``1e-3``, ``1_000``), ``true`` or ``false``, ``null``, a list in square
    brackets, a mapping or a text in quotation marks as in JSON; anything else is text.

    Raises
    ------
    InputError
        If a word has no "=", a name comes twice, a number is not finite or too large, or brackets do not match.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InputError(f"{flag} {_short(pair)!r} is not of the form NAME=VALUE, e.g. {flag} component=5.")
        if name in out:
            raise InputError(f"{flag} {name} is given twice ({_short(str(out[name]))!r} and {_short(text)!r}).")
        out[name] = _value(text, f"{flag} {name}")
    return out


def _value(text: str, where: str) -> Any:
    """Return what a text means."""
    plain = text.strip()
    if plain[:1] in ("[", "{", '"'):
        return _structure(plain, where)
    if plain.lower() in TRUTH:
        return TRUTH[plain.lower()]
    if plain in ("null", "None"):
        return None
    if plain.lstrip("+-").lower() in NOT_FINITE:
        raise InputError(
            f"{where}={plain}: this is not a finite number. As a name, it is written '{where}=\"{plain}\"'."
        )
    if not FRACTION.fullmatch(plain) or LEADING_ZERO.match(plain):
        return text
    found = int(plain) if WHOLE.fullmatch(plain) and len(plain) <= DIGITS else float(plain)
    if len(plain) > DIGITS or abs(found) == float("inf"):
        what = "is too large. Give a smaller one" if found and abs(found) > 1 else "has too many digits. Give fewer"
        raise InputError(f"{where}={_short(plain)}: this number {what}.")
    return found


def _structure(text: str, where: str) -> Any:
    """Return a list, a mapping or a quoted text: JSON, but with numbers and truth values as people type them."""
    depth = deepest = 0
    for mark in text:
        depth += (mark in "[{(") - (mark in "]})")
        deepest = max(deepest, depth)
    if deepest > DEPTH:
        raise InputError(f"{where}={_short(text)}: brackets are {deepest} deep. Give a list, or a list of lists.")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        words = re.sub(r"\b(true|false|null)\b", lambda word: {"null": "None"}.get(word[0], word[0].title()), text)
        try:
            found = ast.literal_eval(words)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
            raise InputError(
                f"{where}={_short(text)}: this cannot be read as a list. Write numbers with commas between them, such "
                "as [1, 2.5, 3]; text in quotation marks."
            ) from error
    _only_finite(found, where)
    return found


def _only_finite(found: Any, where: str) -> None:
    """Check the numbers in a list."""
    for value in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        if isinstance(value, float) and not abs(value) < float("inf"):
            raise InputError(f"{where}: {value} in it is not a finite number. Give numbers.")
        if isinstance(value, int) and abs(value) >= 10**DIGITS:
            raise InputError(f"{where}: a number in it is too large. Give a smaller one.")
        _only_finite(value, where)


def _short(text: str) -> str:
    """Return a text as messages show it."""
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text):,} characters)"
