"""Matrices: products by loops or by BLAS, what needs LAPACK, and the softmax."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from genarium.engines.native import scalars
from genarium.engines.native.arrays import Translation
from genarium.engines.native.code import FAST, Code, Operand, Unsupported, View, expressed, row_major

LARGE = 4096
"""Multiplications in a product of matrices from which on BLAS does it."""


def dot(translation: Translation, node: Any) -> View:
    """Multiply matrices and vectors."""
    (out,) = node.outputs
    if out.type.dtype != "float64" or any(v.type.dtype != "float64" for v in node.inputs):
        raise Unsupported(f"a product of dtype {out.type.dtype}")
    a, b = (translation.view(v) for v in node.inputs)
    if len(a.shape) == 1:
        a = a.transposed(["x", 0])
    if len(b.shape) == 1:
        b = b.transposed([0, "x"])
    (rows, inner), columns = a.shape, b.shape[1]
    code = translation.code
    made = code.memory((rows, columns), "float64")
    if rows * inner * columns >= LARGE and rows * columns * inner > 0 and min(rows, columns) > 1:
        _gemm(translation, a, b, made)
    else:
        fill = View(scalars.ZERO, "float64", made.shape, (0, 0), literal=True)
        whole = (rows, inner, columns)
        left = View(a.pointer, a.dtype, whole, (*a.strides, 0), a.offset, literal=a.literal)
        right = View(b.pointer, b.dtype, whole, (0, *b.strides), b.offset, literal=b.literal)
        if a.gathers or b.gathers:
            left = translation.stored(expressed(a)).transposed([0, 1, "x"]).broadcast(whole)
            right = translation.stored(expressed(b)).transposed(["x", 0, 1]).broadcast(whole)
        total = View(made.pointer, "float64", whole, (columns, 0, 1))
        translation.write(expressed(fill), made)
        translation._loop(
            whole,
            [left, right],
            total,
            lambda numbers, old: scalars.OPERATIONS["Add"](
                code, [old(), scalars.OPERATIONS["Mul"](code, numbers, "float64")], "float64"
            ),
        )
    shape = translation.shape(out)
    return View(made.pointer, "float64", shape, row_major(shape))


def _gemm(translation: Translation, a: View, b: View, out: View) -> None:
    """Compute the product's transpose in BLAS's order, which is the product in ours."""
    code = translation.code
    (rows, inner), columns = a.shape, b.shape[1]

    def side(view: View) -> tuple[str, View, int]:
        m, n = view.shape
        if not view.gathers and not view.literal:
            if view.strides[1] == 1 and view.strides[0] >= n:
                return "N", view, view.strides[0]
            if view.strides[0] == 1 and view.strides[1] >= m:
                return "T", view, view.strides[1]
        kept = translation.stored(expressed(view))
        return "N", kept, n

    letters, arguments = {"N": 78, "T": 84}, []
    first, second = side(b), side(a)
    for kind, _, _ in (first, second):
        arguments.append(("ptr", _slot(code, "i8", str(letters[kind]))))
    arguments += [("ptr", _slot(code, "i32", str(n))) for n in (columns, rows, inner)]
    arguments.append(("ptr", _slot(code, "double", scalars.ONE)))
    for _, view, lead in (first, second):
        arguments += [("ptr", _pointer(code, view)), ("ptr", _slot(code, "i32", str(max(1, lead))))]
    arguments += [
        ("ptr", _slot(code, "double", scalars.ZERO)),
        ("ptr", out.pointer),
        ("ptr", _slot(code, "i32", str(max(1, columns)))),
    ]
    code.call("void", "genarium_dgemm", arguments)


def _slot(code: Code, kind: str, number: str) -> str:
    """Put a number into memory, as Fortran takes it."""
    name = "%" + code.fresh()
    code.head.append(f"  {name} = alloca {kind}")
    code.do(f"store {kind} {number}, ptr {name}")
    return name


def _pointer(code: Code, view: View) -> str:
    if not view.offset:
        return view.pointer
    return code.value(f"getelementptr inbounds double, ptr {view.pointer}, i64 {view.offset}")


def blockwise(translation: Translation, node: Any) -> Operand:
    """Compute determinants, inverses and Cholesky factors of one matrix or many."""
    core = getattr(node.op, "core_op", node.op)
    name = type(core).__name__
    method = {"Det": _det, "MatrixInverse": _inverse, "Cholesky": _cholesky}.get(name)
    (given,), (out,) = node.inputs, node.outputs
    if method is None or given.type.dtype != "float64" or out.type.dtype != "float64":
        raise Unsupported(f"the operation {name} of dtype {given.type.dtype}")
    if name == "Cholesky" and not getattr(core, "lower", True):
        raise Unsupported("an upper Cholesky factor")
    view, code = translation.view(given), translation.code
    kept = translation.stored(expressed(view))  # a copy: LAPACK works in place
    n, batch = view.shape[-1], prod(view.shape[:-2])
    if n == 0:
        raise Unsupported("a matrix without elements")
    shape = translation.shape(out)
    made = code.memory(shape, "float64") if name == "Det" else kept
    with code.loop([batch]) as (i,):
        at = code.value(f"mul nsw i64 {i}, {n * n}")
        matrix = code.value(f"getelementptr inbounds double, ptr {kept.pointer}, i64 {at}")
        method(code, matrix, n, code.value(f"getelementptr inbounds double, ptr {made.pointer}, i64 {i}"))
    return View(made.pointer, "float64", shape, row_major(shape))


def _factor(code: Code, matrix: str, n: int) -> tuple[str, str]:
    """Factorise a matrix in place; return the pivots and LAPACK's word on it."""
    pivots = "%" + code.fresh()
    code.head.append(f"  {pivots} = alloca [{n} x i32]")
    size, info = _slot(code, "i32", str(n)), _slot(code, "i32", "0")
    code.call("void", "genarium_dgetrf", [("ptr", v) for v in (size, size, matrix, size, pivots, info)])
    return pivots, code.value(f"load i32, ptr {info}")


