"""Operations of PyTensor on arrays as loops; the shapes are those that the operations have at one point."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from genarium.engines.native import scalars
from genarium.engines.native.code import (
    TYPES,
    Code,
    Expression,
    Operand,
    Strides,
    Unsupported,
    View,
    expressed,
    merged,
    shared,
)

MOST = 200
"""Operations that are computed where they are used, as one expression."""

IDENTITIES = {"Add": 0, "Mul": 1, "OR": 0, "AND": 1}


class Translation:
    """A graph on its way to code, evaluated at one point along with it.

    Parameters
    ----------
    code : Code
    constant : callable
        ``constant(array) -> View``: puts an array that the graph holds into memory.
    operations : mapping of str to callable
        ``operation(translation, node)`` writes the code of an operation; by the names of the operations' classes.
    """

    def __init__(
        self,
        code: Code,
        constant: Callable[[Any], View],
        operations: Mapping[str, Callable[["Translation", Any], Operand | list[View]]],
    ) -> None:
        self.code, self.constant, self.operations = code, constant, operations
        self.at: dict[Any, Operand] = {}
        self.values: dict[Any, Any] = {}
        self.fixed = set[Any]()  # what follows from constants and shapes alone
        self.uses: dict[Any, int] = {}
        self.left: dict[Any, int] = {}  # uses to come, after which a value need not be held

    def run(self, graph: Any) -> None:
        """Translate the operations of a FunctionGraph, whose inputs have their operands and values already."""
        uses = {variable: len(clients) for variable, clients in graph.clients.items()}
        self.uses |= uses
        self.left |= uses
        for node in graph.toposort():
            self.node(node)
            for variable in node.inputs:
                self._forget(variable)

    def _forget(self, variable: Any) -> None:
        """Let go of a value that is used no more, but for its shape: many may be as large as the data."""
        if variable in self.left and variable in self.values and variable not in self.fixed:
            self.left[variable] -= 1
            value = self.values[variable]
            if not self.left[variable] and isinstance(value, np.ndarray):
                self.values[variable] = np.broadcast_to(np.zeros((), value.dtype), value.shape)

    def node(self, node: Any) -> None:
        """Translate an operation."""
        name = type(node.op).__name__
        if hasattr(node.op, "fgraph"):
            self._inner(node)
            return
        inputs = [self.value(v) for v in node.inputs]
        found = [inputs[0]] if name in ("CheckParameterValue", "CheckAndRaise", "Assert") else perform(node, inputs)
        self.values.update(zip(node.outputs, found, strict=True))
        if name in ("Shape", "Shape_i") or self.fixed.issuperset(v for v in node.inputs if not is_constant(v)):
            self.fixed.update(node.outputs)
            return
        if name not in self.operations:
            raise Unsupported(f"the operation {name}")
        made = self.operations[name](self, node)
        self.at.update(zip(node.outputs, made if isinstance(made, list) else [made], strict=True))

    def _inner(self, node: Any) -> None:
        """Translate a graph within the graph."""
        if type(node.op).__name__ == "Scan":
            raise Unsupported("a scan")
        inner = node.op.fgraph
        self.fixed -= inner.variables  # of an earlier use of it
        for variable, outer in zip(inner.inputs, node.inputs, strict=True):
            self.values[variable] = self.value(outer)
            if is_constant(outer) or outer in self.fixed:
                self.fixed.add(variable)
            else:
                self.at[variable] = shared(self.view(outer))
        before, self.uses = self.uses, {}
        self.run(inner)
        self.uses = before
        for variable, outer in zip(inner.outputs, node.outputs, strict=True):
            self.values[outer] = self.value(variable)
            if is_constant(variable) or variable in self.fixed:
                self.fixed.add(outer)
            else:
                self.at[outer] = shared(self.view(variable))

    def value(self, variable: Any) -> Any:
        """Return a variable's value at the point."""
        return variable.data if is_constant(variable) else self.values[variable]

    def shape(self, variable: Any) -> Strides:
        """Return a variable's shape."""
        return tuple(np.shape(self.value(variable)))

    def known(self, variable: Any) -> Any:
        """Return the value of a variable that follows from constants alone."""
        if not (is_constant(variable) or variable in self.fixed):
            raise Unsupported("shapes or positions that follow from data")
        return self.value(variable)

    def operand(self, variable: Any) -> Operand:
        """Return a variable as an operand."""
        if is_constant(variable) or variable in self.fixed:
            return self.constant(np.asarray(self.value(variable), dtype=variable.type.dtype))
        return self.at[variable]

    def view(self, variable: Any) -> View:
        """Return a variable in memory."""
        found = self.operand(variable)
        if isinstance(found, Expression):
            found = self.at[variable] = self.stored(found)
        return found

    def flat(self, variable: Any) -> View:
        """Return a variable in memory, its elements one after the other."""
        found = self.view(variable)
        return found if found.contiguous else self.stored(expressed(found))

    # Loops

    def stored(self, made: Expression) -> View:
        """Compute an expression into new memory."""
        out = self.code.memory(made.shape, made.dtype)
        self.write(made, out)
        return out

    def write(self, made: Expression, out: View) -> None:
        """Compute an expression into given memory of its shape."""
        self._loop(made.shape, made.leaves, out, lambda numbers, old: made.compute(numbers))

    def _loop(
        self, shape: Strides, leaves: Sequence[View], out: View, compute: Callable[[list[str], Callable[[], str]], str]
    ) -> None:
        """Write ``compute(numbers, old)`` to every element, of the leaves' numbers and what stood there."""
        if 0 in shape:
            return
        code, each = self.code, [leaf.strided() for leaf in leaves]
        lengths, steps = merged(shape, [*(s for strides in each for s in strides), *out.strided()])
        with code.loop(lengths) as indices:
            walk = iter(steps)
            numbers = [code.load(leaf, indices, walk) for leaf in leaves]
            address = code.address(out, indices, walk)

            def old() -> str:
                found = code.value(f"load {TYPES[out.dtype]}, ptr {address}")
                return code.value(f"icmp ne i8 {found}, 0") if out.dtype == "bool" else found

            code.store(compute(numbers, old), out, address)

    def cast(self, made: Expression, dtype: str) -> Expression:
        """Return an expression as one of another dtype."""
        old, compute = made.dtype, made.compute
        return Expression(
            made.shape, dtype, made.leaves, lambda numbers: scalars.cast(self.code, compute(numbers), old, dtype)
        )

    # Elementwise

    def fitting(self, variable: Any, shape: Strides) -> Operand:
        """Return a variable to be used at every place of a shape: computed there, unless that were to do it anew."""
        found = self.operand(variable)
        if isinstance(found, Expression) and found.shape != shape:
            found = self.view(variable)
        return found.broadcast(shape) if isinstance(found, View) else found

    def mapped(
        self, compute: Callable[[list[str], list[str]], str], operands: Sequence[Operand], shape: Strides, dtype: str
    ) -> Expression:
        """Return an expression of operands of its shape; ``compute`` is given their numbers and dtypes."""
        parts = [expressed(v) for v in operands]
        cuts = np.cumsum([0, *(len(p.leaves) for p in parts)])

        def of(numbers: list[str]) -> str:
            own = [p.compute(numbers[a:b]) for p, a, b in zip(parts, cuts, cuts[1:], strict=False)]
            return compute(own, [p.dtype for p in parts])

        leaves = [leaf for p in parts for leaf in p.leaves]
        return Expression(shape, dtype, leaves, of, 1 + sum(p.operations for p in parts))

    # Reductions

    def reduced(self, made: Expression, op: Any, name: str, axes: set[int], dtype: str) -> View:
        """Reduce an expression along axes."""
        code, shape = self.code, made.shape
        kept = tuple(n for a, n in enumerate(shape) if a not in axes)
        least = -np.inf if "Max" in name else np.inf
        if "Max" in name or "Min" in name:
            if not dtype.startswith("float"):
                raise Unsupported(f"{name} of dtype {dtype}")
            identity = scalars.literal(least, dtype)
        else:
            identity = scalars.literal(IDENTITIES[name], dtype)
        out = code.memory(kept, dtype)
        steps = iter(out.strides)
        whole = View(out.pointer, dtype, shape, tuple(0 if a in axes else next(steps) for a in range(len(shape))))

        def combine(old: str, numbers: list[str]) -> str:
            number = scalars.cast(code, made.compute(numbers), made.dtype, dtype)
            return scalars.apply(code, op, [old, number], [dtype, dtype], dtype)

        inner = next((a for a in reversed(range(len(shape))) if shape[a] > 1), None)
        if inner is None or inner in axes:
            self._reduce_in_a_register(made, out, axes, identity, combine)
        else:
            fill = View(identity, dtype, kept, (0,) * len(kept), literal=True)
            self.write(expressed(fill), out)
            self._loop(shape, made.leaves, whole, lambda numbers, old: combine(old(), numbers))
        return out

    def _reduce_in_a_register(
        self, made: Expression, out: View, axes: set[int], identity: str, combine: Callable[[str, list[str]], str]
    ) -> None:
        code, shape = self.code, made.shape
        strides = [s for leaf in made.leaves for s in leaf.strided()]
        order = [a for a in range(len(shape)) if a not in axes], sorted(axes)

        def along(own: list[int]) -> tuple[list[int], list[list[int]]]:
            return merged(tuple(shape[a] for a in own), [tuple(s[a] for a in own) for s in strides])

        lengths, steps = merged(out.shape, [*(tuple(s[a] for a in order[0]) for s in strides), out.strides])
        inner_lengths, inner_steps = along(order[1])
        if 0 in lengths:
            return
        total = code.memory((), out.dtype)
        with code.loop(lengths) as indices:
            code.store(identity, total, total.pointer)
            if 0 not in inner_lengths:
                with code.loop(inner_lengths) as inner:
                    walk = iter([[*a, *b] for a, b in zip(steps[:-1], inner_steps, strict=True)])
                    numbers = [code.load(leaf, [*indices, *inner], walk) for leaf in made.leaves]
                    old = code.load(total, [], iter([[]]))
                    code.store(combine(old, numbers), total, total.pointer)
            address = code.address(out, indices, iter([steps[-1]]))
            code.store(code.load(total, [], iter([[]])), out, address)


def is_constant(variable: Any) -> bool:
    """Whether a variable is a constant of its graph."""
    return hasattr(variable, "data") and variable.owner is None


def perform(node: Any, inputs: Sequence[Any]) -> list[Any]:
    """Evaluate an operation in Python."""
    storage: list[list[Any]] = [[None] for _ in node.outputs]
    try:
        node.op.prepare_node(node, {}, {}, "py")
        node.op.perform(node, list(inputs), storage)
    except Exception as error:
        raise Unsupported(f"{type(node.op).__name__} fails at the start: {error}") from error
    return [held[0] for held in storage]
