"""Training: Adam on the one PyTensor graph, lowered to Numba (default), to JAX with optax, or run as it is."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.engines.blackjax import double_precision
from genarium.errors import InputError
from genarium.progress import track
from genarium.readers.messages import absent

from . import network
from .network import Size
from .presets import Preset, preset
from .samplers import Screen, batch

BACKENDS = ("numba", "jax", "python")
"""``python`` runs the graph's operations one by one without compiling anything: slower, ready at once."""


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
    """

    size: Size
    settings: Preset
    weights: dict[str, Array]
    centre: Array
    scale: Array
    losses: Array
    seconds: dict[str, float] = field(default_factory=dict)

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
    if backend not in BACKENDS:
        raise absent("perturbation_score.statistic", "backend", backend, BACKENDS)
    if len(rows) < 2:
        raise InputError(f"perturbation_score.statistic: {len(rows)} training perturbations are too few.")
    settings = preset(name, **changes)
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
    return Trained(shape, settings, step.weights(), centre, scale, losses, seconds)


def moments(one: Screen, rows: Array) -> tuple[Array, Array]:
    """Mean and sd of each gene over the cells of some perturbations, every perturbation counting alike; (G,) each."""
    each = [one.cells[one.rows(p)] for p in rows]
    mean = np.mean([cells.mean(0) for cells in each], 0)
    variance = np.mean([((cells - mean) ** 2).mean(0) for cells in each], 0)
    return mean.astype(one.cells.dtype), np.where(variance > 0, np.sqrt(variance), 1).astype(one.cells.dtype)


def rate_at(settings: Preset, step: int) -> float:
    """Learning rate of a step: a cosine from ``rate`` to a tenth of it."""
    return settings.rate * (0.55 + 0.45 * float(np.cos(np.pi * step / settings.steps)))


def loss_graph(size: Size, recognition: str, weight: float, dtype: str) -> tuple[list[Any], list[Any], Any, list[Any]]:
    """Weights, batch inputs, total loss, and its two parts."""
    w, data = network.symbols(size, dtype)
    fit, recognised = network.losses(w, data, size, recognition)
    total = fit + np.asarray(weight, dtype=dtype) * recognised
    return list(w.values()), list(data.values()), total, [fit, recognised]


@cache
def slopes_of(size: Size, recognition: str, weight: float, dtype: str, mode: str) -> Any:
    """Return the function of weights and a batch that gives the two losses and the gradient of their sum."""
    import pytensor
    import pytensor.tensor as pt

    w, data, total, parts = loss_graph(size, recognition, weight, dtype)
    return pytensor.function([*w, *data], [*parts, *pt.grad(total, w)], mode=mode)


class PyTensorStep:
    """Adam in NumPy on loss and gradient compiled by PyTensor."""

    mode = "NUMBA"

    def __init__(self, size: Size, settings: Preset, weights: Mapping[str, Array], cells: Array) -> None:
        self._function = slopes_of(size, settings.recognition, settings.weight, settings.dtype, self.mode)
        self._names, self._w, self._cells = list(weights), [np.array(v) for v in weights.values()], cells
        self._m, self._v = ([np.zeros_like(v) for v in self._w] for _ in range(2))
        self._t = 0

    def __call__(self, drawn: Mapping[str, Array], rate: float) -> tuple[float, float]:
        """Make a step; return the two losses before it."""
        full = {"cells": self._cells, **drawn}
        fit, recognised, *slopes = self._function(*self._w, *(full[name] for name in network.BATCH))
        self._t += 1
        for w, m, v, g in zip(self._w, self._m, self._v, slopes, strict=True):
            m += (1 - 0.9) * (g - m)
            v += (1 - 0.999) * (g * g - v)
            w -= rate * (m / (1 - 0.9**self._t)) / (np.sqrt(v / (1 - 0.999**self._t)) + 1e-8)
        return float(fit), float(recognised)

    def weights(self) -> dict[str, Array]:
        """Return the weights as they are now."""
        return dict(zip(self._names, self._w, strict=True))


class PythonStep(PyTensorStep):
    """The same without compilation."""

    mode = "FAST_COMPILE"


class JaxStep:
    """optax's Adam on the graph lowered to JAX, a step in one compiled function."""

    def __init__(self, size: Size, settings: Preset, weights: Mapping[str, Array], cells: Array) -> None:
        try:
            jax = import_module("jax")
            import_module("optax")
        except ImportError as error:
            raise InputError(
                f"backend='jax' needs JAX and optax ({error}). Install them with `pip install 'genarium[jax]'`, or use "
                "backend='numba'."
            ) from error
        self._names, self._dtype = list(weights), settings.dtype
        padded = -(-len(cells) // BLOCK) * BLOCK  # screens of about the same size share a compilation
        with double_precision():  # so that JAX keeps the dtypes that it is given
            self._step, start = jax_step(size, settings.recognition, settings.weight, settings.dtype)
            self._w = [jax.numpy.array(v) for v in weights.values()]
            self._state = start(self._w)
            self._cells = jax.numpy.asarray(np.pad(cells, ((0, padded - len(cells)), (0, 0))))

    def __call__(self, drawn: Mapping[str, Array], rate: float) -> tuple[float, float]:
        """Make a step; return the two losses before it."""
        full = {"cells": self._cells, **drawn}
        with double_precision():
            data = [full[name] for name in network.BATCH]
            slow = np.asarray(rate, dtype=self._dtype)
            self._w, self._state, (fit, recognised) = self._step(self._w, self._state, data, slow)
        return float(fit), float(recognised)

    def weights(self) -> dict[str, Array]:
        """Return the weights as they are now."""
        return {name: np.array(value) for name, value in zip(self._names, self._w, strict=True)}


BLOCK = 8192
"""Rows that the cells of a screen are padded to a multiple of."""


@cache
def jax_step(size: Size, recognition: str, weight: float, dtype: str) -> tuple[Any, Any]:
    """Return the compiled step of optax's Adam, and the function that makes its first state."""
    jax: Any = import_module("jax")
    optax: Any = import_module("optax")
    lowered = lower(size, recognition, weight, dtype)
    adam = optax.scale_by_adam()

    def loss(w: Any, data: Any) -> Any:
        total, fit, recognised = lowered(*w, *data)
        return total, (fit, recognised)

    def step(w: Any, state: Any, data: Any, rate: Any) -> Any:
        (_, parts), slopes = jax.value_and_grad(loss, has_aux=True)(w, data)
        change, state = adam.update(slopes, state, w)
        return [v - rate * c for v, c in zip(w, change, strict=True)], state, parts

    return jax.jit(step, donate_argnums=(0, 1)), adam.init


def lower(size: Size, recognition: str, weight: float, dtype: str) -> Callable[..., Any]:
    """Return the loss and its parts as a function of JAX arrays; constants take the precision that JAX is set to."""
    from pytensor.compile.mode import JAX
    from pytensor.graph.fg import FunctionGraph
    from pytensor.link.jax.dispatch import jax_funcify

    w, data, total, parts = loss_graph(size, recognition, weight, dtype)
    graph = FunctionGraph([*w, *data], [total, *parts], clone=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping Assert", UserWarning)  # of shapes, which the sampler keeps
        JAX.optimizer.rewrite(graph)
        lowered: Callable[..., Any] = jax_funcify(graph)
    return lowered


STEPPERS: dict[str, Callable[..., Any]] = {"numba": PyTensorStep, "jax": JaxStep, "python": PythonStep}