def _det(code: Code, matrix: str, n: int, out: str) -> None:
    pivots, _ = _factor(code, matrix, n)
    code.do(f"store double {scalars.ONE}, ptr {out}")
    with code.loop([n]) as (i,):
        at = code.value(f"getelementptr inbounds double, ptr {matrix}, i64 {code.value(f'mul nsw i64 {i}, {n + 1}')}")
        number = code.value(f"load double, ptr {at}")
        pivot = code.value(f"load i32, ptr {code.value(f'getelementptr inbounds i32, ptr {pivots}, i64 {i}')}")
        plain = code.value(f"trunc i64 {code.value(f'add i64 {i}, 1')} to i32")
        moved = code.value(f"icmp ne i32 {pivot}, {plain}")
        signed = code.value(f"select i1 {moved}, double {code.value(f'fneg double {number}')}, double {number}")
        old = code.value(f"load double, ptr {out}")
        code.do(f"store double {code.value(f'fmul {FAST} double {old}, {signed}')}, ptr {out}")


def _inverse(code: Code, matrix: str, n: int, out: str) -> None:
    pivots, info = _factor(code, matrix, n)
    regular = code.value(f"icmp eq i32 {info}, 0")
    code.fail_unless(regular)
    work = "%" + code.fresh()
    code.head.append(f"  {work} = alloca [{n * 16} x double]")
    size, room, told = _slot(code, "i32", str(n)), _slot(code, "i32", str(n * 16)), _slot(code, "i32", "0")
    code.call("void", "genarium_dgetri", [("ptr", v) for v in (size, matrix, size, pivots, work, room, told)])


def _cholesky(code: Code, matrix: str, n: int, out: str) -> None:
    """Factorise the lower triangle, which is the upper one in LAPACK's order; clear the other."""
    upper, size, info = _slot(code, "i8", "85"), _slot(code, "i32", str(n)), _slot(code, "i32", "0")
    code.call("void", "genarium_dpotrf", [("ptr", v) for v in (upper, size, matrix, size, info)])
    code.fail_unless(code.value(f"icmp eq i32 {code.value(f'load i32, ptr {info}')}, 0"))
    with code.loop([n, n]) as (i, j):
        at = code.value(f"add i64 {code.value(f'mul nsw i64 {i}, {n}')}, {j}")
        address = code.value(f"getelementptr inbounds double, ptr {matrix}, i64 {at}")
        old, above = code.value(f"load double, ptr {address}"), code.value(f"icmp ugt i64 {j}, {i}")
        code.do(f"store double {code.value(f'select i1 {above}, double {scalars.ZERO}, double {old}')}, ptr {address}")


def softmax(translation: Translation, node: Any) -> Operand:
    """Compute exponentials of differences from the largest, over their sum; or the logarithm of that."""
    from pytensor.scalar import basic

    (given,), (out,) = node.inputs, node.outputs
    code, view, shape = translation.code, translation.view(given), translation.shape(out)
    axis = node.op.axis
    axes = set(range(len(shape))) if axis is None else {a % len(shape) for a in np.atleast_1d(axis).tolist()}
    order = [("x" if a in axes else a - sum(b in axes for b in range(a))) for a in range(len(shape))]
    dtype = out.type.dtype
    if dtype != "float64" or view.dtype != "float64":
        raise Unsupported(f"a softmax of dtype {dtype}")

    def binary(name: str) -> Callable[[list[str], list[str]], str]:
        return lambda numbers, dtypes: scalars.OPERATIONS[name](code, numbers, dtype)

    def wide(reduced: View) -> View:
        return reduced.transposed(order).broadcast(shape)

    largest = translation.reduced(expressed(view), basic.scalar_maximum, "Maximum", axes, dtype)
    apart = translation.stored(translation.mapped(binary("Sub"), [view, wide(largest)], shape, dtype))
    powers = translation.stored(translation.mapped(binary("Exp"), [apart], shape, dtype))
    total = translation.reduced(expressed(powers), basic.add, "Add", axes, dtype)
    if type(node.op).__name__ == "Softmax":
        return translation.stored(translation.mapped(binary("TrueDiv"), [powers, wide(total)], shape, dtype))
    logarithm = translation.stored(translation.mapped(binary("Log"), [total], total.shape, dtype))
    return translation.stored(translation.mapped(binary("Sub"), [apart, wide(logarithm)], shape, dtype))
