"""What every model of the zoo owes, from its declaration to its fits; no model is named here."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import arviz as az
import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import ROLES, Arrays, Claim, Model, Problem
from genarium.engines import compiled as densities
from genarium.methods import find_method, methods
from genarium.tree import RECORDED, arrays, digest

GROUPS = {"known": "constant_data", "unknown": "truth", "hidden": "truth", "observed": "observed_data"}

HIGH_K = "ignore:Estimated shape parameter of Pareto distribution"
"""A small simulation may hold an outlier; that az.loo runs is tested, not what it finds."""


TINY = {"draws": 20, "tune": 20, "restarts": 2, "iterations": 1000}
"""Options of fits that are only compared with each other."""


class Case(NamedTuple):
    """A variant of a model, and a method to fit it by."""

    name: str
    options: dict[str, str]
    method: str = ""

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.options.items()), *filter(None, [self.method])])

    @property
    def model(self) -> Model:
        return registry.get(self.name).variant(**self.options)

    @property
    def claim(self) -> Claim:
        return find_method(self.model, self.method).claim

    @property
    def engine(self) -> str:
        return find_method(self.model, self.method).engine


def variants() -> Iterator[Case]:
    """Every model, then each value of each option that is not the default."""
    for name in registry.names():
        yield Case(name, {})
        for option, values in registry.get(name).options.items():
            yield from (Case(name, {option: value}) for value in values[1:])


def fits() -> Iterator[Case]:
    """Hand-coded methods for every variant, engines for the default one."""
    for case in variants():
        for method in methods(case.model) if not case.options else case.model.methods:
            yield Case(case.name, case.options, method)


SIMPLEST = min(registry.names(), key=lambda name: len(registry.get(name).unknown.variables))
"""By default only this model is tried with all methods of PyMC and JAX: each compiles for up to a minute."""


def marks(case: Case, more: bool = False) -> list[pytest.MarkDecorator]:
    """Mark what compiles a Stan program, and what is left out of the default run: ``more`` engines' fits."""
    if not case.method:
        return []
    late = (case.engine in ("pymc", "blackjax") and case.method != "nuts") or (more and case.engine != "numpy")
    return [pytest.mark.stan] * (case.engine == "stan") + [pytest.mark.slow] * (late and case.name != SIMPLEST)


def parametrize(cases: Iterable[Case], more: bool = False) -> pytest.MarkDecorator:
    """Run a test for every case."""
    marked = [pytest.param(case, marks=marks(case, more), id=str(case)) for case in cases]
    return pytest.mark.parametrize("case", marked)


every_variant = parametrize(variants())
every_fit = parametrize(fits())
every_posterior = parametrize(case for case in fits() if case.claim != "point")


@pytest.fixture
def tree(case: Case, simulated: Callable[..., xr.DataTree]) -> xr.DataTree:
    return simulated(case.name, **case.options)


@pytest.fixture
def result(case: Case, fitted: Callable[..., xr.DataTree]) -> xr.DataTree:
    return fitted(case.name, case.method, **case.options)


def assert_inside(model: Model, data: xr.Dataset, sizes: dict[str, int], lead: tuple[str, ...] = ()) -> None:
    """Declared variables have their declared dims, sizes and support."""
    for name, var in model.variables().items():
        if name in data.data_vars:
            assert data[name].dims == (*lead, *var.dims), name
            values = data[name].to_numpy()
            assert values.shape[len(lead) :] == model.shape(name, sizes), name
            assert not var.support.bad(values, sizes).any(), name


# The declaration and its simulator


@every_variant
def test_simulation_is_as_declared(case: Case, tree: xr.DataTree) -> None:
    sizes = json.loads(tree.attrs["sizes"])
    for role in ROLES:
        for name in case.model.stage(role).variables:
            assert name in tree[GROUPS[role]], (role, name)
        if case.model.stage(role).variables:
            assert_inside(case.model, tree[GROUPS[role]].to_dataset(), sizes)
    assert set(sizes) == set(case.model.sizes)


