"""One pass over the cells with batches, covariates and lost counts: what it leaves for the updates of the parameters.

Shapes: N cells, D genes, K components, P covariates, B batches; T nodes: those of the size factors, batch by batch.
"""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array, Problem

from .adjusted import Adjusted
from .counts import Counts, Logits, _spread, softmax
from .nodes import ERROR, Bin, Frame, Nodes, frame

WORK = 2_000_000
"""Numbers in a work array of lost counts, at most."""


@dataclass(frozen=True)
class Lost:
    """What tells lost counts from others.

    Attributes
    ----------
    log_here : ndarray, shape (T, K, D)
        Expected log probability of a zero that was not lost, at the nodes.
    log_share, log_rest : ndarray, shape (D,)
        Expected ln w and ln(1 - w).
    """

    log_here: Array
    log_share: Array
    log_rest: Array


@dataclass(frozen=True)
class Told:
    """Sums over cells of the responsibilities q.

    Attributes
    ----------
    log_sum : float
        Sum over cells of the log normaliser.
    weight : ndarray, shape (T, K)
        Sum of q, each cell shared among its nodes.
    total : ndarray, shape (T, K, D)
        Of q x.
    lost : ndarray, shape (T, K, D) or (1, 1, 1)
        Of q times the probability that a count was lost; zero where none are.
    frequency : ndarray, shape (K, U), optional
        Of q by distinct count, where components have their own dispersion.
    covariates : ndarray, shape (K, P), optional
        Of q times the covariates.
    """

    log_sum: float
    weight: Array
    total: Array
    lost: Array
    frequency: Array | None
    covariates: Array | None


class Cells:
    """The data of a problem, arranged for passes over them.

    Parameters
    ----------
    problem : Problem
    story : Adjusted
    error : float
        Of the interpolation over size factors.
    like : Cells, optional
        More cells, whose nodes and distinct counts are taken.
    """

    def __init__(self, problem: Problem, story: Adjusted, error: float = ERROR, like: "Cells | None" = None) -> None:
        x, s = problem["x"], problem["size_factor"]
        where = like.where if like else frame(s, error)
        self.where: Frame = where
        self.story = story
        self.counts: Counts = Counts(x, s, error, distinct=like.counts.distinct if like else None)
        batch = problem["batch"] if story.batches else np.zeros(len(x), dtype=int)
        self.batches = problem.sizes["batch"] if story.batches else 1
        self.at = np.tile(where.at, self.batches)  # (T,)
        self.batch_of_node = np.repeat(np.arange(self.batches), len(where.at))
        self.counts.nodes = _by_batch(s, where, batch, self.batches)
        self.covariates = problem["covariates"] if story.covariates else None
        self.own_r = story.dispersion == "component"

    def expect(self, logits: Logits, offset: Array | None, lost: Lost | None, keep: bool = False) -> tuple[Told, Array]:
        """Take the sums that logits give.

        Parameters
        ----------
        logits : Logits
            Without what covariates and lost counts add.
        offset : ndarray, shape (K, N), optional
            What covariates add.
        lost : Lost, optional
        keep : bool
            Return the responsibilities, too.

        Returns
        -------
        Told
        ndarray, shape (K, N) or (0,)
        """
        T, K = logits.intercept.shape
        N, D = self.counts.x.shape
        out, gone = np.zeros((T, K, 1 + D)), np.zeros((T, K, D) if lost else (1, 1, 1))
        q = np.empty((K, N)) if keep or self.own_r or offset is not None else np.empty(0)
        log_sum = 0.0
        for cells, nodes, ones_x, share, block in self.counts._blocks(logits):
            if offset is not None:
                block += offset[:, cells]
            probability = self._lost(block, nodes, ones_x[1:], share, lost) if lost else None
            log_sum += softmax(block)
            if q.size:
                q[:, cells] = block
            out[nodes] += _spread(block, share, ones_x)
            if probability is not None:
                probability *= block[:, None]
                gone[nodes] += np.moveaxis(probability @ share.T, -1, 0)
        frequency = self.counts.weighted_frequency(q) if self.own_r else None
        covariates = q @ self.covariates if self.covariates is not None else None
        return Told(log_sum, out[..., 0], out[..., 1:], gone, frequency, covariates), q

    def _lost(self, block: Array, nodes: slice, x: Array, share: Array, lost: Lost) -> Array:
        """Add to the logits what lost counts make of zeros; return the probability that a count was lost (K, D, n)."""
        from scipy.special import expit

        K, (D, n) = len(block), x.shape
        out = np.zeros((K, D, n))
        here = lost.log_here[nodes].transpose(1, 2, 0)  # (K, D, M)
        step = max(1, WORK // (K * n))
        for low in range(0, D, step):
            genes = slice(low, low + step)
            odds = (lost.log_share - lost.log_rest)[genes, None] - here[:, genes] @ share  # (K, d, n)
            none = x[genes] == 0
            out[:, genes] = np.where(none, expit(odds), 0)
            block += np.where(none, np.logaddexp(0, odds), 0).sum(1)
        return out


def _by_batch(size_factor: Array, where: Frame, batch: Array, batches: int) -> Nodes:
    """Share the cells among nodes of their own batch."""
    out = Nodes(np.empty(0), Frame(np.tile(where.at, batches)))
    out.bins = []
    for b in range(batches):
        cells = np.flatnonzero(batch == b)
        first = b * len(where.at)
        for one in Nodes(size_factor[cells], where).bins if len(cells) else ():
            nodes = slice(first + one.nodes.start, first + one.nodes.stop)
            out.bins.append(Bin(cells[one.cells], nodes, one.share))
    return out
