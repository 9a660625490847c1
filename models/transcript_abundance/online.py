"""Where salmon's offline phase starts: mostly equal counts, and a share of what its online phase has learned (eq. 23).

The online phase reads fragments once, in batches, and adds each batch to the estimates with a weight of its own. The
order of the reads is not in the classes; here every batch holds the same share of each class.
"""

import numpy as np

from genarium.declaration import Array

from .kernels import sweep
from .table import Table

ENOUGH = 5e7
"""Reads at which salmon starts from its online estimates (almost) alone."""

BATCH = 5000
"""Reads of a batch; all of them have the same weight."""

STEPS = 5
"""Times that the estimates change within a batch (salmon's change with every read)."""

FORGETTING = 0.65
"""Exponent of the batches' weights."""

PRIOR = 0.005
"""Reads that each nucleotide of a transcript has before the first batch."""

COARSE = 20
"""Batches are taken together when this many times as many have gone before."""


def salmon_start(table: Table, effective_length: Array) -> Array:
    """Return the counts that salmon's offline phase starts from.

    Parameters
    ----------
    table : Table
    effective_length : ndarray, shape (K,)
        In nucleotides.

    Returns
    -------
    ndarray, shape (K,)
        They add up to the number of reads.
    """
    share = min(0.999, table.reads / ENOUGH)
    even = np.full(table.transcripts, table.reads / table.transcripts)
    return (1 - share) * even + share * online_counts(table, PRIOR * effective_length)


def online_counts(table: Table, prior: Array) -> Array:
    """Return what one pass over the reads learns, scaled to the reads of each component; shape (K,).

    ``prior`` (K,) is what transcripts have before the first batch.
    """
    batches = max(1, round(table.reads / BATCH))
    rows = np.arange(len(table.count))
    unused, zeros = np.zeros(1), np.zeros(len(rows), dtype=np.int64)
    mass = np.zeros(table.transcripts)
    weight, done = 1.0, 0
    while done < batches:
        together = 0.0
        for _ in range(min(1 + done // COARSE, batches - done)):
            done += 1
            if done > 1:
                weight *= (done - 1) ** FORGETTING / (done**FORGETTING - 1)
            together += weight
        part = together / (batches * STEPS)
        for _ in range(STEPS):
            now, ratio = mass + prior, np.zeros(table.transcripts)
            sweep(rows, table.first, table.column, table.weight, table.count, zeros, now, ratio, unused)
            mass += part * (table.sole + now * ratio)
    label = table.label[table.hit]
    out = np.zeros(table.transcripts)
    out[table.hit] = mass[table.hit] * (table.mass / np.bincount(label, mass[table.hit]))[label]
    return out
