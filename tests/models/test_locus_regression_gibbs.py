"""The Gibbs sampler of locus_regression: every block keeps the joint distribution, and bad requests are refused."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from scipy.special import digamma, gammaln, polygamma

import genarium as gn
from genarium import registry
from genarium.calibration.thinning import effective
from genarium.data import check
from genarium.declaration import Array, Model, Problem
from genarium.errors import InputError
from genarium.models.locus_regression import collapsed, moves
from genarium.models.locus_regression.channels import split_channel
from genarium.models.locus_regression.corpus import Corpus, corpus
from genarium.models.locus_regression.dirichlet import FLOOR
from genarium.models.locus_regression.expectation import Weights, expect
from genarium.models.locus_regression.spectra import whole

gibbs = import_module("genarium.models.locus_regression.gibbs")

NAME = "locus_regression"
SMALL: dict[str, Any] = {"genome": 3, "locus": 6, "process": 2, "feature": 2, "cell": 40, "alpha": 1.5, "tau": 0.7}
CONCENTRATIONS = {"lam_concentration": 0.6, "rho_concentration": 1.7}
OPTIONS = ("form", "groups", "loci", "spectra")
VARIANTS = [
    pytest.param(dict(zip(OPTIONS, values, strict=True)), id="-".join(values), marks=marks)
    for *values, marks in (
        ("conditional", "one", "fixed", "free", ()),
        ("conditional", "one", "fixed", "mixed", pytest.mark.slow),
        ("joint", "several", "fixed", "free", pytest.mark.slow),
        ("conditional", "one", "random", "free", pytest.mark.slow),
        ("joint", "one", "fixed", "free", pytest.mark.slow),
        ("joint", "one", "fixed", "given", pytest.mark.slow),
        ("conditional", "several", "fixed", "free", pytest.mark.slow),
        ("joint", "one", "random", "mixed", pytest.mark.slow),
        ("conditional", "several", "random", "free", pytest.mark.slow),
    )
]


class Story:
    """Draws of the unknown variables, and of mutations given them, at the known variables of a problem."""

    def __init__(self, options: Mapping[str, str], seed: int) -> None:
        self.model: Model = registry.get(NAME).variant(**options)
        contexts = np.random.default_rng(seed).gamma(0.5, size=(32, SMALL["locus"])) + 0.01
        sizes = {name: size for name, size in SMALL.items() if name not in self.model.derived_dims}
        sizes |= {"reference": 1, "free": 1} if options["spectra"] == "mixed" else {}
        sizes |= {} if options["spectra"] == "given" else CONCENTRATIONS
        tree = gn.simulate(self.model, seed=seed, **sizes, context_opportunity=contexts)
        self.problem: Problem = check(self.model, tree)
        self.data = corpus(self.problem)
        self.group = self.problem["group"] if "group" in self.problem.arrays else 0

    def unknown(self, rng: np.random.Generator) -> dict[str, Array]:
        """Draw from the prior."""
        draws = self.model.unknown.draw
        assert isinstance(draws, Mapping)
        return {name: self.problem.call(draw, rng=rng) for name, draw in draws.items()}

    def mutations(self, rng: np.random.Generator, unknown: Mapping[str, Array]) -> Corpus:
        """Draw mutations."""
        call = self.problem.call
        hidden, observed = self.model.hidden.draw, self.model.observed.draw
        assert isinstance(hidden, Mapping)
        assert callable(observed)
        z = call(hidden["z"], rng=rng, **unknown)
        seen = call(observed, rng=rng, z=z, **unknown)
        row = (self.group * self.problem.sizes["locus"] + seen["locus"]).astype(np.int32)
        ones = np.ones(len(row))
        genome, channel = (a.astype(np.int32) for a in (self.problem["genome"], seen["channel"]))
        return replace(self.data, genome=genome, row=row, channel=channel, count=ones)

    def summaries(self, unknown: Mapping[str, Array], data: Corpus) -> list[float]:
        """Return numbers whose distributions are compared: moments, and how variables go with mutations."""
        beta, pi = unknown["beta"], unknown["pi"]
        given = {**self.problem.arrays, **unknown}
        lam, rho = (unknown["lam"], unknown["rho"]) if "lam" in unknown else whole(given)
        X, t = data.features.reshape(-1, 2)[data.row], data.opportunity[:, data.row % len(data.log_exposure)]
        mine = pi[data.genome]  # (cells, K)
        context, alternative = split_channel(data.channel)
        score, seen = X @ beta.T, (lam @ t).T
        out = [(beta**2).mean(), (beta**4).mean(), (mine * score).mean(), (mine * score**2).mean()]
        out += [(lam**2).mean(), np.log(lam).mean(), (mine * lam[:, context].T).mean(), np.log(mine * seen).mean()]
        out += [(rho**2).mean(), (mine * rho[:, context, alternative].T).mean(), (mine * score * seen).mean()]
        out += [(pi**2).mean(), (pi.mean(0) ** 2).mean(), (lam * rho[..., 0] ** 2).mean(), (pi.mean(0) * beta.T).std()]
        if "locus_effect" in unknown:
            effect = unknown["locus_effect"]
            here = effect[:, data.row % effect.shape[1]].T
            out += [effect.mean(), (effect**2).mean(), (mine * here).mean(), (mine * here * score).mean()]
            out += [np.log(effect).mean(), (effect.mean(1) ** 2).mean(), (effect.std(1)[:, None] * beta**2).mean()]
        return [float(number) for number in out]


@pytest.mark.parametrize("options", VARIANTS)
def test_sweeps_keep_the_joint_distribution(options: dict[str, str]) -> None:
    """Sweeps and new mutations in turn give the same joint distribution as prior and story do (Geweke 2004)."""
    story, rng = Story(options, 1), np.random.default_rng(2)
    n = 2000
    direct = np.empty((n, len(story.summaries(story.unknown(rng), story.data))))
    for at in range(n):
        unknown = story.unknown(rng)
        direct[at] = story.summaries(unknown, story.mutations(rng, unknown))
    chain = np.empty_like(direct)
    sweep = gibbs.Sweep(story.data, story.problem, np.zeros((2, 2)))
    state = sweep.state(story.unknown(rng))
    for at in range(n):
        unknown = sweep.unknown(state)
        sweep.data = story.mutations(rng, unknown)
        chain[at] = story.summaries(unknown, sweep.data)
        state = sweep(rng, state)
    size = effective(chain[None])
    error = np.sqrt(direct.var(0) / n + chain.var(0) / size)
    z = (chain.mean(0) - direct.mean(0)) / error
    assert (size > 100).all(), size
    assert (np.abs(z) < 4.5).all(), z  # about 100 comparisons through all variants: p < 1e-3


LEARNED = [
    {"form": "conditional", "groups": "one", "loci": "fixed", "spectra": "free"},
    pytest.param({"form": "joint", "groups": "several", "loci": "fixed", "spectra": "mixed"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("options", LEARNED, ids=["conditional-free", "joint-mixed"])
def test_moves_of_concentrations_keep_their_prior(options: dict[str, str]) -> None:
    """Sweeps that move them and new mutations in turn give logs that are normal around the given ones (Geweke 2004)."""
    story, rng = Story(options, 1), np.random.default_rng(2)
    sweep = gibbs.Sweep(story.data, story.problem, np.zeros((2, 2)), learning_spectra=True, learning_alpha=True)
    state, kept = sweep.state(story.unknown(rng)), []
    n = 3000
    for _ in range(n):
        sweep.data = story.mutations(rng, sweep.unknown(state))
        state = sweep(rng, state)
        lam = state.lam[len(state.lam) - len(sweep.of_lam) :]
        of_lam, of_rho = np.log(sweep.of_lam / 0.6), np.log(sweep.of_rho / 1.7)
        kept.append(np.concatenate([np.log(sweep.alpha / 1.5), of_lam, of_rho, np.log((lam**2).sum(1)) * of_lam]))
    draws = np.array(kept)
    z, together = draws[:, : -len(of_lam)], draws[:, -len(of_lam) :]
    assert (np.abs(z.mean(0)) < 4 / np.sqrt(effective(z[None]))).all()
    assert (np.abs((z**2).mean(0) - 1) < 4 * np.sqrt(2 / effective(z[None] ** 2))).all()
    direct = rng.normal(size=n)  # how lam goes with its concentration, from the prior
    share = rng.standard_gamma(0.6 * np.exp(direct)[:, None], (n, 32)) + 1e-300
    expected = np.log(((share / share.sum(1, keepdims=True)) ** 2).sum(1)) * direct
    error = np.sqrt(expected.var() / n + together.var(0) / effective(together[None]))
    assert (np.abs(together.mean(0) - expected.mean()) < 4 * error).all()


@pytest.mark.parametrize("of", ["lam", "rho"])
def test_moves_of_concentrations_have_their_density(of: str) -> None:
    """Moments of the log, by a grid, of the posterior given one process's mutations (eqs. 44, 45)."""
    rng, n, median = np.random.default_rng(5), 30_000, 0.7
    counts, rate = rng.poisson(rng.gamma(0.5, 4.0, (6, 3))).astype(float), rng.gamma(2.0, 1.0, 6)
    seen = counts.sum(1)
    log_at = np.linspace(-5, 5, 4001)
    at = np.exp(log_at)[:, None]
    if of == "lam":
        each = gammaln(at + seen) - gammaln(at) - at * np.log1p(rate)
    else:
        each = (
            (gammaln(at[..., None] + counts) - gammaln(at[..., None])).sum(2) - gammaln(3 * at + seen) + gammaln(3 * at)
        )
    weight = np.exp((total := each.sum(1) - (log_at - np.log(median)) ** 2 / 2) - total.max())
    mean = np.average(log_at, weights=weight)
    variance = np.average((log_at - mean) ** 2, weights=weight)
    now, kept = 1.0, np.empty(n)
    for i in range(n):
        if of == "lam":
            now = collapsed.move_of_lam(rng, seen, rate, now, median)
        else:
            now = collapsed.move_of_rho(rng, counts, now, median)
        kept[i] = np.log(now)
    for found, wanted in ((kept, mean), ((kept - mean) ** 2, variance)):
        assert abs(found.mean() - wanted) < 4.5 * found.std() / np.sqrt(effective(found[None, :, None])[0]), of


