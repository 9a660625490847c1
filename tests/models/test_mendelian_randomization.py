"""The generative model's inference against naive references: quadrature, loops, enumeration, other methods."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import integrate, special, stats

import genarium as gn
from genarium import InputError, story
from genarium.calibration.plan import Plan
from genarium.calibration.replicate import simulate as replicate
from genarium.calibration.thinning import effective
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines.ascent import ascend
from genarium.found import short
from genarium.models.mendelian_randomization import likelihood, raps
from genarium.models.mendelian_randomization.gibbs import NAMES, Sampler, State
from genarium.models.mendelian_randomization.response import Space, half_of_normal, normal_of_half
from genarium.models.mendelian_randomization.start import start
from genarium.models.mendelian_randomization.sweep import Step, Tilt

NAME = "mendelian_randomization"
MR = Path(__file__).parents[3] / "shared" / "data" / "mr"
needs_data = pytest.mark.skipif(not MR.is_dir(), reason="the summary statistics are not part of the repository")


def simulate(seed: int = 1, **settings: Any) -> xr.DataTree:
    return gn.simulate(NAME, seed, **{"variant": 60, "region": 4, **settings})


def problem_of(seed: int = 1, **settings: Any) -> Problem:
    return check(gn.get(NAME).variant(**{k: v for k, v in settings.items() if k == "correlated_pleiotropy"}),
                 simulate(seed, **settings))  # fmt: skip


def truth(seed: int = 1, **settings: Any) -> dict[str, Array]:
    return {str(n): v.to_numpy() for n, v in simulate(seed, **settings)["truth"].data_vars.items()}


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
    R = 2.0 / 0.3
    expected = (
        stats.norm(0, R).logpdf(at["global_effect"])
        + stats.halfnorm(0, R / 2).logpdf(at["heterogeneity"])
        + stats.norm(at["global_effect"], at["heterogeneity"]).logpdf(at["theta"]).sum()
        + stats.norm(0, 0.6).logpdf(at["intercept"]).sum()
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


# Gibbs sampling: each conditional is proportional to the joint density


def joint(problem: Problem, gamma: Array, weak: Array, **at: Array) -> float:
    """Log density of (x, y, gamma, which variants are weak) and the unknown variables, pleiotropy summed out: loops."""
    known = problem.arrays
    total = float(problem.call(likelihood.log_prior, **at))
    for j in range(problem.sizes["variant"]):
        s = int(known["region"][j])
        sx2, c = known["se_exposure"][j] ** 2, known["error_covariance"][j]
        B = known["se_outcome"][j] ** 2 + float(at["pleiotropy_sd"]) ** 2
        mean = [gamma[j], at["theta"][s] * gamma[j] + np.sign(gamma[j]) * at["intercept"][s]]
        seen = [known["beta_exposure"][j], known["beta_outcome"][j]]
        total += float(stats.multivariate_normal(mean, [[sx2, c], [c, B]]).logpdf(seen))
        sd = float(at["exposure_sd"]) * (0.1 if weak[j] else 1)
        total += float(stats.norm(float(known["exposure_mean"]), sd).logpdf(gamma[j]))
        total += float(np.log1p(-at["strong_share"]) if weak[j] else np.log(at["strong_share"]))
    return total


def test_regressions_of_the_regions_are_the_joint_density() -> None:
    """The quadratic form of (theta, alpha) that Gibbs draws from, against the joint density at random points."""
    problem, at = problem_of(5, variant=12, region=2), truth(5, variant=12, region=2)
    sampler, rng = Sampler(problem), np.random.default_rng(0)
    unknown = {name: at[name] for name in problem.model.unknown.variables}
    gamma = at["gamma"]
    sampler.sign = np.sign(gamma)
    v = unknown["pleiotropy_sd"] ** 2 + sampler.residual2
    rest = sampler.y - sampler.slope * (sampler.x - gamma)
    precision, score = sampler._regions(gamma, rest, v)
    full, pull = sampler._with_prior(precision, score, unknown["heterogeneity"], float(unknown["global_effect"]))
    difference = []
    for _ in range(4):
        both = rng.normal(size=(2, 2))
        quadratic = sum(-0.5 * b @ P @ b + b @ h for b, P, h in zip(both, full, pull, strict=True))
        moved = {**unknown, "theta": both[:, 0], "intercept": both[:, 1]}
        difference.append(joint(problem, gamma, np.arange(12) % 2, **moved) - quadratic)
    assert np.ptp(difference) < 1e-8


@pytest.mark.slow
def test_collapsed_density_of_tau_is_an_integral_over_the_regions() -> None:
    """Draws of (tau, Theta) with regional effects summed out, against a grid of the marginal density."""
    problem, at = problem_of(6, variant=40, region=3), truth(6, variant=40, region=3)
    sampler, rng = Sampler(problem), np.random.default_rng(1)
    rest = sampler.y - sampler.slope * (sampler.x - at["gamma"])
    precision, score = sampler._regions(at["gamma"], rest, at["pleiotropy_sd"] ** 2 + sampler.residual2)
    tau, draws = np.array(0.5), []
    for _ in range(6000):
        tau, whole = sampler._between(rng, precision, score, tau)
        draws.append((float(tau), whole))
    kept = np.array(draws)[::3]
    # m_s | theta_s is normal with these moments; theta_s ~ N(Theta, tau)
    V = np.linalg.inv(precision)
    m, var = (V @ score[..., None])[:, 0, 0], V[:, 0, 0]
    taus, wholes = np.meshgrid(np.linspace(1e-3, 2.5, 250), np.linspace(-4, 4, 400), indexing="ij")
    log_p = stats.halfnorm(0, 0.5).logpdf(taus) + stats.norm(0, 1).logpdf(wholes)
    for a, b in zip(m, var, strict=True):
        log_p += stats.norm.logpdf(a, wholes, np.sqrt(taus**2 + b))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    for values, column in ((taus, kept[:, 0]), (wholes, kept[:, 1])):
        mean, sd = (p * values).sum(), np.sqrt((p * values**2).sum() - (p * values).sum() ** 2)
        assert column.mean() == pytest.approx(mean, abs=6 * sd / np.sqrt(len(column)))


MOVES = ("_stretched", "_exposure_sd", "_strong_share", "_kinds_changed", "_share_redrawn", "_omega",
         "_intercepts", "_mirrored")  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
def test_every_move_keeps_the_joint_distribution(move: str) -> None:
    """Of parameters from the prior and data that they made, moments are the same after a move, draw by draw."""
    problem, rng, n = problem_of(3, variant=12, region=2), np.random.default_rng(5), 400
    sampler, changes = Sampler(problem), []
    drawn = {name: v[0] for name, v in story.prior(problem, n, rng).items()}
    for i in range(n):
        unknown = {name: np.asarray(v[i]) for name, v in drawn.items()}
        made = story.replicate(problem, unknown, rng)
        sampler.x, sampler.y = made["beta_exposure"], made["beta_outcome"]
        at = state_of(unknown, sampler)
        before = _moments(sampler, at)
        for _ in range(3):
            at = getattr(sampler, move)(rng, at)
        changes.append(_moments(sampler, at) - before)
    found = np.array(changes)
    some = found.std(0) > 1e-12
    assert some.sum() >= 2
    z = found.mean(0)[some] / (found.std(0)[some] / np.sqrt(n))
    assert (np.abs(z) < 4.2).all(), z  # of eight moves, some eight numbers each: p < .002


def test_the_share_of_strong_variants_moves_near_one_too() -> None:
    """Slices reach beyond where p is one to rounding, whose Jacobian is still finite; warnings are errors."""
    problem = problem_of(3, variant=12, region=2)
    sampler, rng = Sampler(problem), np.random.default_rng(2)
    at = state_of(truth(3, variant=12, region=2), sampler)
    near = at._replace(strong=np.asarray(1 - 2.0**-53))
    assert all(0 < float(sampler._strong_share(rng, near).strong) < 1 for _ in range(5))


def state_of(unknown: Mapping[str, Array], sampler: Sampler) -> State:
    """Values of the unknown variables as a state, no variant confounded."""
    return State(**{short: unknown[name] for short, name in NAMES.items()}, more=np.zeros(len(sampler.x)))


def _moments(sampler: Sampler, at: State) -> Array:
    """Functions of parameters and data without heavy tails."""
    x, y, alpha, log_sd = sampler.x, sampler.y, at.alpha[sampler.region], np.log(at.sd)
    density = np.maximum(sampler._densities(at), -8)
    out = [
        *(np.log(at.tau), np.log(at.omega), log_sd, at.strong),
        *((at.theta**2).mean(), (at.alpha**2).mean(), (at.theta * at.whole).mean()),
        *(np.tanh(x * y * at.theta[sampler.region]).mean(), at.strong * np.log1p(x**2).mean()),
        *((np.abs(alpha) * np.log1p(y**2)).mean(), np.tanh(alpha * y * np.sign(x)).mean()),
        *(at.omega * np.log1p(y**2).mean(), log_sd * np.log1p(x**2).mean()),
        *(*density[:2], density.mean()),
    ]
    return np.array([float(v) for v in out])


@pytest.mark.slow
@pytest.mark.parametrize("option", [{}, {"signs_given": 1}, {"correlated_pleiotropy": "mixture"}], ids=str)
def test_gibbs_keeps_the_joint_distribution(option: dict[str, Any]) -> None:
    """Sweeps and new data in turn give the same joint distribution as prior and story do (Geweke 2004)."""
    problem, rng, n = problem_of(3, variant=12, region=2, **option), np.random.default_rng(5), 3000

    def summaries(at: Mapping[str, Array]) -> list[float]:
        made = story.replicate(problem, dict(at), rng)
        sampler.x, sampler.y = made["beta_exposure"], made["beta_outcome"]
        out = [*_moments(sampler, state_of(at, sampler)), at["global_effect"] ** 2, np.log1p(sampler.x**2).mean()]
        out.append(np.log1p(sampler.y**2).mean())
        if "confounded_share" in at:
            out += [at["confounded_share"], at["confounded_effect"] ** 2]
        return [float(v) for v in out]

    sampler, chain = Sampler(problem), list[list[float]]()
    drawn = {name: v[0] for name, v in story.prior(problem, n, rng).items()}
    direct = np.array([summaries({name: v[i] for name, v in drawn.items()}) for i in range(n)])
    for i, at in enumerate(sampler(rng)):
        if i == 2 * n:
            break
        chain.append(summaries(at))
    kept = np.array(chain[200:])
    size = effective(kept[None])
    z = (kept.mean(0) - direct.mean(0)) / np.sqrt(direct.var(0) / n + kept.var(0) / size)
    assert (size > 100).all(), size
    assert (np.abs(z) < 4).all(), z  # of 19 to 21 numbers: p < .001


@pytest.mark.slow
@pytest.mark.parametrize("option", ["none", "mixture"])
def test_gibbs_and_nuts_agree(option: str) -> None:
    """Means and sds of the global parameters, within four Monte-Carlo errors (autocorrelation included)."""
    from arviz_stats.base import array_stats

    tree = simulate(7, variant=60, correlated_pleiotropy=option)
    found = []
    for method, few in (("gibbs", {"draws": 1000, "tune": 200}), ("nuts", {"draws": 300, "tune": 400})):
        fit = gn.fit(NAME, tree, method, seed=3, chains=2, correlated_pleiotropy=option, **few)
        row = {}
        names = ["global_effect", "heterogeneity", "exposure_sd", "pleiotropy_sd"]
        names += ["confounded_share", "confounded_effect"] if option == "mixture" else []
        for name in names:
            x = fit["posterior"][name].to_numpy()
            for power in (1, 2):
                ess = float(array_stats.ess(x**power, chain_axis=0, draw_axis=1, method="mean"))
                row[name, power] = ((x**power).mean(), (x**power).std() / np.sqrt(ess))
        found.append(row)
    for key, (mean, error) in found[0].items():
        other, other_error = found[1][key]
        assert abs(mean - other) < 4.5 * np.hypot(error, other_error), key


@pytest.mark.parametrize(
    ("region", "error"), [pytest.param(1, 0.01, marks=pytest.mark.slow), pytest.param(8, 1.0, marks=pytest.mark.slow)]
)
def test_nuts_meets_no_funnel(region: int, error: float) -> None:
    """Neither where the data say much of a region's effect, nor where they say next to nothing of any."""
    rng = np.random.default_rng(5)
    x, of = rng.normal(size=80), np.arange(80) % region
    data = {
        "beta_exposure": x + rng.normal(0, 0.1, 80),
        "beta_outcome": 0.4 * x + rng.normal(0, error, 80),
        **{"se_exposure": np.full(80, 0.1), "se_outcome": np.full(80, error), "region": of},
    }
    fit = gn.fit(NAME, data, "nuts", seed=1, chains=2, draws=500, tune=500)
    assert int(fit["sample_stats"]["diverging"].sum()) <= 1


