"""A sweep of coordinate ascent (Algorithm 2, corrected); equation numbers refer to the card (README.md)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from genarium.declaration import Array, Problem
from genarium.simplex import dirichlet_divergence, dirichlet_expected_log

from . import contexts, effects, hyperprior, random_loci
from .channels import by_channel, by_context
from .corpus import Corpus
from .dirichlet import concentration, of_counts, of_factors, symmetric
from .effects import Effects
from .expectation import Sums, Weights, expect
from .hyperprior import Hyper
from .moments import BLOCK, Design, Moments
from .random_loci import LocusEffects
from .spectra import Held
from .trees import Forest

PATIENCE = 30
"""Iterations before the hyperparameters move: earlier, a process can die of a small concentration."""


@dataclass(frozen=True)
class State:
    """Parameters of q: gamma (G, K), effects, delta (K, C), omega (K, C, A); hyperparameters alpha, tau (K,).

    Of processes whose signature is given, which come first, delta and omega are lam and rho themselves, and they have
    no concentrations (lam_concentration and rho_concentration are of the others). Random effects
    of loci and their dispersion (K,) are None where the model has none, and so are trees before they grow.
    """

    gamma: Array
    effects: Effects
    moments: Moments  # of the features under the rates, with the bound of E log Z
    delta: Array
    omega: Array
    alpha: Array
    tau: Array
    lam_concentration: Array
    rho_concentration: Array
    locus_effects: LocusEffects | None = None
    dispersion: Array | None = None
    forest: Forest | None = None
    age: int = 0


class Step:
    """A sweep of coordinate ascent, ``step(state) -> (next state, bound of state)``.

    Parameters
    ----------
    data : Corpus
    full : bool
        Whether q(beta_k) has a full covariance.
    empirical_bayes : bool
        Whether alpha and tau are estimated.
    expecting : callable, optional
        What distributes the mutations, given the weights by genome, row and channel, where ``data`` has none itself.
    """

    def __init__(
        self,
        data: Corpus,
        *,
        full: bool = True,
        empirical_bayes: bool = False,
        expecting: Callable[[Weights, Weights, Weights], Sums] | None = None,
    ) -> None:
        self.data = data
        self.given = data.given
        self.design = Design(data.features)
        self.expect: Callable[[Weights, Weights, Weights], Sums] = expecting or partial(expect, data)
        self.full, self.empirical_bayes = full, empirical_bayes
        self._packed: State

    def tables(self, state: State) -> tuple[Weights, Weights, Weights]:
        """Return what weighs a process by genome (G, K), row (R, K) and channel (M, K) (eqs. 4 to 6)."""
        R = self.given
        spectrum = dirichlet_expected_log(state.delta[R:])[:, :, None] + dirichlet_expected_log(state.omega[R:])
        if self.data.held is not None:
            spectrum = np.concatenate([self.data.held.log_spectrum, spectrum])
        by_genome = Weights.of(dirichlet_expected_log(state.gamma))
        return by_genome, self.place(state), Weights.of(np.ascontiguousarray(by_channel(spectrum).T))

    def place(self, state: State) -> Weights:
        """Return the probability of a row, as far as the bound knows it, without the context; shape (R, K)."""
        data, design = self.data, self.design
        mean = state.effects.mean
        preference = state.delta / state.delta.sum(1, keepdims=True)
        out, tops = np.empty((design.groups, design.loci, len(mean))), np.empty((design.groups, design.loci))
        for j, normaliser in enumerate(state.moments.log_normaliser):
            constant = (mean @ design.origin[j] - normaliser)[:, None]
            for low in range(0, design.loci, BLOCK):
                at = slice(low, low + BLOCK)
                rate = mean @ design.columns[j, 1:, at] + (constant + data.log_exposure[at])
                if state.locus_effects is not None:
                    rate += state.locus_effects.expected_log[:, at]
                if state.forest is not None:
                    rate += state.forest.log_rate[:, at]
                tops[j, at] = top = rate.max(0)
                np.exp(rate - top, out=rate)
                if data.form == "conditional":
                    rate /= preference @ data.opportunity[:, at]
                out[j, at] = rate.T
        return Weights(out.reshape(data.rows, -1), tops.ravel())

    def log_context(self, state: State) -> Array:
        """Return log of (E lam_k)'t_l; shape (K, L)."""
        mean = state.delta / state.delta.sum(1, keepdims=True)
        return np.asarray(np.log(mean @ self.data.opportunity))

    def offset(self, state: State) -> Array:
        """Return what multiplies a locus's rate before it is normalised, in logs; shape (1 or K, L)."""
        offset = self.own_offset(state)
        return offset if self.data.form == "conditional" else np.asarray(offset + self.log_context(state))

    def own_offset(self, state: State) -> Array:
        """Return the part of the offset that does not depend on contexts; shape (1 or K, L)."""
        if state.forest is not None:
            return np.asarray(self.data.log_exposure + state.forest.log_rate)
        if state.locus_effects is None:
            return self.data.log_exposure[None]
        return np.asarray(self.data.log_exposure + np.log(state.locus_effects.mean))

    def normalised(self, state: State) -> State:
        """Bring the moments of the features up to date, and the normaliser with them."""
        found = state.effects
        moments = self.design.moments(self.offset(state), found.mean, found.covariance, found.centre)
        return replace(state, moments=moments)

    def __call__(self, state: State) -> tuple[State, float]:
        """Update every factor."""
        *counts, log_sum = self.expect(*self.tables(state))
        bound = log_sum + self.data.log_opportunity - self.divergence(state)
        return self.maximised(state, *counts), bound

    def bound(self, state: State) -> float:
        """Return the evidence lower bound of a state (eq. 7)."""
        *_, log_sum = self.expect(*self.tables(state))
        return log_sum + self.data.log_opportunity - self.divergence(state)

    def divergence(self, state: State) -> float:
        """Return the divergence of q from the prior, all factors and hyperparameters added up (eqs. 13 and 18)."""
        of_loci = 0.0
        if state.locus_effects is not None and state.dispersion is not None:
            of_loci = random_loci.divergence(state.locus_effects, state.dispersion)
        return (
            dirichlet_divergence(state.gamma, state.alpha)
            + dirichlet_divergence(state.delta[self.given :], state.lam_concentration[:, None])
            + dirichlet_divergence(state.omega[self.given :], state.rho_concentration[:, None, None])
            + effects.prior_gap(state.effects, state.tau)
            + of_loci
            + hyperprior.gap(hyper_of(state), self.data.hyper)
            + (state.forest.penalty if state.forest is not None else 0.0)
        )

    def maximised(self, state: State, of_genome: Array, of_row: Array, of_channel: Array) -> State:
        """Update the factors, given the expected mutations of each process."""
        data = self.data
        found, moments = effects.update(self.effects_objective(state, of_row), state.effects, state.moments, self.full)
        state = self.with_locus_effects(replace(state, effects=found, moments=moments), of_row)
        counts = by_context(of_channel.T, state.delta.shape[1])
        delta = self.update_contexts(state, of_row, counts.sum(-1))
        omega = self.alternatives(state, counts)
        state = replace(state, delta=delta, omega=omega, gamma=state.alpha + of_genome, age=state.age + 1)
        if data.form == "joint":
            state = self.normalised(state)
        return self.with_hyperparameters(state)

    def effects_objective(self, state: State, of_row: Array) -> effects.Objective:
        """Return what q(beta) is to maximise."""
        design = self.design
        total, sums = design.added_up(of_row)
        return effects.Objective(design, self.offset(state), sums, total, state.tau)

    def with_locus_effects(self, state: State, of_row: Array) -> State:
        """Update the random effects of loci, where there are some, and the normaliser with them."""
        if state.locus_effects is None or state.dispersion is None:
            return state
        data = self.data
        J, L, _ = data.features.shape
        by_group = of_row.reshape(J, L, -1)
        offset = self.offset(state) - np.log(state.locus_effects.mean)
        weight = self.exponents(state, offset)
        found = random_loci.update(state.locus_effects, by_group.sum(0).T, weight, by_group.sum(1).T, state.dispersion)
        return self.normalised(replace(state, locus_effects=found))

    def exponents(self, state: State, offset: Array) -> Array:
        """Return the exponents of the bound's sum over loci (eq. 8), of every process; shape (K, J, L)."""
        found = state.effects
        return self.design.exponents(offset, found.mean, found.covariance, found.centre)

    def with_hyperparameters(self, state: State) -> State:
        """Update alpha, tau, concentrations and the dispersion, where they are estimated and it is time (eq. 18)."""
        if not self.empirical_bayes or state.age <= PATIENCE:
            return state
        found, given = state.effects, self.data.hyper
        squares = (found.mean**2 + np.diagonal(found.covariance, axis1=1, axis2=2)).sum(1)
        tau = hyperprior.standard_deviations(squares, self.design.features, given.tau)
        log_mean = dirichlet_expected_log(state.gamma).mean(0)
        alpha = concentration(log_mean, self.data.genomes, state.alpha, given.alpha, hyperprior.SPREAD)
        state = self.with_concentrations(replace(state, alpha=alpha, tau=tau))
        if state.locus_effects is None or state.dispersion is None:
            return state
        of_loci = random_loci.dispersions(state.locus_effects, state.dispersion, given.dispersion, hyperprior.SPREAD)
        return replace(state, dispersion=of_loci)

    def with_concentrations(self, state: State) -> State:
        """Update the concentrations of lam and rho, that of rho together with its factors (eqs. 43 and 44)."""
        R, given = self.given, self.data.hyper
        if len(state.delta) == R:
            return state
        log_sum, C = dirichlet_expected_log(state.delta[R:]).sum(1), state.delta.shape[1]
        of_lam = symmetric(of_factors(log_sum, C), state.lam_concentration, given.lam_concentration, hyperprior.SPREAD)
        state = replace(state, lam_concentration=of_lam)
        if state.omega.shape[2] == 1:
            return state
        counts = np.maximum(state.omega - self.alternatives(state, np.zeros_like(state.omega)), 0)
        before, median = state.rho_concentration, given.rho_concentration
        state = replace(state, rho_concentration=symmetric(of_counts(counts[R:]), before, median, hyperprior.SPREAD))
        return replace(state, omega=self.alternatives(state, counts))

    def alternatives(self, state: State, counts: Array) -> Array:
        """Return omega, given the expected mutations by context and alternative (K, C, A)."""
        own = state.rho_concentration[:, None, None] + counts[self.given :]
        return own if self.data.held is None else np.concatenate([self.data.held.rho, own])

    def with_held(self, name: str, value: Array) -> Array:
        """Return parameters of all processes with the given ones in their place."""
        if self.data.held is None:
            return value
        return np.concatenate([getattr(self.data.held, name), value[self.given :]])

    def update_contexts(self, state: State, of_row: Array, counts: Array) -> Array:
        """Update the factors of the preferences that are free; return delta (K, C)."""
        R = self.given
        if len(state.delta) == R:
            return state.delta
        objective = self.context_objective(state, of_row, counts)
        objective = objective.of(slice(R, None)) if R else objective
        return np.concatenate([state.delta[:R], contexts.update(objective, state.delta[R:])])

    def context_objective(self, state: State, of_row: Array, counts: Array) -> contexts.Objective:
        """Return what q(lam) is to maximise."""
        data = self.data
        own = np.concatenate([np.ones(self.given), state.lam_concentration])
        J, L, _ = data.features.shape
        by_group = of_row.reshape(J, L, -1)
        if data.form == "conditional":
            return contexts.Objective(counts, by_group.sum(0) if J > 1 else by_group[0], data.opportunity, own)
        weight = self.exponents(state, self.own_offset(state))
        rates = np.exp(weight - weight.max(-1, keepdims=True))  # (K, J, L)
        opportunity = np.einsum("kjl,cl->kcj", rates, data.opportunity, optimize=True)
        return contexts.Objective(counts, by_group.sum(1), opportunity, own)

    def pack(self, state: State) -> Array:
        """Return all parameters but the covariances as one vector, free of constraints."""
        self._packed = state
        return np.concatenate([state.effects.mean.ravel(), *(np.log(part).ravel() for part in _positive(state))])

    def unpack(self, vector: Array) -> State:
        """Return the state of a vector; with the covariances of the state that was packed last."""
        like, low = self._packed, 0
        parts = []
        for part in (like.effects.mean, *_positive(like)):
            parts.append(vector[low : low + part.size].reshape(part.shape))
            low += part.size
        mean, *logs = parts
        gamma, delta, omega, alpha, tau, of_lam, of_rho, *rest = (np.exp(np.clip(part, -30, 50)) for part in logs)
        moved = replace(like, effects=replace(like.effects, mean=mean))
        delta, omega = self.with_held("lam", delta), self.with_held("rho", omega)
        moved = replace(moved, gamma=gamma, delta=delta, omega=omega, alpha=alpha, tau=tau)
        moved = replace(moved, lam_concentration=of_lam, rho_concentration=of_rho)
        if rest:
            moved = replace(moved, locus_effects=LocusEffects(*rest[:2]), dispersion=rest[2])
        return self.normalised(moved)

    def first(self, problem: Problem, rng: np.random.Generator) -> State:
        """Return a start: spectra between those of random genomes and of all, flat effects."""
        data = self.data
        K, C = problem.sizes["process"], problem.sizes["context"]
        spectrum = first_spectra(data, K, rng)  # (K, M)
        shares = by_context(spectrum, C)
        total = data.table.sum() / K
        hyper = Hyper.given(problem)
        of_lam, of_rho, alpha = hyper.lam_concentration, hyper.rho_concentration, hyper.alpha
        delta = total * contexts.preferred(shares.sum(-1), data.opportunity)
        delta[self.given :] += of_lam[:, None]
        gamma = alpha + data.table.sum(1, keepdims=True) / K * rng.uniform(0.9, 1.1, (data.genomes, K))
        flat, moments = Effects.flat(data.features, K), Moments(*3 * (np.empty(0),))
        delta = self.with_held("lam", delta)
        state = State(gamma, flat, moments, delta, np.empty(0), alpha, hyper.tau, of_lam, of_rho)
        state = replace(state, omega=self.alternatives(state, total * shares))
        if hyper.dispersion.size:
            prior = LocusEffects.prior(hyper.dispersion, problem.sizes["locus"])
            state = replace(state, locus_effects=prior, dispersion=hyper.dispersion)
        return self.normalised(state)


