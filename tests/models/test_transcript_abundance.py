"""The model's inference against naive references: loops, brute force, closed forms, other optimisers."""

import json
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import optimize, special, stats

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.models.transcript_abundance import likelihood
from genarium.models.transcript_abundance.directions import axes, update_along
from genarium.models.transcript_abundance.em import Ascended, Sweeps, ascend, gaps, largest_fall
from genarium.models.transcript_abundance.groups import ridge_counts, ridges_of
from genarium.models.transcript_abundance.interior import climb
from genarium.models.transcript_abundance.kernels import digamma, until_changes_are_small
from genarium.models.transcript_abundance.online import online_counts, salmon_start
from genarium.models.transcript_abundance.pairs import draw_abundances, draw_origins, log_density, update_pairs
from genarium.models.transcript_abundance.ridges import ridges
from genarium.models.transcript_abundance.sparse import from_classes
from genarium.models.transcript_abundance.table import Table, table_of, tabulate
from genarium.models.transcript_abundance.vi import Step
from genarium.registry import fitted_model
from genarium.verbs.choose import criteria

NAME = "transcript_abundance"


def problem_of(seed: int = 1, **settings: Any) -> Problem:
    return check(gn.get(NAME).variant(prior="dirichlet"), gn.simulate(NAME, seed, prior="dirichlet", **settings))


def dense(problem: Problem) -> Array:
    """W as a full matrix, entry by entry."""
    W = np.zeros((problem.sizes["equivalence_class"], problem.sizes["transcript"]))
    for e, k, w in zip(problem["entry_class"], problem["entry_transcript"], problem["weight"], strict=True):
        W[e, k] += w
    return W


def naive_log_likelihood(W: Array, c: Array, nu: Array) -> float:
    total = 0.0
    for e in range(len(c)):
        if c[e]:
            total += c[e] * np.log(sum(W[e, k] * nu[k] for k in range(len(nu))))
    return total


def plain_em(W: Array, c: Array, a: Array, steps: int) -> Array:
    for _ in range(steps):
        new = np.zeros_like(a)
        for e in range(len(c)):
            share = W[e] * a
            new += c[e] * share / share.sum()
        a = new
    return a


def notes(tree: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tree.attrs["notes"])
    return found


# The story


def test_weights_of_a_simulation_are_conditional_probabilities() -> None:
    for sizes in (
        {},
        {"transcript": 30},
        {"equivalence_class": 60},
        {"transcript": 1, "entry": 25},
        {"transcript": 101, "equivalence_class": 57, "entry": 333},
        {"transcript": 23, "equivalence_class": 199, "entry": 203},
    ):
        problem = problem_of(2, **sizes)
        np.testing.assert_allclose(dense(problem).sum(0), 1, rtol=1e-12)
        assert (dense(problem).sum(1) > 0).all()
        assert likelihood.is_conditional(problem["weight"], problem["entry_transcript"], problem.sizes["transcript"])


def test_counts_have_the_probabilities_that_summing_out_the_origins_gives() -> None:
    tree = gn.simulate(NAME, 3, prior="dirichlet", reads=200_000)
    problem = check(gn.get(NAME), tree)
    p = dense(problem) @ tree["truth"]["nu"].to_numpy()
    chi = ((problem["count"] - 200_000 * p) ** 2 / (200_000 * p)).sum()
    assert stats.chi2.sf(chi, len(p) - 1) > 1e-3
    np.testing.assert_array_equal(
        np.bincount(problem["entry_class"], tree["truth"]["origin"].to_numpy(), len(p)), problem["count"]
    )


def test_log_likelihood_is_the_double_loop() -> None:
    problem = problem_of()
    rng = np.random.default_rng(0)
    nu = rng.dirichlet(np.ones(8), 4)
    ours = problem.call(likelihood.log_likelihood, nu=nu)
    for one, row in zip(nu, ours, strict=True):
        assert row.sum() == pytest.approx(naive_log_likelihood(dense(problem), problem["count"], one), rel=1e-12)


def test_log_likelihood_is_that_of_the_multinomial_up_to_a_constant() -> None:
    problem = problem_of()
    rng = np.random.default_rng(0)
    difference = []
    for nu in rng.dirichlet(np.ones(8), 5):
        p = dense(problem) @ nu
        exact = stats.multinomial(problem["count"].sum(), p / p.sum()).logpmf(problem["count"])
        difference.append(problem.call(likelihood.log_likelihood, nu=nu).sum() - exact)
    assert np.ptp(difference) < 1e-8


