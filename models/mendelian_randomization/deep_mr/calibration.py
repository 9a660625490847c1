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
    """The map R from forecast to observed proportions.

    Attributes
    ----------
    forecast, observed : ndarray, shape (K,)
        Knots of the map, both rising from 0 to 1; linear in between.
    """

    forecast: Array
    observed: Array

    def proportion(self, p: Array) -> Array:
        """Return R(p): how often observations fall below the forecast's p-quantile."""
        return np.interp(p, self.forecast, self.observed)

    def quantile(self, mean: Array, sd: Array, level: float) -> Array:
        """Return the calibrated quantile of normal forecasts."""
        from scipy.stats import norm

        p = float(np.interp(level, self.observed, self.forecast))
        return np.asarray(mean + sd * norm.ppf(np.clip(p, 1e-12, 1 - 1e-12)))

    def moments(self, nodes: int = 4000) -> tuple[float, float]:
        """Shift and factor: a calibrated forecast has mean + shift sd and factor sd as its mean and sd."""
        from scipy.stats import norm

        levels = (np.arange(nodes) + 0.5) / nodes
        z = norm.ppf(np.clip(np.interp(levels, self.observed, self.forecast), 1e-12, 1 - 1e-12))
        return float(z.mean()), float(z.std())


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
    from scipy.stats import norm

    mean, sd, y = (np.asarray(v, dtype=float).ravel() for v in (mean, sd, y))
    if not mean.size == sd.size == y.size:
        raise InputError(f"deep_mr: calibration got {mean.size} means, {sd.size} sds and {y.size} observations.")
    if y.size < LEAST:
        raise InputError(f"deep_mr: calibration needs {LEAST} or more held-out observations, not {y.size}.")
    if not (np.isfinite(mean).all() and np.isfinite(y).all() and (sd > 0).all()):
        raise InputError("deep_mr: calibration needs finite means and observations, and positive sds.")
    p = np.sort(norm.cdf((y - mean) / sd))
    share = (np.arange(y.size) + 0.5) / y.size  # the least-squares isotonic fit to (p, share) is this step function
    knots, first = np.unique(p, return_index=True)
    last = np.append(first[1:], y.size) - 1
    level = 0.5 * (share[first] + share[last])
    keep = (knots > 0) & (knots < 1)
    return Calibration(np.concatenate([[0.0], knots[keep], [1.0]]), np.concatenate([[0.0], level[keep], [1.0]]))
