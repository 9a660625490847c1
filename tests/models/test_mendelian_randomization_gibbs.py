"""Gibbs sampling of the effects: conditionals and moves against the joint density, the posterior against NUTS."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

import genarium as gn
from effect_problems import NAME, joint, problem_of, simulate, truth
from genarium import story
from genarium.calibration.thinning import effective
from genarium.data import check
from genarium.declaration import Array
from genarium.models.mendelian_randomization.gibbs import NAMES, Sampler, State
from genarium.models.mendelian_randomization.story import BALANCED, HETEROGENEITY, INTERCEPT, MEAN_SD


def test_regressions_of_the_regions_are_the_joint_density() -> None:
    """The quadratic form of (theta, alpha) that Gibbs draws from, against the joint density at random points."""
    problem, at = problem_of(5, variant=12, region=2), truth(5, variant=12, region=2)
    sampler, rng = Sampler(problem), np.random.default_rng(0)
    unknown = {name: at[name] for name in problem.model.unknown.variables}
    gamma = at["gamma"]
    sampler.sign = np.sign(gamma)
    v = unknown["pleiotropy_sd"] ** 2 + sampler.residual2
    rest = sampler.y - sampler.slope * (sampler.x - gamma)
    sds = np.array([BALANCED, INTERCEPT]) * sampler.Sy  # pleiotropy is directional in the second region
    precision, score = sampler._regions(gamma, rest, v, sds**-2)
    full, pull = sampler._with_prior(precision, score, unknown["heterogeneity"], float(unknown["global_effect"]))
    difference = []
    for _ in range(4):
        both = rng.normal(size=(2, 2))
        quadratic = sum(-0.5 * b @ P @ b + b @ h for b, P, h in zip(both, full, pull, strict=True))
        moved = {**unknown, "theta": both[:, 0], "intercept": both[:, 1]}
        of_kinds = stats.norm(0, sds).logpdf(both[:, 1]) - mixture(both[:, 1], sampler.Sy)
        difference.append(joint(problem, gamma, np.arange(12) % 2, **moved) + of_kinds.sum() - quadratic)
    assert np.ptp(difference) < 1e-8


def mixture(alpha: Array, scale: float) -> Array:
    """Log prior density of intercepts, from its two parts."""
    return np.asarray(
        np.log(0.8 * stats.norm(0, 0.05 * scale).pdf(alpha) + 0.2 * stats.norm(0, 0.3 * scale).pdf(alpha))
    )


def test_whether_pleiotropy_is_directional_is_drawn_by_bayes_rule() -> None:
    sampler, rng, n = Sampler(problem_of(6, variant=12, region=3)), np.random.default_rng(4), 4000
    alpha = np.array([0.0, 0.08, -0.15]) * sampler.Sy
    share = np.mean([sampler._directional(rng, alpha) < (0.1 * sampler.Sy) ** -2 for _ in range(n)], axis=0)
    expected = 0.2 * stats.norm(0, 0.3 * sampler.Sy).pdf(alpha) / np.exp(mixture(alpha, sampler.Sy))
    assert (np.abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)).all(), (share, expected)


def test_tau_and_the_mean_of_regions_are_drawn_from_their_density() -> None:
    """Of both from the prior, and estimates of three regions that they made, moments are the same after a draw."""
    sampler, rng, n = Sampler(problem_of(6, variant=12, region=3)), np.random.default_rng(3), 1500
    W, changes = np.array([0.5, 5.0, 50.0]) / sampler.ratio**2, []
    precision, score = np.tile(np.diag([0.0, 1.0]), (3, 1, 1)), np.zeros((3, 2))
    precision[:, 0, 0] = W
    for _ in range(n):
        tau, whole = np.abs(rng.normal(0, HETEROGENEITY * sampler.ratio)), rng.normal(0, MEAN_SD * sampler.ratio)
        score[:, 0] = W * rng.normal(rng.normal(whole, tau, 3), W**-0.5)
        drawn = sampler._between(rng, precision, score, np.asarray(tau))
        pairs = np.array([(tau, whole), drawn], dtype=float)
        moments = np.stack([np.log(pairs[:, 0]), (pairs[:, 1] / sampler.ratio) ** 2, pairs[:, 0] * abs(pairs[:, 1])])
        changes.append(moments[:, 1] - moments[:, 0])
    found = np.array(changes)
    z = found.mean(0) / (found.std(0) / np.sqrt(n))
    assert (np.abs(z) < 4).all(), z


@pytest.mark.slow
def test_collapsed_density_of_tau_is_an_integral_over_the_regions() -> None:
    """Draws of (tau, Theta) with regional effects summed out, against a grid of the marginal density."""
    problem, at = problem_of(6, variant=40, region=3), truth(6, variant=40, region=3)
    sampler, rng = Sampler(problem), np.random.default_rng(1)
    rest = sampler.y - sampler.slope * (sampler.x - at["gamma"])
    precision, score = sampler._regions(
        at["gamma"], rest, at["pleiotropy_sd"] ** 2 + sampler.residual2, np.full(3, (INTERCEPT * sampler.Sy) ** -2)
    )
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
         "_intercepts", "_mirrored", "_turned")  # fmt: skip


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
    assert (np.abs(z) < 4.2).all(), z  # of nine moves, some eight numbers each: p < .002


def test_a_sweep_keeps_the_joint_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of a whole sweep and of what it returns, which must belong together."""
    problem, rng, n = problem_of(3, variant=12, region=2), np.random.default_rng(5), 400
    sampler, changes = Sampler(problem), []
    drawn = {name: v[0] for name, v in story.prior(problem, n, rng).items()}
    unknown: dict[str, Array] = {}
    monkeypatch.setattr(sys.modules[Sampler.__module__], "start", lambda *_: unknown)
    for i in range(n):
        unknown = {name: np.asarray(v[i]) for name, v in drawn.items()}
        made = story.replicate(problem, unknown, rng)
        sampler.x, sampler.y = made["beta_exposure"], made["beta_outcome"]
        before, after = (state_of(one, sampler) for one in (unknown, next(sampler(rng))))
        ratios = [np.minimum(((at.theta - at.whole) / at.tau) ** 2, 9).mean() for at in (before, after)]
        changes.append(np.append(_moments(sampler, after) - _moments(sampler, before), ratios[1] - ratios[0]))
    found = np.array(changes)
    z = found.mean(0) / (found.std(0) / np.sqrt(n))
    assert (np.abs(z) < 4).all(), z


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


