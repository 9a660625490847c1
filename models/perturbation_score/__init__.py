"""Scores of perturbations: how far the cell states of a knock-out lie from a target, and how sure that is.

The generative process, the derivations and the measurements are in this folder's README.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from genarium.declaration import Calibration, Method, Model, Problem, Stage, Var
from genarium.errors import InputError
from genarium.supports import count, label, positive, real, simplex, zero_sum

from . import density, expression, likelihood, predict, readers, story
from .combinations import combinations
from .contrasts import contrasts, new_replicate, write_contrasts
from .distance import expected_l1
from .enrichment import enrichment, programs, read_gmt
from .genes import gene_features
from .guides import concordance, escapees
from .hits import hits, replicate_concentration, write_hits
from .hits_command import hits_of_file
from .predictor import rotated
from .ranking import rank, score
from .shrinkage import conjugate
from .start import start
from .two_sample import against_control, energy_distance, mmd, permutation_test

__all__ = [
    "MODEL",
    "against_control",
    "combinations",
    "concordance",
    "contrasts",
    "energy_distance",
    "enrichment",
    "escapees",
    "expected_l1",
    "gene_features",
    "hits",
    "mmd",
    "new_replicate",
    "permutation_test",
    "programs",
    "rank",
    "read_gmt",
    "replicate_concentration",
    "rotated",
    "score",
]

REGRESSIONS = ("linear", "none", "gaussian_process")
ABUNDANCES = ("given", "joint")
REPLICATES = ("pooled", "nested", "batched", "logistic_normal")
OBSERVED = ("states", "expression")


def declare(
    regression: str = "linear", abundance: str = "given", replicates: str = "pooled", observed: str = "states"
) -> Model:
    """Return the declaration.

    Parameters
    ----------
    regression : {"linear", "none", "gaussian_process"}
        What proportions are regressed on.
    abundance : {"given", "joint"}
        Whether the cell number is part of the story.
    replicates : {"pooled", "nested", "batched", "logistic_normal"}
        Whether a row is all of a perturbation, or one of its replicates (wells, animals), whose shares vary around it;
        "batched" moves them by the batch, too; "logistic_normal" lets their logarithms vary, all states alike.
    observed : {"states", "expression"}
        Whether numbers of cells by state are observed, or the cells, with their expression; the other options but
        ``regression`` mean nothing then.
    """
    if observed == "expression":
        return expression.declare(regression, SHARED)
    told = likelihood.Story(regression, abundance, replicates)
    P, K = ("perturbation",), ("state",)
    rows = ("replicate",) if told.nested else P
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
        about = (
            "Effect of a feature on log shares, in units of tau over the root of the number of features."
            if linear
            else "Whitened values of the Gaussian process."
        )
        unknown["weight"] = Var(("feature" if linear else "perturbation", "state"), zero_sum, about, "W")
        prior["weight"] = story.draw_weight if linear else story.draw_surface
        unknown["tau"] = Var((), positive, "Scale of what features explain.", "τ")
        prior["tau"] = story.draw_tau
    if regression == "gaussian_process":
        known["lengthscale"] = Var((), positive, "Lengthscale of the Gaussian process.", "ℓ", default=1.0)
    if told.nested:
        about = "Sd of a perturbation's log shares around what is predicted."
        unknown["spread"], prior["spread"] = Var((), positive, about, "σ"), story.draw_tau
        about = "Whitened deviation of a perturbation's log shares."
        unknown["deviation"], prior["deviation"] = Var((*P, "state"), zero_sum, about, "z"), story.draw_surface
        sizes["replicate"] = 180
        known["condition"] = Var(rows, label("perturbation"), "Perturbation of each replicate.", "c")
        design["condition"] = story.design_condition
    else:
        unknown["kappa"] = Var((), positive, "Concentration of proportions around what is predicted.", "κ")
        prior["kappa"] = story.draw_kappa
    if told.batched:
        sizes["batch"] = 3
        known["batch"] = Var(rows, label("batch"), "Batch of each replicate.", "b", default=0.0)
        design["batch"] = story.design_batch
        unknown["batch_effect"] = Var(("batch", "state"), zero_sum, "Effect of a batch on log shares.", "β")
        prior["batch_effect"] = story.draw_batch_effect
    if told.normal:
        unknown["replicate_spread"] = Var((), positive, "Sd of a replicate's log shares.", "s")
        about = "Whitened deviation of a replicate's log shares."
        unknown["replicate_deviation"] = Var((*rows, "state"), zero_sum, about, "w")
        prior |= {
            "replicate_spread": story.draw_replicate_spread,
            "replicate_deviation": story.draw_replicate_deviation,
        }
    elif told.nested:
        unknown["rho"] = Var((), positive, "Concentration of a replicate's shares around the perturbation's.", "ρ")
        prior["rho"] = story.draw_rho
    known["target"] = Var(K, simplex, "Wanted shares of the states.", "Q", default=story.uniform_target)
    hidden, latent = {}, dict[str, Callable[..., Any]]()
    if joint:
        unknown["growth"] = Var(K, zero_sum, "Effect of the log cell number on log shares.", "γ")
        unknown["typical"] = Var((), positive, "Mean cell number (less one).", "ν")
        unknown["evenness"] = Var((), positive, "Shape of the cell numbers' negative binomial.", "r")
        prior |= {"growth": story.draw_growth, "typical": story.draw_typical, "evenness": story.draw_evenness}
        hidden["cells"] = Var(rows, count, "Number of cells.", "n")
        latent["cells"] = story.draw_replicate_cells if told.nested else story.draw_cells
    else:
        known["cells"] = Var(rows, count, "Number of cells; follows from the counts.", "n", default=story.total_cells)
        design["cells"] = story.design_replicate_cells if told.nested else story.design_cells
    proportion = Var((*P, "state"), simplex, "Shares of the states in the perturbation.", "q")
    if told.nested:
        hidden["replicate_proportion"] = Var((*rows, "state"), simplex, "Shares of the states in a replicate.", "u")
        latent["replicate_proportion"] = told.draw_replicate_proportion
    else:
        hidden["proportion"], latent["proportion"] = proportion, told.draw_proportion
    methods = {} if joint or told.batched or told.normal else {"conjugate": Method(conjugate, "point", CONJUGATE)}
    smaller = {"perturbation": 10, "replicate": 30} if told.nested else {"perturbation": 25}
    return Model(
        title="Scores of perturbations from cell states",
        sizes=sizes,
        known=Stage(known, design),
        unknown=Stage(unknown, prior),
        hidden=Stage(hidden, latent),
        observed=Stage(
            {"count": Var((*rows, "state"), count, "Number of cells by state.", "N", default=0.0)},
            {"count": story.draw_replicate_count if told.nested else story.draw_count},
        ),
        density=density.build(regression, abundance, replicates),
        log_likelihood=told.log_likelihood,
        log_prior=told.log_prior,
        vectorized=True,
        unit=rows[0],
        methods=methods,
        start=start,
        derived=Stage({"proportion": proportion}, {"proportion": told.proportion}) if told.nested else Stage({}),
        test_quantities=told.quantities,
        statistics=likelihood.statistics,
        readers={"table": readers.table, "h5ad": readers.h5ad, "expression": readers.expression},
        predict=predict.predict,
        exports={"hits": write_hits, "contrasts": write_contrasts},
        check=check,
        engine_defaults={"target_accept": 0.97},
        calibration=Calibration(
            settings={**smaller, "state": 4} | ({"feature": 2} if linear else {}),
            control={"features": 1.0} if regression != "none" else {},
            growth=() if told.nested or regression == "gaussian_process" else (50, 200, 800),  # a smooth's is slower
            undetermined=("weight", "tau", "distance_first"),
        ),
        **SHARED,
    )


SHARED: dict[str, Any] = {
    "name": __name__,
    "options": {
        "regression": REGRESSIONS,
        "abundance": ABUNDANCES,
        "replicates": REPLICATES,
        "observed": OBSERVED,
    },
    "vary": declare,
    "commands": {"hits": hits_of_file},
    "source": "Learning robust statistics for scoring perturbations, on the Cancer Immunotherapy Data Science Grand "
    "Challenge (Broad Institute, 2023).",
}
"""What all variants have."""

CONJUGATE = "Conjugate shrinkage towards what features say; replicates by what their cells are worth."


def check(problem: Problem) -> None:
    """Reject what no variable shows alone: perturbations without cells, totals that do not fit, too few states."""
    row = problem.model.unit
    counts, names = problem["count"], problem.coords[row]
    where = f"perturbation_score: observed variable 'count' ({row}, state)"
    if problem.sizes["state"] < 2:
        raise InputError(f"{where} has a single state, so that there are no proportions. Give two states or more.")
    total = counts.sum(1)
    empty = np.flatnonzero(total == 0)
    if empty.size:
        raise InputError(
            f"{where}: {row}={names[empty[0]]} has no cells ({empty.size} such {row}s). Drop it, and "
            f"predict {'it' if row == 'perturbation' else 'a perturbation without any'} from its features."
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
            f"perturbation_score: known variable 'cells' ({row}): cells[{row}={names[at]}] = "
            f"{problem['cells'][at]}, but its counts sum to {total[at]}. Leave 'cells' out: it follows from the counts."
        )


MODEL = declare()
