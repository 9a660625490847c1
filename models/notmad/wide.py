"""Fits of hundreds of nodes: few candidates for each node's parents, and sums over these alone (eqs. 29, 30)."""

import numba
import numpy as np
from scipy.special import softmax

from genarium.declaration import Array, Problem

from .descent import Run
from .encoder import logits
from .knowledge import compatible
from .objective import MEAN, Objective
from .ordering import Ordering
from .pack import Packed

CANDIDATES, ADDED = 12, 6
"""Candidates of each node to begin with; of those left out, how many a node may get in a round."""

SWEEPS = 3
"""Passes over the nodes in the search of an order."""

ROUNDS, NEW = 2, 40
"""Rounds at most in which candidates are added to a fit; iterations of L-BFGS in those before the last."""


class Wide(Ordering):
    """Fits along orders where each node has few candidates for its parents; what is left out is looked at in the end.

    Parameters
    ----------
    problem : Problem
    packed : Packed
    """

    def __init__(self, problem: Problem, packed: Packed) -> None:
        super().__init__(problem, packed)
        rule = problem["rule"]
        self.allowed = (rule >= 0) & ~np.eye(len(rule), dtype=bool)
        near = screened(problem["x"], self.context, CANDIDATES) | (rule > 0)
        self.near = self.first = near | near.T
        self.order = np.arange(len(rule))

    def better(self, vector: Array, order: Array, shared: bool = False) -> Array:
        """Move single nodes past their candidates while the summed cost of all nodes' regressions on these falls."""
        gram, cross, square = self.moments(vector)
        place = np.argsort(order).astype(np.int64)
        neighbours, count = listed(self._heavy(vector))
        samples = len(self.context) if self.each and not shared else 0
        K = self.problem.sizes["archetype"]
        move(gram, cross, square, place, neighbours, count, self.before, K, samples, SWEEPS)
        self.order = compatible(np.argsort(place), self.before)
        return self.order

    def along(self, vector: Array, order: Array | None, max_iterations: int, tolerance: float = 1e-9) -> Run:
        """Minimise along an order; candidates whose weight would not stay at zero are added (eq. 30), others go."""
        order = self.order if order is None else order
        run = None
        for number in range(ROUNDS):
            run = super().along(vector, order, max_iterations if number == ROUNDS - 1 else NEW, tolerance)
            vector = run.vector
            if number == ROUNDS - 1 or not self._extended(vector, order):
                break
        assert run is not None
        if len(run.values) > NEW and not run.converged:
            run = super().along(vector, order, max_iterations, tolerance)
        there = (self.packed.objective.archetypes(self.packed.unpack(run.vector)) != 0).any(0)
        self.near = self.first | there | there.T
        return run

    def _heavy(self, vector: Array) -> Array:
        """Return the candidates that an order is sought by: the first ones, and those of the largest weights."""
        size = np.abs(self.packed.objective.archetypes(self.packed.unpack(vector))).max(0)
        size = np.where(self.near, np.maximum(size, size.T), 0)
        heavy = (size > 0) & (size >= np.sort(size, axis=0)[-min(CANDIDATES, len(size))])
        return np.asarray(self.first | heavy | heavy.T)

    def suggested(self, vector: Array) -> Array:
        """Return the order of the last fit."""
        return self.order

    def _packed(self, order: Array, shared: bool = False) -> Packed:
        key = (shared, hash(self.near.tobytes()), *(int(i) for i in order))
        if key not in self.inner:
            problem = self._along_order(order, shared)
            pairs = np.nonzero(np.triu((self.near & self.allowed)[np.ix_(order, order)], 1))
            self.inner = {key: Packed(Objective(problem, pairs=pairs))}
        return self.inner[key]

    def _centred(self, at: dict[str, Array]) -> Array:
        r = self.problem["x"]
        if MEAN[0] in at:
            r = r - at["mean_intercept"] - self.context @ at["mean_slope"]
        return np.asarray(r)

    def _extended(self, vector: Array, order: Array) -> bool:
        """Add the candidates by which the density would rise; whether there were any."""
        at = self.packed.unpack(vector)
        Z = softmax(logits(self.packed.objective.encoder, self.context, at), axis=-1)
        r = self._centred(at)
        archetypes = self.packed.objective.archetypes(at)
        e = r - sum(Z[:, [k]] * (r @ archetype) for k, archetype in enumerate(archetypes))
        scaled = e / at["sigma"] ** 2
        slope = np.max([np.abs(r.T @ (Z[:, [k]] * scaled)) for k in range(Z.shape[1])], axis=0)
        place = np.argsort(order)
        slope[(place[:, None] >= place) | self.near | ~self.allowed] = 0
        beta = self.packed.objective.known("beta")
        least = np.maximum(1.05 * beta, np.sort(slope, axis=0)[-ADDED])
        new = slope >= least
        self.near = self.near | new | new.T
        return bool(new.any())


