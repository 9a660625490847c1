"""The no-U-turn sampler with a fixed dense metric, in NumPy.

Multinomial draws along the trajectory (Betancourt 2017, arXiv 1701.02434, appendix A), with the turns across the middle
of a doubling that Stan checks since 2.21; the step size by dual averaging (Hoffman and Gelman 2014, section 3.2).

The metric is given as a factor L of the inverse mass matrix, C = L Lᵀ, about the target's covariance. Momenta are kept
whitened, r = Lᵀ p ~ Normal(0, I): the velocity is L r, and r changes by Lᵀ times the gradient of the log density.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genarium.declaration import Array

LogDensity = Callable[[Array], tuple[float, Array]]
"""``log_density(vector) -> (value, gradient)``."""

DIVERGENCE = 1000.0
"""Nats of energy that a trajectory may gain before it counts as divergent."""


class Point(NamedTuple):
    """A point of phase space, with the log density and its gradient there."""

    position: Array  # (n,)
    momentum: Array  # (n,), whitened
    value: float
    gradient: Array  # (n,)

    @property
    def energy(self) -> float:
        """Potential and kinetic energy, in nats; infinite where the density is not defined."""
        energy = 0.5 * float(self.momentum @ self.momentum) - self.value
        return energy if np.isfinite(energy) else np.inf


def leapfrog(log_density: LogDensity, factor: Array, point: Point, step: float) -> Point:
    """Make one leapfrog step: half a step of the momentum, a step of the position, half a step of the momentum.

    Parameters
    ----------
    log_density : callable
    factor : ndarray, shape (n, n)
        L, with L Lᵀ the inverse mass matrix.
    point : Point
    step : float
        Negative to go back in time.

    Returns
    -------
    Point
    """
    middle = point.momentum + 0.5 * step * (point.gradient @ factor)
    position = point.position + step * (factor @ middle)
    value, gradient = log_density(position)
    return Point(position, middle + 0.5 * step * (gradient @ factor), value, gradient)


class Tree(NamedTuple):
    """A stretch of a trajectory, in the order in which it was made."""

    last: Point
    proposal: Point
    start: Array  # (n,), momentum of the first point
    total: Array  # (n,), sum of the momenta
    log_weight: float
    valid: bool
    """No turn within it, no divergence."""


@dataclass
class _Growth:
    """Grows stretches from one start, and counts."""

    log_density: LogDensity
    factor: Array
    step: float
    rng: np.random.Generator
    energy: float
    steps: int = 0
    acceptance: float = 0.0
    diverging: bool = False

    def grow(self, depth: int, point: Point, sign: int) -> Tree:
        """Make a stretch of 2**depth steps from a point; it is cut short where it turns or diverges."""
        if depth == 0:
            new = leapfrog(self.log_density, self.factor, point, sign * self.step)
            gain = self.energy - new.energy
            self.steps += 1
            self.acceptance += float(np.exp(min(0.0, gain)))
            self.diverging |= gain < -DIVERGENCE
            return Tree(new, new, new.momentum, new.momentum, gain, not gain < -DIVERGENCE)
        first = self.grow(depth - 1, point, sign)
        if not first.valid:
            return first
        second = self.grow(depth - 1, first.last, sign)
        if not second.valid:
            return second
        log_weight = float(np.logaddexp(first.log_weight, second.log_weight))
        chosen = second if np.log(self.rng.uniform()) < second.log_weight - log_weight else first
        total = first.total + second.total
        straight = goes_on(first.start, first.last.momentum, first.total, second.start, second.last.momentum, total)
        return Tree(second.last, chosen.proposal, first.start, total, log_weight, straight)


def goes_on(start: Array, end: Array, total: Array, next_start: Array, next_end: Array, whole: Array) -> bool:
    """Whether two adjoining stretches make one without a turn: over the whole, and across the middle.

    Parameters
    ----------
    start, end, total : ndarray, shape (n,)
        First and last momentum of the first stretch, and the sum of all its momenta (whitened).
    next_start, next_end : ndarray, shape (n,)
        First and last momentum of the second one.
    whole : ndarray, shape (n,)
        Sum over both.
    """
    across, back = total + next_start, whole - total + end
    return bool(
        min(start @ whole, next_end @ whole, start @ across, next_start @ across, end @ back, next_end @ back) > 0
    )


def transition(
    log_density: LogDensity,
    factor: Array,
    point: Point,
    step: float,
    rng: np.random.Generator,
    max_treedepth: int = 10,
) -> tuple[Point, dict[str, float]]:
    """Draw the next point: a trajectory doubled until it turns, and a multinomial draw from it.

    Parameters
    ----------
    log_density : callable
    factor : ndarray, shape (n, n)
        L, with L Lᵀ the inverse mass matrix.
    point : Point
        Its momentum is drawn anew.
    step : float
    rng : Generator
    max_treedepth : int
        Doublings at most.

    Returns
    -------
    point : Point
    stats : dict
        ``acceptance_rate``, ``n_steps``, ``tree_depth``, ``diverging`` and ``energy`` of the point.
    """
    point = point._replace(momentum=rng.normal(size=len(point.position)))
    growth = _Growth(log_density, factor, step, rng, point.energy)
    ends = {-1: point, 1: point}
    total, log_weight, proposal, depth = point.momentum, 0.0, point, 0
    while depth < max_treedepth:
        sign = 1 if rng.uniform() < 0.5 else -1
        new = growth.grow(depth, ends[sign], sign)
        if not new.valid:
            break
        depth += 1
        if np.log(rng.uniform()) < new.log_weight - log_weight:  # biased to the new half
            proposal = new.proposal
        log_weight = float(np.logaddexp(log_weight, new.log_weight))
        far, near, whole = ends[-sign].momentum, ends[sign].momentum, total + new.total
        straight = goes_on(far, near, total, new.start, new.last.momentum, whole)
        total, ends[sign] = whole, new.last
        if not straight:
            break
    stats = {
        "acceptance_rate": growth.acceptance / growth.steps,
        "n_steps": growth.steps,
        "tree_depth": depth,
        "diverging": growth.diverging,
        "energy": proposal.energy,
    }
    return proposal, stats


def first_step(log_density: LogDensity, factor: Array, point: Point, rng: np.random.Generator) -> float:
    """Find a step size whose first step is accepted about four times of five (Hoffman and Gelman 2014, algorithm 4)."""
    step, direction = 1.0, 0.0
    for _ in range(60):
        fresh = point._replace(momentum=rng.normal(size=len(point.position)))
        gain = fresh.energy - leapfrog(log_density, factor, fresh, step).energy
        now = 1.0 if gain > np.log(0.8) else -1.0
        if direction and now != direction:
            break
        direction = now
        step *= 2.0**direction
    return step


class DualAveraging:
    """Step size whose average acceptance is the target (Hoffman and Gelman 2014, equation 6)."""

    def __init__(self, step: float, target: float) -> None:
        self.mu, self.target = np.log(10 * step), target
        self.error, self.log_average, self.count = 0.0, 0.0, 0
        self.step = step

    def update(self, acceptance: float) -> None:
        """Learn from a transition."""
        self.count += 1
        t, t0, gamma, kappa = self.count, 10, 0.05, 0.75
        self.error += (self.target - acceptance - self.error) / (t + t0)
        log_step = self.mu - np.sqrt(t) / gamma * self.error
        self.log_average += t**-kappa * (log_step - self.log_average)
        self.step = float(np.exp(log_step))

    @property
    def final(self) -> float:
        """The step size to keep."""
        return float(np.exp(self.log_average)) if self.count else self.step


def sample(
    log_density: LogDensity,
    start: Array,
    factor: Array,
    rng: np.random.Generator,
    *,
    draws: int,
    tune: int,
    target_accept: float = 0.9,
    max_treedepth: int = 10,
    advance: Callable[[float], None] = lambda step: None,
) -> tuple[Array, dict[str, Array]]:
    """Run one chain.

    Parameters
    ----------
    log_density : callable
        ``log_density(vector) -> (value, gradient)``.
    start : ndarray, shape (n,)
    factor : ndarray, shape (n, n)
        L, with L Lᵀ about the target's covariance; it stays as it is.
    rng : Generator
    draws, tune : int
        Draws kept; draws before, in which the step size is adapted.
    target_accept : float
        Acceptance that the step size is adapted to.
    max_treedepth : int
        Doublings of a trajectory at most.
    advance : callable, optional
        Told of every draw.

    Returns
    -------
    draws : ndarray, shape (draws, n)
    stats : dict of str to ndarray, shape (draws,)
        ``diverging``, ``acceptance_rate``, ``n_steps``, ``tree_depth``, ``step_size`` and ``energy``.

    Raises
    ------
    FloatingPointError
        If the start has no density.
    """
    value, gradient = log_density(start)
    if not np.isfinite(value):
        raise FloatingPointError(f"the log density is {value} where the chain starts")
    point = Point(np.asarray(start, dtype=float), np.zeros(len(start)), value, gradient)
    with np.errstate(over="ignore", invalid="ignore"):  # a step that is much too long
        adapt = DualAveraging(first_step(log_density, factor, point, rng), target_accept)
        kept, rows = np.empty((draws, len(start))), list[dict[str, float]]()
        for i in range(-tune, draws):
            step = adapt.step if i < 0 else adapt.final
            point, stats = transition(log_density, factor, point, step, rng, max_treedepth)
            if i < 0:
                adapt.update(stats["acceptance_rate"])
            else:
                kept[i] = point.position
                rows.append({**stats, "step_size": step})
            advance(1)
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}
    return kept, table
