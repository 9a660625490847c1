"""Smoothed importance ratios: tails of known shape, refusal, frequencies."""

import numpy as np
import pytest

from genarium.engines.resample import KHAT_USABLE, resample, smoothed
from genarium.errors import ApproximationError


def test_equal_ratios_are_left_alone() -> None:
    weights, khat = smoothed(np.full(100, -1234.5))
    np.testing.assert_allclose(weights, 0.01)
    assert khat == -np.inf


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_khat_is_the_shape_of_the_tail(k: float) -> None:
    """U^-k is a Pareto variable of shape k; its estimate from 3 sqrt(S) exceedances has sd (1 + k) / sqrt(3 sqrt S)."""
    log_ratio = -k * np.log(np.random.default_rng(0).uniform(size=10_000))
    _, khat = smoothed(log_ratio)
    assert khat == pytest.approx(k, abs=3 * (1 + k) / np.sqrt(3 * 100))


def test_weights_give_the_moments_of_the_density() -> None:
    rng = np.random.default_rng(1)
    x = 1.3 * rng.normal(size=20_000)
    weights, khat = smoothed(-0.5 * (x - 0.5) ** 2 + 0.5 * (x / 1.3) ** 2)
    assert weights.sum() == pytest.approx(1)
    error = 1.5 / np.sqrt(20_000)  # sd of w (x - 0.5) is about 1.3
    assert weights @ x == pytest.approx(0.5, abs=4 * error)
    assert weights @ (x - 0.5) ** 2 == pytest.approx(1, abs=8 * error)
    assert khat < 0.3


def test_draws_without_density_get_no_weight() -> None:
    log_ratio = np.random.default_rng(0).normal(0, 0.1, 1000)
    log_ratio[[3, 4]] = np.nan, -np.inf
    weights, _ = smoothed(log_ratio)
    assert (weights[[3, 4]] == 0).all()
    assert not {3, 4} & set(resample(log_ratio, np.random.default_rng(1), 500)[0])


def test_an_infinite_variance_is_refused() -> None:
    """A normal proposal of sd 0.4: the ratios have a tail of shape 1 - 0.4² = 0.84, without a variance from 0.5 on."""
    x = 0.4 * np.random.default_rng(0).normal(size=4000)
    log_ratio = -0.5 * x**2 + 0.5 * (x / 0.4) ** 2
    with pytest.raises(ApproximationError, match=r"Pareto k-hat .* above 0.7.*polish=True") as refused:
        resample(log_ratio, np.random.default_rng(1), 1000)
    assert KHAT_USABLE < refused.value.khat < 1.2
    index, khat = resample(log_ratio, np.random.default_rng(1), 1000, limit=np.inf)
    assert len(index) == 1000
    assert khat == refused.value.khat


def test_every_draw_is_chosen_as_often_as_its_weight_says() -> None:
    log_ratio = np.random.default_rng(0).normal(0, 0.7, 300)
    weights, _ = smoothed(log_ratio)
    index, _ = resample(log_ratio, np.random.default_rng(1), 5000)
    counts = np.bincount(index, minlength=300)
    assert (np.abs(counts - 5000 * weights) < 1).all()  # systematic: rounded up or down
    many = [resample(log_ratio, np.random.default_rng(seed), 30)[0] for seed in range(400)]
    mean = np.bincount(np.concatenate(many), minlength=300) / 400
    error = np.sqrt(30 * weights / 400)
    assert np.abs((mean - 30 * weights) / error).max() < 4.5  # of 300


def test_the_order_of_the_draws_is_random() -> None:
    log_ratio = np.random.default_rng(0).normal(0, 0.3, 1000)
    index, _ = resample(log_ratio, np.random.default_rng(1), 1000)
    assert abs(np.corrcoef(index, np.arange(1000))[0, 1]) < 4 / np.sqrt(1000)


def test_ratios_that_hardly_vary_need_no_smoothing() -> None:
    ratio = np.random.default_rng(1).normal(0, 0.05, 4000)  # a variance of .0025: worth 99.75 % of the draws
    weights, khat = smoothed(ratio)
    assert khat == -np.inf
    np.testing.assert_allclose(weights, np.exp(ratio) / np.exp(ratio).sum())
    assert smoothed(np.random.default_rng(1).normal(0, 0.2, 4000))[1] > -np.inf  # worth 96 %
