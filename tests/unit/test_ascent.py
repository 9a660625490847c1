"""The ascent loop, on maps whose optimum is known: a linear contraction and its quadratic bound."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genarium.engines.ascent import Ascent, ascend, best_of

Vector = NDArray[np.float64]
TOP = -1234.5
"""The bound at the optimum."""


class Contraction:
    """x -> rate x, with the bound TOP - |x|²; counts its calls."""

    def __init__(self, *rates: float) -> None:
        self.rates = np.array(rates)
        self.calls = 0

    def __call__(self, x: Vector) -> tuple[Vector, float]:
        self.calls += 1
        return self.rates * x, TOP - float(x @ x)


def identity(x: Vector) -> Vector:
    return x


@pytest.mark.parametrize("rate", [0.3, 0.7, 0.9, 0.99, 0.999])
def test_tolerance_is_the_distance_to_the_optimum(rate: float) -> None:
    tolerance = 1e-3
    found = ascend(Contraction(rate), np.array([30.0]), tolerance=tolerance, max_iterations=100_000)
    left = TOP - found.bounds
    assert found.converged
    assert left[-1] < tolerance * 1.01  # 1 %: rounding of the gains next to a bound of this size
    assert left[-3] > tolerance / 2 * rate**4  # and no more iterations than that takes


def test_last_gain_alone_would_stop_too_early() -> None:
    found = ascend(Contraction(0.999), np.array([30.0]), tolerance=1e-3, max_iterations=100_000)
    gains = np.diff(found.bounds)
    assert TOP - found.bounds[1 + int(np.argmax(gains < 1e-3))] > 0.1


def test_bounds_belong_to_their_states() -> None:
    update = Contraction(0.9, 0.5)
    found = ascend(update, np.array([3.0, -4.0]), tolerance=1e-6)
    assert found.bounds[0] == TOP - 25
    assert update(found.state)[1] == found.bound == found.bounds[-1]
    assert (np.diff(found.bounds) > 0).all()
    assert found.largest_fall == 0


def test_iterations_run_out() -> None:
    update = Contraction(0.999)
    found = ascend(update, np.array([30.0]), tolerance=1e-9, max_iterations=7)
    assert not found.converged
    assert len(found.bounds) == update.calls == 8
    assert found.state == pytest.approx([30 * 0.999**7])


def test_start_at_the_optimum() -> None:
    found = ascend(Contraction(0.5), np.zeros(2))
    assert found.converged
    assert found.bounds.tolist() == [TOP] * 3


def test_squarem_reaches_the_same_optimum_in_fewer_updates() -> None:
    start = np.array([30.0, -20.0, 5.0])
    runs, calls = [], []
    for vector in (None, (identity, identity)):
        update = Contraction(0.99, 0.9, 0.3)
        runs.append(ascend(update, start, tolerance=1e-6, max_iterations=10_000, vector=vector))
        calls.append(update.calls)
    plain, fast = runs
    assert plain.converged
    assert fast.converged
    assert TOP - plain.bound < 1e-5
    assert TOP - fast.bound < 1e-5
    assert fast.largest_fall == 0
    assert calls[1] == len(fast.bounds) < calls[0] / 5


def test_squarem_keeps_within_its_iterations() -> None:
    for most in range(1, 12):
        update = Contraction(0.999, 0.9)
        found = ascend(update, np.array([30.0, 5.0]), tolerance=1e-12, max_iterations=most, vector=(identity, identity))
        assert len(found.bounds) == update.calls <= most + 1


def test_squarem_turns_back_where_the_bound_would_fall() -> None:
    def update(x: Vector) -> tuple[Vector, float]:
        slow = 0.9 if abs(x[0]) > 1 else 0.1  # what the jump assumes does not hold near the optimum
        return slow * x, -float(np.abs(x[0]) if x[0] >= 0 else 1000 - x[0])

    jumps: list[Vector] = []

    def unpack(x: Vector) -> Vector:
        jumps.append(x)
        return x

    found = ascend(update, np.array([20.0]), tolerance=1e-8, vector=(identity, lambda x: unpack(x) - 0.5))
    assert jumps
    assert found.converged
    assert found.largest_fall == 0
    assert abs(found.state[0]) < 1e-6


def test_fall_of_the_bound_is_seen() -> None:
    found = Ascent(0, np.array([-10.0, -5.0, -5.25, -1.0, -1.125]), True)
    assert found.largest_fall == pytest.approx(0.25, abs=1e-7)


def test_rounding_is_no_fall() -> None:
    assert Ascent(0, np.array([-1e6, -1e6 - 1e-4]), True).largest_fall == 0
    assert Ascent(0, np.array([-1e6, -1e6 - 1e-2]), True).largest_fall > 0


def test_defective_update_is_caught_by_the_largest_fall() -> None:
    def overshoots(x: Vector) -> tuple[Vector, float]:
        return -1.5 * x, -float(x @ x)

    assert ascend(overshoots, np.array([1.0]), max_iterations=10).largest_fall > 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bound_that_is_no_number_raises(value: float) -> None:
    def update(step: int) -> tuple[int, float]:
        return step + 1, value if step == 3 else float(step)

    with pytest.raises(FloatingPointError, match="at iteration 3"):
        ascend(update, 0)


# Restarts


@pytest.fixture
def runs() -> list[Ascent[str]]:
    return [
        Ascent("low", np.array([-9.0, -5.0]), True),
        Ascent("best", np.array([-8.0, -4.0, -2.0, -1.0]), False),
        Ascent("same", np.array([-3.0, -1.001]), True),
        Ascent("falls", np.array([-6.0, -7.0, -6.5]), True),
    ]


def test_best_restart_leads(runs: list[Ascent[str]]) -> None:
    found = best_of(iter(runs), "runs", len(runs))
    assert found.best.state == "best"
    assert found.notes == {
        "bound": -1.0,
        "iterations": 3,
        "converged": 0,
        "largest_fall": pytest.approx(1, abs=1e-7),
        "restarts": 4,
        "restarts_at_best": 2,
    }


def test_trace_is_padded(runs: list[Ascent[str]]) -> None:
    dims, table = best_of(runs, "runs", len(runs)).trace
    assert dims == ("restart", "iteration")
    nan = np.nan
    np.testing.assert_array_equal(
        table, [[-9, -5, nan, nan], [-8, -4, -2, -1], [-3, -1.001, nan, nan], [-6, -7, -6.5, nan]]
    )


def test_first_of_equal_restarts_leads() -> None:
    make: Callable[[str], Ascent[Any]] = lambda name: Ascent(name, np.array([-1.0]), True)  # noqa: E731
    assert best_of([make("first"), make("second")], "runs", 2).best.state == "first"
