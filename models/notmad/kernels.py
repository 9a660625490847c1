"""Penalty, log determinant and their gradients for many small matrices, compiled by Numba (eqs. 6 to 9 of the card)."""

from typing import Any

import numba
import numpy as np

from genarium.declaration import Array

DEGREE = 12
"""Of the Taylor polynomial of exp: relative error below 2e-14 on norms up to one half."""

LARGE = 16
"""Nodes from which the products of matrices go to BLAS."""


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _product(a: Array, b: Array, out: Array) -> None:
    p = len(a)
    if p >= LARGE:
        np.dot(a, b, out)
        return
    for i in range(p):
        for j in range(p):
            out[i, j] = 0.0
        for k in range(p):
            scale = a[i, k]
            if scale != 0.0:
                for j in range(p):
                    out[i, j] += scale * b[k, j]


@numba.njit(cache=True)
def _exponential(a: Array, work: Array) -> Any:
    """Matrix exponential by scaling and squaring; ``work`` (8, p, p); returns a view into it."""
    p = len(a)
    norm = 0.0
    for i in range(p):
        row = 0.0
        for j in range(p):
            row += abs(a[i, j])
        norm = max(norm, row)
    if not np.isfinite(norm):
        work[0, :, :] = np.inf
        return work[0]
    squarings = 0
    while norm > 0.5:
        norm *= 0.5
        squarings += 1
    first, second, third, fourth, low, high = work[0], work[1], work[2], work[3], work[4], work[5]
    scale = 0.5**squarings
    for i in range(p):
        for j in range(p):
            first[i, j] = a[i, j] * scale
    _product(first, first, second)
    _product(first, second, third)
    _product(second, second, fourth)
    factorial = np.ones(13)
    for k in range(1, 13):
        factorial[k] = factorial[k - 1] * k
    # (c12 A^4 + c11 A^3 + c10 A^2 + c9 A + c8) A^4 + ..., four terms a block
    for i in range(p):
        for j in range(p):
            high[i, j] = (
                first[i, j] / factorial[9]
                + second[i, j] / factorial[10]
                + third[i, j] / factorial[11]
                + fourth[i, j] / factorial[12]
            )
        high[i, i] += 1 / factorial[8]
    for block in (4, 0):
        _product(high, fourth, low)
        for i in range(p):
            for j in range(p):
                high[i, j] = (
                    low[i, j]
                    + first[i, j] / factorial[block + 1]
                    + second[i, j] / factorial[block + 2]
                    + third[i, j] / factorial[block + 3]
                )
            high[i, i] += 1 / factorial[block]
    for _ in range(squarings):
        _product(high, high, low)
        high, low = low, high
    return high


@numba.njit(cache=True)
def _inverse(a: Array, out: Array) -> tuple[float, float]:
    """Invert ``a`` (destroyed) into ``out`` by Gauss-Jordan with pivoting; return sign and log of |det|."""
    p = len(a)
    out[:, :] = 0.0
    for i in range(p):
        out[i, i] = 1.0
    log_det, sign = 0.0, 1.0
    for c in range(p):
        pivot = c
        for r in range(c + 1, p):
            if abs(a[r, c]) > abs(a[pivot, c]):
                pivot = r
        value = a[pivot, c]
        if value == 0.0 or not np.isfinite(value):
            return 0.0, -np.inf
        if pivot != c:
            sign = -sign
            for j in range(p):
                a[c, j], a[pivot, j] = a[pivot, j], a[c, j]
                out[c, j], out[pivot, j] = out[pivot, j], out[c, j]
        if value < 0:
            sign = -sign
        log_det += np.log(abs(value))
        for j in range(p):
            a[c, j] /= value
            out[c, j] /= value
        for r in range(p):
            factor = a[r, c]
            if r != c and factor != 0.0:
                for j in range(p):
                    a[r, j] -= factor * a[c, j]
                    out[r, j] -= factor * out[c, j]
    return sign, log_det


@numba.njit(cache=True)
def penalties(networks: Array, logdet: bool, value: Array, gradient: Array) -> None:
    """Acyclicity penalty of each network, and its gradient.

    Parameters
    ----------
    networks : ndarray, shape (N, p, p)
    logdet : bool
        Log determinant (eq. 8) instead of trace exponential (eq. 7).
    value : ndarray, shape (N,)
        Receives h.
    gradient : ndarray, shape (N, p, p)
        Receives dh/dW.
    """
    N, p, _ = networks.shape
    work = np.empty((8, p, p))
    square = np.empty((p, p))
    for n in range(N):
        w = networks[n]
        for i in range(p):
            for j in range(p):
                square[i, j] = w[i, j] * w[i, j]
        if logdet:
            for i in range(p):
                for j in range(p):
                    work[0, i, j] = (1.0 if i == j else 0.0) - square[i, j]
            sign, log_det = _inverse(work[0], work[1])
            result = work[1]
            inside = sign > 0 and result.min() >= -1e-12
            value[n] = -log_det if inside else np.inf
        else:
            result = _exponential(square, work)
            trace = 0.0
            for i in range(p):
                trace += result[i, i]
            value[n] = trace - p
        for i in range(p):
            for j in range(p):
                gradient[n, i, j] = 2 * w[i, j] * result[j, i]


@numba.njit(cache=True)
def log_determinants(networks: Array, value: Array, gradient: Array) -> None:
    """Put ln |det(I - W)| of each network (N, p, p) into ``value``, its gradient -inv(I - W)^T into ``gradient``."""
    N, p, _ = networks.shape
    left, inverse = np.empty((p, p)), np.empty((p, p))
    for n in range(N):
        for i in range(p):
            for j in range(p):
                left[i, j] = (1.0 if i == j else 0.0) - networks[n, i, j]
        _, value[n] = _inverse(left, inverse)
        for i in range(p):
            for j in range(p):
                gradient[n, i, j] = -inverse[j, i]
