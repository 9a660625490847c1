"""An interior-point method for a component too large for dense matrices; equation numbers refer to the card."""

from typing import Any

import numpy as np

from genarium.declaration import Array

STEPS, INNER = 40, 1500
"""Newton steps, and conjugate-gradient steps in each of them, at most."""

SHRINK, NEAR = 0.2, 0.95
"""By how much a Newton step is to shrink the complementarity, and how far towards the edge it may go."""


def climb_giant(W: Any, count: Array, a: Array, tolerance: float) -> tuple[Array, float]:
    """Maximise Σ_e c_e ln (W a)_e over a >= 0, Σ a = N, together with its dual problem (eqs. 20 to 22).

    Parameters
    ----------
    W : SciPy sparse matrix in compressed rows, shape (E, K)
    count : ndarray, shape (E,)
    a : ndarray, shape (K,)
        Where to start; positive.
    tolerance : float
        Nats that may be left to gain.

    Returns
    -------
    a : ndarray, shape (K,)
        The best point met; its sum is that of the reads.
    gap : float
        Nats that are left to gain, at most (eq. 21).
    """
    T, W2 = W.T.tocsr(), W.multiply(W).tocsr()
    reads, K = float(count.sum()), len(a)
    a = 0.9 * a + 0.1 * reads / K
    a *= reads / a.sum()
    p = W @ a
    y = count / p
    y /= 1.05 * float((T @ y).max())
    z = 1 - T @ y
    best, best_gap = a, np.inf
    for _ in range(STEPS):
        total = a.sum()
        top = float((T @ y).max())  # 1 at most but for rounding
        gap = float(count @ np.log(count * top * total / (reads * y * p)))
        if gap < best_gap:
            best, best_gap = a * (reads / total), gap
        if best_gap <= tolerance:
            break
        mu = SHRINK * float(a @ z) / K
        own, inner = p / y, a / z
        r3, r4 = count - y * p, mu - a * z
        right = r3 / y - W @ (r4 / z)
        dy = _conjugate_gradients(W, T, W2 @ inner + own, own, inner, right)
        dz = -(T @ dy)
        da = (r4 - a * dz) / z
        dp = W @ da
        ahead, up = min(_far(a, da), _far(p, dp)), min(_far(y, dy), _far(z, dz))
        a, p, y, z = a + ahead * da, p + ahead * dp, y + up * dy, z + up * dz
    return best, best_gap


def _conjugate_gradients(W: Any, T: Any, diagonal: Array, own: Array, inner: Array, right: Array) -> Array:
    """Solve (own + W inner W') y = right, preconditioned by the diagonal (eq. 22)."""
    y, r = np.zeros_like(right), right.copy()
    s = r / diagonal
    d, rs = s, float(r @ s)
    enough = 1e-10 * rs
    for _ in range(INNER):
        if rs <= enough:
            break
        q = own * d + W @ (inner * (T @ d))
        length = rs / float(d @ q)
        y = y + length * d
        r = r - length * q
        s = r / diagonal
        rs, before = float(r @ s), rs
        d = s + (rs / before) * d
    return y


def _far(at: Array, step: Array) -> float:
    """Return the length of a step that stays inside, one at most."""
    down = step < 0
    return min(1.0, float(NEAR * (-at[down] / step[down]).min(initial=np.inf)))
