"""Variational Bayes with size factors: the Beta prior is no longer conjugate, so q(ln mu | r) lives on nodes.

Every q(ln mu_kd | r_j) is a log-concave density in one dimension. It is found by Newton's method and summed by the
trapezoidal rule with 9/8 sd between nodes, whose error for a normal density is 3e-7 (eq. 20 of the card).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem
from genarium.simplex import dirichlet_divergence, dirichlet_expected_log, normalised

from .counts import Counts
from .factors import Grid, RisingTable
from .likelihood import Story, log_joint

NODES = np.linspace(-4.5, 4.5, 9)
"""Nodes of ln mu, in sd around the mode."""

CHUNK = 100_000
"""Numbers in a work array, at most: it stays in the processor's cache."""


@dataclass(frozen=True)
class Factors:
    """Factors given the responsibilities; shapes: J nodes of r, I nodes of ln mu.

    Attributes
    ----------
    weight : ndarray, shape (J, K or 1, D or 1)
        q of each node of r.
    log_mu : ndarray, shape (J, K, D, I)
        Nodes of ln mu.
    share : ndarray, shape (J, K, D, I)
        q of each node of ln mu given r.
    divergence : float
        KL from the prior.
    """

    weight: Array
    log_mu: Array
    share: Array
    divergence: float


@dataclass(frozen=True)
class State:
    """Responsibilities, shape (K, N), and where the modes of ln mu were, shape (J, K, D)."""

    q: Array
    mode: Array


