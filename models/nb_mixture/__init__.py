"""Negative binomial mixture: groups of cells from raw counts.

The story, the derivations and what is known of the fits are in this folder's README.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Calibration, Method, Model, Problem, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.remedies import setting
from genarium.supports import LARGEST, count, label, positive, simplex

from . import annotate, density, draws, likelihood, predict, readers
from .cautions import cautions
from .em import em
from .gibbs import gibbs
from .start import start
from .stepwise import online, svi
from .vi import vi

DISPERSION = {"known": ("gene",), "shared": (), "gene": ("gene",), "component": ("component",)}
"""Dims of ``phi`` under each value of the option ``dispersion``."""

PHI = "Dispersion: variance = mean + phi mean²."


def declare(dispersion: str = "known") -> Model:
    """Return the declaration; ``dispersion`` says whether phi is known, and along which dim it varies if not."""
    phi = Var(DISPERSION[dispersion], positive, PHI, "φ")
    known = {
        "size_factor": Var(("cell",), positive, "Relative sequencing depth of a cell; 1 for none.", "s", default=1.0),
        "alpha0": Var((), positive, "Concentration of the symmetric Dirichlet prior of pi.", "α₀", default=1.0),
        "a0": Var((), positive, "First parameter of the Beta prior of p = 1/(1 + phi mu).", "a₀", default=1.0),
        "b0": Var((), positive, "Second parameter of that prior.", "b₀", default=1.0),
    }
    unknown = {
        "pi": Var(("component",), simplex, "Weight of each component.", "π"),
        "mu": Var(("component", "gene"), positive, "Centroid: mean count of a gene in a cell of size factor 1.", "μ"),
    }
    prior = {"pi": draw_pi, "mu": draw_mu(dispersion)}
    if dispersion == "known":
        known = {"phi": phi, **known}
        design: dict[str, Callable[..., Any]] = {"phi": design_phi, **DESIGN}
    else:
        known |= {
            "phi0": Var((), positive, "Median of the log-normal prior of phi.", "φ₀", default=0.3),
            "tau": Var((), positive, "Standard deviation of ln phi in its prior.", "τ", default=1.0),
        }
        unknown = {"phi": phi, **unknown}
        prior = {"phi": draw_phi(DISPERSION[dispersion]), **prior}
        design = {"tau": lambda: 0.5, **DESIGN}
    story = likelihood.Story(dispersion)
    return Model(
        name=__name__,
        title="Negative binomial mixture",
        sizes={"cell": 200, "gene": 2, "component": 3},
        known=Stage(known, design),
        unknown=Stage(unknown, prior),
        hidden=Stage({"group": Var(("cell",), label("component"), "Component of each cell.", "G")}, {"group": assign}),
        observed=Stage(
            {"x": Var(("cell", "gene"), count, "Number of molecules (raw counts).", "x")}, {"x": emit(story)}
        ),
        density=density.build(dispersion),
        log_likelihood=story.log_likelihood,
        hoisted=draws.pointwise,
        log_prior=story.log_prior,
        vectorized=True,
        unit="cell",
        exchangeable="component",
        methods={
            "em": Method(em, "point", "Maximum likelihood by expectation maximisation.", holds=("phi", "pi", "mu")),
            "vi": Method(vi, "approximate", "Variational Bayes in closed form, with the evidence lower bound."),
            "online": Method(online, "point", "EM in small steps, for millions of cells.", holds=("phi", "pi", "mu")),
            "svi": Method(svi, "approximate", "Variational Bayes from the mode of ``online``, for millions of cells."),
            "gibbs": Method(gibbs, "exact", "Gibbs sampling of groups, weights and centroids."),
        },
        start=start,
        cautions=cautions,
        test_quantities=likelihood.quantities,
        statistics=likelihood.statistics,
        readers={"table": readers.table, "h5ad": readers.h5ad, "10x": readers.tenx},
        predict=predict.predict,
        annotate={".h5ad": annotate.h5ad},
        check=check,
        options={"dispersion": tuple(DISPERSION)},
        vary=declare,
        calibration=Calibration(
            settings={"cell": 100, "component": 2},
            control={"phi": 0.6} if dispersion == "known" else {"alpha0": 20.0},
            growth=(100, 400, 1600),
        ),
        source="MCB112 (Harvard), week 5: mixture models and expectation maximisation, for negative binomial counts.",
    )


DESIGN: Mapping[str, Callable[..., Any]] = {
    "alpha0": lambda: 2.0,
    "a0": lambda: 3.0,  # above 2: the prior of mu has a mean and a variance
    "b0": lambda: 30.0,
}
"""Constants for simulations: counts in the tens to hundreds."""


def design_phi(sizes: Sizes) -> Array:
    """Dispersion for simulations."""
    return np.full(sizes["gene"], 0.3)


def draw_phi(dims: tuple[str, ...]) -> Callable[..., Array]:
    """Return the draw function phi ~ LogNormal(ln phi0, tau)."""

    def draw(rng: np.random.Generator, sizes: Sizes, phi0: Array, tau: Array) -> Array:
        return np.exp(rng.normal(np.log(phi0), tau, [sizes[d] for d in dims]))

    return draw


def draw_pi(rng: np.random.Generator, sizes: Sizes, alpha0: Array) -> Array:
    """Draw the weights from a symmetric Dirichlet distribution."""
    return rng.dirichlet(np.full(sizes["component"], alpha0))


def draw_mu(dispersion: str) -> Callable[..., Array]:
    """Return the draw function mu = (1 - p) / (p phi), p ~ Beta(a0, b0)."""

    def draw(rng: np.random.Generator, sizes: Sizes, phi: Array, a0: Array, b0: Array) -> Array:
        if a0 <= 2:
            raise InputError(
                f"nb_mixture: known variable 'a0' () = {float(a0):g} leaves the prior of mu without a finite "
                f"{'mean' if a0 <= 1 else 'variance'}, so that simulations from it mean nothing. Simulate with a0 > 2 "
                "(fits may use any a0), or give mu."
            )
        p = rng.beta(a0, b0, (sizes["component"], sizes["gene"]))
        wide = phi[:, None] if dispersion == "component" else phi
        return np.maximum((1 - p) / p / wide, likelihood.FLOOR)

    return draw


def assign(rng: np.random.Generator, sizes: Sizes, pi: Array) -> Array:
    """Draw the group of each cell from Categorical(pi)."""
    return rng.choice(sizes["component"], sizes["cell"], p=pi)


def emit(story: likelihood.Story) -> Callable[..., Array]:
    """Return the draw function of the counts: x ~ NB(mean s mu, dispersion phi), genes independent given the group."""

    def draw(rng: np.random.Generator, group: Array, mu: Array, phi: Array, size_factor: Array) -> Array:
        mean = size_factor[:, None] * mu[group]  # (N, D)
        r = 1 / story.spread(phi, mu)[group]
        mean = np.minimum(mean, LARGEST / (1 + 10 / np.sqrt(r)))  # a wild draw has counts that are still numbers
        counts: Array = rng.negative_binomial(r, r / (r + mean))
        return counts

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
            f"nb_mixture: {setting('component', components)}, but the {cells} cells of observed variable 'x' (cell, "
            "gene) have "
            f"only {distinct} distinct rows. Ask for at most {distinct} components."
        )


MODEL = declare()
