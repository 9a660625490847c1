"""The prior of intercepts: pleiotropy is balanced in most regions and directional in some; equations of the card."""

import functools

import numpy as np

from genarium.declaration import Array

from .story import BALANCED, DIRECTIONAL, INTERCEPT

SHARES, SPREADS = np.array([1 - DIRECTIONAL, DIRECTIONAL]), np.array([BALANCED, INTERCEPT])
"""Of regions where pleiotropy is balanced, and where it is directional: how many, and the sd of their intercepts."""


def log_kinds(square: Array, scale: Array | float) -> Array:
    """Log density of intercepts and of either kind of region (balanced, directional), shape (2, ...).

    Parameters
    ----------
    square : ndarray
        Squares of the intercepts, or their expectations, in the outcome's units.
    scale : float
        The outcome's scale S_y.
    """
    sd = np.multiply.outer(SPREADS, np.asarray(scale, dtype=float)).reshape(2, *(1,) * np.ndim(square))
    share = SHARES.reshape(2, *(1,) * np.ndim(square))
    return np.asarray(np.log(share) - 0.5 * np.log(2 * np.pi) - np.log(sd) - 0.5 * np.asarray(square) / sd**2)


def log_prior(intercept: Array, scale: Array | float) -> Array:
    """Log prior density of intercepts, one by one (eq. 1)."""
    with np.errstate(over="ignore"):
        return np.asarray(np.logaddexp(*log_kinds(np.square(intercept), scale)))


def coordinate_of(intercept: Array, scale: float) -> Array:
    """Return the coordinate in which the prior is standard normal: what quantile an intercept is."""
    return np.asarray(np.sign(intercept) * _coordinate(np.abs(np.asarray(intercept)) / scale))


def intercept_of(z: Array, scale: float) -> Array:
    """Undo :func:`coordinate_of`, to 1e-9 and better: a table and one step of Newton's method."""
    knots, table = _table()
    size = np.abs(np.asarray(z, dtype=float))
    found = np.interp(size, table, knots)
    slope = np.exp(-0.5 * size**2 - 0.5 * np.log(2 * np.pi) - log_prior(found, 1.0))
    return np.asarray(scale * np.sign(z) * np.maximum(found - (_coordinate(found) - size) * slope, 0.0))


def coordinate_moments(log_share: Array, mean: Array, sd: Array, scale: float) -> tuple[Array, Array]:
    """Return mean and sd of the coordinates of intercepts that are normal in either kind of region, by quadrature.

    Parameters
    ----------
    log_share, mean, sd : ndarray, shape (2, S)
        Log probabilities of the kinds, and moments of the intercepts in each.
    scale : float

    Returns
    -------
    mean, sd : ndarray, shape (S,)
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    z = coordinate_of(mean[..., None] + sd[..., None] * nodes, scale)
    weight = np.exp(log_share)[..., None] * weights / weights.sum()
    first, second = (weight * z).sum((0, -1)), (weight * z**2).sum((0, -1))
    return first, np.sqrt(second - first**2)


def _coordinate(size: Array) -> Array:
    """Return the coordinate of intercepts that are not negative, in units of the outcome's scale."""
    from scipy.special import log_ndtr, ndtri_exp

    beyond = [np.log(share) + log_ndtr(-size / sd) for share, sd in zip(SHARES, SPREADS, strict=True)]
    return np.asarray(-ndtri_exp(np.logaddexp(*beyond)))


@functools.cache
def _table() -> tuple[Array, Array]:
    """Return intercepts, in units of the outcome's scale, and their coordinates."""
    knots = np.concatenate(
        [np.linspace(0, 10 * BALANCED, 20000), np.linspace(10 * BALANCED, 40 * INTERCEPT, 20000)[1:]]
    )
    return knots, _coordinate(knots)
