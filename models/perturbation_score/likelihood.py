"""Densities in NumPy, hidden proportions summed out; shapes: P perturbations, K states, D features, draws first."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array
from genarium.signatures import with_parameters

from .distance import expected_parts
from .predictor import Predictor


def dirichlet_multinomial(count: Array, alpha: Array) -> Array:
    """Log probability of counts given their total (eq. 6); shape (..., P)."""
    from scipy.special import gammaln

    n, total = count.sum(-1), alpha.sum(-1)
    coefficient = gammaln(n + 1) - gammaln(count + 1).sum(-1)
    ratio = np.where(count > 0, gammaln(count + alpha) - gammaln(alpha), 0.0).sum(-1)
    return np.asarray(coefficient + gammaln(total) - gammaln(total + n) + ratio)


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

    def __init__(self, regression: str, abundance: str) -> None:
        self.predictor = Predictor(regression, abundance)
        self.regression, self.abundance = regression, abundance

    def alpha(self, given: Mapping[str, Any], P: int) -> Array:
        """Concentrations of the prior of proportions from whatever a signature gave."""
        return self.predictor.alpha(given, P)

    def names(self) -> tuple[list[str], list[str]]:
        """Unknown variables, and known ones that the predictor needs."""
        unknown, known = ["mu", "kappa"], []
        if self.regression != "none":
            unknown += ["weight", "tau"]
            known.append("features")
        if self.regression == "gaussian_process":
            known.append("lengthscale")
        if self.abundance == "joint":
            unknown += ["growth", "typical", "evenness"]
        return unknown, known

    @property
    def log_likelihood(self) -> Callable[..., Array]:
        """Log probability of each perturbation's counts, and of its cell number where that is modelled."""

        def function(count: Array, **given: Array) -> Array:
            full = {**given, "cells": count.sum(-1)}
            found = dirichlet_multinomial(count, self.alpha(full, len(count)))
            if self.abundance == "joint":
                typical, evenness = (np.asarray(given[n])[..., None] for n in ("typical", "evenness"))
                found = found + negative_binomial(count.sum(-1) - 1, typical, evenness)
            return found

        unknown, known = self.names()
        return with_parameters(["count", *unknown, *known], function)

    @property
    def log_prior(self) -> Callable[..., Array]:
        """Log prior density of the unknown variables, zero-sum ones on their subspace (eq. 7)."""

        def function(mu: Array, kappa: Array, **given: Array) -> Array:
            out = zero_sum_normal(mu, 2.0) + log_normal(kappa, 20.0, 1.0)
            if "weight" in given:
                out = out + zero_sum_normal(given["weight"], 1.0).sum(-1) + half_normal(given["tau"])
            if "growth" in given:
                out = out + zero_sum_normal(given["growth"], 0.5) + log_normal(given["typical"], 100.0, 1.0)
                out = out + log_normal(given["evenness"], 1.0, 0.5)
            return np.asarray(out)

        return with_parameters(self.names()[0], function)

    @property
    def quantities(self) -> Callable[..., Mapping[str, Any]]:
        """Shares and expected distance of an unseen gene, and of the first perturbation (eq. 5); slopes, scaled."""

        def function(count: Array, target: Array, kappa: Array, mu: Array, **given: Array) -> Mapping[str, Any]:
            full = {"kappa": kappa, "mu": mu, **given, "cells": count.sum(-1)}
            alpha = self.alpha(full, len(count))[..., 0, :]  # (..., K)
            m = softmax(mu, axis=-1)
            if self.regression == "linear":
                shift = (-given["features"][0]) @ given["weight"] / np.sqrt(given["features"].shape[-1])
                m = softmax(mu + np.asarray(given["tau"])[..., None] * shift, axis=-1)
            new = np.maximum(np.asarray(kappa)[..., None] * m, 1e-300)
            slope = {"slope": np.asarray(given["tau"])[..., None, None] * given["weight"]} if "weight" in given else {}
            return {
                **slope,
                "share_unseen": m,
                "distance_unseen": expected_parts(target, new).sum(-1),
                "distance_first": expected_parts(target, alpha + count[0]).sum(-1),
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