def test_bic_counts_reads_and_not_classes() -> None:
    tree = gn.fit("transcript_abundance", gn.simulate("transcript_abundance", seed=4), "em", seed=1, prior="dirichlet")
    model = fitted_model(tree)
    problem = check(model, tree)
    total = problem.call(likelihood.log_likelihood, nu=tree["point"]["nu"].to_numpy()).sum()
    free, reads = problem.sizes["transcript"] - 1, problem["count"].sum()
    assert reads > 10 * problem.sizes["equivalence_class"]
    assert criteria(model, tree, "prior")[0] == pytest.approx(free * np.log(reads) - 2 * total, rel=1e-12)


def test_log_prior_is_that_of_scipy() -> None:
    alpha, nu = np.array([0.3, 1.0, 2.5]), np.array([0.2, 0.5, 0.3])
    assert likelihood.log_prior(nu, alpha) == pytest.approx(stats.dirichlet(alpha).logpdf(nu), rel=1e-12)


def test_tpm_by_hand() -> None:
    found = likelihood.tpm(np.array([[0.5, 0.5, 0.0]]), np.array([1000.0, 3000.0, 500.0]))
    np.testing.assert_allclose(found, [[750_000, 250_000, 0]])


def test_a_class_without_reads_and_without_transcripts_is_nothing() -> None:
    data = from_classes([([0, 1], [0.5, 0.5], 3), ([1], [1.0], 2)], [100, 200])
    data["count"] = np.array([3, 2, 0])
    assert gn.fit(NAME, data, "em")["point"]["counts"].sum() == pytest.approx(5)


# The table


def test_table_merges_duplicates_and_drops_what_says_nothing() -> None:
    table = tabulate(
        np.array([0, 0, 0, 1, 2, 2]),
        np.array([1, 1, 0, 2, 0, 1]),
        np.array([0.1, 0.2, 0.4, 0.5, 0.7, 0.0]),
        np.array([5.0, 0.0, 4.0]),
        4,
    )
    np.testing.assert_array_equal(table.first, [0, 2])
    np.testing.assert_array_equal(table.column, [0, 1])
    np.testing.assert_allclose(table.weight, [0.4, 0.3])
    np.testing.assert_array_equal(table.sole, [4, 0, 0, 0])
    np.testing.assert_array_equal(table.label, [0, 0, -1, -1])
    assert table.sole_log_sum == pytest.approx(4 * np.log(0.7))
    np.testing.assert_allclose(table.mass, [9])


def test_components_share_no_class() -> None:
    problem = problem_of(4, transcript=40, equivalence_class=45, entry=60)
    table = table_of(problem)
    for e in range(len(table.count)):
        assert len(set(table.label[table.column[table.first[e] : table.first[e + 1]]])) == 1
    assert table.mass.sum() == problem["count"].sum()


# EM, its bound and its acceleration


def test_plain_steps_are_those_of_the_loop() -> None:
    problem = problem_of(5)
    table, W, c = table_of(problem), dense(problem), problem["count"].astype(float)
    a = np.full(8, c.sum() / 8)
    assert until_changes_are_small(
        table.first, table.column, table.weight, table.count, table.sole, a, 0.0, 30, 30, 0.0, 0.0
    ) in (-1, 30)
    np.testing.assert_allclose(a, plain_em(W, c, np.full(8, c.sum() / 8), 30), rtol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_em_finds_the_maximum_that_another_optimiser_finds(seed: int) -> None:
    problem = problem_of(seed, transcript=6, equivalence_class=9, entry=24)
    tree = gn.fit(NAME, gn.simulate(NAME, seed, prior="dirichlet", transcript=6, equivalence_class=9, entry=24), "em")
    W, c = dense(problem), problem["count"]

    def loss(x: Array) -> tuple[float, Array]:
        nu = special.softmax(x)
        share = W.T @ (c / (W @ nu))
        return -float(c @ np.log(W @ nu)), -(nu * share - nu * (nu @ share))

    best = optimize.minimize(loss, np.zeros(6), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9})
    told = notes(tree)
    assert told["converged"]
    assert told["optimality_gap"] < 1e-4
    assert -best.fun - told["optimality_gap"] <= told["bound"] <= -best.fun + 1e-6
    assert told["bound"] == pytest.approx(naive_log_likelihood(W, c, tree["point"]["nu"].to_numpy()), rel=1e-12)


@pytest.mark.parametrize("steps", [1, 5, 25])
def test_the_bound_holds_wherever_em_is(steps: int) -> None:
    problem = problem_of(7)
    table, W, c = table_of(problem), dense(problem), problem["count"]
    best = ascend(table, tolerance=1e-8, max_iterations=10_000)
    top = naive_log_likelihood(W, c, best.a / best.a.sum())
    a = plain_em(W, c, np.full(8, c.sum() / 8), steps)
    ratio, _ = Sweeps(table)(a)
    left = top - naive_log_likelihood(W, c, a / a.sum())
    assert 0 < left <= gaps(table, a, ratio).sum() <= c.sum() * np.log(ratio.max()) + 1e-9
    np.testing.assert_allclose(ratio, W.T @ (c / (W @ a)), rtol=1e-10)


