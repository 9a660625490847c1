"""Whether networks differ between samples at all, and by which settings to fit: by cross-validated likelihood."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from genarium.data import check
from genarium.declaration import Array, Model, Problem
from genarium.errors import InputError
from genarium.progress import track
from genarium.registry import get

from . import doors
from .descent import Run, descend
from .encoder import mean_over_samples, spread_over_samples
from .objective import Objective
from .ordering import Ordering
from .pack import Packed

BETAS = (2.0, 5.0, 12.0, 30.0, 1000.0)
"""Rates of the edges' prior that are tried; the last one leaves no edge."""

FIRST = 1
"""The one of them that orders are sought by; the others follow along these."""

CERTAIN = 2.0
"""Standard errors that a gain must have to count."""

SHORT, LONG = 40, 150
"""Iterations of L-BFGS at most, before an order is looked for and along it."""


@dataclass(frozen=True)
class Choice:
    """What cross-validation says.

    Attributes
    ----------
    matters : bool
        Whether networks that follow the context predict held-out samples better than one network for all.
    gain, error : float
        By how many nats a sample, and the standard error of that. Of each part of the data, the settings of either kind
        are those that are best on the other parts; the error counts that fits to overlapping parts are alike.
    settings : dict
        What to give to ``fit``: the best settings of all; of one archetype, unless networks differ for certain.
    candidates : list of dict
        The settings that were tried.
    score : ndarray, shape (candidates,)
        Mean log density of a held-out sample, in nats.
    """

    matters: bool
    gain: float
    error: float
    settings: dict[str, Any]
    candidates: list[dict[str, Any]]
    score: Array

    def __str__(self) -> str:
        said = "yes" if self.matters else "no"
        return f"context matters: {said}, {self.gain:+.3f} ± {self.error:.3f} nats a sample held out"


def select(
    x: Array,
    context: Array,
    *,
    archetypes: Sequence[int] = (1, 2, 3, 4),
    betas: Sequence[float] = BETAS,
    means: Sequence[str] = ("zero", "regressed"),
    priors: Sequence[str] = ("independent",),
    folds: int = 5,
    restarts: int = 2,
    seed: int = 0,
    **settings: Any,
) -> Choice:
    """Choose settings, one archetype among them, by the log density of samples that fits did not see.

    Fits go along one order of the nodes, sought at one rate of the edges' prior and kept for the others.

    Parameters
    ----------
    x : ndarray, shape (N, p)
        Standardised, as for a fit.
    context : ndarray, shape (N, M)
    archetypes : sequence of int
        Numbers to try; one (a network for all samples) is always among them.
    betas : sequence of float
        Rates of the edges' prior.
    means, priors : sequence of str
        Values of the options of these names.
    folds : int
        Parts of the data, each predicted by fits to the others.
    restarts : int
        Random starts of a fit, from which an order of the nodes is sought; other rates follow along it. One in four,
        the second first, is near a single network for all samples.
    seed : int
    **settings
        Other options, sizes and known values, e.g. ``encoder`` and ``rule``.

    Returns
    -------
    Choice

    Raises
    ------
    InputError
        If the data are refused by ``fit``, or there are fewer samples than parts.
    """
    model = get(Path(__file__).parent.name)
    x = doors.matrix("x", x)
    context = doors.matrix("context", context, len(x))
    for name, count in {"folds": folds, "restarts": restarts}.items():
        doors.whole(name, count)
    if not betas or not means or not priors:
        raise InputError("notmad: betas, means and priors need one value or more each. Add one, or leave them out.")
    if not 2 <= folds <= len(x) // 2:
        raise InputError(f"notmad: folds={folds} of {len(x)} samples: give at least two, of two samples or more each.")
    scale = {"context_mean": mean_over_samples(context), "context_sd": spread_over_samples(context)}
    known = {name: value for name, value in settings.items() if name in model.known.variables}
    data = {"x": x, "context": context, **scale, **known}
    numbers = sorted({1, *archetypes})
    kinds: list[dict[str, Any]] = [
        {"archetype": K, "mean": mean, "prior": prior}
        for K, mean, prior in product(numbers, means, priors)
        if K > 1 or prior == priors[0]
    ]
    rng = np.random.default_rng(seed)
    part = rng.permutation(len(x)) % folds
    scores = np.empty((len(kinds), len(betas), len(x)))
    for fold in track(range(folds), "held-out parts"):
        for k, kind in enumerate(kinds):
            own = {name: value for name, value in {**settings, **kind}.items() if name not in known}
            path = Descents(model, data, own, part != fold)
            scores[k, :, part == fold] = path.densities(betas, restarts, np.random.default_rng([seed, fold, k])).T
    candidates = [{**kind, "beta": beta} for kind, beta in product(kinds, betas)]
    score = scores.reshape(len(candidates), len(x))
    several = np.array([K > 1 for K in (int(kind["archetype"]) for kind in kinds) for _ in betas])
    gain, error = compared(score, several, part) if several.any() else (0.0, 0.0)
    matters = bool(gain > CERTAIN * error)
    total = np.where(several & (not matters), -np.inf, score.mean(1))
    return Choice(matters, gain, error, {**settings, **candidates[int(total.argmax())]}, candidates, score.mean(1))


