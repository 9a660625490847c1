"""The maximum of a Stan program's density, from several starts."""

import numpy as np

from genarium.declaration import Problem, Result
from genarium.engines import stan
from genarium.engines.modes import highest


def maximum(problem: Problem, rng: np.random.Generator, *, restarts: int = 4, cmdstan: str = "") -> Result:
    """Maximise the Stan program's density of the natural parameters by L-BFGS.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    restarts : int
        Starts, each drawn anew.
    cmdstan : str
        Folder of CmdStan; "" looks for one.

    Returns
    -------
    Result
    """
    return highest(lambda stream: stan.maximum(problem, stream, cmdstan=cmdstan), rng, restarts)
