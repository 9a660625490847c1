"""Moves of whole components along the axes of their posterior; equation numbers refer to the card (README.md)."""

from dataclasses import dataclass

import numba
import numpy as np

from genarium.declaration import Array

from .table import Table

LARGEST, CELLS = 64, 4_000_000
"""Transcripts, and numbers W d, of a component that is moved as a whole, at most."""

WIDE, STEPS_OUT, SHRINKS = 2.5, 20, 200
"""First width of a slice in posterior sds, and by how many steps it is widened and narrowed at most."""


@dataclass(frozen=True)
class Axes:
    """Directions of a component.

    Attributes
    ----------
    members, classes : ndarray of int, shapes (K,), (E,)
        Its transcripts and classes.
    along : ndarray, shape (D, K)
        Directions of the abundances, one posterior sd long (of the normal approximation); each sums to zero.
    moved : ndarray, shape (D, E)
        What a direction adds to the probabilities of the classes, W d.
    """

    members: Array
    classes: Array
    along: Array
    moved: Array


def axes(table: Table, alpha: Array, a: Array) -> list[Axes]:
    """Find the axes of every component that is not too large (eq. 19).

    Parameters
    ----------
    table : Table
    alpha : ndarray, shape (K,)
    a : ndarray, shape (K,)
        Reads of each transcript near the maximum.

    Returns
    -------
    list of Axes
        Of components of three transcripts or more. The data alone decide them: moves along them keep the posterior.
    """
    from scipy import sparse

    rows = sparse.csr_array((table.weight, table.column, table.first), shape=(len(table.count), table.transcripts))
    reads, out = table.reads, []
    size = np.bincount(table.label[table.hit], minlength=len(table.mass))
    for j in np.flatnonzero((size > 2) & (size <= LARGEST)):
        members, classes = np.flatnonzero(table.label == j), np.flatnonzero(table.class_label == j)
        if len(members) * len(classes) > CELLS:
            continue
        W = rows[classes][:, members].toarray()
        nu = (a[members] + alpha[members] + 0.5) / reads
        p = W @ nu
        H = (W.T * (table.count[classes] / p**2)) @ W + np.diag((table.sole[members] + alpha[members]) / nu**2)
        flat = np.eye(len(members)) - 1 / len(members)
        value, vector = np.linalg.eigh(flat @ H @ flat)
        keep = np.argsort(value)[1:]  # the least one is the sum itself, which the projection has taken out
        constant = np.abs(vector[:, keep].sum(0)) < 1e-6
        along = (vector[:, keep] / np.sqrt(np.maximum(value[keep], 1e-12 * value.max()))).T[constant]
        out.append(Axes(members, classes, np.ascontiguousarray(along), np.ascontiguousarray(along @ W.T)))
    return out


@numba.njit(cache=True)
def update_along(
    rng: np.random.Generator, along: Array, moved: Array, count: Array, power: Array, p: Array, nu: Array
) -> None:
    """Slice-sample the position along each direction in turn, in place (eq. 19; Neal 2003).

    Parameters
    ----------
    rng : Generator
    along, moved : ndarray, shapes (D, K), (D, E)
    count, p : ndarray, shape (E,)
        Reads of the classes and their probabilities.
    power, nu : ndarray, shape (K,)
        Powers of the abundances in the density (eq. 18), and the abundances.
    """
    for i in range(len(along)):
        d, q = along[i], moved[i]
        lowest, highest = -np.inf, np.inf
        for k in range(len(nu)):
            if d[k] > 0:
                lowest = max(lowest, -nu[k] / d[k])
            elif d[k] < 0:
                highest = min(highest, -nu[k] / d[k])
        if not lowest < 0 < highest:
            continue
        level = _log_density(0.0, d, q, count, power, p, nu) - rng.standard_exponential()
        low = -WIDE * rng.random()
        high = low + WIDE
        up = int(STEPS_OUT * rng.random())
        down = STEPS_OUT - 1 - up
        while down > 0 and low > lowest and _log_density(low, d, q, count, power, p, nu) > level:
            low -= WIDE
            down -= 1
        while up > 0 and high < highest and _log_density(high, d, q, count, power, p, nu) > level:
            high += WIDE
            up -= 1
        low, high = max(low, lowest), min(high, highest)
        for _ in range(SHRINKS):
            t = low + (high - low) * rng.random()
            if _log_density(t, d, q, count, power, p, nu) > level:
                for k in range(len(nu)):
                    nu[k] += t * d[k]
                for e in range(len(count)):
                    p[e] += t * q[e]
                break
            if t < 0:
                low = t
            else:
                high = t


@numba.njit(cache=True)
def _log_density(t: float, d: Array, q: Array, count: Array, power: Array, p: Array, nu: Array) -> float:
    out = 0.0
    for k in range(len(nu)):
        x = nu[k] + t * d[k]
        if x <= 1e-300:
            return -np.inf
        if power[k] != 0.0:
            out += power[k] * np.log(x)
    for e in range(len(count)):
        x = p[e] + t * q[e]
        if x <= 0.0:
            return -np.inf
        out += count[e] * np.log(x)
    return out
