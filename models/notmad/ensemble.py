"""Ensembles of fits to bootstrap samples: how much the training sample alone moves the networks and their error."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array

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
    """
    for _ in range(repeats):
        rows = rng.integers(len(x), size=len(x))
        yield {"x": np.asarray(x)[rows], "context": np.asarray(context)[rows]}


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
    """
    return project_to_dag(networks.mean(0)), edge_frequency(networks, smallest)
