"""The mixture as a PyMC density, groups summed out; written independently of the NumPy likelihood."""

from collections.abc import Callable, Mapping
from typing import Any

from genarium.declaration import Sizes


def build(dispersion: str) -> Callable[..., None]:
    """Return the density under one value of the option ``dispersion``.

    Parameters
    ----------
    dispersion : {"known", "shared", "gene", "component"}

    Returns
    -------
    callable
        ``density(sizes, <known and observed>)``, to be called inside a ``pm.Model`` context.
    """
    if dispersion == "known":

        def density(sizes: Sizes, x: Any, phi: Any, size_factor: Any, alpha0: Any, a0: Any, b0: Any) -> None:
            _mixture(sizes, x, dispersion_of(dispersion, {"phi": phi}), size_factor, alpha0, a0, b0)

        return density

    def density_phi(sizes: Sizes, x: Any, size_factor: Any, alpha0: Any, a0: Any, b0: Any, phi0: Any, tau: Any) -> None:
        _mixture(sizes, x, dispersion_of(dispersion, {"phi0": phi0, "tau": tau}), size_factor, alpha0, a0, b0)

    return density_phi


def dispersion_of(dispersion: str, given: Mapping[str, Any]) -> Any:
    """Add phi where it is unknown; return it so that it broadcasts against (component, gene)."""
    if dispersion == "known":
        return given["phi"][None, :]
    import pymc as pm
    import pytensor.tensor as pt

    dims = {"shared": None, "gene": "gene", "component": "component"}[dispersion]
    phi = pm.LogNormal("phi", mu=pt.log(given["phi0"]), sigma=given["tau"], dims=dims)
    wide = {"shared": lambda: phi[None, None], "gene": lambda: phi[None, :], "component": lambda: phi[:, None]}
    return wide[dispersion]()


def means_of(sizes: Sizes, r: Any, a0: Any, b0: Any) -> Any:
    """Add mu."""
    import pymc as pm
    import pytensor.tensor as pt

    return pm.CustomDist(
        "mu",
        pt.broadcast_to(r, (sizes["component"], sizes["gene"])),
        a0,
        b0,
        logp=_beta_prime_logp,
        random=_beta_prime_random,
        support_point=lambda rv, size, r, a0, b0: r * b0 / a0,
        signature="(),(),()->()",
        transform=pm.distributions.transforms.log,
        dims=("component", "gene"),
    )


def _mixture(sizes: Sizes, x: Any, phi: Any, size_factor: Any, alpha0: Any, a0: Any, b0: Any) -> None:
    """Add pi, mu and x; ``phi`` broadcasts against (component, gene)."""
    import pymc as pm
    import pytensor.tensor as pt

    pi = pm.Dirichlet("pi", a=alpha0 * pt.ones(sizes["component"]), dims="component")
    r = 1 / phi  # (1 or component, 1 or gene): what does not differ by component is computed once
    mu = means_of(sizes, r, a0, b0)
    pm.CustomDist(
        "x",
        pi,
        mu,
        r,
        size_factor,
        logp=_mixture_logp,
        random=_mixture_random,
        signature="(k),(k,d),(i,j),()->(d)",
        dtype="int64",
        observed=x,
        dims=("cell", "gene"),
        shape=x.shape,
    )


def _beta_prime_logp(value: Any, r: Any, a0: Any, b0: Any) -> Any:
    """Mu = r (1 - p) / p with p ~ Beta(a0, b0), by change of variable: p = r / (r + mu), |dp/dmu| = r / (r + mu)^2."""
    import pytensor.tensor as pt

    total = r + value
    log_p, log_not_p = pt.log(r) - pt.log(total), pt.log(value) - pt.log(total)
    log_beta = pt.gammaln(a0) + pt.gammaln(b0) - pt.gammaln(a0 + b0)
    return (a0 - 1) * log_p + (b0 - 1) * log_not_p - log_beta + pt.log(r) - 2 * pt.log(total)


def _beta_prime_random(r: Any, a0: Any, b0: Any, rng: Any = None, size: Any = None) -> Any:
    p = rng.beta(a0, b0, size)
    return r * (1 - p) / p


def _mixture_logp(value: Any, pi: Any, mu: Any, r: Any, size_factor: Any) -> Any:
    """Log density of each cell: log-sum-exp over components of products over genes."""
    import pytensor.tensor as pt

    mean = size_factor[..., None, None] * mu  # (cell, component, gene)
    counts = value[..., None, :]
    coefficient = pt.gammaln(counts + r) - pt.gammaln(r) - pt.gammaln(counts + 1) + r * pt.log(r)
    log_mean = pt.log(size_factor)[..., None, None] + pt.log(mu)
    per_gene = counts * log_mean - (counts + r) * pt.log(r + mean)
    return pt.logsumexp(pt.log(pi) + coefficient.sum(-1) + per_gene.sum(-1), axis=-1)


def _mixture_random(pi: Any, mu: Any, r: Any, size_factor: Any, rng: Any = None, size: Any = None) -> Any:
    import numpy as np

    s = np.asarray(size_factor)
    pi, mu, r = (np.asarray(v).reshape(-1, *v.shape[-n:])[0] for v, n in ((pi, 1), (mu, 2), (r, 2)))
    r = np.broadcast_to(r, mu.shape)
    group = rng.choice(len(pi), s.shape, p=pi)
    mean = s[..., None] * mu[group]
    return rng.negative_binomial(r[group], r[group] / (r[group] + mean))
