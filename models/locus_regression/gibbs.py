"""Gibbs sampling; equation numbers refer to the card (README.md)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine
from genarium.simplex import normalised

from .channels import by_channel, by_context
from .corpus import Corpus, corpus
from .spectra import FREE, certain
from .start import start

CAREFUL = 0.2, 0.2
"""Share of the sweeps with a small step of the effects, and that step (eq. 31); the others have 1."""

LEAST = 1e-300
"""Draws of gamma variables are kept above it."""


def gibbs(
    problem: Problem,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    draws: int = 1000,
    tune: int = 500,
    thin: int = 1,
) -> Result:
    """Sample processes of mutations, shares, spectra and effects in turn.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior``: beta, lam, rho, pi (and locus_effect); labels are not yet matched between draws.

    """
    data = corpus(problem)

    def chain(stream: np.random.Generator) -> Iterator[Arrays]:
        first = start(problem, stream)
        sweep = Sweep(data, problem, first["beta"])
        state = sweep.state(first)
        while True:
            state = sweep(stream, state)
            yield sweep.unknown(state)

    return Result(posterior=engine.run(chain, rng, chains=chains, draws=draws, tune=tune, thin=thin))


@dataclass(frozen=True)
class State:
    """Where a chain is: beta (K, F), lam (K, C), rho (K, C, A), pi (G, K); locus_effect (K, L), where there is one.

    Given preferences are the first rows of lam and rho.
    """

    beta: Array
    lam: Array
    rho: Array
    pi: Array
    locus_effect: Array | None = None


class Sweep:
    """One sweep, ``sweep(rng, state)``.

    Parameters
    ----------
    data : Corpus
    problem : Problem
        Has the hyperparameters.
    reference : ndarray, shape (K, F)
        Effects at which the proposals take the covariance of the features; where it is far from the posterior, more of
        them are rejected.
    """

    def __init__(self, data: Corpus, problem: Problem, reference: Array) -> None:
        self.data, self.names = data, set(problem.model.unknown.variables)
        self.alpha, self.precision = problem["alpha"], 1 / problem["tau"][:, None] ** 2
        self.dispersion = problem["dispersion"][:, None] if "dispersion" in problem.arrays else None
        around = np.log(data.opportunity.mean(0)) if data.form == "joint" else 0.0
        _, mean, weight = self.normalised(reference, around)
        each = [
            [(X - m).T @ ((X - m) * w[:, None]) for m, w in zip(*of_group, strict=True)]
            for X, *of_group in zip(data.features, mean, weight, strict=True)
        ]
        self.covariance = np.array(each)  # (J, K, F, F)

    def state(self, unknown: Arrays) -> State:
        """Return the state at values of the unknown variables."""
        known = self.data.held
        if known is None:
            return State(**{"rho": certain(unknown["lam"]), **unknown})
        rest = {name: value for name, value in unknown.items() if name not in FREE}
        lam, rho = known.lam, known.rho
        if FREE[0] in unknown:
            free = unknown[FREE[0]]
            lam, rho = np.concatenate([lam, free]), np.concatenate([rho, unknown.get(FREE[1], certain(free))])
        return State(lam=lam, rho=rho, **rest)

    def unknown(self, state: State) -> dict[str, Array]:
        """Return the values of the unknown variables in a state."""
        found = {name: value for name, value in vars(state).items() if value is not None}
        if R := self.data.given:
            lam, rho = found.pop("lam"), found.pop("rho")
            found |= {FREE[0]: lam[R:], FREE[1]: rho[R:]} if len(lam) > R else {}
        return {name: value for name, value in found.items() if name in self.names}

    def __call__(self, rng: np.random.Generator, state: State) -> State:
        """Draw every block given the others."""
        *sums, of_channel = self.processes(rng, state)
        of_genome, of_row = sums
        counts = by_context(of_channel.T, state.lam.shape[1])
        pi, rho = _dirichlet(rng, self.alpha + of_genome), state.rho.copy()
        rho[self.data.given :] = _dirichlet(rng, 1 + counts[self.data.given :])
        by_locus = np.moveaxis(of_row.reshape(*self.data.features.shape[:2], -1), 2, 1)  # (J, K, L)
        state = self.effects(rng, replace(state, pi=pi, rho=rho), by_locus)
        if self.dispersion is not None:
            state = self.locus_effects(rng, state, by_locus, self.dispersion)
        return self.contexts(rng, state, by_locus, counts.sum(-1))

    def offset(self, state: State) -> Array | float:
        """Return the log of what multiplies a locus's rate besides exposure and features; shape (K, L), or 0."""
        own = 0.0 if state.locus_effect is None else np.log(state.locus_effect)
        return own + np.log(state.lam @ self.data.opportunity) if self.data.form == "joint" else own

    def normalised(self, beta: Array, offset: Array | float) -> tuple[Array, Array, Array]:
        """Return log normalisers (J, K), means of the features (J, K, F) and probabilities of loci (J, K, L)."""
        X = self.data.features
        rate = beta @ X.swapaxes(1, 2) + (self.data.log_exposure + offset)
        weight, log_normaliser = normalised(rate)
        return log_normaliser, weight @ X, weight

    def processes(self, rng: np.random.Generator, state: State) -> tuple[Array, Array, Array]:
        """Draw the process of every mutation (eq. 27); return their numbers by genome, row and channel."""
        data = self.data
        K = len(state.lam)
        log_z, _, _ = self.normalised(state.beta, self.offset(state))
        rate = data.features @ state.beta.T - log_z[:, None]  # (J, L, K)
        if state.locus_effect is not None:
            rate += np.log(state.locus_effect).T
        if data.form == "conditional":
            rate -= np.log(state.lam @ data.opportunity).T
        rate = rate.reshape(-1, K)
        place = np.exp(rate - rate.max(1, keepdims=True))
        spectrum = np.ascontiguousarray(by_channel(state.lam[:, :, None] * state.rho).T)  # (M, K)
        sums = np.zeros((data.genomes, K)), np.zeros((data.rows, K)), np.zeros((data.channels, K))
        assign(rng, data.genome, data.row, data.channel, data.count, state.pi, place, spectrum, *sums)
        return sums

    def effects(self, rng: np.random.Generator, state: State, by_locus: Array) -> State:
        """Move the effects given the mutations of each process (eqs. 30 and 31)."""
        X, offset = self.data.features, self.offset(state)
        total, sums = by_locus.sum(-1), (by_locus @ X).sum(0)  # (J, K), (K, F)
        eye = np.eye(X.shape[-1])

        def log_density(beta: Array) -> tuple[Array, Array]:
            log_z, mean, _ = self.normalised(beta, offset)
            value = ((sums - 0.5 * self.precision * beta) * beta).sum(-1) - (total * log_z).sum(0)
            return value, sums - (total[..., None] * mean).sum(0) - self.precision * beta

        curvature = (total[..., None, None] * self.covariance).sum(0) + self.precision[..., None] * eye
        return replace(state, beta=_metropolis(rng, log_density, state.beta, curvature))

    def locus_effects(self, rng: np.random.Generator, state: State, by_locus: Array, dispersion: Array) -> State:
        """Draw random effects of loci (eq. 32), then effects and random effects together at fixed rates (eq. 33)."""
        assert state.locus_effect is not None
        X, r = self.data.features, 1 / dispersion  # (K, 1)
        _, _, weight = self.normalised(state.beta, self.offset(state))
        pull = (rng.standard_gamma(by_locus.sum(-1))[..., None] * weight).sum(0) / state.locus_effect
        own = np.maximum(rng.standard_gamma(r + by_locus.sum(0)) / (r + pull), LEAST)
        total = rng.standard_gamma(r * own.shape[1]) / r
        state = replace(state, locus_effect=np.maximum(own * total / own.sum(1, keepdims=True), LEAST))
        if len(X) > 1:
            return state  # the groups' rates differ, so that they cannot all be held
        rate = state.locus_effect * np.exp(state.beta @ X[0].T)

        def log_density(beta: Array) -> tuple[Array, Array]:
            log_rate = beta @ X[0].T
            effect = rate * np.exp(-log_rate)
            value = -(r * (log_rate + effect)).sum(-1) - 0.5 * (self.precision * beta**2).sum(-1)
            return value, (r * (effect - 1)) @ X[0] - self.precision * beta

        eye = np.eye(X.shape[-1])
        curvature = r[..., None] * (X[0].T @ X[0]) + self.precision[..., None] * eye
        beta = _metropolis(rng, log_density, state.beta, curvature)
        return replace(state, beta=beta, locus_effect=np.maximum(rate * np.exp(-beta @ X[0].T), LEAST))

    def contexts(self, rng: np.random.Generator, state: State, by_locus: Array, counts: Array) -> State:
        """Draw preferences for contexts, scaled as gamma variables (eqs. 28 and 29)."""
        t, R = self.data.opportunity, self.data.given
        if len(counts) == R:
            return state
        C = len(t)
        seen = state.lam[R:] @ t  # (K - R, L)
        scale = rng.standard_gamma(C, (len(seen), 1))
        if self.data.form == "conditional":
            share = rng.standard_gamma(by_locus[:, R:].sum(0))
        else:
            _, _, weight = self.normalised(state.beta, self.offset(state))
            share = (rng.standard_gamma(by_locus[:, R:].sum(-1))[..., None] * weight[:, R:]).sum(0)
        rate = 1 + (share / seen) @ t.T / scale
        lam = np.maximum(rng.standard_gamma(1 + counts[R:]) / rate, LEAST)
        return replace(state, lam=np.concatenate([state.lam[:R], lam / lam.sum(1, keepdims=True)]))


