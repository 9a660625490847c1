"""Narrowing: where data are the same along a dim, what follows from them elementwise is computed once along it.

A known variable that was left at its default (size factors of one, say) is one number in the shape of an array; without
this, logarithms and exponentials would be taken of the same numbers for each cell, thousands of times.
"""

from collections.abc import Collection, Sequence
from typing import Any


def narrowed(outputs: Sequence[Any], uniform: Collection[Any]) -> list[Any]:
    """Rewrite a graph for data that hold one number each.

    Parameters
    ----------
    outputs : sequence of pytensor Variable
    uniform : collection of pytensor Variable
        Inputs of the graph, each the same number in every element, and never empty.

    Returns
    -------
    list of pytensor Variable
        The same values. Elementwise operations run along an axis of length one where all that goes into them is the
        same along it; other operations are given what they had.
    """
    import pytensor.tensor as pt
    from pytensor.graph.traversal import toposort
    from pytensor.tensor.elemwise import DimShuffle, Elemwise

    short: dict[Any, Any] = {}  # a variable's first elements along the axes that it is the same along
    for variable in uniform:
        first = variable[(slice(0, 1),) * variable.ndim]
        short[variable] = pt.specify_broadcastable(first, *range(variable.ndim))
    rebuilt: dict[Any, Any] = {}
    for node in toposort(outputs):
        if (
            isinstance(node.op, DimShuffle | Elemwise)
            and len(node.outputs) == 1
            and not short.keys().isdisjoint(node.inputs)
        ):
            (out,) = node.outputs
            made = node.op.make_node(*(short.get(v, rebuilt.get(v, v)) for v in node.inputs)).outputs[0]
            if any(new == 1 != old for new, old in zip(made.type.shape, out.type.shape, strict=True)):
                short[out] = made
            else:
                rebuilt[out] = made
                continue
        full = [rebuilt.get(v, v) for v in node.inputs]
        if full != list(node.inputs):
            rebuilt.update(zip(node.outputs, node.clone_with_new_inputs(full, strict=False).outputs, strict=True))
    return [rebuilt.get(v, v) for v in outputs]
