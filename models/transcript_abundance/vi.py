"""Variational Bayes (VB-EM); equation numbers refer to the card (README.md)."""

from typing import Any, Literal

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, ascend
from genarium.progress import spinner
from genarium.remedies import option
from genarium.settings import only_with
from genarium.simplex import dirichlet_expected_log, dirichlet_log_norm

from .em import CHANGE, FLOOR, LEAST
from .kernels import sweep, until_changes_are_small
from .online import salmon_start
from .table import Table, table_of

TOLERANCE = 1e-6
"""The option of this name where it is not given: nats."""

SALMON_PRIOR = 0.01
"""salmon's concentration for each transcript."""


def vi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    stop: Literal["bound", "salmon"] = "bound",
    tolerance: float | None = None,
    max_iterations: int = 10_000,
) -> Result:
    """Fit q(origins) q(nu) by coordinate ascent.

    Parameters
    ----------
    problem : Problem
    rng : Generator
        Not used: the result depends on the data alone.
    stop : {"bound", "salmon"}
        Whether to stop when Aitken's rule says that little of the evidence lower bound is left, or as salmon does,
        whose prior of 0.01 then stands in for an ``alpha`` that has its default, one.
    tolerance : float, optional
        Nats of the bound that may be left to gain (1e-6 where not given). Only with stop="bound".
    max_iterations : int

    Returns
    -------
    Result
        ``variational``: ``concentration`` of q(nu), the expected ``counts`` (what salmon prints as NumReads) and their
        ``tpm``, the bound by iteration; ``point``: nu, the shares of these counts. There are no draws from q(nu): it
        takes the origins of ambiguous reads as known, and is far too narrow.

    Raises
    ------
    InputError
        If ``tolerance`` would be dropped.
    """
    only_with("transcript_abundance", option("stop", "bound"), stop == "bound", tolerance=tolerance)
    table = table_of(problem)
    alpha = problem["alpha"]
    if stop == "salmon" and (alpha == 1).all():
        alpha = np.full_like(alpha, SALMON_PRIOR)
    step = Step(table, alpha)
    with spinner("VB-EM"):
        start = salmon_start(table, problem["effective_length"]) if stop == "salmon" else table.uniform()
        left = TOLERANCE if tolerance is None else tolerance
        run = step.by_salmon(start, max_iterations) if stop == "salmon" else step.ascent(start, left, max_iterations)
    a = run.state
    rate = a / problem["effective_length"]
    variational: dict[str, Any] = {
        "concentration": (("transcript",), alpha + a),
        "counts": (("transcript",), a),
        "tpm": (("transcript",), 1e6 * rate / rate.sum()),
        "bound": (("restart", "iteration"), run.bounds[None]),
    }
    notes = {
        "bound": run.bound,
        "iterations": step.iterations,
        "converged": int(run.converged),
        "largest_fall": run.largest_fall,
        "prior": float(alpha.min()),
        "never_hit": int((~table.hit).sum()),
    }
    return Result(variational=variational, point={"nu": a / a.sum()}, notes=notes)


class Step:
    """One sweep of coordinate ascent, ``step(counts) -> (next counts, bound)`` (eqs. 12 to 14)."""

    def __init__(self, table: Table, alpha: Array) -> None:
        self.table, self.alpha = table, alpha
        self.prior = float(dirichlet_log_norm(alpha))
        self.rows = np.arange(len(table.count))
        self.component = np.zeros(len(table.count), dtype=np.int64)
        self.iterations = 0

    def __call__(self, a: Array) -> tuple[Array, float]:
        """Update q(nu) from the expected counts, then the counts; the bound is that of both."""
        self.iterations += 1
        t, c = self.table, self.alpha + a
        log_mix = dirichlet_expected_log(c)
        mix = np.exp(log_mix)
        ratio, log_sum = np.zeros(t.transcripts), np.zeros(1)
        sweep(self.rows, t.first, t.column, t.weight, t.count, self.component, mix, ratio, log_sum)
        one = np.where(t.sole > 0, t.sole * log_mix, 0.0).sum() + t.sole_log_sum
        divergence = dirichlet_log_norm(c) - self.prior + a @ log_mix
        return t.sole + mix * ratio, float(log_sum[0] + one - divergence)

    def ascent(self, start: Array, tolerance: float, max_iterations: int) -> Ascent[Array]:
        """Ascend with SQUAREM on the logarithms of the counts."""
        t, reads = self.table, self.table.reads

        def pack(a: Array) -> Array:
            return np.log(np.maximum(a, 1e-300))

        def unpack(x: Array) -> Array:
            a = np.where(t.hit, np.exp(np.clip(x, -690, 690)), 0.0)
            return np.asarray(a * (reads / a.sum()))

        return ascend(self, start, tolerance=tolerance, max_iterations=max_iterations, vector=(pack, unpack))

    def by_salmon(self, start: Array, max_iterations: int) -> Ascent[Array]:
        """Iterate until changes are small (eq. 9); every transcript has the same prior."""
        t, a = self.table, start.copy()
        done = until_changes_are_small(
            t.first, t.column, t.weight, t.count, t.sole, a, float(self.alpha[0]), LEAST, max_iterations, CHANGE, FLOOR
        )
        _, bound = self(a)
        self.iterations = done if done > 0 else max_iterations
        return Ascent(a, np.array([bound]), done > 0)
