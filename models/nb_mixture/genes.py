"""Which genes tell groups apart: those that vary more than a negative binomial of one group lets them (eq. 29)."""

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers.counts import only_counts
from genarium.readers.matrix import Matrix, dense
from genarium.remedies import option

AT_ONCE = 4_000_000
"""Counts looked at together."""

FEWEST = 20
"""Counts of a gene, over all cells, from which its dispersion is worth estimating."""


def most_variable(matrix: Matrix, number: int) -> Array:
    """Return the positions of the genes that vary most under the model of a single group, in their order.

    Every gene is given one mean and the dispersion of the median gene; the variance of its Pearson residuals, clipped
    at the root of the number of cells, is near 1 where one group is enough (Lause, Berens and Kobak 2021). Depth is a
    cell's total.

    Parameters
    ----------
    matrix : Matrix
    number : int

    Returns
    -------
    ndarray of int, shape (number,)
    """
    column, many = matrix.terms.column, len(matrix.columns)
    if isinstance(number, bool) or not 1 <= number <= many:
        raise InputError(
            f"{matrix.paths[0]}: {option(f'{column}s', number)} is not between 1 and {many}, the number of {column}s "
            "there."
        )
    only_counts(matrix)
    return np.sort(np.argsort(-residual_variance(matrix), kind="stable")[:number])


def residual_variance(matrix: Matrix) -> Array:
    """Return the variance of each gene's Pearson residuals; shape (D,)."""
    entries = matrix.entries.tocsc() if hasattr(matrix.entries, "tocsc") else np.asarray(matrix.entries)
    N, D = entries.shape
    total = np.asarray(entries.sum(1), dtype=float).ravel()
    s = total / max(total.mean(), 1e-300)
    size = np.asarray(entries.sum(0), dtype=float).ravel()
    mean = size / s.sum() if total.any() else size
    square = entries.multiply(entries) if hasattr(entries, "multiply") else np.square(entries.astype(float))
    raw = np.asarray(square.sum(0), dtype=float).ravel()
    excess = raw - 2 * mean * np.asarray(s @ entries).ravel() + mean**2 * (s**2).sum() - size
    with np.errstate(divide="ignore", invalid="ignore"):
        own = excess / (mean**2 * (s**2).sum())
    worth = own[size >= FEWEST]
    phi = max(float(np.median(worth)), 1e-3) if worth.size else 0.1
    out, clip = np.zeros(D), np.sqrt(N)
    step = max(1, AT_ONCE // N)
    for low in range(0, D, step):
        expected = s[:, None] * mean[low : low + step]
        sd = np.sqrt(expected + phi * expected**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = np.where(sd > 0, (dense(entries[:, low : low + step]) - expected) / sd, 0.0)
        out[low : low + step] = np.clip(residual, -clip, clip).var(0)
    return out
