"""The factors q(phi) q(mu | phi) of variational Bayes; shapes: J nodes of r = 1/phi, K components, D genes.

With r known the Beta prior of p = r / (r + mu) is conjugate. With r unknown it is so given r, and r is a scalar (one,
or one a gene, or one a component): its optimal factor is a table over nodes, and mu keeps its dependence on r.
"""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array, Problem

from .counts import Counts, Moments
from .likelihood import Story

NODES = 49
"""Nodes of ln r: spacing a quarter of a posterior sd over six sd on either side."""


@dataclass(frozen=True)
class Grid:
    """Nodes of ln r, equally spaced.

    Attributes
    ----------
    log_r : ndarray, shape (J, K or 1, D or 1)
        A single node where phi is known.
    spacing : ndarray, shape (K or 1, D or 1)
    log_prior : ndarray, same shape as ``log_r``
        Log of prior density times spacing; zero where phi is known.
    """

    log_r: Array
    spacing: Array
    log_prior: Array


@dataclass(frozen=True)
class Factors:
    """Optimal factors given the responsibilities, and what the E-step needs of them.

    Attributes
    ----------
    weight : ndarray, shape (J, K or 1, D or 1)
        q of each node of r.
    a : ndarray, shape (J, K, D)
    b : ndarray, shape (K, D)
        q(p_kd | r_j) = Beta(a_jkd, b_kd).
    slope, intercept : ndarray, shape (K, D)
        Expected ln(1 - p), and expected r ln p.
    divergence : float
        KL of the factors from the prior.
    """

    weight: Array
    a: Array
    b: Array
    slope: Array
    intercept: Array
    divergence: float


def known_grid(problem: Problem, story: Story) -> Grid:
    """Put the one node where phi is known."""
    shape = (problem.sizes["component"], problem.sizes["gene"])
    log_r = -np.log(story.spread(problem["phi"], np.empty(shape)))[None]
    return Grid(log_r, np.ones((1, 1)), np.zeros((1, 1, 1)))


def grid_around(problem: Problem, centre: Array, sd: Array) -> Grid:
    """Spread nodes of ln r over six sd around a centre; both have shape (K or 1, D or 1)."""
    t = np.linspace(-6, 6, NODES)[:, None, None]
    log_r = centre + sd * t
    spacing = sd * 12 / (NODES - 1)
    tau, z = problem["tau"], -log_r - np.log(problem["phi0"])
    density = -0.5 * (z / tau) ** 2 - np.log(tau) - 0.5 * np.log(2 * np.pi)
    return Grid(log_r, spacing, density + np.log(spacing))


class Conjugate:
    """Makes factors from moments, for one grid."""

    def __init__(self, problem: Problem, counts: Counts, story: Story, grid: Grid) -> None:
        from scipy.special import gammaln

        self.a0, self.b0 = float(problem["a0"]), float(problem["b0"])
        self.counts, self.story, self.grid = counts, story, grid
        self.r = np.exp(grid.log_r)
        K, D = problem.sizes["component"], problem.sizes["gene"]
        wide = np.broadcast_to(self.r, (len(self.r), K, D))
        shares_r = story.dispersion != "component"
        if shares_r:
            wide = wide[:, :1]
        # ln C(x, r) + ln x! at each distinct count: (J, K or 1, U); no update changes it
        self.table = gammaln(counts.values + wide[..., counts.gene]) - gammaln(wide)[..., counts.gene]
        # summed over cells, where components share r: (J, 1, D)
        self.rising = counts.by_gene(self.table * counts.frequency) if shares_r else None

    def reduce(self, terms: Array) -> Array:
        """Sum (J, K, D) terms over what shares an r; shape (J, K or 1, D or 1)."""
        axes = tuple(axis for axis in (1, 2) if self.r.shape[axis] == 1)
        return terms.sum(axes, keepdims=True)

    def __call__(self, moments: Moments, frequency: Array | None) -> Factors:
        """Return the optimal factors (eqs. 9 to 11).

        Parameters
        ----------
        moments : Moments
        frequency : ndarray, shape (K, U), optional
            Responsibility for each distinct count; needed where components have their own unknown r.

        Returns
        -------
        Factors
        """
        from scipy.special import betaln, psi

        a = self.a0 + self.r * moments.weight[:, None]  # (J, K, D)
        b = self.b0 + moments.total  # (K, D)
        log_z = betaln(a, b) - betaln(self.a0, self.b0)
        both = psi(a + b)
        log_p, log_not_p = psi(a) - both, psi(b) - both
        divergence_p = (a - self.a0) * log_p + (b - self.b0) * log_not_p - log_z
        if len(self.r) == 1:
            weight = np.ones((1, 1, 1))
            return Factors(weight, a, b, log_not_p[0], (self.r * log_p)[0], float(divergence_p.sum()))
        if self.rising is None:
            assert frequency is not None
            data = log_z + self.counts.by_gene(self.table * frequency)
        else:
            data = log_z.sum(1, keepdims=True) + self.rising
        log_weight = self.grid.log_prior + self.reduce(data)
        log_weight -= log_weight.max(0)
        weight = np.exp(log_weight)
        weight /= weight.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            divergence_r = np.where(weight > 0, weight * (np.log(weight) - self.grid.log_prior), 0).sum()
        return Factors(
            weight,
            a,
            b,
            (weight * log_not_p).sum(0),
            (weight * self.r * log_p).sum(0),
            float((weight * divergence_p).sum() + divergence_r),
        )

    def expected_rising(self, factors: Factors) -> tuple[float, Array | None]:
        """Expected ln C(x, r) + ln x!: its sum over cells, or (K, N) where it differs by component."""
        if self.rising is not None:
            return float((factors.weight * self.rising).sum()), None
        weight = np.broadcast_to(factors.weight, (len(self.r), *factors.b.shape))[..., self.counts.gene]
        expected = (weight * self.table).sum(0)  # (K, U)
        return 0.0, np.stack([row[self.counts.inverse].sum(1) for row in expected])
