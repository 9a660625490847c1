"""The zoo: one folder a model. Called as a function, ``genarium.models()``, it returns the table of models."""

import sys
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genarium.registry import Entry


class _Zoo(types.ModuleType):
    def __call__(self) -> "list[Entry]":
        """Return name, title and methods of every model, sorted by name."""
        from genarium.registry import table

        return table()


sys.modules[__name__].__class__ = _Zoo
