"""NOTMAD: sample-specific Bayesian networks as mixtures of archetypal DAGs.

The generative process, the derivations and the measurements are in this folder's README.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Calibration, Method, Model, Stage, Var
from genarium.remedies import option, setting
from genarium.supports import Support, boolean, count, nonnegative, positive, real, simplex

from . import density, likelihood, predict, readers, story
from .baselines import by_group, clustered, group_average, lioness
from .checks import check
from .encoder import DIMS, mean_over_samples, spread_over_samples
from .ensemble import bootstrap, consensus
from .equivalence import equivalence_class
from .exports import EXPORTS, as_networkx
from .folds import folds
from .graphs import compare, edge_labels
from .knowledge import rules
from .learning import learn_order, learnt, level_of
from .map import maximum
from .notears import Population, notears
from .projection import project_to_dag
from .selection import select
from .start import start

__all__ = [
    "MODEL",
    "Population",
    "as_networkx",
    "bootstrap",
    "by_group",
    "clustered",
    "compare",
    "consensus",
    "equivalence_class",
    "group_average",
    "learn_order",
    "lioness",
    "notears",
    "project_to_dag",
    "rules",
    "select",
]

OPTIONS = {
    "encoder": ("linear", "additive", "mlp"),
    "penalty": ("notears", "logdet"),
    "order": ("free", "given"),
    "mean": ("zero", "regressed"),
    "noise": ("node", "shared"),
    "prior": ("independent", "hierarchical", "factored"),
    "nodes": ("gaussian", "logistic", "count"),
    "missing": ("refused", "integrated"),
}
"""How contexts become weights; which acyclicity penalty; whether the nodes come in topological order; the mean; whether
each node has noise of its own; whether archetypes are independent, deviate from one network, or are of low rank; what
nodes are; what becomes of missing values."""

SPREAD = "its sd, or half the difference of two values"
"""What ``context_sd`` is."""

ABOUT = {
    "edge_weight": ("Weight of an edge of an archetype; of a hierarchical prior, what it has beyond the others.", "w"),
    "shared_weight": ("Weight of an edge that all archetypes share.", "w₀"),
    "outgoing": ("What a node has of an archetype's factors as a source.", "U"),
    "incoming": ("What a node has of an archetype's factors as a target; edges are sums of products.", "V"),
    "intercept": ("Logit of an archetype at the mean context.", "b"),
    "slope": (f"Effect on the logit of an archetype of a change of a covariate by {SPREAD}.", "θ"),
    "inner": ("Weight of a covariate in a neuron of the encoder.", "u"),
    "inner_bias": ("Bias of a neuron of the encoder.", "v"),
    "outer": ("Weight of a neuron in the logit of an archetype.", "a"),
    "mean_intercept": ("Mean of a node at the mean context.", "b₀"),
    "mean_slope": (f"Effect on the mean of a node of a change of a covariate by {SPREAD}.", "B"),
    "sigma": ("Standard deviation of the noise of a node, or of every node.", "σ"),
    "dispersion": ("Overdispersion of a count: its variance is m + φ m².", "φ"),
}

WEIGHT = replace(real, sample=lambda rng, shape: rng.normal(0, 0.25, shape))
"""Any real number; those that are made up for tests are small, so that I - W is far from singular."""


RULE = Support(
    "rule of an edge",
    "-1 (forbidden), 0 or 1 (required)",
    "Make the matrix by genarium.models.notmad.rules",
    lambda x: np.isin(x, (-1, 0, 1)),
    lambda rng, shape: np.zeros(shape, dtype=np.int64),
    integer=True,
    stan="<lower=-1, upper=1>",
)
"""What is known of an edge."""


INCOMPLETE = Support(
    "real or missing",
    "a finite number, or NaN where it is missing",
    "Drop infinite values, or mark them as missing",
    lambda x: np.isfinite(x) | np.isnan(x),
    lambda rng, shape: rng.normal(size=shape),
)
"""What a Gaussian node may be where missing values are integrated out."""

COMPLETE = replace(
    real, remedy=f"Drop or impute missing values, or integrate them out ({setting('missing', 'integrated')})"
)
"""What a Gaussian node may be where no value is missing."""

RAW = f"Read nodes as they are ({option('standardise', False)})"
"""How nodes with a link are read."""

VALUES = {
    "gaussian": (COMPLETE, "Value of a node, standardised over samples."),
    "logistic": (
        replace(boolean, remedy=f"{RAW}, code the two cases as 0 and 1, and drop or impute missing ones"),
        "Whether a node is on: 0 or 1.",
    ),
    "count": (replace(count, remedy=f"{RAW}. {count.remedy}"), "Count of a node."),
}
"""What nodes of each kind are."""


KINK = "at the mode edges are zero, where their prior has a kink and no curvature. Use stan-pathfinder or dadvi"
"""Why there is no Laplace approximation."""

CAUTIOUS = 0.99
"""Acceptance of NUTS: the penalty is steep where weights are large."""

FREE = {"order": "free", "sample": 20, "node": 2, "beta": 5.0}
"""Settings of calibration where edges may go both ways: chains mix over few nodes and samples only, and diverge where
the edges of a cycle multiply to nearly one, which is rare at the model's own rate of the prior."""


