"""From the optimum of variational Bayes to draws of the posterior: linear response, then importance resampling.

Equation numbers refer to the card (README.md). The functions f whose covariance is wanted are (Theta, ln tau, theta,
alpha, ln sigma, ln omega, logit p), 5 + 2 S in all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines import importance
from genarium.engines.linear_response import linear_response, settled
from genarium.engines.resample import KHAT_USABLE, NORMAL_DRAWS, resample
from genarium.errors import ApproximationError

from . import intercepts
from .gibbs import gibbs
from .likelihood import log_likelihood
from .sides import divided
from .story import HETEROGENEITY, MEAN_SD, PLEIOTROPY
from .sweep import Factors, Step, Tilt, normalised

CHAINS, TUNE, THIN = 4, 250, 4
"""Of the short run of Gibbs sampling."""

BLOCK = 2_000_000
"""Numbers in a work array of the log density, at most."""


class Response:
    """Ascent as a map between vectors: moments of theta, alpha and Theta, E sigma^-2, E logit p, omega's weights."""

    def __init__(self, step: Step, state: Factors) -> None:
        self.step, self.around = step, state
        self.tilts = 5 + 2 * step.S
        self.state = self.vector(state)
        V = state.covariance
        sd = np.sqrt(np.stack([V[:, 0, 0], V[:, 1, 1]], 1))
        spread = np.stack([V[:, 0, 0], sd[:, 0] * sd[:, 1], V[:, 1, 1]], 1)
        rest = [np.sqrt(state.whole_var), state.whole_var, self.state[-len(state.omega) - 2], 1.0]
        self.scale = np.concatenate([sd.ravel(), spread.ravel(), rest, np.ones(len(state.omega))])

    def vector(self, state: Factors) -> Array:
        """Return what a sweep depends on in a row; weights of omega relative to their largest."""
        V = state.covariance
        packed = np.stack([V[:, 0, 0], V[:, 0, 1], V[:, 1, 1]], 1)
        own = self.step._inverse_square(state.sd, 1)
        log_omega = np.maximum(state.omega - state.omega[self.around.omega.argmax()], -60)
        return np.concatenate(
            [state.mean.ravel(), packed.ravel(), [state.whole, state.whole_var, own, logit(state)], log_omega]
        )

    def back(self, vector: Array) -> Factors:
        """Return factors that a sweep takes the same from; q(sigma) only has its E sigma^-2."""
        S = self.step.S
        mean, packed = vector[: 2 * S].reshape(S, 2), vector[2 * S : 5 * S].reshape(S, 3)
        V = np.empty((S, 2, 2))
        V[:, 0, 0], V[:, 0, 1], V[:, 1, 0], V[:, 1, 1] = packed[:, 0], packed[:, 1], packed[:, 1], packed[:, 2]
        whole, whole_var, own, odds = vector[5 * S : 5 * S + 4]
        sd = self.around.sd + np.log(own / self.step._inverse_square(self.around.sd, 1))  # any that gives E sigma^-2
        return replace(
            self.around,
            mean=mean,
            covariance=V,
            whole=float(whole),
            whole_var=float(whole_var),
            sd=sd,
            share=share_of(float(odds), self.around.share),
            omega=normalised(vector[5 * S + 4 :]),
        )

    def split(self, tilt: Array) -> Tilt:
        """Give the elements of a tilt their shapes."""
        S = self.step.S
        return Tilt(tilt[0], tilt[1], tilt[2 : 2 + S], tilt[2 + S : 2 + 2 * S], *tilt[-3:])

    def sweep(self, vector: Array, tilt: Array) -> Array:
        """Return the vector after one sweep under a tilt."""
        return self.vector(self.step.sweep(self.back(vector), self.split(tilt)))

    def mean(self, vector: Array, tilt: Array) -> Array:
        """Return the expectation of f under the factors that a sweep leads to."""
        return self.expectations(self.step.sweep(self.back(vector), self.split(tilt)))

    def expectations(self, state: Factors) -> Array:
        """Return the expectation of f."""
        tau, sd, omega = (
            float(np.exp(log) @ nodes)
            for log, nodes in zip((state.tau, state.sd, state.omega), self.step.nodes, strict=True)
        )
        return np.concatenate([[state.whole, tau], state.mean[:, 0], state.mean[:, 1], [sd, omega, logit(state)]])