@pytest.mark.slow
def test_confounded_variants_are_found() -> None:
    """A quarter of strong variants through a confounder: the plain model is misled, the mixture is not."""
    rng = np.random.default_rng(2)
    J, se = 160, np.full(160, 0.03)
    gamma = rng.normal(0, 0.3, J)
    z = rng.uniform(size=J) < 0.2
    x = rng.normal(gamma, se)
    y = rng.normal((0.3 + 0.9 * z) * gamma, se)
    data = {"beta_exposure": x, "se_exposure": se, "beta_outcome": y, "se_outcome": se}
    plain = gn.fit(NAME, data, "gibbs", seed=1, draws=400, chains=2)["posterior"]["theta"].to_numpy()
    mixed = gn.fit(NAME, data, "gibbs", seed=1, draws=400, chains=2, correlated_pleiotropy="mixture")["posterior"]
    assert plain.mean() > 0.4
    assert float(mixed["theta"].mean()) == pytest.approx(0.3, abs=0.05)
    assert float(mixed["confounded_share"].mean()) == pytest.approx(z.mean(), abs=0.1)
    assert float(mixed["confounded_effect"].mean()) == pytest.approx(0.9, abs=0.1)


# Variational Bayes


def test_bound_never_falls_and_every_update_raises_it() -> None:
    problem = problem_of(8)
    step = Step(problem)
    rng = np.random.default_rng(0)
    for _ in range(3):
        found = ascend(step, step.first(rng), tolerance=1e-8)
        assert found.converged
        assert found.largest_fall == 0
    # single updates from a random state
    state = step.first(rng)
    before = step.bound(state)
    for update in (step._gamma, lambda s: step._regions(s, Tilt(0, 0, np.zeros(4), np.zeros(4), 0, 0, 0)), step.sweep):
        state = update(state)
        after = step.bound(state)
        assert after >= before - 1e-9
        before = after


