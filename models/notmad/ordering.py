"""Orders of the nodes that suit a mixture of networks, and fits along them (eq. 18 of the card)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import softmax

from genarium.declaration import Array, Problem

from .descent import Run, descend
from .encoder import logits
from .knowledge import compatible, precedence
from .notears import sparse_order
from .objective import MEAN, SPREAD, SPREAD_ROW, Objective, scaled_contexts
from .pack import Packed
from .projection import project_to_dag, topological_order
from .story import FACTORS, mixed

ROUNDS = 8
"""Fits along an order and searches for a better one, at most."""

NODES = (*MEAN, "sigma")
"""Variables whose last dim is that of the nodes."""

WINDOW, SWEEPS = 10_000, 30
"""A node is tried at up to this many places, divided by the number of nodes, to either side; passes at most."""

GAIN, TRY = 0.05, 60
"""Nats that neighbours which change places must gain; iterations of the descent that tells."""

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
        self.free = packed.objective.cyclic
        self.context = scaled_contexts(problem)
        self.before = precedence(problem["rule"])
        self.each = problem.option("noise") == "node"
        self.inner: dict[tuple[int | bool, ...], Packed] = {}

    def fit(
        self, start: Array, rng: np.random.Generator, approach: Approach, max_iterations: int, shared: bool = False
    ) -> Run:
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
        shared : bool
            Whether the way to the first order takes the noise of all nodes for one: where it nearly is, scales tell
            directions, while the archetypes are still far from right.
        """
        start = self._with_mean(start)
        if not self.free:
            return self.along(approach(self.packed, start, rng), None, max_iterations)
        vector, long = start, False
        order = self.better(start, compatible(rng.permutation(self.problem.sizes["node"]), self.before), shared)
        run: Run | None = None
        for _ in range(ROUNDS):
            if long:
                run = self.along(vector, order, max_iterations)
                vector = run.vector
            else:
                inner = self._packed(order, shared)
                vector = self._back(inner, approach(inner, self._forth(inner, vector, order), rng), order)
            new = self.better(vector, order, shared and not long)
            if (new == order).all():
                if long:
                    break
                long = True
            order = new
        return run if run is not None and long else self.along(vector, order, max_iterations)

    def sparse(self) -> Array:
        """Return an order of the network of all samples that is found by sparse regressions (eq. 15)."""
        r = self.problem["x"]
        if MEAN[0] in self.packed.shapes:
            design = np.column_stack([np.ones(len(r)), self.context])
            r = r - design @ np.linalg.lstsq(design, r, rcond=None)[0]
        return sparse_order(r.T @ r / len(r), len(r), self.problem["rule"], equal=not self.each)

    def better(self, vector: Array, order: Array, shared: bool = False) -> Array:
        """Return an order at least as good for the weights of archetypes of a vector."""
        samples = len(self.context) if self.each and not shared else 0
        return better_order(*self.moments(vector), order, self.before, samples)

    def along(self, vector: Array, order: Array | None, max_iterations: int, tolerance: float = 1e-9) -> Run:
        """Minimise along an order (None: that of the problem) from a vector, whose other edges are left out."""
        if order is None:
            return descend(self.packed, vector, max_iterations, tolerance)
        inner = self._packed(order)
        run = descend(inner, self._forth(inner, vector, order), max_iterations, tolerance)
        return replace(run, vector=self._back(inner, run.vector, order))

    def exchanged(self, run: Run, max_iterations: int) -> Run:
        """Let neighbours in the order change places while the density rises, after a descent from where it was.

        The searches of :meth:`better` do not know what edges cost (eq. 18): all starts may end at an order that is
        better by that alone.
        """
        order, at, tried = self.suggested(run.vector), 0, 0
        while tried < len(order) - 1:
            if not self.before[order[at], order[at + 1]]:
                new = order.copy()
                new[[at, at + 1]] = order[[at + 1, at]]
                found = self.along(run.vector, new, TRY, 1e-7)
                if found.value < run.value - GAIN:
                    run, order, tried = self.along(found.vector, new, max_iterations), new, -1
            at, tried = (at + 1) % (len(order) - 1), tried + 1
        return run

    def suggested(self, vector: Array) -> Array:
        """Topological order of the projection of the root mean square network."""
        weights, archetypes = self._mixture(vector)
        mean = np.sqrt((mixed(weights, archetypes) ** 2).mean(0))
        return compatible(topological_order(project_to_dag(mean, rule=self.problem["rule"])), self.before)

    def moments(self, vector: Array) -> tuple[Array, Array, Array]:
        """Second moments of Z_k r_i, their covariance with r, and the sums of squares of r (eq. 18).

        Returns
        -------
        gram : ndarray, shape (p K, p K)
            With the rate of the edges' prior, times the variance of the noise, on the diagonal.
        cross : ndarray, shape (p K, p)
        square : ndarray, shape (p,)
        """
        at = self.packed.unpack(vector)
        weights = softmax(logits(self.packed.objective.encoder, self.context, at), axis=-1)
        r = self.problem["x"]
        if MEAN[0] in at:
            r = r - at["mean_intercept"] - self.context @ at["mean_slope"]
        if SPREAD in self.problem.arrays:
            r = np.vstack([r, self.problem.arrays[SPREAD]])
            weights = np.vstack([weights, weights[self.problem.arrays[SPREAD_ROW]]])
        features = (r[:, :, None] * weights[:, None, :]).reshape(len(r), -1)
        gram = features.T @ features
        rate = self.packed.objective.known("beta") * float(np.median(at["sigma"] ** 2))
        rate = max(rate, 1e-9 * float(np.trace(gram)) / len(gram))
        return gram + rate * np.eye(len(gram)), features.T @ r, (r**2).sum(0)

    def _mixture(self, vector: Array) -> tuple[Array, Array]:
        at = self.packed.unpack(vector)
        weights = softmax(logits(self.packed.objective.encoder, self.context, at), axis=-1)
        return weights, self.packed.objective.archetypes(at)

    def _with_mean(self, vector: Array) -> Array:
        """Start the mean, if there is one, at least squares on the context."""
        at = self.packed.unpack(vector)
        if MEAN[1] not in at or self.packed.objective.kind != "gaussian":
            return vector
        design = np.column_stack([np.ones(len(self.context)), self.context])
        found = np.linalg.lstsq(design, self.problem["x"], rcond=None)[0]
        return self.packed.pack({**at, "mean_intercept": found[0], "mean_slope": found[1:]})

    def _packed(self, order: Array, shared: bool = False) -> Packed:
        """Return the objective of the nodes in another order, with forward edges only."""
        key = (shared, *(int(i) for i in order))
        if key not in self.inner:
            self.inner = {key: Packed(Objective(self._along_order(order, shared)))}
        return self.inner[key]

    def _along_order(self, order: Array, shared: bool) -> Problem:
        """Return the problem of the nodes in another order, with forward edges only."""
        model = self.problem.model
        forward = model.variant(**{**model.chosen, "order": "given", **({"noise": "shared"} if shared else {})})
        rule = self.problem["rule"][np.ix_(order, order)]
        arrays = {**self.problem.arrays, "x": self.problem["x"][:, order], "rule": rule}
        if SPREAD in arrays:
            arrays[SPREAD] = arrays[SPREAD][:, order]
        return Problem(forward, self.problem.sizes, arrays)

    def _forth(self, inner: Packed, vector: Array, order: Array) -> Array:
        at = self.packed.unpack(vector)
        if not inner.shapes["sigma"]:
            at["sigma"] = np.exp(np.log(at["sigma"]).mean())
        return inner.pack({**at, **_permuted(at, order, self.packed.objective, inner.objective)})

    def _back(self, inner: Packed, vector: Array, order: Array) -> Array:
        at = inner.unpack(vector)
        at["sigma"] = np.broadcast_to(at["sigma"], self.packed.shapes["sigma"])
        return self.packed.pack({**at, **_permuted(at, np.argsort(order), inner.objective, self.packed.objective)})


