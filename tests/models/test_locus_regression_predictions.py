"""locus_regression: predictions, and exposures of new genomes."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import gammaln

import genarium as gn
from genarium.data import check
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.exposures import Processes, infer
from locus_problems import VARIANTS, as_arrays, matched, problem_of, truth_of


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


def test_probabilities_where_no_process_goes() -> None:
    """Of new windows, one has all the rate that is a number: elsewhere that of each process underflows."""
    _, problem, tree = problem_of(VARIANTS[0], process=2)
    fit = gn.fit("locus_regression", tree, "map", process=2, seed=1)
    fit["point"]["beta"] = fit["point"]["beta"] * 0 + np.array([[1.0, 0.0], [0.9, 0.0]])
    features = tree["constant_data"]["features"].to_numpy().copy()
    features[0] = np.where(np.arange(15) == 3, 4000.0, 0.0)
    new = {name: problem[name] for name in ("genome", "locus", "channel")} | {"features": features}
    found = gn.predict(fit, new)["predictions"]["probability"]
    np.testing.assert_allclose(found.sum("process"), 1)
    away = problem["locus"] != 3  # there, the second process is exp(400) times as probable
    np.testing.assert_array_equal(found.to_numpy()[away].argmax(1), 1)


@pytest.mark.parametrize("draws", [1, 4, 25])
def test_intervals_of_new_genomes_hold_with_few_draws_of_the_processes(draws: int) -> None:
    """Forty genomes of two processes that are alike, beside quadrature: a point estimate is one draw."""
    rng = np.random.default_rng(2)
    spectra = rng.dirichlet(np.ones(96), 2)
    spectra = 0.3 * spectra + 0.7 * spectra.mean(0)
    share, number = rng.uniform(size=40), 200
    genome = np.repeat(np.arange(40), number)
    of_first = rng.random(len(genome)) < share[genome]
    channel = np.where(of_first, *(rng.choice(96, len(genome), p=one) for one in spectra))
    cells: dict[str, Any] = {"genome": genome, "row": 0 * genome, "channel": channel, "count": np.ones(len(genome))}
    data = replace(corpus(problem_of(VARIANTS[0])[1]), **cells, genomes=40)
    processes = [Processes(np.ones((1, 2)), spectra.T)] * draws
    low, high = np.quantile(infer(data, processes, np.ones(2), rng).draws[..., 0], [0.05, 0.95], axis=0)
    grid = np.linspace(0.0005, 0.9995, 1000)
    each = np.log(grid[:, None] * spectra[0] + (1 - grid[:, None]) * spectra[1])  # (grid, M)
    level = each @ np.array([np.bincount(channel[genome == g], minlength=96) for g in range(40)]).T
    below = np.cumsum(np.exp(level - level.max(0)), 0)
    inside = [np.diff(np.interp([low[g], high[g]], grid, below[:, g] / below[-1, g])) for g in range(40)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)


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


def test_mutations_of_a_small_new_genome() -> None:
    """Probabilities and exposures of a genome of three mutations, beside the sum over all their processes."""
    model, _, tree = problem_of(VARIANTS[0], cell=600)
    fit = gn.fit(model, tree, "vi", seed=1, restarts=1, draws=50, covariance="mean_field")
    one = fit.isel(draw=np.zeros(25, dtype=int), missing_dims="ignore")  # 25 times the same processes
    drawn = {n: one["posterior"][n].to_numpy()[0, 0] for n in ("beta", "lam", "rho")}
    alpha, log_likelihood = np.array([0.2, 0.3, 0.4]), model.log_likelihood
    assert log_likelihood is not None
    mutations = {name: value[[5, 50, 500]] for name, value in as_arrays(tree).items()} | {"genome": ["new"] * 3}
    found = gn.predict(one, mutations, alpha=alpha)["predictions"]
    places = {name: tree["constant_data"][name] for name in ("features", "exposure", "context_opportunity")}
    problem = check(model, {**places, **mutations}, {"process": 3})
    single = [{n: v[k : k + 1] for n, v in drawn.items()} | {"pi": np.ones((1, 1))} for k in range(3)]
    weight = np.exp([problem.call(log_likelihood, **each) for each in single])  # (K, 3)
    total, probability, pi = 0.0, np.zeros((3, 3)), np.zeros(3)
    for z in itertools.product(range(3), repeat=3):
        n = np.bincount(z, minlength=3)
        p = weight[z, range(3)].prod() * np.exp(gammaln(alpha + n).sum())
        total += p
        probability[range(3), z] += p
        pi += p * (alpha + n) / (alpha.sum() + 3)
    np.testing.assert_allclose(found["probability"], probability / total, atol=0.07)  # four errors of 500 draws
    np.testing.assert_allclose(found["pi"].isel(genome=0), pi / total, atol=0.06)
    own, beside = as_arrays(tree), {**mutations, "genome": np.full(3, 6)}
    both = {name: np.concatenate([value, beside[name]]) for name, value in own.items()}
    alone, company = (gn.predict(fit, each)["predictions"].to_dataset() for each in (own, both))
    assert company["new"].to_numpy().tolist() == [0] * 6 + [1]  # who is beside them does not matter
    for name in ("pi", "pi_lower", "pi_upper"):
        np.testing.assert_allclose(company[name][:6], alone[name], rtol=1e-12)
    np.testing.assert_allclose(company["probability"][:600], alone["probability"], rtol=1e-12)


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
