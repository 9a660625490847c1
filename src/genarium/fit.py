"""Fit: run a method on data and return everything as one tree, whatever the engine."""

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from genarium import registry
from genarium.data import Data, check
from genarium.declaration import Array, Arrays, Claim, Model, Problem, Result, keyword_options
from genarium.errors import InputError
from genarium.evaluate import at_draws
from genarium.progress import track
from genarium.settings import generator, split
from genarium.simulate import draw_stage
from genarium.tree import data_tree, dataset, provenance, with_groups

PREDICTIVE_DRAWS, PREDICTIVE_SIZE = 500, 6_000_000
"""Replicated datasets that a posterior predictive holds at most, and values in all of them together."""

POINTWISE_SIZE = 20_000_000
"""Values of a pointwise log likelihood; a larger one is left out, and the joint density is kept at fewer draws."""


def fit(model: str | Model, data: Data, method: str, seed: int = 0, **settings: Any) -> xr.DataTree:
    """Fit a model to data.

    Parameters
    ----------
    model : str or Model
        Name of a model, or a declaration.
    data : DataTree, Dataset or mapping of str to array_like
        From :func:`simulate` or :func:`read`, or variables by name.
    method : str
        One of the model's methods (``genarium show MODEL`` lists them).
    seed : int
        The same seed, data, settings and package versions give the same result.
    **settings
        Sizes (``component=5``), options of the model (``dispersion="gene"``), values of known variables
        (``phi=0.3``), unknown variables to hold fixed, and options of the method (``restarts=20``).

    Returns
    -------
    DataTree
        The data and, as far as the method gives them, ``posterior``, ``sample_stats`` (with ``lp``, the joint log
        density on the natural scale), ``log_likelihood`` (pointwise; left out beyond 2e7 values, where ``lp`` is kept
        at fewer draws), ``posterior_predictive``, ``variational`` or ``point``. The root's attributes say what was
        done.

    Raises
    ------
    InputError
        If data or settings cannot be used; the message says why and what to do.

    Examples
    --------
    >>> import genarium as gn
    >>> tree = gn.fit("nb_mixture", {"x": [[0, 9], [1, 8], [7, 0], [9, 1]], "phi": 0.3}, "em", component=2)
    >>> sorted(tree.children)
    ['constant_data', 'observed_data', 'point']
    """
    declared = registry.get(model) if isinstance(model, str) else model
    if isinstance(data, xr.DataTree) and not declared.chosen:
        declared = declared.variant(**json.loads(data.attrs.get("model_options", "{}")))
    run, claim, engine = find_method(declared, method)
    variant, sizes, values, options = split(declared, settings, keyword_options(run))
    problem = check(variant, data, sizes, values)
    fitting, predicting = generator(seed).spawn(2)
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = run(problem, fitting, **options)
    groups = _groups(problem, result, claim, predicting)
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}
    start, kept = data_tree(problem), dict[str, Any]()
    if isinstance(data, xr.DataTree):
        kept = {str(name): value for name, value in data.attrs.items() if name not in start.attrs}
        if "truth" in data:
            groups["truth"] = data["truth"].to_dataset()
    attrs = provenance(
        method=method,
        claim=claim,
        engine=engine,
        seed=seed,
        options={**keyword_options(run), **options},
        fixed=list(problem.fixed),
        notes={name: _scalar(value) for name, value in result.notes.items()},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **seconds,
    )
    return with_groups(start, groups, {**kept, **attrs})


