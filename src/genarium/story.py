"""The story told: drawing the variables of a model, all of them or those that follow from others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array, Arrays, Model, Problem, Role, Sizes
from genarium.errors import DeclarationError, InputError
from genarium.progress import track
from genarium.signatures import call
from genarium.tree import dataset

PREDICTIVE_SIZE = 20_000_000
"""Values in all replicated datasets of a posterior predictive together, at most."""


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


def prior(problem: Problem, draws: int, rng: np.random.Generator) -> dict[str, Array]:
    """Draw the unknown variables from their prior, given the known ones; those held fixed stay as they are.

    Parameters
    ----------
    problem : Problem
    draws : int
    rng : Generator

    Returns
    -------
    dict of str to ndarray
        Unknown variables with leading dims (1, draws).

    Raises
    ------
    InputError
        If some are held fixed, but all are drawn by one function: it cannot draw the others given them.
    """
    model = problem.model
    if problem.fixed and callable(model.unknown.draw):
        raise InputError(
            f"{model.name}: the prior of the other unknown variables given {', '.join(problem.fixed)} cannot be drawn: "
            "one function draws them all. Fit without the prior."
        )
    found = []
    for _ in track(range(draws), "prior"):
        out = {name: problem[name] for name in model.known.variables}
        draw_stage(model, "unknown", rng, problem.sizes, dict(problem.fixed), out)
        found.append({name: out[name] for name in model.unknown.variables})
    return {name: np.stack([one[name] for one in found])[None] for name in model.unknown.variables}


def predictive(problem: Problem, draws: Arrays, rng: np.random.Generator) -> xr.Dataset:
    """Replicate the data by the hidden and observed stages of the story: at every draw, or at evenly spaced ones.

    Parameters
    ----------
    problem : Problem
    draws : mapping of str to ndarray
        The unknown variables with leading dims (chain, draw).
    rng : Generator

    Returns
    -------
    Dataset
        Observed variables with leading dims (chain, draw), labelled by the numbers of the draws that they follow
        from: the same ones of every chain, as many as :data:`PREDICTIVE_SIZE` allows.
    """
    observed = problem.model.observed.variables
    chains, kept = _picks(draws, sum(problem[name].size for name in observed))
    shape = len(chains), len(kept)
    values = {
        n: np.empty(shape + problem[n].shape, np.int64 if v.support.integer else float) for n, v in observed.items()
    }
    for i, j in track(list(np.ndindex(shape)), "predictive"):
        copy = replicate(problem, {name: v[chains[i], kept[j]] for name, v in draws.items()}, rng)
        for name in observed:
            values[name][i, j] = copy[name]
    return _labelled(problem, values, chains, kept)


def thinned(problem: Problem, replicas: Arrays) -> xr.Dataset:
    """Keep those of an engine's replicated datasets, with leading dims (chain, draw), that there is room for."""
    chains, kept = _picks(replicas, sum(int(np.prod(v.shape[2:])) for v in replicas.values()))
    return _labelled(problem, {name: v[np.ix_(chains, kept)] for name, v in replicas.items()}, chains, kept)


def _labelled(problem: Problem, values: Arrays, chains: Array, draws: Array) -> xr.Dataset:
    return dataset(problem.model, {**problem.coords, "chain": chains, "draw": draws}, values, ("chain", "draw"))


def _picks(draws: Arrays, each: int) -> tuple[Array, Array]:
    """Evenly spaced chains (all, if there is room) and draws, for replicated datasets of ``each`` values."""
    chains, count = next(iter(draws.values())).shape[:2]
    room = max(1, PREDICTIVE_SIZE // each)
    some = min(chains, room)
    return _spaced(chains, some), _spaced(count, min(count, room // some))


def _spaced(count: int, keep: int) -> Array:
    return np.linspace(0, count - 1, keep).round().astype(int)
