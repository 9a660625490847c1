"""Hoisting: what a PyTensor graph computes from the data alone, taken out of it to be computed once per dataset.

A sampler evaluates the log density thousands of times on the same data; ``gammaln(x + 1)`` and the like need not be
computed anew each time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array


@dataclass(frozen=True)
class Hoisted:
    """A graph in two parts.

    Attributes
    ----------
    outputs : list of pytensor Variable
        The graph, with shared variables in place of what depends on the data alone.
    shared : list of pytensor SharedVariable
        Those shared variables, named ``hoisted_0``, ``hoisted_1`` ...
    sources : list of pytensor Variable
        Each one's value, as a graph of the data.
    compute : callable
        The values under the data that the graph's own shared variables hold now, as a list.
    """

    outputs: list[Any]
    shared: list[Any]
    sources: list[Any]
    compute: Callable[[], list[Array]]

    def values(self) -> dict[str, Array]:
        """Compute the values by name."""
        return {v.name: np.asarray(value) for v, value in zip(self.shared, self.compute(), strict=True)}


def hoist(outputs: Sequence[Any]) -> Hoisted:
    """Split a graph into what depends on its data (shared variables) alone, and the rest.

    Parameters
    ----------
    outputs : sequence of pytensor Variable

    Returns
    -------
    Hoisted
        Arrays of floating-point numbers are hoisted, if more than arithmetic or a handful of numbers went into them.
    """
    import pytensor
    from pytensor.graph.replace import clone_replace

    sources = _boundary(outputs)
    compute = pytensor.function([], sources, mode="FAST_COMPILE")
    shared = [
        pytensor.shared(np.asarray(value), name=f"hoisted_{i}", shape=source.type.shape)
        for i, (source, value) in enumerate(zip(sources, compute(), strict=True))
    ]
    replaced = clone_replace(list(outputs), replace=dict(zip(sources, shared, strict=True)))
    return Hoisted(replaced, shared, sources, compute)


def _boundary(outputs: Sequence[Any]) -> list[Any]:
    """Return the largest parts of a graph that depend on the data alone and are worth keeping."""
    from pytensor.compile.sharedvalue import SharedVariable
    from pytensor.graph.basic import Constant
    from pytensor.graph.traversal import graph_inputs, toposort

    free = set[Any]()  # what follows from constants
    known = {v for v in graph_inputs(outputs) if isinstance(v, SharedVariable)}  # what follows from data and constants
    worth = set[Any]()  # the part of it that takes computing
    found: dict[Any, None] = {}
    for node in toposort(outputs):
        inputs = [v for v in node.inputs if not (isinstance(v, Constant) or v in free)]
        if not inputs:
            free.update(node.outputs)
        elif known.issuperset(inputs):
            known.update(node.outputs)
            if worth.intersection(inputs) or not (_cheap(node.op) or _small(inputs)):
                worth.update(node.outputs)
        else:
            found |= dict.fromkeys(v for v in inputs if v in worth)
    found |= dict.fromkeys(v for v in outputs if v in worth)
    return [v for v in found if getattr(v.type, "dtype", "").startswith("float")]


def _cheap(op: Any) -> bool:
    """Whether reading the result from memory costs as much as the operation."""
    from pytensor.scalar import basic
    from pytensor.tensor.basic import Alloc
    from pytensor.tensor.elemwise import DimShuffle, Elemwise

    arithmetic = (basic.Add, basic.Sub, basic.Mul, basic.TrueDiv, basic.Neg, basic.Cast, basic.Switch)
    if isinstance(op, Elemwise):
        return isinstance(op.scalar_op, (*arithmetic, basic.LogicalComparison, basic.BinaryBitOp))
    return isinstance(op, Alloc | DimShuffle) or bool(getattr(op, "view_map", {}))


def _small(inputs: Iterable[Any]) -> bool:
    """Whether the shapes are known to be of a few elements."""
    return all(None not in v.type.shape and np.prod(v.type.shape) <= 16 for v in inputs)
