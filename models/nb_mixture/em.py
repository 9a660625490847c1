"""Maximum likelihood by expectation maximisation; equation numbers refer to the card (README.md)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, ascend, best_of
from genarium.simplex import normalised

from .counts import Counts
from .likelihood import FLOOR, Story, log_joint
from .seeding import k_means_plus_plus

PHI_RANGE = (1e-8, 1e6)
"""Where the dispersion may go: below, the counts are Poisson to double precision."""


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
    accelerate: bool = False,
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
    step = Step(problem)
    K = problem.sizes["component"]

    def run() -> Ascent[State]:
        return ascend(
            step,
            step.start_at(k_means_plus_plus(problem["x"], problem["size_factor"], K, rng)),
            tolerance=tolerance,
            max_iterations=max_iterations,
            vector=(step.pack, step.unpack) if accelerate else None,
        )

    found = best_of((run() for _ in range(restarts)), "EM restarts", restarts)
    state = found.best.state
    q, _ = step.counts.responsibilities(step.logits(state))  # the final E-step, for the state that is returned
    order = np.arange(K) if problem.fixed else np.argsort(-state.pi, kind="stable")
    phi = state.phi[order] if step.story.dispersion == "component" else state.phi
    point: dict[str, Any] = {"pi": state.pi[order], "mu": state.mu[order]}
    if step.estimates_phi:
        point = {"phi": phi, **point}
    point["responsibility"] = (("cell", "component"), q[order].T)
    point["bound"] = found.trace
    empty = int((q.sum(1) < 1e-6).sum())
    return Result(point=point, notes={**found.notes, "empty_components": empty})


class Step:
    """One EM update, ``step(state) -> (next state, log likelihood of state)``, with all constants hoisted."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.story = Story(problem.option("dispersion"))
        self.counts = Counts(problem["x"], problem["size_factor"])
        self.fixed = problem.fixed
        self.estimates_phi = "phi" in problem.model.unknown.variables
        self.phi_is_constant = not self.estimates_phi or "phi" in self.fixed
        self.linear = self.phi_is_constant and not self.counts.has_depth
        if self.phi_is_constant:
            phi = self.fixed["phi"] if self.estimates_phi else problem["phi"]
            self._r = 1 / self.story.spread(phi, np.empty((problem.sizes["component"], problem.sizes["gene"])))
            if self.linear:
                self._constant, self._extra = _hoist(self.counts, self._r)

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
        x, N = self.problem["x"], len(self.problem["x"])
        if self.linear:
            slope, intercept = _linear_logits(state, self._r)
            sums = self.counts.sweep(slope, intercept, self._extra)
            weight, total, bound = sums.weight, sums.total, sums.log_sum + self._constant
            mu = np.maximum(total / np.maximum(weight, 1e-300)[:, None], FLOOR)
            mu[weight < 1e-300] = state.mu[weight < 1e-300]
            return self.hold(State(weight / N, mu, state.phi)), bound
        q, bound = self.counts.responsibilities(self.logits(state))
        weight = q.sum(1)
        safe = np.maximum(weight, 1e-300)[:, None]
        mu = np.maximum(q @ x / safe, FLOOR)
        if self.counts.has_depth:
            mu = newton_centroids(q, self.counts, state.mu, self.story.spread(state.phi, mu))
        mu[weight < 1e-300] = state.mu[weight < 1e-300]
        new = self.hold(State(weight / N, mu, state.phi))
        if not self.phi_is_constant:
            new = replace(new, phi=newton_dispersion(q, self.counts, new.mu, state.phi, self.story))
        return new, bound

    def logits(self, state: State) -> Array:
        """Log of pi_k times the density of each cell in component k; shape (K, N)."""
        return log_joint(
            self.problem["x"], self.counts.size_factor, state.pi, state.mu, self.story.spread(state.phi, state.mu)
        )

    def pack(self, state: State) -> Array:
        """Map a state to an unconstrained vector."""
        return np.concatenate([np.log(np.maximum(v, 1e-300)).ravel() for v in (state.pi, state.mu, state.phi)])

    def unpack(self, vector: Array) -> State:
        """Map an unconstrained vector to a state."""
        K, D = self.problem.sizes["component"], self.problem.sizes["gene"]
        pi, _ = normalised(vector[:K])
        mu = np.clip(np.exp(np.clip(vector[K : K + K * D], -700, 700)), FLOOR, None).reshape(K, D)
        phi = np.clip(np.exp(np.clip(vector[K + K * D :], -700, 700)), *PHI_RANGE)
        shape = self.problem.model.shape("phi", self.problem.sizes)
        return self.hold(State(pi, mu, self.first_phi() if self.phi_is_constant else phi.reshape(shape)))


