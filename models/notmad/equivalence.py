"""What data alone can say of directions: the class of networks that fit equally well (completed partially directed)."""

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from . import doors
from .graphs import is_acyclic
from .knowledge import checked, precedence


def equivalence_class(network: Array, rule: Array | None = None) -> Array:
    """Return the completed partially directed graph of an acyclic network.

    With Gaussian noise of unlike variances, networks with the same neighbours and the same v-structures (a -> c <- b
    with a and b no neighbours) fit all data equally well (Verma and Pearl 1990). An edge has one direction in all of
    them if it is part of a v-structure, or follows from these by Meek's rules 1 to 3 (Meek 1995).

    Parameters
    ----------
    network : ndarray, shape (p, p)
        Acyclic; what is not zero is an edge.
    rule : ndarray of int, shape (p, p), optional
        What is known of the edges (:func:`~genarium.models.notmad.rules`), and which networks of the class that leaves:
        by Meek's rules 1 to 4.

    Returns
    -------
    ndarray of bool, shape (p, p)
        [i, j] alone: i -> j in every network of the class. [i, j] and [j, i]: the direction is not decided.

    Raises
    ------
    InputError
        If the network is no square matrix of finite numbers, or has a cycle; if the rules have another shape or other
        values, or the network breaks one.
    """
    given = doors.networks("network", network)
    if given.ndim != 2 or not is_acyclic(given):
        raise InputError(
            f"notmad: network of shape {given.shape} must be one acyclic network: project it with project_to_dag first."
        )
    dag = given != 0
    near = dag | dag.T
    p = len(dag)
    directed = np.zeros_like(dag)
    for c in range(p):
        parents = np.flatnonzero(dag[:, c])
        strangers = ~near[np.ix_(parents, parents)] & ~np.eye(len(parents), dtype=bool)
        directed[parents[strangers.any(1)], c] = True
    if rule is not None:
        rule = checked(rule, p)
        broken = np.argwhere(dag & ((rule < 0) | (rule.T > 0)))
        if broken.size:
            i, j = broken[0]
            raise InputError(
                f"notmad: network[{i}, {j}] = {given[i, j]:g}: the rules do not allow this edge. Project the network "
                "by project_to_dag with these rules first."
            )
        directed |= dag & ((rule > 0) | (rule.T < 0) | precedence(rule))
    while True:
        undirected = near & ~directed & ~directed.T
        found = [(a, b) for a, b in np.argwhere(undirected) if _follows(near, directed, undirected, a, b)]
        if not found:
            return np.asarray(directed | undirected)
        for a, b in found:
            directed[a, b] = True


def _follows(near: Array, directed: Array, undirected: Array, a: int, b: int) -> bool:
    """Whether a -> b follows from the directions known: else a v-structure or a cycle would arise."""
    into = directed[:, a] & ~near[:, b]
    into[b] = False
    if into.any() or (directed[a] & directed[:, b]).any():  # rules 1 and 2
        return True
    both = np.flatnonzero(undirected[a] & directed[:, b])  # rule 3
    if (~near[np.ix_(both, both)] & ~np.eye(len(both), dtype=bool)).any():
        return True
    # rule 4: a - d -> c -> b, with a near c and d no neighbour of b; only where more than v-structures is known
    through = np.flatnonzero(directed[:, b] & near[a])
    return any((undirected[a] & directed[:, c] & ~near[:, b]).any() for c in through)


def representative(class_: Array) -> Array:
    """Return one network of a class, as booleans: the same one however the class was found, for one order of the nodes.

    What is not directed falls into chordal components. Their nodes are visited by maximum cardinality (Tarjan and
    Yannakakis 1984), ties by position; edges from those visited earlier make no v-structure.
    """
    undirected = class_ & class_.T
    p = len(class_)
    visited, rank = np.zeros(p, dtype=bool), np.empty(p, dtype=np.int64)
    for step in range(p):
        reached = (undirected & visited).sum(1)
        node = int(np.where(visited, -1, reached).argmax())
        visited[node], rank[node] = True, step
    return np.asarray((class_ & ~class_.T) | (undirected & (rank[:, None] < rank)))


def share_decided(network: Array, class_: Array) -> float:
    """Share of a network's edges that have the same direction in its whole class; 1 where it has none."""
    edges = np.asarray(network) != 0
    total = int(edges.sum())
    return float((edges & ~class_.T).sum() / total) if total else 1.0
