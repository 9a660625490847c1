"""NOTMAD against naive references: loops over samples, SciPy's matrix functions, finite differences."""

import json
import re
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import linalg, stats

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.errors import InputError
from genarium.models.notmad import (
    bootstrap,
    by_group,
    clustered,
    consensus,
    group_average,
    lioness,
    notears,
    project_to_dag,
)
from genarium.models.notmad.baselines import bootstrap_error, held_out_error
from genarium.models.notmad.encoder import curves
from genarium.models.notmad.graphs import compare, is_acyclic, log_determinant, matrices, penalty
from genarium.models.notmad.map import maximum
from genarium.models.notmad.objective import Objective
from genarium.models.notmad.pack import Packed
from genarium.models.notmad.preparation import split
from genarium.models.notmad.projection import topological_order
from genarium.supports import acyclic

VARIANTS = [
    {"encoder": e, "penalty": h, "order": o, "mean": m}
    for e, h, o, m in product(
        ("linear", "additive", "mlp"), ("notears", "logdet"), ("free", "given"), ("zero", "regressed")
    )
    if not (o == "given" and h == "logdet")
]
VARIANTS += [
    {"encoder": "linear", "penalty": "notears", "order": o, "mean": m, "noise": n, "prior": h}
    for o, m, n, h in product(
        ("free", "given"), ("zero", "regressed"), ("node", "shared"), ("independent", "hierarchical")
    )
    if (n, h) != ("node", "independent")
]
RULE = np.array([[0, 1, 0, -1], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 0]])
"""Two required edges, and three forbidden ones; the required ones go forward."""

DATA = Path(__file__).parents[3] / "shared" / "data" / "notmad"


def small(**settings: Any) -> tuple[Problem, dict[str, Array]]:
    """A problem of 7 samples, and the true values of its unknown variables."""
    neurons = {} if settings.get("encoder", "linear") == "linear" else {"neuron": 4}
    tree = gn.simulate("notmad", 5, **{"sample": 7, "node": 4, "gamma": 0.7, "rule": RULE, **neurons, **settings})
    options = {name: value for name, value in settings.items() if isinstance(value, str)}
    model = gn.get("notmad").variant(**options)
    return check(model, tree), {name: tree["truth"][name].to_numpy() for name in model.unknown.variables}


def naive_networks(problem: Problem, at: dict[str, Array]) -> tuple[Array, Array]:
    """Archetypes and networks, sample by sample and edge by edge."""
    p, K = problem.sizes["node"], problem.sizes["archetype"]
    order = problem.model.chosen.get("order", "free")
    pairs = [(i, j) for i in range(p) for j in range(p) if (i < j if order == "given" else i != j)]
    archetypes = np.zeros((K, p, p))
    for k in range(K):
        for e, (i, j) in enumerate(pairs):
            if problem["rule"][i, j] >= 0:
                archetypes[k, i, j] = at["edge_weight"][k, e] + (at["shared_weight"][e] if "shared_weight" in at else 0)
    networks = []
    for c in (problem["context"] - problem["context_mean"]) / problem["context_sd"]:
        logit = at["intercept"].copy()
        if "slope" in at:
            logit += at["slope"].T @ c
        elif at["outer"].ndim == 2:
            logit += at["outer"].T @ np.tanh(at["inner"].T @ c + at["inner_bias"])
        else:
            for j in range(len(c)):
                logit += at["outer"][j].T @ np.tanh(c[j] * at["inner"][j] + at["inner_bias"][j])
        z = np.exp(logit) / np.exp(logit).sum()
        networks.append(sum(z[k] * archetypes[k] for k in range(K)))
    return archetypes, np.array(networks)


