"""Prior: draws from the prior, before the data are used, for a fit to be compared with."""

from dataclasses import replace

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Array, Model, Problem
from genarium.errors import InputError
from genarium.evaluate import derived, fitted_problem
from genarium.registry import fitted_model
from genarium.remedies import either
from genarium.settings import generator
from genarium.story import predictive, prior
from genarium.tree import dataset, with_groups

PRIOR_DRAWS = 500
"""Draws from the prior where no number is given."""


def add_prior(model: str | Model, tree: xr.DataTree, draws: int = PRIOR_DRAWS, seed: int = 0) -> xr.DataTree:
    """Add draws from the prior, and data replicated from them, to a fit.

    Parameters
    ----------
    model : str or Model
        The model that the tree was fitted by.
    tree : DataTree
        From :func:`genarium.fit`.
    draws : int
        Number of draws.
    seed : int
        That of the fit gives what ``fit(..., prior_draws=draws)`` gives.

    Returns
    -------
    DataTree
        With the groups ``prior`` (unknown and derived variables, dims (chain, draw, ...) with one chain) and
        ``prior_predictive``, given the known variables of the fit and those that it held fixed; data are replicated
        at fewer draws beyond 2e7 values.

    Raises
    ------
    InputError
        If the tree holds no fit, or the prior cannot be drawn given what it held fixed.

    Examples
    --------
    >>> import genarium as gn
    >>> tree = gn.fit("nb_mixture", {"x": [[0, 9], [1, 8], [7, 0], [9, 1]], "phi": 0.3}, "em", component=2)
    >>> gn.add_prior("nb_mixture", tree, draws=100)["prior"]["mu"].sizes["draw"]
    100
    """
    declared = fitted_model(tree, model)
    fixed = {name: _held(tree, name) for name in attribute(tree, "fixed")}
    problem = replace(fitted_problem(declared, tree), fixed=fixed)
    return with_groups(tree, prior_groups(problem, draws, generator(seed).spawn(3)[2]), {})


def _held(tree: xr.DataTree, name: str) -> Array:
    """Return the value that a fit held a variable at."""
    if "point" in tree and name in tree["point"]:
        value: Array = tree["point"][name].to_numpy()
    else:
        value = tree["posterior"][name].to_numpy()[0, 0]
    return value


def prior_groups(problem: Problem, draws: int, rng: np.random.Generator) -> dict[str, xr.Dataset]:
    """Return the groups ``prior`` and ``prior_predictive``.

    Raises
    ------
    InputError
        If ``draws`` is no number of draws, or the prior cannot be drawn given what is held fixed.
    """
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise InputError(
            f"{problem.model.name}: {either(f'prior_draws={draws!r}', f'--prior {draws}')} must be a whole number, at "
            "least one."
        )
    lead = ("chain", "draw")
    told = prior(problem, int(draws), rng)
    return {
        "prior": dataset(problem.model, problem.coords, {**told, **derived(problem, told, lead)}, lead),
        "prior_predictive": predictive(problem, told, rng),
    }
