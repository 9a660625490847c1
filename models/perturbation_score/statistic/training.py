"""Training of the statistic by Adam, and what a trained one gives."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.progress import track
from genarium.readers.messages import absent

from . import network
from .network import Size
from .presets import Preset, preset
from .samplers import Screen, batch
from .steps import STEPPERS


@dataclass
class Trained:
    """A trained statistic.

    Attributes
    ----------
    size : Size
    settings : Preset
    weights : dict of str to ndarray
    centre, scale : ndarray, shape (G,)
        Mean and sd of each gene over the training perturbations' cells; cells are standardised by them.
    losses : ndarray, shape (steps, 2)
        Mean squared error of the distance, and the recognition loss, of every step.
    seconds : dict of str to float
        ``compile`` and ``train``, wall and CPU.
    genes, states : tuple of str
        Names of the training screen's; ``evaluate`` finds those of another screen by them.
    """

    size: Size
    settings: Preset
    weights: dict[str, Array]
    centre: Array
    scale: Array
    losses: Array
    seconds: dict[str, float] = field(default_factory=dict)
    genes: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    @property
    def _functions(self) -> tuple[Any, Any, Any]:
        return forward(self.size, self.settings.dtype)

    def summarise(self, cells: Array, average: Array) -> Array:
        """Return statistics s (B, m) of groups of cells: cells (M, G), averaging weights (B, M)."""
        standard = self._cast((cells - self.centre) / self.scale)
        return np.asarray(self._functions[0](*self.weights.values(), standard, self._cast(average)))

    def distance(self, s: Array, target: Array) -> Array:
        """Return the distances (B, J) that statistics (B, m) predict from targets (J, K)."""
        return np.asarray(self._functions[1](*self.weights.values(), self._cast(s), self._cast(target)))

    def recognise(self, features: Array) -> Array:
        """Return the statistics (B, m) that features (B, D) predict."""
        return np.asarray(self._functions[2](*self.weights.values(), self._cast(features)))

    def _cast(self, array: Array) -> Array:
        return np.asarray(array, dtype=self.settings.dtype)


SIZES = ("programs", "token", "values", "width")
"""Sizes of the network that are free: the others are those of the screen."""


@cache
def forward(size: Size, dtype: str) -> tuple[Any, Any, Any]:
    """Functions of weights and data for a summary, a distance and a recognition, run without compilation."""
    import pytensor
    import pytensor.tensor as pt

    w, data = network.symbols(size, dtype)
    s = pt.tensor("s", dtype=dtype, shape=(None, size.programs))
    takes = ([data["cells"], data["average"]], [s, data["target"]], [data["features"]])
    gives = (
        network.summary(w, data["cells"], data["average"], size),
        network.distance(w, s, data["target"], size),
        network.recognise(w, data["features"]),
    )
    summary, distance, recognise = (
        pytensor.function([*w.values(), *inputs], output, on_unused_input="ignore", mode="FAST_COMPILE")
        for inputs, output in zip(takes, gives, strict=True)
    )
    return summary, distance, recognise


def train(
    one: Screen,
    rows: Array,
    rng: np.random.Generator,
    *,
    name: str = "normalised",
    backend: str = "numba",
    size: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Trained:
    """Train a statistic on some perturbations of a screen.

    Parameters
    ----------
    one : Screen
    rows : ndarray of int
        Training perturbations.
    rng : Generator
        For the starting weights and the batches; the same for every backend.
    name : str
        A preset: "seed_baseline", "seed_robust", "normalised".
    backend : {"numba", "jax", "python"}
        "jax" needs JAX and optax.
    size : mapping, optional
        Sizes of the network other than the usual ones (``programs=6``).
    **changes
        Settings other than the preset's (``steps=500``).

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        For an unknown preset, setting or backend, a package that is missing, or fewer than two perturbations.
    """
    if backend not in STEPPERS:
        raise absent("perturbation_score.statistic", "backend", backend, STEPPERS)
    if not isinstance(rng, np.random.Generator):
        raise InputError(
            f"perturbation_score.statistic: rng={rng!r} is no generator. Give np.random.default_rng(seed)."
        )
    if not isinstance(one, Screen):
        raise InputError(
            f"perturbation_score.statistic: {type(one).__name__} is no screen. Make one with screen(counts, condition, "
            "state, features)."
        )
    rows, P = np.asarray(rows), len(one.names)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or ((rows < 0) | (rows >= P)).any():
        odd = rows.tolist() if rows.ndim != 1 or rows.dtype.kind not in "iu" else rows[(rows < 0) | (rows >= P)][0]
        raise InputError(
            f"perturbation_score.statistic: rows: {odd} is no position of a perturbation. Give whole numbers from 0 to "
            f"{P - 1}, such as the first part of split({P}, rng)."
        )
    if len(rows) < 2:
        raise InputError(f"perturbation_score.statistic: {len(rows)} training perturbations are too few.")
    if len(np.unique(rows)) < len(rows):
        raise InputError("perturbation_score.statistic: rows: a perturbation is there twice. Name each once.")
    settings = preset(name, **changes)
    for key, value in (size or {}).items():
        if key not in SIZES:
            raise absent("perturbation_score.statistic", "size", key, SIZES)
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"perturbation_score.statistic: size {key}={value!r} must be a whole number, 1 or larger.")
    shape = Size(one.cells.shape[1], one.features.shape[1], one.share.shape[1], **(dict(size) if size else {}))
    starting, drawing = rng.spawn(2)
    weights = network.initial(shape, starting, settings.dtype)
    centre, scale = moments(one, rows)
    standardised = (one.cells - centre) / scale
    began = np.array([time.perf_counter(), time.process_time()])
    step: Any = STEPPERS[backend](shape, settings, weights, standardised.astype(settings.dtype, copy=False))
    built = np.array([time.perf_counter(), time.process_time()])
    losses = np.empty((settings.steps, 2))
    for i in track(range(settings.steps), f"training ({name})"):
        losses[i] = step(batch(one, rows, settings, i, drawing), rate_at(settings, i))
        if i == 0:
            first = np.array([time.perf_counter(), time.process_time()])
        if not np.isfinite(losses[i]).all():
            raise FloatingPointError(f"the loss is {losses[i]} at step {i}")
    done = np.array([time.perf_counter(), time.process_time()])
    seconds = {
        **dict(zip(("compile_wall", "compile_cpu"), (first - began).tolist(), strict=True)),
        **dict(zip(("train_wall", "train_cpu"), (done - first).tolist(), strict=True)),
        "build_wall": float((built - began)[0]),
    }
    return Trained(shape, settings, step.weights(), centre, scale, losses, seconds, one.genes, one.states)


def moments(one: Screen, rows: Array) -> tuple[Array, Array]:
    """Mean and sd of each gene over the cells of some perturbations, every perturbation counting alike; (G,) each."""
    each = [one.cells[one.rows(p)] for p in rows]
    mean = np.mean([cells.mean(0) for cells in each], 0)
    variance = np.mean([((cells - mean) ** 2).mean(0) for cells in each], 0)
    return mean.astype(one.cells.dtype), np.where(variance > 0, np.sqrt(variance), 1).astype(one.cells.dtype)


def rate_at(settings: Preset, step: int) -> float:
    """Learning rate of a step: a cosine from ``rate`` to a tenth of it."""
    return settings.rate * (0.55 + 0.45 * float(np.cos(np.pi * step / settings.steps)))
