"""Orders of the nodes that suit a mixture of networks, and fits along them (eq. 18 of the card)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import softmax

from genarium.declaration import Array, Problem

from .descent import Run, descend
from .encoder import logits
from .graphs import matrices
from .objective import MEAN, Objective, scaled_contexts
from .pack import Packed
from .projection import project_to_dag, topological_order
from .story import mixed

ROUNDS = 8
"""Fits along an order and searches for a better one, at most."""

WINDOW = 900
"""A node is tried at up to this many places, divided by the number of nodes, to either side (at least five)."""

Approach = Callable[[Packed, Array, np.random.Generator], Array]


class Ordering:
    """Fits of a problem along orders of its nodes, where h is zero, the determinant one, and an evaluation cheap.

    Parameters
    ----------
    problem : Problem
    packed : Packed
        Of the problem, whose vectors are taken and returned.
    """

    def __init__(self, problem: Problem, packed: Packed) -> None:
        self.problem, self.packed = problem, packed
        self.free = packed.objective.order == "free"
        self.context = scaled_contexts(problem)
        self.inner: dict[tuple[int, ...], Packed] = {}

    def fit(self, start: Array, rng: np.random.Generator, approach: Approach, max_iterations: int) -> Run:
        """Fit from a start along a random order, look for a better order, and so on until the order stays.

        Parameters
        ----------
        start : ndarray
        rng : Generator
            Of the order, and of ``approach``.
        approach : callable
            ``approach(packed, vector, rng)``: a short descent.
        max_iterations : int
            Of L-BFGS along the final order.
        """
        start = self._with_mean(start)
        if not self.free:
            return self.along(approach(self.packed, start, rng), None, max_iterations)
        vector, long = start, False
        order = better_order(*self.moments(start), rng.permutation(self.problem.sizes["node"]))
        run: Run | None = None
        for _ in range(ROUNDS):
            if long:
                run = self.along(vector, order, max_iterations)
                vector = run.vector
            else:
                vector = self._back(approach(self._packed(order), self._forth(vector, order), rng), order)
            new = better_order(*self.moments(vector), order)
            if (new == order).all():
                if long:
                    break
                long = True
            order = new
        return run if run is not None and long else self.along(vector, order, max_iterations)

    def along(self, vector: Array, order: Array | None, max_iterations: int) -> Run:
        """Minimise along an order (None: that of the problem) from a vector, whose other edges are left out."""
        if order is None:
            return descend(self.packed, vector, max_iterations, 1e-9)
        run = descend(self._packed(order), self._forth(vector, order), max_iterations, 1e-9)
        return replace(run, vector=self._back(run.vector, order))

    def suggested(self, vector: Array) -> Array:
        """Topological order of the projection of the root mean square network."""
        weights, archetypes = self._mixture(vector)
        return topological_order(project_to_dag(np.sqrt((mixed(weights, archetypes) ** 2).mean(0))))

    def moments(self, vector: Array) -> tuple[Array, Array, Array]:
        """Second moments of Z_k r_i, their covariance with r, and the sums of squares of r (eq. 18).

        Returns
        -------
        gram : ndarray, shape (p K, p K)
            With the rate of the edges' prior on the diagonal.
        cross : ndarray, shape (p K, p)
        square : ndarray, shape (p,)
        """
        at = self.packed.unpack(vector)
        weights = softmax(logits(self.packed.objective.encoder, self.context, at), axis=-1)
        r = self.problem["x"]
        if MEAN[0] in at:
            r = r - at["mean_intercept"] - self.context @ at["mean_slope"]
        features = (r[:, :, None] * weights[:, None, :]).reshape(len(r), -1)
        gram = features.T @ features
        return gram + max(self.packed.rate, 1e-3) * np.eye(len(gram)), features.T @ r, (r**2).sum(0)

    def _mixture(self, vector: Array) -> tuple[Array, Array]:
        at = self.packed.unpack(vector)
        weights = softmax(logits(self.packed.objective.encoder, self.context, at), axis=-1)
        return weights, matrices(self.packed.objective.order, self.problem.sizes["node"], at["edge_weight"])

    def _with_mean(self, vector: Array) -> Array:
        """Start the mean, if there is one, at least squares on the context."""
        at = self.packed.unpack(vector)
        if MEAN[0] not in at:
            return vector
        design = np.column_stack([np.ones(len(self.context)), self.context])
        found = np.linalg.lstsq(design, self.problem["x"], rcond=None)[0]
        return self.packed.pack({**at, "mean_intercept": found[0], "mean_slope": found[1:]})

    def _packed(self, order: Array) -> Packed:
        """Return the objective of the nodes in another order, with forward edges only."""
        key = tuple(int(i) for i in order)
        if key not in self.inner:
            model = self.problem.model
            forward = model.variant(**{**model.chosen, "order": "given"})
            arrays = {**self.problem.arrays, "x": self.problem["x"][:, order]}
            self.inner = {key: Packed(Objective(Problem(forward, self.problem.sizes, arrays)))}
        return self.inner[key]

    def _forth(self, vector: Array, order: Array) -> Array:
        at, inner = self.packed.unpack(vector), self._packed(order)
        archetypes = matrices("free", len(order), at["edge_weight"])[:, order][:, :, order]
        edges = archetypes[:, inner.objective.source, inner.objective.target]
        return inner.pack({**at, **_means(at, order), "edge_weight": edges})

    def _back(self, vector: Array, order: Array) -> Array:
        at, back = self._packed(order).unpack(vector), np.argsort(order)
        archetypes = matrices("given", len(order), at["edge_weight"])[:, back][:, :, back]
        edges = archetypes[:, self.packed.objective.source, self.packed.objective.target]
        return self.packed.pack({**at, **_means(at, back), "edge_weight": edges})


def _means(at: dict[str, Array], order: Array) -> dict[str, Array]:
    return {name: at[name][..., order] for name in MEAN if name in at}


def residual(gram: Array, cross: Array, square: Array, order: Array) -> float:
    """Sum over nodes of what is left when each is regressed on Z_k times those before it (eq. 18).

    With the features in blocks of K along the order and L their Cholesky factor, the regression of a node on the first
    blocks takes the squares of the first entries of L^-1 times its covariances away.
    """
    p = len(order)
    K = len(gram) // p
    at = (order[:, None] * K + np.arange(K)).ravel()
    factor = cholesky(gram[np.ix_(at, at)], lower=True, check_finite=False)
    taken = solve_triangular(factor, cross[at][:, order], lower=True, check_finite=False) ** 2
    return float(square.sum() - np.triu(taken.reshape(p, K, p).sum(1), 1).sum())


def better_order(gram: Array, cross: Array, square: Array, order: Array) -> Array:
    """Move single nodes along an order while that lowers :func:`residual`."""
    p = len(order)
    reach = max(5, WINDOW // p)
    least, moved = residual(gram, cross, square, order), True
    while moved:
        moved = False
        for node in range(p):
            place = int(np.flatnonzero(order == node)[0])
            rest = order[order != node]
            trials = [np.insert(rest, i, node) for i in range(max(0, place - reach), min(p, place + reach + 1))]
            scores = [residual(gram, cross, square, trial) for trial in trials]
            at = int(np.argmin(scores))
            if scores[at] < least * (1 - 1e-6):
                order, least, moved = trials[at], scores[at], True
    return order
