"""One order of nodes with a link, learnt from data: their position where none is given (eq. 28 of the card)."""

from collections.abc import Callable

import numpy as np

from genarium.declaration import Array
from genarium.engines.threads import one_thread
from genarium.errors import InputError

from . import links, regressions
from .doors import matrix, nonnegative
from .encoder import mean_over_samples, scaled, spread_over_samples
from .knowledge import FORBIDDEN, checked, compatible, precedence
from .notears import sparse_order
from .ordering import better_order, cost, residual

STARTS, RATE, COVARIATES = 8, 5.0, 5
"""Random orders that better ones are sought from; what is added to the diagonal; covariates that may change edges."""

CANDIDATES, GAIN = 12, 0.05
"""Nodes that a node may be regressed on, at most; nats that a node must gain to move."""

WALKS, PASSES = 200, 10
"""Places, divided by the number of nodes, that a node moves to either side at most; passes over the nodes at most."""


def level_of(kind: str) -> Callable[[Array], Array]:
    """Return the default of ``level`` for nodes of this kind."""

    def level(x: Array) -> Array:
        return links.level(kind, x)

    return level


def learnt(kind: str) -> Callable[[Array, Array, Array, float], Array]:
    """Return the default of ``position`` for nodes of this kind: their places in the order that is learnt."""

    def position(x: Array, context: Array, rule: Array, beta: float) -> Array:
        return learn_order(x, context, nodes=kind, rule=rule, beta=float(beta))

    return position


