"""Simulate: draw a whole dataset, and the truth behind it, from a model's story."""

from typing import Any

import numpy as np
import xarray as xr

from genarium import registry
from genarium.data import check, given_value
from genarium.declaration import Array, Model, Role, Sizes, call
from genarium.errors import DeclarationError
from genarium.settings import generator, split
from genarium.tree import data_tree, provenance


def simulate(model: str | Model, seed: int = 0, **settings: Any) -> xr.DataTree:
    """Draw known, unknown, hidden and observed variables, each from the ones before.

    Parameters
    ----------
    model : str or Model
        Name of a model, or a declaration.
    seed : int
        The same seed and settings give the same data.
    **settings
        Sizes (``cell=500``), options of the model (``dispersion="gene"``), and values of known, unknown or hidden
        variables to use instead of drawn ones (``phi=0.3``).

    Returns
    -------
    DataTree
        Groups ``constant_data``, ``observed_data`` and ``truth`` (unknown and hidden variables).

    Raises
    ------
    InputError
        If a setting has no meaning for the model, or a value lies outside its support.

    Examples
    --------
    >>> import genarium as gn
    >>> tree = gn.simulate("nb_mixture", seed=1, cell=500)
    >>> tree["observed_data"]["x"].shape
    (500, 2)
    """
    declared, sizes, values, _ = split(registry.get(model) if isinstance(model, str) else model, settings)
    full = {**declared.sizes, **sizes}
    values = {name: given_value(declared, name, value, full) for name, value in values.items()}
    drawn = draw(declared, generator(seed), full, values)
    data = {name: drawn[name] for name in declared.variables("known", "observed")}
    problem = check(declared, data, full)
    truth = {name: drawn[name] for name in declared.variables("unknown", "hidden")}
    return data_tree(problem, truth, provenance(simulation_seed=seed))


def draw(model: Model, rng: np.random.Generator, sizes: Sizes, values: dict[str, Any]) -> dict[str, Array]:
    """Run the four stages.

    Parameters
    ----------
    model : Model
    rng : Generator
    sizes : mapping of str to int
    values : dict
        Checked values of variables that are given instead of drawn.

    Returns
    -------
    dict of str to ndarray
        Every variable of the model.
    """
    out: dict[str, Array] = {}
    for role in ("known", "unknown", "hidden", "observed"):
        draw_stage(model, role, rng, sizes, values, out)
    return out


def draw_stage(
    model: Model, role: Role, rng: np.random.Generator, sizes: Sizes, values: dict[str, Any], out: dict[str, Array]
) -> None:
    """Draw the variables of one stage into ``out``; what is given is not drawn."""
    stage = model.stage(role)
    missing = [name for name in stage.variables if name not in values]
    drawn: dict[str, Any] = {}
    if missing and callable(stage.draw):
        drawn = dict(call(stage.draw, {"rng": rng, "sizes": sizes, **out}))
    for name, var in stage.variables.items():
        shape = model.shape(name, sizes)
        if name in missing and not callable(stage.draw) and name in stage.draw:
            drawn[name] = call(stage.draw[name], {"rng": rng, "sizes": sizes, **out})
        if name in values:
            value = values[name]
        elif name in drawn:
            value = np.asarray(drawn[name])
            if value.shape != shape:
                raise DeclarationError(
                    f"model {model.name!r}: the {role} stage drew {name!r} with shape {value.shape}; declared {shape}"
                )
        elif var.default is not None and not callable(var.default):
            value = np.full(shape, var.default)
        else:
            raise DeclarationError(f"model {model.name!r}: the {role} stage did not draw {name!r}")
        out[name] = value.astype(np.int64 if var.support.integer else np.float64)
