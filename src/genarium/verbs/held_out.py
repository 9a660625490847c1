"""Held out: what fits to a part of the data foretell of the rest."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genarium.data import check
from genarium.declaration import Array, Arrays, Model, Problem, Result, Sizes
from genarium.errors import InputError
from genarium.evaluate import at_draws
from genarium.holding import Data
from genarium.methods import find_method, require_free
from genarium.progress import track
from genarium.registry import resolve
from genarium.settings import generator, split, varied
from genarium.simplex import log_sum_exp
from genarium.tree import stacked

MOST = 25
"""Draws that densities are averaged over, at most."""


def held_out(
    model: str | Path | Model, data: Data, method: str, seed: int, folds: int, layer: Any = "", **settings: Any
) -> Array:
    """Return the log density of each part of the data, foretold by a fit to the other parts.

    Parameters
    ----------
    model : str, Path or Model
        One that declares ``folds``.
    data, method, seed, layer, **settings
        As for :func:`genarium.fit`.
    folds : int
        Number of parts.

    Returns
    -------
    ndarray, shape (folds,)
        Nats: of each observation, the log of its density averaged over draws, added up.

    Raises
    ------
    InputError
        If the model does not say how its data are held out, or the method makes no draws.
    """
    declared = resolve(model, data)
    way = find_method(varied(declared, settings), method)
    variant, sizes, values, options = split(declared, settings, way.function)
    if variant.folds is None or variant.log_likelihood is None:
        raise InputError(f"{variant.name}: the model does not say how data are held out. Choose by the bound.")
    if folds < 2:
        raise InputError(f"{variant.name}: folds={folds} must be at least 2.")
    problem = check(variant, data, sizes, values, layer=layer)
    require_free(problem, method)
    cutting, fitting = generator(seed).spawn(2)
    scores = []
    for fold in track(list(variant.folds(problem, folds, cutting)), "held-out parts"):
        rng = fitting.spawn(1)[0]
        found: Result = way.function(_part(problem, fold.train, fold.sizes, variant), rng, **options)
        if not found.posterior:
            raise InputError(f"{variant.name}: method {method!r} makes no draws, which a prediction is averaged over.")
        draws = stacked({name: np.asarray(value) for name, value in found.posterior.items()}, MOST)
        test = _part(problem, fold.test, fold.sizes, replace(variant, check=None))
        each = at_draws(test, variant.log_likelihood, draws)  # (draws, unit)
        scores.append(float((log_sum_exp(each, 0) - np.log(len(each))).sum()))
    return np.array(scores)


def _part(problem: Problem, arrays: Arrays, sizes: Sizes, model: Model) -> Problem:
    """Return a problem of a part of the data."""
    every = {**problem.arrays, **arrays, **problem.fixed}
    shown = {dim for name in every for dim in model.variables()[name].dims} | set(model.derived_dims)
    own = {dim: n for dim, n in problem.sizes.items() if dim not in shown}
    return check(model, every, {**own, **sizes})
