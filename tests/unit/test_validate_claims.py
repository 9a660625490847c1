"""Validation of methods that claim no exact draws: approximations and point estimates."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from faulty_methods import Array, Run, moments, sampler, trying, verdict
from genarium.calibration import validate
from genarium.calibration.plan import Plan
from genarium.calibration.replicate import simulate as simulate_replicate
from genarium.declaration import Calibration, Labelled, Model, Problem, Result
from genarium.errors import InputError

# Approximate methods


def test_an_approximation_is_told_off_and_passes(toy: Model) -> None:
    found = validate(trying(toy, sampler(stretch=0.2), "approximate"), "tried", 100, seed=1)
    assert found.passed
    assert not found.calibrated
    assert found.simulations == 100
    assert verdict(found, "ranks").status == verdict(found, "coverage").status == "warn"
    assert verdict(found, "coverage").advice == "Intervals are too narrow."
    assert verdict(found, "symmetry").status == "pass"
    khat = found.tree["runs"]["khat"].to_numpy()
    assert khat.shape == (100,)
    assert verdict(found, "Pareto").value == pytest.approx(np.median(khat))
    assert verdict(found, "Pareto").status == "warn"


def test_a_biased_approximation_is_told_by_its_asymmetry(toy: Model) -> None:
    found = validate(trying(toy, sampler(shift=1.0), "approximate"), "tried", 100, seed=1)
    told = verdict(found, "symmetry")
    assert told.status == "warn"
    assert found.quantities["theta"]["asymmetry_p"] < 1e-3
    assert "too high" in found.quantities["theta"]["direction"]


@pytest.mark.slow
def test_an_approximation_that_is_exact_passes_throughout(toy: Model) -> None:
    found = validate(trying(toy, sampler(), "approximate"), "tried", 100, seed=1)
    assert {v.status for v in found.verdicts} == {"pass"}
    assert found.calibrated
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("stretch", "passed"), [(1.0, True), (0.5, False), (2.5, False)])
def test_corrected_intervals_are_held_to_their_coverage(toy: Model, stretch: float, passed: bool) -> None:
    def run(problem: Problem, rng: np.random.Generator, *, covariance: str = "mean_field") -> Result:
        draws = sampler(stretch=stretch if covariance == "linear_response" else 0.1)(problem, rng)
        return Result(posterior=draws.posterior)

    model = trying(toy, run, "approximate")
    found = validate(model, "tried", 200, seed=1, covariance="linear_response")
    assert found.passed is passed
    assert all(v.status == "pass" for v in found.verdicts if "(corrected)" in v.check) is passed
    assert validate(model, "tried", 20, seed=1).passed


def test_what_a_method_learns_is_drawn_and_kept_from_it(toy: Model) -> None:
    """Around the value that the fit is given; only under the options by which it learns."""

    def run(problem: Problem, rng: np.random.Generator, *, learns: bool = True) -> Result:
        return sampler()(problem, rng)

    calibration = Calibration(learned=lambda options: {"tau": 2.0, "absent": 1.0} if options["learns"] else {})
    model = trying(toy, run, "approximate", calibration=calibration)
    thetas = {}
    for learns in (True, False):
        plan = Plan(model, "tried", {"learns": learns, "tau": 3.0}, seed=1)
        assert plan.learned == ({"tau": 2.0} if learns else {})
        made = [simulate_replicate(plan, i) for i in range(400)]
        problems = [one.problem for one in made if isinstance(one.problem, Problem)]
        assert [float(problem["tau"]) for problem in problems] == [3.0] * 400
        thetas[learns] = np.log(np.abs([float(one.truth["theta"]) for one in made]))
    spread = np.pi**2 / 8  # variance of ln |z|, z standard normal
    for learns, more in ((True, 4.0), (False, 0.0)):
        assert thetas[learns].var() == pytest.approx(spread + more, rel=4 * np.sqrt(6 / 400))


@pytest.mark.parametrize(("corrected", "passed"), [((), False), (("theta",), False), (("nought",), True)])
def test_a_correction_is_held_to_what_it_corrects(toy: Model, corrected: tuple[str, ...], passed: bool) -> None:
    def run(problem: Problem, rng: np.random.Generator, *, covariance: str = "mean_field") -> Result:
        return Result(posterior=sampler(stretch=0.3)(problem, rng).posterior)

    def quantities(*, theta: Array) -> dict[str, Array]:
        return {"nought": np.zeros_like(theta)}  # ranked by chance

    told = {"calibration": Calibration(corrected=corrected), "test_quantities": quantities}
    model = trying(toy, run, "approximate", **told)
    found = validate(model, "tried", 100, seed=1, covariance="linear_response")
    coverage = verdict(found, "coverage of 90% intervals (corrected)")
    assert (coverage.status == "pass") is passed
    assert ("mean of those corrected" in coverage.where) is bool(corrected)


def test_distances_to_an_exact_method(toy: Model) -> None:
    model = trying(toy, sampler(shift=1.0, stretch=0.5), "approximate")
    found = validate(model, "tried", 30, seed=1, reference="conjugate", n_reference=20)
    theta = found.quantities["theta"]
    error = 4 * np.sqrt(1 / 1000 / 20 * np.pi / 2)  # of a median of 20 means of 1000 draws, in sds
    assert theta["shift_in_sd"] == pytest.approx(1, abs=2 * error)
    assert theta["distance_in_sd"] == pytest.approx(1, abs=2 * error)
    assert theta["sd_ratio"] == pytest.approx(0.5, rel=2 * error)
    told = verdict(found, "distance to conjugate")
    assert told.status == "warn"
    assert "20 replicates" in told.where


def test_what_the_exact_method_found_is_taken_by_others_on_the_same_data(toy: Model, tmp_path: Path) -> None:
    compared: dict[str, Any] = {"seed": 1, "reference": "conjugate", "n_reference": 4, "references": tmp_path}
    first = validate(trying(toy, sampler(), "approximate"), "tried", 20, **compared)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    for file in files:  # so that it is seen which one is taken
        told = json.loads(file.read_text())
        file.write_text(json.dumps(told | {"sd": [2 * sd for sd in told["sd"]]}))
    second = validate(trying(toy, sampler(shift=1.0), "approximate"), "tried", 20, **compared)
    assert sorted(tmp_path.iterdir()) == files
    ratios = [one.quantities["theta"]["sd_ratio"] for one in (first, second)]
    assert ratios[1] == pytest.approx(ratios[0] / 2, rel=0.2)
    validate(trying(toy, sampler(), "approximate"), "tried", 20, **{**compared, "seed": 2})
    assert len(list(tmp_path.iterdir())) == 8
    with pytest.raises(InputError, match="needs the method whose results it keeps"):
        validate(trying(toy, sampler(), "approximate"), "tried", 20, references=tmp_path)


def test_quantities_that_never_vary_have_no_distance(toy: Model) -> None:
    constant = replace(toy, test_quantities=lambda theta: {"one": 1.0}, vectorized=False)
    model = trying(constant, sampler(), "approximate")
    found = validate(model, "tried", 20, reference="conjugate")
    assert "sd_ratio" in found.quantities["theta"]
    assert "sd_ratio" not in found.quantities["one"]
    assert found.plan["n_reference"] == 50


# Point methods


def climber(*, miss: float = 0.0, fall: float = 0.0, prior: bool = True) -> Run:
    """Return the mode, or a place ``miss`` sds away; the trace of its objective falls by ``fall``."""

    def run(problem: Problem, rng: np.random.Generator) -> Result:
        mean, sd = moments(problem, prior)
        theta = np.array(mean + miss * sd)
        model = problem.model
        assert model.log_likelihood is not None
        assert model.log_prior is not None
        bound = float(problem.call(model.log_likelihood, theta=theta).sum())
        bound += prior * problem.call(model.log_prior, theta=theta)
        trace = np.array([bound - 2, bound - 1, bound - 1 - fall, bound])
        point: dict[str, Array | Labelled] = {"theta": theta, "bound": (("iteration",), trace)}
        return Result(point=point, notes={"bound": bound})

    return run


@pytest.mark.parametrize("prior", [True, False], ids=["map", "ml"])
def test_a_method_that_finds_the_mode_passes(toy: Model, prior: bool) -> None:
    found = validate(trying(toy, climber(prior=prior), "point"), "tried", 40, seed=1)
    assert {v.check: v.status for v in found.verdicts} == dict.fromkeys(
        ["replicates that failed", "bound never falls", "optimum found"], "pass"
    )
    assert "prior_sbc" not in found.tree
    assert set(found.quantities["theta"]) == {"rmse", "sd_of_truth"}
    assert (found.tree["runs"]["gain_on_truth"] >= 0).all()


def test_an_objective_that_falls_fails(toy: Model) -> None:
    found = validate(trying(toy, climber(fall=0.5), "point"), "tried", 10)
    told = verdict(found, "bound never falls")
    assert told.status == "fail"
    assert told.value == pytest.approx(0.5)
    assert not found.passed


def test_an_optimum_that_is_missed_fails(toy: Model) -> None:
    found = validate(trying(toy, climber(miss=1.0), "point"), "tried", 100, seed=1)
    told = verdict(found, "optimum found")
    nearer = norm.cdf(1) - norm.cdf(-1)  # chance that the truth lies nearer to the mode than one sd
    assert told.status == "fail"
    assert told.value == pytest.approx(nearer, abs=4 * np.sqrt(nearer * (1 - nearer) / 100))