def test_ratio_is_the_gradient() -> None:
    problem = problem_of(8)
    table = table_of(problem)
    a = np.random.default_rng(0).uniform(1, 100, 8)
    ratio, _ = Sweeps(table)(a)
    for k, unit in enumerate(np.eye(8)):
        h = 1e-4 * a[k]
        slope = (Sweeps(table)(a + h * unit)[1].sum() - Sweeps(table)(a - h * unit)[1].sum()) / (2 * h)
        assert ratio[k] == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("seed", [133, 311])
def test_bound_does_not_fall_where_newtons_method_ends_beside_the_maximum(seed: int) -> None:
    """EM is some 1e-5 nats higher before Newton's method than after, though it cannot prove it."""
    sizes = {"transcript": 5, "equivalence_class": 10, "entry": 25}
    fit = gn.fit(NAME, gn.simulate(NAME, seed=seed, reads=500, **sizes), "em")
    notes = json.loads(fit.attrs["notes"])
    assert notes["largest_fall"] == 0
    assert notes["converged"] == 1
    assert notes["optimality_gap"] <= 1e-4


def test_bound_never_falls_and_components_add_up() -> None:
    problem = problem_of(9, transcript=200, equivalence_class=150, entry=420)
    found = ascend(table_of(problem), tolerance=1e-6, max_iterations=3000)
    assert largest_fall(found.bounds) == 0
    assert found.converged
    table = table_of(problem)
    np.testing.assert_allclose(
        np.bincount(table.label[table.hit], found.a[table.hit], len(table.mass)), table.mass, rtol=1e-10
    )


def test_interior_point_method_solves_a_square_system() -> None:
    rng = np.random.default_rng(1)
    W = rng.dirichlet(np.ones(6), 6).T
    a = rng.uniform(100, 1000, 6)
    found = climb(W, W @ a, np.zeros(6), np.full(6, a.mean()), 1e-9)
    np.testing.assert_allclose(found, a, rtol=1e-5)


def test_interior_point_method_finds_a_maximum_at_the_edge() -> None:
    W = np.array([[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]])
    c = np.array([900.0, 100.0])
    found = climb(W, c, np.zeros(3), np.full(3, 333.0), 1e-8)
    np.testing.assert_allclose(found, [1000, 0, 0], atol=1e-3)


@pytest.mark.slow
def test_recovery_with_more_reads() -> None:
    """The error of nu falls as N^-1/2: between 500 and 32,000 reads by a factor of eight, give or take the noise."""
    errors = []
    for reads in (500, 32_000):
        each = []
        for seed in range(30):
            tree = gn.simulate(NAME, seed, prior="dirichlet", reads=reads, transcript=4, equivalence_class=12, entry=24)
            each.append((gn.fit(NAME, tree, "em")["point"]["nu"] - tree["truth"]["nu"]).to_numpy())
        errors.append(np.sqrt(np.mean(np.square(each))))
    # each root mean square of 30 x 3 free values has a relative error of about 1 / sqrt(180) = 0.075
    assert np.log(errors[0] / errors[1]) == pytest.approx(np.log(8), abs=4 * 0.075 * np.sqrt(2))


# Ridges


def flat(table: Table) -> tuple[Ascended, Any]:
    found = ascend(table, tolerance=1e-8, max_iterations=10_000)
    return found, ridges(table, found.a, found.ratio)


def test_identical_transcripts_are_a_ridge_with_a_determined_sum() -> None:
    data = from_classes([([0, 1, 2], [0.3, 0.3, 0.5], 60), ([0, 1], [0.7, 0.7], 30), ([2], [0.5], 40)], [100] * 3)
    tree = gn.fit(NAME, data, "em")
    point = tree["point"]
    np.testing.assert_array_equal(point["ridge"], [1, 1, 0])
    total = float(point["counts"].to_numpy()[:2].sum())
    np.testing.assert_allclose(point["ridge_counts"], [total, total, 130 - total], rtol=1e-9)
    np.testing.assert_allclose(point["counts_low"], [0, 0, 130 - total], atol=1e-4)
    np.testing.assert_allclose(point["counts_high"], [total, total, 130 - total], rtol=1e-6)
    assert notes(tree)["ridges"] == 1


