"""Convolutional ensembles whose mutagenesis recomputes only what a substitution touches.

A substitution at position p changes the input of a layer only within p's receptive field there. Layer by layer, that
window alone is computed for every mutant, over the unmutated activations; pooling then combines it with what lies
outside. The result is that of predicting every mutant from scratch, up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from genarium.declaration import Array
from genarium.errors import InputError

from .sequence import others

Activation = Literal["relu", "exp", "sigmoid", "linear"]
Pooling = Literal["max", "mean", "flatten"]


def activate(x: Array, name: Activation) -> Array:
    """Apply an elementwise function."""
    if name == "relu":
        return np.maximum(x, 0)
    if name == "exp":
        return np.exp(x)
    if name == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-x)))
    return x


@dataclass(frozen=True)
class Conv:
    """A convolution that keeps the length ("same": zeros beyond the ends), then an activation.

    Attributes
    ----------
    weight : ndarray, shape (C_out, C_in, k)
    bias : ndarray, shape (C_out,)
    activation : {"relu", "exp", "sigmoid", "linear"}
    dilation : int
    """

    weight: Array
    bias: Array
    activation: Activation = "relu"
    dilation: int = 1

    @property
    def reach(self) -> tuple[int, int]:
        """How many positions to the left and to the right an output looks."""
        whole = (self.weight.shape[2] - 1) * self.dilation
        return whole // 2, whole - whole // 2

    def inner(self, x: Array) -> Array:
        """Convolve without padding: (B, C_in, n) to (B, C_out, n - k + 1)."""
        k = (self.weight.shape[2] - 1) * self.dilation + 1
        patches = sliding_window_view(x, k, axis=2)[..., :: self.dilation]  # (B, C_in, n', k)
        flat = patches.transpose(0, 2, 1, 3).reshape(x.shape[0] * patches.shape[2], -1)
        out = flat @ self.weight.reshape(len(self.weight), -1).T + self.bias
        return activate(out, self.activation).reshape(x.shape[0], patches.shape[2], -1).transpose(0, 2, 1)

    def __call__(self, x: Array) -> Array:
        """Convolve: (B, C_in, L) to (B, C_out, L)."""
        return self.inner(np.pad(x, ((0, 0), (0, 0), self.reach)))


@dataclass(frozen=True)
class Dense:
    """A dense layer: ``weight`` (F_out, F_in), ``bias`` (F_out,)."""

    weight: Array
    bias: Array
    activation: Activation = "linear"

    def __call__(self, x: Array) -> Array:
        """Map (B, F_in) to (B, F_out)."""
        return activate(x @ self.weight.T + self.bias, self.activation)


@dataclass(frozen=True)
class ConvNet:
    """Convolutions, one pooling over all positions, dense layers.

    Attributes
    ----------
    convolutions : sequence of Conv
    pooling : {"max", "mean", "flatten"}
        "flatten" puts channels first: feature c L + l.
    dense : sequence of Dense
    """

    convolutions: Sequence[Conv]
    pooling: Pooling
    dense: Sequence[Dense]

    def __call__(self, x: Array) -> Array:
        """Predict from scratch: (B, 4, L) to (B, T)."""
        for layer in self.convolutions:
            x = layer(x)
        return self.head(self._pool(x))

    def head(self, x: Array) -> Array:
        """Apply the dense layers."""
        for layer in self.dense:
            x = layer(x)
        return x

    def mutations(self, sequence: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Predict a sequence (4, L) and its substitutions; shapes (1, T) and (1, 3, W, T)."""
        L, W = sequence.shape[1], stop - start
        at = np.arange(start, stop)
        inputs = [sequence[None]]
        for layer in self.convolutions:
            inputs.append(layer(inputs[-1]))
        changed = _substituted(sequence[:, start:stop])  # (3, W, 4, 1): what stands at p
        left = right = 0  # it covers p - left ... p + right
        for layer, before in zip(self.convolutions, inputs[:-1], strict=True):
            a, b = layer.reach
            # outputs p - left - b ... p + right + a look at inputs p - left - b - a ... p + right + a + b
            margin = left + a + b, right + a + b
            padded = np.pad(before[0], ((0, 0), margin))
            around = sliding_window_view(padded, sum(margin) + 1, axis=1)[:, at].transpose(1, 0, 2)  # (W, C, width)
            window = np.broadcast_to(around, (3, *around.shape)).copy()
            window[..., a + b : a + b + left + right + 1] = changed
            out = layer.inner(window.reshape(3 * W, *around.shape[1:]))
            left, right = left + b, right + a
            outside = (at[:, None] + np.arange(-left, right + 1) < 0) | (at[:, None] + np.arange(-left, right + 1) >= L)
            changed = out.reshape(3, W, *out.shape[1:])
            changed *= ~outside[:, None]
        reference = self.head(self._pool(inputs[-1]))
        pooled = self._repool(inputs[-1][0], changed, at - left, at + right)
        return reference, self.head(pooled.reshape(3 * W, -1)).reshape(1, 3, W, -1)

    def _pool(self, x: Array) -> Array:
        if self.pooling == "flatten":
            return x.reshape(len(x), -1)
        return np.asarray(x.max(2) if self.pooling == "max" else x.mean(2))

    def _repool(self, before: Array, changed: Array, low: Array, high: Array) -> Array:
        """Pool activations (C, L) with windows from ``low`` to ``high`` changed to (3, W, C, width)."""
        C, L = before.shape
        first, last = np.maximum(low, 0), np.minimum(high, L - 1)  # (W,)
        column = np.arange(changed.shape[-1]) + low[:, None]  # (W, width): the position of each
        inside = (column >= 0) & (column < L)
        if self.pooling == "mean":
            total = np.concatenate([np.zeros((C, 1)), before.cumsum(1)], 1)
            own = (total[:, last + 1] - total[:, first]).T  # (W, C)
            return np.asarray((total[:, -1] - own + changed.sum(-1)) / L)
        if self.pooling == "max":
            edge = np.full((C, 1), -np.inf)
            to_left = np.concatenate([edge, np.maximum.accumulate(before, 1)], 1)  # best of the first i
            to_right = np.concatenate([np.maximum.accumulate(before[:, ::-1], 1)[:, ::-1], edge], 1)  # best from i on
            outside = np.maximum(to_left[:, first], to_right[:, last + 1]).T  # (W, C)
            within = np.where(inside[:, None], changed, -np.inf).max(-1)
            return np.asarray(np.maximum(outside, within))
        whole = np.broadcast_to(before, (3, len(low), C, L)).copy()
        rows, places = np.nonzero(inside)
        whole[:, rows, :, column[rows, places]] = changed[:, rows, :, places]
        return whole.reshape(3, len(low), C * L)


def _substituted(window: Array) -> Array:
    """Columns of the three other bases, shape (3, W, 4, 1)."""
    to = others(window[None])[0]  # (3, W)
    return np.asarray(np.eye(4)[to][..., None])


class ConvEnsemble:
    """An ensemble of convolutional networks, for :func:`mutagenise`.

    Parameters
    ----------
    members : sequence of ConvNet
    """

    def __init__(self, members: Sequence[ConvNet]) -> None:
        if not members:
            raise InputError("deep_mr: the ensemble has no members.")
        self.members = list(members)

    def __call__(self, x: Array) -> Array:
        """Predict from scratch: (B, 4, L) to (E, B, T)."""
        return np.stack([member(x) for member in self.members])

    def mutations(self, sequence: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Return outputs of a sequence, (E, T), and of its mutants, (E, 3, stop - start, T)."""
        found = [member.mutations(sequence, start, stop) for member in self.members]
        return np.concatenate([one for one, _ in found]), np.concatenate([many for _, many in found])
