"""The generative model against naive references: densities by quadrature and loops, its controls, what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import genarium as gn
from effect_problems import NAME, problem_of, simulate, truth
from genarium import InputError
from genarium.calibration.plan import Plan
from genarium.calibration.replicate import simulate as replicate
from genarium.declaration import Array, Problem
from genarium.found import short
from genarium.models.mendelian_randomization import likelihood, raps

MR = Path(__file__).parents[3] / "shared" / "data" / "mr"

needs_data = pytest.mark.skipif(not MR.is_dir(), reason="the summary statistics are not part of the repository")

# The story and its densities


@pytest.mark.slow
def test_density_of_a_pair_is_the_integral_over_true_effect_and_pleiotropy() -> None:
    """Equation 4 against a two-dimensional quadrature of equation 1."""
    theta, alpha, sigma, omega, mu, share = 0.7, 0.2, 0.8, 0.4, 0.3, 0.6
    x, y, sx, sy, c = 0.9, -0.3, 0.5, 0.6, 0.1
    errors = stats.multivariate_normal([0, 0], [[sx**2, c], [c, sy**2]])

    def joint(a: float, gamma: float) -> float:
        known = errors.pdf([x - gamma, y - theta * gamma - alpha - a])
        own = share * stats.norm.pdf(gamma, mu, sigma) + (1 - share) * stats.norm.pdf(gamma, mu, sigma / 10)
        return float(known * own * stats.norm.pdf(a, 0, omega))

    parts = [integrate.dblquad(joint, a, b, -2.5, 2.5, epsabs=1e-9)[0] for a, b in ((-5, 0), (0, 0.6), (0.6, 5))]
    given = (*one(theta, alpha, sigma, omega, share, x, y, sx, sy, c), np.array(mu), np.array(1))
    found = likelihood.log_likelihood(*given)
    assert found[0] == pytest.approx(np.log(sum(parts)), abs=1e-6)


def one(
    theta: float, alpha: float, sigma: float, omega: float, share: float, x: float, y: float, sx: float, sy: float,
    c: float
) -> tuple[Any, ...]:  # fmt: skip
    """What the likelihood of one variant in one region takes, but for the mean effect and whether signs are given."""
    data = (np.array([v]) for v in (x, y, sx, sy, c))
    return (np.array([theta]), np.array([alpha]), *(np.array(v) for v in (sigma, omega, share)), *data, np.array([0]))


def test_sign_of_the_true_effect_is_summed_out() -> None:
    """The same where alleles are coded anyhow: pleiotropy is directed by the sign of the true effect."""
    theta, alpha, sigma, omega, share = 0.7, 0.5, 0.8, 0.4, 0.6
    x, y, sx, sy, c = 0.3, -0.4, 0.5, 0.6, 0.1
    errors = stats.multivariate_normal([0, 0], [[sx**2, c], [c, sy**2 + omega**2]])

    def joint(gamma: float) -> float:
        own = share * stats.norm.pdf(gamma, 0, sigma) + (1 - share) * stats.norm.pdf(gamma, 0, sigma / 10)
        return float(errors.pdf([x - gamma, y - theta * gamma - np.sign(gamma) * alpha]) * own)

    exact = sum(integrate.quad(joint, a, b, epsabs=1e-10)[0] for a, b in ((-6, -0.5), (-0.5, 0), (0, 0.5), (0.5, 6)))
    given: Any = one(theta, alpha, sigma, omega, share, x, y, sx, sy, c)
    found = likelihood.log_likelihood(*(*given, np.array(0.0), np.array(0)))
    assert found[0] == pytest.approx(np.log(exact), abs=1e-8)


def test_one_pass_over_the_density_is_that_by_arrays() -> None:
    """Far out, too, where the chance of a sign is next to nothing."""
    rng = np.random.default_rng(0)
    D, J = 40, 30
    slope, alpha = rng.normal(0, 3, (2, D, 1))
    sd, omega = rng.lognormal(0, 2, (2, D))
    share = rng.uniform(size=D)
    x, y = rng.normal(0, 5, (2, J))
    sx, sy = rng.lognormal(-1, 0.5, (2, J))
    c, region = 0.4 * sx * sy, np.zeros(J, dtype=int)
    given = x, y, sx, sy, c, region, np.array(0.0), np.array(0)
    fast = likelihood.log_likelihood(slope, alpha, sd, omega, share, *given)
    errors = sx**2, sy**2 + omega[:, None] ** 2, c
    slow = likelihood.spread(slope, alpha, sd[:, None], share[:, None], x, y, 0.0, *errors, False)
    np.testing.assert_allclose(fast, slow, rtol=1e-9)


def test_mixture_is_the_sum_over_who_is_confounded() -> None:
    problem = problem_of(2, correlated_pleiotropy="mixture")
    at = truth(2, correlated_pleiotropy="mixture")
    unknown = {name: at[name] for name in problem.model.unknown.variables}
    found = problem.call(likelihood.mixture_log_likelihood, **unknown)
    shifted = {**unknown, "theta": unknown["theta"] + unknown["confounded_effect"]}
    parts = [problem.call(likelihood.log_likelihood, **each) for each in (unknown, shifted)]
    q = float(unknown["confounded_share"])
    np.testing.assert_allclose(found, np.log((1 - q) * np.exp(parts[0]) + q * np.exp(parts[1])), rtol=1e-10)


def test_prior_is_that_of_scipy() -> None:
    problem = problem_of(3, correlated_pleiotropy="mixture", exposure_scale=0.3, outcome_scale=2.0)
    at = truth(3, correlated_pleiotropy="mixture", exposure_scale=0.3, outcome_scale=2.0)
    unknown = {name: at[name] for name in problem.model.unknown.variables}
    R, alpha = 2.0 / 0.3, at["intercept"]
    expected = (
        stats.norm(0, R).logpdf(at["global_effect"])
        + stats.halfnorm(0, R / 2).logpdf(at["heterogeneity"])
        + stats.norm(at["global_effect"], at["heterogeneity"]).logpdf(at["theta"]).sum()
        + np.log(0.8 * stats.norm(0, 0.1).pdf(alpha) + 0.2 * stats.norm(0, 0.6).pdf(alpha)).sum()
        + stats.halfnorm(0, 0.3).logpdf(at["exposure_sd"])
        + stats.halfnorm(0, 1.0).logpdf(at["pleiotropy_sd"])
        + stats.beta(1, 10).logpdf(at["confounded_share"])
        + stats.norm(0, R).logpdf(at["confounded_effect"])
    )
    assert float(problem.call(likelihood.mixture_log_prior, **unknown)) == pytest.approx(float(expected), rel=1e-10)


def test_errors_of_a_simulation_have_the_covariance_it_says() -> None:
    tree = simulate(4, variant=40_000, theta=np.full(4, 0.5))
    hidden, data = tree["truth"], tree["observed_data"]
    ex = (data["beta_exposure"] - hidden["gamma"]).to_numpy()
    theta, alpha = hidden["theta"].to_numpy(), hidden["intercept"].to_numpy()
    region = tree["constant_data"]["region"].to_numpy()
    sign = np.sign(hidden["gamma"].to_numpy())
    ey = (
        (data["beta_outcome"] - hidden["pleiotropy"]).to_numpy()
        - theta[region] * hidden["gamma"].to_numpy()
        - sign * alpha[region]
    )
    known = tree["constant_data"]
    scaled = ex * ey - known["error_covariance"].to_numpy()
    assert abs(scaled.mean()) < 4 * scaled.std() / 200
    for e, se in ((ex, "se_exposure"), (ey, "se_outcome")):
        assert ((e / known[se].to_numpy()) ** 2).mean() == pytest.approx(1, abs=4 * np.sqrt(2 / 40_000))


@pytest.mark.parametrize("option", ["none", "mixture"])
def test_the_other_allele_of_any_variant_changes_nothing(option: str) -> None:
    """Under directional pleiotropy; but where signs are said to mean something they do."""
    tree = simulate(4, variant=60, region=3, intercept=np.full(3, 0.5), correlated_pleiotropy=option)
    at = {
        name: tree["truth"][name].to_numpy()
        for name in gn.get(NAME).variant(correlated_pleiotropy=option).unknown.variables
    }
    known = {name: value.to_numpy() for name, value in tree["constant_data"].items() if not name.endswith("scale")}
    flip = np.where(np.random.default_rng(0).uniform(size=60) < 0.5, -1.0, 1.0)
    x, y = (tree["observed_data"][name].to_numpy() for name in ("beta_exposure", "beta_outcome"))
    density = likelihood.mixture_log_likelihood if option == "mixture" else likelihood.log_likelihood
    some = {name: at[name] for name in at if name not in ("global_effect", "heterogeneity")}
    for given in (0, 1):
        known["signs_given"] = np.asarray(given)
        plain = density(**some, **known, beta_exposure=x, beta_outcome=y)
        moved = density(**some, **known, beta_exposure=flip * x, beta_outcome=flip * y)
        assert np.allclose(plain, moved, rtol=1e-12) is (given == 0)


def test_a_mean_of_effects_of_arbitrary_signs_is_refused() -> None:
    with pytest.raises(InputError, match=r"'exposure_mean' is 0\.5, but .* give signs_given as 1"):
        gn.fit(NAME, simulate(4, variant=20, region=2), "gibbs", exposure_mean=0.5, draws=2, tune=2, chains=1)


def test_statistics_of_wild_replicates_do_not_overflow() -> None:
    one = np.ones(3)
    found = likelihood.statistics(1e200 * one, 1e200 * one, one, 0.1 * one)
    assert found["ivw"] == pytest.approx(1)
    assert found["mean_f"] == np.inf
    likelihood.statistics(np.zeros(3), one, one, one)


# Validation


def test_negative_control_simulates_a_confounder() -> None:
    """The default model is fitted to data of the mixture; a setting that simulation and fit share is the fit's too."""
    control = gn.get(NAME).calibration.control
    plan = Plan(NAME, "gibbs", {"variant": 120, "region": 6}, seed=1, wrong=control)
    plain = Plan(NAME, "gibbs", {"variant": 120, "region": 6}, seed=1)
    for index in range(5):
        one = replicate(plan, index)
        assert isinstance(one.problem, Problem)
        assert one.problem.model.chosen == plain.declared.chosen
        assert set(one.truth) == set(plain.declared.unknown.variables)
        other = replicate(plain, index).problem
        assert isinstance(other, Problem)
        assert (one.problem["beta_outcome"] != other["beta_outcome"]).any()


