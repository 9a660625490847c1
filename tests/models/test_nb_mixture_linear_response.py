"""The corrected variational posterior: exact covariances where q is exact, refits under a tilt, Gibbs sampling."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp, polygamma, psi

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines.ascent import ascend
from genarium.engines.labels import match_labels
from genarium.engines.linear_response import linear_response, settled
from genarium.errors import ApproximationError
from genarium.models.nb_mixture import corrected
from genarium.models.nb_mixture.conjugate import ConjugateStep
from genarium.models.nb_mixture.corrected import constrained, relabellings, reordered
from genarium.models.nb_mixture.counts import Counts
from genarium.models.nb_mixture.depth import DepthStep, moments
from genarium.models.nb_mixture.draws import log_density
from genarium.models.nb_mixture.factors import grid_around, known_grid
from genarium.models.nb_mixture.gibbs import gibbs
from genarium.models.nb_mixture.likelihood import Story
from genarium.models.nb_mixture.response import ConjugateResponse, DepthResponse, log_ratios, respond
from genarium.models.nb_mixture.vi import vi

DISPERSIONS = ("known", "shared", "gene", "component")
CASES = [(dispersion, depth) for dispersion in DISPERSIONS for depth in (False, True)]
MU = np.array([[20.0, 30.0], [50.0, 60.0]])


def make(dispersion: str = "known", depth: bool = False, cells: int = 100, mu: Array = MU, seed: int = 0) -> Problem:
    K = len(mu)
    size_factor = np.random.default_rng(seed).lognormal(0, 0.4, cells) if depth else 1.0
    weights = np.array([0.6, 0.4]) if K == 2 else np.ones(1)
    settings: dict[str, Any] = {"size_factor": size_factor, "dispersion": dispersion, "pi": weights, "mu": mu}
    tree = gn.simulate("nb_mixture", seed, cell=cells, gene=mu.shape[1], component=K, **settings)
    return check(gn.get("nb_mixture").variant(dispersion=dispersion), tree, {"component": K})


def ascended(problem: Problem) -> tuple[Any, Any]:
    """A step on a grid that covers q(r), and the end of one ascent from the true centroids."""
    counts, story = Counts(problem["x"], problem["size_factor"]), Story(problem.model.chosen.get("dispersion", "known"))
    kind: Any = DepthStep if counts.has_depth else ConjugateStep
    shape = {"known": (1, 1), "shared": (1, 1), "gene": (1, problem.sizes["gene"])}.get(
        story.dispersion, (problem.sizes["component"], 1)
    )
    grid = (
        known_grid(problem, story)
        if story.dispersion == "known"
        else grid_around(problem, np.full(shape, 1.2), np.full(shape, 0.12), kind.nodes)
    )
    step = kind(problem, counts, story, grid)
    mu = MU[: problem.sizes["component"]]
    return step, ascend(step, step.first(mu), tolerance=1e-6, max_iterations=5000).state


# The response


@pytest.mark.parametrize("dispersion", DISPERSIONS[:3])
def test_one_component_has_its_exact_covariance(dispersion: str) -> None:
    """With one component q(r) q(mu | r) is the posterior: its moments are sums over the nodes."""
    step, state = ascended(make(dispersion, mu=MU[:1], cells=60))
    settled_state, mean, covariance = respond(step, state)
    factors = step.factors(settled_state)
    a, b, w = factors.a[:, 0], factors.b[0], np.broadcast_to(factors.weight[:, 0], (len(factors.a), 2))
    given_r = np.log(step.r[:, 0]) + psi(b) - psi(a)  # (J, D)
    expected = (w * given_r).sum(0)
    np.testing.assert_allclose(mean[1:3], expected, rtol=1e-9)
    variance = (w * (polygamma(1, a) + polygamma(1, b) + (given_r - expected) ** 2)).sum(0)
    np.testing.assert_allclose(np.diag(covariance)[1:3], variance, rtol=1e-6)
    if dispersion == "shared":
        log_r = step.grid.log_r[:, 0]
        centred = np.column_stack([given_r - expected, log_r - (w[:, :1] * log_r).sum()])
        between = centred.T @ (w[:, :1] * centred)
        np.testing.assert_allclose(covariance[3, 1:], between[2], rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(covariance[1, 2], between[0, 1], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dispersion", ["known", "shared"])
def test_one_component_with_size_factors(dispersion: str) -> None:
    step, state = ascended(make(dispersion, depth=True, mu=MU[:1], cells=60))
    settled_state, mean, covariance = respond(step, state)
    factors, _, _ = step.factors(settled_state)
    given_r, sd = (v[:, 0] for v in moments(factors.share, factors.log_mu))  # (J, D)
    w = factors.weight[:, 0]
    expected = (w * given_r).sum(0)
    np.testing.assert_allclose(mean[1:3], expected, rtol=1e-6)
    variance = (w * (sd**2 + (given_r - expected) ** 2)).sum(0)
    np.testing.assert_allclose(np.diag(covariance)[1:3], variance, rtol=1e-5)


@pytest.mark.parametrize(("dispersion", "depth"), CASES)
def test_response_is_the_change_of_a_refit_under_a_tilt(dispersion: str, depth: bool) -> None:
    """Sweep until nothing moves, with a small tilt and with its opposite."""
    step, state = ascended(make(dispersion, depth, cells=60))
    response: Any = (DepthResponse if depth else ConjugateResponse)(step, state)
    none = np.zeros(response.tilts)
    fixed = settled(lambda u: response.sweep(u, none), response.state, scale=response.scale)
    covariance = linear_response(
        response.sweep, response.mean, fixed, response.tilts, scale=response.scale, used=log_ratios(step)
    )

    def refit(tilt: Array) -> Array:
        u = fixed
        for _ in range(3000):
            following = response.sweep(u, tilt)
            moved = np.abs((following - u) / response.scale).max()
            u = following
            if moved < 1e-11:
                break
        return np.asarray(response.mean(u, tilt))

    sd = np.sqrt(np.diag(covariance))
    for i in {1, 3, response.tilts - 1}:
        tilt = none.copy()
        tilt[i] = 1e-3 / sd[i]
        change = (refit(tilt) - refit(-tilt)) / (2 * tilt[i])
        np.testing.assert_allclose(change / (sd * sd[i]), covariance[i] / (sd * sd[i]), atol=1e-5)


@pytest.mark.parametrize("dispersion", DISPERSIONS)
def test_sweeps_with_size_factors_are_those_of_the_step(dispersion: str) -> None:
    """Fixed nodes and a table of the data do what new nodes and passes over the cells do."""
    step, state = ascended(make(dispersion, depth=True))
    q = np.clip(step.counts.assign(state.logits)[0] + 0.01, 0, 1)
    off = step.given(q / q.sum(0), state)
    response = DepthResponse(step, off)

    def assigned(state: Any) -> Array:
        return np.asarray(step.counts.assign(state.logits)[0])

    none = np.zeros(response.tilts)
    first = response.back(response.state)
    np.testing.assert_allclose(assigned(first), assigned(step(off)[0]), atol=1e-6)
    again = response.back(response.sweep(response.state, none))
    np.testing.assert_allclose(assigned(again), assigned(step(step(off)[0])[0]), atol=2e-6)
    response.kept = None  # tables made anew
    np.testing.assert_array_equal(assigned(response.back(response.state)), assigned(first))


def test_a_tilt_shifts_the_mean_of_ln_pi_as_a_dirichlet_parameter() -> None:
    step, state = ascended(make())
    response = ConjugateResponse(step, state)
    tilt = np.r_[0.5, np.zeros(5)]
    alpha = step.concentration(state) + np.array([0.5, 0.0])
    np.testing.assert_allclose(response.mean(response.state, tilt)[:2], psi(alpha) - psi(alpha.sum()))


# The density and the coordinates


@pytest.mark.parametrize(("dispersion", "depth"), CASES)
def test_density_of_many_draws_is_that_of_each(dispersion: str, depth: bool) -> None:
    problem = make(dispersion, depth, cells=40)
    story, rng = Story(dispersion), np.random.default_rng(0)
    pi, mu = rng.dirichlet([1, 2], 7), rng.lognormal(3, 1, (7, 2, 2))
    shape = problem.model.shape("phi", problem.sizes)
    phi = problem["phi"] if dispersion == "known" else rng.lognormal(-1, 0.5, (7, *shape))
    ours = log_density(problem, Counts(problem["x"], problem["size_factor"]), story, pi, mu, phi)
    model = problem.model
    assert model.log_likelihood is not None
    assert model.log_prior is not None
    for i in range(7):
        unknown = {"pi": pi[i], "mu": mu[i], **({} if dispersion == "known" else {"phi": phi[i]})}
        each = problem.call(model.log_likelihood, **unknown).sum() + problem.call(model.log_prior, **unknown)
        assert ours[i] == pytest.approx(each, rel=1e-11)


def test_jacobian_of_the_coordinates() -> None:
    problem = make("component")
    theta = np.random.default_rng(0).normal(size=(1, 7))

    def natural(at: Array) -> Array:
        out, _ = constrained(problem, at[None])
        return np.concatenate([out["pi"][0, 1:], out["mu"].ravel(), out["phi"].ravel()])

    h = 1e-6 * np.eye(7)
    columns = [(natural(theta[0] + step) - natural(theta[0] - step)) / 2e-6 for step in h]
    expected = np.linalg.slogdet(np.array(columns))[1]
    assert constrained(problem, theta)[1][0] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("dispersion", ["gene", "component"])
def test_relabellings_permute_components(dispersion: str) -> None:
    problem = make(dispersion)
    step, _ = ascended(problem)
    size = len(log_ratios(step))
    theta = np.random.default_rng(0).normal(size=size)
    maps = relabellings(step, theta, np.eye(size))
    assert len(maps) == 2
    one, other = (constrained(problem, (m @ theta)[None])[0] for m in maps)
    for name, value in one.items():
        kept = other[name] if name == "phi" and dispersion == "gene" else other[name][:, ::-1]
        np.testing.assert_allclose(value, kept, rtol=1e-12)
    order = np.array([1, 0])
    assert (reordered(step, order)[reordered(step, order)] == np.arange(size + 1)).all()


# Against the posterior


def features(draws: Any) -> Array:
    """Log-ratio of the weights and log centroids, (chain, draw, 5)."""
    pi, mu = np.log(np.asarray(draws["pi"])), np.log(np.asarray(draws["mu"]))
    return np.concatenate([pi[..., :1] - pi[..., 1:], mu.reshape(*mu.shape[:2], -1)], -1)


def test_draws_are_those_of_gibbs_where_mean_field_is_far_too_narrow() -> None:
    problem = make(cells=150, mu=np.array([[20.0, 30.0], [45.0, 55.0]]))
    exact = gibbs(problem, np.random.default_rng(1), draws=1500, tune=200).posterior
    draws = features(match_labels(problem.model, {n: np.asarray(v) for n, v in exact.items()}))
    batches = draws.reshape(60, 100, 5)
    flat = draws.reshape(-1, 5)
    sd = flat.std(0)
    error = batches.mean(1).std(0, ddof=1) / np.sqrt(60)
    deviation = ((batches - flat.mean(0)) ** 2).mean(1)
    error_sd = deviation.std(0, ddof=1) / np.sqrt(60) / (2 * sd)
    found = vi(problem, np.random.default_rng(2), restarts=3, covariance="linear_response", draws=3000)
    assert found.notes["khat"] < 0.7
    assert found.notes["polished"] == 0
    ours = features(found.posterior)[0]
    # resampled from 12,000 proposals: at least 1000 effective draws here
    assert np.abs((ours.mean(0) - flat.mean(0)) / np.hypot(error, sd / np.sqrt(1000))).max() < 4
    assert np.abs((ours.std(0) - sd) / np.hypot(error_sd, sd / np.sqrt(2 * 1000))).max() < 4

    image = np.zeros((5, 6))
    image[0, :2] = 1, -1
    image[1:, 2:] = np.eye(4)
    covariance = np.asarray(found.variational["covariance_linear_response"][1])
    response = np.sqrt(np.diag(image @ covariance @ image.T)) / sd
    q = features(vi(problem, np.random.default_rng(2), restarts=3, draws=4000).posterior)[0].std(0) / sd
    assert (q < 0.75).all()
    assert (response > 0.85 - 4 * error_sd / sd).all()
    assert (response < 1.1 + 4 * error_sd / sd).all()


@pytest.mark.parametrize(("dispersion", "depth"), CASES)
def test_every_variant_is_corrected(dispersion: str, depth: bool) -> None:
    problem = make(dispersion, depth, cells=60)
    result = vi(problem, np.random.default_rng(0), restarts=1, draws=100, covariance="linear_response")
    assert result.notes["khat"] < 0.7
    covariance = np.asarray(result.variational["covariance_linear_response"][1])
    names = list(result.variational["parameter_name"][1])
    assert covariance.shape == (len(names), len(names))
    assert names[:3] == ["ln pi[0]", "ln pi[1]", "ln mu[0, 0]"]
    contrast = np.eye(len(names))[1:]
    contrast[0, 0] = -1
    assert np.linalg.eigvalsh(contrast @ covariance @ contrast.T)[0] > 0
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(np.ravel(result.variational["log_mu_sd_linear_response"][1]), sd[2:6])
    for name, value in result.posterior.items():
        assert np.asarray(value).shape == (1, 100, *problem.model.shape(name, problem.sizes))
        assert np.isfinite(np.asarray(value)).all()
    draws = np.log(np.asarray(result.posterior["mu"]))[0].reshape(100, -1)
    assert np.abs((draws.mean(0) - np.asarray(result.variational["mean_linear_response"][1])[2:6]) / sd[2:6]).max() < 1


# Refusal, polish, diagnosis


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is near enough to the posterior."""
    monkeypatch.setattr(corrected, "KHAT_USABLE", -10.0)


