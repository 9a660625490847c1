"""PyMC models and Stan programs from elsewhere: declared, validated, and caught where they are wrong."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytest
from scipy.stats import halfcauchy, norm

import genarium as gn
from genarium import cli
from genarium.adopted.pymc import Graphs
from genarium.calibration.plan import Plan
from genarium.calibration.quantities import with_quantities
from genarium.calibration.replicate import simulate as simulate_replicate
from genarium.calibration.scalars import scalars
from genarium.data import check
from genarium.declaration import Problem
from genarium.errors import InputError

SD = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def schools(centred: bool = False) -> Any:
    """Eight schools (Rubin 1981)."""
    with pm.Model(coords={"school": np.arange(8)}) as model:
        mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
        if centred:
            effect = pm.Normal("theta", mu, tau, dims="school")
        else:
            effect = pm.Deterministic("theta", mu + tau * pm.Normal("z", dims="school"), dims="school")
        pm.Normal("y", effect, SD, observed=[28.0, 8, -3, 7, -1, 1, 18, 12], dims="school")
    return model


@pytest.fixture(scope="module")
def adopted() -> gn.Model:
    return gn.from_pymc(schools(), "schools")


def test_variables_and_dims_are_those_of_the_model(adopted: gn.Model) -> None:
    assert (adopted.name, adopted.unit, dict(adopted.sizes)) == ("schools", "school", {"school": 8})
    assert {n: v.dims for n, v in adopted.unknown.variables.items()} == {"mu": (), "tau": (), "z": ("school",)}
    assert list(adopted.observed.variables) == ["y"]


def test_prior_and_data_are_drawn_by_the_model(adopted: gn.Model) -> None:
    draws = [gn.simulate(adopted, seed)["truth"] for seed in range(300)]
    mu, tau = (np.array([float(draw[name]) for draw in draws]) for name in ("mu", "tau"))
    assert abs(mu.mean()) < 4 * 5 / np.sqrt(300)
    assert np.median(tau) == pytest.approx(5, abs=4 * 5 * np.pi / 2 / np.sqrt(4 * 300) * 2)
    once, again, other = (gn.simulate(adopted, seed)["observed_data"]["y"].to_numpy() for seed in (7, 7, 8))
    np.testing.assert_array_equal(once, again)
    assert not (once == other).any()


def test_densities_are_those_of_scipy(adopted: gn.Model) -> None:
    rng = np.random.default_rng(1)
    mu, z, y = (np.asarray(rng.normal(size=shape)) for shape in (3, (3, 8), 8))
    tau = np.abs(rng.normal(size=3))
    prior = norm.logpdf(mu, 0, 5) + halfcauchy.logpdf(tau, 0, 5) + norm.logpdf(z).sum(1)
    likelihood: Any = norm.logpdf(y, mu[:, None] + tau[:, None] * z, SD)
    assert adopted.log_prior is not None
    assert adopted.log_likelihood is not None
    np.testing.assert_allclose(adopted.log_prior(mu=mu, tau=tau, z=z), prior)
    np.testing.assert_allclose(adopted.log_likelihood(mu=mu, tau=tau, z=z, y=y), likelihood)
    np.testing.assert_allclose(adopted.log_likelihood(mu=mu[0], tau=tau[0], z=z[0], y=y), likelihood[0])


def test_variables_are_found_by_name_in_every_copy_of_a_model() -> None:
    """Copies of this one have their variables in other orders; its data and dims are constants, its start is kept."""
    with pm.Model() as model:
        x = pm.Data("x", np.array([0.0, 1, 2]))
        a, b, c = pm.Normal("a", 0, 1), pm.Normal("b", 0, 3, initval=2.5), pm.Normal("c", 0, 5)
        first = pm.Normal("first", a + b * x, 2 + c**2, observed=np.zeros(3))
        pm.Normal("second", a + first.sum(), 1, observed=0.0)
        pm.Deterministic("residual", (first - a).sum())
        pm.Deterministic("sum", a + b)
    adopted = gn.from_pymc(model)
    orders = [[rv.name for rv in one.free_RVs] for one in (model, Graphs(model).model, Graphs(model)._natural[0])]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    values: dict[str, Any] = {"a": np.array(0.3), "b": np.array(-1.2), "c": np.array(2.0)}
    seen: dict[str, Any] = {"first": np.array([0.5, 1.0, -1.0]), "second": np.array(0.7)}
    prior = norm.logpdf(0.3) + norm.logpdf(-1.2, 0, 3) + norm.logpdf(2, 0, 5)
    likelihood = np.sum(norm.logpdf(seen["first"], 0.3 - 1.2 * np.arange(3), 6)) + norm.logpdf(0.7, 0.3 + 0.5)
    assert adopted.log_prior is not None
    assert adopted.log_likelihood is not None
    assert float(adopted.log_prior(**values)) == pytest.approx(prior)
    assert float(np.sum(adopted.log_likelihood(**values, **seen))) == pytest.approx(likelihood)
    assert adopted.start is not None
    problem = check(adopted, seen)
    assert float(adopted.start(problem, np.random.default_rng(1))["b"]) == 2.5
    assert not hasattr(Graphs(model).model["x"], "get_value")
    assert adopted.test_quantities is not None
    told = adopted.test_quantities(**values, **seen)  # of the data, not of others that are drawn
    assert {name: float(value) for name, value in told.items()} == pytest.approx({"residual": -0.4, "sum": -0.9})


def test_a_model_and_its_double_share_a_digest_and_another_prior_does_not() -> None:
    def model(sd: float) -> Any:
        with pm.Model() as made:
            pm.Normal("y", pm.Normal("mu", 0, sd), observed=[1.0, 2.0])
        return made

    assert Graphs(model(1.0)).digest == Graphs(model(1.0)).digest != Graphs(model(2.0)).digest


HELPER = "SHIFT = 0.0\ndef shifted(mu):\n    return mu + SHIFT\n"
MINE = """
import pymc as pm
import helper_of_mine
from helper_of_mine import shifted

