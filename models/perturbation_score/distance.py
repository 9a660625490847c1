"""Expected l1 distance of a Dirichlet vector from a target, in closed form; equation numbers refer to the card."""

from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.supports import ROUNDED, normalised


def expected_l1(target: Any, concentration: Any) -> Array:
    """Return the expected l1 distance between a target and q ~ Dirichlet(concentration) (eq. 5).

    Parameters
    ----------
    target : array_like, shape (..., K)
        Shares Q, summing to one over the last dim.
    concentration : array_like, shape (..., K)
        Concentrations a, above zero; broadcast against ``target``.

    Returns
    -------
    ndarray, shape (...)
        Between 0 and 2.

    Raises
    ------
    InputError
        If the two have another number of states, a concentration is not positive, or a target is not a set of shares.

    Examples
    --------
    >>> from genarium.models.perturbation_score import expected_l1
    >>> round(float(expected_l1([0.5, 0.5], [1.0, 1.0])), 6)  # 2 E|1/2 - u|, u uniform
    0.5
    """
    Q, a = checked_target(target), np.asarray(concentration, dtype=float)
    same_states(Q, a)
    bad = ~(np.isfinite(a) & (a > 0))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"perturbation_score: concentration{list(at)} = {a[at]}, but every concentration must be finite and above "
            "zero. Add the prior's share to the counts: a = kappa m + N."
        )
    return np.asarray(expected_parts(Q, a).sum(-1))


def expected_parts(Q: Array, a: Array) -> Array:
    """E|Q_k - q_k| of each state, q_k ~ Beta(a_k, a_0 - a_k); shape (..., K)."""
    from scipy.special import betainc

    total = a.sum(-1, keepdims=True)
    b, m = total - a, a / total
    if a.shape[-1] == 1:
        return np.abs(Q - 1.0) * np.ones_like(a)
    return np.asarray(2 * (Q * betainc(a, b, Q) - m * betainc(a + 1, b, Q)) + m - Q)


def checked_target(target: Any) -> Array:
    """Return targets as an array, or raise an error that names the first row that is none."""
    try:
        Q = np.asarray(target, dtype=float)
    except (TypeError, ValueError):
        raise InputError(
            f"perturbation_score: target = {target!r} holds what is no number. Give a share for each state."
        ) from None
    if Q.ndim == 0:
        raise InputError(f"perturbation_score: target = {Q}, but a target is a share for each state. Give K numbers.")
    bad = ~np.isfinite(Q) | (Q < 0) | (Q > 1)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"perturbation_score: target{list(at)} = {Q[at]}, but every share must lie in [0, 1]. Correct it."
        )
    off = np.abs(Q.sum(-1) - 1) > ROUNDED
    if off.any():
        first = Q.reshape(-1, Q.shape[-1])[int(np.flatnonzero(off.ravel())[0])]
        raise InputError(
            f"perturbation_score: the target {first.tolist()} sums to {first.sum():g}, but shares sum to one. "
            "Divide it by its sum."
        )
    return normalised(Q)


def same_states(target: Array, proportion: Array) -> None:
    """Check that a target and proportions (or counts) have the same number of states."""
    if target.shape[-1] != proportion.shape[-1]:
        raise InputError(
            f"perturbation_score: the target has {target.shape[-1]} states and the proportions have "
            f"{proportion.shape[-1]}. Give one share for each state, in the order of the counts."
        )


def l1(a: Any, b: Any) -> Array:
    """l1 distance over the last dim, between 0 and 2 for shares: twice the total variation (eq. 4)."""
    return np.asarray(np.abs(np.asarray(a) - np.asarray(b)).sum(-1))
