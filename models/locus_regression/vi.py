"""Variational Bayes by coordinate ascent (Algorithm 2, corrected); equation numbers refer to the card (README.md)."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array, Problem, Result
from genarium.engines.ascent import Ascent, Restarts
from genarium.errors import InputError
from genarium.progress import track
from genarium.remedies import option, setting
from genarium.simplex import dirichlet_log_norm

from . import boosting, random_loci
from .checkpoint import Checkpoint, ascended
from .corpus import corpus
from .corrected import corrected
from .escapes import improved
from .sparse import pruned
from .spectra import CONCENTRATIONS
from .sweep import PATIENCE, State, Step

SCOUT = 40
"""Iterations of each restart; only the best one goes on."""

AGREE = 1e-7
"""Fraction of the bound by which ends of ascents may differ and still be one optimum."""


def vi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    covariance: Literal["corrected", "given_trees", "mean_field", "diagonal"] = "corrected",
    empirical_bayes: bool = True,
    sparse: bool = False,
    restarts: int = 3,
    agreeing: int = 2,
    tolerance: float = 0.003,
    max_iterations: int = 2000,
    draws: int = 500,
    sweeps: int = 0,
    checkpoint: str = "",
) -> Result:
    """Fit q(z) q(beta) q(lam) q(rho) q(pi) by coordinate ascent, from several starts, and moves out of local optima.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    covariance : {"corrected", "given_trees", "mean_field", "diagonal"}
        Where the draws come from: Gibbs sweeps that start at the optimum, which know how all unknown variables depend
        on each other; the same given the trees that were found, which is the default with ``rates="trees"`` alone; or q
        itself, whose intervals are too narrow, with full covariances of the effects or diagonal ones.
    empirical_bayes : bool
        Whether to estimate hyperparameters (alpha, tau, concentrations of lam and rho), starting from the given ones;
        or to keep to these.
    sparse : bool
        Whether to drop processes without which the bound is higher, with all of a catalogue given: their alpha and
        their shares are at the floor.
    restarts : int
        Number of starts; after some iterations only the best ones go on.
    agreeing : int
        Ascents that must end at the best bound: the next best starts go on, too, until as many do or none is left. With
        1 only the best one does.
    tolerance : float
        Nats of the evidence lower bound that may be left to gain.
    max_iterations : int
    draws : int
        Draws for the posterior group; of corrected ones, rounded up to a multiple of the four chains.
    sweeps : int
        Sweeps of the correction, all chains together; a quarter of them is thrown away. 0: 2000 for large corpora, up
        to 10,000 for small ones, whose sweeps take little time.
    checkpoint : str
        A folder for states of the ascents, one every few seconds: the same call goes on from there after the process
        was killed. "": none.

    Returns
    -------
    Result
        ``variational``: parameters of q, hyperparameters, bound by restart and iteration; ``posterior``: draws, those
        from q with their log density under q in ``sample_stats``. Processes are sorted by decreasing share.

    Raises
    ------
    InputError
        If an unknown variable is to be held fixed, ``covariance`` is not known or not of these rates, or the
        checkpoints are of another fit.
    """
    _require_fitting(covariance, problem.option("rates"))
    trees = problem.option("rates") == "trees"
    data = corpus(problem)
    step = Step(data, full=covariance != "diagonal", empirical_bayes=empirical_bayes)
    settings = {"restarts": restarts, "agreeing": agreeing, "max_iterations": max_iterations}
    keeper = Checkpoint.of(checkpoint, step, rng, {**settings, "tolerance": tolerance})
    scouts, best = climbed(step, problem, rng, keeper, tolerance=tolerance, **settings)
    together = _together([scout.bound for scout in scouts], tolerance)
    done = sum(len(scout.bounds) for scout in scouts)
    run = scouts[best] = improved(step, scouts[best], tolerance, done, problem, rng)
    if sparse:
        run = scouts[best] = pruned(step, run, 0.1)
    if trees:
        run = scouts[best] = boosting.grown(step, run, problem, rng, tolerance)
    result = collect(step, Restarts(run, tuple(scouts)), rng, draws)
    if agreeing > 1 and not (sparse or trees):
        result = replace(result, notes={**result.notes, "restarts_at_best": together})
    if covariance in ("mean_field", "diagonal"):
        return result
    return corrected(problem, data, result, rng, draws=draws, sweeps=sweeps, empirical_bayes=empirical_bayes)


def _require_fitting(covariance: str, rates: str) -> None:
    """Refuse intervals that trees do not have, or that are of trees alone."""
    wrong, right, why = {
        "trees": ("corrected", "given_trees", "trees are held as they were found"),
        "linear": ("given_trees", "corrected", "there are no trees"),
    }[rates]
    if covariance == wrong:
        raise InputError(
            f"locus_regression: {option('covariance', wrong)} does not go with {setting('rates', rates)}: {why}. Use "
            f"{option('covariance', right)}, or leave it out."
        )


def climbed(
    step: Step,
    problem: Problem,
    rng: np.random.Generator,
    keeper: Checkpoint | None,
    *,
    restarts: int,
    tolerance: float,
    max_iterations: int,
    agreeing: int = 1,
) -> tuple[list[Ascent[State]], int]:
    """Ascend from several starts, from the best ones to the end; return all ascents and which is the best."""
    scouting = min(SCOUT, max_iterations) if restarts > 1 else max_iterations
    scouts = [
        ascended(keeper, f"start-{i}", step, step.first(problem, rng), tolerance=tolerance, max_iterations=scouting)
        for i in track(range(restarts), "VI restarts")
    ]
    ends: list[float] = []
    for i in sorted(range(restarts), key=lambda i: -scouts[i].bound):
        run, rest = scouts[i], max_iterations - (len(scouts[i].bounds) - 1)
        early = step.empirical_bayes and run.state.age <= PATIENCE  # hyperparameters have not moved yet
        if (early or not run.converged) and rest > 0:
            state = replace(run.state, age=PATIENCE + 1) if early else run.state
            more = ascended(keeper, f"end-{i}", step, state, tolerance=tolerance, max_iterations=rest, accelerated=True)
            scouts[i] = Ascent(more.state, np.concatenate([run.bounds, more.bounds[1:]]), more.converged)
        ends.append(scouts[i].bound)
        if _together(ends, tolerance) >= agreeing:
            break
    return scouts, max(range(restarts), key=lambda i: scouts[i].bound)


def _together(ends: list[float], tolerance: float) -> int:
    """Return how many ends are at the best bound."""
    return sum(end > max(ends) - 3 * tolerance - AGREE * abs(end) for end in ends)


def collect(step: Step, found: Restarts[State], rng: np.random.Generator, draws: int) -> Result:
    """Draw from q, and label its parameters with the processes sorted by decreasing share, given ones before."""
    state = found.best.state
    R = step.given
    share = (state.gamma / state.gamma.sum(1, keepdims=True)).mean(0)
    order = np.concatenate([np.arange(R), R + np.argsort(-share[R:], kind="stable")])
    gamma, delta, omega = state.gamma[:, order], state.delta[order], state.omega[order]
    mean, covariance = state.effects.mean[order], state.effects.covariance[order]
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    delta, omega = delta[R:], omega[R:]  # what is free
    free = "free" if R else "process"
    several = step.data.alternatives > 1
    spectra = {"delta": ((free, "context"), delta), "omega": ((free, "context", "alternative"), omega)}
    of_free = order[R:] - R
    concentrations = {
        name: ((free,), getattr(state, name)[of_free]) for name in CONCENTRATIONS[: 2 if several else 1] if of_free.size
    }
    if not several:
        del spectra["omega"]
    variational: dict[str, Any] = {
        "gamma": (("genome", "process"), gamma),
        **(spectra if len(delta) else {}),
        "beta_mean": (("process", "feature"), mean),
        "beta_sd": (("process", "feature"), sd),
        "beta_covariance": (("process", "feature", "feature_"), covariance),
        "alpha": (("process",), state.alpha[order]),
        "tau": (("process",), state.tau[order]),
        **concentrations,
        "bound": found.trace,
    }
    parameters = {"pi": gamma}
    if len(delta):
        parameters |= {"lam_free" if R else "lam": delta}
        parameters |= {"rho_free" if R else "rho": omega} if several else {}
    posterior, log_q = draw(rng, draws, parameters, mean, covariance)
    if state.locus_effects is not None and state.dispersion is not None:
        a, b = state.locus_effects.shape[order], state.locus_effects.inverse_scale[order]
        variational |= {"locus_effect_shape": (("process", "locus"), a)}
        variational |= {"locus_effect_inverse_scale": (("process", "locus"), b)}
        variational |= {"dispersion": (("process",), state.dispersion[order])}
        posterior["locus_effect"], log_density = random_loci.draw(rng, draws, a, b)
        log_q = log_q + log_density
    if state.forest is not None:
        posterior |= state.forest.posterior(order, draws)
        variational |= {"trees": (("process",), state.forest.used[order])}
    return Result(
        variational=variational,
        posterior={name: value[None] for name, value in posterior.items()},
        sample_stats={"log_q": log_q[None]},
        notes={name: value for name, value in found.notes.items() if name != "restarts_at_best"},  # they end early
    )


def draw(
    rng: np.random.Generator, draws: int, parameters: dict[str, Array], mean: Array, covariance: Array
) -> tuple[dict[str, Array], Array]:
    """Draw from Dirichlet factors and the normal ones of beta; also return the log density of each draw."""
    log_q = np.zeros(draws)
    out: dict[str, Array] = {}
    for name, parameter in parameters.items():
        x = rng.standard_gamma(parameter, (draws, *parameter.shape))
        x = np.maximum(x, 1e-300)
        x /= x.sum(-1, keepdims=True)
        log_q += dirichlet_log_norm(parameter).sum()
        log_q += ((parameter - 1) * np.log(x)).reshape(draws, -1).sum(1)
        out[name] = x
    factor = np.linalg.cholesky(covariance)
    z = rng.normal(size=(draws, *mean.shape))
    log_q += (-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum((1, 2))
    log_q -= np.log(np.diagonal(factor, axis1=1, axis2=2)).sum()
    return {"beta": mean + (factor @ z[..., None])[..., 0], **out}, log_q
