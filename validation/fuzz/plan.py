"""Every kind of case, with its share."""

from collections.abc import Callable

from validation.fuzz.case import Case, Random, sometimes
from validation.fuzz.formats import (
    locus_regression,
    matrices,
    mendelian_randomization,
    mutations,
    nb_mixture,
    notmad,
    perturbation_score,
    transcript_abundance,
    trees,
    words,
)
from validation.fuzz.raw import misplace

PLAN: dict[tuple[str, str], tuple[float, Callable[[Random], Case]]] = {
    ("nb_mixture", "table"): (20, nb_mixture.table),
    ("nb_mixture", "h5ad"): (8, nb_mixture.anndata),
    ("nb_mixture", "10x"): (4, nb_mixture.cell_ranger),
    ("notmad", "table"): (9, notmad.table),
    ("notmad", "h5ad"): (6, notmad.anndata),
    ("perturbation_score", "table"): (9, perturbation_score.table),
    ("perturbation_score", "h5ad"): (6, perturbation_score.anndata),
    ("perturbation_score", "expression"): (3, perturbation_score.expression),
    ("mendelian_randomization", "table"): (8, mendelian_randomization.table),
    ("mendelian_randomization", "traits"): (5, mendelian_randomization.traits),
    ("locus_regression", "npz"): (9, locus_regression.corpus),
    ("locus_regression", "vcf"): (6, mutations.vcf),
    ("locus_regression", "maf"): (4, mutations.maf),
    ("locus_regression", "table"): (4, mutations.table),
    ("locus_regression", "matrix"): (4, matrices.matrix),
    ("transcript_abundance", "salmon"): (6, transcript_abundance.salmon),
    ("transcript_abundance", "course"): (4, transcript_abundance.course),
    ("transcript_abundance", "sparse"): (9, transcript_abundance.sparse),
    ("transcript_abundance", "bam"): (5, transcript_abundance.alignments),
    ("transcript_abundance", "long"): (3, transcript_abundance.long_reads),
    ("words", "set"): (5, words.words),
    ("trees", "verbs"): (1, trees.trees),
}
"""Weight and maker of each kind of case, by model and format."""


def made(r: Random, key: tuple[str, str]) -> Case:
    """Make a case of a kind; now and then, something else stands in a file's place."""
    case = PLAN[key][1](r)
    if case.files and sometimes(r, 0.015):
        misplace(r, case)
    return case
