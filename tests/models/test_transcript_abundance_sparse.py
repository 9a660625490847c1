"""transcript_abundance under the sparse prior: its density, each move of its sampler, and who is found to be absent."""

from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import genarium as gn
from genarium.declaration import Array
from genarium.models.transcript_abundance import likelihood, presence, relaxed, story
from genarium.models.transcript_abundance.circuits import circuits
from genarium.models.transcript_abundance.gibbs import SparseSampler, _presence, _spread
from genarium.models.transcript_abundance.sparse import from_classes
from genarium.models.transcript_abundance.table import tabulate

NAME = "transcript_abundance"

W = np.array([[0.5, 0.2, 0.6], [0.5, 0.4, 0.0], [0.0, 0.4, 0.4]])
"""Of three classes and three transcripts."""


def table_of(c: Array) -> Any:
    rows, columns = np.nonzero(W)
    return tabulate(rows, columns, W[rows, columns], c.astype(float), 3)


def test_the_prior_is_a_density_over_shares_and_who_is_there() -> None:
    """Two transcripts: the masses of both alone and the integral over the share of both add up to one."""
    length = np.array([300.0, 900.0])
    for pi, sd in ((0.3, 0.7), (0.8, 2.0)):
        hyper = stats.lognorm(0.5, scale=2.0).pdf(sd)

        def density(nu: list[float], pi: float = pi, sd: float = sd, hyper: float = hyper) -> float:
            return float(np.exp(likelihood.log_sparse_prior(np.array(nu), np.array(pi), np.array(sd), length))) / hyper

        both, _ = integrate.quad(lambda s: density([s, 1 - s]), 0, 1, epsabs=1e-10)
        assert density([1.0, 0.0]) + density([0.0, 1.0]) + both == pytest.approx(1, abs=1e-6)
        assert density([1.0, 0.0]) / both == pytest.approx((1 - pi) / pi, rel=1e-6)


def test_draws_of_the_prior_are_as_often_there_as_it_says() -> None:
    rng = np.random.default_rng(3)
    pi = 0.2
    law = np.array(pi), np.array(1.0), np.ones(3)
    drawn = np.array([story.draw_sparse_nu(rng, {"transcript": 3}, *law) > 0 for _ in range(4_000)])
    np.testing.assert_allclose(drawn.mean(0), pi / (1 - (1 - pi) ** 3), atol=4 * 0.5 / np.sqrt(4_000))


def draw_prior(rng: np.random.Generator, mean: Array, sd: float, pi: float) -> Array:
    """Draw reads expected, given at least one transcript there."""
    while True:
        there = rng.uniform(size=3) < pi
        if there.any():
            return np.where(there, np.exp(mean + sd * rng.normal(size=3)), 0.0)


def told(a: Array) -> list[Array]:
    """Functions of draws (S, 3) whose means are compared."""
    pairs = a[:, :2] * a[:, 1:] > 20
    return [(a > 0).astype(float), np.log(a + 0.5), pairs.astype(float), (a > 0).all(1).astype(float)]


