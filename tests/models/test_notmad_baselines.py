"""Baselines of NOTMAD: what they minimise, and what they refuse."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.notmad import by_group, clustered, lioness, notears, project_to_dag
from genarium.models.notmad.baselines import held_out_error, selected_archetype


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
    about_mean, about_zero = (fit(x, group, **s) for s in ({}, {"centre": False}))
    mirrored = np.vstack([own, -own])  # its mean is zero, and its covariance the second moment of x about zero
    np.testing.assert_allclose(about_zero, notears(mirrored).network, rtol=1e-3)  # twice the samples, less shrinkage
    assert held_out_error(own, about_zero) < 0.7 * held_out_error(own, about_mean)
    assert held_out_error(own, about_mean, own.mean(0)) < held_out_error(own, about_zero)


def test_values_that_are_not_finite_are_refused_with_their_position() -> None:
    x, group = shifted()
    context = group[:, None].astype(float)
    x[700, 1], bad = np.nan, context.copy()
    bad[3, 0] = np.inf
    where = re.escape("notmad: x[700, 1] = nan is not finite (1 of 2000 values are not)")
    with pytest.raises(InputError, match=where):
        notears(x)
    with pytest.raises(InputError, match=where):  # of the data, not of the group
        by_group(x, context, group)
    with pytest.raises(InputError, match=where):
        clustered(x, context, 2, np.random.default_rng(0))
    with pytest.raises(InputError, match=where):
        lioness(x, samples=np.array([700]))
    fits: list[Callable[[], Any]] = [
        lambda: by_group(x[:10], bad[:10], group[:10]),
        lambda: clustered(x[:10], bad[:10], 1, np.random.default_rng(0)),
    ]
    for fit in fits:
        with pytest.raises(InputError, match=r"context\[3, 0\] = inf is not finite"):
            fit()


def test_a_sample_takes_the_archetype_of_its_largest_weight() -> None:
    rng = np.random.default_rng(0)
    weights, archetypes = rng.dirichlet(np.ones(3), 8), rng.normal(size=(3, 4, 4))
    found = selected_archetype(weights, archetypes)
    for z, network in zip(weights, found, strict=True):
        np.testing.assert_array_equal(network, project_to_dag(archetypes[sorted(range(3), key=lambda k: z[k])[-1]]))
