"""The classical estimators at their limits: units and signs, effects of zero, ties, and what is refused."""

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effect_problems import ALL, simulated
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.mendelian_randomization import (
    contamination_mixture,
    divw,
    egger,
    ivw,
    maximum_likelihood,
    meta_analysis,
    mode,
    pivw,
    presso,
    q_profile,
    raps,
    weighted_median,
)
from genarium.models.mendelian_randomization.profiled import HeterogeneityWarning


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000), units=st.sampled_from([0.01, 3.0, 200.0]))
def test_estimates_follow_units_and_signs(seed: int, units: float) -> None:
    """Units of the outcome multiply every estimate; coding by the other allele changes none."""
    x, sx, y, sy = simulated(seed, 25)
    flip = np.where(np.random.default_rng(seed).uniform(size=25) < 0.5, -1.0, 1.0)
    for estimator in (ivw, egger, divw, pivw, maximum_likelihood, raps):
        plain = estimator(x, sx, y, sy)
        assert estimator(x, sx, units * y, units * sy).estimate == pytest.approx(units * plain.estimate, rel=1e-4)
        assert estimator(flip * x, sx, flip * y, sy).estimate == pytest.approx(plain.estimate, rel=1e-5)
    # random numbers included
    medians = [weighted_median(f * x, sx, f * y, sy, iterations=20) for f in (np.ones(25), flip)]
    assert medians[1].se == pytest.approx(medians[0].se, rel=1e-9)
    tests = [presso(f * x, sx, f * y, sy, iterations=600) for f in (np.ones(25), flip)]
    assert (tests[1].estimate, tests[1].global_p) == pytest.approx((tests[0].estimate, tests[0].global_p), rel=1e-9)


def test_the_median_of_equal_ratios_does_not_depend_on_the_order_of_variants() -> None:
    """Ratios of .5 have 11 of 15 parts of the weight: they are the median, whichever comes last among them."""
    x, y = np.array([0.1, 0.2, 0.3, -0.1]), np.array([0.05, 0.11, 0.15 * (1 + 1e-15), -0.05])
    se = np.full(4, 0.02)
    for order in itertools.permutations(range(4)):
        at = list(order)
        assert weighted_median(x[at], se, y[at], se, iterations=2).estimate == pytest.approx(0.5, rel=1e-12)


def test_no_unit_is_too_large_for_a_tolerance() -> None:
    """Robust fits and the mixture stop by the data's own scale: an exposure in 1e9 units is the same exposure."""
    x, sx, y, sy = simulated(5, 7)
    for estimator in (partial(ivw, robust=True), contamination_mixture):
        plain, large = estimator(x, sx, y, sy), estimator(1e9 * x, 1e9 * sx, y, sy)
        numbers = [(one.estimate, one.se, *one.ci) for one in (plain, large)]
        assert 1e9 * np.array(numbers[1]) == pytest.approx(np.array(numbers[0]), rel=1e-6)


def test_distortion_by_presso_of_variants_that_are_the_same_follows_no_rounding() -> None:
    """Of two kinds of variants one is an outlier by chance; resamples that hold as many of it change as much."""
    x, y = np.tile([0.1, 0.2], 4), np.tile([0.03, 0.205], 4)
    sx, sy = np.full(8, 0.01), np.full(8, 0.02)
    units = [(u, v) for u in (1, 3, 1e6) for v in (1, 0.1, 7)]
    found = [presso(u * x, u * sx, v * y, v * sy, iterations=400, seed=2) for u, v in units]
    assert {len(one.outliers) for one in found} == {1}
    assert len({one.distortion_p for one in found}) == 1


@pytest.mark.parametrize("unit", [(1e100, 1e-60), (1e-80, 1), (1, 1e-90)])
def test_units_that_no_computer_holds_are_refused(unit: tuple[float, float]) -> None:
    x, sx, y, sy = simulated(5, 12)
    for estimator in (pivw, raps, maximum_likelihood):
        with pytest.raises(InputError, match=r"powers no computer holds\. Give effects in units"):
            estimator(unit[0] * x, unit[0] * sx, unit[1] * y, unit[1] * sy)


