"""A network as a graph of layers, run in NumPy: third-party models without their framework."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .layers import (
    DENSE,
    POOLED,
    WINDOWED,
    Layer,
    convolve,
    dense,
    elementwise,
    pool,
    whole,
    window,
)  # fmt: skip

Shape = tuple[int | None, int]
"""Positions (None: a vector) and channels."""


class Network:
    """A graph of layers, as a callable from (B, L, 4) to the output of one of them.

    Parameters
    ----------
    source : str
        Where it is from, for messages.
    layers : sequence of Layer
        In any order.
    output : str
        The layer whose output it is. What that does not depend on is left out.

    Attributes
    ----------
    layers : tuple of Layer
        Every one after its inputs.
    length : int or None
        Of sequences, where the network takes those of one length only.

    Raises
    ------
    InputError
        If layers wait for each other, or one takes the output of another that there is not.
    """

    def __init__(self, source: str, layers: Sequence[Layer], output: str, length: int | None = None) -> None:
        self.source, self.length = source, length
        ordered = _ordered(source, _simplified(needed(source, layers, output), output), output)
        self.layers = tuple(_ranked(source, ordered))
        self.output = output

    def __call__(self, x: Array) -> Array:
        """Predict: (B, L, 4) to (B, n, F) or (B, F)."""
        x = np.asarray(x, dtype=float)
        self.shapes(x.shape[1])
        return self.run(self.layers, {}, x)[self.output]

    def run(self, layers: Sequence[Layer], values: dict[str, Array], x: Array) -> dict[str, Array]:
        """Compute layers from a sequence, (B, L, 4), and from values that are there already, which are filled up."""
        uses = {name: sum(name in layer.inputs for layer in self.layers) for name in (la.name for la in self.layers)}
        for layer in layers:
            values[layer.name] = _apply(layer, [values[name] for name in layer.inputs], x)
            for name in set(layer.inputs):
                uses[name] -= 1
                if not uses[name] and name != self.output:
                    del values[name]
        return values

    def shapes(self, length: int) -> dict[str, Shape]:
        """Shapes of all outputs for sequences of a length.

        Raises
        ------
        InputError
            If the network does not take such sequences.
        """
        if self.length is not None and length != self.length:
            raise InputError(
                f"{self.source}: the network takes sequences of {self.length} bases, but they have {length}. "
                f"Cut windows of {self.length}."
            )
        found: dict[str, Shape] = {}
        for layer in self.layers:
            found[layer.name] = self._shape(layer, [found[name] for name in layer.inputs], length)
        return found

    def _shape(self, layer: Layer, inputs: list[Shape], length: int) -> Shape:
        if layer.kind == "input":
            start, stop = layer.options.get("start", 0), layer.options.get("stop") or length
            self._check(layer, 0 <= start < stop <= length, f"looks at positions {start} to {stop} of {length}")
            return stop - start, 4
        if layer.kind == "constant":
            value = layer.weights["value"]
            return (value.shape[-2] if value.ndim == 2 else None), value.shape[-1]
        positions, channels = inputs[0]
        if layer.kind in ("combine", "concatenate"):
            same = {n for n, _ in inputs}
            if len(same) > 1 and None in same:
                raise InputError(
                    f"{self.source}: layer {layer.name!r} takes maps and vectors together, which is not understood. "
                    "Take the output of a layer before it, export the network to ONNX, or give deep_mr a callable."
                )
            told = " and ".join(map(str, sorted(same, key=str)))
            self._check(layer, len(same) == 1, f"takes inputs of {told} positions")
            widths = [c for _, c in inputs]
            if layer.kind == "concatenate":
                return positions, sum(widths)
            self._check(
                layer, set(widths) <= {1, max(widths)}, f"takes inputs of {' and '.join(map(str, widths))} channels"
            )
            return positions, max(widths)
        if layer.kind == "join":
            return sum(n or 0 for n, _ in inputs), channels
        kernel = layer.weights.get("kernel")
        if layer.kind == "dense":
            assert kernel is not None
            self._check(layer, channels == len(kernel), f"takes {len(kernel)} numbers, but gets {channels}")
            return None, kernel.shape[1]
        if positions is None:
            return None, channels
        if layer.kind == "conv":
            assert kernel is not None
            self._check(layer, channels == kernel.shape[1], f"takes {kernel.shape[1]} channels, but gets {channels}")
            channels = kernel.shape[2]
        if layer.kind in WINDOWED:
            n = window(layer, positions).outputs
            self._check(layer, n > 0, f"has no output from {positions} positions: the sequence is too short")
            return n, channels
        wanted = {"flat_dense": kernel, "position_basis": layer.weights.get("basis")}.get(layer.kind)
        if wanted is not None:
            self._check(layer, len(wanted) == positions, f"takes {len(wanted)} positions, but gets {positions}")
        return None, {
            "flatten": positions * channels,
            "flat_dense": 0 if kernel is None else kernel.shape[-1],
            "position_basis": channels * (0 if wanted is None else wanted.shape[-1]),
        }.get(layer.kind, channels)

    def _check(self, layer: Layer, good: bool, fault: str) -> None:
        if not good:
            raise InputError(
                f"{self.source}: layer {layer.name!r} {fault}. Give sequences of the length that "
                "the network was made for."
            )


def _apply(layer: Layer, inputs: list[Array], x: Array) -> Array:
    if layer.kind == "input":
        return take(layer, x)
    if layer.kind == "constant":
        return np.broadcast_to(layer.weights["value"], (len(x), *layer.weights["value"].shape))
    if layer.kind == "conv":
        return layer.activation(convolve(inputs[0], layer))
    if layer.kind == "pool":
        return pool(inputs[0], layer)
    if layer.kind == "dense":
        return dense(inputs[0], layer)
    if layer.kind == "join":
        return np.concatenate(inputs, 1)
    if layer.kind == "crop":
        return crop(inputs[0], *layer.options["cropping"])
    if layer.kind in POOLED:
        return layer.activation(whole(layer, inputs))
    return elementwise(layer, inputs, inputs[0].shape[1])


def take(layer: Layer, x: Array) -> Array:
    """Take an input's part of the sequence, its bases in the order that the network knows."""
    part = x[:, layer.options.get("start", 0) : layer.options.get("stop")]
    return part[..., layer.options["order"]] if "order" in layer.options else part