@pytest.mark.parametrize(
    "move", ["pairs", *(pytest.param(move, marks=pytest.mark.slow) for move in ("abundances", "lines"))]
)
def test_each_move_keeps_the_joint_distribution(move: str) -> None:
    """Geweke's idea: draws of the prior, with Poisson reads simulated from them, still are draws of it after a move."""
    rng, mean, sd, pi, size = np.random.default_rng(5), np.log([3.0, 8.0, 5.0]), 1.2, 0.6, 3_000
    odds = float(np.log(pi / (1 - pi)))
    before, after = np.empty((size, 3)), np.empty((size, 3))
    step = np.array([1.0, -0.7, -0.5])
    for i in range(size):
        a = draw_prior(rng, mean, sd, pi)
        before[i] = a
        c = rng.poisson(W @ a).astype(float)
        t = table_of(c)
        kept = (t.first, t.column, t.weight, t.count.astype(np.int64))
        entry = np.argsort(t.column, kind="stable")
        entries = (
            np.searchsorted(t.column[entry], np.arange(4)),
            entry,
            np.repeat(np.arange(len(t.count)), np.diff(t.first)),
        )
        law, slot = (t.sole, mean, sd, odds), np.full(len(t.count), -1)
        if move == "abundances":
            n = t.sole.copy()
            presence.draw_reads(rng, *kept, a, n)
            presence.update_abundances(rng, n, *law[1:], a)
        elif move == "lines":
            presence.move(rng, np.arange(3), step, *kept, *law, *entries, slot, a)
        else:
            none = np.zeros(4, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
            presence.update_lines(rng, *kept, *law, *entries, slot, np.arange(3), *none, a)
        assert (slot == -1).all()
        after[i] = a
    if move == "abundances":  # all may go, which the prior that was drawn from leaves out
        after = after[(after > 0).any(1)]
    assert (before != 0).mean(0) != pytest.approx((after != 0).mean(0), abs=1e-12)  # something was moved
    for one, two in zip(told(before), told(after), strict=True):
        error = np.hypot(one.std(0) / np.sqrt(len(one)), two.std(0) / np.sqrt(len(two)))
        assert np.all(np.abs(one.mean(0) - two.mean(0)) < 4 * error)


@pytest.mark.parametrize("size", [2, 5])
def test_presence_and_spread_are_drawn_from_their_conditionals(size: int) -> None:
    """Of both from the prior, and abundances that they made, moments are the same after a draw (eq. 27)."""
    rng, n, changes = np.random.default_rng(6), 2000, list[Array]()
    for _ in range(n):
        pi, sd = float(story.draw_presence(rng)), float(story.draw_spread(rng))
        there = int(story.draw_there(rng, np.asarray(pi), size).sum())
        new = _presence(rng, pi, there, size), _spread(rng, sd, sd * rng.normal(size=size))
        before, after = ([p, p * there, np.log(s)] for p, s in ((pi, sd), new))
        changes.append(np.subtract(after, before))
    found = np.array(changes)
    z = found.mean(0) / (found.std(0) / np.sqrt(n))
    assert (np.abs(z) < 4).all(), z


def test_a_transcript_that_others_make_up_is_found() -> None:
    """Columns 0 and 1 together are columns 2 and 3 together."""
    columns = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 2, 2, 0, 0]]).T.astype(float)
    columns[:, 3] = columns[:, 0] + columns[:, 1] - columns[:, 2]
    rows, at = np.nonzero(columns)
    found = circuits(tabulate(rows, at, columns[rows, at], np.full(5, 100.0), 4), np.random.default_rng(0))
    assert 0 in found.flat
    steps = [
        dict(zip(found.member[a:b], found.step[a:b], strict=True))
        for a, b in zip(found.first[:-1], found.first[1:], strict=True)
    ]
    assert any(np.allclose(columns @ [s.get(k, 0.0) for k in range(4)], 0, atol=1e-6) for s in steps)


def test_zero_reads_may_be_absence_and_many_are_not() -> None:
    """Ten transcripts with reads of their own beside ten without: the data say which are there."""
    data = from_classes([([k], [1.0], 0 if k < 10 else 50 * k) for k in range(20)], [1000] * 20)
    tree = gn.fit(NAME, data, "gibbs", seed=2, draws=300, tune=100, chains=2)
    there = (tree["posterior"]["nu"] > 0).mean(("chain", "draw")).to_numpy()
    assert (there[10:] == 1).all()
    assert (there[:10] < 0.5).all()
    assert float(tree["posterior"]["presence"].mean()) == pytest.approx(0.5, abs=0.15)


def test_absent_transcripts_are_never_given_reads() -> None:
    rng = np.random.default_rng(1)
    t = table_of(np.array([50.0, 60.0, 70.0]))
    for _ in range(200):
        n = np.zeros(3)
        a = np.where(rng.uniform(size=3) < 0.4, 0.0, rng.gamma(2, 20, 3))
        a[1] = 1e-20 if (a == 0).any() else a[1]  # the only one that explains what is left
        presence.draw_reads(rng, t.first, t.column, t.weight, t.count.astype(np.int64), a, n)
        assert (n[a == 0] == 0).all()
        assert n.sum() == 180


def test_the_sampler_starts_anew_for_every_chain() -> None:
    sampler = SparseSampler(table_of(np.array([50.0, 60.0, 70.0])), np.ones(3))
    one, two = (next(iter(sampler(np.random.default_rng(seed)))) for seed in (1, 2))
    assert not np.array_equal(one["nu"], two["nu"])


@pytest.mark.parametrize("method", ["vi", "nuts", "stan-map"])
def test_methods_that_need_a_density_say_so(method: str) -> None:
    with pytest.raises(gn.InputError, match=r"transcripts may be absent.*'gibbs'.*prior='dirichlet'"):
        gn.fit(NAME, gn.simulate(NAME, 1), method)


def relaxed_draws(rng: np.random.Generator, draws: int, length: Array, reads: int) -> Array:
    """Draw nu (draws, 3) from the relaxed prior."""
    pi = np.array([story.draw_presence(rng) for _ in range(draws)])
    sd = np.array([story.draw_spread(rng) for _ in range(draws)])
    drawn = [
        relaxed.draw_log_rate(rng, {"transcript": len(length)}, p, s, np.array(reads))
        for p, s in zip(pi, sd, strict=True)
    ]
    return relaxed.nu(np.array(drawn), length)


