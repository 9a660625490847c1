"""What tests share: the example model of toy.py, and small simulations and fits that are made once a session."""

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from genarium import registry
from genarium.data import check
from genarium.declaration import Array, Arrays, Model, Problem, keyword_options
from genarium.fit import find_method, fit
from genarium.simulate import simulate

UNITS = 40
"""Observations in a small simulation, at most."""

QUICK = {"chains": 2, "draws": 150, "tune": 150, "restarts": 3, "iterations": 2000}
"""Options that make a method quick, where it has them."""

Simulate = Callable[..., xr.DataTree]
Fit = Callable[..., xr.DataTree]
Density = Callable[[Problem, Arrays], float]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep on one worker (``--dist loadgroup``) what shares fits: a file, or in the contract one model's part of it."""
    for item in items:
        given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        of = given.get("case", given.get("model", given.get("name"))) if item.path.parent.name == "contract" else None
        item.add_marker(pytest.mark.xdist_group(f"{item.path.name} {getattr(of, 'name', of or '')}".strip()))


@pytest.fixture(scope="session", autouse=True)
def compiled_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compiled densities in a folder of the test run's own, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENARIUM_COMPILED", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def toy() -> Model:
    """The example model, which is not in the registry."""
    model: Model = import_module("toy").MODEL
    return model


@pytest.fixture(scope="session")
def simulated() -> Simulate:
    """``simulated(name, **options)``: a small simulation of a model of the registry; made once, not to be changed."""

    @cache
    def make(name: str, **options: str) -> xr.DataTree:
        model = registry.get(name)
        small = {model.unit: min(UNITS, model.sizes[model.unit])} if model.unit else {}
        return simulate(name, seed=3, **small, **options)

    return make


@pytest.fixture(scope="session")
def fitted(simulated: Simulate) -> Fit:
    """``fitted(name, method, seed=1, **options)``: a quick fit of it; made once, not to be changed."""

    @cache
    def make(name: str, method: str, seed: int = 1, **options: str) -> xr.DataTree:
        return quick_fit(registry.get(name), simulated(name, **options), method, seed)

    return make


@pytest.fixture(scope="session")
def toy_tree(toy: Model) -> xr.DataTree:
    """A simulation of the example model; not to be changed."""
    return simulate(toy, seed=5, theta=1.5)


@pytest.fixture(scope="session")
def toy_exact(toy: Model) -> Callable[[xr.DataTree], tuple[float, float]]:
    """Mean and sd of the example model's posterior: a grid over theta, summed."""

    def moments(tree: xr.DataTree) -> tuple[float, float]:
        problem = check(toy, tree)
        theta = np.linspace(-20, 20, 400_001)
        log_density = -0.5 * (theta / problem["tau"]) ** 2
        for y in problem["y"]:
            log_density -= 0.5 * ((y - theta) / problem["sigma"]) ** 2
        weight = np.exp(log_density - log_density.max())
        weight /= weight.sum()
        mean = float(weight @ theta)
        return mean, float(np.sqrt(weight @ (theta - mean) ** 2))

    return moments


@pytest.fixture(scope="session")
def quick() -> Fit:
    """``quick(model, tree, method, seed=1, **settings)``: a fit with few draws, restarts and steps."""
    return quick_fit


def quick_fit(model: Model, tree: Any, method: str, seed: int = 1, **settings: Any) -> xr.DataTree:
    """Fit with few draws, restarts and steps; options that the method lacks are left aside."""
    if method == "nuts-jax":
        pytest.importorskip("jax", reason="needs the extra `jax`")
    have = keyword_options(find_method(model, method)[0])
    few = {name: value for name, value in {**QUICK, **settings}.items() if name in have or name not in QUICK}
    return fit(model, tree, method, seed, **few)


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
def same() -> Callable[[xr.DataTree, xr.DataTree], None]:
    """``same(a, b)``: assert that two results agree bit by bit, but for the time they took."""

    def assert_same(a: xr.DataTree, b: xr.DataTree) -> None:
        a, b = a.copy(), b.copy()
        for tree in (a, b):
            tree.attrs = {k: v for k, v in tree.attrs.items() if k not in ("seconds", "cpu_seconds", "created_at")}
        xr.testing.assert_identical(a, b)

    return assert_same
