"""Validation of methods whose faults are known: each is found, named, and told in the right direction."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import arviz_plots
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binom, chisquare, norm

from genarium import registry
from genarium.calibration import Validation, uniformity, validate
from genarium.calibration.findings import Findings
from genarium.calibration.judge import ALPHA, judge, rejected
from genarium.calibration.plan import Given, Plan
from genarium.calibration.replicate import LONGEST, run
from genarium.calibration.replicate import simulate as simulate_replicate
from genarium.data import check
from genarium.declaration import Calibration, Claim, Labelled, Method, Model, Problem, Result, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.supports import real
from genarium.verbs.simulate import simulate
from genarium.verdicts import Verdict

Array = NDArray[Any]
Run = Callable[..., Result]

FALSE_ALARM = 1e-3
"""A correct validation fails a test with this probability, over seeds; the seed is fixed."""


def moments(problem: Problem, prior: bool = True) -> tuple[float, float]:
    """Mean and sd of the posterior of theta."""
    precision = problem.sizes["item"] / problem["sigma"] ** 2 + prior / problem["tau"] ** 2
    return float(problem["y"].sum() / problem["sigma"] ** 2 / precision), float(precision**-0.5)


def sampler(
    *, shift: float = 0.0, stretch: float = 1.0, rho: float = 0.0, prior: bool = True, likelihood: bool = True
) -> Run:
    """Draw from the posterior moved by ``shift`` sds, ``stretch`` times as wide, by chains of autocorrelation rho."""

    def run(problem: Problem, rng: np.random.Generator, *, chains: int = 2, draws: int = 200) -> Result:
        mean, sd = moments(problem, prior) if likelihood else (0.0, float(problem["tau"]))
        steps = rng.normal(size=(chains, draws)) * np.sqrt(1 - rho**2)
        steps[:, 0] /= np.sqrt(1 - rho**2)
        z = lfilter([1], [1, -rho], steps)
        theta = mean + sd * (shift + stretch * z)
        return Result(
            posterior={"theta": theta}, sample_stats={"log_q": norm.logpdf(theta, mean + sd * shift, sd * stretch)}
        )

    return run


def trying(toy: Model, run: Run, claim: Claim = "exact", **changes: Any) -> Model:
    """The example model with one more method, ``tried``."""
    return replace(toy, methods={**toy.methods, "tried": Method(run, claim, "A method under test.")}, **changes)


def verdict(found: Validation, check: str) -> Verdict:
    """The verdict on a check."""
    (one,) = (v for v in found.verdicts if v.check.startswith(check))
    return one


@pytest.fixture(scope="module")
def found(toy: Model) -> Validation:
    """A validation of exact draws."""
    return validate(toy, "conjugate", 200, seed=1)


# An exact method


def test_exact_draws_pass(found: Validation) -> None:
    assert found.passed
    assert found.calibrated
    assert found.simulations == 200
    assert {v.status for v in found.verdicts} == {"pass"}
    assert list(found.quantities) == ["theta", "theta_squared", "log_likelihood", "log_prior"]
    assert str(found).startswith("toy by conjugate (claim: exact), 200 replicates: passed\n")


def test_it_is_shown_in_a_line_and_as_a_table(found: Validation) -> None:
    assert repr(found) == "<Validation toy by conjugate (claim: exact), 200 replicates: passed>"
    assert found._repr_html_().count("<tr class='pass'>") == len(found.verdicts)


def test_what_is_told_of_exact_draws(found: Validation) -> None:
    theta = found.quantities["theta"]
    assert theta["direction"] == ""
    assert theta["coverage"]["0.9"] == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 200))
    assert theta["sd_of_truth"] == pytest.approx(2, rel=0.25)
    sd = (30 + 0.25) ** -0.5
    assert theta["rmse"] == pytest.approx(sd, rel=4 / np.sqrt(400))
    assert theta["z_sd"] == pytest.approx(1, rel=4 / np.sqrt(400))


def test_verdicts_and_quantities_are_json(found: Validation) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    told = json.loads(json.dumps(found.to_dict()), parse_constant=refuse)
    assert told["passed"] is True
    assert told["model"] == "toy"
    assert [v["check"] for v in told["verdicts"]] == [v.check for v in found.verdicts]


def test_one_replicate_is_json_too(toy: Model) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(json.dumps(validate(toy, "conjugate", 1).to_dict()), parse_constant=refuse)


def test_ranks_take_every_value_equally_often(toy: Model) -> None:
    found = validate(toy, "conjugate", 400, seed=2, ranks=19, draws=40, adaptive=False)
    counts = np.bincount(found.tree["prior_sbc"]["theta"].to_numpy().ravel(), minlength=20)
    assert len(counts) == 20
    assert counts.min() > 0
    assert chisquare(counts).pvalue > FALSE_ALARM


def test_ties_are_broken_at_random(toy: Model) -> None:
    def discrete(theta: Array) -> Mapping[str, Any]:
        return {"sign": np.sign(theta), "whole": np.round(theta), "one": 1.0}

    found = validate(
        replace(toy, test_quantities=discrete, vectorized=False),
        "conjugate",
        200,
        seed=3,
        ranks=19,
        draws=40,
        adaptive=False,
    )
    assert found.passed
    for name in ("sign", "whole", "one"):
        counts = np.bincount(found.tree["prior_sbc"][name].to_numpy().ravel(), minlength=20)
        assert len(counts) == 20
        assert counts.min() > 0
        assert chisquare(counts).pvalue > FALSE_ALARM
    assert found.quantities["one"]["z_sd"] == 0


@pytest.mark.slow
def test_a_calibrated_method_is_rejected_no_more_often_than_promised(toy: Model) -> None:
    plan, rng, runs, count = Plan(toy, "conjugate"), np.random.default_rng(4), 100, 0
    stops = uniformity.looks(200)
    names = [f"q{j}" for j in range(30)]
    for _ in range(runs):
        records = [{"names": names, "pit": row} for row in rng.uniform(size=(200, 30)).tolist()]
        looks = zip(stops, uniformity.spent(ALPHA, len(stops)), strict=True)
        count += any(rejected(Findings(plan, records[:stop]), alpha) for stop, alpha in looks)
    assert count <= binom.ppf(1 - FALSE_ALARM, runs, ALPHA)


def test_the_first_replicates_do_not_depend_on_how_many_follow(toy: Model) -> None:
    few, many = (validate(toy, "conjugate", n, seed=5).tree["prior_sbc"] for n in (5, 10))
    xr.testing.assert_identical(few.to_dataset(), many.to_dataset().isel(draw=slice(5)))


def test_the_seed_decides(toy: Model) -> None:
    one, same, other = (validate(toy, "conjugate", 5, seed=s).tree["prior_sbc"]["theta"] for s in (6, 6, 7))
    assert (one == same).all()
    assert (one != other).any()


# The tree


def test_ranks_and_pit_agree(found: Validation) -> None:
    ranks, pit = found.tree["prior_sbc"].to_dataset(), found.tree["prior_sbc_pit"].to_dataset()
    assert ranks.attrs["L"] == 99
    assert set(ranks.data_vars) == set(pit.data_vars) == set(found.quantities)
    for name in found.quantities:
        assert ranks[name].dims == ("chain", "draw")
        assert ranks[name].dtype.kind == "i"
        assert ((pit[name] >= 0) & (pit[name] < 1)).all()
        np.testing.assert_array_equal(np.floor(pit[name] * 100), ranks[name])


def test_ranks_are_those_of_truth_and_estimate(found: Validation) -> None:
    tree = found.tree
    z = (tree["truth"]["theta"] - tree["estimate"]["theta"]) / tree["spread"]["theta"]
    np.testing.assert_allclose(tree["prior_sbc_pit"]["theta"], norm.cdf(z), atol=5 * np.sqrt(0.25 / 99))


def test_arviz_plots_the_ranks_and_finds_the_same_p_value(found: Validation) -> None:
    shown = arviz_plots.plot_ecdf_pit(found.tree, var_names=["theta"], group="prior_sbc_pit", backend="none")
    said = shown.viz["p_value_text"]["theta"].item()["string"]
    p = uniformity.pointwise(found.tree["prior_sbc_pit"]["theta"].to_numpy().reshape(-1, 1))[0]
    assert f"p={p:.2f}" in said
    assert arviz_plots.plot_ecdf_pit(found.tree, group="prior_sbc", backend="none") is not None


def test_arrays_keep_their_shape(toy: Model) -> None:
    def several(theta: Array) -> Mapping[str, Any]:
        return {"powers": theta ** np.arange(6).reshape(2, 3)}

    tree = validate(replace(toy, test_quantities=several, vectorized=False), "conjugate", 4, draws=200).tree
    powers, theta = tree["truth"]["powers"], tree["truth"]["theta"].to_numpy()
    assert powers.dims == ("chain", "draw", "powers_dim_0", "powers_dim_1")
    np.testing.assert_allclose(powers, theta[..., None, None] ** np.arange(6).reshape(2, 3))
    assert tree["prior_sbc"]["powers"].shape == (1, 4, 2, 3)


def test_the_runs_are_told(found: Validation) -> None:
    runs = found.tree["runs"].to_dataset()
    assert runs.sizes == {"replicate": 200}
    assert not runs["failed"].any()
    assert (runs["length"] == 1).all()
    assert (runs["ess"] >= 1.5 * 99).all()


# Wrong methods


def test_a_wrong_known_value_is_rejected_early(toy: Model) -> None:
    found = validate(toy, "conjugate", 400, wrong={"sigma": 2.0})
    assert not found.passed
    assert found.simulations in (50, 100)
    assert verdict(found, "ranks").status == "fail"
    assert "deliberately wrong sigma: FAILED" in str(found)
    assert len(found.tree["runs"]["replicate"]) == found.simulations


def test_all_replicates_are_run_on_request(toy: Model) -> None:
    found = validate(toy, "conjugate", 101, wrong={"sigma": 2.0}, adaptive=False)
    assert not found.passed
    assert found.simulations == 101


@pytest.mark.parametrize(
    ("fault", "said", "side"),
    [
        ({"stretch": 0.5}, "too narrow", "too narrow"),
        ({"stretch": 3.0}, "too wide", "too wide"),
        ({"shift": 1.2}, "too high", "too narrow"),
        ({"shift": -1.2}, "too low", "too narrow"),
    ],
    ids=["narrow", "wide", "high", "low"],
)
def test_wrong_posteriors_are_rejected_in_the_right_direction(
    toy: Model, fault: dict[str, Any], said: str, side: str
) -> None:
    found = validate(trying(toy, sampler(**fault)), "tried", 100, seed=1, adaptive=False)
    assert not found.passed
    assert not found.calibrated
    assert said in found.quantities["theta"]["direction"]
    assert verdict(found, "coverage").advice == f"Intervals are {side}."
    assert {verdict(found, "ranks").status, verdict(found, "coverage").status} == {"fail"}


def test_ignoring_the_prior_is_rejected(toy: Model) -> None:
    found = validate(trying(toy, sampler(prior=False)), "tried", 200, item=2, tau=0.5)
    assert not found.passed


def test_ignoring_the_data_is_seen_by_the_log_likelihood_alone(toy: Model) -> None:
    found = validate(trying(toy, sampler(likelihood=False)), "tried", 200, seed=1)
    assert not found.passed
    seen = [name for name, told in found.quantities.items() if told["p_holm"] <= ALPHA / 2]
    assert seen == ["log_likelihood"]
    assert verdict(found, "ranks").where == "log_likelihood"


def test_the_models_own_control_is_used(toy: Model) -> None:
    model = replace(toy, calibration=Calibration(control={"sigma": 2.0}))
    found = validate(model, "conjugate", 100, control=True)
    assert found.plan["wrong"] == {"sigma": 2.0}
    assert not found.passed


def test_the_control_is_that_of_the_variant() -> None:
    found = validate("nb_mixture", "em", 1, control=True, dispersion="shared", cell=15, component=1, restarts=1)
    assert list(found.plan["wrong"]) == ["alpha0"]


@pytest.mark.parametrize(("wrong", "lacks"), [("known", "phi0, tau, phi"), ("gene", "phi")])
def test_an_option_of_the_simulation_alone_needs_the_same_variables(wrong: str, lacks: str) -> None:
    with pytest.raises(InputError, match=f"no truth of {lacks} to compare with: dispersion = {wrong} in the sim"):
        validate("nb_mixture", "gibbs", 1, wrong={"dispersion": wrong}, dispersion="shared")


@pytest.mark.slow  # the fit comes first
def test_an_option_of_the_simulation_alone_does_not_go_with_data() -> None:
    tree = simulate("mendelian_randomization", seed=1)
    with pytest.raises(InputError, match="is another model than the one whose posterior"):
        validate("mendelian_randomization", "gibbs", 1, data=tree, wrong={"correlated_pleiotropy": "mixture"})


def test_the_models_own_settings_give_way_to_those_asked_for(toy: Model) -> None:
    model = replace(toy, calibration=Calibration(settings={"item": 7, "tau": 1.0}))
    assert validate(model, "conjugate", 1).plan["sizes"] == {"item": 7}
    told = validate(model, "conjugate", 1, item=9).plan
    assert (told["sizes"], told["values"]) == ({"item": 9}, {"tau": 1.0})


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


# Posterior SBC


def test_exact_draws_pass_around_a_users_data(toy: Model, toy_tree: xr.DataTree) -> None:
    found = validate(toy, "conjugate", 100, seed=1, data=toy_tree)
    assert found.passed
    assert found.plan["kind"] == "posterior"
    assert "prior_sbc" not in found.tree
    assert found.tree["posterior_sbc"].attrs["L"] == 99
    assert (found.tree["posterior_sbc_pit"]["theta"] < 1).all()


def test_truths_are_draws_of_the_users_posterior(
    toy: Model, toy_tree: xr.DataTree, toy_exact: Callable[[xr.DataTree], tuple[float, float]]
) -> None:
    found = validate(toy, "conjugate", 100, seed=1, data=toy_tree)
    mean, sd = toy_exact(toy_tree)
    truth = found.tree["truth"]["theta"].to_numpy().ravel()
    assert len(np.unique(truth)) == 100
    assert truth.mean() == pytest.approx(mean, abs=4 * sd / 10)
    assert truth.std() == pytest.approx(sd, rel=4 / np.sqrt(200))


def test_simulated_data_are_joined_with_the_users(toy: Model) -> None:
    y, theta = np.arange(4.0), np.array([1.5, 100.0])
    known = {"sigma": np.array(0.1), "tau": np.array(2.0)}
    plan = Plan(toy, "conjugate", {"item": 4}, given=Given({"y": y, **known}, {"theta": theta}))
    for index in range(2):
        one = simulate_replicate(plan, index)
        assert isinstance(one.problem, Problem)
        assert one.truth["theta"] == theta[index]
        np.testing.assert_array_equal(one.problem["y"][:4], y)
        assert np.abs(one.problem["y"][4:] - theta[index]).max() < 0.5


def test_a_wrong_posterior_is_rejected_around_a_users_data(toy: Model, toy_tree: xr.DataTree) -> None:
    assert not validate(toy, "conjugate", 100, seed=1, data=toy_tree, wrong={"sigma": 2.0}).passed


def test_units_that_stand_for_many_are_joined_by_their_counts() -> None:
    tree = simulate("transcript_abundance", seed=5)
    problem = check(registry.get("transcript_abundance"), tree)
    truth = {name: tree["truth"][name].to_numpy()[None] for name in problem.model.unknown.variables}
    given = Given(problem.arrays, truth)
    joined = simulate_replicate(Plan("transcript_abundance", "gibbs", problem.sizes, given=given), 0).problem
    assert isinstance(joined, Problem)
    assert joined["reads"] == joined["count"].sum() == 2 * problem["reads"]
    assert (joined["count"] >= problem["count"]).all()


def test_posterior_sbc_needs_an_exact_method(toy: Model, toy_tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match=r"exact draws of the posterior; 'tried' is approximate"):
        validate(trying(toy, sampler(), "approximate"), "tried", 5, data=toy_tree)


def test_posterior_sbc_keeps_no_draws(toy: Model, toy_tree: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keep=True is of no use with data"):
        validate(toy, "conjugate", 5, data=toy_tree, keep=True, out=tmp_path)


def test_posterior_sbc_needs_a_unit(toy: Model, toy_tree: xr.DataTree) -> None:
    with pytest.raises(InputError, match="cannot be joined"):
        validate(replace(toy, unit=""), "conjugate", 5, data=toy_tree)


def test_posterior_sbc_needs_unknowns_that_all_data_share(toy: Model) -> None:
    def effects(rng: np.random.Generator, sizes: Sizes) -> Array:
        return rng.normal(size=sizes["item"])

    own = Var(("item",), real, "Effect of an item.", "e")
    unknown = Stage({**toy.unknown.variables, "effect": own}, {**toy.unknown.draw, "effect": effects})  # type: ignore[dict-item]

    def run(problem: Problem, rng: np.random.Generator, *, chains: int = 2, draws: int = 200) -> Result:
        theta = sampler()(problem, rng, chains=chains, draws=draws).posterior["theta"]
        return Result(posterior={"theta": theta, "effect": rng.normal(size=(chains, draws, problem.sizes["item"]))})

    model = trying(toy, run, unknown=unknown)
    with pytest.raises(InputError, match="'effect' belongs to each item"):
        validate(model, "tried", 5, data=simulate(model, seed=1, item=5))


# What cannot be used


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"simulations": 0}, r"simulations=0 must be a whole number, at least one"),
        ({"simulations": 2.5}, r"simulations=2\.5"),
        ({"simulations": True}, r"simulations=True"),
        ({"workers": 0}, r"workers=0 is neither a number of processes nor the address of a Dask scheduler"),
        ({"workers": "many"}, r"workers='many'"),
        ({"seed": -1}, r"seed=-1"),
        ({"ranks": 5}, r"ranks=5: the truth must be ranked among at least 19 draws"),
        ({"wrong": {"theta": 1.0}}, r"'theta' cannot be given a wrong value.* The known variables are sigma, tau\."),
        ({"wrong": {"nothing": 1.0}}, r"'nothing' cannot be given a wrong value"),
        ({"wrong": {"sigma": -1.0}}, r"sigma = -1"),
        ({"control": True}, r"declares no negative control"),
        ({"theta": 1.0}, r"variable 'theta' is unknown and has to be drawn"),
        ({"y": 1.0}, r"variable 'y' is observed and has to be drawn"),
        ({"sigmas": 1.0}, r"no setting 'sigmas'\. Did you mean 'sigma'"),
        ({"reference": "nothing"}, r"no method 'nothing'"),
        ({"resume": True}, "resume=True needs the folder"),
    ],
    ids=lambda value: "-".join(f"{n}={v}" for n, v in value.items()) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_refused_before_anything_is_run(toy: Model, settings: dict[str, Any], said: str) -> None:
    def never(problem: Problem, rng: np.random.Generator) -> Result:
        raise KeyboardInterrupt

    with pytest.raises(InputError, match=said):
        validate(trying(toy, never), "tried", **{"simulations": 5, **settings})


def test_a_reference_must_be_exact(toy: Model) -> None:
    with pytest.raises(InputError, match="'tried' is not an exact method"):
        validate(trying(toy, sampler(), "approximate"), "conjugate", 5, reference="tried")


def test_an_unknown_method_is_refused(toy: Model) -> None:
    with pytest.raises(InputError, match="there is no method 'nuts!'"):
        validate(toy, "nuts!", 5)


def test_chains_that_disagree_are_told_though_their_replicates_count_as_failed(toy: Model) -> None:
    plan = Plan(toy, "conjugate", seed=1)
    records = [run(plan, index) for index in range(30)]
    (before,) = (v for v in judge(Findings(plan, records)) if v.check == "R-hat beyond chance")
    assert before.status == "pass"
    records[3]["stats"]["rhat"] = 2.0
    records[3]["error"] = "not converged"
    (after,) = (v for v in judge(Findings(plan, records)) if v.check == "R-hat beyond chance")
    assert (after.status, after.value) == ("fail", 1 / 30)
