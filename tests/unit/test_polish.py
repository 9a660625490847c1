"""A short run of NUTS from an approximation: its draws, its metric, its starts."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats

from genarium.data import check
from genarium.declaration import Model
from genarium.engines.polish import metric, polish, starts

Exact = Callable[[xr.DataTree], tuple[float, float]]


def test_draws_are_those_of_the_posterior(toy: Model, toy_tree: xr.DataTree, toy_exact: Exact) -> None:
    mean, sd = toy_exact(toy_tree)
    rough = np.random.default_rng(1).normal(mean + 1.5 * sd, 3 * sd, 1000)  # shifted and too wide
    posterior, stats = polish(check(toy, toy_tree), np.random.default_rng(2), {"theta": rough}, draws=500)
    draws = posterior["theta"]
    assert draws.shape == (4, 500)
    assert {name: values.shape for name, values in stats.items()} == dict.fromkeys(
        ("diverging", "acceptance_rate", "n_steps", "step_size", "energy", "tree_depth"), (4, 500)
    )
    assert stats["diverging"].dtype == bool
    assert not stats["diverging"].any()
    assert float(array_stats.rhat(draws)) < 1.02
    effective = float(array_stats.ess(draws, method="mean"))
    assert abs(draws.mean() - mean) < 4 * sd / np.sqrt(effective)
    effective = float(array_stats.ess((draws - mean) ** 2, method="mean"))
    assert abs(((draws - mean) ** 2).mean() / sd**2 - 1) < 4 * np.sqrt(2 / effective)


def test_seed_decides_the_run_and_chains_differ(toy: Model, toy_tree: xr.DataTree) -> None:
    rough = {"theta": np.random.default_rng(1).normal(1.5, 1, 100)}
    once, again, other = (
        polish(check(toy, toy_tree), np.random.default_rng(seed), rough, draws=20, tune=10, chains=3)[0]["theta"]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(once, again)
    assert not (once == other).any()
    assert once.shape == (3, 20)
    assert not (once[0] == once[1]).any()


def test_chains_have_streams_of_their_own(toy: Model, toy_tree: xr.DataTree) -> None:
    rough = {"theta": np.random.default_rng(1).normal(1.5, 1, 100)}
    short, long = (
        polish(check(toy, toy_tree), np.random.default_rng(1), rough, draws=draws, tune=10, chains=3)[0]["theta"]
        for draws in (10, 30)
    )
    np.testing.assert_array_equal(short, long[:, :10])


def test_metric_is_the_covariance_of_many_draws() -> None:
    covariance = np.array([[4.0, 1.8], [1.8, 1.0]])
    draws = np.random.default_rng(1).multivariate_normal([0, 9], covariance, 20_000)
    np.testing.assert_allclose(metric(draws), covariance, rtol=0.05)


def test_metric_of_few_draws_is_positive_definite() -> None:
    draws = np.random.default_rng(1).normal(size=(3, 8)) * 10.0 ** np.arange(-4, 4)
    draws[:, 2] = 5.0  # does not vary
    found = metric(draws)
    assert (np.linalg.eigvalsh(found / np.sqrt(np.outer(np.diag(found), np.diag(found)))) > 0.1).all()
    scale = draws.var(0, ddof=1)
    scale[2] = 1
    np.testing.assert_allclose(np.diag(found)[[0, 1, 3]], scale[[0, 1, 3]])


def test_chains_start_where_the_density_is() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(2000, 2)) * 3

    def log_density(x: np.ndarray) -> tuple[float, np.ndarray]:
        return (-np.inf, x) if x[0] < 0 else (-0.5 * float(x @ x), -x)

    chosen = starts(log_density, vectors, 3 * np.eye(2), rng, 50)
    assert (chosen[:, 0] > 0).all()
    assert 0.5 < (chosen**2).mean() < 2
    assert len(np.unique(chosen[:, 0])) == 50
    with pytest.raises(FloatingPointError, match="no draw of the approximation has a finite log density"):
        starts(lambda x: (-np.inf, x), vectors, np.eye(2), rng, 4)


def test_starts_are_draws_of_the_density() -> None:
    """Were they chosen by the density alone, their variance would be halved."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(2000, 2))
    chosen = np.concatenate(
        [starts(lambda x: (-0.5 * float(x @ x), -x), vectors, np.eye(2), rng, 20) for _ in range(10)]
    )
    assert 0.75 < (chosen**2).mean() < 1.25
