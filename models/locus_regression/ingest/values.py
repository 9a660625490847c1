"""Single values of mutations in files: weights and contexts; and whether the genomes asked for are there."""

from collections.abc import Sequence
from pathlib import Path

from genarium.errors import InputError
from genarium.readers.messages import absent

from .alleles import context_code


def parse_weight(where: str, name: str, text: str) -> float:
    """Read a weight: how many mutations one stands for.

    Raises
    ------
    InputError
        If it is no whole number from zero on.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise InputError(f"{where}: the weight {name} is {text!r}. It must be a number, not below zero.")
    if not value.is_integer():
        raise InputError(
            f"{where}: the weight {name} is {text!r}. It must be a whole number: the model has a process for each "
            "mutation, and none for a part of one. Leave out mutations below some weight and count the others once, or "
            "multiply the weights and round them; intervals are those of as many mutations then."
        )
    return value


def parse_context(where: str, name: str, text: str | None) -> int:
    """Read a context.

    Raises
    ------
    InputError
        If it is none.
    """
    code = context_code(text) if text else -2
    if code == -2:
        raise InputError(
            f"{where}: the context {name} is {text!r}. It must be an odd number of bases with the mutated one in the "
            "middle, such as ACG."
        )
    return code


def require_samples(wanted: Sequence[str], found: Sequence[str], paths: Sequence[Path]) -> None:
    """Check that every genome asked for is there."""
    for name in wanted:
        if name not in found:
            raise absent(", ".join(path.name for path in paths[:3]), "genome", name, found)
