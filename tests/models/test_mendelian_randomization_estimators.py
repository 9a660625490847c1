"""The classical estimators against published digits, loops, closed forms and other optimisers."""

import csv
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.mendelian_randomization import (
    contamination_mixture,
    divw,
    egger,
    ivw,
    leave_one_out,
    maximum_likelihood,
    meta_analysis,
    mode,
    pivw,
    presso,
    q_profile,
    raps,
    weighted_median,
)
from genarium.models.mendelian_randomization.modes import highest
from genarium.models.mendelian_randomization.profiled import HeterogeneityWarning
from genarium.models.mendelian_randomization.robust import mm_regression

SHARED = Path(__file__).parents[3] / "shared" / "data"
MR, META = SHARED / "mr", SHARED / "meta"
needs_data = [
    pytest.mark.data,
    pytest.mark.skipif(not MR.is_dir(), reason="the summary statistics are not part of the repository"),
]
Data = tuple[Array, Array, Array, Array]
ALL = (ivw, egger, weighted_median, maximum_likelihood, divw, pivw, raps, contamination_mixture)


def read(name: str) -> Data:
    table = np.genfromtxt(MR / f"mr_{name}.csv", delimiter=",", skip_header=1)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def simulated(seed: int, J: int = 60, theta: float = 0.5, strength: float = 5.0) -> Data:
    rng = np.random.default_rng(seed)
    sx, sy = rng.uniform(0.02, 0.05, (2, J))
    gamma = rng.normal(0, strength * 0.035, J)
    return rng.normal(gamma, sx), sx, rng.normal(theta * gamma, sy), sy


# Digits of the packages in use


@pytest.fixture(scope="module")
def ldl() -> Data:
    return read("ldl_chd")


PRINTED: list[tuple[Any, dict[str, Any], dict[str, float]]] = [
    (ivw, {"model": "fixed"}, {"estimate": 2.834213938878889, "se": 0.27594052505723, "Q": 99.530425548499}),
    (ivw, {}, {"estimate": 2.834213938878889, "se": 0.52979948855643, "residual_se": 1.9199770981321,
               "mean_f": 28.009311022028}),
    (ivw, {"model": "fixed", "weights": "delta"}, {"estimate": 2.664585826660298, "se": 0.30060956468721}),
    (ivw, {"weights": "delta"}, {"se": 0.35306459724003, "Q_p": 0.090586762252831}),
    (ivw, {"distribution": "t"}, {"p_value": 1.1921066425175e-05}),
    (ivw, {"penalised": True}, {"estimate": 2.560914251116156, "se": 0.41280345505208}),
    (egger, {}, {"estimate": 3.252890131940809, "se": 0.77012916139398, "intercept": -0.01146066565129,
                 "intercept_se": 0.015188320519035, "intercept_p": 0.45050645128399, "residual_se": 1.9354735564008,
                 "Q": 97.397505075693, "i2_gx": 0.91936538831957}),
    (egger, {"distribution": "t"}, {"p_value": 2.6025291714804e-04, "intercept_p": 0.45728712000987}),
    (egger, {"penalised": True}, {"estimate": 3.420583113062072, "se": 0.53103842372101,
                                 "intercept": -0.021552396546678}),
    (weighted_median, {"weighting": "simple"}, {"estimate": 1.755138339920949}),
    (weighted_median, {}, {"estimate": 2.682883464898108}),
    (weighted_median, {"weighting": "penalised"}, {"estimate": 2.680929386353085}),
    (weighted_median, {"weighting": "penalised", "weights": "delta"}, {"estimate": 2.6769069875698}),
    (divw, {}, {"estimate": 2.939645902331064, "se": 0.53057757646338, "condition": 142.91984009496}),
    (divw, {"over_dispersion": False}, {"se": 0.30741396811225}),
    (pivw, {}, {"estimate": 2.931869723980099, "se": 0.52762192827506, "tau2": 0.0020022284432812}),
]  # fmt: skip


@needs_data[0]
@needs_data[1]
@pytest.mark.parametrize(("estimator", "options", "printed"), PRINTED)
def test_ldl_and_heart_disease_to_the_printed_digits(
    ldl: Data, estimator: Any, options: dict[str, Any], printed: dict[str, float]
) -> None:
    found = estimator(*ldl, **options)
    for name, value in printed.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6), name