def _linear_logits(state: State, r: Array) -> tuple[Array, Array]:
    """Slope (K, D) and intercept (K,) of the logits in the counts, without size factors (eq. 2)."""
    with np.errstate(divide="ignore"):
        log_pi = np.maximum(np.log(state.pi), -1e300)
    return np.log(state.mu / (r + state.mu)), log_pi - (r * np.log1p(state.mu / r)).sum(1)


def _hoist(counts: Counts, r: Array) -> tuple[float, Array | None]:
    """Return the terms ln C(x, r) that no update changes: their sum, or (K, N) where they differ by component."""
    from scipy.special import gammaln

    if (r == r[:1]).all():
        rising = gammaln(counts.values + r[0][counts.gene]) - gammaln(r[0])[counts.gene]
        return float((rising * counts.frequency).sum()) - counts.factorial, None
    rising = gammaln(counts.values + r[:, counts.gene]) - gammaln(r)[:, counts.gene]  # (K, U)
    return -counts.factorial, np.stack([row[counts.inverse].sum(1) for row in rising])


def newton_centroids(q: Array, counts: Counts, mu: Array, phi: Array) -> Array:
    """Solve sum_n q_nk (x_n - s_n mu) / (1 + phi s_n mu) = 0 for mu by Newton's method on ln mu (eq. 4).

    Parameters
    ----------
    q : ndarray, shape (K, N)
    counts : Counts
    mu : ndarray, shape (K, D)
        Where to start.
    phi : ndarray, shape (K, D)

    Returns
    -------
    ndarray, shape (K, D)
    """
    x, s = counts.x, counts.size_factor[:, None]
    out = np.maximum(mu, FLOOR)
    for k in range(len(mu)):
        some = q[k] > 1e-12  # the rest adds nothing to the sums
        w, xk, sk = q[k][some, None], x[some], s[some]
        none = (w * xk).sum(0) <= 0
        log_mu = np.log(out[k])
        for _ in range(50):
            mean = sk * np.exp(log_mu)
            shrink = 1 / (1 + phi[k] * mean)
            slope = (w * (xk - mean) * shrink).sum(0)
            curvature = (w * mean * (1 + phi[k] * xk) * shrink**2).sum(0)
            step = np.clip(slope / np.maximum(curvature, 1e-300), -2, 2)
            log_mu = np.maximum(log_mu + np.where(none, 0, step), np.log(FLOOR))
            if np.abs(np.where(none, 0, step)).max(initial=0) < 1e-10:
                break
        out[k] = np.where(none, FLOOR, np.exp(log_mu))
    return out


def newton_dispersion(q: Array, counts: Counts, mu: Array, phi: Array, story: Story) -> Array:
    """Raise the expected log likelihood in phi by safeguarded Newton steps on ln r (eqs. 5 and 6).

    Returns
    -------
    ndarray, same shape as ``phi``
    """
    objective = DispersionObjective(q, counts, mu, story)
    log_r = -np.log(phi)
    low, high = -np.log(PHI_RANGE[1]), -np.log(PHI_RANGE[0])
    value, first, second = objective(log_r)
    for _ in range(3):
        step = np.where(second < 0, -first / np.minimum(second, -1e-300), np.sign(first))
        step = np.clip(step, -1, 1)
        rounding = 1e-13 * np.abs(value)
        for _ in range(20):
            trial = np.clip(log_r + step, low, high)
            new = objective(trial)
            worse = new[0] < value - rounding
            if not worse.any():
                break
            step = np.where(worse, step / 4, step)
        else:
            break
        moved = np.abs(trial - log_r).max()
        log_r, (value, first, second) = trial, new
        if moved < 1e-4:
            break
    return np.exp(-log_r)


