"""Negative binomial mixture: groups of cells from raw counts.

The story, the derivations and what is known of the fits are in this folder's README.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Method, Model, Problem, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.supports import count, label, positive, simplex

from . import density, likelihood, predict, readers
from .em import em
from .gibbs import gibbs
from .start import start
from .vi import vi

DISPERSION = {"known": ("gene",), "shared": (), "gene": ("gene",), "component": ("component",)}
"""Dims of ``phi`` under each value of the option ``dispersion``."""

PHI = "Dispersion: variance = mean + phi mean². Give it, or estimate it with dispersion='gene' (shared, component)."


def declare(dispersion: str = "known") -> Model:
    """Return the declaration; ``dispersion`` says whether phi is known, and along which dim it varies if not."""
    phi = Var(DISPERSION[dispersion], positive, PHI, "φ")
    known = {
        "size_factor": Var(("cell",), positive, "Relative sequencing depth of a cell; 1 for none.", "s", default=1.0),
        "alpha0": Var((), positive, "Concentration of the symmetric Dirichlet prior of pi.", "α₀", default=1.0),
        "a0": Var((), positive, "First parameter of the Beta prior of p = 1/(1 + phi mu).", "a₀", default=1.0),
        "b0": Var((), positive, "Second parameter of that prior.", "b₀", default=1.0),
    }
    if dispersion == "known":
        known = {"phi": phi, **known}
    else:
        known |= {
            "phi0": Var((), positive, "Median of the log-normal prior of phi.", "φ₀", default=0.3),
            "tau": Var((), positive, "Standard deviation of ln phi in its prior.", "τ", default=1.0),
        }
    unknown = {
        "pi": Var(("component",), simplex, "Weight of each component.", "π"),
        "mu": Var(("component", "gene"), positive, "Centroid: mean count of a gene in a cell of size factor 1.", "μ"),
    }
    if dispersion != "known":
        unknown = {"phi": phi, **unknown}
    story = likelihood.Story(dispersion)
    return Model(
        name=__name__,
        title="Negative binomial mixture",
        sizes={"cell": 200, "gene": 2, "component": 3},
        known=Stage(known, design_known if dispersion == "known" else design_unknown),
        unknown=Stage(unknown, prior_known if dispersion == "known" else prior_unknown(DISPERSION[dispersion])),
        hidden=Stage({"group": Var(("cell",), label("component"), "Component of each cell.", "G")}, assign),
        observed=Stage({"x": Var(("cell", "gene"), count, "Number of molecules (raw counts).", "x")}, emit(story)),
        density=density.build(dispersion),
        log_likelihood=story.log_likelihood,
        log_prior=story.log_prior,
        unit="cell",
        exchangeable="component",
        methods={
            "em": Method(em, "point", "Maximum likelihood by expectation maximisation."),
            "vi": Method(vi, "approximate", "Variational Bayes in closed form, with the evidence lower bound."),
            "gibbs": Method(gibbs, "exact", "Gibbs sampling of groups, weights and centroids."),
        },
        start=start,
        quantities=likelihood.quantities,
        statistics=likelihood.statistics,
        readers={"table": readers.table, "h5ad": readers.h5ad},
        predict=predict.predict,
        check=check,
        options={"dispersion": tuple(DISPERSION)},
        vary=declare,
        source="MCB112 (Harvard), week 5: mixture models and expectation maximisation, for negative binomial counts.",
    )


def design_known(sizes: Sizes) -> Mapping[str, Any]:
    """Constants for simulations: priors with finite mean and variance (a0 > 2), counts in the tens to hundreds."""
    return {"phi": np.full(sizes["gene"], 0.3), **_constants(sizes)}


def design_unknown(sizes: Sizes) -> Mapping[str, Any]:
    """Constants for simulations when phi is drawn too; a tighter prior of phi than the default of fits."""
    return {**_constants(sizes), "phi0": 0.3, "tau": 0.5}


def _constants(sizes: Sizes) -> dict[str, Any]:
    return {"size_factor": np.ones(sizes["cell"]), "alpha0": 2.0, "a0": 3.0, "b0": 30.0}


def prior_known(
    rng: np.random.Generator, sizes: Sizes, phi: Array, alpha0: Array, a0: Array, b0: Array
) -> Mapping[str, Any]:
    """pi ~ Dirichlet(alpha0); mu = r (1 - p) / p with p ~ Beta(a0, b0), r = 1 / phi."""
    return _weights_and_centroids(rng, sizes, phi, alpha0, a0, b0)


class prior_unknown:  # noqa: N801 - a draw function that remembers the dims of phi
    """phi ~ LogNormal(ln phi0, tau), then as with known phi."""

    def __init__(self, dims: tuple[str, ...]) -> None:
        self.dims = dims

    def __call__(
        self,
        rng: np.random.Generator,
        sizes: Sizes,
        alpha0: Array,
        a0: Array,
        b0: Array,
        phi0: Array,
        tau: Array,
    ) -> Mapping[str, Any]:
        phi = np.exp(rng.normal(np.log(phi0), tau, [sizes[d] for d in self.dims]))
        wide = phi[:, None] if self.dims == ("component",) else phi
        return {"phi": phi, **_weights_and_centroids(rng, sizes, wide, alpha0, a0, b0)}


def _weights_and_centroids(
    rng: np.random.Generator, sizes: Sizes, phi: Array, alpha0: Array, a0: Array, b0: Array
) -> dict[str, Any]:
    if a0 <= 2:
        raise InputError(
            f"nb_mixture: known variable 'a0' () = {float(a0):g} leaves the prior of mu without a finite "
            f"{'mean' if a0 <= 1 else 'variance'}, so that simulations from it mean nothing. Simulate with a0 > 2 "
            "(fits may use any a0)."
        )
    pi = rng.dirichlet(np.full(sizes["component"], alpha0))
    p = rng.beta(a0, b0, (sizes["component"], sizes["gene"]))
    return {"pi": pi, "mu": np.maximum((1 - p) / p / phi, likelihood.FLOOR)}


def assign(rng: np.random.Generator, sizes: Sizes, pi: Array) -> Mapping[str, Any]:
    """Draw the group of each cell from Categorical(pi)."""
    return {"group": rng.choice(sizes["component"], sizes["cell"], p=pi)}


def emit(story: likelihood.Story) -> Any:
    """Return the draw function of the counts: x ~ NB(mean s mu, dispersion phi), genes independent given the group."""

    def draw(rng: np.random.Generator, group: Array, mu: Array, phi: Array, size_factor: Array) -> Mapping[str, Any]:
        mean = size_factor[:, None] * mu[group]  # (N, D)
        r = 1 / story.spread(phi, mu)[group]
        return {"x": rng.negative_binomial(r, r / (r + mean))}

    return draw


def check(problem: Problem) -> None:
    """Reject what no variable shows alone: more components than distinct cells."""
    components, cells = problem.sizes["component"], problem.sizes["cell"]
    x = problem["x"]
    distinct = len(np.unique(x[: 50 * components], axis=0)) if components > 1 else 1
    if distinct < components:
        distinct = len(np.unique(x, axis=0))
    if distinct < components:
        raise InputError(
            f"nb_mixture: component={components}, but the {cells} cells of observed variable 'x' (cell, gene) have "
            f"only {distinct} distinct rows. Ask for at most {distinct} components."
        )


MODEL = declare()
