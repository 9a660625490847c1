"""Checks of readers' options, which come from Python or as text from the command line."""

from collections.abc import Iterable, Sequence
from typing import Any

from genarium.errors import InputError
from genarium.remedies import as_text
from genarium.remedies import option as marked


def only_texts(reader: str, **options: Any) -> None:
    """Check that options are text that is not empty, or None."""
    for name, value in options.items():
        if not isinstance(value, str | None) or value == "":
            raise InputError(
                f"reader {reader!r}: {marked(name, value)} must be a name. Numbers are given when fitting."
                + as_text(name, value)
            )


def texts(reader: str, **options: Any) -> None:
    """Check that options are text that is not empty; None is none of these."""
    for name, value in options.items():
        if value is None:
            raise InputError(f"reader {reader!r}: {marked(name, value)} must be a name: this column is needed.")
    only_texts(reader, **options)


def names(option: str, value: str | Sequence[str] | None) -> list[str]:
    """Return the names that an option lists, as a sequence or with commas between them.

    Raises
    ------
    InputError
        If these are no names, or one is listed twice.
    """
    if not isinstance(value, Iterable | None):
        raise InputError(f"{marked(option, value)} must be names, with a comma between them." + as_text(option, value))
    several = value.split(",") if isinstance(value, str) else value or ()
    found = [name for one in several if (name := str(one).strip())]
    if again := [name for name in found if found.count(name) > 1]:
        raise InputError(f"{option}: {again[0]!r} is named more than once. Name it once.")
    return found
