"""Locus regression: which mutational processes act, and where along the genome.

The generative process, the derivations and the measurements are in this folder's README.
"""

from collections.abc import Callable

import numpy as np

from genarium.declaration import Array, Calibration, Method, Model, Problem, Stage, Var
from genarium.errors import InputError
from genarium.remedies import setting
from genarium.supports import count, label, nonnegative, positive, real, simplex

from . import annotation, answers, density, ingest, likelihood, predict, readers, story, strands
from .cautions import cautions
from .channels import SETS, split_channel
from .folds import folds
from .gibbs import gibbs
from .hyperprior import learned
from .matrix import matrix
from .spectra import derive, prepare, with_given
from .start import start
from .stored import fit_blocks, split_command
from .svi import svi
from .trees import DEFAULT_SIZES, require_plain
from .trees import KNOWN as OF_LEAVES
from .trees import SIZES as OF_TREES
from .trees import UNKNOWN as TREES
from .vi import vi

OPTIONS = {
    "form": ("conditional", "joint"),
    "groups": ("one", "several"),
    "loci": ("fixed", "random"),
    "spectra": ("free", "given", "mixed"),
    "channels": tuple(SETS),
    "rates": ("linear", "trees"),
}
"""How locus and context go together; whether groups of genomes have features of their own; whether loci vary more than
their features say; whether no process, every process or the first ones have a signature that is given; what kinds of
mutations are told apart; whether log rates are linear in the features, or have trees besides."""

VI_ONLY = "rates='trees' is fitted by vi alone: trees are grown by steps up its bound. Use vi, or rates='linear'"

OTHERS = (
    "svi",
    "gibbs",
    "nuts",
    "nuts-jax",
    "advi",
    "dadvi",
    "map",
    "stan",
    "stan-pathfinder",
    "stan-laplace",
    "stan-advi",
    "stan-map",
)
"""Methods that do not offer trees."""

ASYMMETRIES = ("asymmetry", "asymmetry_by_substitution")
"""What follows where strands are told apart."""

CAUTIOUS = 0.97
"""Acceptance of NUTS: at its default of .9 it meets divergences now and then."""

ALTERNATIVES = "Bases that a context is mutated to; G|C: to G where C is mutated, to C where T is."

EXPORTS = {
    "signatures": answers.signatures,
    "exposures": answers.exposures,
    "mutations": answers.mutations,
    "bedgraph": answers.bedgraph,
    "bigwig": answers.bigwig,
    "vcf": annotation.vcf,
}
"""What ``genarium export`` writes of a fit."""


