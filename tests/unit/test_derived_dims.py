"""Dims that follow from other dims, and predictions from known variables alone."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Labelled, Method, Model, Problem, Result, Stage, Var
from genarium.errors import DeclarationError, InputError
from genarium.settings import split
from genarium.supports import real


def pair(place: Array) -> Array:
    """Labels of the pairs of neighbouring places."""
    return np.array([f"{a}+{b}" for a, b in pairwise(place)])


def draw_link(rng: np.random.Generator, sizes: Mapping[str, int]) -> Array:
    return rng.normal(size=sizes["pair"])


def draw_level(rng: np.random.Generator, place_shift: Array, item_shift: Array, link: Array) -> Array:
    out: Array = rng.normal(item_shift[:, None] + place_shift + np.append(link, 0.0))
    return out


def predict(fitted: xr.DataTree, problem: Problem, *, twice: bool = False) -> Mapping[str, Labelled]:
    mean = problem["item_shift"][:, None] + problem["place_shift"]
    return {"mean": (("item", "place"), mean * (2 if twice else 1))}


def none(problem: Problem, rng: np.random.Generator) -> Result:
    return Result(point={"link": np.zeros(problem.sizes["pair"])})


@pytest.fixture
def model(toy: Model) -> Model:
    """Levels at places, with an unknown link between neighbours."""
    return replace(
        toy,
        sizes={"item": 5, "place": 3, "pair": 2},
        derived_dims={"pair": pair},
        known=Stage(
            {
                "place_shift": Var(("place",), real, "Shift of a place.", "s", default=0.5),
                "item_shift": Var(("item",), real, "Shift of an item.", "t", default=0.0),
            }
        ),
        unknown=Stage({"link": Var(("pair",), real, "Link of neighbours.", "b")}, {"link": draw_link}),
        observed=Stage({"y": Var(("item", "place"), real, "Level.", "y")}, {"y": draw_level}),
        density=None,
        log_likelihood=None,
        log_prior=None,
        test_quantities=None,
        statistics=None,
        methods={},
        predict=predict,
    )


def test_labels_along_a_dim_that_follows_are_found_in_any_order(model: Model) -> None:
    """As along dims of the data's own; taken by their place, a link would be between other places."""
    level = xr.DataArray(np.zeros((5, 3)), coords={"place": ["q", "p", "r"]}, dims=("item", "place"))
    link = xr.DataArray([1.0, 2.0], coords={"pair": ["p+r", "q+p"]}, dims="pair")
    problem = check(model, {"y": level, "link": link})
    assert problem.fixed["link"].tolist() == [2.0, 1.0]
    assert problem.coords["pair"].tolist() == ["q+p", "p+r"]
    with pytest.raises(InputError, match=r"'link'.*labels 'pair' with 'p\+q', but by the labels of place they"):
        check(model, {"y": level, "link": link.assign_coords(pair=["p+q", "q+r"])})


def test_size_and_labels_follow(model: Model) -> None:
    tree = gn.simulate(model, seed=1, place=4)
    assert tree["truth"]["link"].sizes == {"pair": 3}
    problem = check(model, {"y": xr.DataArray(np.zeros((2, 3)), dims=("item", "place"), coords={"place": list("abc")})})
    assert problem.sizes == {"item": 2, "place": 3, "pair": 2}
    assert list(problem.coords["pair"]) == ["a+b", "b+c"]


def test_a_derived_size_is_not_given(model: Model) -> None:
    with pytest.raises(InputError, match="size pair=2 follows from place"):
        split(model, {"pair": 2})
    with pytest.raises(InputError, match=r"has size 3 along 'pair', which follows from place and is 2 here"):
        check(model, {"y": np.zeros((2, 3)), "link": np.zeros(3)})
    with pytest.raises(InputError, match="'pair' has size 0"):
        check(model, {"y": np.zeros((2, 1))})


def test_a_usual_size_is_taken_where_none_is_given(model: Model) -> None:
    usual = replace(model, sizes={**model.sizes, "neuron": 4}, default_sizes={"neuron": 7})
    assert check(usual, {"y": np.zeros((2, 3))}).sizes["neuron"] == 7
    assert check(usual, {"y": np.zeros((2, 3))}, {"neuron": 2}).sizes["neuron"] == 2
    with pytest.raises(InputError, match="the data do not show the size of 'neuron'"):
        check(replace(usual, default_sizes={}), {"y": np.zeros((2, 3))})
    with pytest.raises(DeclarationError, match="'neuron' has a default size"):
        replace(model, default_sizes={"neuron": 7})


def test_the_declaration_is_checked(model: Model) -> None:
    with pytest.raises(DeclarationError, match="'pair' has size 2, which follows from other dims; sizes says 3"):
        replace(model, sizes={**model.sizes, "pair": 3})
    with pytest.raises(DeclarationError, match="is derived from 'nowhere'"):
        replace(model, derived_dims={"pair": lambda nowhere: nowhere})


def test_predictions_from_known_variables_alone_with_options(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"y": xr.DataArray(np.zeros((2, 3)), dims=("item", "place"), coords={"place": list("abc")})}
    tree = gn.fit(replace(model, methods={"none": Method(none, "point", "Nothing.")}), data, "none")
    monkeypatch.setattr(import_module("genarium.verbs.predict"), "fitted_model", lambda tree, named: model)
    found = gn.predict(tree, {"item_shift": [1.0, 2.0, 3.0]})["predictions"]
    assert found["mean"].shape == (3, 3)
    assert list(found["place"].to_numpy()) == ["a", "b", "c"]
    np.testing.assert_allclose(found["mean"].to_numpy()[:, 0], [1.5, 2.5, 3.5])
    doubled = gn.predict(tree, {"item_shift": [1.0]}, twice=True)["predictions"]
    np.testing.assert_allclose(doubled["mean"].to_numpy(), 3.0)


def test_a_model_that_needs_the_observations_says_so() -> None:
    fit = gn.fit("nb_mixture", gn.simulate("nb_mixture", 3, cell=40, component=2), "em", restarts=1)
    with pytest.raises(InputError, match=r"nb_mixture: observed variable 'x' \(cell, gene\) is missing"):
        gn.predict(fit, {"size_factor": [1.0, 2.0]})
