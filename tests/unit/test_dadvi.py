"""DADVI, on posteriors in closed form: a normal one, for which it is exact, a skewed one, and one that is curved."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats
from numpy.typing import NDArray
from scipy import special, stats

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Model, Sizes, Stage, Var
from genarium.engines import compiled as densities
from genarium.engines import dadvi
from genarium.errors import ApproximationError, InputError
from genarium.signatures import choices
from genarium.supports import count, positive, real

Array = NDArray[Any]

# Three models


def regression_density(sizes: Sizes, design: Any, y: Any) -> None:
    import pymc as pm

    beta = pm.Normal("beta", 0, 2, dims="feature")
    pm.Normal("y", design @ beta, 1, observed=y, dims="item")


REGRESSION = Model(
    name="regression",
    title="Linear regression",
    sizes={"item": 12, "feature": 3},
    known=Stage(
        {"design": Var(("item", "feature"), real, "Predictors.", "X")},
        {"design": lambda rng, sizes: rng.normal(size=(sizes["item"], 1)) + rng.normal(size=(sizes["item"], 3))},
    ),
    unknown=Stage({"beta": Var(("feature",), real, "Coefficients.", "β")}, {"beta": lambda rng: rng.normal(0, 2, 3)}),
    hidden=Stage({}),
    observed=Stage(
        {"y": Var(("item",), real, "Response.", "y")}, {"y": lambda rng, design, beta: rng.normal(design @ beta)}
    ),
    density=regression_density,
)


def rare_density(sizes: Sizes, shape: Any, y: Any) -> None:
    import pymc as pm

    pm.Poisson("y", pm.Gamma("rate", shape, 1), observed=y, dims="item")


RARE = Model(
    name="rare",
    title="Counts of a rare event",
    sizes={"item": 3},
    known=Stage({"shape": Var((), positive, "Shape of the prior of the rate.", "a", default=0.3)}),
    unknown=Stage({"rate": Var((), positive, "Rate.", "λ")}, {"rate": lambda rng, shape: rng.gamma(shape)}),
    hidden=Stage({}),
    observed=Stage(
        {"y": Var(("item",), count, "Count.", "y")}, {"y": lambda rng, sizes, rate: rng.poisson(rate, sizes["item"])}
    ),
    density=rare_density,
)
MANY = {"y": [80, 100, 120]}
"""The rate's posterior is Gamma(0.3 + sum of y, 4): of these nearly normal."""


def banana_density(sizes: Sizes, y: Any) -> None:
    import pymc as pm

    a = pm.Normal("a", 0, 1)
    pm.Normal("y", pm.Normal("b", a**2, 0.5), 1e6, observed=y, dims="item")


BANANA = Model(
    name="banana",
    title="A curved ridge, of which the data say nothing",
    sizes={"item": 1},
    known=Stage({}),
    unknown=Stage(
        {"a": Var((), real, "Along the ridge.", "a"), "b": Var((), real, "Across.", "b")},
        {"a": lambda rng: rng.normal(), "b": lambda rng, a: rng.normal(a**2, 0.5)},
    ),
    hidden=Stage({}),
    observed=Stage(
        {"y": Var(("item",), real, "Measurement.", "y")}, {"y": lambda rng, sizes, b: rng.normal(b, 1e6, sizes["item"])}
    ),
    density=banana_density,
)


@pytest.fixture(scope="module")
def regression() -> xr.DataTree:
    return gn.simulate(REGRESSION, seed=1)


@pytest.fixture(scope="module")
def normal(regression: xr.DataTree) -> tuple[Array, Array]:
    """Mean and covariance of the regression's posterior."""
    X, y = regression["constant_data"]["design"].to_numpy(), regression["observed_data"]["y"].to_numpy()
    covariance = np.linalg.inv(X.T @ X + np.eye(3) / 4)
    assert np.abs(covariance[~np.eye(3, dtype=bool)]).max() > 0.3 * np.diag(covariance).min()
    return covariance @ X.T @ y, covariance


def notes_of(tree: xr.DataTree) -> dict[str, Any]:
    notes: dict[str, Any] = json.loads(tree.attrs["notes"])
    return notes


