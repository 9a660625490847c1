"""Functions of a model at the draws, the data and the predictions of a fit."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from genarium.completeness import whole
from genarium.data import check
from genarium.declaration import Array, Arrays, Model, Problem
from genarium.progress import bar, track
from genarium.tree import dataset, stacked, stored_sizes

BLOCK = 1_000_000
"""Observed values times draws that a vectorised function is given at once, about: it bounds the memory."""

POINTWISE_SIZE = 20_000_000
"""Values of a pointwise log likelihood; a larger one is left out, and the joint density is kept at fewer draws."""


def at_draws(problem: Problem, function: Callable[..., Any], draws: Arrays, label: str = "") -> Any:
    """Evaluate ``log_likelihood``, ``log_prior`` or ``quantities`` at every draw.

    Parameters
    ----------
    problem : Problem
    function : callable
        One of the model's, which may take all draws at once where the model says that it is vectorised.
    draws : mapping of str to ndarray, shape (S, ...)
        The unknown variables.
    label : str
        For a progress bar; none if empty.

    Returns
    -------
    ndarray or dict of str to ndarray
        What the function returns, with a leading dim of S.
    """
    count = len(next(iter(draws.values())))
    values = sum(problem[name].size for name in problem.model.observed.variables)
    width = max(1, BLOCK // max(1, values)) if problem.model.vectorized else 1
    found = []
    with bar(label, count) as advance:
        for low in range(0, count, width):
            at = slice(low, low + width) if problem.model.vectorized else low
            found.append(problem.call(function, **{name: value[at] for name, value in draws.items()}))
            advance(min(width, count - low))
    join: Callable[[list[Any]], Array] = np.concatenate if problem.model.vectorized else np.stack
    if isinstance(found[0], Mapping):
        return {name: join([np.asarray(each[name]) for each in found]) for name in found[0]}
    return join([np.asarray(each) for each in found])


def log_likelihood(problem: Problem, posterior: Arrays) -> Array | None:
    """Pointwise log likelihood at every draw, shape (chain, draw, unit); None where the model does not give it."""
    function = likelihood_of(problem)
    return _each_draw(function, problem, posterior, "log likelihood") if function else None


def likelihood_of(problem: Problem) -> Callable[..., Array] | None:
    """Return the log likelihood, with what does not vary between draws computed once where the model does so."""
    model = problem.model
    return model.hoisted(problem) if model.hoisted else model.log_likelihood


def log_prior(problem: Problem, posterior: Arrays) -> Array | None:
    """Log prior density at every draw, shape (chain, draw); None where the model does not give it."""
    function = problem.model.log_prior
    return _each_draw(function, problem, posterior, "log prior") if function else None


def _each_draw(function: Callable[..., Any], problem: Problem, posterior: Arrays, label: str) -> Array:
    """Call a function of the unknown variables at every draw; shape (chain, draw, ...)."""
    chains, draws = next(iter(posterior.values())).shape[:2]
    found: Array = at_draws(problem, function, stacked(posterior), label)
    return found.reshape(chains, draws, *found.shape[1:])


def sparse_joint_density(problem: Problem, posterior: Arrays) -> dict[str, Array]:
    """Joint log density at evenly spaced draws, NaN at the others, for data too large to do it at all of them.

    Returns
    -------
    dict
        ``lp``, shape (chain, draw), as far as the model gives likelihood and prior.
    """
    chains, draws = next(iter(posterior.values())).shape[:2]
    wanted = max(100, POINTWISE_SIZE // problem.sizes.get(problem.model.unit, 1))
    picks = np.unique(np.linspace(0, chains * draws - 1, wanted).astype(int))
    model, flat = problem.model, stacked(posterior)
    likelihood = likelihood_of(problem)
    if likelihood is None or model.log_prior is None:
        return {}
    lp = np.full(chains * draws, np.nan)
    for i in track(picks, "log density"):  # one by one: all values of all these draws would not fit into memory
        some = {name: v[i : i + 1] for name, v in flat.items()}
        lp[i] = at_draws(problem, likelihood, some).sum() + at_draws(problem, model.log_prior, some)[0]
    return {"lp": lp.reshape(chains, draws)}


def coordinates(problem: Problem, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the labels that follow from the data, as ``(dims, values, attributes)``.

    Parameters
    ----------
    problem : Problem
    found : mapping of str to (dims, values)
        What a method has found already, which need not be found again.

    Returns
    -------
    dict
    """
    stage, out = problem.model.coordinates, {}
    for name, var in stage.variables.items():
        assert isinstance(stage.draw, Mapping)
        values = found[name][1] if name in found else problem.call(stage.draw[name])
        out[name] = (var.dims, values, {"about": var.about, "symbol": var.symbol})
    return out


def derived(
    problem: Problem, values: Mapping[str, Any], lead: tuple[str, ...] = (), beside: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the derived variables at a point, or at draws, as ``(dims, values, attributes)``.

    Parameters
    ----------
    problem : Problem
    values : mapping of str to ndarray
        The unknown variables, with leading dims ``lead``; without one of them, nothing follows.
    lead : tuple of str
        Dims before the declared ones.
    beside : mapping of str to (dims, values, attributes), optional
        The model's coordinates, where they are known already.

    Returns
    -------
    dict
        Those that ``values`` does not hold already.
    """
    stage = problem.model.derived
    if not set(problem.model.unknown.variables) <= set(values) or not isinstance(stage.draw, Mapping):
        return {}
    wanted = {name: var for name, var in stage.variables.items() if name not in values}
    given = {name: np.asarray(values[name]) for name in problem.model.unknown.variables}
    given |= {name: one[1] for name, one in (coordinates(problem, {}) if beside is None else beside).items()}
    return {
        name: (
            (*lead, *var.dims),
            problem.call(stage.draw[name], **given),
            {"about": var.about, "symbol": var.symbol},
        )
        for name, var in wanted.items()
    }


def fitted_problem(model: Model, tree: xr.DataTree) -> Problem:
    """Return the checked data that a tree holds, in the sizes of its fit."""
    return check(model, tree, stored_sizes(tree, model))


def predictions(model: Model, tree: xr.DataTree, problem: Problem, **options: Any) -> xr.Dataset:
    """Return what a fit says of a problem, labelled.

    Parameters
    ----------
    model : Model
        With ``predict``.
    tree : DataTree
        A fit.
    problem : Problem
        New data, or those of the fit.
    **options
        Of the model's ``predict``.

    Returns
    -------
    Dataset
    """
    assert model.predict is not None
    with whole(tree):
        found = model.predict(tree, problem, **options)
    return dataset(model, problem.coords, found)
