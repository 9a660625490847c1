"""Diagnose: every verdict, passed and not, on trees made by hand."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import arviz as az
import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats

import genarium as gn
from genarium.declaration import Method, Model, Problem, Result, Stage, Var
from genarium.errors import InputError
from genarium.supports import real
from genarium.verbs.diagnose import _copies, replicated_statistics, tail
from genarium.verdicts import Diagnosis, Verdict, verdict

Make = Callable[..., xr.DataTree]


@pytest.fixture
def make(toy: Model, toy_tree: xr.DataTree) -> Make:
    """``make(claim, data=tree, **parts)``: the tree of a method that found what it is told."""

    def told(claim: Any, data: Any = toy_tree, **parts: Any) -> xr.DataTree:
        def run(problem: Problem, rng: np.random.Generator) -> Result:
            return Result(**parts)

        return gn.fit(replace(toy, methods={"told": Method(run, claim, "Told.")}), data, "told")

    return told


@pytest.fixture
def verdicts(toy: Model) -> Callable[[xr.DataTree], dict[str, Verdict]]:
    """``verdicts(tree)``: the verdicts by what they check."""
    return lambda tree: {v.check: v for v in gn.diagnose(toy, tree).verdicts}


@pytest.fixture
def posterior(toy_tree: xr.DataTree, toy_exact: Callable[[xr.DataTree], tuple[float, float]]) -> tuple[float, float]:
    return toy_exact(toy_tree)


@pytest.fixture
def draws(posterior: tuple[float, float]) -> Any:
    """Independent draws of the posterior, four chains."""
    return np.random.default_rng(0).normal(*posterior, (4, 1000))


# Ascents


@pytest.mark.parametrize(
    ("check", "notes", "status", "value"),
    [
        ("converged", {"converged": 1, "iterations": 7}, "pass", 1),
        ("converged", {"converged": 0, "iterations": 7}, "fail", 0),
        ("largest fall of the bound", {"largest_fall": 0.0}, "pass", 0),
        ("largest fall of the bound", {"largest_fall": 1e-6}, "fail", 1e-6),
        ("restarts at the best mode", {"restarts": 8, "restarts_at_best": 2}, "pass", 2),
        ("restarts at the best mode", {"restarts": 8, "restarts_at_best": 1}, "warn", 1),
        ("empty components", {"empty_components": 0}, "pass", 0),
        ("empty components", {"empty_components": 2}, "warn", 2),
    ],
)
def test_ascent(make: Make, verdicts: Any, check: str, notes: dict[str, Any], status: str, value: float) -> None:
    found = verdicts(make("point", point={"theta": 1.5}, notes=notes))
    assert (found[check].status, found[check].value) == (status, value)
    assert bool(found[check].advice) == (status != "pass")


@pytest.mark.parametrize(("method", "remedy"), [("em", "Raise max_iterations."), ("online", "Raise sweeps.")])
def test_who_did_not_converge_is_told_the_option_of_the_method(method: str, remedy: str) -> None:
    data = gn.simulate("nb_mixture", seed=1, cell=40, gene=2, component=2)
    few: dict[str, Any] = {"max_iterations": 1} if method == "em" else {"sweeps": 1}
    tree = gn.fit("nb_mixture", data, method, seed=1, restarts=1, **few)
    found = {one.check: one for one in gn.diagnose("nb_mixture", tree).verdicts}["converged"]
    assert found.status == "fail"
    assert found.advice == remedy


def test_nothing_is_said_of_what_was_not_noted(make: Make, verdicts: Any) -> None:
    found = verdicts(make("point", point={"theta": 1.5}, notes={"restarts": 1, "restarts_at_best": 1}))
    assert set(found) == {"predictive check: mean", "predictive check: sd"}


# Chains


def test_good_chains_pass(make: Make, verdicts: Any, draws: Any) -> None:
    found = verdicts(make("exact", posterior={"theta": draws}))
    assert {"R-hat", "bulk ESS", "tail ESS"} <= set(found)
    assert {v.status for v in found.values()} == {"pass"}
    assert found["R-hat"].limit == "< 1.01"
    assert "divergences" not in found


def test_chain_elsewhere_fails_r_hat(make: Make, verdicts: Any, draws: Any) -> None:
    found = verdicts(make("exact", posterior={"theta": draws + np.array([[0], [0], [0], [0.5]])}))["R-hat"]
    assert found.status == "fail"
    assert found.value > 1.1
    assert found.where == "theta"


def test_chain_of_another_width_fails_r_hat(make: Make, verdicts: Any, draws: Any) -> None:
    spread = draws.mean() + (draws - draws.mean()) * np.array([[1], [1], [1], [5]])
    assert verdicts(make("exact", posterior={"theta": spread}))["R-hat"].status == "fail"


def test_chain_that_drifts_fails_r_hat(make: Make, verdicts: Any, draws: Any) -> None:
    assert verdicts(make("exact", posterior={"theta": draws + np.linspace(0, 1, 1000)}))["R-hat"].status == "fail"


@pytest.mark.parametrize("shared", [1.0, 0.5, 0.0])
def test_chains_that_are_copies_fail(make: Make, verdicts: Any, draws: Any, shared: float) -> None:
    """R-hat takes them for agreement."""
    mixed = draws.copy()
    mixed[3] = draws.mean() + shared * (draws[1] - draws.mean()) + (1 - shared**2) ** 0.5 * (draws[3] - draws.mean())
    found = verdicts(make("exact", posterior={"theta": mixed}))
    assert found["R-hat"].status == "pass"
    assert ("correlation of chains" in found) == (shared > 0)
    if shared:
        assert found["correlation of chains"].status == "fail"
        assert found["correlation of chains"].where == "chains 1 and 3, draw by draw"


def test_a_mirrored_chain_is_a_copy(make: Make, verdicts: Any, draws: Any) -> None:
    mirrored = draws.copy()
    mirrored[2] = 2 * draws.mean() - draws[0]
    found = verdicts(make("exact", posterior={"theta": mirrored}))["correlation of chains"]
    assert (found.status, found.value) == ("fail", pytest.approx(-1))


@pytest.mark.parametrize("how", ["shifted", "shuffled", "in part"])
def test_chains_with_the_same_values_are_copies(make: Make, verdicts: Any, draws: Any, how: str) -> None:
    """In another order no draw correlates with that of the other chain."""
    mixed = draws.copy()
    if how == "shifted":
        mixed[3] = np.roll(draws[1], 1)
    elif how == "shuffled":
        mixed[3] = np.random.default_rng(0).permutation(draws[1])
    else:
        mixed[3, -200:] = draws[1, -200:]
    found = verdicts(make("exact", posterior={"theta": mixed}))["values in two chains"]
    assert (found.status, found.where) == ("fail", "chains 1 and 3")
    assert found.value == pytest.approx(0.2 if how == "in part" else 1)


@pytest.mark.parametrize("how", ["rounded", "counts", "single", "rejected"])
def test_values_that_come_back_within_a_chain_are_no_copies(make: Make, verdicts: Any, draws: Any, how: str) -> None:
    rng = np.random.default_rng(3)
    rejected = np.take_along_axis(draws, np.maximum.accumulate(np.arange(1000) * (rng.random(draws.shape) < 0.3), 1), 1)
    other = {
        "rounded": draws.round(2),
        "counts": rng.poisson(50, draws.shape),
        "single": draws.astype(np.float32),
        "rejected": rejected,
    }[how]
    assert "values in two chains" not in verdicts(make("exact", posterior={"theta": other}))


def test_rare_moves_at_the_same_draw_are_no_copies(make: Make, verdicts: Any, draws: Any) -> None:
    """Of an element that mostly stays at one value, as the abundance of an absent transcript does."""
    rare = np.zeros_like(draws)
    rare[1, 400], rare[3, 400], rare[0, 10], rare[2, 20] = 1, 2, 1, 1
    assert "correlation of chains" not in verdicts(make("exact", posterior={"theta": rare}))


@pytest.mark.parametrize("rho", [-0.9, 0.5, 0.9, 0.97])
def test_chains_that_share_half_of_what_moves_them_are_told(rho: float) -> None:
    """However slowly they move: what is new in each draw is compared."""
    noise = np.random.default_rng(1).normal(size=(5, 1000, 2))
    noise[:2] = 0.5**0.5 * (noise[:2] + noise[4])
    for i in range(1, 1000):
        noise[:, i] += rho * noise[:, i - 1]
    (found,) = _copies({"theta": noise[:4]})
    assert (found.status, found.where) == ("fail", "chains 0 and 1, draw by draw")
    assert 0.4 < found.value < 0.6
    assert not _copies({"theta": noise[1:4]})


def test_a_pair_that_moves_together_is_seen_beside_slow_chains() -> None:
    """Which correlate more, by chance."""
    slow, told = np.random.default_rng(2).normal(size=(4, 1000, 50)).cumsum(1), np.random.default_rng(3)
    pair = told.normal(size=(4, 1000, 1))
    pair[3] = 0.7 * pair[1] + 0.7 * pair[3]
    assert not _copies({"slow": slow})
    assert _copies({"slow": slow, "pair": pair})[0].where == "chains 1 and 3, draw by draw"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["autoregression", "rejected", "rounded", "walk", "rhythm", "drift"])
def test_independent_chains_are_no_copies(kind: str) -> None:
    """Of 300 sets of independent chains, of whatever rhythm, none is told."""
    rng, (sets, C, S) = np.random.default_rng(4), (300, 4, 400)
    x, before, odd = np.zeros((S, sets, C, 2)), 0.0, rng.uniform(size=(sets, 1, 1))
    rho, noise = -0.97 + 1.965 * odd, rng.normal(size=x.shape)
    for i in range(1, S):
        if kind == "rejected":
            x[i] = np.where(rng.uniform(size=x[i].shape) < 0.02 + 0.5 * odd, noise[i], x[i - 1])
        elif kind == "walk":
            x[i] = x[i - 1] + noise[i]
        elif kind == "rhythm":
            x[i], before = 1.98 * np.cos(3 * odd) * x[i - 1] - 0.98 * before + noise[i], x[i - 1]
        else:
            x[i] = rho * x[i - 1] + noise[i]
    x = x.round() if kind == "rounded" else x + np.linspace(0, 5, S)[:, None, None, None] * (kind == "drift")
    assert not [found for i in range(sets) for found in _copies({"theta": x[:, i].transpose(1, 0, 2)})]


@pytest.mark.parametrize("rho", [-0.5, -0.8, -0.95])
def test_antithetic_draws_of_independent_chains_are_no_copies(rho: float) -> None:
    """More effective draws of the mean than draws, but few independent products of two chains' draws."""
    told = []
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=(4, 300, 20))
        for i in range(1, 300):
            noise[:, i] += rho * noise[:, i - 1]
        told += _copies({"theta": noise})
    assert not told


