"""From the optimum of variational Bayes to draws of the posterior: linear response, then importance resampling.

Equation numbers refer to the card (README.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations, product
from math import factorial, prod
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines import importance
from genarium.engines.labels import match_labels
from genarium.engines.polish import polish as run
from genarium.engines.resample import KHAT_USABLE, NORMAL_DRAWS, resample

from .counts import Counts
from .draws import log_density
from .likelihood import Story
from .response import log_ratios

PERMUTATIONS = 120
"""Permutations of components that the proposal counts with, at most: all of five."""


def correct(
    problem: Problem,
    rng: np.random.Generator,
    step: Any,
    found: Result,
    response: Sequence[Array],
    order: Array,
    *,
    draws: int,
    polish: bool,
) -> Result:
    """Replace the draws from q by draws of the posterior.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    step : ConjugateStep or DepthStep
    found : Result
        Of variational Bayes.
    response : (ndarray, shape (F,); ndarray, shape (F, F))
        Mean and linear-response covariance of ln pi, ln mu and ln r.
    order : ndarray of int, shape (K,)
        Of the components in ``found``.
    draws : int
    polish : bool
        Whether NUTS goes on where importance ratios cannot correct the proposal.

    Returns
    -------
    Result

    Raises
    ------
    ApproximationError
        If Pareto k-hat is too large and ``polish`` is off.
    """
    counts = Counts(problem["x"], problem["size_factor"])
    story = Story(problem.option("dispersion"))
    f = reordered(step, order)
    mean, covariance, image = response[0][f], response[1][np.ix_(f, f)], log_ratios(step)
    known = {name: problem[name] for name in ("phi",) if name in problem.arrays}

    def log_posterior(theta: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far out: a draw without weight
            natural, log_jacobian = constrained(problem, theta)
            return log_density(problem, counts, story, **{**known, **natural}) + log_jacobian

    around = image @ mean, image @ covariance @ image.T
    sampled = importance.sample(
        log_posterior, *around, rng, draws=max(NORMAL_DRAWS, 4 * draws), mirrors=relabellings(step, *around)
    )
    stats: dict[str, Array] = {}
    polished = polish and sampled.khat > KHAT_USABLE
    if polished:
        normal = rng.multivariate_normal(sampled.mean, sampled.covariance, len(sampled.theta), method="cholesky")
        posterior, stats = run(problem, rng, constrained(problem, normal)[0], draws=-(-draws // 4))
        posterior = match_labels(problem.model, posterior)
    else:
        index, _ = resample(sampled.log_ratio, rng, draws, limit=KHAT_USABLE)
        natural, _ = constrained(problem, sampled.theta[index])
        posterior = {name: value[None] for name, value in natural.items()}
    return replace(
        found,
        posterior=posterior,
        sample_stats=stats,
        variational={**found.variational, **labelled(problem, step, mean, covariance)},
        notes={**found.notes, "khat": sampled.khat, "polished": int(polished)},
    )


def reordered(step: Any, order: Array) -> Array:
    """Where each of the functions f is found once the components are in another order; shape (F,)."""
    _, K, D = step.r.shape
    mu = K + order[:, None] * D + np.arange(D)
    rest = np.arange(K + K * D, K + K * D + (int(np.prod(step.grid.log_r.shape[1:])) if len(step.r) > 1 else 0))
    return np.concatenate([order, mu.ravel(), rest[order] if step.own_r and len(rest) else rest])


def relabellings(step: Any, mean: Array, covariance: Array) -> Array:
    """Permutations of components that may be mistaken for one another, as maps of the coordinates; shape (G, P, P).

    They are all permutations within clusters of components. Pairs are joined to clusters as long as there are no more
    than ``PERMUTATIONS`` of them; first those whose exchange moves the mean by the fewest sd.
    """
    K, image = step.r.shape[1], log_ratios(step)
    lift = np.vstack([np.zeros(len(mean)), image[:, 1:]])  # from coordinates to f, with ln pi_1 = 0

    def matrix(order: Array) -> Array:
        return np.asarray(image @ lift[reordered(step, order)])

    def distance(pair: tuple[int, int]) -> float:
        order = np.arange(K)
        order[list(pair)] = pair[::-1]
        gap = matrix(order) @ mean - mean
        return float(np.sqrt(gap @ np.linalg.solve(covariance, gap)))

    clusters = [[k] for k in range(K)]
    distances = {pair: distance(pair) for pair in combinations(range(K), 2)}
    for pair in sorted(distances, key=lambda pair: distances[pair]):
        one, other = (next(c for c in clusters if k in c) for k in pair)
        joined = [c for c in clusters if c not in (one, other)] + [one + other]
        if one is not other and prod(factorial(len(c)) for c in joined) <= PERMUTATIONS:
            clusters = joined
    orders = []
    for choice in product(*(permutations(c) for c in clusters)):
        order = np.empty(K, dtype=int)
        for cluster, chosen in zip(clusters, choice, strict=True):
            order[cluster] = chosen
        orders.append(order)
    return np.stack([matrix(order) for order in orders])


def constrained(problem: Problem, theta: Array) -> tuple[dict[str, Array], Array]:
    """Return pi, mu (and phi) for draws of ln(pi_k / pi_1), ln mu and ln phi (S, P), and the log Jacobian (eq. 25)."""
    from scipy.special import log_softmax

    sizes = problem.sizes
    S, K, D = len(theta), sizes["component"], sizes["gene"]
    log_pi = log_softmax(np.column_stack([np.zeros(S), theta[:, : K - 1]]), axis=1)
    out = {
        "pi": np.maximum(np.exp(log_pi), 1e-300),
        "mu": np.exp(theta[:, K - 1 : K - 1 + K * D]).reshape(S, K, D),
    }
    if "phi" in problem.model.unknown.variables:
        shape = problem.model.shape("phi", sizes)
        out["phi"] = np.exp(theta[:, K - 1 + K * D :]).reshape(S, *shape)
    return out, log_pi.sum(1) + theta[:, K - 1 :].sum(1)


def labelled(problem: Problem, step: Any, mean: Array, covariance: Array) -> dict[str, Any]:
    """Label mean, sd and covariance of ln pi, ln mu and ln phi by linear response."""
    model, sizes = problem.model, problem.sizes
    sign = np.ones(len(mean))
    out: dict[str, Any] = {}
    names: list[str] = []
    sd = np.sqrt(np.diag(covariance))
    for name in ("pi", "mu", "phi"):
        if name not in model.unknown.variables:
            continue
        dims, shape = model.variables()[name].dims, model.shape(name, sizes)
        at = slice(len(names), len(names) + int(np.prod(shape)))
        out[f"log_{name}_sd_linear_response"] = (dims, sd[at].reshape(shape))
        labels = [problem.coords.get(dim, np.arange(sizes[dim])) for dim in dims]
        where = [[str(label[i]) for label, i in zip(labels, index, strict=True)] for index in np.ndindex(*shape)]
        names += [f"ln {name}" + (f"[{', '.join(one)}]" if one else "") for one in where]
        if name == "phi":
            sign[at] = -1  # f holds ln r
    return out | {
        "parameter_name": (("parameter",), np.array(names)),
        "mean_linear_response": (("parameter",), sign * mean),
        "covariance_linear_response": (("parameter", "other_parameter"), sign[:, None] * covariance * sign),
    }