@pytest.mark.slow
@needs_data[0]
@needs_data[1]
def test_ldl_and_heart_disease_where_digits_are_those_of_a_search(ldl: Data) -> None:
    """MM-estimates depend on random subsets and tolerances elsewhere; grids and tolerances set the other limits."""
    found = ivw(*ldl, robust=True)
    assert found.estimate == pytest.approx(2.796985219728545, abs=2e-3)
    assert found.se == pytest.approx(0.30696579221525, rel=0.02)
    tilted = egger(*ldl, robust=True)
    assert tilted.estimate == pytest.approx(3.256017011417376, abs=2e-2)
    mixed = contamination_mixture(*ldl)
    assert mixed.estimate == pytest.approx(2.73, abs=0.005)
    np.testing.assert_allclose(mixed.ci, (2.0, 3.43), atol=0.01)  # theirs is a grid of 0.01
    assert mixed.psi == pytest.approx(66.179045312678)
    assert mixed.valid == 22
    robust = raps(*ldl)
    assert robust.estimate == pytest.approx(2.7157, abs=5e-5)
    assert robust.se == pytest.approx(0.5180, abs=5e-5)
    assert mode(*ldl, iterations=100).estimate == pytest.approx(2.8223, abs=5e-5)


@needs_data[0]
@needs_data[1]
def test_bootstrap_errors_are_near_the_published_ones(ldl: Data) -> None:
    """Theirs are bootstraps too (of 10,000): relative error 1 / sqrt(20,000) either side, and a little for the seed."""
    for weighting, se in (
        ("simple", 0.73997605120404),
        ("weighted", 0.41890646975030),
        ("penalised", 0.42040725344038),
    ):
        assert weighted_median(*ldl, weighting=weighting).se == pytest.approx(se, rel=0.03)


@needs_data[0]
@needs_data[1]
def test_body_mass_and_heart_disease_and_itself() -> None:
    data = read("bmi_chd_twosamplemr")
    assert ivw(*data).estimate == pytest.approx(0.4459090969534, rel=1e-9)
    assert ivw(*data).se == pytest.approx(0.058983018762926, rel=1e-9)
    assert egger(*data).estimate == pytest.approx(0.50249350972973, rel=1e-9)
    assert weighted_median(*data, weights="delta").estimate == pytest.approx(0.38700648154445, rel=1e-9)
    with pytest.raises(InputError, match="weights='delta' would be dropped: used only with weighting='weighted'"):
        weighted_median(*data, weighting="simple", weights="delta")
    assert weighted_median(*data, weighting="simple").estimate == pytest.approx(0.39272357723577, rel=1e-9)
    assert weighted_median(*data, weighting="penalised", weights="delta").estimate == pytest.approx(0.38326301854123)
    with pytest.warns(HeterogeneityWarning):
        assert maximum_likelihood(*data).Q < 141.81866633495  # theirs stops before the maximum
    itself = read("bmi_bmi_mrraps")
    assert ivw(*itself).estimate == pytest.approx(0.928, abs=5e-4)
    assert raps(*itself).estimate == pytest.approx(1.0056, abs=5e-5)


