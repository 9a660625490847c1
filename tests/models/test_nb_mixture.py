"""The mixture's inference against naive references: loops over cells, scipy.stats, brute-force integrals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines.ascent import ascend
from genarium.models.nb_mixture.cautions import inflation, merging_loss
from genarium.models.nb_mixture.conjugate import ConjugateStep
from genarium.models.nb_mixture.counts import Counts
from genarium.models.nb_mixture.depth import NODES, DepthStep, NearNormal
from genarium.models.nb_mixture.em import em
from genarium.models.nb_mixture.em_step import Step
from genarium.models.nb_mixture.factors import known_grid
from genarium.models.nb_mixture.likelihood import Story, log_joint
from genarium.models.nb_mixture.rising import log_rising
from genarium.models.nb_mixture.updates import DispersionObjective, trigamma
from genarium.models.nb_mixture.vi import vi

DISPERSIONS = ("known", "shared", "gene", "component")
MU = [[20.0, 200.0, 5.0], [200.0, 20.0, 5.0], [60.0, 60.0, 90.0]]


def make(dispersion: str = "known", depth: bool = False, cells: int = 150, seed: int = 0) -> Problem:
    size_factor = np.random.default_rng(seed).lognormal(0, 0.4, cells) if depth else 1.0
    tree = gn.simulate(
        "nb_mixture",
        seed,
        cell=cells,
        gene=3,
        mu=MU,
        pi=[0.5, 0.3, 0.2],
        size_factor=size_factor,
        dispersion=dispersion,
    )
    model = gn.get("nb_mixture").variant(dispersion=dispersion)
    return check(model, tree, {"component": 3})


def naive_log_likelihood(x: Array, s: Array, pi: Array, mu: Array, phi: Array) -> Array:
    """Loop over cells, components and genes with scipy's negative binomial; phi (K, D)."""
    out = np.empty(len(x))
    for n in range(len(x)):
        terms = []
        for k in range(len(pi)):
            mean, r = s[n] * mu[k], 1 / phi[k]
            terms.append(np.log(pi[k]) + stats.nbinom.logpmf(x[n], r, r / (r + mean)).sum())
        out[n] = special.logsumexp(terms)
    return out


@pytest.mark.parametrize("dispersion", DISPERSIONS)
@pytest.mark.parametrize("depth", [False, True])
def test_log_likelihood_is_that_of_scipy_cell_by_cell(dispersion: str, depth: bool) -> None:
    problem = make(dispersion, depth, cells=30)
    rng = np.random.default_rng(3)
    pi, mu = rng.dirichlet(np.ones(3)), rng.lognormal(3, 1, (3, 3))
    story = Story(dispersion)
    phi = rng.lognormal(-1, 0.5, problem.model.shape("phi", problem.sizes))
    ours = story.log_likelihood(problem["x"], problem["size_factor"], pi, mu, phi)
    naive = naive_log_likelihood(problem["x"], problem["size_factor"], pi, mu, np.array(story.spread(phi, mu)))
    np.testing.assert_allclose(ours, naive, rtol=1e-11)


def test_log_prior_is_the_product_of_scipy_densities() -> None:
    rng = np.random.default_rng(0)
    pi, mu, phi = rng.dirichlet(np.ones(3)), rng.lognormal(3, 1, (3, 2)), np.array([0.2, 0.7, 1.4])
    known = {"alpha0": 1.7, "a0": 2.5, "b0": 1.5, "phi0": 0.3, "tau": 0.6}
    ours = Story("component").log_prior(pi=pi, mu=mu, phi=phi, **{name: np.array(v) for name, v in known.items()})
    expected = (
        stats.dirichlet(np.full(3, 1.7)).logpdf(pi)
        + stats.betaprime(1.5, 2.5, scale=1 / phi[:, None]).logpdf(mu).sum()
        + stats.lognorm(0.6, scale=0.3).logpdf(phi).sum()
    )
    assert ours == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("dispersion", DISPERSIONS)
