"""Counts of genes in samples, with rates that learn from each other; equation numbers refer to the card (README.md).

This is the whole generative process: what is known, what is unknown, what is observed, and how each is drawn.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Calibration, Method, Model, Sizes, Stage, Var
from genarium.supports import count, positive

from . import density, likelihood
from .gibbs import gibbs
from .predict import predict
from .readers import table


def draw_inverse_scale(rng: np.random.Generator, a0: Array, b0: Array) -> Array:
    """Draw what the rates of all genes share (eq. 1)."""
    return np.asarray(rng.gamma(a0, 1 / b0))


def draw_rate(rng: np.random.Generator, sizes: Sizes, shape: Array, inverse_scale: Array) -> Array:
    """Draw the rate of every gene (eq. 2)."""
    return rng.gamma(shape, 1 / inverse_scale, sizes["gene"])


def draw_count(rng: np.random.Generator, exposure: Array, rate: Array) -> Array:
    """Draw the counts (eq. 3)."""
    return np.asarray(rng.poisson(exposure[:, None] * rate))


def quantities(rate: Array) -> Mapping[str, Any]:
    """Scalars to calibrate besides the unknown variables: a sum shows what is wrong with correlations."""
    return {"total_rate": rate.sum(-1)}


def statistics(count: Array) -> Mapping[str, Any]:
    """Scalars of the data for predictive checks: counts that spread more than these can show here."""
    return {"mean": count.mean(), "zeros": (count == 0).mean(), "largest": count.max()}


MODEL = Model(
    name=__name__,
    title="Counts of genes with gamma-distributed rates",
    sizes={"sample": 30, "gene": 8},
    known=Stage(
        {
            "exposure": Var(("sample",), positive, "Depth of a sample: its counts grow with it.", "t", default=1.0),
            "shape": Var((), positive, "Shape of the distribution of the rates.", "α", default=2.0),
            "a0": Var((), positive, "Shape of the prior of the inverse scale.", "a₀", default=3.0),
            "b0": Var((), positive, "Inverse scale of the prior of the inverse scale.", "b₀", default=6.0),
        }
    ),
    unknown=Stage(
        {
            "inverse_scale": Var((), positive, "Inverse scale of the rates of all genes.", "β"),
            "rate": Var(("gene",), positive, "Expected count of a gene at exposure one.", "λ"),
        },
        {"inverse_scale": draw_inverse_scale, "rate": draw_rate},
    ),
    hidden=Stage({}),
    observed=Stage({"count": Var(("sample", "gene"), count, "Count.", "y")}, {"count": draw_count}),
    density=density.density,
    log_likelihood=likelihood.log_likelihood,
    log_prior=likelihood.log_prior,
    vectorized=True,
    unit="sample",
    methods={"gibbs": Method(gibbs, "exact", "Gibbs sampling: both conditional distributions are gamma.")},
    test_quantities=quantities,
    statistics=statistics,
    readers={"table": table},
    predict=predict,
    calibration=Calibration(
        settings={"sample": 10, "gene": 3},
        control={"exposure": 2.0},  # a fit that takes the samples for deeper than they are must be found out
        growth=(10, 40, 160),
        undetermined=("inverse_scale",),  # more samples tell each rate, but not what so few genes share
    ),
    source="Gelman et al. (2013), Bayesian Data Analysis, third edition, section 2.6 and chapter 5.",
)
