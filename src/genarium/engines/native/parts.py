"""Parts of arrays and arrays of parts: slices, gathers, increments, joins and shapes."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from genarium.engines.native import scalars
from genarium.engines.native.arrays import Translation
from genarium.engines.native.code import Unsupported, View, expressed, row_major


def subtensor(translation: Translation, node: Any) -> View:
    """Take a part by slices and numbers: nothing is copied."""
    view = translation.view(node.inputs[0])
    return _part(view, _indices(translation, node, node.inputs[1:]))


def _indices(translation: Translation, node: Any, variables: Sequence[Any]) -> list[Any]:
    """Slices of known numbers, known numbers, and variables where the op is an advanced one."""
    advanced = type(node.op).__name__.startswith("Advanced")
    found: list[Any] = []
    for entry in node.op.idx_list:
        if isinstance(entry, slice):
            parts = [
                None if e is None else _slice_part(translation, variables[e])
                for e in (entry.start, entry.stop, entry.step)
            ]
            found.append(slice(*parts))
        elif advanced:
            found.append(variables[entry])
        else:
            found.append(int(translation.known(variables[entry])))
    return found


def _slice_part(translation: Translation, variable: Any) -> int | None:
    value = translation.known(variable)
    return None if value is None else int(value)


def advanced_subtensor(translation: Translation, node: Any) -> View:
    """Take a part by arrays of indices: it is gathered where it is used."""
    return _gathered(translation, translation.view(node.inputs[0]), node, node.inputs[1:])


def _gathered(translation: Translation, view: View, node: Any, variables: Sequence[Any]) -> View:
    """Return the part of an array that arrays of indices point to."""
    indices = _indices(translation, node, variables)
    indices += [slice(None)] * (len(view.shape) - len(indices))
    arrays = [a for a, entry in enumerate(indices) if not isinstance(entry, slice)]
    if any(indices[a].type.dtype == "bool" for a in arrays) or view.gathers or view.literal:
        raise Unsupported("advanced indices by truth values, or of advanced indices")
    base = _part(view, [entry if isinstance(entry, slice) else slice(None) for entry in indices])
    common = np.broadcast_shapes(*(translation.shape(indices[a]) for a in arrays))
    adjacent = arrays == list(range(arrays[0], arrays[-1] + 1))
    first = arrays[0] if adjacent else 0
    rest = [a for a in range(len(indices)) if a not in arrays]
    before, after = [a for a in rest if adjacent and a < first], [a for a in rest if not adjacent or a > first]
    shape = (*(base.shape[a] for a in before), *common, *(base.shape[a] for a in after))
    strides = (*(base.strides[a] for a in before), *(0 for _ in common), *(base.strides[a] for a in after))
    gathers = []
    for a in arrays:
        index = translation.view(indices[a])
        order = [*("x" for _ in range(len(common) - len(index.shape))), *range(len(index.shape))]
        wide = index.transposed(order).broadcast(common)
        order = [*("x" for _ in before), *range(len(common)), *("x" for _ in after)]
        gathers.append((wide.transposed(order).broadcast(shape), base.strides[a], base.shape[a]))
    return View(base.pointer, base.dtype, shape, strides, base.offset, tuple(gathers))


def inc_subtensor(translation: Translation, node: Any) -> View:
    """Add to, or replace, a part by slices and numbers."""
    whole = _own(translation, node.inputs[0], node.outputs[0])
    indices = _indices(translation, node, node.inputs[2:])
    _put(translation, _part(whole, indices), node.inputs[1], node.op.set_instead_of_inc)
    return whole


def advanced_inc_subtensor(translation: Translation, node: Any) -> View:
    """Add to, or replace, a part by arrays of indices."""
    if getattr(node.op, "ignore_duplicates", False):
        raise Unsupported("increments without duplicates")
    whole = _own(translation, node.inputs[0], node.outputs[0])
    _put(translation, _gathered(translation, whole, node, node.inputs[2:]), node.inputs[1], node.op.set_instead_of_inc)
    return whole


def _own(translation: Translation, variable: Any, out: Any) -> View:
    """Return a variable in memory that may be written to, as an array of another's dtype."""
    found = translation.operand(variable)
    if isinstance(found, View) and found.owned and translation.uses.get(variable, 2) == 1:
        return found
    made = expressed(found)
    return translation.stored(translation.cast(made, out.type.dtype))