def declare(
    form: str = "conditional",
    groups: str = "one",
    loci: str = "fixed",
    spectra: str = "free",
    channels: str = "SBS96",
    rates: str = "linear",
) -> Model:
    """Return the declaration.

    Parameters
    ----------
    form : {"conditional", "joint"}
        Whether a mutation picks its locus first and its context there (Algorithm 1), or both at once.
    groups : {"one", "several"}
        Whether all genomes share their features, or each covariate group of genomes has its own.
    loci : {"fixed", "random"}
        Whether features decide a process's rate in a locus, or a random effect of the locus besides (over-dispersion).
    spectra : {"free", "given", "mixed"}
        Whether the signature of no process, of every process or of the first ones is given. ``signatures=`` sets it.
    channels : {"SBS96", "SBS192", "SBS288", "DBS78", "ID83"}
        What kinds of mutations are told apart: substitutions in their context, the same on two strands, or on these
        and elsewhere, doublet substitutions, or indels.
    rates : {"linear", "trees"}
        Whether the log rate of a process is linear in the features, or regression trees are added (eq. 39).
    """
    kinds = SETS[channels]
    single = len(kinds.alternatives) == 1
    several, random, trees = groups == "several", loci == "random", rates == "trees"
    of_group = ("covariate_group",) if several else ()
    known = {
        "features": Var(
            (*of_group, "feature", "locus"), real, "Features of a locus, best standardised.", "X", default=0.0
        ),
        "exposure": Var(("locus",), positive, "Window length, or another exposure of a locus.", "l", default=1.0),
        "context_opportunity": Var(
            ("context", "locus"), nonnegative, "How often a context occurs in a locus.", "t", default=1.0
        ),
        "context_exposure": Var(("context",), positive, "Exposure of a context everywhere.", "e", default=1.0),
        "alpha": Var(("process",), positive, "Concentration of the Dirichlet prior of pi.", "α", default=1.0),
        "tau": Var(("process",), positive, "Standard deviation of the normal prior of beta.", "τ", default=1.0),
        "genome": Var(("cell",), label("genome"), "Genome of a cell of the mutation table.", "g"),
        "count": Var(("cell",), count, "Mutations in a cell of the table.", "n", default=1.0),
    }
    if several:
        known["group"] = Var(("cell",), label("covariate_group"), "Covariate group of the cell's genome.", "j")
    if random:
        known["dispersion"] = Var(("process",), positive, "Variance of the effects of loci.", "φ", default=0.1)
    process = {"free": "", "given": "process", "mixed": "reference"}[spectra]
    if process:
        about = "Shares of the channels in mutations of a given process, in the genome that it was found in."
        known["signatures"] = Var((process, "channel"), nonnegative, about, "s")
        about = "How often a context occurs in the genome that signatures are of; 0 everywhere: as in the data."
        known["signature_opportunity"] = Var(("context",), nonnegative, about, "T", default=0.0)
    spectrum = {
        "lam": Var(("process", "context"), simplex, "Preference of a process for contexts.", "λ"),
        "rho": Var(("process", "context", "alternative"), simplex, ALTERNATIVES, "ρ"),
    }
    free = {
        "lam_free": Var(("free", "context"), simplex, "Preference of a process that is not given.", "λ'"),
        "rho_free": Var(("free", "context", "alternative"), simplex, ALTERNATIVES, "ρ'"),
    }
    drawn: dict[str, Var] = {"free": spectrum, "given": {}, "mixed": free}[spectra]
    if spectra != "given":
        whose = ("free",) if spectra == "mixed" else ("process",)
        about = "Concentration of the symmetric Dirichlet prior of "
        known["lam_concentration"] = Var(whose, positive, f"{about}preferences for contexts.", "κ", default=1.0)
        if not single:
            known["rho_concentration"] = Var(whose, positive, f"{about}alternatives of a context.", "ξ", default=1.0)
    unknown = {
        "beta": Var(("process", "feature"), real, "Effect of a feature on the log rate of a process.", "β"),
        **{name: var for name, var in drawn.items() if not (single and name.startswith("rho"))},
        "pi": Var(("genome", "process"), simplex, "Share of each process in a genome's mutations.", "π"),
    }
    if random:
        about = "Effect of a locus on the rate of a process, of mean one."
        unknown["locus_effect"] = Var(("process", "locus"), positive, about, "ε")
    if trees:
        known |= OF_LEAVES
        unknown |= TREES
    sizes = {"cell": 2000, "genome": 20, "locus": 200, "feature": 3, "process": 3}
    sizes |= {"context": len(kinds.contexts), "alternative": len(kinds.alternatives), "channel": len(kinds.channels)}
    sizes |= {"covariate_group": 2} if several else {}
    sizes |= {"reference": 2, "free": 1} if spectra == "mixed" else {}
    sizes |= {**OF_TREES, "leaf": 8} if trees else {}
    labels = {"context": kinds.contexts, "alternative": kinds.alternatives, "channel": kinds.channels}
    derived = {name: var for name, var in spectrum.items() if name not in unknown and not (single and name == "rho")}
    follows: dict[str, Callable[..., Array]] = {name: derive(name, spectra, single) for name in derived}
    if kinds.strands:
        about = "Log ratio of its mutations on the strand that the polymerase reads (T) and the other one (U)."
        derived["asymmetry"] = Var(("process",), real, about, "A")
        derived["asymmetry_by_substitution"] = Var(("process", "substitution"), real, f"{about[:-1]}, each.", "A'")
        follows |= {name: with_given(getattr(strands, name), spectra, asks=("pi",)) for name in ASYMMETRIES}
        sizes["substitution"], labels["substitution"] = len(strands.SUBSTITUTIONS), strands.SUBSTITUTIONS
    about = "Variational Bayes by coordinate ascent (Algorithm 2); its intervals corrected by sampling from there."
    methods = {"vi": Method(vi, "approximate", about, defaults={"covariance": "given_trees"} if trees else {})}
    if not (random or trees):
        about = "The same by stochastic gradients over loci (Algorithm 3, corrected)."
        methods["svi"] = Method(svi, "approximate", about)
    if not trees:
        methods["gibbs"] = Method(gibbs, "exact", "Gibbs sampling; effects by Metropolis steps along the gradient.")
    return Model(
        name=__name__,
        title="Locus regression of mutational signatures",
        sizes=sizes,
        default_sizes={"feature": 1, **(DEFAULT_SIZES if trees else {})},
        known=Stage(known, story.design(several, random, spectra, single, trees)),
        unknown=Stage(unknown, story.prior(random, spectra, single, trees)),
        hidden=Stage({"z": Var(("cell",), label("process"), "Process of a mutation.", "z")}, {"z": story.choose}),
        observed=Stage(
            {
                "locus": Var(("cell",), label("locus"), "Locus of the mutations in a cell.", "ℓ"),
                "channel": Var(("cell",), label("channel"), "Context and alternative base, in COSMIC's order.", "m"),
            },
            story.emit(form, several, random, spectra, single, trees),
        ),
        density=None if trees else density.build(form, several, random, spectra, single),
        log_likelihood=likelihood.story_log_likelihood(form, several, random, spectra, single, trees),
        log_prior=likelihood.log_prior(random, spectra, single, trees),
        vectorized=True,
        unit="cell",
        multiplicity="count",
        derived=Stage(derived, follows) if derived else Stage({}),
        derived_dims={
            **({"process": processes} if spectra == "mixed" else {}),
            **({"leaf": lambda split: np.arange(len(split) + 1)} if trees else {}),
        },
        unsupported=dict.fromkeys(OTHERS, VI_ONLY) if trees else {},
        exchangeable={"free": "process", "given": "", "mixed": "free"}[spectra],
        tails={"process": "free"} if spectra == "mixed" else {},
        prepare=prepare,
        labels=labels,
        methods=methods,
        start=start,
        predict=predict.predict,
        folds=folds,
        exports=EXPORTS,
        commands={"blocks split": split_command},
        fit_folder=fit_blocks,
        readers={"npz": readers.npz, "matrix": matrix, **ingest.READERS},
        test_quantities=with_given(likelihood.quantities_of(random, bool(kinds.strands)), spectra, single),
        statistics=likelihood.statistics,
        check=check,
        cautions=cautions,
        options=OPTIONS,
        vary=declare,
        engine_defaults={"target_accept": CAUTIOUS},
        calibration=Calibration(
            settings={"genome": 10, "locus": 60, "feature": 2, "cell": 1000}
            | ({"reference": 1, "free": 1} if spectra == "mixed" else {"process": 2}),
            control={"alpha": 10.0},
            growth=(1000, 3000, 9000),
            learned=learned,
            also=(("vi", {"covariance": "diagonal"}), ("vi", {"covariance": "mean_field"})),
        ),
        source="A. Lynch: Locus Regression (2022), Algorithms 1 to 3.",
    )


