"""Ensembles of refits on bootstrap samples: how much the training sample alone moves the networks and their error."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from genarium.declaration import Array
from genarium.fit import fit

from .graphs import edge_frequency
from .projection import project_to_dag


def refits(
    x: Array, context: Array, rng: np.random.Generator, *, repeats: int = 20, method: str = "map", **settings: Any
) -> Iterator[xr.DataTree]:
    """Fit the model to bootstrap samples of the training samples, drawn with replacement.

    Parameters
    ----------
    x : ndarray, shape (N, p)
    context : ndarray, shape (N, M)
    rng : Generator
    repeats : int
        Number of fits.
    method : str
        Of ``genarium.fit``.
    **settings
        Sizes, options of the model and of the method, values of known variables.

    Yields
    ------
    DataTree
        From ``genarium.fit``. Predict held-out samples with each; the standard deviation of their errors is the spread
        that Table 1 of the paper is after (which gives a variance).
    """
    for _ in range(repeats):
        rows = rng.integers(len(x), size=len(x))
        seed = int(rng.integers(2**31))
        yield fit("notmad", {"x": np.asarray(x)[rows], "context": np.asarray(context)[rows]}, method, seed, **settings)


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