class DispersionObjective:
    """Expected complete log likelihood as a function of ln r, with two derivatives, summed by the variant's dims."""

    def __init__(self, q: Array, counts: Counts, mu: Array, story: Story) -> None:
        self.q, self.counts, self.mu, self.story = q, counts, mu, story
        self.weight, self.total = q.sum(1)[:, None], q @ counts.x
        self.frequency = counts.weighted_frequency(q) if story.dispersion == "component" else counts.frequency

    def __call__(self, log_r: Array) -> tuple[Array, Array, Array]:
        """Value, first and second derivative by ln r; each has the shape of ``log_r``."""
        from scipy.special import gammaln, psi

        counts, by_component = self.counts, self.story.dispersion == "component"
        r = 1 / self.story.spread(np.exp(-log_r), self.mu)  # (K, D)
        at = r if by_component else r[0]
        rise = [
            counts.by_gene((f(counts.values + at[..., counts.gene]) - f(at)[..., counts.gene]) * self.frequency)
            for f in (gammaln, psi, trigamma)
        ]  # (K, D) or (D,)
        rest = self._with_depth(r) if counts.has_depth else self._without_depth(r)
        value, first, second = (
            (self._reduce(a) if by_component else self._reduce_genes(a)) + self._reduce(b)
            for a, b in zip(rise, rest, strict=True)
        )
        R = np.exp(log_r)
        return value, R * first, R**2 * second + R * first

    def _reduce(self, terms: Array) -> Array:
        """Sum (K, D) terms to the dims of phi."""
        axis = {"shared": None, "gene": 0, "component": 1}[self.story.dispersion]
        return np.asarray(terms.sum(axis))

    def _reduce_genes(self, terms: Array) -> Array:
        return np.asarray(terms.sum()) if self.story.dispersion == "shared" else terms

    def _without_depth(self, r: Array) -> tuple[Array, Array, Array]:
        mu, w, t = self.mu, self.weight, self.total
        a = w * r + t
        value = w * r * np.log(r) - a * np.log(r + mu)
        first = w * (np.log(r / (r + mu)) + 1) - a / (r + mu)
        second = w / r - 2 * w / (r + mu) + a / (r + mu) ** 2
        return value, first, second

    def _with_depth(self, r: Array) -> tuple[Array, Array, Array]:
        x, s = self.counts.x, self.counts.size_factor[:, None]
        out = np.zeros((3, *r.shape))
        for k, w in enumerate(self.q):
            some = w > 1e-12
            xk, mean, wk = x[some], s[some] * self.mu[k], w[some]
            total = r[k] + mean
            log_ratio, share = np.log(r[k] / total), (xk + r[k]) / total
            out[0, k] = wk @ (r[k] * log_ratio - xk * np.log(total))
            out[1, k] = wk @ (log_ratio + 1 - share)
            out[2, k] = wk @ (1 / r[k] - 2 / total + share / total)
        return out[0], out[1], out[2]


def trigamma(x: Array) -> Array:
    """Second derivative of ln Gamma for x > 0: recurrence up to 8, then the asymptotic series (error below 1e-13)."""
    out = np.zeros_like(x)
    y = np.array(x, dtype=np.float64)
    for _ in range(8):
        small = y < 8
        out += np.where(small, 1 / y**2, 0)
        y = np.where(small, y + 1, y)
    z = 1 / y**2
    series = z * (1 / 6 - z * (1 / 30 - z * (1 / 42 - z * (1 / 30 - z * (5 / 66 - z * (691 / 2730 - z * 7 / 6))))))
    return out + 1 / y + z / 2 + series / y
