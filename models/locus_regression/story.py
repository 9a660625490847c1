"""The story as draw functions (Algorithm 1): every variable from its parents."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Sizes

from .channels import channel_of
from .dirichlet import UNDERFLOW
from .reduced import without
from .spectra import CONCENTRATIONS, with_given
from .trees import priors, with_trees


def design(
    several: bool, random: bool, spectra: str = "free", single: bool = False, trees: bool = False
) -> dict[str, Callable[..., Any]]:
    """Return draw functions of the known variables for simulations."""
    free = "free" if spectra == "mixed" else "process"
    names = () if spectra == "given" else CONCENTRATIONS[: 1 if single else 2]

    def features(rng: np.random.Generator, sizes: Sizes) -> Array:
        """Features that vary smoothly along the genome, standardised in each group."""
        groups = sizes["covariate_group"] if several else 1
        noise = rng.normal(size=(groups, sizes["feature"], sizes["locus"]))
        for at in range(1, sizes["locus"]):
            noise[..., at] = 0.7 * noise[..., at - 1] + np.sqrt(1 - 0.7**2) * noise[..., at]
        deviation = noise - noise.mean(-1, keepdims=True)
        scale = deviation.std(-1, keepdims=True)
        standard = deviation / np.where(scale > 0, scale, 1)
        return standard if several else standard[0]

    def genome(sizes: Sizes) -> Array:
        """As many mutations in every genome, or one more in the first."""
        return np.arange(sizes["cell"]) * sizes["genome"] // sizes["cell"]

    def group(sizes: Sizes, genome: Array) -> Array:
        """Genomes in turn."""
        return genome % sizes["covariate_group"]

    return {
        "features": features,
        "exposure": lambda rng, sizes: rng.lognormal(0, 0.3, sizes["locus"]),
        "context_opportunity": lambda rng, sizes: rng.dirichlet(np.full(sizes["context"], 20.0), sizes["locus"]).T,
        "context_exposure": lambda sizes: np.ones(sizes["context"]),
        "alpha": lambda sizes: np.ones(sizes["process"]),
        "tau": lambda sizes: np.full(sizes["process"], 0.5),
        "genome": genome,
        "count": lambda sizes: np.ones(sizes["cell"]),
        **{name: lambda sizes: np.ones(sizes[free]) for name in names},
        **({"group": group} if several else {}),
        **({} if spectra == "free" else {"signatures": signatures(spectra)}),
        **({"dispersion": lambda sizes: np.full(sizes["process"], 0.3)} if random else {}),
        **({"leaf_scale": lambda sizes: np.full(sizes["process"], 0.3)} if trees else {}),
    }


def signatures(spectra: str) -> Callable[..., Array]:
    """Return the draw function of given signatures: sparse ones."""
    dim = "process" if spectra == "given" else "reference"
    return lambda rng, sizes: rng.dirichlet(np.full(sizes["channel"], 0.3), sizes[dim])


def draw_beta(rng: np.random.Generator, sizes: Sizes, tau: Array) -> Array:
    """Draw the effects: beta_k ~ Normal(0, tau_k^2 I)."""
    return tau[:, None] * rng.normal(size=(sizes["process"], sizes["feature"]))


def draw_lam(rng: np.random.Generator, sizes: Sizes, lam_concentration: Array) -> Array:
    """Draw preferences for contexts: lam_k ~ Dirichlet(kappa_k, ..., kappa_k)."""
    return symmetric(rng, np.tile(lam_concentration[:, None], sizes["context"]))


def draw_rho(rng: np.random.Generator, sizes: Sizes, rho_concentration: Array) -> Array:
    """Draw the alternatives of each context: rho_kc ~ Dirichlet(xi_k, ..., xi_k)."""
    return symmetric(rng, np.tile(rho_concentration[:, None, None], (sizes["context"], sizes["alternative"])))


def symmetric(rng: np.random.Generator, concentration: Array) -> Array:
    """Draw Dirichlet variables along the last dim; shares that are too small for a number are the smallest one."""
    x = np.maximum(rng.standard_gamma(concentration), UNDERFLOW)
    return np.asarray(x / x.sum(-1, keepdims=True))


def draw_pi(rng: np.random.Generator, sizes: Sizes, alpha: Array) -> Array:
    """Draw the genomes' shares: pi_g ~ Dirichlet(alpha)."""
    return rng.dirichlet(alpha, sizes["genome"])