@pytest.mark.slow
def test_the_relaxed_posterior_is_near_that_of_gibbs() -> None:
    """Three transcripts: prior draws weighted by the likelihood, against Gibbs under the sparse prior."""
    c, length = np.array([300, 10, 190]), np.array([500.0, 300.0, 800.0])
    rows, columns = np.nonzero(W)
    data = {"entry_class": rows, "entry_transcript": columns, "weight": W[rows, columns]}
    fit = gn.fit(NAME, {**data, "effective_length": length, "count": c}, "gibbs", seed=1, draws=1000, tune=200)
    exact = fit["posterior"]["counts"].to_numpy().reshape(-1, 3)
    nu = relaxed_draws(np.random.default_rng(2), 40_000, length, 500)
    log = likelihood.log_likelihood(nu, c, W[rows, columns], rows, columns).sum(-1)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    assert 1 / (weight**2).sum() > 1000
    np.testing.assert_allclose(weight @ (500 * nu), exact.mean(0), atol=1.5)
    np.testing.assert_allclose(weight @ (500 * nu < 0.5), (exact < 0.5).mean(0), atol=0.08)


@pytest.mark.slow
def test_nuts_under_the_relaxed_prior_finds_what_gibbs_finds() -> None:
    data = from_classes([([k], [1.0], 0 if k < 5 else 50 * k) for k in range(10)], [1000] * 10)
    exact = gn.fit(NAME, data, "gibbs", seed=1, draws=1000, tune=300)["posterior"]
    near = gn.fit(NAME, data, "nuts", seed=1, draws=1000, prior="relaxed")["posterior"]
    one, two = (each["counts"].to_numpy().reshape(-1, 10) for each in (exact, near))
    np.testing.assert_allclose(two.mean(0), one.mean(0), atol=1.5)
    np.testing.assert_allclose(two.std(0)[5:], one.std(0)[5:], rtol=0.1)
    np.testing.assert_allclose((two < 0.5).mean(0), (one < 0.5).mean(0), atol=0.1)


@pytest.mark.parametrize("method", ["gibbs", "em", "map"])
def test_methods_that_are_not_for_the_relaxed_prior_say_so(method: str) -> None:
    with pytest.raises(gn.InputError, match=r"is not offered: .*(prior='sparse'|maximum)"):
        gn.fit(NAME, gn.simulate(NAME, 1, prior="relaxed"), method, prior="relaxed")


def test_under_the_relaxed_prior_some_transcript_is_there() -> None:
    """The density integrates to one, and so much of it is where draws are (two transcripts, by quadrature)."""
    reads, presence, spread = np.array(200), np.array(0.3), np.array(1.0)
    x = np.linspace(-25.0, 8.0, 400)
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), -1)
    density = np.exp(relaxed.log_prior(grid, presence, spread, reads) - likelihood.log_spread(spread))
    cell = (x[1] - x[0]) ** 2
    np.testing.assert_allclose(density.sum() * cell, 1.0, rtol=1e-6)
    rng, draws = np.random.default_rng(1), 4000
    drawn = np.array([relaxed.draw_log_rate(rng, {"transcript": 2}, presence, spread, reads) for _ in range(draws)])
    for low in (-10.0, -4.0, 0.0):
        p = density[grid.max(-1) < low].sum() * cell
        assert abs((drawn.max(1) < low).mean() - p) < 4 * np.sqrt(p * (1 - p) / draws) + 0.01 * p


def test_draws_of_a_steep_outline_stay_where_its_mass_is() -> None:
    """An outline that falls by thousands of nats to the right, as of many reads, overflows nothing."""
    at, h, mass = np.array([0.0, 1.0, 2.0]), np.array([-5000.0, 0.0, -5000.0]), np.empty(4)
    presence.log_mass(at, h, mass)
    rng = np.random.default_rng(1)
    draws = np.array([presence.draw_outlined(rng, at, h, mass) for _ in range(2000)])
    assert np.abs(draws - 1).max() < 0.01
    assert abs((draws > 1).mean() - 0.5) < 0.05
    np.testing.assert_allclose(np.abs(draws - 1).mean(), 1 / 5000, rtol=0.15)


def test_draws_of_many_reads_have_their_likelihood() -> None:
    """Ten segments of a circle, a million reads: half a chi-squared number of nats below the best, not thousands."""
    rng = np.random.default_rng(2)
    classes = [sorted({k, (k - 1) % 10, (k - 2) % 10}) for k in range(10)]
    nu = rng.dirichlet(np.full(10, 2.0))
    count = rng.multinomial(1_000_000, [nu[some].sum() / 3 for some in classes])
    data = from_classes([(some, [1 / 3] * 3, int(c)) for some, c in zip(classes, count, strict=True)], [3000] * 10)
    tree = gn.fit("transcript_abundance", data, "gibbs", seed=1, chains=1, draws=200, tune=100)
    drawn = tree["posterior"]["nu"].to_numpy()[0]
    p = np.stack([drawn[:, some].sum(1) / 3 for some in classes], 1)
    below = (count * np.log(count / count.sum())).sum() - (count * np.log(p)).sum(1)
    assert below.max() < 40
