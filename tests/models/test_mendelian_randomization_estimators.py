"""The classical estimators against published digits, loops, closed forms and other optimisers."""

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from effect_problems import ALL, Data, simulated
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


def read(name: str) -> Data:
    table = np.genfromtxt(MR / f"mr_{name}.csv", delimiter=",", skip_header=1)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


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
    """Its 2,000 bootstrap samples included; of one core, with room for a busy machine."""
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
