"""The smooth part of minus the log posterior density, and its gradient by hand (eqs. 10 to 12 of the card)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array, Problem

from . import encoder as encoders
from .graphs import log_determinant, matrices, penalty, places
from .story import mixed

Point = Mapping[str, Array]


@dataclass(frozen=True)
class Terms:
    """What the objective is made of.

    Attributes
    ----------
    log_likelihood : float
        Of all samples, in nats.
    h : float
        Mean of h over the samples' networks.
    smooth : float
        Minus the log density without the Laplace prior's absolute values and without constants.
    """

    log_likelihood: float
    h: float
    smooth: float


class Residuals:
    """Sum of the squared residuals e_i = r_i - r_i W_i, r_i = x_i - mu_i, sample by sample.

    Parameters
    ----------
    x : ndarray, shape (n, p)
    """

    def __init__(self, x: Array) -> None:
        self.x = x

    def __call__(self, networks: Array, mu: Array | float) -> tuple[float, Array, Array]:
        """Return the sum, its gradient by network (n, p, p), and by mean (n, p)."""
        r = self.x - mu
        e = r - np.einsum("ni,nij->nj", r, networks)
        d_mean = np.einsum("nj,nij->ni", e, networks) - e
        return float((e**2).sum()), r[:, :, None] * (-2 * e[:, None, :]), 2 * d_mean


class GroupedResiduals:
    """The same for groups of samples with one context, and so one network, each: from their second moments.

    Parameters
    ----------
    x : ndarray, shape (n, p)
    group : ndarray of int, shape (n,)
    groups : int
    """

    def __init__(self, x: Array, group: Array, groups: int) -> None:
        self.count = np.bincount(group, minlength=groups)[:, None].astype(float)
        self.first = np.stack([x[group == g].sum(0) for g in range(groups)])  # (G, p)
        self.second = np.stack([x[group == g].T @ x[group == g] for g in range(groups)])  # (G, p, p)

    def __call__(self, networks: Array, mu: Array | float) -> tuple[float, Array, Array]:
        """Return the sum, its gradient by network (G, p, p), and by mean (G, p)."""
        mu = np.broadcast_to(mu, self.first.shape)
        r = self.first - self.count * mu  # sums of r
        outer = self.first[:, :, None] * mu[:, None, :]
        moment = self.second - outer - outer.swapaxes(1, 2) + self.count[:, :, None] * mu[:, :, None] * mu[:, None, :]
        left = np.eye(mu.shape[1]) - networks
        product = moment @ left
        d_mean = -((r[:, None, :] @ left) @ left.swapaxes(1, 2))[:, 0]
        return float((left * product).sum()), -2 * product, 2 * d_mean


class Objective:
    """Minus the log density of a problem (but for the L1 norm) at a point, with its gradient.

    Networks of equal contexts are made once.

    Parameters
    ----------
    problem : Problem
        Its model's options say which encoder, penalty, order and mean.
    rows : ndarray of int, optional
        Samples to use, for stochastic gradients; their log likelihood is scaled up to all samples.
    """

    def __init__(self, problem: Problem, rows: Array | None = None) -> None:
        self.encoder, self.penalty, self.order = (problem.option(name) for name in ("encoder", "penalty", "order"))
        self.has_mean = problem.option("mean") == "regressed"
        self.problem = problem
        self.x, self.context = problem["x"], scaled_contexts(problem)
        self.total = len(self.x)
        self.nodes = self.x.shape[1]
        if rows is not None:
            self.x, self.context = self.x[rows], self.context[rows]
        self.residuals: Residuals | GroupedResiduals = Residuals(self.x)
        self.count = np.ones(len(self.x))
        if rows is None:
            distinct, group = np.unique(self.context, axis=0, return_inverse=True)
            if 2 * len(distinct) <= self.total:
                self.residuals = GroupedResiduals(self.x, group, len(distinct))
                self.context, self.count = distinct, np.bincount(group).astype(float)
        self.source, self.target = places(self.order, self.nodes)
        self.names = ("edge_weight", *encoders.names(self.encoder), *(MEAN if self.has_mean else ()), "sigma")

    def known(self, name: str) -> float:
        """Value of a known scalar."""
        return float(self.problem[name])

    def __call__(self, at: Point, alpha: float | None = None) -> tuple[Terms, dict[str, Array]]:
        """Evaluate at a point; ``alpha`` takes the place of the problem's (continuation)."""
        alpha = self.known("alpha") if alpha is None else alpha
        n, p = self.x.shape
        scale = self.total / n
        sigma = float(at["sigma"])
        archetypes = matrices(self.order, p, at["edge_weight"])  # (K, p, p)
        weights = self.weights(at)
        flat = archetypes.reshape(len(archetypes), -1)
        networks = (weights @ flat).reshape(-1, p, p)
        square, d_square, d_mean = self.residuals(networks, self.mean_of(at))
        log_likelihood = -0.5 * square / sigma**2 - n * p * (np.log(sigma) + 0.5 * np.log(2 * np.pi))
        g = (0.5 * scale / sigma**2) * d_square  # d/dW of minus the log likelihood (G, p, p)
        d_archetypes = np.zeros_like(archetypes)
        h = 0.0
        smooth = 0.0
        if self.order == "free":
            count = self.count[:, None, None]
            log_det, d_log_det = log_determinant(networks)
            log_likelihood += float(self.count @ log_det)
            g -= scale * count * d_log_det
            each, d_each = penalty(networks, self.penalty)
            h = float(self.count @ each) / n
            g += alpha / n * count * d_each
            gamma = self.known("gamma")
            if gamma > 0:
                own, d_own = penalty(archetypes, self.penalty)
                smooth += gamma * float(own.sum())
                d_archetypes += gamma * d_own
        flat_g = g.reshape(len(g), -1)
        d_archetypes += (weights.T @ flat_g).reshape(archetypes.shape)
        d_weights = flat_g @ flat.T  # (G, K)
        d_logits = weights * (d_weights - (weights * d_weights).sum(1, keepdims=True))
        gradient = {"edge_weight": d_archetypes[:, self.source, self.target]}
        gradient |= encoders.pullback(self.encoder, self.context, at, d_logits)
        if self.has_mean:
            d_mu = 0.5 * scale / sigma**2 * d_mean
            gradient |= {"mean_intercept": d_mu.sum(0), "mean_slope": self.context.T @ d_mu}
        gradient["sigma"] = np.asarray(scale * (n * p / sigma - square / sigma**3))
        smooth += -scale * log_likelihood + (alpha * h if alpha > 0 else 0.0)
        smooth += self.priors(at)
        self._add_priors(at, gradient)
        return Terms(scale * log_likelihood, h, smooth), gradient

    def weights(self, at: Point) -> Array:
        """Weights of the archetypes (G, K) at the G distinct contexts (eq. 1)."""
        return softmax(encoders.logits(self.encoder, self.context, at), axis=-1)

    def networks(self, at: Point) -> Array:
        """Networks (G, p, p) at the distinct contexts (eq. 5)."""
        return mixed(self.weights(at), matrices(self.order, self.nodes, at["edge_weight"]))

    def mean_of(self, at: Point) -> Array | float:
        """Means (G, p) at the distinct contexts, or 0."""
        return self.context @ at["mean_slope"] + at["mean_intercept"] if self.has_mean else 0.0

    def priors(self, at: Point) -> float:
        """Minus the log priors of encoder, mean and sigma, without constants."""
        total = sum(0.5 * float((at[name] ** 2).sum()) / self.spread(name) ** 2 for name in self.names[1:-1])
        z = np.log(float(at["sigma"]) / self.known("sigma0")) / self.known("sigma_spread")
        return float(total + 0.5 * z**2 + np.log(at["sigma"]))

    def _add_priors(self, at: Point, gradient: dict[str, Array]) -> None:
        """Add the gradient of :meth:`priors`."""
        for name in self.names[1:-1]:
            gradient[name] = gradient[name] + at[name] / self.spread(name) ** 2
        sigma, width = float(at["sigma"]), self.known("sigma_spread")
        z = np.log(sigma / self.known("sigma0")) / width
        gradient["sigma"] = gradient["sigma"] + (1 + z / width) / sigma

    def spread(self, name: str) -> float:
        """Prior standard deviation of a parameter of the encoder or of the mean."""
        if name in MEAN:
            return self.known("tau_mean")
        tau = self.known("tau")
        return tau / float(np.sqrt(self.problem.sizes["neuron"])) if name == "outer" else tau


def scaled_contexts(problem: Problem) -> Array:
    """Contexts of a problem's samples as the encoder sees them (N, M)."""
    return encoders.scaled(*(problem[name] for name in ("context", *encoders.SCALE)))


MEAN = ("mean_intercept", "mean_slope")
"""Parameters of the mean, where there is one."""
