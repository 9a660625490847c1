"""Predict: what is taken from the fit and what from the new data; the parts that every model shares."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import genarium as gn
from genarium import registry
from genarium.declaration import Model
from genarium.errors import InputError

NEW = np.array([[3, 50], [70, 1], [20, 20]])


@pytest.fixture(scope="module")
def fit() -> xr.DataTree:
    """A fit with a dispersion that is not the default one, and size factors."""
    data = gn.simulate("nb_mixture", seed=3, cell=60, component=2, mu=[[5.0, 60.0], [80.0, 4.0]], phi=0.7)
    size_factor = np.linspace(0.5, 2, 60)
    return gn.fit("nb_mixture", data, "em", seed=1, restarts=2, size_factor=size_factor)


pytestmark = pytest.mark.filterwarnings("ignore:nb_mixture. known variable 'size_factor' is 1 for all")


def predictions(fit: xr.DataTree, *data: Any, **settings: Any) -> xr.Dataset:
    return gn.predict(fit, *data, **settings)["predictions"].to_dataset()


def test_new_data_are_returned_with_their_predictions(fit: xr.DataTree) -> None:
    tree = gn.predict(fit, {"x": NEW})
    assert list(tree.children) == ["constant_data", "observed_data", "predictions"]
    np.testing.assert_array_equal(tree["observed_data"]["x"], NEW)
    assert tree["predictions"]["probability"].shape == (3, 2)
    assert (tree.attrs["fitted_by"], tree.attrs["fit_seed"], tree.attrs["model"]) == ("em", 1, "nb_mixture")
    assert json.loads(tree.attrs["sizes"]) == {"cell": 3, "gene": 2, "component": 2}


def test_constants_that_new_data_lack_come_from_the_fit(fit: xr.DataTree) -> None:
    own = predictions(fit, {"x": NEW})
    xr.testing.assert_identical(own, predictions(fit, {"x": NEW, "phi": 0.7}))
    assert not own.equals(predictions(fit, {"x": NEW, "phi": 0.3}))


def test_what_varies_between_observations_does_not_come_from_the_fit(fit: xr.DataTree) -> None:
    xr.testing.assert_identical(predictions(fit, {"x": NEW}), predictions(fit, {"x": NEW, "size_factor": 1.0}))
    deep = predictions(fit, {"x": NEW, "size_factor": [1.0, 1.0, 2.0]})
    assert float(deep["log_density"][2]) != float(predictions(fit, {"x": NEW})["log_density"][2])


def test_a_default_in_place_of_what_varies_in_the_fit_is_told(fit: xr.DataTree, recwarn: Any) -> None:
    for given in ({"x": NEW, "size_factor": 1.0}, {"x": NEW, "size_factor": [1, 2, 1]}):
        gn.predict(fit, given)
    gn.predict(fit, {"x": NEW}, size_factor=1.0)
    gn.predict(fit)
    assert not [one for one in recwarn if "size_factor" in str(one.message)]
    with pytest.warns(UserWarning, match="'size_factor' is 1 for all of the new data"):
        gn.predict(fit, {"x": NEW})


def test_settings_take_precedence(fit: xr.DataTree) -> None:
    xr.testing.assert_identical(predictions(fit, {"x": NEW}, phi=0.3), predictions(fit, {"x": NEW, "phi": 0.3}))
    xr.testing.assert_identical(
        predictions(fit, {"x": NEW, "phi": 0.7}, phi=0.3), predictions(fit, {"x": NEW, "phi": 0.3})
    )


def test_only_what_the_tree_lacks_is_said_to_be_lacking(fit: xr.DataTree) -> None:
    def looks(tree: xr.DataTree, problem: Any) -> dict[str, Any]:
        return {"probability": tree["point"]["gone"]}

    def errs(tree: xr.DataTree, problem: Any) -> dict[str, Any]:
        nothing: dict[str, Any] = {}
        return nothing["gone"]  # type: ignore[no-any-return]

    model = gn.get("nb_mixture")
    with pytest.raises(InputError, match=r"the fit is not complete .*gone"):
        gn.predict(fit, {"x": NEW}, model=replace(model, predict=looks))
    with pytest.raises(KeyError, match="gone"):
        gn.predict(fit, {"x": NEW}, model=replace(model, predict=errs))


def test_without_new_data_those_of_the_fit_are_predicted(fit: xr.DataTree) -> None:
    own = predictions(fit)
    assert own.sizes["cell"] == 60
    np.testing.assert_allclose(own["probability"], fit["point"]["responsibility"], rtol=1e-9, atol=1e-12)


def test_predictions_are_for_each_observation_alone(fit: xr.DataTree) -> None:
    together = predictions(fit, {"x": NEW})
    for i, row in enumerate(NEW):
        alone = predictions(fit, {"x": [row]})
        np.testing.assert_allclose(alone["log_density"][0], together["log_density"][i], rtol=1e-12)


def test_one_observation_may_have_fewer_values_than_components(fit: xr.DataTree) -> None:
    assert predictions(fit, {"x": NEW[:1]}).sizes["cell"] == 1


def test_labels_of_new_data_are_kept(fit: xr.DataTree) -> None:
    frame = pd.DataFrame(NEW, index=["a", "b", "c"])
    assert list(predictions(fit, {"x": frame})["cell"].to_numpy()) == ["a", "b", "c"]


def test_the_fit_is_left_as_it_is(fit: xr.DataTree) -> None:
    before = fit.copy(deep=True)
    gn.predict(fit, {"x": NEW})
    xr.testing.assert_identical(fit, before)


# What cannot be predicted


def test_other_number_of_genes_is_refused(fit: xr.DataTree) -> None:
    with pytest.raises(InputError, match="gene"):
        gn.predict(fit, {"x": [[1, 2, 3]]})
    with pytest.raises(InputError, match="the new data have 3 genes, the fit has 2"):
        gn.predict(fit, {"x": [[1, 2, 3]], "phi": 0.3})


@pytest.mark.parametrize("dispersion", ["known", "shared"])
def test_genes_are_found_by_name(dispersion: str) -> None:
    x = pd.DataFrame(NEW, columns=["left", "right"])
    known = {"phi": 0.3} if dispersion == "known" else {}
    fit = gn.fit("nb_mixture", {"x": x, **known}, "em", component=2, dispersion=dispersion, restarts=1)
    told = gn.predict(fit, {"x": x})
    again = gn.predict(fit, {"x": x[["right", "left"]]})  # aligned by name
    xr.testing.assert_equal(again["predictions"].to_dataset(), told["predictions"].to_dataset())
    xr.testing.assert_equal(again["observed_data"].to_dataset(), told["observed_data"].to_dataset())
    with pytest.raises(InputError, match=r"no gene 'left', which the fit has \(1 of 2\)"):
        gn.predict(fit, {"x": x.rename(columns={"left": "other"})})


@pytest.mark.parametrize("with_x", [True, False])
def test_other_covariates_are_refused(with_x: bool) -> None:
    """Labels of a known variable that comes with every observation are those of the fit, too."""
    rng = np.random.default_rng(0)
    x, context = rng.normal(size=(30, 2)), pd.DataFrame(rng.normal(size=(30, 2)), columns=["age", "dose"])
    fit = gn.fit("notmad", {"x": x, "context": context}, "map", archetype=2, restarts=1)

    def of(new: Any) -> Any:
        return gn.predict(fit, {"context": new, **({"x": x} if with_x else {})})["predictions"]["network"]

    np.testing.assert_array_equal(of(context), of(context.to_numpy()))  # without labels there is nothing to compare
    np.testing.assert_array_equal(of(context), of(context[["dose", "age"]]))  # aligned by name
    with pytest.raises(InputError, match="the new data have no covariate 'dose', which the fit has"):
        of(context.rename(columns={"dose": "sex"}))
    with pytest.raises(InputError, match="the new data have 3 covariates, the fit has 2"):
        of(context.assign(sex=0.0))


def test_simulation_is_no_fit() -> None:
    with pytest.raises(InputError, match="the tree holds no fit"):
        gn.predict(gn.simulate("nb_mixture", cell=20))


def test_tree_of_nobody_is_refused() -> None:
    with pytest.raises(InputError, match="does not say which model it belongs to"):
        gn.predict(xr.DataTree())


def test_model_without_predictions_says_so(fit: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    mute: Model = replace(registry.get("nb_mixture"), predict=None)
    monkeypatch.setattr(registry, "named", lambda name: mute)
    with pytest.raises(InputError, match="nb_mixture: the model predicts nothing"):
        gn.predict(fit)


def test_unknown_setting_is_refused(fit: xr.DataTree) -> None:
    with pytest.raises(InputError, match="no setting 'colour'"):
        gn.predict(fit, {"x": NEW}, colour=1)


def test_new_data_are_checked(fit: xr.DataTree) -> None:
    with pytest.raises(InputError, match="x\\[cell=0, gene=1\\] = -2"):
        gn.predict(fit, {"x": [[1, -2]]})
