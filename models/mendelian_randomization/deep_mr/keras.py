"""Keras networks from their files, run in NumPy: .h5 of Keras 2 and 3, .keras of Keras 3.

Understood are the layers of the public sequence models: convolutions, pooling, dense layers, normalisation, sums,
concatenation, cropping, in any graph, with nested models and layers that are called more than once. What an output
depends on must be understood; the rest may be anything. Weights are read from the user's own copy at run time; none
come with this project, and no code that a file holds is run.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import either

from .keras_files import Weights, given_to, links_of, name_of, read_keras
from .kinds import Strange, foreign, translated
from .layers import Layer
from .network import Network, needed

MODELS = ("Functional", "Model", "Sequential")
"""Classes of layers that are networks themselves."""

Inputs = Mapping[str, Any]
"""What inputs besides the sequence are: a number or an array, or a pair (start, stop), a part of the sequence."""

GIVEN = "inputs={'NAME': 0} or, a part of the sequence, inputs={'NAME': (start, stop)}"
"""How they are given in Python."""


def keras_network(
    path: str | Path, output: str | None = None, *, inputs: Inputs | None = None, bases: str = "ACGT"
) -> Network:
    """Read a Keras model.

    Parameters
    ----------
    path : path
        A file ``.h5`` or ``.keras`` with the model's configuration and weights.
    output : str, optional
        The layer whose output is wanted (``NAME:1`` for that of its second call, ``MODEL/NAME`` inside of a nested
        model); needed where the model has several outputs that differ.
    inputs : mapping, optional
        Of a model with several: the input's name and what it gets, a number or an array (controls: 0), or the
        part of the sequence (start, stop). The one that is not named gets the whole sequence.
    bases : str
        Order of the bases in its input.

    Raises
    ------
    InputError
        If a layer that the output depends on, or one of its options, is not understood.
    """
    path = Path(path)
    try:
        config, weights = read_keras(path)
        graph = _Graph(path, weights, dict(inputs or {}), bases)
        ends = graph.read(config)
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path}: this configuration is not one that Keras writes ({type(error).__name__}: {error}). Save the "
            "model again."
        ) from error
    return graph.network(output, ends)


class _Graph:
    """Collects the calls of layers, nested models spread out."""

    def __init__(self, path: Path, weights: Weights, inputs: dict[str, Any], bases: str) -> None:
        self.path, self.weights, self.given, self.bases = path, weights, inputs, bases
        self.calls: dict[str, Layer] = {}
        self.strange: dict[str, Strange] = {}
        self.units: dict[str, int | None] = {}  # of maps with two dims along the sequence: which is 1

    def read(self, config: Any) -> list[str]:
        """Read the whole model; return the calls that its outputs are."""
        if not isinstance(config, dict) or config.get("class_name") not in MODELS or foreign(config):
            kind = config.get("class_name") if isinstance(config, dict) else None
            raise InputError(
                f"{self.path}: the model is a {kind}, whose graph is not in the file. Save it as a functional model."
            )
        ends = self._model(config["config"], (), None)
        lost = [name for name in self.given if name not in self.calls]
        if lost:
            have = ", ".join(name for name, layer in self.calls.items() if layer.kind in ("input", "constant"))
            raise InputError(f"{self.path}: the model has no input {lost[0]!r}; its inputs are {have}.")
        return ends

    def network(self, output: str | None, ends: list[str]) -> Network:
        """Return the network of an output."""
        several = list(dict.fromkeys(ends))
        if output is None and len(several) > 1:
            outputs = ", ".join(repr(name) for name in several)
            raise InputError(
                f"{self.path}: the model has {len(several)} outputs, of layers {outputs}. Choose one: "
                f"output={several[0]!r}."
            )
        name = several[0] if output is None else self._found(output, several)
        calls = list(self.calls.values())
        for inner in needed(str(self.path), calls, name):
            if inner in self.strange:
                raise InputError(f"{self.path}: layer {inner!r} {self.strange[inner]}")
        network = Network(str(self.path), calls, name)
        sequences = [layer for layer in network.layers if layer.kind == "input"]
        left = {layer.name for layer in sequences} - set(self.given)
        free = [name for name in self.calls if name in left]
        if len(free) > 1 or not sequences:
            raise InputError(
                f"{self.path}: layers {', '.join(map(repr, free))} are {len(free)} inputs of the model, but a "
                f"sequence is one only. Say what the others get: {either(GIVEN, '--inputs NAME=0')}."
            )
        if free:
            own = next(layer.options for layer in sequences if layer.name == free[0])
            network.length = own["length"]
            if own["shape"][-1] not in (4, None):
                raise InputError(
                    f"{self.path}: layer {free[0]!r}, the input, has shape {own['shape']}, but a sequence's is (L, 4), "
                    "or that with a dim of 1. Use a model of such sequences, export this one to ONNX, or give deep_mr "
                    "a callable."
                )
        return network

    def _found(self, output: str, ends: list[str]) -> str:
        if output in self.calls:
            return output
        inner = [name for name in self.calls if name.rpartition("/")[2] == output]
        if len(inner) == 1:
            return inner[0]
        raise InputError(
            f"{self.path}: there is no layer {output!r}; the model's outputs are {', '.join(ends)}."
            if not inner
            else f"{self.path}: there are {len(inner)} layers {output!r}. Choose one: {', '.join(inner)}."
        )

    def _model(self, config: Any, above: tuple[str, ...], feeds: list[str] | None) -> list[str]:
        """Add the layers of a model, its inputs being the calls ``feeds`` where it is nested; return its outputs."""
        layers = config if isinstance(config, list) else config["layers"]
        last: list[str] = list(feeds or [])
        outputs: dict[tuple[str, int], list[str]] = {}
        waiting = []
        graph = isinstance(config, dict) and "output_layers" in config
        ends = links_of(config["output_layers"]) if graph else []
        starts = [name for name, _, _ in links_of(config.get("input_layers"))] if graph else []
        inside = dict(zip(starts, feeds or [], strict=False))
        if not graph and not feeds and layers and layers[0]["class_name"] != "InputLayer":
            last = [self._first(config, layers[0], above)]
        for layer in layers:
            own = name_of(layer)
            nodes = layer.get("inbound_nodes")
            if nodes is None:  # of a sequential model
                if layer["class_name"] == "InputLayer" and feeds:
                    continue
                last = self._call(layer, above, own, 0, last)
            elif not nodes:
                last = [inside[own]] if own in inside else self._call(layer, above, own, 0, [])
                outputs[own, 0] = last
            else:
                waiting += [(layer, own, call, node) for call, node in enumerate(nodes)]
        self._in_order(waiting, _before(waiting, ends), outputs, above)
        if not ends:
            return last
        missing = next((name for name, call, _ in ends if (name, call) not in outputs), None)
        if missing is not None:
            raise InputError(f"{self.path}: the model's output is of layer {missing!r}, which the file does not have.")
        return [self._one(outputs[name, call], at, name) for name, call, at in ends]

    def _first(self, config: Any, layer: Any, above: tuple[str, ...]) -> str:
        """Add the input of a sequential model that has no layer for it."""
        built = config if isinstance(config, dict) else {}
        shape = layer["config"].get("batch_input_shape") or built.get("build_input_shape")
        name = "/".join((*above, f"{name_of(layer)}_input"))
        self.calls[name] = self._input(name, {"batch_input_shape": shape})
        return name

    def _in_order(
        self,
        waiting: list[Any],
        first: Mapping[str, int],
        outputs: dict[tuple[str, int], list[str]],
        above: tuple[str, ...],
    ) -> None:
        """Add calls, each after those whose outputs it takes."""
        known = {(own, first[own] + call) for _, own, call, _ in waiting} | set(outputs)
        while waiting:
            later = []
            for layer, own, call, node in waiting:
                links, fault = given_to(node)
                lost = next((name for name, n, _ in links if (name, n) not in known), None)
                if lost is not None:
                    raise InputError(
                        f"{self.path}: layer {own!r} takes the output of {lost!r}, which the file does not have."
                    )
                if any((name, n) not in outputs for name, n, _ in links):
                    later.append((layer, own, call, node))
                    continue
                before = [self._one(outputs[name, n], at, name) for name, n, at in links]
                outputs[own, first[own] + call] = self._call(layer, above, own, call, before, fault)
            if len(later) == len(waiting):
                names = ", ".join(repr(own) for _, own, _, _ in waiting)
                raise InputError(f"{self.path}: layers {names} wait for each other. The file is damaged.")
            waiting = later

    def _one(self, outputs: list[str], at: int, name: str) -> str:
        if at >= len(outputs):
            raise InputError(f"{self.path}: layer {name!r} has {len(outputs)} outputs, but its output {at} is taken.")
        return outputs[at]

    def _call(
        self, layer: Any, above: tuple[str, ...], own: str, call: int, before: list[str], fault: str = ""
    ) -> list[str]:
        """Add one call of a layer, which a fault may keep from being understood; return its outputs."""
        place = (*above, own)
        name = "/".join(place) + (f":{call}" if call else "")
        kind, config = layer["class_name"], layer["config"]
        if kind in MODELS and not foreign(layer):
            ends = self._model(config, (*above, own + (f":{call}" if call else "")), before)
            return [self._add(f"{name}#{i}", Strange(fault), [end]) for i, end in enumerate(ends)] if fault else ends
        if kind == "InputLayer":
            self.calls[name] = self._input(name, config)
            return [name]
        weights = {key: np.asarray(value, dtype=float) for key, value in self._weights(place).items()}
        unit = self.units.get(before[0]) if before else None
        return [self._add(name, translated(layer, weights, len(before), unit, fault), before)]

    def _add(self, name: str, made: Layer | Strange, before: list[str]) -> str:
        if isinstance(made, Strange):
            self.strange[name] = made
            made = Layer("", "same", ())
        self.calls[name] = replace(made, name=name, inputs=tuple(before))
        self.units[name] = self.units.get(before[0]) if before else None
        return name

    def _weights(self, place: tuple[str, ...]) -> Mapping[str, Array]:
        clean = tuple(part.partition(":")[0] for part in place)
        if clean in self.weights:
            return self.weights[clean]
        return self.weights.get((clean[0], clean[-1]), {})  # Keras 2 keeps all layers of a nested model in one group

    def _input(self, name: str, config: Any) -> Layer:
        shape = config.get("batch_shape") or config.get("batch_input_shape") or [None, None, 4]
        length = next((n for n in shape[1:-1] if n not in (None, 1)), None)
        if len(shape) == 4:
            self.units[name] = next((axis for axis in (2, 1) if shape[axis] == 1), None)
        order = {} if self.bases == "ACGT" else {"order": ["ACGT".index(base) for base in self.bases]}
        if name not in self.given:
            return Layer(name, "input", (), {"length": length, "shape": tuple(shape[1:]), **order})
        told = self.given[name]
        if isinstance(told, tuple):
            if length is not None and told != (told[0], told[0] + length):
                raise InputError(
                    f"{self.path}: input {name!r} takes {length} positions, but inputs= gives it {told}. Give (start, "
                    f"start + {length})."
                )
            return Layer(name, "input", (), {"start": told[0], "stop": told[1], **order})
        wanted = [1 if n is None else n for n in shape[1:]]
        try:
            value = np.broadcast_to(np.asarray(told, dtype=float), wanted)
        except ValueError as error:
            raise InputError(f"{self.path}: input {name!r} takes numbers of shape {wanted}. {error}.") from error
        return Layer(name, "constant", (), {}, {"value": value})


def _before(waiting: list[Any], ends: list[tuple[str, int, int]]) -> dict[str, int]:
    """Return the number of the first call of each layer: Keras 2 counts calls of a nested model from 1."""
    many: dict[str, int] = {}
    for _, own, _, _ in waiting:
        many[own] = many.get(own, 0) + 1
    links = [*ends, *(link for *_, node in waiting for link in links_of(node))]
    later = {name for name, call, _ in links if call == many.get(name)}
    return {own: int(own in later and layer["class_name"] in MODELS) for layer, own, _, _ in waiting}