class DepthStep:
    """One sweep of coordinate ascent, ``step(state) -> (next state, bound of state)``."""

    nodes = np.linspace(-4.8, 4.8, 9)
    """Nodes of ln r in posterior sd: fewer than without size factors, since each costs a pass over the cells."""

    def __init__(self, problem: Problem, counts: Counts, story: Story, grid: Grid) -> None:
        self.problem, self.counts, self.grid = problem, counts, grid
        self.alpha0, self.a0, self.b0 = (float(problem[name]) for name in ("alpha0", "a0", "b0"))
        self.K, self.D = problem.sizes["component"], problem.sizes["gene"]
        self.own_r = story.dispersion == "component"
        self.rising = RisingTable(counts, grid, not self.own_r, (self.K, self.D))
        self.r = self.rising.r
        self.constant = float((counts.x * np.log(counts.size_factor)[:, None]).sum()) - counts.factorial

    def first(self, mu: Array) -> State:
        """Take the responsibilities that centroids give."""
        middle = self.r[len(self.r) // 2]
        logits = log_joint(self.counts.x, self.counts.size_factor, np.full(self.K, 1 / self.K), mu, 1 / middle)
        q, _ = self.counts.responsibilities(logits)
        return State(q, np.broadcast_to(np.log(mu), self.r.shape).copy())

    def __call__(self, state: State) -> tuple[State, float]:
        """Update the factors, then the responsibilities; the bound is that of both (eq. 12)."""
        factors, mode = self.factors(state)
        alpha = self.concentration(state)
        logits, rising = self.logits(factors, alpha)
        q, log_sum = self.counts.responsibilities(logits)
        divergence_pi = dirichlet_divergence(alpha, self.alpha0)
        return State(q, mode), log_sum + rising + self.constant - divergence_pi - factors.divergence

    def blocks(self, width: int) -> list[slice]:
        """Split the cells so that a work array of ``width`` numbers a cell stays small."""
        step = max(1, CHUNK // width)
        return [slice(low, low + step) for low in range(0, len(self.counts.x), step)]

    def newton(self, q: Array, mode: Array) -> tuple[Array, Array]:
        """Find the mode of every q(ln mu | r) and the curvature there; both (J, K, D)."""
        x, s = self.counts.x, self.counts.size_factor
        out, curvature = mode.copy(), np.empty_like(mode)
        for k in range(self.K):
            some = np.flatnonzero(q[k] > 1e-12)
            r = self.r[:, k]  # (J, D)
            for _ in range(30):
                mu = np.exp(out[:, k])
                first = self.b0 - (self.a0 + self.b0) * mu / (r + mu)
                second = (self.a0 + self.b0) * r * mu / (r + mu) ** 2
                for block in self.blocks(r.size):
                    n = some[block]
                    if not n.size:
                        break
                    mean = s[n, None, None] * mu  # (B, J, D)
                    total = x[n, None] + r
                    ratio = mean / (r + mean)
                    first = first + np.einsum("n,njd->jd", q[k, n], x[n, None] - total * ratio)
                    second = second + np.einsum("n,njd->jd", q[k, n], total * ratio * (1 - ratio))
                step = np.clip(first / second, -2, 2)
                out[:, k] += step
                if np.abs(step).max() < 1e-6:
                    break
            curvature[:, k] = second
        return out, curvature

    def factors(self, state: State) -> tuple[Factors, Array]:
        """Return the optimal factors and their modes."""
        from scipy.special import betaln

        x, s, q = self.counts.x, self.counts.size_factor, state.q
        mode, curvature = self.newton(q, state.mode)
        sd = curvature**-0.5
        log_mu = mode[..., None] + sd[..., None] * NODES  # (J, K, D, I)
        r = self.r[..., None]
        odds = log_mu - np.log(r)
        log_prior = self.b0 * odds - (self.a0 + self.b0) * np.log1p(np.exp(odds)) - betaln(self.a0, self.b0)
        log_prior += np.log(sd * (NODES[1] - NODES[0]))[..., None]
        size = q.sum(1)[:, None, None]
        data = (q @ x)[..., None] * log_mu + size * r * np.log(r)
        mu = np.exp(log_mu)
        for k in range(self.K):
            some = np.flatnonzero(q[k] > 1e-12)
            for block in self.blocks(log_mu[:, k].size):
                n = some[block]
                if not n.size:
                    break
                logs = np.log(r[:, k] + s[n, None, None, None] * mu[:, k])  # (B, J, D, I)
                weight = q[k, n, None, None] * (x[n, None] + self.r[:, k])  # (B, J, D)
                data[:, k] -= np.einsum("njd,njdi->jdi", weight, logs)
        share, log_z = normalised(log_prior + data)
        divergence_mu = (share * data).sum(-1) - log_z  # (J, K, D)
        weight_r, divergence_r = self.rising.weight(log_z, self.rising.own(q) if self.own_r else None)
        return Factors(weight_r, log_mu, share, float((weight_r * divergence_mu).sum()) + divergence_r), mode

    def logits(self, factors: Factors, alpha: Array) -> tuple[Array, float]:
        """Logits of the responsibilities (K, N), and the sum over cells of what is the same for all components."""
        x, s = self.counts.x, self.counts.size_factor
        weight = np.broadcast_to(factors.weight, self.r.shape)
        out = np.repeat(dirichlet_expected_log(alpha)[:, None], len(x), 1)
        expected = (weight[..., None] * factors.share * factors.log_mu).sum((0, -1))  # (K, D)
        out += expected @ x.T + (weight * self.r * np.log(self.r)).sum((0, 2))[:, None]
        rising, extra = self.rising.expected(factors.weight)
        if extra is not None:
            out += extra
        mu = np.exp(factors.log_mu)
        for k in range(self.K):
            joint = weight[:, k, :, None] * factors.share[:, k]  # (J, D, I)
            for block in self.blocks(joint.size):
                logs = np.log(self.r[:, k, :, None] + s[block, None, None, None] * mu[:, k])
                by_r = np.einsum("jdi,njdi->njd", joint, logs)
                out[k, block] -= ((x[block, None] + self.r[:, k]) * by_r).sum((1, 2))
        return out, rising

    def concentration(self, state: State) -> Array:
        """Return the parameter of q(pi) (eq. 8)."""
        return np.asarray(self.alpha0 + state.q.sum(1))

    def weight(self, state: State) -> Array:
        """Return q of the nodes of r."""
        return self.factors(state)[0].weight

    def responsibilities(self, state: State) -> Array:
        """Return q of the groups."""
        return self(state)[0].q

    def moments(self, state: State) -> tuple[Array, Array]:
        """Mean and sd of ln mu given r, at every node of r; both (J, K, D)."""
        factors, _ = self.factors(state)
        mean = (factors.share * factors.log_mu).sum(-1)
        return mean, np.sqrt((factors.share * (factors.log_mu - mean[..., None]) ** 2).sum(-1))

    def parameters(self, state: State, order: Array) -> dict[str, Any]:
        """Return mean and sd of ln mu, phi integrated out."""
        mean, sd = self.moments(state)
        weight = self.weight(state)
        centre = (weight * mean).sum(0)
        spread = np.sqrt((weight * (sd**2 + (mean - centre) ** 2)).sum(0))
        dims = ("component", "gene")
        return {"log_mu_mean": (dims, centre[order]), "log_mu_sd": (dims, spread[order])}

    def draw_mu(self, rng: np.random.Generator, state: State, r: Array, node: Array) -> tuple[Array, Array]:
        """Draw ln mu from the normal density with the factor's moments at the nearest node of r."""
        mean, sd = self.moments(state)
        at = np.broadcast_to(node, (len(r), self.K, self.D))
        mean, sd = np.take_along_axis(mean, at, 0), np.take_along_axis(sd, at, 0)
        z = rng.normal(size=mean.shape)
        log_mu = mean + sd * z
        log_q = -0.5 * z**2 - np.log(sd) - 0.5 * np.log(2 * np.pi) - log_mu
        return np.exp(log_mu), log_q.sum((1, 2))
