"""Estimates of a fit, from draws or from a point, beside the truth where it is known."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Array, Model

LEVEL = 0.9
"""Probability of the intervals; they leave the same probability out on either side."""


@dataclass(frozen=True)
class Estimate:
    """Estimates of one variable; every array has the variable's shape.

    Attributes
    ----------
    name : str
    dims : tuple of str
    labels : tuple of ndarray
        Labels along each dim.
    centre : ndarray
        Mean of the draws, or the point estimate.
    draws : ndarray, optional
        With leading dims (chain, draw); the ends of the intervals and the sd follow from them.
    truth : ndarray, optional
        The true values of simulated data, NaN where nothing corresponds to an estimate.
    """

    name: str
    dims: tuple[str, ...]
    labels: tuple[Array, ...]
    centre: Array
    draws: Array | None = None
    truth: Array | None = None

    def quantile(self, q: float) -> Array:
        """Return a quantile of the draws."""
        assert self.draws is not None
        return np.asarray(np.quantile(self.draws, q, axis=(0, 1)))

    @cached_property
    def interval(self) -> tuple[Array, Array]:
        """Ends of the interval of probability ``LEVEL``."""
        return self.quantile((1 - LEVEL) / 2), self.quantile((1 + LEVEL) / 2)

    @cached_property
    def sd(self) -> Array:
        """Standard deviation of the draws."""
        assert self.draws is not None
        return np.asarray(self.draws.std((0, 1)))

    @cached_property
    def inside(self) -> Array | None:
        """Whether the true values lie in their intervals; None where there are no intervals or no truth."""
        if self.draws is None or self.truth is None:
            return None
        low, high = self.interval
        return np.asarray((low <= self.truth) & (self.truth <= high))

    def label(self, index: tuple[int, ...]) -> str:
        """Name an element by its labels."""
        return ", ".join(str(labels[i]) for labels, i in zip(self.labels, index, strict=True))

    def chain_statistics(self, index: tuple[int, ...]) -> tuple[float, float]:
        """Return bulk effective sample size and R-hat of an element (R-hat is NaN for one chain)."""
        assert self.draws is not None
        return chain_statistics(np.moveaxis(self.draws, (0, 1), (-2, -1))[index])


def chain_statistics(draws: Array) -> tuple[float, float]:
    """Return bulk effective sample size and R-hat of the draws of a scalar, shape (chain, draw)."""
    from arviz_stats.base import array_stats

    if draws.std() == 0:
        return np.nan, np.nan
    ess = float(array_stats.ess(draws, chain_axis=0, draw_axis=1, method="bulk"))
    return ess, float(array_stats.rhat(draws, chain_axis=0, draw_axis=1)) if len(draws) > 1 else np.nan


def estimates(model: Model, tree: xr.DataTree) -> list[Estimate]:
    """Return the estimates that a tree holds of the declared variables, the most wanted ones first.

    Parameters
    ----------
    model : Model
    tree : DataTree
        With the group ``posterior`` or ``point``. Labels of categories are left out: they have no mean.

    Returns
    -------
    list of Estimate
    """
    sampled = "posterior" in tree
    group = (tree["posterior"] if sampled else tree["point"]).to_dataset()
    truth = matched_truth(model, tree)
    out = []
    variables = model.variables("unknown", "hidden")
    for name in model.most_wanted_first(variables, _sizes(group)):
        var = variables[name]
        if name not in group or var.support.of:
            continue
        values = group[name].transpose(*(("chain", "draw") if sampled else ()), *var.dims)
        plain = values.to_numpy()
        out.append(
            Estimate(
                name,
                var.dims,
                tuple(values[dim].to_numpy() for dim in var.dims),
                plain.mean((0, 1)) if sampled else plain,
                plain if sampled else None,
                truth.get(name) if truth.get(name, np.empty(0)).shape == plain.shape[2 * sampled :] else None,
            )
        )
    return out


def _sizes(group: xr.Dataset) -> dict[str, int]:
    return {str(dim): int(n) for dim, n in group.sizes.items()}


def centres(model: Model, tree: xr.DataTree) -> dict[str, Array]:
    """Return the mean of the draws, or the point estimate, of every unknown variable."""
    sampled = "posterior" in tree
    group = tree["posterior"] if sampled else tree["point"]
    return {
        name: group[name].to_numpy().mean((0, 1)) if sampled else group[name].to_numpy()
        for name in model.unknown.variables
        if name in group
    }


def matched_truth(model: Model, tree: xr.DataTree) -> dict[str, Array]:
    """Return the true values, their labels along the exchangeable dim replaced by those of the estimates.

    Parameters
    ----------
    model : Model
    tree : DataTree

    Returns
    -------
    dict of str to ndarray
        Empty for data that were not simulated. NaN (for labels: -1) where a fit has more labels than the truth, or
        fewer.
    """
    if "truth" not in tree:
        return {}
    true = {str(n): v.to_numpy() for n, v in tree["truth"].to_dataset().data_vars.items()}
    declared = model.variables("unknown", "hidden")
    true = {name: value for name, value in true.items() if name in declared and value.ndim == len(declared[name].dims)}
    order = match(model, centres(model, tree), true)
    if order is None:
        return true
    count = _exchanged(model, true)
    out = {}
    for name, value in true.items():
        axis = model.exchanged(declared[name].dims)
        if axis is not None:
            every = _after(value.shape[axis] - count, order)
            taken = np.take(value.astype(float), np.maximum(every, 0), axis)
            unmatched = (every < 0).reshape([-1 if a == axis else 1 for a in range(value.ndim)])
            value = np.where(unmatched, np.nan, taken)
        if declared[name].support.of and model.exchanged((declared[name].support.of,)) is not None:
            every = _after(attribute(tree, "sizes")[declared[name].support.of] - len(order), order)
            same = value[..., None] == every  # (..., label of the estimate)
            value = np.where(same.any(-1), same.argmax(-1), -1)
        out[name] = value
    return out


def relabelled(model: Model, one: Estimate, order: Array) -> Estimate:
    """Return estimates with the labels of the exchangeable dim in another order; the same where there is none."""
    axis = model.exchanged(one.dims)
    if axis is None:
        return one
    every = _after(one.centre.shape[axis] - len(order), order)
    draws = None if one.draws is None else np.take(one.draws, every, axis + 2)
    truth = None if one.truth is None else np.take(one.truth, every, axis)
    return replace(one, centre=np.take(one.centre, every, axis), draws=draws, truth=truth)


def _exchanged(model: Model, values: dict[str, Array]) -> int:
    """Return how many labels carry no meaning; 0 where no value has the exchangeable dim."""
    dims = {name: var.dims for name, var in model.unknown.variables.items() if name in values}
    axes = {name: of.index(model.exchangeable) for name, of in dims.items() if model.exchangeable in of}
    return next((values[name].shape[axis] for name, axis in axes.items()), 0)


def _after(first: int, order: Array) -> Array:
    """Return an order of the last labels as one of all, the first ones staying where they are."""
    return np.concatenate([np.arange(first), np.where(order < 0, -1, first + order)])


def match(model: Model, estimate: dict[str, Array], true: dict[str, Array]) -> Array | None:
    """Match the true labels of an exchangeable dim to those of the estimates.

    Parameters
    ----------
    model : Model
    estimate, true : dict of str to ndarray
        Values of the unknown variables.

    Returns
    -------
    ndarray of int or None
        The true label of each estimated one, -1 where there is none: the assignment of least squared distance
        between standardised values, positive ones by their logarithms (Hungarian method). None where no variable
        has the exchangeable dim.
    """
    from scipy.optimize import linear_sum_assignment

    if not model.exchangeable:
        return None
    counts = _exchanged(model, estimate), _exchanged(model, true)
    if not all(counts):
        return None
    features: list[tuple[Array, Array]] = []
    for name, var in model.unknown.variables.items():
        axis = model.exchanged(var.dims)
        if axis is None or name not in true or name not in estimate:
            continue
        pair = [np.moveaxis(v[name], axis, 0) for v in (estimate, true)]
        pair = [v[-n:] for v, n in zip(pair, counts, strict=True)]
        if var.support.name in ("positive", "nonnegative"):
            pair = [np.log(np.maximum(v, 1e-12)) for v in pair]
        if pair[0].shape[1:] == pair[1].shape[1:]:
            features.append((pair[0].reshape(len(pair[0]), -1), pair[1].reshape(len(pair[1]), -1)))
    if not features:
        return None
    found, truth = (np.concatenate(side, 1) for side in zip(*features, strict=True))  # (K, F), (K', F)
    scale = np.concatenate([found, truth]).std(0)
    scale = np.where(scale > 0, scale, 1)
    cost = (((found[:, None] - truth[None]) / scale) ** 2).sum(-1)
    order = np.full(len(found), -1)
    rows, columns = linear_sum_assignment(cost)
    order[rows] = columns
    return order
