"""The factor q(phi) of variational Bayes as a table over nodes of r = 1/phi; shapes: J nodes, K components, D genes.

There is one r, or one a gene, or one a component: the optimal factor of each is a density in one dimension. Where phi
is known there is a single node.
"""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array, Problem
from genarium.simplex import normalised

from .counts import Counts, rising_table
from .likelihood import Story


@dataclass(frozen=True)
class Grid:
    """Nodes of ln r, equally spaced.

    Attributes
    ----------
    log_r : ndarray, shape (J, K or 1, D or 1)
        A single node where phi is known.
    spacing : ndarray, shape (K or 1, D or 1)
    sd : ndarray, shape (K or 1, D or 1)
        The posterior sd of ln r that the nodes were made for.
    log_prior : ndarray, same shape as ``log_r``
        Log of prior density times spacing; zero where phi is known.
    """

    log_r: Array
    spacing: Array
    sd: Array
    log_prior: Array


def known_grid(problem: Problem, story: Story) -> Grid:
    """Put the one node where phi is known."""
    shape = (problem.sizes["component"], problem.sizes["gene"])
    log_r = -np.log(story.spread(problem["phi"], np.empty(shape)))[None]
    return Grid(log_r, np.ones((1, 1)), np.ones((1, 1)), np.zeros((1, 1, 1)))


def grid_around(problem: Problem, centre: Array, sd: Array, nodes: Array) -> Grid:
    """Put nodes of ln r around a centre; ``nodes`` are in sd, centre and sd have shape (K or 1, D or 1)."""
    log_r = centre + sd * nodes[:, None, None]
    spacing = sd * (nodes[1] - nodes[0])
    tau, z = problem["tau"], -log_r - np.log(problem["phi0"])
    density = -0.5 * (z / tau) ** 2 - np.log(tau) - 0.5 * np.log(2 * np.pi)
    return Grid(log_r, spacing, sd, density + np.log(spacing))


def refined(problem: Problem, grid: Grid, weight: Array, nodes: Array) -> Grid | None:
    """Return a better grid where this one is too coarse, too wide or misses mass; None where it is good.

    Parameters
    ----------
    problem : Problem
    grid : Grid
    weight : ndarray, shape (J, K or 1, D or 1)
        q of the nodes.
    nodes : ndarray, shape (J,)
        Where nodes are put, in sd.

    Returns
    -------
    Grid or None
    """
    if len(grid.log_r) == 1:
        return None
    centre = (weight * grid.log_r).sum(0)
    sd = np.sqrt((weight * (grid.log_r - centre) ** 2).sum(0))
    cut = np.maximum(weight[0], weight[-1]) > 1e-4
    if not (cut | (sd < 0.8 * grid.sd)).any():
        return None
    wider, narrower = 1.5 * np.maximum(sd, grid.sd), np.maximum(sd, grid.spacing / 3)
    return grid_around(problem, centre, np.where(cut, wider, narrower), nodes)


def draw_r(rng: np.random.Generator, draws: int, grid: Grid, weight: Array) -> tuple[Array, Array, Array]:
    """Draw r from the density through the nodes (a cubic spline of its logarithm, cut into fine steps).

    Parameters
    ----------
    rng : Generator
    draws : int
    grid : Grid
    weight : ndarray, shape (J, K or 1, D or 1)

    Returns
    -------
    r : ndarray, shape (S, K or 1, D or 1)
    node : ndarray of int, same shape
        The nearest node.
    log_q : ndarray, shape (S,)
        Log density with respect to ln r, summed over the draws of one S.
    """
    from scipy.interpolate import CubicSpline

    fine = 16
    log_r = np.empty((draws, *weight.shape[1:]))
    node = np.empty(log_r.shape, dtype=int)
    log_q = np.zeros(draws)
    for at in np.ndindex(*weight.shape[1:]):
        nodes, log_weight = grid.log_r[(slice(None), *at)], np.log(np.maximum(weight[(slice(None), *at)], 1e-300))
        step = (nodes[1] - nodes[0]) / fine
        points = nodes[0] + step * (np.arange((len(nodes) - 1) * fine) + 0.5)
        mass = np.exp(CubicSpline(nodes, log_weight)(points))
        mass /= mass.sum()
        pick = rng.choice(len(points), draws, p=mass)
        log_r[(slice(None), *at)] = points[pick] + np.abs(step) * rng.uniform(-0.5, 0.5, draws)
        node[(slice(None), *at)] = np.minimum((pick + fine // 2) // fine, len(nodes) - 1)
        log_q += np.log(mass[pick] / np.abs(step))
    return np.exp(log_r), node, log_q


class RisingTable:
    """ln C(x, r) + ln x! at every distinct count and node of r; no update of the responsibilities changes it.

    Parameters
    ----------
    counts : Counts
    grid : Grid
    shares_r : bool
        Whether the components share r.
    shape : tuple of int
        (K, D).
    """

    def __init__(self, counts: Counts, grid: Grid, shares_r: bool, shape: tuple[int, int]) -> None:
        self.counts, self.grid, self.shares_r = counts, grid, shares_r
        self.r = np.broadcast_to(np.exp(grid.log_r), (len(grid.log_r), *shape))  # (J, K, D)
        r = self.r[:, :1] if shares_r else self.r
        self.table = rising_table(counts, r)  # (J, K or 1, U)
        self.total = counts.by_gene(self.table * counts.frequency) if shares_r else None  # (J, 1, D)

    def own(self, frequency: Array | None) -> Array | None:
        """Sum over cells and genes of the table, by node and component; (K, U) to (J, K, 1). None where r is shared."""
        if self.shares_r:
            return None
        return np.asarray((self.table * frequency).sum(-1, keepdims=True))

    def weight(self, log_z: Array, own: Array | None, tilt: Array | float = 0.0) -> tuple[Array, float]:
        """Return the optimal q of the nodes, and its KL from the prior (eq. 11).

        Parameters
        ----------
        log_z : ndarray, shape (J, K, D)
            Log normaliser of q(mu | r) at every node.
        own : ndarray, shape (J, K, 1), optional
            From :meth:`own`; needed where components have their own unknown r.
        tilt : float or ndarray, shape (K or 1, D or 1)
            The log density is tilted by this times ln r; the divergence leaves it out.

        Returns
        -------
        weight : ndarray, shape (J, K or 1, D or 1)
        divergence : float
        """
        if len(self.r) == 1:
            return np.ones((1, 1, 1)), 0.0
        if self.total is None:
            assert own is not None
            data = log_z.sum(2, keepdims=True) + own
        else:
            data = log_z.sum(1, keepdims=True) + self.total
        axes = tuple(axis for axis in (1, 2) if self.grid.log_r.shape[axis] == 1)
        log_weight = self.grid.log_prior + data.sum(axes, keepdims=True) + tilt * self.grid.log_r
        weight, _ = normalised(log_weight, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return weight, float(np.where(weight > 0, weight * (np.log(weight) - self.grid.log_prior), 0).sum())

    def expected(self, weight: Array) -> tuple[float, Array | None]:
        """Return the expectation over r: its sum over cells, or by distinct count (K, U) if components differ in it."""
        if self.total is not None:
            return float((weight * self.total).sum()), None
        return 0.0, (np.broadcast_to(weight, self.r.shape)[..., self.counts.gene] * self.table).sum(0)
