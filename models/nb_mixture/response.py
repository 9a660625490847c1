"""Coordinate ascent as a map between plain vectors, tilted: what linear response asks of the mixture (eqs. 21 to 24).

The functions f whose covariance is wanted are ln pi (K), ln mu (K, D) and, where phi is unknown, ln r in the shape of
the grid, one after another; shapes: N cells, K components, D genes, J nodes of r, I nodes of ln mu.
"""

from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from genarium.declaration import Array
from genarium.engines.linear_response import linear_response, settled
from genarium.simplex import dirichlet_expected_log, normalised

from . import conjugate, depth
from .counts import Logits, Moments, Sums


class Response(Protocol):
    """A sweep of the ascent as a map of vectors, around the state it was made for."""

    state: Array
    scale: Array
    tilts: int

    def sweep(self, state: Array, tilt: Array) -> Array:
        """Return the state after one sweep under a tilt."""

    def mean(self, state: Array, tilt: Array) -> Array:
        """Return the expectation of f under the optimal factors."""

    def back(self, state: Array) -> Any:
        """Return the state as the step has it."""


def respond(step: Any, state: Any) -> tuple[Any, Array, Array]:
    """Settle an ascent's last state, and find mean and covariance of f by linear response (eq. 23).

    Parameters
    ----------
    step : ConjugateStep or DepthStep
    state : object
        Where the ascent ended.

    Returns
    -------
    state : object
    mean : ndarray, shape (F,)
    covariance : ndarray, shape (F, F)

    Raises
    ------
    ApproximationError
        If the ascent did not end near a maximum of the bound.
    """
    made: Any = DepthResponse if isinstance(step, depth.DepthStep) else ConjugateResponse
    response: Response = made(step, state)
    none = np.zeros(response.tilts)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a wild step is refused, not computed with
        fixed = settled(lambda u: response.sweep(u, none), response.state, scale=response.scale)
        covariance = linear_response(
            response.sweep, response.mean, fixed, response.tilts, scale=response.scale, used=log_ratios(step)
        )
    return response.back(fixed), response.mean(fixed, none), covariance


def log_ratios(step: Any) -> Array:
    """Return the matrix from f to ln(pi_k / pi_1) for k > 1, ln mu and ln phi; shape (F - 1, F)."""
    K, size = len(step.r[0]), tilts(step)
    out = np.eye(size)[1:]
    out[: K - 1, 0] = -1
    out[K - 1 + step.r[0].size :] *= -1  # ln phi = -ln r
    return out


def tilts(step: Any) -> int:
    """Return the number of functions f."""
    K, D = step.r.shape[1:]
    unknown = int(np.prod(step.grid.log_r.shape[1:])) if len(step.r) > 1 else 0
    return int(K + K * D + unknown)


def split(step: Any, tilt: Array) -> conjugate.Tilt:
    """Give the elements of a tilt their shapes."""
    K, D = step.r.shape[1:]
    rest = tilt[K + K * D :]
    r = rest.reshape(step.grid.log_r.shape[1:]) if len(rest) else np.zeros((1, 1))
    return conjugate.Tilt(tilt[:K], tilt[K : K + K * D].reshape(K, D), r)


def unit_of(parameter: Array) -> Array:
    """Natural unit of a parameter that counts observations: their Poisson error, or all of it where that is less."""
    return np.minimum(parameter, np.sqrt(parameter))


def flat_mean(step: Any, alpha: Array, log_mu: Array, weight: Array) -> Array:
    """Put the expectations of f in a row; ``log_mu`` (J, K, D) is given r, ``weight`` is q of the nodes of r."""
    log_r = (weight * step.grid.log_r).sum(0).ravel() if len(weight) > 1 else np.empty(0)
    return np.concatenate([dirichlet_expected_log(alpha), (weight * log_mu).sum(0).ravel(), log_r])


