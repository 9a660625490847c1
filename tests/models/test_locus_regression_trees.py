"""Non-linear rates: trees as arrays, the bound that they climb, what they find, and what refuses them."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.data import check
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.verbs.held_out import held_out

NAME = "locus_regression"
boosting: Any = import_module("genarium.models.locus_regression.boosting")
expectation: Any = import_module("genarium.models.locus_regression.expectation")
trees: Any = import_module("genarium.models.locus_regression.trees")
sweep: Any = import_module("genarium.models.locus_regression.sweep")
log_rates = trees.log_rates
pytest.importorskip("sklearn", reason="needs the extra `trees`")


def bent(cells: int = 3000, seed: int = 0) -> dict[str, Array]:
    """Mutations of two processes: one where |x_0| is large, the other where it is small; no linear effect."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2, 240))
    rates = [np.where(np.abs(X[0]) > 0.8, 4.0, 1.0), np.where(np.abs(X[0]) > 0.8, 1.0, 4.0)]
    process = (rng.random(cells) < np.where(np.arange(cells) % 6 < 3, 0.1, 0.9)).astype(int)
    locus = np.array([rng.choice(240, p=rates[k] / rates[k].sum()) for k in (0, 1) for _ in range(cells)]).reshape(
        2, -1
    )
    channel = rng.integers(48, size=cells) + 48 * process
    return {
        "features": X,
        "genome": np.arange(cells) % 6,
        "locus": locus[process, np.arange(cells)],
        "channel": channel,
    }


@pytest.fixture(scope="module")
def fit() -> xr.DataTree:
    return gn.fit(NAME, bent(), "vi", seed=1, process=2, rates="trees", tree=12, restarts=1, draws=30, sweeps=400)


def test_trees_are_walked_as_by_hand() -> None:
    feature = np.array([[[[0, 1, 0], [1, 1, 1]]]])  # one draw, one process, two trees of three splits
    at = np.array([[[[0.0, 0.5, 2.0], [9.0, 9.0, 9.0]]]])
    leaf = np.array([[[[1.0, 2.0, 4.0, 8.0], [0.25, 99.0, 99.0, 99.0]]]])
    X = np.array([[-1.0, -1.0, 1.0, 3.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.5]])
    np.testing.assert_array_equal(log_rates(feature, at, leaf, X)[0, 0], np.array([1, 2, 4, 8, 1]) + 0.25)
    four = log_rates(*(np.concatenate([a, a[..., :1, :]], -2) for a in (feature, at, leaf)), X)
    np.testing.assert_array_equal(four[0, 0], 2 * np.array([1, 2, 4, 8, 1]) + 0.25)
    uneven = log_rates(np.array([[[0, 1]]]), np.array([[[0.0, 0.5]]]), np.array([[[5.0, 6.0, 7.0]]]), X)
    np.testing.assert_array_equal(uneven[0], [6, 7, 5, 5, 6])  # two splits: the right child of the root is a leaf


def test_draws_that_differ_and_draws_that_are_alike() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 20))
    feature, at, leaf = rng.integers(3, size=(4, 2, 5, 7)), rng.normal(size=(4, 2, 5, 7)), rng.normal(size=(4, 2, 5, 8))
    each = np.stack([log_rates(feature[i], at[i], leaf[i], X) for i in range(4)])
    np.testing.assert_allclose(log_rates(feature, at, leaf, X), each)
    same = [np.repeat(a[:1], 4, 0) for a in (feature, at, leaf)]
    np.testing.assert_allclose(log_rates(*same, X), np.repeat(each[:1], 4, 0))


def test_a_tree_is_that_of_scikit_learn() -> None:
    """Filled up from the left, it has the leaf values of eq. 40 for every locus."""
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 3))
    y = (X[:, 0] > 0.3) * 2.0 + (X[:, 1] > 0) * (X[:, 0] > 0.3) + rng.normal(size=400) / 9
    for leaves in (2, 3, 5, 8):
        tree = DecisionTreeRegressor(max_depth=3, max_leaf_nodes=leaves, random_state=0).fit(X, y)
        feature, at, same = boosting._filled(tree.tree_, 7, X[:, 0].max())
        value = np.zeros(8)
        for node in np.unique(boosting._leaf_of(feature, at, X)):
            value[node] = tree.predict(X)[boosting._leaf_of(feature, at, X) == node][0]
        found = log_rates(feature[None, None], at[None, None], value[same][None, None], X.T)[0]
        np.testing.assert_allclose(found, tree.predict(X), rtol=1e-5)
        beyond = X + np.array([9, 0, 0])  # to the right of all splits: still the leaf that scikit-learn gives
        found = log_rates(feature[None, None], at[None, None], value[same][None, None], beyond.T)[0]
        np.testing.assert_allclose(found, tree.predict(beyond), rtol=1e-5)


