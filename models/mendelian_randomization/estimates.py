"""What the classical estimators take and return: summary statistics of J variants, and a small frozen result."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError

LEAST = 3
"""Variants that an estimate with a standard error needs."""

FAR = 1e30
"""Effects and errors beyond it, and errors below one over it, are refused: products of powers would overflow."""


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
        """Wald ratio of each variant; an effect of exactly 0 on the exposure has none (:func:`with_ratio`)."""
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
        If lengths differ, a number is not finite or too large or small to compute with, a standard error is not
        positive, or there are too few variants.
    """
    given = {
        "beta_exposure": beta_exposure,
        "se_exposure": se_exposure,
        "beta_outcome": beta_outcome,
        "se_outcome": se_outcome,
    }
    arrays = {name: np.atleast_1d(numbers(name, value)) for name, value in given.items()}
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
        far = np.flatnonzero((np.abs(value) > FAR) | (value < 1 / FAR if name.startswith("se") else False))
        if far.size:
            raise InputError(
                f"mendelian_randomization: {name}[{far[0]}] is {value[far[0]]:g}, whose powers no computer holds. Give "
                f"effects in units in which they lie between {1 / FAR:g} and {FAR:g}."
            )
    if size[0] < least:
        raise InputError(
            f"mendelian_randomization: {size[0]} variants; this estimator needs at least {least}. Give more"
            f"{', or use wald_ratio' if size[0] == 1 else ''}."
        )
    return Variants(*arrays.values())


def numbers(name: str, value: ArrayLike) -> Array:
    """Return an array of numbers; what is masked is missing (NaN).

    Raises
    ------
    InputError
        If it holds anything else.
    """
    try:
        if isinstance(value, np.ma.MaskedArray):
            value = np.ma.filled(value.astype(float), np.nan)
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"mendelian_randomization: {name} is to be numbers, all in one array ({error}).") from error


def with_ratio(data: Variants) -> Variants:
    """Return the variants that have a ratio: those with an effect on the exposure.

    An effect of exactly 0 makes the ratio infinite, of either sign, and its standard error too. It has no weight where
    weights are inverse variances, says the same of every effect in a mixture, adds nothing to a density anywhere, and
    as half a variant at either end moves no median. To leave it out is thus no choice, but what these estimators do.

    Raises
    ------
    InputError
        If fewer than three variants are left.
    """
    some = data.x != 0
    if some.sum() < LEAST:
        acting(data)
        raise InputError(
            f"mendelian_randomization: beta_exposure is 0 for {len(data) - some.sum()} of {len(data)} variants, which "
            f"have no ratio; this estimator needs at least {LEAST} others. Give variants that act on the exposure."
        )
    return data if some.all() else Variants(data.x[some], data.sx[some], data.y[some], data.sy[some])


def acting(data: Variants) -> None:
    """Reject variants none of which has an effect on the exposure."""
    if not data.x.any():
        raise InputError("mendelian_randomization: beta_exposure is 0 for all variants. Give variants that act on it.")


def error_covariance(data: Variants, covariance: ArrayLike) -> Array:
    """Check covariances of the variants' two errors, one for each variant or one for all; shape (J,)."""
    given = numbers("covariance", covariance)
    try:
        c = np.broadcast_to(given, data.x.shape)
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


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Reject the value of an option that is not among its choices."""
    if value not in allowed:
        raise InputError(f"mendelian_randomization: {option}={value!r} is not known; use one of {', '.join(allowed)}.")


def check_iterations(iterations: int) -> None:
    """Reject a number of bootstrap samples that no standard error can be taken of."""
    if isinstance(iterations, bool) or not isinstance(iterations, int | np.integer) or iterations < 2:
        raise InputError(
            f"mendelian_randomization: iterations={iterations!r} must be a whole number, two or more: so many "
            "samples are drawn."
        )


def is_number(value: object) -> bool:
    """Whether an option is one number (which may be NaN)."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def check_number(option: str, value: float, *, zero: bool) -> None:
    """Reject an option that is no finite number above zero (or zero, where that has a meaning)."""
    if not (is_number(value) and np.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise InputError(
            f"mendelian_randomization: {option}={_shown(value)} must be a finite number, "
            f"{'not below' if zero else 'above'} zero."
        )


def check_between(option: str, value: float, low: float, high: float, remedy: str) -> None:
    """Reject an option that is no number between two others, neither of them included."""
    if not (is_number(value) and low < value < high):
        raise InputError(
            f"mendelian_randomization: {option}={_shown(value)} must lie between {low:g} and {high:g}. {remedy}"
        )


def _shown(value: object) -> str:
    return f"{value:g}" if is_number(value) else repr(value)


def check_level(level: float) -> None:
    """Reject the level of an interval that is no proportion."""
    check_between("level", level, 0, 1, "Use 0.95 for 95 %.")


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


def shown_p(value: float, digits: int = 3) -> str:
    """Return a p value, which is never 0."""
    return "–" if not np.isfinite(value) else f"{value:.{digits}g}" if value > 0 else "< 1e-300"


def oriented(data: Variants) -> Variants:
    """Code each variant by the allele that raises the exposure."""
    sign = np.where(data.x < 0, -1.0, 1.0)
    return Variants(data.x * sign, data.sx, data.y * sign, data.sy)
