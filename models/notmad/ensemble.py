"""Ensembles of fits to bootstrap samples: how much the training sample alone moves the networks and their error."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from . import doors
from .graphs import edge_frequency
from .projection import project_to_dag


def bootstrap(x: Array, context: Array, rng: np.random.Generator, *, repeats: int = 20) -> Iterator[dict[str, Array]]:
    """Draw the training samples anew, with replacement.

    Parameters
    ----------
    x : ndarray, shape (N, p)
    context : ndarray, shape (N, M)
    rng : Generator
    repeats : int
        Number of samples.

    Yields
    ------
    dict of str to ndarray
        ``x`` and ``context``, as ``genarium.fit`` takes them. Fit each, and predict held-out samples by it; the
        standard deviation of the errors is the spread that Table 1 of the paper is after (which gives a variance).

    Raises
    ------
    InputError
        If x and context are not matrices of as many samples, or repeats is no whole number from one on.
    """
    x = doors.matrix("x", x)
    context = doors.matrix("context", context, len(x))
    doors.whole("repeats", repeats)
    doors.random(rng)
    for _ in range(repeats):
        rows = rng.integers(len(x), size=len(x))
        yield {"x": x[rows], "context": context[rows]}


def consensus(networks: Array, smallest: float = 0.1) -> tuple[Array, Array]:
    """Combine the networks of an ensemble.

    Parameters
    ----------
    networks : ndarray, shape (B, N, p, p)
        Networks of the same samples by each member, projected.
    smallest : float
        Size from which an entry counts as an edge.

    Returns
    -------
    network : ndarray, shape (N, p, p)
        Projection of the mean.
    frequency : ndarray, shape (N, p, p)
        Share of the members with that edge.

    Raises
    ------
    InputError
        If networks have other dims, or a weight is not finite; if ``smallest`` is negative.
    """
    networks = doors.networks("networks", networks)
    if networks.ndim != 4:
        raise InputError(f"notmad: networks of shape {networks.shape}: give (members, samples, nodes, nodes).")
    doors.nonnegative("smallest", smallest)
    return project_to_dag(networks.mean(0)), edge_frequency(networks, smallest)
