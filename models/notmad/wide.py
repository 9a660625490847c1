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

CANDIDATES, ADDED = 20, 10
"""Candidates of each node to begin with; of those left out, how many a node may get in a round."""

SWEEPS = 3
"""Passes over the nodes in the search of an order."""

ROUNDS, NEW = 4, 40
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
        self.near = near | near.T
        self.order = np.arange(len(rule))

    def better(self, vector: Array, order: Array, shared: bool = False) -> Array:
        """Move single nodes past their candidates while the summed cost of all nodes' regressions on these falls."""
        gram, cross, square = self.moments(vector)
        place = np.argsort(order).astype(np.int64)
        neighbours, count = listed(self.near)
        samples = len(self.context) if self.each and not shared else 0
        K = self.problem.sizes["archetype"]
        move(gram, cross, square, place, neighbours, count, self.before, K, samples, SWEEPS)
        self.order = compatible(np.argsort(place), self.before)
        return self.order

    def along(self, vector: Array, order: Array | None, max_iterations: int, tolerance: float = 1e-9) -> Run:
        """Minimise along an order; candidates are added whose weight would not stay at zero (eq. 30)."""
        order = self.order if order is None else order
        run = None
        for number in range(ROUNDS):
            run = super().along(vector, order, max_iterations if number == ROUNDS - 1 else NEW, tolerance)
            vector = run.vector
            if not self._extended(vector, order):
                break
        assert run is not None
        if len(run.values) > NEW and not run.converged:
            run = super().along(vector, order, max_iterations, tolerance)
        return run

    def suggested(self, vector: Array) -> Array:
        """Return the order of the last fit."""
        return self.order

    def _packed(self, order: Array, shared: bool = False) -> Packed:
        key = (shared, int(self.near.sum()), *(int(i) for i in order))
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
        self.near |= new | new.T
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


@numba.njit(cache=True)
def left_over(
    gram: Array, cross: Array, square: Array, node: int, parents: Array, P: int, K: int, work: Array
) -> float:
    """Return what is left of a node's sum of squares in its regression on the features of P parents (eq. 18)."""
    size = P * K
    taken = 0.0
    for a in range(P):
        for k in range(K):
            row, source = a * K + k, parents[a] * K + k
            for b in range(a + 1):
                for m in range(K if b < a else k + 1):
                    work[row, b * K + m] = gram[source, parents[b] * K + m]
            work[row, size] = cross[source, node]
    for i in range(size):
        for j in range(i + 1):
            total = work[i, j]
            for m in range(j):
                total -= work[i, m] * work[j, m]
            work[i, j] = np.sqrt(max(total, 1e-12)) if i == j else total / work[j, j]
        total = work[i, size]
        for m in range(i):
            total -= work[i, m] * work[m, size]
        work[i, size] = total / work[i, i]
        taken += work[i, size] ** 2
    return max(square[node] - taken, 1e-12 * square[node])


@numba.njit(cache=True)
def _value(left: float, samples: int) -> float:
    return samples * np.log(left) if samples > 0 else left


@numba.njit(cache=True)
def _before(node: int, place: Array, neighbours: Array, count: Array, parents: Array) -> int:
    P = 0
    for a in range(count[node]):
        if place[neighbours[node, a]] < place[node]:
            parents[P] = neighbours[node, a]
            P += 1
    return P


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

    Past a candidate, two regressions alone change: that of the node, and that of the candidate.
    """
    p, most = neighbours.shape
    work, parents = np.empty((most * K, most * K + 1)), np.empty(most, dtype=np.int64)
    costs = np.empty(p)
    for j in range(p):
        P = _before(j, place, neighbours, count, parents)
        costs[j] = _value(left_over(gram, cross, square, j, parents, P, K, work), samples)
    for _ in range(sweeps):
        moved = False
        for node in range(p):
            start, old = place.copy(), costs.copy()
            best, least = place[node], 0.0
            for way in (-1, 1):
                place[:] = start
                costs[:] = old
                change = 0.0
                while True:
                    target = -1  # the nearest candidate that way
                    for a in range(count[node]):
                        other = neighbours[node, a]
                        ahead = (place[other] - place[node]) * way
                        if ahead > 0 and (target < 0 or ahead < (place[target] - place[node]) * way):
                            target = other
                    if target < 0:
                        break
                    barred = False
                    low, high = min(place[node], place[target]), max(place[node], place[target])
                    for other in range(p):
                        first, last = (node, other) if way > 0 else (other, node)
                        barred = barred or (low <= place[other] <= high and other != node and before[first, last])
                    if barred:
                        break
                    change -= costs[node] + costs[target]
                    _shift(place, node, place[target])
                    for j in (node, target):
                        P = _before(j, place, neighbours, count, parents)
                        costs[j] = _value(left_over(gram, cross, square, j, parents, P, K, work), samples)
                    change += costs[node] + costs[target]
                    if change < least - 1e-6 * abs(old.sum()) / p:
                        least, best = change, place[node]
                    if change > PATIENCE * samples**0.5 and samples > 0:
                        break
            place[:] = start
            costs[:] = old
            if best != place[node]:
                _shift(place, node, best)
                moved = True
                for a in range(count[node] + 1):
                    j = node if a == count[node] else neighbours[node, a]
                    P = _before(j, place, neighbours, count, parents)
                    costs[j] = _value(left_over(gram, cross, square, j, parents, P, K, work), samples)
        if not moved:
            break


PATIENCE = 4.0
"""A node goes no further past candidates where the cost has risen by so many times the square root of the samples."""
