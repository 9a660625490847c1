"""Maximum likelihood by EM; equation numbers refer to the card (README.md)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.progress import spinner
from genarium.remedies import option
from genarium.settings import only_with

from .giant import climb_giant
from .interior import climb_all
from .kernels import sweep, until_changes_are_small
from .online import salmon_start
from .ridges import ridges
from .story import SPREAD
from .table import Table, table_of

LEAST, CHANGE, FLOOR = 100, 0.01, 1e-2
"""salmon's rule: after at least so many iterations, no count above the floor changes by more than this fraction."""

TOLERANCE = 1e-4
"""The option of this name where it is not given: nats."""

ZERO = 1e-8
"""salmon reports counts up to this as zero."""

POLISHED = (15, 60, 240, 960)
"""Numbers of cycles after which Newton's method is tried on what is still open."""

SMALL, CELLS = 400, 2_000_000
"""Transcripts, and cells of the dense table, of a component that Newton's method is tried on, at most."""


@dataclass
class Ascended:
    """Where EM has got to.

    Attributes
    ----------
    a : ndarray, shape (K,)
        Reads of each transcript; they sum to the reads of each component.
    ratio : ndarray, shape (K,)
        Derivative of the log likelihood by a, at most one where a is a maximum (eq. 6).
    bounds : list of float
        Log likelihood at a / N after each cycle, in nats.
    gap : float
        Nats that are left to gain, at most (eq. 8).
    sweeps : int
        Passes over the classes.
    converged : bool
    """

    a: Array
    ratio: Array
    bounds: list[float]
    gap: float
    sweeps: int
    converged: bool


def em(
    problem: Problem,
    rng: np.random.Generator,
    *,
    stop: Literal["bound", "salmon"] = "bound",
    tolerance: float | None = None,
    max_iterations: int = 10_000,
) -> Result:
    """Maximise the likelihood by EM from equal abundances; it has no other maxima than global ones.

    Parameters
    ----------
    problem : Problem
    rng : Generator
        Not used: the result depends on the data alone.
    stop : {"bound", "salmon"}
        Whether to stop when the optimality bound is small enough, or as salmon does (without acceleration).
    tolerance : float, optional
        Nats of log likelihood that may be left to gain, by the bound (1e-4 where not given). Only with stop="bound".
    max_iterations : int
        Passes over the classes at most.

    Returns
    -------
    Result
        ``point``: nu (tpm and counts follow), the log likelihood by cycle, and the ridges: ``ridge`` numbers the
        groups of transcripts whose split the data leave open (0: determined), ``ridge_counts`` is the sum of such a
        group, ``counts_low`` and ``counts_high`` what a transcript's reads may be at the same likelihood. Notes:
        ``bound`` (log likelihood), ``optimality_gap`` in nats, ``never_hit`` transcripts.
    """
    only_with("transcript_abundance", option("stop", "bound"), stop == "bound", tolerance=tolerance)
    table = table_of(problem)
    with spinner("EM"):
        found = (
            ascend(table, tolerance=TOLERANCE if tolerance is None else tolerance, max_iterations=max_iterations)
            if stop == "bound"
            else by_salmon(table, problem["effective_length"], max_iterations=max_iterations)
        )
    point: dict[str, Any] = {
        "nu": found.a / found.a.sum(),
        "bound": (("restart", "iteration"), np.array([found.bounds])),
    }
    if problem.option("prior") == "sparse":
        point |= described(found.a, problem["effective_length"])
    notes = {
        "bound": found.bounds[-1],
        "optimality_gap": found.gap,
        "optimality_gap_global": table.reads * float(np.log(max(found.ratio.max(), 1.0))),
        "iterations": found.sweeps,
        "converged": int(found.converged),
        "largest_fall": largest_fall(found.bounds),
        "never_hit": int((~table.hit).sum()),
    }
    if stop == "bound":
        open_ = ridges(table, found.a, found.ratio)
        point |= {name: (("transcript",), value) for name, value in open_.columns().items()}
        notes |= {"ridges": open_.number, "ridges_not_sought": open_.not_sought}
    return Result(point=point, notes=notes)


def described(a: Array, effective_length: Array) -> dict[str, float]:
    """Return the share of transcripts with reads, and the spread of their log abundances: what a maximum says of them.

    The likelihood has no say in these two; with fewer than two such transcripts, the spread is the prior's median.
    """
    there = a > ZERO
    x = np.log(a[there] / effective_length[there])
    return {"presence": float(there.mean()), "spread": float(x.std()) if len(x) > 1 and x.std() > 0 else SPREAD}


