"""The story told: drawing the variables of a model, all of them or those that follow from others."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genarium.declaration import Array, Arrays, Model, Problem, Role, Sizes
from genarium.errors import DeclarationError
from genarium.progress import track
from genarium.signatures import call
from genarium.tree import stacked

PREDICTIVE_DRAWS, PREDICTIVE_SIZE = 500, 6_000_000
"""Replicated datasets that a posterior predictive holds at most, and values in all of them together."""


def draw(model: Model, rng: np.random.Generator, sizes: Sizes, values: dict[str, Any]) -> dict[str, Array]:
    """Run the four stages.

    Parameters
    ----------
    model : Model
    rng : Generator
    sizes : mapping of str to int
    values : dict
        Checked values of variables that are given instead of drawn.

    Returns
    -------
    dict of str to ndarray
        Every variable of the model.
    """
    out: dict[str, Array] = {}
    for role in ("known", "unknown", "hidden", "observed"):
        draw_stage(model, role, rng, sizes, values, out)
    return out


def draw_stage(
    model: Model, role: Role, rng: np.random.Generator, sizes: Sizes, values: dict[str, Any], out: dict[str, Array]
) -> None:
    """Draw the variables of one stage into ``out``; what is given is not drawn."""
    stage = model.stage(role)
    missing = [name for name in stage.variables if name not in values]
    drawn: dict[str, Any] = {}
    if missing and callable(stage.draw):
        drawn = dict(call(stage.draw, {"rng": rng, "sizes": sizes, **out}))
    for name, var in stage.variables.items():
        shape = model.shape(name, sizes)
        if name in missing and not callable(stage.draw) and name in stage.draw:
            drawn[name] = call(stage.draw[name], {"rng": rng, "sizes": sizes, **out})
        if name in values:
            value = values[name]
        elif name in drawn:
            value = np.asarray(drawn[name])
            if value.shape != shape:
                raise DeclarationError(
                    f"model {model.name!r}: the {role} stage drew {name!r} with shape {value.shape}; declared {shape}"
                )
        elif var.default is not None and not callable(var.default):
            value = np.full(shape, var.default)
        else:
            raise DeclarationError(f"model {model.name!r}: the {role} stage did not draw {name!r}")
        out[name] = value.astype(np.int64 if var.support.integer else np.float64)


def replicate(problem: Problem, unknown: Arrays, rng: np.random.Generator) -> Mapping[str, Array]:
    """Draw hidden and observed variables anew, given the unknown ones."""
    known = {name: problem[name] for name in problem.model.known.variables}
    out: dict[str, Array] = {**known, **problem.fixed, **unknown}
    for role in ("hidden", "observed"):
        draw_stage(problem.model, role, rng, problem.sizes, {}, out)
    return out


def predictive(problem: Problem, posterior: Arrays, rng: np.random.Generator) -> dict[str, Array]:
    """Replicate the data at evenly spaced draws, by the hidden and observed stages of the story.

    Returns
    -------
    dict of str to ndarray
        Observed variables with leading dims (1, replicates).
    """
    model = problem.model
    each = sum(problem[name].size for name in model.observed.variables)
    picks = _picks(posterior, each)
    flat = stacked(posterior)
    copies = [
        replicate(problem, {name: v[i] for name, v in flat.items()}, rng) for i in track(picks, "posterior predictive")
    ]
    return {name: np.stack([copy[name] for copy in copies])[None] for name in model.observed.variables}


def thinned(replicas: Arrays) -> dict[str, Array]:
    """Keep evenly spaced ones of replicated datasets, with leading dims (1, replicates)."""
    picks = _picks(replicas, sum(int(np.prod(v.shape[2:])) for v in replicas.values()))
    return {name: v[picks][None] for name, v in stacked(replicas).items()}


def _picks(draws: Arrays, each: int) -> Array:
    """Evenly spaced draws, as many as replicated datasets of ``each`` values are kept."""
    chains, count = next(iter(draws.values())).shape[:2]
    replicates = max(1, min(chains * count, PREDICTIVE_DRAWS, PREDICTIVE_SIZE // each))
    return np.linspace(0, chains * count - 1, replicates).astype(int)
