"""Certificates: what they hold, that they come back from the file, and that they know when they are out of date."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium import certificates as kept
from genarium import registry
from genarium.calibration import Validation, plan_of, schedule
from genarium.calibration import certify as certify_
from genarium.calibration.certify import Effort, _control_verdict, certify, replicates
from genarium.calibration.recovery import recovery
from genarium.certificates import Certificate, certificates, of_model, read_certificate
from genarium.errors import InputError
from genarium.methods import find_method
from genarium.sources import digest_of_sources, sources_of
from genarium.tree import digest, provenance
from genarium.verbs.models import models
from genarium.verdicts import Verdict

TINY = Effort(simulations=4, control=20, truths=2, n_reference=2)

SMALL: dict[str, Any] = {"cell": 20, "gene": 1, "component": 1}


@pytest.fixture(scope="module")
def grown() -> Iterator[None]:
    """Let the recovery of nb_mixture look at small data."""
    get, model = registry.get, registry.get("nb_mixture")
    small = replace(model, calibration=replace(model.calibration, growth=(20, 80)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "get", lambda name: small if name == "nb_mixture" else get(name))
        yield


@pytest.fixture(scope="module")
def exact(grown: None, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate of an exact method."""
    folder = tmp_path_factory.mktemp("replicates")
    return certify("nb_mixture", "gibbs", TINY, seed=3, folder=folder, phi=0.05, draws=250, tune=100, **SMALL)


@pytest.fixture(scope="module")
def quick(grown: None) -> Certificate:
    """A certificate of a point estimate, soon made."""
    return certify("nb_mixture", "em", Effort(simulations=4, truths=0), restarts=1, **SMALL)


def sources(name: str, method: str) -> dict[str, str]:
    """Digests of the files that a fit computes with."""
    return sources_of(gn.get(name), find_method(gn.get(name), method))


def content(**more: Any) -> dict[str, Any]:
    """What a certificate holds, as far as these tests go."""
    told: dict[str, Any] = {
        "variant": "nb_mixture",
        "label": "em",
        "model": "nb_mixture",
        "model_digest": digest("nb_mixture"),
    }
    told |= {"method": "em", "engine": "numpy", "sources": sources("nb_mixture", "em")}
    told["versions"] = json.loads(provenance()["versions"])
    return {**told, "passed": True, "calibrated": True, "quantities": {}, "verdicts": [], **more}


def covering(*shares: float) -> dict[str, Any]:
    """Quantities whose 90 % intervals cover so often; one more has no ranks."""
    covered = {f"q{j}": {"coverage": {"0.9": share}} for j, share in enumerate(shares)}
    return {"calibrated": False, "quantities": {**covered, "other": {"rmse": 1.0}}}


# What it holds


@pytest.mark.slow
def test_an_exact_method_is_calibrated_controlled_and_followed(exact: Certificate) -> None:
    told = exact.content
    assert exact.name == "nb_mixture.gibbs"
    assert (told["model"], told["method"], told["claim"], told["seed"]) == ("nb_mixture", "gibbs", "exact", 3)
    assert told["model_digest"] == digest("nb_mixture")
    assert told["sizes"] == SMALL
    assert told["values"]["phi"] == [0.05]
    assert told["simulations"] == 4
    assert told["failures"]["of"] == 4
    assert told["checks_made"] == [v["check"] for v in told["verdicts"]]
    assert {"ranks are uniform", "negative control is rejected", "error falls as N^-1/2"} <= set(told["checks_made"])
    assert told["control"] == {"wrong": {"phi": 0.6}, "rejected": True, "simulations": 20}
    assert told["recovery"]["sizes"] == [20, 80]
    assert told["recovery"]["truths"] == 2
    assert "numpy" in told["versions"]
    assert told["cpu_seconds"] >= told["cpu_seconds_calibration"] > 0
    assert told["passed"] == all(v["status"] != "fail" for v in told["verdicts"])


