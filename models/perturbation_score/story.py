"""The story as draw functions; equation numbers refer to the card."""

import numpy as np
from scipy.special import softmax

from genarium.declaration import Array, Sizes

CELLS = 60
"""Typical number of cells of a perturbation in a default simulation."""


def centred(z: Array) -> Array:
    """Take the mean over states away: standard normal vectors become zero-sum ones."""
    return np.asarray(z - z.mean(-1, keepdims=True))


def design_features(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Features of a default simulation: standard normal."""
    return rng.normal(size=(sizes["perturbation"], sizes["feature"]))


def design_cells(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Cell numbers as uneven as those of the real table: negative binomial of shape one, one cell at least."""
    return np.asarray(1 + rng.negative_binomial(1.0, 1 / (1 + CELLS), sizes["perturbation"]))


def design_target(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw a target with no share near zero."""
    return rng.dirichlet(np.full(sizes["state"], 3.0))


def uniform_target(count: Array) -> Array:
    """Target where none is given: every state alike."""
    return np.full(count.shape[-1], 1 / count.shape[-1])


def total_cells(count: Array) -> Array:
    """Cells of each perturbation."""
    return np.asarray(count.sum(-1))


def draw_mu(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw log shares of a perturbation without features: zero-sum normal of scale two."""
    return 2 * centred(rng.normal(size=sizes["state"]))


def draw_weight(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw effects of features: zero-sum normal over states."""
    return centred(rng.normal(size=(sizes["feature"], sizes["state"])))


def draw_surface(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw whitened values for every perturbation: zero-sum normal over states."""
    return centred(rng.normal(size=(sizes["perturbation"], sizes["state"])))


def draw_tau(rng: np.random.Generator) -> Array:
    """Draw the scale of effects or deviations: half normal."""
    return np.asarray(np.abs(rng.normal()))


def draw_kappa(rng: np.random.Generator) -> Array:
    """Draw the concentration of proportions around what features predict: log-normal, median 20."""
    return np.asarray(np.exp(rng.normal(np.log(20), 1)))


def draw_growth(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw effects of the cell number on log shares: zero-sum normal of scale one half."""
    return 0.5 * centred(rng.normal(size=sizes["state"]))


def draw_typical(rng: np.random.Generator) -> Array:
    """Draw the mean cell number: log-normal, median 100."""
    return np.asarray(np.exp(rng.normal(np.log(100), 1)))


def draw_evenness(rng: np.random.Generator) -> Array:
    """Draw the shape of the cell numbers' negative binomial: log-normal, median 1."""
    return np.asarray(np.exp(rng.normal(0, 0.5)))


def draw_cells(rng: np.random.Generator, sizes: Sizes, typical: Array, evenness: Array) -> Array:
    """Draw cell numbers: one, and a negative binomial number of mean ``typical`` (eq. 9)."""
    return np.asarray(1 + rng.negative_binomial(evenness, evenness / (evenness + typical), sizes["perturbation"]))


def draw_proportion(rng: np.random.Generator, alpha: Array) -> Array:
    """Draw proportions q_p ~ Dirichlet(alpha_p) (eq. 2), by gamma numbers on the log scale."""
    log_gamma = np.log(rng.standard_gamma(alpha + 1)) + np.log(rng.uniform(size=alpha.shape)) / alpha
    return np.asarray(softmax(log_gamma, axis=-1))


def draw_count(rng: np.random.Generator, cells: Array, proportion: Array) -> Array:
    """Draw the cells' states: N_p ~ Multinomial(n_p, q_p) (eq. 3)."""
    return np.asarray(rng.multinomial(cells, proportion))


def design_condition(sizes: Sizes) -> Array:
    """Replicates take the perturbations in turn."""
    return np.arange(sizes["replicate"]) % sizes["perturbation"]


def design_batch(sizes: Sizes) -> Array:
    """Every round of the perturbations is a batch, as far as there are batches."""
    return np.arange(sizes["replicate"]) // sizes["perturbation"] % sizes["batch"]


def design_replicate_cells(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Cell numbers of replicates, as uneven as those of perturbations."""
    return np.asarray(1 + rng.negative_binomial(1.0, 1 / (1 + CELLS), sizes["replicate"]))


def draw_rho(rng: np.random.Generator) -> Array:
    """Draw the concentration of replicates around their perturbation: log-normal, median 50."""
    return np.asarray(np.exp(rng.normal(np.log(50), 1)))


def draw_replicate_spread(rng: np.random.Generator) -> Array:
    """Draw the sd of replicates' log shares: half normal of scale one half."""
    return np.asarray(0.5 * np.abs(rng.normal()))


def draw_replicate_deviation(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw whitened deviations of replicates: zero-sum normal over states."""
    return centred(rng.normal(size=(sizes["replicate"], sizes["state"])))


def draw_batch_effect(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw effects of batches on log shares: zero-sum normal of scale one half."""
    return 0.5 * centred(rng.normal(size=(sizes["batch"], sizes["state"])))


def draw_replicate_cells(rng: np.random.Generator, sizes: Sizes, typical: Array, evenness: Array) -> Array:
    """Draw cell numbers of replicates (eq. 9)."""
    return draw_cells(rng, {"perturbation": sizes["replicate"]}, typical, evenness)


def draw_replicate_count(rng: np.random.Generator, cells: Array, replicate_proportion: Array) -> Array:
    """Draw the states of a replicate's cells: N_r ~ Multinomial(n_r, u_r) (eq. 39)."""
    return np.asarray(rng.multinomial(cells, replicate_proportion))
