"""Estimators from the profile likelihood of weak instruments: maximum likelihood, debiased IVW, robust adjusted profile score."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError

from .estimates import Estimate, Variants, interval, variants
from .regression import _one_of


@dataclass(frozen=True)
class MaximumLikelihood(Estimate):
    """Maximum likelihood estimate.

    Attributes
    ----------
    Q, Q_p : float
        Likelihood-ratio heterogeneity and its p value on J - 1 degrees of freedom.
    residual_se : float
    """

    Q: float
    Q_p: float
    residual_se: float


@dataclass(frozen=True)
class Debiased(Estimate):
    """Debiased or penalised IVW estimate.

    Attributes
    ----------
    condition : float
        (mean F - 1) sqrt(J): the normal approximation wants 20 or more.
    tau2 : float
        Variance of balanced pleiotropy.
    """

    condition: float
    tau2: float


@dataclass(frozen=True)
class Raps(Estimate):
    """Robust adjusted profile score estimate.

    Attributes
    ----------
    tau2, tau2_se : float
        Variance of balanced pleiotropy.
    roots : tuple of float
        Other solutions of the estimating equations; two of them with similar scores call for a look at the data.
    """

    tau2: float
    tau2_se: float
    roots: tuple[float, ...]


def maximum_likelihood(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    model: str = "fixed",
    correlation: float = 0.0,
    level: float = 0.95,
) -> MaximumLikelihood:
    """Estimate by maximum likelihood, the variants' true effects profiled out (Burgess, Butterworth and Thompson 2013).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    model : {"fixed", "random"}
        Whether heterogeneity widens the standard error.
    correlation : float
        Of the errors of a variant's two effects (overlapping samples).
    level : float

    Returns
    -------
    MaximumLikelihood
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import chi2

    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 2)
    _one_of("model", model, ("fixed", "random"))
    if not -1 < correlation < 1:
        raise InputError(f"mendelian_randomization: correlation={correlation:g} must be between -1 and 1.")
    crossed = correlation * data.sx * data.sy

    def deviance(theta: float) -> float:
        variance = data.sy**2 + theta**2 * data.sx**2 - 2 * theta * crossed
        return float(((data.y - theta * data.x) ** 2 / variance).sum())

    start = float((data.x * data.y / data.sy**2).sum() / (data.x**2 / data.sy**2).sum())
    spread = float(np.abs(data.ratio - start).mean()) + abs(start)
    grid = start + spread * np.linspace(-2, 2, 401)
    at = int(np.argmin([deviance(float(t)) for t in grid]))
    bracket = (float(grid[max(at - 1, 0)]), float(grid[min(at + 1, 400)]))
    estimate = float(minimize_scalar(deviance, bounds=bracket, method="bounded", options={"xatol": 1e-14}).x)
    estimate = _polished(deviance, estimate, spread)
    h = 1e-3 * max(spread, 1e-8)
    values = [deviance(estimate + k * h) for k in (-2, -1, 0, 1, 2)]
    curvature = (-values[0] + 16 * values[1] - 30 * values[2] + 16 * values[3] - values[4]) / (12 * h**2)
    Q = deviance(estimate)
    scale = float(np.sqrt(Q / (len(data) - 1)))
    se = float(np.sqrt(2 / curvature)) * (max(1.0, scale) if model == "random" else 1.0)
    ci, p_value = interval(estimate, se, level)
    return MaximumLikelihood(estimate, se, ci, p_value, Q, float(chi2.sf(Q, len(data) - 1)), scale)


def _polished(function: Callable[[float], float], at: float, scale: float) -> float:
    """Newton steps by five-point differences: a minimiser of values alone stops at the root of the rounding."""
    h = 1e-3 * scale
    for _ in range(3):
        f = [function(at + k * h) for k in (-2, -1, 0, 1, 2)]
        slope = (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * h)
        curvature = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * h**2)
        if curvature <= 0:
            break
        at -= slope / curvature
    return at


def divw(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    over_dispersion: bool = True,
    level: float = 0.95,
) -> Debiased:
    """Estimate by debiased inverse-variance weighting (Ye, Shao and Kang 2021).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    over_dispersion : bool
        Whether variants have pleiotropic effects of mean zero.
    level : float

    Returns
    -------
    Debiased
        Without attenuation by weak instruments as long as ``condition`` is large.
    """
    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 2)
    strength = (data.x**2 - data.sx**2) / data.sy**2
    condition = (data.mean_f - 1) * np.sqrt(len(data))
    _weak(condition)
    estimate = float((data.x * data.y / data.sy**2).sum() / strength.sum())
    tau2 = _pleiotropy(data, estimate) if over_dispersion else 0.0
    se = float(np.sqrt(_variance(data, estimate, tau2).sum())) / abs(float(strength.sum()))
    ci, p_value = interval(estimate, se, level)
    return Debiased(estimate, se, ci, p_value, float(condition), tau2)