def test_truth_values_and_text_beside_the_posterior(make: Make, verdicts: Any, draws: Any) -> None:
    """As other programs and users add them: truth values count as numbers, text does not."""
    tree = make("exact", posterior={"theta": draws})
    own = tree["posterior"].to_dataset()
    sign, name = own["theta"] > own["theta"].median(), xr.full_like(own["theta"], "a", dtype="U1")
    tree["posterior"] = xr.DataTree(own.assign(sign=sign, name=name))
    assert verdicts(tree)["R-hat"].status == "pass"
    stuck = sign.copy(data=np.repeat([[True], [False], [True], [False]], draws.shape[1], axis=1))
    tree["posterior"] = xr.DataTree(own.assign(sign=stuck))
    assert verdicts(tree)["R-hat"].where == "sign"


def test_few_draws_fail_the_effective_size(make: Make, verdicts: Any, draws: Any) -> None:
    found = verdicts(make("exact", posterior={"theta": draws[:, :50]}))
    assert found["bulk ESS"].status == found["tail ESS"].status == "fail"
    assert found["bulk ESS"].value < 400
    assert re.search(r"raise draws by a factor of about [23]\.", found["bulk ESS"].advice)


def test_sticky_chains_fail_the_effective_size(make: Make, verdicts: Any, draws: Any) -> None:
    found = verdicts(make("exact", posterior={"theta": np.repeat(draws[:, :50], 20, axis=1)}))
    assert found["bulk ESS"].status == "fail"
    assert 100 < found["bulk ESS"].value < 300  # 200 of them are independent