def packing(step: Step, state: Factors) -> tuple[Callable[[Factors], Array], Callable[[Array], Factors]]:
    """Return maps from factors to a vector and back, for long steps: sweeps creep where share and spread trade off."""
    response = Response(step, state)

    def pack(at: Factors) -> Array:
        return np.asarray(response.vector(at) / response.scale)

    def unpack(vector: Array) -> Factors:
        """Return the factors after a sweep; those given at first, whose bound is low, where there are none."""
        with np.errstate(all="ignore"):  # what is no number, or no variance, is refused
            at = response.back(vector * response.scale)
            V = at.covariance
            good = at.whole_var > 0 and (V[:, 0, 0] > 0).all() and (V[:, 0, 0] * V[:, 1, 1] > V[:, 0, 1] ** 2).all()
            good = good and np.isfinite(at.sd).all() and np.isfinite(at.share).all() and (at.share > 0).all()
            return step.sweep(at) if good else state

    return pack, unpack


def logit(state: Factors) -> float:
    """Return the expected log odds of a variant's being strong."""
    from scipy.special import digamma

    return float(digamma(state.share[0]) - digamma(state.share[1]))


def share_of(odds: float, around: Array) -> Array:
    """Return a beta density of given expected log odds, near another one: the sweep takes nothing else from it."""
    from scipy.special import digamma, polygamma

    a, b = around
    log_ratio = 0.0
    for _ in range(50):  # Newton's method in the log of the factor that goes to the first, and from the second
        up, down = a * np.exp(log_ratio), b * np.exp(-log_ratio)
        miss = digamma(up) - digamma(down) - odds
        if abs(miss) < 1e-13 * max(1.0, abs(odds)):
            break
        log_ratio -= np.clip(miss / (up * polygamma(1, up) + down * polygamma(1, down)), -1, 1)
    return np.array([up, down])


def respond(step: Step, state: Factors) -> tuple[Array, Array]:
    """Mean and covariance of f by linear response (eq. 20), shapes (F,) and (F, F)."""
    response = Response(step, state)
    none = np.zeros(response.tilts)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a wild step is refused, not computed with
        fixed = settled(lambda u: response.sweep(u, none), response.state, scale=response.scale)
        covariance = linear_response(response.sweep, response.mean, fixed, response.tilts, scale=response.scale)
    return response.mean(fixed, none), covariance


