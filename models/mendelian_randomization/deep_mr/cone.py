"""Only what chosen outputs of a network look at, and of that only what a substitution touches.

Backwards from the outputs, every layer is needed at some positions only: under wide dilations few of them. Forwards
from a substitution, few of those change. Their changes alone are carried from layer to layer, tap by tap of every
convolution, over the activations of the unmutated sequence, up to the layers that take maps to vectors; what follows is
computed for many mutants at once. The result is that of predicting every mutant from scratch, up to rounding.
"""

from itertools import pairwise

import numpy as np

from genarium.declaration import Array

from .layers import BLOCK, POOLED, WINDOWED, Layer, convolve, elementwise, mask_share, pooled_windows, whole, window
from .network import Network, Shape, take
from .sequence import others

ADDITIVE = ("crop", "join")
"""Layers whose outputs change by as much as what they look at."""


TOGETHER = 16
"""Neighbouring positions whose mutants are predicted together, at most."""


class Cone:
    """What the outputs of a network at some positions depend on.

    Parameters
    ----------
    network : Network
    length : int
        Of the network's input.
    positions : ndarray of int, shape (P,), optional
        Of its output, in increasing order; default: all. A vector has none.
    """

    def __init__(self, network: Network, length: int, positions: Array | None = None) -> None:
        self.network = network
        shapes = network.shapes(length)
        self.shapes: dict[str, Shape] = shapes
        maps = [layer for layer in network.layers if shapes[layer.name][0] is not None]
        vectors = [layer for layer in network.layers if shapes[layer.name][0] is None]
        self.maps: list[Layer] = maps
        self.edge = [layer for layer in vectors if layer.kind in POOLED]
        self.head = [layer for layer in vectors if layer.kind not in POOLED]
        taken = [name for layer in network.layers for name in layer.inputs]
        self.once = {
            layer.name
            for layer in maps
            if layer.kind == "conv" and taken.count(layer.name) == 1 and layer.name != network.output
        }
        needed: dict[str, list[Array]] = {name: [] for name in shapes}
        for layer in self.edge:
            for before in layer.inputs:
                needed[before].append(np.arange(shapes[before][0] or 0))
        whole_output = shapes[network.output][0]
        if whole_output is not None:
            needed[network.output].append(np.arange(whole_output) if positions is None else np.asarray(positions))
        self.need: dict[str, Array] = {}
        looks: dict[str, list[Array]] = {}
        for layer in reversed(maps):
            at = np.unique(np.concatenate([*needed[layer.name], np.empty(0, dtype=int)]))
            self.need[layer.name], looks[layer.name] = at, self._looks(layer, at)
            for before, look in zip(layer.inputs, looks[layer.name], strict=True):
                needed[before].append(look[(look >= 0) & (look < (shapes[before][0] or 0))])
        # rows of the inputs' needed positions; the one after the last is a row of zeros, beyond the ends
        self.rows: dict[str, list[Array]] = {}
        self.inverse: dict[str, list[Array]] = {}
        for layer in maps:
            self.rows[layer.name], self.inverse[layer.name] = [], []
            for before, look in zip(layer.inputs, looks[layer.name], strict=True):
                rows = self._rows(before, look)
                self.rows[layer.name].append(rows)
                self.inverse[layer.name].append(_inverse(rows, len(self.need[before])))

    def _looks(self, layer: Layer, at: Array) -> list[Array]:
        """Where in each of its inputs a layer looks for its outputs ``at``, (n, k)."""
        if layer.kind not in WINDOWED:
            return []
        if layer.kind == "join":
            starts = np.cumsum([0, *(self.shapes[name][0] or 0 for name in layer.inputs)])
            return [np.where((at >= low) & (at < high), at - low, -1)[:, None] for low, high in pairwise(starts)]
        where = window(layer, self.shapes[layer.inputs[0]][0] or 0)
        look = at[:, None] * where.stride - where.left + np.arange(where.size) * where.dilation
        return [look for _ in layer.inputs]

    def _rows(self, before: str, look: Array) -> Array:
        inside = (look >= 0) & (look < (self.shapes[before][0] or 0))
        return np.where(inside, np.searchsorted(self.need[before], look), len(self.need[before]))

    def __call__(self, x: Array) -> Array:
        """Predict: (B, L, 4) to (B, P, F), or (B, F)."""
        values, _ = self._forward(np.asarray(x, dtype=float))
        return self._finish(values, x)

    def _finish(self, values: dict[str, Array], x: Array) -> Array:
        """Compute what follows the maps."""
        if not self.edge and not self.head:
            return values[self.network.output]
        edge = {
            layer.name: layer.activation(whole(layer, [values[name] for name in layer.inputs])) for layer in self.edge
        }
        return self.network.run(self.head, edge, x)[self.network.output]

    def _forward(self, x: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """Activations at the needed positions, (B, n, F), and those of convolutions before their functions."""
        values: dict[str, Array] = {}
        linear: dict[str, Array] = {}
        for layer in self.maps:
            name, rows = layer.name, self.rows[layer.name]
            if layer.kind == "input":
                values[name] = take(layer, x)[:, self.need[name]]
            elif layer.kind == "constant":
                values[name] = np.repeat(layer.weights["value"][None, self.need[name]], len(x), 0)
            elif layer.kind == "conv":
                before = layer.inputs[0]
                if len(self.need[name]) == self.shapes[name][0] and len(self.need[before]) == self.shapes[before][0]:
                    linear[name] = convolve(values[before], layer)
                else:
                    linear[name] = _convolve(layer, values[before], rows[0]) + layer.weights.get("bias", 0.0)
                values[name] = layer.activation(linear[name])
            else:
                values[name] = self._local(layer, [values[b] for b in layer.inputs], None)
        return values, linear

    def _local(self, layer: Layer, inputs: list[Array], some: Array | None) -> Array:
        """Apply a windowed layer that is no convolution, at some of its rows (default: all)."""
        rows = self.rows[layer.name] if some is None else [one[some] for one in self.rows[layer.name]]
        return self._apply(layer, [_extended(x)[:, r] for x, r in zip(inputs, rows, strict=True)], some)

    def _apply(self, layer: Layer, taken: list[Array], some: Array | None) -> Array:
        """Apply a layer to what it looks at, (B, n, k, F)."""
        if layer.kind == "pool":
            rows = self.rows[layer.name][0] if some is None else self.rows[layer.name][0][some]
            return pooled_windows(layer, taken[0], rows < len(self.need[layer.inputs[0]]))
        if layer.kind == "join":
            return np.sum([one[:, :, 0] for one in taken], axis=0)
        at = self.need[layer.name] if some is None else self.need[layer.name][some]
        return elementwise(layer, [one[:, :, 0] for one in taken], self.shapes[layer.name][0] or 0, at)

    def mutations(self, x: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Predict a one-hot sequence (L, 4) and its substitutions; shapes (P, F) and (3, W, P, F), or without P."""
        x = np.asarray(x, dtype=float)
        W = stop - start
        values, linear = self._forward(x[None])
        reference = self._finish(values, x[None])[0]
        to = others(x[None, start:stop].transpose(0, 2, 1))[0]  # (3, W)
        difference = np.eye(4)[to] - x[start:stop]  # (3, W, 4)
        out = np.broadcast_to(reference, (3, W, *reference.shape)).copy()
        before = {layer.name: whole(layer, [values[name] for name in layer.inputs]) for layer in self.edge}
        low, many = 0, 1
        while low < W:  # neighbours together: they touch nearly the same rows
            high = min(low + many, W)
            touched, change = self._change(values, linear, start + low, difference[:, low:high])
            if not before:
                end = self.network.output
                out[:, low:high, touched[end]] += change[end].reshape(3, high - low, *change[end].shape[1:])
            else:
                edge = {
                    layer.name: layer.activation(self._vector(layer, before[layer.name], values, touched, change))
                    for layer in self.edge
                }
                head = self.network.run(self.head, edge, np.empty((3 * (high - low), 0, 4)))[self.network.output]
                out[:, low:high] = head.reshape(3, high - low, -1)
            size = max([one[0].size for one in change.values()] + [v.shape[1] // 8 for v in before.values()] + [1])
            low, many = high, int(np.clip(BLOCK // (12 * size), 1, TOGETHER))
        return reference, out

    def _vector(
        self,
        layer: Layer,
        before: Array,
        values: dict[str, Array],
        touched: dict[str, Array],
        change: dict[str, Array],
    ) -> Array:
        """Return what a map's change, (B, n, F) at some rows, makes of the vector that a layer takes it to; (B, U)."""
        name = layer.inputs[0]
        at, moved = touched[name], change[name]
        match layer.kind:
            case "global_mean":
                return np.asarray(before + moved.sum(1) / values[name].shape[1])
            case "masked_mean":
                return np.asarray(before + (moved * mask_share(values[layer.inputs[1]])[:, at]).sum(1))
            case "position_basis":
                basis = layer.weights["basis"][at]
                return np.asarray(before + np.einsum("bnf,nd->bdf", moved, basis).reshape(len(moved), -1))
            case "flat_dense":
                kernel = layer.weights["kernel"][_run(at)]
                return np.asarray(before + moved.reshape(len(moved), -1) @ kernel.reshape(-1, kernel.shape[2]))
            case _:
                whole_map = np.repeat(values[name], len(moved), 0)
                whole_map[:, at] += moved
                return whole(layer, [whole_map])

    def _change(
        self, values: dict[str, Array], linear: dict[str, Array], start: int, difference: Array
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Rows of every map that changes of the input at neighbouring positions, (3, W, 4), touch; how they change.

        Changes have shape (3 W, n, F).
        """
        touched: dict[str, Array] = {}
        change: dict[str, Array] = {}
        B = difference.shape[0] * difference.shape[1]
        for layer in self.maps:
            name, n = layer.name, len(self.need[layer.name])
            if not layer.inputs:
                touched[name], change[name] = self._input(layer, values[name].shape[2], start, difference)
                continue
            hits = [one[:, touched[b]] for one, b in zip(self.inverse[name], layer.inputs, strict=True)]
            reached = np.zeros(n + 1, dtype=bool)
            for hit in hits:
                reached[hit] = True
            some = touched[name] = np.flatnonzero(reached[:-1])
            place = np.zeros(n + 1, dtype=int)
            place[some] = np.arange(len(some))
            rows = _run(some)
            if not len(some):
                change[name] = np.zeros((B, 0, values[name].shape[2]))
            elif layer.kind == "conv":
                moved = np.empty((B, len(some), values[name].shape[2]))
                moved[:] = linear[name][:, rows]
                _scatter(moved, layer.weights["kernel"], change[layer.inputs[0]], hits[0], place, n)
                if layer.options.get("activation") == "relu":
                    np.maximum(moved, 0, out=moved)
                else:
                    moved = layer.activation(moved)
                moved -= values[name][:, rows]
                change[name] = moved
            elif layer.kind in ADDITIVE or (layer.kind == "combine" and layer.options["how"] == "add"):
                change[name] = self._added(layer, change, hits, place, len(some))
            else:
                change[name] = self._moved(layer, values, touched, change, some) - values[name][:, rows]
        return touched, change

    def _input(self, layer: Layer, width: int, start: int, difference: Array) -> tuple[Array, Array]:
        """Rows and changes of an input; what is given besides the sequence does not change."""
        _, W, _ = difference.shape
        at = self.need[layer.name] + layer.options.get("start", 0) - start
        touched = np.flatnonzero((at >= 0) & (at < W)) if layer.kind == "input" else np.empty(0, dtype=int)
        change = np.zeros((3, W, len(touched), width))
        if len(touched):
            own = difference[..., layer.options["order"]] if "order" in layer.options else difference
            change[:, at[touched], np.arange(len(touched))] = own[:, at[touched]]
        return touched, change.reshape(3 * W, len(touched), width)

    def _added(self, layer: Layer, change: dict[str, Array], hits: list[Array], place: Array, n: int) -> Array:
        """Sum of what the inputs change by, as a map of n rows."""
        none = len(place) - 1
        first = change[layer.inputs[0]]
        if len(hits) == 1 and (hits[0] < none).all():
            return first
        parts = [(before, hit, np.flatnonzero(hit[0] < none)) for before, hit in zip(layer.inputs, hits, strict=True)]
        width = max(change[before].shape[2] for before in layer.inputs)  # one channel may go with many
        full = next((part for part in parts if change[part[0]].shape[1:] == (n, width) and len(part[2]) == n), None)
        if full is not None and full[0] in self.once:  # nobody else takes it
            out = change[full[0]]
            parts = [part for part in parts if part is not full]
        else:
            out = np.zeros((len(first), n, width))
        for before, hit, seen in parts:
            if len(seen):
                out[:, _run(place[hit[0, seen]])] += change[before][:, _run(seen)]
        return out

    def _moved(
        self,
        layer: Layer,
        values: dict[str, Array],
        touched: dict[str, Array],
        change: dict[str, Array],
        some: Array,
    ) -> Array:
        """Return outputs of a layer that is neither linear nor a convolution at some rows."""
        taken = []
        for before, rows in zip(layer.inputs, self.rows[layer.name], strict=True):
            end, look = len(self.need[before]), rows[some]
            place = np.full(end + 1, len(touched[before]))
            place[touched[before]] = np.arange(len(touched[before]))
            known = np.where((look < end)[..., None], values[before][:, np.minimum(look, end - 1)], 0)
            taken.append(known + _extended(change[before])[:, place[look]])
        return self._apply(layer, taken, some)


def _run(rows: Array) -> Array | slice:
    """Rows as a slice where they follow each other: a view, where a list would be copied."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _inverse(rows: Array, inputs: int) -> Array:
    """Which output looks at an input with each of its taps, (k, inputs); one after the last for none."""
    out = np.full((rows.shape[1], inputs + 1), len(rows))
    for t in range(rows.shape[1]):
        out[t, rows[:, t]] = np.arange(len(rows))
    return out[:, :inputs]


def _scatter(moved: Array, kernel: Array, change: Array, hits: Array, place: Array, none: int) -> None:
    """Add what a change of the input, (B, n, C), adds to the outputs that look at it with each tap."""
    for t, hit in enumerate(hits):
        seen = np.flatnonzero(hit < none)
        if len(seen):
            part = change[:, _run(seen)]
            if part.shape[1] < 64:  # one product, so that the kernel is read once
                B, n, C = part.shape
                found = (part.reshape(B * n, C) @ kernel[t]).reshape(B, n, -1)
            else:
                found = part @ kernel[t]
            moved[:, _run(place[hit[seen]])] += found


def _convolve(layer: Layer, x: Array, rows: Array) -> Array:
    """Convolve (B, n, C), with zeros for its row n; without a bias."""
    kernel = layer.weights["kernel"]
    k, C, F = kernel.shape
    extended = _extended(x)
    out = np.empty((len(x), len(rows), F))
    step = max(1, BLOCK // (len(x) * k * C))
    for low in range(0, len(rows), step):
        some = rows[low : low + step]
        flat = extended[:, some].reshape(len(x) * len(some), k * C)
        out[:, low : low + step] = (flat @ kernel.reshape(k * C, F)).reshape(len(x), len(some), F)
    return out


def _extended(x: Array) -> Array:
    """Append a row of zeros to (B, n, C)."""
    return np.concatenate([x, np.zeros((len(x), 1, x.shape[2]))], 1)