def test_one_chain_is_warned_of(make: Make, verdicts: Any, draws: Any) -> None:
    found = verdicts(make("exact", posterior={"theta": draws.reshape(1, -1)}))
    assert found["R-hat"].status == "warn"
    assert "four chains" in found["R-hat"].advice
    assert found["bulk ESS"].status == "pass"


def test_quantity_that_disagrees_is_named(make: Make, toy: Model, draws: Any) -> None:
    order = np.sort(draws, axis=None)
    halves = np.random.default_rng(1).permuted(np.stack([order[::2], order[1::2]]), axis=1).reshape(4, 1000)
    tree = make("exact", posterior={"theta": halves})
    upper = set(halves[:2].ravel().tolist())

    def which(theta: Any) -> Any:
        return {"which": np.array([theta, theta + (float(theta) in upper)])}

    telling = replace(toy, test_quantities=which, vectorized=False)
    assert {v.check: v for v in gn.diagnose(toy, tree).verdicts}["R-hat"].status == "pass"
    found = {v.check: v for v in gn.diagnose(telling, tree).verdicts}["R-hat"]
    assert (found.status, found.where) == ("fail", "which[1]")


def test_constants_are_left_aside(make: Make, toy: Model, draws: Any) -> None:
    told: dict[str, Any] = {
        "test_quantities": lambda theta: {"one": 1.0, "both": np.array([theta, 0.0])},
        "vectorized": False,
    }
    constant = replace(toy, **told)
    found = {v.check: v for v in gn.diagnose(constant, make("exact", posterior={"theta": draws})).verdicts}
    assert found["R-hat"].status == found["bulk ESS"].status == "pass"