def naive_h(network: Array, kind: str) -> float:
    square = network * network
    if kind == "notears":
        return float(np.trace(linalg.expm(square)) - len(network))
    return -float(np.linalg.slogdet(np.eye(len(network)) - square)[1])


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(o.values()))
def test_densities_are_those_of_scipy_sample_by_sample(options: dict[str, str]) -> None:
    problem, at = small(**options)
    archetypes, networks = naive_networks(problem, at)
    p, model = problem.sizes["node"], problem.model
    expected = []
    for i, w in enumerate(networks):
        c = (problem["context"][i] - problem["context_mean"]) / problem["context_sd"]
        mu = c @ at["mean_slope"] + at["mean_intercept"] if "mean_slope" in at else np.zeros(p)
        spread = np.linalg.inv(np.eye(p) - w)
        covariance = spread.T @ np.diag(np.broadcast_to(at["sigma"], p) ** 2) @ spread
        expected.append(stats.multivariate_normal(mu, covariance).logpdf(problem["x"][i]))
    assert model.log_likelihood is not None
    np.testing.assert_allclose(problem.call(model.log_likelihood, **at), expected, rtol=1e-9)

    known = {name: float(problem[name]) for name, var in model.known.variables.items() if not var.dims}
    prior: Any = np.sum(stats.lognorm(known["sigma_spread"], scale=known["sigma0"]).logpdf(at["sigma"]))
    pairs = [(i, j) for i in range(p) for j in range(p) if (i < j if options["order"] == "given" else i != j)]
    for name, rate in (("edge_weight", "beta"), ("shared_weight", "beta_shared")):
        for e, pair in enumerate(pairs if name in at else []):
            normal = RULE[pair] == 1 and (name == "shared_weight" or "shared_weight" not in at)
            density = stats.norm(0, known["required_sd"]) if normal else stats.laplace(0, 1 / known[rate])
            prior += density.logpdf(at[name][..., e]).sum()
    for name in set(at) - {"edge_weight", "shared_weight", "sigma"}:
        sd = known["tau_mean"] if name.startswith("mean") else known["tau"]
        prior += stats.norm(0, sd / np.sqrt(problem.sizes["neuron"]) if name == "outer" else sd).logpdf(at[name]).sum()
    if options["order"] == "free":
        prior -= known["alpha"] * np.mean([naive_h(w, options["penalty"]) for w in networks])
        prior -= known["gamma"] * sum(naive_h(w, options["penalty"]) for w in archetypes)
    assert model.log_prior is not None
    assert float(problem.call(model.log_prior, **at)) == pytest.approx(float(prior), rel=1e-10)


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(o.values()))
def test_objective_is_minus_the_density_and_its_gradient_that_of_differences(options: dict[str, str]) -> None:
    problem, at = small(**options)
    packed = Packed(Objective(problem))
    packed.alpha = float(problem["alpha"])
    vector = packed.pack(at)
    vector[: 2 * packed.edges] += np.where(packed.open & packed.signed, 0.01, 0)  # inside the bounds
    value, gradient = packed(vector)
    n = len(problem["x"])
    model = problem.model

    def minus_density(at: dict[str, Array]) -> float:
        assert model.log_likelihood is not None
        assert model.log_prior is not None
        joint = problem.call(model.log_likelihood, **at).sum() + problem.call(model.log_prior, **at)
        sizes = np.concatenate([np.abs(at[name]).ravel() for name in packed.objective.edges])
        return -float(joint) - float(packed.rates @ sizes)

    other = packed.random(np.random.default_rng(3)) * np.where(np.arange(len(vector)) < 2 * packed.edges, 1, 0.5)
    other[: 2 * packed.edges][~packed.open] = 0
    objectives, densities = [], []
    for v in (vector, other):
        objectives.append(packed(v)[0] * n - packed.l1(v))
        densities.append(minus_density(packed.unpack(v)))
    assert objectives[0] - objectives[1] == pytest.approx(densities[0] - densities[1], rel=1e-9)

    step = 1e-5
    low, high = packed.bounds.T
    for i in np.flatnonzero(low < high):
        ends = [packed(vector + s * step * np.eye(len(vector))[i])[0] for s in (-1, 1)]
        assert gradient[i] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5, abs=1e-6 * max(1, abs(value)))


