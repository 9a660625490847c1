"""Models from elsewhere as declarations: a user's PyMC model, or a Stan program with a simulator of its prior."""

import re
from collections.abc import Mapping
from keyword import iskeyword
from typing import Any

import numpy as np

from genarium.declaration import Array, Var
from genarium.errors import InputError
from genarium.signatures import RESERVED
from genarium.supports import real, whole

TAKEN = (*RESERVED, "chain", "draw", "lp", "log_likelihood", "log_prior", "log_density")
"""Names that mean something else to a model's functions, in trees, and among ranked quantities."""


def identifier(name: str) -> str:
    """Return a name that Python takes as a parameter: other characters become underscores, lambda becomes lambda_.

    So do the names that are taken: chain becomes chain_.
    """
    plain = re.sub(r"\W", "_", name)
    if plain[:1].isdigit():
        return f"_{plain}"
    return f"{plain}_" if iskeyword(plain) or plain in TAKEN else plain


def identifiers(names: Any, what: str) -> dict[str, str]:
    """Return each name's identifier.

    Raises
    ------
    InputError
        If two names have the same.
    """
    found = {name: identifier(name) for name in names}
    for name, plain in found.items():
        twin = next((other for other, told in found.items() if told == plain and other != name), None)
        if twin is not None:
            raise InputError(f"{what}: {name!r} and {twin!r} would both be called {plain}. Rename one of them.")
    return found


def variables(arrays: Mapping[str, Array], role: str, dims: Mapping[str, tuple[str | None, ...]]) -> dict[str, Var]:
    """Declare the variables that arrays are values of; dims that have no name are called ``<name>_dim_0`` ..."""
    out = {}
    for name, value in arrays.items():
        named = dims.get(name) or (None,) * value.ndim
        own = tuple(dim or f"{name}_dim_{i}" for i, dim in enumerate(named))
        out[name] = Var(own, whole if value.dtype.kind in "iub" else real, f"The {role} variable {name}.", name)
    return out


def sizes_of(declared: Mapping[str, Var], arrays: Mapping[str, Array]) -> dict[str, int]:
    """Return the size of each dim of the variables."""
    return {
        dim: int(n) for name, var in declared.items() for dim, n in zip(var.dims, np.shape(arrays[name]), strict=True)
    }