@pytest.mark.parametrize("depth", [False, True])
def test_em_never_lowers_the_likelihood_and_ends_at_a_stationary_point(dispersion: str, depth: bool) -> None:
    problem = make(dispersion, depth)
    step = Step(problem)
    found = ascend(step, step.start_at(np.array(MU) * [[0.6, 1.4, 1.0]]), tolerance=1e-9, max_iterations=5000)
    assert found.converged
    assert found.largest_fall == 0
    vector = step.pack(found.state)

    def minus(values: Array) -> float:
        state = step.unpack(values)
        phi = step.story.spread(state.phi, state.mu)
        return -naive_free(problem, state.pi, state.mu, np.array(phi))

    gradient = optimize.approx_fprime(vector, minus, 1e-6)
    assert np.abs(gradient).max() < 0.02  # nats by unit of a log parameter; forward differences err by about 1e-3


def naive_free(problem: Problem, pi: Array, mu: Array, phi: Array) -> float:
    x, s = problem["x"][:, None, :], problem["size_factor"][:, None, None]
    r = 1 / phi
    logpmf = np.asarray(stats.nbinom.logpmf(x, r, r / (r + s * mu))).sum(-1)
    return float(special.logsumexp(logpmf + np.log(pi), axis=1).sum())


def test_em_bound_is_the_log_likelihood_of_its_estimate() -> None:
    problem = make("gene", depth=True)
    result = em(problem, np.random.default_rng(0), restarts=3)
    pi, mu, phi = (np.asarray(result.point[name]) for name in ("pi", "mu", "phi"))
    expected = naive_free(problem, pi, mu, np.broadcast_to(phi, mu.shape))
    assert result.notes["bound"] == pytest.approx(expected, rel=1e-11)


@pytest.mark.slow
def test_squarem_finds_the_same_optimum_in_fewer_iterations() -> None:
    tree = gn.simulate("nb_mixture", 3, cell=400, gene=2, mu=[[30, 30], [45, 40], [60, 80]])
    problem = check(gn.get("nb_mixture"), tree)
    plain = em(problem, np.random.default_rng(1), restarts=4, tolerance=1e-6, accelerate=False)
    fast = em(problem, np.random.default_rng(1), restarts=4, tolerance=1e-6)
    assert fast.notes["bound"] == pytest.approx(plain.notes["bound"], abs=1e-3)
    assert fast.notes["iterations"] < plain.notes["iterations"]
    assert fast.notes["largest_fall"] == 0


def test_compiled_sweep_equals_numpy_and_a_loop() -> None:
    rng = np.random.default_rng(0)
    x = rng.negative_binomial(2, 0.01, (1000, 3))
    counts = Counts(x, np.ones(1000))
    slope, intercept = rng.normal(size=(4, 3)), 50 * rng.normal(size=4)
    from genarium.models.nb_mixture import kernels

    blocks = counts.sweep_blocks(slope, intercept)
    log_sum, weight, total = kernels.sweep(counts.transposed[1:], slope, intercept)
    logits = x @ slope.T + intercept
    q = special.softmax(logits, axis=1)
    for a, b, c in (
        (blocks.log_sum, log_sum, special.logsumexp(logits, axis=1).sum()),
        (blocks.weight, weight, q.sum(0)),
        (blocks.total, total, q.T @ x),
    ):
        np.testing.assert_allclose(a, c, rtol=1e-10)
        np.testing.assert_allclose(b, c, rtol=1e-10)


def test_compiled_exponential_is_accurate_to_rounding() -> None:
    from genarium.models.nb_mixture.kernels import exp_nonpositive

    x = -np.concatenate([np.linspace(0, 2, 1001), np.geomspace(1e-12, 680, 1000)])
    y = x.copy()
    exp_nonpositive(y, np.empty(len(y), dtype=np.int64))
    np.testing.assert_allclose(y, np.exp(x), rtol=5e-16)
    low = np.array([-1e308, -5000.0])
    exp_nonpositive(low, np.empty(2, dtype=np.int64))
    assert ((low > 0) & (low < 1e-299)).all()