@pytest.fixture
def of_two(toy: Model, toy_tree: xr.DataTree) -> Callable[..., dict[str, Verdict]]:
    """``of_two(draws, more, fixed=...)``: the verdicts on a fit with another number beside theta."""

    def told(draws: Any, more: Any, value: Callable[[Any], Any] = lambda rng: rng.normal()) -> dict[str, Verdict]:
        def run(problem: Problem, rng: np.random.Generator) -> Result:
            return Result(posterior={"theta": draws, "more": more})

        both = {"theta": toy.unknown.variables["theta"], "more": Var((), real, "Another number.", "m")}
        draw = {"theta": lambda rng: rng.normal(), "more": value}
        model = replace(
            toy, unknown=Stage(both, draw), methods={"told": Method(run, "exact", "Told.")}, log_likelihood=None
        )
        return {
            v.check: v
            for v in gn.diagnose(model, gn.fit(model, {"y": toy_tree["observed_data"]["y"]}, "told")).verdicts
        }

    return told


def test_a_number_that_never_moves_is_told(of_two: Any, draws: Any) -> None:
    found = of_two(draws, np.full_like(draws, 0.3))
    assert found["R-hat"].status == "pass"
    assert (found["draws of a chain at one value"].status, found["draws of a chain at one value"].value) == ("fail", 1)
    assert found["draws of a chain at one value"].where == "more"


def test_a_number_that_stays_for_most_of_a_chain_is_told(of_two: Any, draws: Any) -> None:
    stays = draws.copy()
    stays[2, 200:] = stays[2, 200]
    assert of_two(draws, stays)["draws of a chain at one value"].value == 0.8
    stays[2, 600:] = draws[2, 600:]
    assert "draws of a chain at one value" not in of_two(draws, stays)


@pytest.mark.parametrize("value", [lambda rng: 0.3, lambda rng: rng.normal() * (rng.random() < 0.5)])
def test_a_number_that_the_model_holds_is_not_told(of_two: Any, draws: Any, value: Any) -> None:
    """By a prior of one value, or one with a value of its own (spike and slab)."""
    assert "draws of a chain at one value" not in of_two(
        draws, np.full_like(draws, value(np.random.default_rng(1))), value
    )


@pytest.mark.parametrize(("diverging", "status"), [(0, "pass"), (1, "fail")])
def test_divergences(make: Make, verdicts: Any, draws: Any, diverging: int, status: str) -> None:
    flags = np.arange(draws.size).reshape(draws.shape) < diverging
    found = verdicts(make("exact", posterior={"theta": draws}, sample_stats={"diverging": flags}))["divergences"]
    assert (found.status, found.value) == (status, diverging)


@pytest.mark.parametrize(("deepest", "status"), [(9, "pass"), (10, "warn")])
def test_deepest_trees(make: Make, verdicts: Any, draws: Any, deepest: int, status: str) -> None:
    depth = np.full(draws.shape, 3)
    depth[0, :40] = deepest
    tree = make("exact", posterior={"theta": draws}, sample_stats={"tree_depth": depth}, notes={"max_treedepth": 10})
    found = verdicts(tree)["draws at the deepest tree"]
    assert (found.status, found.value) == (status, 0.01 * (deepest == 10))