def pivw(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    penalty: float = 1.0,
    over_dispersion: bool = True,
    level: float = 0.95,
) -> Debiased:
    """Estimate by penalised inverse-variance weighting (Xu et al. 2023): the debiased ratio, kept away from a zero below.

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    penalty : float
        Of the log likelihood of the denominator.
    over_dispersion : bool
    level : float

    Returns
    -------
    Debiased
    """
    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 2)
    w = data.sy**-2.0
    condition = (data.mean_f - 1) * np.sqrt(len(data))
    _weak(condition)
    above, below = float((w * data.x * data.y).sum()), float((w * (data.x**2 - data.sx**2)).sum())
    variance = float((w**2 * (4 * (data.x**2 - data.sx**2) * data.sx**2 + 2 * data.sx**4)).sum())
    crossed = float((w**2 * 2 * data.x * data.y * data.sx**2).sum())
    kept = below / 2 + np.sign(below) * np.sqrt(below**2 / 4 + penalty * variance)
    estimate = float((above + crossed / variance * (kept - below)) / kept)
    tau2 = _pleiotropy(data, estimate) if over_dispersion else 0.0
    se = float(np.sqrt(_variance(data, estimate, tau2).sum())) / abs(float(kept))
    ci, p_value = interval(estimate, se, level)
    return Debiased(estimate, se, ci, p_value, float(condition), tau2)


def _weak(condition: float) -> None:
    if condition <= 0:
        raise InputError(
            f"mendelian_randomization: the instruments' mean F is {'1 or less'}: they say nothing of the exposure "
            "beyond noise. Choose stronger variants."
        )


def _pleiotropy(data: Variants, estimate: float) -> float:
    w = data.sy**-2.0
    excess = (data.y - estimate * data.x) ** 2 - data.sy**2 - estimate**2 * data.sx**2
    return max(0.0, float((w * excess).sum() / w.sum()))


def _variance(data: Variants, estimate: float, tau2: float) -> Array:
    """Variance of each variant's part of the numerator, at the estimate."""
    ratio2, mu2 = (data.sx / data.sy) ** 2, (data.x / data.sx) ** 2
    own = ratio2 * mu2 * (1 + tau2 / data.sy**2)
    return np.asarray(own + estimate**2 * ratio2**2 * (mu2 + 1))


LOSSES: dict[str, float] = {"l2": np.inf, "huber": 1.345, "tukey": 4.685}
"""Tuning constants, for an efficiency of 95 % under normal errors."""


def raps(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    loss: str = "huber",
    over_dispersion: bool = True,
    level: float = 0.95,
) -> Raps:
    """Estimate by the robust adjusted profile score (Zhao et al. 2020).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    loss : {"huber", "tukey", "l2"}
    over_dispersion : bool
        Whether variants have pleiotropic effects of mean zero, whose variance is estimated.
    level : float

    Returns
    -------
    Raps
        Of all roots of the equations, the one nearest to the weighted median; those at tau2 = 0 count only if there
        is no other, since the equations can have such a root beside the right one.
    """
    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome)
    _one_of("loss", loss, tuple(LOSSES))
    score = _Score(data, loss)
    roots = _roots(score, over_dispersion)
    if not roots and over_dispersion:
        roots, over_dispersion = _roots(score, False), False
    if not roots:
        raise InputError("mendelian_randomization: the profile score has no root: the instruments are too weak.")
    from .medians import _median

    centre = float(_median(data.ratio[None], data.ratio_se() ** -2.0)[0])
    roots.sort(key=lambda root: abs(root[0] - centre))
    estimate, tau2 = roots[0]
    se, tau2_se = score.standard_errors(estimate, tau2, over_dispersion)
    ci, p_value = interval(estimate, se, level)
    return Raps(estimate, se, ci, p_value, tau2, tau2_se, tuple(root[0] for root in roots[1:]))


