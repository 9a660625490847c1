"""A small convolutional network trained in NumPy: enough to learn motifs and how two of them act together.

Convolution, rectifier, maximum over positions, a hidden layer, two outputs; Adam on squared errors. The maximum lets a
gradient through at one position of each channel only, which makes the backward pass cheap.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from genarium.declaration import Array

from .convolution import Conv, ConvNet, Dense


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Attributes
    ----------
    channels, width, hidden : int
        Motif detectors, their length, and units of the hidden layer.
    epochs, batch : int
    rate : float
        Of the steps, falling to zero along a cosine.
    decay : float
        Of the weights at each step, times the rate.
    """

    channels: int = 32
    width: int = 24
    hidden: int = 48
    epochs: int = 40
    batch: int = 64
    rate: float = 5e-3
    decay: float = 0.0


def train(x: Array, y: Array, rng: np.random.Generator, plan: Plan | None = None) -> ConvNet:
    """Train a network.

    Parameters
    ----------
    x : ndarray, shape (N, 4, L)
    y : ndarray, shape (N, T)
    rng : Generator
    plan : Plan, optional

    Returns
    -------
    ConvNet
        In double precision, on the scale of ``y``.
    """
    plan = plan or Plan()
    N, _, L = x.shape
    k, T = plan.width, y.shape[1]
    centre, scale = y.mean(0), y.std(0)
    target = ((y - centre) / scale).astype(np.float32)
    padded = np.pad(x.astype(np.float32), ((0, 0), (0, 0), ((k - 1) // 2, k - 1 - (k - 1) // 2)))
    C, H = plan.channels, plan.hidden
    shapes: list[tuple[int, ...]] = [(4 * k, C), (C,), (C, H), (H,), (H, T), (T,)]
    weights = [_first(rng, shape) for shape in shapes]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    steps, total = 0, plan.epochs * -(-N // plan.batch)
    for _ in range(plan.epochs):
        order = rng.permutation(N)
        for low in range(0, N, plan.batch):
            some = order[low : low + plan.batch]
            gradients = _gradients(weights, padded[some], target[some], k, L)
            steps += 1
            rate = plan.rate * 0.5 * (1 + np.cos(np.pi * steps / total))
            for w, g, (m, v) in zip(weights, gradients, moments, strict=True):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                size = np.sqrt(v / (1 - 0.999**steps)) + 1e-8
                w -= np.float32(rate) * (m / (1 - 0.9**steps) / size + np.float32(plan.decay) * w * (w.ndim > 1))
    W, b, U, c, V, d = (w.astype(float) for w in weights)
    filters = W.reshape(4, k, plan.channels).transpose(2, 0, 1)
    head = [Dense(U.T, c, "relu"), Dense(V.T * scale[:, None], d * scale + centre)]
    return ConvNet([Conv(filters, b, "relu")], "max", head)


def _first(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    if len(shape) == 1:
        return np.zeros(shape, dtype=np.float32)
    return rng.normal(0, np.sqrt(2 / shape[0]), shape).astype(np.float32)


def _gradients(weights: list[Array], x: Array, y: Array, k: int, L: int) -> list[Array]:
    """Gradients of the mean squared error of a batch (B, 4, L + k - 1)."""
    W, b, U, c, V, d = weights
    B = len(x)
    patches = np.ascontiguousarray(sliding_window_view(x, k, axis=2).transpose(0, 2, 1, 3)).reshape(B, L, -1)
    score = (patches.reshape(B * L, -1) @ W).reshape(B, L, -1)
    where = score.argmax(1)  # (B, C)
    top = np.take_along_axis(score, where[:, None], 1)[:, 0] + b
    pooled = np.maximum(top, 0)
    inner = pooled @ U + c
    hidden = np.maximum(inner, 0)
    miss = (hidden @ V + d - y) * np.float32(2 / (B * y.shape[1]))
    g_inner = (miss @ V.T) * (inner > 0)
    g_top = (g_inner @ U.T) * (top > 0)
    # of channel c only the patch that gave its maximum has a part
    g_W = np.stack([g_top[:, j] @ patches[np.arange(B), where[:, j]] for j in range(W.shape[1])], 1)
    return [g_W, g_top.sum(0), pooled.T @ g_inner, g_inner.sum(0), hidden.T @ miss, miss.sum(0)]