def test_gain_is_that_of_the_bound() -> None:
    """The bound of a state rises by the gain of a tree, less its penalty, while the E-step is held."""
    model = gn.get(NAME).variant(rates="trees")
    problem = check(model, bent(), {"process": 2, "tree": 3, "split": 7})
    step = sweep.Step(import_module("genarium.models.locus_regression.corpus").corpus(problem))
    state = step.first(problem, np.random.default_rng(0))
    for _ in range(5):
        state, _ = step(state)
    from dataclasses import replace

    forest = boosting.Forest.bare(problem.sizes, 1 / problem["leaf_scale"] ** 2)
    before = replace(state, forest=forest)
    _, of_row, _, _ = expectation.expect(step.data, *step.tables(before))
    weight = step.exponents(state, step.offset(before))[:, 0]
    loci = boosting.Loci(step.data.features[0], np.arange(240) % 5 == 0)
    rng = np.random.default_rng(3)
    grown, _ = boosting.more_trees(forest, 0, loci, of_row[:, 0], weight[0], rng)
    assert grown.used.tolist() == [3, 0]
    after = step.normalised(replace(state, forest=grown))
    every = np.ones(240, dtype=bool)
    gain = boosting.gain(grown.log_rate[0], of_row[:, 0], weight[0], every) - grown.penalty
    held = of_row[:, 0] @ (step.place(after).log - step.place(before).log)[:, 0] - grown.penalty
    assert gain == pytest.approx(held, rel=1e-9)
    assert gain > 0
    assert step.bound(after) >= step.bound(before) + gain  # the E-step gains, too
    np.testing.assert_allclose(grown.log_rate, log_rates(grown.feature, grown.at, grown.leaf, loci.features.T))


@pytest.mark.slow
def test_the_bound_never_falls_and_the_bend_is_found(fit: xr.DataTree) -> None:
    notes = gn.diagnose(NAME, fit)
    assert not [v for v in notes.verdicts if v.check == "largest fall of the bound" and v.status != "pass"]
    trace = fit["variational"]["bound"].to_numpy()[0]
    trace = trace[np.isfinite(trace)]
    assert (np.diff(trace) > -1e-8 * np.abs(trace[1:])).all()
    grown = fit["variational"]["trees"].to_numpy()
    assert (grown >= 1).all()


@pytest.mark.slow
def test_trees_find_how_rates_bend() -> None:
    """By factors of four, up in one process, down in the other; trees are shrunk: .79 +- .09 of 1.39 in a process."""
    bend, X = [], bent()["features"][0]
    far = np.abs(X) > 0.8
    for seed in range(3):
        each = gn.fit(NAME, bent(), "vi", seed=seed, process=2, rates="trees", tree=12, restarts=1, draws=2, sweeps=400)
        trees = (each["posterior"][name].to_numpy()[0, 0] for name in ("split_feature", "split_at", "leaf_value"))
        added = log_rates(*trees, each["constant_data"]["features"].to_numpy())
        bend.append(sorted(added[:, far].mean(1) - added[:, ~far].mean(1)))
    down, up = np.mean(bend, axis=0)
    assert -np.log(4) < down < -0.65
    assert 0.65 < up < np.log(4)


FEW = {"process": 2, "restarts": 1, "draws": 10}


@pytest.mark.slow
def test_held_out_loci_prefer_the_trees_where_rates_bend() -> None:
    bends = {rates: held_out(NAME, bent(), "vi", 0, 2, rates=rates, **FEW).sum() for rates in ("linear", "trees")}
    assert bends["trees"] > bends["linear"] + 100


@pytest.mark.slow
def test_held_out_loci_do_not_miss_the_trees_where_rates_are_linear() -> None:
    data = gn.simulate(NAME, seed=2, process=2, locus=240, cell=6000, feature=2, genome=6)
    linear, trees = (
        [held_out(NAME, data, "vi", seed, 2, rates=rates, **FEW).sum() for seed in range(3)]
        for rates in ("linear", "trees")
    )
    assert np.mean(trees) > np.mean(linear) - 50  # -7 on average, +- 23 from seed to seed


