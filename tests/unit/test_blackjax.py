"""NUTS on JAX, on a model whose posterior is normal with known mean and sd; one compilation, whatever the data."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import arviz as az
import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Model, Problem, Sizes
from genarium.engines import blackjax
from genarium.engines import compiled as densities
from genarium.errors import InputError
from genarium.tree import arrays

jax = pytest.importorskip("jax", reason="the extra jax is not installed")
pytest.importorskip("blackjax", reason="the extra jax is not installed")

FEW = {"chains": 2, "draws": 50, "tune": 50}


def theta(tree: xr.DataTree) -> Any:
    return tree["posterior"]["theta"].to_numpy()


@pytest.fixture(scope="module")
def nuts(toy: Model, toy_tree: xr.DataTree) -> xr.DataTree:
    return gn.fit(toy, toy_tree, "nuts-jax", seed=1)


@pytest.fixture
def problems(toy: Model) -> list[Problem]:
    return [check(toy, gn.simulate(toy, seed=seed, sigma=sigma)) for seed, sigma in ((1, 1.0), (2, 3.0), (3, 0.5))]


# Draws


def test_agrees_with_the_posterior(
    nuts: xr.DataTree, toy_tree: xr.DataTree, toy_exact: Callable[[xr.DataTree], tuple[float, float]]
) -> None:
    mean, sd = toy_exact(toy_tree)
    draws = theta(nuts)
    assert draws.shape == (4, 1000)
    effective = float(az.ess(nuts, method="mean")["theta"])
    assert effective > 500
    assert abs(draws.mean() - mean) < 4 * sd / np.sqrt(effective)
    effective = float(az.ess(nuts, method="sd")["theta"])
    assert effective > 500
    assert abs(draws.std() / sd - 1) < 4 / np.sqrt(2 * effective)


def test_says_how_it_went(nuts: xr.DataTree) -> None:
    stats = nuts["sample_stats"].to_dataset()
    names = {"diverging", "energy", "n_steps", "step_size", "tree_depth", "acceptance_rate", "lp"}
    assert names <= set(stats.data_vars)
    for name in names:
        assert stats[name].shape == (4, 1000)
    assert stats["diverging"].dtype == bool
    assert (stats["n_steps"] <= 2 ** stats["tree_depth"] - 1).all()
    assert 0.8 < float(stats["acceptance_rate"].mean()) < 1
    assert (stats["step_size"] == stats["step_size"][:, :1]).all()
    assert len(np.unique(stats["step_size"])) == 4
    assert json.loads(nuts.attrs["notes"])["max_treedepth"] == json.loads(nuts.attrs["options"])["max_treedepth"] == 10
    assert nuts.attrs["engine"] == "blackjax"


def test_energy_is_that_of_the_draw_and_a_momentum(nuts: xr.DataTree) -> None:
    """In one dimension the kinetic energy is half a chi-squared variable: its mean is 1/2."""
    kinetic = nuts["sample_stats"]["energy"] + nuts["sample_stats"]["lp"]
    assert (kinetic > -1e-6).all()
    assert float(kinetic.mean()) == pytest.approx(0.5, abs=0.1)


def test_chains_differ(nuts: xr.DataTree) -> None:
    correlation = np.corrcoef(theta(nuts))[np.triu_indices(4, 1)]
    assert (np.abs(correlation) < 5 / np.sqrt(300)).all()  # 1000 autocorrelated draws


@pytest.mark.slow
def test_short_trees(toy: Model, toy_tree: xr.DataTree) -> None:
    stats = gn.fit(toy, toy_tree, "nuts-jax", max_treedepth=1, **FEW)["sample_stats"]
    assert (stats["n_steps"] == 1).all()


# One compilation


@pytest.mark.slow
def test_other_data_and_longer_runs_compile_nothing(problems: list[Problem]) -> None:
    alone = [blackjax.nuts(problem, np.random.default_rng(1), **FEW) for problem in problems]
    before = densities.COMPILED.copy()
    assert before["nuts-jax"]
    for problem in problems:
        blackjax.nuts(problem, np.random.default_rng(1), **{**FEW, "tune": 60, "thin": 2})
    assert before == densities.COMPILED
    for problem, found in zip(problems, alone, strict=True):
        precision = problem["y"].size / problem["sigma"] ** 2 + 0.25
        mean = problem["y"].sum() / problem["sigma"] ** 2 / precision
        assert abs(np.mean(np.asarray(found.posterior["theta"])) - mean) < 1 / np.sqrt(precision)


@pytest.mark.slow
def test_other_sizes_compile_anew_and_other_chains_do_not(toy: Model) -> None:
    before = densities.COMPILED["nuts-jax"]
    for items, chains in ((4, 1), (5, 1), (4, 3)):
        found = gn.fit(toy, gn.simulate(toy, item=items), "nuts-jax", chains=chains, tune=3, draws=2)
        assert theta(found).shape == (chains, 2)
    assert densities.COMPILED["nuts-jax"] == before + 2


@pytest.mark.slow
def test_draws_do_not_depend_on_the_fits_before(problems: list[Problem]) -> None:
    def found(order: list[int]) -> dict[int, Any]:
        fits = {i: blackjax.nuts(problems[i], np.random.default_rng(7 + i), **FEW) for i in order}
        return {i: np.asarray(fit.posterior["theta"]) for i, fit in fits.items()}

    forth, back = found([0, 1, 2]), found([2, 1, 0])
    for i in forth:
        np.testing.assert_array_equal(forth[i], back[i], strict=True)


@pytest.mark.slow
def test_thinned_draws_are_every_other_of_the_chain(problems: list[Problem]) -> None:
    every = blackjax.nuts(problems[0], np.random.default_rng(1), chains=1, tune=20, draws=12)
    thinned = blackjax.nuts(problems[0], np.random.default_rng(1), chains=1, tune=20, draws=4, thin=3)
    for group in ("posterior", "sample_stats"):
        for name, values in getattr(every, group).items():
            np.testing.assert_array_equal(np.asarray(getattr(thinned, group)[name]), np.asarray(values)[:, 2::3])


@pytest.mark.parametrize(
    ("tune", "edges"),
    [(1000, [20, 40, 80, 160, 320, 950]), (90, [20, 40]), (150, [20, 40, 100]), (80, [12, 72]), (1, [0, 1])],
)
def test_windows_double_between_two_stretches(tune: int, edges: list[int]) -> None:
    windows = blackjax.slow_windows(tune)
    np.testing.assert_array_equal(windows[windows >= 0], edges)


@pytest.mark.slow
def test_metric_is_learnt_from_the_windows() -> None:
    """For a normal density it is the variance, whatever the draws; gradients are of that density."""
    rng = np.random.default_rng(1)
    variance = np.array([1.0, 100.0])
    seen = rng.normal(3, variance**0.5, (80, 2))
    with blackjax.double_precision():
        now = blackjax._restarted(jax.numpy.ones(()), jax.numpy.ones(2))
        for i, position in enumerate(seen):
            state = SimpleNamespace(position=position, logdensity_grad=(3 - position) / variance)
            now = blackjax._learnt(now, state, 0.8, 0.8, 15 <= i < 75, i == 74)
        np.testing.assert_allclose(now.metric, variance)
        still = SimpleNamespace(position=seen[0], logdensity_grad=seen[0])
        for i in range(3):
            now = blackjax._learnt(now, still, 0.8, 0.8, True, i == 2)
    np.testing.assert_array_equal(now.metric, 1)


def test_a_run_has_a_length(problems: list[Problem]) -> None:
    for option in ("tune", "thin"):
        with pytest.raises(InputError, match=f"option {option}=0 must be 1 or more"):
            blackjax.nuts(problems[0], np.random.default_rng(1), **{**FEW, option: 0})


# The density


@pytest.mark.slow
@pytest.mark.parametrize("dispersion", ["gene", "known", "shared", "component"])
def test_density_is_that_of_pymc(simulated: Callable[..., xr.DataTree], dispersion: str) -> None:
    model, tree = (
        registry.get("nb_mixture").variant(dispersion=dispersion),
        simulated("nb_mixture", dispersion=dispersion),
    )
    density = densities.compiled(check(model, tree))

    def expected(at: Any) -> float:
        return density.log_density(at)[0] + density.constrained(at)[1]

    rng, step = np.random.default_rng(0), 1e-5
    centre = density.unconstrained(arrays(tree["truth"].to_dataset(), model.unknown.variables))
    with blackjax.double_precision():
        constant, log_density, constrain = blackjax._functions(density)
        data = blackjax._values(density)
        hoisted = constant(*data)
        function = jax.jit(jax.value_and_grad(lambda vector: log_density(vector, *data, *hoisted)[0]))
        for _ in range(3):
            at, along = centre + rng.normal(0, 0.5, centre.shape), rng.normal(size=centre.shape)
            value, gradient = function(at)
            assert float(value) == pytest.approx(expected(at), rel=1e-10)
            slope = (expected(at + step * along) - expected(at - step * along)) / (2 * step)
            assert float(gradient @ along) == pytest.approx(slope, rel=1e-6, abs=1e-5)
            natural, _ = density.constrained(at)
            for rv, values in zip(density.pymc.free_RVs, constrain(at, *data), strict=True):
                np.testing.assert_allclose(values, natural[rv.name], rtol=1e-10)


def test_parameter_out_of_its_range_has_no_density(toy: Model, toy_tree: xr.DataTree) -> None:
    def signed(sizes: Sizes, y: Any) -> None:
        import pymc as pm

        pm.Normal("y", 0, pm.Flat("theta"), observed=y, dims="item")

    density = densities.compiled(check(replace(toy, density=signed), toy_tree))
    with blackjax.double_precision():
        constant, log_density, _ = blackjax._functions(density)
        data = blackjax._values(density)
        values = [float(log_density(np.array([at]), *data, *constant(*data))[0]) for at in (-1.0, 1.0)]
    assert values[0] == -np.inf
    assert np.isfinite(values[1])


def test_precision_of_others_is_left_alone(nuts: xr.DataTree) -> None:
    assert nuts["posterior"]["theta"].dtype == np.float64
    assert jax.numpy.ones(1).dtype == np.float32


# What it cannot do


@pytest.mark.parametrize("module", ["jax", "blackjax"])
def test_missing_extra(toy: Model, toy_tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        InputError, match=rf"'nuts-jax' needs JAX and blackjax .*{module}.*pip install 'genarium\[jax\]'"
    ):
        gn.fit(toy, toy_tree, "nuts-jax")


def test_no_tuning(toy: Model, toy_tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="option tune=0 must be 1 or more"):
        gn.fit(toy, toy_tree, "nuts-jax", tune=0)
