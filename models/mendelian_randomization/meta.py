"""Random-effects meta-analysis: every usual estimator of the heterogeneity, intervals, and a prediction interval."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError

from .estimates import FAR, check_level, numbers

METHODS = ("FE", "DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM")
"""Fixed effect; DerSimonian-Laird, Hedges, Hunter-Schmidt, Sidik-Jonkman, (restricted) maximum likelihood, empirical
Bayes and Paule-Mandel (which are the same but for where they stop)."""


TINY = 1e-300
"""Absolute tolerance of a variance's root: none, since effects may have any unit."""


@dataclass(frozen=True)
class MetaAnalysis:
    """What k effects say together.

    Attributes
    ----------
    mu, se : float
        Mean effect and its standard error.
    ci : tuple of float
        Confidence interval of the mean effect.
    p_value : float
        Two-sided, of no mean effect.
    tau2, tau2_se : float
        Variance between effects; its standard error is NaN with one effect throughout.
    I2, H2 : float
        Share of the variance that is between effects, in percent; total over sampling variance.
    Q, Q_p : float
        Cochran's heterogeneity and its p value.
    prediction_interval : tuple of float
        Where a new effect lies: it holds the heterogeneity besides the mean's uncertainty.
    """

    mu: float
    se: float
    ci: tuple[float, float]
    p_value: float
    tau2: float
    tau2_se: float
    I2: float
    H2: float
    Q: float
    Q_p: float
    prediction_interval: tuple[float, float]


def meta_analysis(
    y: ArrayLike, v: ArrayLike, method: str = "REML", test: str = "z", level: float = 0.95
) -> MetaAnalysis:
    """Combine effects by their inverse variances, heterogeneity included.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and their sampling variances.
    method : {"REML", "FE", "DL", "HE", "HS", "SJ", "ML", "EB", "PM"}
        Of estimating the variance between effects (Veroniki et al. 2016).
    test : {"z", "knapp-hartung"}
        Normal, or Student's with the residual variance (Hartung and Knapp 2001).
    level : float

    Returns
    -------
    MetaAnalysis

    Raises
    ------
    InputError
        If the arrays do not match, a variance is not positive, a number is too large or small to compute with, or a
        name is not known.
    """
    from scipy.stats import chi2, norm, t

    y, v = _checked(y, v)
    check_level(level)
    for option, value, allowed in (("method", method, METHODS), ("test", test, ("z", "knapp-hartung"))):
        if value not in allowed:
            raise InputError(f"meta_analysis: {option}={value!r} is not known; use one of {', '.join(allowed)}.")
    k = len(y)
    if k == 1 and method != "FE":
        raise InputError("meta_analysis: one effect has no heterogeneity. Give two or more, or method='FE'.")
    fixed = 1 / v
    Q = float((fixed * (y - _mean(y, fixed)) ** 2).sum())
    tau2 = 0.0 if method == "FE" else heterogeneity(y, v, method)
    weight = 1 / (v + tau2)
    mu, se = _mean(y, weight), float(weight.sum() ** -0.5)
    law: Any = norm
    if test == "knapp-hartung":
        se = float(np.sqrt((weight * (y - mu) ** 2).sum() / ((k - 1) * weight.sum())))
        law = t(k - 1)
    reach = float(law.ppf(0.5 + level / 2))
    typical = (k - 1) * fixed.sum() / (fixed.sum() ** 2 - (fixed**2).sum()) if k > 1 else float("nan")
    if method == "FE":
        I2, H2 = 100 * max(0.0, (Q - (k - 1)) / Q) if Q > 0 else 0.0, Q / max(k - 1, 1)
    else:
        I2, H2 = float(100 * tau2 / (tau2 + typical)), float(tau2 / typical + 1)
    wide = float(np.hypot(se, np.sqrt(tau2)))
    return MetaAnalysis(
        mu,
        se,
        (mu - reach * se, mu + reach * se),
        float(2 * law.sf(abs(mu / se))) if se > 0 else float(mu == 0),
        tau2,
        _heterogeneity_se(y, v, tau2, method),
        I2,
        H2,
        Q,
        float(chi2.sf(Q, k - 1)) if k > 1 else 1.0,
        (mu - reach * wide, mu + reach * wide),
    )


def heterogeneity(y: Array, v: Array, method: str) -> float:
    """Estimate the variance between effects.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
    method : str
        One of ``METHODS`` but "FE".

    Returns
    -------
    float
        Zero where the estimate would be negative.
    """
    k, w = len(y), 1 / v
    Q = float((w * (y - _mean(y, w)) ** 2).sum())
    if method == "DL":
        return max(0.0, (Q - (k - 1)) / float(w.sum() - (w**2).sum() / w.sum()))
    if method == "HE":
        return max(0.0, float(y.var(ddof=1) - v.mean()))
    if method == "HS":
        return max(0.0, (Q - k) / float(w.sum()))
    if method == "SJ":
        first = float(((y - y.mean()) ** 2).mean())
        if first == 0:
            return 0.0
        weight = 1 / (v / first + 1)
        return float((weight * (y - _mean(y, weight)) ** 2).sum() / (k - 1))
    if method in ("PM", "EB"):
        return _falling_root(lambda tau2: _generalised_q(y, v, tau2) - (k - 1))
    return _likelihood_maximum(y, v, method == "REML")


