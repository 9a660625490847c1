"""Orders of nodes and sparse parents along them, by a decomposable score, compiled by Numba (eq. 15)."""

import numba
import numpy as np

from genarium.declaration import Array

LEAST = 1e-12
"""A node whose variance given the parents chosen so far is below this share of its own adds nothing that is certain."""

GAIN, TIE = 1e-9, 1e-9
"""Scores that differ by less, in nats, are equal, and so are variances by such a share: rounding decides nothing."""

BEYOND, PATIENCE = 8, 3.0
"""Parents tried after the score was best; and how far above the best score, in costs of a parent, shrinking goes on."""


@numba.njit(cache=True)
def local_score(rss: float, k: int, n: float, unit: float, fixed: float) -> float:
    """Score of a node with k parents (eq. 15), smaller is better; infinite where no freedom is left.

    Parameters
    ----------
    rss : float
        Mean squared residual.
    k : int
        Parents.
    n : float
        Samples.
    unit : float
        Cost of a parent.
    fixed : float
        Variance of the noise where all nodes share one, else zero.
    """
    room = n - k - 2.0
    if k > 0 and room < 1.0:
        return np.inf
    cost = unit * k * n / room if k > 0 else 0.0
    if fixed > 0:
        return n * rss / fixed + cost
    return float(n * np.log(max(rss, 1e-300)) + cost)


@numba.njit(cache=True)
def residual_variance(S: Array, y: int, parents: Array, k: int) -> float:
    """Variance of node y given its first k parents, by Cholesky; infinite where the parents depend on each other."""
    L = np.empty((k + 1, k + 1))
    for a in range(k + 1):
        i = parents[a] if a < k else y
        for b in range(a + 1):
            value = S[i, parents[b] if b < a else i]
            for t in range(b):
                value -= L[a, t] * L[b, t]
            if b < a:
                L[a, b] = value / L[b, b]
            elif a == k:
                return float(max(value, LEAST * S[y, y]))
            elif value <= LEAST * S[i, i]:
                return np.inf
            else:
                L[a, a] = np.sqrt(value)
    return np.inf


@numba.njit(cache=True)
def _remove(v: Array, u: Array, q: Array, S: Array, candidates: Array, m: int, k: int, top: int) -> float:
    """Take candidate ``top`` as parent k: what is left of the variances v and of the covariances u with the node."""
    root = np.sqrt(v[top])
    share = u[top] / root
    parent = candidates[top]
    for c in range(m):
        value = S[candidates[c], parent]
        for t in range(k):
            value -= q[t, c] * q[t, top]
        value /= root
        q[k, c] = value
    for c in range(m):
        v[c] -= q[k, c] ** 2
        u[c] -= q[k, c] * share
    v[top] = 0.0
    return float(share * share)


@numba.njit(cache=True)
def _shrink(
    S: Array, y: int, parents: Array, k: int, must: int, rss: float, n: float, unit: float, fixed: float
) -> tuple[float, int, float]:
    """Drop parents, the least useful first, and stay where the score is least: score, how many, residual variance.

    The first ``must`` of them stay.

    Dropping parent d raises the residual variance by b_d^2 / A_dd, with A the inverse of the parents' covariance and b
    the coefficients.
    """
    A = np.empty((k, k))
    b = np.empty(k)
    for i in range(k):
        b[i] = S[parents[i], y]
        for j in range(k):
            A[i, j] = S[parents[i], parents[j]]
    A = np.linalg.inv(A)
    b = A @ b
    left = np.ones(k, np.bool_)
    best, keep = local_score(rss, k, n, unit, fixed), k
    kept, kept_rss = left.copy(), rss
    for now in range(k - 1, must - 1, -1):
        drop, rise = -1, np.inf
        for d in range(must, k):
            if left[d] and b[d] ** 2 / A[d, d] < rise * (1 - TIE):
                rise = b[d] ** 2 / A[d, d]
                drop = d
        if drop < 0:
            break
        rss += rise
        left[drop] = False
        step = b[drop] / A[drop, drop]
        for i in range(k):
            if left[i]:
                b[i] -= A[i, drop] * step
                for j in range(k):
                    if left[j]:
                        A[i, j] -= A[i, drop] * A[drop, j] / A[drop, drop]
        score = local_score(rss, now, n, unit, fixed)
        if score < best - GAIN:
            best, keep, kept_rss = score, now, rss
            kept[:] = left
        elif score > best + PATIENCE * unit:
            break
    w = 0
    for i in range(k):
        if kept[i]:
            parents[w] = parents[i]
            w += 1
    return best, keep, kept_rss