@pytest.mark.parametrize("nodes", [2, 5, 17])
def test_penalties_and_determinants_are_those_of_scipy(nodes: int) -> None:
    rng = np.random.default_rng(nodes)
    for scale in (0.1, 0.5, 1.5):
        networks = rng.normal(0, scale / np.sqrt(nodes), (20, nodes, nodes))
        value, gradient = penalty(networks, "notears")
        for w, h, g in zip(networks, value, gradient, strict=True):
            e = linalg.expm(w * w)
            assert h == pytest.approx(np.trace(e) - nodes, rel=1e-10, abs=1e-12)
            np.testing.assert_allclose(g, 2 * w * e.T, rtol=1e-9, atol=1e-13)
        value, gradient = penalty(networks, "logdet")
        for w, h, g in zip(networks, value, gradient, strict=True):
            radius = np.abs(np.linalg.eigvals(w * w)).max()
            assert np.isfinite(h) == (radius < 1)  # outside, the determinant is finite and means nothing
            if radius < 1:
                assert h == pytest.approx(naive_h(w, "logdet"), rel=1e-9, abs=1e-12)
                np.testing.assert_allclose(g, 2 * w * np.linalg.inv(np.eye(nodes) - w * w).T, rtol=1e-8, atol=1e-12)
        value, gradient = log_determinant(networks)
        np.testing.assert_allclose(value, np.linalg.slogdet(np.eye(nodes) - networks)[1], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(
            gradient, -np.linalg.inv(np.eye(nodes) - networks).swapaxes(1, 2), rtol=1e-7, atol=1e-9
        )


def test_penalty_is_zero_for_acyclic_networks_and_by_hand_for_a_pair() -> None:
    dags = np.stack([acyclic.sample(np.random.default_rng(s), (6, 6)) for s in range(10)])
    for kind in ("notears", "logdet"):
        np.testing.assert_allclose(penalty(dags, kind)[0], 0, atol=1e-12)
    a, b = 0.8, 0.5
    pair = np.array([[0, a], [b, 0]])
    assert float(penalty(pair)[0]) == pytest.approx(2 * np.cosh(a * b) - 2, rel=1e-12)
    assert float(penalty(pair, "logdet")[0]) == pytest.approx(-np.log(1 - (a * b) ** 2), rel=1e-12)


def naive_projection(w: Array) -> Array:
    """Edges by decreasing size, each kept if depth-first search finds no way back."""
    out = np.zeros_like(w)
    for e in np.argsort(-np.abs(w).ravel(), kind="stable"):
        i, j = divmod(int(e), len(w))
        stack, seen = [j], set()
        while stack:
            node = stack.pop()
            seen.add(node)
            stack += [int(k) for k in np.flatnonzero(out[node]) if int(k) not in seen]
        if i != j and i not in seen and w[i, j] != 0:
            out[i, j] = w[i, j]
    return out


square = st.integers(1, 7).flatmap(
    lambda p: arrays(float, (p, p), elements=st.floats(-3, 3, allow_subnormal=False).map(lambda v: round(v, 2)))
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(square)
def test_projection_is_acyclic_maximal_idempotent_and_greedy(w: Array) -> None:
    dag = project_to_dag(w)
    assert is_acyclic(dag)
    assert not acyclic.bad(dag, {}).any()
    np.testing.assert_array_equal(dag, naive_projection(w))
    np.testing.assert_array_equal(project_to_dag(dag), dag)
    kept = dag != 0
    np.testing.assert_array_equal(dag[kept], w[kept])
    for i, j in np.argwhere((w != 0) & ~kept):  # maximal: whatever was left out closes a cycle
        with_it = dag.copy()
        with_it[i, j] = w[i, j]
        assert not is_acyclic(with_it)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 70))
def test_projection_leaves_an_acyclic_network_as_it_is(seed: int, nodes: int) -> None:
    rng = np.random.default_rng(seed)
    dag = acyclic.sample(rng, (nodes, nodes)) * (rng.uniform(size=(nodes, nodes)) < 0.3)
    np.testing.assert_array_equal(project_to_dag(dag), dag)
    order = topological_order(dag)
    assert not np.tril(dag[np.ix_(order, order)]).any()


def test_projection_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"networks\[0, 1\] = nan"):
        project_to_dag(np.array([[0, np.nan], [0, 0]]))
    with pytest.raises(ValueError, match="the last two dims must be equal"):
        project_to_dag(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="has a cycle"):
        topological_order(np.array([[0, 1], [1, 0]]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": "given"},
        *(pytest.param(o, marks=pytest.mark.slow) for o in ({"encoder": "additive"}, {"penalty": "logdet"})),
    ],
    ids=str,
)
def test_map_never_falls_and_beats_the_truth(options: dict[str, str]) -> None:
    tree = gn.simulate("notmad", 4, sample=300, **{**options, "order": "given"})
    options = {"order": "free", **options}
    fit = gn.fit("notmad", tree, "map", 1, **options)
    notes = json.loads(fit.attrs["notes"])
    assert notes["largest_fall"] == 0
    assert notes["mean_h"] < 1e-3
    model = gn.get("notmad").variant(**options)
    problem, forward = check(model, tree), gn.get("notmad").variant(**{**options, "order": "given"})
    assert model.log_likelihood is not None
    assert forward.log_likelihood is not None
    at, true = (
        {n: fit_or_truth[n].to_numpy() for n in model.unknown.variables}
        for fit_or_truth in (fit["point"], tree["truth"])
    )
    gain = problem.call(model.log_likelihood, **at).sum() - problem.call(forward.log_likelihood, **true).sum()
    assert gain > 0  # 12 to 20 parameters are worth about half a nat each


@pytest.mark.slow
def test_newton_finish_only_improves() -> None:
    problem, _ = small(sample=200, order="given")
    ends = [maximum(problem, np.random.default_rng(1), newton_finish=finish).notes["bound"] for finish in (False, True)]
    assert ends[1] >= ends[0] - 1e-9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 200}, "batch=200 would be dropped: used only with optimiser='adam'"),
        ({"epochs": 3, "batch": 9}, "batch=9 and epochs=3 would be dropped: used only with optimiser='adam'"),
        ({"strength": 10.0}, "strength=10.0 would be dropped: used only with order='free'"),
    ],
)
def test_numbers_without_what_they_belong_to_are_refused(options: dict[str, Any], said: str) -> None:
    tree = gn.simulate("notmad", 4, sample=20, order="given")
    with pytest.raises(InputError, match=re.escape(said)):
        gn.fit("notmad", tree, "map", 1, **options)


