"""Estimators that are weighted regressions of outcome on exposure: IVW and Egger, penalised and robust."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError

from .estimates import Estimate, Variants, acting, interval, numbers, one_of, oriented, variants
from .robust import mm_regression

PENALTY = 100
"""A variant whose heterogeneity has a p value below one in so many is weighed down."""

LAWS = ("normal", "t")
"""Distributions that intervals and p values can be of."""

NEAR = 1e-6
"""How far rounding may take a matrix of correlations from one."""


@dataclass(frozen=True)
class Ivw(Estimate):
    """Inverse-variance weighted estimate.

    Attributes
    ----------
    Q, Q_p : float
        Cochran's heterogeneity and its p value on J - 1 degrees of freedom.
    residual_se : float
        Multiplies the fixed-effect standard error where it is above 1 (random effects).
    mean_f : float
        Mean F statistic of the instruments.
    """

    Q: float
    Q_p: float
    residual_se: float
    mean_f: float


@dataclass(frozen=True)
class Egger(Estimate):
    """Egger regression: slope, and the intercept as a test of directional pleiotropy.

    Attributes
    ----------
    intercept, intercept_se, intercept_p : float
        Mean pleiotropic effect of an allele that raises the exposure.
    Q, Q_p : float
        Heterogeneity on J - 2 degrees of freedom.
    residual_se : float
    i2_gx : float
        Expected dilution of the slope by the exposure's errors (Bowden et al. 2016).
    """

    intercept: float
    intercept_se: float
    intercept_p: float
    Q: float
    Q_p: float
    residual_se: float
    i2_gx: float


def ivw(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    model: str = "random",
    weights: str = "simple",
    penalised: bool = False,
    robust: bool = False,
    correlation: ArrayLike | None = None,
    distribution: str = "normal",
    level: float = 0.95,
) -> Ivw:
    """Estimate by inverse-variance weighting: regression through the origin (Burgess, Butterworth and Thompson 2013).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    model : {"random", "fixed"}
        Whether heterogeneity widens the standard error (multiplicatively, never below the fixed one).
    weights : {"simple", "delta"}
        Inverse variances of the outcome, or with the exposure's error to second order.
    penalised : bool
        Weigh down variants far from the others (Burgess et al. 2016).
    robust : bool
        MM-regression (Yohai 1987) in place of least squares.
    correlation : array_like, shape (J, J), optional
        Of the variants: generalised least squares (Burgess, Dudbridge and Thompson 2016).
    distribution : {"normal", "t"}
    level : float

    Returns
    -------
    Ivw

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than two variants, or three with ``correlation``), or an option is not known.
    """
    from scipy.stats import chi2

    data = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 2 if correlation is None else 3)
    one_of("model", model, ("random", "fixed"))
    one_of("weights", weights, ("simple", "delta"))
    one_of("distribution", distribution, LAWS)
    degrees = len(data) - 1
    weight = _weights(data, weights)
    if penalised:
        weight = weight * _penalties(data)
    design = data.x[:, None]
    if correlation is not None:
        if not weight.all():
            raise InputError(
                f"mendelian_randomization: variant {int(weight.argmin())} has no weight, and so no place among "
                "correlated variants: beta_exposure is 0. Drop it, or use weights='simple'."
            )
        columns = np.column_stack([data.x, data.y])
        design, response = whitened(columns, numbers("correlation", correlation), np.sqrt(weight))
    else:
        design, response = design * np.sqrt(weight)[:, None], data.y * np.sqrt(weight)
    coefficient, covariance, scale = _fitted(design, response, robust)
    se = _standard_error(covariance, scale, model, robust)[0]
    estimate = float(coefficient[0])
    ci, p_value = interval(estimate, se, level, degrees if distribution == "t" else np.inf)
    Q = float(((response - design @ coefficient) ** 2).sum())
    return Ivw(estimate, se, ci, p_value, Q, float(chi2.sf(Q, degrees)), scale, data.mean_f)


def egger(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    penalised: bool = False,
    robust: bool = False,
    correlation: ArrayLike | None = None,
    distribution: str = "normal",
    level: float = 0.95,
) -> Egger:
    """Estimate by Egger regression: with an intercept, alleles coded to raise the exposure (Bowden et al. 2015).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    penalised, robust, correlation
        As of :func:`ivw`; correlations are of the variants' effect alleles as given, and turned with them.
    distribution : {"normal", "t"}
    level : float

    Returns
    -------
    Egger
        Unbiased under directional pleiotropy if it does not depend on the instruments' strength (InSIDE).

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than three variants), all effects on the exposure are of one size, or an
        option is not known.
    """
    from scipy.stats import chi2

    one_of("distribution", distribution, LAWS)
    data = oriented(variants(beta_exposure, se_exposure, beta_outcome, se_outcome))
    acting(data)
    if np.ptp(data.x) <= 1e-12 * data.x.max():
        raise InputError(
            f"mendelian_randomization: beta_exposure is {data.x[0]:g} in size for all variants: no slope is told from "
            "an intercept. Give variants of different strength, or use ivw."
        )
    degrees = len(data) - 2
    weight = 1 / data.sy**2
    design = np.column_stack([np.ones(len(data)), data.x])
    if penalised:
        root = np.sqrt(weight)
        first, *_ = _fitted(design * root[:, None], data.y * root, False)
        weight = weight * np.minimum(1, PENALTY * chi2.sf(weight * (data.y - design @ first) ** 2, 1))
    root = np.sqrt(weight)
    if correlation is None:
        design, response = design * root[:, None], data.y * root
    else:
        turned = np.where(np.asarray(beta_exposure, dtype=float) < 0, -1.0, 1.0)
        matrix = numbers("correlation", correlation)
        if matrix.shape == (len(turned), len(turned)):
            matrix = matrix * np.outer(turned, turned)
        design, response = whitened(np.column_stack([design, data.y]), matrix, root)
    coefficient, covariance, scale = _fitted(design, response, robust)
    se = _standard_error(covariance, scale, "random", robust)
    law = degrees if distribution == "t" else np.inf
    ci, p_value = interval(float(coefficient[1]), se[1], level, law)
    _, intercept_p = interval(float(coefficient[0]), se[0], level, law)
    Q = float(((response - design @ coefficient) ** 2).sum())
    return Egger(
        float(coefficient[1]),
        se[1],
        ci,
        p_value,
        float(coefficient[0]),
        se[0],
        intercept_p,
        Q,
        float(chi2.sf(Q, degrees)),
        scale,
        i2_gx(data),
    )


def i2_gx(data: Variants) -> float:
    """I squared of the exposure's effects, weighted by the outcome's errors (Bowden et al. 2016)."""
    x, se = data.x / data.sy, data.sx / data.sy
    w = 1 / se**2
    Q = float((w * (x - (w * x).sum() / w.sum()) ** 2).sum())
    return max(0.0, (Q - (len(data) - 1)) / Q) if Q > 0 else 0.0


def _weights(data: Variants, weights: str) -> Array:
    """Inverse variances of y - theta x: of the outcome alone, or with the exposure's error at the variant's ratio."""
    acting(data)
    variance = data.sy**2
    if weights == "delta":
        with np.errstate(divide="ignore", invalid="ignore"):
            own = (data.y * data.sx / data.x) ** 2
        variance = variance + np.where(data.x == 0, np.inf, own)
    return np.asarray(1 / variance)


def _penalties(data: Variants) -> Array:
    """Factors of the weights, from each ratio's distance to the median ratio (Burgess et al. 2016)."""
    from scipy.stats import chi2

    some = data.x != 0
    middle = np.median(data.y[some] / data.x[some])
    return np.asarray(np.minimum(1, PENALTY * chi2.sf(((data.y - middle * data.x) / data.sy) ** 2, 1)))


