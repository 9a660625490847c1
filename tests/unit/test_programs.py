"""Programs: the PyMC model, the Stan program and its data, in one call each."""

import re
import subprocess
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import genarium as gn
from genarium import registry
from genarium.cli import main
from genarium.data import check
from genarium.engines.cmdstan import ProgramError
from genarium.engines.cmdstan.programs import inlined
from genarium.engines.cmdstan.providers import stanc

toy_module = import_module("toy")

Y = np.array([0.3, 1.9, -0.4, 2.2])


def test_pymc_model_holds_the_data(toy: gn.Model) -> None:
    model = gn.pymc_model(toy, {"y": Y}, sigma=0.5)
    assert [rv.name for rv in model.free_RVs] == ["theta"]
    np.testing.assert_array_equal(model["y_data"].get_value(), Y)
    assert model["sigma"].get_value() == 0.5
    assert model["tau"].get_value() == 2.0  # the declared default
    assert model.coords["item"] == (0, 1, 2, 3)
    point = {"theta": np.array(0.7)}
    sigma, tau = np.array(0.5), np.array(2.0)
    expected = toy_module.log_likelihood(Y, sigma, point["theta"]).sum() + toy_module.log_prior(point["theta"], tau)
    assert model.compile_logp(mode="FAST_COMPILE")(point) == pytest.approx(expected, rel=1e-12)


def test_pymc_model_can_be_extended_and_drawn_from(toy: gn.Model) -> None:
    import pymc as pm

    with gn.pymc_model(toy, {"y": Y}) as model:
        pm.Deterministic("twice", 2 * model["theta"])
        drawn = pm.sample_prior_predictive(draws=400, random_seed=1)
    theta, y = drawn["prior"]["theta"].to_numpy(), drawn["prior_predictive"]["y"].to_numpy()
    np.testing.assert_allclose(drawn["prior"]["twice"], 2 * theta)
    assert y.shape == (1, 400, 4)
    # theta ~ Normal(0, 2): its sd from 400 draws has standard error 2 / sqrt(800) = .07; that of y, sqrt(5), .08
    assert theta.std() == pytest.approx(2, abs=4 * 0.071)
    assert y[0, :, 0].std() == pytest.approx(5**0.5, abs=4 * 0.079)


def test_pymc_model_takes_names_trees_and_options() -> None:
    tree = gn.simulate("nb_mixture", 1, cell=10, dispersion="gene")
    model = gn.pymc_model("nb_mixture", tree)
    assert {rv.name for rv in model.free_RVs} == {"pi", "mu", "phi"}  # phi is unknown in the tree's variant
    data = {"x": tree["observed_data"]["x"].to_numpy()}
    two = gn.pymc_model("nb_mixture", data, component=2, dispersion="shared")
    assert len(two.coords["component"]) == 2


def test_stan_data_are_those_of_the_data_block() -> None:
    given = gn.stan_data("nb_mixture", {"x": [[1, 2], [0, 4], [3, 3]]}, component=2, phi=0.25)
    block = re.search(r"^data \{\n(.*?)^\}", gn.stan_program("nb_mixture"), re.MULTILINE | re.DOTALL)
    assert block is not None
    declared = re.findall(r"^[^/\n]*?(\w+);", block[1], re.MULTILINE)
    assert sorted(declared) == sorted(given)
    assert given["x"] == [[1, 2], [0, 4], [3, 3]]
    assert (given["cell"], given["component"], given["phi"]) == (3, 2, [0.25, 0.25])


@pytest.mark.stan
@pytest.mark.parametrize("options", [{}, {"dispersion": "component"}], ids=["default", "variant"])
def test_stan_program_needs_no_other_file(options: dict[str, str], tmp_path: Path) -> None:
    text = gn.stan_program("nb_mixture", **options)
    source = registry.program(gn.get("nb_mixture").variant(**options))
    assert source is not None
    assert "#include" in source.read_text()
    assert "#include" not in text
    (tmp_path / "alone.stan").write_text(text)

    def formatted(program: Path, folder: Path) -> str:
        words = [str(stanc()), "--auto-format", "--canonicalize=includes", f"--include-paths={folder}", str(program)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    assert formatted(tmp_path / "alone.stan", tmp_path) == formatted(source, source.parent)


def test_includes_are_looked_for_beside_the_program(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "m.stan").write_text('functions {\n  #include "part/a.stan"  // why\n}\nmodel {}\n')
    (tmp_path / "part" / "a.stan").write_text("real a();\n#include b.stan\n")
    (tmp_path / "b.stan").write_text("real b();")
    assert inlined(tmp_path / "m.stan") == "functions {\nreal a();\nreal b();\n\n}\nmodel {}\n"


@pytest.mark.parametrize(("text", "said"), [("#include b.stan", "b.stan.*includes itself"), ("", "does not exist")])
def test_include_that_cannot_be(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.stan").write_text("#include b.stan\n")
    if text:
        (tmp_path / "b.stan").write_text(text)
    with pytest.raises(ProgramError, match=said):
        inlined(tmp_path / "m.stan")


REFUSED: dict[str, tuple[Any, str]] = {
    "no density": (lambda m: gn.pymc_model(replace(m, density=None), {"y": Y}), "has no PyMC density"),
    "no program": (lambda m: gn.stan_program(m), "there is no Stan program"),
    "no option": (lambda m: gn.stan_program("nb_mixture", colour="red"), "no option 'colour'"),
    "bad data": (
        lambda m: gn.stan_data("nb_mixture", {"x": [[-1]], "phi": 0.3}, component=1),
        r"x\[cell=0, gene=0\] = -1",
    ),
    "held": (lambda m: gn.pymc_model(m, {"y": Y}, theta=1.0), "theta is unknown, and nothing is held fixed"),
    "no data": (lambda m: gn.stan_data(m, {"sigma": 1.0}), "observed variable 'y' .* is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported(case: str, toy: gn.Model) -> None:
    call, said = REFUSED[case]
    with pytest.raises(gn.InputError, match=said):
        call(toy)


def test_show_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "nb_mixture", "--set", "dispersion=gene"]) == 0
    said = capsys.readouterr().out
    for call in ("pymc_model", "stan_program", "stan_data"):
        assert f'gn.{call}("nb_mixture"' in said
    assert "dispersion='gene'" in said


def test_tree_of_a_simulation_is_data(toy: gn.Model, toy_tree: xr.DataTree) -> None:
    given = gn.stan_data(toy, toy_tree)
    assert given["item"] == check(toy, toy_tree).sizes["item"]
    assert given["y"] == toy_tree["observed_data"]["y"].to_numpy().tolist()
