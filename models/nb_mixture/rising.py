"""Log of the rising factorial Gamma(x + r) / Gamma(r): where counts meet the dispersion in a negative binomial."""

import numpy as np

from genarium.declaration import Array

LARGE = 1e3
"""Above this r, Stirling's series is exact to 1e-12; below it, so is the difference of two log gammas."""


def log_rising(x: Array, r: Array, gene: Array | None = None) -> Array:
    """Return ln Gamma(x + r) - ln Gamma(r).

    The two log gammas grow as r ln r, and their difference loses its digits where the dispersion 1/r is small (3e-8
    nats a count at r = 1e8). There it is ``(r - 1/2) log1p(x/r) + x ln(r + x) - x + (1/(r + x) - 1/r) / 12``.

    Parameters
    ----------
    x : ndarray
        Counts.
    r : ndarray
        One over the dispersion; positive, of a shape that broadcasts with ``x``.
    gene : ndarray of int, optional
        The entry of the last axis of ``r`` that each count belongs to, where ``r`` has one a gene.

    Returns
    -------
    ndarray
    """
    from scipy.special import gammaln

    at = r if gene is None else r[..., gene]
    if not np.any(r > LARGE):
        base = gammaln(r)
        return np.asarray(gammaln(x + at) - (base if gene is None else base[..., gene]))
    large = at > LARGE
    above = np.maximum(at, LARGE)
    both = above + x
    stirling = (above - 0.5) * np.log1p(x / above) + x * np.log(both) - x + (1 / both - 1 / above) / 12
    if np.all(large):
        return np.asarray(stirling)
    below = np.minimum(at, LARGE)
    return np.asarray(np.where(large, stirling, gammaln(x + below) - gammaln(below)))
