"""Effective draws and R-hat of many quantities at once, against ArviZ; which draws are kept."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from arviz_stats.base import array_stats
from numpy.typing import NDArray

from genarium.calibration.replicate import _ranked
from genarium.calibration.thinning import autocorrelation, effective, potential_scale, thinned

Array = NDArray[Any]


def autoregressive(rho: float, C: int, S: int, Q: int = 3, seed: int = 1) -> Array:
    """Stationary AR(1) chains; shape (C, S, Q)."""
    rng = np.random.default_rng(seed)
    out = np.empty((C, S, Q))
    out[:, 0] = rng.normal(size=(C, Q))
    for s in range(1, S):
        out[:, s] = rho * out[:, s - 1] + np.sqrt(1 - rho**2) * rng.normal(size=(C, Q))
    return out


def stuck(seed: int) -> Array:
    """Chains in different places."""
    return autoregressive(0.5, 4, 200, seed=seed) + np.arange(4)[:, None, None]


CHAINS = {
    "independent": autoregressive(0.0, 2, 200),
    "slow": autoregressive(0.95, 4, 1000),
    "antithetic": autoregressive(-0.6, 2, 300),
    "one chain": autoregressive(0.7, 1, 400),
    "odd": autoregressive(0.5, 3, 151),
    "heavy tails": autoregressive(0.8, 2, 500) ** 3,
    "ties": np.round(autoregressive(0.5, 2, 400)),
    "apart": stuck(1),
    "other widths": autoregressive(0.3, 4, 250) * np.array([1, 1, 3, 3])[:, None, None],
}

every_kind = pytest.mark.parametrize("kind", CHAINS)


@every_kind
def test_effective_draws_are_those_of_arviz(kind: str) -> None:
    draws = CHAINS[kind]
    expected = array_stats.ess(draws, chain_axis=0, draw_axis=1, method="bulk")
    endless = kind == "apart"  # its autocorrelations stay positive to the last lag, where ArviZ leaves one pair out
    np.testing.assert_allclose(effective(draws), expected, rtol=0.05 if endless else 1e-10)


@pytest.mark.parametrize("kind", [kind for kind, draws in CHAINS.items() if len(draws) > 1])
def test_rhat_is_that_of_arviz(kind: str) -> None:
    draws = CHAINS[kind]
    expected = array_stats.rhat(draws, chain_axis=0, draw_axis=1, method="rank")
    np.testing.assert_allclose(potential_scale(draws), expected, rtol=1e-10)


def test_effective_draws_of_an_autoregressive_chain_in_closed_form() -> None:
    rho = 0.8
    found = effective(autoregressive(rho, 4, 5000, Q=40))
    error = found.std(ddof=1) / np.sqrt(40)
    assert (
        abs(found.mean() - 20_000 * (1 - rho) / (1 + rho)) < 4 * error + 0.02 * found.mean()
    )  # ranks bend it a little


def test_a_quantity_that_does_not_vary_needs_no_more_draws() -> None:
    draws = np.concatenate([np.ones((2, 100, 1)), autoregressive(0.0, 2, 100, Q=1)], axis=2)
    assert effective(draws)[0] == 200
    assert potential_scale(draws)[0] == 1
    assert effective(draws)[1] != 200


@pytest.mark.parametrize(("count", "keep"), [(400, 99), (99, 99), (1000, 19), (150, 99)])
def test_kept_draws_are_spread_evenly(count: int, keep: int) -> None:
    at = thinned(count, keep)
    steps = np.diff(at)
    assert len(at) == keep
    assert at.min() >= 0
    assert at.max() < count
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1
    assert abs(at[0] - (count - 1 - at[-1])) <= 1


def test_autocorrelation_is_that_of_neighbours() -> None:
    draws = autoregressive(0.6, 1, 200, Q=4)[0]
    for value, column in zip(autocorrelation(draws), draws.T, strict=True):
        centred = column - column.mean()
        assert value == pytest.approx((centred[1:] * centred[:-1]).sum() / (centred**2).sum())


def test_autocorrelation_of_independent_draws_is_about_zero() -> None:
    found = autocorrelation(np.random.default_rng(2).normal(size=(99, 2000)))
    assert abs(found.mean() + 1 / 99) < 4.5 * found.std() / np.sqrt(2000)


def test_autocorrelation_of_a_constant_is_zero() -> None:
    assert autocorrelation(np.ones((99, 1))).tolist() == [0]


def test_what_differs_by_rounding_is_constant_and_tied() -> None:
    """A flat prior has a log density that differs in the last digit, here along the chain."""
    value = -12.3 * (1 + 1e-15 * np.repeat([0.0, 1, 2], 33))[:, None]
    assert autocorrelation(value)[0] == 0
    plan: Any = SimpleNamespace(rng=lambda *_: np.random.default_rng(1), ranks=99)
    for truth, low, high in ((-12.3, 1, 98), (-13.0, 0, 0), (-np.inf, 0, 0), (np.inf, 99, 99)):
        (rank,) = _ranked(plan, 0, np.array([[truth]]), value)["rank"]
        assert low <= rank <= high
