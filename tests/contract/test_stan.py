"""Every Stan program against its declaration and against the PyMC density."""

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from genarium import InputError, registry
from genarium.cli import main
from genarium.data import check
from genarium.declaration import Array, Arrays, Model, Problem
from genarium.engines import compiled as densities
from genarium.engines import stan
from genarium.engines.cmdstan import check_program, find
from genarium.engines.cmdstan.providers import stanc
from genarium.methods import STAN
from genarium.registry import program
from genarium.supports import simplex, zero_sum
from genarium.tree import load, save
from genarium.verbs.fit import fit
from genarium.verbs.simulate import simulate

POINTS = 20


def variants() -> Iterator[Model]:
    for name in registry.names():
        model = registry.get(name)
        for values in product(*model.options.values()):
            chosen = {o: v for (o, have), v in zip(model.options.items(), values, strict=True) if v != have[0]}
            yield model.variant(**chosen) if chosen else model


PROGRAMS = [model for model in variants() if program(model) is not None]
IDS = ["-".join([model.name, *model.chosen.values()]) for model in PROGRAMS]
each_program = pytest.mark.parametrize("model", PROGRAMS, ids=IDS)


def compiled_programs() -> Iterator[Any]:
    """Every program; those that only variants use are left out of the default run: they compile for minutes."""
    for model, name in zip(PROGRAMS, IDS, strict=True):
        late = program(model) != program(registry.get(model.name))
        yield pytest.param(model, marks=[pytest.mark.slow] * late, id=name)


def small(model: Model, seed: int = 3) -> tuple[xr.DataTree, Problem]:
    tree = simulate(model, seed, **({model.unit: 40} if model.unit else {}))
    return tree, check(model, tree)


def info(program: Path) -> Any:
    asked = [str(stanc()), "--info", f"--include-paths={program.parent}", str(program)]
    return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


@pytest.mark.stan
@each_program
def test_program_declares_what_the_model_declares(model: Model) -> None:
    source = program(model)
    assert source is not None
    told = info(source)
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


@pytest.mark.stan
@each_program
def test_program_is_free_of_pedantic_warnings(model: Model) -> None:
    source = program(model)
    assert source is not None
    # our hyperparameters are data, and stanc cannot see a prior through them: its message says so itself
    by_design = "the prior(s) depend on data variables"
    assert [warning for warning in check_program(source) if by_design not in warning] == []


def points(model: Model, problem: Problem) -> list[dict[str, Array]]:
    rng = np.random.default_rng(11)
    return [
        {
            name: var.support.sample(rng, model.shape(name, problem.sizes))
            for name, var in model.unknown.variables.items()
        }
        for _ in range(POINTS)
    ]


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


@pytest.mark.stan
@pytest.mark.parametrize("model", list(compiled_programs()))
def test_density_is_that_of_pymc_up_to_one_constant(model: Model) -> None:
    """Values at random points, and the gradient along a random direction through each of them."""
    _, problem = small(model)
    compiled = densities.Compiled(problem, mode="FAST_COMPILE")
    at = points(model, problem)
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

    # Stan's own gradient, element by element: both unconstrain by the same map, simplices aside
    pieces = slices(model, problem)
    for gradient, (_, expected) in zip(gradients, by_pymc, strict=False):
        names = np.array([re.sub(r"(_[a-z]+__)?(\[.*)?$", "", name) for name in compiled.names])
        for name, (low_, high_) in pieces.items():
            if model.unknown.variables[name].support in (simplex, zero_sum):  # their bases may differ
                continue
            shape = model.shape(name, problem.sizes)
            mine = gradient[low_:high_]
            if len(shape) >= 2:  # matrices, and arrays of them, are stored matrix by matrix, column by column
                mine = mine.reshape(*shape[:-2], shape[-1], shape[-2]).swapaxes(-1, -2).ravel()
            np.testing.assert_allclose(mine, expected[names == name], rtol=1e-7, atol=1e-7 * np.abs(expected).max())


def slices(model: Model, problem: Problem) -> dict[str, tuple[int, int]]:
    """Where each variable stands in Stan's unconstrained vector (matrices column by column)."""
    source = program(model)
    assert source is not None
    out, low = {}, 0
    for name in info(source)["parameters"]:
        shape = model.shape(name, problem.sizes)
        size = int(np.prod(shape))
        if model.unknown.variables[name].support in (simplex, zero_sum):
            size -= size // shape[-1]
        out[name] = (low, low + size)
        low += size
    return out