@every_variant
def test_seed_decides_the_simulation(case: Case) -> None:
    once, again, other = (gn.simulate(case.name, seed=seed, **case.options) for seed in (11, 11, 12))
    xr.testing.assert_identical(once, again)
    assert not once["observed_data"].to_dataset().equals(other["observed_data"].to_dataset())


@every_variant
def test_every_size_can_be_set(case: Case) -> None:
    for dim, size in case.model.sizes.items():
        if dim in case.model.labels or dim in case.model.derived_dims:
            continue
        larger = gn.simulate(case.model, seed=1, **{dim: size + 1})
        sizes = case.model.complete({**case.model.sizes, dim: size + 1})
        assert json.loads(larger.attrs["sizes"]) == sizes
        for group in larger.children:
            assert_inside(case.model, larger[group].to_dataset(), sizes)


@every_variant
def test_check_accepts_its_own_simulation(case: Case, tree: xr.DataTree) -> None:
    sizes = json.loads(tree.attrs["sizes"])
    plain = {n: tree[GROUPS[case.model.role(n)]][n].to_numpy() for n in case.model.variables("known", "observed")}
    for problem in (check(case.model, tree), check(case.model, plain, sizes)):
        assert problem.sizes == sizes
        assert not problem.fixed
        for name, values in plain.items():
            np.testing.assert_array_equal(problem[name], values)


@every_variant
def test_edges_point_forward(case: Case) -> None:
    order = {name: i for i, name in enumerate(case.model.variables())}
    edges = list(case.model.edges())
    assert all(order[parent] < order[child] for parent, child in edges)
    assert set(case.model.observed.variables) <= {child for _, child in edges}
    assert set(case.model.unknown.variables) <= {parent for parent, _ in edges}


@every_variant
def test_variables_are_described(case: Case) -> None:
    for name, var in case.model.variables().items():
        assert var.symbol, name
        assert var.about.strip().endswith("."), name
    assert case.model.title
    assert case.model.source


@every_variant
def test_card_names_variables_and_methods(case: Case) -> None:
    card = Path(gn.models.__path__[0], case.name, "README.md").read_text(encoding="utf-8")
    quoted = set(re.findall(r"`([^`\n]+)`", card))
    missing = [n for n in [*case.model.variables(), *methods(case.model)] if n not in quoted]
    assert not missing, f"not named (in backticks) by the card: {missing}"


# Two readings of one story: the NumPy density and the PyMC density


class Reading(NamedTuple):
    """A problem, its compiled PyMC density, and unconstrained points around the truth."""

    problem: Problem
    density: Any
    points: list[Any]


@pytest.fixture
def reading(case: Case, tree: xr.DataTree) -> Reading:
    if case.model.density is None:
        pytest.skip("the model has no PyMC density")
    problem = check(case.model, tree)
    density = densities.Compiled(problem, mode="FAST_COMPILE")
    centre = density.unconstrained(arrays(tree["truth"].to_dataset(), case.model.unknown.variables))
    rng = np.random.default_rng(0)
    points: list[Any] = []
    for _ in range(2000):  # where the density is positive: its domain may have an edge
        point = centre + rng.normal(0, 0.5, centre.shape)
        if np.isfinite(density.log_density(point)[0]):
            points.append(point)
        if len(points) == 20:
            break
    assert len(points) == 20
    return Reading(problem, density, points)


@every_variant
def test_densities_differ_by_a_constant(reading: Reading, numpy_density: Callable[[Problem, Arrays], float]) -> None:
    rows = []
    for point in reading.points:
        natural, _ = reading.density.constrained(point)
        rows.append((reading.density.log_density(point)[0], numpy_density(reading.problem, natural)))
    there, here = np.array(rows).T
    assert np.ptp(here) > 1  # the points do differ
    assert np.ptp(there - here) < 1e-8 * max(1, np.abs(here).max())


