"""Size factors by a few nodes: what is smooth in ln s is interpolated, so that sums over cells become sums over nodes.

All that the likelihood needs of a size factor is ln(1 + s mu / r), a smooth function of ln s whose nearest singularities
lie pi away from the real line. Within a bin of half-width h, the polynomial through M Chebyshev nodes is off by less
than (4 / M) / rho^M, rho = pi/h + sqrt(1 + (pi/h)^2): eight nodes a bin of 0.6 give 12 digits (eq. 27 of the card).
"""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

ERROR = 1e-12
"""Largest error of an interpolated ln(1 + s mu / r), where sums over cells are differentiated and compared."""

WIDTH, WIDE, SMALL = 0.6, 3.0, 500
"""Width of a bin of ln s, and with at most ``SMALL`` cells, where a loop over bins costs more than a longer polynomial."""


@dataclass(frozen=True)
class Bin:
    """Cells whose size factors share nodes.

    Attributes
    ----------
    cells : ndarray of int, shape (B,)
    nodes : slice
        Positions of its M nodes.
    share : ndarray, shape (M, B)
        Weights of the interpolation: a function of s is ``share.T`` times its values at the nodes. They sum to one.
    """

    cells: Array
    nodes: slice
    share: Array


class Nodes:
    """Nodes for given size factors.

    Parameters
    ----------
    size_factor : ndarray, shape (N,)
    error : float
        Largest error of an interpolated ln(1 + s mu / r).

    Attributes
    ----------
    at : ndarray, shape (T,)
        Size factors of the nodes.
    bins : list of Bin
        Every cell is in one of them.
    """

    def __init__(self, size_factor: Array, error: float = ERROR) -> None:
        distinct = np.unique(size_factor)
        log_s = np.log(size_factor)
        low, high = float(log_s.min()), float(log_s.max())
        count = max(1, int(np.ceil((high - low) / (WIDE if len(log_s) <= SMALL else WIDTH))))
        half = max((high - low) / count / 2, 1e-6)
        order = degree(half, error)
        if len(distinct) <= order * count:
            self.at = distinct
            share = (size_factor == distinct[:, None]).astype(float)
            self.bins = [Bin(np.arange(len(log_s)), slice(0, len(distinct)), share)]
            return
        self.bins, at = [], []
        which = np.minimum(((log_s - low) / (2 * half)).astype(int), count - 1)
        by_bin = np.argsort(which, kind="stable")
        edges = np.searchsorted(which[by_bin], np.arange(count + 1))
        for b in range(count):
            cells = by_bin[edges[b] : edges[b + 1]]
            if not len(cells):
                continue
            centre = low + (2 * b + 1) * half
            start = len(at) * order
            at.append(np.exp(centre + half * chebyshev(order)))
            share = lagrange((log_s[cells] - centre) / half, order)
            self.bins.append(Bin(cells, slice(start, start + order), share))
        self.at = np.concatenate(at)


def degree(half: float, error: float) -> int:
    """Return the number of nodes that a bin needs for an error; ``half``: half its width in ln s."""
    rho = np.pi / half + np.hypot(1, np.pi / half)
    m = 1
    while 4 / m / rho**m > error:
        m += 1
    return m


def chebyshev(order: int) -> Array:
    """Nodes of Chebyshev's polynomial of an order, in (-1, 1)."""
    return np.asarray(np.cos(np.pi * (np.arange(order) + 0.5) / order))


def lagrange(t: Array, order: int) -> Array:
    """Values at ``t`` (B,) in [-1, 1] of the polynomials that are one at one node and zero at the others; (M, B)."""
    angle = np.arccos(np.clip(t, -1, 1))
    at = np.pi * (np.arange(order) + 0.5) / order
    j = np.arange(1, order)
    waves = np.cos(np.outer(at, j))  # (M, M - 1)
    return np.asarray((1 + 2 * waves @ np.cos(np.outer(j, angle))) / order)
