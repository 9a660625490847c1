"""The factor of the preferences for contexts: q(lam_k) is Dirichlet(delta_k); eqs. 14 to 17 of the card."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln, polygamma

from genarium.declaration import Array
from genarium.engines.threads import one_thread
from genarium.simplex import dirichlet_expected_log

from .moments import BLOCK

HALVINGS = 20

ENOUGH = 10_000
"""Loci that the curvature is summed over: of more, every second, third ... one stands for its neighbours."""


def preferred(counts: Array, opportunity: Array) -> Array:
    """Return about which preferences (K, C) explain mutations by context; opportunity (C, L).

    Contexts that occur nowhere, of which nothing is known, count as the most frequent one does.
    """
    occurs = opportunity.mean(1)
    exposed = (counts + 1e-3) / np.where(occurs > 0, occurs, occurs.max())
    return np.asarray(exposed / exposed.sum(1, keepdims=True))


@dataclass(frozen=True)
class Objective:
    """What the factors are to maximise, for all processes.

    Attributes
    ----------
    counts : ndarray, shape (K, C)
        s: expected mutations by context.
    weight : ndarray, shape (R, K)
        V: expected mutations by what normalises them.
    opportunity : ndarray, shape (C, R), or (K, C, R)
        t: opportunities there (loci; or all loci of a group together, in the joint form).
    concentration : ndarray, shape (K,)
        kappa: of the prior.
    """

    counts: Array
    weight: Array
    opportunity: Array
    concentration: Array

    @cached_property
    def mass(self) -> Array:
        """Expected mutations; shape (K,)."""
        return np.asarray(self.weight.sum(0))

    @cached_property
    def gained(self) -> Array:
        """Prior and expected mutations by context: s + kappa; shape (K, C)."""
        return np.asarray(self.counts + self.concentration[:, None])

    def of(self, processes: slice) -> "Objective":
        """Return the objective of some of the processes."""
        t = self.opportunity if self.opportunity.ndim == 2 else self.opportunity[processes]
        return Objective(self.counts[processes], self.weight[:, processes], t, self.concentration[processes])

    def value(self, delta: Array) -> Array:
        """Return G (eq. 15) of each process; shape (K,)."""
        log_mixed = np.zeros(len(delta))
        for _, V, mixed in self._blocks(delta):
            log_mixed += (V * np.log(mixed)).sum(1)
        return self._value(delta, log_mixed)

    def _value(self, delta: Array, log_mixed: Array) -> Array:
        """Return G, the sum of V log c being known."""
        total = delta.sum(1)
        own = ((self.gained - delta) * dirichlet_expected_log(delta) + gammaln(delta)).sum(1) - gammaln(total)
        return np.asarray(own - log_mixed + self.mass * np.log(total))

    def _blocks(self, delta: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Yield t (C, B) or (K, C, B), V (K, B) and c = delta't (K, B) of blocks of what normalises."""
        for low in range(0, len(self.weight), BLOCK):
            t = self.opportunity[..., low : low + BLOCK]
            V = np.ascontiguousarray(self.weight[low : low + BLOCK].T)
            yield t, V, delta @ t if t.ndim == 2 else (delta[:, None] @ t)[:, 0]

    def derivatives(self, delta: Array) -> tuple[Array, Array, Array]:
        """Return G (K,), its gradient (K, C) and its Hessian (K, C, C) in log delta (eqs. 15 to 17).

        Of many loci, the sum in the Hessian is over some of them, scaled so that it is exact along delta.
        """
        K, C = delta.shape
        s = self.gained
        total, S, M = delta.sum(1), s.sum(1), self.mass
        log_mixed, pull = np.zeros(K), np.zeros((K, C))
        for t, V, mixed in self._blocks(delta):
            log_mixed += (V * np.log(mixed)).sum(1)
            ratio = V / mixed
            pull += ratio @ t.T if t.ndim == 2 else (t @ ratio[..., None])[..., 0]
        common = polygamma(1, total) * (S - total) - M / total
        slope = delta * (polygamma(1, delta) * (s - delta) - common[:, None] - pull)
        diagonal = polygamma(2, delta) * (s - delta) - polygamma(1, delta)
        shared = polygamma(2, total) * (S - total) - polygamma(1, total) + M / total**2
        hessian = self._curvature(delta) - shared[:, None, None]
        at = np.arange(C)
        hessian[:, at, at] += diagonal
        hessian *= delta[:, :, None] * delta[:, None]
        hessian[:, at, at] += slope
        return self._value(delta, log_mixed), slope, hessian

    def _curvature(self, delta: Array) -> Array:
        """Return the sum of V t t' / c^2; shape (K, C, C)."""
        every = -(-len(self.weight) // ENOUGH)
        t = np.ascontiguousarray(self.opportunity[..., ::every])
        some = Objective(self.counts, self.weight[::every], t, self.concentration)
        K, C = delta.shape
        out = np.zeros((K, C, C))
        for t, V, mixed in some._blocks(delta):
            ratio = V / mixed**2
            for k in range(K):
                own = t if t.ndim == 2 else t[k]
                out[k] += (own * ratio[k]) @ own.T
        if every > 1:
            out *= (self.mass / np.where(some.mass > 0, some.mass, 1))[:, None, None]
        return out


def newton_step(slope: Array, hessian: Array) -> Array:
    """Return a direction of ascent: Newton's, with the curvature made negative; shape (K, C)."""
    with one_thread():
        size, basis = np.linalg.eigh(hessian)
    size = np.abs(size)
    curved = np.maximum(size, 1e-6 * size.max(1, keepdims=True))
    along = (basis.transpose(0, 2, 1) @ slope[..., None])[..., 0] / curved
    return np.asarray((basis @ along[..., None])[..., 0])


def update(objective: Objective, delta: Array) -> Array:
    """Make a Newton step in log delta, each process's halved until it raises the objective.

    Returns
    -------
    ndarray, shape (K, C)
    """
    before, *derivatives = objective.derivatives(delta)
    step = np.clip(newton_step(*derivatives), -2, 2)
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
