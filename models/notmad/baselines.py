"""The paper's baselines: clustered, oracle-clustered and LIONESS networks; and the ablations of its Figure 4."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.labels import levels, stripped

from . import doors
from .notears import notears
from .projection import project_to_dag


@dataclass(frozen=True)
class Clustered:
    """A network for each group of samples.

    Attributes
    ----------
    networks : ndarray, shape (G, p, p)
        Acyclic.
    centres : ndarray, shape (G, M)
        Mean context of each group.
    group : ndarray of int, shape (N,)
        Group of each sample of the fit.
    """

    networks: Array
    centres: Array
    group: Array

    def predict(self, context: Array) -> Array:
        """Return the network of the group with the nearest centre for each context (N, M); shape (N, p, p).

        Raises
        ------
        InputError
            If contexts have other covariates than those of the fit, or are not finite.
        """
        context = doors.matrix("context", context)
        if context.shape[1] != self.centres.shape[1]:
            raise InputError(
                f"notmad: context has {context.shape[1]} covariates, the fit had {self.centres.shape[1]}. "
                "Give the same."
            )
        distance = ((context[:, None, :] - self.centres) ** 2).sum(2)
        return np.asarray(self.networks[distance.argmin(1)])


def k_means(context: Array, groups: int, rng: np.random.Generator, *, restarts: int = 10, steps: int = 100) -> Array:
    """Group contexts by Lloyd's k-means from k-means++ starts; shape (N,)."""
    best, least = np.zeros(len(context), dtype=np.int64), np.inf
    for _ in range(restarts):
        centre = context[[rng.integers(len(context))]]
        while len(centre) < groups:
            d = ((context[:, None, :] - centre) ** 2).sum(2).min(1)
            if d.sum() <= 0:
                break
            centre = np.vstack([centre, context[rng.choice(len(context), p=d / d.sum())]])
        for _ in range(steps):
            d = ((context[:, None, :] - centre) ** 2).sum(2)
            group = d.argmin(1)
            new = np.stack([context[group == g].mean(0) if (group == g).any() else c for g, c in enumerate(centre)])
            if (new == centre).all():
                break
            centre = new
        total = float(d.min(1).sum())
        if total < least:
            best, least = group, total
    return best


def clustered(
    x: Array,
    context: Array,
    groups: int,
    rng: np.random.Generator,
    *,
    variances: Literal["unequal", "equal"] = "unequal",
    threshold: float = 0.0,
    centre: bool = True,
    rule: Array | None = None,
) -> Clustered:
    """Group samples by k-means on their contexts, and fit a network to each group.

    Parameters
    ----------
    x : ndarray, shape (N, p)
    context : ndarray, shape (N, M)
    groups : int
    rng : Generator
    variances, threshold, centre, rule
        Of :func:`~genarium.models.notmad.notears`; see :func:`by_group`.

    Returns
    -------
    Clustered

    Raises
    ------
    InputError
        As in :func:`by_group`.

    Warns
    -----
    UserWarning
        As in :func:`by_group`, and if there are fewer groups than asked for.
    """
    x = doors.matrix("x", x)
    context = doors.matrix("context", context, len(x))
    doors.whole("groups", groups, len(x))
    group = k_means(context, groups, doors.random(rng))
    if (have := len(np.unique(group))) < groups:
        warnings.warn(
            f"notmad: groups={groups}, but the contexts fall into {have} only: there is a network for each of these.",
            UserWarning,
            stacklevel=2,
        )
    return by_group(x, context, group, variances=variances, threshold=threshold, centre=centre, rule=rule)


def by_group(
    x: Array,
    context: Array,
    group: Array | Sequence[Any],
    *,
    variances: Literal["unequal", "equal"] = "unequal",
    threshold: float = 0.0,
    centre: bool = True,
    rule: Array | None = None,
) -> Clustered:
    """Fit a network to each group of samples: oracle-clustered, if the groups are the true ones.

    Parameters
    ----------
    x : ndarray, shape (N, p)
    context : ndarray, shape (N, M)
    group : ndarray, shape (N,)
        Any labels.
    variances, threshold, centre, rule
        Of :func:`~genarium.models.notmad.notears`. A group that is centred is fitted about its own mean; networks that
        are to predict without that mean (:func:`held_out_error` with mean zero) need ``centre=False``.

    Returns
    -------
    Clustered
        Groups in sorted order of their labels, or in the order of the categories (of pandas).

    Raises
    ------
    InputError
        If a group has fewer than two samples, x is refused by :func:`~genarium.models.notmad.notears` in a group, the
        context or the groups are not one a sample, or an entry is not finite.
    """
    x = doors.matrix("x", x)
    context = doors.matrix("context", context, len(x))
    labels, at = _grouped(group, len(x))
    sizes = np.bincount(at)
    few = sizes.argmin()
    if sizes[few] < 2:
        raise InputError(f"notmad: group {labels[few]!s} has {sizes[few]} sample; at least two are needed.")
    doors.warn_of_few(float(sizes[few]), x.shape[1], f"in group {labels[few]!s} (the smallest of {len(labels)}), ")
    doors.warn_of_two_values(x)
    networks = []
    for g, label in enumerate(labels):
        try:
            found = notears(x[at == g], variances=variances, threshold=threshold, centre=centre, rule=rule, warn=False)
        except InputError as error:
            raise InputError(f"notmad: in group {label!s}: {str(error).removeprefix('notmad: ')}") from None
        networks.append(found.network)
    centres = [context[at == g].mean(0) for g in range(len(labels))]
    return Clustered(np.stack(networks), np.stack(centres), at)


