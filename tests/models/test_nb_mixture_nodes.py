"""Sums over nodes of the size factors against sums over cells, written out."""

from typing import Any

import numpy as np
import pytest
from scipy import optimize, special, stats

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.models.nb_mixture import draws, search
from genarium.models.nb_mixture.counts import Counts, log_weights, logits_at, rising_table
from genarium.models.nb_mixture.em import em
from genarium.models.nb_mixture.em_step import Step
from genarium.models.nb_mixture.likelihood import Story
from genarium.models.nb_mixture.nodes import Nodes, frame
from genarium.models.nb_mixture.updates import newton_centroids
from genarium.models.nb_mixture.vi import vi


def simulated(cells: int = 700, seed: int = 0, dispersion: str = "gene") -> Problem:
    rng = np.random.default_rng(seed)
    tree = gn.simulate(
        "nb_mixture",
        seed,
        cell=cells,
        gene=3,
        mu=[[20.0, 200.0, 5.0], [200.0, 20.0, 5.0], [60.0, 60.0, 90.0]],
        size_factor=rng.lognormal(0, 0.7, cells),
        dispersion=dispersion,
    )
    return check(gn.get("nb_mixture").variant(dispersion=dispersion), tree, {"component": 3})


def interpolated(nodes: Nodes, function: Any, cells: int) -> Array:
    out = np.empty(cells)
    for one in nodes.bins:
        out[one.cells] = function(nodes.at[one.nodes]) @ one.share
    return out


@pytest.mark.parametrize("cells", [40, 700, 5000])
@pytest.mark.parametrize("spread", [0.2, 1.5])
@pytest.mark.parametrize("error", [1e-12, 1e-8])
def test_nodes_interpolate_the_one_function_that_is_needed(cells: int, spread: float, error: float) -> None:
    s = np.random.default_rng(1).lognormal(0, spread, cells)
    nodes = Nodes(s, frame(s, error))
    for mean in (1e-4, 0.3, 1.0, 50.0, 1e4):  # mu / r
        found = interpolated(nodes, lambda at, m=mean: np.log1p(at * m), cells)
        assert np.abs(found - np.log1p(s * mean)).max() < error + 2e-14 * np.log1p(s.max() * mean)
    assert len(nodes.at) <= cells


def test_few_size_factors_are_their_own_nodes() -> None:
    s = np.array([0.5, 2.0, 0.5, 1.0] * 5)
    nodes = Nodes(s, frame(s))
    np.testing.assert_array_equal(nodes.at, [0.5, 1.0, 2.0])
    np.testing.assert_array_equal(interpolated(nodes, np.sin, 20), np.sin(s))
    assert len(frame(np.ones(7)).at) == 1


@pytest.mark.parametrize("dispersion", ["gene", "component"])
def test_expected_sums_are_those_of_a_loop_over_cells(dispersion: str) -> None:
    problem = simulated(dispersion=dispersion)
    x, s = problem["x"], problem["size_factor"]
    rng = np.random.default_rng(2)
    pi, mu = rng.dirichlet(np.ones(3)), rng.lognormal(3, 1, (3, 3))
    r = np.broadcast_to(rng.lognormal(1, 0.5, (3, 1)), (3, 3)) if dispersion == "component" else np.full((3, 3), 2.5)
    counts = Counts(x, s)
    table = rising_table(counts, r) if dispersion == "component" else None
    logits = logits_at(counts.nodes.at, log_weights(pi), mu, r, table)
    sums, (q, log_norm) = counts.expect(logits), counts.assign(logits)
    naive = np.stack(
        [np.log(pi[k]) + stats.nbinom.logpmf(x, r[k], r[k] / (r[k] + s[:, None] * mu[k])).sum(1) for k in range(3)]
    )
    shared = x.sum(1) * np.log(s) - special.gammaln(x + 1).sum(1)
    if table is None:
        shared = shared + (special.gammaln(x + 2.5) - special.gammaln(2.5)).sum(1)
    np.testing.assert_allclose(log_norm + shared, special.logsumexp(naive, 0), rtol=1e-10)
    expected = special.softmax(naive, 0)
    np.testing.assert_allclose(q, expected, atol=1e-8)
    assert sums.log_sum == pytest.approx(log_norm.sum(), rel=1e-12)
    np.testing.assert_allclose(sums.weight.sum(0), expected.sum(1), rtol=1e-8)
    np.testing.assert_allclose(sums.total.sum(0), expected @ x, rtol=1e-8)
    again = counts.sums(q)
    np.testing.assert_allclose(again.total, sums.total, rtol=1e-9, atol=1e-7)
    if sums.frequency is not None:
        assert again.frequency is not None
        values, d = counts.values, 1
        first = np.flatnonzero(counts.gene == d)[4]
        np.testing.assert_allclose(sums.frequency[:, first], expected[:, x[:, d] == values[first]].sum(1), atol=1e-8)


