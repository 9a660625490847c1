"""Words in messages and reports."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

IRREGULAR = {"locus": "loci"}

CAPITALS = ("f", "q", "ivw")
"""Statistics that are known by capital letters: F, Cochran's Q, inverse-variance weighting."""


def plural(noun: str) -> str:
    """Return the plural of the name of a dim.

    Parameters
    ----------
    noun : str

    Returns
    -------
    str

    Examples
    --------
    >>> [plural(noun) for noun in ("cell", "process", "locus", "category")]
    ['cells', 'processes', 'loci', 'categories']
    """
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def spelled(name: str) -> str:
    """Write the name of a statistic in words, and what is known by capital letters in these.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Examples
    --------
    >>> [spelled(name) for name in ("largest_residual", "heterogeneity_q", "ivw")]
    ['largest residual', 'heterogeneity Q', 'IVW']
    """
    return " ".join(word.upper() if word in CAPITALS else word for word in name.split("_"))


def did_you_mean(name: str, have: Iterable[Any]) -> str:
    """Return the question whether another name was meant, with a blank before it; "" if none is near.

    Near are the same letters in another case, few other letters, and the only name that has these letters in it.

    Parameters
    ----------
    name : str
        A name that is not there.
    have : iterable
        Names that are.

    Returns
    -------
    str

    Examples
    --------
    >>> did_you_mean("nontargeting", ["APC", "NonTargetingControl"])
    " Did you mean 'NonTargetingControl'?"
    """
    there = [str(other) for other in have]
    low = name.casefold()
    same = [other for other in there if other.casefold() == low]
    longer = [other for other in there if len(low) > 1 and low in other.casefold()]
    near = [*same, *get_close_matches(name, there, n=1), *(longer if len(longer) == 1 else [])]
    return f" Did you mean {near[0]!r}?" if near else ""
