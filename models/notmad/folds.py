"""Held-out samples."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array, Fold, Problem
from genarium.errors import InputError


def folds(problem: Problem, count: int, rng: np.random.Generator) -> Iterator[Fold]:
    """Hold out random samples, a part of all in turn; contexts are scaled by those of all samples.

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
        If there are fewer than two samples a part.
    """
    n = problem.sizes["sample"]
    if 2 * count > n:
        raise InputError(f"notmad: {n} samples cannot be held out in {count} parts of two or more. Ask for fewer.")
    part = rng.permutation(n) % count
    for held in range(count):
        yield Fold(_rows(problem, part != held), _rows(problem, part == held))


def _rows(problem: Problem, rows: Array) -> dict[str, Array]:
    return {name: problem[name][rows] for name in ("x", "context")}
