"""The prior of intercepts: story, density and coordinates say the same."""

import numpy as np
import pytest
from scipy import stats

from genarium.declaration import Array
from genarium.models.mendelian_randomization import intercepts
from genarium.models.mendelian_randomization.story import draw_intercept


def cumulative(alpha: Array) -> Array:
    """One region in five has directional pleiotropy."""
    return np.asarray(0.8 * stats.norm(0, 0.1).cdf(alpha) + 0.2 * stats.norm(0, 0.6).cdf(alpha))


def test_story_draws_from_the_mixture() -> None:
    drawn = draw_intercept(np.random.default_rng(0), {"region": 5000}, np.array(2.0))
    assert stats.kstest(drawn, cumulative).pvalue > 1e-3


def test_density_is_the_derivative_of_the_distribution() -> None:
    alpha, step = np.linspace(-1, 1, 41), 1e-6
    slope = (cumulative(alpha + step) - cumulative(alpha - step)) / (2 * step)
    np.testing.assert_allclose(np.exp(intercepts.log_prior(alpha, 2.0)), slope, rtol=1e-6)


def test_coordinates_are_standard_normal_quantiles_and_invert() -> None:
    alpha = np.linspace(-1.5, 1.5, 61)
    np.testing.assert_allclose(intercepts.coordinate_of(alpha, 2.0), stats.norm.ppf(cumulative(alpha)), atol=1e-9)
    z = np.concatenate([np.linspace(-9, 9, 4001), [-30.0, 25.0]])  # far beyond where probabilities are 0 or 1
    np.testing.assert_allclose(intercepts.coordinate_of(intercepts.intercept_of(z, 2.0), 2.0), z, rtol=1e-9, atol=1e-9)


def test_moments_of_coordinates_are_those_of_draws() -> None:
    log_share, mean, sd = np.log([[0.7], [0.3]]), np.array([[0.01], [0.5]]), np.array([[0.05], [0.2]])
    rng, n = np.random.default_rng(1), 100_000
    kind = (rng.uniform(size=n) > 0.7).astype(int)
    z = intercepts.coordinate_of(rng.normal(mean[kind, 0], sd[kind, 0]), 2.0)
    found = intercepts.coordinate_moments(log_share, mean, sd, 2.0)
    assert found[0][0] == pytest.approx(z.mean(), abs=4 * z.std() / np.sqrt(n))
    assert found[1][0] == pytest.approx(z.std(), abs=4 * z.std() / np.sqrt(n))
