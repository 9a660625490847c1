"""Strand asymmetry of a process: how much more often it mutates the strand that the polymerase reads."""

import numpy as np

from genarium.declaration import Array

FLANKS = 16
"""Pairs of neighbours."""

SUBSTITUTIONS = ("C>A", "C>G", "C>T", "T>A", "T>C", "T>G")

LEAST = 1e-300
"""Sums are kept above it, so that their logs are finite."""


def asymmetry(lam: Array, context_opportunity: Array, context_exposure: Array, exposure: Array) -> Array:
    """Return the log ratio of mutations on the strands T and U, had both the same contexts (eq. 37 of the card).

    Parameters
    ----------
    lam : ndarray, shape (..., K, C)
    context_opportunity : ndarray, shape (C, L)
    context_exposure : ndarray, shape (C,)
    exposure : ndarray, shape (L,)

    Returns
    -------
    ndarray, shape (..., K)
    """
    read, other = _rates(lam, context_opportunity, context_exposure, exposure)
    return _log_ratio(read.sum((-2, -1)), other.sum((-2, -1)))


def asymmetry_by_substitution(
    lam: Array, rho: Array, context_opportunity: Array, context_exposure: Array, exposure: Array
) -> Array:
    """Return the same of the mutations of each substitution (eq. 38); shape (..., K, 6)."""
    each = rho.reshape(*rho.shape[:-2], 2, -1, FLANKS, rho.shape[-1])  # base, strand, neighbours, alternative
    rates = _rates(lam, context_opportunity, context_exposure, exposure)
    read, other = (np.einsum("...bn,...bna->...ba", rate, each[..., s, :, :]) for s, rate in enumerate(rates))
    ratio = _log_ratio(read, other)
    return ratio.reshape(*ratio.shape[:-2], -1)


def _rates(lam: Array, context_opportunity: Array, context_exposure: Array, exposure: Array) -> tuple[Array, Array]:
    """Return lam times the opportunities of both strands together, of T and of U; shapes (..., K, 2, 16)."""
    whole = (context_exposure * (context_opportunity @ exposure)).reshape(2, -1, FLANKS)
    together = whole[:, 0] + whole[:, 1]
    each = lam.reshape(*lam.shape[:-1], *whole.shape)
    return each[..., 0, :] * together, each[..., 1, :] * together


def _log_ratio(one: Array, other: Array) -> Array:
    return np.asarray(np.log(np.maximum(one, LEAST)) - np.log(np.maximum(other, LEAST)))