@pytest.mark.usefixtures("strict")
def test_what_cannot_be_corrected_is_refused() -> None:
    with pytest.raises(ApproximationError, match=r"Pareto k-hat.*above -10.*polish=True") as refused:
        vi(make(), np.random.default_rng(0), restarts=2, covariance="linear_response")
    assert -10 < refused.value.khat < 0.7


@pytest.mark.slow
@pytest.mark.usefixtures("strict")
def test_polish_takes_over_where_resampling_gives_up() -> None:
    options: Any = {"restarts": 2, "covariance": "linear_response", "polish": True, "draws": 200}
    result = vi(make(), np.random.default_rng(0), **options)
    assert result.notes["polished"] == 1
    assert {"diverging", "energy"} <= set(result.sample_stats)
    ours = features(result.posterior)
    assert ours.shape == (4, 50, 5)
    covariance = np.asarray(result.variational["covariance_linear_response"][1])
    mean = np.asarray(result.variational["mean_linear_response"][1])
    sd = np.sqrt(np.diag(covariance))[2:]
    # some 100 effective draws of each centroid, and the approximation is within a third of an sd
    assert np.abs((ours.mean((0, 1))[1:] - mean[2:]) / sd).max() < 0.33 + 4 / np.sqrt(100)
    assert np.abs(np.log(ours.std((0, 1))[1:] / sd)).max() < 0.3 + 4 / np.sqrt(2 * 100)


