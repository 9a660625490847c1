"""Fit: run a method on data and return everything as one tree, whatever the engine."""

import inspect
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.data import check
from genarium.declaration import Claim, Method, Model, Problem, Result
from genarium.engines.labels import match_labels
from genarium.errors import InputError
from genarium.evaluate import POINTWISE_SIZE, coordinates, derived, log_likelihood, log_prior, sparse_joint_density
from genarium.holding import Data, hold
from genarium.methods import find_method, methods, require_free
from genarium.progress import cpu_seconds
from genarium.registry import resolve
from genarium.remedies import flag
from genarium.settings import generator, split, varied
from genarium.story import predictive, thinned
from genarium.tree import data_tree, dataset, provenance, with_coordinates, with_groups
from genarium.verbs.prior import prior_groups


def fit(
    model: str | Path | Model,
    data: Data | Path,
    method: str,
    seed: int = 0,
    *,
    layer: Any = "",
    prior_draws: Any = 0,
    **settings: Any,
) -> xr.DataTree:
    """Fit a model to data.

    Parameters
    ----------
    model : str, Path or Model
        Name of a model, its folder, or a declaration.
    data : DataTree, Dataset, mapping of str to array_like, AnnData, DataFrame, Series, DataArray, matrix or Path
        From :func:`simulate` or :func:`read`, or variables by name. An AnnData, a DataFrame or a matrix alone is the
        first observed variable with two dims (:func:`genarium.holding.hold`); labels are kept in every group. A path: a
        folder with data in blocks, which a model that can (``Model.fit_folder``) fits without loading them.
    method : str
        One of the model's methods (``genarium show MODEL`` lists them).
    seed : int
        The same seed, data, settings and package versions give the same result.
    layer : str
        Of an AnnData, the layer that takes the place of ``X``.
    prior_draws : int
        Draws for the groups ``prior`` and ``prior_predictive`` (:func:`add_prior`); 0: none.
    **settings
        Sizes (``component=5``), options of the model (``dispersion="gene"``), values of known variables
        (``phi=0.3``), unknown variables to hold fixed, and options of the method (``restarts=20``).

    Returns
    -------
    DataTree
        The data and, as far as the method gives them, ``posterior``, ``sample_stats`` (with ``lp``, the joint log
        density on the natural scale), ``log_likelihood`` (pointwise, by the model's unit, under the name of the first
        observed variable), ``log_prior`` (``joint``), ``posterior_predictive`` (data replicated at every draw),
        ``variational`` or ``point``. The root's attributes say what was done. Beyond 2e7 values, the pointwise
        likelihood is left out with ``log_prior``, and ``lp`` is kept at fewer draws. Beyond as many, data are
        replicated at fewer draws, labelled by their numbers: ``tree.sel(draw=tree["posterior_predictive"]["draw"])``
        takes the same ones of the other groups (``drop_nodes`` those of the prior first), as functions that compare
        them need.

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
    if isinstance(data, Path):
        return _fit_folder(resolve(model, {}), data, method, seed, settings)
    declared = resolve(model, data)
    way = find_method(varied(declared, settings), method)
    variant, sizes, values, options = split(
        declared,
        settings,
        way.function,
        elsewhere=lambda: {flag("method", name): one.options for name, one in methods(declared).items()},
    )
    problem = check(variant, data, sizes, values, layer=layer)
    options = {**read_with(data, problem, way), **options}
    require_free(problem, method)
    fitting, predicting, telling = generator(seed).spawn(3)
    told = prior_groups(problem, prior_draws, telling) if prior_draws else {}
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = way.function(problem, fitting, **options)
    groups = {**_groups(problem, result, way.claim, predicting), **told}
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}
    start, kept = with_coordinates(data_tree(problem), hold(variant, data, layer)), dict[str, Any]()
    if isinstance(data, xr.DataTree):
        kept = {str(name): value for name, value in data.attrs.items() if name not in start.attrs}
        if "truth" in data:
            groups["truth"] = data["truth"].to_dataset()
    attrs = provenance(
        method=method,
        claim=way.claim,
        engine=way.engine,
        seed=seed,
        options={**way.options, **options},
        fixed=list(problem.fixed),
        notes={name: _scalar(value) for name, value in result.notes.items()},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **seconds,
    )
    return with_groups(start, groups, {**kept, **attrs})


def read_with(data: Data, problem: Problem, way: Method) -> dict[str, str]:
    """Return labels that the data were read with and the method asks for under the same name, such as the control."""
    if not isinstance(data, xr.DataTree) or "reader_options" not in data.attrs:
        return {}
    before = attribute(data, "reader_options")
    asked = {name: before.get(name) for name, usual in way.options.items() if usual == ""}
    labels = problem.coords.values() if any(asked.values()) else ()
    return {name: value for name, value in asked.items() if any(value in dim.tolist() for dim in labels)}


def in_blocks(path: Path) -> bool:
    """Whether a path is a folder with data in blocks."""
    return (path / "corpus.nc").is_file()


def _fit_folder(model: Model, folder: Path, method: str, seed: int, settings: dict[str, Any]) -> xr.DataTree:
    """Fit data in blocks, if the model can."""
    if model.fit_folder is None or not in_blocks(folder):
        why = f"{model.name} fits data in memory only" if model.fit_folder is None else "it has no file corpus.nc"
        raise InputError(
            f"{folder}: this is not a folder with data in blocks that can be fitted: {why}. Load a tree first."
        )
    taken = inspect.signature(model.fit_folder).parameters
    names = {name for name, one in taken.items() if one.kind is one.KEYWORD_ONLY} | set(model.known.variables)
    if unknown := sorted(set(settings) - names):
        raise InputError(
            f"{model.name}: {unknown[0]!r} is not a setting of a fit of blocks. There are {', '.join(sorted(names))}."
        )
    if missing := [
        name
        for name, one in taken.items()
        if one.kind is one.KEYWORD_ONLY and one.default is one.empty and name not in settings
    ]:
        raise InputError(f"{model.name}: the size {missing[0]!r} is not given. Give it: --set {missing[0]}=3.")
    tree: xr.DataTree = model.fit_folder(folder, method, seed, **settings)
    return tree


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _groups(problem: Problem, result: Result, claim: Claim, rng: np.random.Generator) -> dict[str, xr.Dataset]:
    """Label the result, and add what follows from draws: joint density, pointwise likelihood, predictions."""
    model, coords = problem.model, problem.coords
    beside = coordinates(problem, result.point)
    point = {name: value for name, value in result.point.items() if name not in beside}
    groups = {
        "variational": dataset(model, coords, result.variational),
        "point": dataset(model, coords, {**point, **derived(problem, point, beside=beside)}),
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
                groups["log_prior"] = dataset(model, coords, {"joint": prior}, ("chain", "draw"))
        lead = ("chain", "draw")
        groups["posterior"] = dataset(model, coords, {**posterior, **derived(problem, posterior, lead, beside)}, lead)
        groups["sample_stats"] = dataset(model, coords, stats, lead)
        copies = result.posterior_predictive
        groups["posterior_predictive"] = thinned(problem, copies) if copies else predictive(problem, posterior, rng)
    for name in {"posterior", "point", "variational"} & set(groups):
        here = {n: one for n, one in beside.items() if set(one[0]) <= set(groups[name].dims)}
        groups[name] = groups[name][model.most_wanted_first(map(str, groups[name].data_vars), problem.sizes)]
        if name == "posterior" and any(set(values.dims) == {"chain", "draw"} for values in groups[name].values()):
            labels = {dim: groups[name][dim] for one in here.values() for dim in one[0]}
            groups["sample_stats"] = groups["sample_stats"].assign_coords({**labels, **here})
            continue  # ArviZ stacks the posterior's variables, and takes no coordinate there that some do not have
        groups[name] = groups[name].assign_coords(here)
    return groups
