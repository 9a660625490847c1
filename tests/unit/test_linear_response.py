"""Linear response, where the answer is known: for a normal density it is the exact covariance."""

from collections.abc import Callable

import numpy as np
import pytest

from genarium.engines.linear_response import DENSE, Matrix, Vector, linear_response, settled
from genarium.errors import ApproximationError


def covariance_of(n: int, seed: int = 0) -> Matrix:
    """A covariance with sds from 0.1 to 10."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n, 2 * n)) * np.geomspace(0.1, 10, n)[:, None]
    out: Matrix = factor @ factor.T / (2 * n)
    return out


def coordinate_ascent(precision: Matrix, mean: Vector) -> Callable[[Vector, Vector], Vector]:
    """Mean field of a normal density, one coordinate after another; tilting theta_i adds to its linear term."""
    own = np.diag(precision)
    linear = precision @ mean

    def sweep(state: Vector, tilt: Vector) -> Vector:
        out = state.copy()
        for i in range(len(out)):
            out[i] += (linear[i] + tilt[i] - precision[i] @ out) / own[i]
        return out

    return sweep


@pytest.mark.parametrize("n", [5, DENSE + 8])
def test_a_normal_density_gets_its_exact_covariance(n: int) -> None:
    exact = covariance_of(n)
    precision = np.linalg.inv(exact)
    mean = np.random.default_rng(1).normal(0, 50, n)
    sweep, scale = coordinate_ascent(precision, mean), np.diag(precision) ** -0.5
    fixed = settled(lambda u: sweep(u, np.zeros(n)), mean + 0.3 * scale, scale=scale)
    np.testing.assert_allclose(fixed, mean, atol=1e-7)
    found = linear_response(sweep, sweep, fixed, n, scale=scale)
    sd = np.sqrt(np.diag(exact))
    np.testing.assert_allclose(found / np.outer(sd, sd), exact / np.outer(sd, sd), atol=1e-6)
    assert (scale < 0.9 * sd).any()  # what mean field gives instead


def test_functions_that_do_not_see_the_whole_state() -> None:
    """The covariance of two sums, from a state of five."""
    exact = covariance_of(5)
    precision = np.linalg.inv(exact)
    sums = np.array([[1.0, 1, 0, 0, 0], [0, 0, 1, -1, 0]])
    sweep = coordinate_ascent(precision, np.zeros(5))

    def tilted(state: Vector, tilt: Vector) -> Vector:
        return sweep(state, sums.T @ tilt)

    found = linear_response(tilted, lambda u, t: sums @ tilted(u, t), np.zeros(5), 2)
    np.testing.assert_allclose(found, sums @ exact @ sums.T, rtol=1e-6)


def test_overcomplete_functions_are_checked_where_they_are_used() -> None:
    exact = covariance_of(2)
    twice = np.array([[1.0, 0], [0, 1], [1, 1]])
    sweep = coordinate_ascent(np.linalg.inv(exact), np.zeros(2))

    def respond(used: Matrix | None) -> Matrix:
        return linear_response(
            lambda u, t: sweep(u, twice.T @ t), lambda u, t: twice @ sweep(u, twice.T @ t), np.zeros(2), 3, used=used
        )

    np.testing.assert_allclose(respond(np.eye(3)[:2]), twice @ exact @ twice.T, rtol=1e-6)
    with pytest.raises(ApproximationError, match="not positive definite"):
        respond(None)


def test_a_state_that_still_moves_is_refused() -> None:
    sweep = coordinate_ascent(np.linalg.inv(covariance_of(3)), np.ones(3))
    with pytest.raises(ApproximationError, match=r"this is none: a sweep still moves its state by .*max_iterations"):
        linear_response(sweep, sweep, np.full(3, 1.01), 3)


def test_a_saddle_is_refused() -> None:
    """The sweep does not move from zero, but the density has no maximum there."""
    precision = np.array([[1.0, 2], [2, 1]])  # eigenvalues 3 and -1
    sweep = coordinate_ascent(precision, np.zeros(2))
    with pytest.raises(ApproximationError, match="a variance is not positive") as refused:
        linear_response(sweep, sweep, np.zeros(2), 2)
    assert refused.value.khat == np.inf


def test_an_indefinite_covariance_is_refused() -> None:
    none = np.array([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ApproximationError, match="not positive definite"):
        linear_response(lambda u, t: none @ t, lambda u, t: none @ t, np.zeros(2), 2)


def test_means_of_other_functions_than_the_tilts_are_refused() -> None:
    sweep = coordinate_ascent(np.linalg.inv(np.array([[1.0, 0.5], [0.5, 1.0]])), np.zeros(2))
    other = np.array([[1.0, 0.8], [0.0, 1.0]])
    with pytest.raises(ApproximationError, match="not symmetric"):
        linear_response(sweep, lambda u, t: other @ sweep(u, t), np.zeros(2), 2)


def test_settled_solves_what_sweeps_would_take_long_for() -> None:
    calls = 0

    def sweep(u: Vector) -> Vector:
        nonlocal calls
        calls += 1
        return np.asarray(u + 1e-3 * (np.cos(u) - u))

    np.testing.assert_allclose(settled(sweep, np.array([0.7, 0.75])), 0.739085133215, atol=1e-5)
    assert calls < 50  # plain sweeps close a thousandth of the gap each


def test_settled_refuses_a_map_without_fixed_point() -> None:
    with pytest.raises(ApproximationError):
        settled(lambda u: u + 1, np.zeros(2))
    with pytest.raises(ApproximationError, match="Newton"):
        settled(lambda u: np.full(2, np.nan), np.zeros(2))
