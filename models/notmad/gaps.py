"""Missing values of Gaussian nodes, integrated out of the density (eq. 26 of the card)."""

import numpy as np

from genarium.declaration import Array


def precision(networks: Array, sigma: Array) -> Array:
    """Precision (I - W) diag(sigma^-2) (I - W)^T of the nodes (..., p, p), from networks and sigma (..., p)."""
    left = np.eye(networks.shape[-1]) - networks
    return np.asarray((left / sigma[..., None, :] ** 2) @ left.swapaxes(-1, -2))


def integrated(r: Array, absent: Array, networks: Array, sigma: Array) -> Array:
    """Return what the log density of a sample changes by when its missing values are integrated out (eq. 26).

    Parameters
    ----------
    r : ndarray, shape (..., n, p) or (n, p)
        Deviations from the mean, zero where values are missing: the density is that of these.
    absent : ndarray of bool, shape (n, p)
    networks : ndarray, shape (..., n, p, p)
    sigma : ndarray, shape (..., 1, p)

    Returns
    -------
    ndarray, shape (..., n)
    """
    out = np.zeros(networks.shape[:-2])
    rows = np.flatnonzero(absent.any(1))
    gone = absent[rows]
    Q = precision(networks[..., rows, :, :], sigma)
    b = np.where(gone, (Q @ r[..., rows, :, None])[..., 0], 0.0)
    Q = np.where(gone[:, :, None] & gone[:, None, :], Q, np.eye(r.shape[-1]))
    solved = np.linalg.solve(Q, b[..., None])[..., 0]
    out[..., rows] = 0.5 * (b * solved).sum(-1) - 0.5 * np.linalg.slogdet(Q)[1] + 0.5 * gone.sum(1) * np.log(2 * np.pi)
    return out