def test_a_threshold_without_a_projection_is_refused() -> None:
    fit = gn.fit("notmad", gn.simulate("notmad", 3, sample=20, order="given"), "map", 1, beta=0.5, restarts=1)
    with pytest.raises(InputError, match=r"threshold=0\.2 would be dropped: used only with project=True"):
        gn.predict(fit, project=False, threshold=0.2)
    found = [gn.predict(fit), gn.predict(fit, threshold=0.5)]
    plain, cut = (np.abs(one["predictions"]["network"].to_numpy()) for one in found)
    assert cut[cut > 0].min() > 0.5 > plain[plain > 0].min()


@pytest.mark.slow
def test_adam_ends_where_full_batches_do() -> None:
    tree = gn.simulate("notmad", 4, sample=2000, order="given")
    ways: tuple[dict[str, Any], ...] = ({"optimiser": "lbfgs"}, {"optimiser": "adam", "batch": 200, "epochs": 20})
    ends = [json.loads(gn.fit("notmad", tree, "map", 1, **way).attrs["notes"])["bound"] for way in ways]
    assert ends[1] == pytest.approx(ends[0], abs=1.0)  # nats over 2000 samples: the last stage is L-BFGS in both


@pytest.mark.slow
def test_map_networks_approach_the_truth_as_samples_grow() -> None:
    """Four times the samples should halve the error; three in four is asked for, over four truths."""
    errors = []
    for sample in (200, 3200):
        found = []
        for seed in range(4):
            tree = gn.simulate("notmad", seed, sample=sample, order="given", tau=1.0)
            fit = gn.fit("notmad", tree, "map", 1)
            network = gn.predict(fit)["predictions"]["network"].to_numpy()
            found.append(compare(network, tree["truth"]["network"].to_numpy())["rmse"])
        errors.append(np.mean(found))
    assert errors[1] < 0.5 * errors[0]


def test_predictions_for_unseen_contexts_are_acyclic() -> None:
    tree = gn.simulate("notmad", 4, sample=100)
    fit = gn.fit("notmad", tree, "map", 1, restarts=1)
    new = np.array([[0.0, 0.0], [0.5, -0.5], [1.0, 1.0]])
    found = gn.predict(fit, {"context": new}, project=True)["predictions"]
    assert is_acyclic(found["network"].to_numpy()).all()
    assert "error" not in found
    at = {n: fit["point"][n].to_numpy() for n in ("intercept", "slope")}
    scaled = (new - fit["constant_data"]["context_mean"].to_numpy()) / fit["constant_data"]["context_sd"].to_numpy()
    logit = scaled @ at["slope"] + at["intercept"]
    weight = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
    raw = gn.predict(fit, {"context": new}, project=False)["predictions"]["network"].to_numpy()
    np.testing.assert_allclose(raw, np.einsum("nk,kij->nij", weight, fit["point"]["archetype_network"].to_numpy()))
    np.testing.assert_array_equal(found["network"].to_numpy(), project_to_dag(raw))
    with pytest.warns(UserWarning, match=r"context\[sample=0, covariate=1\] = 40 lies outside the range of the fit"):
        gn.predict(fit, {"context": [[0.0, 40.0]]})


@pytest.mark.slow
def test_groups_have_networks_of_their_own() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 400)
    truth = np.zeros((2, 3, 3))
    truth[0, 0, 1], truth[1, 0, 1], truth[1, 1, 2] = 1.5, -1.5, 1.0
    x = np.einsum("ni,nij->nj", rng.normal(size=(800, 3)), np.linalg.inv(np.eye(3) - truth)[group])
    context = group[:, None] + rng.normal(0, 0.05, (800, 1))
    oracle, found = by_group(x, context, group), clustered(x, context, 2, rng)
    assert compare(oracle.networks, truth)["rmse"] < 0.1
    np.testing.assert_allclose(np.sort(found.centres.ravel()), np.sort(oracle.centres.ravel()), atol=1e-12)
    np.testing.assert_allclose(found.predict(context), oracle.predict(context))
    one = held_out_error(x, notears(x).network)
    assert held_out_error(x, oracle.predict(context)) < 0.8 * one
    average = group_average(truth[group], np.zeros(800))
    np.testing.assert_allclose(average, np.broadcast_to(truth.mean(0), (800, 3, 3)))
    with pytest.raises(InputError, match="group 1 has 1 sample"):
        by_group(x[:401], context[:401], group[:401])


