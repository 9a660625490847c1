"""NUTS (nutpie) and the maximum of the posterior density, from a model's PyMC density."""

import dataclasses
import os
import sys
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.compiled import COMPILED, compiled, uniform
from genarium.engines.native import density as native
from genarium.progress import lines, silenced


def nuts(
    problem: Problem,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    target_accept: float = 0.9,
    max_treedepth: int = 10,
) -> Result:
    """Sample the posterior by NUTS.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    draws, tune, chains : int
    target_accept : float
        Acceptance that the step size is adapted to.
    max_treedepth : int

    Returns
    -------
    Result
        ``posterior`` and ``sample_stats``.
    """
    density = native.density(problem, uniform(problem), lambda: compiled(problem), COMPILED)
    ready = density.nuts_with_data()
    starts = np.stack([density.start(stream) for stream in rng.spawn(chains)])
    seed = int(rng.integers(2**31))

    def initial_point(own: int) -> Array:
        """Pick a start by the chain's own seed: the chains call from threads, in any order."""
        stream = np.random.default_rng([seed, own])
        return np.asarray(starts[stream.integers(chains)] + stream.uniform(-0.1, 0.1, starts.shape[1]))

    import nutpie

    ready = dataclasses.replace(ready, initial_point_func=initial_point)
    with lines("NUTS"):
        trace = nutpie.sample(
            ready,
            draws=draws,
            tune=tune,
            chains=chains,
            cores=min(chains, os.cpu_count() or 1),
            seed=seed,
            target_accept=target_accept,
            maxdepth=max_treedepth,
            progress_bar=sys.stderr.isatty() and not silenced(),
            return_raw_trace=True,  # making a tree of it takes as long as some hundred draws
        )
    drawn, told = trace.get_arrow_trace()
    if any(chain.num_rows < tune + draws for chain in drawn):
        raise KeyboardInterrupt  # nutpie ends early when interrupted
    names = {"diverging": "diverging", "energy": "energy", "n_steps": "n_steps", "step_size": "step_size"}
    names |= {"depth": "tree_depth", "mean_tree_accept": "acceptance_rate"}
    stats = {new: _from_arrow(told, old, (), tune) for old, new in names.items()}
    shapes = {name: problem.model.shape(name, problem.sizes) for name in problem.model.unknown.variables}
    posterior = {name: _from_arrow(drawn, name, shape, tune) for name, shape in shapes.items()}
    return Result(posterior=posterior, sample_stats=stats, notes={"max_treedepth": max_treedepth})


def _from_arrow(chains: list[Any], name: str, shape: tuple[int, ...], tune: int) -> Array:
    """Return a column of nutpie's tables (one for each chain) as an array of shape (chain, draw, ...)."""
    import pyarrow

    columns = [pyarrow.array(chain.column(name)) for chain in chains]
    flat = [(c.flatten() if shape else c).to_numpy(zero_copy_only=False) for c in columns]
    return np.stack([values.reshape(-1, *shape)[tune:] for values in flat])


def maximum(
    problem: Problem,
    rng: np.random.Generator,
    *,
    max_iterations: int = 10_000,
    tolerance: float = 1e-8,
) -> Result:
    """Maximise the posterior density of the natural parameters by L-BFGS.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    max_iterations : int
    tolerance : float
        Largest element of the gradient at which the search stops, relative to the size of the log density.

    Returns
    -------
    Result
        ``point`` with the unknown variables and the log density by iteration.
    """
    from scipy.optimize import minimize

    density = compiled(problem)
    trace: list[float] = []

    def objective(vector: Array) -> tuple[float, Array]:
        value, gradient = density.log_density(vector)
        return -value, -gradient

    start = density.start(rng)
    scale = max(1.0, abs(objective(start)[0]))
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=lambda intermediate_result: trace.append(-float(intermediate_result.fun)),
        options={"maxiter": max_iterations, "gtol": tolerance * scale, "ftol": 1e-15},
    )
    natural, _ = density.constrained(found.x)
    bound = np.array([[-objective(start)[0], *trace]])
    notes = {
        "converged": int(found.success),
        "iterations": int(found.nit),
        "bound": -float(found.fun),
        "gradient": float(np.max(np.abs(np.asarray(found.jac)), initial=0.0)),
    }
    return Result(point={**natural, "bound": (("restart", "iteration"), bound)}, notes=notes)
