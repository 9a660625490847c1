"""Maximum likelihood by expectation maximisation; equation numbers refer to the card (README.md)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, ascend
from genarium.simplex import normalised
from genarium.supports import LARGEST

from .adjusted_step import Step as PointStep
from .counts import Counts, Logits, Sums, log_weights, logits_at, rising_table
from .finish import finished, on_a_ridge
from .likelihood import FLOOR, Story
from .search import search
from .seeding import k_means_plus_plus
from .updates import PHI_RANGE, newton_centroids, newton_dispersion


@dataclass(frozen=True)
class State:
    """Parameters of the mixture: pi (K,), mu (K, D), phi with the dims of the variant."""

    pi: Array
    mu: Array
    phi: Array


def em(
    problem: Problem,
    rng: np.random.Generator,
    *,
    restarts: int = 10,
    tolerance: float = 1e-6,
    max_iterations: int = 2000,
    accelerate: bool = True,
) -> Result:
    """Fit by EM from several k-means++ starts and keep the best mode.

    Parameters
    ----------
    problem : Problem
        ``fixed`` may hold pi, mu or phi.
    rng : Generator
    restarts : int
        Number of starts.
    tolerance : float
        Nats of log likelihood that may be left to gain.
    max_iterations : int
    accelerate : bool
        Extrapolate by SQUAREM.

    Returns
    -------
    Result
        ``point``: pi, mu (and phi), sorted by decreasing weight, the responsibilities, the bound by restart and
        iteration.
    """
    K = problem.sizes["component"]

    def ascent(problem: Problem, error: float) -> Callable[..., Ascent[State]]:
        step = Step(problem, Counts(problem["x"], problem["size_factor"], error))
        vector = (step.pack, step.unpack) if accelerate else None

        def go(state: State | None, *, tolerance: float, most: int = 0) -> Ascent[State]:
            if state is None:
                state = step.start_at(k_means_plus_plus(problem["x"], problem["size_factor"], K, rng))
            return ascend(step, state, tolerance=tolerance, max_iterations=most or max_iterations, vector=vector)

        return go

    found = search(problem, rng, ascent, restarts, tolerance, "EM restarts")
    if not problem.fixed and on_a_ridge(found.best):
        found = found.ended(along_the_ridge(problem, found.best, tolerance))
    state, step = found.best.state, Step(problem)
    q, _ = step.counts.assign(step.logits(state)[0])  # the final E-step, for the state that is returned
    order = np.arange(K) if problem.fixed else np.argsort(-state.pi, kind="stable")
    phi = state.phi[order] if step.story.dispersion == "component" else state.phi
    point: dict[str, Any] = {"pi": state.pi[order], "mu": state.mu[order]}
    if step.estimates_phi:
        point = {"phi": phi, **point}
    point["responsibility"] = (("cell", "component"), q[order].T)
    point["bound"] = found.trace
    empty = int((q.sum(1) < 1e-6).sum())
    return Result(point=point, notes={**found.notes, "empty_components": empty})


def along_the_ridge(problem: Problem, run: Ascent[State], tolerance: float) -> Ascent[State]:
    """Go on by quasi-Newton steps where EM ran out of iterations."""
    step = PointStep(problem, point=True)
    first = step.start_at(run.state.mu, np.empty(0))
    centre = {**first.centre, **({"log_r": -np.log(run.state.phi)} if "log_r" in first.centre else {})}
    begun = Ascent(replace(first, centre=centre, weight=run.state.pi), run.bounds, run.converged)
    ended = finished(step, begun, tolerance)
    at = ended.state
    phi = np.exp(-at.centre["log_r"]) if "log_r" in at.centre else run.state.phi
    return Ascent(State(at.weight, np.exp(at.centre["log_mu"]), phi), ended.bounds, ended.converged)


class Step:
    """One EM update, ``step(state) -> (next state, log likelihood of state)``, with all constants hoisted."""

    def __init__(self, problem: Problem, counts: Counts | None = None) -> None:
        self.problem = problem
        self.story = Story(problem.option("dispersion"))
        self.counts = counts or Counts(problem["x"], problem["size_factor"])
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