@pytest.mark.slow
def test_lioness_multiplies_the_error() -> None:
    """On a homogeneous population its networks should all be the same, and are not."""
    rng = np.random.default_rng(0)
    truth = np.array([[0, 1.0], [0, 0]])
    x = rng.normal(size=(60, 2)) @ np.linalg.inv(np.eye(2) - truth)
    networks = lioness(x)
    assert networks.shape == (60, 2, 2)
    assert is_acyclic(networks).all()
    assert compare(networks, truth)["rmse"] > 2 * compare(notears(x).network, truth)["rmse"]
    np.testing.assert_array_equal(lioness(x, samples=np.array([7, 3])), networks[[7, 3]])


def test_distance_by_hand() -> None:
    truth = np.array([[0, 1.0, 0], [0, 0, 0.5], [0, 0, 0]])
    estimate = np.array([[0, 0, 0.7], [1.0, 0, 0.5], [0, 0, 0]])  # one turned round, one too many
    found = compare(estimate, truth)
    assert found["shd"] == 2
    assert found["f1"] == pytest.approx(2 * 1 / (3 + 2))
    assert found["rmse"] == pytest.approx(np.sqrt((1 + 1 + 0.49) / 6))
    assert compare(estimate + 3 * np.eye(3), truth) == found
    assert np.isnan(compare(np.zeros((3, 3)), np.zeros((3, 3)))["f1"])


def test_bootstrap_spread_is_the_standard_error() -> None:
    errors = np.random.default_rng(0).exponential(size=500)
    mean, sd = bootstrap_error(errors, np.random.default_rng(1))
    assert mean == pytest.approx(errors.mean())
    assert sd == pytest.approx(errors.std() / np.sqrt(500), rel=0.1)  # 1000 repeats: 2.2 % Monte-Carlo error


def test_curves_of_an_additive_encoder_add_up() -> None:
    problem, at = small(encoder="additive")
    values = np.linspace(-1, 1, 5)
    found = curves("additive", at, 1, values)
    direct = np.tanh(values[:, None] * at["inner"][1] + at["inner_bias"][1]) @ at["outer"][1]
    gap = (found[:, 0] - found[:, 1]) - (direct[:, 0] - direct[:, 1])
    np.testing.assert_allclose(gap, gap[0], atol=1e-12)
    with pytest.raises(ValueError, match="act together"):
        curves("mlp", at, 0, values)
    assert problem.sizes["neuron"] == 4


@pytest.mark.filterwarnings("ignore:notmad. the variances of the nodes differ")  # of five samples
@pytest.mark.slow
def test_the_prior_accepts_by_the_potential() -> None:
    """With exact rejection the share of draws with large h falls as exp(-alpha h): compare with weighted base draws."""
    fixed = {"sample": 5, "node": 2, "beta": 1.0, "tau": 3.0}
    base = [gn.simulate("notmad", s, alpha=0.0, **fixed) for s in range(400)]
    tilted = [gn.simulate("notmad", s, alpha=2.0, **fixed) for s in range(400)]

    def mean_h(trees: list[xr.DataTree]) -> Array:
        return np.array([penalty(tree["truth"]["network"].to_numpy())[0].mean() for tree in trees])

    h, own = mean_h(base), np.minimum(mean_h(tilted), 1)
    weight = np.exp(-2 * h)
    capped = np.minimum(h, 1)
    expected = (weight * capped).sum() / weight.sum()
    error = np.sqrt(own.var() / 400 + (weight**2 * (capped - expected) ** 2).sum() / weight.sum() ** 2)
    assert abs(own.mean() - expected) < 4 * error
    with pytest.raises(InputError, match="none of 20000 draws from the prior"):
        gn.simulate("notmad", 1, sample=3, node=7, alpha=1e9, beta=0.1)


