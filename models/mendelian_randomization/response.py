"""From the optimum of variational Bayes to draws of the posterior: linear response, then importance resampling.

Equation numbers refer to the card (README.md). The functions f whose covariance is wanted are (Theta, ln tau, theta,
alpha, ln sigma, ln omega, logit p), 5 + 2 S in all.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines import importance
from genarium.engines.linear_response import linear_response, settled
from genarium.engines.polish import polish as run
from genarium.engines.resample import KHAT_USABLE, NORMAL_DRAWS, resample

from .likelihood import log_likelihood, log_prior
from .sweep import Factors, Step, Tilt, normalised

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
    problem: Problem, rng: np.random.Generator, step: Step, state: Factors, found: Result, *, draws: int, polish: bool
) -> Result:
    """Replace the draws from q by draws of the posterior.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    step : Step
    state : Factors
        The optimum.
    found : Result
        Of variational Bayes.
    draws : int
    polish : bool
        Whether NUTS goes on where importance ratios cannot correct the proposal.

    Returns
    -------
    Result

    Raises
    ------
    ApproximationError
        If Pareto k-hat is too large and ``polish`` is off, or the ascent ended at no maximum of the bound.
    """
    mean, covariance = respond(step, state)
    centre, jacobian = standardised(step, mean)

    def log_posterior(coordinates: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far out: a draw without weight
            return log_density(problem, coordinates)

    around = jacobian @ covariance @ jacobian.T
    sampled = importance.sample(log_posterior, centre, around, rng, draws=max(NORMAL_DRAWS, 4 * draws))
    stats: dict[str, Array] = {}
    polished = polish and not sampled.khat <= KHAT_USABLE
    if polished:
        normal = rng.multivariate_normal(sampled.mean, sampled.covariance, len(sampled.theta), method="cholesky")
        posterior, stats = run(problem, rng, natural(problem, normal)[0], draws=-(-draws // 4))
    else:
        index, _ = resample(sampled.log_ratio, rng, draws, limit=KHAT_USABLE)
        posterior = {name: value[None] for name, value in natural(problem, sampled.theta[index])[0].items()}
    names = np.array(
        ["global_effect", "ln heterogeneity"]
        + [f"{name}[{label}]" for name in ("theta", "intercept") for label in problem.coords["region"]]
        + ["ln exposure_sd", "ln pleiotropy_sd", "logit strong_share"]
    )
    more: dict[str, Any] = {
        "parameter_name": (("parameter",), names),
        "mean_linear_response": (("parameter",), mean),
        "covariance_linear_response": (("parameter", "other_parameter"), covariance),
    }
    return replace(
        found,
        posterior=posterior,
        sample_stats=stats,
        variational={**found.variational, **more},
        notes={**found.notes, "khat": sampled.khat, "polished": int(polished)},
    )


def standardised(step: Step, mean: Array) -> tuple[Array, Array]:
    """Coordinates in which regional effects are deviations in units of tau, at a mean of f; and their derivative."""
    S = step.S
    whole, tau = mean[0], np.exp(mean[1])
    z = (mean[2 : 2 + S] - whole) / tau
    jacobian = np.eye(len(mean))
    rows = np.arange(2, 2 + S)
    jacobian[rows, rows] = 1 / tau
    jacobian[rows, 0], jacobian[rows, 1] = -1 / tau, -z
    centre = mean.copy()
    centre[2 : 2 + S] = z
    return centre, jacobian


def natural(problem: Problem, coordinates: Array) -> tuple[dict[str, Array], Array]:
    """Unknown variables at coordinates (Theta, ln tau, z, alpha, ln sigma, ln omega, logit p), and log Jacobian."""
    from scipy.special import expit

    S = problem.sizes["region"]
    whole, log_tau = coordinates[:, 0], coordinates[:, 1]
    tau = np.exp(log_tau)
    out = {
        "global_effect": whole,
        "heterogeneity": tau,
        "theta": whole[:, None] + tau[:, None] * coordinates[:, 2 : 2 + S],
        "intercept": coordinates[:, 2 + S : 2 + 2 * S],
        "exposure_sd": np.exp(coordinates[:, -3]),
        "pleiotropy_sd": np.exp(coordinates[:, -2]),
        "strong_share": expit(coordinates[:, -1]),
    }
    own = coordinates[:, -3] + coordinates[:, -2] - np.logaddexp(0, coordinates[:, -1])
    return out, (1 + S) * log_tau + own - np.logaddexp(0, -coordinates[:, -1])


def log_density(problem: Problem, coordinates: Array) -> Array:
    """Log posterior density of coordinates, up to a constant; shape (draws,)."""
    values = []
    size = max(1, BLOCK // problem.sizes["variant"])
    for low in range(0, len(coordinates), size):
        unknown, log_jacobian = natural(problem, coordinates[low : low + size])
        likelihood = problem.call(log_likelihood, **unknown).sum(-1)
        values.append(likelihood + problem.call(log_prior, **unknown) + log_jacobian)
    return np.concatenate(values)
