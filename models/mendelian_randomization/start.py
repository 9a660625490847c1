"""Where NUTS, ADVI and the other engines start: at moments of the data, the same for every chain.

It runs no fit: sums over variants give the slopes by region, a tenth of a millisecond.
"""

import numpy as np

from genarium.declaration import Arrays, Problem

from .story import orientation


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
    return more | {
        "global_effect": np.array(whole),
        "heterogeneity": np.array(max(float(theta.std()), 0.05 * scale)),
        "theta": theta,
        "intercept": np.bincount(region, orientation(problem["signs_given"], x) * residual, S) / (size + 2),
        "strong_share": np.array(0.5),
        "exposure_sd": np.array(np.sqrt(2 * max(float(x.var() - sx2.mean()), 0.05 * float(x.var()) + 1e-12))),
        "pleiotropy_sd": np.array(np.sqrt(max(float(residual.var() - (1 / w).mean()), 0.02 * float(y.var()) + 1e-12))),
    }