def test_polish_is_idle_where_resampling_does() -> None:
    result = vi(make(), np.random.default_rng(0), restarts=2, covariance="linear_response", polish=True, draws=100)
    assert result.notes["polished"] == 0
    assert np.asarray(result.posterior["pi"]).shape == (1, 100, 2)
    assert not result.sample_stats


def test_an_ascent_that_was_stopped_early_is_settled() -> None:
    options: Any = {"restarts": 1, "covariance": "linear_response", "draws": 10}
    best, early = (vi(make(), np.random.default_rng(0), max_iterations=n, **options).variational for n in (2000, 2))
    for name in ("mean_linear_response", "covariance_linear_response", "alpha"):
        np.testing.assert_allclose(early[name][1], best[name][1], rtol=1e-5, atol=1e-8)


def test_unknown_covariances_are_refused() -> None:
    with pytest.raises(gn.InputError, match=r"covariance='full' is not known; use one of mean_field, linear_response"):
        gn.fit("nb_mixture", dict(make().arrays), "vi", component=2, covariance="full")
    with pytest.raises(gn.InputError, match=r"polish=True corrects covariance='linear_response'"):
        gn.fit("nb_mixture", dict(make().arrays), "vi", component=2, polish=True)


def test_diagnose_reports_the_khat_before_resampling() -> None:
    problem = make()
    tree = gn.fit("nb_mixture", dict(problem.arrays), "vi", 1, component=2, covariance="linear_response", draws=200)
    notes = json.loads(tree.attrs["notes"])
    verdicts = {v.check: v for v in gn.diagnose("nb_mixture", tree).verdicts}
    assert verdicts["Pareto k-hat of q"].value == notes["khat"]
    assert verdicts["Pareto k-hat of q"].where == "before resampling"
    tree.attrs["notes"] = json.dumps({**notes, "polished": 1})
    checks = {v.check for v in gn.diagnose("nb_mixture", tree).verdicts}
    assert "Pareto k-hat of q" not in checks
    assert {"R-hat", "bulk ESS"} <= checks


def test_predictions_average_over_the_corrected_draws() -> None:
    problem = make()
    tree = gn.fit("nb_mixture", dict(problem.arrays), "vi", 1, component=2, covariance="linear_response", draws=200)
    from genarium.models.nb_mixture.adjusted import Adjusted
    from genarium.models.nb_mixture.predict import average

    joint = average(tree["posterior"].to_dataset(), problem, Adjusted("known"))
    np.testing.assert_allclose(gn.predict(tree)["predictions"]["log_density"], logsumexp(joint, axis=0), rtol=1e-12)
