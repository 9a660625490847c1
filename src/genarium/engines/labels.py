"""Labels without a meaning: draws are relabelled so that a label means the same in every draw."""

from collections.abc import Mapping

import numpy as np

from genarium.declaration import Array, Arrays, Model


def match_labels(model: Model, posterior: Arrays) -> dict[str, Array]:
    """Relabel draws along the exchangeable dim (logs of positive variables identify a label).

    Draws of known variables, which a method may sample too, are relabelled as the unknown ones are.
    """
    declared, of_label = model.unknown.variables, model.variables("known", "unknown")
    features = []
    own = {name: var.dims for name, var in declared.items() if model.exchangeable in var.dims}
    K = next((posterior[n].shape[2 + dims.index(model.exchangeable)] for n, dims in own.items()), 0)
    for name, value in posterior.items():
        if name not in declared:
            continue
        axis = model.exchanged(declared[name].dims)
        if axis is None or (declared[name].support.name == "simplex" and axis == len(declared[name].dims) - 1):
            continue
        moved = np.moveaxis(value, 2 + axis, 2)[:, :, -K:]
        positive = declared[name].support.name in ("positive", "nonnegative")
        scaled = np.log(np.maximum(moved, 1e-300)) if positive else moved
        features.append(scaled.reshape(*moved.shape[:3], -1))
    if not features:
        return dict(posterior)
    dims = {
        n: tuple(model.exchangeable if i == model.exchanged(v.dims) else dim for i, dim in enumerate(v.dims))
        for n, v in of_label.items()
    }
    return relabel(posterior, np.concatenate(features, -1), dims, model.exchangeable)


def relabel(
    draws: Mapping[str, Array], features: Array, dims: Mapping[str, tuple[str, ...]], dim: str
) -> dict[str, Array]:
    """Give the labels of an exchangeable dim the same meaning in every draw.

    Every draw is matched to a pivot by the permutation of least squared distance (Hungarian method); the pivot is the
    mean of the matched draws, iterated to a fixed point, starting from the last draw of the first chain. It depends on
    the draws alone, never on true labels.

    Parameters
    ----------
    draws : mapping of str to ndarray
        Leading dims (chain, draw).
    features : ndarray, shape (chain, draw, K, F)
        What identifies a label, on a scale where distance makes sense (e.g. log of a centroid).
    dims : mapping of str to tuple of str
        Declared dims of each variable. Of one with more than K labels, the last ones are meant.
    dim : str
        The exchangeable dim.

    Returns
    -------
    dict of str to ndarray
        Permuted copies.
    """
    from scipy.optimize import linear_sum_assignment

    C, S, K, F = features.shape
    flat = features.reshape(C * S, K, F)
    scale = flat.std((0, 1))
    flat = flat / np.where(scale > 0, scale, 1)
    pivot = flat[S - 1]
    order = np.full((C * S, K), -1)
    for _ in range(20):
        cost = (flat**2).sum(-1)[:, None, :] - 2 * pivot @ flat.transpose(0, 2, 1)  # (draw, pivot label, label)
        clear = cost.argmin(2)
        settled = (np.sort(clear, 1) == np.arange(K)).all(1)  # each label's nearest is another one: no search needed
        new = clear
        for i in np.flatnonzero(~settled):
            new[i] = linear_sum_assignment(cost[i])[1]
        if (new == order).all():
            break
        order = new
        pivot = np.take_along_axis(flat, order[:, :, None], 1).mean(0)
    order = order[np.arange(C * S)[:, None], np.argsort(_rank(pivot, order, draws, dims, dim))[None]]
    out = {}
    for name, value in draws.items():
        if dim not in dims.get(name, ()):
            out[name] = value
            continue
        axis = 1 + dims[name].index(dim)
        folded = value.reshape(C * S, *value.shape[2:])
        first = folded.shape[axis] - K
        every = np.concatenate([np.tile(np.arange(first), (C * S, 1)), first + order], 1)
        index = every.reshape(C * S, *[first + K if a == axis else 1 for a in range(1, folded.ndim)])
        out[name] = np.take_along_axis(folded, index, axis).reshape(value.shape)
    return out


def _rank(
    pivot: Array, order: Array, draws: Mapping[str, Array], dims: Mapping[str, tuple[str, ...]], dim: str
) -> Array:
    """Rank of the labels: by decreasing mean weight where a variable has that dim alone, else by the pivot."""
    for name, value in draws.items():
        if dims.get(name) == (dim,) and value.shape[-1] == pivot.shape[0]:
            flat = value.reshape(len(order), -1)
            return -np.take_along_axis(flat, order, 1).mean(0)
    return pivot[:, 0]