def test_energy(make: Make, verdicts: Any, draws: Any) -> None:
    steps = np.random.default_rng(1).normal(size=draws.shape)
    for energy, status in ((steps, "pass"), (steps.cumsum(1), "warn")):
        found = verdicts(make("exact", posterior={"theta": draws}, sample_stats={"energy": energy}))["E-BFMI"]
        assert found.status == status
        assert (found.value > 0.3) == (status == "pass")


# Approximations: for a normal q with sd s times that of a normal posterior, the tail index is k = 1 - s²


@pytest.mark.parametrize(("width", "status"), [(1.0, "pass"), (1.3, "pass"), (0.6, "warn"), (0.25, "fail")])
def test_too_narrow_approximation(make: Make, verdicts: Any, posterior: Any, width: float, status: str) -> None:
    mean, sd = posterior
    z = np.random.default_rng(0).normal(size=(1, 4000))
    log_q = -0.5 * z**2 - np.log(width * sd) - 0.5 * np.log(2 * np.pi)
    tree = make("approximate", posterior={"theta": mean + width * sd * z}, sample_stats={"log_q": log_q})
    found = verdicts(tree)["Pareto k-hat of q"]
    assert (found.status, found.where) == (status, "4000 draws")
    assert bool(found.advice) == (status != "pass")
    if width < 1:
        assert abs(found.value - (1 - width**2)) < 0.2  # three times its sd over seeds


def test_high_k_hat_of_many_unknowns_is_a_warning(make: Make, toy: Model) -> None:
    """Where each of a hundred margins is nearly right, the ratios of them all are not."""
    rng = np.random.default_rng(0)
    ratio = {"log_q": np.zeros((1, 1000)), "lp": 5 * rng.normal(size=(1, 1000))}
    for size, status in ((1, "fail"), (100, "warn")):
        tree = make("approximate", posterior={"theta": rng.normal(size=(1, 1000))})
        theta = Stage({"theta": Var(("of",), real, "Means.", "θ")}, toy.unknown.draw)
        model = replace(toy, sizes={**toy.sizes, "of": size}, unknown=theta)
        tree.attrs["sizes"] = json.dumps({**json.loads(tree.attrs["sizes"]), "of": size})
        lead = {"chain": [0], "draw": range(1000)}
        draws = xr.Dataset({"theta": (("chain", "draw", "of"), rng.normal(size=(1, 1000, size)))}, lead)
        tree["posterior"] = draws.assign_coords(of=range(size))
        del tree["truth"]  # of the model as it was
        tree["sample_stats"] = xr.Dataset({name: (("chain", "draw"), value) for name, value in ratio.items()}, lead)
        found = {v.check: v for v in gn.diagnose(model, tree).verdicts}["Pareto k-hat of q"]
        assert found.status == status
        assert ("100 unknown numbers" in found.advice) == (status == "warn")


def test_perfect_approximation_passes(make: Make, verdicts: Any, draws: Any) -> None:
    tree = make("approximate", posterior={"theta": draws[:1]}, sample_stats={"log_q": np.zeros((1, 1000))})
    stats = tree["sample_stats"].to_dataset()
    tree["sample_stats"] = stats.assign(lp=xr.zeros_like(stats["lp"]))
    assert verdicts(tree)["Pareto k-hat of q"].status == "pass"


def test_chains_are_not_asked_of_an_approximation(make: Make, verdicts: Any, draws: Any) -> None:
    found = verdicts(make("approximate", posterior={"theta": draws[:1, :100]}))
    assert not {"R-hat", "bulk ESS", "Pareto k-hat of q"} & set(found)


# Observations and features of the data


def test_outlier_is_found(toy: Model, toy_tree: xr.DataTree, make: Make, verdicts: Any, draws: Any) -> None:
    calm = verdicts(make("exact", posterior={"theta": draws}))["observations with high LOO k"]
    assert (calm.status, calm.value) == ("pass", 0)
    y = toy_tree["observed_data"]["y"].to_numpy().copy()
    y[17] = 40.0
    theta = np.random.default_rng(3).normal(y.sum() / 30.25, 30.25**-0.5, (4, 1000))
    found = verdicts(make("exact", data={"y": y}, posterior={"theta": theta}))["observations with high LOO k"]
    assert (found.status, found.value) == ("warn", 1)
    assert found.where.endswith(" at item 17")