@numba.njit(cache=True)
def choose_parents(
    S: Array,
    rule: Array,
    y: int,
    candidates: Array,
    m: int,
    n: float,
    units: Array,
    fixed: float,
    most: int,
    out: Array,
) -> tuple[float, int]:
    """Grow the parents of a node from the first m candidates beyond what pays, and shrink them to what does.

    Two parents may help together where neither does alone: growth goes on by BEYOND parents after the score was best.
    The best of both ways stands.

    Parameters
    ----------
    S : ndarray, shape (p, p)
        Covariance.
    rule : ndarray of int, shape (p, p)
        -1 where an edge is forbidden, 1 where it is required.
    y : int
        The node.
    candidates : ndarray of int, shape (>= m,)
    n, fixed
        Of :func:`local_score`.
    units : ndarray, shape (p,)
        Its ``unit``, by node.
    most : int
        Parents at most.
    out : ndarray of int, shape (most,)
        Receives the parents.

    Returns
    -------
    score : float
    k : int
        How many parents.
    """
    v, u = np.empty(m), np.empty(m)
    q = np.empty((most, m))
    for c in range(m):
        v[c], u[c] = S[candidates[c], candidates[c]], S[candidates[c], y]
    k = since = 0
    rss, unit = S[y, y], units[y]
    for c in range(m):
        if rule[candidates[c], y] > 0 and k < most and v[c] > LEAST * S[candidates[c], candidates[c]]:
            rss = max(rss - _remove(v, u, q, S, candidates, m, k, c), LEAST * S[y, y])
            out[k] = candidates[c]
            k += 1
    must = k
    for c in range(m):
        if rule[candidates[c], y] < 0:
            v[c] = 0.0
    best, peak = local_score(rss, k, n, unit, fixed), k
    while k < most and since < BEYOND:
        top, gain = -1, 0.0
        for c in range(m):
            if v[c] > LEAST * S[candidates[c], candidates[c]] and u[c] ** 2 / v[c] > gain * (1 + TIE):
                gain = u[c] ** 2 / v[c]
                top = c
        if top < 0 or rss - gain <= LEAST * S[y, y]:
            break
        rss -= _remove(v, u, q, S, candidates, m, k, top)
        out[k] = candidates[top]
        k += 1
        score = local_score(rss, k, n, unit, fixed)
        since += 1
        if score < best - GAIN:
            best, peak, since = score, k, 0
    grown = out[:peak].copy()
    score, k, rss = _shrink(S, y, out, k, must, rss, n, unit, fixed)
    if best < score - GAIN:  # on the way back other parents were left
        out[:peak] = grown
        return best, peak
    return score, k


@numba.njit(cache=True)
def _wanted(
    S: Array,
    rule: Array,
    y: int,
    parents: Array,
    k: int,
    new: int,
    now: float,
    n: float,
    units: Array,
    fixed: float,
    most: int,
) -> bool:
    """Whether one more candidate would improve the score of a node, or is required."""
    if rule[new, y] > 0:
        return True
    if k >= most or rule[new, y] < 0:
        return False
    trial = np.empty(k + 1, np.int64)
    trial[:k] = parents[:k]
    trial[k] = new
    return local_score(residual_variance(S, y, trial, k + 1), k + 1, n, units[y], fixed) < now - GAIN