def largest_fall(bounds: list[float]) -> float:
    """Largest decrease beyond rounding, in nats."""
    values = np.array(bounds)
    fall = -np.diff(values) - 1e-9 * np.maximum(1.0, np.abs(values[1:]))
    return float(max(0.0, fall.max(initial=0.0)))


class Sweeps:
    """Passes over the classes of the components that are still open."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows = np.arange(len(table.count))
        self.done = 0

    def __call__(self, a: Array) -> tuple[Array, Array]:
        """Return ratio (K,) and log likelihood by component (J,), at counts ``a`` (eq. 6)."""
        t = self.table
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(t.sole > 0, t.sole / a, 0.0)
            own = np.where(t.sole > 0, t.sole * np.log(a), 0.0)
        log_sum = np.bincount(t.label[t.hit], own[t.hit], len(t.mass))
        sweep(self.rows, t.first, t.column, t.weight, t.count, t.class_label, a, ratio, log_sum)
        self.done += 1
        return ratio, log_sum


def gaps(table: Table, a: Array, ratio: Array) -> Array:
    """Bound the nats that each component can still gain, N_j ln max_k ratio_k (eq. 8); shape (J,)."""
    top = np.zeros(len(table.mass))
    np.maximum.at(top, table.label[table.hit], ratio[table.hit])
    return np.asarray(table.mass * np.log(np.maximum(top, 1.0)))


def ascend(table: Table, *, tolerance: float, max_iterations: int, start: Array | None = None) -> Ascended:
    """Run EM with SQUAREM in every component on its own, until their bounds add up to little (eqs. 5 to 8).

    Parameters
    ----------
    table : Table
    tolerance : float
        Nats.
    max_iterations : int
        Sweeps at most.
    start : ndarray, shape (K,), optional
        Counts that sum to the reads of each component, positive where reads may come from.

    Returns
    -------
    Ascended
    """
    sweeps = Sweeps(table)
    label, hit = np.maximum(table.label, 0), table.hit
    J = len(table.mass)
    a = table.uniform() if start is None else start.copy()
    ratio, log_sum = sweeps(a)
    gap, proved = gaps(table, a, ratio), np.full(J, np.inf)  # proved otherwise than by (8)
    constant = table.sole_log_sum - table.reads * np.log(table.reads)
    bounds = [float(log_sum.sum()) + constant]
    open_ = gap > tolerance / J
    while gap.sum() > tolerance and sweeps.done + 3 <= max_iterations:
        sweeps.rows = np.flatnonzero(open_[table.class_label])
        moving = hit & open_[label]
        at = label[moving]
        first = a * ratio
        ratio1, log1 = sweeps(first)
        second = first * ratio1
        jump = first.copy()
        jump[moving] = _jump(a[moving], first[moving], second[moving], at, table.mass)
        ratio2, log2 = sweeps(jump)
        better = (log2 >= log1)[label] & moving
        # where the jump is not better, the second EM step is kept: its likelihood is known after the next sweep
        new = np.where(better, jump, np.where(moving, second, a))
        if not better[moving].all():
            ratio2, log2 = sweeps(new)
        a = new
        ratio = np.where(moving, ratio2, ratio)
        log_sum = np.where(open_, log2, log_sum)
        gap = np.minimum(gaps(table, a, ratio), proved)
        open_ = gap > tolerance / (2 * J)
        bounds.append(float(log_sum.sum()) + constant)
        if len(bounds) in POLISHED and gap.sum() > tolerance:
            trial = polished(table, a, gap, tolerance)
            if len(bounds) > POLISHED[0]:
                trial, proved = giants(table, trial, gap, proved, tolerance)
            sweeps.rows = np.arange(len(table.count))
            tried, reached = sweeps(trial)
            # Newton's method looks for what is proved near the maximum; the point before it may be higher by a trifle
            lower = reached < log_sum
            proved = np.where(lower, np.minimum(proved, gaps(table, trial, tried)), proved)
            a, ratio = (np.where(lower[label] & hit, *pair) for pair in ((a, trial), (ratio, tried)))
            log_sum = np.maximum(log_sum, reached)
            gap = np.minimum(gaps(table, a, ratio), proved)
            open_ = gap > tolerance / (2 * J)
            bounds.append(float(log_sum.sum()) + constant)
    return Ascended(a, ratio, bounds, float(gap.sum()), sweeps.done, bool(gap.sum() <= tolerance))


def polished(table: Table, a: Array, gap: Array, tolerance: float) -> Array:
    """Climb by Newton's method in those components that are still open and small enough (eq. 15)."""
    J = len(table.mass)
    members, classes = (np.argsort(v, kind="stable") for v in (table.label, table.class_label))
    cuts = np.searchsorted(table.label[members], np.arange(J + 1))
    class_cuts = np.searchsorted(table.class_label[classes], np.arange(J + 1))
    wide, high = np.diff(cuts), np.diff(class_cuts)
    chosen = np.flatnonzero((gap > tolerance / (2 * J)) & (wide <= SMALL) & (wide * high <= CELLS))
    new = a.copy()
    climb_all(
        chosen,
        members,
        cuts,
        classes,
        class_cuts,
        table.first,
        table.column,
        table.weight,
        table.count,
        table.sole,
        new,
        tolerance / (2 * J),
    )
    return new


