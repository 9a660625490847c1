"""The ascent loop shared by EM and coordinate-ascent VI: restarts, bound trace, stopping rule, acceleration.

A model gives one function, ``update(state) -> (next state, bound)``, where the bound (log likelihood for EM, evidence
lower bound for VI) belongs to the state that went *in*: it falls out of the E-step at no cost.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genarium.declaration import Labelled
from genarium.progress import track

Vector = NDArray[np.float64]
SLACK = 1e-9
"""A bound may fall by this fraction of its size (rounding) before it counts as a fall."""

PLAIN = 5
"""Updates without a jump before an accelerated ascent stops: the rule reads the rate of convergence off them."""


@dataclass(frozen=True)
class Ascent[S]:
    """One run of the loop.

    Attributes
    ----------
    state : object
        The last state whose bound was evaluated; ``bounds[-1]`` is its bound.
    bounds : ndarray, shape (iterations + 1,)
        Bound of the start and after each iteration, in nats.
    converged : bool
        Whether the stopping rule was met before the iterations ran out.
    """

    state: S
    bounds: Vector
    converged: bool

    @property
    def bound(self) -> float:
        """Bound of the last state, in nats."""
        return float(self.bounds[-1])

    @property
    def largest_fall(self) -> float:
        """Largest decrease of the bound over an iteration beyond rounding, in nats; 0 for a monotone ascent."""
        fall = -np.diff(self.bounds) - SLACK * np.maximum(1.0, np.abs(self.bounds[1:]))
        return float(max(0.0, fall.max(initial=0.0)))


def ascend[S](
    update: Callable[[S], tuple[S, float]],
    state: S,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    vector: tuple[Callable[[S], Vector], Callable[[Vector], S]] | None = None,
) -> Ascent[S]:
    """Iterate an update that raises a bound, until little is left to gain.

    The rule is Aitken's: with gains g and g' of the last two iterations, the rest of a linearly converging ascent is
    worth g r / (1 - r) with r = g / g'. The loop stops when that is below ``tolerance``, so that the tolerance speaks
    of the distance to the optimum and not of the last step (Boehning et al. 1994, Ann. Inst. Statist. Math. 46).

    Parameters
    ----------
    update : callable
        ``update(state) -> (next state, bound of state)``.
    state : object
        Where to start.
    tolerance : float
        Nats of the bound that may be left to gain.
    max_iterations : int
        Number of updates at most.
    vector : (pack, unpack), optional
        Maps a state to an unconstrained vector and back; turns on SQUAREM (Varadhan and Roland 2008, scheme S3).

    Returns
    -------
    Ascent

    Raises
    ------
    FloatingPointError
        If the bound becomes NaN or infinite.
    """
    bounds: list[float] = []
    plain = 0  # updates since the last jump, while it is checked that little is left
    while True:
        following, bound = update(state)
        if not np.isfinite(bound):
            raise FloatingPointError(f"the bound is {bound} at iteration {len(bounds)}")
        bounds.append(bound)
        little = _little_left(bounds, tolerance)
        if (little and (vector is None or plain >= PLAIN)) or len(bounds) > max_iterations:
            return Ascent(state, np.array(bounds), little)
        checking = little or 0 < plain < PLAIN
        plain = plain + 1 if checking else 0
        if vector is not None and not checking and len(bounds) + 2 <= max_iterations:
            following, more = _squarem(update, vector, state, following, bound)
            bounds += more
        state = following


def _little_left(bounds: list[float], tolerance: float) -> bool:
    if len(bounds) < 3:
        return False
    before, gain = bounds[-2] - bounds[-3], bounds[-1] - bounds[-2]
    if gain <= SLACK * 1e-3 * abs(bounds[-1]):
        return True
    rate = gain / before if before > 0 else 1.0
    return gain < tolerance and rate < 1 and gain * rate / (1 - rate) < tolerance


def _squarem[S](
    update: Callable[[S], tuple[S, float]],
    vector: tuple[Callable[[S], Vector], Callable[[Vector], S]],
    state: S,
    first: S,
    bound: float,
) -> tuple[S, list[float]]:
    """Extrapolate over two updates; keep the jump only if the bound does not fall."""
    pack, unpack = vector
    second, bound_first = update(first)
    origin, r = pack(state), pack(first) - pack(state)
    v = pack(second) - pack(first) - r
    length = np.linalg.norm(v)
    step = float(np.linalg.norm(r) / length) if length > 0 else 1.0
    if step <= 1:
        return second, [bound_first]
    jump = unpack(origin + 2 * step * r + step**2 * v)
    stabilised, bound_jump = update(jump)
    if np.isfinite(bound_jump) and bound_jump >= bound_first:
        return stabilised, [bound_first, bound_jump]
    return second, [bound_first]


@dataclass(frozen=True)
class Restarts[S]:
    """Several ascents from different starts; the best one leads."""

    best: Ascent[S]
    runs: tuple[Ascent[S], ...]

    @property
    def trace(self) -> Labelled:
        """Bound by restart and iteration, padded with NaN."""
        width = max(len(run.bounds) for run in self.runs)
        table = np.full((len(self.runs), width), np.nan)
        for row, run in zip(table, self.runs, strict=True):
            row[: len(run.bounds)] = run.bounds
        return ("restart", "iteration"), table

    @property
    def notes(self) -> dict[str, float | int]:
        """What diagnose wants to know about the ascents."""
        ends = np.array([run.bound for run in self.runs])
        return {
            "bound": self.best.bound,
            "iterations": len(self.best.bounds) - 1,
            "converged": int(self.best.converged),
            "largest_fall": max(run.largest_fall for run in self.runs),
            "restarts": len(self.runs),
            "restarts_at_best": int((ends > self.best.bound - 0.01 - 1e-6 * abs(self.best.bound)).sum()),
        }


def best_of[S](ascents: Iterable[Ascent[S]], label: str, total: int) -> Restarts[S]:
    """Run the ascents and rank them by their final bound.

    Parameters
    ----------
    ascents : iterable of Ascent
        Usually a generator, one ascent a start.
    label : str
        For the progress bar.
    total : int
        Number of ascents.

    Returns
    -------
    Restarts
    """
    runs = tuple(track(ascents, label, total))
    return Restarts(max(runs, key=lambda run: run.bound), runs)
