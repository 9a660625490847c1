"""What features, cell numbers and chance say of a perturbation's proportions: the linear predictor of each variant.

Equation numbers refer to the card. Draws may lead in the unknown variables' shapes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array

JITTER = 1e-6
"""Added to the diagonal of a Gaussian process' covariance, whose scale is one."""


SMALLEST = 1e-300
"""Floor of concentrations: a share that underflowed."""


def kernel(a: Array, b: Array, lengthscale: Array) -> Array:
    """Squared exponential covariance with distances scaled by the number of features (eq. 8); shape (P, P')."""
    D = a.shape[-1]
    squared = (a**2).sum(-1)[:, None] + (b**2).sum(-1) - 2 * a @ b.T
    return np.asarray(np.exp(-np.maximum(squared, 0) / (2 * D * lengthscale**2)))


def factor(features: Array, lengthscale: Array) -> Array:
    """Cholesky factor L of the covariance at the features (eq. 8); shape (P, P), lower."""
    return np.asarray(np.linalg.cholesky(kernel(features, features, lengthscale) + JITTER * np.eye(len(features))))


class Predictor:
    """The predictor of a variant: ``regression`` and ``abundance`` are the options' values."""

    def __init__(self, regression: str, abundance: str) -> None:
        self.regression, self.abundance = regression, abundance

    def eta(self, given: Mapping[str, Any]) -> Array:
        """Unnormalised log shares (eqs. 1, 8 and 9), shape (..., P, K); P is 1 where perturbations do not differ.

        Parameters
        ----------
        given : mapping of str to ndarray
            The variables that the variant needs: mu, then weight, tau, features, lengthscale, growth, typical, cells.
        """
        out = np.asarray(given["mu"])[..., None, :]
        if self.regression != "none":
            X = given["features"]
            basis = X / np.sqrt(X.shape[-1]) if self.regression == "linear" else factor(X, given["lengthscale"])
            out = out + np.asarray(given["tau"])[..., None, None] * (basis @ given["weight"])
        if self.abundance == "joint":
            relative = np.log(given["cells"] / np.asarray(given["typical"])[..., None])  # (..., P)
            out = out + given["growth"][..., None, :] * relative[..., None]
        return out

    def alpha(self, given: Mapping[str, Any], P: int) -> Array:
        """Concentrations kappa softmax(eta) (eq. 2), shape (..., P, K)."""
        share = softmax(self.eta(given), axis=-1)
        out = np.maximum(np.asarray(given["kappa"])[..., None, None] * share, SMALLEST)
        return np.broadcast_to(out, (*out.shape[:-2], P, out.shape[-1]))


def rotated(features: Array) -> tuple[Array, Array]:
    """Replace D features by at most P without changing the linear model (card, below eq. 8).

    With X = U S V', X W = (U S)(V'W), and V'W is distributed as W is. An unseen gene's features are rotated by the
    returned matrix; what lies outside the span of the fitted genes' features is lost.

    Parameters
    ----------
    features : ndarray, shape (P, D)

    Returns
    -------
    rotated : ndarray, shape (P, r)
        r is the rank of the features.
    rotation : ndarray, shape (D, r)
        ``features @ rotation`` gives them.
    """
    X = np.asarray(features, dtype=float)
    _, S, Vt = np.linalg.svd(X, full_matrices=False)
    r = max(1, int((S.max(initial=0) * max(X.shape) * np.finfo(float).eps < S).sum()))
    rotation = Vt[:r].T * np.sqrt(r / X.shape[1])
    return np.asarray(X @ rotation), np.asarray(rotation)
