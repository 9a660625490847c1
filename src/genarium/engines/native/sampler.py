"""Kept densities as models of nutpie's."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from genarium.declaration import Array


def model_of(density: Any) -> Any:
    """Return a model of nutpie's that samples a kept density.

    Parameters
    ----------
    density : Kept
    """
    import pandas as pd

    lib, sample = _nutpie()
    about, loaded = density.program.about, density.program.loaded

    base: Any = sample.CompiledModel

    @dataclass(frozen=True)
    class Model(base):  # type: ignore[misc]
        initial_point_func: Callable[[int], Array] | None = None

        @property
        def n_dim(self) -> int:
            return int(about["n"])

        @property
        def shapes(self) -> dict[str, tuple[int, ...]]:
            return {name: tuple(shape) for name, shape in about["drawn"]}

        @property
        def coords(self) -> dict[str, Any]:
            return {"unconstrained_parameter": pd.Index(about["names"])}

        def _make_sampler(self, settings: Any, init_mean: Any, cores: int, *more: Any) -> Any:
            return lib.PySampler.from_pymc(settings, cores, self._make_model(init_mean), *more)

        def _make_model(self, init_mean: Any) -> Any:
            names, shapes = list(self.shapes), [list(shape) for shape in self.shapes.values()]
            size, table = sum(int(np.prod(s)) for s in shapes), density.table.ctypes.data
            logp = lib.LogpFunc(loaded.address("density"), table, density)
            expand = lib.ExpandFunc(self.n_dim, size, loaded.address("expand"), table, density)
            dims = {name: len(labels) for name, labels in self.coords.items()}
            variables = lib.PyVariable.new_variables(names, ["float64"] * len(names), shapes, dims, {})
            first = self.initial_point_func
            return lib.PyMcModel(logp, expand, variables, self.n_dim, dims, self.coords, first, _no_adapter)

    return Model(dims={})


def _no_adapter(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("a kept density has no transform to adapt")


class _Later(ModuleType):
    """A module that is imported once something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def _nutpie() -> tuple[Any, Any]:
    """Import nutpie without ArviZ, which takes four seconds, for what nutpie does not do here."""
    if "nutpie" not in sys.modules and "arviz" not in sys.modules:
        later = sys.modules["arviz"] = _Later("arviz")
        try:
            import_module("nutpie")
        finally:
            if sys.modules.get("arviz") is later:
                del sys.modules["arviz"]
    return import_module("nutpie._lib"), import_module("nutpie.sample")