def draw_locus_effect(rng: np.random.Generator, sizes: Sizes, dispersion: Array) -> Array:
    """Draw effects of mean one and variance phi: Gamma(1 / phi, 1 / phi)."""
    spread = dispersion[:, None]
    return np.maximum(rng.gamma(1 / spread, spread, (sizes["process"], sizes["locus"])), 1e-300)


def prior(
    random: bool, spectra: str = "free", single: bool = False, trees: bool = False
) -> dict[str, Callable[..., Array]]:
    """Return the draw functions of the unknown variables of a variant."""
    free: dict[str, dict[str, Callable[..., Array]]] = {
        "free": {"lam": draw_lam, "rho": draw_rho},
        "given": {},
        "mixed": {"lam_free": draw_lam, "rho_free": draw_rho},
    }
    kept = {name: draw for name, draw in free[spectra].items() if not (single and name.startswith("rho"))}
    own: dict[str, Callable[..., Array]] = {"beta": draw_beta, **kept, "pi": draw_pi}
    return own | ({"locus_effect": draw_locus_effect} if random else {}) | (priors() if trees else {})


def choose(rng: np.random.Generator, sizes: Sizes, pi: Array, genome: Array) -> Array:
    """Draw the process of each mutation: z ~ Categorical(pi_g)."""
    return _categorical(rng, pi, genome)


def emit(
    form: str, several: bool, random: bool, spectra: str = "free", single: bool = False, trees: bool = False
) -> Callable[..., Mapping[str, Array]]:
    """Return the draw function of locus and channel under a variant."""

    def draw(
        rng: np.random.Generator,
        z: Array,
        beta: Array,
        lam: Array,
        rho: Array,
        locus_effect: Array,
        features: Array,
        exposure: Array,
        context_opportunity: Array,
        context_exposure: Array,
        group: Array,
    ) -> Mapping[str, Array]:
        t = context_opportunity * context_exposure[:, None]  # (C, L)
        locus, context = np.empty(len(z), dtype=np.int64), np.empty(len(z), dtype=np.int64)
        for k in range(len(beta)):
            affinity = lam[k][:, None] * t  # (C, L)
            for j, X in enumerate(features.reshape(-1, *features.shape[-2:])):
                mine = np.flatnonzero((z == k) & (group == j))
                rate = exposure * np.exp(beta[k] @ X - np.max(beta[k] @ X)) * locus_effect[k]
                if form == "joint":
                    rate = rate * affinity.sum(0)
                locus[mine] = rng.choice(len(rate), len(mine), p=rate / rate.sum())
                context[mine] = _categorical(rng, affinity.T, locus[mine])
        alternative = _categorical(rng, rho.reshape(-1, rho.shape[-1]), z * lam.shape[1] + context)
        return {"locus": locus, "channel": channel_of(context, alternative, *rho.shape[1:])}

    absent: dict[str, Callable[..., Any]] = {}
    if not several:
        absent["group"] = lambda given: np.zeros(len(given["z"]), dtype=np.int64)
    if trees:
        return with_given(with_trees(without(draw, **absent)), spectra, single)
    if not random:
        absent["locus_effect"] = lambda given: np.ones((len(given["beta"]), 1))
    return with_given(without(draw, **absent), spectra, single)


def _categorical(rng: np.random.Generator, weights: Array, row: Array) -> Array:
    """Draw a column of ``weights`` for each given row, with probabilities proportional to that row."""
    cumulative = weights.cumsum(1)
    steps = cumulative / cumulative[:, -1:] + np.arange(len(weights))[:, None]
    found = np.searchsorted(steps.ravel(), row + rng.uniform(size=len(row)), side="right")
    return np.asarray(np.clip(found - row * weights.shape[1], 0, weights.shape[1] - 1))