# Exact where the posterior is normal


@pytest.mark.parametrize("seed", [1, 2])
def test_mean_field_of_a_normal_posterior(regression: xr.DataTree, normal: tuple[Array, Array], seed: int) -> None:
    fit = gn.fit(REGRESSION, regression, "dadvi", seed=seed)
    q = fit["variational"].to_dataset()
    mean, covariance = normal
    np.testing.assert_allclose(q["unconstrained_mean"], mean, atol=1e-6)
    np.testing.assert_allclose(q["unconstrained_sd"], np.diag(np.linalg.inv(covariance)) ** -0.5, rtol=1e-6)
    notes = notes_of(fit)
    assert notes["converged"]
    assert notes["gradient"] < 1e-6


@pytest.mark.parametrize("seed", [1, 2])
def test_linear_response_of_a_normal_posterior(regression: xr.DataTree, normal: tuple[Array, Array], seed: int) -> None:
    density = densities.compiled(check(REGRESSION, regression))
    z = dadvi.fixed_normals(np.random.default_rng(seed), 64, 3)
    objective, found = dadvi.minimise(density, z, np.zeros(3), 1e-6, 100).state
    mean, covariance = normal
    np.testing.assert_allclose(dadvi.linear_response(objective, found.x), covariance, atol=1e-7)
    fit = gn.fit(REGRESSION, regression, "dadvi", seed=seed, covariance="linear_response", draws=2000)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(fit["variational"]["linear_response_sd"], sd, rtol=1e-6)
    draws = fit["posterior"]["beta"].to_numpy()[0]
    assert draws.shape == (2000, 3)
    assert (np.abs(draws.mean(0) - mean) < 5 * sd / np.sqrt(2000)).all()
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.15)
    assert notes_of(fit)["khat"] < 0.5  # the ratios are equal up to rounding
    assert notes_of(fit)["polished"] == 0


def test_bound_of_a_normal_posterior_is_the_evidence(toy: Model, toy_tree: xr.DataTree) -> None:
    y = toy_tree["observed_data"]["y"].to_numpy()
    n = len(y)
    # y ~ Normal(0, I + tau² 1 1'), by the determinant lemma and the Sherman-Morrison formula
    evidence = -0.5 * (n * np.log(2 * np.pi) + np.log1p(4 * n) + y @ y - y.sum() ** 2 / (n + 0.25))
    assert notes_of(gn.fit(toy, toy_tree, "dadvi"))["bound"] == pytest.approx(evidence, abs=1e-8)


