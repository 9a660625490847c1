"""Stochastic variational inference over loci (Algorithm 3, corrected); equation numbers refer to the card."""

from dataclasses import replace
from typing import Literal, Protocol

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, Restarts
from genarium.errors import InputError
from genarium.progress import track
from genarium.remedies import option

from .channels import by_context
from .checkpoint import Checkpoint
from .corpus import Corpus, corpus
from .effects import Effects
from .expectation import Sums, Weights, expect
from .sweep import State, Step
from .vi import collect

SCOUT_EPOCHS = 10
"""Epochs of each restart."""

LOOK_BACK = 5
"""Evaluations of the bound over which it must have risen for the fit to go on."""

ENOUGH = 1e-7
"""Rise of the bound over that many evaluations, as a fraction of its size, below which the fit stops."""


class Sampling(Protocol):
    """Mutations of random loci; ``scale``: what sums over them are multiplied by."""

    @property
    def scale(self) -> float:
        """The inverse of the fraction that is drawn."""

    def expect(self, rng: np.random.Generator, tables: tuple[Weights, Weights, Weights]) -> tuple[Array, Sums]:
        """Return the loci of a new sample, and the sums over the mutations there."""


class Sampler:
    """Mutations of random loci.

    Parameters
    ----------
    data : Corpus
    rate : float
        Fraction of the loci that is drawn, without replacement.
    """

    def __init__(self, data: Corpus, rate: float) -> None:
        self.data = data
        self.loci = int(data.features.shape[1])
        self.size = max(1, round(rate * self.loci))
        locus = data.row % self.loci
        self.order = np.argsort(locus, kind="stable")
        self.edges = np.searchsorted(locus[self.order], np.arange(self.loci + 1))

    @property
    def scale(self) -> float:
        """What sums over the sample are multiplied by: the inverse of the fraction drawn."""
        return self.loci / self.size

    def expect(self, rng: np.random.Generator, tables: tuple[Weights, Weights, Weights]) -> tuple[Array, Sums]:
        """Return a new sample of loci, and the sums over the mutations there."""
        loci, sample = self.draw(rng)
        return loci, expect(sample, *tables)

    def draw(self, rng: np.random.Generator) -> tuple[Array, Corpus]:
        """Return a new sample of loci, and the mutations there."""
        if self.size == self.loci:
            return np.arange(self.loci), self.data
        chosen = np.sort(rng.choice(self.loci, self.size, replace=False))
        low, high = self.edges[chosen], self.edges[chosen + 1]
        length = high - low
        start = np.repeat(low - np.concatenate([[0], length.cumsum()[:-1]]), length)
        at = np.sort(self.order[start + np.arange(length.sum())])
        data = self.data
        cells = {name: getattr(data, name)[at] for name in ("genome", "row", "channel", "count")}
        return chosen, replace(data, **cells)


def svi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    sampling_rate: float = 0.1,
    covariance: Literal["mean_field", "diagonal"] = "mean_field",
    empirical_bayes: bool = True,
    restarts: int = 3,
    epochs: int = 50,
    delay: float = 1.0,
    forgetting: float = 0.7,
    draws: int = 500,
    checkpoint: str = "",
) -> Result:
    """Fit by stochastic natural gradients, each from the mutations of a random subset of the loci.

    Normalisers run over all loci and sums over the subset are scaled up, so that every step is unbiased for the step
    that all mutations would give. Worth its while where the table does not fit into memory or a sweep takes minutes.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    sampling_rate : float
        Fraction of the loci in a step, above 0 and up to 1.
    covariance : {"mean_field", "diagonal"}
        Of q(beta_k): full or diagonal.
    empirical_bayes : bool
        Whether to estimate hyperparameters (alpha, tau, concentrations of lam and rho), starting from the given ones;
        or to keep to these.
    restarts : int
        Number of starts; after some epochs only the best one goes on.
    epochs : int
        Passes over the data, at most; the bound of all mutations is evaluated after each.
    delay, forgetting : float
        The size of step t is (delay T + t)^-forgetting, with T steps in an epoch, and forgetting above 1/2 and up to 1
        (Robbins and Monro).
    draws : int
        Draws for the posterior group.
    checkpoint : str
        A folder for states of the ascents, as of :func:`vi`.

    Returns
    -------
    Result
        As of :func:`vi`.

    Raises
    ------
    InputError
        If an unknown variable is to be held fixed, or an option lies outside its range.
    """
    if not 0 < sampling_rate <= 1:
        raise InputError(f"locus_regression: {option('sampling_rate', sampling_rate)} must be above 0 and at most 1.")
    if not 0.5 < forgetting <= 1:
        raise InputError(
            f"locus_regression: {option('forgetting', forgetting)} must be above 0.5 and at most 1: with smaller steps "
            "or larger ones the noise of the samples does not average out."
        )
    if delay < 0:
        raise InputError(f"locus_regression: {option('delay', delay)} must not be negative.")
    data = corpus(problem)
    step = Step(data, full=covariance == "mean_field", empirical_bayes=empirical_bayes)
    settings = {"epochs": epochs, "delay": delay, "forgetting": forgetting, "sampling_rate": sampling_rate}
    keeper = Checkpoint.of(checkpoint, step, rng, {"restarts": restarts, **settings})
    runs, best = sampled(
        step,
        Sampler(data, sampling_rate),
        problem,
        rng,
        keeper,
        restarts=restarts,
        epochs=epochs,
        delay=delay,
        forgetting=forgetting,
    )
    return noisy(collect(step, Restarts(runs[best], tuple(runs)), rng, draws))