def q_profile(y: ArrayLike, v: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the variance between effects: where the generalised Q is usual (Viechtbauer 2007).

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects, and their variances.
    level : float
        Of the interval, between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper end, in squared units of the effects; an end that would be negative is zero.

    Raises
    ------
    InputError
        If the arrays do not match, a variance is not positive, a number is too large or small to compute with, or there
        is one effect only.
    """
    from scipy.stats import chi2

    y, v = _checked(y, v)
    check_level(level)
    if len(y) == 1:
        raise InputError("q_profile: one effect has no heterogeneity. Give two or more.")
    ends = (float(chi2.ppf(0.5 + level / 2, len(y) - 1)), float(chi2.ppf(0.5 - level / 2, len(y) - 1)))
    low, high = (_falling_root(partial(_beyond, y, v, end)) for end in ends)
    return low, high


def _checked(y: ArrayLike, v: ArrayLike) -> tuple[Array, Array]:
    y, v = np.atleast_1d(numbers("y", y)), np.atleast_1d(numbers("v", v))
    if y.ndim != 1 or y.shape != v.shape or not y.size:
        raise InputError(f"meta_analysis: y has shape {y.shape}, v {v.shape}. Give one variance for each effect.")
    bad = np.flatnonzero(~np.isfinite(y) | ~(v > 0) | ~np.isfinite(v))
    if bad.size:
        raise InputError(
            f"meta_analysis: effect {bad[0]} is {y[bad[0]]:g} with variance {v[bad[0]]:g} ({bad.size} are like it). "
            "Effects must be finite, variances positive. Drop it."
        )
    far = np.flatnonzero((np.abs(y) > FAR) | (v > FAR**2) | (v < FAR**-2.0))
    if far.size:
        raise InputError(
            f"meta_analysis: effect {far[0]} is {y[far[0]]:g} with variance {v[far[0]]:g}, whose powers no computer "
            f"holds. Give effects in units in which they and their standard errors lie between {1 / FAR:g} and {FAR:g}."
        )
    return y, v


def _mean(y: Array, weight: Array) -> float:
    return float((weight * y).sum() / weight.sum())


def _generalised_q(y: Array, v: Array, tau2: float) -> float:
    weight = 1 / (v + tau2)
    return float((weight * (y - _mean(y, weight)) ** 2).sum())


def _beyond(y: Array, v: Array, end: float, tau2: float) -> float:
    return _generalised_q(y, v, tau2) - end


def _falling_root(function: Callable[[float], float]) -> float:
    """Return where a falling function of a variance is zero; 0 if it begins below."""
    from scipy.optimize import brentq

    if function(0.0) <= 0:
        return 0.0
    high = 1.0
    while function(high) > 0:
        high *= 4
    return float(brentq(function, 0.0, high, xtol=TINY, rtol=1e-14, maxiter=5000))


def _score(y: Array, v: Array, tau2: float, restricted: bool) -> float:
    """Twice the derivative of the (restricted) log likelihood in the variance."""
    w = 1 / (v + tau2)
    residual = y - _mean(y, w)
    trace = float(w.sum() - (w**2).sum() / w.sum()) if restricted else float(w.sum())
    return float((w**2 * residual**2).sum()) - trace


def _likelihood_maximum(y: Array, v: Array, restricted: bool) -> float:
    """Root of the score with the highest likelihood; 0 if the likelihood falls from there."""
    from scipy.optimize import brentq

    def log_likelihood(tau2: float) -> float:
        w = 1 / (v + tau2)
        value = 0.5 * float(np.log(w).sum() - (w * (y - _mean(y, w)) ** 2).sum())
        return value - (0.5 * float(np.log(w.sum())) if restricted else 0.0)

    top = float((y - y.mean()) @ (y - y.mean())) + float(v.max())
    grid = np.concatenate([[0.0], np.geomspace(1e-8 * float(v.min()), 10 * top, 400)])
    scores = [_score(y, v, float(g), restricted) for g in grid]
    roots = [0.0] if scores[0] <= 0 else []
    for a, b, left, right in zip(grid[:-1], grid[1:], scores[:-1], scores[1:], strict=True):
        if left > 0 >= right:
            roots.append(brentq(lambda g: _score(y, v, g, restricted), float(a), float(b), xtol=TINY, rtol=1e-14))
    return max(roots, key=log_likelihood)


def _heterogeneity_se(y: Array, v: Array, tau2: float, method: str) -> float:
    """Return the standard error of the variance between effects, from the method's own theory."""
    k = len(y)
    w0, w = 1 / v, 1 / (v + tau2)
    if method == "FE" or k < 2:
        return float("nan")
    if method in ("ML", "REML"):
        if method == "ML":
            return float(np.sqrt(2 / (w**2).sum()))
        information = (w**2).sum() - 2 * (w**3).sum() / w.sum() + ((w**2).sum() / w.sum()) ** 2
        return float(np.sqrt(2 / information))
    if method in ("EB", "PM"):
        return float(np.sqrt(2 * k**2 / (k - 1)) / w.sum())
    # moment estimators are quadratic forms y'Ay / c with A = diag(a) - a a' / s, s the sum of a: the variance is
    # 2 tr(AVAV) / c², and V is diagonal
    a, c = w0, float(w0.sum() - (w0**2).sum() / w0.sum())
    if method == "HS":
        c = float(w0.sum())
    elif method == "HE":
        a, c = np.ones(k), float(k - 1)
    elif method == "SJ":
        first = float(((y - y.mean()) ** 2).mean())
        if first == 0:
            return float("nan")
        a, c = 1 / (v / first + 1), float(k - 1)
    b, s = a * (v + tau2), float(a.sum())
    trace = float((b**2).sum() - 2 * (a * b**2).sum() / s + ((a * b).sum() / s) ** 2)
    return float(np.sqrt(2 * max(trace, 0.0)) / c)
