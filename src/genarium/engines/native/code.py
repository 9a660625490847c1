"""Text of an LLVM function: views of memory, loops over them, and what is computed within."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod

FAST = "reassoc nsz arcp contract afn"
"""Liberties with rounding, those that PyTensor takes; infinities and not-a-numbers stay what they are."""

STACK = 131_072
"""Bytes of a function's arrays on the stack; more than that is allocated."""

TYPES = {
    "bool": "i8", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "i8", "uint16": "i16",
    "uint32": "i32", "uint64": "i64", "float32": "float", "float64": "double",
}  # fmt: skip
"""How numbers of a dtype lie in memory."""

NAME = re.compile(r"%v\d+\b")

WIDTHS = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}

Strides = tuple[int, ...]


class Unsupported(Exception):  # noqa: N818
    """A graph has a part that no machine code is written for here."""


@dataclass(frozen=True)
class View:
    """An array in memory, or one number in the shape of an array.

    Attributes
    ----------
    pointer : str
        Name of its first address; of one number (``literal``), the number.
    dtype : str
    shape : tuple of int
    strides : tuple of int
        In elements.
    offset : int
        In elements.
    gathers : tuple of (View, int, int)
        Indices in the shape of the array, the stride that each counts in, and the length that it must lie in.
    literal : bool
    owned : bool
        Whether the memory is this array's alone and may be written to.
    """

    pointer: str
    dtype: str
    shape: Strides
    strides: Strides
    offset: int = 0
    gathers: tuple[tuple["View", int, int], ...] = ()
    literal: bool = False
    owned: bool = False

    def transposed(self, order: Sequence[int | str]) -> "View":
        """Return the array with its axes in another order; "x" is a new axis of length one."""
        return replace(
            self,
            shape=tuple(1 if a == "x" else self.shape[int(a)] for a in order),
            strides=tuple(0 if a == "x" else self.strides[int(a)] for a in order),
            gathers=tuple((v.transposed(order), stride, length) for v, stride, length in self.gathers),
            owned=False,
        )

    def broadcast(self, shape: Strides) -> "View":
        """Return the array in a larger shape of as many axes."""
        same = tuple(0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True))
        gathers = tuple((v.broadcast(shape), stride, length) for v, stride, length in self.gathers)
        return replace(self, shape=shape, strides=same, gathers=gathers, owned=False)

    def sliced(self, starts: Sequence[int], steps: Sequence[int], shape: Strides) -> "View":
        """Return a regular part of the array."""
        offset = self.offset + sum(a * s for a, s in zip(starts, self.strides, strict=True))
        strides = tuple(step * s for step, s in zip(steps, self.strides, strict=True))
        gathers = tuple((v.sliced(starts, steps, shape), stride, length) for v, stride, length in self.gathers)
        return replace(self, offset=offset, strides=strides, shape=shape, gathers=gathers, owned=False)

    def strided(self) -> list[Strides]:
        """Strides of the array and of the indices in it."""
        return [self.strides, *(strides for v, _, _ in self.gathers for strides in v.strided())]

    @property
    def contiguous(self) -> bool:
        """Whether the elements follow each other in memory."""
        return not self.gathers and not self.literal and is_contiguous(self.shape, self.strides)


def row_major(shape: Strides) -> Strides:
    """Strides of an array whose elements follow each other."""
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def is_contiguous(shape: Strides, strides: Strides) -> bool:
    """Whether strides are those of an array whose elements follow each other, as far as they matter."""
    return all(n == 1 or s == t for n, s, t in zip(shape, strides, row_major(shape), strict=True))


@dataclass
class Expression:
    """An array that is computed element by element, from arrays of its own shape, where it is used."""

    shape: Strides
    dtype: str
    leaves: list[View]
    compute: Callable[[list[str]], str]
    operations: int = 0

    def transposed(self, order: Sequence[int | str]) -> "Expression":
        """Return it with its axes in another order; "x" is a new axis of length one."""
        shape = tuple(1 if a == "x" else self.shape[int(a)] for a in order)
        return replace(self, shape=shape, leaves=[leaf.transposed(order) for leaf in self.leaves])


