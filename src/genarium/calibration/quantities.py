"""Test quantities of a user's own, beside those of a model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

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
        If the function asks for what the model does not have.
    """
    have, asked = model.variables("known", "unknown", "observed"), parents_of(function)
    if strange := [name for name in asked if name not in have]:
        raise InputError(
            f"{model.name}: a test quantity asks for {', '.join(strange)}, which the model does not have. Its "
            f"variables are {', '.join(have)}."
        )
    own = None if only else model.test_quantities
    varying = [name for name in model.unknown.variables if name in asked]

    def both(**values: Any) -> dict[str, Any]:
        before = dict(call(own, values)) if own is not None else {}
        first = next(iter(model.unknown.variables))
        many = np.ndim(values[first]) > len(model.unknown.variables[first].dims)
        if not many:
            return {**before, **function(**{name: values[name] for name in asked})}
        same = {name: values[name] for name in asked if name not in varying}
        each = [{name: values[name][i] for name in varying} for i in range(len(values[first]))]
        rows = [function(**same, **one) for one in each]
        return {**before, **{name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}}

    names = [*model.unknown.variables, *(name for name in have if name not in model.unknown.variables)]
    return replace(model, test_quantities=with_parameters(names, both))