@pytest.mark.parametrize(("genomes", "median"), [(400, 1.0), (10, 1e-3)])
def test_moves_of_alpha_have_their_density(genomes: int, median: float) -> None:
    """All genomes use the first of two processes: means of log alpha, by a grid (eq. 42)."""
    rng, n, seen = np.random.default_rng(5), 10_000, 50
    log_at = np.linspace(np.log(1.01e-4), 8, 400)
    one, two = np.exp(log_at)[:, None], np.exp(log_at)
    each = gammaln(one + two) - gammaln(one + two + seen) + gammaln(one + seen) - gammaln(one)
    level = genomes * each - (np.log(one / median) ** 2 + np.log(two / median) ** 2) / 2
    weight = np.exp(level - level.max())
    expected = [np.average(log_at, weights=weight.sum(axis)) for axis in (1, 0)]
    counts, alpha, kept = np.tile([float(seen), 0.0], (genomes, 1)), np.full(2, median), np.empty((n, 2))
    for i in range(n):
        alpha = collapsed.move_of_alpha(rng, counts, alpha, np.full(2, median))
        kept[i] = np.log(alpha)
    assert (np.abs(kept.mean(0) - expected) < 4.5 * kept.std(0) / np.sqrt(effective(kept[None]))).all()
    dropped = np.array([1.0, FLOOR])
    assert collapsed.move_of_alpha(rng, counts, dropped, np.ones(2))[1] == FLOOR


