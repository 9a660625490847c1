"""Conjugate shrinkage without features: the prior's mode, then Dirichlet posteriors in closed form (eqs. 4, 6, 7)."""

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.simplex import normalised

from .distance import expected_l1
from .likelihood import Story
from .start import start

PRIOR_MEDIAN = 0.6744897501960817
"""Median of tau's half-normal prior."""


def conjugate(
    problem: Problem,
    rng: np.random.Generator,
    *,
    max_iterations: int = 1000,
    tolerance: float = 1e-9,
) -> Result:
    """Maximise the posterior density of mu and kappa, proportions summed out, and shrink each perturbation's counts.

    Parameters
    ----------
    problem : Problem
        Its features are ignored.
    rng : Generator
        For the start.
    max_iterations : int
    tolerance : float
        Largest element of the gradient at the end, relative to the size of the log density.

    Returns
    -------
    Result
        ``point``: mu, kappa, a weight of zero and tau at its prior's median, where the variant has them,
        ``concentration`` a = alpha + N of each perturbation's Dirichlet posterior,
        ``expected_distance`` of it from the target, and the objective by iteration.
    """
    from scipy.optimize import minimize

    K = problem.sizes["state"]
    counts, more = without_replicates(problem)
    basis = helmert(K)  # (K, K - 1)
    trace: list[float] = []

    def objective(x: Array) -> tuple[float, Array]:
        value, by_mu, by_log_kappa = density(counts, basis @ x[:-1], float(np.exp(x[-1])))
        return -value, -np.append(basis.T @ by_mu, by_log_kappa)

    first = start(problem, rng)
    x = np.append(basis.T @ first["mu"], np.log(first.get("kappa", 20.0)))
    value = objective(x)[0]
    found = minimize(
        objective,
        x,
        jac=True,
        method="L-BFGS-B",
        callback=lambda intermediate_result: trace.append(-float(intermediate_result.fun)),
        options={"maxiter": max_iterations, "gtol": tolerance * max(1.0, abs(value)), "ftol": 1e-15},
    )
    mu, kappa = basis @ found.x[:-1], float(np.exp(found.x[-1]))
    told = Story("none", "given")
    a = told.alpha({"mu": mu, "kappa": kappa}, len(counts)) + counts
    unknown = {"mu": mu, "kappa": np.asarray(kappa)} if not more else {**more, **as_normal(a)}
    return Result(
        point={
            **unknown,
            **without_features(problem),
            "concentration": (("perturbation", "state"), a),
            "expected_distance": (("perturbation",), expected_l1(problem["target"], a)),
            "bound": (("restart", "iteration"), np.array([[-value, *trace]])),
        },
        notes={
            "converged": int(found.success),
            "iterations": int(found.nit),
            "bound": -float(found.fun),
            "gradient": float(np.max(np.abs(np.asarray(found.jac)))),
        },
    )


def without_replicates(problem: Problem) -> tuple[Array, dict[str, Array]]:
    """Return what a perturbation's cells are worth (eq. 31), and rho, where there are replicates."""
    if problem.option("replicates") == "pooled":
        return problem["count"], {}
    from .hits import replicate_concentration
    from .posterior import worth

    rho = replicate_concentration(problem["count"], problem["condition"])
    rho = float(np.clip(rho, 1.0, MOST_ALIKE))
    return worth(problem, np.array([rho]))[0], {"rho": np.asarray(rho)}


def as_normal(a: Array) -> dict[str, Array]:
    """Return mu, spread and deviations (eq. 37) that give the mean shares of Dirichlet distributions (P, K)."""
    log = np.log(a / a.sum(1, keepdims=True))
    log -= log.mean(1, keepdims=True)
    mu = log.mean(0)
    left = log - mu
    spread = np.sqrt((left**2).sum() / (max(1, len(a) - 1) * (a.shape[1] - 1)))
    return {"mu": mu, "spread": np.asarray(max(spread, 1e-8)), "deviation": left / max(spread, 1e-8)}


MOST_ALIKE = 1e6
"""Concentration taken for replicates that differ by no more than their cells do."""


def without_features(problem: Problem) -> dict[str, Array]:
    """Values of the unknown variables that speak of features: no effect, so that tau says nothing."""
    unknown = problem.model.unknown.variables
    if "weight" not in unknown:
        return {}
    return {"weight": np.zeros(problem.model.shape("weight", problem.sizes)), "tau": np.asarray(PRIOR_MEDIAN)}


def helmert(K: int) -> Array:
    """Orthonormal basis of vectors that sum to zero; shape (K, K - 1)."""
    basis = np.zeros((K, K - 1))
    for j in range(K - 1):
        basis[: j + 1, j], basis[j + 1, j] = 1.0, -(j + 1.0)
        basis[:, j] /= np.sqrt((j + 1) * (j + 2))
    return basis


def density(counts: Array, mu: Array, kappa: float) -> tuple[float, Array, float]:
    """Log density of mu and kappa given counts, up to a constant, and its derivatives by mu and by ln kappa.

    The derivative by a concentration is, with n_p the cells of a perturbation and psi the digamma function,
    d/d alpha_k = Σ_p [psi(N_pk + alpha_k) - psi(alpha_k)] - Σ_p [psi(n_p + kappa) - psi(kappa)].
    """
    from scipy.special import digamma, gammaln

    m, _ = normalised(mu)
    alpha, n, P = np.maximum(kappa * m, 1e-300), counts.sum(1), len(counts)
    value = P * gammaln(kappa) - gammaln(kappa + n).sum() + (gammaln(counts + alpha) - gammaln(alpha)).sum()
    by_alpha = (digamma(counts + alpha) - digamma(alpha)).sum(0) - (digamma(n + kappa) - digamma(kappa)).sum()
    value += -(mu**2).sum() / 8 - 0.5 * np.log(kappa / 20) ** 2 - np.log(kappa)
    by_mu = alpha * (by_alpha - m @ by_alpha) - mu / 4
    by_log_kappa = float(alpha @ by_alpha - np.log(kappa / 20) - 1)
    return float(value), np.asarray(by_mu), by_log_kappa