@pytest.mark.parametrize("r", [0.3, 7.0, 999.0, 1001.0, 1e5, 1e8])
def test_rising_factorial_keeps_its_digits_at_every_dispersion(r: float) -> None:
    """A difference of log gammas would be 4e-7 off at r = 1e8, where EM and VI end for underdispersed counts."""
    x = np.array([0, 1, 2, 40, 3000])
    exact = [np.log(r + np.arange(count)).sum() for count in x]
    np.testing.assert_allclose(log_rising(x, np.array(r)), exact, rtol=1e-13, atol=1e-11)
    both = np.array([0.3, r])
    np.testing.assert_array_equal(log_rising(x, both, np.array([1] * 5)), log_rising(x, both[1] + np.zeros(5)))


def test_trigamma() -> None:
    x = np.geomspace(1e-6, 1e8, 500)
    np.testing.assert_allclose(trigamma(x), special.polygamma(1, x), rtol=1e-13)


@pytest.mark.parametrize("dispersion", DISPERSIONS[1:])
@pytest.mark.parametrize("depth", [False, True])
def test_dispersion_objective_has_the_right_derivatives(dispersion: str, depth: bool) -> None:
    problem = make(dispersion, depth, cells=60)
    rng = np.random.default_rng(1)
    q = rng.dirichlet(np.ones(3), 60).T
    counts = Counts(problem["x"], problem["size_factor"])
    objective = DispersionObjective(counts.sums(q), counts, np.array(MU), Story(dispersion))
    at = rng.normal(1, 0.5, problem.model.shape("phi", problem.sizes))
    h = 1e-4
    low, middle, high = (objective(at + step) for step in (-h, 0, h))
    np.testing.assert_allclose((high[0] - low[0]) / (2 * h), middle[1], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose((high[1] - low[1]) / (2 * h), middle[2], rtol=1e-5, atol=1e-4)


def naive_elbo(x: Array, r: Array, q: Array, alpha0: float, a0: float, b0: float) -> float:
    """E_q[ln p(x, G, pi, p)] + entropies, term by term, with q(pi) and q(p) optimal for the responsibilities."""
    K, D = q.shape[1], x.shape[1]
    alpha = alpha0 + q.sum(0)
    total = stats.dirichlet(alpha).entropy() + stats.entropy(q, axis=1).sum()
    log_pi = special.psi(alpha) - special.psi(alpha.sum())
    total += special.gammaln(K * alpha0) - K * special.gammaln(alpha0) + (alpha0 - 1) * log_pi.sum()
    total += (q * log_pi).sum()
    for k in range(K):
        for d in range(D):
            a, b = a0 + r[d] * q[:, k].sum(), b0 + q[:, k] @ x[:, d]
            log_p = special.psi(a) - special.psi(a + b)
            log_not_p = special.psi(b) - special.psi(a + b)
            total += stats.beta(a, b).entropy()
            total += (a0 - 1) * log_p + (b0 - 1) * log_not_p - special.betaln(a0, b0)
            choose = special.gammaln(x[:, d] + r[d]) - special.gammaln(r[d]) - special.gammaln(x[:, d] + 1)
            total += q[:, k] @ (choose + r[d] * log_p + x[:, d] * log_not_p)
    return float(total)


def test_elbo_is_the_expectation_it_claims_to_be() -> None:
    problem = make(cells=80)
    step = ConjugateStep(
        problem, Counts(problem["x"], problem["size_factor"]), Story("known"), known_grid(problem, Story("known"))
    )
    state = step.first(np.array(MU))
    for _ in range(3):
        following, _ = step(state)
        factors = step.factors(state)
        alpha = step.concentration(state)
        q = step.responsibilities(state).T
        # the bound belongs to these factors and the responsibilities that follow from them
        _, bound = step(state)
        naive = naive_with(problem, q, alpha, factors.a[0], factors.b)
        assert bound == pytest.approx(naive, rel=1e-11)
        state = following
    q = step.responsibilities(state).T
    best = naive_elbo(problem["x"], 1 / problem["phi"], q, 2.0, 3.0, 30.0)
    assert step(state)[1] <= best + 1e-8  # optimal factors for the new responsibilities can only raise it


def naive_with(problem: Problem, q: Array, alpha: Array, a: Array, b: Array) -> float:
    x, r = problem["x"], 1 / problem["phi"]
    alpha0, a0, b0 = (float(problem[name]) for name in ("alpha0", "a0", "b0"))
    log_pi = special.psi(alpha) - special.psi(alpha.sum())
    K = len(alpha)
    total = stats.dirichlet(alpha).entropy() + stats.entropy(q, axis=1).sum() + (q * log_pi).sum()
    total += special.gammaln(K * alpha0) - K * special.gammaln(alpha0) + (alpha0 - 1) * log_pi.sum()
    log_p, log_not_p = special.psi(a) - special.psi(a + b), special.psi(b) - special.psi(a + b)
    total += np.asarray(stats.beta(a, b).entropy()).sum()
    total += ((a0 - 1) * log_p + (b0 - 1) * log_not_p - special.betaln(a0, b0)).sum()
    choose = (special.gammaln(x + r) - special.gammaln(r) - special.gammaln(x + 1)).sum(1)
    total += (q * (choose[:, None] + (r * log_p).sum(1) + x @ log_not_p.T)).sum()
    return float(total)


@pytest.mark.parametrize("dispersion", DISPERSIONS)
@pytest.mark.parametrize("depth", [False, True])
def test_vi_bound_never_falls_and_lies_below_the_evidence(dispersion: str, depth: bool) -> None:
    problem = make(dispersion, depth, cells=80)
    result = vi(problem, np.random.default_rng(0), restarts=2, draws=400)
    assert result.notes["largest_fall"] == 0
    assert result.notes["converged"]
    weights = importance_weights(problem, result)
    # ln E exp(w) = ln evidence of one mode >= E w = ELBO, estimated with standard error sd / sqrt(400)
    assert result.notes["bound"] <= special.logsumexp(weights) - np.log(400) + 3 * weights.std() / 20
    assert result.notes["bound"] == pytest.approx(weights.mean(), abs=1.5)


def importance_weights(problem: Problem, result: Any) -> Array:
    model = problem.model
    assert model.log_likelihood is not None
    assert model.log_prior is not None
    draws = {name: np.asarray(value)[0] for name, value in result.posterior.items()}
    log_q = np.asarray(result.sample_stats["log_q"])[0]
    out = []
    for i in range(len(log_q)):
        unknown = {name: value[i] for name, value in draws.items()}
        out.append(
            problem.call(model.log_likelihood, **unknown).sum() + problem.call(model.log_prior, **unknown) - log_q[i]
        )
    return np.array(out)


@pytest.mark.parametrize("dispersion", ["known", "shared", "gene"])
def test_quadrature_with_equal_size_factors_equals_the_closed_form(dispersion: str) -> None:
    plain = make(dispersion, cells=100)
    almost = Problem(plain.model, plain.sizes, {**plain.arrays, "size_factor": np.r_[1 + 1e-9, np.ones(99)]})
    closed = vi(plain, np.random.default_rng(0), restarts=2)
    summed = vi(almost, np.random.default_rng(0), restarts=2)
    assert summed.notes["bound"] == pytest.approx(closed.notes["bound"], abs=1e-4)


@pytest.mark.parametrize("x", [[0, 0, 0, 0], [0, 0, 1, 2], [3, 9, 30, 12]])
def test_a_skewed_factor_is_integrated_and_drawn_from(x: list[int]) -> None:
    """One gene with few counts: q(ln mu) is as skewed as it gets; normaliser and draws against adaptive quadrature."""
    problem = check(
        gn.get("nb_mixture"),
        {"x": np.array(x)[:, None], "phi": 0.5, "size_factor": [0.5, 1.0, 2.0, 1.5]},
        {"component": 1},
    )
    counts = Counts(problem["x"], problem["size_factor"])
    step = DepthStep(problem, counts, Story("known"), known_grid(problem, Story("known")))
    state = step.first(np.array([[0.7]]))
    for _ in range(2):
        state, bound = step(state)

    def density(log_mu: float) -> float:
        mu = np.exp([[log_mu]])
        likelihood = log_joint(problem["x"], problem["size_factor"], np.ones(1), mu, np.array([[0.5]])).sum()
        prior = stats.betaprime(1, 1, scale=2).logpdf(mu.item()) + log_mu
        return float(np.exp(likelihood + prior - bound))

    def expected(f: Callable[[float], float]) -> float:
        return float(integrate.quad(lambda u: f(u) * density(u), -40, 40, limit=500, points=[-4, -2, 0, 2, 4])[0])

    assert np.log(expected(lambda u: 1)) == pytest.approx(0, abs=1e-5)  # one component: the bound is the evidence
    draws = 40_000
    mu, log_q = step.draw_mu(np.random.default_rng(1), state, np.full((draws, 1, 1), 2.0), np.zeros((1, 1, 1), int))
    log_mu = np.log(mu[:, 0, 0])
    ratio = [density(u) / np.exp(q + u) for u, q in zip(log_mu[:2000], log_q[:2000], strict=True)]
    assert np.std(ratio) < 0.05  # of the density to that of its draws
    mean = expected(lambda u: u)
    sd = np.sqrt(expected(lambda u: (u - mean) ** 2))
    fourth = expected(lambda u: ((u - mean) / sd) ** 4)
    assert log_mu.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(draws))
    assert log_mu.std() == pytest.approx(sd, rel=4 * np.sqrt((fourth - 1) / (4 * draws)))


