"""How many independent draws a chain is worth, and which to keep; shapes: C chains, S draws, Q quantities.

ArviZ computes the same numbers for one quantity at a time; these do it for all quantities of a replicate at once, since
validation asks for them hundreds of times.
"""

import numpy as np

from genarium.declaration import Array

ROUNDING = 1e-13
"""Relative difference up to which values are one: sums that are constant (the log prior of a flat one) differ so."""


def effective(draws: Array) -> Array:
    """Effective sample size of the rank-normalised, split chains (Vehtari et al. 2021, eqs. 10 to 13).

    Parameters
    ----------
    draws : ndarray, shape (C, S, Q)

    Returns
    -------
    ndarray, shape (Q,)
        ``bulk`` ESS; C S for a quantity that does not vary.
    """
    chains = _normal_scores(_split(draws))
    C, S, Q = chains.shape
    means = chains.mean(1)
    centred = chains - means[:, None]
    padded = 2 ** int(np.ceil(np.log2(2 * S)))
    spectrum = np.abs(np.fft.rfft(centred, padded, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, padded, axis=1)[:, :S] / S  # (C, S, Q)
    within = covariance[:, 0].mean(0) * S / (S - 1)
    total = within * (S - 1) / S + (means.var(0, ddof=1) if C > 1 else 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - covariance.mean(0)) / total  # (S, Q)
    rho[0] = 1
    pairs = rho[: S // 2 * 2].reshape(-1, 2, Q).sum(1)  # Geyer's pairs: positive, then made to fall
    positive = np.cumprod(pairs > 0, axis=0).astype(bool)
    falling = np.minimum.accumulate(np.where(positive, pairs, np.inf), axis=0)
    first = np.minimum(2 * positive.sum(0), S - 1)  # the lag where the positive pairs end
    tau = -1 + 2 * np.where(positive, falling, 0).sum(0) + np.maximum(rho[first, np.arange(Q)], 0)
    tau = np.maximum(tau, 1 / np.log10(C * S))
    return np.where(total > 0, C * S / tau, float(C * S))


def potential_scale(draws: Array) -> Array:
    """Split R-hat of the rank-normalised draws and of their distances from the median (the larger); shape (Q,)."""
    halves = _split(draws)
    S = halves.shape[1]
    out = []
    for values in (halves, np.abs(halves - np.median(halves, axis=(0, 1)))):
        chains = _normal_scores(values)
        within, between = chains.var(1, ddof=1).mean(0), S * chains.mean(1).var(0, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            out.append(np.where(within > 0, np.sqrt((between / within + S - 1) / S), 1.0))
    return np.maximum(*out)


def thinned(count: int, keep: int) -> Array:
    """Positions of ``keep`` evenly spaced draws out of ``count``."""
    return ((np.arange(keep) + 0.5) * count / keep).astype(int)


def autocorrelation(draws: Array) -> Array:
    """Correlation of neighbours, draw by draw; (L, Q) to (Q,). Expected -1/L for independent draws; 0 of a constant."""
    centred = draws - draws.mean(0)
    power = (centred**2).sum(0)
    varies = power > len(draws) * (ROUNDING * np.abs(draws).max(0)) ** 2
    return np.where(varies, (centred[1:] * centred[:-1]).sum(0) / np.where(varies, power, 1), 0.0)


def _split(draws: Array) -> Array:
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _normal_scores(draws: Array) -> Array:
    """Replace draws by normal quantiles of their (average) ranks over all chains."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    C, S, Q = draws.shape
    ranks = rankdata(draws.reshape(-1, Q), axis=0)
    scores: Array = ndtri((ranks - 0.375) / (C * S + 0.25)).reshape(C, S, Q)
    return scores
