"""Locus regression: which mutational processes act, and where along the genome.

The story, the derivations and what is known of the fits are in this folder's README.
"""

import numpy as np

from genarium.declaration import Calibration, Method, Model, Problem, Stage, Var
from genarium.errors import InputError
from genarium.remedies import setting
from genarium.supports import count, label, positive, real, simplex

from . import density, likelihood, predict, readers, story
from .channels import ALTERNATIVE_NAMES, CHANNELS, CONTEXTS
from .gibbs import gibbs
from .start import start
from .svi import svi
from .vi import vi

OPTIONS = {"locus": ("conditional", "joint"), "groups": ("one", "several"), "loci": ("fixed", "random")}
"""How locus and context go together; whether groups of genomes have features of their own; whether loci vary more than
their features say."""


def declare(locus: str = "conditional", groups: str = "one", loci: str = "fixed") -> Model:
    """Return the declaration.

    Parameters
    ----------
    locus : {"conditional", "joint"}
        Whether a mutation picks its locus first and its context there (Algorithm 1), or both at once.
    groups : {"one", "several"}
        Whether all genomes share their features, or each covariate group of genomes has its own.
    loci : {"fixed", "random"}
        Whether features decide a process's rate in a locus, or a random effect of the locus besides (over-dispersion).
    """
    several, random = groups == "several", loci == "random"
    of_group = ("covariate_group",) if several else ()
    known = {
        "features": Var((*of_group, "feature", "locus"), real, "Features of a locus, best standardised.", "X"),
        "exposure": Var(("locus",), positive, "Window length, or another exposure of a locus.", "l", default=1.0),
        "context_opportunity": Var(
            ("context", "locus"), positive, "How often a context occurs in a locus.", "t", default=1.0
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
    unknown = {
        "beta": Var(("process", "feature"), real, "Effect of a feature on the log rate of a process.", "β"),
        "lam": Var(("process", "context"), simplex, "Preference of a process for contexts.", "λ"),
        "rho": Var(("process", "context", "alternative"), simplex, "Bases that a context is mutated to.", "ρ"),
        "pi": Var(("genome", "process"), simplex, "Share of each process in a genome's mutations.", "π"),
    }
    prior = dict(story.PRIOR)
    if random:
        about = "Effect of a locus on the rate of a process, of mean one."
        unknown["locus_effect"] = Var(("process", "locus"), positive, about, "ε")
        prior["locus_effect"] = story.draw_locus_effect
    sizes = {"cell": 2000, "genome": 20, "locus": 200, "feature": 3, "process": 3}
    sizes |= {"context": 32, "alternative": 3, "channel": 96, **({"covariate_group": 2} if several else {})}
    methods = {"vi": Method(vi, "approximate", "Variational Bayes by coordinate ascent (Algorithm 2, corrected).")}
    if not random:
        about = "The same by stochastic gradients over loci (Algorithm 3, corrected)."
        methods["svi"] = Method(svi, "approximate", about)
    methods["gibbs"] = Method(gibbs, "exact", "Gibbs sampling; effects by Metropolis steps along the gradient.")
    return Model(
        name=__name__,
        title="Locus regression of mutational signatures",
        sizes=sizes,
        known=Stage(known, story.design(several, random)),
        unknown=Stage(unknown, prior),
        hidden=Stage({"z": Var(("cell",), label("process"), "Process of a mutation.", "z")}, {"z": story.choose}),
        observed=Stage(
            {
                "locus": Var(("cell",), label("locus"), "Locus of the mutations in a cell.", "ℓ"),
                "channel": Var(("cell",), label("channel"), "Context and alternative base, in COSMIC's order.", "m"),
            },
            story.emit(locus, several, random),
        ),
        density=density.build(locus, several, random),
        log_likelihood=likelihood.story_log_likelihood(locus, several, random),
        log_prior=likelihood.log_prior_random if random else likelihood.log_prior,
        vectorized=True,
        unit="cell",
        exchangeable="process",
        labels={"context": CONTEXTS, "alternative": ALTERNATIVE_NAMES, "channel": CHANNELS},
        methods=methods,
        start=start,
        predict=predict.predict,
        readers={"npz": readers.npz},
        test_quantities=likelihood.quantities_random if random else likelihood.quantities,
        statistics=likelihood.statistics,
        check=check,
        options=OPTIONS,
        vary=declare,
        calibration=Calibration(
            settings={"genome": 10, "locus": 60, "process": 2, "feature": 2, "cell": 1000, "empirical_bayes": False},
            control={"alpha": 10.0},
            growth=(1000, 3000, 9000),
            also=(("vi", {"covariance": "diagonal"}), ("vi", {"covariance": "linear_response"})),
            corrected=("beta_sorted",),
        ),
        source="A. Lynch: Locus Regression (2022), Algorithms 1 to 3.",
    )


def check(problem: Problem) -> None:
    """Reject what no variable shows alone: too many processes, features that do not vary or repeat each other."""
    channels = problem.sizes["channel"]
    if problem.sizes["process"] > channels:
        raise InputError(
            f"locus_regression: {setting('process', problem.sizes['process'])} is more than the {channels} channels "
            "can tell "
            f"apart. Ask for at most {channels} processes."
        )
    _check_features(problem)
    empty = np.flatnonzero(np.bincount(problem["genome"], problem["count"], problem.sizes["genome"]) == 0)
    if empty.size:
        raise InputError(
            f"locus_regression: genome={problem.coords['genome'][empty[0]]} has no mutations ({empty.size} of "
            f"{problem.sizes['genome']} genomes have none), so that its pi is the prior. Drop it and number the "
            "genomes anew."
        )
    if problem.option("groups") == "several":
        _check_groups(problem)


def _check_features(problem: Problem) -> None:
    X = problem["features"]
    X = X.reshape(-1, *X.shape[-2:])  # (J, F, L)
    rows = X.transpose(1, 0, 2).reshape(X.shape[1], -1)
    names = problem.coords["feature"]
    spread = np.ptp(X, axis=-1).max(0)
    constant = np.flatnonzero(spread <= 1e-10 * np.abs(rows).max(1))
    if constant.size:
        raise InputError(
            f"locus_regression: known variable 'features': feature {names[constant[0]]!s} is the same in every locus "
            f"({rows[constant[0], 0]:g}), so that its beta cannot be told from the prior (it cancels in the softmax). "
            "Drop it."
        )
    centred = (X - X.mean(-1, keepdims=True)).transpose(1, 0, 2).reshape(X.shape[1], -1)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found, strength, _ = np.linalg.svd(unit, full_matrices=False)
    if len(unit) > unit.shape[1] or strength[-1] < 1e-7 * strength[0]:
        weight = np.abs(found[:, -1])
        involved = ", ".join(str(names[i]) for i in np.flatnonzero(weight > 0.1 * weight.max()))
        raise InputError(
            f"locus_regression: known variable 'features': the features {involved} are linearly dependent, so that "
            "their beta cannot be told apart. Drop one of them."
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
