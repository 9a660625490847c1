"""Machine code from graphs: the same values as PyTensor's evaluation in Python, whatever the shapes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph
from pytensor.raise_op import Assert

from genarium.data import check
from genarium.declaration import Model
from genarium.engines import compiled as densities
from genarium.engines.native import scalars
from genarium.engines.native.code import Unsupported
from genarium.engines.native.program import Program, Writer
from genarium.engines.native.writing import write

RNG = np.random.default_rng(5)
A = RNG.normal(size=(4, 3))
B = RNG.normal(size=(3, 5))
C = RNG.normal(size=(2, 4, 3))
V = RNG.normal(size=3)
I = np.array([2, 0, -1, 2, 1])  # noqa: E741
P = RNG.uniform(0.1, 5, size=(4, 3))
S = np.array([np.cov(RNG.normal(size=(3, 20))) for _ in range(2)])
WIDE = RNG.normal(size=(40, 30))

Graph = Callable[..., Any]


def programme(graph: Graph, values: Sequence[Any]) -> tuple[Program, list[Any], list[Any]]:
    arrays = [np.asarray(v) for v in values]
    inputs = [pt.TensorType(str(a.dtype), a.shape)(f"x{i}") for i, a in enumerate(arrays)]
    outputs = graph(*inputs)
    outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    writer = Writer({})
    found = writer.add("f", list(zip(inputs, arrays, strict=True)), outputs)
    slow = pytensor.function(inputs, outputs, mode="FAST_COMPILE", on_unused_input="ignore")
    for a, b in zip(found, slow(*arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    return writer.program({}), arrays, found


def call(program: Program, arrays: Sequence[Any], like: Sequence[Any]) -> tuple[int, list[Any]]:
    table, held = program.arrays({})
    out = [np.full(np.shape(v), 7, np.asarray(v).dtype) for v in like]
    status = program.call("f", [np.ascontiguousarray(a) for a in arrays], out, table)
    assert len(held) == len(program.constants)
    return status, out


GRAPHS: dict[str, tuple[Graph, tuple[Any, ...]]] = {
    "arithmetic": (lambda a, v: (a + v) * 2 - v / (a**2 + 1), (A, V)),
    "broadcasting both ways": (lambda a, v: [a[:, :1] * v, v[:, None] * a[:1]], (A, V)),
    "used twice": (lambda a: [(e := pt.exp(a)) + 1, e * e, e.sum()], (A,)),
    "functions": (
        lambda p: [
            pt.log(p), pt.log1p(p), pt.expm1(p), pt.sqrt(p), pt.tanh(p), pt.gammaln(p), pt.psi(p), pt.erf(p),
            pt.abs(p - 2), pt.sign(p - 2), pt.sigmoid(p - 2), pt.softplus(p - 2), p ** (p - 2), 1 / p, pt.log1mexp(-p),
            pt.clip(p, 1, 2), pt.maximum(p, 2), pt.minimum(p, 2), pt.sin(p), pt.cos(p), pt.arctan(p), pt.erfc(p),
            pt.erfcx(p),
            pt.floor(p),
        ],
        (P,),
    ),
    "of large numbers": (
        lambda x: [pt.softplus(x), pt.sigmoid(x), pt.exp(x), pt.log(x)],
        (np.array([-800.0, 0, 800]),),
    ),
    "whole numbers": (
        lambda i, j: [i // j, i % j, i + j, i - 2 * j, i * j, -i, pt.abs(i), pt.sign(i), i / j, pt.maximum(i, j)],
        (np.array([-7, 7, -6, 6, 0]), np.array([2, -2, 3, -3, 5])),
    ),
    "small whole numbers": (
        lambda i, x: [i * x, i.sum(), pt.cast(i, "float64") + i, pt.cast(x, "int32")],
        (np.array([-7, 7, 3], np.int32), np.array([1.5, -2.5, 3.0])),
    ),
    "comparisons": (
        lambda a: [pt.switch(a > 0, a, -a), pt.eq(a, a), pt.neq(a, 0), (a > 0) & (a < 1), (a > 0) | (a < -1), ~(a > 0)],
        (A,),
    ),
    "not numbers": (
        lambda x: [pt.isnan(x), pt.isinf(x), pt.maximum(x, 0), x.sum(), x.max(), pt.switch(pt.isnan(x), 0.0, x), x > 0],
        (np.array([np.nan, np.inf, -np.inf, 1.0]),),
    ),
    "sums": (lambda c: [c.sum(), *(c.sum(a) for a in (0, 1, 2, (0, 1), (0, 2), (1, 2)))], (C,)),
    "other reductions": (
        lambda c: [c.max(0), c.max((1, 2)), c.min(1), c.prod(2), (c > 0).any(0), (c > -9).all(), (c > 0).sum(1)],
        (C,),
    ),
    "a sum of a computed array": (lambda c, v: (pt.exp(c) * v).sum((0, 2)), (C, V)),
    "transposes": (lambda c: [c.transpose(2, 0, 1) * 2, c.T.sum(0), (c.transpose(1, 2, 0) + 1).reshape((12, 2))], (C,)),
    "slices": (
        lambda c: [c[:, 1:3], c[..., ::-1] * 1.0, c[1, -1], c[:, ::2, 1:] + 1, c[:, 3:0:-2], c[0, :, None]],
        (C,),
    ),
    "gathers": (
        lambda a, i: [
            a[:, i], a[i], a[i, i], a[i][:, :2] * 2, a[i].sum(0), a[i].T + 1, pt.exp(a)[i], a[i].reshape((15,)),
        ],
        (A, I),
    ),
    "gathers among other axes": (
        lambda c, i: [c[:, i], c[:, i, i], c[:, i][:, :, ::2], c[1, i], c[:, i[:, None], i[None]].sum(2)],
        (C, I),
    ),
    "scatters": (
        lambda a, v, i: [
            pt.inc_subtensor(a[i], 1.0), pt.inc_subtensor(a[:, i], a[:, i]), pt.set_subtensor(a[1:, ::2], 9.0),
            pt.inc_subtensor(pt.zeros((4, 3))[i], v), pt.set_subtensor(a[2], v), pt.inc_subtensor(a[i, i], 2.0),
        ],
        (A, V, I),
    ),
    "scatters into what is used again": (
        lambda a: [pt.inc_subtensor((e := pt.exp(a))[1:], a[:-1]), e, pt.set_subtensor(e[0], e[1]) + e],
        (A,),
    ),
    "an array put into itself": (
        lambda a: [pt.set_subtensor((e := a + 1)[::-1], e), pt.inc_subtensor((f := a * 2)[1:], f[:-1])],
        (A,),
    ),
    "scatters after each other": (
        lambda a: pt.inc_subtensor(pt.inc_subtensor(pt.set_subtensor(pt.zeros(12)[:3], a[0])[2:5], a[1])[4:7], a[2]),
        (A,),
    ),
    "joins and splits": (
        lambda a, v: [
            pt.concatenate([a, v[None], a * 2]), pt.concatenate([a, a[:, :1]], 1), pt.stack([v.sum(), v[0], 1.0]),
            *pt.split(a, [1, 2], axis=1), pt.join(0, v, v + 1)[1:4],
        ],
        (A, V),
    ),
    "shapes": (
        lambda a, v: [
            a.reshape((2, 6)), a.T.flatten(), pt.ones((2, 3)) * v, pt.broadcast_to(v, (2, 3)), a * a.shape[0],
        ],
        (A, V),
    ),
    "diagonals": (lambda s: [pt.diagonal(s, axis1=1, axis2=2), pt.diag(s[0]), pt.diagonal(s[0], 1)], (S,)),
    "products": (
        lambda a, b, v: [a @ b, a @ v, v @ b, v @ v, a.T @ a, a[:, ::-1] @ b, pt.dot(a, b[:, 1])], (A, B, V)
    ),
    "large products": (lambda w: [w @ w.T, w.T @ w, w[::2] @ w[:, ::-1].T, (w + 1) @ w.T, w[:, :25] @ w[:25]], (WIDE,)),
    "matrices": (
        lambda s: [
            pt.linalg.det(s), pt.linalg.inv(s), pt.linalg.cholesky(s), pt.linalg.det(-s[0]), pt.linalg.slogdet(s)[1],
        ],
        (S,),
    ),
    "softmax": (
        lambda a: [
            pt.special.softmax(a, 1), pt.special.softmax(a, 0), pt.special.log_softmax(a, 1), pt.logsumexp(a, 0),
        ],
        (A,),
    ),
    "no elements": (lambda a, e: [a[:0].sum(0), e.sum(), pt.concatenate([e, a[0]]), a[:, :0] * 2], (A, np.zeros(0))),
    "numbers": (lambda x, y: [x * y + 1, pt.exp(x), pt.switch(x > y, x, y)], (np.array(0.5), np.array(2.0))),
    "constants": (lambda v: [v + np.array([1.0, 2, 3]), v * np.zeros(3), v[np.array([0, 2])], pt.eye(3) * v], (V,)),
    "gradients": (
        lambda a, v: pt.grad((pt.logsumexp(a * v, 1) ** 2).sum() + pt.gammaln(pt.exp(a[:, [0, 1, 1]])).sum(), [a, v]),
        (A, V),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.filterwarnings("ignore:(divide|invalid|overflow)")
def test_values_are_those_of_pytensor(name: str) -> None:
    graph, values = GRAPHS[name]
    program, arrays, expected = programme(graph, values)
    status, found = call(program, arrays, expected)
    assert status == 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_graph_within_the_graph_may_be_used_again() -> None:
    x, i = pt.dvector("x"), pt.lvector("i")
    inner = OpFromGraph([x, i], [pt.inc_subtensor(x[i], 1.0), (x * 2).sum()])

    def graph(v: Any, w: Any, i: Any) -> list[Any]:
        return [*inner(v, i), *inner(w + 1, pt.constant(np.array([0, 0]))), v]

    program, arrays, expected = programme(graph, (V, A[0], np.array([1, 1, 2])))
    status, found = call(program, arrays, expected)
    assert status == 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_other_values_need_no_other_code() -> None:
    program, (a, i), expected = programme(lambda a, i: [(a[i] * 2).sum(0)], (A, I))
    other, indices = a + 1, i[::-1].copy()
    status, (found,) = call(program, (other, indices), expected)
    assert status == 0
    np.testing.assert_allclose(found, (other[indices] * 2).sum(0))


@pytest.mark.parametrize("wrong", [4, -5, 2**40])
def test_an_index_out_of_bounds_fails_and_reads_nothing(wrong: int) -> None:
    program, (a, _), expected = programme(lambda a, i: [a[i].sum(), pt.inc_subtensor(a[i], 1.0)], (A, I))
    assert call(program, (a, np.array([0, 1, wrong, 2, 3])), expected)[0] == 1
    assert call(program, (a, np.array([0, 1, 3, 2, -4])), expected)[0] == 0


def test_a_condition_that_does_not_hold_fails() -> None:
    program, _, expected = programme(lambda x: Assert("positive")(pt.log(x), pt.all(x > 0)), (V**2,))
    assert call(program, (V**2,), expected)[0] == 0
    assert call(program, (-(V**2),), expected)[0] == 1


def test_a_matrix_that_has_no_factor_fails() -> None:
    program, _, expected = programme(lambda s: pt.linalg.cholesky(s), (S,))
    assert call(program, (-S,), expected)[0] == 1
    program, _, expected = programme(lambda s: pt.linalg.inv(s), (S,))
    assert call(program, (np.zeros_like(S),), expected)[0] == 1


@pytest.mark.parametrize(
    "graph",
    [
        lambda a, i: pt.sort(a),
        lambda a, i: a[a[:, 0] > 0],
        lambda a, i: a[: i[0]],
        lambda a, i: pt.cumsum(a),
        lambda a, i: pt.cast(a, "complex128"),
    ],
)
def test_what_has_no_code_is_refused(graph: Graph) -> None:
    with pytest.raises(Unsupported):
        programme(graph, (A, I))


def test_code_that_gives_other_values_is_refused(toy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = densities.Compiled(check(toy, {"y": [1.0, 2.0, 4.0]}))
    assert write(compiled, compiled._hoisted)
    monkeypatch.setitem(scalars.OPERATIONS, "Mul", scalars.OPERATIONS["Add"])
    with pytest.raises(Unsupported, match="other values than PyTensor"):
        write(compiled, compiled._hoisted)


def test_a_large_function_takes_its_memory_from_the_heap() -> None:
    large = RNG.normal(size=(300, 200))
    program, arrays, expected = programme(lambda x: [(e := pt.exp(x)) @ e.T, e.sum(0)], (large,))
    assert "malloc" in program.calls
    for _ in range(3):
        status, found = call(program, arrays, expected)
        assert status == 0
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-11)