def correct(
    problem: Problem,
    rng: np.random.Generator,
    modes: Sequence[tuple[Step, Factors]],
    found: Result,
    *,
    draws: int,
    polish: bool,
) -> Result:
    """Replace the draws from q by draws of the posterior.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    modes : sequence of (Step, Factors)
        Optima of the bound, the best first: the proposal is a mixture of one part for each.
    found : Result
        Of variational Bayes.
    draws : int
    polish : bool
        Whether a short run of Gibbs sampling takes the place of draws that importance ratios cannot correct.

    Returns
    -------
    Result

    Raises
    ------
    ApproximationError
        If Pareto k-hat is too large, or a region has two modes, and ``polish`` is off.
    """
    moments = [around(step, state, rng, draws) for step, state in modes]
    mean, covariance, responded = moments[0]
    space = Space(problem, mean, covariance)

    def log_posterior(coordinates: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far out: a draw without weight
            return space.log_density(coordinates)

    parts = []
    for (_, state), (centre, spread, _) in zip(modes, moments, strict=True):
        start, slope = space.around(centre, state)
        wide = slope @ spread @ slope.T
        parts.append(importance.sample(log_posterior, start, wide, rng, draws=max(NORMAL_DRAWS, 4 * draws)))
    sampled = importance.pooled(parts)
    sides = divided(problem, *modes[0])
    if sides and not polish:
        raise ApproximationError(
            f"{sides} of {problem.sizes['region']} regions may have an intercept of either sign, each with another "
            "effect: draws around one of the two say too little. Use polish=True, or method='gibbs'.",
            sampled.khat,
        )
    polished = polish and bool(sides or not sampled.khat <= KHAT_USABLE)
    if polished:
        posterior = gibbs(problem, rng, draws=-(-draws // CHAINS), tune=TUNE, chains=CHAINS, thin=THIN).posterior
    else:
        index, _ = resample(sampled.log_ratio, rng, draws, limit=KHAT_USABLE)
        posterior = {name: value[None] for name, value in space.natural(sampled.theta[index]).items()}
    more: dict[str, Any] = {}
    if responded:
        names = np.array(
            ["global_effect", "ln heterogeneity"]
            + [f"{name}[{label}]" for name in ("theta", "intercept") for label in problem.coords["region"]]
            + ["ln exposure_sd", "ln pleiotropy_sd", "logit strong_share"]
        )
        more = {
            "parameter_name": (("parameter",), names),
            "mean_linear_response": (("parameter",), mean),
            "covariance_linear_response": (("parameter", "other_parameter"), covariance),
        }
    return replace(
        found,
        posterior=posterior,
        sample_stats={},
        variational={**found.variational, **more},
        notes={**found.notes, "khat": sampled.khat, "polished": int(polished), "modes": len(modes), "divided": sides},
    )


def around(step: Step, state: Factors, rng: np.random.Generator, draws: int) -> tuple[Array, Array, bool]:
    """Mean and covariance of f by linear response; by q, where the ascent has crept along a ridge to no optimum."""
    try:
        return *respond(step, state), True
    except ApproximationError:
        drawn = moments_of(step.draw(state, rng, draws)[0])
        return drawn.mean(0), np.cov(drawn.T), False


def moments_of(posterior: Mapping[str, Array]) -> Array:
    """Return f at draws, shape (draws, F)."""
    from scipy.special import logit

    one = {name: np.asarray(value)[0] for name, value in posterior.items()}
    return np.column_stack(
        [
            one["global_effect"],
            np.log(one["heterogeneity"]),
            one["theta"],
            one["intercept"],
            np.log(one["exposure_sd"]),
            np.log(one["pleiotropy_sd"]),
            logit(one["strong_share"]),
        ]
    )


class Space:
    """Coordinates in which the posterior is near to normal: spreads and effects in units of what is said of them.

    Spreads and the share are quantiles of their priors on the scale of a standard normal distribution: Phi(u) = 2
    Phi(tau / scale) - 1. Where the data say nothing of tau, ln tau has a long tail that no proposal reaches, u none.
    Effects are in units of what regions' slopes b with information I say of them given tau (eqs. 27, 28), read off
    from linear response: neither large nor small tau makes a funnel.

    Parameters
    ----------
    problem : Problem
    mean, covariance : ndarray, shape (F,) and (F, F)
        Of f, by linear response.
    """

    def __init__(self, problem: Problem, mean: Array, covariance: Array) -> None:
        self.problem, self.S = problem, problem.sizes["region"]
        x, y = float(problem["exposure_scale"]), float(problem["outcome_scale"])
        self.whole_sd, self.outcome_scale = MEAN_SD * y / x, y
        self.scales = np.array([HETEROGENEITY * y / x, x, PLEIOTROPY * y])  # of tau, sigma and omega
        tau2 = np.exp(2 * mean[1])
        above, across = covariance[:2, :2], covariance[2 : 2 + self.S, :2]
        given = np.diagonal(covariance)[2 : 2 + self.S] - (across * np.linalg.solve(above, across.T).T).sum(1)
        self.information = np.maximum(1 / np.maximum(given, 1e-300) - 1 / tau2, 0.01 / tau2)
        self.slopes = mean[2 : 2 + self.S] + (mean[2 : 2 + self.S] - mean[0]) / (self.information * tau2)

    def whole_given(self, tau: Array) -> tuple[Array, Array]:
        """Mean and sd of Theta given tau (eq. 28)."""
        each = self.information / (1 + self.information * tau[:, None] ** 2)
        precision = each.sum(1) + self.whole_sd**-2
        return (each @ self.slopes[:, None])[:, 0] / precision, precision**-0.5

    def regional_given(self, whole: Array, tau: Array) -> tuple[Array, Array]:
        """Mean and sd of the regional effects given Theta and tau (eq. 27); shape (draws, S)."""
        weight = self.information * tau[:, None] ** 2
        return (whole[:, None] + weight * self.slopes) / (1 + weight), tau[:, None] / np.sqrt(1 + weight)

    def coordinates(self, f: Array) -> Array:
        """Return the coordinates of (Theta, ln tau, theta, alpha, ln sigma, ln omega, logit p); draws lead."""
        from scipy.special import expit, ndtri

        S, spreads = self.S, np.exp(f[:, [1, -3, -2]])
        centre, sd = self.whole_given(spreads[:, 0])
        regional = self.regional_given(f[:, 0], spreads[:, 0])
        u = normal_of_half(spreads / self.scales)
        return np.column_stack(
            [
                (f[:, 0] - centre) / sd,
                u[:, 0],
                (f[:, 2 : 2 + S] - regional[0]) / regional[1],
                intercepts.coordinate_of(f[:, 2 + S : 2 + 2 * S], self.outcome_scale),
                u[:, 1:],
                ndtri(expit(f[:, -1])),
            ]
        )

    def around(self, f: Array, state: Factors, step: float = 1e-5) -> tuple[Array, Array]:
        """Return the coordinates at f, and their derivative by f, by central differences, shapes (F,) and (F, F).

        Those of intercepts bend too much for that: theirs are the means under q, and the ratios of sds.
        """
        moved = step * np.eye(len(f))
        slope = np.asarray(self.coordinates(f + moved) - self.coordinates(f - moved)).T / (2 * step)
        start, S, of = self.coordinates(f[None])[0], self.S, state.regions
        of_alpha = np.arange(2 + S, 2 + 2 * S)
        means, sds = of.mean[..., 1], np.sqrt(of.covariance[..., 1, 1])
        start[of_alpha], wide = intercepts.coordinate_moments(of.log_share, means, sds, self.outcome_scale)
        slope[of_alpha] = 0
        slope[of_alpha, of_alpha] = wide / np.sqrt(state.covariance[:, 1, 1])
        return start, slope

    def natural(self, coordinates: Array) -> dict[str, Array]:
        """Return the unknown variables at coordinates; draws lead."""
        from scipy.special import ndtr

        S = self.S
        tau, sd, omega = self.scales[:, None] * half_of_normal(coordinates[:, [1, -3, -2]].T)
        centre, width = self.whole_given(tau)
        whole = centre + width * coordinates[:, 0]
        regional = self.regional_given(whole, tau)
        return {
            "global_effect": whole,
            "heterogeneity": tau,
            "theta": regional[0] + regional[1] * coordinates[:, 2 : 2 + S],
            "intercept": intercepts.intercept_of(coordinates[:, 2 + S : 2 + 2 * S], self.outcome_scale),
            "exposure_sd": sd,
            "pleiotropy_sd": omega,
            "strong_share": ndtr(coordinates[:, -1]),
        }

    def log_density(self, coordinates: Array) -> Array:
        """Log posterior density of coordinates, up to a constant; shape (draws,)."""
        values, S = [], self.S
        size = max(1, BLOCK // self.problem.sizes["variant"])
        for low in range(0, len(coordinates), size):
            some = coordinates[low : low + size]
            at = self.natural(some)
            tau, whole = at["heterogeneity"], at["global_effect"]
            prior = -0.5 * (some[:, 1] ** 2 + (some[:, 2 + S :] ** 2).sum(1) + (whole / self.whole_sd) ** 2)
            prior += np.log(self.whole_given(tau)[1])  # the change of variables from Theta
            weight = self.information * tau[:, None] ** 2
            deviation = (at["theta"] - whole[:, None]) / tau[:, None]
            prior -= 0.5 * (deviation**2 + np.log1p(weight)).sum(1)  # that from theta is sd / tau
            values.append(self.problem.call(log_likelihood, **at).sum(-1) + prior)
        return np.concatenate(values)


def normal_of_half(v: Array) -> Array:
    """Return the standard normal quantile of what is half-normal of scale 1."""
    from scipy.special import erf, erfc, ndtri

    size = np.clip(v, 1e-300, 37) / np.sqrt(2)  # beyond, the probabilities are no numbers any more
    return np.asarray(np.where(size < 0.5, ndtri(erf(size)), -ndtri(erfc(size))))


def half_of_normal(z: Array) -> Array:
    """Undo :func:`normal_of_half`."""
    from scipy.special import erfcinv, erfinv, ndtr

    return np.asarray(np.sqrt(2)) * np.where(z < 0, erfinv(ndtr(np.minimum(z, 0))), erfcinv(ndtr(-np.maximum(z, 0))))
