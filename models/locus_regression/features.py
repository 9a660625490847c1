"""Features made of features: standardised, of neighbours, at several resolutions, powers, effects by sample group.

All of them keep the log rate linear in the features, so that the result goes to a fit as ``features``.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.messages import listed

WHERE = "locus_regression: known variable 'features'"

FLAT = 1e-10
"""Range of a feature, relative to its largest value, up to which it is constant (as in the model's own check)."""


def standardise(features: Any) -> xr.DataArray:
    """Shift and scale every feature to mean 0 and standard deviation 1 over loci.

    Parameters
    ----------
    features : DataArray, DataFrame, mapping or array_like
        (feature, locus), or (covariate_group, feature, locus), standardised group by group. A DataFrame has features
        as its rows, a mapping gives the values (locus,) of each feature by its name.

    Returns
    -------
    DataArray
        Of the same dims, without unit; the divisor of the variance is the number of loci.

    Raises
    ------
    InputError
        If a feature is NaN, infinite or constant; names feature and first locus.
    """
    X = _labelled(features)
    values = X.to_numpy()
    _reject_constant(X, np.abs(values).max(-1), "Drop it: its beta cannot be told from the prior.")
    centred = values - values.mean(-1, keepdims=True)
    return X.copy(data=centred / centred.std(-1, keepdims=True))


def windowed(features: Any, offsets: Iterable[int], segment: Any = None) -> xr.DataArray:
    """Take the features of neighbouring loci: a convolution whose weights are the fitted beta (eq. 22 of the source).

    Parameters
    ----------
    features : DataArray, DataFrame, mapping or array_like
        As for :func:`standardise`; loci in the order of the genome.
    offsets : iterable of int
        Distances o in loci, for example (-1, 0, 1): the new feature is X_f,l+o.
    segment : array_like, shape (locus,), optional
        Chromosome of each locus. Beyond its ends, its nearest locus stands in.

    Returns
    -------
    DataArray
        ([covariate_group,] feature, locus), named "gc -1", "gc", "gc +1", feature by feature.

    Raises
    ------
    InputError
        If offsets are not different integers or reach beyond every segment, or a segment is in pieces.
    """
    X = _labelled(features)
    steps = _integers("offsets", offsets)
    first, last = _bounds(X, segment)
    longest = int((last - first).max())
    if far := [step for step in steps if abs(step) > longest]:
        raise InputError(
            f"locus_regression: offset {far[0]} reaches beyond the longest segment, of {longest + 1} loci. Drop it."
        )
    here = np.arange(X.sizes["locus"])
    parts = [X.to_numpy()[..., np.clip(here + step, first, last)] for step in steps]
    names = [f"{name} {step:+d}" if step else f"{name}" for name in _names(X) for step in steps]
    return _features(X, np.stack(parts, -2), names)


def resolutions(features: Any, factors: Iterable[int], segment: Any = None) -> xr.DataArray:
    """Split features into what varies at each resolution, from means over blocks of neighbouring loci.

    These are the differences of successive means, and the coarsest mean itself: not collinear, they sum to the finest.

    Parameters
    ----------
    features : DataArray, DataFrame, mapping or array_like
        As for :func:`standardise`; loci in the order of the genome.
    factors : iterable of int
        Loci in a block, increasing, each best a multiple of the one before: for example (1, 2, 4).
    segment : array_like, shape (locus,), optional
        Chromosome of each locus. Blocks start anew with each; its last block may be shorter.

    Returns
    -------
    DataArray
        ([covariate_group,] feature, locus), named "gc 1-2", "gc 2-4", "gc 4", feature by feature.

    Raises
    ------
    InputError
        If factors are not positive and increasing, a segment is in pieces, or no segment is longer than a block.
    """
    X = _labelled(features)
    sizes = _integers("factors", factors)
    if sizes[0] < 1 or sizes != sorted(sizes):
        raise InputError(f"locus_regression: factors={sizes} must be positive and increase, as (1, 2, 4) do.")
    first, _ = _bounds(X, segment)
    here, values = np.arange(X.sizes["locus"]), X.to_numpy()
    means = []
    for size in sizes:
        start = first + (here - first) // size * size  # (L,), first locus of the block
        starts, block = np.unique(start, return_inverse=True)
        means.append((np.add.reduceat(values, starts, -1) / np.bincount(block))[..., block])
    parts = [fine - coarse for fine, coarse in pairwise(means)] + means[-1:]
    spans = [f"{fine}-{coarse}" for fine, coarse in pairwise(sizes)] + [f"{sizes[-1]}"]
    made = _features(X, np.stack(parts, -2), [f"{name} {span}" for name in _names(X) for span in spans])
    scale = np.repeat(np.abs(values).max(-1), len(sizes), -1)
    _reject_constant(made, scale, "Leave out factors that no segment is longer than.")
    return made


def polynomial(features: Any, degree: int = 2, interactions: bool = True) -> xr.DataArray:
    """Add powers and pairwise products of the standardised features.

    Parameters
    ----------
    features : DataArray, DataFrame, mapping or array_like
        As for :func:`standardise`, which is done first.
    degree : int
        Highest power.
    interactions : bool
        Whether to add the product of every two features.

    Returns
    -------
    DataArray
        ([covariate_group,] feature, locus), named "gc", "timing", "gc^2", "timing^2", "gc x timing". Powers and
        products are not standardised again; :func:`standardise` does it.

    Raises
    ------
    InputError
        If a feature is NaN, infinite or constant, or a power is constant (the square of one that is +1 or -1).
    """
    X = standardise(features)
    if isinstance(degree, bool) or not isinstance(degree, int | np.integer) or degree < 1:
        raise InputError(f"locus_regression: degree={degree!r} must be a positive whole number. For example 2.")
    names, z = _names(X), X.to_numpy()
    parts = [z**power for power in range(1, degree + 1)]
    made = [f"{name}^{power}" if power > 1 else name for power in range(1, degree + 1) for name in names]
    if interactions:
        one, other = np.triu_indices(len(names), 1)
        parts.append(z[..., one, :] * z[..., other, :])
        made += [f"{names[f]} x {names[g]}" for f, g in zip(one, other, strict=True)]
    out = _features(X, np.concatenate(parts, -2)[..., None, :], made)
    _reject_constant(out, np.ones(out.shape[:-1]), "Leave such powers and products out.")
    return out


def mixed_effects(features: Any, group: Any, scale: float = 0.5) -> xr.DataArray:
    """Let effects differ between groups of samples: beta_kj = beta_k + b_kj, b_kj ~ N(0, scale^2 tau_k^2) (eq. 23).

    The features in common are multiplied by sqrt(1 + scale^2 / J), and J - 1 orthonormal (Helmert) contrasts of the J
    groups by ``scale``: that gives every beta_kj this prior, with features that are linearly independent.

    Parameters
    ----------
    features : DataArray, DataFrame, mapping or array_like
        As for :func:`standardise`.
    group : array_like of int or str
        Group of each genome. Integers are 0, 1, ... without gaps; names are sorted, so that the model's ``group`` of a
        cell is ``np.unique(group, return_inverse=True)[1][genome]``.
    scale : float
        Standard deviation of deviations relative to tau_k, positive.

    Returns
    -------
    DataArray
        (covariate_group, feature, locus) for the option ``groups="several"``, named "gc" and
        "gc | contrast 1". Coordinates ``base`` (feature) and ``weight`` (covariate_group, feature) say which feature
        was multiplied by what.

    Raises
    ------
    InputError
        If there are fewer than two groups, their numbers have gaps, or ``scale`` is not positive.
    """
    X = _labelled(features)
    labels = _group_labels(group)
    J = len(labels)
    if not (np.isscalar(scale) and np.isreal(scale) and 0 < scale < np.inf):
        raise InputError(f"locus_regression: scale={scale!r} must be a positive number. For example 0.5.")
    if "covariate_group" in X.dims:
        have = X.coords["covariate_group"].to_numpy() if "covariate_group" in X.coords else labels
        if X.sizes["covariate_group"] != J or [str(j) for j in have] != [str(j) for j in labels]:
            raise InputError(
                f"{WHERE} has {X.sizes['covariate_group']} covariate groups, {listed(have, 5)}, but 'group' has {J}: "
                f"{listed(labels, 5)}. Give both alike, in this order."
            )
    from scipy.linalg import helmert

    weight = np.column_stack([np.full(J, np.sqrt(1 + scale**2 / J)), scale * helmert(J).T])  # (J, blocks)
    blocks = [f" | contrast {h}" for h in range(1, J)]
    names = _names(X)
    values = np.broadcast_to(X.to_numpy(), (J, len(names), X.sizes["locus"]))
    coords: dict[str, Any] = {
        "covariate_group": labels,
        "feature": [f"{name}{block}" for block in ("", *blocks) for name in names],
        "base": ("feature", names * weight.shape[1]),
        "weight": (("covariate_group", "feature"), np.repeat(weight, len(names), 1)),
    }
    if "locus" in X.coords:
        coords["locus"] = X.coords["locus"].to_numpy()
    made = weight[:, :, None, None] * values[:, None]  # (J, blocks, F, L)
    dims = ("covariate_group", "feature", "locus")
    return xr.DataArray(made.reshape(J, -1, X.sizes["locus"]), dims=dims, coords=coords, name="features")


def group_effects(beta: Any, features: xr.DataArray) -> xr.DataArray:
    """Return the effects beta_kj of every sample group from the fitted beta of :func:`mixed_effects`.

    Parameters
    ----------
    beta : DataArray
        (..., process, feature): draws, as in the posterior, or means.
    features : DataArray
        What :func:`mixed_effects` returned.

    Returns
    -------
    DataArray
        (..., process, covariate_group, feature); less its mean over ``covariate_group``, the deviations.

    Raises
    ------
    InputError
        If ``features`` is not from :func:`mixed_effects`, or beta is of others.
    """
    if not {"base", "weight"} <= set(features.coords):
        raise InputError("locus_regression: group_effects needs the features that mixed_effects returned.")
    names = features.coords["feature"].to_numpy()
    if "feature" not in beta.coords or not np.array_equal(beta.coords["feature"].to_numpy().astype(str), names):
        raise InputError(
            f"locus_regression: beta has sizes {dict(beta.sizes)} and is not of the {len(names)} features that "
            f"mixed_effects made ({listed(names, 3)}). Fit with those."
        )
    weight, base = features.coords["weight"], features.coords["base"].to_numpy()
    parts = {name: (beta * weight).isel(feature=base == name).sum("feature") for name in dict.fromkeys(base.tolist())}
    lead = [dim for dim in beta.dims if dim != "feature"]
    effects: xr.DataArray = xr.concat(parts.values(), "feature", coords="minimal").assign_coords(feature=list(parts))
    return effects.transpose(*lead, "covariate_group", "feature").rename("beta")


def _labelled(features: Any) -> xr.DataArray:
    """Give features dims and names, and check that they are finite."""
    coords: dict[str, Any] = {}
    if isinstance(features, xr.DataArray):
        X = features
    else:
        if isinstance(features, Mapping):
            coords, features = {"feature": list(features)}, list(features.values())
        elif hasattr(features, "columns"):  # a pandas DataFrame
            coords = {"feature": features.index.to_numpy(), "locus": features.columns.to_numpy()}
        try:
            values = np.asarray(features)
        except ValueError as error:
            raise InputError(f"{WHERE}: not as many loci for every feature ({error}).") from error
        if values.ndim not in (2, 3):
            raise InputError(f"{WHERE} has shape {values.shape}. Give (feature, locus).")
        X = xr.DataArray(values, dims=("covariate_group", "feature", "locus")[-values.ndim :], coords=coords)
    lead = ("covariate_group",) if "covariate_group" in X.dims else ()
    if set(X.dims) != {*lead, "feature", "locus"} or not X.size:
        raise InputError(f"{WHERE} has sizes {dict(X.sizes)}. Give (feature, locus), with one of each at least.")
    if X.dtype.kind not in "biuf":
        raise InputError(f"{WHERE} holds {X.dtype} values, not numbers. Convert it.")
    X = X.transpose(*lead, "feature", "locus").astype(float)
    names = _names(X)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{WHERE}: two features are named {twice!r}. Rename one.")
    bad = np.argwhere(~np.isfinite(X.to_numpy()))
    if len(bad):
        at = tuple(bad[0])
        raise InputError(
            f"{WHERE}: feature {names[at[-2]]!r} is {X.to_numpy()[at]} at locus={_locus(X, at[-1])} ({len(bad)} of "
            f"{X.size} values are not finite). Fill it in, or drop the locus."
        )
    return X


def _reject_constant(X: xr.DataArray, scale: Array, remedy: str) -> None:
    """Raise for the first feature whose range is nothing beside ``scale`` (..., F)."""
    values = X.to_numpy()
    flat = np.argwhere(np.ptp(values, axis=-1) <= FLAT * scale)
    if len(flat):
        at = tuple(flat[0])
        group = f" of covariate_group={at[0]}" if len(at) > 1 else ""
        raise InputError(
            f"{WHERE}: feature {_names(X)[at[-1]]!r} is the same, {values[at][0]:g}, in every locus{group} (the first "
            f"is locus={_locus(X, 0)}). {remedy}"
        )


def _names(X: xr.DataArray) -> list[str]:
    return [str(name) for name in (X.coords["feature"].to_numpy() if "feature" in X.coords else range(X.shape[-2]))]


def _locus(X: xr.DataArray, at: int) -> str:
    label = X.coords["locus"].to_numpy()[at] if "locus" in X.coords else at
    return f"{at}" if label == at else f"{at} ({label})"


def _features(X: xr.DataArray, values: Array, names: list[str]) -> xr.DataArray:
    """Label new features; values (..., F, parts, L) are numbered feature by feature."""
    coords = {dim: X.coords[dim].to_numpy() for dim in ("covariate_group", "locus") if dim in X.coords}
    shape = (*values.shape[:-3], -1, values.shape[-1])
    return xr.DataArray(values.reshape(shape), dims=X.dims, coords={**coords, "feature": names}, name="features")


def _integers(what: str, values: Iterable[int]) -> list[int]:
    """Return different integers, in the order given."""
    found = list(values)
    wrong = any(isinstance(v, bool) or not isinstance(v, int | np.integer) for v in found)
    if not found or wrong or len(set(found)) < len(found):
        raise InputError(f"locus_regression: {what}={found!r} must be different integers, such as (1, 2).")
    return [int(v) for v in found]


def _bounds(X: xr.DataArray, segment: Any) -> tuple[Array, Array]:
    """Return the first and the last locus of each locus's segment; shapes (L,)."""
    L = X.sizes["locus"]
    labels = np.zeros(L, dtype=int) if segment is None else np.asarray(segment)
    if labels.shape != (L,):
        raise InputError(f"locus_regression: segment has shape {labels.shape}, but there are {L} loci. Give one each.")
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    heads = labels[starts].tolist()
    again = next((i for i, label in enumerate(heads) if label in heads[:i]), None)
    if again is not None:
        one, other = (_locus(X, int(starts[i])) for i in (heads.index(heads[again]), again))
        raise InputError(
            f"locus_regression: segment {heads[again]} starts at locus={one} and again at locus={other}. Sort the "
            "loci by chromosome and position."
        )
    lengths = np.diff(np.r_[starts, L])
    return np.repeat(starts, lengths), np.repeat(starts + lengths - 1, lengths)


def _group_labels(group: Any) -> list[Any]:
    """Return the different groups, in order."""
    values = np.asarray(group)
    if values.dtype == object and all(isinstance(value, str) for value in values.flat):
        values = values.astype(str)
    labels = np.unique(values) if values.dtype.kind in "iuU" else values[:0]
    if len(labels) < 2:
        raise InputError(
            f"locus_regression: group, of type {values.dtype}, does not tell two groups apart. Give the group of each "
            "genome, by integers or names."
        )
    if labels.dtype.kind in "iu" and not np.array_equal(labels, np.arange(len(labels))):
        missing = next(j for j in range(len(labels) + 1) if j not in labels)
        raise InputError(
            f"locus_regression: group: its numbers are {listed(labels, 5)}, without {missing}. Number groups from 0 "
            "without gaps, or name them."
        )
    return list(labels.tolist())
