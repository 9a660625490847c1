"""The variant whose observations are cells: their expression and state; programs move both (eqs. 41 to 44)."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import softmax

from genarium.attributes import attribute
from genarium.declaration import Array, Calibration, Caution, Method, Model, Problem, Sizes, Stage, Var
from genarium.errors import InputError
from genarium.supports import count, label, nonnegative, real, simplex, zero_sum

from . import readers, story
from .enrichment import write_enrichment, write_programs
from .programs import predict

THETA = 1.5
"""Shape of the counts' negative binomial."""

ABOUT = "The neural statistic: programs that tell how far a perturbation's states lie from any target."


def declare(regression: str, shared: dict[str, Any]) -> Model:
    """Return the declaration; ``shared`` is what all variants have."""
    K, cell = ("state",), ("cell",)
    sizes = {"perturbation": 12, "cell": 360, "gene": 30, "state": 4, "program": 3}
    known: dict[str, Var] = {}
    design: dict[str, Callable[..., Any]] = {"target": story.design_target, "condition": design_condition}
    if regression != "none":
        sizes["feature"] = 3
        known["features"] = Var(
            ("perturbation", "feature"), real, "Features of the perturbed gene, of unit scale.", "X"
        )
        design["features"] = story.design_features
    known["condition"] = Var(cell, label("perturbation"), "Perturbation of each cell.", "c")
    known["target"] = Var(K, simplex, "Wanted shares of the states.", "Q", default=uniform)
    known["depth"] = Var(cell, nonnegative, "Counts of a cell, all genes together; follow from the data.", "L", total)
    design["depth"] = design_depth
    unknown = {
        "base": Var(("gene",), real, "Log expression of a gene in a typical cell.", "μ"),
        "marker": Var(("state", "gene"), real, "Log expression of a gene in a state, relative to a typical cell.", "M"),
        "loading": Var(("program", "gene"), real, "Effect of a program on log expression, the state given.", "U"),
        "effect": Var(("program", "state"), zero_sum, "Effect of a program on log shares of the states.", "B"),
    }
    prior = {"base": draw_base, "marker": draw_marker, "loading": draw_loading, "effect": draw_effect}
    hidden = {
        "activity": Var(("perturbation", "program"), real, "What a perturbation does to a program, in sd.", "a"),
        "proportion": Var(("perturbation", "state"), simplex, "Shares of the states in the perturbation.", "q"),
    }
    return Model(
        title="Programs of perturbations, from the expression of cells",
        sizes=sizes,
        default_sizes={"program": 10},
        known=Stage(known, design),
        unknown=Stage(unknown, prior),
        hidden=Stage(hidden, {"activity": draw_activity, "proportion": draw_proportion}),
        observed=Stage(
            {
                "state": Var(cell, label("state"), "State of each cell.", "k", default=0.0),
                "expression": Var(("cell", "gene"), count, "Raw counts of genes.", "x"),
            },
            {"state": draw_state, "expression": draw_expression},
        ),
        unit="cell",
        methods={"statistic": Method("genarium.models.perturbation_score.programs:statistic", "point", ABOUT)},
        readers={"expression": readers.expression},
        predict=predict,
        exports={"programs": write_programs, "enrichment": write_enrichment},
        cautions=cautions,
        check=check,
        calibration=Calibration(),
        **shared,
    )


def uniform(state: Array) -> Array:
    """Target where none is given: every state alike."""
    K = int(state.max(initial=0)) + 1
    return np.full(K, 1 / K)


def total(expression: Array) -> Array:
    """Return the counts of each cell."""
    return np.asarray(expression.sum(-1), dtype=float)


def design_condition(sizes: Sizes) -> Array:
    """Cells take the perturbations in turn."""
    return np.arange(sizes["cell"]) % sizes["perturbation"]


def design_depth(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Library sizes: log-normal, 20 counts a gene."""
    return np.asarray(20 * sizes["gene"] * np.exp(0.3 * rng.normal(size=sizes["cell"])))


def draw_base(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw log expression: standard normal."""
    return rng.normal(size=sizes["gene"])


def draw_marker(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw effects of states on log expression: normal, sd one half."""
    return 0.5 * rng.normal(size=(sizes["state"], sizes["gene"]))


def draw_loading(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw effects of programs on log expression: normal, sd .1."""
    return 0.1 * rng.normal(size=(sizes["program"], sizes["gene"]))


def draw_effect(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw effects of programs on log shares: zero-sum normal, sd one half."""
    return 0.5 * story.centred(rng.normal(size=(sizes["program"], sizes["state"])))


def draw_activity(rng: np.random.Generator, sizes: Sizes) -> Array:
    """Draw what perturbations do to programs: standard normal."""
    return rng.normal(size=(sizes["perturbation"], sizes["program"]))


def draw_proportion(activity: Array, effect: Array) -> Array:
    """Shares of the states (eq. 42)."""
    return np.asarray(softmax(activity @ effect, axis=-1))


def draw_state(rng: np.random.Generator, condition: Array, proportion: Array) -> Array:
    """Draw states of cells (eq. 42)."""
    below = np.cumsum(proportion, axis=1)[condition]
    drawn = (rng.uniform(size=(len(condition), 1)) > below).sum(1)
    return np.asarray(np.minimum(drawn, proportion.shape[1] - 1))


def draw_expression(
    rng: np.random.Generator,
    condition: Array,
    depth: Array,
    state: Array,
    activity: Array,
    base: Array,
    marker: Array,
    loading: Array,
) -> Array:
    """Draw counts of genes, negative binomial (eqs. 43, 44); one more of the first gene where a cell has none."""
    mean = softmax(base + marker[state] + (activity @ loading)[condition], axis=-1) * depth[:, None]
    drawn = np.asarray(rng.poisson(rng.gamma(THETA, mean / THETA)))
    drawn[drawn.sum(1) == 0, 0] = 1
    return drawn


def cautions(tree: xr.DataTree, problem: Problem) -> Iterator[Caution]:
    """Say where simple rivals predict distances of held-out perturbations as well."""
    notes = attribute(tree, "notes")
    rivals = {name[6:]: value for name, value in notes.items() if name.startswith("rival_")}
    if "held_out_mse" not in notes or not rivals:
        yield Caution(
            "not compared with rivals",
            1.0,
            f"{problem.sizes['perturbation']} perturbations",
            "Too few perturbations to hold some out: nothing says that the statistic beats simple rivals.",
        )
        return
    best = min(rivals, key=lambda name: float(rivals[name]))
    own, theirs = float(notes["held_out_mse"]), float(rivals[best])
    yield Caution(
        "error above that of a simple rival",
        max(0.0, own - theirs),
        f"{own:.4f}, {best.replace('_', ' ')} {theirs:.4f}",
        f"Distances of held-out perturbations (10 cells) are predicted better by {best.replace('_', ' ')}: use that, "
        "or train longer, or on more perturbations.",
    )


def check(problem: Problem) -> None:
    """Reject what no variable shows alone: cells without counts, perturbations without cells."""
    if "expression" not in problem.arrays:
        return
    empty = np.flatnonzero(problem["expression"].sum(1) == 0)
    if empty.size:
        raise InputError(
            f"perturbation_score: the cell {problem.coords['cell'][empty[0]]} has no counts ({empty.size} such cells). "
            "Leave it out."
        )
    number = np.bincount(problem["condition"], minlength=problem.sizes["perturbation"])
    if (number == 0).any():
        name = problem.coords["perturbation"][int(np.flatnonzero(number == 0)[0])]
        raise InputError(f"perturbation_score: the perturbation {name} has no cells. Leave it out.")
