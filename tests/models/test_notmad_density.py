"""The densities of NOTMAD at the edges of their domain."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines import compiled as densities
from genarium.engines import sharing
from genarium.engines.native import density as native
from genarium.models.notmad.objective import Objective

CYCLE = [[1.5, 1.5], [0.0, 0.0]]
"""The first archetype is no M-matrix, so that its h is infinite; with even weights the mixture is one."""


def problem(**strengths: float) -> tuple[Problem, Mapping[str, Array]]:
    """Eight samples of two nodes under the log determinant, and a point with a cyclic archetype."""
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(8, 2)), "context": rng.normal(size=(8, 1)), **strengths}
    at = {"edge_weight": CYCLE, "intercept": [0.0, 0.0], "slope": [[0.0, 0.0]], "sigma": [1.0, 1.0]}
    made = check(gn.get("notmad").variant(penalty="logdet"), data, {"archetype": 2})
    return made, {name: np.asarray(value) for name, value in at.items()}


def in_numpy(made: Problem, at: Mapping[str, Array]) -> float:
    assert made.model.log_likelihood is not None
    assert made.model.log_prior is not None
    return float(made.call(made.model.log_likelihood, **at).sum() + made.call(made.model.log_prior, **at))


@pytest.mark.slow
@pytest.mark.parametrize(
    "strengths", [{}, *(pytest.param(s, marks=pytest.mark.slow) for s in ({"gamma": 0.5}, {"alpha": 0.0}))], ids=str
)
def test_a_potential_without_strength_is_none_even_where_h_is_infinite(strengths: dict[str, float]) -> None:
    made, at = problem(**strengths)
    if "alpha" in strengths:  # every sample has the cyclic archetype to itself
        at = {**at, "intercept": np.array([40.0, 0.0])}
    density = densities.Compiled(made, interpreted=True)
    value, gradient = density.log_density(density.unconstrained(at))
    here = in_numpy(made, at)
    if "gamma" in strengths:
        assert value == here == -np.inf
        return
    acyclic = {**at, "edge_weight": np.array([[0.5, 0.0], [0.0, 0.2]])}
    there = density.log_density(density.unconstrained(acyclic))[0] - in_numpy(made, acyclic)
    assert np.isfinite(here)
    assert value == pytest.approx(here + there, rel=1e-9)
    assert np.isfinite(gradient).all()
    if "alpha" in strengths:
        assert np.isfinite(Objective(made)(at)[0].smooth)


@pytest.mark.slow
def test_validation_tells_that_the_jacobian_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a free order the simulator draws by rejection; without log |det(I - W)| networks come out too strong."""
    import pytensor.tensor as pt

    settings: dict[str, Any] = {"order": "free", "sample": 20, "node": 2, "covariate": 1, "tau": 1.0, "beta": 2.0}
    settings |= {"noise": "shared"}  # with a sigma of each node, directions are open, and chains stay in one mode
    right = gn.validate("notmad", "nuts", 40, seed=5, **settings)  # intervals cover .67 if wrong: 3.7 errors of 40
    assert right.calibrated
    monkeypatch.setenv("GENARIUM_COMPILED", "")  # nothing is shared with the density of a changed PyTensor
    monkeypatch.setattr(sharing, "_CERTAIN", {})
    monkeypatch.setattr(native, "_KNOWN", {})
    monkeypatch.setattr(pt.linalg, "slogdet", lambda matrix: (None, pt.zeros(matrix.shape[0])))
    wrong = gn.validate("notmad", "nuts", 40, seed=5, **settings)
    assert not wrong.calibrated


RULED: list[dict[str, str]] = [
    {},
    {"prior": "hierarchical", "mean": "regressed"},
    {"order": "given", "noise": "shared"},
]
"""Variants whose densities are compared under rules."""


def ruled(options: dict[str, str]) -> tuple[Problem, list[Mapping[str, Array]]]:
    """Twelve samples with one edge required and two forbidden, and three points of the prior."""
    rule = np.array([[0, 1, -1], [-1, 0, 0], [0, 0, 0]])
    settings: dict[str, Any] = {"sample": 12, "rule": rule, "required_sd": 0.7, **options}
    trees = [gn.simulate("notmad", seed, **settings) for seed in range(3)]
    model = gn.get("notmad").variant(**options)
    at: list[Mapping[str, Array]] = [
        {name: tree["truth"][name].to_numpy() for name in model.unknown.variables} for tree in trees
    ]
    return check(model, trees[0]), at


@pytest.mark.parametrize("options", RULED, ids=str)
@pytest.mark.slow
def test_densities_in_pymc_and_numpy_keep_to_rules(options: dict[str, str]) -> None:
    made, at = ruled(options)
    density = densities.Compiled(made, interpreted=True)
    apart = [density.log_density(density.unconstrained(point))[0] - in_numpy(made, point) for point in at]
    np.testing.assert_allclose(apart, apart[0], atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("options", [RULED[0], RULED[2]], ids=str)
def test_densities_in_stan_and_numpy_keep_to_rules(options: dict[str, str]) -> None:
    from genarium.engines import stan

    made, at = ruled(options)
    apart = stan.log_density(made, at)[0] - [in_numpy(made, point) for point in at]
    np.testing.assert_allclose(apart, apart[0], atol=1e-8)