@pytest.mark.stan
@pytest.mark.parametrize("model", [m for m in PROGRAMS if not m.chosen], ids=lambda model: model.name)
def test_nuts_of_both_engines_agree(model: Model) -> None:
    """Means of the label-invariant quantities and of the log density, within Monte-Carlo error."""
    from arviz_stats.base import array_stats

    tree, problem = small(model)
    stats: list[dict[str, tuple[float, float]]] = []
    for method in ("nuts", "stan"):
        fitted = fit(model, tree, method, seed=4, draws=1000, tune=500, chains=2)
        posterior = {name: value.to_numpy() for name, value in fitted["posterior"].data_vars.items()}
        draws: dict[str, Array] = {"lp": fitted["sample_stats"]["lp"].to_numpy()}
        if model.test_quantities is not None:
            rows = [
                problem.call(model.test_quantities, **{str(n): v[c, s] for n, v in posterior.items()})
                for c in range(2)
                for s in range(1000)
            ]
            for name in rows[0]:
                stacked = np.stack([np.ravel(row[name]) for row in rows])
                draws |= {f"{name}[{i}]": column.reshape(2, 1000) for i, column in enumerate(stacked.T)}
        stats.append({})
        for name, value in draws.items():
            ess = float(array_stats.ess(value, chain_axis=0, draw_axis=1, method="mean"))
            stats[-1][name] = (float(value.mean()), float(value.std() / np.sqrt(ess)))
    z = [(stats[0][n][0] - stats[1][n][0]) / np.hypot(stats[0][n][1], stats[1][n][1]) for n in stats[0]]
    assert np.abs(z).max() < 4


@pytest.mark.stan
@pytest.mark.parametrize("model", [m for m in PROGRAMS if not m.chosen], ids=lambda model: model.name)
@pytest.mark.parametrize("method", list(STAN))
def test_methods_return_the_schema_of_every_other_engine(model: Model, method: str) -> None:
    if method in model.unsupported:
        pytest.skip(model.unsupported[method])
    tree, problem = small(model)
    claim = STAN[method].claim
    few = {"draws": 100, "tune": 100, "chains": 2} if method == "stan" else {} if claim == "point" else {"draws": 100}
    fitted = fit(model, tree, method, seed=4, **few)
    assert fitted.attrs["engine"] == "stan"
    assert fitted.attrs["claim"] == claim
    if claim == "point":
        assert "posterior" not in fitted
        for name in model.unknown.variables:
            assert fitted["point"][name].shape == model.shape(name, problem.sizes)
        return
    lead = (2, 100) if method == "stan" else (1, 100)
    for name, var in model.unknown.variables.items():
        draws = fitted["posterior"][name]
        assert draws.dims == ("chain", "draw", *var.dims)
        assert draws.shape == (*lead, *model.shape(name, problem.sizes))
        assert not var.support.bad(draws.to_numpy(), problem.sizes).any()
    unknown = {name: fitted["posterior"][name].to_numpy()[0, 7] for name in model.unknown.variables}
    observed = next(iter(model.observed.variables))
    pointwise = fitted["log_likelihood"][observed].to_numpy()[0, 7]
    assert model.log_likelihood is not None
    np.testing.assert_allclose(pointwise, problem.call(model.log_likelihood, **unknown), rtol=1e-9)
    replicas = fitted["posterior_predictive"][observed]
    assert not model.observed.variables[observed].support.bad(replicas.to_numpy(), problem.sizes).any()
    if claim == "approximate":
        assert np.isfinite(fitted["sample_stats"]["log_ratio"]).all()


@pytest.mark.stan
@pytest.mark.parametrize("model", [m for m in PROGRAMS if not m.chosen], ids=lambda model: model.name)
def test_bad_data_are_refused_before_stan_sees_them(model: Model) -> None:
    tree, _ = small(model)
    name, var = next(iter(model.observed.variables.items()))
    broken = tree[name if name in tree else "observed_data"].to_dataset()[name].astype(float)
    broken[(0,) * len(var.dims)] = np.nan
    with pytest.raises(InputError, match=rf"{model.name}: observed variable '{name}'.*= nan, but every value must be"):
        fit(model, tree, "stan", 0, **{name: broken})


@pytest.mark.stan
def test_a_folder_of_cmdstan_takes_the_same_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The toolchain's folder stands in for a CmdStan that $CMDSTAN names, and for one named by an option."""
    model = min(PROGRAMS, key=lambda model: program(model).stat().st_size)  # type: ignore[union-attr]
    tree, _ = small(model)
    save(tree, tmp_path / "data.nc")
    folder = str(find().path)
    few = ["--option", "draws=50", "--option", "tune=50", "--option", "chains=1", "--seed", "3"]
    base = ["fit", model.name, str(tmp_path / "data.nc"), "--method", "stan", *few]
    assert main([*base, "-o", str(tmp_path / "wheel.nc")]) == 0
    monkeypatch.setenv("CMDSTAN", folder)
    assert main([*base, "-o", str(tmp_path / "environment.nc")]) == 0
    monkeypatch.delenv("CMDSTAN")
    assert main([*base, "--option", f"cmdstan={folder}", "-o", str(tmp_path / "option.nc")]) == 0
    first = load(tmp_path / "wheel.nc")
    for other in ("environment", "option"):
        xr.testing.assert_equal(first["posterior"], load(tmp_path / f"{other}.nc")["posterior"])
    monkeypatch.setenv("CMDSTAN", str(tmp_path / "nowhere"))
    assert main([*base, "-o", str(tmp_path / "none.nc")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.stan
def test_status_says_what_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stan", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["selected"]["version"] == find().version
    assert main(["stan", "status"]) == 0
    assert find().version in capsys.readouterr().out
