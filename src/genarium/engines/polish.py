"""Polish: a short run of NUTS from an approximation whose draws importance ratios cannot correct."""

import numpy as np

from genarium.declaration import Array, Arrays, Problem
from genarium.engines import hmc
from genarium.engines.compiled import compiled
from genarium.engines.resample import smoothed
from genarium.progress import bar

CANDIDATES = 400
"""Draws of the approximation among which the starts are chosen, at most."""

PRIOR_DRAWS = 5
"""Draws that the assumption of independent coordinates counts for in the metric."""


def polish(
    problem: Problem,
    rng: np.random.Generator,
    normal_draws: Arrays,
    *,
    draws: int,
    tune: int = 100,
    chains: int = 4,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Sample the posterior by NUTS, from the draws of an approximation and with their covariance as the metric.

    The chains start at draws of the approximation, chosen by smoothed importance ratios against a normal density with
    that covariance; only the step size is adapted.

    Parameters
    ----------
    problem : Problem
        Of a model with a PyMC density.
    rng : Generator
        Every chain gets a stream of its own, spawned from it.
    normal_draws : mapping of str to ndarray, shape (S, ...)
        Draws of every unknown variable from the approximation (not resampled), on the natural scale.
    draws, tune, chains : int
        Draws kept of each chain; draws before; chains.

    Returns
    -------
    posterior : dict of str to ndarray, shape (chains, draws, ...)
    sample_stats : dict of str to ndarray, shape (chains, draws)
        ``diverging``, ``acceptance_rate``, ``n_steps``, ``step_size``, ``energy`` and ``tree_depth``.

    Raises
    ------
    FloatingPointError
        If no draw of the approximation has a finite density.
    """
    density = compiled(problem)

    def log_density(vector: Array) -> tuple[float, Array]:
        return density.log_density(vector, jacobian=True)

    vectors = density.unconstrained_draws(normal_draws)
    vectors = vectors[np.isfinite(vectors).all(1)]  # (S, n)
    factor = np.linalg.cholesky(metric(vectors))
    chosen = starts(log_density, vectors, factor, rng, chains)
    with bar("polishing", chains * (tune + draws)) as advance:
        runs = [
            hmc.sample(log_density, start, factor, stream, draws=draws, tune=tune, advance=advance)
            for start, stream in zip(chosen, rng.spawn(chains), strict=True)
        ]
    natural, _ = density.constrained_draws(np.concatenate([kept for kept, _ in runs]))
    posterior = {name: values.reshape(chains, draws, *values.shape[1:]) for name, values in natural.items()}
    return posterior, {name: np.stack([stats[name] for _, stats in runs]) for name in runs[0][1]}


def metric(vectors: Array) -> Array:
    """Estimate the covariance, shrunk to its diagonal the more the fewer draws there are; shape (n, n)."""
    S, n = vectors.shape
    covariance = np.atleast_2d(np.cov(vectors.T))
    variance = np.diagonal(covariance)
    variance = np.where(variance > 0, variance, 1.0)  # a coordinate that does not vary says nothing of its scale
    share = S / (S + n + PRIOR_DRAWS)
    return np.asarray(share * covariance + (1 - share) * np.diag(variance))


def starts(log_density: hmc.LogDensity, vectors: Array, factor: Array, rng: np.random.Generator, chains: int) -> Array:
    """Choose where the chains start; shape (chains, n)."""
    some = rng.choice(len(vectors), min(len(vectors), CANDIDATES), replace=False)
    candidates = vectors[some]
    whitened = np.linalg.solve(factor, (candidates - vectors.mean(0)).T)  # (n, candidates)
    values = np.array([log_density(vector)[0] for vector in candidates])
    if not np.isfinite(values).any():
        raise FloatingPointError("no draw of the approximation has a finite log density")
    weights, _ = smoothed(np.where(np.isfinite(values), values, -np.inf) + 0.5 * (whitened**2).sum(0))
    weights = np.where(np.isfinite(values), weights, 0)
    replace = int((weights > 0).sum()) < chains
    chosen: Array = candidates[rng.choice(len(candidates), chains, replace=replace, p=weights / weights.sum())]
    return chosen
