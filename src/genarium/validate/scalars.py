"""The scalars that truths are ranked by: parameters, label-invariant quantities, and joint densities."""

from collections.abc import Callable
from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays, Model, Problem, Result

DENSITIES = ("log_likelihood", "log_prior")
"""Scalars that every model has; nonlinear in the unknown variables."""


def scalars(problem: Problem, draws: Arrays, *, densities: bool = True) -> tuple[list[str], Array]:
    """Every scalar that is ranked, at each draw.

    Parameters
    ----------
    problem : Problem
    draws : mapping of str to ndarray, shape (S, ...)
        The unknown variables.
    densities : bool
        Whether to add the joint log likelihood and the log prior.

    Returns
    -------
    names : list of str
    values : ndarray, shape (S, Q)
        Unknown variables (those without meaningless labels), the model's quantities, the densities.
    """
    model = problem.model
    count = len(next(iter(draws.values())))
    parts: dict[str, Array] = {
        name: draws[name] for name, var in model.unknown.variables.items() if model.exchangeable not in var.dims
    }
    functions: dict[str, Callable[..., Any] | None] = {"": model.quantities}
    if densities:
        functions |= dict(zip(DENSITIES, (model.log_likelihood, model.log_prior), strict=True))
    for label, function in functions.items():
        if function is None:
            continue
        rows = [problem.call(function, **{n: v[s] for n, v in draws.items()}) for s in range(count)]
        if label:
            parts[label] = np.array([np.sum(row) for row in rows])
        else:
            parts |= {name: np.stack([np.asarray(row[name], dtype=float) for row in rows]) for name in rows[0]}
    names, columns = [], []
    for name, value in parts.items():
        names += [f"{name}[{', '.join(map(str, i))}]" if i else name for i in np.ndindex(*value.shape[1:])]
        columns.append(value.reshape(count, -1))
    return names, np.concatenate(columns, axis=1)


def flat_draws(model: Model, result: Result) -> dict[str, Array]:
    """Return a result's draws of the unknown variables, chains joined; a point estimate counts as one draw."""
    if not result.posterior:
        return {n: np.asarray(result.point[n])[None] for n in model.unknown.variables}
    draws = {n: np.asarray(result.posterior[n]) for n in model.unknown.variables}
    return {n: v.reshape(-1, *v.shape[2:]) for n, v in draws.items()}


def by_chain(problem: Problem, draws: Arrays) -> Array:
    """Return what convergence is judged by, at every draw; shape (C, S, Q)."""
    chains, count = next(iter(draws.values())).shape[:2]
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in draws.items()}
    _, values = scalars(problem, flat, densities=False)
    return values.reshape(chains, count, -1)
