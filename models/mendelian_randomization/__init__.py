"""Mendelian randomisation: causal effects of an exposure on an outcome, from the effects of variants on both.

The generative process, the derivations and the measurements are in this folder's README.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genarium.declaration import Calibration, Method, Model, Problem, Stage, Var
from genarium.errors import InputError
from genarium.remedies import setting
from genarium.supports import boolean, label, positive, real, unit_interval

from . import bidirectional, density, likelihood, linked, multivariable, story
from .deep_mr_run import run as deep_mr_run
from .estimates import Estimate
from .gibbs import gibbs
from .medians import contamination_mixture, weighted_median
from .meta import meta_analysis, q_profile
from .modes import mode
from .mr_command import mr
from .mr_table import MrTable, mr_table, wald_ratio
from .outliers import leave_one_out, presso
from .profiled import divw, maximum_likelihood, pivw
from .readers import table, traits
from .regression import egger, ivw
from .robust_score import raps
from .start import start
from .vi import vi

__all__ = [
    "MODEL",
    "Estimate",
    "MrTable",
    "contamination_mixture",
    "divw",
    "egger",
    "ivw",
    "leave_one_out",
    "maximum_likelihood",
    "meta_analysis",
    "mode",
    "mr_table",
    "pivw",
    "presso",
    "q_profile",
    "raps",
    "wald_ratio",
    "weighted_median",
]


NO_MAXIMUM = "the density is unbounded where heterogeneity is zero and all regional effects agree"

OPTIONS = {
    "correlated_pleiotropy": ("none", "mixture"),
    "design": ("independent", "linked", "multivariable", "bidirectional"),
}
"""Whether pleiotropic effects are unrelated to a variant's strength (InSIDE), or a confounder acts through some.
Whether variants are independent instruments of one exposure, correlated ones, those of several exposures, or of both
traits."""

DESIGNS = {"linked": linked, "multivariable": multivariable, "bidirectional": bidirectional}

TITLES = {
    "linked": "Mendelian randomisation: correlated instruments",
    "multivariable": "Mendelian randomisation: several exposures",
    "bidirectional": "Mendelian randomisation: effects in both directions",
}

SOURCE = "S. Malina, D. Cizin and D. Knowles: Deep Mendelian randomization, PLOS Comput Biol 18(10) (2022)."


def declare(correlated_pleiotropy: str = "none", design: str = "independent") -> Model:
    """Return the declaration.

    Parameters
    ----------
    correlated_pleiotropy : {"none", "mixture"}
        Whether all variants act on the outcome through the exposure and balanced pleiotropy only, or a share of them
        also through a confounder of both (CAUSE: Morrison et al. 2020).
    design : {"independent", "linked", "multivariable", "bidirectional"}
        What the variants are: independent instruments of one exposure, in one region or several; correlated ones, whose
        linkage disequilibrium is given; those of several exposures; of both traits, each acting on the other.

    Raises
    ------
    InputError
        If a confounder is asked for with another design than the first.
    """
    if design != "independent":
        return _designed(correlated_pleiotropy, design)
    mixture = correlated_pleiotropy == "mixture"
    known = {
        "se_exposure": Var(("variant",), positive, "Standard error of the effect on the exposure.", "s_x"),
        "se_outcome": Var(("variant",), positive, "Standard error of the effect on the outcome.", "s_y"),
        "error_covariance": Var(
            ("variant",), real, "Covariance of a variant's two errors (overlapping samples).", "c", default=0.0
        ),
        "region": Var(("variant",), label("region"), "Region, or sequence, that the variant lies in.", "s", default=0),
        "exposure_mean": Var((), real, "Mean effect of variants on the exposure.", "μ_γ", default=0.0),
        "signs_given": Var(
            (),
            boolean,
            "Whether signs of effects mean something (as those of mutants less their sequence), or alleles are coded "
            "anyhow, so that those raising the exposure count.",
            "g",
            default=0,
        ),
        "exposure_scale": Var(
            (),
            positive,
            "Scale of effects on the exposure in the priors.",
            "S_x",
            default=lambda beta_exposure: story.root_mean_square(beta_exposure),
        ),
        "outcome_scale": Var(
            (),
            positive,
            "Scale of effects on the outcome in the priors.",
            "S_y",
            default=lambda beta_outcome: story.root_mean_square(beta_outcome),
        ),
    }
    unknown = {
        "global_effect": Var((), real, "Mean causal effect over regions.", "Θ"),
        "heterogeneity": Var((), positive, "Standard deviation of causal effects between regions.", "τ"),
        "theta": Var(("region",), real, "Causal effect in a region.", "θ"),
        "intercept": Var(("region",), real, "Mean pleiotropic effect in a region.", "α"),
        "exposure_sd": Var((), positive, "Standard deviation of strong variants' effects on the exposure.", "σ_γ"),
        "pleiotropy_sd": Var((), positive, "Standard deviation of pleiotropic effects.", "ω"),
        "strong_share": Var((), unit_interval, "Share of strong variants.", "p"),
    }
    hidden = {
        "strong": Var(("variant",), boolean, "Whether a variant is strong; others have a tenth of the spread.", "r"),
        "gamma": Var(("variant",), real, "True effect on the exposure.", "γ"),
        "pleiotropy": Var(("variant",), real, "Effect on the outcome that does not go through the exposure.", "a"),
    }
    prior: Mapping[str, Callable[..., Any]] = story.PRIOR
    emit: Callable[..., Any] = story.draw_effects
    hide: dict[str, Callable[..., Any]] = {
        "strong": story.draw_strong,
        "gamma": story.draw_gamma,
        "pleiotropy": story.draw_pleiotropy,
    }
    methods = {"gibbs": Method(gibbs, "exact", "Gibbs sampling, regional effects collapsed for the global one.")}
    if mixture:
        unknown["confounded_share"] = Var((), unit_interval, "Share of variants that a confounder acts through.", "q")
        unknown["confounded_effect"] = Var((), real, "What confounding adds to the effect of such a variant.", "η")
        hidden["confounded"] = Var(("variant",), boolean, "Whether a confounder acts through the variant.", "z")
        prior, emit = story.MIXTURE_PRIOR, story.draw_confounded_effects
        hide["confounded"] = story.draw_confounded
    else:
        methods["vi"] = Method(vi, "approximate", "Variational Bayes by coordinate ascent.")
    observed = {
        "beta_exposure": Var(("variant",), real, "Estimated effect on the exposure.", "x"),
        "beta_outcome": Var(("variant",), real, "Estimated effect on the outcome.", "y"),
    }
    return Model(
        name=__name__,
        title="Mendelian randomisation: hierarchical errors-in-variables model",
        sizes={"variant": 200, "region": 10},
        known=Stage(known, story.DESIGN),
        unknown=Stage(unknown, prior),
        hidden=Stage(hidden, hide),
        observed=Stage(observed, emit),
        density=density.build(mixture),
        log_likelihood=likelihood.mixture_log_likelihood if mixture else likelihood.log_likelihood,
        log_prior=likelihood.mixture_log_prior if mixture else likelihood.log_prior,
        vectorized=True,
        unit="variant",
        methods=methods,
        unsupported=dict.fromkeys(("map", "stan-map"), NO_MAXIMUM),
        start=start,
        readers={"table": table, "traits": traits},
        commands={"mr": mr, "deep_mr run": deep_mr_run},
        test_quantities=likelihood.mixture_quantities if mixture else likelihood.quantities,
        statistics=likelihood.statistics,
        headline=headline,
        check=check,
        options=OPTIONS,
        vary=declare,
        calibration=Calibration(
            settings={"variant": 120, "region": 6},
            # overlapping samples taken as separate ones; or a confounder taken as none (InSIDE violated)
            control={"error_covariance": 0.0} if mixture else {"correlated_pleiotropy": "mixture"},
            growth=(120, 480, 1920),
            growing={"exposure_scale": 10.0, "outcome_scale": 10.0},  # or many a truth has weak instruments alone
            also=(("vi", {"covariance": "mean_field"}),),
            undetermined=("global_effect", "heterogeneity", "signal", "total"),  # of a given number of regions
        ),
        source=SOURCE,
    )


def _designed(correlated_pleiotropy: str, design: str) -> Model:
    """Return the declaration of a design with one effect a pair of traits."""
    if correlated_pleiotropy != "none":
        raise InputError(
            f"mendelian_randomization: {setting('correlated_pleiotropy', correlated_pleiotropy)} goes with independent "
            f"instruments of one exposure alone. Leave it out, or {setting('design', design)}."
        )
    return Model(
        name=__name__,
        title=TITLES[design],
        **DESIGNS[design].parts(),
        commands={"mr": mr, "deep_mr run": deep_mr_run},
        options=OPTIONS,
        vary=declare,
        source=SOURCE,
    )


def headline(sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Name the effect of the one region, or that over all regions."""
    return ("theta",) if sizes["region"] == 1 else ("global_effect",)


def check(problem: Problem) -> None:
    """Reject covariances that no errors can have, and a mean of effects whose signs mean nothing."""
    if problem["exposure_mean"] != 0 and not problem["signs_given"]:
        raise InputError(
            f"mendelian_randomization: known variable 'exposure_mean' is {float(problem['exposure_mean']):g}, but "
            "where alleles are coded anyhow effects have no mean but 0. Leave it out, or give signs_given as 1 if "
            "signs mean something."
        )
    limit = problem["se_exposure"] * problem["se_outcome"]
    bad = np.flatnonzero(np.abs(problem["error_covariance"]) >= limit)
    if bad.size:
        j = bad[0]
        raise InputError(
            f"mendelian_randomization: known variable 'error_covariance' (variant) at variant="
            f"{problem.coords['variant'][j]} is {problem['error_covariance'][j]:g}, but must be below se_exposure "
            f"se_outcome = {limit[j]:g} in size ({bad.size} variants). Give covariances, not correlations."
        )


MODEL = declare()