@pytest.mark.slow
def test_a_confounder_is_rejected() -> None:
    """Data that violate InSIDE are told apart: the negative control of the default model."""
    found = gn.validate(NAME, "vi", 100, seed=1, control=True)
    assert not found.calibrated


def control_of_the_mixture() -> Plan:
    mixture = {"correlated_pleiotropy": "mixture", "variant": 120, "region": 6}
    wrong = gn.get(NAME).variant(correlated_pleiotropy="mixture").calibration.control
    return Plan(NAME, "gibbs", mixture, seed=1, wrong=wrong)


def test_negative_control_of_the_mixture_can_be_fitted() -> None:
    """A wrong value that the model refuses would tell nothing."""
    plan = control_of_the_mixture()
    for index in range(40):
        assert isinstance(replicate(plan, index).problem, Problem)


@pytest.mark.slow
def test_negative_control_of_the_mixture_makes_a_difference() -> None:
    """Ignored overlap moves the effect by more than its sd, whatever the data; which way depends on the effect."""
    plan = control_of_the_mixture()
    shifts = []
    for seed in range(12, 22):
        tree = simulate(seed, variant=600, region=2, exposure_sd=0.4, pleiotropy_sd=0.1)
        groups = ("constant_data", "observed_data")
        data = {str(n): v.to_numpy() for group in groups for n, v in tree[group].data_vars.items()}
        right, misled = (gn.fit(NAME, {**data, **wrong}, "vi", seed=1)["posterior"] for wrong in ({}, dict(plan.wrong)))
        shifts.append(
            float(misled["theta"].mean() - right["theta"].mean()) / float(right["theta"].mean("region").std())
        )
    assert np.sqrt(np.mean(np.square(shifts))) > 1
    assert np.median(np.abs(shifts)) > 1


