"""Test quantities of a user's own, beside those of a model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.calibration.scalars import DENSITIES
from genarium.declaration import Model
from genarium.errors import InputError
from genarium.signatures import call, parents_of, with_parameters

Quantities = Callable[..., Mapping[str, Any]]


def with_quantities(model: Model, function: Quantities, *, only: bool = False) -> Model:
    """Return a model that is calibrated by more test quantities.

    Parameters
    ----------
    model : Model
    function : callable
        ``function(<unknown, known, observed>)``, called with the variables that its parameters name, at one draw;
        returns scalars or arrays by name, which must be functions of these variables alone.
    only : bool
        Leave out the model's own.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        If the function asks for what the model does not have; at the first draw, if it returns no mapping, or what
        already has a rank of that name.
    """
    have, asked = model.variables("known", "unknown", "observed"), parents_of(function)
    if strange := [name for name in asked if name not in have]:
        raise InputError(
            f"{model.name}: a test quantity asks for {', '.join(strange)}, which the model does not have. Its "
            f"variables are {', '.join(have)}."
        )
    own = None if only else model.test_quantities
    varying = [name for name in model.unknown.variables if name in asked]

    ranked = {name for name, var in model.unknown.variables.items() if model.exchangeable not in var.dims}

    def named_anew(found: Mapping[str, Any], before: Mapping[str, Any]) -> Mapping[str, Any]:
        """Refuse what has no names, and names whose ranks would take the places of others."""
        if not isinstance(found, Mapping):
            raise InputError(
                f"{model.name}: test quantities come as a {type(found).__name__}. Return them by name, as in "
                "{'ratio': a / b}."
            )
        if twice := [name for name in found if name in {*ranked, *before, *DENSITIES, "log_density"}]:
            raise InputError(
                f"{model.name}: a test quantity is called {twice[0]!r}, under which something else is ranked already. "
                "Give it another name."
            )
        return found

    def both(**values: Any) -> dict[str, Any]:
        before = dict(call(own, values)) if own is not None else {}
        first = next(iter(model.unknown.variables))
        many = np.ndim(values[first]) > len(model.unknown.variables[first].dims)
        if not many:
            return {**before, **named_anew(function(**{name: values[name] for name in asked}), before)}
        same = {name: values[name] for name in asked if name not in varying}
        each = [{name: values[name][i] for name in varying} for i in range(len(values[first]))]
        rows = [named_anew(function(**same, **one), before) for one in each]
        return {**before, **{name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}}

    def vary(**chosen: str) -> Model:
        """Return another variant of the model, with the quantities."""
        assert model.vary is not None
        return with_quantities(model.vary(**chosen), function, only=only)

    names = [*model.unknown.variables, *(name for name in have if name not in model.unknown.variables)]
    return replace(model, test_quantities=with_parameters(names, both), vary=vary if model.vary is not None else None)
