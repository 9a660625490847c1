"""locus_regression: ways out of local optima: switches within genomes, smoothed spectra, exchanges of processes."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.special import digamma, gammaln

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.engines.ascent import Ascent, ascend
from genarium.models.locus_regression import clusters, escapes, exchange, resampling, switches
from genarium.models.locus_regression.channels import by_context, split_channel
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.sweep import PATIENCE, State, Step
from locus_problems import every_variant, problem_of, random_state

variational = import_module("genarium.models.locus_regression.vi")
every_variant: pytest.MarkDecorator = every_variant
SMALL: dict[str, Any] = {"genome": 40, "locus": 60, "process": 6, "feature": 2, "cell": 8000}


def to_the_end(step: Step, state: State) -> Ascent[State]:
    return ascend(step, state, tolerance=0.003, max_iterations=1000, vector=(step.pack, step.unpack))


def from_truth(step: Step, problem: Problem, tree: xr.DataTree) -> Ascent[State]:
    """Ascend from the true processes of all mutations."""
    truth, z = tree["truth"].to_dataset(), tree["truth"]["z"].to_numpy()
    state = step.first(problem, np.random.default_rng(0))
    K, M = problem.sizes["process"], problem.sizes["channel"]
    by_genome, by_channel = np.zeros(state.gamma.shape), np.zeros((K, M))
    np.add.at(by_genome, (problem["genome"], z), problem["count"])
    np.add.at(by_channel, (z, problem["channel"]), problem["count"])
    lam = truth["lam"].to_numpy() * by_channel.sum(1, keepdims=True)
    state = replace(
        state,
        gamma=state.alpha + by_genome,
        delta=state.lam_concentration[:, None] + lam,
        omega=step.alternatives(state, by_context(by_channel, lam.shape[1])),
        effects=replace(state.effects, mean=truth["beta"].to_numpy()),
        age=PATIENCE + 1,
    )
    return to_the_end(step, step.normalised(state))


@pytest.fixture(scope="module")
def sparse() -> tuple[Step, Problem, xr.DataTree]:
    tree = gn.simulate("locus_regression", seed=3, alpha=0.1, **SMALL)
    problem = check(gn.get("locus_regression"), tree, {"process": 6})
    return Step(corpus(problem), empirical_bayes=True), problem, tree


def test_digamma() -> None:
    x = np.geomspace(1e-4, 1e6, 200)
    np.testing.assert_allclose([switches._digamma(one) for one in x], digamma(x), rtol=1e-9, atol=1e-9)


@every_variant
def test_switches_raise_the_bound_by_what_they_say(options: dict[str, str]) -> None:
    _, problem, _ = problem_of(options, cell=900)
    step = Step(corpus(problem))
    for seed in range(3):
        state = random_state(step, problem, seed)
        state = replace(state, gamma=state.alpha + step.expect(*step.tables(state))[0])
        moved, gained = switches.switched(step, state)
        before = step.bound(state)
        assert gained >= 0
        # what updates of the exposures alone gain before the first switch is not counted
        assert step.bound(moved) >= before + gained - 1e-9 * abs(before)
        np.testing.assert_allclose(moved.gamma.sum(1), state.gamma.sum(1))


def exposures_from(gamma: Array, likelihood: Array, alpha: Array) -> tuple[float, Array]:
    """Update one genome's exposures to the end; return its part of the bound, and them."""
    for _ in range(150):
        each = likelihood * np.exp(digamma(gamma) - digamma(gamma.sum()))
        gamma = alpha + (each / each.sum(1, keepdims=True)).sum(0)
    weight = digamma(gamma) - digamma(gamma.sum())
    divergence = gammaln(gamma.sum()) - gammaln(alpha.sum()) + (gammaln(alpha) - gammaln(gamma)).sum()
    divergence += ((gamma - alpha) * weight).sum()
    return float(np.log(likelihood @ np.exp(weight)).sum() - divergence), gamma


def test_switches_find_what_many_starts_find() -> None:
    """Of ten genomes under small concentrations: one start ends nats below the best of forty; switches do not."""
    rng = np.random.default_rng(5)
    K, n = 5, 60
    alpha = np.full(K, 0.08)
    short = np.empty((10, 2))
    for genome in range(10):
        spectra = rng.dirichlet(np.full(12, 0.6), K)
        at = rng.choice(12, n, p=rng.dirichlet(np.full(K, 0.3)) @ spectra)
        likelihood = np.ascontiguousarray(spectra[:, at].T)
        starts = alpha + n * rng.dirichlet(np.full(K, 0.3), 40)
        ends = [exposures_from(start, likelihood, alpha)[0] for start in starts]
        gamma = exposures_from(starts[0], likelihood, alpha)[1]
        gained = switches._of_genome(likelihood, np.ones(n), alpha, gamma)
        found = exposures_from(gamma, likelihood, alpha)[0]
        assert found > ends[0] + gained - 1e-3
        short[genome] = max(ends) - ends[0], max(ends) - found
    assert short[:, 0].mean() > 0.5
    assert short[:, 1].max() < 0.5
    assert short[:, 1].mean() < 0.1