def crop(x: Array, left: int, right: int) -> Array:
    """Cut positions off both ends; add zeros where a number is negative."""
    x = np.pad(x, ((0, 0), (max(-left, 0), max(-right, 0)), (0, 0)))
    return x[:, max(left, 0) : x.shape[1] - max(right, 0)]


def needed(source: str, layers: Sequence[Layer], output: str) -> dict[str, Layer]:
    """Only what an output depends on."""
    by_name = {layer.name: layer for layer in layers}
    found: dict[str, Layer] = {}
    waiting = [(output, output)]
    while waiting:
        name, asker = waiting.pop()
        if name in found:
            continue
        if name not in by_name:
            raise InputError(f"{source}: layer {asker!r} takes the output of {name!r}, which the file does not have.")
        found[name] = by_name[name]
        waiting += [(before, name) for before in by_name[name].inputs]
    return found


def _simplified(layers: dict[str, Layer], output: str) -> dict[str, Layer]:
    """Leave out layers that do nothing where the network predicts."""
    through = {name: layer.inputs[0] for name, layer in layers.items() if layer.kind == "same" and name != output}

    def end(name: str) -> str:
        seen = {name}
        while name in through and through[name] not in seen:
            name = through[name]
            seen.add(name)
        return name

    kept = {name: layer for name, layer in layers.items() if name not in through}
    return {name: replace(layer, inputs=tuple(map(end, layer.inputs))) for name, layer in kept.items()}


