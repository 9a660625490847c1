"""Recovery: errors of a consistent estimator fall as N to the power -1/2, and those of another one are told."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genarium.calibration.plan import Plan
from genarium.calibration.recovery import EXPECTED, Recovery, recovery
from genarium.declaration import Calibration, Claim, Method, Model, Problem, Result
from genarium.errors import DeclarationError

Array = NDArray[Any]

SIZES = (20, 80, 320)


def estimator(toy: Model, wrong: Callable[[Problem], float], claim: Claim = "point") -> Plan:
    """A plan with the posterior mean of theta plus something wrong."""

    def run(problem: Problem, rng: np.random.Generator) -> Result:
        precision = problem.sizes["item"] + problem["sigma"] ** 2 / problem["tau"] ** 2
        return Result(point={"theta": np.asarray(problem["y"].sum() / precision + wrong(problem))})

    return Plan(replace(toy, methods={"tried": Method(run, claim, "A method under test.")}), "tried", seed=1)


@pytest.fixture(scope="module")
def found(toy: Model) -> Recovery:
    """Recovery by exact draws."""
    return recovery(Plan(toy, "conjugate", seed=1), SIZES, 40)


def test_errors_of_exact_draws_fall_as_they_must(found: Recovery) -> None:
    assert abs(found.slope - EXPECTED) <= 3 * found.standard_error
    assert found.verdict().status == "pass"
    assert found.error.shape == (40, 3, 2)
    assert found.names == ["theta", "theta_squared"]
    sd = np.sqrt(1 / (np.array(SIZES) + 0.25))
    np.testing.assert_allclose(np.sqrt((found.error[..., 0] ** 2).mean(0)), sd, rtol=4 / np.sqrt(80))


def test_what_more_units_do_not_determine_is_left_out(toy: Model, found: Recovery) -> None:
    plan = Plan(replace(toy, calibration=Calibration(undetermined=("theta",))), "conjugate", seed=1)
    left = recovery(plan, SIZES, 2)
    assert left.names == ["theta_squared"]
    np.testing.assert_array_equal(left.error[..., 0], found.error[:2, :, 1])


def test_data_that_grow_have_their_own_known_values(toy: Model) -> None:
    seen: set[float] = set()

    def noted(problem: Problem) -> float:
        seen.add(float(problem["sigma"]))
        return 0.0

    plan = estimator(toy, noted)
    growing = replace(plan.declared, calibration=Calibration(growing={"sigma": 0.25}))
    recovery(replace(plan, model=growing), SIZES, 2)
    assert seen == {0.25}
    with pytest.raises(DeclarationError, match="growing data give 'theta' a value"):
        replace(plan.declared, calibration=Calibration(growing={"theta": 0.25}))


def test_the_standard_error_is_that_of_the_slope(found: Recovery) -> None:
    spread = 1.11  # sd of ln |z| for a standard normal z; both quantities err together
    x = np.log(SIZES)
    expected = spread / np.sqrt(40 * ((x - x.mean()) ** 2).sum())
    assert found.standard_error == pytest.approx(expected, rel=0.4)


def test_the_slope_is_that_of_the_mean_log_error(found: Recovery) -> None:
    x, y = np.log(SIZES), np.log(np.abs(found.error)).mean((0, 2))
    assert found.slope == pytest.approx(((x - x.mean()) * y).sum() / ((x - x.mean()) ** 2).sum())


def test_truths_are_the_same_at_every_size(toy: Model) -> None:
    found = recovery(estimator(toy, lambda problem: 0.0), (5, 5000), 6)
    truth = recovery(estimator(toy, lambda problem: -problem["y"].sum() / (problem.sizes["item"] + 0.25)), (5, 5000), 6)
    np.testing.assert_array_equal(truth.error[:, 0], truth.error[:, 1])  # an estimate of 0 errs by the truth
    assert (np.abs(found.error[:, 1, 0]) < 5 / np.sqrt(5000)).all()


def test_a_bias_that_stays_fails(toy: Model) -> None:
    told = recovery(estimator(toy, lambda problem: 0.5), SIZES, 20).verdict()
    assert told.status == "fail"
    assert told.value > -0.25
    assert "biased" in told.advice


def test_errors_that_fall_faster_are_a_warning(toy: Model) -> None:
    told = recovery(estimator(toy, lambda problem: 1e4 / problem.sizes["item"] ** 2), SIZES, 20).verdict()
    assert told.status == "warn"
    assert "smallest data" in told.advice


def test_it_is_a_function_of_the_seed(toy: Model) -> None:
    one, same = (recovery(Plan(toy, "conjugate", seed=4), (5, 10), 3) for _ in range(2))
    other = recovery(Plan(toy, "conjugate", seed=5), (5, 10), 3)
    np.testing.assert_array_equal(one.error, same.error)
    assert (one.slope, one.standard_error) == (same.slope, same.standard_error)
    assert (one.error != other.error).all()


def refuse(problem: Problem) -> float:
    raise ValueError("no")


def test_fits_that_fail_are_counted_and_left_out(toy: Model) -> None:
    def picky(problem: Problem) -> float:
        return refuse(problem) if problem.sizes["item"] == 80 and problem["y"].mean() > 0 else 0.0

    found = recovery(estimator(toy, picky), SIZES, 20)
    failed = np.isnan(found.error[..., 0])
    assert found.to_dict()["failed"] == failed.sum()
    assert 0 < failed.sum() < 20
    assert not failed[:, [0, 2]].any()
    assert np.isfinite(found.slope)
    kept = ~failed.any(1)
    again = np.polyfit(np.log(SIZES), np.log(np.abs(found.error[kept])).mean((0, 2)), 1)[0]
    assert found.slope == pytest.approx(again)


def test_where_every_fit_fails_the_verdict_is_fail(toy: Model) -> None:
    found = recovery(estimator(toy, refuse), SIZES, 4)
    assert found.verdict().status == "fail"
    assert found.to_dict()["failed"] == 12


def test_where_every_fit_of_one_size_fails_the_verdict_is_fail(toy: Model) -> None:
    found = recovery(estimator(toy, lambda problem: refuse(problem) if problem.sizes["item"] == 80 else 0.0), SIZES, 4)
    assert found.verdict().status == "fail"
    assert found.to_dict()["failed"] == 4


def test_what_goes_into_a_certificate(found: Recovery) -> None:
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["sizes"] == list(SIZES)
    assert (told["truths"], told["failed"]) == (40, 0)
    typical = told["geometric_mean_error"]["theta"]
    np.testing.assert_allclose(typical, np.exp(np.log(np.abs(found.error[..., 0])).mean(0)))
    assert typical == sorted(typical, reverse=True)
