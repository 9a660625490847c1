"""Variational Bayes: the bound, what it misses, and the coordinates of linear response."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import genarium as gn
from effect_problems import NAME, joint, problem_of, simulate
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines.ascent import ascend
from genarium.errors import ApproximationError
from genarium.models.mendelian_randomization import intercepts, likelihood, response
from genarium.models.mendelian_randomization.response import Space, half_of_normal, normal_of_half
from genarium.models.mendelian_randomization.start import start
from genarium.models.mendelian_randomization.sweep import Step, Tilt


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
    # of a density with a latent kind of region, for the bound; draws are of that without
    alpha, of_kinds = posterior["intercept"], step.log_regions(state, effects_of(drawn))
    prior = intercepts.log_kinds(alpha**2, step.Sy)
    posterior_of_kinds = np.exp(of_kinds - np.logaddexp(*of_kinds))
    gap = (posterior_of_kinds * (of_kinds - np.logaddexp(*of_kinds) - prior + np.logaddexp(*prior))).sum((0, 2))
    ratio = log_p - log_q - gap
    # draws are uniform within a node's cell, which smooths the factor: a small bias besides the Monte-Carlo error
    assert step.bound(state) == pytest.approx(ratio.mean(), abs=4 * ratio.std() / np.sqrt(S) + 0.1)


def test_draws_have_the_entropy_of_their_factors() -> None:
    """Mean of the log density that draws come with, against the closed forms of normals, Beta and cells of nodes."""
    problem = problem_of(9, variant=15, region=2)
    step = Step(problem)
    state = ascend(step, step.first(np.random.default_rng(0)), tolerance=1e-4).state
    drawn, (log_q,) = step.draw(state, np.random.default_rng(1), 4000)
    log_q = log_q - np.logaddexp(*step.log_regions(state, effects_of(drawn))).sum(-1)  # of mixtures: see the next test
    entropy = stats.norm(0, np.sqrt(state.whole_var)).entropy() + stats.beta(*state.share).entropy()
    for nodes, log_weight in zip(step.nodes, (state.tau, state.sd, state.omega), strict=True):
        weight = np.exp(log_weight)
        entropy += weight @ (nodes + np.log(nodes[1] - nodes[0])) - special.xlogy(weight, weight).sum()
    assert -log_q.mean() == pytest.approx(entropy, abs=4 * log_q.std() / np.sqrt(len(log_q)))


def effects_of(drawn: dict[str, Array]) -> Array:
    """Effect and intercept of each region, (draws, S, 2)."""
    return np.stack([drawn["theta"][0], drawn["intercept"][0]], -1)


def test_effects_of_regions_are_drawn_from_two_normal_densities() -> None:
    """One where pleiotropy is balanced, one where it is directional: densities, shares and moments by SciPy."""
    step = Step(problem_of(9, variant=15, region=2))
    state = ascend(step, step.first(np.random.default_rng(0)), tolerance=1e-4).state
    both, of, n = effects_of(step.draw(state, np.random.default_rng(1), 4000)[0]), state.regions, 4000
    for s in range(2):
        parts = [stats.multivariate_normal(of.mean[k, s], of.covariance[k, s]) for k in range(2)]
        expected = [of.log_share[k, s] + part.logpdf(both[:, s]) for k, part in enumerate(parts)]
        np.testing.assert_allclose(step.log_regions(state, both)[:, :, s], expected)
        error = np.sqrt(np.diag(state.covariance[s]) / n)
        assert (np.abs(both[:, s].mean(0) - state.mean[s]) < 4 * error).all()
        square = (both[:, s] - state.mean[s]) ** 2
        assert (np.abs(square.mean(0) - np.diag(state.covariance[s])) < 4 * square.std(0) / np.sqrt(n)).all()


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
    """Weak variants tell its size, not its sign: one ascent alone ends at 0.94 for -0.6, 23 nats below."""
    given = {"theta": np.array([-1.8, -1.5]), "intercept": np.array([-0.6, 0.2]), "exposure_sd": 0.8,
             "pleiotropy_sd": 0.44, "strong_share": 0.36, "global_effect": -1.6, "heterogeneity": 0.3}  # fmt: skip
    fit = gn.fit(NAME, gn.simulate(NAME, 2, variant=600, region=2, **given), "vi", seed=1)["posterior"]
    for name in ("theta", "intercept"):  # of the first region; what the other's is, its data hardly say
        draws = np.asarray(fit[name])[..., 0]
        assert abs(draws.mean() - np.asarray(given[name])[0]) < 4 * draws.std()


def test_few_strong_variants_among_weak_ones_are_found() -> None:
    """Where most instruments are weak, many of narrow effects are a mode as well, 80 nats below."""
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


def test_draws_where_linear_response_finds_no_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ascent creeps along a ridge, the proposal is adapted from q's own moments: to the same posterior."""

    def none(step: Step, state: Any) -> Any:
        raise ApproximationError("no optimum", float("nan"))

    tree = simulate(12, variant=60, region=2)
    usual = gn.fit(NAME, tree, "vi", seed=1)["posterior"]["theta"].to_numpy()
    monkeypatch.setattr(response, "respond", none)
    fit = gn.fit(NAME, tree, "vi", seed=1)
    assert "mean_linear_response" not in fit["variational"]
    assert json.loads(fit.attrs["notes"])["polished"] == 0
    found, error = fit["posterior"]["theta"].to_numpy(), usual.std((0, 1)) * np.sqrt(2 / 300)  # draws are resampled
    assert (np.abs(found.mean((0, 1)) - usual.mean((0, 1))) < 4 * error).all()


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
