"""Simulate: draw a whole dataset, and the truth behind it, from a model's generative process."""

from pathlib import Path
from typing import Any

import xarray as xr

from genarium.data import check, given_value
from genarium.declaration import Model
from genarium.registry import resolve
from genarium.settings import generator, split
from genarium.story import draw
from genarium.tree import data_tree, provenance


def simulate(model: str | Path | Model, seed: int = 0, **settings: Any) -> xr.DataTree:
    """Draw known, unknown, hidden and observed variables, each from the ones before.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration.
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
    declared, sizes, values, _ = split(resolve(model), settings)
    full = declared.complete({**declared.sizes, **sizes})
    values = {name: given_value(declared, name, value, full) for name, value in values.items()}
    drawn = draw(declared, generator(seed), full, values)
    data = {name: drawn[name] for name in declared.variables("known", "observed")}
    problem = check(declared, data, full)
    truth = {name: drawn[name] for name in declared.variables("unknown", "hidden")}
    return data_tree(problem, truth, provenance(simulation_seed=seed))