def hyper_of(state: State) -> Hyper:
    """Return the hyperparameters of a state."""
    of_loci = np.empty(0) if state.dispersion is None else state.dispersion
    return Hyper(state.alpha, state.tau, of_loci, state.lam_concentration, state.rho_concentration)


def _positive(state: State) -> list[Array]:
    """Return the parameters that are positive."""
    parts = [state.gamma, state.delta, state.omega, state.alpha, state.tau]
    parts += [state.lam_concentration, state.rho_concentration]
    if state.locus_effects is not None and state.dispersion is not None:
        parts += [state.locus_effects.shape, state.locus_effects.inverse_scale, state.dispersion]
    return parts


def _in_genome(data: Corpus, held: Held) -> Array:
    """Return the given signatures in the genome of the data; shape (R, M)."""
    seen = held.lam * (data.opportunity @ np.exp(data.log_exposure))
    each = by_channel(seen[..., None] * held.rho)
    return np.asarray(each / each.sum(1, keepdims=True))


def first_spectra(data: Corpus, processes: int, rng: np.random.Generator, steps: int = 50) -> Array:
    """Factorise the mutations by genome and channel into spectra (multiplicative updates from a random start).

    Returns
    -------
    ndarray, shape (processes, M)
        Each adds up to one.
    """
    table = data.table
    spectra = rng.dirichlet(np.ones(data.channels), processes) + table.sum(0) / table.sum()
    known = np.empty((0, data.channels))
    if data.held is not None:
        known = _in_genome(data, data.held)
        spectra[: len(known)] = known
    shares = rng.dirichlet(np.ones(processes), data.genomes)
    for _ in range(steps):
        ratio = table / np.maximum(shares @ spectra, 1e-300)
        shares, spectra = shares * (ratio @ spectra.T), spectra * (shares.T @ ratio)
        spectra = np.maximum(spectra, 1e-9)
        spectra /= spectra.sum(1, keepdims=True)
        spectra[: len(known)] = known
        shares /= np.maximum(shares.sum(1, keepdims=True), 1e-300)
    return np.asarray(spectra)
