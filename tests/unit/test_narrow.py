"""Narrowing: data that are one number are computed with once, and the graph is the same function."""

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.graph.traversal import applys_between

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.engines import compiled as densities
from genarium.engines.narrow import narrowed

N, K = 30, 2
X = np.arange(float(N))
MU = pt.dvector("mu")


def shapes(output: Any, name: str) -> list[tuple[int | None, ...]]:
    """Static shapes of what an elementwise operation makes."""
    nodes = applys_between([], [output])
    return [node.outputs[0].type.shape for node in nodes if str(getattr(node.op, "scalar_op", "")) == name]


def value(graph: Any, mu: Any) -> Any:
    return pytensor.function([MU], graph, mode="FAST_COMPILE", on_unused_input="ignore")(mu)


@pytest.fixture
def size() -> Any:
    return pytensor.shared(np.ones(N), name="size")


@pytest.fixture
def x() -> Any:
    return pytensor.shared(X, name="x")


def test_logarithms_are_taken_once(size: Any, x: Any) -> None:
    graph = (x[:, None] * pt.log(0.5 + size[:, None] * MU)).sum()
    (out,) = narrowed([graph], [size])
    assert shapes(graph, "log") == [(None, None)]
    assert shapes(out, "log") == [(1, None)]
    mu = np.array([2.0, 3.0])
    np.testing.assert_allclose(value(out, mu), (X[:, None] * np.log(0.5 + mu)).sum())


def test_gradient_adds_up_over_the_dim(size: Any, x: Any) -> None:
    (out,) = narrowed([(x[:, None] * pt.log(0.5 + size[:, None] * MU)).sum()], [size])
    mu = np.array([2.0, 3.0])
    np.testing.assert_allclose(value(pt.grad(out, MU), mu), X.sum() / (0.5 + mu))


def test_other_operations_are_given_the_whole_array(size: Any, x: Any) -> None:
    scaled = pt.exp(size[:, None] * MU)  # (N, K)
    graphs = [scaled.sum(0), scaled[3], pt.log(x + 1) + size, scaled, size]
    mu = np.array([0.1, 0.2])
    for before, after in zip(graphs, narrowed(graphs, [size]), strict=True):
        expected = value(before, mu)
        assert value(after, mu).shape == expected.shape
        np.testing.assert_allclose(value(after, mu), expected)


def test_an_operation_behind_another_uses_what_was_narrowed(size: Any, x: Any) -> None:
    rows = (x[:, None] * pt.log(size[:, None] * MU)).sum(1)  # (N,)
    (out,) = narrowed([(rows * pt.exp(-size)).sum()], [size])
    assert shapes(out, "log") == [(1, None)]
    assert shapes(out, "exp") == [(1,)]
    np.testing.assert_allclose(value(out, np.full(K, 2.0)), X.sum() * K * np.log(2) / np.e)


def test_nothing_changes_without_uniform_data(size: Any, x: Any) -> None:
    graph = (x * size).sum()
    assert narrowed([graph], []) == [graph]


@pytest.mark.parametrize("size_factor", [None, pytest.param(2.0, marks=pytest.mark.slow)])
def test_only_known_variables_at_their_default_are_narrowed(size_factor: float | None) -> None:
    given = {} if size_factor is None else {"size_factor": np.full(N, size_factor)}
    tree = gn.simulate("nb_mixture", seed=1, cell=N, component=K, **given)
    problem = check(registry.get("nb_mixture"), tree)
    density = densities.Compiled(problem, interpreted=True)
    assert density.uniform == ({"size_factor"} if size_factor is None else set())
    wide = densities.Compiled(problem, interpreted=True)
    wide.uniform = frozenset()
    assert (shapes(density.graph(), "log") != shapes(wide.graph(), "log")) == (size_factor is None)
    at = density.start(np.random.default_rng(1)) + np.linspace(-0.5, 0.5, 1 + 2 * K)
    for jacobian in (False, True):
        found, expected = (d.log_density(at, jacobian=jacobian) for d in (density, wide))
        assert found[0] == pytest.approx(expected[0], rel=1e-12)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-9)


def test_a_dataset_off_the_default_gets_a_density_of_its_own() -> None:
    model = registry.get("nb_mixture")
    plain = check(model, gn.simulate("nb_mixture", seed=1, cell=N, component=K))
    deep = check(model, gn.simulate("nb_mixture", seed=1, cell=N, component=K, size_factor=np.linspace(0.5, 2, N)))
    assert densities.compiled(plain) is not densities.compiled(deep)
    assert densities.compiled(plain) is densities.compiled(plain)
    with pytest.raises(AssertionError):
        densities.compiled(plain).swap(deep)
