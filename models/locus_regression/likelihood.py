"""Densities of the model in NumPy; shapes: K processes, F features, L loci, C contexts, G genomes, I cells.

Draws may lead in the shape of every unknown variable. With several covariate groups (J), the features are (J, F, L),
and an index of groups goes with the cells.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.simplex import dirichlet_log_norm, log_sum_exp

from .channels import by_channel, split_channel
from .dirichlet import UNDERFLOW
from .reduced import without
from .spectra import CONCENTRATIONS, FREE, certain, with_given
from .strands import asymmetry
from .trees import with_log_prior, with_trees


def log_loci(
    beta: Array, lam: Array, locus_effect: Array, features: Array, exposure: Array, opportunity: Array, form: str
) -> Array:
    """Return what a locus contributes to the log density of a mutation there (eqs. 1 to 3).

    Parameters
    ----------
    beta : ndarray, shape (..., K, F)
    lam : ndarray, shape (..., K, C)
    locus_effect : ndarray, shape (..., K, L), or (1, 1)
    features : ndarray, shape (J, F, L)
    exposure : ndarray, shape (L,)
    opportunity : ndarray, shape (C, L)
        Times the contexts' exposure.
    form : {"conditional", "joint"}

    Returns
    -------
    ndarray, shape (..., J, K, L)
        Log probability of a mutation of process k in locus l, but for lam_kc t_cl and rho_kca.
    """
    rates = beta[..., None, :, :] @ features  # (..., J, K, L)
    rates += np.log(exposure)
    if locus_effect.shape[-2:] != (1, 1):
        rates += np.log(locus_effect)[..., None, :, :]
    log_context = np.log(lam @ opportunity)
    if form == "joint":
        total = log_sum_exp(rates + log_context[..., None, :, :], -1)
        return np.asarray(rates - total[..., None])
    return np.asarray(rates - log_sum_exp(rates, -1)[..., None] - log_context[..., None, :, :])


def story_log_likelihood(
    form: str, several: bool, random: bool, spectra: str = "free", single: bool = False, trees: bool = False
) -> Callable[..., Array]:
    """Return ``log_likelihood(<unknown, known, observed>)`` of a variant; shape (..., I)."""

    def given(
        beta: Array,
        lam: Array,
        rho: Array,
        pi: Array,
        locus_effect: Array,
        features: Array,
        exposure: Array,
        context_opportunity: Array,
        context_exposure: Array,
        genome: Array,
        group: Array,
        locus: Array,
        channel: Array,
        count: Array,
    ) -> Array:
        opportunity = context_opportunity * context_exposure[:, None]
        features = features.reshape(-1, *features.shape[-2:])
        log_theta = log_loci(beta, lam, locus_effect, features, exposure, opportunity, form)
        spectrum = by_channel(lam[..., None] * rho)  # (..., K, M)
        log_theta = np.moveaxis(log_theta, -3, -2)  # (..., K, J, L)
        log_theta = log_theta.reshape(*log_theta.shape[:-2], -1)
        row = group * features.shape[-1] + locus
        top = log_theta.max(-2)
        place = np.exp(log_theta - top[..., None, :])
        share = np.ascontiguousarray(np.moveaxis(pi, -1, -2))  # (..., K, G)
        total = np.zeros((*pi.shape[:-2], len(genome)))
        for k in range(pi.shape[-1]):
            each = np.take(share[..., k, :], genome, -1)
            each *= np.take(spectrum[..., k, :], channel, -1)
            each *= np.take(place[..., k, :], row, -1)
            total += each
        with np.errstate(divide="ignore"):
            known = np.log(opportunity[split_channel(channel, *rho.shape[-2:])[0], locus])
            return np.asarray(count * (np.log(total) + np.take(top, row, -1) + known))

    absent: dict[str, Callable[..., Any]] = {}
    if not several:
        absent["group"] = lambda known: np.zeros(len(known["genome"]), dtype=int)
    if trees:
        return with_given(with_trees(without(given, **absent)), spectra, single)
    if not random:
        absent["locus_effect"] = lambda _: np.ones((1, 1))
    return with_given(without(given, **absent), spectra, single)


def log_prior(random: bool, spectra: str = "free", single: bool = False, trees: bool = False) -> Callable[..., Array]:
    """Return the log prior density of the unknown variables of a variant, shape (...)."""
    if trees:
        return with_log_prior(log_prior(random, spectra, single))
    function = log_prior_random if random else log_prior_fixed
    if spectra == "given":
        none = {"lam": np.empty((0, 32)), "rho": np.empty((0, 32, 3)), **dict.fromkeys(CONCENTRATIONS, np.empty(0))}
        return without(function, **{name: lambda _, value=value: value for name, value in none.items()})
    if single:
        function = without(function, rho_concentration=lambda at: np.ones_like(at["lam_concentration"]))
    if spectra == "mixed":
        free = {"lam": lambda at: at["lam_free"], "rho": lambda at: at.get("rho_free", certain(at["lam_free"]))}
        return without(function, FREE[: 1 if single else 2], **free)
    return with_given(function, spectra, single)


def log_prior_fixed(
    beta: Array,
    lam: Array,
    rho: Array,
    pi: Array,
    alpha: Array,
    tau: Array,
    lam_concentration: Array,
    rho_concentration: Array,
) -> Array:
    """Log prior density where the features decide: normal beta, Dirichlet lam, rho and pi."""
    z = beta / tau[:, None]
    normal = (-0.5 * z**2 - np.log(tau)[:, None] - 0.5 * np.log(2 * np.pi)).sum((-2, -1))
    spectra = log_dirichlet(lam, lam_concentration[:, None]).sum(-1)
    spectra = spectra + log_dirichlet(rho, rho_concentration[:, None, None]).sum((-2, -1))
    return np.asarray(normal + spectra + log_dirichlet(pi, alpha).sum(-1))


def log_dirichlet(share: Array, concentration: Array) -> Array:
    """Return log densities of Dirichlet variables along the last dim, whose concentrations broadcast to them.

    Shares that underflowed count as the smallest number.
    """
    each = np.broadcast_to(concentration, share.shape[share.ndim - max(concentration.ndim, 1) :])
    norm = dirichlet_log_norm(each)
    if (concentration == 1).all():
        return np.asarray(np.broadcast_to(norm, share.shape[:-1]))
    return np.asarray(norm + ((concentration - 1) * np.log(np.maximum(share, UNDERFLOW))).sum(-1))


def log_prior_random(
    beta: Array,
    lam: Array,
    rho: Array,
    pi: Array,
    locus_effect: Array,
    alpha: Array,
    tau: Array,
    dispersion: Array,
    lam_concentration: Array,
    rho_concentration: Array,
) -> Array:
    """Log prior density where loci have random effects: Gamma(1 / phi, 1 / phi)."""
    from scipy.special import gammaln

    r = 1 / dispersion[:, None]
    each = r * np.log(r) - gammaln(r) + (r - 1) * np.log(locus_effect) - r * locus_effect
    return np.asarray(
        log_prior_fixed(beta, lam, rho, pi, alpha, tau, lam_concentration, rho_concentration) + each.sum((-2, -1))
    )


def quantities(beta: Array, lam: Array, rho: Array, pi: Array) -> Mapping[str, Any]:
    """Label-invariant quantities: processes sorted by their first coefficient, and averages over processes."""
    order = np.argsort(beta[..., 0], -1)  # (..., K)
    share = pi.mean(-2)  # (..., K)
    substitution = np.einsum("...kc,...kca->...ka", lam, rho)
    several = {"substitution_sorted": np.take_along_axis(substitution, order[..., None], -2)}
    return {
        "beta_sorted": np.take_along_axis(beta, order[..., None], -2),
        "share_sorted": np.take_along_axis(share, order, -1),
        **(several if rho.shape[-1] > 1 else {}),
        "mean_beta": (share[..., None] * beta).sum(-2),
        "mean_lam": (share[..., None] * lam).sum(-2)[..., :2],
        "sum_pi_squared": (pi**2).sum(-1).mean(-1),
    }


def quantities_random(beta: Array, lam: Array, rho: Array, pi: Array, locus_effect: Array) -> Mapping[str, Any]:
    """Label-invariant quantities where loci have random effects: their variance too."""
    return {**quantities(beta, lam, rho, pi), "locus_variance": ((locus_effect - 1) ** 2).mean((-2, -1))}


def quantities_of(random: bool, strands: bool) -> Callable[..., Mapping[str, Any]]:
    """Return the label-invariant quantities of a variant; asymmetries of strands where these are told apart."""
    function = quantities_random if random else quantities
    if not strands:
        return function

    def both(
        beta: Array,
        lam: Array,
        context_opportunity: Array,
        context_exposure: Array,
        exposure: Array,
        rest: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        found = asymmetry(lam, context_opportunity, context_exposure, exposure)
        return {**rest, "asymmetry_sorted": np.take_along_axis(found, np.argsort(beta[..., 0], -1), -1)}

    asks = list(inspect.signature(function).parameters)
    return without(both, asks, rest=lambda given: function(**{name: given[name] for name in asks}))


def statistics(locus: Array, channel: Array, count: Array, genome: Array) -> Mapping[str, Any]:
    """Statistics of the mutations for predictive checks."""
    by_locus = np.bincount(locus, count).astype(float)
    by_channel = np.bincount(channel, count, minlength=1).astype(float)
    share = by_channel / by_channel.sum()
    cells = genome.astype(np.int64) * (locus.max() + 1) + locus
    _, inverse = np.unique(cells, return_inverse=True)
    each = np.bincount(inverse, count)
    return {
        "locus_dispersion": by_locus.var() / by_locus.mean(),
        "busiest_locus": by_locus.max() / by_locus.sum(),
        "channel_entropy": -(share[share > 0] * np.log(share[share > 0])).sum(),
        "commonest_channel": share.max(),
        "mutations_per_hit": each.mean(),
    }