def test_collinear_transcripts_are_a_ridge() -> None:
    # the third column is the mean of the first two: any part of it may be given to them in equal shares
    table = tabulate(
        np.array([0, 1, 0, 1]), np.array([0, 1, 2, 2]), np.array([1, 1, 0.5, 0.5]), np.array([30.0, 70]), 3
    )
    _, open_ = flat(table)
    np.testing.assert_array_equal(open_.group, [1, 1, 1])
    np.testing.assert_allclose(open_.total, 100)
    np.testing.assert_allclose(open_.low, [0, 40, 0], atol=1e-5)
    np.testing.assert_allclose(open_.high, [30, 70, 60], rtol=1e-6)


def test_an_own_class_settles_the_split() -> None:
    table = tabulate(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.5, 0.5, 0.5]), np.array([60.0, 20]), 2)
    _, open_ = flat(table)
    assert open_.number == 0


def test_two_ridges_are_two_groups() -> None:
    data = from_classes([([0, 1], [1, 1], 5), ([2, 3], [1, 1], 7), ([1, 0, 2, 3], [1, 1, 2, 2], 9)], [1] * 4)
    assert gn.fit(NAME, data, "em")["point"]["ridge"].to_numpy().tolist() == [1, 1, 2, 2]


def test_of_a_large_component_identical_transcripts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genarium.models.transcript_abundance.ridges.LARGEST", 2)
    data = from_classes([([0, 1, 2], [0.3, 0.3, 0.5], 60), ([0, 1], [0.7, 0.7], 30), ([2], [0.5], 40)], [100] * 3)
    tree = gn.fit(NAME, data, "em")
    assert tree["point"]["ridge"].to_numpy().tolist() == [1, 1, 0]
    assert notes(tree)["ridges_not_sought"] == 3


def test_never_hit_transcripts_are_told() -> None:
    data = from_classes([([0, 2], [0.5, 0.5], 10), ([2], [1.0], 5)], [100] * 4)
    tree = gn.fit(NAME, data, "em")
    assert notes(tree)["never_hit"] == 2
    np.testing.assert_array_equal(tree["point"]["counts"].to_numpy()[[1, 3]], 0)


# VB-EM


def test_digamma_is_that_of_scipy() -> None:
    for x in (0.01, 0.3, 1.0, 2.5, 9.99, 10.0, 1e3, 1e7):
        assert digamma(x) == pytest.approx(special.psi(x), rel=1e-13, abs=1e-14)


