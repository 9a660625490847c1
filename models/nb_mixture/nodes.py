"""Size factors by a few nodes: what is smooth in ln s is interpolated, so that sums over cells become sums over nodes.

All that the likelihood needs of a size factor is ln(1 + s mu / r), a smooth function of ln s whose nearest
singularities lie pi away from the real line. In a bin of half-width h, the polynomial through M Chebyshev nodes is off
by less than (4 / M) / rho^M, rho = pi/h + sqrt(1 + (pi/h)^2): eight or nine nodes a bin of 0.6 give 12 digits (eq. 27
of the card).
"""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

ERROR = 1e-12
"""Largest error of an interpolated ln(1 + s mu / r), where sums over cells are differentiated and compared."""

WIDTH, WIDE, SMALL = 0.6, 3.0, 500
"""Width of a bin of ln s; the second with at most ``SMALL`` cells, where bins cost more than a longer polynomial."""


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


@dataclass(frozen=True)
class Frame:
    """Where the nodes are: of all cells, though only some of them may be at hand.

    Attributes
    ----------
    at : ndarray, shape (T,)
        Size factors of the nodes.
    low, half : float
        Smallest ln s, and half the width of a bin; zero width where the nodes are the only size factors.
    order : int
        Nodes of each bin.
    """

    at: Array
    low: float = 0.0
    half: float = 0.0
    order: int = 0


def frame(size_factor: Array, error: float = ERROR, cells: int = 0) -> Frame:
    """Place nodes for size factors.

    Parameters
    ----------
    size_factor : ndarray
        All of them, or those that stand for them: the lowest and the highest are enough, if not all are the same.
    error : float
        Largest error of an interpolated ln(1 + s mu / r).
    cells : int
        How many there are, where they are not all given.
    """
    distinct = np.unique(size_factor)
    low, high = float(np.log(distinct[0])), float(np.log(distinct[-1]))
    count = max(1, int(np.ceil((high - low) / (WIDE if max(cells, len(size_factor)) <= SMALL else WIDTH))))
    half = max((high - low) / count / 2, 1e-6)
    order = degree(half, error)
    if len(distinct) == 1 or (not cells and len(distinct) <= order * count):
        return Frame(distinct)
    centres = low + (2 * np.arange(count) + 1) * half
    return Frame(np.exp(centres[:, None] + half * chebyshev(order)).ravel(), low, half, order)


class Nodes:
    """Cells shared among nodes.

    Parameters
    ----------
    size_factor : ndarray, shape (N,)
    where : Frame

    Attributes
    ----------
    at : ndarray, shape (T,)
        Size factors of the nodes.
    bins : list of Bin
        Every cell is in one of them.
    """

    def __init__(self, size_factor: Array, where: Frame) -> None:
        self.at, self.bins = where.at, list[Bin]()
        if not where.half:
            share = (size_factor == self.at[:, None]).astype(float)
            self.bins.append(Bin(np.arange(len(size_factor)), slice(0, len(self.at)), share))
            return
        log_s, order, half = np.log(size_factor), where.order, where.half
        count = len(self.at) // order
        which = np.clip(((log_s - where.low) / (2 * half)).astype(int), 0, count - 1)
        by_bin = np.argsort(which, kind="stable")
        edges = np.searchsorted(which[by_bin], np.arange(count + 1))
        for b in range(count):
            cells = by_bin[edges[b] : edges[b + 1]]
            if len(cells):
                share = lagrange((log_s[cells] - where.low - (2 * b + 1) * half) / half, order)
                self.bins.append(Bin(cells, slice(b * order, (b + 1) * order), share))


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