@pytest.mark.parametrize(("sign", "bad"), [(-1, 1), (1, 0)])
def test_observation_that_few_draws_explain(make: Make, toy: Model, draws: Any, sign: int, bad: int) -> None:
    """Leaving it out weights draws by the inverse likelihood: a Pareto tail of k = 3 one way, bounded the other."""
    tree = make("exact", posterior={"theta": draws})
    pointwise = tree["log_likelihood"].to_dataset().copy(deep=True)
    pointwise["y"][:, :, 3] = sign * 3 * np.random.default_rng(5).exponential(size=draws.shape)
    tree["log_likelihood"] = pointwise
    found = {v.check: v for v in gn.diagnose(toy, tree).verdicts}["observations with high LOO k"]
    assert found.value == bad


def test_observation_that_depends_on_nothing_is_no_outlier(make: Make, toy: Model, draws: Any) -> None:
    tree = make("exact", posterior={"theta": draws})
    pointwise = tree["log_likelihood"].to_dataset().copy(deep=True)
    pointwise["y"][:, :, 3] = -1.5
    tree["log_likelihood"] = pointwise
    found = {v.check: v for v in gn.diagnose(toy, tree).verdicts}["observations with high LOO k"]
    assert (found.status, found.value) == ("pass", 0)


@pytest.mark.parametrize("claim", ["exact", "approximate", "point"])
def test_feature_that_the_model_misses(toy_tree: xr.DataTree, make: Make, verdicts: Any, claim: str) -> None:
    y = toy_tree["observed_data"]["y"].to_numpy()
    found = {}
    for name, width in (("well", 1), ("broad", 1.7), ("wide", 4), ("tight", 0.2)):
        data = y.mean() + width * (y - y.mean())
        mean = data.sum() / 30.25
        theta = np.random.default_rng(4).normal(mean, 30.25**-0.5, (4, 100))
        parts: dict[str, Any] = {"point": {"theta": mean}} if claim == "point" else {"posterior": {"theta": theta}}
        found[name] = verdicts(make(claim, data={"y": data}, **parts))
    assert found["well"]["predictive check: sd"].status == "pass"
    for name, width, status in (("broad", 1.7, "warn"), ("wide", 4, "fail"), ("tight", 0.2, "fail")):
        assert found[name]["predictive check: mean"].status == "pass"
        missed = found[name]["predictive check: sd"]
        assert missed.status == status
        assert missed.value < (0.005 if status == "warn" else 1e-3)
        assert ("do not rely" in missed.advice) == (status == "fail")
        assert missed.where == "200 replications"
        assert f"It is {width * y.std():.4g}" in missed.advice


def test_replications_have_the_gaps_of_the_data(toy: Model, toy_tree: xr.DataTree) -> None:
    """Where a statistic takes missing values as means, whole replications would have a larger variance."""
    y = toy.observed.variables["y"]
    gappy = replace(y, support=replace(y.support, contains=lambda x: ~np.isinf(x)))
    way = Method(lambda problem, rng: Result(point={"theta": np.array(1.5)}), "point", "Told.")
    model = replace(
        toy,
        observed=replace(toy.observed, variables={"y": gappy}),
        statistics=lambda y: {"gaps": np.isnan(y).sum()},
        methods={"told": way},
    )
    data = toy_tree["observed_data"]["y"].to_numpy().copy()
    data[[1, 4]] = np.nan
    observed, again = replicated_statistics(model, gn.fit(model, {"y": data}, "told"), 0)
    assert observed["gaps"] == 2
    assert set(again["gaps"]) == {2}


def test_predictive_check_of_a_statistic_with_ties(toy: Model, make: Make, draws: Any) -> None:
    constant = replace(toy, statistics=lambda y: {"items": len(y)})
    found = {v.check: v for v in gn.diagnose(constant, make("exact", posterior={"theta": draws})).verdicts}
    assert (found["predictive check: items"].value, found["predictive check: items"].status) == (1.0, "pass")


