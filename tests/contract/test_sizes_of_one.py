"""A size of one leaves a model nothing to learn in some of its variables: fits by every kind of engine still end."""

from typing import Any

import pytest

import genarium as gn

ONE: dict[str, dict[str, Any]] = {
    "locus_regression": {"process": 1, "locus": 10, "genome": 3},
    "nb_mixture": {"component": 1, "gene": 1},
    "notmad": {"archetype": 1, "covariate": 1},
    "transcript_abundance": {"transcript": 1, "prior": "dirichlet"},
}
"""Mixtures of one, by model."""


@pytest.mark.parametrize("method", ["map", pytest.param("nuts", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", [one if one == "transcript_abundance" else pytest.param(one, marks=pytest.mark.slow) for one in ONE]
)
def test_engines(name: str, method: str) -> None:
    simulated = gn.simulate(name, seed=1, **ONE[name])
    few = {"chains": 2, "draws": 50, "tune": 50} if method == "nuts" else {}
    fitted = gn.fit(name, simulated, method, **few)
    assert gn.diagnose(name, fitted).verdicts


@pytest.mark.stan
@pytest.mark.slow
def test_a_stan_program_without_parameters() -> None:
    simulated = gn.simulate("transcript_abundance", seed=1, transcript=1, prior="dirichlet")
    fitted = gn.fit("transcript_abundance", simulated, "stan", chains=2, draws=50, tune=50)
    assert (fitted["posterior"]["nu"] == 1).all()
    assert not fitted["sample_stats"]["diverging"].any()


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow) for one in ONE])
def test_own_methods(name: str) -> None:
    simulated = gn.simulate(name, seed=1, **ONE[name])
    for method in gn.get(name).methods:
        assert gn.diagnose(name, gn.fit(name, simulated, method)).verdicts
