"""Gibbs sampling; equation numbers refer to the card (README.md)."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Arrays, Problem, Result
from genarium.engines import chains as engine


def gibbs(
    problem: Problem, rng: np.random.Generator, *, chains: int = 4, draws: int = 1000, tune: int = 100, thin: int = 1
) -> Result:
    """Sample the rates and what they share in turn.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior``: inverse_scale, rate.
    """
    shape, a0, b0 = (float(problem[name]) for name in ("shape", "a0", "b0"))
    total = problem["count"].sum(0)  # (G,)
    depth = problem["exposure"].sum()

    def chain(rng: np.random.Generator) -> Iterator[Arrays]:
        inverse_scale = rng.gamma(a0, 1 / b0)  # every chain starts from the prior
        while True:
            rate = rng.gamma(shape + total, 1 / (inverse_scale + depth))  # (G,), eq. 5
            inverse_scale = rng.gamma(a0 + shape * len(total), 1 / (b0 + rate.sum()))  # eq. 6
            yield {"inverse_scale": np.asarray(inverse_scale), "rate": rate}

    return Result(posterior=engine.run(chain, rng, chains=chains, draws=draws, tune=tune, thin=thin))
