"""Functions of a PyMC model's graph: one that draws, and one that takes many points at once."""

from functools import cached_property
from typing import Any

import numpy as np

from genarium.declaration import Array


class Forward:
    """A function that draws random variables, by a seed.

    Parameters
    ----------
    inputs, outputs : list of pytensor variables
    """

    def __init__(self, inputs: list[Any], outputs: list[Any]) -> None:
        from pymc import pytensorf

        self._generators = list(pytensorf.collect_default_updates(outputs, inputs=inputs))
        self._function = pytensorf.compile(inputs, outputs, mode="FAST_COMPILE", on_unused_input="ignore")
        self._reseed = pytensorf.reseed_rngs

    def __call__(self, seed: int, *values: Array) -> list[Array]:
        """Draw the outputs, given values of the inputs."""
        self._reseed(self._generators, seed)
        return [np.asarray(value) for value in self._function(*values)]


class Batched:
    """A function of one point, or of many along a leading dim.

    Parameters
    ----------
    inputs, data, outputs : list of pytensor variables
        What varies between draws, what does not, and what is wanted.
    """

    def __init__(self, inputs: list[Any], data: list[Any], outputs: list[Any]) -> None:
        self.inputs, self.data, self.outputs = inputs, data, outputs

    @cached_property
    def _one(self) -> Any:
        import pytensor

        return pytensor.function(
            [*self.inputs, *self.data], self.outputs, mode="FAST_COMPILE", on_unused_input="ignore"
        )

    @cached_property
    def _many(self) -> Any:
        """The function of all points at once; None where an operation does not take a leading dim."""
        import pytensor
        import pytensor.tensor as pt
        from pytensor.graph.replace import vectorize_graph

        stacked = [pt.tensor(shape=(None, *v.type.shape), dtype=v.dtype) for v in self.inputs]
        lead = stacked[0].shape[0]
        try:
            found = vectorize_graph(self.outputs, replace=dict(zip(self.inputs, stacked, strict=True)))
        except (NotImplementedError, TypeError, ValueError):
            return None
        same = [
            pt.broadcast_to(new, (lead, *new.shape)) if new.ndim == old.ndim else new
            for new, old in zip(found, self.outputs, strict=True)
        ]
        return pytensor.function([*stacked, *self.data], same, mode="FAST_COMPILE", on_unused_input="ignore")

    def __call__(self, values: list[Array], data: list[Array]) -> list[Array]:
        """Compute the outputs."""
        if values[0].ndim == self.inputs[0].ndim:
            return [np.asarray(value) for value in self._one(*values, *data)]
        if self._many is not None:
            return [np.asarray(value) for value in self._many(*values, *data)]
        found = [self._one(*row, *data) for row in zip(*values, strict=True)]
        return [np.stack(column) for column in zip(*found, strict=True)]