@pytest.mark.parametrize("loss", ["l2", "huber", "tukey"])
def test_raps_finds_pleiotropy_far_beyond_the_errors(loss: str) -> None:
    rng = np.random.default_rng(0)
    gamma, se = rng.normal(0, 0.1, 50), np.full(50, 0.01)
    x, y = rng.normal(gamma, se), 0.4 * gamma + rng.normal(0, 1.0, 50)
    found = raps(x, se, y, se, loss=loss)
    assert found.tau2 == pytest.approx(1.0, abs=4 * (2 / 50) ** 0.5)
    plain = ivw(x, se, y, se)
    assert found.estimate == pytest.approx(plain.estimate, abs=plain.se)
    assert found.se == pytest.approx(plain.se, rel=0.2)


@pytest.mark.parametrize("estimator", ALL)
def test_bad_input_is_refused_with_its_place(estimator: Any) -> None:
    x, sx, y, sy = simulated(1, 10)
    broken = sy.copy()
    broken[4] = -1
    with pytest.raises(InputError, match=r"se_outcome\[4\] is -1, but must be a positive number \(1 of 10"):
        estimator(x, sx, y, broken)
    with pytest.raises(InputError, match=r"beta_outcome has shape \(9,\)"):
        estimator(x, sx, y[1:], sy)
    with pytest.raises(InputError, match="1 variants; this estimator needs at least"):
        estimator(x[:1], sx[:1], y[:1], sy[:1])
    with pytest.raises(InputError, match=r"beta_exposure\[0\] is nan"):
        estimator(np.r_[np.nan, x[1:]], sx, y, sy)


@pytest.mark.parametrize(
    "estimator", [ivw, maximum_likelihood, lambda *d: ivw(*d, weights="delta"), lambda *d: ivw(*d, penalised=True)]
)
@pytest.mark.parametrize("effect", [0.0, 1e-12, 1e-5])
def test_a_variant_without_effect_on_the_exposure_says_next_to_nothing(estimator: Any, effect: float) -> None:
    x, sx, y, sy = simulated(11, 30)
    x[4] = effect
    found, without = estimator(x, sx, y, sy), estimator(*(np.delete(part, 4) for part in (x, sx, y, sy)))
    assert found.estimate == pytest.approx(without.estimate, abs=0.2 * without.se)
    assert found.se == pytest.approx(without.se, rel=0.2)


RATIOS: list[Any] = [
    *[lambda *d, w=w: weighted_median(*d, weighting=w) for w in ("simple", "weighted", "penalised")],
    *[lambda *d, w=w: mode(*d, weighting=w) for w in ("simple", "weighted")],
    contamination_mixture,
]


@pytest.mark.parametrize("estimator", RATIOS)
def test_a_variant_without_ratio_has_no_say(estimator: Any) -> None:
    """An infinite ratio of either sign: nothing to a mixture or a density, half a variant at either end of a median."""
    x, sx, y, sy = simulated(11, 30)
    x[[4, 7]] = 0
    some = np.delete(np.arange(30), [4, 7])
    assert estimator(x, sx, y, sy).estimate == estimator(x[some], sx[some], y[some], sy[some]).estimate
    if estimator is RATIOS[0]:  # half a variant at either end
        ratio = np.r_[y[some] / x[some], -1e9, 1e9]
        weight = np.r_[np.ones(28), 0.5, 0.5]
        order = np.argsort(ratio)
        reached = (weight[order].cumsum() - 0.5 * weight[order]) / weight.sum()
        assert estimator(x, sx, y, sy).estimate == pytest.approx(np.interp(0.5, reached, ratio[order]))
    with pytest.raises(InputError, match=r"beta_exposure is 0 for 28 of 30 variants.* needs at least 3 others"):
        estimator(np.r_[1.0, 2.0, np.zeros(28)], sx, y, sy)


@pytest.mark.parametrize("loss", ["l2", "huber", "tukey"])
@pytest.mark.parametrize("over_dispersion", [True, False])
def test_raps_takes_an_effect_of_zero_as_any_other(loss: str, over_dispersion: bool) -> None:
    x, sx, y, sy = simulated(11, 30)
    found = []
    for effect in (0.0, 1e-9):
        x[4] = effect
        found.append(raps(x, sx, y, sy, loss=loss, over_dispersion=over_dispersion))
    assert found[0].estimate == pytest.approx(found[1].estimate, abs=1e-6)
    assert found[0].se == pytest.approx(found[1].se, rel=1e-6)


