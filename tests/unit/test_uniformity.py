"""Tests of uniform ranks: their level and power, adjustment for many, coverage, and what a departure is said to be."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, kstest, norm

from genarium.calibration import uniformity as test
from genarium.calibration.power import detectable

Array = NDArray[Any]

FALSE_ALARM = 1e-3
"""A correct test is found wrong with this probability, over seeds; the seed is fixed."""


def pits(mean: float = 0.0, sd: float = 1.0, R: int = 200, Q: int = 1, seed: int = 1) -> Array:
    """PIT values of Normal(mean, sd) posteriors where Normal(0, 1) is right; shape (R, Q)."""
    z = np.random.default_rng(seed).normal(size=(R, Q))
    return np.asarray(norm.cdf((z - mean) / sd))


def between(probability: float, count: int) -> tuple[float, float]:
    """Counts that a binomial variable of this probability leaves with probability FALSE_ALARM."""
    low, high = binom.interval(1 - FALSE_ALARM, count, probability)
    return float(low), float(high)


# Uniformity of ranks


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_uniform_ranks_are_rejected_no_more_often_than_promised(level: float) -> None:
    p = test.uniformity(np.random.default_rng(2).uniform(size=(100, 600)))
    assert p.shape == (600,)
    assert ((p >= 0) & (p <= 1)).all()
    assert (p <= level).sum() <= between(level, 600)[1]
    assert (p <= 0.5).mean() > 0.2  # not so careful that it finds nothing


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 0.5), (0.0, 2.0), (0.5, 1.0), (-0.5, 1.0)])
def test_wrong_posteriors_are_rejected(mean: float, sd: float) -> None:
    assert (test.uniformity(pits(mean, sd, Q=20)) < 1e-3).mean() > 0.9


@pytest.mark.parametrize(("mean", "sd", "least"), [(0.3, 1.0, 0.85), (0.0, 0.8, 0.82), (0.0, 1.25, 0.82)])
def test_shifts_and_widths_are_seen_more_often_than_by_the_pointwise_test(mean: float, sd: float, least: float) -> None:
    some = pits(mean, sd, R=300, Q=400)
    ours, pointwise = ((f(some) < 5e-4).mean() for f in (test.uniformity, test.pointwise))
    assert ours > max(pointwise, least)  # .91 (.86), .89 (.52), .89 (.23); standard error .02


@pytest.mark.slow
def test_power_that_is_told_is_that_of_validations() -> None:
    told = detectable(200, 5, 99, 0.005)
    for mean, sd in ((told["shift"], 1.0), (0.0, told["narrow"]), (0.0, told["wide"])):
        ranks = np.random.default_rng(8).binomial(99, pits(mean, sd, R=200, Q=600, seed=7))
        seen = test.uniformity((ranks + np.random.default_rng(9).uniform(size=ranks.shape)) / 100) <= 0.005 / 5
        assert abs(seen.mean() - 0.8) < 4 * np.sqrt(0.16 / 600 + 0.16 / 200)


def test_columns_are_tested_one_by_one() -> None:
    both = np.hstack([pits(seed=3), pits(sd=0.3, seed=4)])
    np.testing.assert_allclose(test.uniformity(both), [test.uniformity(both[:, [j]])[0] for j in range(2)])


# Many quantities


def test_holm_against_a_worked_example() -> None:
    np.testing.assert_allclose(test.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_rejects_what_its_definition_does() -> None:
    rng = np.random.default_rng(5)
    for alpha in (0.01, 0.2):
        p = rng.uniform(size=12) ** 3
        rejected, order = np.zeros(12, dtype=bool), np.argsort(p)
        for step, j in enumerate(order):
            if p[j] > alpha / (12 - step):
                break
            rejected[j] = True
        np.testing.assert_array_equal(test.holm(p) <= alpha, rejected)


def test_holm_leaves_one_p_value_alone_and_stays_below_one() -> None:
    assert test.holm(np.array([0.03])) == pytest.approx([0.03])
    np.testing.assert_array_equal(test.holm(np.array([0.9, 0.6])), [1, 1])


def test_looks_double_and_end_with_all() -> None:
    assert test.looks(200) == [50, 100, 200]
    assert test.looks(300) == [50, 100, 200, 300]
    assert test.looks(50) == [50]
    assert test.looks(7) == [7]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_looks_spend_alpha_and_no_more(count: int) -> None:
    shares = test.spent(0.01, count)
    assert len(shares) == count
    assert sum(shares) == pytest.approx(0.01)
    assert shares[-1] == max(shares)


# Coverage


def test_intervals_are_central() -> None:
    pit = np.array([[0.04], [0.06], [0.5], [0.94], [0.96]])
    assert test.inside(pit, 0.9).tolist() == [3]
    assert test.inside(pit, 0.95).tolist() == [5]
    assert test.inside(pit, 0.5).tolist() == [1]


def column(covered: int, of: int) -> Array:
    """PIT values of which so many lie in any central interval; shape (of, 1)."""
    return np.where(np.arange(of) < covered, 0.5, 0.0)[:, None]


@pytest.mark.parametrize("covered", [0, 60, 85, 90, 97, 100])
def test_coverage_is_tested_exactly(covered: int) -> None:
    less, greater = (float(binomtest(covered, 100, 0.9, side).pvalue) for side in ("less", "greater"))
    assert test.coverage_p(column(covered, 100), 0.9)[0] == pytest.approx(min(1, 2 * min(less, greater)), abs=1e-12)


@pytest.mark.parametrize("covered", [0, 70, 82, 90, 100])
def test_slack_moves_the_hypothesis_to_its_nearer_end(covered: int) -> None:
    less = float(binomtest(covered, 100, 0.85, "less").pvalue)
    greater = float(binomtest(covered, 100, 0.95, "greater").pvalue)
    found = test.coverage_p(column(covered, 100), 0.9, 0.05)[0]
    assert found == pytest.approx(min(1, 2 * min(less, greater)), abs=1e-12)


@pytest.mark.parametrize("true", [0.85, 0.9, 0.95])
def test_coverage_within_the_slack_is_rejected_no_more_often_than_promised(true: float) -> None:
    inner = np.random.default_rng(6).uniform(size=(200, 1000)) < true
    p = test.coverage_p(np.where(inner, 0.5, 0.0), 0.9, 0.05)
    assert (p <= 0.05).sum() <= between(0.05, 1000)[1]


def test_slack_beyond_one_is_cut() -> None:
    assert test.coverage_p(column(100, 100), 0.95, 0.2)[0] == 1


def test_interval_of_a_proportion() -> None:
    low, high = test.interval(90, 100)
    assert (low, high) == pytest.approx(tuple(binomtest(90, 100).proportion_ci(method="exact")))
    assert test.interval(0, 10)[0] == 0
    assert test.interval(10, 10)[1] == 1


# What a departure is


@pytest.mark.parametrize("score", [test.bias_z, test.width_z])
def test_scores_are_standard_normal_where_ranks_are_uniform(score: Any) -> None:
    z = score(np.random.default_rng(7).uniform(size=(200, 2000)))
    assert z.shape == (2000,)
    assert kstest(z, norm.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    ("mean", "sd", "said"),
    [
        (-0.2, 1.0, "too low"),
        (0.2, 1.0, "too high"),
        (0.0, 0.4, "too narrow"),
        (0.0, 3.0, "too wide"),
        (0.6, 0.3, "too high and too narrow"),
        (0.0, 1.0, ""),
    ],
)
def test_departures_are_told_in_words(mean: float, sd: float, said: str) -> None:
    pit = norm.cdf((norm.ppf((np.arange(400) + 0.5) / 400) - mean) / sd)[:, None]
    assert test.direction(test.bias_z(pit)[0], test.width_z(pit)[0]) == said


# Symmetry


def test_walks_go_as_far_as_enumeration_says() -> None:
    steps = 9
    walks = np.cumsum([[1 if path >> i & 1 else -1 for i in range(steps)] for path in range(2**steps)], axis=1)
    farthest = np.abs(walks).max(1)
    for a in range(1, steps + 1):
        assert test._walk_p(steps, a) == pytest.approx((farthest >= a).mean(), abs=1e-12)


@pytest.mark.parametrize("sd", [1.0, 0.3, 3.0])
def test_symmetric_histograms_are_accepted_whatever_their_width(sd: float) -> None:
    p = test.asymmetry_p(pits(sd=sd, Q=1000, seed=8))
    assert (p <= 0.05).sum() <= between(0.05, 1000)[1]
    assert (p <= 0.05).sum() >= between(0.03, 1000)[0]


@pytest.mark.parametrize("sd", [0.5, 1.0])
@pytest.mark.parametrize("mean", [-0.5, 0.5])
def test_asymmetric_histograms_are_rejected(mean: float, sd: float) -> None:
    assert (test.asymmetry_p(pits(mean, sd, Q=20)) < 1e-3).mean() > 0.8


def test_asymmetry_of_one_among_many_is_found() -> None:
    pit = np.hstack([pits(seed=9, Q=59), pits(mean=1.0)])
    assert test.holm(test.asymmetry_p(pit))[-1] < 1e-4