def _put(translation: Translation, part: View, variable: Any, replaced: bool) -> None:
    """Add a variable to a part of an array, or put it there."""
    found = translation.view(variable)
    order = [*("x" for _ in range(len(part.shape) - len(found.shape))), *range(len(found.shape))]
    made = translation.cast(expressed(found.transposed(order).broadcast(part.shape)), part.dtype)

    def compute(numbers: list[str], old: Callable[[], str]) -> str:
        new = made.compute(numbers)
        return new if replaced else scalars.OPERATIONS["Add"](translation.code, [old(), new], part.dtype)

    translation._loop(part.shape, made.leaves, part, compute)


def join(translation: Translation, node: Any) -> View:
    """Put arrays one after the other."""
    axis_given = hasattr(node.op, "axis")
    axis = int(node.op.axis if axis_given else translation.known(node.inputs[0]))
    parts = node.inputs if axis_given else node.inputs[1:]
    (out,) = node.outputs
    axis %= out.type.ndim
    whole, low = translation.code.memory(translation.shape(out), out.type.dtype), 0
    for variable in parts:
        made, shape = expressed(translation.operand(variable)), translation.shape(variable)
        starts = [low if a == axis else 0 for a in range(len(shape))]
        translation.write(translation.cast(made, out.type.dtype), whole.sliced(starts, [1] * len(shape), shape))
        low += shape[axis]
    return whole


def split(translation: Translation, node: Any) -> list[View]:
    """Take an array apart along an axis."""
    view, low, made = translation.view(node.inputs[0]), 0, []
    axis = int(node.op.axis if hasattr(node.op, "axis") else translation.known(node.inputs[1]))
    axis %= len(view.shape)
    translation.known(node.inputs[-1])
    for variable in node.outputs:
        shape = translation.shape(variable)
        starts = [low if a == axis else 0 for a in range(len(shape))]
        made.append(view.sliced(starts, [1] * len(shape), shape))
        low += shape[axis]
    return made


def make_vector(translation: Translation, node: Any) -> View:
    """Make a vector of numbers."""
    (out,) = node.outputs
    whole = translation.code.memory(translation.shape(out), out.type.dtype)
    for i, variable in enumerate(node.inputs):
        made = expressed(translation.operand(variable))
        translation.write(translation.cast(made, out.type.dtype), _part(whole, [i]))
    return whole


def alloc(translation: Translation, node: Any) -> View:
    """Repeat an array along new axes: nothing is copied."""
    for variable in node.inputs[1:]:
        translation.known(variable)
    view, shape = translation.view(node.inputs[0]), translation.shape(node.outputs[0])
    order = [*("x" for _ in range(len(shape) - len(view.shape))), *range(len(view.shape))]
    return view.transposed(order).broadcast(shape)


def reshape(translation: Translation, node: Any) -> View:
    """Give an array another shape."""
    translation.known(node.inputs[1])
    view, shape = translation.view(node.inputs[0]), translation.shape(node.outputs[0])
    if view.literal:
        return View(view.pointer, view.dtype, shape, (0,) * len(shape), literal=True)
    view = translation.flat(node.inputs[0])
    return View(view.pointer, view.dtype, shape, row_major(shape), view.offset)


def extract_diag(translation: Translation, node: Any) -> View:
    """Take a diagonal: nothing is copied."""
    view, op = translation.view(node.inputs[0]), node.op
    rest = [a for a in range(len(view.shape)) if a not in (op.axis1, op.axis2)]
    if view.gathers:
        raise Unsupported("a diagonal of advanced indices")
    start = view.strides[op.axis2] * max(op.offset, 0) - view.strides[op.axis1] * min(op.offset, 0)
    strides = (*(view.strides[a] for a in rest), view.strides[op.axis1] + view.strides[op.axis2])
    shape = translation.shape(node.outputs[0])
    return View(view.pointer, view.dtype, shape, strides, view.offset + start, literal=view.literal)


def _part(view: View, indices: Sequence[Any]) -> View:
    """Return the part of an array that slices and numbers point to."""
    starts, steps, lengths, left = [], [], [], list[int | str]()
    for axis, length in enumerate(view.shape):
        entry = indices[axis] if axis < len(indices) else slice(None)
        if isinstance(entry, slice):
            start, stop, step = entry.indices(length)
            lengths.append(len(range(start, stop, step)))
            left.append(axis)
        else:
            if not -length <= entry < length:
                raise Unsupported("an index that is out of bounds")
            start, step = entry % length, 1
            lengths.append(1)
        starts.append(start)
        steps.append(step)
    if prod(view.shape) == 0:
        starts = [0] * len(starts)
    part = view.sliced(starts, steps, tuple(lengths))
    kept = part.transposed(left)
    return View(kept.pointer, kept.dtype, kept.shape, kept.strides, kept.offset, kept.gathers, kept.literal)
