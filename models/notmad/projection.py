"""Projection of networks onto acyclic ones: the paper's fine-tuning, as greedy insertion (eq. 14 of the card)."""

import numba
import numpy as np

from genarium.declaration import Array

from . import doors, knowledge


def project_to_dag(networks: Array, threshold: float = 0.0, rule: Array | None = None) -> Array:
    """Keep the edges of each network, largest first, that close no cycle with those kept before.

    The result is what thresholding until acyclic, and adding back in decreasing order what closes no cycle, leads to
    (the paper's fine-tuning): no edge that was left out could be added. Reachability is kept as one bitset a node, so
    that inserting an edge costs O(p) words.

    Parameters
    ----------
    networks : ndarray, shape (..., p, p)
        Weights; entry [i, j] is the edge from i to j. The diagonal is dropped.
    threshold : float
        Edges of at most this size are dropped first.
    rule : ndarray of int, shape (p, p), optional
        What is known of the edges (:func:`~genarium.models.notmad.rules`): forbidden ones are dropped, and required
        ones come before all others, whatever their size.

    Returns
    -------
    ndarray, same shape
        Acyclic; entries are those given, or zero. A network that is acyclic is returned as it is (but for the
        threshold). Ties go by position.

    Raises
    ------
    InputError
        If there is no network, the matrices are not square, a weight is not finite, the threshold is negative, or the
        rules have another shape or require a cycle.

    Examples
    --------
    >>> project_to_dag(np.array([[0.0, 2.0], [1.0, 0.0]]))
    array([[0., 2.],
           [0., 0.]])
    """
    doors.nonnegative("threshold", threshold)
    given = doors.networks("networks", networks)
    p = given.shape[-1]
    flat = np.ascontiguousarray(given).reshape(-1, p, p)
    out = np.zeros_like(flat)
    size = np.abs(flat)
    if rule is not None:
        rule = knowledge.checked(rule, p)
        size = np.where(rule < 0, 0.0, size)
        size[:, rule > 0] = np.inf
        flat = np.where(rule < 0, 0.0, flat)
    order = np.argsort(-size.reshape(len(flat), -1), axis=1, kind="stable")
    _insert(flat, order, threshold, int((rule > 0).sum()) if rule is not None else 0, out)
    return out.reshape(given.shape)


@numba.njit(cache=True)
def _insert(networks: Array, order: Array, threshold: float, required: int, out: Array) -> None:
    """Insert edges in the given order (N, p p), the required ones first, whatever their size.

    ``below[i]`` is the set of nodes that i reaches, itself included.
    """
    N, p, _ = networks.shape
    words = (p + 63) // 64
    below = np.empty((p, words), dtype=np.uint64)
    one = np.uint64(1)
    for n in range(N):
        below[:, :] = np.uint64(0)
        for i in range(p):
            below[i, i // 64] |= one << np.uint64(i % 64)
        for place in range(p * p):
            i, j = order[n, place] // p, order[n, place] % p
            weight = networks[n, i, j]
            if place >= required and abs(weight) <= threshold:
                break
            if i == j or (below[j, i // 64] >> np.uint64(i % 64)) & one:
                continue
            out[n, i, j] = weight
            if (below[i, j // 64] >> np.uint64(j % 64)) & one:
                continue  # j was reachable already
            for k in range(p):
                if (below[k, i // 64] >> np.uint64(i % 64)) & one:
                    for w in range(words):
                        below[k, w] |= below[j, w]


def topological_order(network: Array) -> Array:
    """Order of the nodes in which every edge of an acyclic network goes forward; ties by position.

    Raises
    ------
    ValueError
        If the network has a cycle.
    """
    present = np.asarray(network) != 0
    p = len(present)
    order: list[int] = []
    left = np.ones(p, dtype=bool)
    while left.any():
        ready = np.flatnonzero(left & ~(present & left[:, None]).any(0))
        if not ready.size:
            raise ValueError("the network has a cycle; project it first with project_to_dag")
        order.append(int(ready[0]))
        left[ready[0]] = False
    return np.array(order)