def cpu_seconds() -> float:
    """CPU seconds of this process and of those it has run (Stan samples in its own)."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def find_method(model: Model, method: str) -> tuple[Callable[..., Result], Claim, str]:
    """Return a method's function, its claim, and the engine it runs on.

    Raises
    ------
    InputError
        If the model has no such method.
    """
    if method in model.methods:
        return model.methods[method].run, model.methods[method].claim, "numpy"
    available = registry.methods(model)
    if method not in available:
        if method in model.lacks:
            raise InputError(f"{model.name}: method {method!r} is not offered: {model.lacks[method]}.")
        lines = ", ".join(f"{name} ({claim})" for name, (claim, _) in available.items())
        raise InputError(f"{model.name}: there is no method {method!r}. The methods are {lines or 'none'}.")
    from genarium.engines import blackjax, pymc, stan

    if method in stan.RUN:
        return stan.RUN[method], available[method][0], "stan"
    if method in blackjax.RUN:
        return blackjax.RUN[method], available[method][0], "blackjax"
    return pymc.RUN[method], available[method][0], "pymc"


def _groups(problem: Problem, result: Result, claim: Claim, rng: np.random.Generator) -> dict[str, xr.Dataset]:
    """Label the result, and add what follows from draws: joint density, pointwise likelihood, predictions."""
    model, coords = problem.model, problem.coords
    groups = {
        "variational": dataset(model, coords, result.variational),
        "point": dataset(model, coords, {**result.point, **derived(problem, result.point)}),
    }
    if result.posterior:
        posterior = {n: np.asarray(v) for n, v in result.posterior.items()}
        if model.exchangeable and claim == "exact":
            posterior = match_labels(model, posterior)
        stats = dict(result.sample_stats)
        chains, draws = next(iter(posterior.values())).shape[:2]
        pointwise = result.log_likelihood
        if pointwise is None and chains * draws * problem.sizes.get(model.unit, 1) > POINTWISE_SIZE:
            stats |= sparse_joint_density(problem, posterior)
        elif pointwise is None:
            pointwise = log_likelihood(problem, posterior)
        if pointwise is not None:
            name = next(iter(model.observed.variables))
            lead = ("chain", "draw", *((model.unit,) if model.unit else ()))
            groups["log_likelihood"] = dataset(model, coords, {name: (lead, pointwise)})
            prior = log_prior(problem, posterior)
            if prior is not None:
                stats["lp"] = pointwise.reshape(*prior.shape, -1).sum(-1) + prior
        lead = ("chain", "draw")
        groups["posterior"] = dataset(model, coords, {**posterior, **derived(problem, posterior, lead)}, lead)
        groups["sample_stats"] = dataset(model, coords, stats, lead)
        replicas = (
            thinned(result.posterior_predictive) if result.posterior_predictive else predictive(problem, posterior, rng)
        )
        groups["posterior_predictive"] = dataset(model, coords, replicas, lead)
    return groups


def derived(problem: Problem, values: Mapping[str, Any], lead: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the derived variables at a point, or at draws, as ``(dims, values, attributes)``.

    Parameters
    ----------
    problem : Problem
    values : mapping of str to ndarray
        The unknown variables, with leading dims ``lead``; without one of them, nothing follows.
    lead : tuple of str
        Dims before the declared ones.

    Returns
    -------
    dict
        Those that ``values`` does not hold already.
    """
    stage = problem.model.derived
    if not set(problem.model.unknown.variables) <= set(values) or not isinstance(stage.draw, Mapping):
        return {}
    wanted = {name: var for name, var in stage.variables.items() if name not in values}
    unknown = {name: np.asarray(values[name]) for name in problem.model.unknown.variables}
    return {
        name: (
            (*lead, *var.dims),
            problem.call(stage.draw[name], **unknown),
            {"about": var.about, "symbol": var.symbol},
        )
        for name, var in wanted.items()
    }


def match_labels(model: Model, posterior: Arrays) -> dict[str, Array]:
    """Relabel draws along the exchangeable dim (logs of positive variables identify a label)."""
    from genarium.engines.chains import relabel

    declared = model.unknown.variables
    features = []
    for name, value in posterior.items():
        dims = declared[name].dims
        if model.exchangeable not in dims or (
            declared[name].support.name == "simplex" and dims[-1] == model.exchangeable
        ):
            continue
        moved = np.moveaxis(value, 2 + dims.index(model.exchangeable), 2)
        positive = declared[name].support.name in ("positive", "nonnegative")
        scaled = np.log(np.maximum(moved, 1e-300)) if positive else moved
        features.append(scaled.reshape(*moved.shape[:3], -1))
    if not features:
        return dict(posterior)
    return relabel(
        posterior, np.concatenate(features, -1), {n: v.dims for n, v in declared.items()}, model.exchangeable
    )


