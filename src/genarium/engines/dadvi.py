"""DADVI: mean-field ADVI with fixed draws, minimised to a small gradient, and its linear response covariance.

Giordano, Ingram and Broderick (2024, JMLR 25(18); arXiv 2304.05527): with the standard normal draws z_m held fixed, the
negative evidence lower bound of q = Normal(mu, diag(sd²)) on the unconstrained scale is a plain function,

    F(mu, s) = -1/M Σ_m log p(mu + exp(s) z_m) - Σ_i s_i,    s = log sd                                             (1)

that second-order methods minimise, and whose gradient says when they are done. Its curvature says how mu moves when
the posterior is tilted, which is a covariance free of the mean field's shrinkage (linear response: Giordano, Broderick
and Jordan 2018, JMLR 19(51)):

    Cov = (H⁻¹)[mu, mu],    H = Hessian of F over (mu, s) at the minimum                                             (2)

The draws come in pairs z, -z, with unit sample covariance as far as there are enough: for a normal posterior (1) is
then minimal at the exact mean and at the mean field's sd, and (2) is exact, whatever the seed.
"""

from typing import Any, Literal

import numpy as np

from genarium.declaration import Array, Labelled, Problem, Result
from genarium.engines import importance, newton
from genarium.engines.ascent import Ascent, Restarts
from genarium.engines.compiled import compiled
from genarium.engines.labels import match_labels
from genarium.engines.polish import polish as run_nuts
from genarium.engines.resample import KHAT_USABLE, NORMAL_DRAWS, resample
from genarium.errors import ApproximationError, InputError
from genarium.remedies import option

LOG_2PI = np.log(2 * np.pi)
FIRST_SD = 0.1
"""Standard deviation of every unconstrained value at the start."""


