"""Directions in which few transcripts make up for one another; equation numbers refer to the card (README.md)."""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array

from .table import Table

NEIGHBOURS, MOST = 40, 4
"""Transcripts that one is explained by: candidates, and those of a direction, at most."""

FLAT = 0.1
"""Share of a transcript's length (in information) that others leave unexplained, below which it is moved more often."""

RUNS = 4
"""Directions are sought among all candidates, then among random halves of them, so many times in all."""


@dataclass(frozen=True)
class Circuits:
    """Directions by transcript.

    Attributes
    ----------
    lines : ndarray of int, shape (K + 1,)
        First direction of each transcript.
    first : ndarray of int, shape (L + 1,)
        First element of each direction.
    member, step : ndarray
        Transcripts of the directions, and by how much each changes.
    flat : ndarray of int
        Transcripts that others explain nearly.
    """

    lines: Array
    first: Array
    member: Array
    step: Array
    flat: Array


def circuits(table: Table, rng: np.random.Generator) -> Circuits:
    """Explain each transcript by few others, as well as can be, by orthogonal matching pursuit (eq. 30).

    Parameters
    ----------
    table : Table
    rng : Generator

    Returns
    -------
    Circuits
        The data alone decide them: moves along them keep the posterior.
    """
    from scipy import sparse

    K, E = table.transcripts, len(table.count)
    rows = sparse.csr_array((table.weight, table.column, table.first), shape=(E, K))
    scale = 1 / np.sqrt(np.maximum(table.count, 1.0))
    own = sparse.diags_array(np.where(table.sole > 0, 1 / np.sqrt(np.maximum(table.sole, 1.0)), 0.0))
    columns = (sparse.vstack([sparse.diags_array(scale) @ rows, own])).tocsc()
    gram = (columns.T @ columns).tocsr()
    lines, first = [0], [0]
    member: list[int] = []
    step: list[float] = []
    flat: list[int] = []
    for k in range(K):
        begin, end = gram.indptr[k : k + 2]
        near, value = gram.indices[begin:end], gram.data[begin:end]
        near, value = near[near != k], value[near != k]
        if len(near) > NEIGHBOURS:
            near = near[np.argsort(-value, kind="stable")[:NEIGHBOURS]]
        if len(near) >= 2:
            near = np.concatenate([[k], near])
            found, left = _explained(gram[near][:, near].toarray(), rng)
            if left < FLAT:
                flat.append(k)
            for who, by in found:
                member.extend(near[who])
                step.extend(by)
                first.append(len(member))
        lines.append(len(first) - 1)
    whole = [np.array(some, dtype=np.int64) for some in (lines, first, member, flat)]
    return Circuits(whole[0], whole[1], whole[2], np.array(step, dtype=np.float64), whole[3])


def _explained(gram: Array, rng: np.random.Generator) -> tuple[list[tuple[Array, Array]], float]:
    """Directions that begin with the first transcript, each once, and the least share that they leave unexplained."""
    n, least = len(gram), 1.0
    found: dict[tuple[int, ...], tuple[Array, Array]] = {}
    size = np.sqrt(np.maximum(gram.diagonal(), 1e-300))
    for run in range(RUNS):
        open_ = np.ones(n, dtype=bool) if run == 0 else rng.random(n) < 0.5
        open_[0] = False
        chosen: list[int] = []
        left = gram[:, 0].copy()
        while len(chosen) < MOST and open_.any():
            best = int(np.argmax(np.where(open_, np.abs(left) / size, -1.0)))
            if abs(left[best]) < 1e-9 * size[best] * size[0]:
                break
            chosen.append(best)
            open_[best] = False
            block = gram[np.ix_(chosen, chosen)]
            block = block + 1e-10 * np.diag(block.diagonal())
            by = np.linalg.solve(block, gram[chosen, 0])
            left = gram[:, 0] - gram[:, chosen] @ by
            least = min(least, float(left[0] / gram[0, 0]))
            keep = np.abs(by) > 1e-6
            if len(chosen) > 1 and keep.sum() > 1 and (by > 1e-6).any():
                who = np.concatenate([[0], np.array(chosen)[keep]])
                found.setdefault(tuple(sorted(who)), (who, np.concatenate([[1.0], -by[keep]])))
            if left[0] < 1e-8 * gram[0, 0]:
                break
    return list(found.values()), least