@pytest.mark.parametrize("at", [1e-4, 0.3, 40.0, 1e4])
def test_ratios_of_gamma_functions(at: float) -> None:
    counts = np.r_[np.arange(40.0), np.zeros(9), np.full(60, 15.0), 1e5]
    assert collapsed.log_rising(counts, at) == pytest.approx((gammaln(at + counts) - gammaln(at)).sum(), rel=1e-12)


def test_processes_are_drawn_as_often_as_expected() -> None:
    """Numbers by genome, row and channel, averaged over draws, are those of the E-step (eq. 4)."""
    tree = gn.simulate(NAME, seed=3, genome=4, locus=10, process=3, cell=200)
    problem = check(registry.get(NAME), tree)
    data = replace(corpus(problem))
    data = replace(data, count=data.count + np.arange(len(data.count)) % 3)
    rng = np.random.default_rng(4)
    shapes = (data.genomes, data.rows, data.channels)
    tables = [rng.dirichlet(np.ones(3), size) for size in shapes]
    expected = expect(data, *(Weights.of(np.log(table)) for table in tables))[:3]
    n, sums = 400, [np.zeros((size, 3)) for size in shapes]
    for _ in range(n):
        uniform = rng.random(int(data.count.sum()))
        moves.assign(uniform, data.genome, data.row, data.channel, data.count, *tables, *sums)
    for found, wanted in zip(sums, expected, strict=True):
        assert found.sum() == n * data.count.sum()
        assert (np.abs(found / n - wanted) < 5 * np.sqrt(wanted / n) + 1e-12).all()


def test_processes_are_drawn_with_exposures_summed_out() -> None:
    """Three mutations of a genome, two processes: all eight assignments come as often as their densities say."""
    alpha, rng = np.array([0.1, 0.4]), np.random.default_rng(5)
    place, spectrum = rng.dirichlet(np.ones(3), 2).T.copy(), rng.dirichlet(np.ones(4), 2).T.copy()
    genome, row, channel = (np.array(x) for x in ([0, 0], [0, 2], [1, 3]))
    count = np.array([2.0, 1.0])
    log_density = []
    for z in np.ndindex(2, 2, 2):
        counted = np.bincount(z, minlength=2)
        weight = [place[row[i], k] * spectrum[channel[i], k] for i, k in zip((0, 0, 1), z, strict=True)]
        log_density.append(np.log(weight).sum() + gammaln(alpha + counted).sum())
    density = np.exp(np.array(log_density, dtype=float))
    wanted: Array = density / density.sum()
    found, sums, seen, n = np.full(3, -1), np.zeros((1, 2)), np.zeros(8), 40_000
    for _ in range(n):
        moves.reassign(rng.random(3), genome, row, channel, count, alpha, place, spectrum, found, sums)
        seen[found @ [4, 2, 1]] += 1
    assert sums.sum() == 3
    assert (np.abs(seen / n - wanted) < 5 * np.sqrt(0.25 / n) * 2).all()


