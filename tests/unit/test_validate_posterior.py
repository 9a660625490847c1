"""Validation around a user's data: truths are draws of their posterior."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from faulty_methods import Array, sampler, trying
from genarium import registry
from genarium.calibration import validate
from genarium.calibration.plan import Given, Plan
from genarium.calibration.replicate import simulate as simulate_replicate
from genarium.data import check
from genarium.declaration import Model, Problem, Result, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.supports import real
from genarium.verbs.simulate import simulate


def test_exact_draws_pass_around_a_users_data(toy: Model, toy_tree: xr.DataTree) -> None:
    found = validate(toy, "conjugate", 100, seed=1, data=toy_tree)
    assert found.passed
    assert found.plan["kind"] == "posterior"
    assert "prior_sbc" not in found.tree
    assert found.tree["posterior_sbc"].attrs["L"] == 99
    assert (found.tree["posterior_sbc_pit"]["theta"] < 1).all()


def test_truths_are_draws_of_the_users_posterior(
    toy: Model, toy_tree: xr.DataTree, toy_exact: Callable[[xr.DataTree], tuple[float, float]]
) -> None:
    found = validate(toy, "conjugate", 100, seed=1, data=toy_tree)
    mean, sd = toy_exact(toy_tree)
    truth = found.tree["truth"]["theta"].to_numpy().ravel()
    assert len(np.unique(truth)) == 100
    assert truth.mean() == pytest.approx(mean, abs=4 * sd / 10)
    assert truth.std() == pytest.approx(sd, rel=4 / np.sqrt(200))


def test_simulated_data_are_joined_with_the_users(toy: Model) -> None:
    y, theta = np.arange(4.0), np.array([1.5, 100.0])
    known = {"sigma": np.array(0.1), "tau": np.array(2.0)}
    plan = Plan(toy, "conjugate", {"item": 4}, given=Given({"y": y, **known}, {"theta": theta}))
    for index in range(2):
        one = simulate_replicate(plan, index)
        assert isinstance(one.problem, Problem)
        assert one.truth["theta"] == theta[index]
        np.testing.assert_array_equal(one.problem["y"][:4], y)
        assert np.abs(one.problem["y"][4:] - theta[index]).max() < 0.5


def test_a_wrong_posterior_is_rejected_around_a_users_data(toy: Model, toy_tree: xr.DataTree) -> None:
    assert not validate(toy, "conjugate", 100, seed=1, data=toy_tree, wrong={"sigma": 2.0}).passed


def test_units_that_stand_for_many_are_joined_by_their_counts() -> None:
    tree = simulate("transcript_abundance", seed=5)
    problem = check(registry.get("transcript_abundance"), tree)
    truth = {name: tree["truth"][name].to_numpy()[None] for name in problem.model.unknown.variables}
    given = Given(problem.arrays, truth)
    joined = simulate_replicate(Plan("transcript_abundance", "gibbs", problem.sizes, given=given), 0).problem
    assert isinstance(joined, Problem)
    assert joined["reads"] == joined["count"].sum() == 2 * problem["reads"]
    assert (joined["count"] >= problem["count"]).all()


def test_posterior_sbc_needs_an_exact_method(toy: Model, toy_tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match=r"exact draws of the posterior; 'tried' is approximate"):
        validate(trying(toy, sampler(), "approximate"), "tried", 5, data=toy_tree)


def test_posterior_sbc_keeps_no_draws(toy: Model, toy_tree: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keep=True is of no use with data"):
        validate(toy, "conjugate", 5, data=toy_tree, keep=True, out=tmp_path)


def test_posterior_sbc_needs_a_unit(toy: Model, toy_tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="cannot be joined"):
        validate(replace(toy, unit=""), "conjugate", 5, data=toy_tree)


def test_posterior_sbc_needs_unknowns_that_all_data_share(toy: Model) -> None:
    def effects(rng: np.random.Generator, sizes: Sizes) -> Array:
        return rng.normal(size=sizes["item"])

    own = Var(("item",), real, "Effect of an item.", "e")
    unknown = Stage({**toy.unknown.variables, "effect": own}, {**toy.unknown.draw, "effect": effects})  # type: ignore[dict-item]

    def run(problem: Problem, rng: np.random.Generator, *, chains: int = 2, draws: int = 200) -> Result:
        theta = sampler()(problem, rng, chains=chains, draws=draws).posterior["theta"]
        return Result(posterior={"theta": theta, "effect": rng.normal(size=(chains, draws, problem.sizes["item"]))})

    model = trying(toy, run, unknown=unknown)
    with pytest.raises(InputError, match="'effect' belongs to each item"):
        validate(model, "tried", 5, data=simulate(model, seed=1, item=5))
