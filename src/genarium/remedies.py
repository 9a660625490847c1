"""Remedies: what a message tells its reader to write, as code for Python and as words for the command line.

A message is one text, raised by a function that cannot know who called it. What it quotes of a call is marked in that
text, in both forms; :class:`~genarium.errors.GenariumError` shows the first, the command line the second.
"""

import json
import re
import shlex
import warnings
from typing import Any

START, BETWEEN, END = "\x02", "\x1f", "\x03"
"""Control characters around a mark, and between its two forms: no message holds them otherwise."""

OTHERWISE = re.compile(
    r"[\[{\"].*|true|false|null|none|[+-]?(nan|inf|infinity)|[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?",
    re.IGNORECASE | re.DOTALL,
)
"""Text that ``NAME=VALUE`` takes for something else (a number, say), unless it stands in quotation marks."""

MARK = re.compile(f"{START}([^{BETWEEN}]*){BETWEEN}([^{END}]*){END}")


def either(python: str, shell: str) -> str:
    """Mark a piece of a message that reads differently in Python and on the command line.

    Examples
    --------
    >>> in_shell(f"Run {either('fit', 'genarium fit')} first.")
    'Run genarium fit first.'
    """
    return f"{START}{python}{BETWEEN}{shell}{END}"


def setting(name: str, value: Any = ..., kind: str = "") -> str:
    """Mark a size, an option of the model or the value of a variable: ``name=value`` or ``--set name=value``.

    Parameters
    ----------
    name : str
    value : object
        ``...`` for one that the reader must think of.
    kind : str
        What it is, where Python's form alone would not tell: "size".

    Examples
    --------
    >>> message = f"Give {setting('dispersion', 'gene')}."
    >>> in_python(message), in_shell(message)
    ("Give dispersion='gene'.", 'Give --set dispersion=gene.')
    """
    return either(f"{kind} {_code(name, value)}".strip(), f"--set {_pair(name, value)}")


def option(name: str, value: Any = ...) -> str:
    """Mark an option of a reader, a method or a prediction: ``name=value`` or ``--option name=value``.

    Examples
    --------
    >>> in_shell(option("drop", "cell type")), in_shell(option("cells", None))
    ("--option drop='cell type'", '--option cells=null')
    """
    return either(_code(name, value), f"--option {_pair(name, value)}")


def flag(name: str, value: Any = ...) -> str:
    """Mark what has a flag of its own on the command line: ``name=value`` or ``--name value``.

    Examples
    --------
    >>> in_python(flag("format", "table")), in_shell(flag("format", "table"))
    ("format='table'", '--format table')
    """
    word = f"--{name.replace('_', '-')}"
    return either(_code(name, value), word if value is True else f"{word} {_shell_word(value)}")


def as_flags(message: str) -> str:
    """Mark options as flags: for a command whose options these are.

    Examples
    --------
    >>> in_shell(as_flags(f"Give {option('ld_alleles', 'FILE')}."))
    'Give --ld-alleles FILE.'
    """

    def flagged(found: re.Match[str]) -> str:
        name, is_pair, value = found[2].removeprefix("--option ").partition("=")
        if not found[2].startswith("--option "):
            return found[0]
        return either(found[1], f"--{name.replace('_', '-')} {value}" if is_pair else f"--{name.replace('_', '-')}")

    return MARK.sub(flagged, message)


def verb(name: str) -> str:
    """Mark a verb, in backticks.

    Examples
    --------
    >>> in_shell(f"Run {verb('fit')} first.")
    'Run `genarium fit` first.'
    """
    return either(f"`{name}`", f"`genarium {name}`")


def warn(message: str, category: type[Warning] = UserWarning, stacklevel: int = 1) -> None:
    """Warn by a message with marks: a user of Python sees its first form, the command line takes ``marked``."""
    told = category(in_python(message))
    told.marked = message  # type: ignore[attr-defined]
    warnings.warn(told, stacklevel=stacklevel + 1)


def in_python(message: str) -> str:
    """Return a message as a user of Python reads it."""
    return MARK.sub(r"\1", message)


def in_shell(message: str) -> str:
    """Return a message as a user of the command line reads it."""
    return MARK.sub(r"\2", message)


def _code(name: str, value: Any) -> str:
    return f"{name}={'...' if value is ... else repr(value)}"


def _pair(name: str, value: Any) -> str:
    if isinstance(value, str) and OTHERWISE.fullmatch(value.strip()):
        return shlex.quote(f"{name}={json.dumps(value)}")
    return f"{name}={_shell_word(value)}"


def as_text(name: str, value: Any) -> str:
    """Say how an option is written whose text reads as a number; nothing of other values.

    Examples
    --------
    >>> print(in_shell(as_text("control", 3)).strip())
    A name that reads as a number is written --option 'control="3"'.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f" A name that reads as a number is written {option(name, str(value))}."


def _shell_word(value: Any) -> str:
    """Return a value as the command line takes it: text as it is, anything else as JSON."""
    if value is ...:
        return "..."
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return shlex.quote(text) if text else "''"
