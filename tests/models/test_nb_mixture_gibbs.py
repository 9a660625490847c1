"""Gibbs sampling with covariates, batches and lost counts: its conditionals, and that it leaves the joint as it is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import special, stats

import genarium as gn
from genarium.data import check
from genarium.declaration import Array, Problem
from genarium.models.nb_mixture.gibbs import Known, Sampler
from genarium.models.nb_mixture.gibbs_adjusted import draw_lost
from genarium.story import draw_stage, replicate

ALL = {"weights": "covariates", "means": "batch", "zeros": "inflated"}

EACH = [*({name: value} for name, value in ALL.items()), {**ALL, "dispersion": "gene"}]

WIDE = {"a0": 5.0, "b0": 4.0, "zero_b": 3.0, "tau": 0.5}
"""Constants of priors that some cells can tell apart."""


def make(options: dict[str, str], cells: int, seed: int = 0, depth: bool = True) -> Problem:
    """Simulate few cells, with covariates that are not centred and batches of unequal size."""
    rng = np.random.default_rng(seed)
    told: dict[str, Any] = {"size_factor": rng.lognormal(0, 0.3, cells)} if depth else {}
    more = {"zero_b"} if "zeros" in options else set[str]()
    more |= {"tau"} if "dispersion" in options else set()
    told |= {name: WIDE[name] for name in ("a0", "b0", *more)}
    sizes: dict[str, int] = {}
    if "zeros" in options:
        told["zero"] = [0.4, 0.2]
    if "weights" in options:
        told["covariates"] = np.column_stack([rng.normal(2, 1, cells), np.arange(cells) % 2])
        sizes["covariate"] = 2
    if "means" in options:
        sizes["batch"] = 3
    tree = gn.simulate("nb_mixture", seed, cell=cells, gene=2, component=2, **options, **sizes, **told)
    problem = check(gn.get("nb_mixture").variant(**options), tree, {"component": 2})
    unequal = {"batch": np.minimum(np.arange(cells) * 5 // cells, 2)} if "means" in options else {}
    return replace(problem, arrays={**problem.arrays, **unequal})


def complete(problem: Problem, values: dict[str, Array], known: Known) -> float:
    """Log density of counts, groups, lost counts and parameters, as functions of (ln-odds of pi, ln mu, ln phi)."""
    x, s, g = problem["x"], problem["size_factor"], known.group
    phi = values["phi"] if "phi" in values else problem["phi"]
    own = problem.option("dispersion") == "component"
    phi = np.broadcast_to(phi[:, None] if own else phi, values["mu"].shape)
    weight = np.log(values["pi"])[None]
    out = problem["alpha0"] * np.log(values["pi"]).sum()
    if "effect" in values:
        weight = weight + problem["covariates"] @ values["effect"]
        out -= 0.5 * (values["effect"] ** 2).sum() / problem["sd_effect"] ** 2
    out += (special.log_softmax(np.broadcast_to(weight, (len(x), 2)), axis=1)[np.arange(len(x)), g]).sum()
    mean = s[:, None] * values["mu"][g]
    if "shift" in values:
        mean = mean * np.exp(values["shift"].T[problem["batch"]])
        out -= 0.5 * (values["shift"] ** 2).sum() / problem["sd_shift"] ** 2
    r = 1 / phi[g]
    terms = np.asarray(stats.nbinom.logpmf(x, r, r / (r + mean)))
    out += (terms if known.there is None else terms[known.there == 1]).sum()
    p = 1 / (1 + phi * values["mu"])
    out += stats.beta(problem["a0"], problem["b0"]).logpdf(p).sum() + np.log(p * (1 - p)).sum()  # by ln mu
    if "phi" in values:
        out += stats.norm(np.log(problem["phi0"]), problem["tau"]).logpdf(np.log(values["phi"])).sum()
    return float(out)


@pytest.mark.parametrize(
    "options", [*EACH, {**ALL, "dispersion": "component"}, {**ALL, "dispersion": "shared"}], ids=str
)
def test_conditionals_are_those_of_the_complete_density(options: dict[str, str]) -> None:
    problem = make(options, 30)
    sampler, rng = Sampler(problem), np.random.default_rng(1)
    values = next(sampler(rng))
    group = rng.integers(0, 2, 30)
    there = (
        (~draw_lost(rng, sampler.story, {**problem.arrays, **values}, group)).astype(float)
        if "zeros" in options
        else None
    )
    assert there is None or 0 < there.mean() < 1
    known = Known(group, there, 2)

    def rise(**new: Array) -> float:
        return complete(problem, {**values, **new}, known) - complete(problem, dict(values), known)

    depth, mu = sampler.depth(values.get("shift")), values["mu"]
    phi = values["phi"] if "phi" in values else problem["phi"]
    log_density = sampler.mu_alone(known, phi, depth)
    step = rng.normal(0, 0.3, mu.shape)
    gain = log_density(np.log(mu) + step) - log_density(np.log(mu))
    assert gain.sum() == pytest.approx(rise(mu=mu * np.exp(step)), rel=1e-9)
    one = np.zeros_like(step)
    one[1, 0] = step[1, 0]
    assert gain[1, 0] == pytest.approx(rise(mu=mu * np.exp(one)), rel=1e-9)
    if "phi" in values:
        log_density = sampler.phi_given_mu(known, mu, depth)
        step = rng.normal(0, 0.3, phi.shape)
        gain = log_density(np.log(phi) + step) - log_density(np.log(phi))
        assert gain.sum() == pytest.approx(rise(phi=phi * np.exp(step)), rel=1e-9)
    if sampler.shifts is not None:
        log_density, less, more = sampler.shifts.along(group, there, mu, phi, values["shift"], 1)
        step = rng.normal(0, 0.3, 2)
        gain = log_density(step) - log_density(np.zeros(2))
        found = rise(shift=values["shift"] + step[:, None] * more, mu=mu * np.exp(step * less))
        assert gain.sum() == pytest.approx(found, rel=1e-9)
    if sampler.weights is not None:
        pi = values["pi"]
        log_density, less, more = sampler.weights.along(pi, values["effect"], group, 1, 0)
        new = special.softmax(np.log(pi) + 0.3 * less)
        gain = log_density(np.array(0.3)) - log_density(np.zeros(()))
        assert gain == pytest.approx(rise(pi=new, effect=values["effect"] + 0.3 * more), rel=1e-9)


def test_dispersion_without_means_is_what_their_conditional_leaves_of_the_density() -> None:
    problem = make({"zeros": "inflated", "dispersion": "gene"}, 30, depth=False)
    sampler, rng = Sampler(problem), np.random.default_rng(1)
    values = next(sampler(rng))
    there = (~draw_lost(rng, sampler.story, {**problem.arrays, **values}, group := rng.integers(0, 2, 30))).astype(
        float
    )
    known, mu = Known(group, there, 2), values["mu"]
    size, total = known.sums(problem["x"])

    def marginal(phi: Array) -> float:
        p = 1 / (1 + phi * mu)
        conditional = stats.beta(problem["a0"] + size / phi, problem["b0"] + total).logpdf(p) + np.log(p * (1 - p))
        return complete(problem, {**values, "phi": phi}, known) - float(conditional.sum())

    log_density, phi = sampler.phi_alone(known), values["phi"]
    gain = log_density(np.log(phi) + 0.3) - log_density(np.log(phi))
    assert gain.sum() == pytest.approx(marginal(phi * np.exp(0.3)) - marginal(phi), rel=1e-9)


def told(values: dict[str, Array]) -> list[float]:
    """Return functions of a draw whose means are compared; labels do not matter."""
    pi, log_mu = values["pi"], np.log(values["mu"])
    out = [(pi**2).sum(), *log_mu.mean(0), *(log_mu**2).mean(0), float((pi[:, None] * log_mu).sum())]
    if "effect" in values:
        out += [*(values["effect"] ** 2).mean(1), float((values["effect"].prod(0)).sum())]
        out += [float(values["effect"][0] @ log_mu[:, 0]), float(values["effect"][1] @ pi)]
    if "shift" in values:
        out += [
            *values["shift"][:, :2].ravel(),
            *(values["shift"] ** 2).mean(1),
            float(values["shift"][0, 2] * log_mu[:, 0].sum()),
        ]
    if "zero" in values:
        out += [*values["zero"], *values["zero"] ** 2, float(values["zero"] @ log_mu.mean(0))]
    if "phi" in values:
        out += [*np.log(values["phi"]), *np.log(values["phi"]) ** 2]
    return out


def from_prior(problem: Problem, rng: np.random.Generator) -> dict[str, Array]:
    """Draw parameters from their prior."""
    out = dict(problem.arrays)
    draw_stage(problem.model, "unknown", rng, problem.sizes, {}, out)
    return {name: out[name] for name in problem.model.unknown.variables}


def again(problem: Problem, rng: np.random.Generator, values: dict[str, Array]) -> Problem:
    """Draw groups and counts given the parameters."""
    return replace(problem, arrays={**problem.arrays, **replicate(problem, values, rng)})


def joint_test(options: dict[str, str], steps: int, prior: int, depth: bool = True) -> Array:
    """Return z of every function of a draw: chain of data and parameters in turn (Geweke 2004) against the prior."""
    problem, rng = make(options, 8, depth=depth), np.random.default_rng(4)
    first = np.array([told(from_prior(problem, rng)) for _ in range(prior)])
    values = from_prior(problem, rng)
    now = again(problem, rng, values)
    chain = []
    for _ in range(steps):
        values = Sampler(now).step(rng, values)
        now = again(now, rng, values)
        chain.append(told(values))
    after = np.array(chain)
    ess = np.array([array_stats.ess(row[None], chain_axis=0, draw_axis=1, method="mean") for row in after.T])
    error = np.sqrt(first.var(0) / prior + after.var(0) / ess)
    return np.asarray((after.mean(0) - first.mean(0)) / error)


@pytest.mark.parametrize("options", [{}, {"zeros": "inflated", "dispersion": "gene"}], ids=str)
def test_a_sweep_keeps_the_joint_of_parameters_and_data(options: dict[str, str]) -> None:
    """Parameters of the prior, with counts that they made, still are draws of the prior after a sweep."""
    problem, rng, n = make(options, 4, depth=False), np.random.default_rng(5), 1500
    changes = []
    for _ in range(n):
        values = from_prior(problem, rng)
        changes.append(np.subtract(told(Sampler(again(problem, rng, values)).step(rng, values)), told(values)))
    found = np.array(changes)
    z = found.mean(0) / (found.std(0) / np.sqrt(n))
    assert np.abs(z).max() < 4, z


@pytest.mark.slow
def test_sampler_leaves_the_joint_of_parameters_and_data_as_it_is() -> None:
    assert np.abs(joint_test(EACH[-1], 500, 4000)).max() < 4


@pytest.mark.slow
@pytest.mark.parametrize("depth", [False, True])
@pytest.mark.parametrize("options", [*EACH, {"zeros": "inflated", "dispersion": "gene"}], ids=str)
def test_sampler_leaves_the_joint_as_it_is_for_each_option(options: dict[str, str], depth: bool) -> None:
    assert np.abs(joint_test(options, 3000, 20_000, depth)).max() < 4


@pytest.mark.slow
@pytest.mark.parametrize("options", EACH, ids=str)
def test_means_are_those_of_nuts(options: dict[str, str]) -> None:
    problem = make(options, 150)
    data = dict(problem.arrays)
    fits = [gn.fit(problem.model, data, method, 1, component=2, draws=1500, tune=500) for method in ("gibbs", "nuts")]
    for name in problem.model.unknown.variables:
        means, errors = [], []
        for tree in fits:
            draws = tree["posterior"][name].to_numpy()
            flat = draws.reshape(*draws.shape[:2], -1)
            ess = [array_stats.ess(one, chain_axis=0, draw_axis=1, method="mean") for one in np.moveaxis(flat, 2, 0)]
            means.append(flat.mean((0, 1)))
            errors.append(flat.std((0, 1)) / np.sqrt(ess))
        z = (means[0] - means[1]) / np.hypot(*errors)
        assert np.abs(z).max() < 4, name
