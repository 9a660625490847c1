"""The maximum of a PyMC density, from several starts."""

import numpy as np

from genarium.declaration import Problem, Result
from genarium.engines import pymc
from genarium.engines.modes import highest


def maximum(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 4,
    max_iterations: int = 10_000,
    tolerance: float = 1e-8,
) -> Result:
    """Maximise the PyMC density of the natural parameters by L-BFGS.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    restarts : int
        Starts, each drawn anew.
    max_iterations : int
    tolerance : float
        Largest element of the gradient at which a search stops, relative to the size of the log density.

    Returns
    -------
    Result
        ``point`` with the unknown variables and the log density by start and iteration.
    """

    def one(stream: np.random.Generator) -> Result:
        return pymc.maximum(problem, stream, max_iterations=max_iterations, tolerance=tolerance)

    return highest(one, rng, restarts)
