"""Only what chosen outputs of a network look at, and of that only what a substitution touches.

Backwards from the outputs, every layer is needed at some positions only: under wide dilations few of them. Forwards
from a substitution, few of those change. Their changes alone are carried from layer to layer, over the activations of
the unmutated sequence; the result is that of predicting every mutant from scratch, up to rounding.
"""

from typing import Any

import numpy as np

from genarium.declaration import Array

from .keras import ACTIVATIONS, APPLY, BLOCK, KerasNetwork, cropping, dilation, span
from .sequence import others


class Cone:
    """What the outputs of a network at some positions depend on.

    Parameters
    ----------
    network : KerasNetwork
    length : int
        Of the network's input.
    positions : ndarray of int, shape (P,)
        Of its output, in increasing order.
    """

    def __init__(self, network: KerasNetwork, length: int, positions: Array) -> None:
        self.network = network
        lengths: dict[str, int] = {}
        for layer in network.layers:
            n = lengths[layer["inputs"][0]] if layer["inputs"] else length
            if layer["class_name"] == "Conv1D" and layer["config"]["padding"] != "same":
                n -= sum(span(layer["config"], self._kernel(layer)))
            elif layer["class_name"] == "Cropping1D":
                n -= sum(cropping(layer["config"]))
            lengths[layer["name"]] = n
        needed: dict[str, list[Array]] = {name: [] for name in lengths}
        needed[network.output].append(np.asarray(positions))
        self.need: dict[str, Array] = {}
        looks: dict[str, Array] = {}
        for layer in reversed(network.layers):
            name = layer["name"]
            at = np.unique(np.concatenate([*needed[name], np.empty(0, dtype=int)]))
            self.need[name], looks[name] = at, self._looks(layer, at)
            for before in layer["inputs"]:
                inside = looks[name][(looks[name] >= 0) & (looks[name] < lengths[before])]
                needed[before].append(inside)
        # rows of the inputs' needed positions; the one after the last is a row of zeros, beyond the ends
        self.rows: dict[str, list[Array]] = {}
        for layer in network.layers:
            self.rows[layer["name"]] = [
                np.where(
                    (looks[layer["name"]] >= 0) & (looks[layer["name"]] < lengths[before]),
                    np.searchsorted(self.need[before], looks[layer["name"]]),
                    len(self.need[before]),
                )
                for before in layer["inputs"]
            ]

    def _kernel(self, layer: dict[str, Any]) -> Array:
        return self.network.weights[layer["name"]]["kernel"]

    def _looks(self, layer: dict[str, Any], at: Array) -> Array:
        """Where in its input a layer looks for its outputs ``at``: (n, k) for a convolution, else (n,)."""
        if layer["class_name"] == "Cropping1D":
            return at + cropping(layer["config"])[0]
        if layer["class_name"] == "Conv1D":
            kernel = self._kernel(layer)
            first = span(layer["config"], kernel)[0] if layer["config"]["padding"] == "same" else 0
            return np.asarray(at[:, None] - first + np.arange(len(kernel)) * dilation(layer["config"]))
        return at

    def __call__(self, x: Array) -> Array:
        """Predict: (B, L, C) to (B, P, F)."""
        return self._forward(x)[0][self.network.output]

    def _forward(self, x: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """Activations at the needed positions, (B, n, F), and those of convolutions before their functions."""
        values: dict[str, Array] = {}
        linear: dict[str, Array] = {}
        for layer in self.network.layers:
            name, rows = layer["name"], self.rows[layer["name"]]
            if not layer["inputs"]:
                values[name] = np.asarray(x, dtype=float)[:, self.need[name]]
            elif layer["class_name"] == "Conv1D":
                linear[name] = self._convolve(layer, values[layer["inputs"][0]], rows[0]) + self.network.weights[
                    name
                ].get("bias", 0.0)
                values[name] = ACTIVATIONS[layer["config"].get("activation", "linear")](linear[name])
            else:
                values[name] = self._apply(layer, [values[b][:, r] for b, r in zip(layer["inputs"], rows, strict=True)])
        return values, linear

    def _convolve(self, layer: dict[str, Any], x: Array, rows: Array) -> Array:
        """Convolve (B, n, C), with zeros for its row n; without a bias."""
        kernel = self._kernel(layer)
        k, C, F = kernel.shape
        extended = _extended(x)
        out = np.empty((len(x), len(rows), F))
        step = max(1, BLOCK // (len(x) * k * C))
        for low in range(0, len(rows), step):
            some = rows[low : low + step]
            out[:, low : low + step] = (
                extended[:, some].reshape(len(x) * len(some), k * C) @ kernel.reshape(k * C, F)
            ).reshape(len(x), len(some), F)
        return out

    def _apply(self, layer: dict[str, Any], inputs: list[Array]) -> Array:
        if layer["class_name"] == "Cropping1D":  # the rows have cropped
            return inputs[0]
        return APPLY[layer["class_name"]](inputs, layer["config"], self.network.weights.get(layer["name"], {}))

    def mutations(self, x: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Predict a one-hot sequence (L, 4) and its substitutions; shapes (P, F) and (3, W, P, F)."""
        values, linear = self._forward(x[None])
        reference = values[self.network.output][0]
        out = np.broadcast_to(reference, (3, stop - start, *reference.shape)).copy()
        to = others(x[None, start:stop].transpose(0, 2, 1))[0]  # (3, W)
        for w in range(stop - start):
            at, change = self._change(values, linear, start + w, np.eye(4)[to[:, w]] - x[start + w])
            out[:, w, at] += change
        return reference, out

    def _change(
        self, values: dict[str, Array], linear: dict[str, Array], position: int, difference: Array
    ) -> tuple[Array, Array]:
        """Rows of the output that a change of the input at a position, (B, C), touches, and how they change."""
        touched: dict[str, Array] = {}
        change: dict[str, Array] = {}
        for layer in self.network.layers:
            name = layer["name"]
            if not layer["inputs"]:
                touched[name] = np.flatnonzero(self.need[name] == position)
                change[name] = np.broadcast_to(difference[:, None], (len(difference), len(touched[name]), 4))
                continue
            places = []  # rows among the changes of an input, the one after the last for what is as it was
            for before, rows in zip(layer["inputs"], self.rows[name], strict=True):
                place = np.full(len(self.need[before]) + 1, len(touched[before]))
                place[touched[before]] = np.arange(len(touched[before]))
                places.append(place[rows])
            hit = [
                (place < len(touched[before])).reshape(len(place), -1).any(1)
                for before, place in zip(layer["inputs"], places, strict=True)
            ]
            some = touched[name] = np.flatnonzero(np.any(hit, axis=0))
            if layer["class_name"] == "Conv1D":
                moved = linear[name][:, some] + self._convolve(layer, change[layer["inputs"][0]], places[0][some])
                moved = ACTIVATIONS[layer["config"].get("activation", "linear")](moved)
            else:
                moved = self._apply(
                    layer,
                    [
                        values[before][:, rows[some]] + _extended(change[before])[:, place[some]]
                        for before, rows, place in zip(layer["inputs"], self.rows[name], places, strict=True)
                    ],
                )
            change[name] = moved - values[name][:, some]
        return touched[self.network.output], change[self.network.output]


def _extended(x: Array) -> Array:
    """Append a row of zeros to (B, n, C)."""
    return np.concatenate([x, np.zeros((len(x), 1, x.shape[2]))], 1)
