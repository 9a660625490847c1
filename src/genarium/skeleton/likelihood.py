"""Likelihood and prior in NumPy, of one point or of many draws along a leading dim; see the card for the equations."""

import numpy as np

from genarium.declaration import Array


def log_likelihood(count: Array, exposure: Array, rate: Array) -> Array:
    """Log probability of each sample's counts (eq. 4), shape (..., sample)."""
    from scipy.special import gammaln

    constant = (count * np.log(exposure)[:, None] - gammaln(count + 1)).sum(-1)  # (N,)
    varying = np.log(rate) @ count.T - rate.sum(-1, keepdims=True) * exposure  # (..., N)
    return np.asarray(constant + varying)


def log_prior(inverse_scale: Array, rate: Array, shape: Array, a0: Array, b0: Array) -> Array:
    """Log prior density of the unknown variables (eq. 1 and 2), shape (...)."""
    of_rate = _log_gamma(rate, shape, np.asarray(inverse_scale)[..., None]).sum(-1)
    return np.asarray(_log_gamma(inverse_scale, a0, b0) + of_rate)


def _log_gamma(x: Array, shape: Array, inverse_scale: Array) -> Array:
    """Log density of a gamma distribution."""
    from scipy.special import gammaln

    return np.asarray(
        shape * np.log(inverse_scale) - gammaln(shape) + (shape - 1) * np.log(x) - inverse_scale * x,
    )
