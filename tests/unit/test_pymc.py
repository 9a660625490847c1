"""The PyMC engine, on a model whose posterior is normal with known mean and sd; compiled once, data swapped in."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq
from scipy.stats import lognorm, norm

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Model, Sizes, Stage, Var
from genarium.engines import compiled as densities
from genarium.engines import sharing
from genarium.engines.native import density as native
from genarium.errors import ApproximationError, InputError
from genarium.supports import positive, real

Exact = Callable[[xr.DataTree], tuple[float, float]]
FEW: dict[str, dict[str, int]] = {
    "nuts": {"chains": 2, "draws": 50, "tune": 50},
    "advi": {"iterations": 3000, "draws": 50},
    "map": {},
}
METHODS = ["nuts", pytest.param("advi", marks=pytest.mark.slow), "map"]


def theta(tree: xr.DataTree) -> Any:
    group = "posterior" if "posterior" in tree else "point"
    return tree[group]["theta"].to_numpy()


@pytest.fixture(scope="module")
def other_tree(toy_tree: xr.DataTree) -> xr.DataTree:
    """The same items, measured higher and less precisely."""
    observed = toy_tree["observed_data"].to_dataset() + 3
    known = toy_tree["constant_data"].to_dataset().assign(sigma=2.0)
    tree = xr.DataTree.from_dict({"observed_data": observed, "constant_data": known})
    tree.attrs = dict(toy_tree.attrs)
    return tree


@pytest.fixture(scope="module", autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Compilations are counted here: nothing is found in memory or on disk that was compiled before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENARIUM_COMPILED", "")
        patch.setattr(sharing, "_CERTAIN", {})
        patch.setattr(native, "_KNOWN", {})
        yield


@pytest.fixture(scope="module")
def nuts(toy: Model, toy_tree: xr.DataTree) -> xr.DataTree:
    return gn.fit(toy, toy_tree, "nuts", seed=1)


@pytest.fixture(scope="module")
def advi(toy: Model, toy_tree: xr.DataTree) -> xr.DataTree:
    return gn.fit(toy, toy_tree, "advi", seed=1)


# Compiled once, data swapped in


@pytest.mark.parametrize("method", METHODS)
def test_second_fit_compiles_nothing(toy: Model, toy_tree: xr.DataTree, other_tree: xr.DataTree, method: str) -> None:
    gn.fit(toy, toy_tree, method, seed=1, **FEW[method])
    before = densities.COMPILED.copy()
    gn.fit(toy, other_tree, method, seed=2, **FEW[method])
    assert before
    assert before == densities.COMPILED


@pytest.mark.parametrize("method", METHODS)
def test_data_are_swapped_and_nothing_is_left_of_earlier_ones(
    toy: Model, toy_tree: xr.DataTree, other_tree: xr.DataTree, toy_exact: Exact, method: str
) -> None:
    first, other, again = (
        theta(gn.fit(toy, tree, method, seed=1, **FEW[method])) for tree in (toy_tree, other_tree, toy_tree)
    )
    np.testing.assert_array_equal(first, again)
    moved = toy_exact(other_tree)[0] - toy_exact(toy_tree)[0]
    assert moved > 2
    assert np.mean(other) - np.mean(first) == pytest.approx(moved, abs=0.5)


def test_other_sizes_compile_anew(toy: Model) -> None:
    before = densities.COMPILED["density"]
    for items in (4, 5, 4):
        tree = gn.simulate(toy, item=items)
        assert theta(gn.fit(toy, tree, "map")) == pytest.approx(
            float(tree["observed_data"]["y"].sum()) / (items + 0.25), abs=1e-6
        )
    assert densities.COMPILED["density"] == before + 2


def test_declarations_of_one_name_are_not_mixed_up(toy: Model, toy_tree: xr.DataTree) -> None:
    def flat(sizes: Sizes, y: Any, sigma: Any, tau: Any) -> None:
        import pymc as pm

        pm.Normal("y", pm.Flat("theta"), sigma, observed=y, dims="item")

    y = toy_tree["observed_data"]["y"].to_numpy()
    assert theta(gn.fit(toy, toy_tree, "map")) == pytest.approx(y.sum() / (len(y) + 0.25), abs=1e-6)
    assert theta(gn.fit(replace(toy, density=flat), toy_tree, "map")) == pytest.approx(y.mean(), abs=1e-6)


# Agreement with the exact posterior


def test_nuts_agrees_with_the_posterior(nuts: xr.DataTree, toy_tree: xr.DataTree, toy_exact: Exact) -> None:
    mean, sd = toy_exact(toy_tree)
    draws = theta(nuts)
    assert draws.shape == (4, 1000)
    effective = float(az.ess(nuts, method="mean")["theta"])
    assert abs(draws.mean() - mean) < 4 * sd / np.sqrt(effective)
    effective = float(az.ess(nuts, method="sd")["theta"])
    assert abs(draws.std() / sd - 1) < 4 / np.sqrt(2 * effective)


def test_nuts_says_how_it_went(nuts: xr.DataTree) -> None:
    stats = nuts["sample_stats"].to_dataset()
    names = {"diverging", "energy", "n_steps", "step_size", "tree_depth", "acceptance_rate", "lp"}
    assert names <= set(stats.data_vars)
    for name in names:
        assert stats[name].shape == (4, 1000)
    assert stats["diverging"].dtype == bool
    assert (stats["n_steps"] < 2 ** (stats["tree_depth"] + 1)).all()  # the last doubling may be given up
    assert json.loads(nuts.attrs["notes"])["max_treedepth"] == json.loads(nuts.attrs["options"])["max_treedepth"] == 10
    assert 0.8 < float(stats["acceptance_rate"].mean()) < 1


def test_chains_of_nuts_differ(nuts: xr.DataTree) -> None:
    correlation = np.corrcoef(theta(nuts))[np.triu_indices(4, 1)]
    assert (np.abs(correlation) < 5 / np.sqrt(300)).all()  # 1000 autocorrelated draws


def test_start_of_a_chain_does_not_depend_on_its_turn(
    toy: Model, toy_tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chains run in threads that ask for their starts in any order; each gives the seed of its own."""
    import nutpie

    asked = []
    sample = nutpie.sample

    def spy(ready: Any, **settings: Any) -> Any:
        def start(seed: int) -> Any:
            asked.append((ready.initial_point_func, seed))
            return ready.initial_point_func(seed)

        return sample(dataclasses.replace(ready, initial_point_func=start), **settings)

    monkeypatch.setattr(nutpie, "sample", spy)
    gn.fit(toy, toy_tree, "nuts", seed=1, chains=3, draws=5, tune=5)
    starts = [[float(function(seed)[0]) for function, seed in order] for order in (asked, asked[::-1])]
    assert starts[0] == starts[1][::-1]
    assert len(set(starts[0])) == len(asked) >= 3