def fixed_normals(rng: np.random.Generator, draws: int, dims: int) -> Array:
    """Draw antithetic pairs of standard normals, with unit sample variances, and uncorrelated if they are enough.

    Parameters
    ----------
    rng : Generator
    draws : int
        Even.
    dims : int

    Returns
    -------
    ndarray, shape (draws, dims)
    """
    half = rng.normal(size=(draws // 2, dims))
    if len(half) >= dims:
        half = np.linalg.solve(np.linalg.cholesky(half.T @ half / len(half)), half.T).T
    else:
        half /= np.sqrt((half**2).mean(0))
    return np.concatenate([half, -half])


class Objective:
    """The negative bound (1), without its constant, as a function of mu in given units and of s.

    Parameters
    ----------
    density : Compiled
    z : ndarray, shape (M, n)
        The fixed draws.
    unit : ndarray, shape (n,)
        Unit of every element of mu.
    """

    def __init__(self, density: Any, z: Array, unit: Array) -> None:
        self.density, self.z, self.unit = density, z, unit

    def split(self, x: Array) -> tuple[Array, Array]:
        """Return mu and s."""
        n = len(self.unit)
        return x[:n] * self.unit, x[n:]

    def join(self, mu: Array, s: Array) -> Array:
        """Return the vector of mu and s."""
        return np.concatenate([mu / self.unit, s])

    def gradients(self, points: Array) -> tuple[Array, Array]:
        """Log density of unconstrained points, (M,), and its gradients, (M, n)."""
        found = [self.density.log_density(point, jacobian=True) for point in points]
        return np.array([value for value, _ in found]), np.array([gradient for _, gradient in found])

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Return value and gradient; the value is infinite where any draw falls off the density."""
        mu, s = self.split(x)
        with np.errstate(over="ignore", invalid="ignore"):
            spread = np.exp(s) * self.z  # (M, n)
            values, gradients = self.gradients(mu + spread)
            value = -values.mean() - s.sum()
            gradient = np.concatenate([-gradients.mean(0) * self.unit, -(gradients * spread).mean(0) - 1])
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return np.inf, np.full_like(x, np.nan)
        return float(value), gradient

    def hessian(self, x: Array) -> Array:
        """Hessian over mu in its units and s, shape (2n, 2n), from central differences at each of the draws."""
        mu, s = self.split(x)
        n, sd = len(mu), np.exp(s)
        spread = sd * self.z
        points = mu + spread
        out = np.zeros((2 * n, 2 * n))
        for i in range(n):
            step = np.zeros(n)
            step[i] = 1e-4 * sd[i]
            slope = (self.gradients(points + step)[1] - self.gradients(points - step)[1]) / (2 * step[i])  # (M, n)
            out[i, :n] = -slope.mean(0) * self.unit[i] * self.unit
            out[i, n:] = -(slope * spread).mean(0) * self.unit[i]
            out[n + i, n:] = -(slope * spread * spread[:, [i]]).mean(0)
        out[n:, :n] = out[:n, n:].T
        diagonal = np.arange(n, 2 * n)
        out[diagonal, diagonal] -= (self.gradients(points)[1] * spread).mean(0)
        return (out + out.T) / 2


def minimise(density: Any, z: Array, start: Array, tolerance: float, max_iterations: int) -> Ascent[tuple[Any, Any]]:
    """Minimise (1): by L-BFGS first, then by Newton's method with mu in units of its standard deviation.

    Returns
    -------
    Ascent
        Its state is the objective in those units and the :class:`newton.Minimum`; its bounds are -F and the constant
        that makes them evidence lower bounds.

    Raises
    ------
    InputError
        If the start has no density.
    """
    from scipy import optimize

    n = len(start)
    first = Objective(density, z, np.full(n, FIRST_SD))
    x = first.join(start, np.full(n, np.log(FIRST_SD)))
    value, _ = first(x)
    if not np.isfinite(value):
        raise InputError(f"{density.model.name}: the log density is not finite around the start. Check the data.")
    values, far = [value], abs(value) * 10 + 1e6

    def finite(x: Array) -> tuple[float, Array]:
        value, gradient = first(x)
        return (value, gradient) if np.isfinite(value) else (far, np.zeros_like(x))

    rough = optimize.minimize(
        finite,
        x,
        jac=True,
        method="L-BFGS-B",
        callback=lambda intermediate_result: values.append(float(intermediate_result.fun)),
        options={"maxiter": max_iterations, "gtol": 0.05, "ftol": 0.0},
    )
    mu, s = first.split(rough.x)
    scaled = Objective(density, z, np.exp(s))
    found = newton.minimise(scaled, scaled.join(mu, s), tolerance=tolerance, max_iterations=max_iterations)
    constant = 0.5 * n * (1 + LOG_2PI)
    return Ascent((scaled, found), constant - np.array(values + found.values), found.converged)


def linear_response(objective: Objective, x: Array) -> Array:
    """Covariance of the unconstrained values by (2).

    Parameters
    ----------
    objective : Objective
    x : ndarray, shape (2n,)
        Its minimum.

    Returns
    -------
    ndarray, shape (n, n)

    Raises
    ------
    ApproximationError
        If the Hessian is not positive definite: x is no minimum, or the objective is flat there.
    """
    hessian = objective.hessian(x)
    n = len(objective.unit)
    try:
        np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        lowest = float(np.linalg.eigvalsh(hessian)[0]) if np.isfinite(hessian).all() else np.nan
        raise ApproximationError(
            f"{objective.density.model.name}: the Hessian of the fixed-draw objective is not positive definite (lowest "
            f"eigenvalue {lowest:.3g}), so linear response has no covariance to give. Raise max_iterations if the fit "
            "did not converge, raise fixed_draws, set polish=True to go on by NUTS, or use covariance='mean_field' or "
            "an exact method.",
            np.inf,
        ) from None
    covariance: Array = np.linalg.inv(hessian)[:n, :n] * np.outer(objective.unit, objective.unit)
    return covariance


def dadvi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    covariance: Literal["mean_field", "linear_response"] = "mean_field",
    polish: bool = False,
    fixed_draws: int = 64,
    tolerance: float = 1e-6,
    max_iterations: int = 500,
    draws: int = 1000,
) -> Result:
    """Fit a normal approximation on the unconstrained scale, by minimising a bound with fixed draws.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    covariance : {"mean_field", "linear_response"}
        Independent coordinates, as the bound has them; or the covariance by linear response, with draws of the
        posterior by Pareto-smoothed importance resampling from a heavy-tailed proposal with that covariance.
    polish : bool
        Where there is no linear response, or the Pareto k-hat of the corrected draws is above 0.7: run NUTS from there,
        in place of an error.
    fixed_draws : int
        Standard normal draws in the bound, in antithetic pairs.
    tolerance : float
        Largest element of the gradient at which the search stops, in nats for a standard deviation of a mean and for a
        unit of the logarithm of a standard deviation.
    max_iterations : int
        Of L-BFGS, and of Newton's method after it.
    draws : int
        Draws from the approximation (after polishing: of four chains together).

    Returns
    -------
    Result
        ``variational`` (mean and mean-field sd of each unconstrained element, the bound, and with linear response the
        sd by that), ``posterior``, ``sample_stats``.

    Raises
    ------
    ApproximationError
        With linear response: if its Hessian is not positive definite, or k-hat is above 0.7 and ``polish`` is False.
    """
    if polish and covariance == "mean_field":
        raise InputError("option polish=True needs covariance='linear_response', whose draws it corrects.")
    if fixed_draws % 2:
        raise InputError(f"{option('fixed_draws', fixed_draws)} must be even: the draws come in pairs.")
    density = compiled(problem)
    start = density.start(rng)
    z = fixed_normals(rng, fixed_draws, len(start))
    ascent = minimise(density, z, start, tolerance, max_iterations)
    objective, found = ascent.state
    mu, s = objective.split(found.x)
    run = Restarts(ascent, (ascent,))
    variational: dict[str, Labelled] = {
        "unconstrained_mean": (("unconstrained",), mu),
        "unconstrained_sd": (("unconstrained",), np.exp(s)),
        "bound": run.trace,
    }
    notes: dict[str, Any] = {**run.notes, "gradient": float(np.abs(found.gradient).max())}
    if covariance == "mean_field":
        vectors, log_q = normal_draws(rng, mu, np.diag(np.exp(s)), draws)
        natural, jacobian = density.constrained_draws(vectors)
        posterior = {name: natural[name][None] for name in problem.model.unknown.variables}
        stats = {"log_q": (log_q - jacobian)[None]}
        return Result(posterior=posterior, variational=variational, sample_stats=stats, notes=notes)
    try:
        response = linear_response(objective, found.x)
        variational["linear_response_sd"] = (("unconstrained",), np.sqrt(np.diagonal(response)))
    except ApproximationError:
        if not polish:
            raise
        response = np.diag(np.exp(2 * s))
    posterior, stats, more = corrected(problem, rng, mu, response, draws, polish)
    return Result(posterior=posterior, variational=variational, sample_stats=stats, notes=notes | more)


def normal_draws(rng: np.random.Generator, mean: Array, factor: Array, draws: int) -> tuple[Array, Array]:
    """Draw from a normal density, given a factor of its covariance; shape (draws, n), and log densities (draws,)."""
    z = rng.normal(size=(draws, len(mean)))
    log_q = -0.5 * (z**2).sum(1) - np.log(np.diagonal(factor)).sum() - 0.5 * len(mean) * LOG_2PI
    return mean + z @ factor.T, log_q


def corrected(
    problem: Problem, rng: np.random.Generator, mean: Array, covariance: Array, draws: int, polish: bool
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Any]]:
    """Draw around a normal approximation on the unconstrained scale, and correct the draws.

    Returns
    -------
    posterior, sample_stats, notes : dict
    """
    density = compiled(problem)

    def log_density(vectors: Array) -> Array:
        return np.array([density.log_density(vector, jacobian=True)[0] for vector in vectors])

    sampled = importance.sample(log_density, mean, covariance, rng, draws=max(NORMAL_DRAWS, 4 * draws))
    notes = {"khat": sampled.khat, "polished": int(polish and sampled.khat > KHAT_USABLE)}
    if notes["polished"]:
        vectors = rng.multivariate_normal(sampled.mean, sampled.covariance, len(sampled.theta), method="cholesky")
        posterior, stats = run_nuts(problem, rng, density.constrained_draws(vectors)[0], draws=-(-draws // 4))
        return match_labels(problem.model, posterior), stats, notes
    index, _ = resample(sampled.log_ratio, rng, draws, limit=KHAT_USABLE)
    natural, _ = density.constrained_draws(sampled.theta[index])
    return {name: natural[name][None] for name in problem.model.unknown.variables}, {}, notes