def giants(table: Table, a: Array, gap: Array, proved: Array, tolerance: float) -> tuple[Array, Array]:
    """Climb in the components that are open and too large for :func:`polished` (eqs. 20 to 22).

    Returns
    -------
    a : ndarray, shape (K,)
    proved : ndarray, shape (J,)
        What each of them can still gain, by its dual problem.
    """
    from scipy import sparse

    a, proved = a.copy(), proved.copy()
    rows = sparse.csr_array((table.weight, table.column, table.first), shape=(len(table.count), table.transcripts))
    size = np.bincount(table.label[table.hit], minlength=len(table.mass))
    height = np.bincount(table.class_label, minlength=len(table.mass))
    for j in np.flatnonzero((gap > tolerance / 2) & ((size > SMALL) | (size * height > CELLS))):
        members, classes = np.flatnonzero(table.label == j), np.flatnonzero(table.class_label == j)
        own = np.flatnonzero(table.sole[members] > 0)
        alone = sparse.csr_array((np.ones(len(own)), (np.arange(len(own)), own)), shape=(len(own), len(members)))
        W = sparse.vstack([rows[classes][:, members], alone], format="csr")
        count = np.concatenate([table.count[classes], table.sole[members][own]])
        found, left = climb_giant(W, count, a[members], tolerance / 4)
        now, then = (float(count @ np.log(W @ at)) for at in (a[members], found))
        proved[j] = min(proved[j], left)  # where the old point is better, even less is left to gain there
        if then >= now:
            a[members] = found
    return a, proved


def _jump(a: Array, first: Array, second: Array, at: Array, mass: Array) -> Array:
    """Extrapolate the logarithms over two EM steps, one step length for each component (SQUAREM, scheme S3)."""
    tiny = 1e-300
    x0, x1, x2 = (np.log(np.maximum(v, tiny)) for v in (a, first, second))
    r = x1 - x0
    v = x2 - x1 - r
    root = np.maximum(a, first)  # a transcript that goes to zero must not decide the step of the others
    length_r, length_v = (np.bincount(at, root * d**2, len(mass)) for d in (r, v))
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.sqrt(length_r / length_v)
    step = np.where(np.isfinite(step), np.clip(step, 1.0, 1e4), 1.0)[at]
    x = x0 + 2 * step * r + step**2 * v
    jump = np.exp(np.clip(x, x2 - 20, np.minimum(x2 + 20, 700)))
    total = np.bincount(at, jump, len(mass))
    return np.asarray(jump * (mass / np.where(total > 0, total, 1.0))[at])


def by_salmon(table: Table, effective_length: Array, *, max_iterations: int) -> Ascended:
    """Run EM as salmon does: its start (eq. 23), no acceleration, stop at small changes (eq. 9)."""
    a = salmon_start(table, effective_length)
    first, column = table.first, table.column
    done = until_changes_are_small(
        first,
        column,
        table.weight,
        table.count,
        table.sole,
        a,
        0.0,
        LEAST,
        max_iterations,
        CHANGE,
        FLOOR,
    )
    a[a <= ZERO] = 0.0
    sweeps = Sweeps(table)
    ratio, log_sum = sweeps(a)
    bound = float(log_sum.sum()) + table.sole_log_sum - table.reads * np.log(table.reads)
    gap = float(gaps(table, a, ratio).sum())
    return Ascended(a, ratio, [bound], gap, done if done > 0 else max_iterations, done > 0)
