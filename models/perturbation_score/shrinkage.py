"""Conjugate shrinkage: the prior's mode, then Dirichlet posteriors in closed form (eqs. 4, 6, 7)."""

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.simplex import normalised

from .distance import expected_l1
from .start import start

GRADIENT = 1e-6
"""Largest element of the gradient at a maximum, relative to the log density: a line search stops there by rounding."""

ROUNDS = 30
"""Updates of tau at most."""

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
        Features count in the linear variant without replicates; in others they are ignored.
    rng : Generator
        For the start.
    max_iterations : int
    tolerance : float
        Largest element of the gradient at the end, relative to the size of the log density.

    Returns
    -------
    Result
        ``point``: mu, kappa, weight and tau (a weight of zero and the prior's median where features are ignored),
        ``concentration`` a = alpha + N of each perturbation's Dirichlet posterior,
        ``expected_distance`` of it from the target, and the objective by iteration.
    """
    from scipy.optimize import minimize

    K = problem.sizes["state"]
    counts, more = without_replicates(problem)
    basis = helmert(K)  # (K, K - 1)
    X = problem["features"] if problem.option("regression") == "linear" and not more else np.zeros((len(counts), 0))
    D, trace, tau = X.shape[1], list[float](), PRIOR_MEDIAN

    def objective(x: Array) -> tuple[float, Array]:
        free = x[:-1].reshape(1 + D, K - 1)
        value, by_mu, by_slope, by_log_kappa = density(
            counts, basis @ free[0], float(np.exp(x[-1])), X, free[1:] @ basis.T
        )
        value -= 0.5 * D * (free[1:] ** 2).sum() / tau**2
        by_slope = by_slope @ basis - D * free[1:] / tau**2
        return -value, -np.concatenate([basis.T @ by_mu, by_slope.ravel(), [by_log_kappa]])

    first = start(problem, rng)
    x = np.concatenate([basis.T @ first["mu"], np.zeros(D * (K - 1)), [np.log(first.get("kappa", 20.0))]])
    value = objective(x)[0]
    for _ in range(ROUNDS if D else 1):
        trace.clear()
        found = minimize(
            objective,
            x,
            jac=True,
            method="L-BFGS-B",
            callback=lambda intermediate_result: trace.append(-float(intermediate_result.fun)),
            options={"maxiter": max_iterations, "gtol": tolerance * max(1.0, abs(value)), "ftol": 1e-15, "maxcor": 30},
        )
        x, before = found.x, tau
        if D:
            tau = scale_of(counts, X, x, basis, tau)
        if abs(np.log(tau / before)) < 0.01:
            break
    mu, kappa = basis @ x[: K - 1], float(np.exp(x[-1]))
    slope = x[K - 1 : -1].reshape(D, K - 1) @ basis.T
    share, _ = normalised(mu + X @ slope)
    a = np.maximum(kappa * share, 1e-300) + counts
    largest = float(np.max(np.abs(np.asarray(found.jac))))
    unknown = {"mu": mu, "kappa": np.asarray(kappa)} if not more else {**more, **as_normal(a)}
    return Result(
        point={
            **unknown,
            **(without_features(problem) if not D else {"weight": slope * np.sqrt(D) / tau, "tau": np.asarray(tau)}),
            "concentration": (("perturbation", "state"), a),
            "expected_distance": (("perturbation",), expected_l1(problem["target"], a)),
            "bound": (("restart", "iteration"), np.array([[-value, *trace]])),
        },
        notes={
            "converged": int(largest <= GRADIENT * max(1.0, abs(float(found.fun)))),
            "iterations": int(found.nit),
            "bound": -float(found.fun),
            "gradient": largest,
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


def scale_of(counts: Array, X: Array, x: Array, basis: Array, tau: float) -> float:
    """Return the scale of what features explain, given their slopes, by MacKay's rule and its prior (eq. 10b).

    gamma counts the slopes that the data determine, by eigenvalues of the information on each state's.
    """
    D, K = X.shape[1], len(basis)
    free, kappa = x[:-1].reshape(1 + D, K - 1), float(np.exp(x[-1]))
    share, _ = normalised(basis @ free[0] + X @ (free[1:] @ basis.T))
    n = counts.sum(1)
    worth = n * (kappa + 1) / (kappa + n)  # of a perturbation's cells, beside its own deviation
    gamma = 0.0
    for k in range(K):
        information = (X * (worth * share[:, k] * (1 - share[:, k]))[:, None]).T @ X
        known = np.maximum(np.linalg.eigvalsh(information), 0)
        gamma += (K - 1) / K * float((known / (known + D / tau**2)).sum())
    squared = D * float((free[1:] ** 2).sum())
    # maximum over t = tau^2 of -squared / 2t - gamma/2 ln t - t / 2
    return float(np.sqrt(max((-gamma + np.sqrt(gamma**2 + 4 * squared)) / 2, 1e-6)))


def density(counts: Array, mu: Array, kappa: float, X: Array, slope: Array) -> tuple[float, Array, Array, float]:
    """Log density of mu, kappa and slopes given counts, up to a constant and the slopes' prior, and its derivatives.

    The derivative by a concentration is, with n_p the cells of a perturbation and psi the digamma function,
    d/d alpha_pk = psi(N_pk + alpha_pk) - psi(alpha_pk) - psi(n_p + kappa) + psi(kappa).
    """
    from scipy.special import digamma, gammaln

    m, _ = normalised(np.broadcast_to(mu, counts.shape) + X @ slope)
    alpha, n, P = np.maximum(kappa * m, 1e-300), counts.sum(1), len(counts)
    value = P * gammaln(kappa) - gammaln(kappa + n).sum() + (gammaln(counts + alpha) - gammaln(alpha)).sum()
    by_alpha = digamma(counts + alpha) - digamma(alpha) - (digamma(n + kappa) - digamma(kappa))[:, None]
    value += -(mu**2).sum() / 8 - 0.5 * np.log(kappa / 20) ** 2 - np.log(kappa)
    by_eta = alpha * (by_alpha - (m * by_alpha).sum(1, keepdims=True))
    by_log_kappa = float((alpha * by_alpha).sum() - np.log(kappa / 20) - 1)
    return float(value), by_eta.sum(0) - mu / 4, X.T @ by_eta, by_log_kappa
