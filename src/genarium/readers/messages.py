"""Lists of names, and what to say of a name that is not among them."""

from collections.abc import Iterable
from typing import Any

from genarium.errors import InputError
from genarium.words import did_you_mean


def listed(names: Iterable[Any], most: int = 10) -> str:
    """Join names with commas; "none" without any."""
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "none"


def absent(where: Any, what: str, name: str, have: Iterable[Any]) -> InputError:
    """Return the error for a name that is not there, with the names that are."""
    have = [str(other) for other in have]
    return InputError(f"{where}: there is no {what} {name!r}.{did_you_mean(name, have)} There are: {listed(have)}.")
