"""Non-linear rates: an ensemble of regression trees for each process, beside its linear effects (eqs. 39 and 40).

Shapes: K processes, T trees, S splits of a tree, F features, L loci. A tree with S splits is filled from the left:
split s asks whether its feature is above ``split_at``; its answers lead to nodes 2 s + 1 (no) and 2 s + 2 (yes), of
which those from S on are leaves, S + 1 in all.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from genarium.declaration import Array, Sizes, Var
from genarium.errors import InputError
from genarium.remedies import setting
from genarium.supports import label, positive, real

from .reduced import without

NAMES = ("split_feature", "split_at", "leaf_value")
"""The variables of an ensemble."""

SIZES = {"tree": 5, "split": 7}
"""Of a simulation."""

DEFAULT_SIZES = {"tree": 60, "split": 7}
"""Of a fit: at most so many trees for each process, of so many splits."""

KNOWN = {
    "leaf_scale": Var(("process",), positive, "Standard deviation of the normal prior of leaves.", "σ", default=0.1)
}

UNKNOWN = {
    "split_feature": Var(
        ("process", "tree", "split"), label("feature"), "Feature that a split of a tree asks for.", "v"
    ),
    "split_at": Var(("process", "tree", "split"), real, "Value above which a split leads to the right.", "u"),
    "leaf_value": Var(("process", "tree", "leaf"), real, "What a leaf adds to the log rate of a process.", "w"),
}


@dataclass(frozen=True)
class Forest:
    """Ensembles of all processes: features and values of splits (K, T, S), leaves (K, T, S + 1).

    Attributes
    ----------
    used : ndarray of int, shape (K,)
        Trees that have grown; the others add nothing.
    precision : ndarray, shape (K,)
        1 / leaf_scale^2.
    log_rate : ndarray, shape (K, L)
        What the trees add at the loci of the data.
    """

    feature: Array
    at: Array
    leaf: Array
    used: Array
    precision: Array
    log_rate: Array

    @classmethod
    def bare(cls, sizes: Sizes, precision: Array) -> "Forest":
        """Return ensembles that add nothing."""
        K, T, S = (sizes[dim] for dim in ("process", "tree", "split"))
        splits = np.zeros((K, T, S))
        grown = np.zeros(K, dtype=np.int64)
        return cls(
            splits.astype(np.int64), splits, np.zeros((K, T, S + 1)), grown, precision, np.zeros((K, sizes["locus"]))
        )

    @property
    def penalty(self) -> float:
        """What the prior of the leaves takes from the bound, but for its constant."""
        return float((0.5 * self.precision[:, None, None] * self.leaf**2).sum())

    def posterior(self, order: Array, draws: int) -> dict[str, Array]:
        """Return the ensembles as draws that are all alike, processes in an order."""
        parts = (self.feature[order], self.at[order], self.leaf[order])
        return {name: np.repeat(part[None], draws, 0) for name, part in zip(NAMES, parts, strict=True)}


@njit(cache=True)
def _walk(feature: Array, at: Array, leaf: Array, X: Array, out: Array) -> None:
    K, T, S = feature.shape
    for k in range(K):
        for t in range(T):
            for locus in range(X.shape[1]):
                node = 0
                while node < S:
                    node = 2 * node + (2 if X[feature[k, t, node], locus] > at[k, t, node] else 1)
                out[k, locus] += leaf[k, t, node - S]


def log_rates(split_feature: Array, split_at: Array, leaf_value: Array, features: Array) -> Array:
    """Return the sum of the leaves that loci fall into.

    Parameters
    ----------
    split_feature, split_at : ndarray, shape (..., K, T, S)
    leaf_value : ndarray, shape (..., K, T, S + 1)
    features : ndarray, shape (F, L)

    Returns
    -------
    ndarray, shape (..., K, L)
        Ensembles that are the same at all draws, as those of ``vi`` are, are looked up once.
    """
    lead = split_feature.shape[:-3]
    X = np.ascontiguousarray(features, dtype=float)
    parts = [np.ascontiguousarray(a.reshape(-1, *a.shape[-3:])) for a in (split_feature, split_at, leaf_value)]
    once = all((part == part[:1]).all() for part in parts)
    out = np.zeros((1 if once else len(parts[0]), split_feature.shape[-3], X.shape[1]))
    for i, found in enumerate(out):
        _walk(parts[0][i].astype(np.int64), parts[1][i].astype(float), parts[2][i].astype(float), X, found)
    return np.asarray(np.broadcast_to(out, (len(parts[0]), *out.shape[1:])).reshape(*lead, *out.shape[1:]))


def factor(given: Mapping[str, Any]) -> Array:
    """Return what the trees multiply the rates by, (..., K, L), of the variables and the features."""
    X = given["features"]
    feature, at, leaf = (np.asarray(given[name]) for name in NAMES)
    return np.exp(log_rates(feature, at, leaf, X.reshape(-1, *X.shape[-2:])[0]))


def with_trees(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the effects of loci as one of the trees that stand in their place."""
    return without(function, NAMES, locus_effect=factor)


def require_plain(several: bool, random: bool) -> None:
    """Refuse what trees do not go with.

    Raises
    ------
    InputError
    """
    for wrong, name, value in ((several, "groups", "several"), (random, "loci", "random")):
        if wrong:
            raise InputError(
                f"locus_regression: {setting('rates', 'trees')} does not go with {setting(name, value)}. Leave one out."
            )


def priors() -> dict[str, Callable[..., Array]]:
    """Return the draw functions: any feature, normal places and normal leaves."""

    def split_feature(rng: np.random.Generator, sizes: Sizes) -> Array:
        return rng.integers(sizes["feature"], size=(sizes["process"], sizes["tree"], sizes["split"]))

    def split_at(rng: np.random.Generator, sizes: Sizes) -> Array:
        return rng.normal(size=(sizes["process"], sizes["tree"], sizes["split"]))

    def leaf_value(rng: np.random.Generator, sizes: Sizes, leaf_scale: Array) -> Array:
        return leaf_scale[:, None, None] * rng.normal(size=(sizes["process"], sizes["tree"], sizes["leaf"]))

    return {"split_feature": split_feature, "split_at": split_at, "leaf_value": leaf_value}


def with_log_prior(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return a log prior density with that of the trees added."""

    def prior(split_at: Array, leaf_value: Array, leaf_scale: Array, rest: Array, features: Array) -> Array:
        z = leaf_value / leaf_scale[:, None, None]
        leaves = (-0.5 * z**2 - np.log(leaf_scale)[:, None, None] - 0.5 * np.log(2 * np.pi)).sum((-3, -2, -1))
        splits = (-0.5 * split_at**2 - 0.5 * np.log(2 * np.pi) - np.log(features.shape[-2])).sum((-3, -2, -1))
        return np.asarray(rest + leaves + splits)

    names = inspect.signature(function).parameters
    return without(prior, tuple(names), rest=lambda given: function(**{name: given[name] for name in names}))