# Bad input


def test_bad_input_is_refused() -> None:
    data = {
        "beta_exposure": [0.1, 0.2],
        "beta_outcome": [0.1, 0.1],
        "se_exposure": [0.1, 0.1],
        "se_outcome": [0.1, 0.1],
    }
    with pytest.raises(InputError, match=r"'error_covariance' \(variant\) at variant=1 is 0.5.*not correlations"):
        gn.fit(NAME, {**data, "error_covariance": [0, 0.5]}, "gibbs")
    with pytest.raises(InputError, match=r"'se_outcome'.*greater than zero"):
        gn.fit(NAME, {**data, "se_outcome": [0.1, 0.0]}, "gibbs")
    with pytest.raises(InputError, match="covariance='none' is not known"):
        gn.fit(NAME, data, "vi", covariance="none")
    with pytest.raises(InputError, match="unbounded where heterogeneity is zero"):
        gn.fit(NAME, data, "map")
    with pytest.raises(InputError, match="cannot hold global_effect fixed"):
        gn.fit(NAME, {**data, "global_effect": 0.0}, "gibbs")


# Controls


@pytest.mark.slow
@pytest.mark.data
@needs_data
def test_body_mass_causes_itself() -> None:
    """Truth 1: RAPS within 0.01, the model within its posterior sd, and within 0.1 with the instruments made weak."""
    table = np.genfromtxt(MR / "mr_bmi_bmi_mrraps.csv", delimiter=",", skip_header=1)
    x, sx, y, sy = table[:, :4].T
    assert raps(x, sx, y, sy).estimate == pytest.approx(1, abs=0.01)
    mean, sd = effect(x, sx, y, sy, 800)
    assert abs(mean - 1) < sd < 0.03
    # noise is added to the exposure until the mean F statistic is 1.4
    more = sx * np.sqrt(max(0.0, (((x / sx) ** 2).mean() - 1) / 0.4 - 1))
    weak, sw = np.random.default_rng(0).normal(x, more), np.hypot(sx, more)
    assert ((weak / sw) ** 2).mean() == pytest.approx(1.4, abs=0.2)
    assert effect(weak, sw, y, sy, 1500)[0] == pytest.approx(1, abs=0.1)


