"""Every kind of case, with its share."""

from collections.abc import Callable

from validation.fuzz.case import Case, Random, sometimes
from validation.fuzz.formats import mendelian_randomization, nb_mixture, notmad, perturbation_score
from validation.fuzz.raw import misplace

PLAN: dict[tuple[str, str], tuple[float, Callable[[Random], Case]]] = {
    ("nb_mixture", "table"): (20, nb_mixture.table),
    ("nb_mixture", "h5ad"): (8, nb_mixture.anndata),
    ("notmad", "table"): (9, notmad.table),
    ("notmad", "h5ad"): (6, notmad.anndata),
    ("perturbation_score", "table"): (9, perturbation_score.table),
    ("perturbation_score", "h5ad"): (6, perturbation_score.anndata),
    ("mendelian_randomization", "table"): (8, mendelian_randomization.table),
    ("mendelian_randomization", "traits"): (5, mendelian_randomization.traits),
}
"""Weight and maker of each kind of case, by model and format."""


def made(r: Random, key: tuple[str, str]) -> Case:
    """Make a case of a kind; now and then, something else stands in a file's place."""
    case = PLAN[key][1](r)
    if case.files and sometimes(r, 0.015):
        misplace(r, case)
    return case
