"""Words in messages and reports."""

IRREGULAR = {"locus": "loci"}


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
