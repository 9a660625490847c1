"""Which fits share a compilation: those whose densities are the same in all but the values of the data."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium import registry
from genarium.data import check
from genarium.declaration import Arrays, Model, Problem, Sizes
from genarium.engines import compiled as densities
from genarium.engines import sharing
from genarium.engines.fingerprint import UncertainError, fingerprint

Y = np.array([10.0, 10.0, 10.0])


def factory(model: Model, sd: float) -> Model:
    """Normal mean with a prior sd that is a constant of the density's closure."""

    def density(sizes: Sizes, y: Any, sigma: Any) -> None:
        import pymc as pm

        pm.Normal("y", pm.Normal("theta", 0, sd), sigma, observed=y, dims="item")

    return replace(model, density=density)


def by_partial(model: Model, sd: float) -> Model:
    def density(sd: float, sizes: Sizes, y: Any, sigma: Any) -> None:
        import pymc as pm

        pm.Normal("y", pm.Normal("theta", 0, sd), sigma, observed=y, dims="item")

    return replace(model, density=functools.partial(density, sd))


class Prior:
    def __init__(self, sd: float) -> None:
        self.sd = sd

    def density(self, sizes: Sizes, y: Any, sigma: Any) -> None:
        import pymc as pm

        pm.Normal("y", pm.Normal("theta", 0, self.sd), sigma, observed=y, dims="item")


def uncertain(model: Model, sd: float) -> Model:
    """A density that no fingerprint can be taken of."""
    generator = np.random.default_rng(1)

    def density(sizes: Sizes, y: Any, sigma: Any) -> None:
        import pymc as pm

        assert generator
        pm.Normal("y", pm.Normal("theta", 0, sd), sigma, observed=y, dims="item")

    with pytest.raises(UncertainError):
        fingerprint(density)
    return replace(model, density=density)


MADE: dict[str, Callable[[Model, float], Model]] = {
    "closure": factory,
    "partial": by_partial,
    "method": lambda model, sd: replace(model, density=Prior(sd).density),
    "uncertain": uncertain,
}


def posterior(sd: float) -> tuple[float, float]:
    precision = len(Y) + sd**-2
    return float(Y.sum()) / precision, precision**-0.5


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_declarations_of_one_factory_are_fitted_each_by_its_own_constant(toy: Model, make: Any) -> None:
    for sd in (100.0, 0.1, 100.0):
        found = gn.fit(make(toy, sd), {"y": Y}, "map", sigma=1.0)
        assert float(found["point"]["theta"]) == pytest.approx(posterior(sd)[0], abs=1e-4)


@pytest.mark.parametrize(
    "method",
    ["nuts", pytest.param("advi", marks=pytest.mark.slow), "dadvi", pytest.param("nuts-jax", marks=pytest.mark.slow)],
)
def test_by_every_method(toy: Model, method: str) -> None:
    if method == "nuts-jax":
        pytest.importorskip("jax")
        pytest.importorskip("blackjax")
    few = {"chains": 2, "draws": 200, "tune": 300} if "nuts" in method else {}
    for sd in (100.0, 0.1):
        found = gn.fit(factory(toy, sd), {"y": Y}, method, seed=1, sigma=1.0, **few)
        mean, spread = posterior(sd)
        draws = found["posterior"]["theta"].to_numpy()
        assert abs(draws.mean() - mean) < 0.5 * spread


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_the_same_constant_compiles_once(toy: Model, make: Any) -> None:
    gn.fit(make(toy, 3.0), {"y": Y}, "map", sigma=1.0)
    before = densities.COMPILED.copy()
    gn.fit(make(toy, 3.0), {"y": Y + 1}, "map", sigma=2.0)
    assert before == densities.COMPILED


def test_a_variant_made_again_compiles_once() -> None:
    data = gn.simulate("nb_mixture", seed=1, cell=20, component=2, dispersion="gene")
    problems = [check(registry.get("nb_mixture").variant(dispersion="gene"), data) for _ in range(2)]
    assert problems[0].model.density is not problems[1].model.density
    assert densities.compiled(problems[0]) is densities.compiled(problems[1])


def test_the_start_is_the_declaration_s_own(toy: Model) -> None:
    def at(start: float) -> Callable[[Problem, np.random.Generator], Arrays]:
        return lambda problem, rng: {"theta": np.array(start)}

    for start in (1.0, 2.0):
        model = replace(toy, start=at(start))
        assert densities.compiled(check(model, {"y": Y})).start(np.random.default_rng(1)) == pytest.approx(start)


@pytest.fixture
def problem(toy: Model) -> Problem:
    return check(toy, {"y": Y})


def test_values_of_data_are_no_part_of_the_key(toy: Model, problem: Problem) -> None:
    other = check(toy, {"y": Y + 1, "sigma": 2.0})
    assert sharing.key(problem, frozenset()) == sharing.key(other, frozenset())


def test_shape_and_type_of_data_and_defaults_are_part_of_the_key(toy: Model, problem: Problem) -> None:
    keys = [
        sharing.key(problem, frozenset()),
        sharing.key(problem, frozenset({"sigma"})),
        sharing.key(check(toy, {"y": Y[:2]}), frozenset()),
        sharing.key(replace(problem, arrays={**problem.arrays, "y": Y.astype(int)}), frozenset()),
        sharing.key(replace(problem, arrays={**problem.arrays, "sigma": np.ones(3)}), frozenset()),
        sharing.key(replace(problem, sizes={"item": 4}), frozenset()),
    ]
    assert len(set(keys)) == len(keys)


def test_settings_of_the_environment_are_part_of_the_key(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PYTENSOR_FLAGS", raising=False)
    before = sharing.key(problem, frozenset())
    monkeypatch.setenv("PYTENSOR_FLAGS", "base_compiledir=/elsewhere")
    elsewhere = sharing.key(problem, frozenset())
    monkeypatch.setenv("PYTENSOR_FLAGS", "base_compiledir=/other")
    assert elsewhere == sharing.key(problem, frozenset())
    monkeypatch.setenv("PYTENSOR_FLAGS", "floatX=float32")
    flags = sharing.key(problem, frozenset())
    (tmp_path / "settings").write_text("[global]\nfloatX = float32\n")
    monkeypatch.delenv("PYTENSOR_FLAGS")
    monkeypatch.setenv("PYTENSORRC", str(tmp_path / "settings"))
    assert before == elsewhere
    assert len({before, flags, sharing.key(problem, frozenset())}) == 3
