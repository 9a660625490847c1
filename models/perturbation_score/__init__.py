"""Scores of perturbations: how far the cell states of a knock-out lie from a target, and how sure that is.

The story, the derivations and what is known of the fits are in this folder's README.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from genarium.declaration import Array, Calibration, Method, Model, Problem, Stage, Var
from genarium.errors import InputError
from genarium.signatures import with_parameters
from genarium.supports import count, positive, real, simplex, zero_sum

from . import density, likelihood, predict, readers, story
from .distance import expected_l1
from .genes import gene_features
from .hits import hits, replicate_concentration, write_hits
from .predictor import rotated
from .ranking import rank, score
from .shrinkage import conjugate
from .start import start
from .two_sample import against_control, energy_distance, mmd, permutation_test

__all__ = [
    "MODEL",
    "against_control",
    "energy_distance",
    "expected_l1",
    "gene_features",
    "hits",
    "mmd",
    "permutation_test",
    "rank",
    "replicate_concentration",
    "rotated",
    "score",
]

REGRESSIONS = ("linear", "none", "gaussian_process")
ABUNDANCES = ("given", "joint")


def declare(regression: str = "linear", abundance: str = "given") -> Model:
    """Return the declaration: what proportions are regressed on, and whether the cell number is part of the story."""
    told = likelihood.Story(regression, abundance)
    P, K = ("perturbation",), ("state",)
    linear, joint = regression == "linear", abundance == "joint"
    sizes = {"perturbation": 60, "state": 5}
    known: dict[str, Var] = {}
    design: dict[str, Callable[..., Any]] = {"target": story.design_target}
    unknown = {"mu": Var(K, zero_sum, "Log shares of a perturbation whose features are zero.", "μ")}
    prior: dict[str, Callable[..., Any]] = {"mu": story.draw_mu}
    if regression != "none":
        sizes["feature"] = 3
        known["features"] = Var((*P, "feature"), real, "Features of the perturbed gene, of unit scale.", "X")
        design["features"] = story.design_features
        about = "Effect of a feature on log shares." if linear else "Whitened values of the Gaussian process."
        unknown["weight"] = Var(("feature" if linear else "perturbation", "state"), zero_sum, about, "W")
        prior["weight"] = story.draw_weight if linear else story.draw_surface
        unknown["tau"] = Var((), positive, "Scale of what features explain.", "τ")
        prior["tau"] = story.draw_tau
    if regression == "gaussian_process":
        known["lengthscale"] = Var((), positive, "Lengthscale of the Gaussian process.", "ℓ", default=1.0)
    unknown["kappa"] = Var((), positive, "Concentration of proportions around what is predicted.", "κ")
    prior["kappa"] = story.draw_kappa
    known["target"] = Var(K, simplex, "Wanted shares of the states.", "Q", default=story.uniform_target)
    hidden, latent = {}, dict[str, Callable[..., Any]]()
    if joint:
        unknown["growth"] = Var(K, zero_sum, "Effect of the log cell number on log shares.", "γ")
        unknown["typical"] = Var((), positive, "Mean cell number (less one).", "ν")
        unknown["evenness"] = Var((), positive, "Shape of the cell numbers' negative binomial.", "r")
        prior |= {"growth": story.draw_growth, "typical": story.draw_typical, "evenness": story.draw_evenness}
        hidden["cells"] = Var(P, count, "Number of cells.", "n")
        latent["cells"] = story.draw_cells
    else:
        known["cells"] = Var(P, count, "Number of cells; follows from the counts.", "n", default=story.total_cells)
        design["cells"] = story.design_cells
    hidden["proportion"] = Var((*P, "state"), simplex, "Shares of the states in the perturbation.", "q")
    names = [name for part in told.names() for name in part]

    def draw_proportion(rng: np.random.Generator, sizes: Any, cells: Array, **given: Array) -> Array:
        return story.draw_proportion(rng, told.alpha({**given, "cells": cells}, sizes["perturbation"]))

    latent["proportion"] = with_parameters(["rng", "sizes", "cells", *names], draw_proportion)
    return Model(
        name=__name__,
        title="Scores of perturbations from cell states",
        sizes=sizes,
        known=Stage(known, design),
        unknown=Stage(unknown, prior),
        hidden=Stage(hidden, latent),
        observed=Stage(
            {"count": Var((*P, "state"), count, "Number of cells by state.", "N", default=0.0)},
            {"count": story.draw_count},
        ),
        density=density.build(regression, abundance),
        log_likelihood=told.log_likelihood,
        log_prior=told.log_prior,
        vectorized=True,
        unit="perturbation",
        methods={} if joint else {"conjugate": Method(conjugate, "point", "Conjugate shrinkage, blind to features.")},
        start=start,
        test_quantities=told.quantities,
        statistics=likelihood.statistics,
        readers={"table": readers.table, "h5ad": readers.h5ad},
        predict=predict.predict,
        exports={"hits": write_hits},
        check=check,
        options={"regression": REGRESSIONS, "abundance": ABUNDANCES},
        vary=declare,
        engine_defaults={"target_accept": 0.97},
        calibration=Calibration(
            settings={"perturbation": 25, "state": 4} | ({"feature": 2} if linear else {}),
            control={"features": 1.0} if regression != "none" else {},
            growth=(50, 200, 800),
            undetermined=("weight", "tau", "distance_first"),
        ),
        source="Learning robust statistics for scoring perturbations, on the Cancer Immunotherapy Data Science Grand "
        "Challenge (Broad Institute, 2023).",
    )


def check(problem: Problem) -> None:
    """Reject what no variable shows alone: perturbations without cells, totals that do not fit, too few states."""
    counts, names = problem["count"], problem.coords["perturbation"]
    where = "perturbation_score: observed variable 'count' (perturbation, state)"
    if problem.sizes["state"] < 2:
        raise InputError(f"{where} has a single state, so that there are no proportions. Give two states or more.")
    total = counts.sum(1)
    empty = np.flatnonzero(total == 0)
    if empty.size:
        raise InputError(
            f"{where}: perturbation={names[empty[0]]} has no cells ({empty.size} such perturbations). Drop it, and "
            "predict it from its features."
        )
    for dim, lines in (("perturbation", "rows"), ("state", "columns")):
        text = np.asarray(problem.coords[dim]).astype(str)
        unique, first = np.unique(text, return_index=True)
        if len(unique) < len(text):
            again = int(np.setdiff1d(np.arange(len(text)), first)[0])
            raise InputError(
                f"{where}: the {dim} {str(text[again])!r} occurs more than once. Add up its {lines}, or "
                "name them apart."
            )
    if "cells" in problem.arrays and (problem["cells"] != total).any():
        at = int(np.flatnonzero(problem["cells"] != total)[0])
        raise InputError(
            f"perturbation_score: known variable 'cells' (perturbation): cells[perturbation={names[at]}] = "
            f"{problem['cells'][at]}, but its counts sum to {total[at]}. Leave 'cells' out: it follows from the counts."
        )


MODEL = declare()
