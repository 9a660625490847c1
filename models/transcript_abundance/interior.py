"""Newton's method for components whose likelihood is too flat for EM; equation numbers refer to the card."""

import numba
import numpy as np

from genarium.declaration import Array

STEPS = 60
"""Newton steps at most."""


@numba.njit(cache=True)
def climb(W: Array, count: Array, sole: Array, a: Array, tolerance: float) -> Array:
    """Maximise Σ_e c_e ln (W a)_e + Σ_k s_k ln a_k - Σ_k a_k over a >= 0 by an interior-point method (eq. 15).

    Parameters
    ----------
    W : ndarray, shape (E, K)
    count : ndarray, shape (E,)
    sole : ndarray, shape (K,)
        Reads s_k that can come from one transcript only.
    a : ndarray, shape (K,)
        Where to start; positive.
    tolerance : float
        Nats that may be left to gain.

    Returns
    -------
    ndarray, shape (K,)
        The best point met; its sum is that of the reads. It is the start where nothing better was met.
    """
    E, K = W.shape
    reads = count.sum() + sole.sum()
    least = max(tolerance / K, 1e-13 * reads) / 20  # of the complementarity a_k z_k
    best, best_gap = a.copy(), np.inf
    a = np.maximum(a, 1e-10 * reads)
    z = np.maximum(1e-3, least / a)
    p, ratio, H, rhs, scale = np.empty(E), np.empty(K), np.empty((K, K)), np.empty(K), np.empty(K)
    for _ in range(STEPS):
        for e in range(E):
            p[e] = 0.0
            for k in range(K):
                p[e] += W[e, k] * a[k]
        H[:] = 0.0
        for k in range(K):
            ratio[k] = sole[k] / a[k]
        for e in range(E):
            share = count[e] / p[e]
            curve = share / p[e]
            for k in range(K):
                if W[e, k] > 0.0:
                    ratio[k] += W[e, k] * share
                    for i in range(k + 1):
                        H[k, i] += curve * W[e, k] * W[e, i]
        total = a.sum()
        # at a scaled to the reads, every ratio is multiplied by total / reads
        gap = reads * np.log(max(ratio.max() * total / reads, 1.0))
        if gap < best_gap:
            best, best_gap = a * (reads / total), gap
        if best_gap <= 0.5 * tolerance:
            break
        mu = max(0.1 * (a @ z) / K, least)
        for k in range(K):
            H[k, k] = (H[k, k] + z[k] / a[k] + sole[k] / a[k] ** 2) * (1 + 1e-13)
            scale[k] = np.sqrt(H[k, k])
        for k in range(K):
            rhs[k] = (ratio[k] - 1 + mu / a[k]) / scale[k]
            for i in range(k + 1):
                H[k, i] /= scale[k] * scale[i]
                H[i, k] = H[k, i]
        step = np.linalg.solve(H, rhs) / scale
        length = 1.0
        for k in range(K):
            slope = (mu - z[k] * step[k]) / a[k] - z[k]
            if step[k] < 0:
                length = min(length, -0.99 * a[k] / step[k])
            if slope < 0:
                length = min(length, -0.99 * z[k] / slope)
        if not np.isfinite(length):
            break
        for k in range(K):
            slope = (mu - z[k] * step[k]) / a[k] - z[k]
            a[k] += length * step[k]
            z[k] += length * slope
    return best


@numba.njit(cache=True)
def climb_all(
    chosen: Array,
    members: Array,
    cuts: Array,
    classes: Array,
    class_cuts: Array,
    first: Array,
    column: Array,
    weight: Array,
    count: Array,
    sole: Array,
    a: Array,
    tolerance: float,
) -> None:
    """Climb in several components, in place.

    Parameters
    ----------
    chosen : ndarray of int
        Components.
    members, cuts : ndarray of int
        Component j holds the transcripts ``members[cuts[j] : cuts[j + 1]]``.
    classes, class_cuts : ndarray of int
        The same of classes.
    first, column, weight, count, sole
        The table.
    a : ndarray, shape (K,)
    tolerance : float
        Nats for each component.
    """
    place = np.zeros(len(a), dtype=np.int64)
    for j in chosen:
        mine, rows = members[cuts[j] : cuts[j + 1]], classes[class_cuts[j] : class_cuts[j + 1]]
        for i in range(len(mine)):
            place[mine[i]] = i
        W = np.zeros((len(rows), len(mine)))
        for i in range(len(rows)):
            for m in range(first[rows[i]], first[rows[i] + 1]):
                W[i, place[column[m]]] = weight[m]
        a[mine] = climb(W, count[rows], sole[mine], a[mine], tolerance)