@pytest.mark.parametrize("dispersion", DISPERSIONS)
@pytest.mark.slow
def test_gibbs_with_and_without_depth_agree(dispersion: str) -> None:
    """The slice updates given mu and the collapsed ones are different samplers of one posterior."""
    plain = make(dispersion, cells=80)
    almost = Problem(plain.model, plain.sizes, {**plain.arrays, "size_factor": np.r_[1 + 1e-9, np.ones(79)]})
    from genarium.engines.labels import match_labels
    from genarium.models.nb_mixture.gibbs import gibbs

    summaries = []
    for problem in (plain, almost):
        draws = gibbs(problem, np.random.default_rng(5), chains=2, draws=500, tune=100).posterior
        matched = match_labels(problem.model, {n: np.asarray(v) for n, v in draws.items()})
        logs = np.concatenate([np.log(v).reshape(2, 500, -1) for v in matched.values()], -1)
        batches = logs.reshape(20, 50, -1).mean(1)
        summaries.append((logs.mean((0, 1)), batches.std(0, ddof=1) / np.sqrt(20), logs.std((0, 1))))
    (m1, e1, s1), (m2, e2, s2) = summaries
    z = (m1 - m2) / np.hypot(e1, e2)
    assert np.abs(z).max() < 4.5  # t with some 38 degrees of freedom, at most 19 quantities
    np.testing.assert_allclose(s1, s2, rtol=0.25)  # sd of some 200 effective draws: error of a ratio 0.07