@pytest.mark.parametrize("estimator", [*ALL, mode, presso])
def test_variants_none_of_which_acts_are_refused(estimator: Any) -> None:
    _, sx, y, sy = simulated(11, 30)
    with pytest.raises(InputError, match=r"is 0 for all variants|mean F is 1 or less"):
        estimator(np.zeros(30), sx, y, sy)
    with pytest.raises(InputError, match="variant 4 has no weight"):
        ivw(np.r_[np.ones(4), 0.0, np.ones(25)], sx, y, sy, correlation=np.eye(30), weights="delta")


@pytest.mark.parametrize("seed", [3, 37, 69, 127])
def test_tukeys_root_is_the_one_near_hubers(seed: int) -> None:
    """A fifth of the variants without effect make a root near 0, which is nearer to the median of weak instruments."""
    rng = np.random.default_rng(seed)
    gamma, sx, sy = rng.normal(0, 0.08, 40), np.full(40, 0.05), np.full(40, 0.01)
    x = rng.normal(gamma, sx)
    y = rng.normal(gamma, sy)
    y[:10] = rng.normal(0 * gamma[:10], 0.01)
    found = raps(x, sx, y, sy, loss="tukey", over_dispersion=False)
    assert found.estimate == pytest.approx(1, abs=0.1)
    assert found.roots == pytest.approx((0,), abs=0.12)
    median = weighted_median(x, sx, y, sy, iterations=2).estimate
    assert abs(found.roots[0] - median) < abs(found.estimate - median)


@pytest.mark.parametrize(
    ("correlation", "message"),
    [
        (2 * np.eye(10), r"correlation\[0, 0\] is 2, but correlations of a variant with itself are 1 \(10 of 100"),
        (np.eye(10) + 1.5 * np.eye(10, k=1) + 1.5 * np.eye(10, k=-1), r"\[0, 1\] is 1.5, but .* between -1 and 1"),
        (np.eye(10) + 0.2 * np.eye(10, k=1), r"\[0, 1\] is 0.2, but the matrix must be symmetric"),
        (np.where(np.eye(10, k=3) > 0, np.nan, np.eye(10)), r"\[0, 3\] is nan, which is not finite"),
        (np.eye(9), r"shape \(9, 9\)"),
    ],
)
def test_what_is_no_correlation_is_refused(correlation: Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ivw(*simulated(1, 10), correlation=correlation)


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        (weighted_median, {"iterations": 0}, "iterations=0 must be a whole number, two or more"),
        (weighted_median, {"iterations": 1}, "iterations=1 must be"),
        (mode, {"iterations": 0}, "iterations=0 must be"),
        (mode, {"iterations": 10.5}, "iterations=10.5 must be"),
        (mode, {"phi": -1}, "phi=-1 must be a finite number, above zero"),
        (mode, {"phi": 0}, "phi=0 must be"),
        (mode, {"seed": -1}, "seed"),
        (weighted_median, {"seed": -1}, "seed"),
        (presso, {"seed": -1}, "seed"),
        (presso, {"iterations": 10}, "iterations=10 cannot"),
        (presso, {"significance": 1.5}, "significance=1.5 must lie between 0 and 1"),
        (contamination_mixture, {"psi": -1}, "psi=-1 must be a finite number, not below zero"),
        (pivw, {"penalty": -1}, "penalty=-1 must be"),
        (ivw, {"distribution": "cauchy"}, "distribution='cauchy' is not known; use one of normal, t"),
        (egger, {"distribution": "cauchy"}, "distribution='cauchy' is not known"),
        (maximum_likelihood, {"correlation": 1.0}, "correlation=1 must lie between -1 and 1"),
    ],
)
def test_options_out_of_range_are_refused(estimator: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        estimator(*simulated(1, 10), **options)


def test_data_that_leave_nothing_to_estimate_are_refused_or_fitted() -> None:
    x, sx, y, sy = simulated(1, 10)
    with pytest.raises(InputError, match=r"beta_exposure is 0\.3 in size for all variants: no slope"):
        egger(np.r_[np.full(5, 0.3), np.full(5, -0.3)], sx, y, sy)
    exact = ivw(x, sx, 2 * x, sy, robust=True)
    assert exact.estimate == pytest.approx(2)
    assert exact.se == pytest.approx(float((x**2 / sy**2).sum() ** -0.5))
    assert egger(x, sx, 0.1 * np.sign(x) + 2 * x, sy, robust=True).intercept == pytest.approx(0.1)
    outliers = 2 * x
    outliers[:3] += 5
    assert ivw(x, sx, outliers, sy, robust=True).estimate == pytest.approx(2)
    same = mode([0.1, 0.2, 0.3], [0.01] * 3, [0.2, 0.4, 0.6], [0.01] * 3, iterations=100)
    assert same.estimate == pytest.approx(2)
    assert same.bandwidth == 0
    assert same.se > 0
    assert raps(x, sx, np.zeros(10), sy).estimate == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="q_profile: one effect has no heterogeneity"):
        q_profile([1], [1])
    with pytest.raises(InputError, match="Give psi"):
        contamination_mixture(x, sx, np.zeros(10), sy)