def effect(x: Array, sx: Array, y: Array, sy: Array, draws: int) -> tuple[float, float]:
    """Mean and sd of the effect by Gibbs sampling."""
    data = {"beta_exposure": x, "se_exposure": sx, "beta_outcome": y, "se_outcome": sy}
    theta = gn.fit(NAME, data, "gibbs", seed=1, chains=2, draws=draws)["posterior"]["theta"].to_numpy()
    return float(theta.mean()), float(theta.std())


@pytest.mark.parametrize(
    ("regions", "name", "about"),
    [
        pytest.param(1, "theta", "in a region", marks=pytest.mark.slow),
        pytest.param(3, "global_effect", "regions", marks=pytest.mark.slow),
    ],
)
def test_answers_begin_with_the_effect_of_the_one_region_or_of_all(
    regions: int, name: str, about: str, tmp_path: Path
) -> None:
    fitted = gn.fit(
        "mendelian_randomization", gn.simulate("mendelian_randomization", 1, region=regions, variant=30), "vi"
    )
    assert gn.summary(fitted)["variable"][0] == name
    line, *more = gn.diagnose("mendelian_randomization", fitted).found
    assert any("one-sided" in one for one in more)
    draws = fitted["posterior"][name].to_numpy()
    low, high = np.quantile(draws, (0.05, 0.95))
    assert about in line
    assert line.endswith(f": {short(draws.mean())}, 90% interval {short(low)} to {short(high)}.")
    page = gn.report(fitted, tmp_path / "page.html").read_text()
    assert page.index(line) < page.index('id="checks"') < page.index(f"Estimates of {name}")
    other = {"theta": "global_effect", "global_effect": "theta"}[name]
    assert page.index(f"Estimates of {name}") < page.index(f"Estimates of {other}")
