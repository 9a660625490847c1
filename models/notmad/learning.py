"""One order of nodes with a link, learnt from data: their position where none is given (eq. 28 of the card)."""

from collections.abc import Callable

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from . import links
from .doors import matrix
from .encoder import mean_over_samples, scaled, spread_over_samples
from .knowledge import checked, compatible, precedence
from .ordering import better_order, cost, residual

STARTS, RATE, COVARIATES = 8, 5.0, 5
"""Random orders that better ones are sought from; what is added to the diagonal; covariates that may change edges."""


def level_of(kind: str) -> Callable[[Array], Array]:
    """Return the default of ``level`` for nodes of this kind."""

    def level(x: Array) -> Array:
        return links.level(kind, x)

    return level


def learnt(kind: str) -> Callable[[Array, Array, Array], Array]:
    """Return the default of ``position`` for nodes of this kind: their places in the order that is learnt."""

    def position(x: Array, context: Array, rule: Array) -> Array:
        return learn_order(x, context, nodes=kind, rule=rule)

    return position


def learn_order(x: Array, context: Array, *, nodes: str = "logistic", rule: Array | None = None) -> Array:
    """Learn one order of nodes with a link.

    With f what a node passes on (eq. 23), standardised, and c the scaled covariates (their leading components, of more
    than five), every f_j is regressed on f_a and f_a c_m over the nodes a before it; single nodes move until the sum of
    the logarithms of the residual variances falls no more, from the order of the columns and eight random ones.

    Parameters
    ----------
    x : ndarray, shape (N, p)
        Booleans or counts.
    context : ndarray, shape (N, M)
    nodes : {"logistic", "count"}
    rule : ndarray of int, shape (p, p), optional
        What is known of the edges (``rules``).

    Returns
    -------
    ndarray of int, shape (p,)
        Place of each node, as ``fit(..., position=)`` takes it.

    Raises
    ------
    InputError
        If nodes are of no such kind, or an entry is not finite, or none that such a node has.

    Examples
    --------
    >>> from genarium.models.notmad import rules
    >>> learn_order(np.array([[0, 1], [1, 0], [1, 1]]), np.zeros((3, 1)), rule=rules(["a", "b"], required=[("b", "a")]))
    array([1, 0])
    """
    if nodes not in links.LINKED:
        raise InputError(f"notmad: nodes={nodes!r} is none of {', '.join(links.LINKED)}.")
    x = matrix("x", x)
    bad = np.argwhere(~np.isin(x, (0, 1)) if nodes == "logistic" else (x < 0) | (x != np.rint(x)))
    if bad.size:
        i, j = (int(v) for v in bad[0])
        wanted = "zero or one" if nodes == "logistic" else "a whole number not below zero"
        raise InputError(
            f"notmad: x[{i}, {j}] = {x[i, j]:g}, but with nodes={nodes!r} every value must be {wanted} ({len(bad)} of "
            f"{x.size} are not). Give values that are not standardised."
        )
    context = matrix("context", context, len(x))
    p = x.shape[1]
    known = checked(rule, p)
    before = precedence(known)
    gram, cross, square = _moments(links.passed(nodes, x, links.level(nodes, x)), context)
    rng = np.random.default_rng(0)
    starts = [np.arange(p), *(rng.permutation(p) for _ in range(STARTS))]
    found = [better_order(gram, cross, square, compatible(start, before), before, len(x)) for start in starts]
    best = min(found, key=lambda order: float(cost(residual(gram, cross, square, order), len(x)).sum()))
    return np.argsort(best)


def _moments(f: Array, context: Array) -> tuple[Array, Array, Array]:
    """Second moments of the features of all nodes, their covariances with the nodes, and the nodes' sums of squares."""
    spread = f.std(0)
    f = (f - f.mean(0)) / np.where(spread > 0, spread, 1)
    c = scaled(context, mean_over_samples(context), spread_over_samples(context))
    c = c[:, c.std(0) > 0]
    if c.shape[1] > COVARIATES:
        c = np.linalg.svd(c, full_matrices=False)[0][:, :COVARIATES] * np.sqrt(len(c))
    basis = np.column_stack([np.ones(len(c)), c])
    features = (f[:, :, None] * basis[:, None, :]).reshape(len(f), -1)
    return features.T @ features + RATE * np.eye(features.shape[1]), features.T @ f, (f**2).sum(0)