def test_maximum_likelihood_says_where_pleiotropy_takes_it_from_zero() -> None:
    """2,000 weak instruments with balanced pleiotropy: at .5 it says more, as it warns."""
    rng = np.random.default_rng(0)
    gamma, se = rng.normal(0, 0.1, 2000), np.full(2000, 0.05)
    x, y = rng.normal(gamma, se), rng.normal(0.5 * gamma + rng.normal(0, 0.1, 2000), se)
    with pytest.warns(HeterogeneityWarning, match=r"on 1999 degrees of freedom.*too far from zero.*RAPS"):
        found = maximum_likelihood(x, se, y, se)
    assert found.estimate > 0.6
    assert raps(x, se, y, se, loss="l2").estimate == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("method", ["DL", "HE", "HS", "SJ"])
def test_moment_estimators_standard_errors_are_those_of_quadratic_forms(method: str) -> None:
    """By matrices: the estimate is y'Ay / c but for a constant, its variance 2 tr(AVAV) / c²."""
    rng = np.random.default_rng(3)
    v = rng.gamma(2, size=15)
    y = rng.normal(0, np.sqrt(v + 2))
    found = meta_analysis(y, v, method)
    if method == "HE":
        A, c = np.eye(15) - 1 / 15, 14.0
    elif method == "SJ":
        a = 1 / (v / ((y - y.mean()) ** 2).mean() + 1)
        A, c = np.diag(a) - np.outer(a, a) / a.sum(), 14.0
    else:
        A = np.diag(1 / v) - np.outer(1 / v, 1 / v) / (1 / v).sum()
        c = float((1 / v).sum()) if method == "HS" else float(np.trace(A))
    AV = A @ np.diag(v + found.tau2)
    assert found.tau2_se == pytest.approx(np.sqrt(2 * np.trace(AV @ AV)) / c, rel=1e-12)


def test_meta_analysis_of_many_effects_takes_no_square_of_them() -> None:
    rng = np.random.default_rng(3)
    v = rng.gamma(2, size=200_000)  # a matrix of which would be of 320 GB
    assert meta_analysis(rng.normal(0, np.sqrt(v + 2)), v, "DL").tau2 == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e5])