def draw(mu, rng=None, size=None):
    return rng.normal(shifted(mu), 1.0, size)

def unsure(mu, rng=None, size=None):
    return helper_of_mine.shifted(mu) + rng.random(size)

def model(random, sd=1.0):
    def closed(mu, rng=None, size=None):
        return random(mu, rng, size) * sd
    with pm.Model() as made:
        pm.CustomDist("y", pm.Normal("mu"), logp=lambda value, mu: -((value - mu) ** 2), random=closed, observed=[1.0])
    return made
"""


def test_a_digest_knows_the_functions_that_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pm.CustomDist, the user's own functions that they call, and what they close over."""
    monkeypatch.syspath_prepend(tmp_path)

    def told(mine: str = MINE, helper: str = HELPER, sd: float = 1.0) -> tuple[str, str]:
        for name, text in (("helper_of_mine", helper), ("mine", mine)):
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        module = importlib.import_module("mine")
        first, second = (Graphs(module.model(one, sd)).digest for one in (module.draw, module.unsure))
        return first, second

    first = told()
    assert told() == first
    assert told(MINE.replace("def draw", "# a comment\ndef draw"))[0] == first[0]
    changed = [
        told(MINE.replace("1.0, size", "1.1, size").replace("random(size)", "random(size) / 2")),
        told(helper=HELPER.replace("0.0", "0.1")),
        told(helper=HELPER.replace("mu + SHIFT", "mu - SHIFT")),
        told(sd=2.0),
    ]
    for both in zip(first, *changed, strict=True):
        assert len(set(both)) == 5


def test_a_fit_is_the_models_posterior() -> None:
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu::x", 0, 2), 1, observed=[1.0, 2.0, 3.0])
    adopted = gn.from_pymc(model)
    fit = gn.fit(adopted, {"y": np.array([10.0, 10, 10])}, "map")
    assert float(fit["point"]["mu__x"]) == pytest.approx(30 / 3.25, rel=1e-6)


