"""Replicates that fail: draws that do not suffice, fits that end in an error, and where they lie."""

from dataclasses import replace

import numpy as np
import pytest

from faulty_methods import Run, sampler, trying, verdict
from genarium.calibration import validate
from genarium.calibration.findings import Findings
from genarium.calibration.judge import judge
from genarium.calibration.plan import Plan
from genarium.calibration.replicate import LONGEST, run
from genarium.calibration.replicate import simulate as simulate_replicate
from genarium.declaration import Claim, Model, Problem, Result, Stage, Var
from genarium.errors import InputError
from genarium.supports import real

# Draws that do not suffice


def test_autocorrelated_draws_are_extended_until_they_suffice(toy: Model) -> None:
    found = validate(trying(toy, sampler(rho=0.8)), "tried", 60, seed=1, adaptive=False)
    assert found.passed
    runs = found.tree["runs"]
    assert (runs["length"] > 1).all()
    assert (runs["ess"] >= 1.5 * 99).all()
    assert (runs["rhat"] <= 1.01 + 4 / runs["ess"]).all()
    assert verdict(found, "thinned draws").status == "pass"


def test_draws_that_never_suffice_are_failures(toy: Model) -> None:
    found = validate(trying(toy, sampler(rho=0.9999)), "tried", 6, draws=100)
    assert not found.passed
    assert found.failures["reasons"] == {"not converged": 6}
    assert (found.tree["runs"]["length"] == LONGEST).all()
    assert [v.check for v in found.verdicts] == ["replicates that failed"]
    assert found.quantities == {}


def test_draws_that_cannot_be_extended_and_do_not_suffice_are_failures(toy: Model) -> None:
    def once(problem: Problem, rng: np.random.Generator) -> Result:
        return sampler(rho=0.9)(problem, rng, chains=2, draws=200)

    found = validate(trying(toy, once), "tried", 5)
    assert found.failures["reasons"] == {"not converged": 5}


@pytest.mark.parametrize("claim", ["exact", "approximate"])
def test_too_few_draws_are_failures(toy: Model, claim: Claim) -> None:
    def few(problem: Problem, rng: np.random.Generator) -> Result:
        return sampler()(problem, rng, chains=1, draws=50)

    found = validate(trying(toy, few, claim), "tried", 5)
    assert found.failures["count"] == 5
    assert not found.passed


@pytest.mark.parametrize("claim", ["exact", "approximate", "point"])
def test_estimates_that_are_no_numbers_are_failures(toy: Model, claim: Claim) -> None:
    def broken(problem: Problem, rng: np.random.Generator) -> Result:
        if claim == "point":
            return Result(point={"theta": np.array(np.nan)})
        return Result(posterior={"theta": np.where(np.arange(400) == 7, np.nan, 1.0).reshape(2, 200)})

    found = validate(trying(toy, broken, claim), "tried", 5)
    assert found.failures["reasons"] == {"theta is NaN": 5}


# Fits that fail


def picky(limit: float) -> Run:
    def run(problem: Problem, rng: np.random.Generator, *, chains: int = 2, draws: int = 200) -> Result:
        if problem["y"].mean() > limit:
            raise ValueError("too large")
        return sampler()(problem, rng, chains=chains, draws=draws)

    return run


def test_failures_are_counted_and_their_region_is_found(toy: Model) -> None:
    found = validate(trying(toy, picky(1.5)), "tried", 100, seed=1)
    failed = found.tree["runs"]["failed"].to_numpy()
    assert not found.passed
    assert 0 < failed.sum() < 50
    assert found.failures["count"] == failed.sum()
    assert found.failures["of"] == 100
    assert found.failures["replicates"] == np.flatnonzero(failed).tolist()
    assert found.failures["reasons"] == {"ValueError: too large": failed.sum()}
    assert found.failures["region"].startswith("where theta is large (p = ")
    told = verdict(found, "replicates that failed")
    assert (told.status, told.value) == ("fail", failed.sum())
    assert "theta is large" in told.where
    assert found.tree["prior_sbc"]["draw"].to_numpy().tolist() == np.flatnonzero(~failed).tolist()


def test_a_rare_failure_is_a_warning(toy: Model) -> None:
    plan = Plan(toy, "conjugate", seed=1)
    data = [simulate_replicate(plan, index).problem for index in range(60)]
    means = sorted(float(problem["y"].mean()) for problem in data if isinstance(problem, Problem))
    found = validate(trying(toy, picky((means[-1] + means[-2]) / 2)), "tried", 60, seed=1)
    assert found.passed
    assert (verdict(found, "replicates that failed").status, found.failures["count"]) == ("warn", 1)
    assert found.failures["region"] == ""


def test_failures_anywhere_have_no_region(toy: Model) -> None:
    def moody(problem: Problem, rng: np.random.Generator) -> Result:
        if rng.uniform() < 0.3:
            raise RuntimeError("no luck\nand a long story")
        return sampler()(problem, rng, chains=2, draws=200)

    found = validate(trying(toy, moody), "tried", 60, seed=1)
    assert found.failures["count"] > 5
    assert found.failures["region"] == ""
    assert list(found.failures["reasons"]) == ["RuntimeError: no luck"]


def test_variables_that_never_vary_have_no_region(toy: Model) -> None:
    def draw(rng: np.random.Generator) -> float:
        return 1.0

    unknown = Stage({**toy.unknown.variables, "one": Var((), real, "One.", "1")}, {**toy.unknown.draw, "one": draw})  # type: ignore[dict-item]

    def run(problem: Problem, rng: np.random.Generator) -> Result:
        theta = picky(1.0)(problem, rng, chains=2, draws=200).posterior["theta"]
        return Result(posterior={"theta": theta, "one": np.ones((2, 200))})

    found = validate(trying(toy, run, unknown=unknown), "tried", 40, seed=1)
    assert found.failures["region"].startswith("where theta is large")


def test_data_that_cannot_be_used_are_failures(toy: Model) -> None:
    def refuse(problem: Problem) -> None:
        if problem["y"].mean() > 0:
            raise InputError("toy: the mean is positive.")

    found = validate(replace(toy, check=refuse), "conjugate", 30, seed=1)
    assert found.failures["reasons"] == {"InputError: toy: the mean is positive.": found.failures["count"]}
    assert found.failures["region"].startswith("where theta is large")


def test_chains_that_disagree_are_told_though_their_replicates_count_as_failed(toy: Model) -> None:
    plan = Plan(toy, "conjugate", seed=1)
    records = [run(plan, index) for index in range(30)]
    (before,) = (v for v in judge(Findings(plan, records)) if v.check == "R-hat beyond chance")
    assert before.status == "pass"
    records[3]["stats"]["rhat"] = 2.0
    records[3]["error"] = "not converged"
    (after,) = (v for v in judge(Findings(plan, records)) if v.check == "R-hat beyond chance")
    assert (after.status, after.value) == ("fail", 1 / 30)
