"""Scalar operations of PyTensor as LLVM instructions."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genarium.engines.native.code import FAST, TYPES, Code, Unsupported, kind

INTRINSICS = {
    "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Abs": "fabs", "Exp2": "exp2", "Log2": "log2", "Log10": "log10",
    "Sin": "sin", "Cos": "cos", "Floor": "floor", "Ceil": "ceil", "Trunc": "trunc",
}  # fmt: skip
"""Operations on floating-point numbers that LLVM has."""

LIBRARY = {
    "Log1p": "log1p", "Expm1": "expm1", "Tanh": "tanh", "Sinh": "sinh", "Cosh": "cosh", "Tan": "tan",
    "ArcTan": "atan", "ArcSin": "asin", "ArcCos": "acos", "ArcTanh": "atanh", "ArcSinh": "asinh", "ArcCosh": "acosh",
    "GammaLn": "genarium_gammaln", "Psi": "genarium_psi", "Erf": "genarium_erf", "Erfc": "genarium_erfc",
    "Erfcx": "genarium_erfcx",
}  # fmt: skip
"""Operations on floating-point numbers that the C library or SciPy has."""

COMPARISONS = {"EQ": ("eq", "oeq"), "NEQ": ("ne", "une")} | {
    name: (word, f"o{word}") for name, word in {"LT": "lt", "LE": "le", "GT": "gt", "GE": "ge"}.items()
}


def literal(number: Any, dtype: str) -> str:
    """Return a number as LLVM writes it."""
    if dtype == "bool":
        return "true" if number else "false"
    if dtype.startswith("float"):
        wide = float(np.dtype(dtype).type(number))
        return f"0x{struct.unpack('>Q', struct.pack('>d', wide))[0]:016X}"
    return str(int(number))


def cast(code: Code, number: str, old: str, new: str) -> str:
    """Return a number of one dtype as one of another."""
    if old == new:
        return number
    before, after = kind(old), kind(new)
    if new == "bool":
        if old.startswith("float"):
            return code.value(f"fcmp une {before} {number}, {literal(0, old)}")
        return code.value(f"icmp ne {before} {number}, 0")
    signed = old.startswith("int")
    if old.startswith("float"):
        if new.startswith("float"):
            return code.value(f"{'fpext' if new == 'float64' else 'fptrunc'} {before} {number} to {after}")
        return code.value(f"{'fptosi' if new.startswith('int') else 'fptoui'} {before} {number} to {after}")
    if new.startswith("float"):
        return code.value(f"{'sitofp' if signed else 'uitofp'} {before} {number} to {after}")
    widths = int(before[1:]), int(after[1:])
    if widths[0] == widths[1]:
        return number
    word = "trunc" if widths[1] < widths[0] else "sext" if signed else "zext"
    return code.value(f"{word} {before} {number} to {after}")


def apply(code: Code, op: Any, numbers: Sequence[str], old: Sequence[str], new: str) -> str:
    """Apply a scalar operation.

    Parameters
    ----------
    code : Code
    op : pytensor ScalarOp
    numbers : sequence of str
    old : sequence of str
        Dtypes of the numbers.
    new : str
        Dtype of the result.

    Returns
    -------
    str
    """
    name = type(op).__name__
    if name == "Composite":
        return _composite(code, op, numbers, old)
    if name in COMPARISONS:
        return _compare(code, name, numbers, old)
    if name in ("IsNan", "IsInf"):
        return _special(code, name, numbers[0], old[0])
    if name == "Switch":
        condition = cast(code, numbers[0], old[0], "bool")
        yes, no = (cast(code, n, d, new) for n, d in zip(numbers[1:], old[1:], strict=True))
        return code.value(f"select i1 {condition}, {kind(new)} {yes}, {kind(new)} {no}")
    if name == "Second":
        return cast(code, numbers[1], old[1], new)
    if name not in OPERATIONS:
        raise Unsupported(f"the scalar operation {name}")
    operands = [cast(code, n, d, new) for n, d in zip(numbers, old, strict=True)]
    return OPERATIONS[name](code, operands, new)


def _composite(code: Code, op: Any, numbers: Sequence[str], old: Sequence[str]) -> str:
    graph = op.fgraph
    at = {v: (n, d) for v, n, d in zip(graph.inputs, numbers, old, strict=True)}

    def of(variable: Any) -> tuple[str, str]:
        if variable not in at:
            dtype = variable.type.dtype
            at[variable] = (literal(variable.data, dtype), dtype)
        return at[variable]

    for node in graph.toposort():
        (out,) = node.outputs
        inputs = [of(v) for v in node.inputs]
        dtype = out.type.dtype
        at[out] = (apply(code, node.op, [n for n, _ in inputs], [d for _, d in inputs], dtype), dtype)
    (out,) = graph.outputs
    return of(out)[0]


def _compare(code: Code, name: str, numbers: Sequence[str], old: Sequence[str]) -> str:
    common = str(np.result_type(*old))
    a, b = (cast(code, n, d, common) for n, d in zip(numbers, old, strict=True))
    plain, real = COMPARISONS[name]
    if common.startswith("float"):
        return code.value(f"fcmp {real} {kind(common)} {a}, {b}")
    sign = "" if plain in ("eq", "ne") else "s" if common.startswith("int") else "u"
    return code.value(f"icmp {sign}{plain} {kind(common)} {a}, {b}")


def _special(code: Code, name: str, number: str, dtype: str) -> str:
    if not dtype.startswith("float"):
        return "false"
    if name == "IsNan":
        return code.value(f"fcmp uno {kind(dtype)} {number}, {number}")
    size = _intrinsic("fabs")(code, [number], dtype)
    return code.value(f"fcmp oeq {kind(dtype)} {size}, {literal(np.inf, dtype)}")


Operation = Callable[[Code, list[str], str], str]


def _arithmetic(integer: str, real: str) -> Operation:
    """Return an operation of any number of operands, from the left."""

    def operation(code: Code, operands: list[str], dtype: str) -> str:
        word = (
            f"{real} {FAST}" if dtype.startswith("float") else "or" if (integer, dtype) == ("add", "bool") else integer
        )
        total = operands[0]
        for other in operands[1:]:
            total = code.value(f"{word} {kind(dtype)} {total}, {other}")
        return total

    return operation


def _bitwise(word: str) -> Operation:
    def operation(code: Code, operands: list[str], dtype: str) -> str:
        total = operands[0]
        for other in operands[1:]:
            total = code.value(f"{word} {kind(dtype)} {total}, {other}")
        return total

    return operation


def _intrinsic(word: str) -> Operation:
    def operation(code: Code, operands: list[str], dtype: str) -> str:
        if not dtype.startswith("float"):
            raise Unsupported(f"{word} of dtype {dtype}")
        letters = "f64" if dtype == "float64" else "f32"
        return code.call(kind(dtype), f"llvm.{word}.{letters}", [(kind(dtype), n) for n in operands])

    return operation


def _library(word: str) -> Operation:
    def operation(code: Code, operands: list[str], dtype: str) -> str:
        if dtype != "float64":
            raise Unsupported(f"{word} of dtype {dtype}")
        return code.call("double", word, [("double", n) for n in operands])

    return operation


def _extreme(word: str) -> Operation:
    """Return the larger or smaller of two; not-a-number where one is."""

    def operation(code: Code, operands: list[str], dtype: str) -> str:
        a, b = operands
        if dtype.startswith("float"):
            return _intrinsic("maximum" if word == "gt" else "minimum")(code, operands, dtype)
        if dtype == "bool":
            return code.value(f"{'or' if word == 'gt' else 'and'} i1 {a}, {b}")
        test = code.value(f"icmp {'s' if dtype.startswith('int') else 'u'}{word} {kind(dtype)} {a}, {b}")
        return code.value(f"select i1 {test}, {kind(dtype)} {a}, {kind(dtype)} {b}")

    return operation


def _of_doubles(formula: Callable[[Code, str], str]) -> Operation:
    def operation(code: Code, operands: list[str], dtype: str) -> str:
        if dtype != "float64":
            raise Unsupported(f"{formula.__name__} of dtype {dtype}")
        return formula(code, operands[0])

    return operation


def _f(code: Code, word: str, a: str, b: str) -> str:
    return code.value(f"{word} {FAST} double {a}, {b}")


ONE, ZERO = literal(1, "float64"), literal(0, "float64")


def _negated(code: Code, x: str) -> str:
    return code.value(f"fneg {FAST} double {x}")


def _sigmoid(code: Code, x: str) -> str:
    return _f(code, "fdiv", ONE, _f(code, "fadd", ONE, _intrinsic("exp")(code, [_negated(code, x)], "float64")))


def _softplus(code: Code, x: str) -> str:
    size = _intrinsic("fabs")(code, [x], "float64")
    tail = _library("log1p")(code, [_intrinsic("exp")(code, [_negated(code, size)], "float64")], "float64")
    return _f(code, "fadd", _extreme("gt")(code, [x, ZERO], "float64"), tail)


def _log1mexp(code: Code, x: str) -> str:
    far = _library("log1p")(code, [_negated(code, _intrinsic("exp")(code, [x], "float64"))], "float64")
    near = _intrinsic("log")(code, [_negated(code, _library("expm1")(code, [x], "float64"))], "float64")
    test = code.value(f"fcmp olt double {x}, {literal(-np.log(2), 'float64')}")
    return code.value(f"select i1 {test}, double {far}, double {near}")


def _square(code: Code, operands: list[str], dtype: str) -> str:
    return OPERATIONS["Mul"](code, operands * 2, dtype)


def _negative(code: Code, operands: list[str], dtype: str) -> str:
    if dtype.startswith("float"):
        return code.value(f"fneg {FAST} {kind(dtype)} {operands[0]}")
    return code.value(f"sub {kind(dtype)} 0, {operands[0]}")


def _absolute(code: Code, operands: list[str], dtype: str) -> str:
    if dtype.startswith("float"):
        return _intrinsic("fabs")(code, operands, dtype)
    below = code.value(f"icmp slt {kind(dtype)} {operands[0]}, 0")
    return code.value(
        f"select i1 {below}, {kind(dtype)} {_negative(code, operands, dtype)}, {kind(dtype)} {operands[0]}"
    )


def _sign(code: Code, operands: list[str], dtype: str) -> str:
    (x,), zero, one = operands, literal(0, dtype), literal(1, dtype)
    above, below = (_compare(code, name, [x, zero], [dtype, dtype]) for name in ("GT", "LT"))
    kept = code.value(f"select i1 {below}, {kind(dtype)} {literal(-1, dtype)}, {kind(dtype)} {zero}")
    if dtype.startswith("float"):
        odd = code.value(f"fcmp uno {kind(dtype)} {x}, {x}")
        kept = code.value(f"select i1 {odd}, {kind(dtype)} {x}, {kind(dtype)} {kept}")
    return code.value(f"select i1 {above}, {kind(dtype)} {one}, {kind(dtype)} {kept}")


def _reciprocal(code: Code, operands: list[str], dtype: str) -> str:
    return code.value(f"fdiv {FAST} {kind(dtype)} {literal(1, dtype)}, {operands[0]}")


def _clip(code: Code, operands: list[str], dtype: str) -> str:
    """Clip as PyTensor does: a not-a-number stays."""
    x, low, high = operands
    below, above = (_compare(code, n, [x, to], [dtype, dtype]) for n, to in (("LT", low), ("GT", high)))
    first = code.value(f"select i1 {above}, {kind(dtype)} {high}, {kind(dtype)} {x}")
    return code.value(f"select i1 {below}, {kind(dtype)} {low}, {kind(dtype)} {first}")


def _invert(code: Code, operands: list[str], dtype: str) -> str:
    return code.value(f"xor {kind(dtype)} {operands[0]}, {'true' if dtype == 'bool' else '-1'}")


def _divided(what: str) -> Operation:
    """Return floor division, or its remainder, of signed integers."""

    def operation(code: Code, operands: list[str], dtype: str) -> str:
        if not dtype.startswith("int"):
            raise Unsupported(f"{what} of dtype {dtype}")
        t, (a, given) = TYPES[dtype], operands
        none = code.value(f"icmp eq {t} {given}, 0")
        b = code.value(f"select i1 {none}, {t} 1, {t} {given}")
        rest = code.value(f"srem {t} {a}, {b}")
        odd = code.value(f"icmp ne {t} {rest}, 0")
        apart = code.value(f"icmp slt {t} {code.value(f'xor {t} {rest}, {b}')}, 0")
        down = code.value(f"and i1 {odd}, {apart}")
        if what == "IntDiv":
            found = code.value(f"sub {t} {code.value(f'sdiv {t} {a}, {b}')}, {code.value(f'zext i1 {down} to {t}')}")
        else:
            found = code.value(f"select i1 {down}, {t} {code.value(f'add {t} {rest}, {b}')}, {t} {rest}")
        return code.value(f"select i1 {none}, {t} 0, {t} {found}")

    return operation


OPERATIONS: dict[str, Operation] = {
    "Add": _arithmetic("add", "fadd"),
    "Mul": _arithmetic("mul", "fmul"),
    "Sub": _arithmetic("sub", "fsub"),
    "TrueDiv": _arithmetic("", "fdiv"),
    "IntDiv": _divided("IntDiv"),
    "Mod": _divided("Mod"),
    "Neg": _negative,
    "Sqr": _square,
    "Sign": _sign,
    "Reciprocal": _reciprocal,
    "Pow": _intrinsic("pow"),
    "Maximum": _extreme("gt"),
    "Minimum": _extreme("lt"),
    "ScalarMaximum": _extreme("gt"),
    "ScalarMinimum": _extreme("lt"),
    "Clip": _clip,
    "AND": _bitwise("and"),
    "OR": _bitwise("or"),
    "XOR": _bitwise("xor"),
    "Invert": _invert,
    "Cast": lambda code, operands, dtype: operands[0],
    "Identity": lambda code, operands, dtype: operands[0],
    "Sigmoid": _of_doubles(_sigmoid),
    "Softplus": _of_doubles(_softplus),
    "Log1mexp": _of_doubles(_log1mexp),
    **{name: _intrinsic(word) for name, word in INTRINSICS.items()},
    **{name: _library(word) for name, word in LIBRARY.items()},
    "Abs": _absolute,
}
