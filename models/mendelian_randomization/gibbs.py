"""Gibbs sampling; equation numbers refer to the card (README.md)."""

from collections.abc import Iterator

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines import chains as engine
from genarium.errors import InputError

from .start import start
from .story import HETEROGENEITY, INTERCEPT, MEAN_SD, PLEIOTROPY


def gibbs(
    problem: Problem,
    rng: np.random.Generator,
    *,
    chains: int = 4,
    draws: int = 1000,
    tune: int = 500,
    thin: int = 1,
) -> Result:
    """Sample true effects of variants, regional effects and variances in turn.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    chains, draws, tune, thin : int
        Chains; draws kept of each; draws thrown away before; one draw in ``thin`` is kept.

    Returns
    -------
    Result
        ``posterior`` of all unknown variables.
    """
    if problem.fixed:
        raise InputError(
            f"mendelian_randomization: method 'gibbs' cannot hold {', '.join(problem.fixed)} fixed. Leave it out."
        )
    return Result(posterior=engine.run(Sampler(problem), rng, chains=chains, draws=draws, tune=tune, thin=thin))


class Sampler:
    """The Markov chain, ``sampler(rng)`` yields its draws."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.x, self.y = problem["beta_exposure"], problem["beta_outcome"]
        self.region, self.S = problem["region"], problem.sizes["region"]
        self.sx2 = problem["se_exposure"] ** 2
        self.slope = problem["error_covariance"] / self.sx2  # of the outcome's error on the exposure's
        self.residual2 = problem["se_outcome"] ** 2 - self.slope**2 * self.sx2
        self.mean = float(problem["exposure_mean"])
        self.Sx, self.Sy = float(problem["exposure_scale"]), float(problem["outcome_scale"])
        self.ratio = self.Sy / self.Sx

    def __call__(self, rng: np.random.Generator) -> Iterator[Arrays]:
        """Yield draws of the unknown variables."""
        at = start(self.problem, rng)
        theta, alpha = at["theta"], at["intercept"]
        tau, sd, omega = (np.asarray(at[n], dtype=float) for n in ("heterogeneity", "exposure_sd", "pleiotropy_sd"))
        while True:
            sd = self._exposure_sd(rng, theta, alpha, sd, omega)
            gamma = self._gamma(rng, theta, alpha, sd, omega)
            rest = self.y - self.slope * (self.x - gamma)  # theta gamma + alpha + noise of variance v
            omega = self._omega(rng, rest - theta[self.region] * gamma - alpha[self.region], omega)
            v = omega**2 + self.residual2
            precision, score = self._regions(gamma, rest, v)
            tau, whole = self._between(rng, precision, score, tau)
            theta, alpha = self._regional(rng, precision, score, tau, whole)
            yield {
                "global_effect": np.asarray(whole),
                "heterogeneity": tau,
                "theta": theta,
                "intercept": alpha,
                "exposure_sd": sd,
                "pleiotropy_sd": omega,
            }

    def _gamma_moments(self, theta: Array, alpha: Array, sd: Array, omega: Array) -> tuple[Array, Array]:
        """Precision and mean of the true effects, given all else (eq. 5)."""
        b = theta[self.region] - self.slope  # rest = b gamma + ..., with slope x moved over
        v = omega**2 + self.residual2
        precision = 1 / sd**2 + 1 / self.sx2 + b**2 / v
        pull = self.mean / sd**2 + self.x / self.sx2
        pull = pull + b * (self.y - self.slope * self.x - alpha[self.region]) / v
        return precision, pull / precision

    def _gamma(self, rng: np.random.Generator, theta: Array, alpha: Array, sd: Array, omega: Array) -> Array:
        """Draw the true effects."""
        precision, mean = self._gamma_moments(theta, alpha, sd, omega)
        return np.asarray(rng.normal(mean, precision**-0.5))

    def _exposure_sd(self, rng: np.random.Generator, theta: Array, alpha: Array, sd: Array, omega: Array) -> Array:
        """Slice update of ln sigma_gamma, true effects summed out (eq. 6)."""
        slope = theta[self.region]
        C0, B0 = self.slope * self.sx2, omega**2 + self.problem["se_outcome"] ** 2
        u, r = self.x - self.mean, self.y - alpha[self.region] - slope * self.mean

        def log_density(log_sd: Array) -> Array:
            between = np.exp(2 * log_sd)
            A, C, B = between + self.sx2, slope * between + C0, slope**2 * between + B0
            determinant = A * B - C**2
            quadratic = (B * u**2 - 2 * C * u * r + A * r**2) / determinant
            value = -0.5 * (np.log(determinant) + quadratic).sum() - 0.5 * between / self.Sx**2 + log_sd
            return np.asarray(value)

        return np.exp(engine.slice_update(log_density, np.log(sd), 0.3, rng))

    def _omega(self, rng: np.random.Generator, residual: Array, omega: Array) -> Array:
        """Slice update of ln omega, pleiotropic effects summed out (eq. 7)."""

        def log_density(log_omega: Array) -> Array:
            own = np.exp(2 * log_omega)
            v = own + self.residual2
            value = -0.5 * (np.log(v) + residual**2 / v).sum() - 0.5 * own / (PLEIOTROPY * self.Sy) ** 2 + log_omega
            return np.asarray(value)

        return np.exp(engine.slice_update(log_density, np.log(omega), 0.5, rng))

    def _regions(self, gamma: Array, rest: Array, v: Array) -> tuple[Array, Array]:
        """Precision (S, 2, 2) and score (S, 2) of theta and alpha in each region's regression, alpha's prior included."""
        sums = [np.bincount(self.region, weight, self.S) for weight in (gamma**2 / v, gamma / v, 1 / v)]
        precision = np.empty((self.S, 2, 2))
        precision[:, 0, 0], precision[:, 0, 1], precision[:, 1, 0] = sums[0], sums[1], sums[1]
        precision[:, 1, 1] = sums[2] + (INTERCEPT * self.Sy) ** -2
        score = np.stack([np.bincount(self.region, weight, self.S) for weight in (gamma * rest / v, rest / v)], 1)
        return precision, score

    def _between(self, rng: np.random.Generator, precision: Array, score: Array, tau: Array) -> tuple[Array, float]:
        """Draw tau and Theta, regional effects summed out (eq. 8).

        A region says theta_s ~ Normal(m_s, 1 / W_s), flat where it holds no information.
        """
        W = precision[:, 0, 0] - precision[:, 0, 1] ** 2 / precision[:, 1, 1]
        pull = score[:, 0] - precision[:, 0, 1] / precision[:, 1, 1] * score[:, 1]  # W m
        prior = (MEAN_SD * self.ratio) ** -2

        def log_density(log_tau: Array) -> Array:
            between = np.exp(2 * log_tau)
            shrunk = 1 / (1 + between * W)  # of each region: W / (1 + tau² W) is the precision of m_s around Theta
            total = (W * shrunk).sum() + prior
            mean = (pull * shrunk).sum() / total
            # sum of -(m - Theta)² W shrunk / 2 with Theta summed out, but for what does not depend on tau
            fit = 0.5 * (between * pull**2 * shrunk).sum() + 0.5 * total * mean**2
            value = fit + 0.5 * np.log(shrunk).sum() - 0.5 * np.log(total)
            return np.asarray(value - 0.5 * between / (HETEROGENEITY * self.ratio) ** 2 + log_tau)

        tau = np.exp(engine.slice_update(log_density, np.log(tau), 1.0, rng))
        shrunk = 1 / (1 + tau**2 * W)
        total = float((W * shrunk).sum() + prior)
        return tau, float(rng.normal(float((pull * shrunk).sum()) / total, total**-0.5))

    def _regional(
        self, rng: np.random.Generator, precision: Array, score: Array, tau: Array, whole: float
    ) -> tuple[Array, Array]:
        """Draw effect and intercept of each region together (eq. 9)."""
        full = precision.copy()
        full[:, 0, 0] += tau**-2.0
        pull = score.copy()
        pull[:, 0] += whole * tau**-2.0
        factor = np.linalg.cholesky(full)
        mean = np.linalg.solve(full, pull[..., None])[..., 0]
        noise = np.linalg.solve(factor.transpose(0, 2, 1), rng.normal(size=(self.S, 2, 1)))[..., 0]
        both = mean + noise
        return both[:, 0], both[:, 1]
