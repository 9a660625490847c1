"""Predictions for cells: which component, and how likely such a cell is."""

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array, Labelled, Problem
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.simplex import log_sum_exp
from genarium.tree import arrays, stacked

from .adjusted import Adjusted
from .rising import log_rising


def predict(fitted: xr.DataTree, problem: Problem) -> dict[str, Labelled]:
    """Predict groups and densities of the cells of a problem from a fitted tree.

    Parameters
    ----------
    fitted : DataTree
        With the group ``posterior`` or ``point``.
    problem : Problem
        The cells to predict for; genes and components as in the fit.

    Returns
    -------
    dict
        ``probability`` (cell, component): probability of each group; ``group`` (cell): the most probable one;
        ``log_density`` (cell): log predictive density. From a posterior, probabilities and densities are averaged
        over its draws; for variational Bayes with phi known and no size factors they are in closed form (eq. 19),
        unless its covariance was corrected; from a point estimate they are plugged in.
    """
    x, s = problem["x"], problem["size_factor"]
    story, problem = Adjusted.of(problem), in_batches_of(fitted, problem)
    q = fitted["variational"].to_dataset() if "variational" in fitted else xr.Dataset()
    if {"alpha", "a", "b"} <= set(q) and "covariance_linear_response" not in q and not (s != 1).any():
        joint = closed_form(q, x, 1 / problem["phi"])
    elif "posterior" in fitted:
        joint = average(fitted["posterior"].to_dataset(), problem, story)
    else:
        point = arrays(fitted["point"].to_dataset(), unknown(problem, fitted["point"]))
        joint = story.joint({**problem.arrays, **problem.fixed, **point})
    log_density = log_sum_exp(joint, -2)
    probability = np.exp(joint - log_density).T
    return {
        "probability": (("cell", "component"), probability),
        "group": (("cell",), probability.argmax(1)),
        "log_density": (("cell",), log_density),
    }


def in_batches_of(fitted: xr.DataTree, problem: Problem) -> Problem:
    """Return the problem with its batches numbered as the fit does."""
    if "batch" not in problem.arrays:
        return problem
    have = [str(label) for label in fitted["posterior" if "posterior" in fitted else "point"]["batch"].to_numpy()]
    names = [str(label) for label in problem.coords["batch"]]
    if names == have:
        return problem
    used = np.unique(problem["batch"])
    if strange := [names[b] for b in used if names[b] not in have]:
        raise InputError(
            f"nb_mixture: known variable 'batch' (cell): {strange[0]!r} is none of the batches of the fit, which are "
            f"{listed(have)}. Name one of these; of another one, the fit knows nothing."
        )
    number = np.zeros(len(names), dtype=np.int64)
    number[used] = [have.index(names[b]) for b in used]
    return replace(problem, arrays={**problem.arrays, "batch": number[problem["batch"]]})


def closed_form(q: xr.Dataset, x: Array, r: Array) -> Array:
    """Log of E pi_k times the product over genes of beta negative binomial densities; shape (K, N) (eq. 19)."""
    from scipy.special import betaln, gammaln

    alpha, a, b = (q[name].to_numpy() for name in ("alpha", "a", "b"))
    rising = (log_rising(x, r) - gammaln(x + 1)).sum(1)
    log_pi = np.log(alpha / alpha.sum())
    return np.stack(
        [log_pi[k] + rising + (betaln(a[k] + r, b[k] + x) - betaln(a[k], b[k])).sum(1) for k in range(len(alpha))]
    )


def average(posterior: xr.Dataset, problem: Problem, story: Adjusted, most: int = 500) -> Array:
    """Log of the joint density of group and counts, averaged over (at most ``most``) draws; shape (K, N)."""
    draws = stacked(arrays(posterior, unknown(problem, posterior)), most)
    total = np.full((problem.sizes["component"], len(problem["x"])), -np.inf)
    for i in range(len(draws["pi"])):
        one = {name: values[i] for name, values in draws.items()}
        total = np.logaddexp(total, story.joint({**problem.arrays, **problem.fixed, **one}))
    return np.asarray(total - np.log(len(draws["pi"])))


def unknown(problem: Problem, held: Any) -> list[str]:
    """Return the unknown variables that a group of a tree holds."""
    return [name for name in problem.model.unknown.variables if name in held]