@pytest.mark.parametrize("seed", range(3))
def test_paule_mandels_root_is_exact(unit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    v = unit**2 * rng.gamma(1, size=12)
    y = rng.normal(0, np.sqrt(v + 3 * unit**2))
    tau2 = meta_analysis(y, v, "PM").tau2
    w = 1 / (v + tau2)
    q = float((w * (y - (w * y).sum() / w.sum()) ** 2).sum())
    slope = float((w**2 * (y - (w * y).sum() / w.sum()) ** 2).sum())
    assert tau2 > 0
    assert abs(q - 11) / slope < 1e-10 * tau2


def test_other_bad_input() -> None:
    x, sx, y, sy = simulated(1, 10)
    with pytest.raises(InputError, match="weights='best' is not known; use one of simple, delta"):
        ivw(x, sx, y, sy, weights="best")
    with pytest.raises(InputError, match="Prune"):
        ivw(x, sx, y, sy, correlation=np.ones((10, 10)))
    with pytest.raises(InputError, match="mean F"):
        divw(np.full(10, 0.001), sx, y, sy)
    with pytest.raises(InputError, match=r"effect 1 is 2 with variance 0"):
        meta_analysis([1, 2], [1, 0])
    with pytest.raises(InputError, match="one effect"):
        meta_analysis([1], [1])
    with pytest.raises(InputError, match=r"covariance\[0\] is 0.5, but must be below .* \(10 of 10 are not\)"):
        divw(x, sx, y, sy, covariance=0.5)
    with pytest.raises(InputError, match=r"covariance has shape \(3,\)"):
        maximum_likelihood(x, sx, y, sy, covariance=[0, 0, 0])
    with pytest.raises(InputError, match=r"an outlier among 10 variants: .* 0\.099, .* iterations=200 or"):
        presso(x, sx, y, sy, iterations=100)
    with pytest.raises(InputError, match="no majority"):
        presso(x, sx / 1e3, np.r_[y[:5] + 9, y[5:] - 9], sy / 1e3, iterations=200)


def test_options_that_are_no_numbers_and_estimates_of_zero() -> None:
    x, se = np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.full(5, 0.01)
    for estimator, options in (
        (ivw, {"level": "a"}), (ivw, {"correlation": "x"}), (mode, {"phi": "x"}), (presso, {"iterations": 2.5e3}),
        (presso, {"significance": None}), (maximum_likelihood, {"correlation": "x"}),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"{next(iter(options))}.* (must|is to) be|must lie"):
            estimator(x, se, x, se, **options)
    with pytest.raises(InputError, match="beta_exposure is to be numbers"):
        ivw(["a", "b", "c"], se[:3], x[:3], se[:3])
    none = presso(x, se, np.zeros(5), se, iterations=200)
    assert (none.estimate, none.distortion) == (0.0, 0.0)


def test_tukeys_loss_finds_the_root_beside_a_gross_outlier() -> None:
    x, sx, y, sy = simulated(3)
    clean = raps(x, sx, y, sy, loss="tukey").estimate
    far = raps(x, sx, np.r_[1e3, y[1:]], sy, loss="tukey")
    assert abs(far.estimate - clean) < 0.1


@pytest.mark.filterwarnings("ignore::genarium.models.mendelian_randomization.profiled.HeterogeneityWarning")
@pytest.mark.parametrize("seed", range(20))
def test_maximum_likelihood_of_equal_errors_is_total_least_squares(seed: int) -> None:
    """However far the variants disagree: with X = x / s_x, Y = y / s_y the slope is that of their principal axis."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 0.1, 4), rng.normal(0, [0.02, 1.0][seed % 2], 4)
    a, b, c = (x @ x) / 0.02**2, (y @ y) / 0.01**2, (x @ y) / (0.02 * 0.01)
    slope = (b - a + np.hypot(b - a, 2 * c)) / (2 * c) * 0.01 / 0.02
    found = maximum_likelihood(x, np.full(4, 0.02), y, np.full(4, 0.01))
    assert found.estimate == pytest.approx(slope, rel=1e-6)


def test_effects_as_strong_as_their_outcomes_errors_have_no_spread() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    found = egger(x, x / 8, 0.3 * x + [0.01, 0, 0.02, 0], x)
    assert found.i2_gx == 0


def test_what_is_masked_is_missing() -> None:
    x = np.ma.array([0.1, 0.2, 9.0], mask=[False, False, True])
    with pytest.raises(InputError, match=r"beta_exposure\[2\] is nan"):
        ivw(x, [0.01] * 3, [0.1, 0.2, 0.3], [0.01] * 3)
    with pytest.raises(InputError, match="effect 2 is nan"):
        meta_analysis(x, [0.01] * 3)


@pytest.mark.parametrize("method", ["FE", "DL", "ML", "REML", "PM"])
@pytest.mark.parametrize(("y", "v"), [([1.0, 2.0], [1e-300, 1e300]), ([1e200, 3e200], [1e20, 1e20])])
def test_effects_that_no_computer_holds_are_refused_by_meta_analysis(
    method: str, y: list[float], v: list[float]
) -> None:
    with pytest.raises(InputError, match="whose powers no computer holds"):
        meta_analysis(y, v, method)
    with pytest.raises(InputError, match="whose powers no computer holds"):
        q_profile(y, v)