@pytest.mark.slow
@needs_data[0]
@needs_data[1]
def test_raps_is_that_of_its_package_throughout() -> None:
    """All rows of mr.raps with shrinkage; its plain version has a spurious root at tau2 = 0 (card)."""
    with (MR / "mr_expected_mrraps_0.4.2_shrinkage.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["method"].startswith("raps_shrinkF")]
    assert len(rows) >= 15
    for row in rows:
        *_, dispersed, loss = row["method"].split("_")
        found = raps(*read(row["dataset"]), loss=loss, over_dispersion=dispersed == "odTRUE")
        assert found.estimate == pytest.approx(float(row["estimate"]), rel=1e-6), row
        assert found.tau2 == pytest.approx(float(row["extra"].split("=")[1]), rel=1e-4, abs=1e-12), row


@needs_data[0]
@needs_data[1]
def test_meta_analysis_is_metafor_throughout() -> None:
    files = {
        "bcg_logRR": "meta_bcg_logRR",
        "eight_schools": "meta_eight_schools",
        "deepmr_bpnet_Klf4_Nanog": "meta_deepmr_bpnet_Klf4_Nanog",
    }
    data = {n: np.genfromtxt(META / f"{f}.csv", delimiter=",", skip_header=1).T for n, f in files.items()}
    with (META / "meta_expected_metafor.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    seen = 0
    for row in rows:
        method = {"EE": "FE"}.get(row["method"], row["method"])
        y, v = data[row["dataset"]]
        found = meta_analysis(y, v, method, {"knha": "knapp-hartung"}.get(row["test"], "z"))
        ours = {
            "mu": found.mu, "se": found.se, "lo": found.ci[0], "hi": found.ci[1], "tau2": found.tau2,
            "se_tau2": found.tau2_se, "I2": found.I2, "H2": found.H2, "Q": found.Q,
            "pi_lo": found.prediction_interval[0], "pi_hi": found.prediction_interval[1],
        }  # fmt: skip
        for name, value in ours.items():
            if row[name] not in ("NA", "NULL"):
                # metafor stops iterating REML, ML and EB at 1e-5, and PM at 1e-4
                limit = 1e-3 if row["method"] == "PM" else 1e-5
                assert value == pytest.approx(float(row[name]), rel=limit, abs=1e-12), (row, name)
                seen += 1
    assert seen > 300


def test_bcg_by_hand() -> None:
    """The thirteen trials of the BCG vaccine (Colditz et al. 1994), log risk ratios."""
    y = [-0.889311333920205, -1.58538865720143, -1.34807314829969, -1.44155119002131, -0.217547322211296,
         -0.786115585818864, -1.62089822359839, 0.0119523335238405, -0.469417648738149, -1.37134480347278,
         -0.339358828338391, 0.445913400571379, -0.0173139482168798]  # fmt: skip
    v = [0.325584765003961, 0.194581121398144, 0.415367965367965, 0.0200100319022476, 0.0512101721696309,
         0.00690561845590876, 0.223017247572315, 0.00396157929781773, 0.056434210463249, 0.0730247936130289,
         0.0124122139715597, 0.532505845200153, 0.0714046596839863]  # fmt: skip
    dl, reml = meta_analysis(y, v, "DL"), meta_analysis(y, v)
    assert dl.tau2 == pytest.approx(0.3087603, abs=5e-7 / 5)
    assert dl.mu == pytest.approx(-0.7141172, abs=5e-8)
    assert reml.tau2 == pytest.approx(0.3132433, abs=5e-7)
    assert reml.mu == pytest.approx(-0.7145323, abs=5e-7)
    assert reml.se == pytest.approx(0.1797815, abs=5e-7)
    np.testing.assert_allclose(reml.ci, (-1.0669, -0.3622), atol=5e-5)
    assert meta_analysis(y, v, test="knapp-hartung").se == pytest.approx(0.1807917, abs=5e-7)
    low, high = q_profile(y, v)
    assert low < reml.tau2 < high
    w = 1 / (np.array(v) + low)
    mean = (w * y).sum() / w.sum()
    assert (w * (np.array(y) - mean) ** 2).sum() == pytest.approx(stats.chi2.ppf(0.975, 12), rel=1e-9)


# Naive references


@pytest.mark.parametrize("seed", range(3))
def test_ivw_and_egger_are_weighted_least_squares(seed: int) -> None:
    x, sx, y, sy = simulated(seed)
    w = np.diag(sy**-2.0)
    X = x[:, None]
    assert ivw(x, sx, y, sy).estimate == pytest.approx(float(np.linalg.solve(X.T @ w @ X, X.T @ w @ y)[0]), rel=1e-12)
    sign = np.sign(x)
    X = np.column_stack([np.ones(len(x)), x * sign])
    a, b = np.linalg.solve(X.T @ w @ X, X.T @ w @ (y * sign))
    found = egger(x, sx, y, sy)
    assert found.intercept == pytest.approx(a, rel=1e-10)
    assert found.estimate == pytest.approx(b, rel=1e-10)


def test_correlated_variants_are_generalised_least_squares() -> None:
    x, sx, y, sy = simulated(3, 12)
    rho = 0.6 ** np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    omega = np.linalg.inv(rho * np.outer(sy, sy))
    found = ivw(x, sx, y, sy, correlation=rho, model="fixed")
    assert found.estimate == pytest.approx(x @ omega @ y / (x @ omega @ x), rel=1e-10)
    assert found.se == pytest.approx((x @ omega @ x) ** -0.5, rel=1e-10)


@needs_data[0]
@needs_data[1]
def test_maximum_likelihood_is_higher_than_where_another_search_stops(ldl: Data) -> None:
    x, sx, y, sy = ldl

    def deviance(theta: float) -> float:
        gamma = (x / sx**2 + theta * y / sy**2) / (1 / sx**2 + theta**2 / sy**2)
        return float((((x - gamma) / sx) ** 2 + ((y - theta * gamma) / sy) ** 2).sum())

    with pytest.warns(HeterogeneityWarning):
        found = maximum_likelihood(x, sx, y, sy)
    assert pytest.approx(deviance(found.estimate), rel=1e-12) == found.Q
    assert found.estimate == pytest.approx(3.17327, abs=5e-6)
    assert deviance(3.224944175459143) > found.Q
    best = optimize.minimize_scalar(deviance, bounds=(1, 6), method="bounded", options={"xatol": 1e-12})
    assert found.estimate == pytest.approx(float(best.x), abs=1e-5)


@pytest.mark.parametrize("estimator", [divw, pivw, pytest.param(maximum_likelihood, marks=pytest.mark.slow)])
def test_overlapping_samples_are_allowed_for(estimator: Any) -> None:
    """300 data sets with errors correlated by 0.7 and a mean F of 5: no bias, and standard errors that are right."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        gamma, se = rng.normal(0, 0.2, 60), np.full(60, 0.1)
        x, y = np.stack([gamma, 0.3 * gamma]) + 0.1 * rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 60).T
        one = estimator(x, se, y, se, covariance=0.007)
        found.append((one.estimate, one.se))
        if estimator is maximum_likelihood:
            assert one.estimate == pytest.approx(estimator(x, se, y, se, correlation=0.7).estimate, rel=1e-9)
    estimate, se = np.array(found).T
    assert estimate.mean() == pytest.approx(0.3, abs=4 * estimate.std() / np.sqrt(300))
    assert np.sqrt((se**2).mean()) == pytest.approx(estimate.std(), rel=0.15)


@pytest.mark.parametrize("seed", range(4))
def test_raps_without_robustness_maximises_the_profile_likelihood(seed: int) -> None:
    x, sx, y, sy = simulated(seed)

    def loss(b: float) -> float:
        return float(((y - b * x) ** 2 / (sy**2 + (b * sx) ** 2)).sum())

    best = optimize.minimize_scalar(loss, bounds=(-2, 3), method="bounded", options={"xatol": 1e-12})
    found = raps(x, sx, y, sy, loss="l2", over_dispersion=False)
    assert found.estimate == pytest.approx(float(best.x), abs=1e-6)


def test_weighted_median_by_hand() -> None:
    # ratios 1, 2, 4 with weights 1, 1, 2: mid-weights 1/8, 3/8, 3/4, so that half is reached at 2 + 2 / 3
    found = weighted_median([1, 1, 1], [0.1] * 3, [1, 2, 4], [1, 1, 0.5**0.5], iterations=10)
    assert found.estimate == pytest.approx(2 + 2 / 3)


def test_contamination_mixture_is_the_best_of_a_fine_grid() -> None:
    x, sx, y, sy = simulated(5, 30)
    y[:8] += 0.3
    found = contamination_mixture(x, sx, y, sy)
    ratio, se = y / x, np.abs(sy / x)
    spread = np.sqrt(found.psi**2 + se**2)
    grid = found.estimate + np.linspace(-1, 1, 4001)
    heights = [np.maximum(stats.norm.logpdf(ratio, t, se), stats.norm.logpdf(ratio, 0, spread)).sum() for t in grid]
    assert found.estimate == pytest.approx(grid[int(np.argmax(heights))], abs=6e-4)


def test_contamination_mixture_of_weak_evidence_rules_nothing_out() -> None:
    found = contamination_mixture([0.1] * 3, [0.03] * 3, [0.01, -0.02, 0.015], [0.1] * 3)
    assert found.intervals == ((-np.inf, np.inf),)
    assert found.ci == (-np.inf, np.inf)
    assert found.se == np.inf
    assert 0.05 < found.p_value <= 1


def test_mode_is_the_highest_point_of_the_density() -> None:
    x, sx, y, sy = simulated(6, 40)
    found = mode(x, sx, y, sy, weights="simple", iterations=10)
    ratio, weight = y / x, (x / sy) ** 2

    def density(t: float) -> float:
        return float((weight * stats.norm.pdf(t, ratio, found.bandwidth)).sum())

    grid = np.linspace(ratio.min(), ratio.max(), 20_001)
    top = max(density(float(t)) for t in grid[:: max(1, len(grid) // 4000)])
    assert density(found.estimate) >= top


@pytest.mark.parametrize("seed", range(12))
def test_mode_is_the_best_of_climbs_from_every_ratio(seed: int) -> None:
    rng = np.random.default_rng(seed)
    J = int(rng.integers(3, 80))
    ratio = np.concatenate([rng.normal(0, 0.3, J), rng.normal(1, 0.3, J // 2), 20 * rng.normal(size=2)])
    weight = rng.gamma(0.5, size=len(ratio))
    (found,), (h,) = highest(ratio[None], weight, 0.7)
    at = ratio.copy()
    for _ in range(3000):
        kernel = weight * np.exp(-0.5 * ((at[:, None] - ratio) / h) ** 2)
        at = kernel @ ratio / kernel.sum(1)
    height = (weight * np.exp(-0.5 * ((at[:, None] - ratio) / h) ** 2)).sum(1)
    assert found == pytest.approx(at[height.argmax()], abs=1e-4 * h)


def test_mode_of_a_thousand_variants_takes_a_second() -> None:
    """Its 2,000 bootstrap samples included; of one core, with room for a busy machine (it was sixteen seconds)."""
    data = simulated(1, 1000, strength=1.0)
    mode(*data, iterations=2)
    begin = time.process_time()
    mode(*data)
    assert time.process_time() - begin < 4


@pytest.mark.parametrize("level", [95, 0, 1, -0.5])
def test_a_level_that_is_no_proportion_is_refused(level: float) -> None:
    data = simulated(1, 10)
    for estimator in (*ALL, mode, presso):
        few: Any = {"iterations": 300} if estimator in (weighted_median, mode, presso) else {}
        with pytest.raises(InputError, match=f"level={level:g} must lie between 0 and 1. Use 0.95"):
            estimator(*data, level=level, **few)
    for function in (meta_analysis, q_profile):
        with pytest.raises(InputError, match="must lie between 0 and 1"):
            function([1.0, 2.0], [1.0, 1.0], level=level)


@pytest.mark.slow
def test_robust_standard_errors_follow_the_model() -> None:
    """Residuals twice or half as large as said: fixed effects say what the errors say, random ones at least that."""
    x, sx, y, sy = simulated(2, 400)
    plain = ivw(x, sx, y, sy, model="fixed").se
    for factor in (0.5, 2.0):
        fixed, random = (ivw(x, sx, y, factor * sy, robust=True, model=m).se for m in ("fixed", "random"))
        scale = ivw(x, sx, y, factor * sy, robust=True).residual_se
        assert fixed == pytest.approx(factor * plain, rel=0.15)
        assert random == pytest.approx(fixed * max(1, scale), rel=1e-9)


@pytest.mark.parametrize("method", ["FE", "DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM"])
@pytest.mark.parametrize("test", ["z", "knapp-hartung"])
def test_meta_analysis_of_equal_effects_and_of_any_unit(method: str, test: str) -> None:
    same = meta_analysis([0.5, 0.5, 0.5], [0.1, 0.2, 0.3], method, test)
    assert same.mu == pytest.approx(0.5)
    assert same.tau2 == 0
    assert same.se == pytest.approx(0 if test == "knapp-hartung" else (1 / 0.1 + 1 / 0.2 + 1 / 0.3) ** -0.5, abs=1e-12)
    assert 0 <= same.p_value < 0.05 if test == "knapp-hartung" else same.p_value > 0.01
    y, v = np.array([0.1, 0.9, -0.7, 0.4]), np.array([0.02, 0.03, 0.05, 0.01])
    for unit in (1e-8, 1e6):
        small, plain = meta_analysis(unit * y, unit**2 * v, method, test), meta_analysis(y, v, method, test)
        assert small.tau2 == pytest.approx(unit**2 * plain.tau2, rel=1e-9)
        assert small.ci == pytest.approx([unit * end for end in plain.ci], rel=1e-9)
        assert q_profile(unit * y, unit**2 * v) == pytest.approx([unit**2 * t for t in q_profile(y, v)], rel=1e-9)


def test_mm_regression_has_a_high_breakdown_point() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=80)
    y = 2 * x + 0.1 * rng.normal(size=80)
    y[:30] += 50
    coefficient, covariance, _ = mm_regression(x[:, None], y)
    assert coefficient[0] == pytest.approx(2, abs=5 * float(covariance[0, 0]) ** 0.5)
    assert covariance[0, 0] ** 0.5 < 0.05


def test_presso_finds_the_outlier_and_says_what_it_did() -> None:
    x, sx, y, sy = simulated(7, 30)
    j = int(np.argsort(np.abs(x))[15])
    y[j] += 15 * sy[j]
    found = presso(x, sx, y, sy, iterations=3000)
    assert found.outliers == (j,)
    keep = np.arange(30) != j
    assert found.estimate == ivw(x[keep], sx[keep], y[keep], sy[keep]).estimate
    assert found.global_p < 0.01
    clean = presso(*simulated(8, 30), iterations=2000)
    assert not clean.outliers
    assert np.isnan(clean.distortion_p)


@pytest.mark.slow
def test_distortion_by_presso_is_told_from_none() -> None:
    """Against resamples with the outliers: strong ones on strong variants distort, balanced ones do not."""
    x, sx, y, sy = simulated(7, 40)
    top = np.argsort(-np.abs(x))[:4]
    p = {}
    for name, direction in (("one", [1, 1, 1, 1]), ("balanced", [1, -1, 1, -1])):
        moved = y.copy()
        moved[top] += 12 * sy[top] * np.sign(x[top]) * direction
        found = presso(x, sx, moved, sy, iterations=2000)
        out = np.array(found.outliers)
        assert set(top) <= set(out)
        p[name] = found.distortion_p
        # the null distribution by loops: outliers, and others drawn with replacement to make up the number kept
        keep = np.setdiff1d(np.arange(40), out)
        rng, beyond = np.random.default_rng(5), 0
        for _ in range(2000):
            some = np.r_[out, rng.choice(keep, len(keep) - len(out))]
            slope = ivw(x[some], sx[some], moved[some], sy[some]).estimate
            beyond += abs((found.with_outliers - slope) / slope) > abs(found.distortion)
        assert found.distortion_p == pytest.approx(beyond / 2000, abs=0.06)
    assert p["one"] < 0.05
    assert p["balanced"] > 0.1


def test_leave_one_out_leaves_one_out() -> None:
    data = simulated(9, 10)
    found = leave_one_out(*data, estimator=egger)
    assert found[3] == egger(*(np.delete(part, 3) for part in data))


@pytest.mark.parametrize("estimator", [divw, pivw, raps, maximum_likelihood])
def test_weak_instruments_do_not_attenuate(estimator: Any) -> None:
    """Mean F near 2, 2000 variants: IVW is at half the effect, the others within four standard errors."""
    data = simulated(10, 2000, theta=0.8, strength=1.0)
    assert ivw(*data).mean_f == pytest.approx(2.0, abs=0.2)
    assert ivw(*data).estimate < 0.5
    found = estimator(*data)
    assert found.estimate == pytest.approx(0.8, abs=4 * found.se)
    assert found.se < 0.1


# What holds of all


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