def compared(score: Array, several: Array, part: Array) -> tuple[float, float]:
    """Mean gain of the best candidates of several archetypes over the best of one, and its standard error.

    Of each part, the best are those on the other parts, so that the choice among many gains nothing by chance. Fits to
    parts that overlap are alike: the variance between samples counts 1 + k / (k - 1) times for k parts (Nadeau and
    Bengio 2003, Machine Learning 52).

    Parameters
    ----------
    score : ndarray, shape (candidates, N)
        Log densities of held-out samples.
    several : ndarray of bool, shape (candidates,)
    part : ndarray of int, shape (N,)
    """
    difference = np.empty(len(part))
    k = int(part.max()) + 1
    for fold in range(k):
        rest, own = score[:, part != fold].mean(1), part == fold
        best = [int(np.where(which, rest, -np.inf).argmax()) for which in (several, ~several)]
        difference[own] = score[best[0], own] - score[best[1], own]
    n = len(part)
    return float(difference.mean()), float(difference.std(ddof=1) * np.sqrt((1 + k / (k - 1)) / n))


class Descents:
    """Fits to some of the samples by rates of the edges' prior, one after the other, along one order of the nodes.

    Parameters
    ----------
    model : Model
    data : dict
    settings : dict
        Options and sizes.
    train : ndarray of bool, shape (N,)
        The samples to fit to.
    """

    def __init__(self, model: Model, data: dict[str, Any], settings: dict[str, Any], train: Array) -> None:
        self.model = model.variant(**{name: value for name, value in settings.items() if name in model.options})
        self.sizes = {name: value for name, value in settings.items() if name not in model.options}
        self.data, self.train = data, train

    def _problem(self, rows: Array, beta: float, model: Model, **more: Array) -> Problem:
        given = {**self.data, **more, "x": self.data["x"][rows], "context": self.data["context"][rows], "beta": beta}
        return check(model, given, self.sizes)

    def densities(self, betas: Sequence[float], restarts: int, rng: np.random.Generator) -> Array:
        """Log densities of the samples that are held out, rate by rate; shape (betas, samples)."""
        first = min(FIRST, len(betas) - 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            problem = self._problem(self.train, betas[first], self.model)
        own = {name: problem[name] for name in ("level", "position") if name in problem.arrays}
        test = self._problem(~self.train, 1.0, replace(self.model, check=None), **own)
        packed = Packed(Objective(problem))
        ordering = Ordering(problem, packed)
        runs = [
            ordering.fit(packed.random(stream, number % 4 == 1), stream, _approach, LONG, shared=number % 2 == 1)
            for number, stream in enumerate(rng.spawn(restarts))
        ]
        best = min(runs, key=lambda run: run.value)
        order = ordering.suggested(best.vector) if ordering.free else None
        out = np.empty((len(betas), len(test["x"])))
        for way in (range(first, -1, -1), range(first + 1, len(betas))):
            vector = best.vector
            for b in way:
                run = best if b == first else self._along(problem, betas[b], order, vector)
                vector = run.vector
                assert self.model.log_likelihood is not None
                out[b] = test.call(self.model.log_likelihood, **packed.unpack(vector))
        return out

    def _along(self, problem: Problem, beta: float, order: Array | None, vector: Array) -> Run:
        arrays = {**problem.arrays, "beta": np.asarray(beta)}
        own = Problem(problem.model, problem.sizes, arrays, coords=problem.coords)
        return Ordering(own, Packed(Objective(own))).along(vector, order, LONG, 1e-7)


def _approach(packed: Packed, vector: Array, rng: np.random.Generator) -> Array:
    return descend(packed, vector, SHORT, 1e-5).vector
