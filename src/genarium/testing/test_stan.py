"""Every Stan program against its declaration and against the PyMC density."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from genarium.data import check
from genarium.declaration import Array, Arrays, Model, Problem
from genarium.engines import stan
from genarium.engines.cmdstan import check_program, declared
from genarium.errors import InputError
from genarium.evaluate import at_draws
from genarium.registry import program
from genarium.supports import simplex, zero_sum
from genarium.testing.cases import Case, compiled_programs, each, main_programs, programs, stan_fits
from genarium.testing.fixtures import Reading
from genarium.verbs.fit import fit

POINTS = 20

pytestmark = pytest.mark.stan


def source(model: Model) -> Path:
    """The model's Stan program."""
    path = program(model)
    assert path is not None
    return path


@each(programs)
def test_program_declares_what_the_model_declares(case: Case) -> None:
    model = case.model
    told = declared(source(model))
    given = model.variables("known", "observed")
    expected = {stan.size_name(dim, given): ("int", 0) for dim in model.sizes}
    for name, var in given.items():
        expected[stan.identifier(name)] = ("int" if var.support.integer else "real", len(var.dims))
    assert {name: (entry["type"], entry["dimensions"]) for name, entry in told["inputs"].items()} == expected
    unknown = {name: ("real", len(var.dims)) for name, var in model.unknown.variables.items()}
    assert {name: (entry["type"], entry["dimensions"]) for name, entry in told["parameters"].items()} == unknown
    generated = told["generated quantities"]
    assert generated["log_lik"]["dimensions"] == (1 if model.unit else 0)
    for name, var in model.observed.variables.items():
        assert generated[f"{name}_rep"]["dimensions"] == len(var.dims)


@each(programs)
def test_program_is_free_of_pedantic_warnings(case: Case) -> None:
    # our hyperparameters are data, and stanc cannot see a prior through them: its message says so itself
    by_design = "the prior(s) depend on data variables"
    assert [warning for warning in check_program(source(case.model)) if by_design not in warning] == []


def points(reading: Reading) -> list[dict[str, Array]]:
    """Random values of the unknown variables, whatever the data, where the density is positive."""
    rng, model = np.random.default_rng(11), reading.problem.model
    found: list[dict[str, Array]] = []
    for _ in range(100 * POINTS):
        point = {
            name: var.support.sample(rng, model.shape(name, reading.problem.sizes))
            for name, var in model.unknown.variables.items()
        }
        with np.errstate(invalid="ignore"):  # beyond the edge of a domain, of two variables together
            inside = np.isfinite(reading.density.log_density(reading.density.unconstrained(point))[0])
        found += [point] if inside else []
        if len(found) == POINTS:
            return found
    raise AssertionError("the density is hardly ever positive at values inside of the supports")


def directions(model: Model, point: Arrays, rng: np.random.Generator) -> dict[str, Array]:
    """A direction in which every variable stays inside its support for a while."""
    out = {}
    for name, var in model.unknown.variables.items():
        step = np.asarray(rng.normal(size=np.shape(point[name]))) * (point[name] if var.support.name != "real" else 1)
        if var.support.name == "simplex":
            step = step - point[name] * step.sum(-1, keepdims=True)  # the sum stays one
        elif var.support is zero_sum:
            step = step - step.mean(-1, keepdims=True)  # the sum stays zero
        out[name] = step
    return out


@each(compiled_programs)
def test_density_is_that_of_pymc_up_to_one_constant(case: Case, reading: Reading) -> None:
    """Values at random points, and the gradient along a random direction through each of them."""
    model, problem, compiled = case.model, reading.problem, reading.density
    at = points(reading)
    by_pymc = [compiled.log_density(compiled.unconstrained(point)) for point in at]
    theirs = np.array([value for value, _ in by_pymc])
    rng, h = np.random.default_rng(12), 1e-5
    ways = [directions(model, point, rng) for point in at]
    moved = [
        {name: point[name] + sign * h * way[name] for name in point}
        for point, way in zip(at, ways, strict=True)
        for sign in (-1, 1)
    ]
    values, gradients = stan.log_density(problem, [*at, *moved])
    ours, sides = values[:POINTS], values[POINTS:].reshape(POINTS, 2)
    difference = ours - theirs
    assert np.ptp(difference) < 1e-8 * np.abs(theirs).max()

    slopes = (sides[:, 1] - sides[:, 0]) / (2 * h)
    for point, way, slope, (_, gradient) in zip(at, ways, slopes, by_pymc, strict=True):
        low, high = (
            compiled.unconstrained({name: point[name] + sign * h * way[name] for name in point}) for sign in (-1, 1)
        )
        along = gradient @ (high - low) / (2 * h)
        assert slope == pytest.approx(along, rel=1e-5, abs=1e-3)

    # Stan's own gradient, element by element: both unconstrain by the same map, but for simplices (other bases)
    # and variables whose bounds name each other, where the maps may differ
    pieces, apart = slices(model, problem), tied(source(model), model.unknown.variables)
    for gradient, (_, expected) in zip(gradients, by_pymc, strict=False):
        names = np.array([re.sub(r"(_[a-z]+__)?(\[.*)?$", "", name) for name in compiled.names])
        for name, (low_, high_) in pieces.items():
            if name in apart or model.unknown.variables[name].support in (simplex, zero_sum):
                continue
            shape = model.shape(name, problem.sizes)
            mine = gradient[low_:high_]
            if len(shape) >= 2:  # matrices, and arrays of them, are stored matrix by matrix, column by column
                mine = mine.reshape(*shape[:-2], shape[-1], shape[-2]).swapaxes(-1, -2).ravel()
            np.testing.assert_allclose(mine, expected[names == name], rtol=1e-7, atol=1e-7 * np.abs(expected).max())


