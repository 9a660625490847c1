"""Choose: by the evidence lower bound, by what is held out, and what cannot be chosen by."""

import json
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import genarium as gn
from genarium.cli.fits import _chosen
from genarium.errors import InputError


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    mu = [[10.0, 10.0], [400.0, 10.0], [10.0, 400.0]]
    return gn.simulate("nb_mixture", seed=4, cell=200, mu=mu, pi=[0.4, 0.3, 0.3])


def choose(tree: xr.DataTree, values: Any, **settings: Any) -> xr.DataTree:
    return gn.choose("nb_mixture", tree, "component", values, seed=1, **{"restarts": 3, "draws": 20, **settings})


def test_three_groups_are_found(tree: xr.DataTree) -> None:
    best = choose(tree, range(1, 6))
    table = best["choice"].to_dataset()
    assert list(table["component_candidate"].to_numpy()) == [1, 2, 3, 4, 5]
    bound = table["bound"].to_numpy()
    assert bound.argmax() == 2
    assert best["posterior"].sizes["component"] == 3
    assert best.attrs["chosen_size"] == "component"
    assert table["converged"].all()


def test_choice_holds_the_bound_of_each_fit(tree: xr.DataTree, same: Any) -> None:
    best = choose(tree, [3, 2])
    for size, bound in zip((2, 3), best["choice"]["bound"].to_numpy(), strict=True):
        fit = gn.fit("nb_mixture", tree, "vi", seed=1, component=size, restarts=3, draws=20)
        assert bound == fit["variational"]["bound"].max()
        if size == 3:
            del best["choice"], best.attrs["chosen_size"], best.attrs["chosen_by"]
            same(best, fit)


def test_candidates_are_sorted_and_counted_once(tree: xr.DataTree) -> None:
    assert list(choose(tree, [3, 1, 3])["choice"]["component_candidate"].to_numpy()) == [1, 3]


def test_data_are_left_as_they_are(tree: xr.DataTree) -> None:
    before = tree.copy(deep=True)
    choose(tree, [1, 2])
    xr.testing.assert_identical(tree, before)


def test_settings_reach_every_fit(tree: xr.DataTree) -> None:
    best = choose(tree, [1, 2], phi=3.0)
    np.testing.assert_array_equal(best["constant_data"]["phi"], [3.0, 3.0])


def test_a_value_of_the_size_that_is_chosen_is_refused(tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match=r"component=3 would be dropped: 'component' is chosen among 1, 2\."):
        choose(tree, [1, 2], component=3)


@pytest.mark.parametrize("method", ["em", "gibbs"])
def test_only_an_evidence_lower_bound_can_choose(tree: xr.DataTree, method: str) -> None:
    few: dict[str, Any] = {"draws": 5, "tune": 5} if method == "gibbs" else {}
    with pytest.raises(InputError, match=f"method '{method}' gives no evidence lower bound.*'vi'"):
        gn.choose("nb_mixture", tree, "component", [1, 2], method, **few)


def test_no_candidate_is_refused(tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="no candidate for 'component' was given"):
        choose(tree, [])


def test_size_that_the_data_show_cannot_be_chosen(tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="size cell=5 was asked for"):
        gn.choose("nb_mixture", tree, "cell", [5, 6])


def test_unknown_size_is_refused(tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="Did you mean 'component'"):
        gn.choose("nb_mixture", tree, "components", [1, 2])


def test_size_below_one_is_refused(tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="at least one"):
        choose(tree, [0, 1])