@numba.njit(cache=True)
def improve(
    S: Array,
    rule: Array,
    before: Array,
    order: Array,
    n: float,
    units: Array,
    fixed: float,
    most: int,
    sweeps: int,
    parents: Array,
    count: Array,
) -> float:
    """Move single nodes along an order to where the summed score is least, until no move improves it.

    Parameters
    ----------
    S : ndarray, shape (p, p)
        Covariance.
    rule : ndarray of int, shape (p, p)
        Of :func:`choose_parents`.
    before : ndarray of bool, shape (p, p)
        [i, j]: i has to come before j.
    order : ndarray of int, shape (p,)
        Keeps to that; is changed.
    n, units, fixed, most
        Of :func:`choose_parents`.
    sweeps : int
        At most.
    parents : ndarray of int, shape (p, most)
        Receives the parents of each node.
    count : ndarray of int, shape (p,)
        Receives how many there are.

    Returns
    -------
    float
        The summed score.
    """
    p = len(order)
    scores = np.empty(p)
    rest = np.empty(p - 1, np.int64)
    ahead = np.empty(p, np.int64)
    own, buffer = np.empty(most, np.int64), np.empty(most, np.int64)
    owns, many = np.empty((p, most), np.int64), np.zeros(p, np.int64)  # of v, by its place
    without, among = np.empty(p - 1), np.empty(p - 1)
    alone = np.empty(p)
    for i in range(p):
        y = order[i]
        scores[y], count[y] = choose_parents(S, rule, y, order, i, n, units, fixed, most, parents[y])
    for _ in range(sweeps):
        moved = False
        for v in range(p):
            w = at = 0
            for i in range(p):
                if order[i] == v:
                    at = i
                else:
                    rest[w] = order[i]
                    w += 1
            # v after the first i of the others; parents are chosen anew only where one more would be one, and the
            # present ones stand as soon as all of them come before
            k, reach = 0, 0
            for i in range(p - 1):
                if (parents[v, : count[v]] == rest[i]).any():
                    reach = i + 1
            score = local_score(S[v, v], 0, n, units[v], fixed)
            for i in range(p):
                if i > 0 and _wanted(S, rule, v, own, k, rest[i - 1], score, n, units, fixed, most):
                    score, k = choose_parents(S, rule, v, rest, i, n, units, fixed, most, own)
                if i == reach and scores[v] < score:
                    score, k = scores[v], count[v]
                    own[:k] = parents[v, :k]
                alone[i], many[i] = score, k
                owns[i, :k] = own[:k]
            # the others, with v after them and before them
            for j in range(p - 1):
                y = rest[j]
                without[j] = among[j] = scores[y]
                if j >= at:
                    if (parents[y, : count[y]] == v).any():
                        without[j] = choose_parents(S, rule, y, rest, j, n, units, fixed, most, buffer)[0]
                elif _wanted(S, rule, y, parents[y], count[y], v, scores[y], n, units, fixed, most):
                    ahead[:j] = rest[:j]
                    ahead[j] = v
                    among[j] = choose_parents(S, rule, y, ahead, j + 1, n, units, fixed, most, buffer)[0]
            first, last = 0, p - 1
            for j in range(p - 1):
                if before[rest[j], v]:
                    first = j + 1
                if before[v, rest[j]]:
                    last = j
                    break
            total = alone[0] + among.sum()
            now, low, place = total, np.inf, at
            for i in range(p):
                if i > 0:
                    total += without[i - 1] - among[i - 1] + alone[i] - alone[i - 1]
                if i == at:
                    now = total
                if first <= i <= last and total < low - GAIN:
                    low, place = total, i
            if place == at or low >= now - 1e-7 - 1e-10 * abs(now):
                continue
            moved = True
            order[:place] = rest[:place]
            order[place] = v
            order[place + 1 :] = rest[place:]
            scores[v], count[v] = alone[place], many[place]
            parents[v, : count[v]] = owns[place, : count[v]]
            for j in range(min(place, at), max(place, at)):  # of the others, those that change with v there
                y = rest[j]
                new = among[j] if place < at else without[j]
                lost = place > at and (parents[y, : count[y]] == v).any()  # also where another parent is as good
                if lost or new != scores[y]:
                    i = j + 1 if place < at else j
                    scores[y], count[y] = choose_parents(S, rule, y, order, i, n, units, fixed, most, parents[y])
        if not moved:
            break
    return scores.sum()
