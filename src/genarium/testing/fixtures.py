"""Small simulations and fits of a model, each made once a session, and what tests compare them by."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr

from genarium import registry
from genarium.data import check
from genarium.declaration import Array, Arrays, Model, Problem
from genarium.engines.compiled import Compiled
from genarium.methods import find_method
from genarium.testing.cases import Case, variant
from genarium.tree import arrays, save
from genarium.verbs.fit import fit
from genarium.verbs.simulate import simulate

UNITS = 40
"""Observations in a small simulation, at most."""

QUICK = {
    "chains": 2,
    "draws": 100,
    "tune": 100,
    "restarts": 2,
    "iterations": 300,
    "max_iterations": 300,
    "max_treedepth": 6,
}
"""Options that make a method quick, where it has them."""

SHORT: dict[str, dict[str, Any]] = {
    "advi": {"window": 100},
    "stan": {"draws": 40, "tune": 50, "max_treedepth": 4},
    "statistic": {"iterations": 20, "backend": "python"},
    "vi": {"sweeps": 400},
}
"""Fewer steps still where each costs much."""

OPTIONS = {*QUICK, *(name for options in SHORT.values() for name in options)}
"""Options that some methods have, and others do not."""

Simulate = Callable[..., xr.DataTree]
Fit = Callable[..., xr.DataTree]
Same = Callable[[xr.DataTree, xr.DataTree], None]
Density = Callable[[Problem, Arrays], float]


class Reading(NamedTuple):
    """A problem, its compiled PyMC density, and unconstrained points around the truth."""

    problem: Problem
    density: Compiled
    points: list[Any]


@cache
def small_simulation(name: str, options: tuple[tuple[str, str], ...] = ()) -> xr.DataTree:
    """Simulate few observations."""
    model = variant(name, options)
    small = {model.unit: min(UNITS, model.sizes[model.unit])} if model.unit else {}
    return simulate(model, seed=3, **small)


@cache
def small_fit(name: str, method: str, seed: int = 1, options: tuple[tuple[str, str], ...] = ()) -> xr.DataTree:
    """Fit the small simulation quickly."""
    return quick_fit(variant(name, options), small_simulation(name, options), method, seed)


def quick_fit(model: Model, tree: Any, method: str, seed: int = 1, **settings: Any) -> xr.DataTree:
    """Fit with few draws, restarts and steps; options that the method does not have are left aside."""
    if method == "nuts-jax":
        pytest.importorskip("jax", reason="needs the extra `jax`")
    have = find_method(model, method).options
    told = {**QUICK, **SHORT.get(method, {}), **settings}
    few = {name: value for name, value in told.items() if name in have or name not in OPTIONS}
    return fit(model, tree, method, seed, **few)


@cache
def read_density(name: str, options: tuple[tuple[str, str], ...]) -> Reading:
    """Compile the PyMC density of the small simulation, and find points where it is positive."""
    model, tree = variant(name, options), small_simulation(name, options)
    problem = check(model, tree)
    density = Compiled(problem, interpreted=True)
    centre = density.unconstrained(arrays(tree["truth"].to_dataset(), model.unknown.variables))
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


@pytest.fixture(scope="session")
def simulated() -> Simulate:
    """``simulated(name, **options)``: a small simulation of a model; made once, not to be changed."""
    return lambda name, **options: small_simulation(name, tuple(options.items()))


@pytest.fixture(scope="session")
def fitted() -> Fit:
    """``fitted(name, method, seed=1, **options)``: a quick fit of it; made once, not to be changed."""
    return lambda name, method, seed=1, **options: small_fit(name, method, seed, tuple(options.items()))


@pytest.fixture(scope="session")
def quick() -> Fit:
    """``quick(model, tree, method, seed=1, **settings)``: a fit with few draws, restarts and steps."""
    return quick_fit


@pytest.fixture
def tree(case: Case) -> xr.DataTree:
    """Return the small simulation of a case."""
    return small_simulation(case.name, case.options)


@pytest.fixture
def result(case: Case) -> xr.DataTree:
    """Return the quick fit of a case."""
    return small_fit(case.name, case.method, options=case.options)


@pytest.fixture
def saved(case: Case, result: xr.DataTree, kept: Path) -> Path:
    """Return the file of the quick fit of a case; written once, not to be changed."""
    path = kept / f"{case}.nc"
    return path if path.exists() else save(result, path)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of files that are written once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def reading(case: Case) -> Reading:
    """Return the compiled PyMC density of a case."""
    if case.model.density is None:
        pytest.skip("the model has no PyMC density")
    return read_density(case.name, case.options)


@pytest.fixture(scope="session")
def numpy_density() -> Density:
    """``numpy_density(problem, unknown)``: joint log density by the model's NumPy functions."""

    def log_density(problem: Problem, unknown: Arrays) -> float:
        model = problem.model
        assert model.log_likelihood is not None
        assert model.log_prior is not None
        pointwise: Array = problem.call(model.log_likelihood, **unknown)
        return float(pointwise.sum() + problem.call(model.log_prior, **unknown))

    return log_density


@pytest.fixture(scope="session")
def same() -> Same:
    """``same(a, b)``: assert that two results agree bit by bit, but for the time they took."""

    def assert_same(a: xr.DataTree, b: xr.DataTree) -> None:
        a, b = a.copy(), b.copy()
        for tree in (a, b):
            tree.attrs = {k: v for k, v in tree.attrs.items() if k not in ("seconds", "cpu_seconds", "created_at")}
        xr.testing.assert_identical(a, b)

    return assert_same


def names(config: pytest.Config) -> list[str]:
    """Return the models under test: those of ``--model``, else all that are installed."""
    return config.getoption("--model") or registry.names()