class ConjugateResponse:
    """Without size factors the state is the sums over the responsibilities: (K), (K, D), and (J, K) for own r."""

    def __init__(self, step: conjugate.ConjugateStep, state: conjugate.State) -> None:
        self.step, self.tilts = step, tilts(step)
        self.state = self.vector(state)
        a, b = step.concentration(state), step.b0 + state.moments.total
        nats = 0 if state.own is None else state.own.size
        self.scale = np.concatenate([unit_of(a), unit_of(b).ravel(), np.ones(nats)])

    def vector(self, state: conjugate.State) -> Array:
        """Return a state's sums in a row; of those by node of r, only differences between nodes matter."""
        own = np.empty(0) if state.own is None else (state.own - state.own[len(state.own) // 2]).ravel()
        return np.concatenate([state.moments.weight, state.moments.total.ravel(), own])

    def back(self, state: Array) -> conjugate.State:
        """Return the state as the step has it."""
        J, K, D = self.step.r.shape
        own = state[K + K * D :].reshape(J, K, 1) if self.step.own_r else None
        return conjugate.State(Moments(0.0, state[:K], state[K : K + K * D].reshape(K, D)), own)

    def sweep(self, state: Array, tilt: Array) -> Array:
        """Return the sums after one sweep under a tilt (eq. 24)."""
        return self.vector(self.step(self.back(state), split(self.step, tilt))[0])

    def mean(self, state: Array, tilt: Array) -> Array:
        """Return the expectation of f: E ln mu given r is ln r + psi(b) - psi(a)."""
        from scipy.special import psi

        at, tilted = self.back(state), split(self.step, tilt)
        factors = self.step.factors(at, tilted)
        log_mu = np.log(self.step.r) + psi(factors.b) - psi(factors.a)
        return flat_mean(self.step, self.step.concentration(at, tilted), log_mu, factors.weight)


class DepthResponse:
    """With size factors the state is the change of what q(ln mu | r) sums over the cells, at nodes that stay put.

    At (r_j, mu_i) a cell of component k and gene d adds x ln mu + r ln r - (x + r) ln(r + s mu) (and its rising
    factorial, where components have their own r) to the log density; q of the cells is a function of the expectation
    of that, and the state is its sum with the change of q. Its length does not grow with the cells.
    """

    def __init__(self, step: depth.DepthStep, state: depth.State) -> None:
        self.step, self.tilts = step, tilts(step)
        self.factors, self.mode, self.kept = step.factors(state)
        with np.errstate(divide="ignore"):
            self.log_share, self.log_weight = np.log(self.factors.share), np.log(self.factors.weight)
        self.odds = self.factors.log_mu - np.log(step.r)[..., None]
        self.alpha = step.concentration(state)
        self.base = self.vector(state.sums)
        self.state = np.zeros_like(self.base)
        self.scale = np.concatenate([unit_of(self.alpha), np.ones(len(self.state) - len(self.alpha))])

    def vector(self, sums: Sums) -> Array:
        """Return the weights and the data's share in the log densities in a row: K, then (J, K, D, I)."""
        data = self.step.data(sums, self.odds, self.kept)
        own = self.step.rising.own(sums.frequency)
        if own is not None:
            data += own[..., None] / data.shape[2]  # the densities of the genes are added up for such an r
        return np.concatenate([sums.weight.sum(0), data.ravel()])

    def tilted(self, state: Array, tilt: Array) -> tuple[Array, Array, Array]:
        """Return alpha, q of the nodes of ln mu given r (J, K, D, I) and of r, each shape as in the step."""
        t = split(self.step, tilt)
        K = len(self.alpha)
        change = state[K:].reshape(self.odds.shape)
        logs = self.log_share + change + t.mu[..., None] * self.factors.log_mu
        share, log_z = normalised(logs)  # relative to those of the state
        axes = tuple(axis for axis in (1, 2) if self.factors.weight.shape[axis] == 1)
        log_weight = self.log_weight + log_z.sum(axes, keepdims=True) + t.r * self.step.grid.log_r
        return self.alpha + state[:K] + t.pi, share, normalised(log_weight, 0)[0]

    def logits(self, state: Array, tilt: Array) -> Logits:
        """Return the logits of the responsibilities that follow from a state."""
        alpha, share, weight = self.tilted(state, tilt)
        factors = replace(self.factors, share=share, weight=weight)
        return self.step.logits(factors, alpha, self.kept)[0]

    def sweep(self, state: Array, tilt: Array) -> Array:
        """Return the changes that one sweep leads to, under a tilt (eq. 24)."""
        return self.vector(self.step.counts.expect(self.logits(state, tilt))) - self.base

    def mean(self, state: Array, tilt: Array) -> Array:
        """Return the expectation of f."""
        alpha, share, weight = self.tilted(state, tilt)
        return flat_mean(self.step, alpha, (share * self.factors.log_mu).sum(-1), weight)

    def back(self, state: Array) -> depth.State:
        """Return the state as the step has it."""
        logits = self.logits(state, np.zeros(self.tilts))
        return depth.State(logits, self.step.counts.expect(logits), self.mode)
