"""Fit: what goes in, what comes out, and how the two are labelled."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import registry
from genarium.declaration import Array, Method, Model, Problem, Result, Stage, Var
from genarium.errors import InputError
from genarium.methods import methods
from genarium.story import PREDICTIVE_DRAWS
from genarium.supports import real
from genarium.tree import arrays
from genarium.verbs.fit import fit


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return gn.simulate("nb_mixture", seed=3, cell=50, component=2, mu=[[5.0, 60.0], [80.0, 4.0]])


def em(data: Any, **settings: Any) -> xr.DataTree:
    return gn.fit("nb_mixture", data, "em", seed=1, **{"restarts": 2, **settings})


def returns(**parts: Any) -> Callable[..., Result]:
    """Return a method that finds what it is told."""

    def run(problem: Problem, rng: np.random.Generator) -> Result:
        return Result(**parts)

    return run


def with_method(model: Model, claim: Any, **parts: Any) -> Model:
    return replace(model, methods={"told": Method(returns(**parts), claim, "Told.")})


# Data in any form


def test_forms_of_data_agree(tree: xr.DataTree, same: Callable[..., None]) -> None:
    data = xr.merge([tree[group].to_dataset() for group in ("constant_data", "observed_data")])
    plain = arrays(data)
    results = [em(tree), em(plain, component=2), em(data, component=2)]
    for result in results[1:]:
        xr.testing.assert_identical(result["point"].to_dataset(), results[0]["point"].to_dataset())
    same(results[1], results[2])
    assert "truth" in results[0]
    assert "truth" not in results[1]


def test_settings_take_the_place_of_stored_values(tree: xr.DataTree) -> None:
    np.testing.assert_array_equal(em(tree, phi=2.0)["constant_data"]["phi"], [2.0, 2.0])
    np.testing.assert_array_equal(tree["constant_data"]["phi"], [0.3, 0.3])


def test_stored_sizes_are_used_and_can_be_overridden(tree: xr.DataTree) -> None:
    assert em(tree)["point"].sizes["component"] == 2
    other = em(tree, component=4)
    assert other["point"].sizes["component"] == 4
    assert json.loads(other.attrs["sizes"]) == {"cell": 50, "gene": 2, "component": 4}


def test_size_that_the_data_show_cannot_be_overridden(tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match=r"size cell=7 was asked for, but '\w+' has 50"):
        em(tree, cell=7)


def test_size_that_nobody_gives_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"do not show the size of 'component'. Give it: component=\.\.\. in Python"):
        em({"x": [[1, 2], [3, 4]], "phi": 0.3})


def test_variant_of_the_data_is_kept_and_can_be_changed(tree: xr.DataTree) -> None:
    shared = gn.simulate("nb_mixture", seed=3, cell=50, dispersion="shared")
    assert em(shared)["point"]["phi"].dims == ()
    assert em(shared, dispersion="component")["point"]["phi"].dims == ("component",)
    assert "phi" not in em(tree)["point"]
    assert em(tree, dispersion="gene")["point"]["phi"].dims == ("gene",)


def test_labels_of_the_data_come_back(tree: xr.DataTree) -> None:
    x = tree["observed_data"]["x"].assign_coords(gene=["left", "right"], cell=[f"c{i}" for i in range(50)])
    result = em({"x": x, "phi": 0.3}, component=2)
    assert list(result["point"]["gene"].to_numpy()) == ["left", "right"]
    assert list(result["point"]["responsibility"]["cell"].to_numpy()[:2]) == ["c0", "c1"]


def test_truth_and_its_seed_are_kept(tree: xr.DataTree) -> None:
    result = em(tree)
    xr.testing.assert_identical(result["truth"].to_dataset(), tree["truth"].to_dataset())
    assert result.attrs["simulation_seed"] == 3


def test_second_fit_replaces_the_first(tree: xr.DataTree) -> None:
    first = em(tree)
    second = gn.fit("nb_mixture", first, "vi", seed=1, restarts=2, draws=50)
    assert "point" in first
    assert "point" not in second
    assert (second.attrs["method"], second.attrs["claim"]) == ("vi", "approximate")
    assert "empty_components" not in json.loads(second.attrs["notes"])


def test_fixed_unknowns_are_held(tree: xr.DataTree) -> None:
    mu = tree["truth"]["mu"].to_numpy()
    result = em(tree, mu=mu)
    np.testing.assert_array_equal(result["point"]["mu"], mu)
    assert json.loads(result.attrs["fixed"]) == ["mu"]
    assert json.loads(em(tree).attrs["fixed"]) == []


def test_options_are_recorded_with_those_left_at_their_default(tree: xr.DataTree) -> None:
    options = json.loads(em(tree, restarts=4).attrs["options"])
    assert options["restarts"] == 4
    assert set(options) == set(registry.get("nb_mixture").methods["em"].options)


# What cannot be fitted


def test_a_method_that_makes_no_sense_for_a_model_is_refused_with_the_reason(toy: Model, toy_tree: xr.DataTree) -> None:
    lacking = replace(toy, unsupported={"map": "its density has no maximum"})
    assert "map" in methods(toy)
    assert "map" not in methods(lacking)
    with pytest.raises(InputError, match="toy: method 'map' is not offered: its density has no maximum"):
        fit(lacking, toy_tree, "map")


def test_unknown_method_lists_the_methods(tree: xr.DataTree) -> None:
    with pytest.raises(InputError) as error:
        gn.fit("nb_mixture", tree, "gradient")
    assert "nb_mixture: there is no method 'gradient'. The methods are em (point), vi (approximate)" in str(error.value)
    for name, way in methods(registry.get("nb_mixture")).items():
        assert f"{name} ({way.claim})" in str(error.value)


def test_model_without_methods_says_so(toy: Model, toy_tree: xr.DataTree) -> None:
    bare = replace(toy, methods={}, density=None)
    with pytest.raises(InputError, match=r"there is no method 'nuts'\. The methods are none"):
        gn.fit(bare, toy_tree, "nuts")


def test_unknown_setting_lists_the_options_of_the_method(tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match=r"no setting 'restart'\. Did you mean 'restarts'"):
        em(tree, restart=3)
    with pytest.raises(InputError, match="options of the method: restarts, tolerance, max_iterations, accelerate"):
        em(tree, chains=3)


@pytest.mark.parametrize("method", ["nuts", "advi", "map"])
def test_engines_cannot_hold_unknowns_fixed(toy: Model, toy_tree: xr.DataTree, method: str) -> None:
    with pytest.raises(InputError, match=f"toy: method {method!r} cannot hold theta fixed. Leave it out of the data"):
        gn.fit(toy, toy_tree, method, theta=1.0)


def test_data_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(InputError, match="data cannot be of type list"):
        gn.fit("nb_mixture", [[1, 2]], "em")


# What comes out


def test_results_are_labelled_by_the_declaration(toy: Model, toy_tree: xr.DataTree) -> None:
    theta = np.arange(6.0).reshape(2, 3)
    told = with_method(
        toy,
        "exact",
        posterior={"theta": theta},
        sample_stats={"energy": theta + 1},
        variational={"slope": (("item",), np.arange(30.0)), "knots": (("knot",), np.ones(4))},
        notes={"iterations": np.int64(5), "bound": np.float64(-1.5), "rule": "none"},
    )
    result = gn.fit(told, toy_tree, "told")
    assert result["posterior"]["theta"].dims == result["sample_stats"]["energy"].dims == ("chain", "draw")
    np.testing.assert_array_equal(result["posterior"]["theta"], theta)
    assert list(result["variational"]["knot"].to_numpy()) == [0, 1, 2, 3]
    assert json.loads(result.attrs["notes"]) == {"iterations": 5, "bound": -1.5, "rule": "none"}
    assert result["log_likelihood"]["y"].dims == ("chain", "draw", "item")
    assert list(result.children) == [
        "constant_data",
        "observed_data",
        "truth",
        "posterior",
        "sample_stats",
        "log_likelihood",
        "posterior_predictive",
        "variational",
    ]


def test_joint_density_and_pointwise_likelihood_follow_the_draws(toy: Model, toy_tree: xr.DataTree) -> None:
    theta = np.array([[0.0, 1.0], [2.0, 3.0]])
    result = gn.fit(with_method(toy, "exact", posterior={"theta": theta}), toy_tree, "told")
    y = toy_tree["observed_data"]["y"].to_numpy()
    pointwise = -0.5 * (y - theta[..., None]) ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(result["log_likelihood"]["y"], pointwise, rtol=1e-12)
    prior = -0.5 * (theta / 2) ** 2 - np.log(2) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(result["sample_stats"]["lp"], pointwise.sum(-1) + prior, rtol=1e-12)


def test_model_without_numpy_density_still_gives_draws(toy: Model, toy_tree: xr.DataTree) -> None:
    bare = replace(toy, log_likelihood=None, log_prior=None)
    result = gn.fit(bare, toy_tree, "conjugate", draws=5)
    assert "log_likelihood" not in result
    assert result["posterior"].sizes["draw"] == 5


def test_replications_follow_the_draws(toy: Model, toy_tree: xr.DataTree) -> None:
    theta = np.concatenate([np.full((1, 300), -50.0), np.full((1, 300), 50.0)])
    told = with_method(toy, "exact", posterior={"theta": theta})
    replicated = gn.fit(told, toy_tree, "told")["posterior_predictive"]["y"].to_numpy()
    assert replicated.shape == (1, PREDICTIVE_DRAWS, 30)  # evenly over both chains
    np.testing.assert_array_equal(np.sign(replicated.mean((0, 2))), np.repeat([-1, 1], PREDICTIVE_DRAWS // 2))
    residual = replicated[0] - np.repeat([-50.0, 50.0], PREDICTIVE_DRAWS // 2)[:, None]
    assert abs(residual.mean()) < 4 / np.sqrt(residual.size)
    assert abs(residual.std() - 1) < 4 / np.sqrt(2 * residual.size)


def test_what_an_engine_brings_is_not_made_again(toy: Model, toy_tree: xr.DataTree) -> None:
    theta = np.zeros((2, 400))
    pointwise = np.random.default_rng(0).normal(size=(2, 400, 30))
    copies = np.broadcast_to(np.arange(800.0).reshape(2, 400, 1), (2, 400, 30))
    told = with_method(
        toy, "exact", posterior={"theta": theta}, log_likelihood=pointwise, posterior_predictive={"y": copies}
    )
    result = gn.fit(told, toy_tree, "told")
    np.testing.assert_array_equal(result["log_likelihood"]["y"], pointwise)
    replicated = result["posterior_predictive"]["y"].to_numpy()
    assert replicated.shape == (1, PREDICTIVE_DRAWS, 30)
    assert (replicated[0, 0, 0], replicated[0, -1, 0]) == (0, 799)
    assert set(np.diff(replicated[0, :, 0])) == {1.0, 2.0}


def test_large_data_are_replicated_fewer_times(
    toy: Model, toy_tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genarium.story.PREDICTIVE_SIZE", 100)
    result = gn.fit(toy, toy_tree, "conjugate", chains=1, draws=20)
    assert result["posterior_predictive"].sizes["draw"] == 3  # of 30 items each


# Labels of exchangeable components


@pytest.fixture(scope="module")
def switched() -> tuple[dict[str, Array], dict[str, Array]]:
    """Draws in which label 0 is the heaviest component, and the same with labels permuted at random in every draw."""
    rng = np.random.default_rng(0)
    mu = np.array([[200.0, 3.0], [5.0, 60.0], [30.0, 30.0]]) * np.exp(rng.normal(0, 0.1, (2, 40, 3, 2)))
    pi = np.array([0.6, 0.3, 0.1]) * np.exp(rng.normal(0, 0.02, (2, 40, 3)))
    clean = {"pi": pi / pi.sum(-1, keepdims=True), "mu": mu}
    order = rng.permuted(np.tile(np.arange(3), (2, 40, 1)), axis=-1)
    mixed = {
        "pi": np.take_along_axis(clean["pi"], order, -1),
        "mu": np.take_along_axis(clean["mu"], order[..., None], -2),
    }
    return clean, mixed


def test_labels_of_exact_draws_are_matched(tree: xr.DataTree, switched: Any) -> None:
    clean, mixed = switched
    told = with_method(registry.get("nb_mixture"), "exact", posterior=mixed)
    result = gn.fit(told, tree, "told", component=3)
    for name, values in clean.items():
        np.testing.assert_array_equal(result["posterior"][name], values)


def test_labels_of_an_approximation_are_left_alone(tree: xr.DataTree, switched: Any) -> None:
    _, mixed = switched
    told = with_method(registry.get("nb_mixture"), "approximate", posterior=mixed)
    result = gn.fit(told, tree, "told", component=3)
    for name, values in mixed.items():
        np.testing.assert_array_equal(result["posterior"][name], values)


def test_derived_variables_are_beside_the_unknown_ones(toy: Model, toy_tree: xr.DataTree) -> None:
    twice = Var((), real, "Twice theta.", "2θ")
    model = replace(toy, derived=Stage({"twice": twice}, {"twice": lambda theta: 2 * theta}))
    for method in toy.methods:
        tree = fit(model, toy_tree, method, 1)
        group = tree["posterior" if "posterior" in tree else "point"]
        np.testing.assert_array_equal(group["twice"], 2 * group["theta"])
        assert group["twice"].dims == group["theta"].dims
        assert group["twice"].attrs["symbol"] == "2θ"
