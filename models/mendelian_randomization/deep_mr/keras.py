"""Keras networks from their files, run in NumPy: .h5 of Keras 2 and 3, .keras of Keras 3.

Understood are the layers of the public sequence models: convolutions, pooling, dense layers, normalisation, sums,
concatenation, cropping, in any graph, with nested models and layers that are called more than once. What an output
depends on must be understood; the rest may be anything. Weights are read from the user's own copy at run time; none
come with this project, and no code that a file holds is run.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.leftovers import scratch
from genarium.readers import hdf5

from .kinds import Strange, translated
from .layers import Layer
from .network import Network, needed

MODELS = ("Functional", "Model", "Sequential")
"""Classes of layers that are networks themselves."""

Weights = Mapping[tuple[str, ...], Mapping[str, Array]]
"""Weights of layers by their names, those of nested models first."""

Inputs = Mapping[str, Any]
"""What inputs besides the sequence are: a number or an array, or a pair (start, stop), a part of the sequence."""


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
    config, weights = (_archive if zipfile.is_zipfile(path) else _hdf5)(path)
    graph = _Graph(path, weights, dict(inputs or {}), bases)
    ends = graph.read(config)
    return graph.network(output, ends)


def _hdf5(path: Path) -> tuple[Any, Weights]:
    import h5py

    hdf5.look_over(path, "a Keras model", "Save it again, in the form .h5")
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        if config is None:
            raise InputError(
                f"{path}: there is no Keras model in this file, only weights or something else. Save the whole model: "
                "model.save('model.h5')."
            )
        found: dict[tuple[str, ...], dict[str, Array]] = {}
        for name, value in _datasets(file["model_weights"]):
            *place, leaf = name.split("/")
            own = leaf.partition(":")[0]
            found.setdefault((place[0],), {})[own] = value
            for depth in range(1, len(place)):  # of a layer of a nested model
                found.setdefault((place[0], place[depth]), {})[own] = value
        return json.loads(config), found


def _datasets(group: Any) -> Iterator[tuple[str, Array]]:
    found: list[tuple[str, Array]] = []

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            found.append((name, np.asarray(item)))

    group.visititems(visit)
    return iter(found)


def _archive(path: Path) -> tuple[Any, Weights]:
    """Read a file of Keras 3: a zip archive of a configuration and of weights by their numbers."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        missing = next((name for name in ("config.json", "model.weights.h5") if name not in names), None)
        if missing:
            raise InputError(f"{path}: the archive has no {missing}, so it is no Keras model. Save it again.")
        try:
            config = json.loads(archive.read("config.json"))
            raw = archive.read("model.weights.h5")
        except (ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{path}: the archive is damaged ({error}). Save the model again.") from error
    found: dict[tuple[str, ...], dict[str, Array]] = {}
    with scratch("keras") as folder:
        inner = folder / "model.weights.h5"
        inner.write_bytes(raw)
        try:
            hdf5.look_over(inner, "weights of a Keras model", "Save the model again")
        except InputError as error:
            raise InputError(f"{path}: {str(error).partition(': ')[2]}") from error
        with h5py.File(inner, "r") as file:
            _numbered(file, (), found)
    return config, found


def _numbered(group: Any, above: tuple[str, ...], found: dict[tuple[str, ...], dict[str, Array]]) -> None:
    """Collect weights of layers, each in a group ``vars`` that bears the layer's name."""
    for key in group.get("layers", {}):
        own = group["layers"][key]
        label = own["vars"].attrs.get("name", key) if "vars" in own else key
        place = (*above, label.decode() if isinstance(label, bytes) else str(label))
        if "vars" in own:
            found[place] = {number: np.asarray(own["vars"][number]) for number in own["vars"]}
        _numbered(own, place, found)


class _Graph:
    """Collects the calls of layers, nested models spread out."""

    def __init__(self, path: Path, weights: Weights, inputs: dict[str, Any], bases: str) -> None:
        self.path, self.weights, self.given, self.bases = path, weights, inputs, bases
        self.calls: dict[str, Layer] = {}
        self.strange: dict[str, Strange] = {}

    def read(self, config: Any) -> list[str]:
        """Read the whole model; return the calls that its outputs are."""
        if not isinstance(config, dict) or config.get("class_name") not in MODELS:
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
                "sequence is one only. Say what the others get, by inputs={'NAME': 0} or, a part of the sequence, "
                "inputs={'NAME': (start, stop)}."
            )
        if free:
            network.length = next(la.options["length"] for la in sequences if la.name == free[0])
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
        starts = iter(feeds or [])
        for layer in layers:
            own = layer.get("name") or layer["config"]["name"]
            nodes = layer.get("inbound_nodes")
            if nodes is None:  # of a sequential model
                if layer["class_name"] == "InputLayer" and feeds:
                    continue
                last = self._call(layer, above, own, 0, last)
            elif not nodes:
                source = next(starts, None)
                last = [source] if source is not None else self._call(layer, above, own, 0, [])
                outputs[own, 0] = last
            else:
                waiting += [(layer, own, call, node) for call, node in enumerate(nodes)]
        self._in_order(waiting, outputs, above)
        links = _links(config["output_layers"]) if isinstance(config, dict) and "output_layers" in config else []
        if not links:
            return last
        missing = next((name for name, call, _ in links if (name, call) not in outputs), None)
        if missing is not None:
            raise InputError(f"{self.path}: the model's output is of layer {missing!r}, which the file does not have.")
        return [self._one(outputs[name, call], at, name) for name, call, at in links]

    def _in_order(self, waiting: list[Any], outputs: dict[tuple[str, int], list[str]], above: tuple[str, ...]) -> None:
        """Add calls, each after those whose outputs it takes."""
        known = {(own, call) for _, own, call, _ in waiting} | set(outputs)
        while waiting:
            later = []
            for layer, own, call, node in waiting:
                links = _links(node)
                lost = next((name for name, n, _ in links if (name, n) not in known), None)
                if lost is not None:
                    raise InputError(
                        f"{self.path}: layer {own!r} takes the output of {lost!r}, which the file does not have."
                    )
                if any((name, n) not in outputs for name, n, _ in links):
                    later.append((layer, own, call, node))
                    continue
                before = [self._one(outputs[name, n], at, name) for name, n, at in links]
                outputs[own, call] = self._call(layer, above, own, call, before)
            if len(later) == len(waiting):
                names = ", ".join(repr(own) for _, own, _, _ in waiting)
                raise InputError(f"{self.path}: layers {names} wait for each other. The file is damaged.")
            waiting = later

    def _one(self, outputs: list[str], at: int, name: str) -> str:
        if at >= len(outputs):
            raise InputError(f"{self.path}: layer {name!r} has {len(outputs)} outputs, but its output {at} is taken.")
        return outputs[at]

    def _call(self, layer: Any, above: tuple[str, ...], own: str, call: int, before: list[str]) -> list[str]:
        """Add one call of a layer; return its outputs."""
        place = (*above, own)
        name = "/".join(place) + (f":{call}" if call else "")
        kind, config = layer["class_name"], layer["config"]
        if kind in MODELS:
            return self._model(config, (*above, own + (f":{call}" if call else "")), before)
        if kind == "InputLayer":
            self.calls[name] = self._input(name, config)
            return [name]
        weights = {key: np.asarray(value, dtype=float) for key, value in self._weights(place).items()}
        made = translated(kind, config, weights)
        if isinstance(made, Strange):
            self.strange[name] = made
            made = Layer("", "same", ())
        self.calls[name] = replace(made, name=name, inputs=tuple(before))
        return [name]

    def _weights(self, place: tuple[str, ...]) -> Mapping[str, Array]:
        clean = tuple(part.partition(":")[0] for part in place)
        if clean in self.weights:
            return self.weights[clean]
        return self.weights.get((clean[0], clean[-1]), {})  # Keras 2 keeps all layers of a nested model in one group

    def _input(self, name: str, config: Any) -> Layer:
        shape = config.get("batch_shape") or config.get("batch_input_shape") or [None, None, 4]
        length = next((n for n in shape[1:-1] if n not in (None, 1)), None)
        order = {} if self.bases == "ACGT" else {"order": ["ACGT".index(base) for base in self.bases]}
        if name not in self.given:
            return Layer(name, "input", (), {"length": length, **order})
        told = self.given[name]
        if isinstance(told, tuple):
            return Layer(name, "input", (), {"start": told[0], "stop": told[1], **order})
        wanted = [1 if n is None else n for n in shape[1:]]
        try:
            value = np.broadcast_to(np.asarray(told, dtype=float), wanted)
        except ValueError as error:
            raise InputError(f"{self.path}: input {name!r} takes numbers of shape {wanted}. {error}.") from error
        return Layer(name, "constant", (), {}, {"value": value})


def _links(node: Any) -> list[tuple[str, int, int]]:
    """Find the tensors that a configuration names, as (layer, call, output): Keras 2's lists or Keras 3's mappings."""
    if isinstance(node, dict):
        history = node.get("keras_history")
        return _links(history) if history else [link for value in node.values() for link in _links(value)]
    if not isinstance(node, list | tuple):
        return []
    if len(node) >= 3 and isinstance(node[0], str) and all(isinstance(i, int) for i in node[1:3]):
        extra = [link for value in node[3:] for link in _links(value)]
        return [(node[0], int(node[1]), int(node[2])), *extra]
    return [link for value in node for link in _links(value)]
