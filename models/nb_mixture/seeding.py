"""First centroids: k-means++ on log counts (Arthur and Vassilvitskii 2007), which finds the best mode most times."""

import numpy as np

from genarium.declaration import Array

from .likelihood import FLOOR

SUBSAMPLE = 20_000
"""Cells that a start looks at, at most."""


def k_means_plus_plus(x: Array, size_factor: Array, components: int, rng: np.random.Generator, steps: int = 3) -> Array:
    """Choose centroids by k-means++ on log(1 + x / s), followed by a few Lloyd steps.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    size_factor : ndarray, shape (N,)
    components : int
        Not more than the number of distinct rows of ``x``.
    rng : Generator
    steps : int
        Lloyd steps.

    Returns
    -------
    ndarray, shape (components, D)
        Means of the counts over size factor, in the original scale, positive.
    """
    if len(x) > SUBSAMPLE:
        pick = rng.choice(len(x), SUBSAMPLE, replace=False)
        if len(np.unique(x[pick], axis=0)) >= components:
            x, size_factor = x[pick], size_factor[pick]
    logs = np.log1p(x / size_factor[:, None])  # (N, D)
    chosen = [int(rng.integers(len(logs)))]
    distance = ((logs - logs[chosen[0]]) ** 2).sum(1)
    while len(chosen) < components:
        total = distance.sum()
        if total <= 0:  # rows that differ in counts may agree in depth-corrected logs
            chosen.append(int(rng.integers(len(logs))))
            continue
        chosen.append(int(rng.choice(len(logs), p=distance / total)))
        distance = np.minimum(distance, ((logs - logs[chosen[-1]]) ** 2).sum(1))
    centre = logs[chosen]
    for _ in range(steps):
        nearest = ((centre**2).sum(1)[:, None] - 2 * centre @ logs.T).argmin(0)  # (N,)
        size = np.bincount(nearest, minlength=components)
        sums = np.stack([np.bincount(nearest, column, minlength=components) for column in logs.T], 1)
        centre = np.where(size[:, None] > 0, sums / np.maximum(size, 1)[:, None], centre)
    return np.maximum(np.expm1(centre), max(FLOOR, 0.5 / len(x)))
