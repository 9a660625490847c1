"""Linear response: the covariances that a mean-field approximation leaves out, from how its optimum answers a tilt.

Add t'f(theta) to the log density and move the optimum of the bound along: d E_q[f] / dt is the covariance of f under
the exact posterior, and under q it is better than the covariance that q itself holds (Giordano, Broderick and Jordan
2018, JMLR 19(51)). All that is needed of a model is one sweep of its coordinate ascent under a tilt and the means of
f that follow from a state. With u* the fixed point of the sweep,

    Cov_LR(f) = D_t mean + D_u mean (I - D_u sweep)^-1 D_t sweep    at (u*, t = 0).

The derivatives are central differences along directions; small states are solved densely, large ones by GMRES.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from genarium.errors import ApproximationError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Map = Callable[[Vector, Vector], Vector]

STEP = 1e-4
"""Step of the differences, in the natural units of what is moved: their error is of the order of its square."""

DENSE = 32
"""Largest state whose derivative is written out as a matrix."""

SETTLED, STILL = 1e-8, 1e-5
"""Movement over a sweep, in the units of the state: at most this at a fixed point, and where derivatives are taken."""

PRECISION, DEPENDENT = 1e-9, 1e-7
"""Of the iterative solution: residual over right-hand side; share of a product that is new, below which it is none."""

ASYMMETRY, SINGULAR = 1e-3, 1e-6
"""Largest difference between two correlations that should be the same, and smallest eigenvalue of the correlations: at
an optimum the differences' error alone stands against them."""


def linear_response(
    sweep: Map, mean: Map, state: Vector, tilts: int, *, scale: Vector | float = 1.0, used: Matrix | None = None
) -> Matrix:
    """Return the covariance of f that the answer of a fixed point to tilts of the log density by t'f implies.

    Parameters
    ----------
    sweep : callable
        ``sweep(state, tilt)``: the state after one sweep of coordinate ascent, shape (n,).
    mean : callable
        ``mean(state, tilt)``: expectation of f under the optimal factors given the state, shape (F,).
    state : ndarray, shape (n,)
        Fixed point of the sweep without tilt (see :func:`settled`).
    tilts : int
        F, the number of functions f.
    scale : float or ndarray, shape (n,)
        Natural unit of each element of the state: a change by one of them matters, by a thousandth hardly.
    used : ndarray, shape (P, F), optional
        Combinations of f whose covariance must be positive definite (default: f itself, which must then not be
        overcomplete).

    Returns
    -------
    ndarray, shape (F, F)

    Raises
    ------
    ApproximationError
        If the state is no fixed point of the sweep, or no maximum of the bound.
    """
    none = np.zeros(tilts)
    unit = np.broadcast_to(scale, state.shape)
    moved = np.abs((sweep(state, none) - state) / unit).max(initial=0.0)
    if not moved <= STILL:
        raise _refusal(f"a sweep still moves its state by {moved:.2g} units (at most {STILL:g})")
    steps = _tilt_steps(mean, state, tilts)
    own = _tilted(lambda t: mean(state, t), steps)  # (F, F): what q holds itself
    answer = _solver(lambda u: sweep(u, none), state, unit)(_tilted(lambda t: sweep(state, t), steps))  # (n, F)
    passed_on = [_along(lambda u: mean(u, none), state, direction, unit) for direction in answer.T]
    covariance = own + np.column_stack(passed_on)
    _check(covariance, used)
    symmetric: Matrix = (covariance + covariance.T) / 2
    return symmetric


def settled(
    sweep: Callable[[Vector], Vector], state: Vector, *, scale: Vector | float = 1.0, attempts: int = 8
) -> Vector:
    """Move a nearly converged state to the fixed point of the sweep, by Newton's method.

    Parameters
    ----------
    sweep : callable
        ``sweep(state)``: the state after one sweep, shape (n,).
    state : ndarray, shape (n,)
    scale : float or ndarray, shape (n,)
        Natural unit of each element.
    attempts : int
        Derivatives that are taken at most; each serves three steps.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ApproximationError
        If there is no fixed point near.
    """
    unit = np.broadcast_to(scale, state.shape)
    gap = sweep(state) - state
    first = size = float(np.abs(gap / unit).max(initial=0.0))
    for _ in range(attempts):
        if size <= SETTLED:
            return state + gap
        solve = _solver(sweep, state, unit)
        for _ in range(3):
            state = state + solve(gap[:, None])[:, 0]
            gap = sweep(state) - state
            size = float(np.abs(gap / unit).max(initial=0.0))
            if not size <= max(1.0, 10 * first):  # also where it is NaN
                raise _refusal("Newton's method does not find a fixed point near the end of the ascent")
            if size <= SETTLED:
                break
    if size <= SETTLED:
        return state + gap
    raise _refusal(f"a sweep still moves its state by {size:.2g} units (at most {SETTLED:g})")