class _Score:
    """The estimating equations and what their standard errors need."""

    def __init__(self, data: Variants, loss: str) -> None:
        from scipy.integrate import quad
        from scipy.stats import norm

        self.data, self.c, self.tukey = data, LOSSES[loss], loss == "tukey"

        def mean(function: Callable[[float], float]) -> float:
            def weighted(x: float) -> float:
                return function(x) * float(norm.pdf(x))

            cut = self.c if np.isfinite(self.c) else 0.0
            parts = [(-12.0, -cut), (-cut, cut), (cut, 12.0)]
            return float(sum(quad(weighted, a, b, epsabs=1e-13)[0] for a, b in parts if b > a))

        self.delta = mean(lambda x: x * float(self.psi(np.array(x))))
        self.c1 = mean(lambda x: float(self.psi(np.array(x))) ** 2)
        self.c2 = mean(lambda x: x**2 * float(self.psi(np.array(x))) ** 2) - self.delta**2
        self.c3 = mean(lambda x: x**2 * float(self.slope(np.array(x))))

    def psi(self, t: Array) -> Array:
        """Derivative of the loss."""
        if self.tukey:
            return np.where(np.abs(t) < self.c, t * (1 - (t / self.c) ** 2) ** 2, 0.0)
        return np.clip(t, -self.c, self.c)

    def slope(self, t: Array) -> Array:
        """Return the derivative of psi."""
        inside = np.abs(t) < self.c
        if self.tukey:
            v = (t / self.c) ** 2
            return np.where(inside, (1 - v) * (1 - 5 * v), 0.0)
        return np.where(inside, 1.0, 0.0)

    def parts(self, beta: float, tau2: float) -> tuple[Array, Array, Array, Array]:
        """Return standardised residuals, their variances, the profiled effects on the exposure and their precisions."""
        d = self.data
        outcome = d.sy**2 + tau2
        v = outcome + (beta * d.sx) ** 2
        precision = d.sx**-2.0 + beta**2 / outcome
        return (d.y - beta * d.x) / np.sqrt(v), v, (d.x / d.sx**2 + beta * d.y / outcome) / precision, precision

    def equations(self, beta: float, tau2: float) -> Array:
        """Return the score of the effect and the equation of the pleiotropy's variance, scaled."""
        t, v, gamma, _ = self.parts(beta, tau2)
        psi = self.psi(t)
        first = float((gamma * psi / np.sqrt(v)).sum()) / np.sqrt(float((gamma**2 / v).sum()))
        second = float(((t * psi - self.delta) / v).sum()) / np.sqrt(float((v**-2.0).sum()))
        return np.array([first, second])

    def standard_errors(self, beta: float, tau2: float, over_dispersion: bool) -> tuple[float, float]:
        """Sandwich standard errors of the effect and of tau2."""
        d = self.data
        t, v, gamma, precision = self.parts(beta, tau2)
        outcome, psi = d.sy**2 + tau2, self.psi(t)
        by_beta, by_tau2 = d.y / outcome / precision, -beta * d.y / outcome**2 / precision
        own = float(((by_beta * psi - gamma * self.delta * d.x / np.sqrt(v)) / np.sqrt(v)).sum())
        middle = self.c1 * float((gamma**2 / v).sum())
        if not over_dispersion:
            return float(np.sqrt(middle)) / abs(own), 0.0
        slopes = np.array(
            [[own, float((by_tau2 * psi / np.sqrt(v)).sum())], [0.0, (self.delta + self.c3) / 2 * (v**-2.0).sum()]]
        )
        inverse = np.linalg.inv(slopes)
        variance = inverse @ np.diag([middle, self.c2 * float((v**-2.0).sum())]) @ inverse.T
        return float(np.sqrt(variance[0, 0])), float(np.sqrt(variance[1, 1]))


def _roots(score: _Score, over_dispersion: bool) -> list[tuple[float, float]]:
    """Find the roots of the equations from many starts."""
    from scipy.optimize import brentq, root

    data = score.data
    spread = float(np.median(np.abs(data.ratio - np.median(data.ratio)))) + float(np.abs(np.median(data.ratio)))
    centre = float((data.x * data.y / data.sy**2).sum() / (data.x**2 / data.sy**2).sum())
    grid = centre + 3 * spread * np.linspace(-1, 1, 121)
    found: list[tuple[float, float]] = []
    if not over_dispersion:
        values = [float(score.equations(float(b), 0.0)[0]) for b in grid]
        for a, b, left, right in zip(grid[:-1], grid[1:], values[:-1], values[1:], strict=True):
            if left > 0 >= right:  # a maximum of the profile likelihood
                at = brentq(lambda beta: float(score.equations(beta, 0.0)[0]), float(a), float(b), xtol=1e-14)
                found.append((float(at), 0.0))
        return found
    typical = float(np.median(data.sy**2))
    for beta in grid[::6]:
        for start in (0.1, 1.0, 10.0):

            def equations(p: Array) -> Array:
                return score.equations(float(p[0]), typical * float(np.exp(np.clip(p[1], -30, 30))))

            solved = root(equations, [float(beta), np.log(start)])
            tau2 = typical * float(np.exp(np.clip(solved.x[1], -30, 30)))
            if not solved.success or np.abs(solved.fun).max() > 1e-8 or not 1e-6 < tau2 / typical < 1e3:
                continue
            if all(abs(solved.x[0] - other[0]) > 1e-6 * spread for other in found):
                found.append((float(solved.x[0]), tau2))
    return found
