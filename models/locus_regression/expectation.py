"""The E-step: expected numbers of mutations by process, in one pass over the table and without a table of its own."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange

from genarium.declaration import Array

from .corpus import Corpus
from .dirichlet import UNDERFLOW

PARALLEL = 30_000
"""Cells from which on the pass is shared among threads; below, starting them costs more."""

PARTS = 8
"""Parts that the table is cut into then: sums do not depend on the number of threads."""

SMALL, LARGE = 1e-100, 1e100
"""Sums over processes are multiplied, and the log of the product taken, as long as it stays between these."""


LEAST = 1e-290
"""Weight of all processes together below which a mutation is out of reach, and the sum of logs is -inf."""


@dataclass(frozen=True)
class Weights:
    """What multiplies the weight of each process, by genome, row or channel: exp(top) times scaled.

    Attributes
    ----------
    scaled : ndarray, shape (n, K)
    top : ndarray, shape (n,)
    """

    scaled: Array
    top: Array

    @classmethod
    def of(cls, log_weight: Array) -> "Weights":
        """Return the weights of their logs (n, K)."""
        top = log_weight.max(1)
        return cls(np.exp(log_weight - top[:, None]), top)

    @property
    def log(self) -> Array:
        """Their logs; shape (n, K). Weights that underflowed count as the smallest number."""
        return np.asarray(np.log(np.maximum(self.scaled, UNDERFLOW)) + self.top[:, None])


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
    log_sum, product = 0.0, 1.0
    for i in range(low, high):
        g, r, m, n = genome[i], row[i], channel[i], count[i]
        total = 0.0
        for k in range(K):
            each[k] = weight[g, k] * spectrum[m, k] * place[r, k]
            total += each[k]
        if n == 1 and SMALL < total < LARGE:
            product *= total
            if not SMALL < product < LARGE:
                log_sum += np.log(product)
                product = 1.0
        else:
            log_sum += n * np.log(total)
        if total < LEAST:
            log_sum = -np.inf
            continue
        scale = n / total
        for k in range(K):
            part = each[k] * scale
            of_genome[g, k] += part
            of_row[r, k] += part
            of_channel[m, k] += part
    return float(log_sum + np.log(product))


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
            of_row,
            of_channel[part],
        )


Cells = tuple[Array, Array, Array, Array]
"""Genome, row, channel and count of each; sorted by row."""

Sums = tuple[Array, Array, Array, float]
"""Expected mutations by genome (G, K), row (R, K) and channel (M, K), and the sum of the log of what all weigh."""


def distribute(cells: Cells, weight: Array, place: Array, spectrum: Array) -> Sums:
    """Distribute mutations over the processes by scaled weights, and add up; see :func:`expect`."""
    row = cells[1]
    parts = PARTS if len(row) >= PARALLEL else 1
    even = np.linspace(0, len(row), parts + 1).astype(np.int64)
    edges = np.unique(np.r_[0, np.searchsorted(row, row[even[1:-1]]), len(row)])  # no row is cut into two
    parts = max(1, len(edges) - 1)
    of_genome, of_channel = (np.zeros((parts, *table.shape)) for table in (weight, spectrum))
    of_row, log_sums = np.zeros(place.shape), np.zeros(parts)
    run: Any = _pass if parts == 1 else _passes
    if parts == 1:
        log_sums[0] = run(0, len(row), *cells, weight, place, spectrum, of_genome[0], of_row, of_channel[0])
    else:
        run(edges, *cells, weight, place, spectrum, of_genome, of_row, of_channel, log_sums)
    return of_genome.sum(0), of_row, of_channel.sum(0), float(log_sums.sum())


def expect(data: Corpus, weight: Weights, place: Weights, spectrum: Weights) -> Sums:
    """Distribute every mutation over the processes (eq. 4) and add up.

    Parameters
    ----------
    data : Corpus
    weight, place, spectrum : Weights
        By genome (G, K), row (R, K) and channel (M, K).

    Returns
    -------
    of_genome : ndarray, shape (G, K)
    of_row : ndarray, shape (R, K)
    of_channel : ndarray, shape (M, K)
        Expected mutations.
    log_sum : float
        Sum over mutations of the log of the sum over processes.
    """
    cells = (data.genome, data.row, data.channel, data.count)
    found = distribute(cells, weight.scaled, place.scaled, spectrum.scaled)
    return with_tops(found, data.row_total, weight, place, spectrum)


def with_tops(found: Sums, row_total: Array, weight: Weights, place: Weights, spectrum: Weights) -> Sums:
    """Return sums with what the weights were scaled by in the log."""
    of_genome, of_row, of_channel, log_sum = found
    log_sum += float(of_genome.sum(1) @ weight.top + of_channel.sum(1) @ spectrum.top + row_total @ place.top)
    return of_genome, of_row, of_channel, log_sum
