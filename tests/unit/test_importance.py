"""Adaptive importance sampling, from proposals that are off in known ways."""

import numpy as np
import pytest
from scipy import stats

from genarium.engines.importance import FREEDOM, Matrix, Vector, log_proposal, pooled, sample, student
from genarium.engines.resample import KHAT_GOOD, smoothed

MEAN = np.array([3.0, -1.0, 0.0])
COVARIANCE = np.array([[4.0, 1.5, 0.0], [1.5, 1.0, 0.2], [0.0, 0.2, 0.25]])


def log_normal(theta: Matrix) -> Vector:
    gap = theta - MEAN
    return np.asarray(-0.5 * (gap * np.linalg.solve(COVARIANCE, gap.T).T).sum(1))


def test_a_normal_density_needs_one_round() -> None:
    found = sample(log_normal, MEAN, COVARIANCE, np.random.default_rng(0))
    assert found.khat < KHAT_GOOD
    np.testing.assert_array_equal(found.mean, MEAN)
    weights = np.exp(found.log_ratio)
    weights /= weights.sum()
    error = np.sqrt(np.diag(COVARIANCE) / len(found.theta))
    assert np.abs((weights @ found.theta - MEAN) / error).max() < 4
    assert found.theta.std(0) == pytest.approx(np.sqrt(np.diag(COVARIANCE) * FREEDOM / (FREEDOM - 2)), rel=0.08)


def test_a_proposal_that_is_off_moves_to_the_density() -> None:
    wrong = MEAN + np.array([2.0, 1.0, 1.0]), 0.2 * COVARIANCE
    once = sample(log_normal, *wrong, np.random.default_rng(0), rounds=1)
    assert once.khat > 0.7
    found = sample(log_normal, *wrong, np.random.default_rng(0))
    assert found.khat < KHAT_GOOD
    weights = np.exp(found.log_ratio - found.log_ratio.max())
    weights /= weights.sum()
    sd = np.sqrt(np.diag(COVARIANCE))
    error = np.sqrt((weights**2).sum())
    assert np.abs((weights @ found.theta - MEAN) / sd).max() < 4 * error
    assert np.abs(found.mean - MEAN).max() < 0.5


def test_mirror_images_share_the_density_between_them() -> None:
    """Two halves of one density, 1.2 sd from the middle: what is even has its expectation from either."""

    def two(theta: Matrix) -> Vector:
        return np.asarray(np.logaddexp(-0.5 * (theta[:, 0] - 1.2) ** 2, -0.5 * (theta[:, 0] + 1.2) ** 2))

    mirrors = np.array([[[1.0]], [[-1.0]]])
    found = sample(two, np.array([1.2]), np.eye(1), np.random.default_rng(0), draws=20_000, rounds=1, mirrors=mirrors)
    weights = np.exp(found.log_ratio - found.log_ratio.max())
    effective = weights.sum() ** 2 / (weights**2).sum()
    square = weights @ found.theta[:, 0] ** 2 / weights.sum()
    assert square == pytest.approx(1 + 1.2**2, abs=4 * 2.6 / np.sqrt(effective))  # sd of theta² is 2.6
    plain = sample(two, np.array([1.2]), np.eye(1), np.random.default_rng(0), draws=20_000, rounds=1)
    assert weights.std() / weights.mean() < 0.5 * np.exp(plain.log_ratio).std() / np.exp(plain.log_ratio).mean()


def test_the_proposal_has_the_density_of_its_draws() -> None:
    """Against scipy's multivariate t, up to a constant."""
    from scipy import stats

    factor = np.linalg.cholesky(COVARIANCE)
    theta = MEAN + student(np.random.default_rng(0), 50, 3) @ factor.T
    ours = log_proposal(theta, MEAN, factor, np.eye(3)[None])
    theirs = stats.multivariate_t(MEAN, COVARIANCE, df=FREEDOM).logpdf(theta)
    assert np.ptp(ours - theirs) < 1e-10


def test_proposals_at_two_modes_give_each_its_weight() -> None:
    """A mixture of normal densities of weights .8 and .2, ten sds apart: neither proposal sees the other's mode."""
    sds = np.array([1.0, 0.5])

    def log_density(theta: Matrix) -> Vector:
        parts = [
            np.log(w) + stats.norm(m, s).logpdf(theta[:, 0]) for w, m, s in zip((0.8, 0.2), (0, 10), sds, strict=True)
        ]
        return np.asarray(np.logaddexp(*parts))

    rng = np.random.default_rng(4)
    parts = [
        sample(log_density, np.array([mean]), np.array([[sd**2]]), rng)
        for mean, sd in zip((0.0, 10.0), sds, strict=True)
    ]
    found = pooled(parts)
    weights, khat = smoothed(found.log_ratio)
    assert khat < 0.5
    far = found.theta[:, 0] > 5
    error = np.sqrt((weights**2 * (far - 0.2) ** 2).sum())
    assert weights[far].sum() == pytest.approx(0.2, abs=4 * error)
    assert found.mean[0] == pytest.approx(0, abs=0.2)
