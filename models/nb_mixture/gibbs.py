"""Gibbs sampling; equation numbers refer to the card (README.md)."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine

from .counts import Counts
from .likelihood import FLOOR, Story, log_joint
from .start import start


def gibbs(
    problem: Problem,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    draws: int = 1000,
    tune: int = 500,
    thin: int = 1,
) -> Result:
    """Sample groups, weights, centroids and dispersion in turn.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior``: pi, mu (and phi); the labels are not yet matched between draws.
    """
    counts = Counts(problem["x"], problem["size_factor"])
    sampler = Sampler(problem, counts)
    posterior = engine.run(sampler, rng, chains=chains, draws=draws, tune=tune, thin=thin)
    return Result(posterior=posterior)


class Sampler:
    """The Markov chain, ``sampler(rng)`` yields its draws."""

    def __init__(self, problem: Problem, counts: Counts) -> None:
        self.problem, self.counts = problem, counts
        self.story = Story(problem.option("dispersion"))
        self.unknown_phi = "phi" in problem.model.unknown.variables
        self.alpha0, self.a0, self.b0 = (float(problem[name]) for name in ("alpha0", "a0", "b0"))
        self.K = problem.sizes["component"]

    def __call__(self, rng: np.random.Generator) -> Iterator[Arrays]:
        """Yield draws of pi, mu and, where unknown, phi, from a start of its own."""
        x = self.problem["x"]
        first = start(self.problem, rng)
        pi, mu = first["pi"], first["mu"]
        phi = first["phi"] if self.unknown_phi else self.problem["phi"]
        while True:
            logits = self._logits(pi, mu, phi)
            group = (logits + rng.gumbel(size=logits.shape)).argmax(0)  # (N,), eq. 13
            member = np.zeros(logits.shape)
            member[group, np.arange(len(x))] = 1.0
            size = np.bincount(group, minlength=self.K).astype(float)
            pi = np.maximum(rng.dirichlet(self.alpha0 + size), 1e-300)  # eq. 14
            total = member @ x
            if self.counts.has_depth:
                if self.unknown_phi:
                    phi = self._phi_given_mu(rng, group, mu, phi)
                mu = self._mu_with_depth(rng, group, mu, phi)
            else:
                if self.unknown_phi:
                    phi = self._phi_without_mu(rng, member, size, total, phi)
                r = 1 / self.story.spread(phi, mu)
                p = np.clip(rng.beta(self.a0 + r * size[:, None], self.b0 + total), 1e-300, 1 - 1e-16)  # eq. 15
                mu = np.maximum(r * (1 - p) / p, FLOOR)
            yield {"pi": pi, "mu": mu, **({"phi": phi} if self.unknown_phi else {})}

    def _logits(self, pi: Array, mu: Array, phi: Array) -> Array:
        """Log of eq. 2 for every cell (K, N), up to what is the same for all components."""
        if self.counts.has_depth or self.story.dispersion == "component":
            spread = self.story.spread(phi, mu)
            return log_joint(self.problem["x"], self.counts.size_factor, pi, mu, spread)
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

    def _phi_without_mu(self, rng: np.random.Generator, member: Array, size: Array, total: Array, phi: Array) -> Array:
        """Slice update of ln phi given the groups, mu integrated out (eq. 16)."""
        from scipy.special import betaln, gammaln

        counts = self.counts
        frequency = counts.weighted_frequency(member)  # (K, U)
        some = frequency > 0
        component, distinct = np.nonzero(some)
        often, value, gene = frequency[some], counts.values[distinct], counts.gene[distinct]

        def log_density(log_phi: Array) -> Array:
            r = 1 / self.story.spread(np.exp(log_phi), total)
            at = r[component, gene]
            rising = np.zeros_like(total)
            np.add.at(rising, (component, gene), often * (gammaln(value + at) - gammaln(at)))
            beta: Array = betaln(self.a0 + r * size[:, None], self.b0 + total)
            return self._log_prior_phi(log_phi) + self._reduce(rising + beta)

        width = np.asarray(0.2)
        return np.exp(engine.slice_update(log_density, np.log(np.asarray(phi)), width, rng))

    def _phi_given_mu(self, rng: np.random.Generator, group: Array, mu: Array, phi: Array) -> Array:
        """Slice update of ln phi given groups and centroids (eq. 17)."""
        x = self.problem["x"]
        rows = np.arange(self.K)[:, None] == group  # (K, N)

        def log_density(log_phi: Array) -> Array:
            wide = self.story.spread(np.exp(log_phi), mu)
            terms = _log_nb(x, self.counts.size_factor[:, None] * mu[group], wide[group])
            prior_mu = self.b0 * np.log(wide) - (self.a0 + self.b0) * np.log1p(mu * wide)
            return self._log_prior_phi(log_phi) + self._reduce(rows @ terms + prior_mu)

        return np.exp(engine.slice_update(log_density, np.log(np.asarray(phi)), np.asarray(0.2), rng))

    def _mu_with_depth(self, rng: np.random.Generator, group: Array, mu: Array, phi: Array) -> Array:
        """Slice update of every ln mu given the groups (eq. 18)."""
        x, s = self.problem["x"], self.counts.size_factor[:, None]
        wide = self.story.spread(phi, mu)
        r = (1 / wide)[group]  # (N, D)
        rows = (np.arange(self.K)[:, None] == group).astype(float)

        def log_density(log_mu: Array) -> Array:
            now = np.exp(log_mu)
            mean = s * now[group]
            terms = x * log_mu[group] - (x + r) * np.log(r + mean)
            prior: Array = self.b0 * log_mu - (self.a0 + self.b0) * np.log1p(now * wide)
            return np.asarray(prior + rows @ terms)

        width = 2 * np.sqrt((wide + 1 / np.maximum(mu, 0.1)) / (rows.sum(1)[:, None] + 1))
        return np.maximum(np.exp(engine.slice_update(log_density, np.log(mu), width, rng)), FLOOR)


def _log_nb(x: Array, mean: Array, phi: Array) -> Array:
    """Log of NB(x; mean, phi) without the factorial."""
    from scipy.special import gammaln

    r = 1 / phi
    return np.asarray(gammaln(x + r) - gammaln(r) + x * np.log(mean / (r + mean)) - r * np.log1p(mean / r))