def _metropolis(
    rng: np.random.Generator,
    log_density: Callable[[Array], tuple[Array, Array]],
    at: Array,
    curvature: Array,
) -> Array:
    """Move every row towards the mode by a part of a Newton step, and add noise (eq. 31); accept or stay.

    Parameters
    ----------
    rng : Generator
    log_density : callable
        Values (K,) and gradients (K, F) of independent densities.
    at : ndarray, shape (K, F)
    curvature : ndarray, shape (K, F, F)
        About that of minus the log density; positive definite, the same at every point.

    Returns
    -------
    ndarray, shape (K, F)
    """
    share, small = CAREFUL
    step = small if rng.uniform() < share else 1.0
    factor = np.linalg.cholesky(curvature)

    def ahead(point: Array, gradient: Array) -> Array:
        return point + step * np.linalg.solve(curvature, gradient[..., None])[..., 0]

    def squared(deviation: Array) -> Array:
        whitened = (factor.swapaxes(1, 2) @ deviation[..., None])[..., 0]
        return np.asarray((whitened**2).sum(-1) / (2 * step * (2 - step)))

    value, gradient = log_density(at)
    mean = ahead(at, gradient)
    noise = np.linalg.solve(factor.swapaxes(1, 2), rng.normal(size=at.shape)[..., None])[..., 0]
    trial = mean + np.sqrt(step * (2 - step)) * noise
    new_value, new_gradient = log_density(trial)
    ratio = new_value - value + squared(trial - mean) - squared(at - ahead(trial, new_gradient))
    taken = np.log(rng.uniform(size=len(at))) < ratio
    return np.where(taken[:, None], trial, at)


def _dirichlet(rng: np.random.Generator, concentration: Array) -> Array:
    """Draw Dirichlet variables over the last dim."""
    x = np.maximum(rng.standard_gamma(concentration), LEAST)
    return np.asarray(x / x.sum(-1, keepdims=True))


@njit(cache=True)
def assign(
    rng: np.random.Generator,
    genome: Array,
    row: Array,
    channel: Array,
    count: Array,
    weight: Array,
    place: Array,
    spectrum: Array,
    of_genome: Array,
    of_row: Array,
    of_channel: Array,
) -> None:
    """Draw the processes of the mutations of each cell, and add them up by genome, row and channel."""
    K = weight.shape[1]
    upto = np.empty(K)
    for i in range(len(count)):
        g, r, m = genome[i], row[i], channel[i]
        total = 0.0
        for k in range(K):
            total += weight[g, k] * spectrum[m, k] * place[r, k]
            upto[k] = total
        for _ in range(int(count[i])):
            at = rng.random() * total
            k = 0
            while k < K - 1 and upto[k] <= at:
                k += 1
            of_genome[g, k] += 1
            of_row[r, k] += 1
            of_channel[m, k] += 1
