"""Gibbs sampling; equation numbers refer to the card (README.md).

Shapes: N cells, D genes, K components.
"""

from collections.abc import Callable, Iterator

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine

from .adjusted import Adjusted
from .counts import Counts
from .gibbs_adjusted import Shifts, Weights, draw_lost, draw_shares
from .likelihood import FLOOR, log_joint
from .rising import log_rising
from .start import start

LEAST = 1e-300
"""Smallest weight, and probability p."""

Density = Callable[[Array], Array]


def gibbs(
    problem: Problem,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    draws: int = 1000,
    tune: int = 500,
    thin: int = 1,
) -> Result:
    """Sample groups, lost counts, and all unknown variables in turn.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior``: the unknown variables; the labels are not yet matched between draws.
    """
    posterior = engine.run(Sampler(problem), rng, chains=chains, draws=draws, tune=tune, thin=thin)
    return Result(posterior=posterior)


class Sampler:
    """The Markov chain, ``sampler(rng)`` yields its draws."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.counts = Counts(problem["x"], problem["size_factor"])
        self.story = Adjusted.of(problem)
        self.unknown_phi = "phi" in problem.model.unknown.variables
        self.alpha0, self.a0, self.b0 = (float(problem[name]) for name in ("alpha0", "a0", "b0"))
        self.K = problem.sizes["component"]
        self.conjugate = not (self.counts.has_depth or self.story.batches)
        self.weights = Weights(problem) if self.story.covariates else None
        self.shifts = Shifts(problem, self.story) if self.story.batches else None

    def __call__(self, rng: np.random.Generator) -> Iterator[Arrays]:
        """Yield draws of the unknown variables, from a start of its own."""
        values = dict(start(self.problem, rng))
        while True:
            values = self.step(rng, values)
            yield values

    def step(self, rng: np.random.Generator, values: Arrays) -> dict[str, Array]:
        """Update everything once."""
        values = dict(values)
        all_ = {**self.problem.arrays, **values}
        logits = self.logits(values)
        group = (logits + rng.gumbel(size=logits.shape)).argmax(0)  # (N,), eq. 13
        there = None
        if self.story.inflated:
            lost = draw_lost(rng, self.story, all_, group)
            values["zero"] = draw_shares(rng, self.problem, lost)
            there = (~lost).astype(float)
        if self.weights is None:
            size = np.bincount(group, minlength=self.K)
            values["pi"] = np.maximum(rng.dirichlet(self.alpha0 + size), LEAST)  # eq. 14
        else:
            values |= self.weights.step(rng, values["pi"], values["effect"], group)
        return {**values, **self.of_counts(rng, values, Known(group, there, self.K))}

    def of_counts(self, rng: np.random.Generator, values: Arrays, known: "Known") -> dict[str, Array]:
        """Update what the counts depend on, given the groups and which counts were lost."""
        mu, phi = values["mu"], values["phi"] if self.unknown_phi else self.problem["phi"]
        shift = values.get("shift")
        if self.conjugate:
            if self.unknown_phi:
                phi = self._sliced(rng, self.phi_alone(known), phi)
            r = 1 / self.story.spread(phi, mu)
            size, total = known.sums(self.problem["x"])
            p = np.clip(rng.beta(self.a0 + r * size, self.b0 + total), LEAST, 1 - 1e-16)  # eq. 15
            mu = np.maximum(r * (1 - p) / p, FLOOR)
        else:
            depth = self.depth(shift)
            if self.unknown_phi:
                phi = self._sliced(rng, self.phi_given_mu(known, mu, depth), phi)
            mu = self._mu(rng, known, mu, phi, depth)
            if self.shifts is not None and shift is not None:
                shift, mu = self.shifts.step(rng, known.group, known.there, mu, phi, shift)
        out = {"mu": mu, **({"phi": phi} if self.unknown_phi else {})}
        return out if shift is None else {**out, "shift": shift}

    def depth(self, shift: Array | None) -> Array:
        """Return what multiplies the means; shape (N, 1) or (N, D)."""
        s = self.counts.size_factor[:, None]
        return s if shift is None else s * self.story.fold({**self.problem.arrays, "shift": shift})

    def logits(self, values: Arrays) -> Array:
        """Log of eq. 2 for every cell (K, N), up to what is the same for all components."""
        if not self.story.plain:
            return self.story.joint({**self.problem.arrays, **values}, relative=True)
        pi, mu = values["pi"], values["mu"]
        phi = values["phi"] if self.unknown_phi else self.problem["phi"]
        if self.counts.has_depth or self.story.dispersion == "component":
            return log_joint(self.problem["x"], self.counts.size_factor, pi, mu, self.story.spread(phi, mu))
        odds = mu * phi
        log_not_p = np.log1p(1 / odds)
        intercept = np.log(pi) - (np.log1p(odds) / phi).sum(1)
        return self.counts.linear(-log_not_p, intercept)

    def _log_prior_phi(self, log_phi: Array) -> Array:
        tau = float(self.problem["tau"])
        return np.asarray(-0.5 * ((log_phi - np.log(self.problem["phi0"])) / tau) ** 2)

    def _reduce(self, terms: Array) -> Array:
        """Sum (K, D) terms to the dims of phi."""
        return np.asarray(terms.sum({"shared": None, "gene": 0, "component": 1}[self.story.dispersion]))

    def _sliced(self, rng: np.random.Generator, density: Density, phi: Array) -> Array:
        """Slice update of ln phi."""
        return np.exp(engine.slice_update(density, np.log(np.asarray(phi)), np.asarray(0.2), rng))

    def phi_alone(self, known: "Known") -> Density:
        """Log density of ln phi given the groups, mu integrated out (eq. 16)."""
        from scipy.special import betaln

        counts, (size, total) = self.counts, known.sums(self.problem["x"])
        frequency = counts.weighted_frequency(known.member)  # (K, U); of zeros, lost or not, the terms are zero
        some = frequency > 0
        component, distinct = np.nonzero(some)
        often, value, gene = frequency[some], counts.values[distinct], counts.gene[distinct]

        def log_density(log_phi: Array) -> Array:
            r = 1 / self.story.spread(np.exp(log_phi), total)
            at = r[component, gene]
            rising = np.zeros_like(total)
            np.add.at(rising, (component, gene), often * log_rising(value, at))
            beta: Array = betaln(self.a0 + r * size, self.b0 + total)
            return self._log_prior_phi(log_phi) + self._reduce(rising + beta)

        return log_density

    def phi_given_mu(self, known: "Known", mu: Array, depth: Array) -> Density:
        """Log density of ln phi given groups and centroids (eq. 17)."""
        x, mean = self.problem["x"], depth * mu[known.group]

        def log_density(log_phi: Array) -> Array:
            wide = self.story.spread(np.exp(log_phi), mu)
            terms = known.kept(_log_nb(x, mean, wide[known.group]))
            prior_mu = self.b0 * np.log(wide) - (self.a0 + self.b0) * np.log1p(mu * wide)
            return self._log_prior_phi(log_phi) + self._reduce(known.member @ terms + prior_mu)

        return log_density

    def mu_alone(self, known: "Known", phi: Array, depth: Array) -> Density:
        """Log density of every ln mu_kd given groups, dispersion and depth (eq. 18)."""
        x, wide = self.problem["x"], self.story.spread(phi, np.empty((self.K, self.problem.sizes["gene"])))
        r = (1 / wide)[known.group]  # (N, D)
        power, total = known.kept(x + r), known.member @ x

        def log_density(log_mu: Array) -> Array:
            now = np.exp(log_mu)
            terms = power * np.log(r + depth * now[known.group])
            prior: Array = self.b0 * log_mu - (self.a0 + self.b0) * np.log1p(now * wide)
            return np.asarray(prior + total * log_mu - known.member @ terms)

        return log_density

    def _mu(self, rng: np.random.Generator, known: "Known", mu: Array, phi: Array, depth: Array) -> Array:
        """Slice update of every ln mu."""
        wide = self.story.spread(phi, mu)
        width = 2 * np.sqrt((wide + 1 / np.maximum(mu, 0.1)) / (known.member.sum(1)[:, None] + 1))
        density = self.mu_alone(known, phi, depth)
        return np.maximum(np.exp(engine.slice_update(density, np.log(mu), width, rng)), FLOOR)


class Known:
    """Groups and lost counts, as long as they are held.

    Parameters
    ----------
    group : ndarray of int, shape (N,)
    there : ndarray, shape (N, D), optional
        One where a count was not lost, zero where it was.
    K : int
        Components.
    """

    def __init__(self, group: Array, there: Array | None, K: int) -> None:
        self.group, self.there = group, there
        self.member = (np.arange(K)[:, None] == group).astype(float)  # (K, N)

    def kept(self, terms: Array) -> Array:
        """Leave out the terms (N, D) of lost counts."""
        return terms if self.there is None else terms * self.there

    def sums(self, x: Array) -> tuple[Array, Array]:
        """Return the number of counts that were not lost, (K, 1) or (K, D), and their total (K, D)."""
        size = self.member.sum(1)[:, None] if self.there is None else self.member @ self.there
        return size, self.member @ x


def _log_nb(x: Array, mean: Array, phi: Array) -> Array:
    """Log of NB(x; mean, phi) without the factorial."""
    r = 1 / phi
    return np.asarray(log_rising(x, r) + x * np.log(mean / (r + mean)) - r * np.log1p(mean / r))
