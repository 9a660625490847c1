"""Features of loci: measured from tracks, filled in, transformed; with what it takes to do the same again."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed
from genarium.remedies import option

from .spec import Feature, parse_features
from .tracks import measure
from .transforms import parse_step, run
from .windows import Loci


def measured(features: Sequence[Feature], loci: Loci, notes: list[str]) -> list[Array]:
    """Return the values (L,) of each feature; NaN where its track says nothing."""
    return [measure(one.source, one.summary, loci, notes) for one in features]


def fill(features: Sequence[Feature], values: list[Array], how: str, stored: Any, notes: list[str]) -> list[float]:
    """Fill in missing values, in place; return what was put in."""
    puts = []
    for one, row in zip(features, values, strict=True):
        missing = np.isnan(row)
        own = 0.0 if how == "zero" else float(row[~missing].mean()) if (~missing).any() else 0.0
        put = float(stored[_key(one)]["fill"]) if stored else own
        row[missing] = put
        puts.append(put)
        if missing.any():
            what = "zero" if how == "zero" else f"their mean, {put:.4g}"
            notes.append(
                f"{one.source.path.name}: it says nothing of {missing.sum()} of {len(row)} windows; {one.name} was "
                f"given {what}, there (missing='drop' leaves them out)."
            )
    return puts


def assembled(
    features: Sequence[Feature],
    values: list[Array],
    fills: list[float],
    loci: Loci,
    groups: Sequence[str],
    stored: Any,
    notes: list[str],
) -> xr.DataArray:
    """Transform features and put them together.

    Parameters
    ----------
    features : sequence of Feature
    values : list of ndarray, shape (L,)
    fills : list of float
    loci : Loci
    groups : sequence of str
        The covariate groups; none if all genomes share their features.
    stored : dict or None
        The recipe of other data, whose parameters are taken.
    notes : list of str

    Returns
    -------
    DataArray
        (feature, locus), or (covariate_group, feature, locus); its attribute ``recipe`` is JSON.
    """
    recipe: dict[str, Any] = {}
    columns: dict[str, dict[str, xr.DataArray]] = {}
    for one, row, put in zip(features, values, fills, strict=True):
        X = xr.DataArray(row[None], dims=("feature", "locus"), coords={"feature": [one.name], "locus": loci.names})
        known = stored[_key(one)]["parameters"] if stored else None
        if stored and stored[_key(one)]["steps"] != [str(step) for step in one.steps]:
            raise InputError(
                f"features: {one.name} was made by {listed(stored[_key(one)]['steps'])}, and now by "
                f"{listed(one.steps)}. Name the same steps, or none."
            )
        X, parameters = run(X, one.steps, loci.contig, known)
        columns.setdefault(one.name, {})[one.group] = X
        recipe[_key(one)] = {
            "track": one.source.path.name,
            "summary": one.summary,
            "fill": put,
            "steps": [str(step) for step in one.steps],
            "parameters": parameters,
        }
    _require_groups(columns, groups)
    parts = []
    for group in groups or [""]:
        rows = [of.get(group, of.get("")) for of in columns.values()]
        parts.append(xr.concat([row for row in rows if row is not None], "feature", join="exact"))
    found = parts[0] if not groups else xr.concat(parts, "covariate_group", join="exact")
    if groups:
        found = found.assign_coords(covariate_group=list(groups))
    _tell_scale(found, features, notes)
    return found.assign_attrs(recipe=json.dumps(recipe)).rename("features")


def with_stored_steps(asked: Any, transform: Any, stored: dict[str, Any]) -> list[Feature]:
    """Return the features asked for; those that name no steps have the stored ones."""
    out = []
    for one in parse_features(asked, transform):
        if _key(one) not in stored:
            raise InputError(
                f"features: {_key(one)!r} is not a feature of {option('like')}; there are {listed(stored)}."
            )
        steps = tuple(parse_step(word) for word in stored[_key(one)]["steps"])
        out.append(one if one.steps else replace(one, steps=steps))
    lacking = [key for key in stored if key not in {_key(one) for one in out}]
    if lacking:
        raise InputError(
            f"features: {lacking[0]!r}, a feature of {option('like')}, is missing. Name all: {listed(stored)}."
        )
    return out


def _key(one: Feature) -> str:
    return f"{one.name}@{one.group}" if one.group else one.name


def _require_groups(columns: dict[str, dict[str, xr.DataArray]], groups: Sequence[str]) -> None:
    for name, of in columns.items():
        for group in of:
            if group and group not in groups:
                have = f"the groups are {listed(groups)}" if groups else f"there are none: add {option('groups')}"
                raise InputError(f"features: {name}@{group} is of a group that no genome has; {have}.")
        lacking = [group for group in groups if group not in of and "" not in of]
        if lacking:
            raise InputError(f"features: {name} is missing for the group {lacking[0]!r}. Give {name}@{lacking[0]}.")


def _tell_scale(X: xr.DataArray, features: Sequence[Feature], notes: list[str]) -> None:
    """Say which features have a scale that the prior of their effects does not expect."""
    axes = tuple(i for i, dim in enumerate(X.dims) if dim != "feature")
    sd = X.to_numpy().std(axis=axes)
    odd = [str(name) for name, s in zip(X["feature"].to_numpy(), sd, strict=True) if s > 0 and not 0.2 <= s <= 5]
    if odd:
        notes.append(
            f"The prior of effects expects features with a standard deviation of about one; that of {listed(odd, 5)} "
            "is not. Consider transform='standardise'."
        )