def test_data_of_another_shape_are_refused(adopted: gn.Model) -> None:
    with pytest.raises(InputError, match=r"y has shape \(10,\), but the PyMC model is of \(8,\)"):
        gn.fit(adopted, {"y": np.zeros(10)}, "nuts")
    with pytest.raises(InputError, match="given data cannot be joined with simulated ones"):
        gn.validate(adopted, "nuts", 2, data={"y": np.zeros(8)})


def test_what_cannot_be_simulated_or_sampled_is_refused() -> None:
    with pm.Model() as unseen:
        pm.Normal("mu")
    with pm.Model() as weighted:
        pm.Potential("w", -(pm.Normal("y", pm.Normal("mu"), observed=[1.0]) ** 2))
    with pm.Model() as whole:
        pm.Normal("y", pm.Poisson("n", 3), observed=[1.0])
    with pm.Model() as ordered:
        way = pm.distributions.transforms.ordered
        pm.Normal("y", pm.Normal("m", shape=2, transform=way, initval=[-1, 1]), observed=[1.0, 2.0])
    with pytest.raises(InputError, match=r"values of m that its transform \(Ordered\) cannot have"):
        gn.from_pymc(ordered)
    for model, said in ((unseen, "no observed"), (weighted, "potential w"), (whole, "n are whole numbers")):
        with pytest.raises(InputError, match=said):
            gn.from_pymc(model)
    with pytest.raises(InputError, match=r"takes a pymc\.Model, not int"):
        gn.from_pymc(3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_pymc_has_no_draws_of_is_refused() -> None:
    def density(value: Any, mu: Any) -> Any:
        return -((value - mu) ** 2)

    with pm.Model() as flat:
        pm.Normal("y", pm.Normal("a") + pm.Flat("b"), observed=[1.0, 2.0])
    with pm.Model() as alone:
        pm.CustomDist("y", pm.Normal("mu"), logp=density, observed=[1.0])
    with pm.Model() as simulator:
        pm.Simulator("y", lambda rng, mu, size: rng.normal(mu, size=size), pm.Normal("mu"), observed=[1.0])
    with pm.Model() as known:
        pm.Normal("y", observed=[1.0])
    said = "nothing can be drawn from the distribution of"
    for model, told in (
        (flat, f"{said} b"),
        (alone, f"{said} y"),
        (simulator, r"y is a pm\.Simulator"),
        (known, "has no unknown variables"),
    ):
        with pytest.raises(InputError, match=told):
            gn.from_pymc(model)


@pytest.mark.filterwarnings("ignore::pymc.exceptions.ImputationWarning")
def test_variables_that_are_not_drawn_in_order_are_refused() -> None:
    """Missing parts of a vector, and parameters below data, would be drawn without regard to what was observed."""
    y = np.random.default_rng(0).normal(size=(6, 2))
    y[::2, 1] = np.nan
    with pm.Model() as partly:
        cov = np.array([[1, 0.9], [0.9, 1]])
        pm.MvNormal("y", pm.Normal("mu", shape=2), cov=cov, observed=np.ma.masked_invalid(y))
    with pm.Model() as below:
        seen = pm.Normal("x", pm.Normal("b"), observed=np.zeros(3))
        pm.Normal("y", pm.Normal("c", seen.mean(), 0.1), observed=0.0)
    with pytest.raises(InputError, match="y_unobserved are missing values of a distribution of several numbers"):
        gn.from_pymc(partly)
    with pytest.raises(InputError, match="the prior of c depends on the observed x"):
        gn.from_pymc(below)
    with pm.Model() as apart:  # of numbers one by one, missing ones are unknown variables like others
        pm.Normal("y", pm.Normal("mu"), observed=np.ma.masked_invalid(y))
    assert set(gn.from_pymc(apart).unknown.variables) == {"mu", "y_unobserved"}


def test_observations_that_count_more_than_once_are_refused() -> None:
    def model(total: int, batch: bool = False) -> Any:
        with pm.Model() as made:
            data = pm.Minibatch(np.zeros(40), batch_size=10) if batch else np.zeros(10)
            pm.Normal("y", pm.Normal("mu"), observed=data, total_size=total)
        return made

    for one in (model(100), model(40, batch=True)):
        with pytest.raises(InputError, match="counts each observation of y more than once"):
            gn.from_pymc(one)
    assert gn.from_pymc(model(10)).sizes == {"y_dim_0": 10}


def test_names_may_be_those_of_the_language_and_of_arguments() -> None:
    names = ("lambda", "self", "rng", "sizes", "graphs", "data", "value")
    with pm.Model() as model:
        pm.Normal("y", sum(pm.Normal(name) for name in names), observed=[1.0, 2.0])
    adopted = gn.from_pymc(model)
    assert list(adopted.unknown.variables) == ["lambda_", "self", "rng_", "sizes_", "graphs", "data", "value"]
    tree = gn.simulate(adopted, 1)
    values = {name: tree["truth"][name].to_numpy() for name in adopted.unknown.variables}
    assert adopted.log_likelihood is not None
    y = np.array([0.5, -1.0])
    told = adopted.log_likelihood(**values, y=y)
    np.testing.assert_allclose(told, norm.logpdf(y, sum(values.values()), 1))
    with pm.Model() as observed:
        pm.Normal("graphs", pm.Normal("mu"), observed=[1.0, 2.0])
    assert gn.fit(observed_model := gn.from_pymc(observed), gn.simulate(observed_model, 1), "map")["point"]["mu"].size


def test_names_may_be_those_of_trees_and_ranked_quantities() -> None:
    """A posterior of a variable called chain would be lost in a tree, a log_prior would be ranked twice."""
    names = ("chain", "draw", "lp", "log_prior", "log_likelihood")
    with pm.Model() as model:
        pm.Normal("y", sum(pm.Normal(name) for name in names), observed=[1.0, 2.0])
    adopted, told = gn.from_pymc(model), [f"{name}_" for name in names]
    assert list(adopted.unknown.variables) == told
    fit = gn.fit(adopted, gn.simulate(adopted, 1), "nuts", 1, chains=2, draws=20, tune=50)
    assert fit["posterior"]["chain_"].dims == ("chain", "draw")
    assert list(gn.validate(adopted, "nuts", 2).quantities) == [*told, "log_likelihood", "log_prior"]


def test_a_deterministic_variable_with_noise_of_its_own_is_no_test_quantity() -> None:
    with pm.Model() as model:
        mu = pm.Normal("mu")
        y = pm.Normal("y", mu, observed=[1.0, 2.0])
        pm.Deterministic("noisy", mu + pm.Normal.dist())
        pm.Deterministic("off", y - mu)
    found = gn.from_pymc(model).test_quantities
    assert found is not None
    assert list(found(mu=np.zeros(3), y=np.ones(2))) == ["off"]


def test_data_that_cannot_be_simulated_are_a_replicate_that_failed() -> None:
    with pm.Model() as model:
        pm.Poisson("y", pm.math.exp(pm.Normal("a", 0, 60)), observed=[1, 2, 3])
    told = [simulate_replicate(Plan(gn.from_pymc(model), "nuts", {}, 1), index) for index in range(12)]
    failed = [one for one in told if isinstance(one.problem, str)]
    assert 0 < len(failed) < 12
    for one in failed:
        assert str(one.problem).startswith("no data can be simulated: ValueError: lam value too large")
        assert one.truth["a"] > 40


def test_quantities_without_names_or_values_are_told(tmp_path: Path) -> None:
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mu"), observed=[1.0, 2.0])
    with pytest.raises(InputError, match=r"test quantities come as a list\. Return them by name"):
        gn.validate(model, "nuts", 2, quantities=lambda mu: [mu])  # type: ignore[arg-type,return-value]
    with np.errstate(invalid="ignore"):
        found = gn.validate(model, "nuts", 2, keep=True, out=tmp_path, quantities=lambda mu: {"root": np.sqrt(mu - 9)})
        assert found.failures["reasons"] == {"root is NaN": 2}
        gn.validate(model, "nuts", 2, keep=True, out=tmp_path / "kept")
        again = gn.validate_quantities(tmp_path / "kept", lambda mu: {"root": np.sqrt(mu - 9)}, model)
    assert again.failures["reasons"] == {"root is NaN": 2}
    assert not again.passed


def test_own_quantities_are_ranked_for_a_variant_too() -> None:
    asked = with_quantities(gn.get("nb_mixture"), lambda pi, phi: {"own": pi.max() * phi.max()})
    one = simulate_replicate(Plan(asked, "gibbs", {"dispersion": "gene", "cell": 20, "component": 2}), 0)
    assert isinstance(one.problem, Problem)
    truth = {name: value[None] for name, value in one.truth.items()}
    names, values = scalars(one.problem, truth)
    assert values[0, names.index("own")] == one.truth["pi"].max() * one.truth["phi"].max()


def test_a_function_that_makes_a_model_is_no_model() -> None:
    with pytest.raises(
        InputError, match=r"schools is not a model, but a function\. .* Give what it returns: schools\(\)"
    ):
        gn.validate(schools, "nuts", 2)  # type: ignore[arg-type]


def test_a_pymc_model_is_validated_and_its_quantities_ranked_afterwards(tmp_path: Path) -> None:
    out, model = tmp_path / "out", schools()
    found = gn.validate(model, "nuts", 4, seed=1, out=out, keep=True, quantities=lambda mu, y: {"cross": mu * y.mean()})
    assert {"mu", "tau", "z[7]", "theta[0]", "cross", "log_likelihood", "log_prior"} <= set(found.quantities)
    assert found.passed
    more = gn.validate_quantities(out, lambda tau, y: {"spread": tau / y.std()}, model)
    assert {"mu", "spread"} <= set(more.quantities)
    assert "cross" not in more.quantities
    assert (more.tree["prior_sbc"]["mu"] == found.tree["prior_sbc"]["mu"]).all()
    assert (more.tree["truth"]["tau"] == found.tree["truth"]["tau"]).all()
    go_on: dict[str, Any] = {"seed": 1, "out": out, "keep": True, "resume": True}
    with pytest.raises(InputError, match=r"holds a run of other settings \(quantities: '<lambda> \w+' there"):
        gn.validate(model, "nuts", 9, quantities=lambda mu, y: {"cross": 2 * mu * y.mean()}, **go_on)
    assert gn.validate(model, "nuts", 4, quantities=lambda mu, y: {"cross": mu * y.mean()}, **go_on).passed
    with pm.Model(coords={"school": np.arange(8)}) as wider:
        mu, tau, z = pm.Normal("mu", 0, 6), pm.HalfCauchy("tau", 5), pm.Normal("z", dims="school")
        pm.Normal("y", pm.Deterministic("theta", mu + tau * z, dims="school"), SD, observed=SD, dims="school")
    with pytest.raises(InputError, match="holds a run of other settings"):
        gn.validate(wider, "nuts", 9, **go_on)
    with pytest.raises(InputError, match="is called 'mu', under which something else is ranked already"):
        gn.validate_quantities(out, lambda mu: {"mu": abs(mu)}, model)
    (out / "draws" / "3.npz").unlink()
    with pytest.raises(InputError, match="replicate 3 was run without keep=True"):
        gn.validate_quantities(out, lambda mu: {"mu_again": mu}, model)
    with pytest.raises(InputError, match="asks for nothing, which the model does not have"):
        gn.validate_quantities(out, lambda nothing: {}, model)
    with pytest.raises(InputError, match="keeps no draws"):
        gn.validate_quantities(tmp_path, lambda mu: {"mu": mu}, model)
    with pytest.raises(InputError, match="keep=True needs a folder"):
        gn.validate(model, "nuts", 2, keep=True)


@pytest.mark.slow
def test_the_ranks_do_not_depend_on_the_number_of_workers() -> None:
    one, two = (gn.validate(schools(), "nuts", 6, workers, seed=1, adaptive=False) for workers in (1, 2))
    assert one.tree["prior_sbc"].to_dataset().identical(two.tree["prior_sbc"].to_dataset())


@pytest.mark.slow
def test_centred_eight_schools_is_caught_and_the_other_is_not() -> None:
    assert gn.validate(schools(), "nuts", 200, seed=2).passed
    assert not gn.validate(schools(centred=True), "nuts", 200, seed=2).passed


PROGRAM = """
data { int J; vector[J] y; vector<lower=0>[J] sigma; }
parameters { real mu; real<lower=0> tau; vector[J] z; }
model { mu ~ normal(0, 5); tau ~ normal(0, PRIOR); z ~ std_normal(); y ~ normal(mu + tau * z, sigma); }
"""

SIMULATOR = """
data { int J; vector<lower=0>[J] sigma; }
generated quantities {
  real mu = normal_rng(0, 5);
  real tau = abs(normal_rng(0, 5));
  vector[J] z;
  vector[J] y;
  for (j in 1:J) { z[j] = normal_rng(0, 1); y[j] = normal_rng(mu + tau * z[j], sigma[j]); }
}
"""


def simulated(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw parameters and data of the program."""
    mu, tau, z = rng.normal(0, 5), abs(rng.normal(0, 5)), rng.normal(size=8)
    return {"mu": mu, "tau": tau, "z": z}, {"y": rng.normal(mu + tau * z, SD)}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "schools.stan"
    path.write_text(PROGRAM.replace("PRIOR", "5"))
    return path


DATA: dict[str, Any] = {"J": 8, "sigma": SD}


@pytest.mark.stan
def test_a_stan_program_is_declared_with_its_simulator(program: Path) -> None:
    model = gn.from_stan(program, simulated, DATA)
    assert (model.name, list(model.known.variables), list(model.observed.variables)) == (
        "schools",
        ["J", "sigma"],
        ["y"],
    )
    tree = gn.simulate(model, 3)
    assert int(tree["constant_data"]["J"]) == 8
    assert gn.stan_data(model, tree)["sigma"] == SD.tolist()


@pytest.mark.stan
def test_a_run_knows_another_program_or_simulator(program: Path) -> None:
    """What a store is resumed by changes with the program's text, the simulator's code and the data."""

    def told(path: Path, simulate: Any, data: dict[str, Any]) -> str:
        plan = Plan(gn.from_stan(path, simulate, data), "stan", {}, 0)
        return str(plan.describe()["model_digest"])

    def other(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
        unknown, data = simulated(rng)
        return unknown, {"y": data["y"] + 0.1}

    first = told(program, simulated, DATA)
    assert first == told(program, simulated, dict(DATA))
    by = program.parent / "simulate.stan"
    by.write_text(SIMULATOR)
    changed = [told(program, other, DATA), told(program, simulated, DATA | {"sigma": SD + 1}), told(program, by, DATA)]
    unsure = [told(program, lambda rng, k=k: simulated(rng) if rng.random() < k else None, DATA) for k in (2, 3)]
    program.write_text(PROGRAM.replace("PRIOR", "6"))
    changed += [*unsure, told(program, simulated, DATA)]
    assert len({first, *changed}) == 7
    assert all(changed)


@pytest.mark.stan
def test_a_simulator_that_leaves_out_or_draws_anew_is_told(program: Path) -> None:
    with pytest.raises(InputError, match="draws no tau, z"):
        gn.from_stan(program, lambda rng: ({"mu": 0.0}, {}), DATA)
    with pytest.raises(InputError, match="data sigma are neither given nor simulated"):
        gn.from_stan(program, simulated, {"J": 8})

    def more(unknown: dict[str, Any], data: dict[str, Any]) -> Any:
        return lambda rng: tuple(one | further for one, further in zip(simulated(rng), (unknown, data), strict=True))

    with pytest.raises(InputError, match=r"draws the data Y, which the program does not have\. It has J, y, sigma"):
        gn.from_stan(program, more({}, {"Y": 0.0}), DATA)
    with pytest.raises(InputError, match="draws the parameter nu, which the program does not have"):
        gn.from_stan(program, more({"nu": 3.0}, {}), DATA)
    with pytest.raises(InputError, match=r"draws J = 8\.4, which the program declares as a whole number"):
        gn.from_stan(program, more({}, {"J": 8.4}), DATA)
    with pytest.raises(InputError, match="there is no Stan program"):
        gn.from_stan(program.parent / "no.stan", simulated)
    with pytest.raises(InputError, match="the simulator draws no data, so that there is nothing to validate"):
        gn.from_stan(program, lambda rng: (simulated(rng)[0], {}), DATA | {"y": SD})
    sizes = iter((8, 7))
    model = gn.from_stan(program, lambda rng: (simulated(rng)[0], {"y": np.zeros(next(sizes))}), DATA)
    with pytest.raises(InputError, match=r"draws y with shape \(7,\), and with \(8,\) before"):
        gn.simulate(model, 1)


@pytest.mark.stan
def test_names_of_a_program_may_be_those_of_the_language(tmp_path: Path) -> None:
    path = tmp_path / "rates.stan"
    path.write_text("data { int y; } parameters { real lambda, self; } model { lambda ~ normal(0, 1); }")
    model = gn.from_stan(path, lambda rng: ({"lambda": rng.normal(), "self": rng.normal()}, {"y": 3}))
    assert float(gn.simulate(model, 1)["truth"]["lambda"]) != float(gn.simulate(model, 2)["truth"]["lambda"])


TAKEN = """
functions { real near_rng(real rng) { return normal_rng(rng, 1); } }
data { int sizes; vector[sizes] chain; real draw; }  // sizes of chain
parameters { real rng; real log_density; }
model { rng ~ normal(0, 1); log_density ~ normal(0, 1); chain ~ normal(rng + log_density, 1); draw ~ normal(rng, 1); }
generated quantities { vector[sizes] chain_rep; real more = near_rng(rng); for (i in 1:sizes) chain_rep[i] = more; }
"""


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gn.Model:
    """A program whose names mean something else here."""

    def simulate(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
        a, b = rng.normal(size=2)
        return {"rng": a, "log_density": b}, {"chain": rng.normal(a + b, size=3), "draw": rng.normal(a)}

    path = tmp_path / "taken.stan"
    path.write_text(TAKEN)
    return gn.from_stan(path, simulate, {"sizes": 3})


@pytest.mark.stan
def test_names_of_a_program_may_be_those_of_arguments_and_trees(taken: gn.Model, tmp_path: Path) -> None:
    assert list(taken.variables()) == ["sizes_", "rng_", "log_density_", "chain_", "draw_"]
    text = Path(taken.stan).read_text()
    assert "near_rng(real rng_) { return normal_rng(rng_, 1); }" in text
    assert "vector[sizes_] chain__rep; real more = near_rng(rng_)" in text
    assert gn.stan_data(taken, gn.simulate(taken, 1))["sizes_"] == 3
    path = tmp_path / "twice.stan"
    path.write_text("data { real y; } parameters { real rng, rng_; } model { y ~ normal(rng + rng_, 1); }")
    with pytest.raises(InputError, match=r"'rng' means something else here and would be called 'rng_', which"):
        gn.from_stan(path, lambda rng: ({"rng": 0.0, "rng_": 0.0}, {"y": 1.0}))


@pytest.mark.stan
@pytest.mark.slow
def test_a_program_with_names_of_ours_is_fitted_and_validated(taken: gn.Model) -> None:
    fit = gn.fit(taken, gn.simulate(taken, 1), "stan", 1, chains=2, draws=50, tune=100)
    assert fit["posterior_predictive"]["chain_"].dims == ("chain", "draw", "chain__dim_0")
    found = gn.validate(taken, "stan", 3)
    assert (found.failures["count"], list(found.quantities)) == (0, ["rng_", "log_density_", "log_density"])


@pytest.mark.stan
@pytest.mark.slow
def test_data_and_parameters_of_size_zero_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "none.stan"
    path.write_text(
        "data { int K; matrix[2, K] X; vector[2] y; } parameters { real mu; vector[K] b; } "
        "model { mu ~ normal(0, 1); b ~ normal(0, 1); y ~ normal(mu + X * b, 1); }"
    )

    def simulate(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
        mu = rng.normal()
        return {"mu": mu, "b": np.zeros(0)}, {"y": rng.normal(mu, size=2)}

    found = gn.validate_stan(path, simulate, {"K": 0, "X": np.zeros((2, 0))}, simulations=3)
    assert (found.failures["count"], list(found.quantities)) == (0, ["mu", "log_density"])


@pytest.mark.stan
def test_tuples_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "parts.stan"
    for declared in ("tuple(int, vector[3]) d", "complex d", "array[2] tuple(real, real) d"):
        path.write_text(f"data {{ {declared}; }} parameters {{ real mu; }} model {{ mu ~ normal(0, 1); }}")
        with pytest.raises(InputError, match=r"parts\.stan: d is neither a number nor an array of numbers"):
            gn.from_stan(path, lambda rng: ({"mu": rng.normal()}, {"d": (3, np.zeros(3))}))


@pytest.mark.stan
def test_a_simulator_that_fails_now_and_then_is_told_replicate_by_replicate(tmp_path: Path) -> None:
    def rates(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
        a = rng.normal(0, 60)
        return {"a": a}, {"y": rng.poisson(np.exp(a))}

    path = tmp_path / "rate.stan"
    path.write_text("data { int y; } parameters { real a; } model { a ~ normal(0, 60); y ~ poisson_log(a); }")
    plan = Plan(gn.from_stan(path, rates), "stan", {}, 1)
    told = [simulate_replicate(plan, index) for index in range(20)]
    failed = [one for one in told if str(one.problem).startswith("no data can be simulated: ValueError: lam value")]
    assert 0 < len(failed) < 20
    assert not any(one.truth for one in failed)


@pytest.mark.stan
@pytest.mark.slow
def test_a_stan_program_is_validated_by_either_simulator(program: Path) -> None:
    by = program.parent / "simulate.stan"
    by.write_text(SIMULATOR)
    for simulate in (simulated, by):
        found = gn.validate_stan(program, simulate, DATA, simulations=40, seed=1)
        assert found.passed
        assert "log_density" in found.quantities


MEAN = """
data { real y; }
parameters { real mu; }
model { mu ~ normal(0, SD); y ~ normal(mu, 3); }
"""


@pytest.mark.stan
@pytest.mark.slow
def test_a_prior_that_is_a_fifth_too_wide_is_caught(tmp_path: Path) -> None:
    def narrow(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
        mu = rng.normal(0, 1)
        return {"mu": mu}, {"y": rng.normal(mu, 3)}

    path = tmp_path / "mean.stan"
    for sd, passes in ((1.0, True), (1.2, False)):
        path.write_text(MEAN.replace("SD", str(sd)))
        found = gn.validate_stan(path, narrow, simulations=300, seed=4, adaptive=False)
        assert found.passed is passes


def test_the_command_takes_a_model_of_a_users_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine_to_validate.py").write_text(
        "import pymc as pm\nwith pm.Model() as model:\n    pm.Normal('y', pm.Normal('mu'), observed=[1.0, 2.0])\n"
        "def more(mu):\n    return {'square': mu**2}\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["validate", "mine_to_validate:model", "--method", "nuts", "--simulations", "5", "--json"]
    assert cli.main([*words, "--quantities", "mine_to_validate:more"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"mu", "square", "log_likelihood"} <= set(told["quantities"])
    assert cli.main(["validate", "mine_to_validate:nothing", "--method", "nuts"]) == 2
    assert "AttributeError" in capsys.readouterr().err
    assert cli.main(["validate", "x.stan", "--method", "stan"]) == 2
    assert "Give --simulate" in capsys.readouterr().err
