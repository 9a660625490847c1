"""Hot loops over the class-by-transcript table, compiled by Numba; equation numbers refer to the card (README.md).

The table is in compressed rows: class e has the entries ``first[e]`` to ``first[e + 1]``. K transcripts, E classes,
M entries, J components.
"""

import numba
import numpy as np

from genarium.declaration import Array


@numba.njit(cache=True)
def sweep(
    rows: Array,
    first: Array,
    column: Array,
    weight: Array,
    count: Array,
    component: Array,
    a: Array,
    ratio: Array,
    log_sum: Array,
) -> None:
    """Add up the gradient and the log likelihood of some classes.

    Parameters
    ----------
    rows : ndarray of int
        The classes.
    first, column, weight : ndarray
        The table, (E + 1,), (M,), (M,).
    count : ndarray, shape (E,)
    component : ndarray of int, shape (E,)
        Component of each class.
    a : ndarray, shape (K,)
        Reads of each transcript (or any weights of the mixture).
    ratio : ndarray, shape (K,)
        Σ_e c_e w_ek / (W a)_e is added to it (eq. 6).
    log_sum : ndarray, shape (J,)
        Σ_e c_e ln (W a)_e is added to it, by component.
    """
    for e in rows:
        total = 0.0
        for m in range(first[e], first[e + 1]):
            total += weight[m] * a[column[m]]
        if total <= 0.0:
            log_sum[component[e]] = -np.inf
            continue
        log_sum[component[e]] += count[e] * np.log(total)
        share = count[e] / total
        for m in range(first[e], first[e + 1]):
            ratio[column[m]] += weight[m] * share


@numba.njit(cache=True)
def digamma(x: float) -> float:
    """Return the derivative of ln Γ at x > 0: recurrence up to 10, then the asymptotic series (error below 1e-14)."""
    shift = 0.0
    while x < 10.0:
        shift -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132 - z * 691 / 32760)))))
    return float(shift + np.log(x) - 0.5 / x - series)


@numba.njit(cache=True)
def until_changes_are_small(
    first: Array,
    column: Array,
    weight: Array,
    count: Array,
    sole: Array,
    a: Array,
    prior: float,
    least: int,
    most: int,
    change: float,
    floor: float,
) -> int:
    """Iterate EM (prior = 0) or VB-EM in place by salmon's rule (eq. 9); return the number of iterations, or -1.

    ``sole`` (K,) holds the reads of classes with one transcript, ``a`` (K,) the reads of each transcript.
    """
    K = len(a)
    mix, new = np.empty(K), np.empty(K)
    for iteration in range(1, most + 1):
        if prior > 0.0:
            log_total = digamma(a.sum() + prior * K)
            for k in range(K):
                mix[k] = np.exp(digamma(a[k] + prior) - log_total)
        else:
            mix[:] = a
        new[:] = sole
        for e in range(len(count)):
            total = 0.0
            for m in range(first[e], first[e + 1]):
                total += weight[m] * mix[column[m]]
            if total > 0.0:
                share = count[e] / total
                for m in range(first[e], first[e + 1]):
                    new[column[m]] += weight[m] * mix[column[m]] * share
        small = True
        for k in range(K):
            if new[k] > floor and abs(a[k] - new[k]) > change * new[k]:
                small = False
            a[k] = new[k]
        if small and iteration >= least:
            return iteration
    return -1
