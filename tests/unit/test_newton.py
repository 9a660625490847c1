"""Newton's method in a trust region: minima in closed form, small gradients, steps that are taken back."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genarium.engines import newton

Array = NDArray[Any]


def quadratic(x: Array) -> tuple[float, Array]:
    hessian = np.array([[2.0, 0.9, 0.0], [0.9, 1.0, 0.2], [0.0, 0.2, 0.7]])
    gradient = hessian @ (x - [1.0, 2.0, 3.0])
    return 0.5 * float((x - [1.0, 2.0, 3.0]) @ gradient) + 7, gradient


def rosenbrock(x: Array) -> tuple[float, Array]:
    a, b = 1 - x[0], x[1] - x[0] ** 2
    return float(a**2 + 100 * b**2), np.array([-2 * a - 400 * x[0] * b, 200 * b])


def well(x: Array) -> tuple[float, Array]:
    """Two minima at -1 and 1, negative curvature between; not defined beyond 3."""
    if abs(x[0]) > 3:
        return np.inf, np.full(1, np.nan)
    return float((x[0] ** 2 - 1) ** 2), 4 * x * (x**2 - 1)


def test_quadratic_is_solved_in_few_steps() -> None:
    found = newton.minimise(quadratic, np.zeros(3), tolerance=1e-9)
    assert found.converged
    assert len(found.values) < 8
    np.testing.assert_allclose(found.x, [1, 2, 3], atol=1e-8)
    assert found.value == pytest.approx(7)
    np.testing.assert_array_equal(found.gradient, quadratic(found.x)[1])


def test_curved_valley() -> None:
    found = newton.minimise(rosenbrock, np.array([-1.2, 1.0]), tolerance=1e-9)
    assert found.converged
    np.testing.assert_allclose(found.x, 1, atol=1e-8)
    assert (np.diff([rosenbrock(np.array([-1.2, 1.0]))[0], *found.values]) < 0).all()


@pytest.mark.parametrize(("start", "end"), [(0.1, 1), (-0.1, -1), (2.9, 1)])
def test_negative_curvature_and_steps_off_the_domain(start: float, end: float) -> None:
    found = newton.minimise(well, np.array([start]), tolerance=1e-10, radius=100.0)
    assert found.converged
    assert found.x[0] == pytest.approx(end, abs=1e-9)


def test_gradient_comes_below_the_rounding_of_the_objective() -> None:
    """Beside 1e9 the objective's last digits are 1e-7: of a gradient below 3e-4 it sees nothing."""

    def large(x: Array) -> tuple[float, Array]:
        return float((np.exp(x) - 2 * x + x @ x / 2).sum()) + 1e9, np.exp(x) - 2 + len(x) * x

    found = newton.minimise(large, np.array([1.0, -1.0, 0.2]), tolerance=1e-11)
    assert found.converged
    np.testing.assert_allclose(np.exp(found.x) + 3 * found.x, 2, atol=1e-11)
    assert large(found.x + 1e-5)[0] == found.value


def test_it_says_when_it_did_not_get_there() -> None:
    found = newton.minimise(rosenbrock, np.array([-1.2, 1.0]), tolerance=1e-9, max_iterations=3)
    assert not found.converged
    assert len(found.values) <= 3
    assert found.value == rosenbrock(found.x)[0]


def test_the_objective_never_rises_where_slopes_jump() -> None:
    """Beside a jump the gradient can be smaller where the objective is larger."""
    for seed in range(50, 60):
        rng = np.random.default_rng(seed)
        sides, offsets = rng.normal(size=(40, 6)), rng.normal(size=40)

        def kinked(x: Array, sides: Array = sides, offsets: Array = offsets) -> tuple[float, Array]:
            left = sides @ x - offsets
            return float(5 * np.abs(left).mean() + 0.5 * x @ x) + 300, 5 * sides.T @ np.sign(left) / 40 + x

        found = newton.minimise(kinked, np.ones(6), tolerance=1e-9, max_iterations=300)
        assert np.diff(found.values).max(initial=0) < 1e-8
