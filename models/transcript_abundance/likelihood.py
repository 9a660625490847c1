"""Densities in NumPy, and what follows from abundances; shapes: K transcripts, E classes, M entries, draws first."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.simplex import dirichlet_log_norm

from .story import SPREAD, SPREAD_SD

CONDITIONAL = 1e-6
"""How far the weights of a transcript may be from summing to one for the data to be checked against replications."""


def log_likelihood(nu: Array, count: Array, weight: Array, entry_class: Array, entry_transcript: Array) -> Array:
    """Log probability of the reads of each class, c_e ln Σ_k w_ek nu_k (eq. 4); shape (..., E)."""
    from scipy import sparse

    E, K = len(count), nu.shape[-1]
    table = sparse.csr_array((weight, (entry_class, entry_transcript)), shape=(E, K))
    p = (table @ nu.reshape(-1, K).T).T.reshape(*nu.shape[:-1], E)
    with np.errstate(divide="ignore"):
        return np.asarray(count * np.log(np.where(count > 0, p, 1.0)))


def log_prior(nu: Array, alpha: Array) -> Array:
    """Log density of Dirichlet(alpha); shape (...)."""
    floor = np.finfo(float).tiny  # an abundance that underflowed
    varying = np.where(alpha == 1, 0.0, (alpha - 1) * np.log(np.maximum(nu, floor)))
    return np.asarray(dirichlet_log_norm(alpha) + varying.sum(-1))


def log_sparse_prior(nu: Array, presence: Array, spread: Array, effective_length: Array) -> Array:
    """Log density of the sparse prior (eqs. 25 and 26), by the number of transcripts there; shape (...)."""
    from scipy import special

    K = nu.shape[-1]
    there = nu > 0
    m = there.sum(-1)
    x = np.where(there, np.log(np.where(there, nu, 1.0)), 0.0)
    z = np.where(there, x - np.log(effective_length), 0.0)
    squares = np.where(there, (z - (z.sum(-1) / m)[..., None]) ** 2, 0.0).sum(-1)
    contrasts = -0.5 * squares / spread**2 - (m - 1) * (np.log(spread) + 0.5 * np.log(2 * np.pi)) - 0.5 * np.log(m)
    with np.errstate(divide="ignore"):
        odds = (
            special.xlogy(m, presence) + special.xlog1py(K - m, -presence) - np.log(-np.expm1(K * np.log1p(-presence)))
        )
    return np.asarray(contrasts - x.sum(-1) + odds + log_spread(spread))


def log_spread(spread: Array) -> Array:
    """Log density of the spread in its prior."""
    u = (np.log(spread) - np.log(SPREAD)) / SPREAD_SD
    return np.asarray(-0.5 * u**2 - np.log(spread * SPREAD_SD) - 0.5 * np.log(2 * np.pi))


def tpm(nu: Array, effective_length: Array) -> Array:
    """Transcripts per million: nucleotide abundances divided by length, scaled to a million (eq. 2)."""
    rate = nu / effective_length
    return np.asarray(1e6 * rate / rate.sum(-1, keepdims=True))


def counts(nu: Array, reads: Array) -> Array:
    """Return the reads expected from each transcript, N nu."""
    return np.asarray(reads * nu)


def quantities(nu: Array, effective_length: Array) -> Mapping[str, Any]:
    """Scalars besides nu itself: evenness, transcripts there, mean length of what is read, share of the first half."""
    return {
        "sum_nu_squared": (nu**2).sum(-1),
        "there": (nu > 0).sum(-1),
        "mean_length": nu @ effective_length,
        "first_half": nu[..., : (nu.shape[-1] + 1) // 2].sum(-1),
        "tpm_first": tpm(nu, effective_length)[..., 0],
    }


def is_conditional(weight: Array, entry_transcript: Array, transcripts: int) -> bool:
    """Whether the weights of every transcript sum to one over the classes: whether they are P(class | transcript)."""
    total = np.bincount(entry_transcript, weight, transcripts)
    return bool(np.abs(total - 1).max() < CONDITIONAL)


def statistics(count: Array, weight: Array, entry_transcript: Array, effective_length: Array) -> Mapping[str, Any]:
    """Statistics of the counts for predictive checks; none where replications cannot be faithful (salmon's weights)."""
    if not is_conditional(weight, entry_transcript, len(effective_length)):
        return {}
    share = count / max(count.sum(), 1)
    return {
        "empty_classes": (count == 0).mean(),
        "largest_class": share.max(),
        "sum_of_squared_shares": (share**2).sum(),
    }
