"""A step of Adam on the one PyTensor graph, by backend: compiled by Numba, lowered to JAX with optax, or as it is."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.engines.blackjax import double_precision
from genarium.errors import InputError

from . import network
from .network import Size
from .presets import Preset

Terms = tuple[float, float, float]
"""Weights of the losses after the first: recognition, stability, ranking."""

Open = tuple[int | None, int | None, int | None]
"""Cells, perturbations and targets of a batch, None where a graph takes any number."""


def slope_graph(
    size: Size, recognition: str, terms: Terms, dtype: str, batch: Open = (None, None, None)
) -> tuple[list[Any], list[Any]]:
    """Return inputs (weights, then a batch) and outputs: the two losses, and the gradient of their weighted sum.

    Every backend runs this graph. The gradient has to be taken here: what stops a gradient (eq. 16, "apart") has no
    meaning left once a graph is lowered.
    """
    import pytensor.tensor as pt

    w, data = network.symbols(size, dtype, batch)
    fit, *more = network.losses(w, data, size, recognition, paired=any(terms[1:]))
    total = fit + sum(np.asarray(weight, dtype=dtype) * term for weight, term in zip(terms, more, strict=False))
    return [*w.values(), *data.values()], [fit, more[0], *pt.grad(total, list(w.values()))]


@cache
def slopes_of(size: Size, recognition: str, terms: Terms, dtype: str, mode: str) -> Any:
    """Return the function of weights and a batch that gives the two losses and the gradient of their sum."""
    import pytensor

    inputs, outputs = slope_graph(size, recognition, terms, dtype)
    return pytensor.function(inputs, outputs, mode=mode)


class PyTensorStep:
    """Adam in NumPy on loss and gradient compiled by PyTensor."""

    mode = "NUMBA"

    def __init__(self, size: Size, settings: Preset, weights: Mapping[str, Array], cells: Array) -> None:
        self._function = slopes_of(size, settings.recognition, settings.terms, settings.dtype, self.mode)
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
        self._settings, self._size = settings, size
        padded = -(-len(cells) // BLOCK) * BLOCK  # screens of about the same size share a compilation
        with double_precision():  # so that JAX keeps the dtypes that it is given
            self._w = [jax.numpy.array(v) for v in weights.values()]
            self._state = import_module("optax").scale_by_adam().init(self._w)
            self._cells = jax.numpy.asarray(np.pad(cells, ((0, padded - len(cells)), (0, 0))))

    def __call__(self, drawn: Mapping[str, Array], rate: float) -> tuple[float, float]:
        """Make a step; return the two losses before it."""
        full, told = {"cells": self._cells, **drawn}, self._settings
        sizes = (len(drawn["index"]), *drawn["truth"].shape)
        with double_precision():
            data = [full[name] for name in network.BATCH]
            slow = np.asarray(rate, dtype=self._dtype)
            step = jax_step(self._size, told.recognition, told.terms, told.dtype, sizes)
            self._w, self._state, (fit, recognised) = step(self._w, self._state, data, slow)
        return float(fit), float(recognised)

    def weights(self) -> dict[str, Array]:
        """Return the weights as they are now."""
        return {name: np.array(value) for name, value in zip(self._names, self._w, strict=True)}


BLOCK = 8192
"""Rows that the cells of a screen are padded to a multiple of."""


@cache
def jax_step(size: Size, recognition: str, terms: Terms, dtype: str, batch: tuple[int, int, int]) -> Any:
    """Return the compiled step of optax's Adam on batches of one size."""
    jax: Any = import_module("jax")
    optax: Any = import_module("optax")
    lowered = lower(size, recognition, terms, dtype, batch)
    adam = optax.scale_by_adam()

    def step(w: Any, state: Any, data: Any, rate: Any) -> Any:
        fit, recognised, *slopes = lowered(*w, *data)
        change, state = adam.update(slopes, state, w)
        return [v - rate * c for v, c in zip(w, change, strict=True)], state, (fit, recognised)

    return jax.jit(step, donate_argnums=(0, 1))


def lower(size: Size, recognition: str, terms: Terms, dtype: str, batch: tuple[int, int, int]) -> Callable[..., Any]:
    """Return losses and gradient as a function of JAX arrays; constants take the precision that JAX is set to.

    The batch's sizes are told: JAX wants to know every shape before it runs.
    """
    from pytensor.compile.mode import JAX
    from pytensor.graph.fg import FunctionGraph
    from pytensor.link.jax.dispatch import jax_funcify

    graph = FunctionGraph(*slope_graph(size, recognition, terms, dtype, batch), clone=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping Assert", UserWarning)  # of shapes, which the sampler keeps
        JAX.optimizer.rewrite(graph)
        lowered: Callable[..., Any] = jax_funcify(graph)

    def function(*inputs: Any) -> list[Any]:
        return [found.astype(dtype) for found in lowered(*inputs)]  # a whole number in between makes 64 bits of 32

    return function


STEPPERS: dict[str, Callable[..., Any]] = {"numba": PyTensorStep, "jax": JaxStep, "python": PythonStep}
"""``python`` runs the graph's operations one by one without compiling anything: slower, ready at once."""