def test_bic_and_icl_stand_beside_the_bound(tree: xr.DataTree) -> None:
    best = choose(tree, range(1, 5), draws=200)
    table = best["choice"].to_dataset()
    assert table["bic"].to_numpy().argmin() == table["icl"].to_numpy().argmin() == 2
    assert (table["icl"] >= table["bic"] - 1e-9).all()
    pi, mu = (best["posterior"][name].mean(("chain", "draw")).to_numpy() for name in ("pi", "mu"))
    x = tree["observed_data"]["x"].to_numpy()
    r = 1 / tree["constant_data"]["phi"].to_numpy()
    joint = pi * stats.nbinom(r, r / (r + mu)).pmf(x[:, None]).prod(-1)  # (200, 3)
    bic = 8 * np.log(200) - 2 * np.log(joint.sum(1)).sum()  # two weights and six means are free
    assert table["bic"].to_numpy()[2] == pytest.approx(bic, rel=1e-10)
    q = gn.predict(best)["predictions"]["probability"].to_numpy()
    assert table["icl"].to_numpy()[2] == pytest.approx(bic + 2 * stats.entropy(q, axis=1).sum(), rel=1e-8)


def test_a_fit_that_was_chosen_by_held_out_parts_is_diagnosed(tree: xr.DataTree) -> None:
    best = gn.choose("nb_mixture", tree, "component", [1, 2], "em", by="held_out", folds=2, restarts=1)
    assert best["choice"]["held_out_by_part"].shape == (2, 2)
    assert gn.diagnose("nb_mixture", best).verdicts


def test_the_smallest_size_within_a_standard_error_of_the_best_is_chosen(
    tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third size is ahead of the first in every part; of the second in three, and behind in two."""

    def density(*_: object, component: int, **__: object) -> list[Any]:
        of_part = {1: [-2.0] * 5, 2: second, 3: [-1.0] * 5}[component]
        return [np.full(40, value) for value in of_part]

    second = [-4.0, 2.0, -4.2, 2.0, -1.05]
    monkeypatch.setattr("genarium.verbs.choose.predicted_density", density)
    best = gn.choose("nb_mixture", tree, "component", [1, 2, 3], "em", by="held_out", restarts=1)
    table = best["choice"].to_dataset()
    assert best["point"].sizes["component"] == 2
    assert list(table["chosen"]) == [False, True, False]
    np.testing.assert_allclose(table["behind"], [200, 10, 0])
    np.testing.assert_allclose(table["behind_error"], [0, 40 * np.std(second, ddof=1) * np.sqrt(5), 0], atol=1e-12)
    told = _chosen(best, "component")
    assert told.startswith("component=2 is chosen: +0.95 ± ")
    assert "; component=3 is ahead of it by +10 ± " in told


def test_of_sizes_whose_bounds_are_equal_the_smallest_is_chosen(
    tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def equal(*given: Any, **settings: Any) -> xr.DataTree:
        found = gn.fit(*given, **settings)
        found.attrs["notes"] = json.dumps(json.loads(found.attrs["notes"]) | {"bound": -7.0})
        return found

    monkeypatch.setattr("genarium.verbs.choose.fit", equal)
    best = choose(tree, [1, 2, 3], restarts=1)
    assert best["posterior"].sizes["component"] == 1
    assert list(best["choice"]["chosen"]) == [True, False, False]


def test_a_candidate_that_cannot_be_fitted_is_left_out_with_a_warning() -> None:
    data = gn.simulate("nb_mixture", seed=1, cell=6, gene=2, component=2)
    with pytest.warns(UserWarning, match=r"left out of the choice: component=7: .*7"):
        best = gn.choose("nb_mixture", data, "component", (1, 2, 7), seed=1)
    assert best["choice"]["component_candidate"].to_numpy().tolist() == [1, 2]


def test_candidates_that_hold_what_was_held_out_for_impossible(
    tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("genarium.verbs.choose")
    monkeypatch.setattr(module, "predicted_density", lambda *_, **__: [np.array([-1.0, -np.inf]), np.array([-2.0])])
    with pytest.raises(InputError, match="under every value of 'component', a held-out observation"):
        gn.choose("nb_mixture", tree, "component", [1, 2], "em", by="held_out", folds=2, restarts=1)