@every_variant
def test_gradient_is_that_of_the_numpy_density(
    reading: Reading, numpy_density: Callable[[Problem, Arrays], float]
) -> None:
    step = 1e-3  # five-point rule: truncation about step**4 times the fifth derivative, rounding 1e-16 |f| / step

    def at(vector: Any) -> float:
        return numpy_density(reading.problem, reading.density.constrained(vector)[0])

    for point in reading.points[:3]:
        value, gradient = reading.density.log_density(point)
        for along in directions(len(point)):
            f = [at(point + k * step * along) for k in (-2, -1, 1, 2)]
            slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)
            assert gradient @ along == pytest.approx(slope, rel=1e-6, abs=1e-8 * max(1, abs(value)))


def directions(size: int) -> Any:
    """Thirty coordinate directions or so, and three that every coordinate has a part in."""
    rng = np.random.default_rng(1)
    mixed = rng.choice([-1.0, 1.0], (3, size)) / np.sqrt(size)
    return np.vstack([np.eye(size)[:: max(1, size // 30)], mixed])


@every_variant
def test_unconstrained_values_come_back(reading: Reading) -> None:
    for point in reading.points:
        natural, _ = reading.density.constrained(point)
        np.testing.assert_allclose(reading.density.unconstrained(natural), point, rtol=1e-8, atol=1e-8)


# Fits by every method


@every_fit
def test_fit_holds_what_its_claim_says(
    case: Case, result: xr.DataTree, numpy_density: Callable[[Problem, Arrays], float]
) -> None:
    model = case.model
    sizes = json.loads(result.attrs["sizes"])
    unknown = set(model.unknown.variables)
    if case.claim == "point":
        assert "posterior" not in result
        assert unknown <= set(result["point"].data_vars)
        assert_inside(model, result["point"].to_dataset(), sizes)
        return
    lead = ("chain", "draw")
    posterior, stats = result["posterior"].to_dataset(), result["sample_stats"].to_dataset()
    assert set(posterior.data_vars) == unknown | set(model.derived.variables)
    assert_inside(model, posterior, sizes, lead)
    replicated = result["posterior_predictive"].to_dataset()
    assert set(replicated.data_vars) == set(model.observed.variables)
    assert_inside(model, replicated, sizes, lead)
    if model.log_likelihood is None or model.log_prior is None:
        return
    (pointwise,) = result["log_likelihood"].to_dataset().data_vars.values()
    assert pointwise.name in model.observed.variables
    assert pointwise.dims == (*lead, *([model.unit] if model.unit else []))
    assert stats["lp"].dims == lead
    assert np.isfinite(pointwise).all()
    problem = check(model, result)
    for c, s in ((0, 0), (-1, -1)):
        natural = {name: values[c, s] for name, values in arrays(posterior).items()}
        density = numpy_density(problem, natural)
        assert float(stats["lp"][c, s]) == pytest.approx(density, rel=1e-10)
        prior = problem.call(model.log_prior, **natural)
        # the prior of a wild draw (Laplace) is huge: the difference keeps its rounding
        rounding = 1e-14 * max(abs(density), abs(prior))
        assert float(pointwise[c, s].sum()) == pytest.approx(density - prior, rel=1e-10, abs=rounding)


@every_fit
def test_every_dim_has_labels(result: xr.DataTree, tree: xr.DataTree) -> None:
    for group in result.children.values():
        assert set(group.dims) <= set(group.coords), group.path
        for dim in set(group.dims) & set(tree["observed_data"].dims):
            np.testing.assert_array_equal(group[str(dim)], tree["observed_data"][str(dim)])


@every_fit
def test_fit_keeps_the_data(result: xr.DataTree, tree: xr.DataTree) -> None:
    for group in ("constant_data", "observed_data", "truth"):
        xr.testing.assert_identical(result[group].to_dataset(), tree[group].to_dataset())
    assert result.attrs["simulation_seed"] == tree.attrs["simulation_seed"]


@every_fit
def test_attributes_say_what_was_done(case: Case, result: xr.DataTree) -> None:
    attrs = result.attrs
    told = [attrs[name] for name in ("model", "method", "claim", "engine", "seed")]
    assert told == [case.name, case.method, case.claim, case.engine, 1]
    assert json.loads(attrs["model_options"]) == case.model.chosen
    assert set(json.loads(attrs["options"])) == set(find_method(case.model, case.method).options)
    assert {"genarium", "numpy"} <= set(json.loads(attrs["versions"])) <= set(RECORDED)
    assert attrs["model_digest"] == digest(case.name)
    assert set(json.loads(attrs["sizes"])) == set(case.model.sizes)
    assert np.isfinite([attrs["seconds"], attrs["cpu_seconds"]]).all()
    assert isinstance(json.loads(attrs["notes"]), dict)


@every_fit
def test_netcdf_round_trip(result: xr.DataTree, tmp_path: Path) -> None:
    xr.testing.assert_identical(gn.load(gn.save(result, tmp_path / "fit.nc")), result)


@parametrize(fits(), more=True)
def test_seed_decides_the_fit(
    case: Case, tree: xr.DataTree, quick: Callable[..., xr.DataTree], same: Callable[..., None]
) -> None:
    before = tree.copy(deep=True)
    once, again, other = (quick(case.model, tree, case.method, seed, **TINY) for seed in (1, 1, 2))
    same(once, again)
    xr.testing.assert_identical(tree, before)
    if case.claim != "point":
        for name in case.model.unknown.variables:
            assert not (once["posterior"][name].to_numpy() == other["posterior"][name].to_numpy()).all()


@every_fit
def test_diagnose_gives_verdicts(case: Case, result: xr.DataTree) -> None:
    before = result.copy(deep=True)
    found = gn.diagnose(case.name, result)
    assert found.verdicts
    assert (found.model, found.method) == (case.name, case.method)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["passed"] == found.passed
    xr.testing.assert_identical(result, before)


@every_fit
def test_predict_on_the_data_of_the_fit(case: Case, result: xr.DataTree, tree: xr.DataTree) -> None:
    if case.model.predict is None:
        pytest.skip("the model makes no predictions")
    before = result.copy(deep=True)
    own, given = gn.predict(result), gn.predict(result, tree)
    xr.testing.assert_identical(own["predictions"].to_dataset(), given["predictions"].to_dataset())
    assert own["predictions"].data_vars
    for values in own["predictions"].data_vars.values():
        assert np.isfinite(values).all(), values.name
    xr.testing.assert_identical(result, before)


@every_posterior
@pytest.mark.filterwarnings(HIGH_K)
def test_arviz_reads_the_fit(case: Case, result: xr.DataTree) -> None:
    table = az.summary(result, var_names=list(case.model.unknown.variables))
    sizes = json.loads(result.attrs["sizes"])
    assert len(table) == sum(int(np.prod(case.model.shape(n, sizes))) for n in case.model.unknown.variables)
    if case.model.log_likelihood is not None:
        loo = az.loo(result)
        assert np.isfinite(loo.elpd)
        assert loo.n_data_points == (sizes[case.model.unit] if case.model.unit else 1)


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.filterwarnings(HIGH_K)
def test_exact_fits_can_be_compared(name: str, fitted: Callable[..., xr.DataTree]) -> None:
    cases = [Case(name, {}, method) for method in methods(registry.get(name))]
    exact = [case.method for case in cases if case.claim == "exact" and case.engine not in ("stan", "blackjax")]
    if not exact or registry.get(name).log_likelihood is None:
        pytest.skip("no exact method with a pointwise likelihood")
    first, last = fitted(name, exact[0]), fitted(name, exact[-1], seed=1 if len(exact) > 1 else 2)
    table = az.compare({"first": first, "last": last})
    assert set(table.index) == {"first", "last"}
    assert np.isfinite(table["elpd"].astype(float)).all()