def test_split_is_saved_with_the_fit() -> None:
    tree = gn.simulate("notmad", 1, sample=80, order="given")
    training, test = split(tree, 0.25, 3)
    assert (training["observed_data"].sizes["sample"], test["observed_data"].sizes["sample"]) == (60, 20)
    told = json.loads(gn.fit("notmad", training, "map", 1).attrs["preparation"])
    assert told["seed"] == 3
    raw = tree["observed_data"]["x"].to_numpy()
    np.testing.assert_allclose(told["x"]["mean"], raw[told["training_samples"]].mean(0))
    np.testing.assert_allclose(training["observed_data"]["x"].to_numpy().std(0), 1)
    rest = np.setdiff1d(np.arange(80), told["training_samples"])
    np.testing.assert_allclose(test["observed_data"]["x"] * told["x"]["sd"] + told["x"]["mean"], raw[rest])
    with pytest.raises(InputError, match="leaves 80 for training and 0 for the test"):
        split(tree, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"archetype": 31}, "archetype=31 is more than the 30 samples"),
        ({"x": 0}, "node 1 is 2 in every sample"),
        ({"x": 1}, "nodes 0 and 1 are the same up to scale"),
        ({"context": 1.0}, "every sample has the same context"),
        ({"x": 2}, r"x\[sample=3, node=1\] = nan"),
    ],
    ids=str,
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    rng = np.random.default_rng(0)
    x, context = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
    if change.get("x") == 0:
        x[:, 1] = 2
    elif change.get("x") == 1:
        x[:, 1] = -3 * x[:, 0]
    elif change.get("x") == 2:
        x[3, 1] = np.nan
    if "context" in change:
        context[:] = 1
    with pytest.raises(InputError, match=message):
        gn.fit("notmad", {"x": x, "context": context}, "map", archetype=change.get("archetype", 2))


def test_warnings_of_scale_and_of_few_samples() -> None:
    rng = np.random.default_rng(0)
    x, context = rng.normal(size=(30, 3)) * [1, 20, 1], rng.normal(size=(30, 1))
    with pytest.warns(UserWarning, match="variances of the nodes differ by a factor of"):
        gn.fit("notmad", {"x": x, "context": context}, "map", archetype=1, restarts=1)
    with pytest.warns(UserWarning, match="there are 4 samples for 5 nodes"):
        check(gn.get("notmad"), {"x": rng.normal(size=(4, 5)), "context": context[:4]}, {"archetype": 2})
    with pytest.raises(InputError, match="cannot hold sigma fixed"):
        gn.fit("notmad", {"x": x[:, [0, 2]], "context": context, "sigma": [1.0, 1.0]}, "map", archetype=1)


def test_means_off_zero_are_warned_of_unless_the_model_has_a_mean() -> None:
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(300, 3)) + np.array([0, 5, 0]), "context": rng.normal(size=(300, 1))}
    with pytest.warns(UserWarning, match=r"mean of node 1 is 5\.\d*, .*Fit with mean='regressed', or standardise"):
        check(gn.get("notmad"), data, {"archetype": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(gn.get("notmad").variant(mean="regressed"), data, {"archetype": 2})
        check(gn.get("notmad"), {**data, "x": data["x"] - data["x"].mean(0) + 0.4}, {"archetype": 2})


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option")
def test_readers_encode_standardise_and_name(tmp_path: Path) -> None:
    import anndata
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"s{i}" for i in range(9)], "a": rng.normal(5, 2, 9), "b": rng.normal(size=9)})
    frame["age"], frame["tissue"] = np.arange(9.0), ["x", "y", "z"] * 3
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    tree = gn.read("notmad", tmp_path / "t.csv", "table", context="age,tissue")
    assert list(tree["observed_data"]["node"].to_numpy()) == ["a", "b"]
    assert list(tree["constant_data"]["covariate"].to_numpy()) == ["age", "tissue=y", "tissue=z"]
    assert list(tree["observed_data"]["sample"].to_numpy()[:2]) == ["s0", "s1"]
    np.testing.assert_allclose(tree["observed_data"]["x"].to_numpy().std(0), 1)
    np.testing.assert_array_equal(tree["constant_data"]["context"].to_numpy()[:3, 1:], [[0, 0], [1, 0], [0, 1]])
    same = gn.read("notmad", tmp_path / "t.parquet", "table", context="age,tissue")
    np.testing.assert_allclose(same["observed_data"]["x"], tree["observed_data"]["x"])
    raw = gn.read("notmad", tmp_path / "t.csv", "table", context="age", nodes="b,a", standardise=False)
    np.testing.assert_allclose(raw["observed_data"]["x"].to_numpy()[:, 0], frame["b"])
    frame.assign(tissue="x").to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(InputError, match="context 'tissue' has one level, 'x'"):
        gn.read("notmad", tmp_path / "one.csv", "table", context="age,tissue")
    with pytest.raises(InputError, match="'age' is a node and a context"):
        gn.read("notmad", tmp_path / "t.csv", "table", context="age", nodes="age,b")
    with pytest.raises(InputError, match="name the columns of the context"):
        gn.read("notmad", tmp_path / "t.csv", "table")

    data = anndata.AnnData(frame[["a", "b"]].to_numpy(), obs=frame[["age"]].set_index(frame["id"].to_numpy()))
    data.var_names = ["a", "b"]
    data.obsm["X_pca"] = rng.normal(size=(9, 2))
    with warnings.catch_warnings():  # anndata sets an option that pandas 3 deprecates
        warnings.filterwarnings("ignore", "The 'future.infer_string' option is deprecated")
        data.write_h5ad(tmp_path / "t.h5ad")
    stored = gn.read("notmad", tmp_path / "t.h5ad", "h5ad", context="age,X_pca")
    assert list(stored["constant_data"]["covariate"].to_numpy()) == ["age", "X_pca0", "X_pca1"]
    np.testing.assert_allclose(stored["observed_data"]["x"], tree["observed_data"]["x"])