def tied(program: Path, names: Iterable[str]) -> set[str]:
    """Return the parameters whose declared bounds name another one, and those that they name."""
    block = re.search(r"^parameters\s*\{(.*?)^\}", program.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = set[str]()
    for bounds, own in re.findall(r"<([^;]*)>[^;<>]*?\b(\w+)\s*;", block[1] if block else ""):
        named = set(re.findall(r"\w+", bounds)) & set(names)
        found |= {own, *named} if named else set()
    return found


def test_only_bounds_that_name_parameters_set_some_apart(tmp_path: Path) -> None:
    program = tmp_path / "x.stan"
    program.write_text("parameters {\n  real a;\n  real<lower=0> s;\n  real<upper=inv(abs(a))> b;\n}\nmodel { }\n")
    assert tied(program, ["a", "b", "s"]) == {"a", "b"}


def slices(model: Model, problem: Problem) -> dict[str, tuple[int, int]]:
    """Where each variable stands in Stan's unconstrained vector (matrices column by column)."""
    out, low = {}, 0
    for name in declared(source(model))["parameters"]:
        shape = model.shape(name, problem.sizes)
        size = int(np.prod(shape))
        if model.unknown.variables[name].support in (simplex, zero_sum):
            size -= size // shape[-1]
        out[name] = (low, low + size)
        low += size
    return out


@each(main_programs, more=True)
def test_nuts_of_both_engines_agree(case: Case, tree: xr.DataTree) -> None:
    """Means of the label-invariant quantities and of the log density, within Monte-Carlo error."""
    from arviz_stats.base import array_stats

    model, problem = case.model, check(case.model, tree)
    stats: list[dict[str, tuple[float, float]]] = []
    for method in ("nuts", "stan"):
        fitted = fit(model, tree, method, seed=4, draws=1000, tune=500, chains=2)
        posterior = {str(n): v.to_numpy().reshape(2000, *v.shape[2:]) for n, v in fitted["posterior"].items()}
        draws: dict[str, Array] = {"lp": fitted["sample_stats"]["lp"].to_numpy()}
        if model.test_quantities is not None:
            unknown = {name: posterior[name] for name in model.unknown.variables}
            for name, values in at_draws(problem, model.test_quantities, unknown).items():
                columns = values.reshape(2000, -1).T
                draws |= {f"{name}[{i}]": column.reshape(2, 1000) for i, column in enumerate(columns)}
        stats.append({})
        for name, value in draws.items():
            ess = float(array_stats.ess(value, chain_axis=0, draw_axis=1, method="mean"))
            stats[-1][name] = (float(value.mean()), float(value.std() / np.sqrt(ess)))
    z = [(stats[0][n][0] - stats[1][n][0]) / np.hypot(stats[0][n][1], stats[1][n][1]) for n in stats[0]]
    assert np.abs(z).max() < 4


@each(stan_fits)
def test_generated_quantities_are_those_of_numpy(case: Case, result: xr.DataTree) -> None:
    model, problem = case.model, check(case.model, result)
    unknown = {name: result["posterior"][name].to_numpy()[0, 7] for name in model.unknown.variables}
    pointwise = result["log_likelihood"][next(iter(model.observed.variables))].to_numpy()[0, 7]
    assert model.log_likelihood is not None
    np.testing.assert_allclose(pointwise, problem.call(model.log_likelihood, **unknown), rtol=1e-9)
    if case.way.claim == "approximate":
        assert np.isfinite(result["sample_stats"]["log_ratio"]).all()


@each(main_programs)
def test_bad_data_are_refused_before_stan_sees_them(case: Case, tree: xr.DataTree) -> None:
    name, var = next(iter(case.model.observed.variables.items()))
    broken = tree["observed_data"][name].astype(float)
    broken[(0,) * len(var.dims)] = np.nan
    said = rf"{case.model.name}: observed variable '{name}'.*= nan, but every value must be"
    with pytest.raises(InputError, match=said):
        fit(case.model, tree, "stan", 0, **{name: broken})
