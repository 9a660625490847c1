"""The E-step: expected numbers of mutations by process, in one pass over the table and without a table of its own."""

from typing import Any

import numpy as np
from numba import njit, prange

from genarium.declaration import Array

from .corpus import Corpus

PARALLEL = 30_000
"""Cells from which on the pass is shared among threads; below, starting them costs more."""

PARTS = 8
"""Parts that the table is cut into then: sums do not depend on the number of threads."""


@njit(cache=True, fastmath={"contract", "arcp", "nsz"})
def _pass(
    low: int,
    high: int,
    genome: Array,
    row: Array,
    channel: Array,
    count: Array,
    weight: Array,
    place: Array,
    spectrum: Array,
    of_genome: Array,
    of_row: Array,
    of_channel: Array,
) -> float:
    K = weight.shape[1]
    each = np.empty(K)
    log_sum = 0.0
    for i in range(low, high):
        g, r, m = genome[i], row[i], channel[i]
        total = 0.0
        for k in range(K):
            each[k] = weight[g, k] * spectrum[m, k] * place[r, k]
            total += each[k]
        log_sum += count[i] * np.log(total)
        scale = count[i] / total
        for k in range(K):
            part = each[k] * scale
            of_genome[g, k] += part
            of_row[r, k] += part
            of_channel[m, k] += part
    return log_sum


@njit(cache=True, parallel=True)
def _passes(
    edges: Array,
    genome: Array,
    row: Array,
    channel: Array,
    count: Array,
    weight: Array,
    place: Array,
    spectrum: Array,
    of_genome: Array,
    of_row: Array,
    of_channel: Array,
    log_sum: Array,
) -> None:
    for part in prange(len(edges) - 1):
        log_sum[part] = _pass(
            edges[part],
            edges[part + 1],
            genome,
            row,
            channel,
            count,
            weight,
            place,
            spectrum,
            of_genome[part],
            of_row[part],
            of_channel[part],
        )


def expect(data: Corpus, log_weight: Array, log_place: Array, log_spectrum: Array) -> tuple[Array, Array, Array, float]:
    """Distribute every mutation over the processes (eq. 4) and add up.

    Parameters
    ----------
    data : Corpus
    log_weight : ndarray, shape (G, K)
    log_place : ndarray, shape (R, K)
    log_spectrum : ndarray, shape (M, K)
        What a mutation's genome, row and channel add to the log weight of each process.

    Returns
    -------
    of_genome : ndarray, shape (G, K)
    of_row : ndarray, shape (R, K)
    of_channel : ndarray, shape (M, K)
        Expected mutations.
    log_sum : float
        Sum over mutations of the log of the sum over processes.
    """
    tops = [table.max(1, keepdims=True) for table in (log_weight, log_place, log_spectrum)]
    tables: list[Any] = [np.exp(t - top) for t, top in zip((log_weight, log_place, log_spectrum), tops, strict=True)]
    cells = (data.genome, data.row, data.channel, data.count)
    parts = PARTS if len(data.count) >= PARALLEL else 1
    sums = [np.zeros((parts, *table.shape)) for table in tables]
    if parts == 1:
        only: list[Any] = [s[0] for s in sums]
        log_sum = float(_pass(0, len(data.count), *cells, *tables, *only))
    else:
        edges = np.linspace(0, len(data.count), parts + 1).astype(np.int64)
        each = np.zeros(parts)
        passes: Any = _passes
        passes(edges, *cells, *tables, *sums, each)
        log_sum = each.sum()
    of_genome, of_row, of_channel = (s.sum(0) for s in sums)
    shift = sum(float(s.sum(1) @ top[:, 0]) for s, top in zip((of_genome, of_row, of_channel), tops, strict=True))
    return of_genome, of_row, of_channel, float(log_sum) + shift