def _each_draw(function: Callable[..., Any], problem: Problem, posterior: Arrays, label: str) -> Array:
    """Call a function of the unknown variables at every draw; shape (chain, draw, ...)."""
    chains, draws = next(iter(posterior.values())).shape[:2]
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in posterior.items()}
    found: Array = at_draws(problem, function, flat, label)
    return found.reshape(chains, draws, *found.shape[1:])


def log_likelihood(problem: Problem, posterior: Arrays) -> Array | None:
    """Pointwise log likelihood at every draw, shape (chain, draw, unit); None where the model does not give it."""
    function = problem.model.log_likelihood
    return _each_draw(function, problem, posterior, "log likelihood") if function else None


def log_prior(problem: Problem, posterior: Arrays) -> Array | None:
    """Log prior density at every draw, shape (chain, draw); None where the model does not give it."""
    function = problem.model.log_prior
    return _each_draw(function, problem, posterior, "log prior") if function else None


def sparse_joint_density(problem: Problem, posterior: Arrays) -> dict[str, Array]:
    """Joint log density at evenly spaced draws, NaN at the others, for data too large to do it at all of them.

    Returns
    -------
    dict
        ``lp``, shape (chain, draw), as far as the model gives likelihood and prior.
    """
    chains, draws = next(iter(posterior.values())).shape[:2]
    wanted = max(100, POINTWISE_SIZE // problem.sizes.get(problem.model.unit, 1))
    picks = np.unique(np.linspace(0, chains * draws - 1, wanted).astype(int))
    model, flat = problem.model, {name: v.reshape(-1, *v.shape[2:]) for name, v in posterior.items()}
    if model.log_likelihood is None or model.log_prior is None:
        return {}
    lp = np.full(chains * draws, np.nan)
    for i in track(picks, "log density"):  # one by one: all values of all these draws would not fit into memory
        some = {name: v[i : i + 1] for name, v in flat.items()}
        lp[i] = at_draws(problem, model.log_likelihood, some).sum() + at_draws(problem, model.log_prior, some)[0]
    return {"lp": lp.reshape(chains, draws)}


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
    stacked = [
        replicate(problem, {n: v.reshape(-1, *v.shape[2:])[i] for n, v in posterior.items()}, rng)
        for i in track(picks, "posterior predictive")
    ]
    return {name: np.stack([one[name] for one in stacked])[None] for name in model.observed.variables}


def _picks(draws: Arrays, each: int) -> Array:
    """Evenly spaced draws, as many as replicated datasets of ``each`` values are kept."""
    chains, count = next(iter(draws.values())).shape[:2]
    replicates = max(1, min(chains * count, PREDICTIVE_DRAWS, PREDICTIVE_SIZE // each))
    return np.linspace(0, chains * count - 1, replicates).astype(int)


def thinned(replicas: Arrays) -> dict[str, Array]:
    """Keep evenly spaced ones of replicated datasets, with leading dims (1, replicates)."""
    picks = _picks(replicas, sum(int(np.prod(v.shape[2:])) for v in replicas.values()))
    return {name: v.reshape(-1, *v.shape[2:])[picks][None] for name, v in replicas.items()}


def replicate(problem: Problem, unknown: Arrays, rng: np.random.Generator) -> Mapping[str, Array]:
    """Draw hidden and observed variables anew, given the unknown ones."""
    known = {name: problem[name] for name in problem.model.known.variables}
    out: dict[str, Array] = {**known, **problem.fixed, **unknown}
    for role in ("hidden", "observed"):
        draw_stage(problem.model, role, rng, problem.sizes, {}, out)
    return out
