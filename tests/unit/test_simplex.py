"""Normalised exponentials and Dirichlet densities, against SciPy."""

import numpy as np
import pytest
from scipy import special, stats

from genarium import simplex

LOGITS = np.random.default_rng(1).normal(0, 300, (4, 3, 5))
"""Wide enough for a plain exp to overflow."""


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_logits_are_normalised_without_overflow(axis: int) -> None:
    expected = special.logsumexp(LOGITS, axis=axis)
    np.testing.assert_allclose(simplex.log_sum_exp(LOGITS, axis), expected, rtol=1e-14)
    weight, log_sum = simplex.normalised(LOGITS, axis)
    np.testing.assert_allclose(log_sum, expected, rtol=1e-14)
    np.testing.assert_allclose(weight, special.softmax(LOGITS, axis=axis), rtol=1e-13)


def test_logits_are_left_as_they_are() -> None:
    before = LOGITS.copy()
    simplex.normalised(LOGITS)
    np.testing.assert_array_equal(LOGITS, before)


def test_normaliser_of_a_dirichlet_density() -> None:
    alpha = np.array([[0.7, 2.0, 3.0], [1.0, 1.0, 1.0]])
    p = np.array([0.2, 0.3, 0.5])
    expected = [stats.dirichlet.logpdf(p, a) for a in alpha]
    np.testing.assert_allclose(simplex.dirichlet_log_norm(alpha) + (alpha - 1) @ np.log(p), expected, rtol=1e-12)


def test_expectation_and_divergence_of_dirichlet_densities() -> None:
    rng = np.random.default_rng(1)
    a, b = np.array([0.7, 2.0, 3.0]), np.array([1.5, 1.0, 0.5])
    p = rng.dirichlet(a, 200_000)
    log_p, ratio = np.log(p), stats.dirichlet.logpdf(p.T, a) - stats.dirichlet.logpdf(p.T, b)
    divergence = simplex.dirichlet_divergence(a, b)
    assert divergence == pytest.approx(ratio.mean(), abs=4 * ratio.std() / np.sqrt(len(p)))
    error = 4 * log_p.std(0) / np.sqrt(len(p))
    assert (np.abs(simplex.dirichlet_expected_log(a) - log_p.mean(0)) < error).all()


def test_divergences_add_up_and_a_number_is_a_symmetric_prior() -> None:
    a = np.random.default_rng(2).gamma(2, size=(3, 4))
    each = [simplex.dirichlet_divergence(one, np.full(4, 0.3)) for one in a]
    assert simplex.dirichlet_divergence(a, 0.3) == pytest.approx(sum(each), rel=1e-12)
    assert simplex.dirichlet_divergence(a, a) == 0
