"""Starts of `map`: one optimum from every seed, whatever the units of the covariates."""

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium.data import check
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.notmad import select
from genarium.models.notmad.graphs import is_acyclic
from genarium.models.notmad.objective import Objective
from genarium.models.notmad.ordering import Ordering, better_order, cost, residual
from genarium.models.notmad.pack import Packed


def mixture(n: int = 150) -> tuple[Array, Array]:
    """Samples of five nodes whose networks go from one chain to another with a covariate."""
    rng = np.random.default_rng(0)
    context = rng.normal(size=(n, 2))
    share = 1 / (1 + np.exp(-3 * context[:, :1, None]))
    first, second = np.zeros((5, 5)), np.zeros((5, 5))
    first[0, 1], first[1, 2], first[2, 3] = 1.5, -1.2, 1.0
    second[0, 1], second[0, 3], second[3, 4] = -1.5, 1.2, 1.4
    networks = share * first + (1 - share) * second
    order = rng.permutation(5)
    networks = networks[:, order][:, :, order]
    return np.linalg.solve(np.eye(5) - networks.swapaxes(1, 2), rng.normal(size=(n, 5, 1)))[:, :, 0], context


def bound(fit: xr.DataTree) -> float:
    return float(json.loads(fit.attrs["notes"])["acyclic_bound"])


def test_orders_are_scored_by_regressions_on_the_nodes_before() -> None:
    x, context = mixture(80)
    problem = check(gn.get("notmad"), {"x": x, "context": context}, {"archetype": 2})
    packed = Packed(Objective(problem))
    vector = packed.random(np.random.default_rng(1))
    gram, cross, square = Ordering(problem, packed).moments(vector)
    at = packed.unpack(vector)
    scaled = (context - context.mean(0)) / context.std(0)
    logit = scaled @ at["slope"] + at["intercept"]
    Z = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
    order = np.array([3, 0, 4, 1, 2])
    total = 0.0
    rate = float(problem["beta"]) * np.median(at["sigma"] ** 2)
    for place, j in enumerate(order):
        features = np.column_stack([Z[:, k] * x[:, i] for i in order[:place] for k in range(2)] or [np.zeros(80)])
        w = np.linalg.solve(features.T @ features + rate * np.eye(features.shape[1]), features.T @ x[:, j])
        total += float(((x[:, j] - features @ w) ** 2).sum() + rate * (w**2).sum())
    assert residual(gram, cross, square, order).sum() == pytest.approx(total, rel=1e-9)
    before = np.zeros((5, 5), dtype=bool)
    before[3, 2] = before[4, 1] = True
    for samples, known in ((0, None), (80, None), (80, before)):

        def summed(order: Array, samples: int = samples) -> float:
            return float(cost(residual(gram, cross, square, order), samples).sum())

        better = better_order(gram, cross, square, order, known, samples)
        assert sorted(better) == list(range(5))
        for node, to in product(range(5), range(5)):  # no move of one node that is allowed lowers the cost
            other = np.insert(better[better != node], to, node)
            rank = np.argsort(other)
            if known is None or (rank[3] < rank[2] and rank[4] < rank[1]):
                assert summed(better) <= summed(other) * (1 + np.sign(summed(other)) * 1e-5)
        if known is not None:
            rank = np.argsort(better)
            assert rank[3] < rank[2]
            assert rank[4] < rank[1]


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"encoder": "additive", "neuron": 2, "mean": "regressed"}, marks=pytest.mark.slow)],
    ids=str,
)
def test_units_of_covariates_change_nothing(options: dict[str, Any]) -> None:
    x, context = mixture()
    settings = {"archetype": 2, "restarts": 1, **options}
    plain = gn.fit("notmad", {"x": x, "context": context}, "map", 1, **settings)
    units = {"x": x, "context": context * [1e3, 0.02] + [40.0, -7.0]}
    other = gn.fit("notmad", units, "map", 1, **settings)
    assert bound(other) == pytest.approx(bound(plain), abs=0.02)
    np.testing.assert_allclose(other["constant_data"]["context_sd"], plain["constant_data"]["context_sd"] * [1e3, 0.02])
    new = context[:20]
    expected = gn.predict(plain, {"context": new})["predictions"]["network"]
    found = gn.predict(other, {"context": new * [1e3, 0.02] + [40.0, -7.0]})["predictions"]["network"]
    np.testing.assert_allclose(found, expected, atol=5e-3)
    one = gn.predict(other, {"context": units["context"][:1]})["predictions"]["network"].to_numpy()
    np.testing.assert_allclose(one[0], found.to_numpy()[0], atol=1e-12)


