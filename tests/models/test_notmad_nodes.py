"""Nodes with a link, missing values, and fits of many nodes, against naive references."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.models.notmad import learn_order, rules, select
from genarium.models.notmad import map as route
from genarium.models.notmad.encoder import spread_over_samples
from genarium.models.notmad.graphs import compare, places
from genarium.models.notmad.objective import Objective
from genarium.models.notmad.pack import Packed

LINKED: list[dict[str, Any]] = [
    {"nodes": "logistic"},
    {"nodes": "count"},
    {"nodes": "logistic", "order": "given", "mean": "regressed"},
    {"nodes": "count", "encoder": "mlp", "prior": "hierarchical", "mean": "regressed"},
]


def drawn(seed: int = 5, **settings: Any) -> tuple[Problem, dict[str, Array]]:
    """A simulated problem, and the true values of its unknown variables."""
    tree = gn.simulate("notmad", seed, **{"sample": 8, "node": 4, **settings})
    model = gn.get("notmad").variant(**{k: v for k, v in settings.items() if isinstance(v, str)})
    return check(model, tree), {name: tree["truth"][name].to_numpy() for name in model.unknown.variables}


def networks_of(problem: Problem, at: dict[str, Array]) -> Array:
    """True networks by the model's own hidden stage."""
    draws: Any = problem.model.hidden.draw
    archetypes = problem.call(draws["archetype_network"], **at)
    weights = problem.call(draws["archetype_weight"], **at)
    return np.array([sum(z[k] * archetypes[k] for k in range(len(archetypes))) for z in weights])


@pytest.mark.parametrize("options", LINKED, ids=str)
def test_probabilities_are_those_of_scipy_value_by_value(options: dict[str, Any]) -> None:
    problem, at = drawn(**options)
    x, level = problem["x"], problem["level"]
    context = (problem["context"] - problem["context_mean"]) / problem["context_sd"]
    expected = np.zeros(len(x))
    for i, W in enumerate(networks_of(problem, at)):
        for j in range(x.shape[1]):
            eta = (
                level[j] + at["mean_intercept"][j] + (context[i] @ at["mean_slope"][:, j] if "mean_slope" in at else 0)
            )
            for a in range(x.shape[1]):
                own = special.expit(level[a]) if options["nodes"] == "logistic" else np.log(1 + np.exp(level[a]))
                eta += ((x[i, a] if options["nodes"] == "logistic" else np.log(1 + x[i, a])) - own) * W[a, j]
            if options["nodes"] == "logistic":
                expected[i] += stats.bernoulli(special.expit(eta)).logpmf(x[i, j])
            else:
                r = 1 / at["dispersion"][j]
                expected[i] += stats.nbinom(r, r / (r + np.exp(eta))).logpmf(x[i, j])
    assert problem.model.log_likelihood is not None
    np.testing.assert_allclose(problem.call(problem.model.log_likelihood, **at), expected, rtol=1e-9)


