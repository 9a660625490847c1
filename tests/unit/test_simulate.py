"""Simulate: given values, shapes, and what a simulation cannot be made of."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.declaration import Model, Stage
from genarium.errors import DeclarationError, InputError

MIX: dict[str, Any] = {"cell": 4000, "component": 2, "gene": 2, "pi": [0.25, 0.75], "mu": [[5.0, 50.0], [100.0, 2.0]]}


def test_given_values_are_used() -> None:
    tree = gn.simulate("nb_mixture", seed=1, **MIX, phi=0.1, size_factor=2.0)
    np.testing.assert_array_equal(tree["truth"]["pi"], MIX["pi"])
    np.testing.assert_array_equal(tree["truth"]["mu"], MIX["mu"])
    np.testing.assert_array_equal(tree["constant_data"]["phi"], [0.1, 0.1])  # a scalar is spread over the genes
    np.testing.assert_array_equal(tree["constant_data"]["size_factor"], np.full(4000, 2.0))


def test_variables_are_drawn_from_the_given_ones() -> None:
    tree = gn.simulate("nb_mixture", seed=1, **MIX, phi=0.1, size_factor=2.0)
    x, group = tree["observed_data"]["x"].to_numpy(), tree["truth"]["group"].to_numpy()
    share = (group == 1).mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)
    for k, mu in enumerate(MIX["mu"]):
        mean = 2.0 * np.array(mu)
        sd = np.sqrt(mean + 0.1 * mean**2)
        n = (group == k).sum()
        assert (np.abs(x[group == k].mean(0) - mean) < 4 * sd / np.sqrt(n)).all()


def test_hidden_variables_can_be_given() -> None:
    group = np.arange(60) % 2
    tree = gn.simulate("nb_mixture", seed=1, **{**MIX, "cell": 60}, group=group)
    np.testing.assert_array_equal(tree["truth"]["group"], group)
    assert tree["observed_data"]["x"].to_numpy()[group == 1, 1].mean() < 10


def test_giving_the_drawn_values_changes_nothing_but_the_stream() -> None:
    drawn = gn.simulate("nb_mixture", seed=1, cell=20)
    values = {n: drawn["truth"][n].to_numpy() for n in ("pi", "mu", "group")}
    given = gn.simulate("nb_mixture", seed=1, cell=20, **values)
    xr.testing.assert_identical(given["truth"].to_dataset(), drawn["truth"].to_dataset())


def test_counts_and_labels_are_whole_numbers() -> None:
    tree = gn.simulate("nb_mixture", seed=1, cell=20)
    assert tree["observed_data"]["x"].dtype == tree["truth"]["group"].dtype == np.int64
    assert tree["truth"]["mu"].dtype == np.float64


def test_options_of_the_model_decide_what_is_drawn() -> None:
    tree = gn.simulate("nb_mixture", seed=1, dispersion="component", component=4)
    assert tree["truth"]["phi"].dims == ("component",)
    assert json.loads(tree.attrs["model_options"])["dispersion"] == "component"
    assert json.loads(tree.attrs["sizes"]) == {"cell": 200, "gene": 2, "component": 4}


def test_attributes_say_how_it_was_made() -> None:
    tree = gn.simulate("nb_mixture", seed=7)
    assert tree.attrs["model"] == "nb_mixture"
    assert tree.attrs["simulation_seed"] == 7
    assert "numpy" in json.loads(tree.attrs["versions"])
    assert tree["observed_data"]["x"].attrs["symbol"] == "x"


def test_a_declaration_takes_the_place_of_a_name(toy: Model) -> None:
    tree = gn.simulate(toy, seed=2, item=5, theta=3.0, sigma=1e-9)
    np.testing.assert_allclose(tree["observed_data"]["y"], 3.0, atol=1e-7)


def test_variable_without_draw_function_takes_its_default(toy: Model) -> None:
    tree = gn.simulate(toy, seed=2)
    assert (float(tree["constant_data"]["sigma"]), float(tree["constant_data"]["tau"])) == (1.0, 2.0)


def test_stage_of_one_function(toy: Model) -> None:
    def both(rng: np.random.Generator, tau: Any) -> dict[str, float]:
        return {"theta": float(tau)}

    tree = gn.simulate(replace(toy, unknown=Stage(toy.unknown.variables, both)), tau=7.0)
    assert float(tree["truth"]["theta"]) == 7.0


# What cannot be simulated


def test_drawn_shape_must_be_the_declared_one(toy: Model) -> None:
    wrong = replace(
        toy, observed=Stage(toy.observed.variables, {"y": lambda rng, theta: rng.normal(theta, size=(2, 3))})
    )
    message = r"model 'toy': the observed stage drew 'y' with shape \(2, 3\); declared \(30,\)"
    with pytest.raises(DeclarationError, match=message):
        gn.simulate(wrong)


def test_every_variable_must_be_drawn(toy: Model) -> None:
    wrong = replace(toy, observed=Stage(toy.observed.variables, lambda theta: {}))
    with pytest.raises(DeclarationError, match="model 'toy': the observed stage did not draw 'y'"):
        gn.simulate(wrong)


def test_drawn_data_must_lie_in_their_support(toy: Model) -> None:
    wrong = replace(toy, observed=Stage(toy.observed.variables, {"y": lambda sizes, theta: np.full(30, np.nan)}))
    with pytest.raises(InputError, match=r"'y'.*must be a finite number"):
        gn.simulate(wrong)


@pytest.mark.parametrize(("a0", "moment"), [(0.5, "mean"), (1.0, "mean"), (1.5, "variance"), (2.0, "variance")])
def test_prior_without_moments_is_refused(a0: float, moment: str) -> None:
    with pytest.raises(InputError, match=rf"'a0' \(\) = {a0:g} .*without a finite {moment}.*a0 > 2"):
        gn.simulate("nb_mixture", a0=a0)
    gn.simulate("nb_mixture", **{**MIX, "cell": 10}, a0=a0)  # nothing is drawn from it where mu is given


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("phi", -1.0, "known variable 'phi'.*greater than zero"),
        ("phi", [0.1, 0.2, 0.3], "known variable 'phi'"),
        ("phi", "abc", "known variable 'phi'"),
        ("mu", -3.0, "unknown variable 'mu'.*greater than zero"),
        ("mu", [[1.0, 2.0]], "unknown variable 'mu'"),
        ("mu", [[1.0, 2.0], [3.0]], "unknown variable 'mu'"),
        ("pi", [0.5, 0.4, 0.3], "unknown variable 'pi'.*sum one"),
        ("pi", [0.5, 0.5], "unknown variable 'pi'"),
        ("pi", [np.nan, 0.5, 0.5], "unknown variable 'pi'.*sum one"),
        ("group", 7, "hidden variable 'group'.*below the size of 'component'"),
        ("group", 0.5, "hidden variable 'group'.*whole number"),
        ("x", -1, "observed variable 'x'.*whole number"),
    ],
)
def test_given_value_is_checked_whatever_its_role(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gn.simulate("nb_mixture", cell=20, **{name: value})


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'cell'"):
        gn.simulate("nb_mixture", cells=20)


def test_unknown_model_is_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'nb_mixture'"):
        gn.simulate("nbmixture")
