"""Variational Bayes without size factors: given r, the Beta prior of p = r / (r + mu) is conjugate."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem
from genarium.simplex import dirichlet_divergence, dirichlet_expected_log

from .counts import Counts, Moments, log_weights, logits_at
from .factors import Grid, RisingTable
from .likelihood import Story


@dataclass(frozen=True)
class State:
    """Sums over the responsibilities; all factors follow from them."""

    moments: Moments
    own: Array | None  # (J, K, 1), where components have their own unknown r: expected log rising factorials


@dataclass(frozen=True)
class Tilt:
    """The log density is tilted by ``pi`` (K,) times ln pi, ``mu`` (K, D) times ln mu and ``r`` times ln r."""

    pi: Array
    mu: Array
    r: Array  # (K or 1, D or 1)


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


class ConjugateStep:
    """One sweep of coordinate ascent, ``step(state) -> (next state, bound of state)``."""

    nodes = np.linspace(-6, 6, 25)
    """Nodes of ln r in posterior sd: half a one apart."""

    def __init__(self, problem: Problem, counts: Counts, story: Story, grid: Grid) -> None:
        self.problem, self.counts, self.grid = problem, counts, grid
        self.alpha0, self.a0, self.b0 = (float(problem[name]) for name in ("alpha0", "a0", "b0"))
        self.own_r = story.dispersion == "component"
        shape = (problem.sizes["component"], problem.sizes["gene"])
        self.rising = RisingTable(counts, grid, not self.own_r, shape)
        self.r = self.rising.r

    def first(self, mu: Array, pi: Array | None = None) -> State:
        """Take the sums of the responsibilities that centroids and weights (equal ones) give."""
        middle = len(self.r) // 2
        log_pi = np.zeros(1) if pi is None else log_weights(pi)
        at = logits_at(np.ones(1), log_pi, mu, self.r[middle])
        logits = self.counts.linear(at.slope[0], np.broadcast_to(at.intercept[0], len(mu)))
        if self.own_r:
            logits += self.counts.looked_up(self.rising.table[middle])
        return self._state(*self.counts.responsibilities(logits))

    def _state(self, q: Array, log_sum: float) -> State:
        own = self.rising.own(self.counts.weighted_frequency(q)) if self.own_r else None
        return State(Moments(log_sum, q.sum(1), q @ self.counts.x), own)

    def __call__(self, state: State, tilt: Tilt | None = None) -> tuple[State, float]:
        """Update the factors, then the responsibilities; the bound is that of both (eq. 12), without a tilt's share."""
        factors = self.factors(state, tilt)
        alpha = self.concentration(state, tilt)
        log_pi, divergence_pi = dirichlet_expected_log(alpha), dirichlet_divergence(alpha, self.alpha0)
        rising, table = self.rising.expected(factors.weight)
        intercept = log_pi + factors.intercept.sum(1)
        bound = rising - self.counts.factorial - divergence_pi - factors.divergence
        if table is not None:
            logits = self.counts.linear(factors.slope, intercept) + self.counts.looked_up(table)
            q, log_sum = self.counts.responsibilities(logits)
            return self._state(q, log_sum), bound + log_sum
        moments = self.counts.sweep(factors.slope, intercept)
        return State(moments, None), bound + moments.log_sum

    def factors(self, state: State, tilt: Tilt | None = None) -> Factors:
        """Return the optimal factors (eqs. 9 to 11, tilted by 24)."""
        from scipy.special import betaln, psi

        a = self.a0 + self.r * state.moments.weight[:, None]  # (J, K, D)
        b = self.b0 + state.moments.total  # (K, D)
        if tilt is not None:
            a, b = a - tilt.mu, b + tilt.mu
        log_z = betaln(a, b) - betaln(self.a0, self.b0)
        both = psi(a + b)
        log_p, log_not_p = psi(a) - both, psi(b) - both
        divergence_p = (a - self.a0) * log_p + (b - self.b0) * log_not_p - log_z
        if tilt is None:
            weight, divergence_r = self.rising.weight(log_z, state.own)
        else:
            weight, divergence_r = self.rising.weight(log_z + tilt.mu * np.log(self.r), state.own, tilt.r)
        return Factors(
            weight,
            a,
            b,
            (weight * log_not_p).sum(0),
            (weight * self.r * log_p).sum(0),
            float((weight * divergence_p).sum()) + divergence_r,
        )

    def concentration(self, state: State, tilt: Tilt | None = None) -> Array:
        """Return the parameter of q(pi) (eq. 8)."""
        return np.asarray(self.alpha0 + state.moments.weight + (0.0 if tilt is None else tilt.pi))

    def weight(self, state: State) -> Array:
        """Return q of the nodes of r."""
        return self.factors(state).weight

    def responsibilities(self, state: State) -> Array:
        """Return q of the groups."""
        factors = self.factors(state)
        log_pi = dirichlet_expected_log(self.concentration(state))
        logits = self.counts.linear(factors.slope, log_pi + factors.intercept.sum(1))
        _, table = self.rising.expected(factors.weight)
        return self.counts.responsibilities(logits if table is None else logits + self.counts.looked_up(table))[0]

    def parameters(self, state: State, order: Array) -> dict[str, Any]:
        """Return b, and a where phi is known (otherwise a = a0 + r times the component's weight)."""
        factors = self.factors(state)
        dims = ("component", "gene")
        out = {"b": (dims, factors.b[order])}
        return {"a": (dims, factors.a[0, order]), **out} if len(self.r) == 1 else out

    def draw_mu(self, rng: np.random.Generator, state: State, r: Array, node: Array) -> tuple[Array, Array]:
        """Draw mu = r (1 - p) / p with p ~ Beta(a0 + r N_k, b); the node is not needed."""
        from scipy.special import betaln

        b = self.b0 + state.moments.total
        r = np.broadcast_to(r, (len(r), *b.shape))
        a = self.a0 + r * state.moments.weight[:, None]
        p = np.clip(rng.beta(a, b), 1e-300, 1 - 1e-16)
        log_q = (a + 1) * np.log(p) + (b - 1) * np.log1p(-p) - betaln(a, b) - np.log(r)
        return r * (1 - p) / p, log_q.sum((1, 2))
