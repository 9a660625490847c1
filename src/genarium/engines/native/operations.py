"""Which operations of PyTensor have code here, and those that work element by element or along axes."""

from collections.abc import Callable
from typing import Any

from genarium.engines.native import linear, parts, scalars
from genarium.engines.native.arrays import MOST, Translation
from genarium.engines.native.code import Operand, Unsupported, View, expressed, shared

REDUCTIONS = ("Add", "Mul", "Maximum", "Minimum", "ScalarMaximum", "ScalarMinimum", "OR", "AND")


def elemwise(translation: Translation, node: Any) -> Operand:
    """Apply a scalar operation element by element: at once, or where its one user asks for the elements."""
    (out,) = node.outputs
    shape, dtype = translation.shape(out), out.type.dtype
    made = translation.mapped(
        lambda numbers, dtypes: scalars.apply(translation.code, node.op.scalar_op, numbers, dtypes, dtype),
        [translation.fitting(v, shape) for v in node.inputs],
        shape,
        dtype,
    )
    return made if translation.uses.get(out, 2) == 1 and made.operations < MOST else translation.stored(made)


def dimshuffle(translation: Translation, node: Any) -> Operand:
    """Put axes in another order: nothing is copied."""
    return translation.operand(node.inputs[0]).transposed(node.op.new_order)


def same(translation: Translation, node: Any) -> Operand:
    """Pass an array on."""
    return shared(translation.operand(node.inputs[0]))


def checked(translation: Translation, node: Any) -> Operand:
    """Pass an array on; the function fails where a condition does not hold."""
    for condition in node.inputs[1:]:
        view = translation.view(condition)
        steps = iter([list[int]() for _ in view.strided()])
        translation.code.fail_unless(translation.code.load(view, [], steps))
    return same(translation, node)


def reduction(translation: Translation, node: Any) -> View:
    """Reduce along axes."""
    (given,), (out,) = node.inputs, node.outputs
    axes = range(len(translation.shape(given))) if node.op.axis is None else node.op.axis
    name = type(node.op.scalar_op).__name__
    dtype = getattr(node.op, "acc_dtype", None) or out.type.dtype
    if name not in REDUCTIONS or dtype != out.type.dtype:
        raise Unsupported(f"a reduction by {name}")
    return translation.reduced(expressed(translation.operand(given)), node.op.scalar_op, name, set(axes), dtype)


OPERATIONS: dict[str, Callable[[Translation, Any], Operand | list[View]]] = {
    "Elemwise": elemwise,
    "DimShuffle": dimshuffle,
    **dict.fromkeys(("SpecifyShape", "TensorFromScalar", "ScalarFromTensor", "DeepCopyOp", "ViewOp"), same),
    **dict.fromkeys(("CheckParameterValue", "CheckAndRaise", "Assert"), checked),
    **dict.fromkeys(("Sum", "Prod", "Max", "Min", "All", "Any", "CAReduce"), reduction),
    "Subtensor": parts.subtensor,
    "AdvancedSubtensor": parts.advanced_subtensor,
    "IncSubtensor": parts.inc_subtensor,
    "AdvancedIncSubtensor": parts.advanced_inc_subtensor,
    "Join": parts.join,
    "Split": parts.split,
    "MakeVector": parts.make_vector,
    "Alloc": parts.alloc,
    "Reshape": parts.reshape,
    "ExtractDiag": parts.extract_diag,
    "Dot": linear.dot,
    **dict.fromkeys(("Blockwise", "Det", "MatrixInverse", "Cholesky"), linear.blockwise),
    **dict.fromkeys(("Softmax", "LogSoftmax"), linear.softmax),
}
"""By the names of their classes."""
