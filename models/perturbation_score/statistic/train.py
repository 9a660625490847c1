"""Training: Adam on the one PyTensor graph, lowered to Numba (default), to JAX with optax, or run as it is."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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
    losses : ndarray, shape (steps, 2)
        Mean squared error of the distance, and the recognition loss, of every step.
    seconds : dict of str to float
        ``compile`` and ``train``, wall and CPU.
    """

    size: Size
    settings: Preset
    weights: dict[str, Array]
    losses: Array
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def _functions(self) -> tuple[Any, Any, Any]:
        import pytensor
        import pytensor.tensor as pt

        w, data = network.symbols(self.size, self.settings.dtype)
        s = pt.tensor("s", dtype=self.settings.dtype, shape=(None, self.size.programs))
        common: dict[str, Any] = {"on_unused_input": "ignore", "mode": "FAST_COMPILE"}
        weights = list(w.values())
        return (
            pytensor.function(
                [*weights, data["cells"], data["average"]],
                network.summary(w, data["cells"], data["average"], self.size),
                **common,
            ),
            pytensor.function(
                [*weights, s, data["target"]], network.distance(w, s, data["target"], self.size), **common
            ),
            pytensor.function([*weights, data["features"]], network.recognise(w, data["features"]), **common),
        )

    def summarise(self, cells: Array, average: Array) -> Array:
        """Return statistics s (B, m) of groups of cells: cells (M, G), averaging weights (B, M)."""
        return np.asarray(self._functions[0](*self.weights.values(), self._cast(cells), self._cast(average)))

    def distance(self, s: Array, target: Array) -> Array:
        """Return the distances (B, J) that statistics (B, m) predict from targets (J, K)."""
        return np.asarray(self._functions[1](*self.weights.values(), self._cast(s), self._cast(target)))

    def recognise(self, features: Array) -> Array:
        """Return the statistics (B, m) that features (B, D) predict."""
        return np.asarray(self._functions[2](*self.weights.values(), self._cast(features)))

    def _cast(self, array: Array) -> Array:
        return np.asarray(array, dtype=self.settings.dtype)


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
        raise InputError(
            f"perturbation_score.statistic: {len(rows)} training perturbations are too few; give two or more."
        )
    settings = preset(name, **changes)
    shape = Size(one.cells.shape[1], one.features.shape[1], one.share.shape[1], **(dict(size) if size else {}))
    starting, drawing = rng.spawn(2)
    weights = network.initial(shape, starting, settings.dtype)
    began = np.array([time.perf_counter(), time.process_time()])
    step = STEPPERS[backend](shape, settings, weights, one.cells.astype(settings.dtype, copy=False))
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
    return Trained(shape, settings, step.weights(), losses, seconds)


def rate_at(settings: Preset, step: int) -> float:
    """Learning rate of a step: a cosine from ``rate`` to a tenth of it."""
    return settings.rate * (0.55 + 0.45 * float(np.cos(np.pi * step / settings.steps)))


def loss_graph(size: Size, settings: Preset) -> tuple[list[Any], list[Any], Any, list[Any]]:
    """Weights, batch inputs, total loss, and its two parts."""
    w, data = network.symbols(size, settings.dtype)
    fit, recognised = network.losses(w, data, size, settings.recognition)
    total = fit + np.asarray(settings.weight, dtype=settings.dtype) * recognised
    return list(w.values()), list(data.values()), total, [fit, recognised]


class PyTensorStep:
    """Adam in NumPy on loss and gradient compiled by PyTensor."""

    mode = "NUMBA"

    def __init__(self, size: Size, settings: Preset, weights: Mapping[str, Array], cells: Array) -> None:
        import pytensor
        import pytensor.tensor as pt

        w, data, total, parts = loss_graph(size, settings)
        self._function = pytensor.function([*w, *data], [*parts, *pt.grad(total, w)], mode=self.mode)
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
            import jax
            import optax
        except ImportError as error:
            raise InputError(
                f"backend='jax' needs JAX and optax ({error}). Install them with `pip install 'genarium[jax]'`, or use "
                "backend='numba'."
            ) from error
        lowered = lower(size, settings)
        adam = optax.inject_hyperparams(optax.adam)(learning_rate=settings.rate)
        wide = settings.dtype == "float64"

        def loss(w: Any, data: Any) -> Any:
            total, fit, recognised = lowered(*w, *data)
            return total, (fit, recognised)

        def step(w: Any, state: Any, data: Any, rate: Any) -> Any:
            state.hyperparams["learning_rate"] = rate
            (_, parts), slopes = jax.value_and_grad(loss, has_aux=True)(w, data)
            change, state = adam.update(slopes, state, w)
            return optax.apply_updates(w, change), state, parts

        self._wide = jax.enable_x64 if wide else None
        self._names = list(weights)
        with self._precision():
            self._step = jax.jit(step, donate_argnums=(0, 1))
            self._w = [jax.numpy.asarray(v) for v in weights.values()]
            self._state = adam.init(self._w)
            self._cells = jax.numpy.asarray(cells)
            self._rate = lambda rate: jax.numpy.asarray(rate, dtype=settings.dtype)

    def _precision(self) -> Any:
        from contextlib import nullcontext

        return nullcontext() if self._wide is None else self._wide(True)

    def __call__(self, drawn: Mapping[str, Array], rate: float) -> tuple[float, float]:
        """Make a step; return the two losses before it."""
        full = {"cells": self._cells, **drawn}
        with self._precision():
            data = [full[name] for name in network.BATCH]
            self._w, self._state, (fit, recognised) = self._step(self._w, self._state, data, self._rate(rate))
        return float(fit), float(recognised)

    def weights(self) -> dict[str, Array]:
        """Return the weights as they are now."""
        return {name: np.array(value) for name, value in zip(self._names, self._w, strict=True)}


def lower(size: Size, settings: Preset) -> Callable[..., Any]:
    """Return the loss and its parts as a function of JAX arrays."""
    from pytensor.compile.mode import JAX
    from pytensor.graph.fg import FunctionGraph
    from pytensor.link.jax.dispatch import jax_funcify

    w, data, total, parts = loss_graph(size, settings)
    graph = FunctionGraph([*w, *data], [total, *parts], clone=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping Assert", UserWarning)  # of shapes, which the sampler keeps
        JAX.optimizer.rewrite(graph)
        lowered: Callable[..., Any] = jax_funcify(graph)
    return lowered


STEPPERS: dict[str, Callable[..., Any]] = {"numba": PyTensorStep, "jax": JaxStep, "python": PythonStep}