def _refusal(why: str) -> ApproximationError:
    return ApproximationError(
        f"linear response needs an optimum of the bound, and this is none: {why}. Raise max_iterations or restarts, "
        "ask for fewer components, or use an exact method.",
        np.inf,
    )


def _check(covariance: Matrix, used: Matrix | None) -> None:
    """Refuse what cannot be a covariance: at a maximum of the bound it is symmetric and positive definite."""
    some = covariance if used is None else used @ covariance @ used.T
    variance = np.diag(some)
    if not (np.isfinite(some).all() and (variance > 0).all()):
        raise _refusal("a variance is not positive")
    correlation = some / np.sqrt(np.outer(variance, variance))
    apart = np.abs(correlation - correlation.T).max(initial=0.0)
    if apart > ASYMMETRY:
        raise _refusal(f"the response is not symmetric (correlations differ by {apart:.2g})")
    smallest = np.linalg.eigvalsh((correlation + correlation.T) / 2)[0] if len(some) else 1.0
    if not smallest > SINGULAR:
        raise _refusal(f"the covariance is not positive definite (eigenvalue {smallest:.2g} of the correlations)")


def _along(function: Callable[[Vector], Vector], at: Vector, direction: Vector, unit: Vector) -> Vector:
    """Differentiate along a direction, by a step of at most ``STEP`` units in any element."""
    size = np.abs(direction / unit).max(initial=0.0)
    if not (0 < size < np.inf):
        return 0 * function(at)
    step = STEP / size * direction
    out: Vector = (function(at + step) - function(at - step)) * (size / (2 * STEP))
    return out


def _tilt_steps(mean: Map, state: Vector, tilts: int) -> Vector:
    """Find steps that move the mean of f by ``STEP`` of its sd under q: a variance is the slope of a mean."""
    steps = np.full(tilts, 1e-2)
    for _ in range(2):
        variance = np.diag(_tilted(lambda t: mean(state, t), steps))
        steps = STEP / np.sqrt(np.maximum(variance, 1e-8))
    return steps


def _tilted(function: Callable[[Vector], Vector], steps: Vector) -> Matrix:
    """Differentiate with respect to the tilt at zero; one column a tilt."""
    columns = [(function(step) - function(-step)) / (2 * step.sum()) for step in np.diag(steps)]
    return np.column_stack(columns)


def _solver(sweep: Callable[[Vector], Vector], state: Vector, unit: Vector) -> Callable[[Matrix], Matrix]:
    """Return the solution of (I - D sweep) X = B as a function of B; shapes (n, F)."""
    if len(state) > DENSE:
        return _Krylov(sweep, state, unit)
    derivative = np.column_stack([_along(sweep, state, direction, unit) / unit for direction in np.diag(unit)])

    def solve(right: Matrix) -> Matrix:
        try:
            answer: Matrix = np.linalg.solve(np.eye(len(state)) - derivative, right / unit[:, None])
        except np.linalg.LinAlgError:
            raise _refusal("the bound is flat in some direction") from None
        return unit[:, None] * answer

    return solve


class _Krylov:
    """GMRES on directional derivatives, in the form that keeps its directions (GCR).

    All right-hand sides are solved in one growing space: what a tilt moves, others have mostly moved before, so that
    all of them together take about as many sweeps as the state has directions that matter.
    """

    def __init__(self, sweep: Callable[[Vector], Vector], state: Vector, unit: Vector) -> None:
        self.sweep, self.state, self.unit = sweep, state, unit
        self.directions = np.empty((0, len(state)))
        self.products = np.empty((0, len(state)))
        """Of the matrix with each direction; orthonormal."""

    def __call__(self, right: Matrix) -> Matrix:
        columns = [self.unit * self.solve(b) for b in (right / self.unit[:, None]).T]
        return np.column_stack(columns)

    def solve(self, b: Vector) -> Vector:
        """Solve for one right-hand side, in the units of the state."""
        known = self.products @ b
        x, left = known @ self.directions, b - known @ self.products
        while np.linalg.norm(left) > PRECISION * np.linalg.norm(b):
            if len(self.products) >= len(b) or not self.extend(left):
                raise _refusal("the equations of its response cannot be solved")
            share = self.products[-1] @ left
            x, left = x + share * self.directions[-1], left - share * self.products[-1]
        return x

    def extend(self, direction: Vector) -> bool:
        """Add a direction and its product, or say that the product is none but those before."""
        product = direction - _along(self.sweep, self.state, direction * self.unit, self.unit) / self.unit
        size = np.linalg.norm(product)
        for _ in range(2):  # the second time removes the rounding of the first
            known = self.products @ product
            product, direction = product - known @ self.products, direction - known @ self.directions
        norm = np.linalg.norm(product)
        if not norm > DEPENDENT * size:
            return False
        self.directions = np.vstack([self.directions, direction / norm])
        self.products = np.vstack([self.products, product / norm])
        return True
