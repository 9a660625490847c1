"""The mode-based estimate: the highest point of the smoothed density of the ratios (Hartwig et al. 2017)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genarium.declaration import Array
from genarium.settings import generator

from .estimates import Estimate, check_iterations, check_number, interval, one_of, variants, with_ratio

CELLS = 4
"""Cells of the grid within a bandwidth."""

REACH = 5
"""Bandwidths beyond which a kernel adds nothing that shows on the grid (exp(-12.5) of its own top)."""

NEARLY = 0.9
"""Tops of the density on the grid, which are off by a percent, from which steps uphill are taken."""

AT_ONCE = 2**19
"""Numbers in the arrays that samples are worked on in."""


@dataclass(frozen=True)
class Mode(Estimate):
    """Mode of the smoothed density of the ratios.

    Attributes
    ----------
    bandwidth : float
    """

    bandwidth: float


def mode(
    beta_exposure: ArrayLike,
    se_exposure: ArrayLike,
    beta_outcome: ArrayLike,
    se_outcome: ArrayLike,
    *,
    weighting: str = "weighted",
    weights: str = "delta",
    phi: float = 1.0,
    iterations: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Mode:
    """Estimate by the mode of the ratios: consistent if the largest group that agrees is valid (Hartwig et al. 2017).

    Parameters
    ----------
    beta_exposure, se_exposure, beta_outcome, se_outcome : array_like, shape (J,)
    weighting : {"weighted", "simple"}
    weights : {"simple", "delta"}
    phi : float
        Times the bandwidth 0.9 min(sd, MAD) J^(-1/5).
    iterations, seed : int
        Of the bootstrap of the ratios for the standard error.
    level : float

    Returns
    -------
    Mode
        The highest point of the density itself; programs that look for it on a grid are off by the grid's width.
        Effects of exactly 0 on the exposure have no ratio, and no part in the density.

    Raises
    ------
    InputError
        If the summary statistics cannot be used (lengths that differ, numbers that are not finite, standard errors that
        are not positive, fewer than three variants with an effect on the exposure) or an option is not
        known.
    """
    data = with_ratio(variants(beta_exposure, se_exposure, beta_outcome, se_outcome))
    one_of("weighting", weighting, ("weighted", "simple"))
    one_of("weights", weights, ("simple", "delta"))
    check_number("phi", phi, zero=False)
    check_iterations(iterations)
    ratio, se_ratio = data.ratio, data.ratio_se(weights)
    weight = se_ratio**-2.0 if weighting == "weighted" else np.ones(len(data))
    (estimate,), (bandwidth,) = highest(ratio[None], weight, phi)
    again, _ = highest(generator(seed).normal(ratio, se_ratio, (iterations, len(data))), weight, phi)
    deviation = np.abs(again - np.median(again))
    se = float(1.4826 * np.median(deviation))
    ci, p_value = interval(float(estimate), se, level)
    return Mode(float(estimate), se, ci, p_value, float(bandwidth))


def highest(ratio: Array, weight: Array, phi: float) -> tuple[Array, Array]:
    """Return the highest point of the weighted kernel density of each sample.

    The density on a grid says where tops are; from those that could be the highest, Newton steps (mean shifts, which
    never go down, where the density is not concave) go to the exact place.

    Parameters
    ----------
    ratio : ndarray, shape (B, J)
    weight : ndarray, shape (J,)
    phi : float
        Times the bandwidth.

    Returns
    -------
    top, bandwidth : ndarray, shape (B,)
        Where all ratios of a sample are equal, that ratio and 0.
    """
    step = max(1, AT_ONCE // ratio.shape[1])
    parts = [_highest(ratio[i : i + step], weight, phi) for i in range(0, len(ratio), step)]
    return np.concatenate([top for top, _ in parts]), np.concatenate([h for _, h in parts])


def _highest(ratio: Array, weight: Array, phi: float) -> tuple[Array, Array]:
    J = ratio.shape[1]
    order = np.argsort(ratio, axis=1)
    ratio, weight = np.take_along_axis(ratio, order, 1), weight[order] / weight.sum()
    sd = ratio.std(1, ddof=1)
    mad = 1.4826 * np.median(np.abs(ratio - np.median(ratio, 1)[:, None]), axis=1)
    h = 0.9 * np.where(mad > 0, np.minimum(sd, mad), sd) * J**-0.2 * phi
    same = np.ptp(ratio, axis=1) <= 1e-12 * np.abs(ratio).max(1)
    h[same] = 0
    top = ratio[:, 0].copy()
    if same.all():
        return top, h
    own, some = np.flatnonzero(~same), ~same
    sample, at = _tops(ratio[some], weight[some], h[some])
    at, height = _climb(ratio[some][sample], weight[some][sample], h[some][sample], at)
    best = np.lexsort((height, sample))  # the last of each sample is its highest
    last = np.r_[np.flatnonzero(np.diff(sample[best])), len(best) - 1]
    top[own[sample[best[last]]]] = at[best[last]]
    return top, h


def _tops(ratio: Array, weight: Array, h: Array) -> tuple[Array, Array]:
    """Return samples and places of tops of the density on a grid, as high as the highest but for the grid's error."""
    from scipy.ndimage import gaussian_filter1d

    B = len(ratio)
    # gaps that no kernel reaches across are made shorter
    steps = np.minimum(np.diff(ratio, axis=1), 2 * REACH * h[:, None]) * (CELLS / h[:, None])
    place = np.concatenate([np.zeros((B, 1)), steps.cumsum(1)], 1) + REACH * CELLS
    cell = place.astype(int)
    width = int(cell.max()) + REACH * CELLS + 2
    part, flat = place - cell, cell + width * np.arange(B)[:, None]
    density = np.bincount(flat.ravel(), ((1 - part) * weight).ravel(), B * width)
    density += np.bincount(flat.ravel() + 1, (part * weight).ravel(), B * width)
    density = gaussian_filter1d(density.reshape(B, width), CELLS, axis=1, mode="constant", truncate=REACH)
    inner = density[:, 1:-1]
    high = (inner >= density[:, :-2]) & (inner > density[:, 2:]) & (inner >= NEARLY * density.max(1)[:, None])
    sample, cells = np.nonzero(high)
    node = cells + 1.0
    # back from the grid, by a ratio nearby: there is one within the bandwidth of every top
    left = np.array([np.searchsorted(place[b], at) for b, at in zip(sample, node, strict=True)], dtype=int)
    near = np.minimum(left, ratio.shape[1] - 1)
    before = np.maximum(near - 1, 0)
    near = np.where(np.abs(node - place[sample, before]) < np.abs(node - place[sample, near]), before, near)
    return sample, ratio[sample, near] + (node - place[sample, near]) * h[sample] / CELLS


