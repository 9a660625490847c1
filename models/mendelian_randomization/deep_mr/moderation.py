"""Variances over a handful of members, drawn towards those of effects of the same size (empirical Bayes).

Of five members a variance is known within a factor of two or three only: without this, substitutions whose members
agree by chance get most of the weight, and pass for strong instruments.
"""

import numpy as np

from genarium.declaration import Array

GROUPS, LEAST = 20, 50
"""Groups by size at most, and effects that each must have."""


def moderated(variance: Array, size: Array, degrees: int) -> Array:
    """Return posterior means of the precisions, as variances.

    Within a group of effects of about the same size, true variances have a scaled inverse chi-square prior, whose
    degrees of freedom and scale follow from mean and variance of the logarithms (Smyth 2004, section 6.2); that they
    depend on the size is from Sartor et al. (2006).

    Parameters
    ----------
    variance : ndarray, shape (J,)
        Positive.
    size : ndarray, shape (J,)
        Of the effects; only the order of its absolute values counts.
    degrees : int
        Of freedom, of each variance.

    Returns
    -------
    ndarray, shape (J,)

    References
    ----------
    G. K. Smyth: Linear models and empirical Bayes methods for assessing differential expression in microarray
    experiments, Statistical Applications in Genetics and Molecular Biology 3 (2004). M. A. Sartor et al.: Intensity-
    based hierarchical Bayes method improves testing for differentially expressed genes in microarray experiments, BMC
    Bioinformatics 7:538 (2006).
    """
    out = np.empty_like(variance)
    order = np.argsort(np.abs(size), kind="stable")
    for some in np.array_split(order, max(1, min(GROUPS, len(order) // LEAST))):
        more, scale = _prior(variance[some], degrees)
        if np.isinf(more):
            out[some] = scale
        else:
            out[some] = (more * scale + degrees * variance[some]) / (more + degrees)
    return out


def _prior(variance: Array, degrees: int) -> tuple[float, float]:
    """Degrees of freedom (infinite where variances differ by chance alone) and scale of the prior."""
    from scipy.special import digamma, polygamma

    half = degrees / 2
    logs = np.log(variance) - digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - polygamma(1, half)) if len(logs) > 1 else 0.0
    if excess <= 0:
        return np.inf, float(np.exp(logs.mean()))
    more = _inverse_trigamma(excess)
    return 2 * more, float(np.exp(logs.mean() + digamma(more) - np.log(more)))


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method on 1 / trigamma, which is nearly a line (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        there = float(polygamma(1, x))
        step = there * (1 - there / value) / float(polygamma(2, x))
        x += step
        if -step < 1e-10 * x:
            break
    return x
