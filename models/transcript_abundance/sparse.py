"""Reads as a sparse read-by-transcript likelihood matrix, or as a list of classes; and the reader of such a matrix."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.binary import sparse_matrix
from genarium.readers.formats import takes
from genarium.readers.ledger import Account, Ledger, Told

from .lines import lines, number

DIGITS = 12
"""Significant digits in which the likelihoods of two reads must agree for the reads to be one class."""

REMEDY = "Rows are reads, columns transcripts, entries P(read | transcript)"


COUNTED = "must be a whole number from zero. Round it, or give reads before they are shared out"


def _whole(values: Array) -> Array:
    """Whether values are whole numbers from zero."""
    if values.dtype.kind not in "iuf":
        return np.full(values.shape, not values.size)
    return np.asarray(np.isfinite(values) & (values >= 0) & (values == np.floor(values)))


def from_matrix(
    likelihood: Any,
    effective_length: Any,
    *,
    names: Sequence[str] | None = None,
    count: Any = None,
    where: str = "transcript_abundance: likelihood matrix",
) -> dict[str, Any]:
    """Merge the rows of a read-by-transcript likelihood matrix into classes.

    Parameters
    ----------
    likelihood : SciPy sparse matrix or array_like, shape (N, K)
        P(read | transcript), start and orientation summed out; not below zero.
    effective_length : array_like, shape (K,)
        In nucleotides.
    names : sequence of str, optional
        Names of the transcripts.
    count : array_like of int, shape (N,), optional
        Reads that a row stands for (default one).
    where : str
        What an error is about.

    Returns
    -------
    dict
        Data for ``gn.fit("transcript_abundance", ...)``: identical rows are one class.

    Raises
    ------
    InputError
    """
    from scipy import sparse

    rows = sparse.csr_array(likelihood, dtype=float)
    rows.sum_duplicates()
    bad = np.flatnonzero(~(np.isfinite(rows.data) & (rows.data >= 0)))
    if bad.size:
        at = int(np.searchsorted(rows.indptr, bad[0], side="right")) - 1
        raise InputError(
            f"{where}, row {at + 1}: the likelihood of transcript {rows.indices[bad[0]]} is {rows.data[bad[0]]:g}, but "
            f"must be finite and not below zero. {REMEDY}."
        )
    rows.eliminate_zeros()
    N, K = rows.shape
    reads = np.ones(N, dtype=np.int64) if count is None else np.atleast_1d(np.asarray(count))
    if reads.shape != (N,):
        raise InputError(f"{where}: {len(reads)} counts for {N} rows. Give one for each row.")
    for n in np.flatnonzero(~_whole(reads)):
        raise InputError(f"{where}, row {n + 1}: the count is {reads[n]}, but {COUNTED}.")
    if N == 0 or not reads.any():
        raise InputError(f"{where}: there are no reads. Check the mapping.")
    empty = np.flatnonzero((np.diff(rows.indptr) == 0) & (reads > 0))
    if empty.size:
        raise InputError(
            f"{where}, row {empty[0] + 1}: all likelihoods are 0 ({empty.size} such rows), so that the read comes from "
            "no transcript. Drop it."
        )
    length = np.asarray(effective_length, dtype=float)
    if length.shape != (K,):
        raise InputError(f"{where}: {length.size} effective lengths for {K} transcripts. Give one for each column.")
    found: dict[bytes, int] = {}
    classes: list[tuple[Array, Array]] = []
    totals: list[int] = []
    keys = np.array([np.format_float_scientific(v, DIGITS - 1) for v in np.unique(rows.data)])
    rounded = keys.astype(float)[np.searchsorted(np.unique(rows.data), rows.data)]
    for n in np.flatnonzero(reads > 0):
        low, high = rows.indptr[n : n + 2]
        key = rows.indices[low:high].tobytes() + rounded[low:high].tobytes()
        at = found.setdefault(key, len(classes))
        if at == len(classes):
            classes.append((rows.indices[low:high], rows.data[low:high]))
            totals.append(0)
        totals[at] += int(reads[n])
    return _assembled(classes, totals, length, names)


def from_classes(
    classes: Iterable[tuple[Sequence[int], Sequence[float], int]], effective_length: Any, *, names: Any = None
) -> dict[str, Any]:
    """Make data of a list of classes.

    Parameters
    ----------
    classes : iterable of (transcripts, weights, count)
        Positions of the transcripts (counted from zero), their weights, and the reads of the class.
    effective_length : array_like, shape (K,)
    names : sequence of str, optional

    Returns
    -------
    dict
        Data for ``gn.fit("transcript_abundance", ...)``.

    Raises
    ------
    InputError
        Naming the class, counted from zero.
    """
    parts: list[tuple[Array, Array]] = []
    totals: list[int] = []
    length = np.asarray(effective_length, dtype=float)
    for e, (ids, weights, count) in enumerate(classes):
        where = f"transcript_abundance: class {e}"
        if not _whole(np.asarray(ids)).all():
            raise InputError(f"{where} has the transcripts {list(ids)}, but they are positions, counted from zero.")
        if not _whole(np.atleast_1d(np.asarray(count))).all():
            raise InputError(f"{where}: the count is {count}, but {COUNTED}.")
        k, w = np.asarray(ids, dtype=np.int64), np.asarray(weights, dtype=float)
        if k.size == 0 or k.shape != w.shape:
            raise InputError(
                f"{where} has {k.size} transcripts and {w.size} weights. Give as many of both, at least one."
            )
        if len(np.unique(k)) < len(k):
            raise InputError(f"{where} names a transcript more than once. Add its weights up.")
        if not (np.isfinite(w) & (w >= 0)).all() or not w.any():
            raise InputError(f"{where} has a weight that is negative or not finite, or zeros only. Correct it.")
        parts.append((k, w))
        totals.append(int(count))
    if not parts:
        raise InputError("transcript_abundance: there are no classes. Check the mapping.")
    return _assembled(parts, totals, length, names)


def _assembled(classes: list[tuple[Array, Array]], totals: list[int], length: Array, names: Any) -> dict[str, Any]:
    width = [len(k) for k, _ in classes]
    coords = {} if names is None else {"transcript": [str(name) for name in names]}
    return {
        "count": np.array(totals),
        "entry_class": np.repeat(np.arange(len(classes)), width),
        "entry_transcript": np.concatenate([k for k, _ in classes]).astype(np.int64),
        "weight": np.concatenate([w for _, w in classes]),
        "effective_length": xr.DataArray(length, dims="transcript", coords=coords),
    }


@takes(".npz", ".mtx", ".txt", ".tsv", number=2, example="matrix.npz transcripts.tsv")
def sparse(paths: Sequence[Path]) -> Told:
    """Read a likelihood matrix and the table of its transcripts.

    Parameters
    ----------
    paths : sequence of Path
        A matrix as saved by ``scipy.sparse.save_npz`` or a Matrix Market file (``.mtx``, ``.mtx.gz``), and a text file
        with a line ``name effective_length`` for each column.

    Returns
    -------
    Told
        As of :func:`from_matrix`.

    Raises
    ------
    InputError
    """
    if len(paths) != 2:
        raise InputError(
            f"reader 'sparse' takes two files, not {len(paths)}: the matrix (.npz or .mtx), and a table with a line "
            "`name effective_length` for each of its columns."
        )
    path, table = Path(paths[0]), Path(paths[1])
    matrix = sparse_matrix(path)
    names, length = lengths(table)
    found = from_matrix(matrix, length, names=names, where=str(path))
    ledger = Ledger(Account("read", matrix.shape[0], entry="row"), Account("transcript", len(names), entry="column"))
    ledger.notes.append(f"Reads of equal likelihood are one class: {len(found['count']):,} classes.")
    return Told(found, ledger)


def lengths(path: Path) -> tuple[list[str], Array]:
    """Read names and effective lengths, a line for each transcript.

    Raises
    ------
    InputError
    """
    names: list[str] = []
    values: list[float] = []
    for line, row in enumerate(lines(path), 1):
        tokens = row.split()
        if len(tokens) != 2:
            raise InputError(f"{path}, line {line}: {row.strip()!r} is not `name effective_length`. Write both.")
        value = number(path, line, tokens[1], "the effective length", "Give it in nucleotides, without a header")
        if value <= 0:
            raise InputError(
                f"{path}, line {line}: the effective length is {tokens[1]}, but must be above zero. Correct it."
            )
        names.append(tokens[0])
        values.append(value)
    return names, np.array(values)
