"""The scalars that truths are ranked by: parameters, label-invariant quantities, and joint densities."""

import numpy as np

from genarium.declaration import Array, Arrays, Model, Problem, Result
from genarium.evaluate import at_draws
from genarium.tree import stacked

DENSITIES = ("log_likelihood", "log_prior")
"""Scalars that every model has; nonlinear in the unknown variables."""


def scalars(problem: Problem, draws: Arrays) -> tuple[list[str], Array]:
    """Every parameter and quantity that is ranked, at each draw.

    Parameters
    ----------
    problem : Problem
    draws : mapping of str to ndarray, shape (S, ...)
        The unknown variables.

    Returns
    -------
    names : list of str
    values : ndarray, shape (S, Q)
        Unknown variables (those without meaningless labels) and the model's quantities.
    """
    model = problem.model
    parts: dict[str, Array] = {
        name: draws[name] for name, var in model.unknown.variables.items() if model.exchangeable not in var.dims
    }
    if model.test_quantities is not None:
        parts |= at_draws(problem, model.test_quantities, draws)
    names: list[str] = []
    for name, value in parts.items():
        names += [f"{name}[{', '.join(map(str, i))}]" if i else name for i in np.ndindex(*value.shape[1:])]
    return names, np.concatenate([value.reshape(len(value), -1) for value in parts.values()], axis=1)


def with_densities(problem: Problem, draws: Arrays, found: tuple[list[str], Array]) -> tuple[list[str], Array]:
    """Add the joint log likelihood and the log prior to what :func:`scalars` found at the same draws."""
    names, values = list(found[0]), [found[1]]
    for label, function in zip(DENSITIES, (problem.model.log_likelihood, problem.model.log_prior), strict=True):
        if function is not None:
            names.append(label)
            each = at_draws(problem, function, draws)
            values.append(each.reshape(len(each), -1).sum(1, keepdims=True))
    return names, np.concatenate(values, axis=1)


def flat_draws(model: Model, result: Result) -> dict[str, Array]:
    """Return a result's draws of the unknown variables, chains joined; a point estimate counts as one draw."""
    if not result.posterior:
        return {n: np.asarray(result.point[n])[None] for n in model.unknown.variables}
    return stacked({n: np.asarray(result.posterior[n]) for n in model.unknown.variables})