@pytest.mark.slow
def test_it_is_shown_with_its_verdicts(exact: Certificate) -> None:
    said = str(exact)
    assert said.startswith(f"nb_mixture.gibbs: {exact.status}\n")
    for check in exact.content["checks_made"]:
        assert check in said


def test_what_belongs_to_single_units_is_no_part_of_the_recovery() -> None:
    """Of shares that follow a Gaussian process every perturbation has its own, which more perturbations do not tell."""
    plan = plan_of("perturbation_score", "conjugate", 0, {"regression": "gaussian_process", "state": 2})
    found = recovery(plan, (10, 20), 2)
    assert found.error.shape == (2, 2, len(found.names))
    assert np.isfinite(found.error).all()
    assert {name.split("[")[0] for name in found.names} == {"mu", "kappa", "share_unseen", "distance_unseen"}


def test_replicates_are_kept_and_gone_on_with(grown: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    effort = Effort(simulations=4, truths=0)
    with pytest.raises(InputError, match=r"resume=True needs the folder .* folder=\.\.\."):
        certify("nb_mixture", "em", effort, resume=True, restarts=1, **SMALL)
    first = certify("nb_mixture", "em", effort, folder=tmp_path, restarts=1, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == [f"nb_mixture.em-{digest_of_sources(sources('nb_mixture', 'em'))}"]
    monkeypatch.setattr(schedule, "run", None)
    again = certify("nb_mixture", "em", effort, folder=tmp_path, resume=True, restarts=1, **SMALL)
    assert again.content["quantities"] == first.content["quantities"]
    with pytest.raises(TypeError):  # without resume the replicates are run anew
        certify("nb_mixture", "em", effort, folder=tmp_path, restarts=1, **SMALL)
    assert "recovery" not in first.content
    assert "control" not in first.content


@pytest.mark.slow
def test_an_approximate_method_is_compared_with_an_exact_one(grown: None) -> None:
    told = certify("nb_mixture", "vi", replace(TINY, truths=0), draws=200, restarts=1, **SMALL).content
    assert told["reference"] == {"method": "gibbs", "replicates": 2}
    assert "distance to gibbs" in told["checks_made"]
    assert all("sd_ratio" in q for name, q in told["quantities"].items() if name.startswith("mu"))


def test_what_a_replicate_costs_decides_how_many_there_are(grown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [replicates(seconds, ranked=True) for seconds in (0.5, 3, 6, 50)] == [1000, 300, 200, 100]
    assert replicates(0.5, ranked=False) == 300
    monkeypatch.setattr(certify_, "LEAST", 2)
    monkeypatch.setattr(certify_, "ENOUGH", 3)
    told = certify("nb_mixture", "em", Effort(truths=0, n_reference=0), restarts=1, **SMALL).content
    assert told["simulations"] == 3


def test_options_that_are_words_stand_in_the_name(grown: None) -> None:
    effort = Effort(simulations=1, truths=0, n_reference=0)
    made = certify("nb_mixture", "em", effort, dispersion="gene", restarts=1, **SMALL)
    assert made.name == "nb_mixture-gene.em"
    assert made.content["model_options"]["dispersion"] == "gene"


@pytest.mark.parametrize(
    ("statuses_", "expected"),
    [
        ({"ranks are uniform": "fail"}, "pass"),
        ({"coverage of 90% intervals": "fail"}, "pass"),
        ({"ranks are uniform": "pass"}, "fail"),
        ({"replicates that failed": "fail", "ranks are uniform": "pass"}, "fail"),
        ({"replicates that failed": "fail"}, "fail"),
    ],
    ids=["ranks", "coverage", "nothing", "failures", "failures only"],
)
def test_a_control_is_rejected_by_its_ranks_not_by_its_failures(statuses_: dict[str, Any], expected: str) -> None:
    verdicts = tuple(Verdict(check, status, 0.0, "") for check, status in statuses_.items())
    found = Validation({"wrong": {"phi": 0.6}}, verdicts, {}, {}, 50, None, 0.0)  # type: ignore[arg-type]
    told = _control_verdict(found)
    assert (told.status, told.value) == (expected, 50)
    assert "phi = 0.6" in told.where


# Its file


def test_it_comes_back_from_its_file(quick: Certificate, tmp_path: Path) -> None:
    path = quick.write(tmp_path / "certificates")
    assert path.name == "nb_mixture.em.json"
    back = read_certificate(path)
    assert (back.name, back.passed, back.status) == (quick.name, quick.passed, quick.status)
    assert back.content["checks_made"] == quick.content["checks_made"]
    assert back.write(tmp_path / "again").read_bytes() == path.read_bytes()
    assert str(back)


def test_its_file_is_plain_json_of_short_numbers(quick: Certificate, tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    def short(text: str) -> float:
        assert float(text) == float(f"{float(text):.6g}")
        return float(text)

    text = quick.write(tmp_path).read_text(encoding="utf-8")
    json.loads(text, parse_constant=refuse, parse_float=short)
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as a certificate"),
        ("[]", "cannot be read as a certificate"),
        ("{}", "is not a certificate: it lacks calibrated, label, model, model_digest, passed, quantities"),
    ],
    ids=["torn", "list", "empty"],
)
def test_a_file_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(InputError, match=said):
        read_certificate(tmp_path / "one.json")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        read_certificate(tmp_path / "none.json")


# Its status


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, "pass"),
        ({"passed": False}, "FAIL"),
        ({"sources": {}}, "stale"),
        ({"sources": {}, "passed": False}, "stale"),
        ({"model": "no_such_model"}, "stale"),
        ({"versions": {"numpy": "1.0"}}, "stale"),
        (covering(0.6, 0.9), "too narrow"),
        (covering(0.9, 1.0), "too wide"),
        (covering(0.8, 1.0), "biased"),
        ({**covering(0.6), "passed": False}, "FAIL"),
        ({**covering(0.6), "sources": {}}, "stale"),
    ],
    ids=[
        "pass",
        "fail",
        "other sources",
        "other sources and fail",
        "no model",
        "other versions",
        "narrow",
        "wide",
        "biased",
        "narrow and fail",
        "narrow of other sources",
    ],
)
def test_it_speaks_for_the_sources_it_names_alone(more: dict[str, Any], status: str) -> None:
    assert Certificate(content(**more)).status == status


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``shipped(...)``: put a certificate where this installation keeps its own."""
    monkeypatch.setattr(kept, "files", lambda package: tmp_path)
    return lambda **more: Certificate(content(**more)).write(tmp_path / "certificates")


def test_statuses_by_method(shipped: Callable[..., Path]) -> None:
    shipped()
    shipped(label="vi.linear_response", passed=False)
    shipped(variant="nb_mixture-gene", label="vi")
    shipped(variant="other", model="other")
    told = {label: one.status for label, one in of_model("nb_mixture").items()}
    assert told == {"em": "pass", "vi.linear_response": "FAIL", "gene vi": "pass"}
    assert of_model("nothing") == {}


def test_an_edited_digest_makes_it_stale(shipped: Callable[..., Path]) -> None:
    path = shipped()
    path.write_text(path.read_text().replace(sources("nb_mixture", "em")["genarium.models.nb_mixture.em"], "12345678"))
    assert [c.status for c in certificates()] == ["stale"]
    row = next(row for row in models() if row.name == "nb_mixture")
    assert row.certificates == {"em": "stale"}
    assert "models.nb_mixture.em changed since" in row.stale["em"]


def test_of_other_versions_it_says_which() -> None:
    told = content()
    told["versions"] |= {"numpy": "1.0", "pymc": "1.0"}
    assert Certificate(told).stale.startswith("numpy is ")
    assert "pymc" not in Certificate(told).stale  # EM does not use it


def test_without_a_folder_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kept, "files", lambda package: tmp_path / "nowhere")
    assert list(certificates()) == []
