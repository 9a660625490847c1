"""Mean-field ADVI of a model's PyMC density (Kucukelbir et al. 2017, JMLR 18(14)), on its compiled gradient.

With q = Normal(m, diag(s²)) on the unconstrained scale, s = ln(1 + exp(rho)), a draw x = m + s z of it gives the
unbiased gradient of the bound

    E ln p(x) - E ln q(x),   dm = ∇ln p(x),   drho = (z ∇ln p(x) + 1/s) / (1 + exp(-rho))                            (1)

which Adam (Kingma and Ba 2015, Algorithm 1) follows, one draw a step.
"""

import numpy as np

from genarium.declaration import Array, Labelled, Problem, Result
from genarium.engines.compiled import compiled
from genarium.errors import ApproximationError, InputError
from genarium.progress import track
from genarium.remedies import option

RATE, DECAY, SQUARE_DECAY, EPSILON = 0.02, 0.9, 0.999, 1e-8
"""Adam's step size, its two decay rates, and what keeps its steps finite."""

FIRST_SD = 0.1
"""Standard deviation of every unconstrained value at the start."""


def advi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    iterations: int = 40_000,
    window: int = 1000,
    draws: int = 1000,
) -> Result:
    """Fit a normal approximation with independent coordinates on the unconstrained scale.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    iterations : int
        Steps at most; a multiple of ``window``.
    window : int
        Steps whose mean loss is compared with that of the window before; the loop stops when it has not fallen by
        more than the standard error of the difference.
    draws : int
        Draws from the approximation.

    Returns
    -------
    Result
        ``variational`` (mean and sd of each unconstrained element, loss), ``posterior``, ``sample_stats``.

    Raises
    ------
    InputError
        If ``iterations`` is not a multiple of ``window``.
    ApproximationError
        If the density or its gradient is not finite at a draw.
    """
    density = compiled(problem)
    if iterations % window:
        raise InputError(f"{option('iterations', iterations)} must be a multiple of {option('window', window)}.")
    start = density.start(rng)
    n = len(start)
    at = np.concatenate([start, np.full(n, np.log(np.expm1(FIRST_SD)))])  # means, then rho
    first, second = np.zeros(2 * n), np.zeros(2 * n)  # Adam's moments of the gradient
    average = np.zeros(2 * n)  # of the last window: it removes the noise of the steps
    losses: list[float] = []
    converged = False
    for i in track(range(iterations), "ADVI"):
        if i % window == 0:
            average[:] = 0
            noise = rng.normal(size=(window, n))
        z, mean, rho = noise[i % window], at[:n], at[n:]
        sd = np.logaddexp(0, rho)
        value, gradient = density.log_density(mean + sd * z, jacobian=True)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise ApproximationError(
                f"{problem.model.name}: ADVI left the support of the density at step {i + 1}: a draw has no finite "
                "density or gradient. Use method='dadvi', whose steps are checked, or an exact method.",
                khat=np.inf,
            )
        losses.append(log_normal(z, sd) - value)
        slope = np.concatenate([gradient, (z * gradient + 1 / sd) / (1 + np.exp(-rho))])
        first += (1 - DECAY) * (slope - first)
        second += (1 - SQUARE_DECAY) * (slope**2 - second)
        rate = RATE * np.sqrt(1 - SQUARE_DECAY ** (i + 1)) / (1 - DECAY ** (i + 1))
        at = at + rate * first / (np.sqrt(second) + EPSILON)
        average += at / window
        if (i + 1) % window == 0 and i + 1 >= 2 * window:
            now, before = np.array(losses[-window:]), np.array(losses[-2 * window : -window])
            error = np.sqrt((now.var() + before.var()) / window)
            if before.mean() - now.mean() < error:
                converged = True
                break
    mean, sd = average[:n], np.logaddexp(0, average[n:])
    z = rng.normal(size=(draws, n))
    natural, jacobian = density.constrained_draws(mean + sd * z)
    log_q = np.array([log_normal(one, sd) for one in z]) - jacobian
    variational: dict[str, Labelled] = {
        "unconstrained_mean": (("unconstrained",), mean),
        "unconstrained_sd": (("unconstrained",), sd),
        "bound": (("restart", "iteration"), -np.array(losses)[None]),
    }
    notes = {
        "converged": int(converged),
        "iterations": len(losses),
        "bound": -float(np.mean(losses[-window:])),
        "noisy_bound": 1,
    }
    posterior = {name: np.asarray(value)[None] for name, value in natural.items()}
    return Result(posterior=posterior, variational=variational, sample_stats={"log_q": log_q[None]}, notes=notes)


def log_normal(z: Array, sd: Array) -> float:
    """Log density of independent normals with these sds, ``z`` sds from their means."""
    return float(-0.5 * z @ z - np.log(sd).sum() - 0.5 * len(z) * np.log(2 * np.pi))
