"""Minimisation to a small gradient: Newton's method in a trust region, its systems solved by conjugate gradients.

Nocedal and Wright (2006), Numerical Optimization, algorithms 4.1 and 7.2 (Steihaug). Where the decrease that a step
promises is lost in the rounding of the objective, a step counts as good if the gradient becomes smaller, and the
objective larger by no more than rounding: so the gradient comes down to its own rounding, which is far below that of
the objective.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

Objective = Callable[[Array], tuple[float, Array]]
"""``objective(x) -> (value, gradient)``; the value may be infinite."""

ROUNDING, RISE = 1e-13, 1e-11
"""Fractions of the objective's size: below which its differences mean nothing, and that it may rise by then."""


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes
    ----------
    x, gradient : ndarray, shape (n,)
    value : float
    values : list of float
        The objective after each step that was taken.
    converged : bool
        Whether the largest element of the gradient is below the tolerance.
    """

    x: Array
    value: float
    gradient: Array
    values: list[float]
    converged: bool


def minimise(
    objective: Objective,
    start: Array,
    *,
    tolerance: float,
    max_iterations: int = 100,
    radius: float = 1.0,
) -> Minimum:
    """Minimise a smooth function whose variables are scaled to unit curvature, roughly.

    Parameters
    ----------
    objective : callable
        Hessian-vector products are differences of its gradients.
    start : ndarray, shape (n,)
        With a finite objective.
    tolerance : float
        Largest element of the gradient at which the search stops.
    max_iterations : int
        Steps at most, those that are taken back included.
    radius : float
        Of the first trust region.

    Returns
    -------
    Minimum
    """
    x = np.asarray(start, dtype=float)
    value, gradient = objective(x)
    values: list[float] = []
    for _ in range(max_iterations):
        if np.abs(gradient).max() < tolerance:
            break
        step, promised = _steihaug(lambda v, x=x, g=gradient: _product(objective, x, g, v), gradient, radius)  # type: ignore[misc]
        new_value, new_gradient = objective(x + step)
        size = max(1.0, abs(value))
        if promised < ROUNDING * size:
            smaller = np.linalg.norm(new_gradient) < np.linalg.norm(gradient)
            good = 1.0 if smaller and new_value <= value + RISE * size else -1.0
        else:
            good = (value - new_value) / promised if np.isfinite(new_value) else -1.0
        length = float(np.linalg.norm(step))
        if good < 0.25:
            radius = 0.25 * length
        elif good > 0.75 and length > 0.99 * radius:
            radius *= 2
        if good > 1e-4:
            x, value, gradient = x + step, new_value, new_gradient
            values.append(value)
    return Minimum(x, value, gradient, values, bool(np.abs(gradient).max() < tolerance))


def _product(objective: Objective, x: Array, gradient: Array, direction: Array) -> Array:
    """Hessian times a direction, by a forward difference of gradients."""
    step = 1e-6 / np.linalg.norm(direction)
    return (objective(x + step * direction)[1] - gradient) / step


def _steihaug(product: Callable[[Array], Array], gradient: Array, radius: float) -> tuple[Array, float]:
    """Minimise the quadratic model within a ball; return the step and the decrease that it promises.

    The system is solved to a fraction of the gradient that shrinks with it, so that convergence is superlinear.
    """
    size = float(np.linalg.norm(gradient))
    enough = min(0.1, np.sqrt(size)) * size
    step, curved = np.zeros_like(gradient), np.zeros_like(gradient)  # and the Hessian times the step
    residual, direction = gradient, -gradient
    for _ in range(2 * len(gradient)):
        times = product(direction)
        curvature = float(direction @ times)
        along = float(residual @ residual) / curvature if curvature > 0 else np.inf
        if curvature <= 0 or np.linalg.norm(step + along * direction) >= radius:
            edge = _to_edge(step, direction, radius)
            step, curved = step + edge * direction, curved + edge * times
            break
        step, curved = step + along * direction, curved + along * times
        following = residual + along * times
        if np.linalg.norm(following) < enough:
            break
        direction = -following + float(following @ following) / float(residual @ residual) * direction
        residual = following
    return step, -float(gradient @ step + 0.5 * step @ curved)


def _to_edge(step: Array, direction: Array, radius: float) -> float:
    """How far to go along a direction to reach the edge of the ball."""
    a, b, c = float(direction @ direction), float(step @ direction), float(step @ step) - radius**2
    return float((-b + np.sqrt(max(b * b - a * c, 0.0))) / a)
