"""Abundances of transcripts from RNA-seq reads that fit several of them.

The generative process, the derivations and the measurements are in this folder's README.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Calibration, Method, Model, Problem, Stage, Var
from genarium.errors import InputError
from genarium.supports import count, label, nonnegative, positive, real, simplex, unit_interval

from . import bam, course, density, exports, groups, likelihood, long_reads, relaxed, salmon, sparse, story
from .cautions import cautions
from .commands import COMMANDS
from .em import em
from .gibbs import gibbs
from .start import start
from .vi import vi


def check(problem: Problem) -> None:
    """Reject what no variable shows alone: no reads, reads that no transcript explains, a total that does not fit."""
    c, total = problem["count"], int(problem["reads"])
    where = "transcript_abundance: observed variable 'count' (equivalence_class)"
    if not c.any():
        raise InputError(f"{where} holds no reads at all, so that there is nothing to estimate. Check the mapping.")
    if total != c.sum():
        raise InputError(
            f"transcript_abundance: known variable 'reads' () = {total}, but 'count' sums to {c.sum()}. Leave 'reads' "
            "out: it follows from the counts."
        )
    covered = np.bincount(problem["entry_class"], problem["weight"], len(c)) > 0
    lost = np.flatnonzero((c > 0) & ~covered)
    if lost.size:
        at = lost[0]
        raise InputError(
            f"{where}: equivalence_class={problem.coords['equivalence_class'][at]} has {c[at]} reads, but no entry of "
            f"weight above zero ({lost.size} such classes). Give a transcript that it can come from, or drop it."
        )


def reads_of(count: Array) -> Array:
    """Total number of reads."""
    return np.asarray(count.sum())


NU = Var(("transcript",), simplex, "Nucleotide abundance: share of a transcript in the reads.", "ν")

PRIOR: dict[str, Callable[..., Array]] = {"presence": story.draw_presence, "spread": story.draw_spread}

DIRICHLET_ONLY = (
    *("vi", "nuts", "nuts-jax", "advi", "dadvi", "map"),
    *("stan", "stan-advi", "stan-pathfinder", "stan-laplace", "stan-map"),
)
"""Methods that take abundances above zero only."""

ATOMS = (
    "under prior='sparse' transcripts may be absent, which no gradient can follow. Use method 'gibbs' (or 'em', which "
    "has no prior), or prior='relaxed' or prior='dirichlet'"
)

RELAXED = (
    "it takes prior='sparse', under which transcripts are absent, or prior='dirichlet'. With prior='relaxed' use a "
    "method that follows gradients, such as 'nuts'"
)

MANY_MAXIMA = "the relaxed prior has a maximum for each set of transcripts that may be absent. Use 'nuts', or 'em'"


def declare(prior: str = "sparse") -> Model:
    """Return the declaration; ``prior``: transcripts may be absent, or nearly so, or abundances are Dirichlet."""
    sparse_prior = prior == "sparse"
    if prior == "relaxed":
        return _relaxed(declare("sparse"))
    known: dict[str, Var] = {}
    unknown: dict[str, Var] = {}
    prior_draws: dict[str, Any] = {}
    draw_nu: Callable[..., Array] = story.draw_sparse_nu
    alpha: dict[str, float] = {}
    methods = {
        "em": Method(em, "point", "Maximum likelihood by EM with SQUAREM, with a bound on what is left to gain."),
        "gibbs": Method(gibbs, "exact", "Gibbs sampling of origins, abundances and, under the sparse prior, presence."),
    }
    if sparse_prior:
        unknown = {
            "presence": Var((), unit_interval, "Probability that a transcript is there at all.", "π"),
            "spread": Var((), positive, "Standard deviation of the log abundances of those that are there.", "σ"),
        }
        prior_draws = dict(PRIOR)
    else:
        known = {
            "alpha": Var(("transcript",), positive, "Concentration of the Dirichlet prior of nu.", "α", default=1.0)
        }
        methods["vi"] = Method(
            vi, "point", "Variational Bayes (VB-EM) with a Dirichlet factor: estimates under a prior."
        )
        draw_nu, alpha = story.draw_nu, {"alpha": 1.5}
    return Model(
        name=__name__,
        title="Transcript abundances from RNA-seq equivalence classes",
        sizes={"transcript": 8, "equivalence_class": 20, "entry": 60},
        known=Stage(
            {
                "entry_class": Var(("entry",), label("equivalence_class"), "Class of an entry of the table.", "e"),
                "entry_transcript": Var(("entry",), label("transcript"), "Transcript of an entry of the table.", "k"),
                "weight": Var(
                    ("entry",), nonnegative, "P(class | transcript), up to one factor for each class if need be.", "w"
                ),
                "effective_length": Var(("transcript",), positive, "Starts that a read may have, in nucleotides.", "ℓ"),
                **known,
                "reads": Var((), count, "Total number of reads; follows from the counts.", "N", default=reads_of),
            },
            story.design,
        ),
        unknown=Stage({**unknown, "nu": NU}, {**prior_draws, "nu": draw_nu}),
        hidden=Stage(
            {
                "origin": Var(
                    ("entry",),
                    count,
                    "Reads by transcript G, start S and orientation O, as far as entries tell them.",
                    "n",
                )
            },
            {"origin": story.draw_origin},
        ),
        observed=Stage(
            {"count": Var(("equivalence_class",), count, "Number of reads of a class.", "c")},
            {"count": story.count_reads},
        ),
        density=None if sparse_prior else density.density,
        log_likelihood=likelihood.log_likelihood,
        log_prior=likelihood.log_sparse_prior if sparse_prior else likelihood.log_prior,
        vectorized=True,
        unit="equivalence_class",
        derived=Stage(
            {
                "tpm": Var(("transcript",), nonnegative, "Transcripts per million.", "τ"),
                "counts": Var(("transcript",), nonnegative, "Reads expected from a transcript.", "N ν"),
                "ridge_counts": Var(
                    ("transcript",), nonnegative, "Reads expected from all transcripts of its ridge.", "N Σ ν"
                ),
            },
            {"tpm": likelihood.tpm, "counts": likelihood.counts, "ridge_counts": groups.ridge_counts},
        ),
        multiplicity="count",
        coordinates=Stage(
            {
                "ridge": Var(
                    ("transcript",), count, "Group of transcripts whose split the reads leave open; 0 for none.", "ρ"
                )
            },
            {"ridge": groups.ridge},
        ),
        cautions=cautions,
        methods=methods,
        start=start,
        test_quantities=likelihood.quantities,
        unsupported=dict.fromkeys(DIRICHLET_ONLY, ATOMS) if sparse_prior else {},
        options={"prior": ("sparse", "dirichlet", "relaxed")},
        vary=declare,
        statistics=likelihood.statistics,
        readers={
            "salmon": salmon.salmon,
            "course": course.course,
            "sparse": sparse.sparse,
            "bam": bam.bam,
            "long": long_reads.long,
        },
        exports={"salmon": exports.salmon},
        commands=COMMANDS,
        check=check,
        calibration=Calibration(
            settings={"transcript": 5, "equivalence_class": 10, "entry": 25, "reads": 500} | alpha,
            control={"weight": 0.2},
        ),
        source="MCB112 (Harvard), week 9: the probability model of RNA-seq reads and its EM algorithm.",
    )


def _relaxed(sparse: Model) -> Model:
    """Return the declaration under the relaxed prior: absent transcripts have next to no reads, by a density."""
    unknown = {name: var for name, var in sparse.unknown.variables.items() if name != "nu"}
    unknown["log_rate"] = Var(("transcript",), real, "Log abundance by nucleotide, up to a factor.", "x")
    drawn = {**PRIOR, "log_rate": relaxed.draw_log_rate}
    derived = {name: getattr(relaxed, name) for name in ("nu", *sparse.derived.variables)}
    return replace(
        sparse,
        unknown=Stage(unknown, drawn),
        hidden=Stage(sparse.hidden.variables, {"origin": relaxed.draw_origin}),
        density=density.relaxed_density,
        log_likelihood=relaxed.log_likelihood,
        log_prior=relaxed.log_prior,
        derived=Stage({"nu": NU, **sparse.derived.variables}, derived),
        methods={},
        start=relaxed.start,
        test_quantities=relaxed.quantities,
        engine_defaults={"target_accept": 0.98},
        unsupported=dict.fromkeys(("em", "gibbs", "vi"), RELAXED) | dict.fromkeys(("map", "stan-map"), MANY_MAXIMA),
    )


MODEL = declare()