def _grouped(group: Array | Sequence[Any], samples: int) -> tuple[Array, Array]:
    """Return the labels in their order, and the place of each sample's.

    Numbers are sorted as numbers, whatever holds them; categories are in their own order, as readers have them.

    Raises
    ------
    InputError
        If they are not one a sample, or one is missing.
    """
    import pandas as pd

    given = np.asarray(group, dtype=object if isinstance(group, list | tuple) else None)  # else NaN beside text is text
    told = given.astype(object)
    told[np.asarray(pd.isna(given)) | np.ma.getmask(group)] = None
    told = doors.labels(told, samples)
    if isinstance(getattr(group, "dtype", None), pd.CategoricalDtype):
        column = pd.Series(group)
        order = levels(column)
        return np.array(order), pd.Index(order).get_indexer(pd.Index(stripped(column)))
    try:
        return np.unique(given, return_inverse=True)
    except TypeError:  # labels that have no order, as numbers and text
        return np.unique(told, return_inverse=True)


def lioness(x: Array, *, samples: Array | None = None) -> Array:
    """Interpolate a network for each sample: N (W_all - W_without) + W_without (Kuijjer et al. 2019).

    It needs x of every sample, the test samples' too, and multiplies the error of each fit by N: a curiosity, unless
    the fit is exact.

    Parameters
    ----------
    x : ndarray, shape (N, p)
    samples : ndarray of int, shape (S,), optional
        Positions of the samples whose networks are wanted. Default: all.

    Returns
    -------
    ndarray, shape (S, p, p)
        Projected onto acyclic networks.

    Raises
    ------
    InputError
        If x is refused by :func:`~genarium.models.notmad.notears`, or samples are no positions of its rows.
    """
    x = doors.matrix("x", x)
    n = len(x)
    if n < 3:
        raise InputError(f"notmad: x has {n} samples: at least three are needed, as each is left out in turn.")
    wanted = np.arange(n) if samples is None else np.asarray(samples)
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu" or not wanted.size or not ((wanted >= 0) & (wanted < n)).all():
        raise InputError(f"notmad: samples must be positions of rows of x, whole numbers from 0 to {n - 1}.")
    whole = notears(x).network
    out = np.empty((len(wanted), *whole.shape))
    for row, i in enumerate(wanted):
        without = notears(np.delete(x, i, 0), warn=False).network
        out[row] = n * (whole - without) + without
    return project_to_dag(out)


def group_average(networks: Array, group: Array | Sequence[Any]) -> Array:
    """Replace each sample's network by the projection of its group's mean: the "tissue average" of Figure 4.

    Parameters
    ----------
    networks : ndarray, shape (N, p, p)
    group : ndarray, shape (N,)

    Returns
    -------
    ndarray, shape (N, p, p)
    """
    networks = doors.networks("networks", networks, len(np.atleast_1d(np.asarray(group))))
    labels, at = _grouped(group, len(networks))
    means = np.stack([networks[at == g].mean(0) for g in range(len(labels))])
    return np.asarray(project_to_dag(means)[at])


def selected_archetype(weights: Array, archetypes: Array) -> Array:
    """Give each sample the archetype of its largest weight: "one archetype, sample-specific" of Figure 4.

    Parameters
    ----------
    weights : ndarray, shape (N, K)
        ``archetype_weight`` of predictions.
    archetypes : ndarray, shape (K, p, p)
        ``archetype_network`` of the fit.

    Returns
    -------
    ndarray, shape (N, p, p)
        Projected onto acyclic networks.
    """
    weights = doors.matrix("weights", weights)
    projected = project_to_dag(doors.networks("archetypes", archetypes, weights.shape[1]))
    return np.asarray(projected[np.argmax(weights, axis=1)])


def held_out_error(x: Array, networks: Array, mean: Array | float = 0.0) -> float:
    """Mean square of x - mu - (x - mu) W over samples and nodes.

    Parameters
    ----------
    x : ndarray, shape (N, p)
    networks : ndarray, shape (N, p, p) or (p, p)
    mean : ndarray, shape (N, p) or (p,), or float

    Raises
    ------
    InputError
        If a network has an entry on its diagonal: the node would predict itself. If shapes do not fit, or an entry is
        not finite.
    """
    x = doors.matrix("x", x)
    networks = doors.networks("networks", networks)
    if networks.shape not in ((x.shape[1],) * 2, (*x.shape, x.shape[1])):
        raise InputError(
            f"notmad: networks of shape {networks.shape} for x of shape {x.shape}: give one network a sample, "
            "or one for all, with the nodes of x."
        )
    mean = doors.numbers("mean", mean)
    if mean.shape not in ((), x.shape[1:], x.shape):
        raise InputError(
            f"notmad: mean of shape {mean.shape}: give a number, one a node, or the shape of x, {x.shape}."
        )
    doors.finite("mean", mean)
    r = x - mean
    networks = np.broadcast_to(networks, (len(r), *networks.shape[-2:]))
    loops = np.argwhere(np.diagonal(networks, axis1=1, axis2=2) != 0)
    if loops.size:
        n, i = (int(v) for v in loops[0])
        raise InputError(
            f"notmad: networks[{n}, {i}, {i}] = {networks[n, i, i]:g}: a node cannot be its own parent. "
            "Set the diagonal to zero, or use project_to_dag."
        )
    return float(((r - np.einsum("ni,nij->nj", r, networks)) ** 2).mean())


def bootstrap_error(errors: Array, rng: np.random.Generator, *, repeats: int = 1000) -> tuple[float, float]:
    """Mean of samples' errors (N,), and its standard deviation over bootstraps of the samples (Table 1's spread)."""
    picks = rng.integers(len(errors), size=(repeats, len(errors)))
    return float(errors.mean()), float(errors[picks].mean(1).std(ddof=1))