@pytest.mark.parametrize("draw", ["normal", "gamma", "cauchy"])
def test_tails_beyond_all_replications_are_calibrated(draw: str) -> None:
    """Of 4,000 values like their 200 replications, about as few have p below .0025 as should."""
    rng, below = np.random.default_rng(5), 0
    for _ in range(4000):
        sample = {
            "normal": lambda: rng.normal(size=201),
            "gamma": lambda: rng.gamma(0.5, size=201),
            "cauchy": lambda: rng.standard_cauchy(201),
        }[draw]()
        below += tail(float(sample[0]), sample[1:]) < 0.0025
    assert below < 4000 * 0.0025 * (4 if draw == "cauchy" else 2.2)


def test_tails_follow_the_distance() -> None:
    again = np.random.default_rng(6).normal(size=200)
    values = [tail(x, again) for x in (0.0, 3.5, 5.0, 8.0)]
    assert values == sorted(values, reverse=True)
    assert values[1] > 1e-4
    assert values[3] < 1e-4
    assert tail(-8.0, again) < 1e-4
    assert tail(1.0, np.zeros(200)) == 0.0


def test_seed_decides_the_replications(toy: Model, make: Make) -> None:
    tree = make("point", point={"theta": 1.3})
    first, again, other = (gn.diagnose(toy, tree, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


# What a diagnosis tells


@pytest.fixture
def diagnosis() -> Diagnosis:
    good = verdict("depth", True, 3, "< 5", "a[0]", "Dig.")
    odd = verdict("<width>", False, float("nan"), "> 1", "", "Widen & wait.", "warn")
    return Diagnosis("toy", "told", "point", (good, odd))


def test_advice_is_kept_only_where_it_is_needed(diagnosis: Diagnosis) -> None:
    assert [v.advice for v in diagnosis.verdicts] == ["", "Widen & wait."]
    assert [v.status for v in diagnosis.verdicts] == ["pass", "warn"]
    assert verdict("x", False, 1, "", "", "").status == "fail"


def test_warnings_pass_and_failures_do_not(diagnosis: Diagnosis) -> None:
    assert diagnosis.passed
    assert not replace(diagnosis, verdicts=(*diagnosis.verdicts, verdict("x", False, 1, "", "", ""))).passed


def test_diagnosis_as_json(diagnosis: Diagnosis) -> None:
    told = json.loads(json.dumps(diagnosis.to_dict(), allow_nan=False))
    assert {k: told[k] for k in ("model", "method", "claim", "passed")} == {
        "model": "toy",
        "method": "told",
        "claim": "point",
        "passed": True,
    }
    assert told["verdicts"][1] == {
        "check": "<width>",
        "status": "warn",
        "value": None,
        "limit": "> 1",
        "where": "",
        "advice": "Widen & wait.",
    }


def test_diagnosis_as_text(diagnosis: Diagnosis) -> None:
    lines = str(diagnosis).splitlines()
    assert lines[0] == "toy fitted by told (claim: point): passed with reservations in 1 of 2 checks"
    assert lines[2].split() == ["pass", "depth", "3", "<", "5", "a[0]"]
    assert lines[4].split() == ["->", "Widen", "&", "wait."]
    assert len(lines) == 5
    failed = replace(diagnosis, verdicts=(verdict("x", False, 1, "", "", ""),))
    assert str(failed).splitlines()[0].endswith("FAILED")


def test_values_are_shown_on_their_side_of_the_limit() -> None:
    for value, limit, shown in ((1.00996, "< 1.01", "1.00996"), (1.01, "< 1.01", "1.01"), (399.98, ">= 400", "399.98"),
                                (512.345, ">= 400", "512.3"), (0.123456, "= 0 with k > 0.70", "0.1235")):  # fmt: skip
        assert verdict("x", True, value, limit, "", "").shown == shown


def test_diagnosis_as_html(diagnosis: Diagnosis) -> None:
    page = diagnosis._repr_html_()
    assert "&lt;width&gt;" in page
    assert "Widen &amp; wait." in page
    assert page.count("<tr") == 3


# What cannot be diagnosed


def test_simulation_is_no_fit(toy: Model, toy_tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="toy: the tree holds no fit"):
        gn.diagnose(toy, toy_tree)


def test_fit_of_another_model_is_refused(toy: Model, fitted: Make) -> None:
    with pytest.raises(InputError, match="toy: the tree holds a fit of 'nb_mixture'"):
        gn.diagnose(toy, fitted("nb_mixture", "em"))


def test_tree_of_nobody_is_refused() -> None:
    with pytest.raises(InputError, match="does not say which model"):
        gn.diagnose("nb_mixture", xr.DataTree())


@pytest.mark.parametrize(("draws", "chains"), [(1, 1), (3, 2), (3, 4), (9, 1), (10, 1), (12, 2)])
def test_too_few_draws_are_a_verdict(draws: int, chains: int, few: xr.DataTree) -> None:
    found = few.isel(draw=slice(draws), chain=slice(chains), missing_dims="ignore")
    told = gn.diagnose("nb_mixture", found)
    assert not told.passed
    assert ("too few draws" in str(told)) == (draws < 10)


def test_chains_that_stand_still_are_a_verdict(few: xr.DataTree) -> None:
    found = few.isel(draw=[0] * 12, missing_dims="ignore").isel(chain=[0, 0], missing_dims="ignore")
    assert "the chains stand still" in str(gn.diagnose("nb_mixture", found))
    apart = few.isel(draw=[0] * 12, missing_dims="ignore")
    assert not gn.diagnose("nb_mixture", apart).passed


@pytest.fixture(scope="module")
def few() -> xr.DataTree:
    """A fit of 12 draws by each of 4 chains."""
    tree = gn.simulate("nb_mixture", seed=1, cell=30, gene=2, component=2)
    return gn.fit("nb_mixture", tree, "gibbs", 1, draws=12, tune=5, chains=4)


def test_too_few_draws_of_an_approximation_are_a_verdict(few: xr.DataTree) -> None:
    found = gn.fit("nb_mixture", few, "vi", 1, draws=10, component=2)
    assert "too few draws" in str(gn.diagnose("nb_mixture", found))


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto distribution")
def test_leave_one_out_is_that_of_arviz(make: Make, verdicts: Any) -> None:
    """Draws that are like their neighbours are worth fewer, and tails are longer."""
    rng = np.random.default_rng(3)
    y = np.append(rng.normal(0, 1, 19), 6.0)
    steps = rng.normal(size=(4, 1000))
    for at in range(1, 1000):
        steps[:, at] = 0.9 * steps[:, at - 1] + np.sqrt(1 - 0.9**2) * steps[:, at]
    tree = make("exact", data={"y": y}, posterior={"theta": y.mean() + 0.5 * steps})
    k = az.loo(tree, pointwise=True).pareto_k.to_numpy()
    assert verdicts(tree)["observations with high LOO k"].where == f"highest k {k.max():.2f} at item {k.argmax()}"
    independent = float(
        array_stats.psislw(tree["log_likelihood"].to_dataset()["y"][..., 19].to_numpy().ravel(), axis=-1)[1]
    )
    assert abs(k[19] - independent) > 0.01


def test_numbers_and_observations_are_named_by_their_labels() -> None:
    data = {"x": xr.DataArray([[0, 9], [1, 8], [70, 0], [9, 1]], {"cell": list("abcd"), "gene": ["G1", "G2"]})}
    tree = gn.fit("nb_mixture", {**data, "phi": 0.3}, "gibbs", component=1, seed=1, chains=2, draws=60, tune=20)
    found = {v.check: v for v in gn.diagnose("nb_mixture", tree).verdicts}
    assert found["R-hat"].where in ("mu[0, G1]", "mu[0, G2]", "lp") or found["R-hat"].where.startswith("log")
    assert found["observations with high LOO k"].where.rpartition(" ")[2] in "abcd"


def test_observations_that_hardly_bear_on_the_posterior_are_no_warning(make: Make, verdicts: Any) -> None:
    """A few draws that lie a millionth off have a tail of any shape, which changes nothing."""
    far = np.random.default_rng(1).pareto(0.7, (4, 1000))
    tree = make("exact", data={"y": [-0.5] * 3, "sigma": 1.0}, posterior={"theta": 1e-4 * far / far.max()})
    likelihood = tree["log_likelihood"].to_dataset()["y"][..., 0].to_numpy().ravel()
    assert array_stats.psislw(likelihood, axis=-1)[1] > 1
    assert "observations with high LOO k" not in verdicts(tree)
