"""Robust adjusted profile score: weak instruments, balanced pleiotropy and outliers at once (Zhao et al. 2020)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError

from .estimates import Estimate, Variants, acting, error_covariance, interval, one_of, variants, with_ratio
from .medians import median

LOSSES: dict[str, float] = {"l2": np.inf, "huber": 1.345, "tukey": 4.685}
"""Tuning constants, for an efficiency of 95 % under normal errors."""


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


def raps(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    loss: str = "huber",
    over_dispersion: bool = True,
    covariance: ArrayLike = 0.0,
    level: float = 0.95,
) -> Raps:
    """Estimate by the robust adjusted profile score (Zhao et al. 2020).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    loss : {"huber", "tukey", "l2"}
    over_dispersion : bool
        Whether variants have pleiotropic effects of mean zero, whose variance is estimated.
    covariance : array_like, shape (J,) or ()
        Of the errors of a variant's two effects (overlapping samples).
    level : float

    Returns
    -------
    Raps
        Tukey's score falls back to zero, so that its equations have roots beside the right one: of them all, the one
        nearest to Huber's estimate (of Huber's and of the likelihood's own, the nearest to the weighted median, which
        is drawn to zero by weak instruments and so decides between these only). Those at tau2 = 0 count only if there
        is no other.

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than three variants, none that acts on the exposure) or an option is not
        known.
    """
    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome)
    one_of("loss", loss, tuple(LOSSES))
    acting(data)
    score = _Score(data, loss, error_covariance(data, covariance))
    roots, over_dispersion = _ordered_roots(data, loss, score, over_dispersion)
    estimate, tau2 = roots[0]
    se, tau2_se = score.standard_errors(estimate, tau2, over_dispersion)
    ci, p_value = interval(estimate, se, level)
    return Raps(estimate, se, ci, p_value, tau2, tau2_se, tuple(root[0] for root in roots[1:]))


def _ordered_roots(
    data: Variants, loss: str, score: "_Score", over_dispersion: bool
) -> tuple[list[tuple[float, float]], bool]:
    """Return the roots, the one to take first, and whether they hold an over-dispersion."""
    roots = _roots(score, over_dispersion)
    if not roots and over_dispersion:
        roots, over_dispersion = _roots(score, False), False
    if not roots:
        raise InputError(
            "mendelian_randomization: the profile score has no root: the instruments are too weak, or "
            "a variant lies far beyond all others. Choose stronger ones, or use loss='tukey'."
        )
    if len(roots) > 1:
        centre = _centre(data, loss, score, over_dispersion)
        roots.sort(key=lambda root: abs(root[0] - centre))
    return roots, over_dispersion


def _centre(data: Variants, loss: str, score: "_Score", over_dispersion: bool) -> float:
    """Return where the right root is nearby: Huber's estimate for Tukey's score, else the weighted median."""
    if loss == "tukey":
        try:
            return _ordered_roots(data, "huber", _Score(data, "huber", score.covariance), over_dispersion)[0][0][0]
        except InputError:  # Huber's has none: go by the median
            pass
    data = with_ratio(data)
    return median(data.ratio, data.ratio_se() ** -2.0)


class _Score:
    """The estimating equations and what their standard errors need."""

    def __init__(self, data: Variants, loss: str, covariance: Array) -> None:
        from scipy.integrate import quad
        from scipy.stats import norm

        self.data, self.c, self.tukey = data, LOSSES[loss], loss == "tukey"
        self.covariance = covariance

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
        """Return the derivative of the loss."""
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

    def parts(self, beta: float, tau2: float) -> tuple[Array, Array, Array]:
        """Return standardised residuals, their variances, and the effects on the exposure, profiled."""
        d, c = self.data, self.covariance
        outcome = d.sy**2 + tau2
        v = outcome - 2 * beta * c + (beta * d.sx) ** 2
        gamma = ((outcome - beta * c) * d.x + (beta * d.sx**2 - c) * d.y) / v
        return (d.y - beta * d.x) / np.sqrt(v), v, gamma

    def equations(self, beta: float, tau2: float) -> Array:
        """Return the score of the effect and the equation of the pleiotropy's variance, scaled."""
        t, v, gamma = self.parts(beta, tau2)
        psi = self.psi(t)
        first = float((gamma * psi / np.sqrt(v)).sum()) / np.sqrt(float((gamma**2 / v).sum()))
        second = float(((t * psi - self.delta) / v).sum()) / np.sqrt(float((v**-2.0).sum()))
        return np.array([first, second])

    def standard_errors(self, beta: float, tau2: float, over_dispersion: bool) -> tuple[float, float]:
        """Sandwich standard errors of the effect and of tau2."""
        d = self.data
        t, v, gamma = self.parts(beta, tau2)
        outcome, psi = d.sy**2 + tau2, self.psi(t)
        by_beta, by_tau2 = (d.sx**2 * d.y - self.covariance * d.x) / v, d.x / v - gamma / outcome
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
    ratio = data.y[data.x != 0] / data.x[data.x != 0]
    spread = float(np.median(np.abs(ratio - np.median(ratio)))) + float(np.abs(np.median(ratio)))
    spread = spread or 3 * float((data.x**2 / data.sy**2).sum() ** -0.5)
    centre = float((data.x * data.y / data.sy**2).sum() / (data.x**2 / data.sy**2).sum())
    grid = centre + 3 * spread * np.linspace(-1, 1, 121)
    middle = median(ratio, (data.x / data.sy)[data.x != 0] ** 2) if len(ratio) > 1 else centre
    if abs(middle - centre) > 2 * spread:  # an outlier has drawn the mean away from where most ratios are
        grid = np.sort(np.concatenate([grid, middle + 3 * spread * np.linspace(-1, 1, 121)]))
    found: list[tuple[float, float]] = []
    if not over_dispersion:
        values = [float(score.equations(float(b), 0.0)[0]) for b in grid]
        for a, b, left, right in zip(grid[:-1], grid[1:], values[:-1], values[1:], strict=True):
            if left > 0 >= right:  # a maximum of the profile likelihood
                at = brentq(lambda beta: float(score.equations(beta, 0.0)[0]), float(a), float(b), xtol=1e-14 * spread)
                found.append((float(at), 0.0))
        return found
    typical = float(np.median(data.sy**2))
    most = 1e3 * max(typical, float(np.median(data.y**2)))
    for beta in grid[::6]:
        seen = (1.4826 * float(np.median(np.abs(data.y - beta * data.x)))) ** 2 / typical
        for start in (0.1, 1.0, 10.0, *([seen] if seen > 10 else [])):  # pleiotropy may be far beyond the errors

            def equations(p: Array) -> Array:
                return score.equations(float(p[0]), typical * float(np.exp(np.clip(p[1], -30, 30))))

            solved = root(equations, [float(beta), np.log(start)])
            tau2 = typical * float(np.exp(np.clip(solved.x[1], -30, 30)))
            if not solved.success or np.abs(solved.fun).max() > 1e-8 or not 1e-6 * typical < tau2 < most:
                continue
            if all(abs(solved.x[0] - other[0]) > 1e-6 * spread for other in found):
                found.append((float(solved.x[0]), tau2))
    return found