CASES = {  # W-RMSE of the best public fit, as the model's page has it; archetypes, options
    "softmax6": (0.078, 3, {}),
    "arche8": (0.103, 4, {}),
    "cwx": (0.097, 3, {"encoder": "additive", "beta": 1.0}),
}


@pytest.mark.data
@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_simulated_cases_are_fitted_better_than_by_the_public_package(case: str) -> None:
    path = DATA / f"{case}_seed0.npz"
    if not path.exists():
        pytest.skip("the simulated cases are not part of the repository")
    bar, archetypes, options = CASES[case]
    data = np.load(path)
    train, test = data["train"], data["test"]
    context = (data["C"] - data["C"][train].mean(0)) / data["C"][train].std(0)
    fit = gn.fit(
        "notmad", {"x": data["X"][train], "context": context[train]}, "map", 1, archetype=archetypes, **options
    )
    found = gn.predict(fit, {"x": data["X"][test], "context": context[test]})["predictions"]
    network = found["network"].to_numpy()
    assert is_acyclic(network).all()
    assert compare(network, data["W"][test])["rmse"] < bar
    truth = held_out_error(data["X"][test], data["W"][test])
    assert float(found["error"].mean()) < 1.1 * truth
    assert held_out_error(data["X"][test], notears(data["X"][train]).network) > float(found["error"].mean())


def test_matrices_put_edges_where_their_labels_say() -> None:
    np.testing.assert_array_equal(matrices("given", 3, np.array([1.0, 2, 3])), [[0, 1, 2], [0, 0, 3], [0, 0, 0]])
    tree = gn.simulate("notmad", 1, sample=3, node=3)
    assert list(tree["truth"]["edge"].to_numpy()) == ["0->1", "0->2", "1->0", "1->2", "2->0", "2->1"]


@pytest.mark.parametrize("order", ["free", "given"])
@pytest.mark.parametrize("mean", ["zero", "regressed"])
def test_samples_of_one_context_are_taken_together(order: str, mean: str) -> None:
    """The same contexts moved by a hair are all different, and lead sample by sample to the same value and gradient."""
    few = np.random.default_rng(0).normal(size=(5, 2))[np.arange(40) % 5]
    tree = gn.simulate("notmad", 2, sample=40, context=few, gamma=0.7, order=order, mean=mean)
    model = gn.get("notmad").variant(order=order, mean=mean)
    apart = few + 1e-11 * np.random.default_rng(1).normal(size=few.shape)
    together, one_by_one = (Objective(check(model, tree, values={"context": c})) for c in (few, apart))
    assert (len(together.context), len(one_by_one.context)) == (5, 40)
    at = {name: tree["truth"][name].to_numpy() for name in model.unknown.variables}
    (a, gradient), (b, expected) = (objective(at, 3.0) for objective in (together, one_by_one))
    assert a.smooth == pytest.approx(b.smooth, rel=1e-8)
    assert a.h == pytest.approx(b.h, rel=1e-8)
    for name, value in expected.items():
        np.testing.assert_allclose(gradient[name], value, rtol=1e-7, atol=1e-7)


def test_a_node_that_predicts_itself_is_refused() -> None:
    networks = np.zeros((2, 2, 2))
    networks[1, 0, 0] = 0.5
    with pytest.raises(InputError, match=r"networks\[1, 0, 0\] = 0.5: a node cannot be its own parent"):
        held_out_error(np.ones((2, 2)), networks)
    assert not np.diagonal(project_to_dag(networks), axis1=1, axis2=2).any()


