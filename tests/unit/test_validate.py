"""Validation of methods whose faults are known: each is found, named, and told in the right direction."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import arviz_plots
import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom, chisquare, norm

from faulty_methods import Array, sampler, trying, verdict
from genarium.calibration import Validation, uniformity, validate
from genarium.calibration.findings import Findings
from genarium.calibration.judge import ALPHA, rejected
from genarium.calibration.plan import Plan
from genarium.declaration import Calibration, Model, Problem, Result
from genarium.errors import InputError
from genarium.verbs.simulate import simulate

FALSE_ALARM = 1e-3
"""A correct validation fails a test with this probability, over seeds; the seed is fixed."""


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
