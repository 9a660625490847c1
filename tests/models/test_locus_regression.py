"""locus_regression: its densities, its factors and their derivatives, its fits, against naive references."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import linear_sum_assignment, minimize, minimize_scalar
from scipy.special import digamma, gammaln
from scipy.stats import chisquare, dirichlet, dirichlet_multinomial, norm
from scipy.stats import gamma as gamma_distribution

import genarium as gn
from genarium import registry
from genarium.calibration.thinning import effective
from genarium.data import check
from genarium.declaration import Array, Caution, Model, Problem
from genarium.engines import stan
from genarium.engines.ascent import ascend
from genarium.engines.compiled import Compiled
from genarium.errors import InputError
from genarium.evaluate import fitted_problem
from genarium.models.locus_regression import channels, contexts, effects, hyper, hyperprior, random_loci
from genarium.models.locus_regression.cautions import cautions
from genarium.models.locus_regression.channels import CHANNELS, CONTEXTS, channel_of, split_channel
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.dirichlet import FLOOR, UNDERFLOW, concentration, of_counts, of_factors, symmetric
from genarium.models.locus_regression.expectation import PARTS, Weights, expect
from genarium.models.locus_regression.moments import Design, Moments
from genarium.simplex import log_sum_exp

variational = import_module("genarium.models.locus_regression.vi")
sweep = import_module("genarium.models.locus_regression.sweep")
stochastic = import_module("genarium.models.locus_regression.svi")
gibbs_state = import_module("genarium.models.locus_regression.gibbs").State

CORPORA = Path(__file__).parents[3] / "shared" / "data" / "corpora"

VARIANTS = [
    {"form": form, "groups": groups, "loci": "fixed"}
    for form, groups in itertools.product(("conditional", "joint"), ("one", "several"))
]
RANDOM = [{**options, "loci": "random"} for options in (VARIANTS[0], VARIANTS[3])]
VARIANTS += RANDOM
SMALL = {"genome": 6, "locus": 15, "feature": 2, "process": 3, "cell": 120}

every_variant = pytest.mark.parametrize("options", VARIANTS, ids=["-".join(v.values()) for v in VARIANTS])


def problem_of(options: Mapping[str, str], seed: int = 1, **settings: Any) -> tuple[Model, Problem, xr.DataTree]:
    model = registry.get("locus_regression").variant(**options)
    tree = gn.simulate(model, seed=seed, **{**SMALL, **settings})
    return model, check(model, tree), tree


def truth_of(tree: xr.DataTree) -> dict[str, Array]:
    names = ("beta", "lam", "rho", "pi", "locus_effect")
    return {name: tree["truth"][name].to_numpy() for name in names if name in tree["truth"]}


# Channels


def test_channels_are_in_the_order_of_cosmic() -> None:
    assert CHANNELS[0] == "A[C>A]A"
    assert CHANNELS[1] == "A[C>A]C"
    assert CHANNELS[16] == "A[C>G]A"
    assert CHANNELS[47] == "T[C>T]T"
    assert CHANNELS[48] == "A[T>A]A"
    assert CHANNELS[95] == "T[T>G]T"
    assert len(set(CHANNELS)) == 96


def test_channel_is_its_context_and_its_alternative() -> None:
    channel = np.arange(96)
    context, alternative = split_channel(channel)
    np.testing.assert_array_equal(channel_of(context, alternative), channel)
    for m in range(96):
        name = CHANNELS[m]
        assert CONTEXTS[context[m]] == name[:3] + name[5:]
        assert name[4] == {"C": "AGT", "T": "ACG"}[name[2]][alternative[m]]


# The story


@every_variant
def test_log_likelihood_is_that_of_the_story(options: dict[str, str]) -> None:
    model, problem, tree = problem_of(options, cell=30)
    at = truth_of(tree)
    log_likelihood: Any = model.log_likelihood
    e = np.linspace(0.5, 2, 32)
    problem = replace(problem, arrays={**problem.arrays, "context_exposure": e, "count": np.arange(1, 31)})
    X, t = problem["features"].reshape(-1, 2, 15), problem["context_opportunity"] * e[:, None]
    expected = []
    for i in range(30):
        g, at_locus, j = (problem[n][i] if n in problem.arrays else 0 for n in ("genome", "locus", "group"))
        c, a = (int(v) for v in split_channel(problem["channel"][i]))
        total = 0.0
        for k in range(3):
            weight = np.zeros((15, 32))
            for place in range(15):
                rate = problem["exposure"][place] * np.exp(at["beta"][k] @ X[j, :, place])
                rate *= at["locus_effect"][k, place] if "locus_effect" in at else 1
                preference = at["lam"][k] * t[:, place]
                weight[place] = rate * (preference if options["form"] == "joint" else preference / preference.sum())
            total += at["pi"][g, k] * weight[at_locus, c] / weight.sum() * at["rho"][k, c, a]
        expected.append((i + 1) * np.log(total))
    np.testing.assert_allclose(problem.call(log_likelihood, **at), expected, rtol=1e-10)


def test_log_prior_is_that_of_scipy() -> None:
    _, problem, tree = problem_of(VARIANTS[0])
    at, tau, alpha = truth_of(tree), np.array([0.5, 1.0, 2.0]), np.array([0.3, 1.0, 4.0])
    of_lam, of_rho = np.array([0.2, 1.0, 3.0]), np.array([0.5, 2.0, 0.1])
    expected: Any = norm.logpdf(at["beta"], 0, tau[:, None]).sum()  # type: ignore[union-attr]
    expected += sum(dirichlet.logpdf(row, np.full(32, each)) for row, each in zip(at["lam"], of_lam, strict=True))
    of_contexts = zip(at["rho"].reshape(-1, 3), np.repeat(of_rho, 32), strict=True)
    expected += sum(dirichlet.logpdf(row, np.full(3, each)) for row, each in of_contexts)
    expected += sum(dirichlet.logpdf(row, alpha) for row in at["pi"])
    log_prior: Any = problem.model.log_prior
    concentrations = {"lam_concentration": of_lam, "rho_concentration": of_rho}
    found = problem.call(log_prior, **at, tau=tau, alpha=alpha, **concentrations)
    assert found == pytest.approx(expected, rel=1e-10)


CONCENTRATIONS = [
    {"lam_concentration": np.array(of_lam), "rho_concentration": np.array(of_rho)}
    for of_lam, of_rho in (([0.2, 0.7, 3.0], [0.5, 2.0, 0.1]), ([1.0, 0.3, 1.5], [2.0, 1.0, 0.6]))
]


def at_concentrations(options: Mapping[str, str]) -> Iterator[tuple[Problem, list[Mapping[str, Array]]]]:
    """Yield problems of several concentrations, and random values of their unknown variables."""
    model, problem, _ = problem_of(options, cell=30)
    rng, shapes = np.random.default_rng(4), {n: model.shape(n, problem.sizes) for n in model.unknown.variables}
    for given in CONCENTRATIONS:
        each: list[Mapping[str, Array]] = [
            {n: v.support.sample(rng, shapes[n]) for n, v in model.unknown.variables.items()} for _ in range(4)
        ]
        yield replace(problem, arrays={**problem.arrays, **given}), each


def joint_density(problem: Problem, at: Mapping[str, Array]) -> float:
    log_likelihood, log_prior = problem.model.log_likelihood, problem.model.log_prior
    assert log_likelihood is not None
    assert log_prior is not None
    return float(problem.call(log_likelihood, **at).sum() + problem.call(log_prior, **at))


def test_densities_know_the_concentrations() -> None:
    """PyMC's and NumPy's differ by one constant, at several concentrations."""
    density, apart = None, []
    for problem, points in at_concentrations(VARIANTS[0]):
        density = density or Compiled(problem, interpreted=True)
        density.swap(problem)
        for at in points:
            apart += [density.log_density(density.unconstrained(at))[0] - joint_density(problem, at)]
    assert np.ptp(apart) < 1e-8


@pytest.mark.stan
def test_the_stan_program_knows_the_concentrations() -> None:
    """Stan's and NumPy's differ by one constant, at several concentrations."""
    apart = []
    for problem, points in at_concentrations(VARIANTS[0]):
        values, _ = stan.log_density(problem, points)
        apart += [value - joint_density(problem, at) for value, at in zip(values, points, strict=True)]
    assert np.ptp(apart) < 1e-7


@every_variant
def test_simulated_mutations_have_the_probabilities_of_the_story(options: dict[str, str]) -> None:
    """One process: locus and channel of 200,000 mutations against exact probabilities, of each group."""
    model, problem, tree = problem_of(options, cell=200_000, process=1, locus=6, genome=4)
    at = truth_of(tree)
    log_likelihood: Any = model.log_likelihood
    group = problem["group"] if "group" in problem.arrays else np.zeros(200_000, dtype=int)
    for j in np.unique(group):
        grid = np.indices((6, 96)).reshape(2, -1)
        more = {"group": np.full(6 * 96, j)} if options["groups"] == "several" else {}
        cells = {"genome": np.full(6 * 96, j), "locus": grid[0], "channel": grid[1], "count": np.ones(6 * 96), **more}
        whole = replace(problem, arrays={**problem.arrays, **cells})
        probability = np.exp(whole.call(log_likelihood, **at))
        assert probability.sum() == pytest.approx(1, abs=1e-10)
        mine = group == j
        seen = np.bincount(problem["locus"][mine] * 96 + problem["channel"][mine], minlength=6 * 96)
        often = probability * mine.sum() > 5
        seen = np.append(seen[often], seen[~often].sum())
        wanted = np.append(probability[often], probability[~often].sum()) * mine.sum()
        assert chisquare(seen, wanted).pvalue > 1e-3


# The expectation


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


def test_duplicates_are_added_up() -> None:
    _, problem, _ = problem_of(VARIANTS[0], cell=500)
    data = corpus(problem)
    assert data.count.sum() == 500
    assert len(data.count) < 500
    doubled = replace(problem, arrays={**problem.arrays, "count": 2 * problem["count"]})
    np.testing.assert_array_equal(corpus(doubled).count, 2 * data.count)


# The bound and its blocks


def random_state(step: Any, problem: Problem, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    state = step.first(problem, rng)
    K, F = state.effects.mean.shape
    roots = rng.normal(0, 0.2, (K, F, F))
    covariance = roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(F)
    if not step.full:
        covariance = covariance * np.eye(F)
    moved = effects.Effects(rng.normal(0, 0.7, (K, F)), covariance, state.effects.centre)
    if state.locus_effects is not None:
        shape, inverse_scale = rng.gamma(3, 1, (2, *state.locus_effects.shape.shape)) + 0.1
        found = random_loci.LocusEffects(shape, inverse_scale)
        state = replace(state, locus_effects=found, dispersion=rng.gamma(3, 0.2, K))
    return step.normalised(
        replace(
            state,
            effects=moved,
            delta=rng.gamma(3, 1, state.delta.shape) + 0.1,
            omega=rng.gamma(2, 1, state.omega.shape) + 0.1,
            gamma=rng.gamma(4, 1, state.gamma.shape) + 0.1,
            lam_concentration=rng.gamma(2, 0.3, K) + 0.05,
            rho_concentration=rng.gamma(2, 0.3, K) + 0.05,
        )
    )


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


# Derivatives


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


# Fits


def matched(found: Array, truth: Array) -> tuple[Array, Array]:
    """Order of the found processes, and their cosines."""
    a, b = (each.reshape(len(each), -1) for each in (found, truth))
    cosine = b @ a.T / np.linalg.norm(b, axis=1)[:, None] / np.linalg.norm(a, axis=1)
    rows, order = linear_sum_assignment(-cosine)
    return order, cosine[rows, order]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vi", "svi"])
@pytest.mark.parametrize(
    "options", [pytest.param(VARIANTS[0], id="conditional-one"), pytest.param(VARIANTS[3], id="joint-several")]
)
def test_processes_are_recovered(method: str, options: dict[str, str]) -> None:
    model = registry.get("locus_regression").variant(**options)
    tree = gn.simulate(model, seed=2, genome=30, locus=100, feature=2, process=3, cell=30_000)
    fit = gn.fit(model, tree, method, seed=1)
    at = {name: fit["posterior"][name].mean(("chain", "draw")).to_numpy() for name in ("beta", "lam", "rho", "pi")}
    truth = truth_of(tree)
    order, cosine = matched(at["lam"][..., None] * at["rho"], truth["lam"][..., None] * truth["rho"])
    assert cosine.min() > 0.97
    assert np.sqrt(np.mean((at["beta"][order] - truth["beta"]) ** 2)) < 0.08
    assert np.abs(at["pi"][:, order] - truth["pi"]).mean() < 0.03


@pytest.mark.slow
def test_over_dispersion_is_found() -> None:
    """Data whose loci vary: the bound prefers random loci, the dispersion is found; else neither."""
    options = {"genome": 30, "locus": 150, "feature": 3, "process": 3, "cell": 40_000}
    for true, loci in ((0.5, "random"), (None, "fixed")):
        model = registry.get("locus_regression").variant(loci=loci)
        data = gn.simulate(model, seed=5, **options, **({} if true is None else {"dispersion": true}))
        given = {**data["observed_data"].data_vars, **data["constant_data"].data_vars}
        given.pop("dispersion", None)
        fits = {
            other: gn.fit(registry.get("locus_regression").variant(loci=other), given, "vi", seed=1, process=3)
            for other in ("fixed", "random")
        }
        bound = {other: json.loads(tree.attrs["notes"])["bound"] for other, tree in fits.items()}
        found = fits["random"]["variational"]["dispersion"].to_numpy()
        if true is None:
            assert found.max() < 0.02
            assert bound["random"] - bound["fixed"] < 5
        else:
            assert bound["random"] - bound["fixed"] > 100
            np.testing.assert_allclose(found, true, rtol=0.35)  # of 150 loci; sd of a variance's log: 0.13 or so
            truth, mean = (
                data["truth"]["locus_effect"],
                fits["random"]["posterior"]["locus_effect"].mean(("chain", "draw")),
            )
            each = np.abs(np.corrcoef(truth, mean))[:3, 3:]
            assert each.max(1).min() > 0.9


@pytest.mark.slow
def test_number_of_processes_is_chosen() -> None:
    """A simulated tree holds alpha and tau of its own processes: the same for all of them, they fit any number."""
    data = gn.simulate("locus_regression", seed=2, process=3, cell=20_000, genome=30)
    best = gn.choose("locus_regression", data, "process", [2, 3, 5], seed=1)
    assert best["choice"]["bound"].to_numpy().argmax() == 1
    assert best["posterior"].sizes["process"] == 3
    uneven = gn.simulate("locus_regression", seed=2, process=3, alpha=[1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="alpha"):
        gn.choose("locus_regression", uneven, "process", [2, 3], seed=1)


@pytest.mark.slow
def test_wrong_form_is_worse() -> None:
    """Joint data under the joint form are fitted better than under the conditional one."""
    joint = registry.get("locus_regression").variant(form="joint")
    rng = np.random.default_rng(0)
    opportunity = rng.dirichlet(np.full(32, 1.0), 80).T
    tree = gn.simulate(joint, seed=3, genome=20, locus=80, process=2, cell=20_000, context_opportunity=opportunity)
    bound = {
        form: gn.fit(registry.get("locus_regression").variant(form=form), tree, "vi", seed=1, covariance="mean_field")[
            "variational"
        ]["bound"].max()
        for form in ("joint", "conditional")
    }
    assert bound["joint"] > bound["conditional"] + 10


@pytest.mark.slow
def test_vi_draws_come_from_q() -> None:
    _, _, tree = problem_of(VARIANTS[0], cell=2000)
    fit = gn.fit("locus_regression", tree, "vi", seed=1, draws=4000, covariance="mean_field")
    q = fit["variational"]
    for name, parameter in (("lam", "delta"), ("pi", "gamma"), ("rho", "omega")):
        mean = q[parameter] / q[parameter].sum(str(q[parameter].dims[-1]))
        draws = fit["posterior"][name]
        error = draws.std(("chain", "draw")) / np.sqrt(4000)
        assert float((np.abs(draws.mean(("chain", "draw")) - mean) / error).max()) < 5
    draws = fit["posterior"]["beta"].to_numpy()[0]
    for k in range(3):
        covariance = q["beta_covariance"].to_numpy()[k]
        error = np.sqrt(2 / 4000) * np.diag(covariance).max()
        np.testing.assert_allclose(np.cov(draws[:, k].T), covariance, rtol=0, atol=5 * error)


@pytest.mark.slow
def test_more_freedom_gives_a_higher_bound() -> None:
    _, _, tree = problem_of(VARIANTS[0], cell=2000)
    bound = [
        float(gn.fit("locus_regression", tree, "vi", seed=1, **more)["variational"]["bound"].max())
        for more in (
            {"covariance": "diagonal", "empirical_bayes": False},
            {"covariance": "mean_field", "empirical_bayes": False},
            {"covariance": "mean_field", "empirical_bayes": True},
        )
    ]
    assert bound == sorted(bound)
    assert bound[2] > bound[1] + 0.1


# Correction


@pytest.mark.slow
def test_corrected_draws_are_of_the_posterior() -> None:
    """One process: its effect has a density that a grid can hold, its preferences a Dirichlet density."""
    t = np.ones((32, 40))
    sizes = {"locus": 40, "genome": 2, "process": 1, "feature": 1, "cell": 200}
    tree = gn.simulate("locus_regression", seed=3, **sizes, context_opportunity=t)
    fit = gn.fit("locus_regression", tree, "vi", seed=1, draws=2000, sweeps=8000, empirical_bayes=False)
    X, exposure = (tree["constant_data"][name].to_numpy() for name in ("features", "exposure"))
    grid = np.linspace(-3, 3, 4001)
    log_z = np.log(exposure @ np.exp(np.outer(X[0], grid)))
    log_density = grid * X[0][tree["observed_data"]["locus"].to_numpy()].sum() - 200 * log_z - grid**2 / (2 * 0.5**2)
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = weight @ grid
    sd = np.sqrt(weight @ (grid - mean) ** 2)
    draws = fit["posterior"]["beta"].to_numpy().ravel()
    assert fit["posterior"]["beta"].shape == (4, 500, 1, 1)
    assert abs(draws.mean() - mean) < 5 * sd / np.sqrt(1000)
    assert abs(draws.std() / sd - 1) < 5 / np.sqrt(2 * 1000)
    context, _ = split_channel(tree["observed_data"]["channel"].to_numpy())
    lam = fit["posterior"]["lam"].to_numpy().reshape(-1, 32)
    concentration = 1 + np.bincount(context, minlength=32)
    mean = concentration / concentration.sum()
    sd = np.sqrt(mean * (1 - mean) / (concentration.sum() + 1))
    assert (np.abs(lam.mean(0) - mean) < 5 * sd / np.sqrt(500)).all()


@pytest.mark.slow
def test_the_correction_knows_what_mean_field_leaves_out() -> None:
    """Two processes that channels hardly tell apart: long chains say how uncertain their effects and shares are."""
    lam = np.random.default_rng(1).dirichlet(np.full(32, 20.0), 2)
    tree = gn.simulate("locus_regression", seed=4, genome=8, locus=40, feature=1, process=2, cell=2000, lam=lam)
    narrow, wide = (
        gn.fit("locus_regression", tree, "vi", seed=1, covariance=c, empirical_bayes=False)
        for c in ("mean_field", "corrected")
    )
    exact = gn.fit("locus_regression", tree, "gibbs", seed=1, chains=2, draws=3000)
    for name in ("beta", "pi"):
        draws = [fit["posterior"][name].std(("chain", "draw")).to_numpy() for fit in (narrow, wide, exact)]
        sd = [np.sort(each.ravel()) for each in draws]
        assert np.median(sd[0] / sd[2]) < 0.8
        assert 0.75 < np.median(sd[1] / sd[2]) < 1.25


@pytest.mark.slow
def test_hyperparameters_are_drawn_from_their_posterior() -> None:
    """Moves and new variables given the hyperparameters, in turn, keep the log normal priors (Geweke 2004)."""
    rng, K = np.random.default_rng(3), 2
    given = hyperprior.Hyper(np.array([0.5, 2.0]), np.array([1.0, 0.3]), np.array([0.2, 0.5]))
    found, kept = given, []
    for _ in range(8000):
        pi = np.maximum(rng.dirichlet(found.alpha, 5), 1e-300)
        beta = found.tau[:, None] * rng.normal(size=(K, 3))
        r = 1 / found.dispersion[:, None]
        effect = np.maximum(rng.gamma(r, 1 / r, (K, 4)), 1e-300)
        state = gibbs_state(beta, np.empty(0), np.empty(0), pi, effect)
        found = hyper.draw(rng, state, found, given, np.zeros(K, dtype=bool))
        kept.append(np.concatenate([np.log(value / vars(given)[name]) for name, value in vars(found).items()]))
    z = np.array(kept)  # standard normal
    size = effective(z[None])
    assert (np.abs(z.mean(0)) < 4 / np.sqrt(size)).all()
    assert (np.abs((z**2).mean(0) - 1) < 4 * np.sqrt(2 / effective(z[None] ** 2))).all()


@pytest.mark.parametrize("covariance", ["mean_field", pytest.param("corrected", marks=pytest.mark.slow)])
def test_concentrations_of_uneven_spectra_are_found(covariance: str) -> None:
    """From medians of one: two processes of .2 and 2, told by 3,000 mutations, within what their spectra tell."""
    true = {"lam_concentration": np.array([0.2, 2.0]), "rho_concentration": np.array([2.0, 0.2])}
    sizes = {"genome": 10, "locus": 40, "process": 2, "feature": 2, "cell": 3000}
    tree = gn.simulate("locus_regression", seed=2, **sizes, **true)
    data = {**as_arrays(tree), **dict.fromkeys(true, 1.0)}
    fit = gn.fit("locus_regression", data, "vi", 1, process=2, covariance=covariance, sweeps=1000)
    cosine = [
        lam / np.linalg.norm(lam, axis=1)[:, None]
        for lam in (fit["posterior"]["lam"].to_numpy().mean((0, 1)), tree["truth"]["lam"].to_numpy())
    ]
    _, order = linear_sum_assignment(-cosine[0] @ cosine[1].T)
    for name, wanted in true.items():
        found = fit["variational"][name].to_numpy()
        assert (np.abs(np.log(found / wanted[order])) < np.log(1.9)).all()


@pytest.mark.parametrize("concentration", [0.003, pytest.param(0.05, marks=pytest.mark.slow)])
def test_shares_that_underflow_are_harmless(concentration: float) -> None:
    """Draws of nearly all methods where most shares are below the smallest number."""
    given = {"lam_concentration": concentration, "rho_concentration": concentration}
    tree = gn.simulate("locus_regression", seed=1, genome=4, locus=12, process=2, feature=1, cell=80, **given)
    for method, settings in (("vi", {"sweeps": 80}), ("svi", {"epochs": 4}), ("gibbs", {"chains": 1, "draws": 20})):
        fit = gn.fit("locus_regression", tree, method, 1, **settings)
        assert all(np.isfinite(fit["posterior"][name]).all() for name in ("beta", "lam", "rho", "pi"))
    problem = fitted_problem(registry.get("locus_regression"), fit)
    at = {name: fit["posterior"][name].to_numpy() for name in ("beta", "lam", "rho", "pi")}
    log_likelihood, log_prior = problem.model.log_likelihood, problem.model.log_prior
    assert log_likelihood is not None
    assert log_prior is not None
    assert np.isfinite(problem.call(log_likelihood, **at)).all()
    assert np.isfinite(problem.call(log_prior, **at)).all()


@pytest.mark.slow
def test_hyperparameters_without_data_come_to_rest() -> None:
    """One process takes all, so that nothing but their prior keeps alpha and tau; starts that end early wait for it."""
    sizes = {"genome": 20, "locus": 20, "process": 3, "feature": 1, "cell": 60}
    for seed in (1, 3):
        data = {**as_arrays(gn.simulate("locus_regression", seed=seed, **sizes)), "alpha": 1.0, "tau": 1.0}
        fit = gn.fit("locus_regression", data, "vi", seed=seed, covariance="mean_field", process=3)
        notes = json.loads(fit.attrs["notes"])
        assert notes["converged"]
        assert notes["iterations"] < 300
        assert (fit["variational"]["alpha"].to_numpy() != 1).all()
        assert float(fit["variational"]["alpha"].max()) < 100


@pytest.mark.slow
def test_few_mutations_are_not_of_one_process() -> None:
    """Empirical Bayes by mean field ends where every genome has one process; the sweeps leave that mode."""
    tree = gn.simulate("locus_regression", seed=0, genome=4, locus=30, process=2, feature=2, cell=400)
    narrow, wide = (gn.fit("locus_regression", tree, "vi", covariance=c) for c in ("mean_field", "corrected"))
    low, high = (wide["posterior"]["pi"].quantile(q, ("chain", "draw")).to_numpy()[:, 0] for q in (0.05, 0.95))
    truth = tree["truth"]["pi"].to_numpy()[:, 0]
    assert float(narrow["posterior"]["pi"].std(("chain", "draw")).max()) < 0.01
    assert ((low < truth) & (truth < high)).sum() >= 3
    assert ((wide["variational"]["alpha"] > 0.2) & (wide["variational"]["alpha"] < 10)).all()


@pytest.mark.slow
def test_cautions_speak_of_what_is_read() -> None:
    """Effects, signatures and exposures have verdicts each; loci that vary too much bring the option that helps."""
    model = registry.get("locus_regression")
    settings: dict[str, Any] = {"seed": 5, "genome": 6, "locus": 150, "process": 2, "feature": 2, "cell": 6000}
    tree = gn.simulate(model.variant(loci="random"), **settings, dispersion=0.5)
    tree["constant_data"] = tree["constant_data"].to_dataset().drop_vars("dispersion")
    trees = (tree, gn.simulate(model, **settings))
    wild, calm = (gn.fit(model, each, "vi", seed=1, loci="fixed", sweeps=4000) for each in trees)

    def said(fit: xr.DataTree) -> dict[str, Caution]:
        return {one.check: one for one in cautions(fit, fitted_problem(model, fit))}

    blocks = [f"{name} whose chains disagree" for name in ("effects", "signatures", "exposures")]
    loci = "variation of loci beyond the features'"
    assert [said(calm)[name].value for name in (*blocks, loci)] == [0, 0, 0, 0]
    assert said(wild)[loci].value > 1.3
    assert "loci='random'" in said(wild)[loci].advice
    beta = calm["posterior"].to_dataset()["beta"].copy()
    beta[0] += 10
    calm["posterior"] = calm["posterior"].to_dataset().assign(beta=beta)
    assert said(calm)[blocks[0]].value == beta[0, 0].size
    assert "sweeps" in said(calm)[blocks[0]].advice


# Subsampling


def test_samples_of_loci_give_unbiased_steps() -> None:
    """The mean over all samples of one locus is the step that all mutations give."""
    _, problem, _ = problem_of(VARIANTS[3], cell=400)
    step = variational.Step(corpus(problem))
    state = random_state(step, problem)
    _, whole, *_ = expect(step.data, *step.tables(state))
    mass = whole.sum(0)
    share = np.bincount(step.data.row // 15, step.data.count, 2) / 400
    state = replace(state, omega=step.alternatives(state, np.tile((mass / 96)[:, None, None], (32, 3))))

    def moved(loci: Array, scale: float) -> Any:
        part = np.zeros_like(whole).reshape(2, 15, -1)
        part[:, loci] = whole.reshape(2, 15, -1)[:, loci]
        return stochastic.moved_effects(step, state, loci, part.reshape(whole.shape), scale, 0.3)

    every = [moved(np.array([locus]), 15.0) for locus in range(15)]
    exact = moved(np.arange(15), 1.0)
    np.testing.assert_allclose(np.mean([one.mean for one in every], 0), exact.mean, rtol=1e-9)
    for one in every:
        np.testing.assert_allclose(one.covariance, exact.covariance, rtol=1e-9)
    assert share.sum() == pytest.approx(1)


def test_a_sample_is_the_mutations_of_its_loci() -> None:
    _, problem, _ = problem_of(VARIANTS[3], cell=400)
    data = corpus(problem)
    sampler = stochastic.Sampler(data, 0.3)
    loci, sample = sampler.draw(np.random.default_rng(1))
    assert len(loci) == len(set(loci)) == round(0.3 * 15)
    assert sampler.scale == 15 / len(loci)
    wanted = np.isin(data.row % 15, loci)
    assert sorted(zip(sample.genome, sample.row, sample.channel, sample.count, strict=True)) == sorted(
        zip(data.genome[wanted], data.row[wanted], data.channel[wanted], data.count[wanted], strict=True)
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sampling_rate": 0.0}, "sampling_rate=0.0 must be above 0"),
        ({"forgetting": 0.5}, "forgetting=0.5 must be above 0.5"),
        ({"delay": -1.0}, "delay=-1.0 must not be negative"),
    ],
)
def test_steps_that_cannot_converge_are_refused(setting: dict[str, Any], message: str) -> None:
    _, _, tree = problem_of(VARIANTS[0])
    with pytest.raises(InputError, match=message):
        gn.fit("locus_regression", tree, "svi", **setting)


# Predictions


@pytest.mark.parametrize(
    "options",
    [pytest.param(v, marks=() if v == VARIANTS[0] else pytest.mark.slow) for v in VARIANTS],
    ids=lambda v: "-".join(v.values()),
)
def test_predictions(options: dict[str, str]) -> None:
    model, problem, tree = problem_of(options, cell=600)
    fit = gn.fit(model, tree, "vi", seed=1, restarts=1, draws=50, covariance="mean_field")
    found = gn.predict(fit)["predictions"]
    log_likelihood: Any = model.log_likelihood
    np.testing.assert_allclose(found["probability"].sum("process"), 1)
    np.testing.assert_allclose(found["pi"].sum("process"), 1)
    assert float(found["rate"].sum()) == pytest.approx(600)
    np.testing.assert_array_equal(found["best"], found["probability"].argmax("process"))
    drawn = {n: fit["posterior"][n].to_numpy()[0, 0] for n in truth_of(tree)}
    one = fit.isel(chain=[0], draw=[0], missing_dims="ignore")
    probability = gn.predict(one)["predictions"]["probability"].to_numpy()
    for k in range(3):  # the likelihood of one process alone, times its weight
        only = {n: v[k : k + 1] for n, v in drawn.items() if n != "pi"} | {"pi": np.ones((6, 1))}
        weight = np.exp(problem.call(log_likelihood, **only)) * drawn["pi"][problem["genome"], k]
        whole = np.exp(problem.call(log_likelihood, **drawn))
        np.testing.assert_allclose(probability[:, k], weight / whole, rtol=1e-8)


@pytest.mark.slow
def test_exposures_of_new_genomes() -> None:
    _, problem, tree = problem_of(VARIANTS[0], cell=6000)
    fit = gn.fit("locus_regression", tree, "vi", seed=1, restarts=1, draws=200, sweeps=400)
    chosen = np.isin(problem["genome"], (1, 4))
    new = {name: problem[name][chosen] for name in ("locus", "channel")}
    new["genome"] = np.searchsorted([1, 4], problem["genome"][chosen])
    found = gn.predict(fit, new)["predictions"]
    assert found.sizes["genome"] == 2
    known = fit["posterior"]["pi"].mean(("chain", "draw")).isel(genome=[1, 4])
    np.testing.assert_allclose(found["pi"], known, atol=0.03)


def as_arrays(tree: xr.DataTree) -> dict[str, Array]:
    """The mutations of a tree, without hyperparameters."""
    return {
        "genome": tree["constant_data"]["genome"].to_numpy(),
        **{name: tree["observed_data"][name].to_numpy() for name in ("locus", "channel")},
    }


@pytest.mark.slow
def test_the_same_mutations_in_another_order_are_the_same_genomes() -> None:
    _, _, tree = problem_of(VARIANTS[0], cell=3000)
    fit = gn.fit("locus_regression", tree, "vi", seed=1)
    own = gn.predict(fit)["predictions"]
    order = np.random.default_rng(1).permutation(3000)
    shuffled = {name: value[order] for name, value in as_arrays(tree).items()}
    found = gn.predict(fit, shuffled)["predictions"]
    assert not found["new"].any()
    np.testing.assert_allclose(found["pi"], own["pi"], rtol=1e-12)
    np.testing.assert_allclose(found["probability"], own["probability"].to_numpy()[order], rtol=1e-12)
    draws = fit["posterior"]["pi"].to_numpy().reshape(-1, 6, 3)
    np.testing.assert_allclose(own["pi_lower"], np.quantile(draws, 0.05, axis=0), rtol=1e-10)
    other = {**shuffled, "channel": np.where(shuffled["genome"] == 2, 95, shuffled["channel"])}
    found = gn.predict(fit, other)["predictions"]
    assert found["new"].to_numpy().tolist() == [0, 0, 1, 0, 0, 0]
    np.testing.assert_allclose(found["pi"].isel(genome=[0, 1, 3, 4, 5]), own["pi"].isel(genome=[0, 1, 3, 4, 5]))


@pytest.mark.slow
def test_sparse_new_genomes_take_the_alpha_that_the_fit_learned() -> None:
    """Genomes of 20 mutations under a sparse prior: a smaller error, and intervals that cover."""
    sizes = {"locus": 40, "feature": 2, "process": 3}
    tree = gn.simulate("locus_regression", seed=3, genome=40, cell=20_000, alpha=0.15, **sizes)
    same = {name: tree["constant_data"][name].to_numpy() for name in ("features", "exposure", "context_opportunity")}
    fit = gn.fit("locus_regression", {**same, **as_arrays(tree)}, "vi", seed=1, process=3)
    given = {name: tree["truth"][name].to_numpy() for name in ("beta", "lam", "rho")}
    new = gn.simulate("locus_regression", seed=4, genome=150, cell=3000, alpha=0.15, **sizes, **same, **given)
    truth = new["truth"]["pi"].to_numpy()
    lam, rho = (fit["posterior"][name].mean(("chain", "draw")).to_numpy() for name in ("lam", "rho"))
    order, _ = matched(lam[..., None] * rho, given["lam"][..., None] * given["rho"])
    found = gn.predict(fit, as_arrays(new))["predictions"]
    plain = gn.predict(fit, as_arrays(new), alpha=np.full(3, 1.01))["predictions"]
    error, wide = (np.abs(each["pi"].to_numpy()[:, order] - truth).mean() for each in (found, plain))
    assert error < 0.65 * wide
    lower, upper = (found[name].to_numpy()[:, order] for name in ("pi_lower", "pi_upper"))
    assert 0.84 < ((lower <= truth) & (truth <= upper)).mean() < 0.96  # of 150 genomes; processes are known well


# Bad input


def corpus_of(**changes: Any) -> dict[str, Any]:
    _, problem, _ = problem_of(VARIANTS[0])
    return {**{name: problem[name] for name in ("features", "genome", "locus", "channel")}, **changes}


def absent(context: Any, locus: int) -> Array:
    """Opportunities of a genome in which contexts do not occur in a locus."""
    t = np.ones((32, 15))
    t[context, locus] = 0
    return t


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda d: {"context_opportunity": absent(slice(None), 3)}, {}, "locus=3 has no context at all"),
        (
            lambda d: {"context_opportunity": absent(split_channel(d["channel"][7])[0], d["locus"][7])},
            {},
            r"cell=\d+ has mutations of .* in locus=\d+, where this context occurs 0 times",
        ),
        (lambda d: {"features": np.stack([d["features"][0], 2 * d["features"][0] - 1])}, {}, "0, 1 are linearly dep"),
        (
            lambda d: {"features": np.where(np.arange(15) == 3, np.nan, d["features"])},
            {},
            r"feature=0, locus=3\] = nan",
        ),
        (lambda d: {"genome": d["genome"] + (d["genome"] >= 2)}, {}, "genome=2 has no mutations"),
        (lambda d: {"locus": d["locus"] + 10}, {}, "below the size of 'locus'"),
        (lambda d: {"channel": d["channel"] + 50}, {}, "below the size of 'channel'"),
        (lambda d: {"exposure": np.where(np.arange(15) == 4, 0.0, 1.0)}, {}, r"exposure\[locus=4\] = 0.0"),
        (lambda d: {}, {"process": 97}, "Ask for at most 96 processes"),
    ],
)
def test_bad_input_is_named(change: Callable[..., Any], settings: dict[str, int], message: str) -> None:
    data = corpus_of()
    with pytest.raises(InputError, match=message):
        gn.fit("locus_regression", {**data, **change(data)}, "vi", **{"process": 2, **settings})


def test_a_genome_has_one_group() -> None:
    model, problem, _ = problem_of(VARIANTS[1])
    data = {name: problem[name] for name in ("features", "genome", "locus", "channel", "group")}
    data["group"] = data["group"].copy()
    data["group"][7] = 1 - data["group"][7]
    with pytest.raises(InputError, match="the cells of genome 0 belong to groups"):
        gn.fit(model, data, "vi", process=2)


@pytest.mark.parametrize("method", ["vi", "svi"])
def test_options_are_checked(method: str) -> None:
    with pytest.raises(InputError, match=r"covariance='banded' is not known; use one of .*mean_field, diagonal"):
        gn.fit("locus_regression", corpus_of(), method, process=2, covariance="banded")
    with pytest.raises(InputError, match=f"method '{method}' cannot hold pi fixed"):
        gn.fit("locus_regression", corpus_of(pi=np.full((6, 2), 0.5)), method, process=2)


# Files


def test_a_saved_corpus_is_read(tmp_path: Path) -> None:
    _, problem, _ = problem_of(VARIANTS[0])
    context, alternative = split_channel(problem["channel"])
    short: dict[str, Any] = {
        "g": problem["genome"],
        "l": problem["locus"],
        "c": context,
        "a": alternative,
        "X": problem["features"],
    }
    np.savez(
        tmp_path / "a.npz", **short, t=problem["context_opportunity"], ell=problem["exposure"], names=["gc", "dnase"]
    )
    tree = gn.read("locus_regression", tmp_path / "a.npz")
    for name in ("genome", "features", "context_opportunity", "exposure"):
        np.testing.assert_array_equal(tree["constant_data"][name], problem[name])
    for name in ("locus", "channel"):
        np.testing.assert_array_equal(tree["observed_data"][name], problem[name])
    assert list(tree["constant_data"]["feature"].to_numpy()) == ["gc", "dnase"]
    assert list(tree["constant_data"]["context"].to_numpy()) == list(CONTEXTS)


def test_every_array_of_a_corpus_is_accounted_for(tmp_path: Path) -> None:
    _, problem, _ = problem_of(VARIANTS[0])
    arrays: dict[str, Any] = {name: problem[name] for name in ("genome", "locus", "channel", "features")}
    np.savez(tmp_path / "a.npz", **arrays, t=problem["context_opportunity"], truth=np.ones(3), names=["a", "b"])
    told = json.loads(gn.read("locus_regression", tmp_path / "a.npz").attrs["ledger"])
    n = len(problem["genome"])
    assert (told["rows"]["unit"], told["rows"]["read"], told["rows"]["kept"]) == ("cell", n, n)
    assert (told["columns"]["unit"], told["columns"]["read"], told["columns"]["kept"]) == ("array", 7, 6)
    assert told["columns"]["names"] == {"not of the model": ["truth"]}
    np.savez(tmp_path / "b.npz", **arrays, g=problem["genome"])
    with pytest.raises(InputError, match="arrays 'g' and 'genome', which are the same"):
        gn.read("locus_regression", tmp_path / "b.npz")


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="no sound archive of arrays"):
        gn.read("locus_regression", tmp_path / "a.npz")
    whole: dict[str, Any] = {"l": [0, 1], "channel": [0, 1], "X": np.ones((1, 2)), "names": ["gc"]}
    np.savez(tmp_path / "b.npz", g=3, **whole)
    with pytest.raises(InputError, match=r"b.npz: array 'genome' has the shape \(\), but must hold one entry"):
        gn.read("locus_regression", tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", g=[0, 1], **{**whole, "names": np.array([0x110000], "<u4").view("<U1")})
    with pytest.raises(InputError, match=r"b\.npz: .*'names' holds 1114112 where a character should be"):
        gn.read("locus_regression", tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", g=[0, 1], **{**whole, "X": 1.0})
    with pytest.raises(InputError, match=r"b\.npz: array 'features' has the shape \(\), but must have a row a feature"):
        gn.read("locus_regression", tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", g=[0, 1], X=np.ones((1, 2)))
    with pytest.raises(InputError, match="there is no array 'locus'"):
        gn.read("locus_regression", tmp_path / "b.npz")


# Published numbers


@pytest.mark.data
@pytest.mark.skipif(not (CORPORA / "easy.npz").exists(), reason="the corpora are not here")
@pytest.mark.slow
def test_simulated_corpus_is_recovered_as_well_as_it_can_be() -> None:
    truth = np.load(CORPORA / "easy.npz")
    tree = gn.read("locus_regression", CORPORA / "easy.npz")
    model = registry.get("locus_regression")
    problem = check(model, tree, {"process": 5})
    ends = []
    for seed in range(2):
        found = variational.vi(problem, np.random.default_rng(seed), empirical_bayes=True)
        mean = {name: value.mean((0, 1)) for name, value in found.posterior.items()}
        ends.append(found.notes["bound"])
        assert found.notes["largest_fall"] == 0
        signature = (mean["lam"] * truth["base"])[..., None] * mean["rho"]
        order, cosine = matched(signature, truth["S"])
        assert round(cosine.min(), 3) >= 0.993
        assert np.sqrt(np.mean((mean["beta"][order] - truth["beta"]) ** 2)) <= 0.0170
        assert np.abs(mean["pi"][:, order] - truth["pi"]).mean() <= 0.0105
    assert abs(ends[0] - ends[1]) < 0.1


@pytest.mark.slow
def test_negative_control_of_a_model_whose_option_has_the_name_of_a_size() -> None:
    """``locus`` is an option, by words, and a size, by numbers."""
    found = gn.validate("locus_regression", "vi", 3, seed=1, control=True, adaptive=False, locus=20, cell=200)
    assert found.plan["wrong"] == {"alpha": 10.0}
    assert found.plan["sizes"]["locus"] == 20
