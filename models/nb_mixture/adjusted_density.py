"""The adjusted mixture as a PyMC density, groups and lost counts summed out; written from the story."""

from collections.abc import Callable
from typing import Any

from genarium.declaration import Sizes
from genarium.signatures import with_parameters

from .density import dispersion_of, means_of


def build(dispersion: str, weights: str, means: str, zeros: str) -> Callable[..., None]:
    """Return the density under values of the model's options.

    Parameters
    ----------
    dispersion, weights, means, zeros : str

    Returns
    -------
    callable
        ``density(sizes, <known and observed>)``, to be called inside a ``pm.Model`` context.
    """
    names = ["sizes", "x", "size_factor", "alpha0", "a0", "b0"]
    names += ["phi"] if dispersion == "known" else ["phi0", "tau"]
    names += ["covariates", "sd_effect"] if weights == "covariates" else []
    names += ["batch", "sd_shift"] if means == "batch" else []
    names += ["zero_b"] if zeros == "inflated" else []

    def density(sizes: Sizes, x: Any, size_factor: Any, **given: Any) -> None:
        import pymc as pm
        import pytensor.tensor as pt

        K = sizes["component"]
        phi = dispersion_of(dispersion, given)
        pi = pm.Dirichlet("pi", a=given["alpha0"] * pt.ones(K), dims="component")
        r = 1 / phi  # (1 or K, 1 or D)
        mu = means_of(sizes, r, given["a0"], given["b0"])
        log_weight = pt.log(pi)[None, :]  # (1 or N, K)
        if weights == "covariates":
            effect = pm.ZeroSumNormal("effect", sigma=given["sd_effect"], dims=("covariate", "component"))
            log_weight = log_weight + given["covariates"] @ effect
            log_weight = log_weight - pt.logsumexp(log_weight, axis=-1, keepdims=True)
        log_mean = pt.log(size_factor)[:, None, None] + pt.log(mu)  # (N, K, D)
        if means == "batch":
            shift = pm.ZeroSumNormal("shift", sigma=given["sd_shift"], dims=("gene", "batch"))
            log_mean = log_mean + shift.T[given["batch"]][:, None, :]
        lost = pm.Beta("zero", 1, given["zero_b"], dims="gene") if zeros == "inflated" else pt.zeros(sizes["gene"])
        pm.CustomDist(
            "x",
            log_weight + pt.zeros((x.shape[0], 1)),
            log_mean,
            r[None] + pt.zeros_like(log_mean),
            lost,
            logp=_inflated_logp if zeros == "inflated" else _plain_logp,
            random=_random,
            signature="(k),(k,d),(k,d),(d)->(d)",
            dtype="int64",
            observed=x,
            dims=("cell", "gene"),
            shape=x.shape,
        )

    return with_parameters(names, density)


def _per_gene(value: Any, log_mean: Any, r: Any) -> Any:
    import pytensor.tensor as pt

    counts = value[:, None, :]
    coefficient = pt.gammaln(counts + r) - pt.gammaln(r) - pt.gammaln(counts + 1) + r * pt.log(r)
    return coefficient + counts * log_mean - (counts + r) * pt.log(r + pt.exp(log_mean))


def _plain_logp(value: Any, log_weight: Any, log_mean: Any, r: Any, lost: Any) -> Any:
    import pytensor.tensor as pt

    return pt.logsumexp(log_weight + _per_gene(value, log_mean, r).sum(-1), axis=-1)


def _inflated_logp(value: Any, log_weight: Any, log_mean: Any, r: Any, lost: Any) -> Any:
    """Mix in lost counts, with a probability by gene: a zero was lost, or was none."""
    import pytensor.tensor as pt

    counted = pt.log1p(-lost) + _per_gene(value, log_mean, r)
    per_gene = pt.switch(pt.eq(value[:, None, :], 0), pt.logaddexp(pt.log(lost), counted), counted)
    return pt.logsumexp(log_weight + per_gene.sum(-1), axis=-1)


def _random(log_weight: Any, log_mean: Any, r: Any, lost: Any, rng: Any = None, size: Any = None) -> Any:
    import numpy as np

    log_weight, log_mean, r = map(np.asarray, (log_weight, log_mean, r))
    cells = np.arange(len(log_mean))
    group = (log_weight + rng.gumbel(size=log_weight.shape)).argmax(-1)
    mean, shape = np.exp(log_mean[cells, group]), r[cells, group]
    counts = rng.negative_binomial(shape, shape / (shape + mean))
    return np.where(rng.uniform(size=counts.shape) < lost, 0, counts)
