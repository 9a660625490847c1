"""Sequences with a known causal effect of one motif's occupancy on another's label, with and without confounding.

Counts of the exposure and the outcome are Poisson, with means (eq. 25 of the card)

    1 + alpha q_e + 20 q_c + 25 b          1 + beta q_e q_o + 30 q_c + 25 b

where q are occupancies of the exposure's, the outcome's and a confounding motif, and b is a batch that sequence does
not show. Labels are Anscombe's transforms. On that scale the effect is sqrt(beta / alpha), where occupancy is all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from genarium.declaration import Array
from genarium.errors import InputError

from . import motifs
from .scales import anscombe
from .sequence import others

LENGTH = 100
BACKGROUND = np.array([0.27, 0.23, 0.23, 0.27])
"""Of A, C, G, T."""

EMBED, CONFOUND = 0.75, 0.5
"""Probability that a sequence holds the exposure's motif, the outcome's or both; and a confounding one."""

SPACING = (16, 74)
FLOOR = 1e-3
"""Least probability of a base in a motif."""

RATIO = 0.05
"""Least beta / alpha: a ratio below zero has no Poisson mean."""

CONFOUNDING = ("none", "sequence", "random")
NEITHER, EXPOSURE, OUTCOME, BOTH = range(4)


@dataclass(frozen=True)
class Simulated:
    """Sequences and their labels.

    Attributes
    ----------
    x : ndarray, shape (N, 4, L)
    kind : ndarray of int, shape (N,)
        Motifs put in: NEITHER, EXPOSURE, OUTCOME or BOTH.
    at : ndarray of int, shape (N,)
        Where the exposure's motif begins; -1 without.
    batch : ndarray, shape (N,)
        The random confounder, 0 or 1.
    labels : ndarray, shape (N, 2)
        Exposure and outcome, on Anscombe's scale.
    factor : ndarray, shape (N,)
        Of beta: 1, or what the distance of the motifs makes of it.
    """

    x: Array
    kind: Array
    at: Array
    batch: Array
    labels: Array
    factor: Array


def log_odds(motif: Array) -> Array:
    """Log of the motif's over the background's probabilities, shape (k, 4)."""
    floored = np.maximum(motif, FLOOR)
    return np.asarray(np.log(floored / floored.sum(1, keepdims=True)) - np.log(BACKGROUND))


def occupancy(x: Array, motif: Array) -> Array:
    """Probability that any place is bound, 1 - prod(1 - sigmoid(score)); x (..., 4, L), result (...)."""
    weight = log_odds(motif)
    windows = sliding_window_view(x, len(motif), axis=-1)  # (..., 4, L - k + 1, k)
    score = np.einsum("...bpk,kb->...p", windows, weight, optimize=True)
    return np.asarray(-np.expm1(-np.logaddexp(0, score).sum(-1)))


def means(x: Array, alpha: float, beta: Array | float, batch: Array | float = 0.0, confounder: bool = True) -> Array:
    """Return expected counts of exposure and outcome; shape (..., 2)."""
    q_e, q_o = occupancy(x, motifs.EXPOSURE), occupancy(x, motifs.OUTCOME)
    q_c = occupancy(x, motifs.CONFOUNDER) if confounder else 0.0
    return np.stack([1 + alpha * q_e + 20 * q_c + 25 * batch, 1 + beta * q_e * q_o + 30 * q_c + 25 * batch], -1)


def simulate(
    rng: np.random.Generator,
    count: int,
    alpha: float,
    beta: float,
    confounding: str = "none",
    heterogeneity: float = 0.0,
) -> Simulated:
    """Draw sequences and labels.

    Parameters
    ----------
    rng : Generator
    count : int
    alpha, beta : float
        Of the story above.
    confounding : {"none", "sequence", "random"}
    heterogeneity : float
        By how much effects differ between sequences, 0 to below 1: beta times 1 + h at the least distance of the
        motifs' starts, falling to 1 - h at the largest one.

    Returns
    -------
    Simulated
    """
    if not 0 <= heterogeneity < 1:
        raise InputError(f"deep_mr: heterogeneity={heterogeneity:g} must lie from 0 to below 1.")
    if confounding not in CONFOUNDING:
        raise InputError(f"deep_mr: confounding={confounding!r} is not known; use one of {', '.join(CONFOUNDING)}.")
    codes = rng.choice(4, (count, LENGTH), p=BACKGROUND)
    kind = np.where(rng.uniform(size=count) < EMBED, rng.integers(EXPOSURE, BOTH + 1, count), NEITHER)
    at, factor = np.full(count, -1), np.ones(count)
    free = np.ones((count, LENGTH), dtype=bool)
    for n in np.flatnonzero(kind):
        placed = _places(rng, int(kind[n]))
        for which, start in placed.items():
            motif = motifs.EXPOSURE if which == EXPOSURE else motifs.OUTCOME
            codes[n, start : start + len(motif)] = _instance(rng, motif)
            free[n, start : start + len(motif)] = False
        at[n] = placed.get(EXPOSURE, -1)
        if kind[n] == BOTH:
            apart = abs(placed[EXPOSURE] - placed[OUTCOME]) - SPACING[0]
            factor[n] = 1 + heterogeneity * (1 - 2 * apart / (SPACING[1] - SPACING[0]))
    if confounding == "sequence":
        k = len(motifs.CONFOUNDER)
        for n in np.flatnonzero(rng.uniform(size=count) < CONFOUND):
            open_ = np.flatnonzero(sliding_window_view(free[n], k).all(1))
            if open_.size:
                start = int(rng.choice(open_))
                codes[n, start : start + k] = _instance(rng, motifs.CONFOUNDER)
    x = (codes[:, None] == np.arange(4)[:, None]).astype(float)
    batch = (rng.uniform(size=count) < 0.5).astype(float) if confounding == "random" else np.zeros(count)
    expected = means(x, alpha, beta * factor, batch, confounding == "sequence")
    return Simulated(x, kind, at, batch, anscombe(rng.poisson(expected)), factor)


def _places(rng: np.random.Generator, kind: int) -> dict[int, int]:
    """Where the motifs begin; two of them 16 to 74 bases apart, in either order."""
    lengths = {EXPOSURE: len(motifs.EXPOSURE), OUTCOME: len(motifs.OUTCOME)}
    if kind != BOTH:
        return {kind: int(rng.integers(0, LENGTH - lengths[kind] + 1))}
    first, second = (EXPOSURE, OUTCOME) if rng.uniform() < 0.5 else (OUTCOME, EXPOSURE)
    apart = int(rng.integers(SPACING[0], SPACING[1] + 1))
    start = int(rng.integers(0, LENGTH - apart - lengths[second] + 1))
    return {first: start, second: start + apart}


def _instance(rng: np.random.Generator, motif: Array) -> Array:
    below = (motif / motif.sum(1, keepdims=True)).cumsum(1)
    return np.asarray((rng.uniform(size=(len(motif), 1)) > below).sum(1).clip(0, 3))


def draw_strengths(rng: np.random.Generator) -> tuple[float, float]:
    """Draw alpha ~ Normal(100, 3), and beta / alpha ~ Normal(10, 0.5) or Normal(1, 0.5), half each and positive."""
    alpha, ratio = rng.normal(100, 3), -1.0
    centre = 10 if rng.uniform() < 0.5 else 1
    while ratio < RATIO:
        ratio = rng.normal(centre, 0.5)
    return float(alpha), float(alpha * ratio)


def local_truth(x: Array, at: int, alpha: float, beta: float) -> float:
    """Return the true effect in a sequence (4, L): slope through the motif's substitutions, noise aside."""
    k = len(motifs.EXPOSURE)
    to = others(x[None, :, at : at + k])[0].ravel()
    place = np.tile(np.arange(at, at + k), 3)
    mutants = np.repeat(x[None], 3 * k, 0)
    rows = np.arange(3 * k)
    mutants[rows, :, place] = 0
    mutants[rows, to, place] = 1
    change = anscombe(means(mutants, alpha, beta, confounder=False)) - anscombe(means(x, alpha, beta, confounder=False))
    return float((change[:, 0] * change[:, 1]).sum() / (change[:, 0] ** 2).sum())
