"""The class-by-transcript table as arrays for the kernels, cut into components that share no transcript."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genarium.declaration import Array, Problem


@dataclass(frozen=True)
class Table:
    """Classes with reads in compressed rows; each transcript at most once in a row.

    Attributes
    ----------
    first, column, weight : ndarray, shapes (E + 1,), (M,), (M,)
        Entries of each class with two transcripts or more.
    count : ndarray, shape (E,)
        Reads of these classes.
    sole : ndarray, shape (K,)
        Reads of classes that have one transcript.
    sole_log_sum : float
        Σ c ln w over those classes.
    label : ndarray of int, shape (K,)
        Component of each transcript: transcripts of one class are in one component. -1 for one that is never hit.
    class_label : ndarray of int, shape (E,)
        Component of each class.
    """

    first: Array
    column: Array
    weight: Array
    count: Array
    sole: Array
    sole_log_sum: float
    label: Array
    class_label: Array

    @property
    def transcripts(self) -> int:
        """Number of transcripts K."""
        return len(self.sole)

    @cached_property
    def hit(self) -> Array:
        """Which transcripts some read may come from; shape (K,)."""
        return self.label >= 0

    @cached_property
    def mass(self) -> Array:
        """Reads of each component; shape (J,). Every maximum of the likelihood has these sums (eq. 7)."""
        J = int(self.label.max()) + 1
        own = np.bincount(self.label[self.hit], self.sole[self.hit], J)
        return np.asarray(own + np.bincount(self.class_label, self.count, J))

    @property
    def reads(self) -> float:
        """Number of reads."""
        return float(self.sole.sum() + self.count.sum())

    def uniform(self) -> Array:
        """Share the reads of each component evenly among its transcripts; shape (K,)."""
        share = self.mass / np.bincount(self.label[self.hit], minlength=len(self.mass))
        return np.where(self.hit, share[self.label], 0.0)


def table_of(problem: Problem) -> Table:
    """Make the table of a problem.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Table
        Without classes that have no reads and without entries of weight zero; entries of the same class and transcript
        (reads that differ by start or orientation only) are added up.
    """
    return tabulate(
        problem["entry_class"],
        problem["entry_transcript"],
        problem["weight"],
        problem["count"].astype(float),
        problem.sizes["transcript"],
    )


def tabulate(entry_class: Array, entry_transcript: Array, weight: Array, count: Array, transcripts: int) -> Table:
    """Make a table of plain arrays: labels and weight of each entry (M,), count (E,), and the number of transcripts."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    keep = (weight > 0) & (count[entry_class] > 0)
    rows = sparse.csr_array(
        (weight[keep], (entry_class[keep], entry_transcript[keep])), shape=(len(count), transcripts)
    )
    rows.sum_duplicates()
    width = np.diff(rows.indptr)
    one, many = np.flatnonzero(width == 1), np.flatnonzero(width > 1)
    at = rows.indptr[one]
    sole = np.bincount(rows.indices[at], count[one], transcripts)
    several = rows[many]
    E = len(many)
    links = sparse.coo_array(
        (np.ones(several.nnz), (np.repeat(np.arange(E), np.diff(several.indptr)), several.indices + E)),
        shape=(E + transcripts, E + transcripts),
    )
    _, found = connected_components(links, directed=False)
    hit = np.zeros(transcripts, dtype=bool)
    hit[rows.indices] = True
    label = np.full(transcripts, -1)
    names, numbered = np.unique(found[E:][hit], return_inverse=True)
    label[hit] = numbered
    return Table(
        several.indptr.astype(np.int64),
        several.indices.astype(np.int32),
        np.asarray(several.data),
        count[many].astype(float),
        sole,
        float(count[one] @ np.log(rows.data[at])),
        label,
        np.searchsorted(names, found[:E]),
    )
