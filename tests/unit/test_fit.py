"""Fit: what goes in, what comes out, and how the two are labelled."""

import inspect
import json
import re
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
from genarium.supports import real
from genarium.tree import arrays
from genarium.verbs.fit import fit
from genarium.verbs.prior import PRIOR_DRAWS


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
    with pytest.raises(InputError, match=r"do not show the size of 'component'. Give it: component=\.\.\., such as"):
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


def test_a_method_of_another_variant_is_told() -> None:
    with pytest.raises(InputError, match=r"no method 'statistic'\. It is offered with observed='expression'\."):
        gn.fit("perturbation_score", {"count": np.ones((2, 2))}, "statistic")


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
        "log_prior",
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
    np.testing.assert_allclose(result["log_prior"]["joint"], prior, rtol=1e-12)
    np.testing.assert_allclose(result["sample_stats"]["lp"], pointwise.sum(-1) + prior, rtol=1e-12)


def test_model_without_numpy_density_still_gives_draws(toy: Model, toy_tree: xr.DataTree) -> None:
    bare = replace(toy, log_likelihood=None, log_prior=None)
    result = gn.fit(bare, toy_tree, "conjugate", draws=5)
    assert "log_likelihood" not in result
    assert result["posterior"].sizes["draw"] == 5


def test_replications_follow_the_draws(toy: Model, toy_tree: xr.DataTree) -> None:
    theta = np.concatenate([np.full((1, 300), -50.0), np.full((1, 300), 50.0)])
    told = with_method(toy, "exact", posterior={"theta": theta})
    result = gn.fit(told, toy_tree, "told")
    replicated = result["posterior_predictive"]["y"]
    assert replicated.shape == (2, 300, 30)
    for dim in ("chain", "draw"):  # as the pointwise likelihood, so that functions of both need no alignment
        np.testing.assert_array_equal(replicated[dim], result["log_likelihood"][dim])
    residual = replicated.to_numpy() - theta[..., None]
    assert abs(residual.mean()) < 4 / np.sqrt(residual.size)
    assert abs(residual.std() - 1) < 4 / np.sqrt(2 * residual.size)


