"""What a machine has and lacks."""

import json
from importlib import metadata

import pytest

from genarium.cli import main
from genarium.verbs.doctor import as_text, doctor


def test_everything_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = metadata.version

    def version(name: str) -> str:
        if name == "blackjax":
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", version)
    told = doctor()
    assert told["packages"]["numpy"] == found("numpy")
    assert told["packages"]["blackjax"] is None
    assert told["extras"]["jax"] == ["blackjax"]
    assert told["extras"]["trees"] == []
    assert "dev" not in told["extras"]
    assert told["cores"] >= 1
    text = as_text(told)
    assert "extra jax: without blackjax: pip install 'genarium[jax]'" in text
    assert "extra trees: installed" in text
    monkeypatch.setattr("genarium.verbs.doctor.doctor", lambda: told)
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith(f"genarium {told['genarium']}, Python")


def test_a_machine_without_stan_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = doctor() | {"stan": {"version": None, "source": None, "problem": "there is no compiler"}}
    assert "Stan: there is no compiler" in as_text(told)