def _permuted(at: dict[str, Array], order: Array, here: Objective, there: Objective) -> dict[str, Array]:
    """Return what there is of nodes and edges at a point, with the nodes in another order."""
    out = {name: at[name][..., order] for name in NODES if name in at and at[name].ndim}
    out |= {name: at[name][:, order] for name in FACTORS if name in at}
    for name in there.edges:
        whole = here.matrices(at[name])[..., order, :][..., order]
        out[name] = whole[..., there.source, there.target]
    return out


def cost(left: Array, samples: int) -> Array:
    """Return what residual sums of squares cost: n ln of them, each node with noise of its own, or (0) themselves."""
    return samples * np.log(left) if samples else left


def residual(gram: Array, cross: Array, square: Array, order: Array) -> Array:
    """Return what is left of each node (p,) when it is regressed on Z_k times those before it (eq. 18).

    With the features in blocks of K along the order and L their Cholesky factor, the regression of a node on the first
    blocks takes the squares of the first entries of L^-1 times its covariances away.
    """
    p = len(order)
    K = len(gram) // p
    at = (order[:, None] * K + np.arange(K)).ravel()
    factor = cholesky(gram[np.ix_(at, at)], lower=True, check_finite=False)
    taken = solve_triangular(factor, cross[at][:, order], lower=True, check_finite=False) ** 2
    out = np.empty(p)
    out[order] = square[order] - np.triu(taken.reshape(p, K, p).sum(1), 1).sum(0)
    return out


def better_order(
    gram: Array, cross: Array, square: Array, order: Array, before: Array | None = None, samples: int = 0
) -> Array:
    """Move single nodes along an order to where the summed :func:`cost` is least, until no move lowers it.

    Parameters
    ----------
    gram, cross, square
        Of :meth:`Ordering.moments`.
    order : ndarray of int, shape (p,)
    before : ndarray of bool, shape (p, p), optional
        [i, j]: i has to come before j.
    samples : int
        Of :func:`cost`.
    """
    from . import swaps

    p, order = len(order), order.copy()
    K = len(gram) // p
    at = (order[:, None] * K + np.arange(K)).ravel()
    factor = cholesky(gram[np.ix_(at, at)], lower=True, check_finite=False)
    rows = solve_triangular(factor, np.column_stack([gram[at], cross[at]]), lower=True, check_finite=False)
    left = residual(gram, cross, square, order)
    if before is None:
        before = np.zeros((p, p), dtype=bool)
    gain = 1e-6 * (samples or abs(float(left.sum())))
    reach, sweeps = max(20, WINDOW // p), max(3, min(SWEEPS, 3000 // p))
    swaps.improve(rows, left, square, order, before, K, samples, reach, gain, sweeps)
    return order
