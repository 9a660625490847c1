"""A screen simulated cell by cell, with growth coupling, lanes and escaping cells as options; equations of the card."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array
from genarium.errors import InputError

from ..story import draw_proportion
from .samplers import Screen, normalise

CONTROL = (0.0675, 0.2097, 0.3134, 0.3921, 0.0173)
"""Shares of the states without perturbation, as in the challenge: progenitor, effector, terminal, cycling, other."""


@dataclass(frozen=True)
class World:
    """What a simulated screen is made of (eqs. 18 to 21).

    Attributes
    ----------
    perturbations, genes, features, programs : int
        P, G, D, and the programs that a perturbation moves.
    cells : int
        Mean cells of a perturbation.
    evenness : float
        Shape of the cell numbers' negative binomial.
    rho : float
        Share of the programs' variance that features explain.
    b_scale : float
        Sd of the effects of programs on log shares.
    kappa : float
        Concentration of the shares.
    marker_frac, marker_sd : float
        Share of genes that mark states, and sd of their log expression over states.
    program_sd : float
        Sd of the direct effects of programs on log expression, on as many genes.
    depth, depth_sd : float
        Median library size, and sd of its log.
    theta : float
        Shape of the counts' negative binomial.
    growth : float
        λ, effect of the first program on the log cell number; 0 for none.
    lanes : int
        Lanes that cells are spread over; 1 for none.
    lane_sd : float
        Sd of a lane's effect on log expression.
    escape : float
        Share of a perturbation's cells that were not hit: they are as the control's.
    """

    perturbations: int = 200
    genes: int = 500
    features: int = 16
    programs: int = 6
    cells: int = 150
    evenness: float = 20.0
    rho: float = 0.8
    b_scale: float = 0.25
    kappa: float = 60.0
    marker_frac: float = 0.10
    marker_sd: float = 0.35
    program_sd: float = 0.05
    depth: float = 5000.0
    depth_sd: float = 0.4
    theta: float = 1.5
    growth: float = 0.0
    lanes: int = 1
    lane_sd: float = 0.1
    escape: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rho", "marker_frac", "escape"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"perturbation_score.statistic: {name}={getattr(self, name)!r} must lie in [0, 1].")
        for name in ("perturbations", "genes", "features", "programs", "cells", "lanes"):
            if getattr(self, name) < 1:
                raise InputError(f"perturbation_score.statistic: {name}={getattr(self, name)!r} must be one or more.")


@dataclass(frozen=True)
class Truth:
    """What lies behind a simulated screen.

    Attributes
    ----------
    program : ndarray, shape (P, programs)
        a.
    predictable : ndarray, shape (P, programs)
        The part of it that features determine.
    effect : ndarray, shape (programs, K)
        B.
    share : ndarray, shape (P, K)
        q of the cells that were hit.
    escaped : ndarray of bool, shape (N,)
    lane : ndarray of int, shape (N,)
    world : World
    """

    program: Array
    predictable: Array
    effect: Array
    share: Array
    escaped: Array
    lane: Array
    world: World


def simulate(world: World, rng: np.random.Generator, dtype: str = "float32") -> tuple[Screen, Truth]:
    """Simulate a screen (eqs. 18 to 21).

    Parameters
    ----------
    world : World
    rng : Generator
    dtype : str
        Of the cells.

    Returns
    -------
    screen : Screen
        With the true shares of the cells that were hit, whatever escaped.
    truth : Truth
    """
    P, K, control = world.perturbations, len(CONTROL), np.log(CONTROL)
    features = rng.normal(size=(P, world.features))
    raw = np.tanh(1.5 * features @ rng.normal(size=(world.features, world.programs)) / np.sqrt(world.features))
    spread = raw.std(0) if P > 1 else np.ones(world.programs)
    predictable = np.sqrt(world.rho) * (raw - raw.mean(0)) / np.where(spread > 0, spread, 1)
    program = predictable + np.sqrt(1 - world.rho) * rng.normal(size=predictable.shape)
    effect = world.b_scale * rng.normal(size=(world.programs, K))
    alpha = world.kappa * softmax(control + program @ effect, axis=-1)
    share = draw_proportion(rng, alpha)
    mean = world.cells * np.exp(world.growth * program[:, 0] - world.growth**2 / 2)
    number = 2 + rng.negative_binomial(world.evenness, world.evenness / (world.evenness + mean))
    owner = np.repeat(np.arange(P), number)
    N = len(owner)
    escaped = rng.uniform(size=N) < world.escape
    draws = rng.uniform(size=(N, 1))
    state = np.where(
        escaped,
        (draws > np.cumsum(CONTROL)).sum(1),
        (draws > np.cumsum(share, 1)[owner]).sum(1),
    ).clip(0, K - 1)
    lane = rng.integers(0, world.lanes, N)
    log_mean = expression(world, rng, state, np.where(escaped[:, None], 0.0, program[owner]), lane)
    counts = emit(world, rng, log_mean)
    first = np.concatenate([[0], np.cumsum(number)])
    names = np.array([f"gene{p}" for p in range(P)])
    screen = Screen(normalise(counts, dtype), first, share, features, names, state)
    return screen, Truth(program, predictable, effect, share, escaped, lane, world)


def expression(world: World, rng: np.random.Generator, state: Array, program: Array, lane: Array) -> Array:
    """Unnormalised log expression of every cell and gene (eq. 20); shape (N, G)."""
    G, K = world.genes, len(CONTROL)
    base = rng.normal(size=G)
    marks, moved = (rng.uniform(size=G) < world.marker_frac for _ in range(2))
    marker = np.where(marks, world.marker_sd * rng.normal(size=(K, G)), 0.0)
    direct = np.where(moved, world.program_sd * rng.normal(size=(world.programs, G)), 0.0)
    shift = world.lane_sd * rng.normal(size=(world.lanes, G)) if world.lanes > 1 else np.zeros((1, G))
    return np.asarray(base + marker[state] + program @ direct + shift[lane])


def emit(world: World, rng: np.random.Generator, log_mean: Array) -> Array:
    """Draw counts, negative binomial around library size times shares (eq. 21); shape (N, G)."""
    size = world.depth * np.exp(world.depth_sd * rng.normal(size=(len(log_mean), 1)))
    mean = softmax(log_mean, axis=-1) * size
    return np.asarray(rng.poisson(rng.gamma(world.theta, mean / world.theta)))