Operand = View | Expression


def expressed(operand: Operand) -> Expression:
    """Return an operand as an expression."""
    if isinstance(operand, Expression):
        return operand
    return Expression(operand.shape, operand.dtype, [operand], lambda numbers: numbers[0])


def shared[T: Operand](operand: T) -> T:
    """Return an operand that others hold too, so that it may not be written to."""
    return replace(operand, owned=False) if isinstance(operand, View) else operand


def merged(shape: Strides, strides: Sequence[Strides]) -> tuple[list[int], list[list[int]]]:
    """Merge neighbouring axes that all arrays step through as through one.

    Returns
    -------
    shape : list of int
        Without axes of length one.
    strides : list of list of int
        Of each array.
    """
    lengths: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            continue
        if lengths and all(s[axis] == own[0] * lengths[0] for s, own in zip(strides, steps, strict=True)):
            lengths[0] *= shape[axis]
            continue
        lengths.insert(0, shape[axis])
        for s, own in zip(strides, steps, strict=True):
            own.insert(0, s[axis])
    return lengths, steps


@dataclass
class Code:
    """The body of one function.

    A number within is the name of an SSA value or a literal; its kind is that of :func:`kind`: truth values are of
    one bit, whatever they take in memory.
    """

    lines: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    heap: list[str] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)  # numbers of lines before which no loop is open
    depth: int = 0
    declared: dict[str, str] = field(default_factory=dict)
    block: str = "entry"
    count: int = 0
    stack: int = 0

    def fresh(self) -> str:
        """Return a new name."""
        self.count += 1
        return f"v{self.count}"

    def value(self, text: str) -> str:
        """Compute something and return the name of it."""
        name = "%" + self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Add an instruction without a value."""
        self.lines.append(f"  {text}")

    def start(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.block = label

    def call(self, result: str, function: str, arguments: Sequence[tuple[str, str]]) -> str:
        """Call a function from outside, of (type, value) pairs."""
        self.declared[function] = f"declare {result} @{function}({', '.join(t for t, _ in arguments)})"
        flags = f"{FAST} " if result == "double" and function.startswith("llvm.") else ""
        text = f"call {flags}{result} @{function}({', '.join(f'{t} {v}' for t, v in arguments)})"
        if result == "void":
            self.do(text)
            return ""
        return self.value(text)

    def memory(self, shape: Strides, dtype: str) -> View:
        """Return a new array, not initialised."""
        size, kept, name = max(1, prod(shape)), TYPES[dtype], "%" + self.fresh()
        width = size * WIDTHS[kept]
        if self.stack + width <= STACK:
            self.stack += width
            self.head.append(f"  {name} = alloca [{size} x {kept}], align 32")
        else:
            assert not self.depth
            self.declared["malloc"] = "declare noalias ptr @malloc(i64)"
            self.declared["free"] = "declare void @free(ptr)"
            self.do(f"{name} = call noalias ptr @malloc(i64 {width})")
            self.heap.append(name)
        return View(name, dtype, shape, row_major(shape), owned=True)

    @contextmanager
    def loop(self, lengths: Sequence[int]) -> Iterator[list[str]]:
        """Loop over axes, the last one innermost; yields the names of the indices."""
        indices, loops = [], []
        self.depth += 1
        for length in lengths:
            name = self.fresh()
            before = self.block
            self.do(f"br label %{name}.head")
            self.start(f"{name}.head")
            self.lines.append(f"  %{name} = phi i64 [ 0, %{before} ], [ %{name}.next, %{name}.latch ]")
            indices.append("%" + name)
            loops.append((name, length))
        yield indices
        for name, length in reversed(loops):
            self.do(f"br label %{name}.latch")
            self.start(f"{name}.latch")
            self.do(f"%{name}.next = add nuw nsw i64 %{name}, 1")
            self.do(f"%{name}.done = icmp eq i64 %{name}.next, {length}")
            self.do(f"br i1 %{name}.done, label %{name}.exit, label %{name}.head")
            self.start(f"{name}.exit")
        self.depth -= 1
        if not self.depth:
            self.outside.append(len(self.lines))

    def body(self) -> list[str]:
        """Return the lines, with memory from the heap given back once it was used last."""
        last = dict.fromkeys(self.heap, 0)
        for number, line in enumerate(self.lines):
            last.update((name, number) for name in NAME.findall(line) if name in last)
        places = [*self.outside, len(self.lines)]
        free = defaultdict[int, list[str]](list)
        for name, number in last.items():
            free[next(place for place in places if place > number)].append(f"  call void @free(ptr {name})")
        return [
            line for number in range(len(self.lines) + 1) for line in (*free[number], *self.lines[number : number + 1])
        ]

    def fail_unless(self, condition: str) -> None:
        """Note a failure where a truth value is false; the function returns 1 in the end."""
        bad = self.value(f"xor i1 {condition}, true")
        wide = self.value(f"zext i1 {bad} to i64")
        self.do(f"%{(name := self.fresh())} = load i64, ptr %failed")
        self.do(f"store i64 {self.value(f'or i64 %{name}, {wide}')}, ptr %failed")

    def address(self, view: View, indices: Sequence[str], strides: Iterator[list[int]]) -> str:
        """Address of an element; ``strides`` gives those of the view and of the indices in it, one after the other."""
        at = str(view.offset)
        for i, step in zip(indices, next(strides), strict=True):
            if step:
                term = i if step == 1 else self.value(f"mul nsw i64 {i}, {step}")
                at = term if at == "0" else self.value(f"add nsw i64 {at}, {term}")
        for index, step, length in view.gathers:
            found = self.load(index, indices, strides)
            wide = self.as_index(found, index.dtype)
            negative = self.value(f"icmp slt i64 {wide}, 0")
            wrapped = self.value(f"add nsw i64 {wide}, {length}")
            wide = self.value(f"select i1 {negative}, i64 {wrapped}, i64 {wide}")
            inside = self.value(f"icmp ult i64 {wide}, {length}")
            self.fail_unless(inside)
            safe = self.value(f"select i1 {inside}, i64 {wide}, i64 0")
            at = self.value(f"add nsw i64 {at}, {self.value(f'mul nsw i64 {safe}, {step}')}")
        kept = TYPES[view.dtype]
        return view.pointer if at == "0" else self.value(f"getelementptr inbounds {kept}, ptr {view.pointer}, i64 {at}")

    def as_index(self, number: str, dtype: str) -> str:
        """Return an index as a 64-bit number."""
        if dtype in ("int64", "uint64"):
            return number
        if not dtype.startswith(("int", "uint")):
            raise Unsupported(f"an index of dtype {dtype}")
        return self.value(f"{'sext' if dtype.startswith('int') else 'zext'} {TYPES[dtype]} {number} to i64")

    def load(self, view: View, indices: Sequence[str], strides: Iterator[list[int]]) -> str:
        """Return an element."""
        if view.literal:
            next(strides)
            return view.pointer
        found = self.value(f"load {TYPES[view.dtype]}, ptr {self.address(view, indices, strides)}")
        return self.value(f"icmp ne i8 {found}, 0") if view.dtype == "bool" else found

    def store(self, number: str, view: View, address: str) -> None:
        """Write an element of a view's dtype."""
        if view.dtype == "bool":
            number = self.value(f"zext i1 {number} to i8")
        self.do(f"store {TYPES[view.dtype]} {number}, ptr {address}")


def kind(dtype: str) -> str:
    """LLVM's type of a number that is computed with."""
    return "i1" if dtype == "bool" else TYPES[dtype]
