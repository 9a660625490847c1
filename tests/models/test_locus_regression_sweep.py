"""locus_regression: a sweep of coordinate ascent: expectation, bound, each block at its maximum, derivatives."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import digamma, gammaln
from scipy.stats import dirichlet_multinomial, norm
from scipy.stats import gamma as gamma_distribution

from genarium.declaration import Array
from genarium.engines.ascent import ascend
from genarium.models.locus_regression import channels, contexts, effects, hyperprior, random_loci
from genarium.models.locus_regression.channels import split_channel
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.dirichlet import FLOOR, UNDERFLOW, concentration, of_counts, of_factors, symmetric
from genarium.models.locus_regression.expectation import PARTS, Weights, expect
from genarium.models.locus_regression.moments import Design, Moments
from genarium.simplex import log_sum_exp
from locus_problems import VARIANTS, every_variant, problem_of, random_state

variational = import_module("genarium.models.locus_regression.vi")
every_variant: pytest.MarkDecorator = every_variant


def naive_expectation(data: Any, tables: tuple[Array, ...]) -> tuple[list[Array], float]:
    sums, log_sum = [np.zeros_like(table) for table in tables], 0.0
    for g, r, m, n in zip(data.genome, data.row, data.channel, data.count, strict=True):
        each = np.exp(tables[0][g] + tables[1][r] + tables[2][m])
        log_sum += n * np.log(each.sum())
        for table, at in zip(sums, (g, r, m), strict=True):
            table[at] += n * each / each.sum()
    return sums, log_sum


@pytest.mark.parametrize("cells", [200, 40_000])
def test_expectation_is_that_of_a_loop(cells: int) -> None:
    rng = np.random.default_rng(1)
    _, problem, _ = problem_of(VARIANTS[1], cell=cells)
    data = corpus(problem)
    if cells > 1000:  # enough distinct cells for the pass that is shared among threads
        index = {name: rng.integers(0, n, cells) for name, n in (("genome", 6), ("row", 30), ("channel", 96))}
        more: dict[str, Any] = {n: np.sort(v).astype(np.int32) for n, v in index.items()}
        data = replace(data, **more, count=np.ones(cells))
        assert PARTS > 1
    tables = tuple(rng.normal(-300, 3, (n, 3)) for n in (6, data.rows, 96))
    *found, log_sum = expect(data, *(Weights.of(table) for table in tables))
    sums, expected = naive_expectation(data, tuple(table + 300 for table in tables))
    for here, there in zip(found, sums, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-12)
    assert log_sum == pytest.approx(expected - 900 * data.count.sum(), rel=1e-12)


def test_mutation_out_of_reach_ends_a_jump_and_not_the_fit() -> None:
    """As where a jump of the accelerated ascent leaves a genome one process, and a channel another one."""
    _, problem, _ = problem_of(VARIANTS[0], cell=50)
    data = corpus(problem)
    tables = [np.zeros((n, 2)) for n in (data.genomes, data.rows, data.channels)]
    tables[0][:, 1] = tables[2][:, 0] = -1000
    of_genome, of_row, of_channel, log_sum = expect(data, *map(Weights.of, tables))
    assert log_sum == -np.inf
    for sums in (of_genome, of_row, of_channel):
        np.testing.assert_array_equal(sums, 0)


@pytest.mark.parametrize("scale", [100.0, 1e6])
def test_ascents_do_not_depend_on_the_units_of_features(scale: float) -> None:
    """But for the prior of the effects, which is wider."""
    _, problem, _ = problem_of({"form": "conditional"}, genome=20, locus=300, process=2, feature=3, cell=8000)
    ends = []
    for factor in (1.0, scale):
        found = replace(problem, arrays={**problem.arrays, "features": factor * problem["features"]})
        ends.append(variational.vi(found, np.random.default_rng(1), covariance="mean_field", draws=2))
    one, other = (np.asarray(end.variational["beta_mean"][1]) for end in ends)
    sd = np.asarray(ends[0].variational["beta_sd"][1])
    assert min((np.abs(scale * each - one) / sd).max() for each in (other, other[::-1])) < 0.3


def test_duplicates_are_added_up() -> None:
    _, problem, _ = problem_of(VARIANTS[0], cell=500)
    data = corpus(problem)
    assert data.count.sum() == 500
    assert len(data.count) < 500
    doubled = replace(problem, arrays={**problem.arrays, "count": 2 * problem["count"]})
    np.testing.assert_array_equal(corpus(doubled).count, 2 * data.count)


@every_variant
def test_bound_is_that_of_the_definition(options: dict[str, str]) -> None:
    """E log p - E log q, factor by factor, with normalisers replaced by their bounds."""
    _, problem, _ = problem_of(options)
    data = corpus(problem)
    step = variational.Step(data)
    state = random_state(step, problem)
    tables = step.tables(state)
    bound = 0.0
    K, F = state.effects.mean.shape
    L = data.features.shape[1]
    mean_lam = state.delta / state.delta.sum(1, keepdims=True)
    random = options["loci"] == "random"
    shape, scale = np.ones((2, K, L))
    if random:
        shape, scale = state.locus_effects.shape, 1 / state.locus_effects.inverse_scale
    for g, r, m, n in zip(data.genome, data.row, data.channel, data.count, strict=True):
        j, at = divmod(int(r), L)
        c, a = (int(v) for v in split_channel(np.array(m)))
        each = np.zeros(K)
        for k in range(K):
            rates = np.array(
                [
                    np.exp(
                        data.log_exposure[i]
                        + state.effects.mean[k] @ x
                        + 0.5
                        * (x - state.effects.centre[j, k])
                        @ state.effects.covariance[k]
                        @ (x - state.effects.centre[j, k])
                    )
                    * (mean_lam[k] @ data.opportunity[:, i] if options["form"] == "joint" else 1.0)
                    * (shape[k, i] * scale[k, i])
                    for i, x in enumerate(data.features[j])
                ]
            )
            each[k] = (
                digamma(state.gamma[g, k])
                - digamma(state.gamma[g].sum())
                + digamma(state.delta[k, c])
                - digamma(state.delta[k].sum())
                + digamma(state.omega[k, c, a])
                - digamma(state.omega[k, c].sum())
                + data.log_exposure[at]
                + state.effects.mean[k] @ data.features[j, at]
                + (digamma(shape[k, at]) + np.log(scale[k, at]) if random else 0.0)
                - np.log(rates.sum())
                + np.log(data.opportunity[c, at])
                - (np.log(mean_lam[k] @ data.opportunity[:, at]) if options["form"] == "conditional" else 0.0)
            )
        q = np.exp(each - each.max())
        q /= q.sum()
        bound += n * float(q @ (each - np.log(q)))
    for factors, priors in (
        (state.gamma, [state.alpha] * len(state.gamma)),
        (state.delta, [np.full(32, each) for each in state.lam_concentration]),
        (state.omega.reshape(-1, 3), [np.full(3, each) for each in np.repeat(state.rho_concentration, 32)]),
    ):
        for row, prior in zip(factors, priors, strict=True):
            log = digamma(row) - digamma(row.sum())
            bound += gammaln(prior.sum()) - gammaln(prior).sum() + (prior - 1) @ log
            bound -= gammaln(row.sum()) - gammaln(row).sum() + (row - 1) @ log
    for k in range(K):
        mean, covariance, tau = state.effects.mean[k], state.effects.covariance[k], state.tau[k]
        bound += F * norm.logpdf(0, 0, tau) - (mean @ mean + np.trace(covariance)) / (2 * tau**2)
        bound += 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
        if random:
            r = 1 / state.dispersion[k]
            log, entropy = digamma(shape[k]) + np.log(scale[k]), gamma_distribution(shape[k], scale=scale[k]).entropy()
            bound += (r * np.log(r) - gammaln(r) + (r - 1) * log - r * shape[k] * scale[k] + entropy).sum()
    for name, median in vars(data.hyper).items():
        if (values := getattr(state, name)) is not None:
            bound -= 0.5 * ((np.log(values) - np.log(median)) ** 2).sum() / hyperprior.SPREAD**2
    assert step.bound(state) == pytest.approx(bound, rel=1e-11)
    assert step(state)[1] == pytest.approx(bound, rel=1e-11)
    assert all(np.isfinite(table.log).all() for table in tables)


@every_variant
@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_every_block_raises_the_bound(options: dict[str, str], full: bool) -> None:
    """From random states, with the other factors and the responsibilities held."""
    _, problem, _ = problem_of(options)
    step = variational.Step(corpus(problem), full=full)

    def held(state: Any, counts: tuple[Array, ...]) -> float:
        """The bound but for the entropy of responsibilities that are held."""
        expected = sum(float((part * table.log).sum()) for part, table in zip(counts, step.tables(state), strict=True))
        return float(expected - step.divergence(state))

    for seed in range(5):
        state = random_state(step, problem, seed)
        of_genome, of_row, of_channel, _ = expect(step.data, *step.tables(state))
        counts = (of_genome, of_row, of_channel)
        before = held(state, counts)
        slack = 1e-10 * abs(before)
        found, moments = effects.update(step.effects_objective(state, of_row), state.effects, state.moments, full)
        moved = replace(state, effects=found, moments=moments)
        assert held(step.normalised(moved), counts) == pytest.approx(held(moved, counts), rel=1e-12)
        assert held(moved, counts) >= before - slack
        by_context = channels.by_context(of_channel.T, 32)
        objective = step.context_objective(state, of_row, by_context.sum(-1))
        moved = step.normalised(replace(state, delta=contexts.update(objective, state.delta)))
        assert held(moved, counts) >= before - slack
        for change in ({"omega": step.alternatives(state, by_context)}, {"gamma": state.alpha + of_genome}):
            assert held(replace(state, **change), counts) >= before - slack
        if options["loci"] == "random":
            moved = step.with_locus_effects(state, of_row)
            assert (moved.locus_effects.shape != state.locus_effects.shape).all()
            assert held(moved, counts) >= before - slack
        estimating = variational.Step(step.data, full=full, empirical_bayes=True)
        moved = estimating.with_hyperparameters(replace(state, age=100))
        assert (moved.tau != state.tau).all()
        assert (moved.alpha != state.alpha).any()
        assert (moved.lam_concentration != state.lam_concentration).all()
        assert (moved.rho_concentration != state.rho_concentration).all()
        assert held(moved, counts) >= before - slack


@every_variant
@pytest.mark.parametrize("full", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["full", "diagonal"])
def test_bound_never_falls(options: dict[str, str], full: bool) -> None:
    _, problem, _ = problem_of(options, cell=600)
    step = variational.Step(corpus(problem), full=full, empirical_bayes=True)
    run = ascend(step, step.first(problem, np.random.default_rng(1)), tolerance=1e-9, max_iterations=120)
    assert (np.diff(run.bounds) >= -1e-8 * np.abs(run.bounds[1:])).all()
    assert run.bounds[-1] - run.bounds[0] > 10


def test_starts_go_on_until_two_agree() -> None:
    """With one to agree, the best start alone ends; with two, the ends of two are one optimum; the best is told."""
    _, problem, _ = problem_of(VARIANTS[0], cell=600)
    step = variational.Step(corpus(problem))
    for agreeing in (1, 2):
        rng = np.random.default_rng(1)
        runs, best = variational.climbed(
            step, problem, rng, None, restarts=4, tolerance=1e-4, max_iterations=1000, agreeing=agreeing
        )
        ended = [run.bound for run in runs if run.converged]
        assert sum(bound > runs[best].bound - 1e-3 for bound in ended) >= agreeing or len(ended) == 4
        assert runs[best].bound == max(run.bound for run in runs)
        assert agreeing > 1 or len(ended) == 1


def test_bound_of_the_log_normaliser() -> None:
    """Above E log Z whatever the centre, and closest near the mean; (nu'X)^2 / 2 in its place is no bound."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1, 40, 3))
    mean, sd = np.array([0.5, -0.8, 0.3]), np.array([0.6, 0.7, 0.8])
    X[0, :, 1] = 0.1 * X[0, :, 1] - X[0, :, 0] * sd[0] / sd[1]  # nu'X nearly cancels
    design = Design(X)

    def moments(mean: Array, covariance: Array, centre: Array) -> Moments:
        return design.moments(np.zeros((1, 40)), mean[None], covariance[None], centre[:, None])

    draws = mean + sd * rng.normal(size=(200_000, 3))
    log_z = np.log(np.exp(draws @ X[0].T).sum(1))
    exact, error = log_z.mean(), log_z.std() / np.sqrt(len(log_z))
    covariance = np.diag(sd**2)
    centred = moments(mean, covariance, np.zeros((1, 3))).mean[:, 0]
    for centre in (np.zeros((1, 3)), centred, rng.normal(size=(1, 3))):
        assert moments(mean, covariance, centre).log_normaliser[0, 0] > exact + 4 * error
    of_the_paper = np.log(np.exp(X[0] @ mean + 0.5 * (X[0] @ sd) ** 2).sum())
    assert of_the_paper < exact - 4 * error


def test_moments_are_those_of_the_weights() -> None:
    """By the definition, over more loci than a block has; and the same of features that lie far from zero."""
    rng = np.random.default_rng(5)
    J, K, L, F = 2, 3, 20_000, 3
    X, offset = rng.normal(size=(J, L, F)), rng.normal(size=(K, L))
    mean, centre = rng.normal(0, 0.5, (K, F)), rng.normal(0, 0.3, (J, K, F))
    roots = rng.normal(0, 0.3, (K, F, F))
    covariance = roots @ roots.transpose(0, 2, 1)
    design = Design(X)
    assert len(list(design.blocks(0))) > 2
    found = design.moments(offset, mean, covariance, centre)
    exponents = design.exponents(offset, mean, covariance, centre)
    for j, k in np.ndindex(J, K):
        away = X[j] - centre[j, k]
        exponent = offset[k] + X[j] @ mean[k] + 0.5 * ((away @ covariance[k]) * away).sum(1)
        np.testing.assert_allclose(exponents[k, j], exponent, atol=1e-12)
        p = np.exp(exponent - exponent.max())
        assert found.log_normaliser[j, k] == pytest.approx(exponent.max() + np.log(p.sum()), rel=1e-13)
        np.testing.assert_allclose(found.mean[j, k], p @ X[j] / p.sum(), rtol=1e-11)
        np.testing.assert_allclose(found.covariance[j, k], np.cov(X[j].T, aweights=p, ddof=0), atol=1e-12)
    far = Design(X + 1e6).moments(offset, mean, covariance, centre + 1e6)
    np.testing.assert_allclose(far.covariance, found.covariance, rtol=1e-6, atol=1e-9)


def objective_of_effects(seed: int = 0) -> effects.Objective:
    """Of one process and two groups."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2, 30, 3))
    weight = rng.gamma(1, 5, (2, 30))
    sums = np.einsum("jl,jlf->f", weight, X)[None]
    return effects.Objective(Design(X), rng.normal(size=(1, 30)), sums, weight.sum(1)[:, None], np.array([0.8]))


def value_at(objective: effects.Objective, mean: Array, covariance: Array, centre: Array) -> float:
    at = effects.Effects(mean[None], covariance[None], centre[:, None])
    return float(objective.value(at, objective.moments(at).log_normaliser)[0])


@pytest.mark.parametrize("centred", [True, False])
def test_effects_are_at_the_maximum_of_their_objective(centred: bool) -> None:
    """Against a general optimiser over mean and Cholesky factor; from a bad start, where steps must be halved."""
    objective = objective_of_effects()
    low = np.tril_indices(3)
    at = effects.Effects(np.full((1, 3), 0.0 if centred else 3.0), 0.1 * np.eye(3)[None], np.zeros((2, 1, 3)))
    moments, values = objective.moments(at), []
    for _ in range(60):
        at, moments = effects.update(objective, at, moments, True)
        values.append(float(objective.value(at, moments.log_normaliser)[0]))
    assert (np.diff(values) >= -1e-9).all()

    def loss(vector: Array) -> float:
        factor = np.zeros((3, 3))
        factor[low] = vector[3:]
        return -value_at(objective, vector[:3], factor @ factor.T, at.centre[:, 0])

    start = np.concatenate([np.zeros(3), (0.1 * np.eye(3))[low]])
    best = minimize(loss, start, method="BFGS", options={"gtol": 1e-9})
    assert -values[-1] == pytest.approx(best.fun, abs=1e-6)
    np.testing.assert_allclose(at.mean[0], best.x[:3], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_objective_of_the_effects_is_concave(seed: int) -> None:
    """Card, proposition 1: in (mu, log nu), at random points; the Hessian by finite differences of the value."""
    objective = objective_of_effects(seed)
    rng = np.random.default_rng(seed)
    centre = rng.normal(0, 0.3, (2, 3))

    def value(vector: Array) -> float:
        return value_at(objective, vector[:3], np.diag(np.exp(2 * vector[3:])), centre)

    def formula(vector: Array) -> Array:
        """-N Cov_p(Y) - diag(1/tau^2; 2 v (1/tau^2 + N E_p (X - c)^2)), Y = [X; v (X - c)^2]."""
        v = np.exp(2 * vector[3:])
        exponent = objective.design.exponents(objective.offset, vector[None, :3], np.diag(v)[None], centre[:, None])[0]
        weight = np.exp(exponent - log_sum_exp(exponent)[:, None])
        features = objective.design.columns[:, 1:].transpose(0, 2, 1) + objective.design.origin[:, None]
        hessian = -np.diag(np.concatenate([np.full(3, 0.8**-2), 2 * v * 0.8**-2]))
        for j in range(2):
            square = (features[j] - centre[j]) ** 2
            Y = np.concatenate([features[j], v * square], 1)
            hessian -= objective.total[j, 0] * np.cov(Y.T, aweights=weight[j], ddof=0)
            hessian[3:, 3:] -= np.diag(2 * v * objective.total[j, 0] * (weight[j] @ square))
        return hessian

    at, step = rng.normal(0, 0.5, 6), 1e-4
    shifts = step * np.eye(6)
    numeric = np.array(
        [
            [value(at + a + b) - value(at + a - b) - value(at - a + b) + value(at - a - b) for b in shifts]
            for a in shifts
        ]
    ) / (4 * step**2)
    exact = formula(at)
    np.testing.assert_allclose(numeric, exact, atol=1e-4 * np.abs(exact).max())
    assert np.linalg.eigvalsh(exact).max() < 0


def test_derivatives_of_the_contexts_objective() -> None:
    rng = np.random.default_rng(1)
    K, C, R = 2, 6, 9
    for opportunity in (rng.gamma(2, 1, (C, R)), rng.gamma(2, 1, (K, C, R)), rng.gamma(2, 1, (K, C, 1))):
        R = opportunity.shape[-1]
        prior = rng.gamma(2, 0.3, K)
        objective = contexts.Objective(rng.gamma(2, 3, (K, C)), rng.gamma(2, 1, (R, K)), opportunity, prior)
        at, step = rng.normal(0.5, 0.7, (K, C)), 1e-4
        value, gradient, hessian = objective.derivatives(np.exp(at))
        np.testing.assert_allclose(value, objective.value(np.exp(at)), rtol=1e-13)
        for c in range(C):
            unit = step * np.eye(C)[c]
            up, down = objective.value(np.exp(at + unit)), objective.value(np.exp(at - unit))
            np.testing.assert_allclose((up - down) / (2 * step), gradient[:, c], rtol=1e-6, atol=1e-6)
            slopes = [objective.derivatives(np.exp(at + sign * unit))[1] for sign in (1, -1)]
            np.testing.assert_allclose((slopes[0] - slopes[1]) / (2 * step), hessian[:, c], rtol=1e-5, atol=1e-5)


def test_curvature_of_some_loci_leads_to_the_same_maximum() -> None:
    """Of more loci than the curvature is summed over: steps climb, to where the exact gradient is zero."""
    rng = np.random.default_rng(2)
    K, C, R = 2, 6, 3 * contexts.ENOUGH
    lam, t = rng.dirichlet(np.ones(C), K), rng.gamma(2, 1, (C, R))
    weight = rng.poisson(0.2, (R, K)).astype(float)
    share = lam[:, :, None] * t / (lam @ t)[:, None]
    objective = contexts.Objective(np.einsum("rk,kcr->kc", weight, share), weight, t, np.ones(K))
    delta, values = np.full((K, C), 5.0), []
    for _ in range(25):
        values.append(objective.value(delta))
        delta = contexts.update(objective, delta)
    assert (np.diff(values, axis=0) >= -1e-12 * np.abs(values[1:])).all()
    assert np.abs(objective.derivatives(delta)[1]).max() < 0.01  # of thousands at the start
    np.testing.assert_allclose(delta / delta.sum(1, keepdims=True), lam, atol=0.02)


def test_concentration_is_the_maximum() -> None:
    """Of expected log prior and log normal prior; a process at the floor stays there."""
    rng = np.random.default_rng(1)
    pi = rng.dirichlet([0.3, 2.0, 5.0], 400)
    log_mean = np.log(pi).mean(0)
    found, median = np.ones(3), np.array([1.0, 0.5, 2.0])
    for _ in range(20):
        found = concentration(log_mean, 400, found, median, 0.7)
    gradient = 400 * found * (digamma(found.sum()) - digamma(found) + log_mean) - np.log(found / median) / 0.7**2
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    np.testing.assert_allclose(found, [0.3, 2.0, 5.0], rtol=0.2)
    out = concentration(log_mean, 400, np.array([FLOOR, 1.0, 1.0]), median, 0.7)
    assert out[0] == FLOOR
    assert (out[1:] != 1).all()


@pytest.mark.parametrize("start", [1e-3, 0.4, 50.0])
def test_concentrations_of_spectra_are_the_maximum(start: float) -> None:
    """Of expected log density, or of the probability of counts; SciPy's densities, by a general optimiser."""
    rng = np.random.default_rng(1)
    K, F, D = 2, 6, 4
    shares = rng.dirichlet(np.full(D, 0.3), (K, F))
    counts, median = np.round(rng.gamma(1, 9, (K, F, 1)) * shares), np.array([1.0, 0.5])
    log_share = np.log(np.maximum(shares[:, 0], UNDERFLOW))
    by_factors = symmetric(of_factors(log_share.sum(1), D), np.full(K, start), median, 0.7, steps=60)
    by_counts = symmetric(of_counts(counts), np.full(K, start), median, 0.7, steps=60)
    for k in range(K):

        def factors(x: float, k: int = k) -> float:
            at = np.full(D, np.exp(x))
            value = gammaln(at.sum()) - gammaln(at).sum() + (at - 1) @ log_share[k]
            return float(0.5 * ((x - np.log(median[k])) / 0.7) ** 2 - value)

        def counted(x: float, k: int = k) -> float:
            at = np.full(D, np.exp(x))
            value = sum(float(dirichlet_multinomial.logpmf(row, at, int(row.sum()))) for row in counts[k].astype(int))
            return float(0.5 * ((x - np.log(median[k])) / 0.7) ** 2 - value)

        assert np.log(by_factors[k]) == pytest.approx(minimize_scalar(factors, (-3, 3)).x, abs=1e-5)
        assert np.log(by_counts[k]) == pytest.approx(minimize_scalar(counted, (-3, 3)).x, abs=1e-5)


def test_tau_is_the_maximum() -> None:
    """Against a general optimiser, where effects are tiny, as they are expected, and huge."""
    squares, median = np.array([1e-12, 3.0, 1e6]), np.array([1.0, 0.2, 1.0])
    found = hyperprior.standard_deviations(squares, 3, median)
    for square, middle, tau in zip(squares, median, found, strict=True):

        def loss(x: float, square: float = square, middle: float = middle) -> float:
            return float(3 * x + 0.5 * square * np.exp(-2 * x) + 0.5 * ((x - np.log(middle)) / hyperprior.SPREAD) ** 2)

        assert np.log(tau) == pytest.approx(minimize_scalar(loss, (-5, 5)).x, abs=1e-5)


def test_dispersion_is_the_maximum() -> None:
    """Against a general optimiser; and nothing varies where q is the prior of no dispersion."""
    rng = np.random.default_rng(2)
    shape = rng.gamma(3, 2, (2, 50))
    found = random_loci.LocusEffects(shape, shape * rng.uniform(0.5, 2, (2, 50)))
    start = np.array([0.01, 5.0])
    median = np.array([0.1, 2.0])
    best = random_loci.dispersions(found, start, median, 0.5, steps=50)
    for k in range(2):
        log, mean = found.expected_log[k], found.mean[k]

        def loss(log_r: float, k: int = k, log: Array = log, mean: Array = mean) -> float:
            r = np.exp(log_r)
            away = (log_r + np.log(median[k])) / 0.5
            return float(0.5 * away**2 - (r * np.log(r) - gammaln(r) + (r - 1) * log - r * mean).sum())

        assert best[k] == pytest.approx(np.exp(-minimize_scalar(loss).x), rel=1e-5)
    tight = random_loci.LocusEffects.prior(np.full(2, 1e-8), 50)
    assert (random_loci.dispersions(tight, start, median, 1e3, steps=50) < 1e-5).all()


def test_draws_of_locus_effects() -> None:
    rng = np.random.default_rng(3)
    shape, inverse_scale = rng.gamma(3, 1, (2, 2, 4))
    x, log_q = random_loci.draw(rng, 20_000, shape, inverse_scale)
    error = np.sqrt(shape) / inverse_scale / np.sqrt(20_000)
    assert (np.abs(x.mean(0) - shape / inverse_scale) < 4 * error).all()
    expected = gamma_distribution(shape, scale=1 / inverse_scale).logpdf(x).sum((1, 2))
    np.testing.assert_allclose(log_q, expected, rtol=1e-9)
