"""locus_regression: channels, probabilities of the story, log densities."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare, dirichlet, norm

from genarium.declaration import Array, Problem
from genarium.engines import stan
from genarium.engines.compiled import Compiled
from genarium.models.locus_regression.channels import CHANNELS, CONTEXTS, channel_of, split_channel
from locus_problems import VARIANTS, every_variant, problem_of, truth_of

every_variant: pytest.MarkDecorator = every_variant


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
