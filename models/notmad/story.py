"""The forward story: contexts, the prior with its acyclicity potential by exact rejection, networks, expression."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array, Sizes
from genarium.errors import InputError
from genarium.remedies import setting
from genarium.signatures import with_parameters

from . import encoder as encoders
from . import links
from .graphs import archetypes as archetypes_of
from .graphs import penalty, places
from .knowledge import along

EDGES = {"edge_weight": "beta", "shared_weight": "beta_shared"}
"""Unknown variables that are weights of edges, and the rates of their priors."""

FACTORS = ("outgoing", "incoming")
"""Unknown variables whose products are the archetypes, where these are of low rank."""

TRIES, BATCH = 20_000, 20
"""Draws from the base prior until one is accepted, at most; networks of how many are made at once."""


SPREADS = {"sigma": "sigma0", "dispersion": "dispersion0"}
"""Unknown variables that are the size of noise, and the medians of their priors."""


def scalars(unknown: Iterable[str]) -> list[str]:
    """Names of the known scalars of a variant with these unknown variables."""
    names = ["alpha", "gamma", "beta", "required_sd", "tau"]
    medians = [median for spread, median in SPREADS.items() if spread in unknown]
    names += [*medians, "sigma_spread"] if medians else []
    names += ["beta_shared"] if "shared_weight" in unknown else []
    return names + (["tau_mean"] if "mean_intercept" in unknown else [])


def factor_spread(beta: float, factors: int) -> float:
    """Prior standard deviation of an entry of a factor, by which edges have the variance of Laplace(0, 1 / beta)."""
    return float((2 / (beta**2 * factors)) ** 0.25)


def required_edges(order: str, rule: Array, deviating: bool = False) -> Array:
    """Which edges are required; where archetypes deviate from what they share, the latter has the required ones."""
    if deviating:
        return np.zeros(edge_count(order, len(rule)), dtype=bool)
    return np.asarray(rule[places(order, len(rule))] > 0)


def draw_context(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Contexts for simulations: independent standard normal covariates."""
    return rng.normal(size=(sizes["sample"], sizes["covariate"]))


def prior(
    encoder: str, kind: str, order: str, shapes: Mapping[str, tuple[str, ...]], cyclic: bool
) -> Callable[..., Any]:
    """Return the draw function of the unknown stage (eq. 9).

    The potential exp(-alpha mean h - gamma sum h) is at most one, so that draws from the base prior, each kept with
    that probability, are draws from the prior. Where networks cannot be ``cyclic``, the potential is one.
    """

    def base(rng: np.random.Generator, sizes: Sizes, count: int, known: Mapping[str, Any]) -> dict[str, Array]:
        out = {}
        for name, dims in shapes.items():
            shape = (count, *(sizes[dim] for dim in dims))
            if name in EDGES:
                drawn = rng.laplace(0, 1 / known[EDGES[name]], shape)
                required = required_edges(order, known["rule"], name == "edge_weight" and "shared_weight" in shapes)
                out[name] = np.where(required, rng.normal(0, known["required_sd"], shape), drawn)
            elif name in SPREADS:
                out[name] = np.exp(rng.normal(np.log(known[SPREADS[name]]), known["sigma_spread"], shape))
            elif name in FACTORS:
                out[name] = rng.normal(0, factor_spread(float(known["beta"]), sizes["factor"]), shape)
            else:
                spread = known["tau_mean"] if name.startswith("mean_") else known["tau"]
                out[name] = rng.normal(0, spread / np.sqrt(sizes["neuron"] if name == "outer" else 1), shape)
        return out

    def draw(rng: np.random.Generator, sizes: Sizes, **known: Any) -> dict[str, Array]:
        tried = 0
        while tried < TRIES:
            count = BATCH if cyclic else 1
            drawn = base(rng, sizes, count, known)
            chosen = 0
            if cyclic:
                archetypes = archetypes_of(order, drawn, known["rule"])
                context = encoders.scaled(*(known[name] for name in ("context", *encoders.SCALE)))
                weights = softmax(encoders.logits(encoder, context, drawn), axis=-1)
                with np.errstate(over="ignore"):
                    potential = np.zeros(count)
                    if known["alpha"] > 0:
                        potential = known["alpha"] * penalty(mixed(weights, archetypes), kind)[0].mean(1)
                    if known["gamma"] > 0:
                        potential = potential + known["gamma"] * penalty(archetypes, kind)[0].sum(1)
                kept = np.flatnonzero(rng.exponential(size=count) > potential)
                chosen = int(kept[0]) if kept.size else -1
            if chosen >= 0:
                return {name: value[chosen] for name, value in drawn.items()}
            tried += count
        raise InputError(
            f"notmad: none of {TRIES} draws from the prior of 'edge_weight' was accepted by the acyclicity potential "
            f"with alpha={float(known['alpha']):g}, gamma={float(known['gamma']):g}, beta={float(known['beta']):g} and "
            f"node={sizes['node']}. Simulate with {setting('order', 'given')}, smaller alpha or larger beta, or give "
            "the weights."
        )

    return with_parameters(["rng", "sizes", "context", *encoders.SCALE, "rule", *scalars(shapes)], draw)