@one_thread()
def learn_order(
    x: Array, context: Array, *, nodes: str = "logistic", rule: Array | None = None, beta: float = 5.0
) -> Array:
    """Learn one order of nodes with a link.

    With f what a node passes on (eq. 23) and c the scaled covariates (their leading components, of more than five),
    two orders are found by least squares: of all f_j on f_a and f_a c_m over the nodes a before j, and of sparse
    regressions as in :func:`~genarium.models.notmad.notears`. From each, single nodes move while that raises the
    density of x given the order: the penalised likelihoods of regressions, with the link, on f_a and f_a c_m.

    Parameters
    ----------
    x : ndarray, shape (N, p)
        Booleans or counts.
    context : ndarray, shape (N, M)
    nodes : {"logistic", "count"}
    rule : ndarray of int, shape (p, p), optional
        What is known of the edges (``rules``).
    beta : float
        Rate of the Laplace prior of the edges.

    Returns
    -------
    ndarray of int, shape (p,)
        Place of each node, as ``fit(..., position=)`` takes it.

    Raises
    ------
    InputError
        If nodes are of no such kind, an entry is not finite, or none that such a node has, or beta is negative.

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
    nonnegative("beta", beta)
    known = checked(rule, x.shape[1])
    before = precedence(known)
    f = links.passed(nodes, x, links.level(nodes, x))
    features = _features(f, context)
    score = Score(nodes, x, features, known, beta)
    orders = [_by_variances(f, features, before), sparse_order(np.atleast_2d(np.cov(f.T, bias=True)), len(f), known)]
    best = max((score.walked(order, before) for order in orders), key=score)
    return np.argsort(best)


class Score:
    """Log density of nodes given an order: the sum of their regressions on those before them.

    Parameters
    ----------
    kind : {"logistic", "count"}
    x : ndarray, shape (n, p)
    features : ndarray, shape (n, p, 1 + M)
        What nodes pass on, alone and times covariates.
    rule : ndarray of int, shape (p, p)
    beta : float
        Rate of the penalty.
    """

    def __init__(self, kind: str, x: Array, features: Array, rule: Array, beta: float) -> None:
        self.kind, self.x, self.features, self.beta = kind, x, features, beta
        self.level = links.level(kind, x)
        self.known: dict[tuple[int, frozenset[int]], float] = {}
        mean = np.exp(self.level) if kind == "count" else 1 / (1 + np.exp(-self.level))
        pull = np.abs(np.tensordot(features, x - mean, (0, 0))).max(1)  # of the weights, where all are zero
        pull[(rule == FORBIDDEN) | np.eye(len(rule), dtype=bool)] = 0
        pull[rule > 0] = np.inf
        self.candidates = [
            frozenset(map(int, np.argsort(-one, kind="stable")[: min(CANDIDATES, (one > beta).sum())]))
            for one in pull.T
        ]

    def __call__(self, order: Array) -> float:
        """Return the log density of an order."""
        return sum(self.of(int(j), frozenset(map(int, order[:at]))) for at, j in enumerate(order))

    def of(self, j: int, before: frozenset[int]) -> float:
        """Return the log density of node j given those before it."""
        parents = before & self.candidates[j]
        if (j, parents) not in self.known:
            features = self.features[:, sorted(parents)].reshape(len(self.x), -1)
            level = float(self.level[j])
            self.known[j, parents] = regressions.fit(self.kind, self.x[:, j], level, features, self.beta)[0]
        return self.known[j, parents]

    def walked(self, order: Array, before: Array) -> Array:
        """Move single nodes along an order, each to where the density is highest, until no move raises it."""
        order, p = order.copy(), len(order)
        reach = max(3, WALKS // p)
        for _ in range(PASSES):
            moved = False
            for j in np.random.default_rng(0).permutation(p):
                at = int(np.flatnonzero(order == j)[0])
                gains = {at: 0.0}
                for step in (-1, 1):
                    self._look(order, at, step, reach, before, gains)
                to = max(gains, key=lambda place: gains[place])
                if gains[to] > GAIN:
                    order, moved = np.insert(np.delete(order, at), to, j), True
            if not moved:
                break
        return order

    def _look(self, order: Array, at: int, step: int, reach: int, before: Array, gains: dict[int, float]) -> None:
        """Add what is gained by moving the node at a place to those on one side of it, as far as rules allow."""
        j, gain = int(order[at]), 0.0
        earlier = frozenset(map(int, order[:at]))  # than j
        for place in range(at + step, at + step * (reach + 1), step):
            if not 0 <= place < len(order):
                break
            other = int(order[place])
            if before[(other, j) if step < 0 else (j, other)]:
                break
            now = earlier - {other} if step < 0 else earlier | {other}
            common = now - {other}  # earlier than both
            gain += self.of(j, now) - self.of(j, earlier)
            gain -= step * (self.of(other, common | {j}) - self.of(other, common))
            earlier = now
            gains[place] = gain


def _features(f: Array, context: Array) -> Array:
    """Return what nodes pass on, alone and times the covariates; (n, p, 1 + M)."""
    c = scaled(context, mean_over_samples(context), spread_over_samples(context))
    c = c[:, c.std(0) > 0]
    if c.shape[1] > COVARIATES:
        c = np.linalg.svd(c, full_matrices=False)[0][:, :COVARIATES] * np.sqrt(len(c))
    return np.asarray(f[:, :, None] * np.column_stack([np.ones(len(c)), c])[:, None, :])


def _by_variances(f: Array, features: Array, before: Array) -> Array:
    """Return the order of least summed logarithms of residual variances, as covariates change the regressions."""
    spread = np.where(f.std(0) > 0, f.std(0), 1)
    f, features = (f - f.mean(0)) / spread, (features / spread[:, None]).reshape(len(f), -1)
    gram, cross, square = features.T @ features + RATE * np.eye(features.shape[1]), features.T @ f, (f**2).sum(0)
    rng, p = np.random.default_rng(0), f.shape[1]
    starts = [np.arange(p), *(rng.permutation(p) for _ in range(STARTS))]
    found = [better_order(gram, cross, square, compatible(start, before), before, len(f)) for start in starts]
    return min(found, key=lambda order: float(cost(residual(gram, cross, square, order), len(f)).sum()))