def _ordered(source: str, layers: Mapping[str, Layer], output: str) -> list[Layer]:
    ordered: list[Layer] = []
    known: set[str] = set()
    while len(ordered) < len(layers):
        ready = [layer for layer in layers.values() if layer.name not in known and known.issuperset(layer.inputs)]
        if not ready:
            waiting = ", ".join(repr(name) for name in layers if name not in known)
            raise InputError(f"{source}: layers {waiting} wait for each other. The file is damaged.")
        ordered += ready
        known |= {layer.name for layer in ready}
    return ordered


def _ranked(source: str, layers: Sequence[Layer]) -> list[Layer]:
    """Say of layers that take maps and vectors alike what they are; join a flattened map and what is made of it."""
    maps: dict[str, bool] = {}
    found: dict[str, Layer] = {}
    for layer in layers:
        many = [maps[name] for name in layer.inputs]
        if layer.kind == "same":
            layer = replace(layer, kind="activation")
        if layer.kind == "dense" and many[0]:
            kernel = layer.weights["kernel"][None]
            weights = {**layer.weights, "kernel": kernel}
            layer = replace(layer, kind="conv", weights=weights, options={**layer.options, "padding": "valid"})
        if "axis" in layer.options and many[0] and not _of_channels(layer):
            if layer.kind != "concatenate" or not _of_positions(layer):
                raise InputError(
                    f"{source}: layer {layer.name!r} works along axis={layer.options['axis']}, which is not "
                    "understood; understood are channels (axis=-1). Use a model without it."
                )
            layer = replace(layer, kind="join")
        if layer.kind == "flatten" and not many[0]:
            layer = replace(layer, kind="activation", options={})
        if layer.kind == "dense" and found[layer.inputs[0]].kind == "flatten":
            flat = found[layer.inputs[0]]
            layer = replace(layer, kind="flat_dense", inputs=flat.inputs)
        maps[layer.name] = layer.kind == "input" or (
            layer.weights["value"].ndim == 2
            if layer.kind == "constant"
            else layer.kind in ("conv", "pool", "crop", "join", "position_weight")
            or (layer.kind in DENSE and layer.kind != "dense" and all(many))
        )
        found[layer.name] = layer
    used = {name for layer in found.values() for name in layer.inputs} | {layers[-1].name}
    return [
        layer if layer.kind != "flat_dense" else _folded(layer, found)
        for layer in found.values()
        if layer.kind != "flatten" or layer.name in used
    ]


def _of_channels(layer: Layer) -> bool:
    """Tell whether a layer's axis of maps is their last."""
    return layer.options["axis"] in (-1, 2 if layer.options.get("unit") is None else 3)


def _of_positions(layer: Layer) -> bool:
    """Tell whether a layer's axis of maps, of which another may be 1, is along the sequence."""
    unit, axis = layer.options.get("unit"), layer.options["axis"]
    return bool(axis in ((1, -2) if unit is None else (3 - unit, -1 - unit)))


def _folded(layer: Layer, found: Mapping[str, Layer]) -> Layer:
    """Give a dense layer on a flattened map a kernel (n, F, U); the number of channels follows from its input."""
    channels = _channels(layer.inputs[0], found)
    kernel = layer.weights["kernel"]
    if len(kernel) % channels:
        channels = len(kernel)  # shapes are checked where the length of sequences is known
    weights = {"bias": np.zeros(kernel.shape[1]), **layer.weights}
    return replace(layer, weights={**weights, "kernel": kernel.reshape(-1, channels, kernel.shape[1])})


def _channels(name: str, found: Mapping[str, Layer]) -> int:
    layer = found[name]
    if layer.kind == "conv":
        return int(layer.weights["kernel"].shape[2])
    if layer.kind == "input":
        return 4
    if layer.kind == "constant":
        return int(layer.weights["value"].shape[-1])
    if layer.kind in ("concatenate", "combine"):
        widths = [_channels(before, found) for before in layer.inputs]
        return sum(widths) if layer.kind == "concatenate" else max(widths)
    return _channels(layer.inputs[0], found)
