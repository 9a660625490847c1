"""Networks as arrays: acyclicity penalties, log determinants, and the places of edges in a matrix."""

from collections.abc import Mapping

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from . import doors

ORDERS = ("free", "given")


def places(order: str, nodes: int) -> tuple[Array, Array]:
    """Source and target of each edge: all ordered pairs, or those that go forward where the order is given."""
    source, target = np.nonzero(possible(order, nodes))
    return source, target


def possible(order: str, nodes: int) -> Array:
    """Whether there may be an edge from i to j; shape (p, p)."""
    pairs = ~np.eye(nodes, dtype=bool)
    return pairs if order == "free" else np.triu(pairs)


def matrices(order: str, nodes: int, edges: Array) -> Array:
    """Put edge weights (..., E) into matrices (..., p, p) whose other entries are zero."""
    out = np.zeros((*edges.shape[:-1], nodes, nodes))
    source, target = places(order, nodes)
    out[..., source, target] = edges
    return out


def archetypes(order: str, at: Mapping[str, Array], rule: Array) -> Array:
    """Archetypes (..., K, p, p) at a point: shared and own weights, or products of factors; zero where forbidden."""
    if "outgoing" in at:
        product = at["outgoing"] @ at["incoming"].swapaxes(-1, -2)
        return np.where((rule < 0) | ~possible(order, len(rule)), 0.0, product)
    edges = at["edge_weight"]
    if "shared_weight" in at:
        edges = edges + at["shared_weight"][..., None, :]
    return np.where(rule < 0, 0.0, matrices(order, len(rule), edges))


def edge_labels(order: str, node: Array) -> Array:
    """Names of the edges, "a->b"; they follow from those of the nodes."""
    source, target = places(order, len(node))
    return np.array([f"{node[a]}->{node[b]}" for a, b in zip(source, target, strict=True)])


def penalty(networks: Array, kind: str = "notears") -> tuple[Array, Array]:
    """Acyclicity penalty h of each network and its gradient (eqs. 7 and 8).

    Parameters
    ----------
    networks : ndarray, shape (..., p, p)
    kind : {"notears", "logdet"}

    Returns
    -------
    value : ndarray, shape (...)
        Zero for acyclic networks, positive for others; infinite for "logdet" outside the M-matrices.
    gradient : ndarray, shape (..., p, p)
    """
    from . import kernels

    flat = np.ascontiguousarray(networks, dtype=float).reshape(-1, *networks.shape[-2:])
    value, gradient = np.empty(len(flat)), np.empty(flat.shape)
    kernels.penalties(flat, kind == "logdet", value, gradient)
    return value.reshape(networks.shape[:-2]), gradient.reshape(networks.shape)


def log_determinant(networks: Array) -> tuple[Array, Array]:
    """Return ln |det(I - W)| of each network (..., p, p) and its gradient (eq. 6)."""
    from . import kernels

    flat = np.ascontiguousarray(networks, dtype=float).reshape(-1, *networks.shape[-2:])
    value, gradient = np.empty(len(flat)), np.empty(flat.shape)
    kernels.log_determinants(flat, value, gradient)
    return value.reshape(networks.shape[:-2]), gradient.reshape(networks.shape)


def is_acyclic(networks: Array, threshold: float = 0.0) -> Array:
    """Whether each network has no cycle of edges larger than ``threshold`` in size; shape (...).

    Sinks are taken away until nothing changes; what is left holds the cycles.
    """
    present = np.abs(networks) > threshold
    left = np.ones(present.shape[:-1], dtype=bool)  # (..., p)
    for _ in range(present.shape[-1]):
        has_child = (present & left[..., None, :]).any(-1)
        left &= has_child
    return np.asarray(~left.any(-1))


def edge_frequency(networks: Array, smallest: float = 0.1) -> Array:
    """Share of the networks along the first dim that have each edge: an entry larger than ``smallest`` in size."""
    return np.asarray((np.abs(networks) > smallest).mean(0))


def compare(estimate: Array, truth: Array, threshold: float = 0.1) -> Mapping[str, float]:
    """Distance of networks from true ones, averaged over samples.

    Parameters
    ----------
    estimate, truth : ndarray, shape (N, p, p) or (p, p)
    threshold : float
        Size from which an entry of either counts as an edge.

    Returns
    -------
    dict
        ``rmse`` of the off-diagonal weights; ``shd``: pairs of nodes whose edges differ, so that an edge to add, remove
        or turn round counts once; ``f1`` of directed edges, over all samples together, NaN where neither has an edge.
        Diagonals have no part in any of them.

    Raises
    ------
    InputError
        If the shapes do not agree, a matrix is not square, there is none, an entry is not finite, or the threshold is
        negative.

    Examples
    --------
    >>> compare(np.array([[0.0, 0.0], [0.5, 0.0]]), np.array([[0.0, 1.0], [0.0, 0.0]]))["shd"]
    1.0
    """
    estimate, truth = doors.networks("estimate", estimate), doors.networks("truth", truth)
    doors.nonnegative("threshold", threshold)
    try:
        estimate, truth = np.broadcast_arrays(estimate, truth)
    except ValueError:
        raise InputError(f"notmad: estimate {estimate.shape} and truth {truth.shape} are of other shapes.") from None
    p = truth.shape[-1]
    estimate, truth = (np.where(np.eye(p, dtype=bool), 0.0, one) for one in (estimate, truth))
    found, real = np.abs(estimate) > threshold, np.abs(truth) > threshold
    wrong = found != real
    pairs = wrong | np.swapaxes(wrong, -1, -2)
    hits, edges = int((found & real).sum()), int(found.sum() + real.sum())
    return {
        "rmse": float(np.sqrt(((estimate - truth) ** 2).sum((-2, -1)).mean() / max(1, p * (p - 1)))),
        "shd": float(np.triu(pairs, 1).sum((-2, -1)).mean()),
        "f1": 2 * hits / edges if edges else float("nan"),
    }
