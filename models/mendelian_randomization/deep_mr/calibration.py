"""Calibration of predictive distributions by isotonic regression on quantile proportions (Kuleshov et al. 2018).

If a forecaster's distribution functions F_i are right, F_i(y_i) is uniform. Where it is not, R, the share of held-out
observations with F_i(y_i) <= p, turns them right: R(F_i(y)) is calibrated. The share is that of *quantiles*; a map
fitted to centred intervals cannot see a bias, and a shift made from it adds one.
"""

from dataclasses import dataclass

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

LEAST = 20
"""Held-out observations that a calibration needs."""


@dataclass(frozen=True)
class Calibration:
    """The map R from forecast to observed proportions, kept on the scale of standardised residuals.

    Attributes
    ----------
    forecast : ndarray, shape (K,)
        Knots: residuals in standard deviations of the forecast, rising; as proportions they could not be told from 0
        and 1 beyond 8 or so.
    observed : ndarray, shape (K,)
        Share of observations below, rising, between 0 and 1. Linear in between on the scale of normal quantiles, and
        beyond the knots with the slope of all.
    """

    forecast: Array
    observed: Array

    def proportion(self, p: Array) -> Array:
        """Return R(p): how often observations fall below the forecast's p-quantile."""
        from scipy.stats import norm

        z, normal = self.forecast, norm.ppf(self.observed)
        return np.asarray(norm.cdf(_line(norm.ppf(p), z, normal, 1 / self._slope)))

    def quantile(self, mean: Array, sd: Array, level: float) -> Array:
        """Return the calibrated quantile of normal forecasts."""
        return np.asarray(mean + sd * float(self._standard(np.asarray(level))))

    def moments(self, nodes: int = 4000) -> tuple[float, float]:
        """Shift and factor: a calibrated forecast has mean + shift sd and factor sd as its mean and sd."""
        z = self._standard((np.arange(nodes) + 0.5) / nodes)
        return float(z.mean()), float(z.std())

    def _standard(self, level: Array) -> Array:
        """Return calibrated quantiles, in standard deviations from the forecast's mean."""
        from scipy.stats import norm

        return _line(norm.ppf(level), norm.ppf(self.observed), self.forecast, self._slope)

    @property
    def _slope(self) -> float:
        return float(np.std(self.forecast))


def _line(at: Array, x: Array, y: Array, slope: float) -> Array:
    """Interpolate, and go on with a slope beyond the ends."""
    beyond = np.minimum(at - x[0], 0) + np.maximum(at - x[-1], 0)
    return np.asarray(np.interp(at, x, y) + slope * beyond)


def calibrate(mean: Array, sd: Array, y: Array) -> Calibration:
    """Fit the map on held-out data: never those that the model was trained or will be judged on.

    Parameters
    ----------
    mean, sd, y : ndarray, shape (n,)
        Normal forecasts and what was observed.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If there are too few observations, or numbers are not finite.
    """
    mean, sd, y = (np.asarray(v, dtype=float).ravel() for v in (mean, sd, y))
    if not mean.size == sd.size == y.size:
        raise InputError(f"deep_mr: calibration got {mean.size} means, {sd.size} sds and {y.size} observations.")
    if y.size < LEAST:
        raise InputError(f"deep_mr: calibration needs {LEAST} or more held-out observations, not {y.size}.")
    if not (np.isfinite(mean).all() and np.isfinite(y).all() and (sd > 0).all()):
        raise InputError("deep_mr: calibration needs finite means and observations, and positive sds.")
    z = np.sort((y - mean) / sd)
    if z[0] == z[-1]:
        raise InputError(f"deep_mr: calibration got residuals that are all {z[0]:g} sds: nothing to calibrate by.")
    share = (np.arange(y.size) + 0.5) / y.size  # the least-squares isotonic fit to (z, share) is this step function
    knots, first = np.unique(z, return_index=True)
    last = np.append(first[1:], y.size) - 1
    return Calibration(knots, 0.5 * (share[first] + share[last]))
