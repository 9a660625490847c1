"""Layers of sequence models in NumPy: what each computes, and where in its input every output looks.

Values are maps (B, n, F), n positions of F channels, or vectors (B, F). A layer either looks at windows of positions
(convolutions, pooling, cropping, all that is elementwise), takes a whole map to a vector (global pooling, flattening),
or takes vectors to vectors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
from scipy.special import erf, expit, softmax

from genarium.declaration import Array

BLOCK = 4_000_000
"""Numbers in a work array, at most."""


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2))))


def _threshold(x: Array) -> Array:
    """Torch's Threshold(0, 1e-6) of the first DeepSEA: a rectifier whose floor is a millionth."""
    return np.where(x > 0, x, 1e-6)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": expit,
    "softmax": lambda x: softmax(x, axis=-1),
    "exponential": np.exp,
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "relu6": lambda x: np.clip(x, 0, 6),
    "gelu": _gelu,
    "swish": lambda x: x * expit(x),
    "silu": lambda x: x * expit(x),
    "threshold": _threshold,
}
"""Functions of activation by their usual names."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One call of a layer.

    Attributes
    ----------
    name : str
    kind : str
        One of ``WINDOWED``, ``POOLED`` or ``DENSE``, or "input", "constant".
    inputs : tuple of str
        The calls whose outputs it takes.
    options, weights : mapping
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)

    @property
    def activation(self) -> Callable[[Array], Array]:
        """What is applied to its sums."""
        given = self.options.get("activation", "linear")
        return given if callable(given) else ACTIVATIONS[given]


class Window(NamedTuple):
    """Output j looks at positions j stride - left + t dilation, t < size, of n of them; outputs in all."""

    size: int
    stride: int
    dilation: int
    left: int
    outputs: int


WINDOWED = ("conv", "pool", "crop", "activation", "scale", "combine", "concatenate", "join", "position_weight")
POOLED = ("global_mean", "global_max", "masked_mean", "flatten", "flat_dense", "position_basis")
DENSE = ("dense", "activation", "scale", "combine", "concatenate")


def window(layer: Layer, n: int) -> Window:
    """Where a windowed layer looks in an input of n positions."""
    options = layer.options
    if layer.kind == "crop":
        left, right = options["cropping"]
        return Window(1, 1, 1, -left, n - left - right)
    if layer.kind not in ("conv", "pool"):
        return Window(1, 1, 1, 0, n)
    size = len(layer.weights["kernel"]) if layer.kind == "conv" else options["size"]
    stride, dilation, padding = options.get("stride", 1), options.get("dilation", 1), options["padding"]
    reach = (size - 1) * dilation
    if padding == "same":  # as TensorFlow has it: what is odd goes to the right
        outputs = -(-n // stride)
        return Window(size, stride, dilation, max((outputs - 1) * stride + reach + 1 - n, 0) // 2, outputs)
    left, right = {"valid": (0, 0), "causal": (reach, 0)}.get(padding, padding)
    return Window(size, stride, dilation, left, (n + left + right - reach - 1) // stride + 1)


def convolve(x: Array, layer: Layer) -> Array:
    """Convolve (B, n, C), without the activation."""
    kernel, where = layer.weights["kernel"], window(layer, x.shape[1])
    _, C, F = kernel.shape
    span = (where.outputs - 1) * where.stride + (where.size - 1) * where.dilation + 1
    right = max(span - where.left - x.shape[1], 0)
    if where.left or right:
        x = np.pad(x, ((0, 0), (where.left, right), (0, 0)))
    out = np.empty((len(x), where.outputs, F))
    taps = [slice(t * where.dilation, t * where.dilation + (where.outputs - 1) * where.stride + 1, where.stride)
            for t in range(where.size)]  # fmt: skip
    for b in range(len(x)):
        if C * where.size <= 64 or C < 16:  # few channels: one product of all taps
            patches = np.concatenate([x[b, tap] for tap in taps], 1)
            out[b] = patches @ kernel.reshape(-1, F)
            continue
        out[b] = x[b, taps[0]] @ kernel[0]
        for tap, weights in zip(taps[1:], kernel[1:], strict=True):
            out[b] += x[b, tap] @ weights
    return out + layer.weights.get("bias", 0.0)


def pooled_windows(layer: Layer, taken: Array, inside: Array) -> Array:
    """Pool (B, n, k, F); ``inside``, (n, k), tells positions from what lies beyond the ends."""
    if layer.options["how"] == "max":
        return np.asarray(np.where(inside[..., None], taken, -np.inf).max(2))
    return np.asarray(np.where(inside[..., None], taken, 0).sum(2) / inside.sum(1)[:, None])


def pool(x: Array, layer: Layer) -> Array:
    """Pool windows of (B, n, F)."""
    where = window(layer, x.shape[1])
    out: Array | None = None
    count = np.zeros((where.outputs, 1))
    at = np.arange(where.outputs) * where.stride - where.left
    maximum = layer.options["how"] == "max"
    for t in range(where.size):
        inside = (at + t >= 0) & (at + t < x.shape[1])
        taken = x[:, np.clip(at + t, 0, x.shape[1] - 1)]
        taken = np.where(inside[:, None], taken, -np.inf if maximum else 0)
        out = taken if out is None else np.maximum(out, taken) if maximum else out + taken
        count += inside[:, None]
    assert out is not None
    return out if maximum else out / count


COMBINE: Mapping[str, Callable[[Sequence[Array]], Array]] = {
    "add": lambda many: sum(many[1:], many[0]),
    "average": lambda many: sum(many[1:], many[0]) / len(many),
    "multiply": lambda many: reduce(np.multiply, many),
    "maximum": lambda many: reduce(np.maximum, many),
    "minimum": lambda many: reduce(np.minimum, many),
    "subtract": lambda many: many[0] - many[1],
}


def elementwise(layer: Layer, inputs: Sequence[Array], n: int, at: Array | slice = slice(None)) -> Array:
    """Apply what looks at one position only, at some of n positions."""
    match layer.kind:
        case "activation":
            return layer.activation(inputs[0])
        case "scale":
            return layer.activation(inputs[0] * layer.weights["scale"] + layer.weights["shift"])
        case "combine":
            return COMBINE[layer.options["how"]](inputs)
        case "concatenate":
            return np.concatenate(inputs, -1)
        case "position_weight":
            return np.asarray(inputs[0] * factors(layer, n)[at])
        case _:
            return inputs[0]


def whole(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Take a map (B, n, F) to a vector, without the activation."""
    x = inputs[0]
    match layer.kind:
        case "global_mean":
            return np.asarray(x.mean(1))
        case "global_max":
            return np.asarray(x.max(1))
        case "masked_mean":
            share = mask_share(inputs[1])
            return np.asarray((x * share).sum(1))
        case "flat_dense":
            kernel = layer.weights["kernel"]
            return np.asarray(x.reshape(len(x), -1) @ kernel.reshape(-1, kernel.shape[2]) + layer.weights["bias"])
        case "position_basis":
            return np.asarray(np.einsum("bnf,nd->bdf", x, layer.weights["basis"]).reshape(len(x), -1))
        case _:
            return x.reshape(len(x), -1)