@pytest.mark.slow
def test_fits_are_loaded_without_scikit_learn(fit: xr.DataTree, tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    gn.save(fit, path)
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import genarium as gn\n"
        f"found = gn.predict(gn.load({str(path)!r}))['predictions']['rate'].to_numpy()\n"
        "print(repr(found.sum(1)[:3].tolist()))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    expected = gn.predict(fit)["predictions"]["rate"].to_numpy().sum(1)[:3]
    np.testing.assert_allclose(eval(said), expected, rtol=1e-9)
    by_locus = np.bincount(bent()["locus"], minlength=240)
    far = np.abs(bent()["features"][0]) > 0.8
    rate = gn.predict(fit)["predictions"]["rate"].to_numpy().sum(1)
    assert rate[far].sum() == pytest.approx(by_locus[far].sum(), rel=0.05)


@pytest.mark.parametrize(
    ("settings", "method", "message"),
    [
        ({}, "gibbs", "method 'gibbs' is not offered: rates='trees' is fitted by vi alone"),
        ({}, "nuts", "method 'nuts' is not offered: rates='trees' is fitted by vi alone"),
        ({"loci": "random"}, "vi", "rates='trees' does not go with loci='random'"),
        (
            {"covariance": "corrected"},
            "vi",
            "covariance='corrected' does not go with rates='trees': .* Use covariance=",
        ),
        ({"groups": "several", "group": np.zeros(3000, dtype=int)}, "vi", "rates='trees' does not go with groups="),
    ],
    ids=str,
)
def test_what_trees_do_not_go_with(settings: dict[str, Any], method: str, message: str) -> None:
    data = bent()
    if "group" in settings:
        data["features"] = data["features"][None]
    with pytest.raises(InputError, match=message):
        gn.fit(NAME, data, method, process=2, rates="trees", **settings)


def test_given_trees_asks_for_trees() -> None:
    with pytest.raises(InputError, match="covariance='given_trees' does not go with rates='linear'"):
        gn.fit(NAME, bent(600), "vi", process=2, covariance="given_trees")


@pytest.mark.slow
def test_intervals_given_the_trees_hold() -> None:
    """Shares of two processes that trees tell apart: mean field is far too narrow, sweeps given the trees are not."""
    inside = {"given_trees": 0, "mean_field": 0}
    for seed in range(12):
        data = bent(seed=seed)
        for covariance in inside:
            how = {"covariance": covariance, "tree": 12, "restarts": 1, "draws": 200, "sweeps": 800}
            pi = gn.fit(NAME, data, "vi", seed=seed, process=2, rates="trees", **how)["posterior"]["pi"]
            draws = pi.to_numpy().reshape(-1, 6, 2)
            first = draws[..., draws[:, 0].mean(0).argmin()]
            low, high = np.quantile(first, [0.05, 0.95], axis=0)
            truth = np.where(np.arange(6) < 3, 0.1, 0.9)
            inside[covariance] += int(((low < truth) & (truth < high)).sum())
    assert inside["given_trees"] > 57  # of 72 at .9, less three standard errors
    assert inside["mean_field"] < 20


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"rates='trees' needs scikit-learn .*genarium\[trees\]"):
        gn.fit(NAME, bent(600), "vi", process=2, rates="trees", restarts=1, max_iterations=2)


@pytest.mark.slow
def test_windows_that_the_fit_did_not_see(fit: xr.DataTree) -> None:
    """Rates follow from the features of the new windows, whatever their number."""
    new = bent(cells=900, seed=5)
    new["features"], new["locus"] = new["features"][:, :100], new["locus"] % 100
    found = gn.predict(fit, new)["predictions"].to_dataset()
    rate = found["rate"].to_numpy()
    assert rate.shape == (100, 2)
    assert rate.sum() == pytest.approx(900)
    draws = fit["posterior"].to_dataset()
    f = log_rates(*(draws[name].to_numpy()[0, 0] for name in trees.NAMES), new["features"])
    weight = np.exp(np.einsum("dkf,fl->dkl", draws["beta"].to_numpy()[0], new["features"]) + f)
    share = (weight / weight.sum(-1, keepdims=True)).mean(0)
    np.testing.assert_allclose(rate / rate.sum(0), share.T, rtol=0.02)
    assert found["new"].to_numpy().all()
    labelled = xr.DataArray(
        new["features"],
        dims=("feature", "locus"),
        coords={"feature": fit["constant_data"]["feature"].to_numpy(), "locus": [f"w{i}" for i in range(100)]},
    )
    again = gn.predict(fit, {**new, "features": labelled})["predictions"].to_dataset()
    np.testing.assert_allclose(again["rate"].to_numpy(), rate)
    assert again["locus"].to_numpy()[0] == "w0"
    tree = xr.DataTree.from_dict(
        {
            group: gn.fit(NAME, new, "vi", process=2, restarts=1, max_iterations=1)[group].to_dataset()
            for group in ("constant_data", "observed_data")
        }
    )
    np.testing.assert_allclose(gn.predict(fit, tree)["predictions"]["rate"].to_numpy(), rate)
    with pytest.raises(InputError, match="has 3 along 'feature'"):
        gn.predict(fit, {**new, "features": np.concatenate([new["features"], new["features"][:1]])})
