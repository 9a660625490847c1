"""Importance sampling around a mode, adapted until the ratios have tails that smoothing can bear.

The proposal is a multivariate t: its tails are heavier than those of most posteriors, where those of a normal density
are lighter. While Pareto k-hat says that it does not fit, its location and scale move to the moments of the weighted
draws (Paananen, Piironen, Buerkner and Vehtari 2021, Stat. Comput. 31). Draws of the last round alone are returned, so
that they are independent given the proposal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genarium.engines.resample import KHAT_GOOD, NORMAL_DRAWS, smoothed

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

FREEDOM = 6
"""Degrees of freedom of the proposal."""

ROUNDS = 8
"""Rounds at most."""

PRIOR_DRAWS = 5
"""Effective draws for each dimension that the moments of the round before count for."""


@dataclass(frozen=True)
class Sampled:
    """Draws of the last proposal.

    Attributes
    ----------
    theta : ndarray, shape (S, P)
    log_ratio : ndarray, shape (S,)
        Log of density over proposal, up to a constant.
    khat : float
        Its Pareto k-hat.
    mean, covariance : ndarray, shape (P,) and (P, P)
        Location and scale of the proposal: those of the normal density that it is a heavy-tailed form of.
    """

    theta: Matrix
    log_ratio: Vector
    khat: float
    mean: Vector
    covariance: Matrix


def sample(
    log_density: Callable[[Matrix], Vector],
    mean: Vector,
    covariance: Matrix,
    rng: np.random.Generator,
    *,
    draws: int = NORMAL_DRAWS,
    rounds: int = ROUNDS,
    mirrors: NDArray[np.float64] | None = None,
) -> Sampled:
    """Draw from proposals around a mode until Pareto k-hat is good, or the rounds are over.

    Parameters
    ----------
    log_density : callable
        ``log_density(theta)``: (S, P) to (S,), up to a constant; NaN and -inf for draws without weight.
    mean, covariance : ndarray, shape (P,) and (P, P)
        Of a normal approximation.
    rng : Generator
    draws, rounds : int
        Draws of each round; rounds at most.
    mirrors : ndarray, shape (G, P, P), optional
        A group of linear maps that leave the density as it is, the identity among them (a mixture's permutations of
        components). The proposal then counts with all its images, while the draws stay with one of them: where the
        images overlap, each takes its share of the density.

    Returns
    -------
    Sampled
    """
    P = len(mean)
    group = np.eye(P)[None] if mirrors is None else mirrors
    for left in reversed(range(rounds)):
        factor = np.linalg.cholesky(covariance)
        theta = mean + student(rng, draws, P) @ factor.T
        log_ratio = log_density(theta) - log_proposal(theta, mean, factor, group)
        weights, khat = smoothed(log_ratio)
        if khat < KHAT_GOOD or not left:
            break
        effective = 1 / (weights**2).sum()
        share = effective / (effective + PRIOR_DRAWS * P)
        moved = weights @ theta
        spread = (weights[:, None] * (theta - moved)).T @ (theta - moved)
        mean, covariance = share * moved + (1 - share) * mean, share * spread + (1 - share) * covariance
    return Sampled(theta, log_ratio, khat, mean, covariance)


def pooled(parts: Sequence[Sampled]) -> Sampled:
    """Weigh the draws of several proposals, such as one a mode, against their mixture (Owen and Zhou 2000).

    Parameters
    ----------
    parts : sequence of Sampled
        Of one density.

    Returns
    -------
    Sampled
        With the proposal of the part that holds most of the weight.
    """
    if len(parts) == 1:
        return parts[0]
    theta = np.concatenate([part.theta for part in parts])
    identity = np.eye(theta.shape[1])[None]
    factors = [np.linalg.cholesky(part.covariance) for part in parts]
    log_density, log_mixture = np.empty(len(theta)), np.full(len(theta), -np.inf)
    low = 0
    for part, factor in zip(parts, factors, strict=True):
        own = slice(low, low := low + len(part.theta))
        log_density[own] = part.log_ratio + log_proposal(part.theta, part.mean, factor, identity)
        volume = np.log(np.diag(factor)).sum() - np.log(len(part.theta))
        log_mixture = np.logaddexp(log_mixture, log_proposal(theta, part.mean, factor, identity) - volume)
    log_ratio = log_density - log_mixture
    weights, khat = smoothed(log_ratio)
    ends = np.cumsum([len(part.theta) for part in parts])[:-1]
    most = parts[int(np.argmax([share.sum() for share in np.split(weights, ends)]))]
    return Sampled(theta, log_ratio, khat, most.mean, most.covariance)


def student(rng: np.random.Generator, draws: int, P: int) -> Matrix:
    """Draw from the standard multivariate t; shape (S, P)."""
    return np.asarray(rng.normal(size=(draws, P)) / np.sqrt(rng.chisquare(FREEDOM, (draws, 1)) / FREEDOM))


def log_proposal(theta: Matrix, mean: Vector, factor: Matrix, group: NDArray[np.float64]) -> Vector:
    """Log of the density of the proposal and its images, up to a constant; shape (S,)."""
    P = len(mean)
    total = np.full(len(theta), -np.inf)
    centre = np.linalg.solve(factor, mean)[:, None]
    for image in np.linalg.solve(factor, group):
        z = image @ theta.T - centre  # (P, S)
        total = np.logaddexp(total, -0.5 * (FREEDOM + P) * np.log1p((z**2).sum(0) / FREEDOM))
    return total
