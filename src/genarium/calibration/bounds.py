"""What replicates that failed could have changed: ranks and coverage in the best and in the worst case."""

import numpy as np

from genarium.calibration import uniformity as test
from genarium.declaration import Array

BINS = 20
"""Bins that the best case fills, the emptiest first."""


def bounds(pit: Array, missing: int, level: float) -> dict[str, list[float]]:
    """Bound what a validation would have found had every replicate given a result.

    Parameters
    ----------
    pit : ndarray, shape (R, Q)
        PIT values of the replicates that gave one.
    missing : int
        How many gave none.
    level : float
        Of the intervals whose coverage is bounded.

    Returns
    -------
    dict
        ``p``: the smallest p-value of uniform ranks over the quantities, adjusted for their number (Holm), if the
        missing PIT values lay all at one end, at both or in the middle, whichever is worst, and if they filled what is
        empty; ``coverage``: the lowest over the quantities if no missing interval held its truth, and the highest if
        all did.
    """
    R, Q = pit.shape
    ends = np.where(np.arange(missing) % 2, 1.0, 0.0)
    places = (np.zeros(missing), np.ones(missing), np.full(missing, 0.5), ends)
    worst = [test.uniformity(np.vstack([pit, np.repeat(place[:, None], Q, 1)])) for place in places]
    best = test.uniformity(np.vstack([pit, _filling(pit, missing)]))
    covered = test.inside(pit, level)
    return {
        "p": [float(test.holm(p).min()) for p in (np.min(worst, 0), best)],
        "coverage": [float(covered.min() / (R + missing)), float((covered.max() + missing) / (R + missing))],
    }


def _filling(pit: Array, missing: int) -> Array:
    """PIT values that make those of each quantity as even as so many can; shape (missing, Q)."""
    Q = pit.shape[1]
    count = np.stack([np.histogram(pit[:, j], BINS, (0, 1))[0] for j in range(Q)], 1)
    out, every = np.empty((missing, Q)), np.arange(Q)
    for i in range(missing):
        emptiest = count.argmin(0)
        count[emptiest, every] += 1
        out[i] = (emptiest + (0.5 + i * (np.sqrt(5) - 1) / 2) % 1) / BINS
    return out