def test_what_an_engine_brings_is_not_made_again(
    toy: Model, toy_tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    theta = np.zeros((2, 400))
    pointwise = np.random.default_rng(0).normal(size=(2, 400, 30))
    copies = np.broadcast_to(np.arange(800.0).reshape(2, 400, 1), (2, 400, 30))
    told = with_method(
        toy, "exact", posterior={"theta": theta}, log_likelihood=pointwise, posterior_predictive={"y": copies}
    )
    result = gn.fit(told, toy_tree, "told")
    np.testing.assert_array_equal(result["log_likelihood"]["y"], pointwise)
    np.testing.assert_array_equal(result["posterior_predictive"]["y"], copies)
    monkeypatch.setattr("genarium.story.PREDICTIVE_SIZE", 5 * 2 * 30)
    replicated = gn.fit(told, toy_tree, "told")["posterior_predictive"]["y"]
    np.testing.assert_array_equal(replicated, copies[:, replicated["draw"]])
    assert replicated["draw"].to_numpy().tolist() == [0, 100, 200, 299, 399]


@pytest.mark.parametrize(("room", "chains", "draws"), [(10, 4, 2), (4, 4, 1), (3, 3, 1), (1, 1, 1), (0.5, 1, 1)])
def test_large_data_are_replicated_at_some_of_the_draws(
    room: float, chains: int, draws: int, toy: Model, toy_tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genarium.story.PREDICTIVE_SIZE", int(room * 30))  # of 30 items each
    theta = 1000.0 * np.arange(80).reshape(4, 20)
    result = gn.fit(with_method(toy, "exact", posterior={"theta": theta}), toy_tree, "told")
    replicated = result["posterior_predictive"]["y"]
    assert replicated.shape == (chains, draws, 30)
    at = {dim: replicated[dim] for dim in ("chain", "draw")}
    same = result["posterior"]["theta"].sel(at)  # labelled by what they follow from
    np.testing.assert_allclose(replicated.mean("item"), same, atol=5 / np.sqrt(30))
    assert result.sel(at)["log_likelihood"]["y"].shape == replicated.shape


# The prior


def test_prior_draws_are_of_the_story_given_what_is_known(toy: Model, toy_tree: xr.DataTree) -> None:
    result = gn.fit(toy, toy_tree, "conjugate", 3, draws=10, sigma=0.5, tau=3.0, prior_draws=2000)
    theta, y = result["prior"]["theta"], result["prior_predictive"]["y"]
    assert theta.dims == ("chain", "draw")
    assert theta.shape == (1, 2000)
    assert abs(theta.mean()) < 4 * 3 / np.sqrt(2000)
    assert abs(theta.std() / 3 - 1) < 4 / np.sqrt(2 * 2000)
    residual = y - theta
    assert residual.dims == ("chain", "draw", "item")
    assert abs(residual.std() / 0.5 - 1) < 4 / np.sqrt(2 * residual.size)


def test_the_prior_leaves_the_fit_as_it_is_and_can_be_added_later(
    toy: Model, toy_tree: xr.DataTree, same: Callable[..., None]
) -> None:
    bare = gn.fit(toy, toy_tree, "conjugate", 3, draws=10)
    told = gn.fit(toy, toy_tree, "conjugate", 3, draws=10, prior_draws=20)
    same(gn.add_prior(toy, bare, 20, seed=3), told)
    same(told.filter(lambda node: not node.name or not node.name.startswith("prior")), bare)
    later = gn.add_prior(toy, bare)
    assert later["prior"].sizes["draw"] == later["prior_predictive"].sizes["draw"] == PRIOR_DRAWS
    assert not np.array_equal(later.to_dict()["/prior"]["theta"][0, :20], told.to_dict()["/prior"]["theta"][0])


def test_the_prior_holds_what_the_fit_held(tree: xr.DataTree) -> None:
    mu = np.array([[200.0, 3.0], [5.0, 60.0], [30.0, 30.0]])
    fitted = gn.fit("nb_mixture", tree, "em", 1, component=3, mu=mu, prior_draws=50)
    added = gn.add_prior("nb_mixture", fitted, 50, seed=1)
    for one in (fitted, added):
        np.testing.assert_array_equal(one["prior"]["mu"], np.broadcast_to(mu, (1, 50, 3, 2)))
        assert np.ptp(one["prior"]["pi"].to_numpy()[..., 0]) > 0.1
    xr.testing.assert_equal(fitted["prior_predictive"].to_dataset(), added["prior_predictive"].to_dataset())


def test_a_prior_that_cannot_be_told_is_refused(toy: Model, toy_tree: xr.DataTree) -> None:
    for wrong in (-1, 2.5, True, "many"):
        with pytest.raises(InputError, match=re.escape(f"toy: prior_draws={wrong!r} must be a whole number")):
            gn.fit(toy, toy_tree, "conjugate", prior_draws=wrong)
    with pytest.raises(InputError, match="toy: the tree holds no fit"):
        gn.add_prior(toy, toy_tree)
    at_once = Stage(toy.unknown.variables, lambda rng, tau: {"theta": rng.normal(0, tau)})
    point = Method(lambda problem, rng: Result(point=problem.fixed), "point", "Nothing.", holds=("theta",))
    model = replace(toy, unknown=at_once, methods={"hold": point})
    gn.fit(model, toy_tree, "hold", theta=1.0)
    with pytest.raises(InputError, match="given theta cannot be drawn: one function draws them all"):
        gn.fit(model, toy_tree, "hold", theta=1.0, prior_draws=5)


def test_the_keywords_of_verbs_are_no_settings_of_a_model() -> None:
    own = {name for verb in (gn.fit, gn.choose, gn.predict) for name in inspect.signature(verb).parameters}
    for model in map(registry.get, registry.names()):
        taken = {*model.sizes, *model.variables(), *model.options}
        taken |= {option for method in methods(model).values() for option in method.options}
        assert not taken & own, model.name


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
