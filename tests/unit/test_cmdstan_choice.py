"""Which CmdStan a fit uses: the toolchain of the wheel, that of $CMDSTAN, or one that an option names."""

import json
import pickle
from pathlib import Path

import pytest
import xarray as xr

from genarium.cli import main
from genarium.engines.cmdstan import find
from genarium.engines.cmdstan.base import ToolchainError
from genarium.testing.fixtures import small_simulation
from genarium.tree import load, save

MODEL, OPTIONS = "transcript_abundance", (("prior", "dirichlet"),)
"""The one whose program compiles fastest."""


@pytest.mark.slow
@pytest.mark.stan
def test_a_folder_of_cmdstan_takes_the_same_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The toolchain's folder stands in for a CmdStan that $CMDSTAN names, and for one named by an option."""
    save(small_simulation(MODEL, OPTIONS), tmp_path / "data.nc")
    folder = str(find().path)
    few = ["--option", "draws=50", "--option", "tune=50", "--option", "chains=1", "--seed", "3"]
    base = ["fit", MODEL, str(tmp_path / "data.nc"), "--method", "stan", *few]
    assert main([*base, "-o", str(tmp_path / "wheel.nc")]) == 0
    monkeypatch.setenv("CMDSTAN", folder)
    assert main([*base, "-o", str(tmp_path / "environment.nc")]) == 0
    monkeypatch.delenv("CMDSTAN")
    assert main([*base, "--option", f"cmdstan={folder}", "-o", str(tmp_path / "option.nc")]) == 0
    first = load(tmp_path / "wheel.nc")
    for other in ("environment", "option"):
        xr.testing.assert_equal(first["posterior"], load(tmp_path / f"{other}.nc")["posterior"])
    monkeypatch.setenv("CMDSTAN", str(tmp_path / "nowhere"))
    assert main([*base, "-o", str(tmp_path / "none.nc")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.stan
def test_status_says_what_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stan", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["selected"]["version"] == find().version
    assert main(["stan", "status"]) == 0
    assert find().version in capsys.readouterr().out


def test_both_ways_out_are_told_on_the_command_line_too() -> None:
    error = ToolchainError("There is no compiler.")
    again = pickle.loads(pickle.dumps(error))
    assert error.in_shell == str(error) == str(again)
    assert error.in_shell.count("genarium stan install") == 1
