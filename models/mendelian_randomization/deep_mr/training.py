"""A small convolutional network, trained here: enough to learn motifs and how two of them act together.

Convolution, rectifier, maximum over positions, a hidden layer, two outputs; Adam on squared errors. On one-hot
sequences a convolution adds up rows of its weights, and the maximum lets a gradient through at one position of each
channel only.
"""

from dataclasses import dataclass

import numba
import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

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
        One-hot; an unknown base is a column of zeros.
    y : ndarray, shape (N, T)
    rng : Generator
    plan : Plan, optional

    Returns
    -------
    ConvNet
        In double precision, on the scale of ``y``.

    Raises
    ------
    InputError
        If a sequence is not one-hot, or a label is the same for all.
    """
    plan = plan or Plan()
    N = len(x)
    k, T = plan.width, y.shape[1]
    codes = _codes(x, k)
    centre, scale = y.mean(0), y.std(0)
    if not (scale > 0).all():
        raise InputError(f"deep_mr: label {int(scale.argmin())} is the same for all sequences. Leave it out.")
    target = ((y - centre) / scale).astype(np.float32)
    C, H = plan.channels, plan.hidden
    shapes: list[tuple[int, ...]] = [(4 * k, C), (C,), (C, H), (H,), (H, T), (T,)]
    weights = [_first(rng, shape) for shape in shapes]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    steps, total = 0, plan.epochs * -(-N // plan.batch)
    for _ in range(plan.epochs):
        order = rng.permutation(N)
        for low in range(0, N, plan.batch):
            some = order[low : low + plan.batch]
            gradients = _gradients(weights, codes[some], target[some])
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


def _codes(x: Array, k: int) -> Array:
    """Bases 0 to 3, and 4 for none, of sequences padded for windows of k about every position; (N, L + k - 1)."""
    bad = np.argwhere((x.sum(1) > 1) | ((x != 0) & (x != 1)).any(1))
    if bad.size:
        n, at = bad[0]
        raise InputError(f"deep_mr: sequence {n} is not one-hot at position {at}. Use one_hot().")
    codes = np.where(x.any(1), x.argmax(1), 4).astype(np.int8)
    return np.pad(codes, ((0, 0), ((k - 1) // 2, k - 1 - (k - 1) // 2)), constant_values=4)


@numba.njit(cache=True)
def _triples(W: Array) -> Array:  # pragma: no cover
    """Sum what three neighbouring bases add to the scores; W (k, 5, C) to (k / 3, 125, C), k rounded up."""
    k, _, C = W.shape
    out = np.zeros(((k + 2) // 3, 125, C), dtype=np.float32)
    for j in range(k):
        for code in range(125):
            base = code // (25, 5, 1)[j % 3] % 5
            for c in range(C):
                out[j // 3, code, c] += W[j, base, c]
    return out


@numba.njit(cache=True, error_model="numpy")
def _highest(triples: Array, codes: Array, k: int) -> tuple[Array, Array]:  # pragma: no cover
    """Highest score of each channel, and the position that has it, (B, C); codes (B, L + k - 1)."""
    n, _, C = triples.shape
    positions = codes.shape[1] - k + 1
    top = np.full((len(codes), C), -np.inf, dtype=np.float32)
    where = np.zeros((len(codes), C), dtype=np.int32)
    score = np.empty((positions, C), dtype=np.float32)
    code = np.empty(positions + 3 * n, dtype=np.int64)
    for b in range(len(codes)):
        for p in range(len(code)):
            code[p] = 0
            for i in range(3):  # what lies beyond a filter's width has no weight
                code[p] = 5 * code[p] + (codes[b, p + i] if p + i < codes.shape[1] else 4)
        score[:] = 0
        for j in range(n):
            for p in range(positions):
                row, own = triples[j, code[p + 3 * j]], score[p]
                for c in range(C):
                    own[c] += row[c]
        best, at = top[b], where[b]
        for p in range(positions):
            own = score[p]
            for c in range(C):  # no branches, so that channels are compared side by side
                better = own[c] > best[c]
                best[c] = own[c] if better else best[c]
                at[c] = p if better else at[c]
    return top, where


@numba.njit(cache=True)
def _filter_gradient(g: Array, where: Array, codes: Array, k: int) -> Array:  # pragma: no cover
    """Gradient (k, 5, C) of filters from that of the highest scores (B, C)."""
    B, C = g.shape
    out = np.zeros((k, 5, C), dtype=np.float32)
    for b in range(B):
        for c in range(C):
            if g[b, c] != 0:
                for j in range(k):
                    out[j, codes[b, where[b, c] + j], c] += g[b, c]
    return out


def _gradients(weights: list[Array], codes: Array, y: Array) -> list[Array]:
    """Gradients of the mean squared error of a batch, codes (B, L + k - 1)."""
    W, b, U, c, V, d = weights  # W is (4 k, C), base by base
    k = len(W) // 4
    filters = np.zeros((k, 5, W.shape[1]), dtype=np.float32)  # row 4: no base
    filters[:, :4] = W.reshape(4, k, -1).transpose(1, 0, 2)
    highest, where = _highest(_triples(filters), codes, k)
    top = highest + b
    pooled = np.maximum(top, 0)
    inner = pooled @ U + c
    hidden = np.maximum(inner, 0)
    miss = (hidden @ V + d - y) * np.float32(2 / y.size)
    g_inner = (miss @ V.T) * (inner > 0)
    g_top = (g_inner @ U.T) * (top > 0)
    g_W = _filter_gradient(g_top, where, codes, k)[:, :4].transpose(1, 0, 2).reshape(W.shape)
    return [g_W, g_top.sum(0), pooled.T @ g_inner, g_inner.sum(0), hidden.T @ miss, miss.sum(0)]
