"""Distances of two samples of cells: against loops, unbiased, and tests of the right size."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from genarium import InputError
from genarium.declaration import Array
from genarium.models.perturbation_score import against_control, energy_distance, mmd, permutation_test


def cells(n: int, m: int, shift: float = 0.0, seed: int = 0, d: int = 3) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + shift, rng.normal(size=(m, d))


def mean_over_pairs(x: Array, y: Array, apart: Callable[[Array, Array], float], same: bool) -> float:
    pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if not (same and i == j)]
    return float(np.mean([apart(x[i], y[j]) for i, j in pairs]))


@pytest.mark.parametrize("exponent", [1.0, 2.0, 0.5])
def test_energy_distance_against_a_loop(exponent: float) -> None:
    def apart(a: Array, b: Array) -> float:
        return float(np.linalg.norm(a - b) ** exponent)

    x, y = cells(5, 7, 0.5)
    naive = (
        2 * mean_over_pairs(x, y, apart, False)
        - mean_over_pairs(x, x, apart, True)
        - mean_over_pairs(y, y, apart, True)
    )
    assert energy_distance(x, y, exponent=exponent) == pytest.approx(naive, rel=1e-12)


def test_squared_distances_see_means_only() -> None:
    x, y = cells(400, 300, 1.0)
    plug_in = 2 * ((x.mean(0) - y.mean(0)) ** 2).sum()
    unbiased = plug_in - 2 * (x.var(0, ddof=1).sum() / len(x) + y.var(0, ddof=1).sum() / len(y))
    assert energy_distance(x, y, exponent=2) == pytest.approx(unbiased, rel=1e-10)


def test_mmd_against_a_loop() -> None:
    x, y = cells(5, 7, 0.5)
    pooled = np.concatenate([x, y])
    typical = np.median([((a - b) ** 2).sum() for i, a in enumerate(pooled) for b in pooled[:i]])
    for bandwidth, width in ((None, typical**0.5), (0.7, 0.7)):

        def kernel(a: Array, b: Array, width: float = float(width)) -> float:
            return float(np.exp(-((a - b) ** 2).sum() / (2 * width**2)))

        naive = mean_over_pairs(x, x, kernel, True) + mean_over_pairs(y, y, kernel, True)
        naive -= 2 * mean_over_pairs(x, y, kernel, False)
        assert mmd(x, y, bandwidth=bandwidth) == pytest.approx(naive, rel=1e-12)


@pytest.mark.parametrize("distance", [energy_distance, mmd])
def test_unbiased(distance: Callable[[Array, Array], float]) -> None:
    found = [distance(*cells(5, 20, seed=seed)) for seed in range(400)]
    assert abs(np.mean(found)) < 4 * stats.sem(found)


@pytest.mark.parametrize("statistic", ["energy", "mmd"])
@pytest.mark.parametrize("n", [5, pytest.param(50, marks=pytest.mark.slow), pytest.param(500, marks=pytest.mark.slow)])
def test_size(statistic: str, n: int) -> None:
    repeats = 200
    p = [permutation_test(*cells(n, 30, seed=seed), statistic, 19, seed)[1] for seed in range(repeats)]  # type: ignore[arg-type]
    low, high = (float(stats.binom.ppf(q, repeats, 0.05)) for q in (1e-4, 1 - 1e-4))
    assert low <= np.sum(np.asarray(p) <= 0.05) <= high
    assert stats.kstest(np.asarray(p) - np.random.default_rng(1).uniform(0, 0.05, repeats), "uniform").pvalue > 1e-4


def test_power_and_order() -> None:
    x, y = cells(30, 60, 1.0)
    z = cells(30, 2, 0.0, seed=5)[0]
    labels = ["strong"] * 30 + ["none"] * 30 + ["control"] * 60 + ["alone"]
    found = against_control(np.concatenate([x, z, y, y[:1]]), labels, "control", permutations=199)
    assert found.index.tolist() == ["strong", "none"]
    assert found["p"]["strong"] == pytest.approx(1 / 200)
    assert found["fdr"]["strong"] == pytest.approx(2 / 200)
    assert found["p"]["none"] > 0.05
    assert found["distance"]["strong"] == pytest.approx(energy_distance(x, y))
    assert found.attrs == {"statistic": "energy", "control_cells": 60, "of_one_cell": ["alone"]}
    fewer = against_control(np.concatenate([x, y]), ["strong"] * 30 + ["control"] * 60, "control", control_cells=20)
    assert fewer.attrs["control_cells"] == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones(3)}, "x has 1 dims, but must have two"),
        ({"x": np.ones((1, 3))}, "x has 1 cells, but two or more"),
        ({"x": np.ones((3, 2))}, "x has 2 columns and y 3"),
        ({"y": np.full((3, 3), np.nan)}, "y at cell 0, column 0 is nan"),
        ({"exponent": 3}, "exponent=3 must lie"),
    ],
)
def test_input_is_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        energy_distance(**({"x": np.ones((3, 3)), "y": np.ones((3, 3))} | change))


def test_other_input_is_checked() -> None:
    x, y = cells(4, 4)
    with pytest.raises(InputError, match="there is no statistic 'wasserstein'"):
        permutation_test(x, y, "wasserstein")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="permutations=0"):
        permutation_test(x, y, permutations=0)
    with pytest.raises(InputError, match="bandwidth=0"):
        mmd(x, y, bandwidth=0)
    with pytest.raises(InputError, match="4 cells but 1 labels"):
        against_control(x, ["a"], "a")
    with pytest.raises(InputError, match="0 cells are labelled 'b'"):
        against_control(x, ["a"] * 4, "b")


def test_columns_are_found_by_name_and_labels_are_complete() -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    x, y = (pd.DataFrame(rng.normal(size=(9, 3)), columns=list("abc")) for _ in range(2))
    assert energy_distance(x, y[["c", "a", "b"]]) == energy_distance(x, y)
    with pytest.raises(InputError, match="one alone has the columns c, d"):
        energy_distance(x, y.rename(columns={"c": "d"}))
    with pytest.raises(InputError, match="x must be a table of numbers"):
        energy_distance("a", y)
    with pytest.raises(InputError, match="exponent='a' must lie above 0"):
        energy_distance(x, y, exponent="a")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"labels\[2\] is missing \(1 such cells\)"):
        against_control(y, ["a", "a", None, *["control"] * 6], "control")
    with pytest.raises(InputError, match="all cells are labelled 'control': there is nothing to compare"):
        against_control(y, ["control"] * 9, "control")