@pytest.mark.slow
def test_every_seed_finds_one_optimum_and_says_how_many_starts_agree() -> None:
    x, context = mixture()
    fits = [gn.fit("notmad", {"x": x, "context": context}, "map", seed, archetype=2) for seed in range(3)]
    values = [bound(fit) for fit in fits]
    assert np.ptp(values) < 1
    for fit in fits:
        assert json.loads(fit.attrs["notes"])["starts_agreeing"] >= 2
    said = {v.check: v.status for v in gn.diagnose("notmad", fits[0]).verdicts}
    assert said["independent starts that agree"] == "pass"
    alone = gn.fit("notmad", {"x": x, "context": context}, "map", 0, archetype=2, restarts=1)
    said = {v.check: v.status for v in gn.diagnose("notmad", alone).verdicts}
    assert said["independent starts that agree"] == "fail"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"strength": -5.0}, "strength=-5.0 must be a finite number, zero or larger"),
        ({"strength": float("nan")}, "strength=nan must be a finite number, zero or larger"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(option: dict[str, Any], said: str) -> None:
    x, context = mixture(30)
    with pytest.raises(InputError, match=said):
        gn.fit("notmad", {"x": x, "context": context}, "map", archetype=2, **option)


def test_sums_of_nodes_are_refused() -> None:
    x, context = mixture(30)
    data = {"x": np.column_stack([x, x[:, 0] + x[:, 2]]), "context": context}
    with pytest.raises(InputError, match="node 5 is an exact sum of multiples of nodes before it"):
        gn.fit("notmad", data, "map", archetype=2)


@pytest.mark.slow
def test_along_one_order_no_network_is_cyclic_and_the_fit_is_nearly_that_of_the_exact_route() -> None:
    x, context = mixture()
    settings = {"archetype": 2, "restarts": 2}
    exact = gn.fit("notmad", {"x": x, "context": context}, "map", 0, **settings)
    fit = gn.fit("notmad", {"x": x, "context": context}, "map", 0, route="ordered", **settings)
    notes = json.loads(fit.attrs["notes"])
    assert notes["mean_h"] == 0
    assert notes["acyclic_bound"] == notes["bound"]
    assert bound(exact) - 2 < bound(fit) <= bound(exact) + 1e-6
    free, projected = (gn.predict(fit, project=project)["predictions"] for project in (False, True))
    np.testing.assert_array_equal(free["network"], projected["network"])
    union = np.abs(fit["point"]["archetype_network"].to_numpy()).sum(0)
    assert is_acyclic(union)
    with pytest.raises(InputError, match=r"strength=10\.0 would be dropped: used only with route='exact'"):
        gn.fit("notmad", {"x": x, "context": context}, "map", archetype=2, route="ordered", strength=10.0)


def test_orders_on_which_all_starts_agree_are_mended_by_what_edges_cost() -> None:
    rng = np.random.default_rng(3)
    context, p = rng.normal(size=(300, 2)), 8
    first = 1 / (1 + np.exp(-4 * context[:, :1, None]))
    archetypes = np.triu(rng.choice([-1, 1], (2, p, p)) * rng.uniform(0.5, 1.5, (2, p, p)), 1)
    archetypes *= rng.uniform(size=archetypes.shape) < 0.4
    networks = first * archetypes[0] + (1 - first) * archetypes[1]
    x = np.linalg.solve(np.eye(p) - networks.swapaxes(1, 2), rng.normal(size=(300, p, 1)))[:, :, 0]
    data = {"x": (x - x.mean(0)) / x.std(0), "context": context}
    along = gn.fit("notmad", data, "map", seed=1, archetype=2, order="given")
    found = gn.fit("notmad", data, "map", seed=1, archetype=2)
    assert bound(found) > bound(along) - 0.5


def test_orders_that_full_regressions_do_not_tell_apart_are_found_by_sparse_ones() -> None:
    """Of four starts three agreed, 2.5 nats below the fit along the true order also after exchanges of neighbours."""
    rng, p = np.random.default_rng(0), 10
    order, sd = rng.permutation(p), rng.uniform(0.5, 2, p)
    network = np.zeros((p, p))
    for a, b in zip(*np.triu_indices(p, 1), strict=True):
        if rng.random() < 4 / (p - 1):
            network[order[a], order[b]] = rng.uniform(0.3, 1) * rng.choice([-1, 1])
    x = np.linalg.solve((np.eye(p) - network).T, (rng.normal(size=(1000, p)) * sd).T).T
    x, context = (x - x.mean(0)) / x.std(0), rng.normal(size=(1000, 2))
    along = gn.fit("notmad", {"x": x[:, order], "context": context}, "map", 1, archetype=1, order="given")
    found = gn.fit("notmad", {"x": x, "context": context}, "map", 1, archetype=1)
    assert bound(found) > bound(along) - 0.5


def test_one_network_for_all_contexts_is_found() -> None:
    """A chain that no context changes, beside two covariates of two values: the usual starts agree 5.4 nats too low."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 5))
    for j in range(1, 5):
        x[:, j] += 0.8 * x[:, j - 1]
    context = (rng.random((300, 2)) < 0.5).astype(float)
    data = {"x": (x - x.mean(0)) / x.std(0), "context": context}
    for seed in (1, 2):
        few = gn.fit("notmad", data, "map", seed, archetype=2, order="given")
        many = gn.fit("notmad", data, "map", seed, archetype=2, order="given", restarts=16)
        assert np.nanmax(few["point"]["bound"]) > np.nanmax(many["point"]["bound"]) - 0.1


def test_selection_finds_one_network_for_all_contexts_from_two_starts() -> None:
    """As above: two archetypes predicted .01 nats a held-out sample worse by two starts than by eight."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 5))
    for j in range(1, 5):
        x[:, j] += 0.8 * x[:, j - 1]
    context = (rng.random((300, 2)) < 0.5).astype(float)
    x = (x - x.mean(0)) / x.std(0)
    how: dict[str, Any] = {"archetypes": (2,), "betas": (5.0,), "means": ("zero",), "folds": 3, "order": "given"}
    few, many = (select(x, context, restarts=restarts, **how).score for restarts in (2, 8))
    np.testing.assert_allclose(few, many, atol=2e-3)