def processes(reference: Array, free: Array) -> Array:
    """Return the labels of the processes: of the given ones, then of those that are free."""
    if reference.dtype.kind in "iu":
        return np.arange(len(reference) + len(free))
    return np.array([*reference.astype(str), *(f"new {k}" for k in range(len(free)))])


def check(problem: Problem) -> None:
    """Reject what no variable shows alone: too many processes, mutations where none can be, features that repeat."""
    channels = problem.sizes["channel"]
    if problem.sizes["process"] > channels:
        raise InputError(
            f"locus_regression: {setting('process', problem.sizes['process'])} is more than the {channels} channels "
            "can tell "
            f"apart. Ask for at most {channels} processes."
        )
    if problem.option("rates") == "trees":
        require_plain(problem.option("groups") == "several", problem.option("loci") == "random")
    if "signatures" in problem.arrays:
        _check_signatures(problem)
    _check_features(problem)
    _check_opportunity(problem)
    empty = np.flatnonzero(np.bincount(problem["genome"], problem["count"], problem.sizes["genome"]) == 0)
    if empty.size:
        raise InputError(
            f"locus_regression: genome={problem.coords['genome'][empty[0]]} has no mutations ({empty.size} of "
            f"{problem.sizes['genome']} genomes have none), so that its pi is the prior. Drop it and number the "
            "genomes anew."
        )
    if problem.option("groups") == "several":
        _check_groups(problem)


