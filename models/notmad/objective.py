"""The smooth part of minus the log posterior density, and its gradient by hand (eqs. 10 to 12 of the card)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array, Problem

from . import encoder as encoders
from . import links
from .graphs import archetypes, log_determinant, penalty, places
from .knowledge import along
from .residuals import GroupedResiduals, Residuals, Squares
from .sparse import SparseResiduals
from .story import EDGES, FACTORS, SPREADS, factor_spread, mixed

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


class Objective:
    """Minus the log density of a problem (but for the L1 norm) at a point, with its gradient.

    Networks of equal contexts are made once.

    Parameters
    ----------
    problem : Problem
        Its model's options say which encoder, penalty, order and mean.
    rows : ndarray of int, optional
        Samples to use, for stochastic gradients; their log likelihood is scaled up to all samples.
    pairs : tuple of ndarray of int, optional
        Sources and targets of the edges that are looked at, of nodes in topological order; others are zero.
    """

    def __init__(self, problem: Problem, rows: Array | None = None, pairs: tuple[Array, Array] | None = None) -> None:
        self.encoder, self.penalty, self.order = (problem.option(name) for name in ("encoder", "penalty", "order"))
        self.kind = problem.option("nodes")
        self.cyclic = self.order == "free" and self.kind == "gaussian"
        self.problem = problem
        self.x, self.context = problem["x"], scaled_contexts(problem)
        self.total = len(self.x)
        self.nodes = self.x.shape[1]
        if rows is not None:
            self.x, self.context = self.x[rows], self.context[rows]
        spread, row = problem.arrays.get(SPREAD), problem.arrays.get(SPREAD_ROW)
        self.count = np.ones(len(self.x))
        self.residuals: Residuals | GroupedResiduals = Residuals(self.x)
        self.linked = None if self.kind == "gaussian" else links.Linked(self.kind, self.x, problem["level"])
        if spread is not None and row is not None:
            self.residuals = Residuals(np.vstack([self.x, spread]), self.total)
            self.context = np.vstack([self.context, self.context[row]])
            self.count = np.append(self.count, np.zeros(len(row)))
        elif rows is None and self.linked is None and pairs is None:
            distinct, group = np.unique(self.context, axis=0, return_inverse=True)
            if 2 * len(distinct) <= self.total:
                self.residuals = GroupedResiduals(self.x, group, len(distinct))
                self.context, self.count = distinct, np.bincount(group).astype(float)
        self.pairs = pairs
        self.source, self.target = places(self.order, self.nodes) if pairs is None else pairs
        self.sparse = None if pairs is None else SparseResiduals(self.x, *pairs)
        self.rule = along(problem["rule"], problem.arrays)
        self.allowed = self.rule[self.source, self.target] >= 0
        declared = problem.model.unknown.variables
        self.names = tuple(declared)
        self.factored = FACTORS[0] in declared
        self.edges = tuple(name for name in EDGES if name in declared)
        self.spreads = tuple(name for name in SPREADS if name in declared)
        self.others = tuple(name for name in declared if name not in (*EDGES, *self.spreads))
        required, own = self.rule[self.source, self.target] > 0, "edge_weight" if len(self.edges) > 1 else ""
        self.required = {name: required & (name != own) for name in self.edges}

    def known(self, name: str) -> float:
        """Value of a known scalar."""
        return float(self.problem[name])

    def __call__(self, at: Point, alpha: float | None = None) -> tuple[Terms, dict[str, Array]]:
        """Evaluate at a point; ``alpha`` takes the place of the problem's (continuation)."""
        alpha = self.known("alpha") if alpha is None else alpha
        n, p = self.x.shape
        scale = self.total / n
        if self.sparse is not None:
            return self._sparse(self.sparse, at)
        archetypes = self.archetypes(at)  # (K, p, p)
        weights = self.weights(at)
        gradient: dict[str, Array] = {}
        found: Squares | links.Slopes
        if self.linked is not None:
            found = self.linked(weights, archetypes, np.asarray(self.mean_of(at)), at.get("dispersion", 1.0))
            log_likelihood = found.log_likelihood
            gradient |= dict.fromkeys(self.spreads, scale * found.spread)
        else:
            sigma = np.asarray(at["sigma"])
            found = self.residuals(weights, archetypes, self.mean_of(at), np.broadcast_to(sigma**-2.0, p))
            log_likelihood = self.log_likelihood(found.total, sigma)
            d_sigma = n / sigma - found.total / sigma**3
            gradient["sigma"] = scale * (d_sigma if sigma.ndim else d_sigma.sum())
        d_archetypes, d_weights, h, smooth = scale * found.archetypes, scale * found.weights, 0.0, 0.0
        if self.cyclic:
            networks = mixed(weights, archetypes)
            count = self.count[:, None, None]
            log_det, d_log_det = log_determinant(networks)
            log_likelihood += float(self.count @ log_det)
            each, d_each = penalty(networks, self.penalty)
            h = float(self.count @ each) / n
            g = (count * (alpha / n * d_each - scale * d_log_det)).reshape(len(networks), -1)
            d_archetypes += (weights.T @ g).reshape(archetypes.shape)
            d_weights += g @ archetypes.reshape(len(archetypes), -1).T
            gamma = self.known("gamma")
            if gamma > 0:
                own, d_own = penalty(archetypes, self.penalty)
                smooth += gamma * float(own.sum())
                d_archetypes += gamma * d_own
        d_edges = np.where(self.allowed, d_archetypes[:, self.source, self.target], 0.0)
        smooth += (alpha * h if alpha > 0 else 0.0) - scale * log_likelihood
        gradient |= self._pulled(at, weights, d_edges, d_weights, scale * found.mean)
        self._add_priors(at, gradient)
        return Terms(scale * log_likelihood, h, smooth + self.priors(at)), gradient

    def _sparse(self, residuals: SparseResiduals, at: Point) -> tuple[Terms, dict[str, Array]]:
        """Evaluate over the edges that are listed."""
        sigma, weights = np.asarray(at["sigma"]), self.weights(at)
        edges = at["edge_weight"] + (at["shared_weight"] if "shared_weight" in self.names else 0.0)
        n, p = self.x.shape
        found = residuals(
            weights, np.where(self.allowed, edges, 0.0), self.mean_of(at), np.broadcast_to(sigma**-2.0, p)
        )
        log_likelihood = self.log_likelihood(found.total, sigma)
        d_sigma = n / sigma - found.total / sigma**3
        gradient = {"sigma": d_sigma if sigma.ndim else np.asarray(d_sigma.sum())}
        gradient |= self._pulled(at, weights, np.where(self.allowed, found.edges, 0.0), found.weights, found.mean)
        self._add_priors(at, gradient)
        return Terms(log_likelihood, 0.0, self.priors(at) - log_likelihood), gradient

    def _pulled(self, at: Point, weights: Array, d_edges: Array, d_weights: Array, d_mu: Array) -> dict[str, Array]:
        """Pull back to edges, encoder and mean."""
        gradient: dict[str, Array] = {}
        if self.factored:
            whole = self.matrices(d_edges)
            gradient |= {"outgoing": whole @ at["incoming"], "incoming": whole.swapaxes(1, 2) @ at["outgoing"]}
        else:
            gradient["edge_weight"] = d_edges
        if "shared_weight" in self.names:
            gradient["shared_weight"] = d_edges.sum(0)
        d_logits = weights * (d_weights - (weights * d_weights).sum(1, keepdims=True))
        gradient |= encoders.pullback(self.encoder, self.context, at, d_logits)
        if "mean_intercept" in self.names:
            gradient["mean_intercept"] = d_mu.sum(0)
            if "mean_slope" in self.names:
                gradient["mean_slope"] = self.context.T @ d_mu
        return gradient

    def log_likelihood(self, squares: Array, sigma: Array) -> float:
        """Log likelihood without determinants of samples whose squared residuals have these sums (p,)."""
        n = len(self.x)
        each = -0.5 * squares / sigma**2 - n * (np.log(sigma) + 0.5 * np.log(2 * np.pi))
        return float(each.sum())

    def archetypes(self, at: Point) -> Array:
        """Archetypes (K, p, p)."""
        return archetypes(self.order, at, self.rule)

    def matrices(self, edges: Array) -> Array:
        """Weights of the edges that are looked at (..., E) as matrices (..., p, p)."""
        out = np.zeros((*edges.shape[:-1], self.nodes, self.nodes))
        out[..., self.source, self.target] = edges
        return out

    def weights(self, at: Point) -> Array:
        """Weights of the archetypes (G, K) at the G distinct contexts (eq. 1)."""
        return softmax(encoders.logits(self.encoder, self.context, at), axis=-1)

    def networks(self, at: Point) -> Array:
        """Networks (G, p, p) at the distinct contexts (eq. 5)."""
        return mixed(self.weights(at), self.archetypes(at))

    def mean_of(self, at: Point) -> Array | float:
        """Means (G, p), or (p,) of all, at the distinct contexts, or 0."""
        if "mean_intercept" not in at:
            return 0.0
        base = at["mean_intercept"]
        return np.asarray(self.context @ at["mean_slope"] + base if "mean_slope" in at else base)

    def priors(self, at: Point) -> float:
        """Minus the log priors of required edges, encoder, mean and sigma, without constants."""
        total = sum(0.5 * float((at[name] ** 2).sum()) / self.spread(name) ** 2 for name in self.others)
        for name, which in self.required.items():
            total += 0.5 * float((at[name][..., which] ** 2).sum()) / self.known("required_sd") ** 2
        for name in self.spreads:
            z = np.log(at[name] / self.known(SPREADS[name])) / self.known("sigma_spread")
            total += float(np.sum(0.5 * z**2 + np.log(at[name])))
        return float(total)

    def _add_priors(self, at: Point, gradient: dict[str, Array]) -> None:
        """Add the gradient of :meth:`priors`."""
        for name in self.others:
            gradient[name] = gradient[name] + at[name] / self.spread(name) ** 2
        for name, which in self.required.items():
            gradient[name] = gradient[name] + np.where(which, at[name], 0.0) / self.known("required_sd") ** 2
        for name in self.spreads:
            width = self.known("sigma_spread")
            z = np.log(at[name] / self.known(SPREADS[name])) / width
            gradient[name] = gradient[name] + (1 + z / width) / at[name]

    def spread(self, name: str) -> float:
        """Prior standard deviation of a parameter of the encoder or of the mean."""
        if name in FACTORS:
            return factor_spread(self.known("beta"), self.problem.sizes["factor"])
        if name in MEAN:
            return self.known("tau_mean")
        tau = self.known("tau")
        return tau / float(np.sqrt(self.problem.sizes["neuron"])) if name == "outer" else tau


def scaled_contexts(problem: Problem) -> Array:
    """Contexts of a problem's samples as the encoder sees them (N, M)."""
    return encoders.scaled(*(problem[name] for name in ("context", *encoders.SCALE)))


MEAN = ("mean_intercept", "mean_slope")
"""Parameters of the mean, where there is one."""

SPREAD, SPREAD_ROW = "missing_spread", "missing_row"
"""Arrays of a completed problem: rows whose outer products sum to the covariance of what is missing, and of whom."""
