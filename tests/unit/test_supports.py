"""Supports: which values are bad, against values worked out by hand and by brute force."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genarium import supports
from genarium.supports import (
    Support,
    acyclic,
    boolean,
    count,
    label,
    nonnegative,
    positive,
    real,
    simplex,
    unit_interval,
    whole,
    zero_sum,
)

NAN, INF = float("nan"), float("inf")
EVERY = [real, positive, nonnegative, unit_interval, simplex, zero_sum, count, whole, boolean, acyclic, label("kind")]
SIZES = {"kind": 3}

repeatable = settings(derandomize=True, deadline=None)


@pytest.mark.parametrize(
    ("support", "good", "bad"),
    [
        (real, [-1e300, -0.5, 0, 2], [NAN, INF, -INF]),
        (whole, [-3, 0, 2.0, 2**53], [0.5, NAN, INF, -INF, 2.0**54]),
        (positive, [1e-300, 2, 1e300], [0, -0.0, -1, NAN, INF, -INF]),
        (nonnegative, [0, -0.0, 1e-300, 2], [-1e-300, -1, NAN, INF, -INF]),
        (unit_interval, [0, 0.5, 1], [-1e-12, 1 + 1e-12, NAN, INF, -INF]),
        (count, [0, 1, 7.0, 2**53], [-1, 0.5, 7.000001, NAN, INF, -INF]),
        (boolean, [0, 1, 1.0], [-1, 0.5, 2, NAN, INF, -INF]),
        (label("kind"), [0, 1, 2.0], [-1, 3, 0.5, NAN, INF, -INF]),
    ],
    ids=str,
)
def test_elementwise(support: Support, good: list[float], bad: list[float]) -> None:
    mask = support.bad(np.array([*good, *bad]), SIZES)
    assert mask.dtype == bool
    assert mask.tolist() == [False] * len(good) + [True] * len(bad)
    for value, expected in zip([*good, *bad], mask, strict=True):  # a scalar is an array without dims
        assert bool(support.bad(np.array(value), SIZES)) == expected


@pytest.mark.parametrize("support", [count, boolean, label("kind")], ids=str)
def test_whole_numbers_of_any_type(support: Support) -> None:
    for dtype in (np.int8, np.uint16, np.int64, np.uint64, np.float32, np.bool_):
        assert support.bad(np.array([0, 1], dtype=dtype), SIZES).tolist() == [False, False]


@pytest.mark.parametrize("value", [2.0**63, 1e300])
def test_counts_that_cannot_be_stored_are_bad(value: float) -> None:
    assert count.bad(np.array([value, 2.0]), {}).tolist() == [True, False]


def test_label_depends_on_the_size_of_its_dim() -> None:
    assert label("kind").bad(np.array([0, 4, 5]), {"kind": 5}).tolist() == [False, False, True]
    assert label("kind").of == "kind"


def test_rounded_shares_are_made_exact() -> None:
    off = np.array([[0.2, 0.8 + 1e-7], [0.25, 0.75], [0.1, 0.9 + 1e-12]])
    made = simplex.exact(off)
    np.testing.assert_allclose(made.sum(-1), 1, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(made[1:], off[1:])


def test_numbers_of_half_precision() -> None:
    for support, values in ((count, [0, 1, 2048]), (positive, [0.5, 60000]), (label("kind"), [0, 3])):
        assert not support.bad(np.array(values, dtype=np.float16), {}).any()
    assert count.bad(np.array([0.5, INF, -1], dtype=np.float16), {}).all()


@pytest.mark.parametrize(
    ("row", "bad"),
    [
        ([0.2, 0.8, 0], [0, 0, 0]),
        ([1 / 3, 1 / 3, 1 / 3], [0, 0, 0]),
        ([0.2, 0.8, 0.1], [1, 1, 1]),
        ([0.2, 0.7, 0], [1, 1, 1]),
        ([0.2, 0.8 + 2e-8, 0], [0, 0, 0]),
        ([0.2, 0.8 + 2e-6, 0], [1, 1, 1]),
        ([1.5, -0.5, 0], [0, 1, 0]),
        ([NAN, 0.5, 0.5], [1, 1, 1]),
        ([INF, 0.5, 0.5], [1, 1, 1]),
        ([0, 0, 0], [1, 1, 1]),
    ],
)
def test_simplex_row(row: list[float], bad: list[int]) -> None:
    assert simplex.bad(np.array(row), {}).tolist() == [bool(b) for b in bad]
    both = simplex.bad(np.array([[0.5, 0.25, 0.25], row]), {})  # one bad row says nothing of another
    assert both.tolist() == [[False] * 3, [bool(b) for b in bad]]


@pytest.mark.parametrize(
    ("row", "bad"),
    [
        ([0.5, -0.25, -0.25], [0, 0, 0]),
        ([0, 0, 0], [0, 0, 0]),
        ([1e10, -1e10, 10.0], [0, 0, 0]),  # rounding of large values
        ([1.0, -1.0, 1e-6], [1, 1, 1]),
        ([0.2, 0.3, 0.5], [1, 1, 1]),
        ([NAN, 0, 0], [1, 1, 1]),
        ([INF, -INF, 0], [1, 1, 1]),
    ],
)
def test_zero_sum_row(row: list[float], bad: list[int]) -> None:
    assert zero_sum.bad(np.array(row), {}).tolist() == [bool(b) for b in bad]
    both = zero_sum.bad(np.array([[1, 2, -3], row]), {})
    assert both.tolist() == [[False] * 3, [bool(b) for b in bad]]


def edges(*pairs: tuple[int, int], p: int = 3, weight: float = -0.5) -> Any:
    matrix = np.zeros((p, p))
    for i, j in pairs:
        matrix[i, j] = weight
    return matrix


@pytest.mark.parametrize(
    "matrix",
    [edges(), edges((0, 1), (1, 2), (0, 2)), edges((2, 1), (1, 0)), edges((0, 1), p=2), np.zeros((1, 1))],
)
def test_acyclic_matrices_are_good(matrix: Any) -> None:
    assert not acyclic.bad(matrix, {}).any()


def test_edges_of_a_cycle_are_bad_and_those_before_it_are_not() -> None:
    mask = acyclic.bad(edges((0, 1), (1, 2), (2, 1)), {})
    assert np.argwhere(mask).tolist() == [[1, 2], [2, 1]]
    assert np.argwhere(acyclic.bad(edges((1, 1)), {})).tolist() == [[1, 1]]
    assert acyclic.bad(edges((0, 1), (1, 2), (2, 0)), {}).sum() == 3


def test_acyclic_looks_at_each_matrix_of_a_stack() -> None:
    stack = np.stack([edges((0, 1)), edges((0, 1), (1, 0))])[:, None]
    assert acyclic.bad(stack, {}).any((1, 2, 3)).tolist() == [False, True]


@pytest.mark.parametrize("value", [NAN, INF])
def test_acyclic_wants_finite_weights(value: float) -> None:
    assert np.argwhere(acyclic.bad(edges((0, 1), weight=value), {})).tolist() == [[0, 1]]


@repeatable
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(0.05, 0.9))
def test_acyclic_is_nilpotent(p: int, seed: int, share: float) -> None:
    matrix = np.random.default_rng(seed).uniform(size=(p, p)) < share
    walks = np.linalg.matrix_power(matrix.astype(float), p)  # a walk of p steps repeats a node
    assert acyclic.bad(matrix.astype(float), {}).any() == (walks > 0).any()


@repeatable
@given(st.lists(st.floats(), min_size=1, max_size=8))
def test_intervals_agree_with_python(values: list[float]) -> None:
    finite = [abs(v) < INF for v in values]  # False for NaN
    array = np.array(values)
    assert (~real.bad(array, {})).tolist() == finite
    assert (~positive.bad(array, {})).tolist() == [f and v > 0 for f, v in zip(finite, values, strict=True)]
    assert (~unit_interval.bad(array, {})).tolist() == [f and 0 <= v <= 1 for f, v in zip(finite, values, strict=True)]


@repeatable
@given(st.sampled_from(EVERY), st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 3))
def test_samples_lie_inside(support: Support, seed: int, n: int, lead: int) -> None:
    shape = (2,) * lead + (n,) * support.event
    values = np.asarray(support.sample(np.random.default_rng(seed), shape))
    assert values.shape == shape
    assert not support.bad(values, SIZES).any()
    assert not support.integer or values.dtype.kind == "i"


def test_checking_leaves_the_values_alone() -> None:
    for support in EVERY:
        values = np.asarray(support.sample(np.random.default_rng(0), (3, 3)))
        before = values.copy()
        support.bad(values, SIZES)
        np.testing.assert_array_equal(values, before)


def test_every_support_explains_itself() -> None:
    shipped = [s for s in vars(supports).values() if isinstance(s, Support)]
    assert len(shipped) == len(EVERY) - 1  # label is a function
    for support in EVERY:
        assert str(support) == support.name
        assert support.says
        assert support.remedy
        assert not support.remedy.endswith(".")  # the message adds it