def screened(x: Array, context: Array, count: int) -> Array:
    """Return the nodes that tell most about each node, alone or times a covariate, by summed squared correlations."""
    unit = (x - x.mean(0)) / x.std(0)
    basis = np.column_stack([np.ones(len(x)), context - context.mean(0)])
    score = sum((unit.T @ (unit * (column / np.sqrt((column**2).mean() + 1e-300))[:, None])) ** 2 for column in basis.T)
    score = np.asarray(score)
    np.fill_diagonal(score, -1)
    out = np.zeros(score.shape, dtype=bool)
    best = np.argpartition(-score, min(count, len(score) - 1), axis=0)[:count]
    out[best, np.arange(len(score))] = True
    np.fill_diagonal(out, False)
    return out


def listed(near: Array) -> tuple[Array, Array]:
    """Neighbours of each node (p, most), and how many there are."""
    count = near.sum(1)
    out = np.zeros((len(near), int(count.max())), dtype=np.int64)
    for j, row in enumerate(near):
        out[j, : count[j]] = np.flatnonzero(row)
    return out, count


@numba.njit(cache=True, fastmath=True)
def left_over(
    gram: Array, cross: Array, square: Array, node: int, parents: Array, P: int, K: int, work: Array, out: Array
) -> None:
    """Put what is left of a node's sum of squares, regressed on the features of the first q of P parents, into out[q].

    One Cholesky factorisation tells it for every q (eq. 18).
    """
    column = np.empty(P * K)
    left = square[node]
    out[0] = left
    for a in range(P):
        for k in range(K):
            i, source = a * K + k, parents[a] * K + k
            row = work[i]
            for b in range(a + 1):
                for m in range(K if b < a else k + 1):
                    row[b * K + m] = gram[source, parents[b] * K + m]
            total = cross[source, node]
            for j in range(i):
                other, found = work[j], row[j]
                for m in range(j):
                    found -= row[m] * other[m]
                row[j] = found / other[j]
                total -= row[j] * column[j]
            pivot = row[i]
            for m in range(i):
                pivot -= row[m] * row[m]
            row[i] = np.sqrt(max(pivot, 1e-12))
            column[i] = total / row[i]
            left -= column[i] * column[i]
        out[a + 1] = max(left, 1e-12 * square[node])


@numba.njit(cache=True)
def _value(left: float, samples: int) -> float:
    return samples * np.log(left) if samples > 0 else left


@numba.njit(cache=True)
def _shift(place: Array, node: int, to: int) -> None:
    """Put a node at a place; those between move by one."""
    here = place[node]
    for other in range(len(place)):
        if here < place[other] <= to:
            place[other] -= 1
        elif to <= place[other] < here:
            place[other] += 1
    place[node] = to


@numba.njit(cache=True)
def move(
    gram: Array,
    cross: Array,
    square: Array,
    place: Array,
    neighbours: Array,
    count: Array,
    before: Array,
    K: int,
    samples: int,
    sweeps: int,
) -> None:
    """Move each node past its candidates, to where the summed cost is least; changes ``place``.

    Past a candidate, two regressions alone change: that of the node, which has the candidate among its parents or not,
    and that of the candidate, which has the node. So the change of the sum is the node's, plus those of the candidates
    passed, each known from one factorisation.
    """
    p, most = neighbours.shape
    work, out = np.empty(((most + 1) * K, (most + 1) * K)), np.empty(most + 2)
    own, parents, change = np.empty(most + 1), np.empty(most + 1, dtype=np.int64), np.empty(most)
    fresh = np.ones(p, dtype=np.bool_)  # whether anything near a node has moved since it was tried
    for _ in range(sweeps):
        for node in range(p):
            if not fresh[node]:
                continue
            fresh[node] = False
            C = count[node]
            near = neighbours[node, :C]
            near = near[np.argsort(place[near])]
            left_over(gram, cross, square, node, near, C, K, work, own)
            here = 0
            for q in range(C):
                here += place[near[q]] < place[node]
                other, P = near[q], 0
                for a in range(count[other]):
                    third = neighbours[other, a]
                    if third != node and place[third] < place[other]:
                        parents[P] = third
                        P += 1
                parents[P] = node
                left_over(gram, cross, square, other, parents, P + 1, K, work, out)
                change[q] = _value(out[P + 1], samples) - _value(out[P], samples)  # with the node, less without
            first, last = -1, p
            for other in range(p):
                if before[other, node]:
                    first = max(first, place[other])
                if before[node, other]:
                    last = min(last, place[other])
            base, best, least = _value(own[here], samples), -1, -1e-6 * abs(_value(square.mean(), samples)) - 1e-9
            passed = 0.0
            for q in range(here, C):
                if place[near[q]] >= last:
                    break
                passed -= change[q]
                gain = passed + _value(own[q + 1], samples) - base
                if gain < least:
                    least, best = gain, q
            passed = 0.0
            for q in range(here - 1, -1, -1):
                if place[near[q]] <= first:
                    break
                passed += change[q]
                gain = passed + _value(own[q], samples) - base
                if gain < least:
                    least, best = gain, q
            if best >= 0:
                _shift(place, node, place[near[best]])
                fresh[node] = True
                for q in range(C):
                    fresh[near[q]] = True
