"""What tests share: the example model of toy.py, and the small simulations and fits of the contract."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from genarium.data import check
from genarium.declaration import Model
from genarium.testing.fixtures import fitted, numpy_density, quick, same, simulated
from genarium.verbs.simulate import simulate

# Where Python is told to keep no bytecode, every process that a test starts would compile all packages anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Two workers share the cores: threads of linear algebra would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__all__ = ["fitted", "numpy_density", "quick", "same", "simulated"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file on one worker (``--dist loadgroup``): it shares fits. With ``--model``, run that model's files."""
    here, models = Path(__file__).parent, config.getoption("--model")
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    if models:
        stems = tuple(f"test_{name}" for name in models)
        chosen = [item for item in items if not item.path.is_relative_to(here) or item.path.stem.startswith(stems)]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


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
