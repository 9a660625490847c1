"""Mean-field ADVI of a model's PyMC density, its step compiled once."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from genarium.declaration import Array, Labelled, Problem, Result
from genarium.engines.compiled import COMPILED, Compiled, compiled
from genarium.errors import InputError
from genarium.progress import spinner, track
from genarium.remedies import option


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
    """
    density = compiled(problem)
    if iterations % window:
        raise InputError(f"{option('iterations', iterations)} must be a multiple of {option('window', window)}.")
    engine = _engine(density)
    engine.reset(density.start(rng), int(rng.integers(2**31)))
    losses: list[float] = []
    average = np.zeros((2, len(engine.order)))  # of the last window: it removes the noise of the steps
    converged = False
    for i in track(range(iterations), "ADVI"):
        if i % window == 0:
            average[:] = 0
        losses.append(float(engine.step()))
        average += np.stack([engine.mean.get_value(borrow=True), engine.rho.get_value(borrow=True)]) / window
        if (i + 1) % window == 0 and i + 1 >= 2 * window:
            now, before = np.array(losses[-window:]), np.array(losses[-2 * window : -window])
            error = np.sqrt((now.var() + before.var()) / window)
            if before.mean() - now.mean() < error:
                converged = True
                break
    mean, sd = average[0, engine.order], np.log1p(np.exp(average[1, engine.order]))
    z = rng.normal(size=(draws, len(mean)))
    vectors = mean + sd * z
    log_q = (-0.5 * z**2 - np.log(sd) - 0.5 * np.log(2 * np.pi)).sum(1)
    natural: list[Mapping[str, Array]] = []
    for i, vector in enumerate(vectors):
        values, jacobian = density.constrained(vector)
        natural.append(values)
        log_q[i] -= jacobian
    posterior = {name: np.stack([n[name] for n in natural])[None] for name in problem.model.unknown.variables}
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
    return Result(posterior=posterior, variational=variational, sample_stats={"log_q": log_q[None]}, notes=notes)


class Advi:
    """PyMC's mean-field ADVI with its step function kept, so that other data need no compilation."""

    def __init__(self, density: Compiled) -> None:
        import pymc as pm
        from pymc.variational import ADVI

        self.density = density
        with density.pymc:
            self.inference = ADVI()
            self.step = self.inference.objective.step_function(obj_optimizer=pm.adam(learning_rate=0.02), score=True)
        self.shared = list(self.step.get_shared())
        approx = self.inference.approx
        self.mean, self.rho = approx.params_dict["mu"], approx.params_dict["rho"]
        fixed = {id(v) for v in density.pymc.named_vars.values()}
        self.fresh = [(v, np.array(v.get_value(), copy=True)) for v in self.shared if id(v) not in fixed and _plain(v)]
        ordering = approx.ordering
        self.order = np.concatenate([np.arange(*ordering[v.name][1].indices(10**9)[:2]) for v in density._values])

    def reset(self, start: Array, seed: int) -> None:
        """Forget earlier data: means at ``start``, small widths, the optimiser's memory cleared."""
        for variable, value in self.fresh:
            variable.set_value(value)
        mean = np.empty_like(start)
        mean[self.order] = start
        self.mean.set_value(mean)
        self.rho.set_value(np.full_like(mean, np.log(np.expm1(0.1))))
        for variable in self.shared:
            if not _plain(variable):
                variable.set_value(np.random.default_rng(seed))


@cache
def _engine(density: Compiled) -> Advi:
    """Return the ADVI step of a density, compiled once."""
    COMPILED["advi"] += 1
    with spinner("compiling the ADVI step"):
        return Advi(density)


def _plain(variable: Any) -> bool:
    return isinstance(variable.get_value(borrow=True), np.ndarray)
