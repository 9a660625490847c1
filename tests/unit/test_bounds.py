"""Best and worst case of replicates that failed, and how long chains had to be."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from genarium.calibration import uniformity as test
from genarium.calibration.bounds import bounds
from genarium.calibration.judge import told_bounds
from genarium.calibration.outcome import Outcome, told_lengths


def test_truth_lies_between_the_bounds() -> None:
    """Whatever the missing PIT values were, p and coverage of all of them lie between."""
    rng = np.random.default_rng(0)
    for missing in (1, 5, 30):
        pit = rng.uniform(size=(200, 4))
        pit[:, 1] **= 1.3
        told = bounds(pit[missing:], missing, 0.9)
        for lost in (pit[:missing], pit[:missing] ** 3, 0.5 + 0.1 * pit[:missing], np.round(pit[:missing])):
            whole = np.vstack([pit[missing:], lost])
            p = float(test.holm(test.uniformity(whole)).min())
            assert told["p"][0] <= p <= told["p"][1]
            share = test.inside(whole, 0.9) / len(whole)
            assert told["coverage"][0] <= share.min()
            assert share.max() <= told["coverage"][1]


def test_what_fills_a_gap_is_uniform_and_what_piles_up_is_not() -> None:
    pit = (np.arange(190) + 0.5)[:, None] / 200  # the last twentieth of 200 is missing
    worst, best = bounds(pit, 10, 0.9)["p"]
    assert best > 0.9
    assert worst < 1e-3
    assert bounds(pit, 10, 0.9)["coverage"] == [180 / 200, 190 / 200]


def test_bounds_are_said_where_there_are_any() -> None:
    assert told_bounds({}) == ""
    said = told_bounds({"p": [0.01, 0.5], "coverage": [0.85, 0.95]})
    assert "between 0.01 and 0.5" in said
    assert "90% intervals between 0.850 and 0.950" in said


@pytest.mark.parametrize(
    ("length", "said"),
    [
        ([1] * 20, "Chains of the lengths asked for sufficed in every replicate."),
        (
            [1] * 15 + [2] * 3 + [4, 16],
            "In multiples of the lengths asked for: median 1, 90th percentile 2, largest 16.",
        ),
    ],
)
def test_lengths_of_chains_are_quantiles(length: list[int], said: str) -> None:
    runs = xr.DataTree.from_dict({"runs": xr.Dataset({"length": ("replicate", length)})})
    found: Any = SimpleNamespace(plan={"claim": "exact"}, tree=runs)
    told = Outcome.lengths.fget(found)  # type: ignore[attr-defined]
    assert told_lengths(told).endswith(said)
    found.plan["claim"] = "approximate"
    assert Outcome.lengths.fget(found) == {}  # type: ignore[attr-defined]