def _check_signatures(problem: Problem) -> None:
    table, made_in = problem["signatures"], problem["signature_opportunity"]
    names = problem.coords[next(iter(problem.model.variables()["signatures"].dims))]
    bare = np.flatnonzero(table.sum(1) == 0)
    if bare.size:
        raise InputError(f"locus_regression: known variable 'signatures': {names[bare[0]]} is all zero. Leave it out.")
    if made_in.any() and not made_in.all():
        at = np.flatnonzero(made_in == 0)[0]
        raise InputError(
            f"locus_regression: known variable 'signature_opportunity' (context): it is 0 for "
            f"{problem.coords['context'][at]} but not for all contexts. Give the counts of all contexts in the "
            "genome that the signatures were made in, or none."
        )


def _check_features(problem: Problem) -> None:
    """Reject linearly dependent features; one that is the same everywhere cancels, and its beta stays at the prior."""
    X = problem["features"]
    X = X.reshape(-1, *X.shape[-2:])  # (J, F, L)
    names = problem.coords["feature"]
    rows = np.abs(X).max((0, 2))
    varies = np.flatnonzero(np.ptp(X, axis=-1).max(0) > 1e-10 * rows)
    if not varies.size:
        return
    centred = (X - X.mean(-1, keepdims=True)).transpose(1, 0, 2).reshape(X.shape[1], -1)[varies]
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found, strength, _ = np.linalg.svd(unit, full_matrices=False)
    if len(unit) > unit.shape[1] or strength[-1] < 1e-7 * strength[0]:
        weight = np.abs(found[:, -1])
        involved = ", ".join(str(names[varies[i]]) for i in np.flatnonzero(weight > 0.1 * weight.max()))
        raise InputError(
            f"locus_regression: known variable 'features': the features {involved} are linearly dependent, so that "
            "their beta cannot be distinguished. Drop one of them."
        )


def _check_opportunity(problem: Problem) -> None:
    """Reject mutations of a context that does not occur in their locus, and loci without any context."""
    t, locus, channel = problem["context_opportunity"], problem["locus"], problem["channel"]
    loci, contexts = problem.coords["locus"], problem.coords["context"]
    bare = np.flatnonzero(t.max(0) == 0)
    if bare.size:
        raise InputError(
            f"locus_regression: known variable 'context_opportunity' (context, locus): locus={loci[bare[0]]} has no "
            f"context at all ({bare.size} of {len(loci)} loci have none), so that nothing can mutate there. Drop it."
        )
    context, _ = split_channel(channel, len(t), problem.sizes["alternative"])
    wrong = np.flatnonzero(t[context, locus] == 0)
    if wrong.size:
        at = wrong[0]
        raise InputError(
            f"locus_regression: known variable 'context_opportunity' (context, locus): cell={at} has mutations of "
            f"{contexts[context[at]]} in locus={loci[locus[at]]}, where this context occurs 0 times ({wrong.size} of "
            f"{len(locus)} cells are so). Count the contexts of the genome that the mutations were called on."
        )


def _check_groups(problem: Problem) -> None:
    genome, group = problem["genome"], problem["group"]
    first = np.zeros(problem.sizes["genome"], dtype=np.int64)
    first[genome] = group
    differ = np.flatnonzero(first[genome] != group)
    if differ.size:
        at = differ[0]
        raise InputError(
            f"locus_regression: known variable 'group' (cell): the cells of genome "
            f"{problem.coords['genome'][genome[at]]} belong to groups {group[at]} and {first[genome[at]]} (first at "
            f"cell={at}). A genome has one group: give group_of_genome[genome]."
        )


MODEL = declare()