def _fitted(design: Array, response: Array, robust: bool) -> tuple[Array, Array, float]:
    """Return coefficients, (X'X)^-1 or the robust covariance, and the residual standard error."""
    if robust:
        return mm_regression(design, response)
    inverse = np.linalg.inv(design.T @ design)
    coefficient = inverse @ (design.T @ response)
    residual = response - design @ coefficient
    return coefficient, inverse, float(np.sqrt(residual @ residual / (len(design) - design.shape[1])))


def _standard_error(covariance: Array, scale: float, model: str, robust: bool) -> list[float]:
    """Of fixed effects, or wider where residuals are; a robust covariance holds the square of their scale."""
    se = np.sqrt(np.diag(covariance))
    if robust and scale > 0:
        return [float(s) / (min(1.0, scale) if model == "random" else scale) for s in se]
    return [float(s) * (max(1.0, scale) if model == "random" else 1.0) for s in se]


def whitened(columns: Array, correlation: Array, root: Array) -> tuple[Array, Array]:
    """Return a design and a response, the last column, whose errors are independent."""
    _check_correlation(correlation, len(columns))
    try:
        factor = np.linalg.cholesky(correlation / np.outer(root, root))
    except np.linalg.LinAlgError as error:
        raise InputError(
            "mendelian_randomization: correlation is not positive definite: some variants say the same (or the "
            "entries contradict each other). Prune them."
        ) from error
    white = np.linalg.solve(factor, columns)
    return white[:, :-1], white[:, -1]


def _check_correlation(correlation: Array, J: int) -> None:
    """Reject what is no matrix of correlations, such as one of covariances."""
    if correlation.shape != (J, J):
        raise InputError(
            f"mendelian_randomization: correlation has shape {correlation.shape}. Give a symmetric matrix with a row "
            f"for each of the {J} variants."
        )
    for what, bad in (
        ("which is not finite", ~np.isfinite(correlation)),
        ("but correlations of a variant with itself are 1", np.diag(np.abs(np.diag(correlation) - 1) > NEAR)),
        ("but correlations lie between -1 and 1", np.abs(correlation) > 1 + NEAR),
        ("but the matrix must be symmetric", np.abs(correlation - correlation.T) > NEAR),
    ):
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise InputError(
                f"mendelian_randomization: correlation[{i}, {j}] is {correlation[i, j]:g}, {what} ({bad.sum()} of "
                f"{correlation.size} entries are like it). Give correlations, such as numpy.corrcoef returns."
            )
