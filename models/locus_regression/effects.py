"""The factor of the effects: q(beta_k) is normal; eqs. 8 to 12 of the card.

The expected log normaliser is bounded by log sum_l exp(o_l + mu'X_l + (X_l - c)'Sigma (X_l - c) / 2), for any centre c.
"""

from dataclasses import dataclass, replace

import numpy as np

from genarium.declaration import Array

from .moments import Design, Moments

HALVINGS = 30

ROUNDING = 1e-13
"""Fall of the objective, as a fraction of its largest term, that is rounding."""


@dataclass(frozen=True)
class Effects:
    """Normal factors: mean (K, F), covariance (K, F, F), centre of the bound in each covariate group (J, K, F)."""

    mean: Array
    covariance: Array
    centre: Array

    @classmethod
    def flat(cls, features: Array, processes: int) -> "Effects":
        """Return a start: means of 0, and an sd of .1, or less where features (J, L, F) are in larger units than 1."""
        scale = np.maximum(features.var(1).max(0), 1)  # in raw units, else, processes are lost
        mean = np.zeros((processes, len(scale)))
        covariance = np.repeat(np.diag(0.01 / scale)[None], processes, 0)
        return cls(mean, covariance, np.repeat(features.mean(1)[:, None], processes, 1))

    def of(self, processes: Array) -> "Effects":
        """Return those of some processes."""
        return Effects(self.mean[processes], self.covariance[processes], self.centre[:, processes])


@dataclass(frozen=True)
class Objective:
    """What the factors are to maximise, for all processes.

    Attributes
    ----------
    design : Design
        Features of the loci.
    offset : ndarray, shape (K or 1, L)
        o: log exposure and whatever else multiplies a locus's rate.
    sums : ndarray, shape (K, F)
        s: features summed over a process's expected mutations.
    total : ndarray, shape (J, K)
        N: expected mutations by group.
    tau : ndarray, shape (K,)
    """

    design: Design
    offset: Array
    sums: Array
    total: Array
    tau: Array

    def of(self, processes: Array) -> "Objective":
        """Return the objective of some processes."""
        offset = self.offset if len(self.offset) == 1 else self.offset[processes]
        return replace(
            self,
            offset=offset,
            sums=self.sums[processes],
            total=self.total[:, processes],
            tau=self.tau[processes],
        )

    def moments(self, effects: Effects) -> Moments:
        """Return the bound of log Z and the moments of the features under the rates."""
        return self.design.moments(self.offset, effects.mean, effects.covariance, effects.centre)

    def value(self, effects: Effects, log_normaliser: Array) -> Array:
        """Return the part of the evidence lower bound that each factor decides (eq. 9); shape (K,)."""
        size = (effects.mean**2).sum(1) + np.trace(effects.covariance, axis1=1, axis2=2)
        entropy = 0.5 * np.linalg.slogdet(effects.covariance)[1]
        likelihood = (self.sums * effects.mean).sum(1) - (self.total * log_normaliser).sum(0)
        return np.asarray(entropy + likelihood - size / (2 * self.tau**2))


@dataclass(frozen=True)
class Direction:
    """Where an update goes: a Newton step of the mean (eq. 10), precisions now and at their fixed point (eq. 11).

    Attributes
    ----------
    step : ndarray, shape (K, F)
    precision, wanted : ndarray, shape (K, F, F)
    centre : ndarray, shape (J, K, F)
        That of the whole step (eq. 12).
    """

    step: Array
    precision: Array
    wanted: Array
    centre: Array

    @classmethod
    def at(cls, objective: Objective, effects: Effects, moments: Moments, full: bool) -> "Direction":
        """Return the direction from effects whose moments are known."""
        N, prior = objective.total, objective.tau**-2
        own = prior[:, None, None] * np.eye(effects.mean.shape[1])
        curvature = np.einsum("jk,jkfe->kfe", N, moments.covariance)
        gradient = objective.sums - np.einsum("jk,jkf->kf", N, moments.mean) - prior[:, None] * effects.mean
        step = np.linalg.solve(curvature + own, gradient[..., None])[..., 0]
        away = moments.mean - effects.centre
        wanted = curvature + np.einsum("jk,jkf,jke->kfe", N, away, away)
        if not full:
            wanted = wanted * np.eye(wanted.shape[-1])
        return cls(step, np.linalg.inv(effects.covariance), own + wanted, moments.mean)

    def part(self, effects: Effects, fraction: float, processes: Array) -> Effects:
        """Return the effects of some processes after a part of the step; the centre moves with the whole one only."""
        mean = effects.mean[processes] + fraction * self.step[processes]
        have, wanted = self.precision[processes], self.wanted[processes]
        covariance = np.linalg.inv(have + fraction * (wanted - have))
        centre = (self.centre if fraction == 1 else effects.centre)[:, processes]
        return Effects(mean, (covariance + covariance.transpose(0, 2, 1)) / 2, centre)


def update(objective: Objective, effects: Effects, moments: Moments, full: bool) -> tuple[Effects, Moments]:
    """Raise the objective of every process: mean, covariance and centre together, the step halved until it does.

    Both the Newton step of the mean and that of the precision point upwards, and the objective is concave in mean and
    covariance (proposition 1): a part of the step raises it.

    Parameters
    ----------
    objective : Objective
    effects : Effects
    moments : Moments
        At these effects.
    full : bool
        Whether covariances are full, or diagonal.

    Returns
    -------
    effects : Effects
    moments : Moments
        At the new ones.
    """
    towards = Direction.at(objective, effects, moments, full)
    before = objective.value(effects, moments.log_normaliser)
    before = before - ROUNDING * np.abs(objective.total * moments.log_normaliser).sum(0)
    waiting = np.arange(len(before))
    for halving in range(HALVINGS):
        own = objective.of(waiting)
        trial = towards.part(effects, 0.5**halving, waiting)
        found = own.moments(trial)
        better = own.value(trial, found.log_normaliser) >= before[waiting]
        taken, those = waiting[better], np.flatnonzero(better)
        moments = moments.with_some(taken, found.of(those))
        effects = _with_some(effects, taken, trial.of(those))
        waiting = waiting[~better]
        if not waiting.size:
            break
    return effects, moments


def _with_some(effects: Effects, processes: Array, found: Effects) -> Effects:
    mean, covariance, centre = effects.mean.copy(), effects.covariance.copy(), effects.centre.copy()
    mean[processes], covariance[processes], centre[:, processes] = found.mean, found.covariance, found.centre
    return Effects(mean, covariance, centre)


def prior_gap(effects: Effects, tau: Array) -> float:
    """Kullback-Leibler divergence from the prior, all processes added up (eq. 13)."""
    F = effects.mean.shape[1]
    size = (effects.mean**2).sum(1) + np.trace(effects.covariance, axis1=1, axis2=2)
    return float((F * np.log(tau) - 0.5 * np.linalg.slogdet(effects.covariance)[1] + size / (2 * tau**2) - F / 2).sum())
