"""Baselines of NOTMAD: what they minimise, and what they refuse."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.notmad import by_group, clustered, notears
from genarium.models.notmad.baselines import held_out_error


def shifted() -> tuple[Array, Array]:
    """Two groups without edges whose means differ: about zero one node predicts the other, about the means none."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 500)
    return rng.normal(size=(1000, 2)) + np.array([[3.0, 3.0], [-3.0, 3.0]])[group], group


@pytest.mark.parametrize(
    "fit",
    [
        lambda x, group, **s: notears(x[group == 0], **s).network,
        lambda x, group, **s: by_group(x, group[:, None].astype(float), group, **s).networks[0],
        lambda x, group, **s: clustered(x, group[:, None].astype(float), 2, np.random.default_rng(0), **s).predict(
            np.zeros((1, 1))
        )[0],
    ],
    ids=["notears", "by_group", "clustered"],
)
def test_without_centring_the_loss_is_the_error_about_zero(fit: Callable[..., Array]) -> None:
    x, group = shifted()
    own = x[group == 0]
    about_mean, about_zero = (fit(x, group, beta=0.02, threshold=0.1, **s) for s in ({}, {"centre": False}))
    mirrored = np.vstack([own, -own])  # its mean is zero, and its covariance the second moment of x about zero
    np.testing.assert_allclose(about_zero, notears(mirrored, beta=0.02, threshold=0.1).network, rtol=1e-9)
    assert held_out_error(own, about_zero) < 0.7 * held_out_error(own, about_mean)
    assert held_out_error(own, about_mean, own.mean(0)) < held_out_error(own, about_zero)
