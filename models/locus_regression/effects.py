"""The factor of the effects: q(beta_k) is normal; eqs. 8 to 12 of the card.

The expected log normaliser is bounded by log sum_l exp(o_l + mu'X_l + (X_l - c)'Sigma (X_l - c) / 2), for any centre c.
"""

from dataclasses import dataclass, replace

import numpy as np

from genarium.declaration import Array
from genarium.simplex import log_sum_exp, normalised

HALVINGS = 30


@dataclass(frozen=True)
class Effects:
    """Normal factors: mean (K, F), covariance (K, F, F), centre of the bound in each covariate group (J, K, F)."""

    mean: Array
    covariance: Array
    centre: Array


@dataclass(frozen=True)
class Objective:
    """What one process's factor is to maximise; everything it needs, for all groups.

    Attributes
    ----------
    features : ndarray, shape (J, L, F)
    offset : ndarray, shape (J or 1, L)
        o: log exposure and whatever else multiplies a locus's rate.
    sums : ndarray, shape (F,)
        s: features summed over the process's expected mutations.
    total : ndarray, shape (J,)
        N: expected mutations by group.
    tau : float
    """

    features: Array
    offset: Array
    sums: Array
    total: Array
    tau: float

    def log_normaliser(self, mean: Array, covariance: Array, centre: Array) -> tuple[Array, Array]:
        """Return the bound of log Z by group, and the weights p of its loci (J, L)."""
        exponent = _exponent(self.features, self.offset, mean, covariance, centre)
        weight, log_normaliser = normalised(exponent)
        return log_normaliser, weight

    def value(self, mean: Array, covariance: Array, log_normaliser: Array) -> float:
        """Return the part of the evidence lower bound that the factor decides (eq. 9)."""
        prior = -(mean @ mean + np.trace(covariance)) / (2 * self.tau**2)
        entropy = 0.5 * np.linalg.slogdet(covariance)[1]
        return float(prior + entropy + self.sums @ mean - self.total @ log_normaliser)


def improve(objective: Objective, mean: Array, covariance: Array, centre: Array, full: bool) -> tuple[Array, ...]:
    """Raise a process's objective: mean by Newton's method, covariance by its fixed point, then the centre.

    Returns
    -------
    mean, covariance, centre : ndarray
    log_normaliser : ndarray, shape (J,)
    """
    X, N, precision = objective.features, objective.total, 1 / objective.tau**2
    eye = np.eye(len(mean))
    normaliser, weight = objective.log_normaliser(mean, covariance, centre)
    value = objective.value(mean, covariance, normaliser)
    for _ in range(2):
        average = np.einsum("jl,jlf->jf", weight, X)
        second = _second_moment(X, N[:, None] * weight)
        gradient = objective.sums - N @ average - precision * mean
        step = np.linalg.solve(second - (N[:, None] * average).T @ average + precision * eye, gradient)
        for halving in range(HALVINGS):
            trial = mean + 0.5**halving * step
            found, new_weight = objective.log_normaliser(trial, covariance, centre)
            reached = objective.value(trial, covariance, found)
            if reached >= value:
                mean, value, normaliser, weight = trial, reached, found, new_weight
                break
        if 0.5 * gradient @ step < 1e-6:
            break
    deviation = X - centre[:, None]
    curvature = _second_moment(deviation, N[:, None] * weight)
    wanted = precision * eye + (curvature if full else np.diag(np.diag(curvature)))
    have = np.linalg.inv(covariance)
    for halving in range(HALVINGS):
        trial = np.linalg.inv(have + 0.5**halving * (wanted - have))
        trial = (trial + trial.T) / 2
        found, new_weight = objective.log_normaliser(mean, trial, centre)
        reached = objective.value(mean, trial, found)
        if reached >= value:
            covariance, value, normaliser, weight = trial, reached, found, new_weight
            break
    centred = np.einsum("jl,jlf->jf", weight, X)
    found, _ = objective.log_normaliser(mean, covariance, centred)
    lower = found < normaliser  # group by group
    centre = np.where(lower[:, None], centred, centre)
    return mean, covariance, centre, np.where(lower, found, normaliser)


def _second_moment(x: Array, weight: Array) -> Array:
    """Sum of weight x x' over groups and loci; shapes (J, L, F) and (J, L) to (F, F)."""
    rows = x.reshape(-1, x.shape[-1])
    return np.asarray((rows * weight.reshape(-1, 1)).T @ rows)


def update(
    effects: Effects,
    features: Array,
    offset: Array,
    of_row: Array,
    tau: Array,
    full: bool,
) -> tuple[Effects, Array]:
    """Update the factors of all processes.

    Parameters
    ----------
    effects : Effects
    features : ndarray, shape (J, L, F)
    offset : ndarray, shape (K or 1, L)
    of_row : ndarray, shape (J L, K)
        Expected mutations.
    tau : ndarray, shape (K,)
    full : bool
        Whether covariances are full, or diagonal.

    Returns
    -------
    effects : Effects
    log_normaliser : ndarray, shape (J, K)
    """
    J, L, F = features.shape
    by_group = of_row.reshape(J, L, -1)
    total = by_group.sum(1)  # (J, K)
    sums = of_row.T @ features.reshape(-1, F)  # (K, F)
    parts = []
    for k in range(len(tau)):
        own = offset[k if len(offset) > 1 else 0][None]
        objective = Objective(features, own, sums[k], total[:, k], float(tau[k]))
        parts.append(improve(objective, effects.mean[k], effects.covariance[k], effects.centre[:, k], full))
    mean, covariance, centre, normaliser = (np.stack([p[i] for p in parts]) for i in range(4))
    return replace(effects, mean=mean, covariance=covariance, centre=centre.transpose(1, 0, 2)), normaliser.T


def log_weights(effects: Effects, features: Array, offset: Array) -> Array:
    """Return the exponents of the bound's sum over loci (eq. 8), of every process; shape (K, J, L)."""
    out = []
    for k, mean in enumerate(effects.mean):
        own = offset[k if len(offset) > 1 else 0]
        out.append(_exponent(features, own, mean, effects.covariance[k], effects.centre[:, k]))
    return np.stack(out)


def _exponent(features: Array, offset: Array, mean: Array, covariance: Array, centre: Array) -> Array:
    """Exponent of a process's summand in eq. 8; shape (J, L)."""
    deviation = features - centre[:, None]  # (J, L, F)
    quadratic = ((deviation @ covariance) * deviation).sum(-1)
    return np.asarray(offset + features @ mean + 0.5 * quadratic)


def log_normalisers(effects: Effects, features: Array, offset: Array) -> Array:
    """Return the bound of log Z of every group and process; shape (J, K)."""
    return log_sum_exp(log_weights(effects, features, offset), -1).T


def prior_gap(effects: Effects, tau: Array) -> float:
    """Kullback-Leibler divergence from the prior, all processes added up (eq. 13)."""
    F = effects.mean.shape[1]
    size = (effects.mean**2).sum(1) + np.trace(effects.covariance, axis1=1, axis2=2)
    return float((F * np.log(tau) - 0.5 * np.linalg.slogdet(effects.covariance)[1] + size / (2 * tau**2) - F / 2).sum())