def test_vi_ends_no_lower_than_from_the_truth(sparse: tuple[Step, Problem, xr.DataTree]) -> None:
    """Ascents that agree end more than a nat below the one from the truth; switches and all else lift them above it."""
    step, problem, tree = sparse
    settings = {"restarts": 3, "agreeing": 2, "tolerance": 0.003, "max_iterations": 2000}
    scouts, best = variational.climbed(step, problem, np.random.default_rng(1), None, **settings)
    truth = from_truth(step, problem, tree).bound
    assert scouts[best].bound < truth - 1
    fit = gn.fit("locus_regression", tree, "vi", seed=1, process=6, covariance="mean_field", draws=2)
    assert fit["variational"]["bound"].max() > truth


def test_an_exchange_mends_a_split_and_a_merged_process(sparse: tuple[Step, Problem, xr.DataTree]) -> None:
    """From two processes merged and a third split, sweeps do not come back; an exchange gains nine tenths of the loss.

    What is left after it is of genomes' exposures, some nats among the fifty and more that were lost.
    """
    step, problem, tree = sparse
    truth = switches.settled(step, from_truth(step, problem, tree), 0.003)
    shares = exchange.probabilities(step, truth.state)
    for i, j, k in ((0, 1, 2), (3, 4, 0)):
        halves = exchange._halves(step, truth.state, shares[k], k)[1]
        wrong = to_the_end(step, exchange._with_exchange(step, truth.state, i, j, k, halves))
        assert wrong.bound < truth.bound - 50
        mended = exchange.exchanged(step, wrong, 0.003, 1000)
        found = switches.settled(step, mended, 0.003)
        assert truth.bound - found.bound < 0.1 * (truth.bound - wrong.bound)
        assert (np.diff(mended.bounds) >= 0).all()


def test_what_a_merger_loses(sparse: tuple[Step, Problem, xr.DataTree]) -> None:
    """Against the sum over cells, written out; a process beside its own copy loses nothing."""
    step, problem, tree = sparse
    state = from_truth(step, problem, tree).state
    data, tables = step.data, step.tables(state)
    shares = exchange.probabilities(step, state)
    lost = exchange._lost(step, state, shares)
    weight, place, spectrum = (np.exp(table.log) for table in tables)
    N = shares @ data.count
    at = (data.genome, data.row, data.channel)
    each = weight[at[0]] * place[at[1]] * spectrum[at[2]]
    for i, j in ((0, 1), (4, 2)):
        own = N[[i, j]] / N[[i, j]].sum()
        merged = weight[:, [i, j]].sum(1)[at[0]] * (place[:, [i, j]] @ own)[at[1]] * (spectrum[:, [i, j]] @ own)[at[2]]
        n = data.count * (shares[i] + shares[j])
        assert lost[i, j] == pytest.approx(n @ np.log(each[:, [i, j]].sum(1) / merged), rel=1e-2)
    gamma = state.gamma.copy()
    twins = replace(state, **{name: getattr(state, name).copy() for name in ("delta", "omega")})
    twins.delta[1], twins.omega[1] = twins.delta[0], twins.omega[0]
    mean, covariance = state.effects.mean.copy(), state.effects.covariance.copy()
    mean[1], covariance[1] = mean[0], covariance[0]
    gamma[:, :2] = gamma[:, :1] / 2
    twins = step.normalised(
        replace(twins, gamma=gamma, effects=replace(state.effects, mean=mean, covariance=covariance))
    )
    lost = exchange._lost(step, twins, exchange.probabilities(step, twins))
    assert lost[0, 1] == pytest.approx(0, abs=0.02 * N[0])
    assert np.argmin(lost + np.diag(np.full(6, np.inf))) == 1


def test_a_merger_loses_a_number_where_neither_process_has_a_share() -> None:
    """With an alpha of 1e-3, the weight of a process that a genome does not use underflows."""
    tree = gn.simulate("locus_regression", seed=1, alpha=1e-3, genome=8, locus=12, process=4, feature=2, cell=800)
    problem = check(gn.get("locus_regression"), tree, {"process": 4})
    step = Step(corpus(problem))
    run = to_the_end(step, step.first(problem, np.random.default_rng(0)))
    assert (step.tables(run.state)[0].scaled == 0).sum(1).max() > 1
    assert np.isfinite(exchange._lost(step, run.state, exchange.probabilities(step, run.state))).all()


