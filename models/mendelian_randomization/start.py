"""Where NUTS, ADVI and the other engines start: at moments of the data, the same for every chain.

It runs no fit: sums over variants give the slopes by region, and the density of the data at a few shares of strong
variants says which is the best; less than a millisecond.
"""

import numpy as np

from genarium.declaration import Arrays, Problem

from .likelihood import log_likelihood
from .story import WEAK, orientation

SHARES = np.array([0.01, 0.05, 0.2, 0.5, 0.9])
"""Shares of strong variants that are compared: few of wide effects, or many of narrow ones."""


def start(problem: Problem, rng: np.random.Generator) -> Arrays:
    """Start the engines at rough estimates: slopes by region, debiased and shrunk towards that of all."""
    x, y = problem["beta_exposure"], problem["beta_outcome"]
    region, S = problem["region"], problem.sizes["region"]
    sx2, w = problem["se_exposure"] ** 2, problem["se_outcome"] ** -2.0
    scale = float(problem["outcome_scale"] / problem["exposure_scale"])
    above = w * (x * y - problem["error_covariance"])
    below = w * np.maximum(x**2 - 0.9 * sx2, 0.1 * x**2)
    whole = float(above.sum() / below.sum())
    prior = float(below.sum()) / len(x)
    theta = (np.bincount(region, above, S) + prior * whole) / (np.bincount(region, below, S) + prior)
    residual = y - theta[region] * x
    size = np.bincount(region, minlength=S)
    mixture = "confounded_share" in problem.model.unknown.variables
    more = {"confounded_share": np.array(0.05), "confounded_effect": np.array(0.1 * scale)} if mixture else {}
    at = {
        "global_effect": np.array(whole),
        "heterogeneity": np.array(max(float(theta.std()), 0.05 * scale)),
        "theta": theta,
        "intercept": np.bincount(region, orientation(problem["signs_given"], x) * residual, S) / (size + 2),
        "pleiotropy_sd": np.array(np.sqrt(max(float(residual.var() - (1 / w).mean()), 0.02 * float(y.var()) + 1e-12))),
    }
    spread = max(float(x.var() - sx2.mean()), 0.05 * float(x.var()) + 1e-12)
    sd = np.sqrt(spread / (SHARES + WEAK**2 * (1 - SHARES)))  # all effects spread alike
    same = {n: np.broadcast_to(at[n], (len(SHARES), *at[n].shape)) for n in ("theta", "intercept", "pleiotropy_sd")}
    value = problem.call(log_likelihood, **same, exposure_sd=sd, strong_share=SHARES).sum(-1)
    best = int(np.argmax(value - 0.5 * (sd / problem["exposure_scale"]) ** 2))
    return more | at | {"strong_share": SHARES[best], "exposure_sd": sd[best]}
