"""What single variants do to an estimate: leave-one-out, and PRESSO's tests of outliers and of distortion."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.settings import generator

from .estimates import Estimate, Variants, acting, check_between, check_iterations, interval, oriented, variants
from .regression import ivw


@dataclass(frozen=True)
class Presso(Estimate):
    """IVW without the outliers that PRESSO finds; ``se`` is that of multiplicative random effects.

    Attributes
    ----------
    rss : float
        Residual sum of squares, each variant against the estimate from the others.
    global_p : float
        p value of its being so large without pleiotropy.
    outliers : tuple of int
        Variants left out.
    outlier_p : ndarray, shape (J,)
        Bonferroni-corrected p value of each variant.
    with_outliers : float
        Estimate of all variants.
    distortion : float
        Relative change, (all - without) / |without|.
    distortion_p : float
        p value of the distortion, against those of resamples that hold the outliers; NaN without outliers.
    """

    rss: float
    global_p: float
    outliers: tuple[int, ...]
    outlier_p: Array
    with_outliers: float
    distortion: float
    distortion_p: float


def presso(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    iterations: int = 10_000,
    significance: float = 0.05,
    seed: int = 0,
    level: float = 0.95,
) -> Presso:
    """Find outliers by the residual sum of squares and leave them out (Verbanck et al. 2018).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    iterations : int
        Simulations of the statistics without pleiotropy; p values are no smaller than 1 over it, those of single
        variants, corrected for their number, no smaller than J over it. More than J / significance are needed.
    significance : float
        Of the tests.
    seed : int
    level : float

    Returns
    -------
    Presso
        Half of the variants or more as outliers is refused: then the others have no better claim to be valid.

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than four variants), ``iterations`` are too few to find an outlier among so
        many, or half of the variants or more are outliers.
    """
    # simulations, too, are the same whichever allele is coded
    data = oriented(variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 4))
    acting(data)
    rng = generator(seed)
    J = len(data)
    check_between("significance", significance, 0, 1, "Use 0.05 for 5 %.")
    check_iterations(iterations)
    if np.count_nonzero(data.x) == 1:
        raise InputError(
            "mendelian_randomization: beta_exposure is 0 for all variants but one, so that no other tells its effect. "
            "Give variants that act on the exposure."
        )
    if J / (iterations + 1) > significance:
        raise InputError(
            f"mendelian_randomization: iterations={iterations} cannot find an outlier among {J} variants: the least "
            f"corrected p value is {J / (iterations + 1):.2g}, above significance={significance:g}. Use iterations="
            f"{int(np.ceil(J / significance))} or more."
        )
    own = _others(data.x[None], data.y[None], data.sy)[0]  # slope from all others
    residual = (data.y - own * data.x) ** 2 / data.sy**2
    x = rng.normal(data.x, data.sx, (iterations, J))
    y = rng.normal(own * data.x, data.sy, (iterations, J))
    expected = (y - _others(x, y, data.sy) * x) ** 2 / data.sy**2
    global_p = _upper(expected.sum(1), float(residual.sum()))
    each = np.array([_upper(expected[:, j], float(residual[j])) for j in range(J)])
    corrected = np.minimum(1, each * J)
    found = np.flatnonzero(corrected <= significance) if global_p <= significance else np.array([], dtype=int)
    if 2 * len(found) >= J:
        raise InputError(
            f"mendelian_randomization: {len(found)} of {J} variants are outliers to PRESSO. With half of them or more "
            "no majority is left: use a mode-based estimate or the contamination mixture."
        )
    keep = np.setdiff1d(np.arange(J), found)
    every = ivw(data.x, data.sx, data.y, data.sy)
    rest = ivw(data.x[keep], data.sx[keep], data.y[keep], data.sy[keep])
    ci, p_value = interval(rest.estimate, rest.se, level)
    distortion = _change(every.estimate, rest.estimate)
    distortion_p = float("nan")
    if found.size:
        w = data.sy**-2.0
        # as many variants as were kept, the outliers among them
        others = rng.choice(keep, (iterations, len(keep) - len(found)))
        again = np.concatenate([np.tile(found, (iterations, 1)), others], 1)
        slopes = (w * data.x * data.y)[again].sum(1) / (w * data.x**2)[again].sum(1)
        # where variants are the same, changes are too, but for their rounding
        distortion_p = _upper(np.abs((every.estimate - slopes) / np.abs(slopes)), abs(distortion) * (1 - 1e-9))
    return Presso(
        rest.estimate,
        rest.se,
        ci,
        p_value,
        float(residual.sum()),
        global_p,
        tuple(int(j) for j in found),
        corrected,
        every.estimate,
        float(distortion),
        distortion_p,
    )


def _change(whole: float, rest: float) -> float:
    """Return how far an estimate is from that without outliers, in units of the latter."""
    if rest == 0:
        return 0.0 if whole == 0 else float(np.copysign(np.inf, whole))
    return (whole - rest) / abs(rest)


def _others(x: Array, y: Array, se: Array) -> Array:
    """Return the IVW slope of all variants but each; shapes (B, J)."""
    above, below = x * y / se**2, x**2 / se**2
    return np.asarray((above.sum(1, keepdims=True) - above) / (below.sum(1, keepdims=True) - below))


def _upper(simulated: Array, value: float) -> float:
    return float((1 + (simulated >= value).sum()) / (1 + len(simulated)))


def leave_one_out(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    estimator: Callable[..., Any] = ivw,
    **options: Any,
) -> list[Any]:
    """Estimate without each variant in turn.

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    estimator : callable
        Any of this module's neighbours.
    **options
        Of the estimator.

    Returns
    -------
    list
        One result for each variant left out.

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than four variants).
    """
    data: Variants = variants(beta_exposure, se_exposure, beta_outcome, se_outcome, 4)
    every = np.arange(len(data))
    parts = (data.x, data.sx, data.y, data.sy)
    return [estimator(*(part[every != j] for part in parts), **options) for j in every]