def noisy(result: Result) -> Result:
    """Return a result that says that its bound may fall."""
    notes = {name: value for name, value in result.notes.items() if name != "largest_fall"}
    return replace(result, notes={**notes, "noisy_bound": 1})


def sampled(
    step: Step,
    sampler: Sampling,
    problem: Problem,
    rng: np.random.Generator,
    keeper: Checkpoint | None,
    *,
    restarts: int,
    epochs: int,
    delay: float,
    forgetting: float,
) -> tuple[list[Ascent[State]], int]:
    """Run some epochs from several starts, from the best one to the end; return all and which that is."""
    seeds = rng.integers(2**63, size=restarts + 1).tolist()  # of each run: one that was killed draws the same samples

    def run(name: str, ascent: Ascent[State], most: int, seed: int) -> Ascent[State]:
        """Go on for some epochs, from where the last process came."""
        if keeper and (kept := keeper.load(name)):
            ascent = replace(kept[0], state=step.normalised(kept[0].state))
            if kept[1]:
                return ascent
        steps = int(np.ceil(sampler.scale))
        while len(ascent.bounds) <= most and not ascent.converged:
            state, own = ascent.state, np.random.default_rng([seed, len(ascent.bounds)])
            for t in range(state.age + 1, state.age + steps + 1):
                state = stochastic(step, sampler, state, (delay * steps + t) ** -forgetting, own)
            bounds = np.append(ascent.bounds, step.bound(state))
            enough = len(bounds) > LOOK_BACK and bounds[-1] - bounds[-1 - LOOK_BACK] < ENOUGH * abs(bounds[-1])
            ascent = Ascent(state, bounds, enough)
            if keeper:
                keeper.save(name, ascent, False)
        if keeper:
            keeper.save(name, ascent, True)
        return ascent

    def begun() -> Ascent[State]:
        state = step.first(problem, rng)
        return Ascent(state, np.array([step.bound(state)]), False)

    scouting = min(SCOUT_EPOCHS, epochs) if restarts > 1 else epochs
    runs = [run(f"start-{i}", begun(), scouting, seeds[i]) for i in track(range(restarts), "SVI restarts")]
    best = max(range(restarts), key=lambda i: runs[i].bound)
    if scouting < epochs:
        runs[best] = run("best", runs[best], epochs, seeds[-1])
    return runs, best


def stochastic(step: Step, sampler: Sampling, state: State, size: float, rng: np.random.Generator) -> State:
    """Move every factor a step towards what a sample says, in its natural parameters."""
    loci, (of_genome, in_sample, of_channel, _) = sampler.expect(rng, step.tables(state))
    of_genome, of_channel = of_genome * sampler.scale, of_channel * sampler.scale
    moved = replace(state, effects=moved_effects(step, state, loci, in_sample, sampler.scale, size))
    counts_by_context = by_context(of_channel.T, state.delta.shape[1])
    wanted = step.update_contexts(moved, in_sample * sampler.scale, counts_by_context.sum(-1))
    omega = step.alternatives(state, counts_by_context)
    moved = replace(
        moved,
        delta=state.delta + size * (wanted - state.delta),
        omega=state.omega + size * (omega - state.omega),
        gamma=state.gamma + size * (state.alpha + of_genome - state.gamma),
        age=state.age + 1,
    )
    return step.with_hyperparameters(step.normalised(moved))


def moved_effects(step: Step, state: State, loci: Array, in_sample: Array, scale: float, size: float) -> Effects:
    """Make a natural-gradient step of the effects: precision and mean from a sample of loci, without bias (eq. 21).

    What the effects predict is known for all loci; only the deviation from it is scaled up from the sample. That has a
    far smaller variance than scaling up the mutations themselves.

    Parameters
    ----------
    step : Step
    state : State
    loci : ndarray of int
        The sample.
    in_sample : ndarray, shape (R, K)
        Expected mutations there, zero elsewhere.
    scale : float
        Inverse of the fraction of loci in the sample.
    size : float
        Of the step, up to 1.

    Returns
    -------
    Effects
    """
    data, old = step.data, state.effects
    J, L, _ = data.features.shape
    X = data.features[:, loci]
    R = step.given
    mass = (state.omega[R:] - state.rho_concentration[:, None, None]).sum((1, 2))
    mass = np.concatenate([np.maximum(state.gamma - state.alpha, 0).sum(0)[:R], mass])  # (K,)
    total, offset, found = data.group_share[:, None] * mass, step.offset(state), state.moments
    exponent = step.design.at(loci).exponents(offset[:, loci], old.mean, old.covariance, old.centre)
    predicted = total.T[..., None] * np.exp(exponent - found.log_normaliser.T[..., None])  # (K, J, S)
    surplus = scale * (in_sample.reshape(J, L, -1)[:, loci].transpose(2, 0, 1) - predicted)
    prior = state.tau[:, None] ** -2
    gradient = np.einsum("kjl,jlf->kf", surplus, X) - np.einsum("kj,jkf->kf", surplus.sum(2), found.mean)
    gradient -= prior * old.mean
    curvature = np.einsum("jk,jkfe->kfe", total, found.covariance)
    eye = np.eye(X.shape[2])
    wanted = prior[..., None] * eye + (curvature if step.full else curvature * eye)
    covariance = np.linalg.inv((1 - size) * np.linalg.inv(old.covariance) + size * wanted)
    mean = old.mean + size * (covariance @ gradient[..., None])[..., 0]
    return Effects(mean, (covariance + covariance.transpose(0, 2, 1)) / 2, found.mean)
