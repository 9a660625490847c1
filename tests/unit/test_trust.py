"""What a report says of the calibration of a method: what its certificate says, and no more."""

import json
from typing import Any

import pytest
import xarray as xr

import genarium as gn
from genarium.certificates import Certificate
from genarium.methods import find_method
from genarium.reporting import trust
from genarium.sources import sources_of
from genarium.tree import digest, provenance

POWER = {"shift": 0.31, "narrow": 0.78, "wide": 1.27}


def certificate(method: str = "vi", **more: Any) -> Certificate:
    """A certificate of nb_mixture as it is installed."""
    model = gn.get("nb_mixture")
    told: dict[str, Any] = {"variant": "nb_mixture", "label": method, "model": "nb_mixture", "model_options": {}}
    told |= {"method": method, "engine": "numpy", "claim": model.methods[method].claim, "options": {}}
    told |= {"model_digest": digest(model), "sources": sources_of(model, find_method(model, method))}
    told |= {"versions": json.loads(provenance()["versions"]), "date": "2026-11-30", "simulations": 300}
    told |= {"sizes": {"cell": 100, "gene": 2}, "passed": True, "calibrated": True, "verdicts": [], "power": POWER}
    told["quantities"] = {"a": {"coverage": {"0.9": 0.88}}, "b": {"coverage": {"0.9": 0.93}}, "c": {"rmse": 1.0}}
    return Certificate({**told, **more})


def said(monkeypatch: pytest.MonkeyPatch, *made: Certificate, method: str = "vi", **options: Any) -> str:
    """What the page says of a fit, without tags."""
    monkeypatch.setattr(trust, "of_model", lambda name: {str(i): one for i, one in enumerate(made)})
    tree = xr.DataTree()
    tree.attrs = {"method": method, "options": json.dumps(options)}
    html = trust.calibration(gn.get("nb_mixture"), tree)
    return "".join(part.partition(">")[2] for part in html.split("<"))


def test_a_certificate_is_told_with_its_coverage_and_its_power(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, certificate("gibbs"), certificate())
    assert text.startswith(
        "Calibration of vi: certified. On 300 datasets simulated from the model (100 cells, 2 genes)"
    )
    assert "The 90% intervals of its quantities covered the true value in 88% to 93% of these." in text
    assert "off by 0.31 posterior sd, or a posterior sd that is 0.78 or 1.27 times the right one" in text
    assert "Smaller errors may have gone undetected." in text
    assert "says nothing about data that the model does not describe" in text


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            {"passed": False},
            "failed. On 300 datasets simulated from the model (100 cells, 2 genes), the method did not",
        ),
        (
            {"calibrated": False, "quantities": {"a": {"coverage": {"0.9": 0.6}}}},
            "known errors. On 300 datasets simulated from the model (100 cells, 2 genes), its intervals were too ",
        ),
        ({"power": {}}, "Which errors it could have detected is not recorded."),
        ({"power": dict.fromkeys(POWER)}, "too few replicates to detect any error"),
        ({"options": {"polish": True}}, "It was made with polish=True, unlike this fit."),
    ],
    ids=["failed", "narrow", "no power told", "no power", "a switch"],
)
def test_what_a_certificate_does_not_promise(
    more: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert expected in said(monkeypatch, certificate(**more))


def test_a_point_estimate_has_no_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, certificate("em", quantities={"a": {"rmse": 1.0}}, power={}), method="em")
    assert "certified" in text
    assert "no intervals" in text
    assert "interval " not in text.replace("no intervals", "")


def test_a_stale_certificate_certifies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, certificate(versions={"numpy": "1.0"}))
    assert "the certificate is stale and certifies nothing" in text
    assert "was 1.0" in text
    assert "certified." not in text
    assert "88%" in text


@pytest.mark.parametrize(
    ("made", "given"),
    [
        ({"model_options": {"dispersion": "gene"}}, {}),
        ({"method": "gibbs"}, {}),
        ({}, {"covariance": "linear_response"}),
        ({"options": {"covariance": "linear_response"}}, {}),
    ],
    ids=["another variant", "another method", "another option here", "another option there"],
)
def test_a_certificate_of_something_else_is_not_told(
    made: dict[str, Any], given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = said(monkeypatch, certificate(**made), **given)
    assert "Calibration of vi: no certificate." in text
    option = "".join(f" --option {name}={value}" for name, value in given.items())
    assert f"genarium validate nb_mixture --method vi{option} measures it." in text
    assert "%" not in text


def test_without_a_certificate_the_command_has_the_options_of_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "of_model", lambda name: {})
    tree = xr.DataTree()
    tree.attrs = {"method": "vi", "options": json.dumps({"covariance": "linear_response", "restarts": 3})}
    html = trust.calibration(gn.get("nb_mixture").variant(dispersion="gene"), tree)
    call = "genarium validate nb_mixture --method vi --set dispersion=gene --option covariance=linear_response"
    assert f"<code>{call}</code> measures it." in html