@pytest.mark.slow
def test_bound_is_the_mean_of_log_density_ratios() -> None:
    """ELBO = E_q [log p - log q], the latter by Monte Carlo; gamma has its factor, so its terms are drawn too."""
    problem = problem_of(9, variant=15, region=2)
    step = Step(problem)
    state = ascend(step, step.first(np.random.default_rng(0)), tolerance=1e-8).state
    rng, S = np.random.default_rng(1), 120
    drawn, log_density_of_q = step.draw(state, rng, S)
    posterior = {name: value[0] for name, value in drawn.items()}
    log_q = log_density_of_q[0]
    log_kind = state.kind  # strong or weak, and the sign: normal densities cut off at zero
    kind = (np.log(rng.uniform(size=(S, 15, 1))) > np.logaddexp.accumulate(log_kind, axis=1)).sum(-1)
    at = np.arange(15)
    mean, sd, sign = state.gamma[at, kind], np.sqrt(state.gamma_var[at, kind]), step.signs[kind]
    low, high = np.where(sign > 0, -mean / sd, -np.inf), np.where(sign > 0, np.inf, -mean / sd)
    cut = stats.truncnorm(low, high, mean, sd)
    gamma: Any = cut.rvs(random_state=rng)
    density: Any = cut.logpdf(gamma)
    log_q = log_q + density.sum(1) + log_kind[at, kind].sum(1)
    weak = (step.spreads[kind] < 1).astype(int)
    log_p = np.array([joint(problem, gamma[s], weak[s], **{n: v[s] for n, v in posterior.items()}) for s in range(S)])
    ratio = log_p - log_q
    # draws are uniform within a node's cell, which smooths the factor: a small bias besides the Monte-Carlo error
    assert step.bound(state) == pytest.approx(ratio.mean(), abs=4 * ratio.std() / np.sqrt(S) + 0.1)


