"""The other side: a region's intercept has a second mode, of the other sign, where many of its variants are weak.

Of a weak variant nobody knows which allele raises the exposure, so that its effect on the outcome says how large the
intercept is, not of which sign; a slope that is too steep makes up for it in the others. Coordinate ascent does not get
from one to the other, whose bound is lower by an amount that grows with the data.
"""

import numpy as np

from genarium.declaration import Array, Problem

from . import intercepts
from .likelihood import log_likelihood, normal
from .story import INTERCEPT
from .sweep import Factors, Step

SLOPES, INTERCEPTS, ROUNDS = 21, 13, 3
"""Points of the grid of effects and intercepts; how often it closes in on its best point."""

WORTH = 1.0
"""Nats by which another pair of values must be better."""

HELD, VALLEY = 5.0, 2.0
"""Nats by which a second mode may be lower than the first; by which the density falls at least between them."""

BLOCK = 2_000_000
"""Numbers in a work array, at most."""


def other_side(problem: Problem, step: Step, state: Factors) -> Factors | None:
    """Return the state with effect and intercept of regions moved to a better mode; None if no region has one."""
    if problem["signs_given"]:
        return None
    best, centre = across(problem, step, state)
    better = best > by_region(problem, step, at_means(step, state), state.mean.T[:, None])[0] + WORTH
    if not better.any():
        return None
    return step.moved(state, np.where(better[:, None], centre.T, state.mean))


def divided(problem: Problem, step: Step, state: Factors) -> int:
    """Count the regions with a second mode that holds some of the posterior, which draws around the first one miss.

    Between the two, where the intercept is zero, the density is lower than at either, whatever the effect is.
    """
    if problem["signs_given"]:
        return 0
    at = at_means(step, state)
    other, _ = across(problem, step, state)
    own = by_region(problem, step, at, state.mean.T[:, None])[0]
    theta = state.mean[:, 0]
    reach = np.ptp(theta) + 4 * at["tau"]
    slopes = theta + reach * np.linspace(-1, 1, 2 * SLOPES)[:, None]
    between = by_region(problem, step, at, np.stack(np.broadcast_arrays(slopes, 0.0))).max(0)
    return int(((other > own - HELD) & (between < np.minimum(own, other) - VALLEY)).sum())


def across(problem: Problem, step: Step, state: Factors) -> tuple[Array, Array]:
    """Return the highest density of each region, (S,), and effect and intercept there, (2, S), on the other side.

    The density is that of the data of a region with gamma, kinds and pleiotropy summed out (eq. 4), at the expected
    spreads, as a function of theta and alpha, with alpha of the other sign than it has.
    """
    at = at_means(step, state)
    theta, alpha = state.mean.T
    width = np.ptp(theta) + 4 * at["tau"], 3 * INTERCEPT * step.Sy
    best, centre = np.full(step.S, -np.inf), np.stack([np.full(step.S, theta.mean()), -np.sign(alpha) * width[1] / 2])
    reach = width[0] / 2 + np.abs(theta - theta.mean()).max(), width[1] / 2
    for _ in range(ROUNDS):
        slopes = centre[0] + reach[0] * np.linspace(-1, 1, SLOPES)[:, None, None]
        intercepts = centre[1] + reach[1] * np.linspace(-1, 1, INTERCEPTS)[:, None]
        both = np.stack(np.broadcast_arrays(slopes, intercepts)).reshape(2, -1, step.S)  # (2, points, S)
        values = by_region(problem, step, at, both)
        values[both[1] * alpha > 0] = -np.inf
        top = values.argmax(0)
        best = values[top, np.arange(step.S)]
        centre = both[:, top, np.arange(step.S)]
        reach = 2 * reach[0] / (SLOPES - 1), 2 * reach[1] / (INTERCEPTS - 1)
    return best, centre


def at_means(step: Step, state: Factors) -> dict[str, float]:
    """Return the exponentials of the expected logs of spreads, the expected share, and the mean of Theta."""
    tau, sd, omega = (
        float(np.exp(np.exp(log) @ nodes))
        for log, nodes in zip((state.tau, state.sd, state.omega), step.nodes, strict=True)
    )
    return {"tau": tau, "sd": sd, "omega": omega, "share": state.share[0] / state.share.sum(), "whole": state.whole}


def by_region(problem: Problem, step: Step, at: dict[str, float], both: Array) -> Array:
    """Log density of each region's data and of its effect and intercept, (2, points, S); shape (points, S)."""
    out = normal(both[0] - at["whole"], np.asarray(at["tau"])) + intercepts.log_prior(both[1], step.Sy)
    size = max(1, BLOCK // len(step.x))
    for low in range(0, both.shape[1], size):
        theta, alpha = both[:, low : low + size]
        wide = {
            name: np.full(len(theta), at[of])
            for name, of in (("exposure_sd", "sd"), ("pleiotropy_sd", "omega"), ("strong_share", "share"))
        }
        each = problem.call(log_likelihood, theta=theta, intercept=alpha, **wide)  # (points, J)
        for s, some in enumerate(step.variants):
            out[low : low + size, s] += each[:, some].sum(1)
    return np.asarray(out)