def mask_share(sequence: Array) -> Array:
    """Weights of positions, (B, n, 1), in a mean over those of a sequence that have a base."""
    mask = sequence.max(2, keepdims=True)
    return np.asarray(mask / np.maximum(mask.sum(1, keepdims=True), 1e-7))


def dense(x: Array, layer: Layer) -> Array:
    """Map (B, F) to (B, U)."""
    return layer.activation(x @ layer.weights["kernel"] + layer.weights.get("bias", 0.0))


@lru_cache(maxsize=64)
def factors(layer: Layer, n: int) -> Array:
    """Factors of n positions, (n, F): 1 + a spline on the knots of mgcv (mmsplice's SplineWeight1D)."""
    bases, degree = layer.options["bases"], layer.options["degree"]
    low, high = -(n - 1) * 0.001, (n - 1) * 1.001
    inner = bases - degree + 1
    step = (high - low) / (inner - 1)
    knots = np.linspace(low - step * degree, high + step * degree, inner + 2 * degree).astype(np.float32)
    basis = spline_basis(np.arange(n), knots, degree).astype(np.float32)
    return np.asarray(1 + basis @ layer.weights["kernel"] + layer.weights["bias"])


def spline_basis(x: Array, knots: Array, degree: int = 3) -> Array:
    """B-splines of a degree on given knots, (len(x), number of them); the last interval takes in its end."""
    from scipy.interpolate import BSpline

    many = len(knots) - degree - 1
    return np.asarray(BSpline(np.asarray(knots, dtype=float), np.eye(many), degree)(np.asarray(x, dtype=float)))