@pytest.mark.parametrize("options", [*LINKED, {"missing": "integrated"}], ids=str)
def test_gradients_are_those_of_differences(options: dict[str, Any]) -> None:
    problem, at = drawn(**options)
    packed = Packed(Objective(problem))
    start = packed.pack(at)
    _, slope = packed(start)
    for e in np.eye(len(start))[:: max(1, len(start) // 25)]:
        rise = packed(start + 1e-5 * e)[0] - packed(start - 1e-5 * e)[0]
        assert rise / 2e-5 == pytest.approx(float(slope @ e), rel=1e-5, abs=1e-7)


def strong(kind: str, samples: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Values, contexts and true networks of six nodes with strong edges, in topological order."""
    rng, p = np.random.default_rng(seed), 6
    size = 1.5 if kind == "logistic" else 0.4
    W = rng.uniform(0.7, 1.3, (3, p, p)) * rng.choice([-1, 1], (3, p, p)) * (rng.uniform(size=(3, p, p)) < 0.5) * size
    known = {"slope": rng.normal(0, 2, (2, 3)), "intercept": np.zeros(3), "mean_intercept": np.zeros(p)}
    known["edge_weight"] = W[:, *places("free", p)]
    if kind == "count":
        known["dispersion"] = np.full(p, 0.2)
    tree = gn.simulate("notmad", 1, sample=samples, node=p, covariate=2, archetype=3, nodes=kind, **known)
    data = tree["observed_data"]["x"].to_numpy(), tree["constant_data"]["context"].to_numpy()
    return *data, tree["truth"]["network"].to_numpy()


@pytest.mark.parametrize(
    ("kind", "beta", "share"),
    [("logistic", 3.0, 0.4), pytest.param("count", 8.0, 0.4, marks=pytest.mark.slow)],
)
def test_fits_find_the_networks_that_follow_the_context(kind: str, beta: float, share: float) -> None:
    x, context, truth = strong(kind, 1400)
    new = {"x": x[1000:], "context": context[1000:]}
    errors, found = [], {}
    for order, K in (("given", 3), ("free", 3), ("free", 1)):
        settings = {"archetype": K, "nodes": kind, "order": order, "beta": beta, "restarts": 2}
        fit = gn.fit("notmad", {"x": x[:1000], "context": context[:1000]}, "map", 1, **settings)
        predicted = gn.predict(fit, new)["predictions"]
        found[order, K] = compare(predicted["network"].to_numpy(), truth[1000:], 0.2)
        errors.append(float(predicted["error"].mean()))
        assert predicted["acyclic"].all()
    assert found["given", 3]["rmse"] < share * compare(0 * truth[1000:], truth[1000:])["rmse"]
    assert errors[1] < errors[0] + 0.25 * (errors[2] - errors[0])  # an order that is learned predicts about as well


def test_a_learnt_order_keeps_to_rules_and_so_must_one_that_is_given() -> None:
    x, context, _ = strong("logistic", 200)
    known = rules(range(6), forbidden=[(0, 1)], required=[(5, 0)])
    place = learn_order(x, context, nodes="logistic", rule=known)
    assert place[5] < place[0]
    data = {"x": x, "context": context, "rule": known}
    fit = gn.fit("notmad", data, "map", nodes="logistic", archetype=2, restarts=1)
    assert (fit["constant_data"]["position"].to_numpy() == place).all()
    found = fit["point"]["archetype_network"].to_numpy()
    assert (found[:, 0, 1] == 0).all()
    assert (found[:, place[:, None] >= place] == 0).all()
    assert (found[:, 5, 0] != 0).all()
    for position, said in ((-place, "5->0 is required"), (np.minimum(place, 4), "have one place")):
        with pytest.raises(InputError, match=f"{said}.*learn_order"):
            gn.fit("notmad", {**data, "position": position}, "map", nodes="logistic", archetype=2)


@pytest.mark.parametrize("value", [0.3, 2, np.nan])
def test_booleans_are_zero_or_one(value: float) -> None:
    x, context, _ = strong("logistic", 20)
    with pytest.raises(InputError, match="zero or one"):
        gn.fit("notmad", {"x": np.where(x == 1, value, 0.0), "context": context}, "map", nodes="logistic", archetype=1)


@pytest.mark.parametrize("kind", ["logistic", "count"])
def test_standardised_nodes_are_refused_with_how_to_read_them(kind: str) -> None:
    x, context, _ = strong(kind, 20)
    with pytest.raises(InputError, match="Read nodes as they are"):
        gn.fit("notmad", {"x": (x - x.mean(0)) / x.std(0), "context": context}, "map", nodes=kind, archetype=1)


def gaps(seed: int = 5, **settings: Any) -> tuple[Problem, dict[str, Array], Array]:
    """A problem with a missing value, with two, and with a sample that has none left; truth; networks."""
    problem, at = drawn(seed, **{"missing": "integrated", "mean": "regressed", **settings})
    x = problem["x"].copy()
    x[0, 1] = x[3, 0] = x[3, 2] = np.nan
    x[5] = np.nan
    networks = networks_of(problem, at)
    return Problem(problem.model, problem.sizes, {**problem.arrays, "x": x}, coords=problem.coords), at, networks


def test_missing_values_are_integrated_out() -> None:
    problem, at, networks = gaps()
    context = (problem["context"] - problem["context_mean"]) / problem["context_sd"]
    mean = context @ at["mean_slope"] + at["mean_intercept"]
    expected = []
    for i, W in enumerate(networks):
        there = np.flatnonzero(~np.isnan(problem["x"][i]))
        spread = np.linalg.inv(np.eye(4) - W)
        covariance = (spread.T @ np.diag(at["sigma"] ** 2) @ spread)[np.ix_(there, there)]
        of = stats.multivariate_normal(mean[i][there], covariance) if there.size else None
        expected.append(of.logpdf(problem["x"][i][there]) if of else 0.0)
    assert problem.model.log_likelihood is not None
    np.testing.assert_allclose(problem.call(problem.model.log_likelihood, **at), expected, atol=1e-10)


@pytest.mark.parametrize("mean", ["zero", "regressed"])
def test_missing_values_are_integrated_out_at_all_draws_at_once(mean: str) -> None:
    """Means of zero have no leading dim of draws, regressed ones do."""
    problem, at, _ = gaps(mean=mean)
    log_likelihood = problem.model.log_likelihood
    assert log_likelihood is not None
    points = [{name: value * scale for name, value in at.items()} for scale in (1.0, 0.8)]
    together = problem.call(log_likelihood, **{name: np.stack([one[name] for one in points]) for name in at})
    np.testing.assert_allclose(together, [problem.call(log_likelihood, **one) for one in points], atol=1e-10)


@pytest.mark.slow
def test_missing_values_are_integrated_out_in_pymc_too() -> None:
    from genarium.engines import compiled

    problem, at, _ = gaps()
    density = compiled.Compiled(problem, interpreted=True)
    model = problem.model
    assert model.log_likelihood is not None
    assert model.log_prior is not None
    apart = []
    for scale in (1.0, 0.8, 1.2):
        moved = {name: value * scale for name, value in at.items()}
        here = problem.call(model.log_likelihood, **moved).sum() + problem.call(model.log_prior, **moved)
        apart.append(density.log_density(density.unconstrained(moved))[0] - float(here))
    np.testing.assert_allclose(apart, apart[0], atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ordered", "exact"])
def test_fits_to_incomplete_samples_beat_complete_ones_and_means(way: str) -> None:
    rng = np.random.default_rng(0)
    edges = rng.uniform(0.5, 1.5, (3, 15)) * rng.choice([-1, 1], (3, 15)) * (rng.uniform(size=(3, 15)) < 0.4)
    known = {"slope": rng.normal(0, 2, (2, 3)), "edge_weight": edges, "sigma": np.ones(6), "intercept": np.zeros(3)}
    tree = gn.simulate("notmad", 1, sample=700, node=6, covariate=2, archetype=3, order="given", **known)
    x, context = tree["observed_data"]["x"].to_numpy(), tree["constant_data"]["context"].to_numpy()
    truth = tree["truth"]["network"].to_numpy()[500:]
    holed = np.where(rng.uniform(size=(500, 6)) < 0.1, np.nan, x[:500])
    full = ~np.isnan(holed).any(1)

    def error(values: Array, rows: Array | slice, **settings: Any) -> float:
        data = {"x": values, "context": context[:500][rows]}
        fit = gn.fit("notmad", data, "map", 1, archetype=3, beta=10.0, restarts=2, **settings)
        found = gn.predict(fit, {"context": context[500:]})["predictions"]["network"].to_numpy()
        return compare(found, truth)["rmse"]

    ours = error(holed, slice(None), missing="integrated", route=way)
    assert ours < 0.9 * error(holed[full], full)
    assert ours < 0.9 * error(np.where(np.isnan(holed), np.nanmean(holed, 0), holed), slice(None))


def test_starts_with_missing_values_end_at_densities_of_what_was_observed() -> None:
    tree = gn.simulate("notmad", 5, sample=60, node=3, order="given", beta=2.0)
    x = tree["observed_data"]["x"].to_numpy()
    x = np.where(np.random.default_rng(0).uniform(size=x.shape) < 0.2, np.nan, x)
    data = {"x": x, "context": tree["constant_data"]["context"].to_numpy()}
    fit = gn.fit("notmad", data, "map", 1, archetype=2, order="given", missing="integrated", restarts=2)
    ends = [row[np.isfinite(row)][-1] for row in fit["point"]["bound"].to_numpy()]
    assert json.loads(fit.attrs["notes"])["starts_agreeing"] == 2
    assert np.ptp(ends) < 1  # of the completed data, the densities are tens of nats away


def test_what_takes_no_missing_values_says_so() -> None:
    problem, _, _ = gaps()
    data = {"x": problem["x"], "context": problem["context"]}
    with pytest.raises(InputError, match="missing"):
        gn.fit("notmad", data, "map", archetype=1)
    with pytest.raises(InputError, match="drop the samples"):
        gn.fit("notmad", data, "map", archetype=1, missing="integrated", mean="regressed", newton_finish=True)
    data["x"] = np.where(np.arange(4) == 2, np.nan, data["x"])
    with pytest.raises(InputError, match="node 2 has 0 values"):
        gn.fit("notmad", data, "map", archetype=1, missing="integrated")


@pytest.mark.parametrize("options", [{}, {"mean": "regressed", "prior": "hierarchical"}], ids=str)
def test_sums_over_listed_edges_are_those_of_matrices(options: dict[str, Any]) -> None:
    problem, at = drawn(order="given", node=6, sample=30, **options)
    whole = Packed(Objective(problem))
    listed = Packed(Objective(problem, pairs=places("given", 6)))
    vector = whole.pack(at)
    (value, slope), (other, its_slope) = whole(vector), listed(vector)
    assert value == pytest.approx(other, rel=1e-10)
    np.testing.assert_allclose(slope, its_slope, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_few_candidates_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With candidates for parents, 25 nodes end where, or above where, all edges are looked at."""
    rng, p = np.random.default_rng(3), 25
    pairs = rng.uniform(size=(2, p, p)) < 2 / p
    W = np.triu(pairs * rng.uniform(0.3, 1, (2, p, p)) * rng.choice([-1, 1], (2, p, p)), 1)
    known = {"slope": [[-2.0, 2.0]], "intercept": [0.0, 0.0], "sigma": np.ones(p)}
    known["edge_weight"] = W[:, *places("given", p)]
    tree = gn.simulate("notmad", 1, sample=500, node=p, covariate=1, archetype=2, order="given", **known)
    order = rng.permutation(p)
    data = {
        "x": tree["observed_data"]["x"].to_numpy()[:, order],
        "context": tree["constant_data"]["context"].to_numpy(),
    }
    ends = []
    for nodes in (1000, 5):
        monkeypatch.setattr(route, "WIDE", nodes)
        fit = gn.fit("notmad", data, "map", 1, archetype=2, beta=10.0, route="ordered", restarts=2)
        ends.append(float(fit["point"]["bound"].max()))
    assert ends[1] > ends[0] - 2.0


@pytest.mark.parametrize("order", ["given", "free"])
def test_archetypes_of_low_rank_are_products(order: str) -> None:
    problem, at = drawn(order=order, prior="factored", factor=1)
    draws: Any = problem.model.hidden.draw
    archetypes = problem.call(draws["archetype_network"], **at)
    for k, network in enumerate(archetypes):
        for i in range(4):
            for j in range(4):
                there = i < j if order == "given" else i != j
                assert network[i, j] == pytest.approx(at["outgoing"][k, i, 0] * at["incoming"][k, j, 0] * there)
    packed = Packed(Objective(problem))
    start = packed.pack(at)
    _, slope = packed(start)
    for e in np.eye(len(start)):
        rise = packed(start + 1e-5 * e)[0] - packed(start - 1e-5 * e)[0]
        assert rise / 2e-5 == pytest.approx(float(slope @ e), rel=1e-5, abs=1e-7)


def test_rare_levels_have_the_scale_of_frequent_ones() -> None:
    context = np.column_stack([np.arange(20.0), np.arange(20) == 3, np.where(np.arange(20) < 10, 5.0, 9.0)])
    np.testing.assert_allclose(spread_over_samples(context), [context[:, 0].std(), 0.5, 2.0])


@pytest.mark.slow
def test_select_takes_nodes_with_a_link() -> None:
    x, context, _ = strong("logistic", 400)
    found = select(x, context, archetypes=(2,), betas=(3.0,), means=("zero",), folds=2, restarts=1, nodes="logistic")
    assert found.settings["nodes"] == "logistic"
    assert found.gain > 0
