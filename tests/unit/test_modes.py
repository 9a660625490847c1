"""``map`` and ``stan-map`` seek the maximum from several starts."""

import numpy as np
import pytest

import genarium as gn
from genarium.attributes import attribute
from genarium.declaration import Problem, Result
from genarium.engines import pymc, pymc_modes


def ended_at(bounds: list[float]) -> list[Result]:
    return [
        Result(
            point={"x": np.array(value), "bound": (("restart", "iteration"), np.array([[value - 1, value]]))},
            notes={"bound": value, "converged": 1},
        )
        for value in bounds
    ]


def test_the_highest_end_is_returned_with_how_many_starts_reached_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter(ended_at([-9.0, -2.1, -7.0, -2.0]))
    monkeypatch.setattr(pymc, "maximum", lambda *_, **__: next(ends))
    problem: Problem = None  # type: ignore[assignment]
    found = pymc_modes.maximum(problem, np.random.default_rng(1))
    assert found.point["x"] == -2.0
    assert (found.notes["restarts"], found.notes["restarts_at_best"]) == (4, 2)
    dims, trace = found.point["bound"]
    assert dims == ("restart", "iteration")
    np.testing.assert_array_equal(trace[:, -1], [-9.0, -2.1, -7.0, -2.0])


def test_a_start_that_is_always_the_same_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter(ended_at([-2.0, -2.0, -2.0, -2.0]))
    monkeypatch.setattr(pymc, "maximum", lambda *_, **__: next(ends))
    problem: Problem = None  # type: ignore[assignment]
    found = pymc_modes.maximum(problem, np.random.default_rng(1))
    assert (found.notes["restarts"], found.notes["restarts_at_best"]) == (1, 1)


@pytest.mark.parametrize("method", ["map", pytest.param("stan-map", marks=pytest.mark.stan)])
def test_groups_that_overlap_have_several_maxima_and_diagnose_says_so(method: str) -> None:
    data = gn.simulate("nb_mixture", seed=3, cell=300, component=4, gene=6)
    single, several = (gn.fit("nb_mixture", data, method, seed=1, restarts=n) for n in (1, 8))
    assert attribute(several, "notes")["bound"] >= attribute(single, "notes")["bound"]
    assert attribute(several, "notes")["restarts_at_best"] < 8
    assert "restarts at the best mode" in str(gn.diagnose("nb_mixture", several))
