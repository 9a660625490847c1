"""Densities in NumPy; draws may lead in every shape. S draws, n samples, m covariates, K archetypes, p nodes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array
from genarium.signatures import with_parameters

from . import encoder as encoders
from . import links
from .gaps import integrated
from .graphs import archetypes, log_determinant, penalty
from .knowledge import along
from .story import EDGES, FACTORS, SPREADS, factor_spread, mixed, required_edges, scalars


class Density:
    """Likelihood, prior and quantities of one variant of the model.

    Parameters
    ----------
    options : mapping of str to str
        Values of the model's options.
    unknown : sequence of str
        Names of the variant's unknown variables.
    """

    def __init__(self, options: Mapping[str, str], unknown: Sequence[str]) -> None:
        self.encoder, self.penalty, self.order, self.noise, self.nodes = (
            options[name] for name in ("encoder", "penalty", "order", "noise", "nodes")
        )
        self.incomplete = options["missing"] == "integrated" and self.nodes == "gaussian"
        self.cyclic = self.order == "free" and self.nodes == "gaussian"
        self.rules = ("rule",) if self.cyclic or self.order == "given" else ("rule", "position")
        self.unknown = tuple(unknown)

    def networks(self, context: Array, rule: Array, at: Mapping[str, Array]) -> Array:
        """Networks of samples (eq. 5) from scaled contexts; shape (..., n, p, p)."""
        weights = softmax(encoders.logits(self.encoder, context, at), axis=-1)
        return mixed(weights, archetypes(self.order, at, rule))

    def mean_of(self, context: Array, at: Mapping[str, Array]) -> Array | float:
        """Mean of the samples from scaled contexts; shape (..., n or 1, p), or 0."""
        if "mean_intercept" not in at:
            return 0.0
        base = at["mean_intercept"][..., None, :]
        return np.asarray(context @ at["mean_slope"] + base if "mean_slope" in at else base)

    @property
    def log_likelihood(self) -> Callable[..., Array]:
        """``log_likelihood(x, context, <unknown>)``: log density of each sample (eqs. 6, 24, 25); shape (..., n)."""

        def linked(x: Array, context: Array, context_mean: Array, context_sd: Array, rule: Array, **at: Array) -> Array:
            context = encoders.scaled(context, context_mean, context_sd)
            networks = self.networks(context, along(rule, at), at)
            level = at["level"]
            handed = np.broadcast_to(links.passed(self.nodes, x, level), networks.shape[:-1])
            eta = level + self.mean_of(context, at) + (handed[..., None, :] @ networks)[..., 0, :]
            spread = at["dispersion"][..., None, :] if "dispersion" in at else 1.0
            return np.asarray(links.log_density(self.nodes, x, eta, spread).sum(-1))

        if self.nodes != "gaussian":
            return with_parameters(["x", "context", *encoders.SCALE, *self.rules, "level", *self.unknown], linked)

        def log_likelihood(
            x: Array, context: Array, context_mean: Array, context_sd: Array, rule: Array, **at: Array
        ) -> Array:
            context = encoders.scaled(context, context_mean, context_sd)
            p = x.shape[1]
            networks = self.networks(context, rule, at)
            r = x - self.mean_of(context, at)
            absent = np.isnan(x)
            r = np.where(absent, 0.0, r) if self.incomplete else r
            e = r - (np.broadcast_to(r, networks.shape[:-1])[..., None, :] @ networks)[..., 0, :]
            sigma = np.asarray(at["sigma"])
            sigma = sigma[..., None, None] if self.noise == "shared" else sigma[..., None, :]  # (..., 1, p)
            each = -0.5 * ((e / sigma) ** 2).sum(-1) - np.broadcast_to(np.log(sigma), (*sigma.shape[:-1], p)).sum(-1)
            each = each - 0.5 * p * np.log(2 * np.pi)
            each = each + log_determinant(networks)[0] if self.cyclic else each
            if self.incomplete and absent.any():
                each = each + integrated(r, absent, networks, np.broadcast_to(sigma, (*sigma.shape[:-1], p)))
            return np.asarray(each)

        return with_parameters(["x", "context", *encoders.SCALE, "rule", *self.unknown], log_likelihood)

    @property
    def log_prior(self) -> Callable[..., Array]:
        """``log_prior(context, <known scalars>, <unknown>)`` (eq. 9); normalised where the order is given.

        With a free order the normaliser of the potential is left out: it depends on known variables alone.
        """

        def log_prior(context: Array, context_mean: Array, context_sd: Array, rule: Array, **at: Array) -> Array:
            context = encoders.scaled(context, context_mean, context_sd)
            total: Any = 0.0
            for name in self.unknown:
                if name in EDGES:
                    total = total + self._edge_prior(name, rule, at)
                    continue
                if name in SPREADS:
                    total = total + self._spread_prior(name, at)
                    continue
                if name in FACTORS:
                    sd = factor_spread(float(at["beta"]), at[name].shape[-1])
                    each = -0.5 * (at[name] / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
                    total = total + each.sum((-3, -2, -1))
                    continue
                spread = at["tau_mean"] if name.startswith("mean_") else at["tau"]
                spread = spread / np.sqrt(at[name].shape[-2]) if name == "outer" else spread
                each = -0.5 * (at[name] / spread) ** 2 - np.log(spread) - 0.5 * np.log(2 * np.pi)
                total = total + each.reshape(*total.shape, -1).sum(-1)
            if not self.cyclic:
                return np.asarray(total)
            if at["alpha"] > 0:  # where h is infinite, no strength is still no potential
                networks = self.networks(context, rule, at)
                total = total - at["alpha"] * penalty(networks, self.penalty)[0].mean(-1)
            if at["gamma"] > 0:
                total = total - at["gamma"] * penalty(archetypes(self.order, at, rule), self.penalty)[0].sum(-1)
            return np.asarray(total)

        known = ["context", *encoders.SCALE, "rule", *scalars(self.unknown)]
        return with_parameters([*known, *self.unknown], log_prior)

    def _edge_prior(self, name: str, rule: Array, at: Mapping[str, Array]) -> Array:
        """Log prior of weights of edges: Laplace, or normal where the edge is required."""
        w, rate, sd = at[name], at[EDGES[name]], at["required_sd"]
        required = required_edges(self.order, rule, name == "edge_weight" and "shared_weight" in self.unknown)
        normal = -0.5 * (w / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
        each = np.where(required, normal, np.log(rate / 2) - rate * np.abs(w))
        return np.asarray(each.sum((-2, -1) if name == "edge_weight" else -1))

    def _spread_prior(self, name: str, at: Mapping[str, Array]) -> Array:
        """Log prior of sigma or of the dispersion: log-normal."""
        z = (np.log(at[name]) - np.log(at[SPREADS[name]])) / at["sigma_spread"]
        each = -0.5 * z**2 - np.log(at[name] * at["sigma_spread"]) - 0.5 * np.log(2 * np.pi)
        return np.asarray(each if name == "sigma" and self.noise == "shared" else each.sum(-1))

    @property
    def quantities(self) -> Callable[..., Mapping[str, Any]]:
        """``quantities(context, <unknown>)``: networks at the mean context and one spread above, ln sigma, mean h."""

        def quantities(
            context: Array, context_mean: Array, context_sd: Array, rule: Array, **at: Array
        ) -> Mapping[str, Any]:
            context = encoders.scaled(context, context_mean, context_sd)
            m, p, rule = context.shape[1], len(rule), along(rule, at)
            at_two = self.networks(np.stack([np.zeros(m), np.ones(m)]), rule, at)
            free = ~np.eye(p, dtype=bool) if self.order == "free" else np.triu(np.ones((p, p), dtype=bool), 1)
            free &= rule >= 0
            out = {
                "network_at_zero": at_two[..., 0, :, :][..., free],
                "network_at_one": at_two[..., 1, :, :][..., free],
                **{f"log_{name}": np.log(at[name]) for name in SPREADS if name in at},
            }
            if self.cyclic:
                out["mean_h"] = penalty(self.networks(context, rule, at), self.penalty)[0].mean(-1)
            return out

        names = [name for name in self.unknown if not name.startswith("mean_")]
        return with_parameters(["context", *encoders.SCALE, *self.rules, *names], quantities)


def statistics(x: Array, context: Array) -> Mapping[str, Any]:
    """Statistics of the data for predictive checks: spread, correlations, and how correlations go with the context."""
    centred = np.where(np.isnan(x), 0.0, x - np.nanmean(x, 0))  # what is missing is at the mean
    spread = centred.std(0)
    scaled = centred / np.where(spread > 0, spread, 1)
    p = x.shape[1]
    pairs = np.triu_indices(p, 1)
    products = scaled[:, pairs[0]] * scaled[:, pairs[1]]  # (n, pairs)
    direction = context[:, 0] - context[:, 0].mean()
    norm = np.sqrt((direction**2).mean())
    return {
        "variance": (spread**2).mean(),
        "largest_variance": (spread**2).max(),
        "correlation_size": np.sqrt((products.mean(0) ** 2).mean()) if p > 1 else 0.0,
        "correlation_with_context": np.sqrt(((direction @ products / len(x)) ** 2).mean()) / norm if norm > 0 else 0.0,
        "kurtosis": (scaled**4).mean(),
    }