@every_variant
def test_crowded_mutations_are_those_beyond_what_a_process_of_the_genome_expects(options: dict[str, str]) -> None:
    """Against a loop over genomes and loci: at its first locus a genome has 40 mutations more."""
    _, problem, _ = problem_of(options)
    step = Step(corpus(problem))
    state = random_state(step, problem)
    data = step.data
    at = np.flatnonzero((data.genome == data.genome[0]) & (data.row == data.row[0]))
    data.count[at[0]] += 40
    K, (J, L, _) = len(state.alpha), data.features.shape
    place, mean = step.place(state).log, state.delta / state.delta.sum(1, keepdims=True)
    share, seen = clusters.crowded(step, state), 0
    for g in range(data.genomes):
        for j in range(J):
            there = (data.genome == g) & (data.row // L == j)
            for row in range(j * L, (j + 1) * L):
                here = there & (data.row == row)
                pi = state.gamma[g] / state.gamma[g].sum()
                chance = sum(pi[k] * np.exp(place[row, k]) * (mean[k] @ data.opportunity[:, row % L]) for k in range(K))
                n, expected = data.count[here].sum(), data.count[there].sum() * chance
                if n < 3 or n < 3 * expected:
                    crowded = False
                else:
                    crowded = n * np.log(n / expected) - n + expected > np.log(data.genomes * J * L) + 3
                seen += crowded
                np.testing.assert_allclose(share[here], (n - expected) / n if crowded else 0, rtol=1e-9)
    assert seen
    assert share[at].min() > 0.5


def crowded_corpus(estimated: bool, unit: float = 1, absent: int = 0) -> tuple[Step, Problem, Array]:
    """Mutations of four processes, and 90 of one channel at two loci of one genome, which a feature tells apart.

    Features are in a unit; the last contexts occur nowhere.
    """
    rng = np.random.default_rng(5)
    tree = gn.simulate("locus_regression", seed=5, alpha=0.5, genome=20, locus=60, process=4, feature=2, cell=6000)
    variables = [*tree["constant_data"].data_vars.items(), *tree["observed_data"].data_vars.items()]
    data = {str(name): value.to_numpy() for name, value in variables if "process" not in value.dims}
    data["features"] = np.stack([data["features"][0], np.arange(60) < 2]) / unit
    many: dict[str, Array] = {"genome": np.full(90, 3), "locus": rng.integers(2, size=90), "channel": np.full(90, 40)}
    many["count"] = np.ones(90, dtype=int)
    data |= {name: np.concatenate([data[name], value]) for name, value in many.items() if name in data}
    there = split_channel(data["channel"], 32, 3)[0] < 32 - absent
    data |= {name: data[name][there] for name in many}
    data["context_opportunity"][32 - absent :] = 0
    problem = check(gn.get("locus_regression"), data, {"process": 5})
    step = Step(corpus(problem), empirical_bayes=estimated)
    ours = (step.data.genome == 3) & (step.data.row < 2) & (step.data.channel == 40)
    return step, problem, ours


@pytest.mark.parametrize(("estimated", "unit"), [(True, 1), (False, 1), (True, 1e-6)])
def test_crowded_mutations_get_a_process(estimated: bool, unit: float) -> None:
    """None has them where the ascents end; afterwards one has, and little else. Given hyperparameters stay."""
    step, problem, ours = crowded_corpus(estimated, unit)
    gained = []
    for seed in range(4):
        run = to_the_end(step, step.first(problem, np.random.default_rng(seed)))
        found = clusters.born(step, run, 0.003, 1000)
        assert (np.diff(found.bounds) >= 0).all()
        shares = exchange.probabilities(step, found.state)
        k = int(np.argmax(shares[:, ours] @ step.data.count[ours]))
        assert shares[k, ours] @ step.data.count[ours] > 85
        assert shares[k] @ step.data.count < 110
        gained.append(found.bound - run.bound)
        if not estimated:
            better = escapes.improved(step, run, 0.003, 2000, problem, np.random.default_rng(1)).state
            for name in ("alpha", "tau", "lam_concentration", "rho_concentration"):
                np.testing.assert_array_equal(getattr(better, name), getattr(step.data.hyper, name))
    assert max(gained) > 50


def test_a_process_of_crowded_mutations_does_not_begin_at_contexts_that_occur_nowhere() -> None:
    step, problem, ours = crowded_corpus(True, absent=2)
    state = step.first(problem, np.random.default_rng(0))
    begun = clusters._with_process(step, state, exchange.probabilities(step, state), 4, ours.astype(float))
    context = split_channel(np.array([40]), 32, 3)[0][0]
    assert begun.delta[4, context] > 0.5 * begun.delta[4].sum()


def test_nothing_is_crowded_in_a_corpus_of_the_model(sparse: tuple[Step, Problem, xr.DataTree]) -> None:
    step, problem, tree = sparse
    truth = from_truth(step, problem, tree)
    assert not clusters.crowded(step, truth.state).any()
    assert clusters.born(step, truth, 0.003, 1000) is truth


def test_an_exchange_leaves_given_hyperparameters_as_they_are(sparse: tuple[Step, Problem, xr.DataTree]) -> None:
    estimated, problem, tree = sparse
    step = Step(estimated.data, empirical_bayes=False)
    state = from_truth(step, problem, tree).state
    halves = exchange._halves(step, state, exchange.probabilities(step, state)[2], 2)[1]
    found = exchange._with_exchange(step, state, 0, 1, 2, halves)
    for name in ("alpha", "tau", "lam_concentration", "rho_concentration"):
        np.testing.assert_array_equal(getattr(found, name), getattr(state, name))


def test_gibbs_sweeps_find_a_process_that_all_genomes_lack(sparse: tuple[Step, Problem, xr.DataTree]) -> None:
    """Where one is put off everywhere, with a small alpha, switches do not bring it back, and exchanges not quite."""
    step, problem, tree = sparse
    truth = switches.settled(step, from_truth(step, problem, tree), 0.003)
    state, k, other = truth.state, 3, np.arange(6) != 3
    gamma, alpha = state.gamma.copy(), state.alpha.copy()
    gamma += (gamma[:, k] - alpha[k])[:, None] * gamma * other / gamma[:, other].sum(1, keepdims=True)
    gamma[:, k] = alpha[k] = 0.02
    delta, omega = state.delta.copy(), state.omega.copy()
    delta[k], omega[k] = state.lam_concentration[k] + 0.01, state.rho_concentration[k] + 0.01
    lacking = to_the_end(step, step.normalised(replace(state, gamma=gamma, alpha=alpha, delta=delta, omega=omega)))
    lacking = switches.settled(step, lacking, 0.003)
    assert lacking.bound < truth.bound - 100
    found = resampling.resampled(step, lacking, problem, np.random.default_rng(1), 0.003)
    assert found.bound > truth.bound - 5
    assert (np.diff(found.bounds) >= 0).all()
    exchanges = escapes.moved(step, lacking, 0.003, 1000)
    assert exchanges.bound < truth.bound - 1
    every = escapes.improved(step, lacking, 0.003, 1000, problem, np.random.default_rng(1))
    assert every.bound > truth.bound - 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"form": "joint"},
        {"groups": "several"},
        {"loci": "random"},
        {"channels": "DBS78"},
        {"channels": "SBS192", "form": "joint", "loci": "random", "groups": "several"},
    ],
    ids=str,
)
def test_every_variant_is_improved_without_a_fall(options: dict[str, str]) -> None:
    sizes: dict[str, Any] = {"genome": 12, "locus": 30, "process": 4, "cell": 2500, "alpha": 0.2}
    sizes |= {"lam_concentration": 0.3}
    _, problem, _ = problem_of(options, seed=2, **sizes)
    step = Step(corpus(problem), empirical_bayes=True)
    run = to_the_end(step, step.first(problem, np.random.default_rng(1)))
    better = escapes.improved(step, run, 0.003, 2000, problem, np.random.default_rng(2))
    assert better.bound >= run.bound
    assert better.largest_fall == 0
    assert step.bound(better.state) == pytest.approx(better.bound, rel=1e-12)


def test_given_signatures_stay_as_they_are() -> None:
    tree = gn.simulate("locus_regression", seed=3, alpha=0.1, **SMALL)
    table = np.random.default_rng(1).dirichlet(np.ones(96), 2).T
    names = ("genome", "locus", "channel", "features")
    data = {name: check(gn.get("locus_regression"), tree)[name] for name in names}
    settings: dict[str, Any] = {"signatures": table, "covariance": "mean_field", "draws": 2, "tolerance": 0.1}
    fit = gn.fit("locus_regression", data, "vi", 1, process=6, **settings)
    lam, rho = (fit["posterior"][name].to_numpy()[0, -1, :2] for name in ("lam", "rho"))
    own = (lam[..., None] * rho).reshape(2, 32, 3)
    np.testing.assert_allclose(own / own.sum((1, 2), keepdims=True), by_context(table.T, 32), rtol=1e-6)
    assert (np.diff(fit["variational"]["bound"].to_numpy()[0][:40]) > -1e-6).all()