def test_seed_decides_more_than_the_start_of_a_chain(
    toy: Model, toy_tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nutpie

    sample = nutpie.sample

    def from_zero(ready: Any, **settings: Any) -> Any:
        zero = np.zeros_like(ready.initial_point_func(0))
        return sample(dataclasses.replace(ready, initial_point_func=lambda _: zero), **settings)

    monkeypatch.setattr(nutpie, "sample", from_zero)
    once, again, other = (theta(gn.fit(toy, toy_tree, "nuts", seed, chains=2, draws=5, tune=5)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert not (once == other).any()


@pytest.mark.slow
def test_advi_agrees_with_the_posterior(advi: xr.DataTree, toy_tree: xr.DataTree, toy_exact: Exact) -> None:
    mean, sd = toy_exact(toy_tree)
    q = advi["variational"].to_dataset()
    # the steps' noise, averaged over the last window: over seeds, 0.015 sd in the mean and 2 % in the sd
    assert abs(float(q["unconstrained_mean"][0]) - mean) < 0.1 * sd
    assert float(q["unconstrained_sd"][0]) == pytest.approx(sd, rel=0.1)


def test_draws_of_advi_come_from_its_approximation(advi: xr.DataTree) -> None:
    q = advi["variational"].to_dataset()
    mean, sd = float(q["unconstrained_mean"][0]), float(q["unconstrained_sd"][0])
    z = (theta(advi) - mean) / sd
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.std() - 1) < 4 / np.sqrt(2 * z.size)
    log_q = -0.5 * z**2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(advi["sample_stats"]["log_q"], log_q, rtol=1e-9, atol=1e-9)


def test_bound_of_advi_is_below_the_evidence(advi: xr.DataTree, toy_tree: xr.DataTree) -> None:
    y = toy_tree["observed_data"]["y"].to_numpy()
    n = len(y)
    # y ~ Normal(0, I + tau² 1 1'), by the determinant lemma and the Sherman-Morrison formula
    evidence = -0.5 * (n * np.log(2 * np.pi) + np.log1p(4 * n) + y @ y - y.sum() ** 2 / (n + 0.25))
    notes = json.loads(advi.attrs["notes"])
    assert notes["converged"]
    noise = float(advi["variational"]["bound"].to_numpy()[0, -1000:].std()) / np.sqrt(1000)
    assert -0.05 < notes["bound"] - evidence < 4 * noise


@pytest.mark.slow
def test_log_density_of_advi_draws_is_on_the_natural_scale(fitted: Callable[..., xr.DataTree]) -> None:
    """log q(natural) = log q(unconstrained) - ln |d natural / d unconstrained|, the Jacobian by finite differences."""
    tree = fitted("nb_mixture", "advi")
    q = tree["variational"].to_dataset()
    mean, sd = q["unconstrained_mean"].to_numpy(), q["unconstrained_sd"].to_numpy()
    density = densities.compiled(check(registry.get("nb_mixture"), tree))

    def coordinates(vector: Any) -> Any:
        natural, _ = density.constrained(vector)
        return np.concatenate([natural["pi"][:-1], natural["mu"].ravel()])  # the last weight follows from the others

    for s in range(3):
        natural = {n: tree["posterior"][n].to_numpy()[0, s] for n in ("pi", "mu")}
        at = density.unconstrained(natural)
        columns = [(coordinates(at + e) - coordinates(at - e)) / 2e-5 for e in 1e-5 * np.eye(len(at))]
        log_q = (-0.5 * ((at - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)).sum()
        expected = log_q - np.linalg.slogdet(np.array(columns))[1]
        assert tree["sample_stats"]["log_q"].to_numpy()[0, s] == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def spread(toy: Model) -> Model:
    """Measurements around zero with an unknown sd, whose logarithm is what PyMC works on."""

    def density(sizes: Sizes, y: Any) -> None:
        import pymc as pm

        pm.Normal("y", 0, pm.LogNormal("scale", 0, 1), observed=y, dims="item")

    unknown = Stage({"scale": Var((), positive, "Standard deviation.", "s")}, {"scale": lambda rng: rng.lognormal()})
    observed = Stage(toy.observed.variables, {"y": lambda rng, sizes, scale: rng.normal(0, scale, sizes["item"])})
    parts: dict[str, Any] = dict.fromkeys(("log_likelihood", "log_prior", "test_quantities", "predict"))
    return replace(toy, name="spread", unknown=unknown, observed=observed, density=density, methods={}, **parts)


def test_density_on_either_scale(spread: Model) -> None:
    compiled = densities.compiled(check(spread, gn.simulate(spread, seed=1)))
    for at in np.array([[-1.0], [0.5], [2.0]]):
        natural, jacobian = compiled.constrained(at)
        assert natural["scale"] == pytest.approx(np.exp(at[0]), rel=1e-12)
        assert jacobian == pytest.approx(at[0], abs=1e-12)
        value, gradient = compiled.log_density(at)
        with_jacobian, gradient_with_jacobian = compiled.log_density(at, jacobian=True)
        assert with_jacobian - value == pytest.approx(at[0], abs=1e-9)
        assert gradient_with_jacobian - gradient == pytest.approx(1, abs=1e-9)
    assert compiled.names == ["scale_log__"]


def test_a_standard_deviation_that_underflows_has_no_density(spread: Model) -> None:
    """A trajectory of NUTS may go there: it is refused, not ended by the error that PyMC raises."""
    compiled = densities.compiled(check(spread, gn.simulate(spread, seed=1)))
    value, gradient = compiled.log_density(np.array([-800.0]), jacobian=True)
    assert value == -np.inf
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.slow
def test_a_transform_may_depend_on_other_variables(toy: Model) -> None:
    """With theta = scale z, the sampler's value is z: a non-centred parametrisation."""

    def density(sizes: Sizes, y: Any) -> None:
        import pymc as pm
        from pymc.logprob.transforms import Transform

        class Standardised(Transform):  # type: ignore[misc]
            name = "standardised"
            ndim_supp = 0

            def forward(self, value: Any, *inputs: Any) -> Any:
                return value / inputs[-1]

            def backward(self, value: Any, *inputs: Any) -> Any:
                return value * inputs[-1]

            def log_jac_det(self, value: Any, *inputs: Any) -> Any:
                import pytensor.tensor as pt

                return pt.log(inputs[-1])

        theta = pm.Normal("theta", 0, pm.LogNormal("scale", 0, 1), transform=Standardised())
        pm.Normal("y", theta, 1, observed=y, dims="item")

    unknown = Stage(
        {"scale": Var((), positive, "Spread.", "s"), "theta": Var((), real, "Mean.", "t")},
        {"scale": lambda rng: rng.lognormal(), "theta": lambda rng, scale: rng.normal(0, scale)},
    )
    parts: dict[str, Any] = dict.fromkeys(("log_likelihood", "log_prior", "test_quantities", "predict"))
    observed = Stage(toy.observed.variables, {"y": lambda rng, sizes, theta: rng.normal(theta, 1, sizes["item"])})
    model = replace(toy, name="hung", unknown=unknown, observed=observed, density=density, methods={}, **parts)
    problem = check(model, gn.simulate(model, seed=1))
    compiled = densities.compiled(problem)
    natural, jacobian = compiled.constrained(np.array([0.7, -1.5]))
    scale, theta = np.exp(0.7), -1.5 * np.exp(0.7)
    assert natural["scale"] == pytest.approx(scale, rel=1e-12)
    assert natural["theta"] == pytest.approx(theta, rel=1e-12)
    assert jacobian == pytest.approx(2 * 0.7, rel=1e-12)
    np.testing.assert_allclose(compiled.unconstrained(natural), [0.7, -1.5], rtol=1e-12)
    by_hand = norm(0, scale).logpdf(theta) + lognorm(1).logpdf(scale) + norm(theta, 1).logpdf(problem["y"]).sum()
    assert compiled.log_density(np.array([0.7, -1.5]))[0] == pytest.approx(by_hand, rel=1e-9)


def test_map_maximises_the_density_of_the_natural_value(spread: Model) -> None:
    tree = gn.simulate(spread, seed=1)
    squares = float((tree["observed_data"]["y"] ** 2).sum())
    # with u = ln s, the log density is -30 u - squares exp(-2 u) / 2 - u - u² / 2
    u = brentq(lambda u: -31 - u + squares * np.exp(-2 * u), -5, 5, xtol=1e-12)
    found = gn.fit(spread, tree, "map")["point"]["scale"].to_numpy()
    assert found == pytest.approx(np.exp(u), rel=1e-6)


def test_steps_of_advi_come_in_windows(toy: Model, toy_tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="iterations=1500 must be a multiple of window=1000"):
        gn.fit(toy, toy_tree, "advi", iterations=1500)


def test_log_density_of_advi_draws_of_a_positive_value(spread: Model) -> None:
    fit = gn.fit(spread, gn.simulate(spread, seed=1), "advi", seed=1, iterations=200, window=100, draws=20)
    mean, sd = (fit["variational"][f"unconstrained_{of}"].to_numpy() for of in ("mean", "sd"))
    log_scale = np.log(fit["posterior"]["scale"].to_numpy())
    log_q = -0.5 * ((log_scale - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi) - log_scale
    np.testing.assert_allclose(fit["sample_stats"]["log_q"], log_q, atol=1e-9)


def test_advi_says_where_it_left_the_support(toy: Model, toy_tree: xr.DataTree) -> None:
    def density(sizes: Sizes, y: Any) -> None:
        import pymc as pm

        theta = pm.Normal("theta", 0, 1)
        pm.Potential("bounded", pm.math.log(theta + 0.05))
        pm.Normal("y", theta, 1, observed=y, dims="item")

    bounded = replace(toy, density=density, methods={})
    with pytest.raises(ApproximationError, match=r"left the support of the density at step \d+.*method='dadvi'"):
        gn.fit(bounded, toy_tree, "advi", seed=1)


def test_map_is_the_maximum(toy: Model, toy_tree: xr.DataTree, toy_exact: Exact) -> None:
    found = gn.fit(toy, toy_tree, "map", seed=1)
    mean, _ = toy_exact(toy_tree)  # a normal density has its maximum there
    assert theta(found) == pytest.approx(mean, abs=1e-6)
    notes = json.loads(found.attrs["notes"])
    assert notes["converged"]
    assert notes["gradient"] < 1e-5
    trace = found["point"]["bound"].to_numpy()[0]
    assert (np.diff(trace) >= 0).all()
    assert trace[-1] == notes["bound"]


# What it cannot do


def test_model_without_density_is_refused(toy: Model, toy_tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="toy: the model has no PyMC density"):
        densities.compiled(check(replace(toy, density=None), toy_tree))


def test_density_must_define_the_declared_unknowns(toy: Model, toy_tree: xr.DataTree) -> None:
    def other(sizes: Sizes, y: Any, sigma: Any, tau: Any) -> None:
        import pymc as pm

        pm.Normal("y", pm.Normal("mean", 0, tau), sigma, observed=y, dims="item")

    problem = check(replace(toy, density=other), toy_tree)
    with pytest.raises(TypeError, match=r"toy: the density defines \['mean'\], the declaration \['theta'\]"):
        densities.build(problem)