def declare(
    encoder: str = "linear",
    penalty: str = "notears",
    order: str = "free",
    mean: str = "zero",
    noise: str = "node",
    prior: str = "independent",
    nodes: str = "gaussian",
    missing: str = "refused",
) -> Model:
    """Return the declaration.

    Parameters
    ----------
    encoder : {"linear", "additive", "mlp"}
        Logits of the archetypes: linear in the context, a sum of small nets of one covariate each, or one net.
    penalty : {"notears", "logdet"}
        Acyclicity by the trace of the matrix exponential, or by the log determinant.
    order : {"free", "given"}
        Whether edges may go both ways, or only forward in the order in which the nodes are listed.
    mean : {"zero", "regressed"}
        Whether nodes have mean zero, or one that is linear in the context.
    noise : {"node", "shared"}
        Whether each node has noise of its own size, or all have one.
    prior : {"independent", "hierarchical", "factored"}
        Of the archetypes' edges: each for itself; what all share plus what is an archetype's own; or products of
        ``factor`` pairs of vectors over the nodes, so that archetypes are of low rank.
    nodes : {"gaussian", "logistic", "count"}
        Whether nodes have Gaussian noise, are Booleans by the logistic link, or negative binomial counts by the
        logarithm. The latter two go along one order of the nodes: ``position``, which is learnt where not given.
    missing : {"refused", "integrated"}
        Whether values of Gaussian nodes may be missing (NaN): then they are integrated out.
    """
    chosen = {
        "encoder": encoder,
        "penalty": penalty,
        "order": order,
        "mean": mean,
        "noise": noise,
        "prior": prior,
        "nodes": nodes,
        "missing": missing,
    }
    linked = nodes != "gaussian"
    factored = prior == "factored"
    dims: dict[str, tuple[str, ...]] = {} if factored else {"edge_weight": ("archetype", "edge")}
    dims |= dict.fromkeys(story.FACTORS if factored else (), ("archetype", "node", "factor"))
    dims |= {"shared_weight": ("edge",)} if prior == "hierarchical" else {}
    dims |= {"intercept": ("archetype",), **DIMS[encoder]}
    dims |= {"mean_intercept": ("node",)} if linked or mean == "regressed" else {}
    dims |= {"mean_slope": ("covariate", "node")} if mean == "regressed" else {}
    dims |= {"dispersion": ("node",)} if nodes == "count" else {}
    dims |= {} if linked else {"sigma": ("node",) if noise == "node" else ()}
    supports = {"sigma": positive, "dispersion": positive, "edge_weight": WEIGHT, "shared_weight": WEIGHT}
    supports |= dict.fromkeys(story.FACTORS, WEIGHT)
    unknown = {name: Var(d, supports.get(name, real), *ABOUT[name]) for name, d in dims.items()}
    known = {
        "context": Var(("sample", "covariate"), real, "Context of a sample, in any units.", "C"),
        "context_mean": Var(("covariate",), real, "Mean that a covariate is centred by.", "m", mean_over_samples),
        "context_sd": Var(
            ("covariate",),
            positive,
            f"What it is divided by, {SPREAD}.",
            "d",
            spread_over_samples,
        ),
        "alpha": Var((), nonnegative, "Strength of the acyclicity potential on the samples' networks.", "α", 10.0),
        "gamma": Var((), nonnegative, "Strength of the same potential on the archetypes.", "γ", 0.0),
        "rule": Var(("source", "target"), RULE, "What is known of an edge: -1 forbidden, 1 required.", "E", 0),
        "beta": Var((), positive, "Rate of the Laplace prior of the edges.", "β", 5.0),
        "required_sd": Var((), positive, "Prior standard deviation of required edges.", "ρ", 1.0),
        "tau": Var((), positive, "Prior standard deviation of the encoder's parameters.", "τ", 3.0),
    }
    if linked:
        known["level"] = Var(("node",), real, "Link of a node's mean over samples.", "l", level_of(nodes))
    else:
        known["sigma0"] = Var((), positive, "Prior median of sigma.", "σ₀", 1.0)
    if nodes == "count":
        known["dispersion0"] = Var((), positive, "Prior median of the dispersion.", "φ₀", 0.3)
    if nodes != "logistic":
        known["sigma_spread"] = Var((), positive, "Prior standard deviation of ln sigma, or ln dispersion.", "ς", 1.0)
    design: dict[str, Callable[..., Any]] = {
        "context": story.draw_context,
        "context_mean": mean_over_samples,
        "context_sd": spread_over_samples,
        "rule": story.open_rule,
        "alpha": lambda: 1.0,
        "beta": lambda: 2.0,
        "tau": lambda: 2.0,
    }
    if nodes != "logistic":
        design["sigma_spread"] = lambda: 0.3
    if linked:
        design["level"] = lambda sizes: np.full(sizes["node"], 0.0 if nodes == "logistic" else 2.0)
    if prior == "hierarchical":
        known["beta_shared"] = Var((), positive, "Rate of the Laplace prior of what archetypes share.", "β₀", 5.0)
        design["beta_shared"] = lambda: 2.0
    if linked and order == "free":
        known["position"] = Var(("node",), real, "Place of a node; edges lead to later ones.", "o", learnt(nodes))
        design["position"] = lambda sizes: np.arange(sizes["node"], dtype=float)
    if "mean_intercept" in dims:
        known["tau_mean"] = Var((), positive, "Prior standard deviation of the mean's parameters.", "τ₀", 1.0)
    said = likelihood.Density(chosen, tuple(dims))
    values, about = VALUES[nodes]
    values = INCOMPLETE if missing == "integrated" and not linked else values
    networks = ("source", "target")

    def edge(node: Array) -> Array:
        return edge_labels(order, node)

    sizes = {"sample": 200, "node": 3, "covariate": 2, "archetype": 2}
    sizes |= {} if encoder == "linear" else {"neuron": 2}
    sizes |= {"factor": 2} if factored else {}
    sizes |= {"source": 3, "target": 3, "edge": story.edge_count(order, 3)}
    return Model(
        name=__name__,
        title="Sample-specific Bayesian networks (NOTMAD)",
        sizes=sizes,
        default_sizes=({} if encoder == "linear" else {"neuron": 8}) | ({"factor": 2} if factored else {}),
        derived_dims={"source": lambda node: node, "target": lambda node: node, "edge": edge},
        known=Stage(known, design),
        unknown=Stage(unknown, story.prior(encoder, penalty, order, dims, said.cyclic)),
        hidden=Stage(
            {
                "archetype_network": Var(("archetype", *networks), real, "Weights of the edges as a matrix.", "Wₖ"),
                "archetype_weight": Var(("sample", "archetype"), simplex, "Share of each archetype.", "Z"),
                "network": Var(("sample", *networks), real, "Network of a sample; [i, j] is i to j.", "W"),
            },
            {
                "archetype_network": story.draw_archetypes(order, dims, said.rules),
                "archetype_weight": story.draw_weights(encoder),
                "network": story.draw_network,
            },
        ),
        observed=Stage(
            {"x": Var(("sample", "node"), values, about, "x")},
            {"x": story.draw_linked(nodes, dims, said.rules) if linked else story.draw_x(mean)},
        ),
        density=density.build(chosen, dims),
        log_likelihood=said.log_likelihood,
        log_prior=said.log_prior,
        vectorized=True,
        unit="sample",
        exchangeable="archetype",
        methods={"map": Method(maximum, "point", "Maximum of the posterior by continuation in the penalty.")},
        start=start,
        test_quantities=said.quantities,
        statistics=likelihood.statistics,
        readers={"table": readers.table, "h5ad": readers.h5ad},
        predict=predict.predict,
        exports=EXPORTS,
        folds=folds,
        check=check,
        options=OPTIONS,
        vary=declare,
        engine_defaults={"target_accept": CAUTIOUS},
        unsupported={} if factored else {"stan-laplace": KINK},
        calibration=Calibration(
            settings={"order": "given", "sample": 60, "node": 3, "covariate": 1, "tau": 1.0, "beta": 2.0},
            control={"beta": 12.0},
            growth=(100, 400, 1600),
            also=(("nuts", FREE),),  # not map: its networks are acyclic, which those that the prior draws are not quite
        ),
        source="Lengerich, Ellington, Aragam, Xing and Kellis: NOTMAD (2021), arXiv 2111.01104.",
    )


MODEL = declare()