def chain_of(gamma: Array, curvature: Array, step: float, n: int, seed: int) -> Iterator[Array]:
    """Metropolis steps from a density of two variables: logs of Gamma variables, or a normal one (gamma = 0)."""
    rng = np.random.default_rng(seed)
    factor = np.linalg.cholesky(curvature)
    at = np.full(2, 1.0)

    def log_density(x: Array) -> tuple[float, Array]:
        pull = gamma - np.exp(x) if gamma.any() else -curvature @ x
        return float((gamma * x - np.exp(x)).sum() if gamma.any() else 0.5 * pull @ x), pull

    for _ in range(n):
        value, gradient = log_density(at)
        trial = moves.propose(rng, at, gradient, factor, step)
        new_value, new_gradient = log_density(trial)
        ratio = new_value - value + moves.log_proposal(at, trial, new_gradient, factor, step)
        ratio -= moves.log_proposal(trial, at, gradient, factor, step)
        at = trial if np.log(rng.uniform()) < ratio else at
        yield at


@pytest.mark.parametrize("step", [pytest.param(0.2, marks=pytest.mark.slow), 1.0])
def test_metropolis_steps_reach_a_density_that_is_not_normal(step: float) -> None:
    """Mean and variance of the log of a gamma variable come out, also by a curvature that is off by a factor of two."""
    n, gamma = 20_000, np.array([4.0, 4.0])
    draws = np.array(list(chain_of(gamma, np.diag([2.0, 8.0]), step, n, 5)))
    size = effective(draws[None])
    error = np.sqrt(polygamma(1, 4) / size)
    assert (np.abs(draws.mean(0) - digamma(4)) < 4 * error).all()
    square = (draws - digamma(4)) ** 2
    assert (np.abs(square.mean(0) - polygamma(1, 4)) < 4 * np.sqrt(square.var(0) / effective(square[None]))).all()


def test_bold_steps_are_independent_draws_of_a_normal_density() -> None:
    """With the curvature of a normal density no step is rejected, and none remembers the one before."""
    curvature = np.array([[2.0, 0.5], [0.5, 1.0]])
    moved = np.array(list(chain_of(np.zeros(2), curvature, 1.0, 4000, 6)))
    assert (np.diff(moved, axis=0) != 0).all()
    again = np.corrcoef(moved[1:].T, moved[:-1].T)[:2, 2:]
    assert (np.abs(again) < 4 / np.sqrt(4000)).all()
    np.testing.assert_allclose(np.cov(moved.T), np.linalg.inv(curvature), atol=4 * 2 / np.sqrt(4000))


def test_gibbs_says_what_it_cannot_hold() -> None:
    tree = gn.simulate(NAME, seed=1, genome=3, locus=8, cell=60)
    fixed = {str(n): v for g in ("observed_data", "constant_data") for n, v in tree[g].data_vars.items()}
    with pytest.raises(InputError, match="'gibbs' cannot hold pi fixed"):
        gn.fit(NAME, {**fixed, "pi": tree["truth"]["pi"]}, "gibbs", process=3)


@pytest.mark.slow
def test_gibbs_agrees_with_nuts_on_a_corpus() -> None:
    """Means and standard deviations of the effects, within their Monte Carlo errors."""
    tree = gn.simulate(NAME, seed=8, genome=6, locus=40, process=2, feature=2, cell=600, tau=0.5)
    found = [gn.fit(NAME, tree, method, 1, chains=2, draws=1000, tune=500) for method in ("gibbs", "nuts")]
    draws = [fit["posterior"]["beta"].to_numpy().reshape(2, -1, 4) for fit in found]
    size = [effective(each) for each in draws]
    mean, sd = ([f(each.reshape(-1, 4), 0) for each in draws] for f in (np.mean, np.std))
    error = np.sqrt(sum(s**2 / n for s, n in zip(sd, size, strict=True)))
    assert (np.abs(mean[0] - mean[1]) < 4 * error).all()
    np.testing.assert_allclose(np.log(sd[0] / sd[1]), 0, atol=4 * np.sqrt((1 / size[0] + 1 / size[1]).max()))
