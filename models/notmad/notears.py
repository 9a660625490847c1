"""One network for all samples, from their covariance alone: by orders of the nodes (eq. 15), or by NOTEARS."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from genarium.declaration import Array
from genarium.engines.threads import one_thread
from genarium.errors import InputError
from genarium.settings import generator, only_with

from . import doors, paths
from .equivalence import equivalence_class, representative, share_decided
from .knowledge import FORBIDDEN, checked, compatible, precedence
from .projection import project_to_dag, topological_order

EXTRA = 0.5
"""Weight of the extended part of the BIC: the chance that one of many absent edges is taken for one falls with p."""

MOST = 20
"""Parents of a node at most."""

STARTS, SWEEPS = 10, 100
"""Random orders that the search starts from; passes over the nodes at most."""

ROUNDS = 20
"""Of the search and the variance that all nodes share."""

SMALLEST_SQUARE = 1e-280
"""Of what columns have as their mean square; one over it is the largest."""

TIE = 1e-10
"""Scores and variances that differ by no larger share are equal, and the first one counts."""

BETA = 0.1
"""L1 penalty of the path where none is given."""


@dataclass(frozen=True)
class Population:
    """A network for all samples.

    Attributes
    ----------
    network : ndarray, shape (p, p)
        Acyclic; entry [i, j] is the edge from i to j: what node j gains for one unit of node i.
    equivalence_class : ndarray of bool, shape (p, p)
        [i, j] alone: the data have the edge i -> j in every network that fits as well; [i, j] and [j, i]: there is an
        edge, and its direction in ``network`` is one of several that fit equally well. Of networks by
        ``variances="equal"`` and ``search="path"``, whose directions rest on the scales of the nodes, the edges
        themselves.
    decided : float
        Share of the edges whose direction is the same in the whole class; 1 without edges.
    score : float
        The score that was minimised (eq. 15), in nats; of a path, NaN.
    starts_at_best : int
        Starts that ended at this score; of a path, 1.
    h : float
        Acyclicity penalty before projection; zero but for a path.
    """

    network: Array
    equivalence_class: Array
    decided: float
    score: float = float("nan")
    starts_at_best: int = 1
    h: float = 0.0

    def __post_init__(self) -> None:
        for array in (self.network, self.equivalence_class):
            array.setflags(write=False)


@one_thread()
def notears(
    x: Array,
    *,
    weight: Array | None = None,
    variances: Literal["unequal", "equal"] = "unequal",
    search: Literal["order", "path"] = "order",
    threshold: float = 0.0,
    centre: bool = True,
    starts: int | None = None,
    seed: int = 0,
    beta: float | None = None,
    penalty: Literal["logdet", "notears"] | None = None,
    rule: Array | None = None,
    warn: bool = True,
) -> Population:
    """Fit a linear network for all samples.

    Parameters
    ----------
    x : ndarray, shape (N, p)
        Observations.
    weight : ndarray, shape (N,), optional
        Weights of the samples.
    variances : {"unequal", "equal"}
        Whether the noise of each node has a variance of its own, or all share one. With "unequal" the graph does not
        change when columns are scaled, and some directions cannot be told (``equivalence_class``). With "equal" the
        scales of the columns tell directions: right only where they mean something, so never on standardised data.
    search : {"order", "path"}
        Sparse regressions along the order of nodes that makes them cheapest; or the path of the log determinant
        (DAGMA) or of the trace exponential (NOTEARS) as published, with L1 penalty and without a second fit.
    threshold : float
        Edges of at most this size are dropped at the end.
    centre : bool
        Whether column means are taken off. Pass false where x is predicted about zero rather than about its mean:
        the loss of the fit is then the mean square of x - x W itself.
    starts : int, optional
        Orders that the search starts from (10 where not given): that of the columns by the sums of their squared
        correlations, and random ones, so that it does not matter how columns are listed. Only with
        ``search="order"``.
    seed : int
        Of the random orders.
    beta : float, optional
        L1 penalty of an edge, against half the mean squared error (0.1 where not given). Only with ``search="path"``.
    penalty : {"logdet", "notears"}, optional
        Which path ("logdet" where not given). Only with ``search="path"``.
    rule : ndarray of int, shape (p, p), optional
        What is known of the edges (:func:`~genarium.models.notmad.rules`).
    warn : bool
        Whether to warn.

    Returns
    -------
    Population

    Raises
    ------
    InputError
        If an option is not known or would be dropped, x is no matrix of at least two samples of finite numbers, a
        column is constant, repeated, an exact sum of others, or of a size whose squares cannot be held, or the weights
        are not one a sample.

    Warns
    -----
    UserWarning
        If there are fewer than two samples a node, or columns that take two values only.

    References
    ----------
    Zheng et al. (2018, NeurIPS): DAGs with NO TEARS. Bello et al. (2022, NeurIPS): DAGMA. Raskutti and Uhler (2018,
    Stat 7) and Andrews et al. (2023, NeurIPS) for orders with sparse parents. Foygel and Drton (2010, NeurIPS): the
    extended BIC of Gaussian graphs.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=500)
    >>> b = rng.normal(size=500)
    >>> c = a + b + rng.normal(size=500)
    >>> found = notears(np.column_stack([a, b, c]))
    >>> (found.network != 0).astype(int)
    array([[0, 0, 1],
           [0, 0, 1],
           [0, 0, 0]])
    >>> found.decided
    1.0
    """
    _require("variances", variances, ("unequal", "equal"))
    _require("search", search, ("order", "path"))
    only_with("notears", "search='order'", search == "order", starts=starts)
    only_with("notears", "search='path'", search == "path", beta=beta, penalty=penalty)
    starts = STARTS if starts is None else starts
    doors.whole("starts", starts)
    rng = generator(seed)
    x = doors.matrix("x", x)
    if len(x) < 2:
        raise InputError("notears: one sample is too few; at least two are needed.")
    doors.nonnegative("threshold", threshold)
    rule = checked(rule, x.shape[1])
    share = doors.shares(weight, len(x))
    r = x - share @ x if centre else x
    with np.errstate(over="ignore", invalid="ignore"):
        covariance = (r * share[:, None]).T @ r
    _require_squares(r, np.diag(covariance))
    doors.distinct(x[share > 0], covariance)
    samples = 1 / float((share**2).sum())
    if warn:
        doors.warn_of_few(samples, x.shape[1])
        doors.warn_of_two_values(x)
    if search == "path":
        beta, penalty = BETA if beta is None else beta, "logdet" if penalty is None else penalty
        doors.nonnegative("beta", beta)
        _require("penalty", penalty, ("logdet", "notears"))
        loose, h, _ = (paths.central_path if penalty == "logdet" else paths.lagrangian)(covariance, beta, rule)
        dag = _cut(project_to_dag(loose, rule=rule), threshold, rule)
        return Population(dag, dag != 0, 1.0, h=h)
    own = by_correlation(covariance)
    orders = Search(covariance[np.ix_(own, own)], samples, variances == "equal", rule[np.ix_(own, own)])
    found, score, agree = orders.run(starts, rng)
    parents = [own[found[place]] for place in np.argsort(own)]
    if variances == "equal":
        dag = _cut(regressions(covariance, parents, samples, rule)[0], threshold, rule)
        return Population(dag, dag != 0, 1.0, score, agree)
    present = np.zeros(covariance.shape, dtype=bool)
    for j, chosen in enumerate(parents):
        present[chosen, j] = True
    if not rule.any():
        present = representative(equivalence_class(present))
    kept: list[Array] = [np.flatnonzero(column) for column in present.T]
    dag = _cut(regressions(covariance, kept, samples, rule)[0], threshold, rule)
    class_ = equivalence_class(dag, rule)
    return Population(dag, class_, share_decided(dag, class_), score, agree)


def _require(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"notears: {name}={value!r} is not known; use one of {', '.join(known)}.")


def _require_squares(r: Array, squares: Array) -> None:
    """Refuse columns whose squares cannot be held: their edges would be lost.

    Raises
    ------
    InputError
        Naming the first column.
    """
    size = np.abs(r).max(0)
    lost = np.flatnonzero((size > 0) & ~((squares > SMALLEST_SQUARE) & (squares < 1 / SMALLEST_SQUARE)))
    if lost.size:
        raise InputError(
            f"notmad: x: the values of column {lost[0]} are of size {size[lost[0]]:g}, and squares of these cannot be "
            "held. Give it in another unit."
        )


def _cut(network: Array, threshold: float, rule: Array) -> Array:
    return np.where((np.abs(network) > threshold) | (rule > 0), network, 0.0)


class Search:
    """Orders of the nodes, and sparse parents along them (eq. 15).

    Parameters
    ----------
    covariance : ndarray, shape (p, p)
    samples : float
    equal : bool
        Whether the noise of all nodes has one variance.
    rule : ndarray of int, shape (p, p)
    """

    def __init__(self, covariance: Array, samples: float, equal: bool, rule: Array) -> None:
        self.covariance, self.samples, self.equal, self.rule = covariance, samples, equal, rule
        self.before = precedence(rule)
        p = len(covariance)
        candidates = ((rule != FORBIDDEN) & ~self.before.T).sum(0)  # the node itself stands for none at all
        self.units = np.log(samples) + 4 * EXTRA * np.log(np.maximum(candidates, 1))
        self.most = max(1, min(p - 1, MOST, int(samples - 2) // 3), int((rule > 0).sum(0).max()))

    def run(self, starts: int, rng: np.random.Generator) -> tuple[list[Array], float, int]:
        """Return the parents of every node, the score, and the number of starts that ended there."""
        p = len(self.covariance)
        if p == 1:
            return [np.empty(0, dtype=np.int64)], 0.0, starts
        sd = np.sqrt(np.diag(self.covariance))
        correlation = self.covariance / np.outer(sd, sd)
        orders = [np.arange(p), *(rng.permutation(p) for _ in range(starts - 1))]
        orders = [compatible(order, self.before) for order in orders]
        found = [self.improved(correlation, order) for order in orders]
        score, order, parents = first_best(found)
        agree = sum(f[0] <= score + 1e-6 * max(1.0, abs(score)) for f in found)
        if not self.equal:
            return parents, score, agree
        first, shared = by_variance(self.covariance, self.samples)
        tried = [compatible(first, self.before), *(f[1] for f in found)]
        for turn in range(ROUNDS):
            found = [self.improved(self.covariance, start, shared) for start in tried]
            score, order, parents = first_best(found)
            if turn == 0:
                agree = max(1, sum(f[0] < score + 1e-6 * max(1.0, abs(score)) for f in found[1:]))
            tried = [order]  # later rounds only follow the variance
            last, shared = shared, float(regressions(self.covariance, parents, self.samples)[1].mean())
            if abs(shared - last) < 1e-6 * last:
                break
        return parents, score, agree

    def improved(self, covariance: Array, order: Array, shared: float = 0.0) -> tuple[float, Array, list[Array]]:
        """Score, order and parents of the nodes from one start."""
        from . import orders

        p, order = len(covariance), order.copy()
        parents, count = np.zeros((p, self.most), dtype=np.int64), np.zeros(p, dtype=np.int64)
        S, most = np.ascontiguousarray(covariance), self.most
        score = orders.improve(
            S, self.rule, self.before, order, self.samples, self.units, shared, most, SWEEPS, parents, count
        )
        return float(score), order, [parents[j, : count[j]].copy() for j in range(p)]


def sparse_order(covariance: Array, samples: float, rule: Array, *, equal: bool = False) -> Array:
    """Return an order of the network that :func:`notears` finds; nodes without spread are taken to be alone.

    Parameters
    ----------
    covariance : ndarray, shape (p, p)
    samples : float
    rule : ndarray of int, shape (p, p)
    equal : bool
        Whether the noise of all nodes has one variance.
    """
    covariance = covariance + np.diag(np.where(np.diag(covariance) > 0, 0.0, 1.0))
    parents = Search(covariance, samples, equal, rule).run(STARTS, np.random.default_rng(0))[0]
    network = np.zeros(covariance.shape, dtype=bool)
    for j, chosen in enumerate(parents):
        network[chosen, j] = True
    return compatible(topological_order(network), precedence(rule))


def first_best(found: list[tuple[float, Array, list[Array]]]) -> tuple[float, Array, list[Array]]:
    """Return the first of what starts found that has the least score."""
    least = min(f[0] for f in found)
    return next(f for f in found if f[0] <= least + TIE * max(1.0, abs(least)))


def by_correlation(covariance: Array) -> Array:
    """Return the columns by the sums of their squared correlations: the same however columns are listed and scaled."""
    sd = np.sqrt(np.diag(covariance))
    return np.argsort(np.round(((covariance / np.outer(sd, sd)) ** 2).sum(0), 9), kind="stable")


def by_variance(covariance: Array, samples: float) -> tuple[Array, float]:
    """Return the order in which the next node has the least variance given those before it, and that of the noise.

    With noise of one variance, and no end of samples, that is an order of the network (Chen, Drton and Wang 2019,
    Biometrika 106), and all these variances are that of the noise: the median of those with degrees of freedom left.
    """
    left = covariance.copy()
    order: list[int] = []
    variances: list[float] = []
    for k in range(len(left)):
        variance = np.diag(left).copy()
        variance[order] = np.inf
        least = float(variance.min())
        node = int((variance <= least + TIE * abs(least)).argmax())
        order.append(node)
        variances.append(variance[node] * samples / max(samples - 1 - k, 1.0))
        left -= np.outer(left[node], left[node]) / max(left[node, node], 1e-300)
    sure = max(1, min(len(left), int(samples / 2)))
    return np.array(order), float(np.median(variances[:sure]))


def regressions(
    covariance: Array, parents: list[Array], samples: float, rule: Array | None = None
) -> tuple[Array, Array]:
    """Regress every node on its parents, shrunk by the heuristic factor 1 - 1 / F of the regression.

    Nodes with required parents, which are known not to be there by chance, are not shrunk.

    Parameters
    ----------
    covariance : ndarray, shape (p, p)
    parents : list of ndarray of int
    samples : float
    rule : ndarray of int, shape (p, p), optional

    Returns
    -------
    network : ndarray, shape (p, p)
    variance : ndarray, shape (p,)
        Residual variances, of the weights before shrinkage, with the degrees of freedom that are left.
    """
    p = len(covariance)
    sd = np.sqrt(np.diag(covariance))
    unit = covariance / np.outer(sd, sd)
    network, variance = np.zeros((p, p)), np.diag(covariance).copy()
    for j, chosen in enumerate(parents):
        k = len(chosen)
        if not k:
            continue
        solved = np.linalg.solve(unit[np.ix_(chosen, chosen)], unit[chosen, j])
        explained = float(solved @ unit[chosen, j])
        free = max(samples - 1 - k, 1.0)
        left = max(1 - explained, 1e-15)
        certain = rule is not None and (rule[:, j] > 0).any()
        shrinkage = 1.0 if certain else max(0.0, 1 - k * left / (free * max(explained, 1e-300)))
        network[chosen, j] = shrinkage * solved * sd[j] / sd[chosen]
        variance[j] *= left * samples / free
    return network, variance