@pytest.mark.parametrize(("draws", "dims"), [(64, 3), (64, 32), (8, 20)])
def test_fixed_draws_are_paired_and_standard(draws: int, dims: int) -> None:
    z = dadvi.fixed_normals(np.random.default_rng(1), draws, dims)
    assert z.shape == (draws, dims)
    np.testing.assert_array_equal(z[: draws // 2], -z[draws // 2 :])
    second = z.T @ z / draws
    np.testing.assert_allclose(np.diag(second), 1, rtol=1e-12)
    if draws // 2 >= dims:
        np.testing.assert_allclose(second, np.eye(dims), atol=1e-12)
    assert len(np.unique(np.abs(z))) == z.size // 2


@pytest.mark.parametrize("model", [REGRESSION, RARE], ids=lambda model: model.name)
def test_maps_of_many_points_are_those_of_each(model: Model) -> None:
    density = densities.compiled(check(model, gn.simulate(model, seed=1)))
    vectors = np.random.default_rng(1).normal(size=(4, len(density.names)))
    natural, jacobian = density.constrained_draws(vectors)
    assert jacobian.shape == (4,)
    for i, vector in enumerate(vectors):
        values, log_det = density.constrained(vector)
        assert jacobian[i] == pytest.approx(log_det, abs=1e-12)
        for name, value in values.items():
            np.testing.assert_allclose(natural[name][i], value, rtol=1e-12)
    np.testing.assert_allclose(density.unconstrained_draws(natural), vectors, rtol=1e-12)


# The objective and its derivatives


@pytest.fixture(scope="module")
def objective(simulated: Callable[..., xr.DataTree]) -> tuple[dadvi.Objective, Array]:
    """That of a mixture, at a point away from its minimum."""
    density = densities.compiled(check(registry.get("nb_mixture"), simulated("nb_mixture")))
    rng = np.random.default_rng(1)
    n = len(density.names)
    made = dadvi.Objective(density, dadvi.fixed_normals(rng, 8, n), rng.uniform(0.1, 2, n))
    return made, made.join(density.start(rng), rng.uniform(-2, -1, n))


def test_gradient(objective: tuple[dadvi.Objective, Array]) -> None:
    function, x = objective
    slopes = [(function(x + e)[0] - function(x - e)[0]) / 2e-5 for e in 1e-5 * np.eye(len(x))]
    np.testing.assert_allclose(function(x)[1], slopes, rtol=1e-5, atol=1e-5)


def test_hessian(objective: tuple[dadvi.Objective, Array]) -> None:
    function, x = objective
    expected = [(function(x + e)[1] - function(x - e)[1]) / 2e-5 for e in 1e-5 * np.eye(len(x))]
    np.testing.assert_allclose(function.hessian(x), expected, rtol=1e-5, atol=1e-4)


def test_units_of_the_mean_change_nothing(objective: tuple[dadvi.Objective, Array]) -> None:
    function, x = objective
    other = dadvi.Objective(function.density, function.z, np.ones_like(function.unit))
    mu, s = function.split(x)
    y = other.join(mu, s)
    n = len(mu)
    assert other(y)[0] == pytest.approx(function(x)[0], rel=1e-14)
    np.testing.assert_allclose(function(x)[1][:n], other(y)[1][:n] * function.unit, rtol=1e-10)
    scale = np.concatenate([function.unit, np.ones(n)])
    np.testing.assert_allclose(function.hessian(x), other.hessian(y) * np.outer(scale, scale), rtol=1e-9, atol=1e-6)


def test_hessian_that_is_not_positive_definite_is_refused() -> None:
    density = densities.compiled(check(BANANA, {"y": [0.0]}))
    inside = dadvi.Objective(density, dadvi.fixed_normals(np.random.default_rng(1), 64, 2), np.ones(2))
    x = np.array([0.0, 2.0, -3.0, -3.0])  # at a = 0, b = 2 both sides of the ridge are better
    with pytest.raises(ApproximationError, match=r"banana: the Hessian .* is not positive definite \(lowest") as error:
        dadvi.linear_response(inside, x)
    assert error.value.khat == np.inf


# A skewed posterior


def test_optimum_and_linear_response_of_a_skewed_posterior() -> None:
    """With u = ln rate, the bound is a E u - b E exp(u) + s, where E exp(u) = exp(mu + sd² / 2) and s = ln sd."""
    density = densities.compiled(check(RARE, {"y": [1, 1, 0]}))
    z = dadvi.fixed_normals(np.random.default_rng(1), 4000, 1)
    objective, found = dadvi.minimise(density, z, np.zeros(1), 1e-6, 100).state
    (mu,), (s,) = objective.split(found.x)
    a, b = 2.3, 4
    assert np.exp(s) == pytest.approx(a**-0.5, rel=0.01)
    assert mu == pytest.approx(np.log(a / b) - 1 / (2 * a), abs=0.01)
    # at the maximum b E exp(u) = a and a sd² = 1: minus the bound has d²/dmu² = a, d²/dmu ds = 1, d²/ds² = 2 + 1/a
    variance = np.linalg.inv([[a, 1], [1, 2 + 1 / a]])[0, 0]
    assert dadvi.linear_response(objective, found.x)[0, 0] == pytest.approx(variance, rel=0.02)
    assert variance == pytest.approx(float(special.polygamma(1, a)), rel=0.1)
    assert variance > 1.15 / a


def test_draws_follow_the_approximation_and_its_density() -> None:
    fit = gn.fit(RARE, MANY, "dadvi", draws=2000)
    q = fit["variational"].to_dataset()
    rate = fit["posterior"]["rate"].to_numpy()
    mean, sd = float(q["unconstrained_mean"][0]), float(q["unconstrained_sd"][0])
    assert stats.kstest(np.log(rate[0]), stats.norm(mean, sd).cdf).pvalue > 1e-3
    expected = stats.norm.logpdf(np.log(rate), mean, sd) - np.log(rate)
    np.testing.assert_allclose(fit["sample_stats"]["log_q"], expected, rtol=1e-9)


def test_corrected_draws_follow_the_posterior() -> None:
    fit = gn.fit(RARE, {"y": [1, 3, 2]}, "dadvi", seed=1, covariance="linear_response", draws=2000)
    notes = notes_of(fit)
    assert notes["khat"] < 0.7
    assert notes["polished"] == 0
    rate = fit["posterior"]["rate"].to_numpy()
    assert rate.shape == (1, 2000)
    assert stats.kstest(rate[0], stats.gamma(6.3, scale=1 / 4).cdf).statistic < 1.95 / np.sqrt(2000)  # p = 0.001
    skewness = special.polygamma(2, 6.3) / special.polygamma(1, 6.3) ** 1.5  # of the logarithm; the normal has none
    assert skewness < -0.4
    assert stats.skew(np.log(rate[0])) == pytest.approx(skewness, abs=0.25)


def test_nearly_normal_posterior_is_not_refused() -> None:
    notes = notes_of(gn.fit(RARE, MANY, "dadvi", covariance="linear_response", polish=True))
    assert notes["khat"] < 0.5
    assert notes["polished"] == 0


def test_what_cannot_be_corrected_is_refused_or_polished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dadvi, "KHAT_USABLE", -10)
    settings: dict[str, Any] = {"covariance": "linear_response", "draws": 1999}
    with pytest.raises(ApproximationError, match=r"Pareto k-hat of the approximation is .*, above -10") as error:
        gn.fit(RARE, {"y": [1, 3, 2]}, "dadvi", **settings)
    fit = gn.fit(RARE, {"y": [1, 3, 2]}, "dadvi", **settings, polish=True)
    notes = notes_of(fit)
    assert notes["khat"] == pytest.approx(error.value.khat)
    assert notes["polished"] == 1
    assert {"diverging", "energy", "tree_depth"} <= set(fit["sample_stats"].data_vars)
    assert "log_q" not in fit["sample_stats"]
    rate = fit["posterior"]["rate"].to_numpy()
    assert rate.shape == (4, 500)
    effective = float(array_stats.ess(rate, method="mean"))
    assert abs(rate.mean() - 6.3 / 4) < 4 * 6.3**0.5 / 4 / np.sqrt(effective)


def test_without_linear_response_polishing_goes_on_from_mean_field(monkeypatch: pytest.MonkeyPatch) -> None:
    def indefinite(objective: dadvi.Objective, x: Array) -> Array:
        raise ApproximationError("not positive definite", np.inf)

    monkeypatch.setattr(dadvi, "linear_response", indefinite)
    data = {"y": [1, 3, 2]}
    with pytest.raises(ApproximationError, match="not positive definite"):
        gn.fit(RARE, data, "dadvi", covariance="linear_response")
    fit = gn.fit(RARE, data, "dadvi", covariance="linear_response", polish=True, seed=1)
    assert "linear_response_sd" not in fit["variational"]
    rate = fit["posterior"]["rate"].to_numpy().ravel()
    assert rate.mean() == pytest.approx(6.3 / 4, abs=4 * 6.3**0.5 / 4 / 400**0.5)


def test_polished_draws_have_matching_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    mu = np.array([[5.0, 60.0], [60.0, 5.0], [60.0, 60.0]])
    pi = np.array([0.5, 0.3, 0.2])

    def switched(*args: Any, **options: Any) -> tuple[dict[str, Array], dict[str, Array]]:
        orders = [np.roll(np.arange(3), i) for i in range(4)]
        chains = {name: np.stack([np.tile(v[o], (5,) + (1,) * v.ndim) for o in orders]) for name, v in truth.items()}
        return chains, {}

    truth = {"pi": pi, "mu": mu}
    monkeypatch.setattr(dadvi, "KHAT_USABLE", -np.inf)
    monkeypatch.setattr(dadvi, "run_nuts", switched)
    tree = gn.simulate("nb_mixture", seed=1, cell=40, **truth, phi=0.05)
    fit = gn.fit("nb_mixture", tree, "dadvi", covariance="linear_response", polish=True)
    for name, value in truth.items():
        found = fit["posterior"][name].to_numpy()
        np.testing.assert_array_equal(found, np.broadcast_to(value, found.shape))


# How it runs


def test_bound_rises_to_the_optimum(simulated: Callable[..., xr.DataTree]) -> None:
    fit = gn.fit("nb_mixture", simulated("nb_mixture"), "dadvi", seed=1, draws=20)
    bound = fit["variational"]["bound"]
    assert bound.dims == ("restart", "iteration")
    steps = np.diff(bound.to_numpy()[0])
    assert len(steps) > 3
    assert (steps > -1e-9 * np.abs(bound.to_numpy()).max()).all()
    notes = notes_of(fit)
    assert notes["largest_fall"] == 0
    assert notes["converged"]
    assert notes["gradient"] < 1e-6
    assert notes["bound"] == float(bound[0, -1])
    assert "noisy_bound" not in notes


def test_steps_may_run_out(simulated: Callable[..., xr.DataTree]) -> None:
    notes = notes_of(gn.fit("nb_mixture", simulated("nb_mixture"), "dadvi", seed=1, draws=20, max_iterations=1))
    assert not notes["converged"]
    assert notes["gradient"] > 1e-6


@pytest.mark.parametrize("covariance", choices(dadvi.dadvi)["covariance"])
def test_second_fit_compiles_nothing_and_keeps_nothing(
    regression: xr.DataTree, covariance: str, same: Callable[..., None]
) -> None:
    other = gn.simulate(REGRESSION, seed=2)
    first = gn.fit(REGRESSION, regression, "dadvi", seed=1, covariance=covariance)
    before = densities.COMPILED.copy()
    assert (
        float(
            abs(
                gn.fit(REGRESSION, other, "dadvi", seed=1, covariance=covariance)["posterior"]["beta"]
                - first["posterior"]["beta"]
            ).mean()
        )
        > 0.1
    )
    same(first, gn.fit(REGRESSION, regression, "dadvi", seed=1, covariance=covariance))
    assert before == densities.COMPILED


@pytest.mark.slow
def test_mixture_agrees_with_an_exact_method() -> None:
    mu = [[5.0, 60.0], [60.0, 5.0], [60.0, 60.0]]
    tree = gn.simulate("nb_mixture", seed=1, cell=40, pi=[0.4, 0.3, 0.3], mu=mu, phi=0.05)
    fit = gn.fit("nb_mixture", tree, "dadvi", seed=1, covariance="linear_response")
    exact = gn.fit("nb_mixture", tree, "gibbs", seed=1, chains=2, draws=1500)
    order = [np.lexsort(t["posterior"]["mu"].mean(("chain", "draw")).to_numpy().round(-1).T) for t in (fit, exact)]
    for name in ("pi", "mu"):
        here, there = (
            t["posterior"][name].isel(component=o).to_numpy() for t, o in zip((fit, exact), order, strict=True)
        )
        sd = there.std((0, 1))
        assert (np.abs(here.mean((0, 1)) - there.mean((0, 1))) < 0.2 * sd).all(), name
        np.testing.assert_allclose(here.std((0, 1)), sd, rtol=0.15)


# What it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "full"}, "covariance='full' is not known; use one of mean_field, linear_response"),
        ({"polish": True}, "polish=True needs covariance='linear_response'"),
        ({"fixed_draws": 7}, "fixed_draws=7 must be even"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gn.fit(RARE, MANY, "dadvi", **options)


def test_start_off_the_density_is_an_error(objective: tuple[dadvi.Objective, Array]) -> None:
    function, _ = objective
    n = len(function.unit)
    with pytest.raises(InputError, match="nb_mixture: the log density is not finite around the start"):
        dadvi.minimise(function.density, function.z, np.full(n, np.nan), 1e-6, 10)