def test_intercepts_change_their_side_as_often_as_the_density_says() -> None:
    """Two modes of (theta, alpha) with a valley of ten nats: shares of the sides against a grid, all else held."""
    given = {"theta": [-1.8], "intercept": [0.65], "exposure_sd": 0.98, "pleiotropy_sd": 0.1, "strong_share": 0.37,
             "global_effect": -0.7, "heterogeneity": 0.45}  # fmt: skip
    problem = check(gn.get(NAME), gn.simulate(NAME, 1, variant=100, region=1, **given), {})
    sampler, rng = Sampler(problem), np.random.default_rng(2)
    at = state_of({name: np.asarray(v, dtype=float) for name, v in given.items()}, sampler)
    thetas, alphas = np.linspace(-3.2, 0.2, 70), np.linspace(-1.2, 1.2, 80)
    log_p = np.array(
        [[sampler._density(at._replace(theta=np.array([t]), alpha=np.array([a]))) for a in alphas] for t in thetas]
    )
    log_p += mixture(alphas, sampler.Sy) - 0.5 * ((thetas[:, None] - at.whole) / at.tau) ** 2
    p = np.exp(log_p - log_p.max()).sum(0)
    expected = p[alphas > 0].sum() / p.sum()
    assert p[39:41].max() < 1e-3 * min(p[:39].max(), p[41:].max())
    assert 0.2 < expected < 0.8
    positive = []
    for _ in range(8000):
        for move in (sampler._intercepts, sampler._mirrored, sampler._turned):
            at = move(rng, at)
        positive.append(float(at.alpha[0] > 0))
    error = np.std(np.reshape(positive, (40, -1)).mean(1), ddof=1) / np.sqrt(40)
    assert 0 < error < 0.05
    assert np.mean(positive) == pytest.approx(expected, abs=4 * error)
