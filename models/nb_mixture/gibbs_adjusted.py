"""Conditionals of lost counts, effects of covariates and shifts of batches; equations of the card (README.md).

Shapes: N cells, D genes, K components, P covariates, B batches.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem
from genarium.engines.chains import slice_update
from genarium.simplex import log_sum_exp

from .adjusted import Adjusted, zero_summed
from .adjusted_bound import basis
from .likelihood import FLOOR

Density = Callable[[Array], Array]


def draw_lost(rng: np.random.Generator, story: Adjusted, values: Mapping[str, Any], group: Array) -> Array:
    """Draw which counts were lost, given the groups (eq. 38); bool, shape (N, D)."""
    mu = values["mu"]
    r = 1 / story.spread(values["phi"], mu)[group]
    mean = values["size_factor"][:, None] * mu[group] * story.fold(values)
    w = values["zero"]
    here = (1 - w) * np.exp(-r * np.log1p(mean / r))
    return np.asarray((values["x"] == 0) & (rng.random(mean.shape) * (w + here) < w))


def draw_shares(rng: np.random.Generator, problem: Problem, lost: Array) -> Array:
    """Draw the shares of lost counts (eq. 39)."""
    gone = lost.sum(0)
    share = rng.beta(1 + gone, float(problem["zero_b"]) + len(lost) - gone)
    return np.asarray(np.clip(share, 1e-300, 1 - 1e-16))


class Weights:
    """Weights and effects given the groups (eqs. 40 and 41).

    Effects move along the principal axes of the covariates, about their means: along each, the weights of a cell of
    average covariates stay where they are.
    """

    def __init__(self, problem: Problem) -> None:
        Z, K = problem["covariates"], problem.sizes["component"]
        self.alpha0, self.sd, self.K = float(problem["alpha0"]), float(problem["sd_effect"]), K
        self.Z, self.mean = Z, Z.mean(0)
        self.rows, self.row, self.often = np.unique(Z, axis=0, return_inverse=True, return_counts=True)
        _, length, axes = np.linalg.svd(Z - self.mean, full_matrices=True)
        self.axes = axes  # (P, P): directions, one a row
        self.length = np.zeros(len(axes))
        self.length[: len(length)] = length
        self.of_component = basis(K)

    def step(self, rng: np.random.Generator, pi: Array, effect: Array, group: Array) -> dict[str, Array]:
        """Update both."""
        for i in range(len(self.axes)):
            for j in range(self.K - 1):
                pi, effect = self.moved(rng, pi, effect, group, i, j)
        return {"pi": self.drawn(rng, pi, effect, group), "effect": zero_summed(effect)}

    def along(self, pi: Array, effect: Array, group: Array, i: int, j: int) -> tuple[Density, Array, Array]:
        """Return the log density of a step along axis i and contrast j, and what it adds to ln pi and to the effects.

        Volume is that of (ln pi_k - ln pi_1, effect), which such a step keeps.
        """
        axis, contrast = self.axes[i], self.of_component[:, j]
        less = -(self.mean @ axis) * contrast  # (K,), what a step of one adds to ln pi
        log_pi, at = np.log(pi), float(axis @ effect @ contrast)
        logits = log_pi + self.rows @ effect  # (U, K)
        slope = ((self.rows - self.mean) @ axis)[:, None] * contrast
        told = float(((self.Z - self.mean) @ axis) @ contrast[group])

        def log_density(step: Array) -> Array:
            new = log_pi + step * less
            log_prior = self.alpha0 * (new.sum() - self.K * log_sum_exp(new)) - 0.5 * ((at + step) / self.sd) ** 2
            return np.asarray(step * told - self.often @ log_sum_exp(logits + step * slope) + log_prior)

        return log_density, less, np.outer(axis, contrast)

    def moved(
        self, rng: np.random.Generator, pi: Array, effect: Array, group: Array, i: int, j: int
    ) -> tuple[Array, Array]:
        """Slice update along one axis and contrast."""
        density, less, more = self.along(pi, effect, group, i, j)
        width = 3 / np.sqrt(self.length[i] ** 2 / (4 * self.K) + self.sd**-2)
        step = slice_update(density, np.zeros(()), np.asarray(width), rng)
        log_pi = np.log(pi) + step * less
        return np.maximum(np.exp(log_pi - log_sum_exp(log_pi)), 1e-300), effect + step * more

    def drawn(self, rng: np.random.Generator, pi: Array, effect: Array, group: Array) -> Array:
        """Draw the weights given the effects, with exponential numbers for the normalisers (eq. 41)."""
        tilt = self.rows @ effect  # (U, K)
        logits = np.log(pi) + tilt
        total = rng.gamma(self.K * self.alpha0)  # of the gamma numbers whose shares are the weights
        waiting = rng.gamma(self.often) / total
        exposure = waiting @ np.exp(tilt - log_sum_exp(logits)[:, None])
        gamma = rng.gamma(self.alpha0 + np.bincount(group, minlength=self.K)) / (1 + exposure)
        gamma = np.maximum(gamma, 1e-300)
        return np.asarray(np.maximum(gamma / gamma.sum(), 1e-300))


class Shifts:
    """Shifts of batches given groups, means and dispersion (eq. 42), each with what keeps the mean of all cells."""

    def __init__(self, problem: Problem, story: Adjusted) -> None:
        self.problem, self.story = problem, story
        self.a0, self.b0, self.sd = (float(problem[name]) for name in ("a0", "b0", "sd_shift"))
        self.contrast = basis(problem.sizes["batch"])  # (B, B - 1)
        self.per_cell = self.contrast[problem["batch"]]  # (N, B - 1)
        self.mean = self.per_cell.mean(0)
        self.average = problem["x"].mean(0)

    def along(
        self, group: Array, there: Array | None, mu: Array, phi: Array, shift: Array, j: int
    ) -> tuple[Density, Array, Array]:
        """Return the log density of steps (D,) along contrast j, and what a step adds to ln mu and to the shifts (B,).

        Volume is that of (ln mu, shift), which such a step keeps.
        """
        x, wide = self.problem["x"], self.story.spread(phi, mu)
        r, log_mu = (1 / wide)[group], np.log(mu)
        log_mean = np.log(self.problem["size_factor"])[:, None] + log_mu[group] + shift.T[self.problem["batch"]]
        slope = (self.per_cell[:, j] - self.mean[j])[:, None]
        at = shift @ self.contrast[:, j]  # (D,)
        power, told = x + r if there is None else (x + r) * there, (x * slope).sum(0)

        def log_density(step: Array) -> Array:
            counts = step * told - (power * np.log(r + np.exp(log_mean + step * slope))).sum(0)
            means = log_mu - step * self.mean[j]
            prior = (self.b0 * means - (self.a0 + self.b0) * np.log1p(np.exp(means) * wide)).sum(0)
            return np.asarray(counts + prior - 0.5 * ((at + step) / self.sd) ** 2)

        return log_density, -self.mean[j], self.contrast[:, j]

    def step(
        self, rng: np.random.Generator, group: Array, there: Array | None, mu: Array, phi: Array, shift: Array
    ) -> tuple[Array, Array]:
        """Slice update of every gene's shifts, one contrast after the other; returns shifts and means."""
        spread = np.broadcast_to(self.story.spread(phi, mu).mean(0), self.average.shape)
        told = (self.per_cell**2).sum(0)[:, None] / (spread + 1 / np.maximum(self.average, 0.1))  # (B - 1, D)
        for j, width in enumerate(3 / np.sqrt(told + self.sd**-2)):
            density, less, more = self.along(group, there, mu, phi, shift, j)
            step = slice_update(density, np.zeros(len(shift)), width, rng)
            mu, shift = np.maximum(mu * np.exp(step * less), FLOOR), shift + step[:, None] * more
        return zero_summed(shift), mu
