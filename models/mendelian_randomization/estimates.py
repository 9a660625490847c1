"""What the classical estimators take and return: summary statistics of J variants, and a small frozen result."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError

LEAST = 3
"""Variants that an estimate with a standard error needs."""


@dataclass(frozen=True)
class Estimate:
    """A causal effect of the exposure on the outcome.

    Attributes
    ----------
    estimate : float
        Units of the outcome for a unit of the exposure.
    se : float
    ci : tuple of float
        At the level asked for, 95 % if none was.
    p_value : float
        Two-sided, of no effect.
    """

    estimate: float
    se: float
    ci: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Variants:
    """Summary statistics: effects on exposure (x) and outcome (y) and their standard errors, each of shape (J,)."""

    x: Array
    sx: Array
    y: Array
    sy: Array

    def __len__(self) -> int:
        return len(self.x)

    @property
    def ratio(self) -> Array:
        """Wald ratio of each variant; an effect of exactly 0 on the exposure has none."""
        zero = np.flatnonzero(self.x == 0)
        if zero.size:
            raise InputError(
                f"mendelian_randomization: beta_exposure[{zero[0]}] is 0, so that the variant has no ratio "
                f"({zero.size} of {len(self)} are like it). Drop such variants, or use ivw, egger, "
                "maximum_likelihood, divw or pivw."
            )
        return np.asarray(self.y / self.x)

    def ratio_se(self, weights: str = "simple") -> Array:
        """Return standard errors of the ratios: first order (``simple``), or with the exposure's error (``delta``)."""
        first = (self.sy / self.x) ** 2
        return np.sqrt(first + (self.y * self.sx / self.x**2) ** 2 if weights == "delta" else first)

    @property
    def mean_f(self) -> float:
        """Mean F statistic of the instruments: their strength."""
        return float(((self.x / self.sx) ** 2).mean())


def variants(
    beta_exposure: ArrayLike, se_exposure: ArrayLike, beta_outcome: ArrayLike, se_outcome: ArrayLike, least: int = LEAST
) -> Variants:
    """Check summary statistics.

    Raises
    ------
    InputError
        If lengths differ, a number is not finite, a standard error is not positive, or there are too few variants.
    """
    given = {
        "beta_exposure": beta_exposure,
        "se_exposure": se_exposure,
        "beta_outcome": beta_outcome,
        "se_outcome": se_outcome,
    }
    arrays = {name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in given.items()}
    size = arrays["beta_exposure"].shape
    for name, value in arrays.items():
        if value.ndim != 1 or value.shape != size:
            raise InputError(
                f"mendelian_randomization: {name} has shape {value.shape}, beta_exposure {size}. Give one number for "
                "each variant, in the same order."
            )
        bad = np.flatnonzero(~np.isfinite(value) | (value <= 0 if name.startswith("se") else False))
        if bad.size:
            wanted = "a positive number" if name.startswith("se") else "a finite number"
            raise InputError(
                f"mendelian_randomization: {name}[{bad[0]}] is {value[bad[0]]:g}, but must be {wanted} ({bad.size} of "
                f"{value.size} are not). Drop such variants."
            )
    if size[0] < least:
        raise InputError(f"mendelian_randomization: {size[0]} variants; this estimator needs at least {least}.")
    return Variants(*arrays.values())


def error_covariance(data: Variants, covariance: ArrayLike) -> Array:
    """Check covariances of the variants' two errors, one for each variant or one for all; shape (J,)."""
    try:
        c = np.broadcast_to(np.asarray(covariance, dtype=float), data.x.shape)
    except ValueError as error:
        raise InputError(
            f"mendelian_randomization: covariance has shape {np.shape(covariance)}, beta_exposure {data.x.shape}. Give "
            "one number for each variant, or one for all."
        ) from error
    bad = np.flatnonzero(~(np.abs(c) < data.sx * data.sy))
    if bad.size:
        j = bad[0]
        raise InputError(
            f"mendelian_randomization: covariance[{j}] is {c[j]:g}, but must be below se_exposure se_outcome = "
            f"{data.sx[j] * data.sy[j]:g} in size ({bad.size} of {len(data)} are not). Give covariances, not "
            "correlations."
        )
    return c


def check_level(level: float) -> None:
    """Reject the level of an interval that is no proportion."""
    if not 0 < level < 1:
        raise InputError(f"mendelian_randomization: level={level:g} must lie between 0 and 1. Use 0.95 for 95 %.")


def interval(
    estimate: float, se: float, level: float = 0.95, degrees: float = np.inf
) -> tuple[tuple[float, float], float]:
    """Return confidence interval and two-sided p value, from the normal or from Student's distribution."""
    from scipy.stats import norm, t

    check_level(level)
    law = norm if np.isinf(degrees) else t(degrees)
    reach = float(law.ppf(0.5 + level / 2)) * se
    p_value = float(2 * law.sf(abs(estimate / se))) if se > 0 else float("nan")
    return (estimate - reach, estimate + reach), p_value


def oriented(data: Variants) -> Variants:
    """Code each variant by the allele that raises the exposure."""
    sign = np.where(data.x < 0, -1.0, 1.0)
    return Variants(data.x * sign, data.sx, data.y * sign, data.sy)
