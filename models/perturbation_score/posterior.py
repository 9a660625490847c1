"""From a fit to Dirichlet concentrations of proportions, of seen and of unseen perturbations (eqs. 2, 4, 8, 9)."""

import numpy as np
import xarray as xr
from scipy.special import softmax

from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.remedies import verb
from genarium.tree import arrays, stacked

from .likelihood import Story
from .predictor import JITTER, SMALLEST, Predictor, factor, kernel

MOST = 500
"""Draws used at most."""


def draws_of(fitted: xr.DataTree, names: list[str], most: int = MOST) -> dict[str, Array]:
    """Return draws of the unknown variables, shape (S, ...), evenly thinned; a point estimate counts as one draw."""
    if "posterior" not in fitted and "point" not in fitted:
        raise InputError(
            f"perturbation_score: the tree holds no fit (groups posterior or point). Run {verb('fit')} first."
        )
    if "posterior" not in fitted:
        return {name: fitted["point"][name].to_numpy()[None] for name in names}
    return stacked(arrays(fitted["posterior"].to_dataset(), names), most)


def concentrations(fitted: xr.DataTree, problem: Problem, rng: np.random.Generator, most: int = MOST) -> Array:
    """Concentrations a = alpha + N of every perturbation's proportions at every draw, shape (S, P, K).

    Parameters
    ----------
    fitted : DataTree
    problem : Problem
        Perturbations to speak of; those without cells are unseen ones, whose a is the prior's.
    rng : Generator
        For what a draw leaves open: cell numbers of unseen perturbations where these are modelled, and values of a
        Gaussian process at new features. Each perturbation sees the same numbers, so that it does not matter which
        others there are.
    most : int
        Draws at most.

    Returns
    -------
    ndarray
    """
    regression, abundance = problem.option("regression"), problem.option("abundance")
    draws = draws_of(fitted, Story(regression, abundance).names()[0], most)
    counts = problem["count"]
    more: dict[str, Array] = {"features": problem["features"]} if regression == "linear" else {}
    if abundance == "joint":
        more["cells"] = cell_numbers(counts.sum(1), draws, rng)
    eta = Predictor("linear" if regression == "linear" else "none", abundance).eta({**draws, **more})
    if regression == "gaussian_process":
        eta = eta + surface(fitted["constant_data"].to_dataset(), problem["features"], draws, rng)
    prior = np.maximum(draws["kappa"][:, None, None] * softmax(eta, axis=-1), SMALLEST)
    return np.asarray(prior + counts)


def cell_numbers(seen: Array, draws: dict[str, Array], rng: np.random.Generator) -> Array:
    """Return cell numbers by draw: what was seen, and new draws where nothing was; shape (S, P)."""
    r, mean = draws["evenness"][:, None], draws["typical"][:, None]
    return np.where(seen > 0, seen, 1 + rng.negative_binomial(r, r / (r + mean)))


def surface(data: xr.Dataset, new: Array, draws: dict[str, Array], rng: np.random.Generator) -> Array:
    """Draw tau times a Gaussian process at new features, given its values at the fitted ones (eq. 8); (S, P, K)."""
    old, lengthscale = data["features"].to_numpy(), data["lengthscale"].to_numpy()
    L = factor(old, lengthscale)
    across = np.linalg.solve(L, kernel(old, new, lengthscale)).T  # (P, P_fitted)
    left = np.maximum(1 + JITTER - (across**2).sum(1), 0.0)
    left = np.where(left < 10 * JITTER, 0.0, left)  # a fitted gene is not drawn anew
    noise = rng.normal(size=(len(draws["tau"]), 1, draws["mu"].shape[-1]))
    noise -= noise.mean(-1, keepdims=True)
    values = across @ draws["weight"] + np.sqrt(left)[:, None] * noise
    return np.asarray(draws["tau"][:, None, None] * values)
