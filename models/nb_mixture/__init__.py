"""Negative binomial mixture: groups of cells from raw counts.

The generative process, the derivations and the measurements are in this folder's README.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Calibration, Method, Model, Problem, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.remedies import setting
from genarium.supports import count, label, positive, simplex

from . import adjusted_density, annotate, density, draws, likelihood, predict, readers
from .adjusted import MEANS, WEIGHTS, ZEROS, Adjusted
from .adjusted_fit import adjusted_vi
from .cautions import cautions
from .em import em
from .folds import folds
from .gibbs import gibbs
from .start import start
from .stepwise import online, svi
from .vi import vi

DISPERSION = {"known": ("gene",), "shared": (), "gene": ("gene",), "component": ("component",)}
"""Dims of ``phi`` under each value of the option ``dispersion``."""

PHI = "Dispersion: variance = mean + phi mean²."


def declare(
    dispersion: str = "known", weights: str = "constant", means: str = "constant", zeros: str = "plain"
) -> Model:
    """Return the declaration under values of the options.

    Parameters
    ----------
    dispersion : {"known", "shared", "gene", "component"}
        Whether phi is known, and along which dim it varies if not.
    weights : {"constant", "covariates"}
        Whether the weights depend on covariates of a cell.
    means : {"constant", "batch"}
        Whether the means depend on the batch of a cell.
    zeros : {"plain", "inflated"}
        Whether some counts are lost, as zeros.
    """
    told = Adjusted(dispersion, weights, means, zeros)
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
    known |= told.known
    unknown |= told.unknown
    prior |= told.prior
    design |= told.design
    group = Var(("cell",), label("component"), "Component of each cell.", "G")
    control: dict[str, Any] = {"phi": 0.6} if dispersion == "known" else {"alpha0": 20.0}
    return Model(
        name=__name__,
        title="Negative binomial mixture",
        sizes={"cell": 200, "gene": 2, "component": 3, **told.sizes},
        known=Stage(known, design),
        unknown=Stage(unknown, prior),
        hidden=Stage({"group": group}, {"group": told.assign}),
        observed=Stage({"x": Var(("cell", "gene"), count, "Number of molecules (raw counts).", "x")}, {"x": told.emit}),
        density=density.build(dispersion) if told.plain else adjusted_density.build(dispersion, weights, means, zeros),
        log_likelihood=told.log_likelihood if told.plain else told.pointwise,
        hoisted=draws.pointwise if told.plain else None,
        log_prior=told.log_prior if told.plain else told.density_of_prior,
        vectorized=True,
        unit="cell",
        exchangeable="component",
        methods=METHODS if told.plain else ADJUSTED,
        start=start,
        cautions=cautions,
        test_quantities=told.quantities,
        statistics=likelihood.statistics,
        readers={"table": readers.table, "h5ad": readers.h5ad, "10x": readers.tenx},
        predict=predict.predict,
        folds=folds,
        annotate={".h5ad": annotate.h5ad},
        check=check,
        options={"dispersion": tuple(DISPERSION), "weights": WEIGHTS, "means": MEANS, "zeros": ZEROS},
        vary=declare,
        calibration=Calibration(
            settings={"cell": 100, "component": 2},
            control=control,
            growth=(100, 400, 1600),
        ),
        source="MCB112 (Harvard), week 5: mixture models and expectation maximisation, for negative binomial counts.",
    )


METHODS = {
    "em": Method(em, "point", "Maximum likelihood by expectation maximisation.", holds=("phi", "pi", "mu")),
    "vi": Method(vi, "approximate", "Variational Bayes in closed form, with the evidence lower bound."),
    "online": Method(online, "point", "EM in small steps, for millions of cells.", holds=("phi", "pi", "mu")),
    "svi": Method(svi, "approximate", "Variational Bayes from the mode of ``online``, for millions of cells."),
    "gibbs": Method(gibbs, "exact", "Gibbs sampling of groups, weights and centroids."),
}
"""Methods of the plain model, under any dispersion."""

ADJUSTED = {
    "em": Method(
        em,
        "point",
        "Maximum of the likelihood, effects shrunk, by expectation maximisation.",
        defaults={"tolerance": 1e-4},
    ),
    "vi": Method(adjusted_vi, "approximate", "Variational Bayes with normal factors of the logs, and its lower bound."),
    "online": replace(METHODS["online"], holds=()),
    "svi": METHODS["svi"],
    "gibbs": METHODS["gibbs"],
}
"""Methods with covariates, batches or zero inflation."""

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


def check(problem: Problem) -> None:
    """Reject what no variable shows alone: more components than distinct cells."""
    components, cells = problem.sizes["component"], problem.sizes["cell"]
    x = problem["x"]
    for dim, option, do_without in (("component", "weights", "constant"), ("batch", "means", "constant")):
        if problem.option(option) != do_without and problem.sizes[dim] < 2:
            raise InputError(
                f"nb_mixture: {setting(option, problem.option(option))} needs two {dim}{'e' * (dim == 'batch')}s or "
                f"more, and there is one. Use {setting(option, do_without)}."
            )
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
