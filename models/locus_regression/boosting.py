"""Growing the trees: gradient boosting of the bound, a process at a time; equation numbers refer to the card.

The trees themselves are scikit-learn's (extra ``trees``), kept as plain arrays.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem
from genarium.engines.ascent import Ascent, ascend
from genarium.errors import InputError
from genarium.progress import bar

from .sweep import State, Step
from .trees import Forest, log_rates

BATCH = 5
"""Trees of a process before the other factors follow."""

SWEEPS = 10
"""Sweeps in which they follow, at most."""

SHRINK = 0.3
"""Part of a Newton step that a leaf takes."""

HELD_OUT = 0.2
"""Part of the loci that no tree is grown on: a tree is kept if it foretells these better."""

BAG = 0.7
"""Part of the others that a tree is grown on, so that the next one is another."""

PATIENCE = 3
"""Trees in a row that foretell worse before a process is left as it is."""

LEAST = 10
"""Loci of a leaf, at least; of many loci, a hundredth."""


@dataclass(frozen=True)
class Loci:
    """What trees are grown on: features (L, F), and which loci are held out."""

    features: Array
    held_out: Array


def grown(
    step: Step, run: Ascent[State], problem: Problem, rng: np.random.Generator, tolerance: float
) -> Ascent[State]:
    """Grow trees from an optimum with linear effects, the other factors following every few trees.

    Parameters
    ----------
    step : Step
    run : Ascent
    problem : Problem
    rng : Generator
    tolerance : float
        Nats of the bound that may be left to gain in the end.

    Returns
    -------
    Ascent
        Its bounds never fall.

    Raises
    ------
    InputError
        If scikit-learn is missing.
    """
    _require_sklearn()
    X = step.data.features[0]
    held_out = np.zeros(len(X), dtype=bool)
    held_out[rng.permutation(len(X))[: max(1, round(HELD_OUT * len(X)))]] = True
    loci = Loci(X, held_out)
    forest = Forest.bare(problem.sizes, 1 / problem["leaf_scale"].astype(float) ** 2)
    state, bounds = replace(run.state, forest=forest), list(run.bounds)
    growing = np.ones(len(forest.used), dtype=bool)
    growing &= bool(np.ptp(X, axis=0).any())
    with bar("growing trees", forest.leaf.shape[1]) as advance:
        while growing.any():
            before = int(forest.used.max())
            _, of_row, _, _ = step.expect(*step.tables(state))
            weight = step.exponents(state, step.offset(state))[:, 0]  # (K, L)
            for k in np.flatnonzero(growing):
                forest, growing[k] = more_trees(forest, int(k), loci, of_row[:, k], weight[k], rng)
            state = step.normalised(replace(state, forest=forest))
            follow = ascend(step, state, tolerance=0.1, max_iterations=SWEEPS, vector=(step.pack, step.unpack))
            bounds += list(follow.bounds)
            state = follow.state
            advance(int(forest.used.max()) - before)
    last = ascend(step, state, tolerance=tolerance, max_iterations=500, vector=(step.pack, step.unpack))
    return Ascent(last.state, np.array([*bounds, *last.bounds[1:]]), last.converged)


def more_trees(
    forest: Forest, k: int, loci: Loci, counts: Array, log_weight: Array, rng: np.random.Generator
) -> tuple[Forest, bool]:
    """Add up to a batch of trees to the ensemble of a process (eq. 40); say whether it may grow on.

    Parameters
    ----------
    forest : Forest
    k : int
    loci : Loci
    counts : ndarray, shape (L,)
        Expected mutations of the process.
    log_weight : ndarray, shape (L,)
        Exponents of the bound's sum over loci (eq. 8).
    rng : Generator
    """
    T, S = forest.at.shape[1:]
    failed = 0
    for _ in range(BATCH):
        while True:
            if forest.used[k] == T or failed == PATIENCE:
                return forest, False
            feature, at, leaf = one_tree(loci, counts, log_weight, float(forest.precision[k]), S, rng)
            added = log_rates(feature[None, None], at[None, None], leaf[None, None], loci.features.T)[0]
            better = gain(added, counts, log_weight, loci.held_out) > 0
            cost = 0.5 * forest.precision[k] * float((leaf**2).sum())
            if better and gain(added, counts, log_weight, np.ones(len(counts), dtype=bool)) > cost:
                break
            failed += 1
        failed = 0
        t = forest.used[k]
        log_weight = log_weight + added
        parts = {name: getattr(forest, name).copy() for name in ("feature", "at", "leaf", "used", "log_rate")}
        for name, value in (("feature", feature), ("at", at), ("leaf", leaf)):
            parts[name][k, t] = value
        parts["used"][k] += 1
        parts["log_rate"][k] += added
        forest = replace(forest, **parts)
    return forest, True


def gain(added: Array, counts: Array, log_weight: Array, among: Array) -> float:
    """Return by how much the log likelihood of where mutations lie among some loci rises with the log rates."""
    weight = np.exp(log_weight[among] - log_weight[among].max())
    rise = np.log((weight * np.exp(added[among])).sum() / weight.sum())
    return float(counts[among] @ added[among] - counts[among].sum() * rise)


def one_tree(
    loci: Loci, counts: Array, log_weight: Array, precision: float, splits: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Grow one tree on a part of the loci, by Newton's weighted least squares; return its splits and leaves."""
    from sklearn.tree import DecisionTreeRegressor

    free = np.flatnonzero(~loci.held_out)
    some = np.sort(rng.choice(free, max(1, round(BAG * len(free))), replace=False))
    X, V = loci.features[some], counts[some]
    weight = np.exp(log_weight[some] - log_weight[some].max())
    expected = V.sum() * weight / weight.sum()
    expected = np.maximum(expected, 1e-9 * expected.max(initial=1e-300))
    tree = DecisionTreeRegressor(
        max_depth=int(np.log2(splits + 1)),
        min_samples_leaf=max(LEAST, len(some) // 100),
        random_state=int(rng.integers(2**31)),
    )
    tree.fit(X, V / expected - 1, sample_weight=expected)
    feature, at, same = _filled(tree.tree_, splits, float(loci.features[:, 0].max()))
    node = _leaf_of(feature, at, X)
    found, mass = (np.bincount(node, each, splits + 1) for each in (V - expected, expected))
    return feature, at, (SHRINK * found / (mass + precision))[same]


def _filled(tree: Any, splits: int, above: float) -> tuple[Array, Array, Array]:
    """Return a tree of scikit-learn filled up from the left.

    Where it does not split, a split at ``above`` sends all loci to the left, and the leaves below are all alike.

    Returns
    -------
    feature, at : ndarray, shape (S,)
    same : ndarray of int, shape (S + 1,)
        For each leaf the one whose value it has.
    """
    feature, at = np.zeros(splits, dtype=np.int64), np.full(splits, above)
    same = np.arange(splits + 1)
    todo = [(0, 0)]
    while todo:
        node, place = todo.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if place >= splits:
            continue
        if left < 0:
            below = _below(place, splits)
            same[below] = below[0]
            continue
        feature[place], at[place] = tree.feature[node], tree.threshold[node]
        todo += [(left, 2 * place + 1), (right, 2 * place + 2)]
    return feature, at, same


def _below(place: int, splits: int) -> list[int]:
    """Return the leaves below a node, from the left-most on."""
    if place >= splits:
        return [place - splits]
    return _below(2 * place + 1, splits) + _below(2 * place + 2, splits)


def _leaf_of(feature: Array, at: Array, X: Array) -> Array:
    """Return the leaf of each row (L, F)."""
    S = len(at)
    node = np.zeros(len(X), dtype=np.int64)
    while (inside := np.flatnonzero(node < S)).size:
        here = node[inside]
        node[inside] = 2 * here + 1 + (X[inside, feature[here]] > at[here])
    return node - S


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"locus_regression: rates='trees' needs scikit-learn ({error}). Install it with "
            "`pip install 'genarium[trees]'`, or keep to linear rates."
        ) from error
