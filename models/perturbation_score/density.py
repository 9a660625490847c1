"""The model as a PyMC density, proportions summed out; written from the generative process alone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from genarium.declaration import Sizes
from genarium.signatures import with_parameters


def build(regression: str, abundance: str, replicates: str = "pooled") -> Callable[..., None]:
    """Return the density of a variant.

    Parameters
    ----------
    regression : {"linear", "none", "gaussian_process"}
    abundance : {"given", "joint"}
    replicates : {"pooled", "nested", "batched", "logistic_normal"}

    Returns
    -------
    callable
        ``density(sizes, <known and observed>)``, to be called inside a ``pm.Model`` context.
    """
    wanted = ["sizes", "count"]
    if regression != "none":
        wanted.append("features")
    if regression == "gaussian_process":
        wanted.append("lengthscale")
    if replicates != "pooled":
        wanted.append("condition")
    if replicates == "batched":
        wanted.append("batch")

    def density(
        sizes: Sizes,
        count: Any,
        features: Any = None,
        lengthscale: Any = None,
        condition: Any = None,
        batch: Any = None,
    ) -> None:
        import pymc as pm
        import pytensor.tensor as pt

        mu = pm.ZeroSumNormal("mu", sigma=2, dims="state")
        eta = pt.zeros((sizes["perturbation"], sizes["state"])) + mu
        if regression != "none":
            tau = pm.HalfNormal("tau", sigma=1)
            rows = "feature" if regression == "linear" else "perturbation"
            weight = pm.ZeroSumNormal("weight", sigma=1, n_zerosum_axes=1, dims=(rows, "state"))
            if regression == "linear":
                eta = eta + tau * pt.dot(features, weight) / np.sqrt(sizes["feature"])
            else:
                apart = ((features[:, None, :] - features[None, :, :]) ** 2).mean(-1)
                covariance = pt.exp(-apart / (2 * lengthscale**2)) + 1e-6 * pt.eye(sizes["perturbation"])
                eta = eta + tau * pt.dot(pt.linalg.cholesky(covariance), weight)
        if replicates != "pooled":
            spread = pm.HalfNormal("spread", sigma=1)
            deviation = pm.ZeroSumNormal("deviation", sigma=1, n_zerosum_axes=1, dims=("perturbation", "state"))
            eta = (eta + spread * deviation)[condition]  # from here on by replicate
        if replicates == "batched":
            shift = pm.ZeroSumNormal("batch_effect", sigma=0.5, n_zerosum_axes=1, dims=("batch", "state"))
            eta = eta + shift[batch]
        if replicates == "logistic_normal":
            apart = pm.HalfNormal("replicate_spread", sigma=0.5)
            left = pm.ZeroSumNormal("replicate_deviation", sigma=1, n_zerosum_axes=1, dims=("replicate", "state"))
            eta = eta + apart * left
        cells = count.sum(1)
        if abundance == "joint":
            typical = pm.LogNormal("typical", mu=np.log(100), sigma=1)
            evenness = pm.LogNormal("evenness", mu=0, sigma=0.5)
            growth = pm.ZeroSumNormal("growth", sigma=0.5, dims="state")
            eta = eta + pt.log(cells / typical)[:, None] * growth[None, :]
            pm.Potential("number", pm.logp(pm.NegativeBinomial.dist(mu=typical, alpha=evenness), cells - 1).sum())
        if replicates == "logistic_normal":
            share = pt.special.softmax(eta, axis=1)
            pm.Multinomial("count", n=cells, p=share, observed=count, dims=("replicate", "state"), shape=count.shape)
            return
        if replicates == "pooled":
            concentration = pm.LogNormal("kappa", mu=np.log(20), sigma=1)
        else:
            concentration = pm.LogNormal("rho", mu=np.log(50), sigma=1)
        pm.DirichletMultinomial(
            "count",
            n=cells,
            a=concentration * pt.special.softmax(eta, axis=1) + 1e-300,  # may underflow
            observed=count,
            dims=("perturbation" if replicates == "pooled" else "replicate", "state"),
            shape=count.shape,
        )

    return with_parameters(wanted, density)