def test_predictions_of_a_point_are_bayes_rule() -> None:
    problem = make()
    tree = gn.fit("nb_mixture", dict(problem.arrays), "em", 1, component=3, restarts=3)
    made = gn.predict(tree)["predictions"]
    joint = log_joint(
        problem["x"],
        problem["size_factor"],
        tree["point"]["pi"].to_numpy(),
        tree["point"]["mu"].to_numpy(),
        np.full((3, 3), 0.3),
    )
    np.testing.assert_allclose(made["probability"], special.softmax(joint, axis=0).T, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(made["log_density"], special.logsumexp(joint, axis=0), rtol=1e-12)
    np.testing.assert_allclose(tree["point"]["responsibility"], made["probability"], rtol=1e-9, atol=1e-14)


@pytest.mark.slow
def test_closed_form_predictions_of_vi_are_averages_over_its_draws() -> None:
    problem = make(cells=100)
    tree = gn.fit("nb_mixture", dict(problem.arrays), "vi", 1, component=3, restarts=3, draws=4000)
    closed = gn.predict(tree, {"x": problem["x"][:20]})["predictions"]
    from genarium.models.nb_mixture.adjusted import Adjusted
    from genarium.models.nb_mixture.predict import average

    new = check(problem.model, {**problem.arrays, "x": problem["x"][:20], "size_factor": 1.0}, {"component": 3})
    drawn = average(tree["posterior"].to_dataset(), new, Adjusted("known"), most=4000)
    np.testing.assert_allclose(closed["log_density"], special.logsumexp(drawn, axis=0), atol=0.03)


def test_predictive_mass_of_vi_sums_to_one() -> None:
    x = np.random.default_rng(0).negative_binomial(3, 0.2, (60, 1))
    tree = gn.fit("nb_mixture", {"x": x, "phi": 0.3}, "vi", 1, component=2, restarts=2)
    mass = np.exp(gn.predict(tree, {"x": np.arange(5000)[:, None]})["predictions"]["log_density"].to_numpy())
    assert mass.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_unneeded_components_get_no_weight() -> None:
    tree = gn.simulate("nb_mixture", 5, cell=400, gene=2, component=2, mu=[[10, 300], [300, 10]], pi=[0.5, 0.5])
    found = gn.fit("nb_mixture", {"x": tree["observed_data"]["x"], "phi": 0.3}, "vi", 1, component=6, alpha0=0.1)
    weights = found["posterior"]["pi"].mean(("chain", "draw")).to_numpy()
    assert weights[2:].sum() < 0.01
    best = gn.choose("nb_mixture", {"x": tree["observed_data"]["x"], "phi": 0.3}, "component", range(1, 5), seed=1)
    assert best["posterior"].sizes["component"] == 2


def test_a_component_that_empties_keeps_its_centroid_and_is_reported() -> None:
    problem = make(cells=50)
    step = Step(problem)
    far = np.array([*MU[:2], [1e-8, 1e-8, 1e-8]])
    state = ascend(step, step.start_at(far), tolerance=1e-8).state
    assert np.isfinite(state.mu).all()
    assert np.isfinite(state.pi).all()
    x = np.repeat([[5, 5], [500, 500], [5000, 5]], 4, axis=0)
    tree = gn.fit("nb_mixture", {"x": x, "phi": 1e-3}, "em", 0, component=3)
    assert np.isfinite(tree["point"]["mu"]).all()


def test_duplicate_start_rows_still_give_distinct_components() -> None:
    x = np.vstack([np.tile([3, 3], (200, 1)), [[900, 3]], [[3, 900]]])
    tree = gn.fit("nb_mixture", {"x": x, "phi": 0.3}, "em", 1, component=3, restarts=5)
    mu = tree["point"]["mu"].to_numpy()
    assert len({tuple(row) for row in mu.round(0)}) == 3


def test_more_components_than_distinct_cells_is_an_error() -> None:
    with pytest.raises(gn.InputError, match=r"component=3.*only 2 distinct rows.*at most 2"):
        gn.fit("nb_mixture", {"x": [[1, 2], [1, 2], [3, 4]], "phi": 0.3}, "em", component=3)


def test_a_gene_without_counts_is_floored_and_all_methods_stay_finite() -> None:
    x = np.random.default_rng(0).negative_binomial(3, 0.05, (60, 2))
    x[:, 1] = 0
    for method in ("em", "vi", "gibbs"):
        options = {"draws": 50, "tune": 20, "chains": 2} if method == "gibbs" else {}
        for depth in (1.0, np.linspace(0.5, 2, 60)):
            data = {"x": x, "phi": 0.3, "size_factor": depth}
            tree = gn.fit("nb_mixture", data, method, 1, component=2, **options)
            group = tree["point" if method == "em" else "posterior"]
            assert np.isfinite(group["mu"]).all()
            assert (group["mu"] > 0).all()


def test_an_all_zero_cell_is_data_like_any_other() -> None:
    x = np.vstack([np.random.default_rng(0).negative_binomial(3, 0.05, (60, 2)), [[0, 0]]])
    tree = gn.fit("nb_mixture", {"x": x, "phi": 0.3}, "vi", 1, component=2)
    assert np.isfinite(gn.predict(tree)["predictions"]["log_density"]).all()


def test_underdispersed_counts_send_phi_to_the_poisson_limit() -> None:
    x = np.random.default_rng(0).binomial(40, 0.9, (300, 2))
    tree = gn.fit("nb_mixture", {"x": x}, "em", 1, component=1, dispersion="shared")
    assert float(tree["point"]["phi"]) < 1e-4
    np.testing.assert_allclose(tree["point"]["mu"].to_numpy()[0], x.mean(0), rtol=1e-6)


def test_fixed_centroids_leave_only_the_weights_to_estimate() -> None:
    problem = make(cells=200)
    tree = gn.fit("nb_mixture", {**problem.arrays, "mu": MU}, "em", 1)
    np.testing.assert_array_equal(tree["point"]["mu"], MU)
    pi = tree["point"]["pi"].to_numpy()
    lower = -naive_free(problem, pi, np.array(MU), np.full((3, 3), 0.3))
    for other in ([0.4, 0.35, 0.25], [0.5, 0.3, 0.2]):
        assert lower <= -naive_free(problem, np.array(other), np.array(MU), np.full((3, 3), 0.3))
    with pytest.raises(gn.InputError, match=r"'vi' cannot hold mu fixed"):
        gn.fit("nb_mixture", {**problem.arrays, "mu": MU}, "vi", 1)


def test_components_are_sorted_by_weight() -> None:
    problem = make(cells=300)
    for method in ("em", "vi"):
        tree = gn.fit("nb_mixture", dict(problem.arrays), method, 1, component=3)
        pi = tree["point"]["pi"] if method == "em" else tree["posterior"]["pi"].mean(("chain", "draw"))
        assert (np.diff(pi.to_numpy()) <= 1e-3).all()


@pytest.mark.parametrize(
    ("method", "settings"), [("em", {}), pytest.param("vi", {"alpha0": 20.0}, marks=pytest.mark.slow)]
)
def test_components_that_are_copies_are_said_to_be_one(method: str, settings: dict[str, Any]) -> None:
    data = gn.simulate("nb_mixture", 5, cell=300, mu=[[10.0, 300.0], [400.0, 20.0]], pi=[0.5, 0.5], component=2)
    counts = {name: data[group][name].to_numpy() for group, name in (("observed_data", "x"), ("constant_data", "phi"))}
    for K in (2, 4):
        tree = gn.fit("nb_mixture", counts, method, seed=1, component=K, restarts=2, **settings)
        found = {v.check: v for v in gn.diagnose("nb_mixture", tree).verdicts}["components with equal centroids"]
        if K == 2:
            assert (found.status, found.value) == ("pass", 0)
        else:
            assert found.status == "warn"
            assert found.advice.endswith("or ask for 2 fewer.")


def test_merging_loses_what_the_likelihood_says() -> None:
    data = gn.simulate("nb_mixture", 5, cell=50, component=3)
    problem = check(gn.get("nb_mixture"), data)
    pi, mu = np.array([0.5, 0.3, 0.2]), np.array([[30.0, 60.0], [50.0, 20.0], [90.0, 10.0]])
    r, x = 1 / problem["phi"], problem["x"]

    def log_likelihood(pi: Array, mu: Array) -> float:
        return float(np.log((pi * stats.nbinom(r, r / (r + mu)).pmf(x[:, None]).prod(-1)).sum(1)).sum())

    one = (0.5 * mu[0] + 0.2 * mu[2]) / 0.7
    expected = log_likelihood(pi, mu) - log_likelihood(np.array([0.7, 0.3]), np.array([one, mu[1]]))
    assert merging_loss(problem, {"pi": pi, "mu": mu}, (0, 2)) == pytest.approx(expected, rel=1e-10)


def test_zero_inflation_gains_what_the_likelihood_says() -> None:
    problem = make("gene", depth=True)
    rng = np.random.default_rng(0)
    problem["x"][rng.random(150) < 0.2, 1] = 0
    pi, mu, phi = np.array([0.5, 0.3, 0.2]), np.array(MU), np.full(3, 0.3)
    gain, share = inflation(problem, {"pi": pi, "mu": mu, "phi": phi})

    def likelihood(w: float) -> float:
        x, s, r = problem["x"], problem["size_factor"], 1 / 0.3
        terms = np.empty((3, len(x)))
        for k in range(3):
            pmf = stats.nbinom.pmf(x, r, r / (r + s[:, None] * mu[k]))
            pmf[:, 1] = (1 - w) * pmf[:, 1] + w * (x[:, 1] == 0)
            terms[k] = np.log(pi[k]) + np.log(pmf).sum(1)
        return float(special.logsumexp(terms, 0).sum())

    best = optimize.minimize_scalar(lambda w: -likelihood(w), bounds=(0, 0.9), method="bounded")
    assert gain[1] == pytest.approx(-best.fun - likelihood(0), abs=1e-4)
    assert share[1] == pytest.approx(best.x, abs=1e-3)


@pytest.mark.parametrize("inflated", [False, True])
def test_zeros_beyond_the_model_are_named(inflated: bool) -> None:
    tree = gn.simulate("nb_mixture", 3, cell=300, gene=3, mu=MU, pi=[0.5, 0.3, 0.2])
    x = tree["observed_data"]["x"].to_numpy().copy()
    if inflated:
        x[np.random.default_rng(0).random(300) < 0.15, 2] = 0
    fitted = gn.fit("nb_mixture", {"x": x, "phi": 0.3}, "em", component=3)
    (found,) = [v for v in gn.diagnose("nb_mixture", fitted).verdicts if "zeros beyond" in v.check]
    assert found.status == ("warn" if inflated else "pass")
    if inflated:
        assert found.where.startswith("2 (1")


def test_a_wild_draw_has_replicates() -> None:
    """Means that no count can have, as a variational posterior of heavy tails may hold, are cut, not refused."""
    tree = gn.simulate("nb_mixture", seed=1, cell=5, component=1, mu=np.full((1, 2), 1e300), pi=[1.0])
    assert (tree["observed_data"]["x"] >= 0).all()


@pytest.mark.parametrize(
    ("left", "right"), [(0.5, 1e3), (1, 1), (1, 1e5), (2, 1e3), (20, 1e3), (1e3, 1e3), (1e3, 20), (10, 1)]
)
def test_nodes_of_centroids_integrate_a_betas_logit(left: float, right: float) -> None:
    """Densities exp(left u) / (1 + exp(u))^(left + right), whose tails the card gives the error of (eq. 20)."""
    p = left / (left + right)
    mode, curvature = np.log(p / (1 - p)), (left + right) * p * (1 - p)
    each = (np.array([[[value]]]) for value in (mode, curvature, left))
    log_mu, log_slope = NearNormal.around(*each).at((..., None)).log_mu(NODES)
    log_p = left * log_mu - (left + right) * np.logaddexp(0, log_mu) + log_slope + np.log(NODES[1] - NODES[0])
    assert special.logsumexp(log_p) == pytest.approx(special.betaln(left, right), abs=4e-6)
