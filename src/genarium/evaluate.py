"""Functions of a model at many draws of its unknown variables."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays, Problem
from genarium.progress import bar

BLOCK = 1_000_000
"""Observed values times draws that a vectorised function is given at once, about: it bounds the memory."""


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
