"""Home: where the files of a model lie, told by the module that it was declared in."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from genarium.declaration import Model

BUILT_IN = "genarium.models"
"""The package of the models that come with this one; their Stan programs lie together, beside it."""


@dataclass(frozen=True)
class Home:
    """The home of a model.

    Attributes
    ----------
    name : str
        The model's name.
    module : str
        The module that declares it, which need not exist: a declaration may have been made anywhere.
    """

    name: str
    module: str

    @classmethod
    def of(cls, model: str | Model) -> "Home":
        """Return the home of a model; a name is that of a built-in one."""
        return cls(model, f"{BUILT_IN}.{model}") if isinstance(model, str) else cls(model.name, model.module)

    @property
    def built_in(self) -> bool:
        """Whether the model comes with this package."""
        return self.module == f"{BUILT_IN}.{self.name}"

    @property
    def loaded(self) -> ModuleType | None:
        """The module, if it was imported and declares a model; one of a short name must declare it as ``MODEL``."""
        found = sys.modules.get(self.module)
        told = getattr(getattr(found, "MODEL", None), "name", None)
        return found if "." in self.module or told == self.name else None

    @property
    def folder(self) -> Path | None:
        """The folder of its files."""
        if self.built_in and (own := Path(str(files("genarium") / "models" / self.name))).is_dir():
            return own
        file = getattr(self.loaded, "__file__", None)
        return Path(file).parent if file and Path(file).is_file() else None

    @property
    def figures(self) -> Callable[..., Any] | None:
        """Its function that makes figures for the report, in a module ``figures`` beside the declaration."""
        return self._function("figures")

    @property
    def found(self) -> Callable[..., Any] | None:
        """Its function that says what a fit found, in a module ``found`` beside the declaration."""
        return self._function("found")

    def _function(self, name: str) -> Callable[..., Any] | None:
        """Return the function of a module beside the declaration that has the module's name; None without a module."""
        module = f"{self.module}.{name}"
        if self.folder is None or not self.is_package or importlib.util.find_spec(module) is None:
            return None
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return found

    @property
    def is_package(self) -> bool:
        """Whether the folder is the model's own; else the model is a file in it."""
        return self.built_in or hasattr(self.loaded, "__path__")

    def programs(self) -> dict[str, Path]:
        """Return its Stan programs, and the files that these include, by their place in the folder.

        Returns
        -------
        dict of str to Path
            ``<name>.stan``, ``<name>-<value>.stan`` and ``<name>.stanfunctions``, beside the declaration or in the
            folder ``stan`` there; those of a built-in model in the package's folder ``stan``.
        """
        own = re.compile(rf"{re.escape(self.name)}(-[^.]*)?\.(stan|stanfunctions)")
        return {
            f"{place}{path.name}": path
            for place, where in self.shelves().items()
            if where.is_dir()
            for path in sorted(where.iterdir())
            if own.fullmatch(path.name)
        }

    def shelves(self) -> dict[str, Path]:
        """Return the folders where its Stan programs are looked for, in turn, by their place in the model's folder."""
        if self.folder is None:
            return {}
        return (
            {"": Path(str(files("genarium") / "stan"))}
            if self.built_in
            else {"": self.folder, "stan/": self.folder / "stan"}
        )

    def sources(self) -> dict[str, Path]:
        """Return all that the model is made of: its Python files, without the packages in its folder, and programs."""
        folder = self.folder
        if folder is None:
            return {}
        python = folder.glob("*.py") if self.is_package else [Path(str(getattr(self.loaded, "__file__", "")))]
        return {path.name: path for path in python} | self.programs()


def program(model: Model) -> Path | None:
    """Return the Stan program of a model's variant, or None where there is none.

    The default variant is ``<name>.stan``; another one appends its option values, ``<name>-<value>.stan``. A program
    beside the declaration goes before one in the folder ``stan`` there.
    """
    if model.stan:
        return Path(model.stan)
    values = [value for name, value in model.chosen.items() if value != model.options[name][0]]
    name = "-".join([model.name, *values]) + ".stan"
    places = (shelf / name for shelf in Home.of(model).shelves().values())
    return next((path for path in places if path.is_file()), None)
