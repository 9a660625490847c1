"""Ridges of the likelihood: transcripts whose split the data leave open; equation numbers refer to the card."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.declaration import Array

from .table import Table

ACTIVE = 1e-6
"""A transcript may be positive at a maximum if its ratio (eq. 6) is at least one less this."""

RANK = 1e-9
"""Singular values below this fraction of the largest one count as zero."""

LARGEST = 1500
"""Transcripts of a component that are decomposed at most; of a larger one, only identical transcripts are found."""


@dataclass(frozen=True)
class Ridges:
    """Groups of transcripts whose sum the data determine, but not their split.

    Attributes
    ----------
    group : ndarray of int, shape (K,)
        Group of each transcript from one up; zero for one that is determined.
    total : ndarray, shape (K,)
        Reads of the transcript's group; its own reads where it is determined.
    low, high : ndarray, shape (K,)
        Smallest and largest number of reads of the transcript at the same likelihood.
    number : int
        Groups.
    not_sought : int
        Transcripts in components that are too large to be decomposed.
    """

    group: Array
    total: Array
    low: Array
    high: Array
    number: int
    not_sought: int

    def columns(self) -> dict[str, Array]:
        """Return what a fit reports of every transcript."""
        return {
            "ridge": self.group,
            "ridge_counts": self.total,
            "counts_low": self.low,
            "counts_high": self.high,
        }


def ridges(table: Table, a: Array, ratio: Array, *, ends: bool = True) -> Ridges:
    """Find the directions in which the likelihood is flat at its maximum (eqs. 10 and 11).

    Parameters
    ----------
    table : Table
    a : ndarray, shape (K,)
        Reads of each transcript at a maximum.
    ratio : ndarray, shape (K,)
        Derivative of the log likelihood there.
    ends : bool
        Whether to find the smallest and largest number of reads too, by linear programs.

    Returns
    -------
    Ridges
    """
    from scipy import sparse

    K = table.transcripts
    group = np.zeros(K, dtype=np.int64)
    total, low, high = a.copy(), a.copy(), a.copy()
    active = table.hit & (ratio > 1 - ACTIVE) & (table.sole == 0)  # a class of its own determines a transcript
    active |= table.hit & (table.sole > 0)
    E = len(table.count)
    rows = sparse.csr_array((table.weight, table.column, table.first), shape=(E, K))
    number = not_sought = 0
    columns = rows.tocsc()
    by_component = np.argsort(table.label, kind="stable")
    cuts = np.searchsorted(table.label[by_component], np.arange(len(table.mass) + 1))
    for j in range(len(table.mass)):
        if cuts[j + 1] - cuts[j] < 2:
            continue
        members = by_component[cuts[j] : cuts[j + 1]]
        members = members[active[members]]
        if len(members) < 2:
            continue
        if len(members) > LARGEST:
            not_sought += len(members)
            found = _identical(columns, members, table.sole)
        else:
            found = _collinear(columns[:, members], members, table.sole)
        for together in found:
            number += 1
            group[together] = number
            total[together] = a[together].sum()
            if ends:
                low[together], high[together] = _range(columns[:, together], a[together])
    return Ridges(group, total, low, high, number, not_sought)


def _dense(block: Any, sole: Array) -> Array:
    """Return the rows of a block that hold something, and one for every transcript with a class of its own."""
    from scipy import sparse

    some = sparse.csr_array(block)
    used = some[np.flatnonzero(np.diff(some.indptr))].toarray()
    own = np.diag((sole > 0).astype(float))[sole > 0]
    return np.asarray(np.concatenate([used, own]))


def _collinear(block: Any, members: Array, sole: Array) -> list[Array]:
    """Group transcripts by the null space of their columns (eq. 10)."""
    W = _dense(block, sole[members])
    size = np.linalg.norm(W, axis=0)
    W = W / size
    if len(W) > 4 * W.shape[1]:
        W = np.linalg.qr(W, mode="r")
    _, s, vt = np.linalg.svd(W, full_matrices=True)
    rank = int((s > RANK * s[0]).sum())
    null = vt[rank:] / size  # (K - rank, K)
    if not len(null):
        return []
    basis, _ = np.linalg.qr(null.T)
    return _blocks(np.abs(basis @ basis.T) > 1e-7, members)


def _blocks(linked: Array, members: Array) -> list[Array]:
    """Return the sets of transcripts that a null space ties together."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    loaded = np.flatnonzero(linked.diagonal())
    _, label = connected_components(sparse.csr_array(linked[np.ix_(loaded, loaded)]), directed=False)
    sets = [members[loaded[label == i]] for i in range(label.max() + 1)] if len(loaded) else []
    return [one for one in sets if len(one) > 1]


def _identical(columns: Any, members: Array, sole: Array) -> list[Array]:
    """Group transcripts that have the same classes and proportional weights."""
    found: dict[bytes, list[int]] = {}
    for k in members:
        low, high = columns.indptr[k : k + 2]
        data = columns.data[low:high]
        if sole[k] == 0 and len(data):
            key = columns.indices[low:high].tobytes() + np.round(data / data[0], 9).tobytes()
            found.setdefault(key, []).append(int(k))
    return [np.array(ks) for ks in found.values() if len(ks) > 1]


def _range(block: Any, a: Array) -> tuple[Array, Array]:
    """Find the smallest and largest reads of each transcript of a group, W a and a >= 0 kept (eq. 11)."""
    from scipy.optimize import linprog

    W = _dense(block, np.zeros(len(a)))
    scale = np.linalg.norm(W, axis=1, keepdims=True)
    W = W / scale
    _, s, vt = np.linalg.svd(W, full_matrices=False)
    rank = int((s > RANK * s[0]).sum())
    rows = vt[:rank]  # as many equations as are independent, so that rounding cannot make them contradict
    top = max(float(a.sum()), 1e-300)
    ends = np.empty((2, len(a)))
    for k, unit in enumerate(np.eye(len(a))):
        for side, sign in enumerate((1.0, -1.0)):
            solved = linprog(sign * unit, A_eq=rows, b_eq=rows @ (a / top), bounds=(0, None))
            ends[side, k] = top * sign * float(solved.fun) if solved.fun is not None else a[k]
    return np.minimum(ends[0], a), np.maximum(ends[1], a)