def test_elbo_is_that_of_the_loops() -> None:
    problem = problem_of(11, alpha=0.4)
    table, W, c = table_of(problem), dense(problem), problem["count"]
    a = np.random.default_rng(0).dirichlet(np.ones(8)) * c.sum()
    new, bound = Step(table, problem["alpha"])(a)
    shape = 0.4 + a
    log_m = special.psi(shape) - special.psi(shape.sum())
    elbo, expected = 0.0, np.zeros(8)
    for e in range(len(c)):
        share = W[e] * np.exp(log_m)
        r = share / share.sum()
        expected += c[e] * r
        some = r > 0
        elbo += c[e] * (r[some] @ (np.log(W[e][some]) + log_m[some] - np.log(r[some])))
    log_norm = special.gammaln(shape.sum()) - special.gammaln(shape).sum()
    prior_norm = special.gammaln(8 * 0.4) - 8 * special.gammaln(0.4)
    elbo -= log_norm - prior_norm + (shape - 0.4) @ log_m
    assert bound == pytest.approx(elbo, rel=1e-11)
    np.testing.assert_allclose(new, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("alpha", [0.01, 1.0, 3.0])
def test_elbo_never_falls_and_bounds_the_evidence(alpha: float) -> None:
    data = from_classes([([0, 1], [0.6, 0.2], 7), ([0], [0.4], 2), ([1], [0.8], 4)], [1, 1])
    tree = gn.fit(NAME, {**data, "alpha": alpha}, "vi", prior="dirichlet")
    told = notes(tree)
    assert told["largest_fall"] == 0
    assert (np.diff(tree["variational"]["bound"].to_numpy()[0]) > -1e-9).all()
    s = np.linspace(0, 1, 400_001)[1:-1]
    y = stats.beta(alpha, alpha).logpdf(s) + 7 * np.log(0.6 * s + 0.2 * (1 - s)) + 2 * np.log(0.4 * s)
    y += 4 * np.log(0.8 * (1 - s))
    evidence = special.logsumexp(y) + np.log(s[1] - s[0])
    assert evidence - 0.5 < told["bound"] < evidence


def test_vi_gives_estimates_and_no_draws() -> None:
    tree = gn.fit(NAME, gn.simulate(NAME, 2, prior="dirichlet"), "vi")
    assert "posterior" not in tree
    np.testing.assert_allclose(tree["point"]["counts"], tree["variational"]["counts"], rtol=1e-12)
    np.testing.assert_allclose(tree["point"]["tpm"], tree["variational"]["tpm"], rtol=1e-12)


# Gibbs sampling


def grid_moments(alpha: float, c: list[int]) -> tuple[float, float]:
    """Mean and sd of nu_0 for two transcripts, by summation on the log odds."""
    x = np.linspace(-60, 60, 400_001)
    s = special.expit(x)
    y = alpha * (special.log_expit(x) + special.log_expit(-x))
    y += c[0] * np.log(0.6 * s + 0.2 * (1 - s)) + c[1] * np.log(0.4 * s + 0.8 * (1 - s))
    weight = np.exp(y - y.max())
    weight /= weight.sum()
    mean = weight @ s
    return float(mean), float(np.sqrt(weight @ (s - mean) ** 2))


@pytest.mark.parametrize("alpha", [0.05, *(pytest.param(alpha, marks=pytest.mark.slow) for alpha in (1.0, 4.0))])
def test_gibbs_has_the_moments_of_the_posterior(alpha: float) -> None:
    from arviz_stats.base import array_stats

    data = from_classes([([0, 1], [0.6, 0.2], 9), ([0, 1], [0.4, 0.8], 21)], [1, 1])
    tree = gn.fit(NAME, {**data, "alpha": alpha}, "gibbs", prior="dirichlet", seed=3, draws=3000)
    draws = tree["posterior"]["nu"].to_numpy()[..., 0]
    mean, sd = grid_moments(alpha, [9, 21])
    ess = float(array_stats.ess(draws, chain_axis=0, draw_axis=1, method="mean"))
    assert abs(draws.mean() - mean) < 4 * sd / np.sqrt(ess)
    ess = float(array_stats.ess((draws - mean) ** 2, chain_axis=0, draw_axis=1, method="mean"))
    spread = ((draws - mean) ** 2).std() / np.sqrt(ess)
    assert abs(((draws - mean) ** 2).mean() - sd**2) < 4 * spread


def each_move(table: Table, alpha: Array, move: str, rng: np.random.Generator, nu: Array) -> None:
    """One move of the sampler, in place."""
    t = table
    if move == "origins":
        n = t.sole.copy()
        draw_origins(rng, t.first, t.column, t.weight, t.count.astype(np.int64), nu, n)
        draw_abundances(rng, alpha + n, nu)
        return
    p = np.empty(len(t.count))
    owner = np.repeat(np.arange(len(t.count)), np.diff(t.first))
    entry = np.argsort(t.column, kind="stable")
    begin = np.searchsorted(t.column[entry], np.arange(len(nu) + 1))
    if move == "pairs":
        update_pairs(rng, t.first, t.column, t.weight, t.count, t.sole, alpha, begin, entry, owner, p, nu)
        return
    (one,) = axes(t, alpha, np.full(len(nu), t.reads / len(nu)))
    for e in range(len(t.count)):
        at = slice(t.first[e], t.first[e + 1])
        p[e] = t.weight[at] @ nu[t.column[at]]
    update_along(rng, one.along, one.moved, t.count, alpha + t.sole - 1, p, nu)


@pytest.mark.parametrize(
    "move", ["pairs", *(pytest.param(move, marks=pytest.mark.slow) for move in ("origins", "directions"))]
)
def test_every_move_keeps_the_posterior(move: str) -> None:
    """Geweke's idea: draws from the prior with data simulated from them, moved once, still have the prior's moments."""
    rng = np.random.default_rng(5)
    alpha = np.array([2.0, 1.0, 0.7])
    W = np.array([[0.6, 0.1, 0.3], [0.3, 0.2, 0.6], [0.1, 0.7, 0.1]])
    rows, columns = np.indices(W.shape).reshape(2, -1)
    moved, R = [], 3000
    for _ in range(R):
        nu = rng.dirichlet(alpha)
        c = rng.multinomial(12, W @ nu).astype(float)
        at = np.maximum(nu, 1e-300)
        each_move(tabulate(rows, columns, W.ravel(), c, 3), alpha, move, rng, at)
        moved.append(np.concatenate([at, at**2, [at[0] * at[1]]]))
    total = alpha.sum()
    mean = alpha / total
    second = alpha * (alpha + 1) / (total * (total + 1))
    expected = np.concatenate([mean, second, [alpha[0] * alpha[1] / (total * (total + 1))]])
    z = (np.mean(moved, 0) - expected) / (np.std(moved, 0) / np.sqrt(R))
    assert np.abs(z).max() < 4.2


def test_density_of_a_share_is_that_of_the_whole_model() -> None:
    problem = problem_of(13, alpha=1.7)
    W, c = dense(problem), problem["count"].astype(float)
    nu = np.random.default_rng(0).dirichlet(np.ones(8))
    k, j = 2, 3
    whole = nu[k] + nu[j]
    rest = W @ nu - W[:, k] * nu[k] - W[:, j] * nu[j]
    ours, naive = [], []
    for x in (-3.0, 0.2, 2.0):
        s = special.expit(x)
        at = nu.copy()
        at[k], at[j] = whole * s, whole * (1 - s)
        ours.append(log_density(x, whole * W[:, k], whole * W[:, j], rest, c, 1.7, 1.7))
        full = naive_log_likelihood(W, c, at) + stats.dirichlet(np.full(8, 1.7)).logpdf(at / at.sum())
        naive.append(full + np.log(s * (1 - s)))  # d s / d x
    assert np.ptp(np.subtract(ours, naive)) < 1e-8


@pytest.mark.slow
def test_gibbs_and_nuts_agree() -> None:
    from arviz_stats.base import array_stats

    tree = gn.simulate(NAME, 6, prior="dirichlet", transcript=5, equivalence_class=10, entry=25, reads=500)
    moments = []
    for method in ("gibbs", "nuts"):
        draws = gn.fit(NAME, tree, method, seed=2)["posterior"]["nu"].to_numpy()
        ess = np.array([array_stats.ess(draws[..., k], chain_axis=0, draw_axis=1, method="mean") for k in range(5)])
        moments.append((draws.mean((0, 1)), draws.std((0, 1)) / np.sqrt(ess)))
    z = (moments[0][0] - moments[1][0]) / np.hypot(moments[0][1], moments[1][1])
    assert np.abs(z).max() < 4


# What is refused


@pytest.mark.parametrize("method", ["nuts", pytest.param("advi", marks=pytest.mark.slow), "map"])
def test_sparse_priors_go_to_gibbs(method: str) -> None:
    with pytest.raises(gn.InputError, match=r"alpha\[transcript=0 \(0\)\] = 0.05.*gibbs"):
        gn.fit(NAME, gn.simulate(NAME, 1, prior="dirichlet"), method, alpha=0.05)


def test_bad_data_are_refused() -> None:
    good = from_classes([([0, 1], [0.5, 0.5], 10), ([1], [1.0], 5)], [100, 100])
    for change, said in (
        ({"count": [0, 0]}, "no reads at all"),
        ({"count": [10, -1]}, r"count\[equivalence_class=1\] = -1"),
        ({"count": [10.0, np.nan]}, "nan"),
        ({"weight": [0.5, -0.5, 1.0]}, r"weight\[entry=1\] = -0.5"),
        ({"weight": [0.5, 0.5, 0.0]}, "equivalence_class=1 has 5 reads, but no entry"),
        ({"effective_length": [100.0, 0.0]}, r"effective_length\[transcript=1\] = 0"),
        ({"entry_transcript": [0, 2, 1]}, "label of|below the size"),
        ({"reads": 16}, "Leave 'reads' out"),
    ):
        with pytest.raises(gn.InputError, match=said):
            gn.fit(NAME, {**good, **change}, "em")
    for method, options, said in (
        ("em", {"stop": "soon"}, "use one of bound, salmon"),
        ("vi", {"stop": "soon"}, "use one of bound, salmon"),
        ("em", {"stop": "salmon", "tolerance": 0.1}, "tolerance=0.1 would be dropped: used only with stop='bound'"),
        ("vi", {"stop": "salmon", "tolerance": 0.1}, "tolerance=0.1 would be dropped: used only with stop='bound'"),
        ("vi", {"tolerance": "small"}, "tolerance='small' must be a number"),
        ("vi", {"prior": "sparse"}, "method 'vi' is not offered: under prior='sparse' transcripts may be absent"),
        ("em", {"nu": [0.5, 0.5]}, "cannot hold nu fixed"),
        ("gibbs", {"nu": [0.5, 0.5]}, "cannot hold nu fixed"),
    ):
        chosen: dict[str, Any] = {"prior": "dirichlet", **options}
        with pytest.raises(gn.InputError, match=said):
            gn.fit(NAME, good, method, **chosen)


def test_salmons_start_is_one_pass_over_the_reads_in_small_part() -> None:
    count, reads, length = [26_000, 9_000, 5_000], 40_000.0, np.array([300.0, 500.0, 200.0, 100.0])
    rows = [{0: 0.75, 1: 0.25}, {1: 0.4, 2: 0.6}, {2: 1.0}]  # the fourth transcript is never hit
    mass, weight = np.zeros(4), 1.0
    for batch in range(1, 9):  # of 5,000 reads
        weight *= (batch - 1) ** 0.65 / (batch**0.65 - 1) if batch > 1 else 1.0
        for _ in range(5):
            now = mass + 0.005 * length
            for row, c in zip(rows, count, strict=True):
                total = sum(w * now[k] for k, w in row.items())
                for k, w in row.items():
                    mass[k] += weight * c / 40 * w * now[k] / total
    learned = reads * mass / mass.sum()  # all that are hit are one component
    entries = [(e, k, w) for e, row in enumerate(rows) for k, w in row.items()]
    classes, transcripts, weights = (np.array(each) for each in zip(*entries, strict=True))
    table = tabulate(classes, transcripts, weights, np.array(count, dtype=float), 4)
    np.testing.assert_allclose(online_counts(table, 0.005 * length), learned, rtol=1e-12)
    share = reads / 5e7
    expected = (1 - share) * reads / 4 + share * learned
    np.testing.assert_allclose(salmon_start(table, length), expected, rtol=1e-12)


def test_many_batches_are_taken_together() -> None:
    e, k, w = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), np.array([0.75, 0.25, 0.4, 0.6])
    table = tabulate(e, k, w, np.array([3e7, 2e7]), 3)
    start = salmon_start(table, np.full(3, 1000.0))
    assert start.sum() == pytest.approx(5e7, rel=1e-12)
    best = tabulate(e, k, w, np.array([3.0, 2.0]), 3)
    maximum = ascend(best, tolerance=1e-9, max_iterations=10_000).a
    np.testing.assert_allclose(start, maximum * 1e7, rtol=0.05, atol=0.01 * 5e7)


