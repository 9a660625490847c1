"""Problems of locus_regression that several tests share."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import linear_sum_assignment

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Array, Model, Problem
from genarium.models.locus_regression import effects, random_loci

VARIANTS = [
    {"form": form, "groups": groups, "loci": "fixed"}
    for form, groups in itertools.product(("conditional", "joint"), ("one", "several"))
]
RANDOM = [{**options, "loci": "random"} for options in (VARIANTS[0], VARIANTS[3])]
VARIANTS += RANDOM
SMALL = {"genome": 6, "locus": 15, "feature": 2, "process": 3, "cell": 120}
every_variant = pytest.mark.parametrize("options", VARIANTS, ids=["-".join(v.values()) for v in VARIANTS])


def problem_of(options: Mapping[str, str], seed: int = 1, **settings: Any) -> tuple[Model, Problem, xr.DataTree]:
    model = registry.get("locus_regression").variant(**options)
    tree = gn.simulate(model, seed=seed, **{**SMALL, **settings})
    return model, check(model, tree), tree


def truth_of(tree: xr.DataTree) -> dict[str, Array]:
    names = ("beta", "lam", "rho", "pi", "locus_effect")
    return {name: tree["truth"][name].to_numpy() for name in names if name in tree["truth"]}


def random_state(step: Any, problem: Problem, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    state = step.first(problem, rng)
    K, F = state.effects.mean.shape
    roots = rng.normal(0, 0.2, (K, F, F))
    covariance = roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(F)
    if not step.full:
        covariance = covariance * np.eye(F)
    moved = effects.Effects(rng.normal(0, 0.7, (K, F)), covariance, state.effects.centre)
    if state.locus_effects is not None:
        shape, inverse_scale = rng.gamma(3, 1, (2, *state.locus_effects.shape.shape)) + 0.1
        found = random_loci.LocusEffects(shape, inverse_scale)
        state = replace(state, locus_effects=found, dispersion=rng.gamma(3, 0.2, K))
    return step.normalised(
        replace(
            state,
            effects=moved,
            delta=rng.gamma(3, 1, state.delta.shape) + 0.1,
            omega=rng.gamma(2, 1, state.omega.shape) + 0.1,
            gamma=rng.gamma(4, 1, state.gamma.shape) + 0.1,
            lam_concentration=rng.gamma(2, 0.3, K) + 0.05,
            rho_concentration=rng.gamma(2, 0.3, K) + 0.05,
        )
    )


def matched(found: Array, truth: Array) -> tuple[Array, Array]:
    """Order of the found processes, and their cosines."""
    a, b = (each.reshape(len(each), -1) for each in (found, truth))
    cosine = b @ a.T / np.linalg.norm(b, axis=1)[:, None] / np.linalg.norm(a, axis=1)
    rows, order = linear_sum_assignment(-cosine)
    return order, cosine[rows, order]


def as_arrays(tree: xr.DataTree) -> dict[str, Array]:
    """The mutations of a tree, without hyperparameters."""
    return {
        "genome": tree["constant_data"]["genome"].to_numpy(),
        **{name: tree["observed_data"][name].to_numpy() for name in ("locus", "channel")},
    }
