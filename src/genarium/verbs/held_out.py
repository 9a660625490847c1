"""Held out: the log density of a part of the data under fits to the rest."""

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
    """Return the log density of each part of the data, predicted by a fit to the other parts.

    Parameters
    ----------
    model, data, method, seed, folds, layer, **settings
        Of :func:`predicted_density`.

    Returns
    -------
    ndarray, shape (folds,)
        Nats: the log densities of the part's observations, added up.
    """
    parts = predicted_density(model, data, method, seed, folds, layer, **settings)
    return np.array([float(part.sum()) for part in parts])


def predicted_density(
    model: str | Path | Model, data: Data, method: str, seed: int, folds: int, layer: Any = "", **settings: Any
) -> list[Array]:
    """Return the log density of each observation, predicted by a fit to the parts of the data that it is not in.

    Parameters
    ----------
    model : str, Path or Model
        One that declares ``folds``.
    data, method, seed, layer, **settings
        As for :func:`genarium.fit`. With one seed, all methods and settings have the same parts.
    folds : int
        Number of parts.

    Returns
    -------
    list of ndarray
        For each part, in nats: of each observation, the log of its density, averaged over draws where there are.

    Raises
    ------
    InputError
        If the model does not say how its data are held out.
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
        if found.posterior:
            draws = stacked({name: np.asarray(value) for name, value in found.posterior.items()}, MOST)
        else:
            draws = {name: np.asarray(found.point[name])[None] for name in variant.unknown.variables}
        test = _part(problem, fold.test, fold.sizes, replace(variant, check=None))
        each = at_draws(test, variant.log_likelihood, draws)  # (draws, unit)
        many = test[variant.multiplicity] if variant.multiplicity else np.ones(each.shape[1], dtype=np.int64)
        scores.append(np.repeat(log_sum_exp(each / np.maximum(many, 1), 0) - np.log(len(each)), many))
    return scores


def _part(problem: Problem, arrays: Arrays, sizes: Sizes, model: Model) -> Problem:
    """Return a problem of a part of the data."""
    every = {**problem.arrays, **arrays, **problem.fixed}
    shown = {dim for name in every for dim in model.variables()[name].dims} | set(model.derived_dims)
    own = {dim: n for dim, n in problem.sizes.items() if dim not in shown}
    return check(model, every, {**own, **sizes})
