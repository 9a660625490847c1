"""One update of EM without covariates, batches or lost counts; equation numbers refer to the card (README.md)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from genarium.declaration import Array, Problem
from genarium.simplex import normalised
from genarium.supports import LARGEST

from .counts import Counts, Logits, Sums, log_weights, logits_at, rising_table
from .likelihood import FLOOR, Story
from .moves import divided, merged
from .nodes import ERROR
from .seeding import k_means_plus_plus
from .updates import PHI_RANGE, newton_centroids, newton_dispersion

type Vector[S] = tuple[Callable[[S], Array], Callable[[Array], S]]
"""A state as an unconstrained vector, and back."""


@dataclass(frozen=True)
class State:
    """Parameters of the mixture: pi (K,), mu (K, D), phi with the dims of the variant."""

    pi: Array
    mu: Array
    phi: Array

    @property
    def weight(self) -> Array:
        """Weights."""
        return self.pi


class Step:
    """One EM update, ``step(state) -> (next state, log likelihood of state)``, with all constants hoisted."""

    def __init__(self, problem: Problem, error: float = ERROR, counts: Counts | None = None) -> None:
        self.problem = problem
        self.story = Story(problem.option("dispersion"))
        self.counts = counts or Counts(problem["x"], problem["size_factor"], error)
        self.fixed = problem.fixed
        self.estimates_phi = "phi" in problem.model.unknown.variables
        self.phi_is_constant = not self.estimates_phi or "phi" in self.fixed
        self._rising: tuple[float, Array | None] | None = None

    def first_phi(self) -> Array:
        """Dispersion to start from: the known one, or the prior's median."""
        if not self.estimates_phi:
            return self.problem["phi"]
        return np.full(self.problem.model.shape("phi", self.problem.sizes), self.problem["phi0"])

    def start_at(self, mu: Array) -> State:
        """Return the state with equal weights at centroids."""
        return self.hold(State(np.full(len(mu), 1 / len(mu)), mu, self.first_phi()))

    def started(self, rng: np.random.Generator, corrected: bool = False) -> State:
        """Start from k-means++; there is nothing to correct."""
        x, s, K = self.problem["x"], self.problem["size_factor"], self.problem.sizes["component"]
        return self.start_at(k_means_plus_plus(x, s, K, rng))

    def uncorrected(self, state: State) -> Array:
        """Return the counts (N, D) that centroids are started from; there is nothing to correct."""
        return self.problem["x"]

    def merged(self, state: State, i: int, j: int) -> State:
        """Return the state in which component i stands for i and j, and j for no cell."""
        pi, mu = merged(state.pi, state.mu, i, j)
        return replace(state, pi=pi, mu=mu)

    def divided(self, state: State, k: int, j: int, two: Array) -> State:
        """Return the state in which components k and j have the cells of k, at two centroids."""
        pi, mu = divided(state.pi, state.mu, k, j, two)
        phi = state.phi.copy()
        if self.story.dispersion == "component":
            phi[j] = phi[k]
        return State(pi, mu, phi)

    def hold(self, state: State) -> State:
        """Put the fixed parameters into a state."""
        return replace(state, **self.fixed)

    def __call__(self, state: State) -> tuple[State, float]:
        """Update all parameters (eqs. 2 to 6)."""
        logits, constant = self.logits(state)
        sums = self.counts.expect(logits)
        return self.maximised(state, sums), sums.log_sum + constant

    def maximised(self, state: State, sums: Sums) -> State:
        """Return the parameters that the sums of an E-step lead to (eqs. 3 to 6)."""
        weight = sums.weight.sum(0)
        mu = np.maximum(sums.total.sum(0) / np.maximum(weight, 1e-300)[:, None], FLOOR)
        if self.counts.has_depth:
            mu = newton_centroids(sums, self.counts.nodes.at, state.mu, 1 / self.story.spread(state.phi, mu))
        mu[weight < 1e-300] = state.mu[weight < 1e-300]
        new = self.hold(State(np.maximum(weight, 0) / weight.sum(), mu, state.phi))
        if self.phi_is_constant:
            return new
        return replace(new, phi=newton_dispersion(sums, self.counts, new.mu, state.phi, self.story))

    def logits(self, state: State) -> tuple[Logits, float]:
        """Log of pi_k times the density of each cell in component k, and what is added to it for all components."""
        r = 1 / self.story.spread(state.phi, state.mu)
        constant, table = self.rising(r)
        logits = logits_at(self.counts.nodes.at, log_weights(state.pi), state.mu, r, table)
        return logits, constant + self.counts.log_depth - self.counts.factorial

    def rising(self, r: Array) -> tuple[float, Array | None]:
        """Log of Gamma(x + r) / Gamma(r): its sum, or where it differs by component, by distinct count (K, U)."""
        if self._rising is not None:
            return self._rising
        if self.story.dispersion == "component":
            found: tuple[float, Array | None] = (0.0, rising_table(self.counts, r))
        else:
            found = (float(rising_table(self.counts, r[0]) @ self.counts.frequency), None)
        if self.phi_is_constant:
            self._rising = found
        return found

    def responsibilities(self, state: State) -> Array:
        """Return q of the groups; shape (K, N)."""
        return self.counts.assign(self.logits(state)[0])[0]

    def estimate(self, state: State, order: Array) -> dict[str, Array]:
        """Return the parameters with the components in the given order."""
        phi = state.phi[order] if self.story.dispersion == "component" else state.phi
        return {**({"phi": phi} if self.estimates_phi else {}), "pi": state.pi[order], "mu": state.mu[order]}

    def vector(self, like: State) -> Vector[State]:
        """Return how a state becomes an unconstrained vector, and one a state."""
        return self.pack, self.unpack

    def pack(self, state: State) -> Array:
        """Map a state to an unconstrained vector."""
        return np.concatenate([np.log(np.maximum(v, 1e-300)).ravel() for v in (state.pi, state.mu, state.phi)])

    def unpack(self, vector: Array) -> State:
        """Map an unconstrained vector to a state."""
        K, D = self.problem.sizes["component"], self.problem.sizes["gene"]
        pi, _ = normalised(vector[:K])
        mu = np.exp(np.clip(vector[K : K + K * D], np.log(FLOOR), np.log(LARGEST))).reshape(K, D)
        phi = np.exp(np.clip(vector[K + K * D :], *np.log(PHI_RANGE)))
        shape = self.problem.model.shape("phi", self.problem.sizes)
        return self.hold(State(pi, mu, self.first_phi() if self.phi_is_constant else phi.reshape(shape)))
