"""The compiled sampler: origins given abundances, abundances given origins, shares within pairs.

K transcripts, E classes with two transcripts or more, M entries.
"""

import numba
import numpy as np

from genarium.declaration import Array

STEPS_OUT, SHRINKS = 60, 200
"""Steps by which a slice is widened, and by which it is narrowed, at most."""

WIDTH = 1.0
"""First width of a slice, in log odds."""


@numba.njit(cache=True)
def draw_origins(
    rng: np.random.Generator, first: Array, column: Array, weight: Array, count: Array, nu: Array, n: Array
) -> None:
    """Draw the transcripts of each class's reads, multinomial, by successive binomials (eq. 16); adds to ``n``."""
    for e in range(len(count)):
        left, total = count[e], 0.0
        for m in range(first[e], first[e + 1]):
            total += weight[m] * nu[column[m]]
        for m in range(first[e], first[e + 1] - 1):
            if left == 0:
                break
            mine = weight[m] * nu[column[m]]
            # what is left of the total may be rounded to nothing
            some = left if mine >= total else rng.binomial(left, mine / total)
            n[column[m]] += some
            left -= some
            total -= mine
        n[column[first[e + 1] - 1]] += left


@numba.njit(cache=True)
def draw_abundances(rng: np.random.Generator, shape: Array, nu: Array) -> None:
    """Draw from Dirichlet(shape) into ``nu`` (eq. 17), in logarithms: Γ(s) is Γ(s + 1) U^(1/s)."""
    top = -np.inf
    for k in range(len(nu)):
        nu[k] = np.log(rng.standard_gamma(shape[k] + 1.0)) - rng.standard_exponential() / shape[k]
        top = max(top, nu[k])
    total = 0.0
    for k in range(len(nu)):
        nu[k] = np.exp(nu[k] - top)
        total += nu[k]
    for k in range(len(nu)):
        nu[k] = max(nu[k] / total, 1e-300)


@numba.njit(cache=True)
def log_density(x: float, mine: Array, other: Array, rest: Array, c: Array, own: float, others: float) -> float:
    """Log density of the log odds x of the share of a pair (eq. 18)."""
    if x > 0:
        log_s = -np.log1p(np.exp(-x))
        log_t = log_s - x
    else:
        log_t = -np.log1p(np.exp(x))
        log_s = log_t + x
    s, t = np.exp(log_s), np.exp(log_t)
    out = own * log_s + others * log_t
    for i in range(len(c)):
        out += c[i] * np.log(rest[i] + mine[i] * s + other[i] * t)
    return float(out)


@numba.njit(cache=True)
def update_pairs(
    rng: np.random.Generator,
    first: Array,
    column: Array,
    weight: Array,
    count: Array,
    sole: Array,
    alpha: Array,
    begin: Array,
    entry: Array,
    owner: Array,
    p: Array,
    nu: Array,
) -> None:
    """Give each transcript in turn a partner from one of its classes, and draw how the two share their sum (eq. 18).

    Parameters
    ----------
    rng : Generator
    first, column, weight, count, sole
        The table.
    alpha : ndarray, shape (K,)
    begin, entry : ndarray of int, shapes (K + 1,), (M,)
        The entries of each transcript, in the order of their classes.
    owner : ndarray of int, shape (M,)
        Class of each entry.
    p : ndarray, shape (E,)
        Work array.
    nu : ndarray, shape (K,)
        Updated in place.
    """
    for e in range(len(count)):
        p[e] = 0.0
        for m in range(first[e], first[e + 1]):
            p[e] += weight[m] * nu[column[m]]
    for k in range(len(nu)):
        degree = begin[k + 1] - begin[k]
        if degree == 0:
            continue
        e = owner[entry[begin[k] + rng.integers(0, degree)]]
        j = column[first[e] + rng.integers(0, first[e + 1] - first[e])]
        if j == k:
            continue
        whole = nu[k] + nu[j]
        many = degree + begin[j + 1] - begin[j]
        mine, other, rest, c = np.zeros(many), np.zeros(many), np.empty(many), np.empty(many)
        at = np.empty(many, dtype=np.int64)
        u, v, size = begin[k], begin[j], 0
        while u < begin[k + 1] or v < begin[j + 1]:
            left = owner[entry[u]] if u < begin[k + 1] else len(count)
            right = owner[entry[v]] if v < begin[j + 1] else len(count)
            e = min(left, right)
            at[size], c[size] = e, count[e]
            if left == e:
                mine[size] = whole * weight[entry[u]]
                u += 1
            if right == e:
                other[size] = whole * weight[entry[v]]
                v += 1
            size += 1
        s = nu[k] / whole
        for i in range(size):
            rest[i] = max(p[at[i]] - mine[i] * s - other[i] * (1 - s), 0.0)
            if rest[i] < 1e-9 * p[at[i]]:  # a difference of nearly equal numbers: add it up instead
                rest[i] = 0.0
                for m in range(first[at[i]], first[at[i] + 1]):
                    if column[m] != k and column[m] != j:
                        rest[i] += weight[m] * nu[column[m]]
        mine, other, rest, c = mine[:size], other[:size], rest[:size], c[:size]
        own, others = alpha[k] + sole[k], alpha[j] + sole[j]
        x = np.log(nu[k]) - np.log(nu[j])
        level = log_density(x, mine, other, rest, c, own, others) - rng.standard_exponential()
        low = x - WIDTH * rng.random()
        high = low + WIDTH
        up = int(STEPS_OUT * rng.random())
        down = STEPS_OUT - 1 - up
        while down > 0 and log_density(low, mine, other, rest, c, own, others) > level:
            low -= WIDTH
            down -= 1
        while up > 0 and log_density(high, mine, other, rest, c, own, others) > level:
            high += WIDTH
            up -= 1
        new = x
        for _ in range(SHRINKS):
            trial = low + (high - low) * rng.random()
            if log_density(trial, mine, other, rest, c, own, others) > level:
                new = trial
                break
            if trial < x:
                low = trial
            else:
                high = trial
        s = 1 / (1 + np.exp(-new)) if new > 0 else np.exp(new) / (1 + np.exp(new))
        t = 1 / (1 + np.exp(new)) if new <= 0 else np.exp(-new) / (1 + np.exp(-new))
        nu[k], nu[j] = max(whole * s, 1e-300), max(whole * t, 1e-300)
        for i in range(size):
            p[at[i]] = rest[i] + mine[i] * s + other[i] * t
