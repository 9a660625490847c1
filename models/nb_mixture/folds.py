"""Held-out cells: each part to be predicted by a fit to the others."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Fold, Problem
from genarium.errors import InputError


def folds(problem: Problem, count: int, rng: np.random.Generator) -> Iterator[Fold]:
    """Hold out random cells, a part of all in turn.

    Parameters
    ----------
    problem : Problem
    count : int
        Number of parts.
    rng : Generator

    Yields
    ------
    Fold

    Raises
    ------
    InputError
        If there are fewer cells than parts.
    """
    N = problem.sizes["cell"]
    if count > N:
        raise InputError(f"nb_mixture: {N} cells cannot be held out in {count} parts. Ask for fewer.")
    names = [name for name, var in problem.model.variables("known", "observed").items() if "cell" in var.dims]
    kept = {dim: problem.sizes[dim] for dim in ("batch",) if dim in problem.sizes}
    for part in np.array_split(rng.permutation(N), count):
        out = np.zeros(N, dtype=bool)
        out[part] = True
        yield Fold({n: problem[n][~out] for n in names}, {n: problem[n][out] for n in names}, kept)