def mixed(weights: Array, archetypes: Array) -> Array:
    """Return the samples' networks (eq. 5): weights (..., N, K) and archetypes (..., K, p, p) to (..., N, p, p)."""
    flat = archetypes.reshape(*archetypes.shape[:-2], -1)
    out = weights @ flat
    return np.asarray(out.reshape(*out.shape[:-1], *archetypes.shape[-2:]))


def draw_archetypes(order: str, unknown: Iterable[str], rules: Iterable[str]) -> Callable[..., Array]:
    """Return the function that puts the edges into matrices."""

    def draw(rule: Array, **at: Array) -> Array:
        return archetypes_of(order, at, along(rule, at))

    return with_parameters([*rules, *(name for name in (*EDGES, *FACTORS) if name in unknown)], draw)


def draw_weights(encoder: str) -> Callable[..., Array]:
    """Return the function from contexts to the archetypes' weights (eq. 1)."""

    def draw(context: Array, context_mean: Array, context_sd: Array, **at: Array) -> Array:
        return softmax(encoders.logits(encoder, encoders.scaled(context, context_mean, context_sd), at), axis=-1)

    return with_parameters(["context", *encoders.SCALE, *encoders.names(encoder)], draw)


def draw_network(archetype_weight: Array, archetype_network: Array) -> Array:
    """Mix the archetypes by a sample's weights (eq. 5)."""
    return mixed(archetype_weight, archetype_network)


def draw_x(mean: str) -> Callable[..., Array]:
    """Return the draw function of the observations: x = mu + eps (I - W)^-1 (eq. 6)."""

    def emit(rng: np.random.Generator, network: Array, sigma: Array, mu: Array) -> Array:
        n, p = network.shape[:2]
        noise = rng.normal(0, sigma, (n, p))
        left = np.eye(p) - np.swapaxes(network, 1, 2)  # (I - W)^T x^T = eps^T
        return np.asarray(mu + np.linalg.solve(left, noise[:, :, None])[:, :, 0])

    if mean == "zero":

        def draw(rng: np.random.Generator, network: Array, sigma: Array) -> Array:
            return emit(rng, network, sigma, np.zeros(1))

        return draw

    def draw_centred(
        rng: np.random.Generator,
        network: Array,
        sigma: Array,
        context: Array,
        context_mean: Array,
        context_sd: Array,
        mean_intercept: Array,
        mean_slope: Array,
    ) -> Array:
        scaled = encoders.scaled(context, context_mean, context_sd)
        return emit(rng, network, sigma, scaled @ mean_slope + mean_intercept)

    return draw_centred


def draw_linked(kind: str, unknown: Iterable[str], rules: Iterable[str]) -> Callable[..., Array]:
    """Return the draw function of nodes with a link: one after the other in their order."""

    def emit(rng: np.random.Generator, network: Array, level: Array, **at: Array) -> Array:
        n, p = network.shape[:2]
        order = np.argsort(at["position"]) if "position" in at else np.arange(p)
        context = encoders.scaled(*(at[name] for name in ("context", *encoders.SCALE)))
        eta = level + at["mean_intercept"] + (context @ at["mean_slope"] if "mean_slope" in at else np.zeros((n, p)))
        x = np.zeros((n, p), dtype=np.int64)
        spread = at.get("dispersion", np.ones(p))
        for j in order:
            x[:, j] = links.draw(kind, rng, eta[:, j], float(spread[j]))
            eta += links.passed(kind, x[:, j], level[j])[:, None] * network[:, j]
        return x

    own = [name for name in ("mean_intercept", "mean_slope", "dispersion") if name in unknown]
    own += [name for name in rules if name != "rule"]
    return with_parameters(["rng", "network", "level", "context", *encoders.SCALE, *own], emit)


def open_rule(sizes: Sizes) -> Array:
    """No edge is forbidden, and none required."""
    return np.zeros((sizes["node"], sizes["node"]), dtype=np.int64)


def edge_count(order: str, nodes: int) -> int:
    """Return the number of edges that may be there."""
    return len(places(order, nodes)[0])
