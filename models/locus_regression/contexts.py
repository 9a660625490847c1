"""The factor of the preferences for contexts: q(lam_k) is Dirichlet(delta_k); eqs. 14 to 17 of the card."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import gammaln, polygamma
from threadpoolctl import ThreadpoolController

from genarium.declaration import Array
from genarium.simplex import dirichlet_expected_log

HALVINGS = 20


@dataclass(frozen=True)
class Objective:
    """What the factors are to maximise, for all processes.

    Attributes
    ----------
    counts : ndarray, shape (K, C)
        s: expected mutations by context.
    weight : ndarray, shape (K, R)
        V: expected mutations by what normalises them.
    opportunity : ndarray, shape (C, R), or (K, C, R)
        t: opportunities there (loci; or all loci of a group together, in the joint form).
    """

    counts: Array
    weight: Array
    opportunity: Array

    def of(self, processes: slice) -> "Objective":
        """Return the objective of some of the processes."""
        t = self.opportunity if self.opportunity.ndim == 2 else self.opportunity[processes]
        return Objective(self.counts[processes], self.weight[processes], t)

    def value(self, delta: Array) -> Array:
        """Return G (eq. 15) of each process; shape (K,)."""
        total = delta.sum(1)
        log_mean = dirichlet_expected_log(delta)
        own = ((self.counts + 1 - delta) * log_mean + gammaln(delta)).sum(1) - gammaln(total)
        return np.asarray(own - (self.weight * np.log(self.mixed(delta))).sum(1) + self.weight.sum(1) * np.log(total))

    def mixed(self, delta: Array) -> Array:
        """Return d't of each normaliser; shape (K, R)."""
        if self.opportunity.ndim == 2:
            return np.asarray(delta @ self.opportunity)
        return np.asarray((delta[:, None] @ self.opportunity)[:, 0])

    def derivatives(self, delta: Array) -> tuple[Array, Array]:
        """Return gradient (K, C) and Hessian (K, C, C) of G in log delta (eqs. 16 and 17)."""
        K, C = delta.shape
        s, t = self.counts, self.opportunity
        total, S, M = delta.sum(1), s.sum(1), self.weight.sum(1)
        mixed = self.mixed(delta)
        ratio = self.weight / mixed  # (K, R)
        pull = ratio @ t.T if t.ndim == 2 else (t @ ratio[..., None])[..., 0]  # (K, C)
        common = polygamma(1, total) * (S + C - total) - M / total
        slope = delta * (polygamma(1, delta) * (s + 1 - delta) - common[:, None] - pull)
        diagonal = polygamma(2, delta) * (s + 1 - delta) - polygamma(1, delta)
        shared = polygamma(2, total) * (S + C - total) - polygamma(1, total) + M / total**2
        hessian = np.empty((K, C, C))
        for k in range(K):
            own = t if t.ndim == 2 else t[k]
            hessian[k] = (own * (ratio[k] / mixed[k])) @ own.T - shared[k]
        at = np.arange(C)
        hessian[:, at, at] += diagonal
        hessian *= delta[:, :, None] * delta[:, None]
        hessian[:, at, at] += slope
        return slope, hessian

    def newton_step(self, delta: Array) -> Array:
        """Return a direction of ascent in log delta: Newton's, with the curvature made negative; shape (K, C)."""
        slope, hessian = self.derivatives(delta)
        with _blas().limit(limits=1):
            size, basis = np.linalg.eigh(hessian)
        size = np.abs(size)
        curved = np.maximum(size, 1e-6 * size.max(1, keepdims=True))
        along = (basis.transpose(0, 2, 1) @ slope[..., None])[..., 0] / curved
        return np.asarray((basis @ along[..., None])[..., 0])


@cache
def _blas() -> ThreadpoolController:
    """Return what holds the number of BLAS threads: many for small matrices took 80 times as long on busy cores."""
    return ThreadpoolController().select(user_api="blas")


def update(objective: Objective, delta: Array) -> Array:
    """Make a Newton step in log delta, each process's halved until it raises the objective.

    Returns
    -------
    ndarray, shape (K, C)
    """
    before = objective.value(delta)
    step = np.clip(objective.newton_step(delta), -2, 2)
    waiting = np.ones(len(delta), dtype=bool)
    out = delta
    for _ in range(HALVINGS):
        trial = np.where(waiting[:, None], delta * np.exp(step), out)
        better = objective.value(trial) >= before
        out = np.where((waiting & better)[:, None], trial, out)
        waiting &= ~better
        if not waiting.any():
            break
        step = step / 2
    return out
