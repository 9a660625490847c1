"""Densities in NumPy, hidden proportions summed out; shapes: P perturbations, K states, D features, draws first."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array, Sizes
from genarium.signatures import with_parameters

from .distance import expected_parts
from .predictor import SMALLEST, Predictor
from .story import draw_proportion


def dirichlet_multinomial(count: Array, alpha: Array) -> Array:
    """Log probability of counts given their total (eq. 6); shape (..., P)."""
    from scipy.special import gammaln

    n, total = count.sum(-1), alpha.sum(-1)
    coefficient = gammaln(n + 1) - gammaln(count + 1).sum(-1)
    ratio = np.where(count > 0, gammaln(count + alpha) - gammaln(alpha), 0.0).sum(-1)
    return np.asarray(coefficient + gammaln(total) - gammaln(total + n) + ratio)


def multinomial(count: Array, share: Array) -> Array:
    """Log probability of counts given their total and shares; shape (..., R)."""
    from scipy.special import gammaln

    coefficient = gammaln(count.sum(-1) + 1) - gammaln(count + 1).sum(-1)
    return np.asarray(coefficient + (count * np.log(np.maximum(share, SMALLEST))).sum(-1))


def negative_binomial(x: Array, mean: Array, shape: Array) -> Array:
    """Log probability of x with the given mean and variance mean + mean² / shape."""
    from scipy.special import gammaln

    odds = np.log(mean) - np.log(shape + mean)
    return np.asarray(
        gammaln(x + shape) - gammaln(shape) - gammaln(x + 1) + shape * np.log(shape / (shape + mean)) + x * odds
    )


def zero_sum_normal(x: Array, sigma: float) -> Array:
    """Log density of zero-sum vectors on their subspace of K - 1 dims (eq. 7)."""
    K = x.shape[-1]
    return np.asarray(-0.5 * (x**2).sum(-1) / sigma**2 - (K - 1) * (np.log(sigma) + 0.5 * np.log(2 * np.pi)))


def log_normal(x: Array, median: float, sigma: float) -> Array:
    """Log density of a log-normal variable."""
    return np.asarray(-0.5 * ((np.log(x) - np.log(median)) / sigma) ** 2 - np.log(x * sigma) - 0.5 * np.log(2 * np.pi))


def half_normal(x: Array) -> Array:
    """Log density of |z|, z standard normal."""
    return np.asarray(0.5 * np.log(2 / np.pi) - 0.5 * np.asarray(x) ** 2)


class Story:
    """The likelihood, the prior and the quantities of one variant, as functions whose parameters the spine reads."""

    def __init__(self, regression: str, abundance: str, replicates: str = "pooled") -> None:
        self.nested, self.batched = replicates != "pooled", replicates == "batched"
        self.normal = replicates == "logistic_normal"
        self.predictor = Predictor(regression, "given" if self.nested else abundance)
        self.regression, self.abundance = regression, abundance

    def alpha(self, given: Mapping[str, Any], P: int) -> Array:
        """Concentrations of the prior of proportions from whatever a signature gave."""
        return self.predictor.alpha(given, P)

    def replicate_alpha(self, given: Mapping[str, Any]) -> Array:
        """Concentrations of replicates' shares (eq. 38), shape (..., R, K)."""
        rho = np.asarray(given["rho"])[..., None, None]
        return np.asarray(np.maximum(rho * self.replicate_share(given), SMALLEST))

    def replicate_share(self, given: Mapping[str, Any]) -> Array:
        """Shares that replicates vary around (eq. 38), or have (eq. 38b); shape (..., R, K)."""
        eta = self.eta(given)[..., given["condition"], :]
        if self.batched:
            eta = eta + np.asarray(given["batch_effect"])[..., given["batch"], :]
        if self.abundance == "joint":
            relative = np.log(given["cells"] / np.asarray(given["typical"])[..., None])  # (..., R)
            eta = eta + np.asarray(given["growth"])[..., None, :] * relative[..., None]
        if self.normal:
            eta = eta + np.asarray(given["replicate_spread"])[..., None, None] * given["replicate_deviation"]
        return np.asarray(softmax(eta, axis=-1))

    def eta(self, given: Mapping[str, Any]) -> Array:
        """Unnormalised log shares of perturbations that have replicates (eq. 37), shape (..., P, K)."""
        return np.asarray(self.predictor.eta(given) + np.asarray(given["spread"])[..., None, None] * given["deviation"])

    def names(self) -> tuple[list[str], list[str]]:
        """Unknown variables that proportions are drawn from, and known ones that the predictor needs."""
        unknown, known = ["mu", *(("spread", "deviation") if self.nested else ("kappa",))], []
        if self.regression != "none":
            unknown += ["weight", "tau"]
            known.append("features")
        if self.regression == "gaussian_process":
            known.append("lengthscale")
        if self.abundance == "joint" and not self.nested:
            unknown += ["growth", "typical", "evenness"]
        return unknown, known

    def replicate_names(self) -> tuple[list[str], list[str]]:
        """Unknown and known variables that replicates' shares are drawn from, beside those of proportions."""
        if not self.nested:
            return [], []
        unknown = ["replicate_spread", "replicate_deviation"] if self.normal else ["rho"]
        known = ["condition"]
        if self.batched:
            unknown.append("batch_effect")
            known.append("batch")
        if self.abundance == "joint":
            unknown += ["growth", "typical", "evenness"]
        return unknown, known

    def all_names(self) -> list[str]:
        """Unknown variables of both kinds, then known ones."""
        return [
            name for pair in zip(self.names(), self.replicate_names(), strict=True) for part in pair for name in part
        ]

    @property
    def draw_proportion(self) -> Callable[..., Array]:
        """Draw proportions of perturbations (eq. 2)."""

        def function(rng: np.random.Generator, sizes: Sizes, **given: Array) -> Array:
            return draw_proportion(rng, self.alpha(given, sizes["perturbation"]))

        return with_parameters(["rng", "sizes", "cells", *self.all_names()], function)

    @property
    def proportion(self) -> Callable[..., Array]:
        """Proportions of perturbations that have replicates (eq. 37)."""

        def function(**given: Array) -> Array:
            return np.asarray(softmax(self.eta(given), axis=-1))

        return with_parameters([name for part in self.names() for name in part], function)

    @property
    def draw_replicate_proportion(self) -> Callable[..., Array]:
        """Draw proportions of replicates (eq. 38)."""

        def function(rng: np.random.Generator, **given: Array) -> Array:
            return self.replicate_share(given) if self.normal else draw_proportion(rng, self.replicate_alpha(given))

        return with_parameters(["rng", *self.all_names(), *(["cells"] if self.abundance == "joint" else [])], function)

    @property
    def log_likelihood(self) -> Callable[..., Array]:
        """Log probability of each row's counts, and of its cell number where that is modelled."""

        def function(count: Array, **given: Array) -> Array:
            full = {**given, "cells": count.sum(-1)}
            if self.normal:
                found = multinomial(count, self.replicate_share(full))
            else:
                alpha = self.replicate_alpha(full) if self.nested else self.alpha(full, len(count))
                found = dirichlet_multinomial(count, alpha)
            if self.abundance == "joint":
                typical, evenness = (np.asarray(given[n])[..., None] for n in ("typical", "evenness"))
                found = found + negative_binomial(count.sum(-1) - 1, typical, evenness)
            return found

        return with_parameters(["count", *self.all_names()], function)

    @property
    def log_prior(self) -> Callable[..., Array]:
        """Log prior density of the unknown variables, zero-sum ones on their subspace (eq. 7)."""

        def function(mu: Array, **given: Array) -> Array:
            out = zero_sum_normal(mu, 2.0)
            if "kappa" in given:
                out = out + log_normal(given["kappa"], 20.0, 1.0)
            if "weight" in given:
                out = out + zero_sum_normal(given["weight"], 1.0).sum(-1) + half_normal(given["tau"])
            if "growth" in given:
                out = out + zero_sum_normal(given["growth"], 0.5) + log_normal(given["typical"], 100.0, 1.0)
                out = out + log_normal(given["evenness"], 1.0, 0.5)
            if self.nested:
                out = out + half_normal(given["spread"]) + zero_sum_normal(given["deviation"], 1.0).sum(-1)
            if self.normal:
                out = out + half_normal(2 * np.asarray(given["replicate_spread"])) + np.log(2)
                out = out + zero_sum_normal(given["replicate_deviation"], 1.0).sum(-1)
            elif self.nested:
                out = out + log_normal(given["rho"], 50.0, 1.0)
            if self.batched:
                out = out + zero_sum_normal(given["batch_effect"], 0.5).sum(-1)
            return np.asarray(out)

        return with_parameters([*self.names()[0], *self.replicate_names()[0]], function)

    @property
    def quantities(self) -> Callable[..., Mapping[str, Any]]:
        """Shares and expected distance of an unseen gene, and of the first perturbation (eq. 5); slopes, scaled."""

        def function(count: Array, target: Array, mu: Array, **given: Array) -> Mapping[str, Any]:
            m = softmax(mu, axis=-1)
            if self.regression == "linear":
                shift = (-given["features"][0]) @ given["weight"] / np.sqrt(given["features"].shape[-1])
                m = softmax(mu + np.asarray(given["tau"])[..., None] * shift, axis=-1)
            found: dict[str, Any] = {"share_unseen": m}
            if "weight" in given:
                found["slope"] = np.asarray(given["tau"])[..., None, None] * given["weight"]
            full = {"mu": mu, **given}
            if self.nested:
                q = softmax(self.eta(full), axis=-1)
                return {**found, "share_first": q[..., 0, :], "distance_first": np.abs(q[..., 0, :] - target).sum(-1)}
            first = self.alpha({**full, "cells": count.sum(-1)}, len(count))[..., 0, :] + count[0]
            new = np.maximum(np.asarray(given["kappa"])[..., None] * m, SMALLEST)
            return {
                **found,
                "distance_unseen": expected_parts(target, new).sum(-1),
                "distance_first": expected_parts(target, first).sum(-1),
            }

        unknown, known = self.names()
        return with_parameters(["count", "target", *unknown, *known], function)


def statistics(count: Array) -> Mapping[str, Any]:
    """Statistics of the counts for predictive checks: how far perturbations lie apart, and how uneven they are."""
    share = count / np.maximum(count.sum(-1, keepdims=True), 1)
    mean = share.mean(0)
    return {
        "mean_l1_from_the_mean": np.abs(share - mean).sum(-1).mean(),
        "sum_of_squared_shares": (share**2).sum(-1).mean(),
        "empty_states": (count == 0).mean(),
        "largest_mean_share": mean.max(),
    }