def test_bound_is_below_the_evidence() -> None:
    """By importance sampling from the corrected draws of a small problem."""
    problem = problem_of(10, variant=20, region=1)
    fit = gn.fit(NAME, simulate(10, variant=20, region=1), "vi", seed=1)
    names = ("global_effect", "heterogeneity", "theta", "intercept", "exposure_sd", "pleiotropy_sd", "strong_share")
    whole, tau, theta, alpha, sd, omega, share = (fit["posterior"][name].to_numpy().ravel() for name in names)
    x = np.column_stack([whole, np.log(tau), theta, alpha, np.log(sd), np.log(omega), special.logit(share)])
    cov = 1.5 * np.cov(x.T)
    proposal = stats.multivariate_t(x.mean(0), cov, df=5)
    z = proposal.rvs(20_000, random_state=1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        natural = (z[:, 0], np.exp(z[:, 1]), z[:, 2:3], z[:, 3:4], *np.exp(z[:, 4:6].T), special.expit(z[:, 6]))
        log_w = log_joint(problem, dict(zip(names, natural, strict=True))) - proposal.logpdf(z)
        log_w += z[:, [1, 4, 5]].sum(1) + special.log_expit(z[:, 6]) + special.log_expit(-z[:, 6])
    evidence = np.logaddexp.reduce(log_w[np.isfinite(log_w)]) - np.log(len(z))
    assert json.loads(fit.attrs["notes"])["bound"] < evidence
    assert evidence - json.loads(fit.attrs["notes"])["bound"] < 5


@pytest.mark.slow
def test_nodes_of_vi_follow_a_scale_far_from_that_of_its_prior() -> None:
    """The spread of strong effects is found whether the prior's scale is far below or far above it."""
    rng = np.random.default_rng(0)
    strong, se = rng.uniform(size=600) < 0.15, np.full(600, 0.01)
    gamma = rng.normal(0, np.where(strong, 1, 0.1))
    data = {"beta_exposure": rng.normal(gamma, se), "se_exposure": se,
            "beta_outcome": rng.normal(0.5 * gamma, se), "se_outcome": se}  # fmt: skip
    for scale in (0.3, 1e7):
        posterior = gn.fit(NAME, {**data, "exposure_scale": scale}, "vi", seed=1)["posterior"]
        assert float(posterior["exposure_sd"].mean()) == pytest.approx(float(gamma[strong].std()), rel=0.15)
        assert float(posterior["strong_share"].mean()) == pytest.approx(strong.mean(), abs=0.05)


@pytest.mark.slow
def test_mean_field_is_too_narrow_and_linear_response_is_not() -> None:
    """Against Gibbs sampling on weak instruments: sds of the regional effects."""
    tree = simulate(1, variant=200, region=10)
    exact = gn.fit(NAME, tree, "gibbs", seed=1, draws=1000, chains=3)["posterior"]
    plain = gn.fit(NAME, tree, "vi", seed=1, draws=4000, covariance="mean_field")["posterior"]
    right = gn.fit(NAME, tree, "vi", seed=1, draws=4000)
    sd = {
        k: p["theta"].std(("chain", "draw")).to_numpy()
        for k, p in (("e", exact), ("v", plain), ("l", right["posterior"]))
    }
    assert (sd["v"] < 0.85 * sd["e"]).all()
    assert (sd["l"] / sd["e"]).mean() == pytest.approx(1, abs=0.1)
    shift = (exact["global_effect"].mean() - right["posterior"]["global_effect"].mean()) / exact["global_effect"].std()
    assert abs(float(shift)) < 0.2
    assert right.attrs["claim"] == "approximate"


def test_ascent_finds_the_side_of_an_intercept() -> None:
    """Weak variants tell its size, not its sign: ascent ended at 0.94 for -0.6, 23 nats below (and -3.4 for -1.8)."""
    given = {"theta": np.array([-1.8, -1.5]), "intercept": np.array([-0.6, 0.2]), "exposure_sd": 0.8,
             "pleiotropy_sd": 0.44, "strong_share": 0.36, "global_effect": -1.6, "heterogeneity": 0.3}  # fmt: skip
    fit = gn.fit(NAME, gn.simulate(NAME, 2, variant=600, region=2, **given), "vi", seed=1)["posterior"]
    for name in ("theta", "intercept"):
        mean, sd = (getattr(fit[name], of)(("chain", "draw")).to_numpy() for of in ("mean", "std"))
        assert (np.abs(mean - given[name]) < 4 * sd).all()


def test_few_strong_variants_among_weak_ones_are_found() -> None:
    """Where most instruments are weak, many of narrow effects are a mode as well: it was 80 nats below, unnoticed."""
    rng = np.random.default_rng(0)
    se, strong = 0.024 * rng.lognormal(0, 0.3, 800), rng.uniform(size=800) < 0.01
    gamma = rng.normal(0, np.where(strong, 0.12, 0.0144))
    data = {"beta_exposure": rng.normal(gamma, se), "se_exposure": se,
            "beta_outcome": rng.normal(gamma, 0.01), "se_outcome": np.full(800, 0.01)}  # fmt: skip
    fit = gn.fit(NAME, data, "vi", seed=1)
    assert float(fit["posterior"]["strong_share"].quantile(0.95)) < 0.05
    assert json.loads(fit.attrs["notes"])["restarts_at_best"] >= 2
    theta = fit["posterior"]["theta"]
    assert abs(float(theta.mean()) - 1) < 4 * float(theta.std())
    assert float(start(check(gn.get(NAME), data), rng)["strong_share"]) < 0.1  # where NUTS starts


def test_draws_where_linear_response_finds_no_optimum() -> None:
    """With no strong variant, ascent creeps along a ridge of their share and spread; what q proposes is adapted."""
    base = {"global_effect": 1.5, "heterogeneity": 0.006, "exposure_sd": 0.41, "pleiotropy_sd": 0.53}
    given = {**base, "theta": np.full(6, 1.5), "intercept": np.zeros(6), "strong_share": 0.01}
    tree = gn.simulate(NAME, 7007, variant=120, region=6, **given)
    fit = gn.fit(NAME, tree, "vi", seed=7, max_iterations=200)
    assert "mean_linear_response" not in fit["variational"]
    assert np.isfinite(fit["posterior"]["theta"].to_numpy()).all()


def space_of(problem: Problem) -> tuple[Space, Array]:
    """Coordinates around a mean of f, and the mean."""
    S = problem.sizes["region"]
    rng = np.random.default_rng(3)
    mean = np.concatenate([[0.4, -0.9], rng.normal(0.4, 0.3, S), rng.normal(0, 0.2, S), [0.1, -1.2, 0.3]])
    root = rng.normal(0, 0.2, (len(mean), len(mean)))
    return Space(problem, mean, root @ root.T + 0.01 * np.eye(len(mean))), mean


def test_log_density_of_coordinates_is_that_of_the_unknown_variables_with_their_jacobian() -> None:
    problem = problem_of(11)
    space, _ = space_of(problem)

    def flat(at: Array) -> Array:
        return np.concatenate([np.ravel(value) for value in space.natural(at[None]).values()])

    def exact(at: Array) -> float:
        columns = [(flat(at + e) - flat(at - e)) / 2e-5 for e in 1e-5 * np.eye(13)]
        return float(log_joint(problem, space.natural(at[None]))[0] + np.linalg.slogdet(np.array(columns))[1])

    points = np.random.default_rng(0).normal(size=(5, 13))
    ours, right = space.log_density(points), np.array([exact(at) for at in points])
    np.testing.assert_allclose(ours - ours[0], right - right[0], atol=1e-6)


def test_coordinates_invert_natural_values_and_have_their_centre_at_the_mean() -> None:
    space, mean = space_of(problem_of(11))
    at = np.random.default_rng(1).normal(size=(6, 13))
    whole, tau, theta, alpha, sd, omega, share = space.natural(at).values()
    f = np.column_stack([whole, np.log(tau), theta, alpha, np.log(sd), np.log(omega), special.logit(share)])
    np.testing.assert_allclose(space.coordinates(f), at, atol=1e-9)
    regions = slice(2, 6)  # regional effects at their mean, wherever data say more than the prior
    informed = space.information > 0.011 / np.exp(2 * mean[1])
    np.testing.assert_allclose(space.coordinates(mean[None])[0, regions][informed], 0, atol=1e-9)


@pytest.mark.parametrize("v", [1e-9, 1e-3, 0.4, 0.8, 3.0, 12.0])
def test_half_normal_quantiles(v: float) -> None:
    half: Any = stats.halfnorm
    z = normal_of_half(np.array(v))
    assert half_of_normal(z) == pytest.approx(v, rel=1e-9)
    assert np.log(special.ndtr(-z)) == pytest.approx(half.logsf(v), rel=1e-9)


def log_joint(problem: Problem, values: Mapping[str, Array]) -> Array:
    """Log density of data and unknown variables; draws lead."""
    terms = problem.call(likelihood.log_likelihood, **values).sum(-1)
    return np.asarray(terms + problem.call(likelihood.log_prior, **values))


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


def test_chains_exchange_the_confounded_variants_with_the_valid_ones() -> None:
    """Where half of the variants are confounded, either half may be: both are modes, and every chain sees both."""
    rng = np.random.default_rng(0)
    confounded, gamma = rng.random(60) < 0.6, np.sqrt(30) * rng.normal(size=60)
    x = gamma + rng.normal(size=60)
    y = (0.1 + 0.8 * confounded) * gamma + np.sqrt(1.25) * rng.normal(size=60)
    data = {"beta_exposure": x, "se_exposure": np.ones(60), "beta_outcome": y, "se_outcome": np.ones(60)}
    fit = gn.fit(NAME, data, "gibbs", 1, correlated_pleiotropy="mixture", chains=2, draws=400, tune=200)
    low = (fit["posterior"]["theta"] < 0.5).mean(("draw", "region"))
    assert ((low > 0.02) & (low < 0.98)).all()
    slope = fit["posterior"]["theta"] + fit["posterior"]["confounded_effect"] * (fit["posterior"]["theta"] < 0.5)
    assert float(slope.where(fit["posterior"]["theta"] < 0.5).median()) == pytest.approx(0.9, abs=0.15)
