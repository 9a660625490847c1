"""Moves of single nodes along an order, by swaps of neighbours and rotations (eq. 18 of the card)."""

import numba
import numpy as np

from genarium.declaration import Array

LEAST = 1e-12
"""Share of a node's sum of squares that is left at least, so that logarithms exist."""


@numba.njit(cache=True)
def _cost(left: float, square: float, samples: int) -> float:
    left = max(left, LEAST * square)
    return samples * np.log(left) if samples > 0 else left


@numba.njit(cache=True)
def swap(factor: Array, left: Array, order: Array, i: int, K: int) -> None:
    """Swap the nodes at places i and i + 1 of an order.

    With G the second moments of the features and C their covariances with the nodes, rows i K to (i + 1) K of
    ``factor`` are those of L^-1 [G, C] for the block at place i. A swap rotates the 2 K rows of both places, so that
    the features of the node that comes first are within the first K of them. Node b then loses the block of a, and a
    gains what that of b adds to the blocks before both.

    Parameters
    ----------
    factor : ndarray, shape (p K, p K + p)
        Columns: features by node, then nodes. Is changed.
    left : ndarray, shape (p,)
        What is left of each node's sum of squares. Is changed.
    order : ndarray of int, shape (p,)
        Is changed.
    i, K : int
    """
    p = len(order)
    a, b = order[i], order[i + 1]
    first = i * K
    for r in range(first, first + K):
        left[b] += factor[r, p * K + b] ** 2
    for k in range(K):
        pivot = first + k
        for r in range(first + 2 * K - 1, pivot, -1):
            x, y = factor[pivot, b * K + k], factor[r, b * K + k]
            if y == 0.0:
                continue
            size = np.hypot(x, y)
            c, s = x / size, y / size
            for column in range(p * K + p):
                u, v = factor[pivot, column], factor[r, column]
                factor[pivot, column] = c * u + s * v
                factor[r, column] = c * v - s * u
    for r in range(first, first + K):
        left[a] -= factor[r, p * K + a] ** 2
    order[i], order[i + 1] = b, a


@numba.njit(cache=True)
def _moved(factor: Array, left: Array, square: Array, order: Array, i: int, K: int, samples: int) -> float:
    """Swap, and return how much the summed cost rises."""
    a, b = order[i], order[i + 1]
    old = _cost(left[a], square[a], samples) + _cost(left[b], square[b], samples)
    swap(factor, left, order, i, K)
    return _cost(left[a], square[a], samples) + _cost(left[b], square[b], samples) - old


@numba.njit(cache=True)
def improve(
    factor: Array,
    left: Array,
    square: Array,
    order: Array,
    before: Array,
    K: int,
    samples: int,
    reach: int,
    gain: float,
    sweeps: int,
) -> None:
    """Move single nodes to where the summed cost is least, until no move lowers it by more than ``gain``.

    Parameters
    ----------
    factor, left, order, K
        Of :func:`swap`.
    square : ndarray, shape (p,)
        Sums of squares of the nodes.
    before : ndarray of bool, shape (p, p)
        [i, j]: i has to come before j.
    samples : int
        n where the cost is n ln of what is left; 0 where it is that itself.
    reach : int
        Places to either side that a node is tried at.
    gain : float
    sweeps : int
        Passes over the nodes at most.
    """
    p = len(order)
    for _ in range(sweeps):
        any_moved = False
        for node in range(p):
            start = 0
            while order[start] != node:
                start += 1
            place, best, least, change = start, start, 0.0, 0.0
            while place + 1 < p and place - start < reach and not before[node, order[place + 1]]:
                change += _moved(factor, left, square, order, place, K, samples)
                place += 1
                if change < least - gain:
                    least, best = change, place
            while place > start:
                place -= 1
                _moved(factor, left, square, order, place, K, samples)
            change = 0.0
            while place > 0 and start - place < reach and not before[order[place - 1], node]:
                place -= 1
                change += _moved(factor, left, square, order, place, K, samples)
                if change < least - gain:
                    least, best = change, place
            while place < best:
                _moved(factor, left, square, order, place, K, samples)
                place += 1
            any_moved = any_moved or best != start
        if not any_moved:
            break