def test_newton_solves_the_equation_of_the_centroids() -> None:
    problem = simulated()
    x, s = problem["x"], problem["size_factor"]
    q = np.random.default_rng(3).dirichlet(np.ones(3), len(x)).T
    counts, r = Counts(x, s), np.full((3, 3), 1.7)
    mu = newton_centroids(counts.sums(q), counts.nodes.at, np.full((3, 3), 1.0), r)
    for k, d in np.ndindex(3, 3):

        def score(log_mu: float, k: int = k, d: int = d) -> float:
            mean = s * np.exp(log_mu)
            return float((q[k] * (x[:, d] - mean) / (1 + mean / 1.7)).sum())

        assert np.log(mu[k, d]) == pytest.approx(optimize.brentq(score, -5, 12, xtol=1e-12), abs=1e-7)


@pytest.mark.parametrize("dispersion", ["known", "gene", "component"])
def test_pointwise_likelihood_with_hoisted_constants(dispersion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = simulated(dispersion=dispersion)
    rng = np.random.default_rng(0)
    pi, mu = rng.dirichlet(np.ones(3), 4), rng.lognormal(3, 1, (4, 3, 3))
    phi = rng.lognormal(-1, 0.3, (4, 3)) if dispersion != "known" else problem["phi"]
    monkeypatch.setattr(draws, "SMALL", 0)
    found = draws.pointwise(problem)(pi, mu, phi)
    story = Story(dispersion)
    np.testing.assert_allclose(
        found, story.log_likelihood(problem["x"], problem["size_factor"], pi, mu, phi), rtol=1e-7
    )


@pytest.mark.parametrize("method", [em, vi])
def test_starts_on_a_part_of_the_cells_end_where_those_on_all_do(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = simulated(900)
    whole = method(problem, np.random.default_rng(0), restarts=5)
    monkeypatch.setattr(search, "MANY", 100)
    monkeypatch.setattr(search, "LEAST", 300)
    some = method(problem, np.random.default_rng(0), restarts=5)
    assert some.notes["bound"] == pytest.approx(whole.notes["bound"], abs=1e-3)
    assert some.notes["restarts"] == 5
    assert 1 <= some.notes["restarts_at_best"] <= search.FOLLOWED
    assert some.notes["largest_fall"] == 0
    assert some.notes["converged"]


def test_an_update_does_not_depend_on_the_order_of_cells() -> None:
    problem = simulated(3000)
    step, order = Step(problem), np.random.default_rng(0).permutation(3000)
    arrays = {**problem.arrays, "x": problem["x"][order], "size_factor": problem["size_factor"][order]}
    other = Step(Problem(problem.model, problem.sizes, arrays))
    state = step.start_at(np.array([[20.0, 200.0, 5.0], [200.0, 20.0, 5.0], [60.0, 60.0, 90.0]]))
    (one, bound), (two, same) = step(state), other(state)
    assert bound == pytest.approx(same, rel=1e-12)
    np.testing.assert_allclose(one.mu, two.mu, rtol=1e-9)
    np.testing.assert_allclose(one.phi, two.phi, rtol=1e-7)