def _climb(ratio: Array, weight: Array, h: Array, at: Array) -> tuple[Array, Array]:
    """Go uphill from places, one a row, to where the density is level; return places and heights."""
    height, shift, bend = _density(ratio, weight, h, at)
    active = np.arange(len(at))
    for _ in range(500):
        active = active[np.abs(shift[active]) > 1e-11 * h[active]]
        if not active.size:
            break
        safe = at[active] + shift[active]
        newton = at[active] + np.clip(shift[active] / np.maximum(bend[active], 0.05), -h[active] / 2, h[active] / 2)
        trial = np.where(bend[active] > 0.05, newton, safe)
        found = _density(ratio[active], weight[active], h[active], trial)
        down = found[0] < height[active] * (1 - 1e-14)
        if down.any():
            trial[down] = safe[down]
            again = _density(ratio[active[down]], weight[active[down]], h[active[down]], safe[down])
            for old, new in zip(found, again, strict=True):
                old[down] = new
        at[active] = trial
        height[active], shift[active], bend[active] = found
    return at, height


def _density(ratio: Array, weight: Array, h: Array, at: Array) -> tuple[Array, Array, Array]:
    """Return the density at a place, the mean shift, and 1 less the kernel's variance over that of the bandwidth."""
    u = (ratio - at[:, None]) / h[:, None]
    kernel = weight * np.exp(-0.5 * u * u)
    height = kernel.sum(1)
    kernel *= u
    shift = kernel.sum(1) / height
    return height, shift * h, 1 - np.einsum("ij,ij->i", kernel, u) / height