@pytest.mark.parametrize("mean", ["zero", pytest.param("regressed", marks=pytest.mark.slow)])
def test_edge_posteriors_are_those_of_the_draws_one_by_one(mean: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = gn.simulate("notmad", 4, sample=30, mean=mean)
    fit = gn.fit("notmad", tree, "map", 1, restarts=1, mean=mean)
    rng = np.random.default_rng(0)
    names = list(gn.get("notmad").variant(mean=mean).unknown.variables)
    draws = {}
    for name in names:
        mode = fit["point"][name]
        noise = np.exp if name == "sigma" else np.asarray
        values = mode.to_numpy() * noise(rng.normal(0, 0.3, (2, 3, *mode.shape))) + (name != "sigma") * rng.normal(
            0, 0.3, (2, 3, *mode.shape)
        )
        draws[name] = xr.DataArray(
            values, dims=("chain", "draw", *mode.dims), coords={**mode.coords, "chain": [0, 1], "draw": [0, 1, 2]}
        )
    sampled = xr.DataTree.from_dict(
        {
            "constant_data": fit["constant_data"].to_dataset(),
            "observed_data": fit["observed_data"].to_dataset(),
            "posterior": xr.Dataset(draws),
        }
    )
    sampled.attrs = {**fit.attrs, "claim": "exact"}
    found = gn.predict(sampled, smallest=0.2, probability=0.5)["predictions"]
    model = gn.get("notmad").variant(mean=mean)
    problem = check(model, tree)
    raw, projected, errors = [], [], []
    for c in range(2):
        for d in range(3):
            at = {name: draws[name].to_numpy()[c, d] for name in names}
            raw.append(naive_networks(problem, at)[1])
            projected.append(np.stack([naive_projection(w) for w in raw[-1]]))
            scaled = (problem["context"] - problem["context_mean"]) / problem["context_sd"]
            mu = scaled @ at["mean_slope"] + at["mean_intercept"] if mean == "regressed" else 0.0
            errors.append(held_out_error(problem["x"], projected[-1], mu))
    np.testing.assert_allclose(found["edge_probability"], (np.abs(projected) > 0.2).mean(0))
    np.testing.assert_allclose(found["low"], np.quantile(raw, 0.25, axis=0), atol=1e-12)
    np.testing.assert_allclose(found["high"], np.quantile(raw, 0.75, axis=0), atol=1e-12)
    np.testing.assert_allclose(found["draw_error"], errors, rtol=1e-9)
    np.testing.assert_allclose(found["network"], project_to_dag(np.mean(raw, 0)), atol=1e-12)
    many = sampled.copy()
    many["posterior"] = xr.concat([sampled["posterior"].to_dataset()] * 100, "draw").assign_coords(draw=range(300))
    monkeypatch.setattr("genarium.models.notmad.predict.BLOCK", 5_000)  # a few samples at a time
    again = gn.predict(many, smallest=0.2)["predictions"]
    assert again.sizes["network_draw"] == 600
    for name in ("edge_probability", "network", "h", "error"):
        np.testing.assert_allclose(again[name], found[name], rtol=1e-9, atol=1e-12)
    assert gn.predict(many, draws=50)["predictions"].sizes["network_draw"] == 50
    with pytest.raises(InputError, match="draws"):
        gn.predict(fit, draws=50)


@pytest.mark.slow
def test_refits_to_bootstrap_samples_spread_as_the_fits_of_new_samples_do() -> None:
    """One edge of weight one, known to 1 / sqrt(n): sd of 40 refits within a factor of 1.5 (five standard errors)."""
    rng = np.random.default_rng(0)
    n = 150
    x = rng.normal(size=(n, 2)) @ np.linalg.inv(np.eye(2) - np.array([[0, 1.0], [0, 0]]))
    x[:, 0] *= 2.0  # the other direction has other residual variances
    x[:, 1] = x[:, 0] + rng.normal(0, 2.0, n)
    context = rng.normal(size=(n, 1))
    settings = {"archetype": 1, "restarts": 1, "order": "given", "beta": 1.0}
    samples = bootstrap(x, context, rng, repeats=40)
    made = [gn.fit("notmad", sample, "map", seed, **settings) for seed, sample in enumerate(samples)]
    found = [gn.predict(fit, {"context": context[:3]})["predictions"]["network"].to_numpy() for fit in made]
    weights = np.array(found)[:, 0, 0, 1]
    assert 1 / 1.5 < weights.std(ddof=1) / (1 / np.sqrt(n)) < 1.5
    network, frequency = consensus(np.array(found), smallest=0.5)
    np.testing.assert_allclose(network[:, 0, 1], weights.mean())
    assert frequency[0, 0, 1] == 1
    assert frequency[0, 1, 0] == 0


def test_small_cycles_are_not_taken_for_a_better_fit() -> None:
    """Equally correlated nodes: cycles gain by the determinant, and the projected networks lose five per cent."""
    rng = np.random.default_rng(0)
    context = rng.normal(size=(500, 2))
    x = (rng.normal(size=(500, 6)) + rng.normal(size=(500, 1))) * np.exp(0.7 * context[:, :1])
    fit = gn.fit("notmad", {"x": x, "context": context}, "map", 1, archetype=1, restarts=1)
    error = float(gn.predict(fit)["predictions"]["error"].mean())
    assert error < 1.02 * held_out_error(x, notears(x).network)
    assert json.loads(fit.attrs["notes"])["acyclic_bound"] == pytest.approx(json.loads(fit.attrs["notes"])["bound"])