def test_salmons_prior_stands_in_for_the_default_only() -> None:
    tree = gn.simulate(NAME, 1, prior="dirichlet")
    cases: list[tuple[dict[str, Any], float]] = [({}, 0.01), ({"alpha": 0.3}, 0.3)]
    for settings, prior in cases:
        assert notes(gn.fit(NAME, tree, "vi", stop="salmon", **settings))["prior"] == prior
    assert notes(gn.fit(NAME, tree, "vi"))["prior"] == 1.0


def test_replications_of_weights_scaled_by_class_are_not_checked() -> None:
    data = from_classes([([0, 1], [0.5, 0.5], 10), ([1], [1.0], 5)], [100, 100])
    diagnosis = gn.diagnose(NAME, gn.fit(NAME, data, "em"))
    assert not [v for v in diagnosis.verdicts if v.check.startswith("predictive")]
    simulated = gn.diagnose(NAME, gn.fit(NAME, gn.simulate(NAME, 1, prior="dirichlet"), "em"))
    assert [v for v in simulated.verdicts if v.check.startswith("predictive")]


def test_a_large_component_is_climbed_with_its_dual(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the dense method switched off, the sparse one reaches the same likelihood, and proves it."""
    tree = gn.simulate(NAME, 3, prior="dirichlet", transcript=60, equivalence_class=90, entry=240)
    table = table_of(check(gn.get(NAME), tree))
    best = ascend(table, tolerance=1e-6, max_iterations=10_000)
    monkeypatch.setattr(import_module("genarium.models.transcript_abundance.em"), "SMALL", 2)
    found = ascend(table, tolerance=1e-3, max_iterations=10_000)
    assert found.converged
    assert best.bounds[-1] - found.gap <= found.bounds[-1] <= best.bounds[-1] + 1e-6
    assert found.sweeps < 300


@pytest.mark.parametrize("steps", [1, 3, 100])
def test_the_dual_bound_holds_wherever_the_climb_ends(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    from scipy import sparse

    from genarium.models.transcript_abundance.giant import climb_giant

    monkeypatch.setattr("genarium.models.transcript_abundance.giant.STEPS", steps)
    problem = problem_of(7)
    W, c = dense(problem), problem["count"].astype(float)
    best = ascend(table_of(problem), tolerance=1e-9, max_iterations=10_000)
    a, gap = climb_giant(sparse.csr_array(W[c > 0]), c[c > 0], np.full(8, c.sum() / 8), 1e-7)
    left = naive_log_likelihood(W, c, best.a) - naive_log_likelihood(W, c, a)
    assert -1e-6 <= left <= gap + 1e-9
    assert a.sum() == pytest.approx(c.sum(), rel=1e-9)


# Ridges of every fit


def ambiguous() -> dict[str, Any]:
    """Two transcripts that no read tells apart, and a third of short effective length."""
    return from_classes([([0, 1], [0.5, 0.5], 1000), ([2], [1.0], 300)], [1000, 1000, 60], names=["x", "y", "z"])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("em", {}),
        pytest.param("em", {"stop": "salmon"}, marks=pytest.mark.slow),
        ("vi", {"prior": "dirichlet"}),
        ("gibbs", {"draws": 100, "tune": 50, "prior": "dirichlet"}),
        ("gibbs", {"draws": 100, "tune": 50, "thin": 2}),
    ],
)
def test_every_fit_names_the_transcripts_that_reads_cannot_tell_apart(method: str, options: dict[str, Any]) -> None:
    tree = gn.fit(NAME, ambiguous(), method, seed=1, **options)
    data = tree["posterior" if "posterior" in tree else "point"].to_dataset()
    found = ridges_of(tree)
    assert found is not None
    assert found.to_numpy().tolist() == [1, 1, 0]
    if "posterior" in tree:
        assert gn.summary(tree, "counts")["ridge"].tolist() == [1, 1, 0]
    sums, counts = data["ridge_counts"], data["counts"]
    np.testing.assert_allclose(sums.sel(transcript="x"), counts.sel(transcript=["x", "y"]).sum("transcript"))
    np.testing.assert_array_equal(sums.sel(transcript="x"), sums.sel(transcript="y"))
    np.testing.assert_array_equal(sums.sel(transcript="z"), counts.sel(transcript="z"))
    if "draw" in data.dims:  # the sum is known to ± sqrt(1300 p (1 - p)), the split not at all
        assert float(sums.sel(transcript="x").std()) == pytest.approx(np.sqrt(1300 * 10 * 3) / 13, rel=0.25)
    verdict = next(v for v in gn.diagnose(NAME, tree).verdicts if "tell apart" in v.check)
    assert (verdict.status, verdict.value) == ("warn", 2)
    assert verdict.where.startswith("x, y: together ")
    assert "ridge_counts" in verdict.advice
    table = gn.summary(tree, "counts")
    assert dict(zip(table["label"], table["ridge"], strict=True)) == {"x": 1, "y": 1, "z": 0}


def test_no_ridge_is_no_caution() -> None:
    tree = gn.fit(NAME, gn.simulate(NAME, 1, prior="dirichlet"), "em")
    assert not tree["point"]["ridge"].to_numpy().any()
    np.testing.assert_array_equal(tree["point"]["ridge_counts"], tree["point"]["counts"])
    assert all(v.status == "pass" for v in gn.diagnose(NAME, tree).verdicts if "tell apart" in v.check)


def test_reads_of_ridges_are_added_up_as_in_a_loop() -> None:
    rng = np.random.default_rng(0)
    nu, ridge = rng.dirichlet(np.ones(7), (2, 3)), np.array([2, 0, 1, 2, 0, 1, 2])
    expected = np.zeros_like(nu)
    for k in range(7):
        expected[..., k] = 50 * (nu[..., ridge == ridge[k]].sum(-1) if ridge[k] else nu[..., k])
    np.testing.assert_allclose(ridge_counts(nu, np.array(50), ridge), expected, rtol=1e-12)


def test_tpm_that_short_effective_lengths_decide_are_flagged() -> None:
    tree = gn.fit(NAME, ambiguous(), "em")
    verdict = next(v for v in gn.diagnose(NAME, tree).verdicts if "effective lengths" in v.check)
    assert (verdict.status, verdict.where) == ("warn", "z: 60 nt")
    assert verdict.value == pytest.approx(1e6 * (300 / 60) / (300 / 60 + 1000 / 1000), abs=1)


@pytest.mark.slow
def test_one_read_is_left_out_not_a_class() -> None:
    checked = 0
    for seed in range(3):
        tree = gn.fit(
            NAME, gn.simulate(NAME, seed, prior="dirichlet"), "gibbs", seed=seed, chains=2, draws=300, tune=100
        )
        verdict = next(v for v in gn.diagnose(NAME, tree).verdicts if "LOO" in v.check)
        assert verdict.status == "pass"
        pointwise = tree["log_likelihood"]["count"].to_numpy().reshape(600, -1).T
        checked += int((array_stats.psislw(pointwise, axis=-1)[1] > 0.7).sum())
    assert checked  # a class of many reads cannot be left out: well-specified fits would be doubted


def test_the_truth_is_never_above_what_em_says_is_left_to_gain() -> None:
    found = gn.validate(NAME, "em", 60, seed=20261121)
    gain = found.tree["runs"]["gain_on_truth"].to_numpy()
    assert len(gain) == 60
    assert (gain > -1e-6).all()
