"""Keras networks from their HDF5 files, run in NumPy: third-party ensembles without their framework.

Understood are the layers of dilated residual networks such as SpliceAI (Jaganathan et al. 2019): one-dimensional
convolutions, batch normalisation, activations, sums and crops, in any graph. Weights are read from the user's own copy
at run time; none come with this project.
"""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import softmax

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.readers import hdf5

BLOCK = 4_000_000
"""Numbers in a work array of a convolution, at most."""


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": lambda x: softmax(x, axis=-1),
    "exponential": np.exp,
}


def convolve(x: Array, kernel: Array, bias: Array | float, dilation: int, padding: str) -> Array:
    """Convolve (B, L, C) with (k, C, F)."""
    k, C, F = kernel.shape
    reach = (k - 1) * dilation
    if padding == "same":
        x = np.pad(x, ((0, 0), (reach // 2, reach - reach // 2), (0, 0)))
    n = x.shape[1] - reach
    out = np.empty((len(x), n, F))
    flat = kernel.transpose(1, 0, 2).reshape(C * k, F)
    step = max(1, BLOCK // (C * k))
    for b in range(len(x)):
        for low in range(0, n, step):
            high = min(low + step, n)
            patches = sliding_window_view(x[b, low : high + reach], reach + 1, axis=0)[..., ::dilation]  # (n', C, k)
            out[b, low:high] = patches.reshape(high - low, -1) @ flat + bias
    return out


class KerasNetwork:
    """A functional or sequential Keras model with one input, as a callable from (B, L, C) to the output of a layer.

    Parameters
    ----------
    path : path
        An ``.h5`` file with the model's configuration and weights, written by Keras 2 or 3.
    output : str, optional
        The layer whose output it is; needed where the model has several outputs.

    Raises
    ------
    InputError
        If a layer, or one of its options, is of a kind that is not understood; if a layer is called more than once; if
        the model has several inputs.
    """

    def __init__(self, path: str | Path, output: str | None = None) -> None:
        import h5py

        if zipfile.is_zipfile(path):
            raise InputError(
                f"{path}: this is a file of Keras 3 in the form .keras (a zip archive). Load it there and save it in "
                "the form .h5: model.save('model.h5')."
            )
        hdf5.look_over(Path(path), "a Keras model", "Save it again, in the form .h5")
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            if config is None:
                raise InputError(f"{path}: there is no Keras model in this file, only weights or something else.")
            text = config.decode() if isinstance(config, bytes) else str(config)
            self.layers, self.output = _graph(json.loads(text)["config"], Path(path), output)
            weights = file["model_weights"]
            self.weights = {name: _weights(weights[name]) for name in weights if name != "top_level_model_weights"}
        for layer in self.layers:
            if layer["class_name"] not in APPLY:
                raise InputError(
                    f"{path}: layer {layer['name']!r} is a {layer['class_name']}, which is not understood; "
                    f"understood are {', '.join(APPLY)}."
                )
            for option, allowed in UNDERSTOOD.get(layer["class_name"], {}).items():
                value = layer["config"].get(option, allowed[0])
                if (list(value) if isinstance(value, tuple | list) else value) not in allowed:
                    told = ", ".join(str(a) for a in allowed if not isinstance(a, list))
                    raise InputError(
                        f"{path}: layer {layer['name']!r} has {option}={value!r}, which is not understood; understood: "
                        f"{told}. Use a model without it."
                    )

    def __call__(self, x: Array) -> Array:
        """Predict."""
        values: dict[str, Array] = {}
        for layer in self.layers:
            inputs = [values[name] for name in layer["inputs"]] or [np.asarray(x, dtype=float)]
            values[layer["name"]] = APPLY[layer["class_name"]](
                inputs, layer["config"], self.weights.get(layer["name"], {})
            )
        return values[self.output]


def _graph(config: Any, path: Path, output: str | None) -> tuple[list[dict[str, Any]], str]:
    """Layers in an order in which every one comes after its inputs, and the name of the one whose output is wanted."""
    layers = config if isinstance(config, list) else config["layers"]
    found: list[dict[str, Any]] = []
    for i, layer in enumerate(layers):
        name = layer.get("name") or layer["config"]["name"]
        nodes = layer.get("inbound_nodes")
        line = [found[i - 1]["name"]] if i else []  # of a sequential model
        before = line if nodes is None else _inputs(nodes, name, path)
        found.append({"name": name, "class_name": layer["class_name"], "config": layer["config"], "inputs": before})
    starts = [layer["name"] for layer in found if not layer["inputs"]]
    if len(starts) > 1:
        raise InputError(
            f"{path}: layers {', '.join(map(repr, starts))} are {len(starts)} inputs of the model, but a sequence is "
            "one only. Use a model with one input."
        )
    names = {layer["name"] for layer in found}
    lost = next(((layer["name"], b) for layer in found for b in layer["inputs"] if b not in names), None)
    if lost:
        raise InputError(f"{path}: layer {lost[0]!r} takes the output of {lost[1]!r}, which the file does not have.")
    ordered: list[dict[str, Any]] = []
    known: set[str] = set()
    while len(ordered) < len(found):
        ready = [layer for layer in found if layer["name"] not in known and known.issuperset(layer["inputs"])]
        if not ready:
            waiting = [layer["name"] for layer in found if layer["name"] not in known]
            raise InputError(
                f"{path}: layers {', '.join(map(repr, waiting))} wait for each other. The file is damaged."
            )
        ordered += ready
        known |= {layer["name"] for layer in ready}
    ends = _links(config["output_layers"]) if isinstance(config, dict) and "output_layers" in config else []
    ends = ends or [(found[-1]["name"], 0, 0)]
    several = [end for end in ends if end[1] or end[2]]
    if several:
        raise InputError(
            f"{path}: the model's output is that of a further call of layer {several[0][0]!r}, which is not understood."
        )
    if output is None and len(ends) > 1:
        outputs = ", ".join(repr(name) for name, _, _ in ends)
        raise InputError(
            f"{path}: the model has {len(ends)} outputs, of layers {outputs}. Choose one: output={ends[0][0]!r}."
        )
    if output is not None and output not in names:
        raise InputError(
            f"{path}: there is no layer {output!r}; the model's outputs are {', '.join(e[0] for e in ends)}."
        )
    return ordered, output or ends[0][0]


def _inputs(nodes: Any, name: str, path: Path) -> list[str]:
    """Return the layers whose outputs a layer takes, from its one call."""
    if len(nodes) > 1:
        raise InputError(
            f"{path}: layer {name!r} is called {len(nodes)} times (its weights are shared), which is not understood. "
            "Use a model in which every layer is called once."
        )
    links = _links(nodes[0]) if nodes else []
    again = next((link for link in links if link[1] or link[2]), None)
    if again:
        raise InputError(
            f"{path}: layer {name!r} takes output {again[2]} of call {again[1]} of layer {again[0]!r}; understood are "
            "layers that are called once and have one output."
        )
    return [link[0] for link in links]


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


def _weights(group: Any) -> dict[str, Array]:
    """Weights of a layer by their own names (``kernel``, ``gamma`` ...)."""
    found: dict[str, Array] = {}

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            found[name.rpartition("/")[2].partition(":")[0]] = np.asarray(item, dtype=float)

    group.visititems(visit)
    return found


def dilation(config: Any) -> int:
    """How far apart the positions are that a convolution looks at."""
    return int(np.atleast_1d(config.get("dilation_rate", 1))[0])


def span(config: Any, kernel: Array) -> tuple[int, int]:
    """How far a centred convolution looks to the left and to the right."""
    whole = (len(kernel) - 1) * dilation(config)
    return whole // 2, whole - whole // 2


def cropping(config: Any) -> tuple[int, int]:
    """How many positions a layer cuts off at both ends."""
    left, right = np.broadcast_to(config["cropping"], 2)
    return int(left), int(right)


def _conv(inputs: list[Array], config: Any, w: Mapping[str, Array]) -> Array:
    out = convolve(inputs[0], w["kernel"], w.get("bias", 0.0), dilation(config), config["padding"])
    return ACTIVATIONS[config.get("activation", "linear")](out)


def _normalise(inputs: list[Array], config: Any, w: Mapping[str, Array]) -> Array:
    scale = w.get("gamma", 1.0) / np.sqrt(w["moving_variance"] + config["epsilon"])
    return np.asarray(inputs[0] * scale + (w.get("beta", 0.0) - w["moving_mean"] * scale))


def _crop(inputs: list[Array], config: Any, w: Mapping[str, Array]) -> Array:
    left, right = cropping(config)
    return inputs[0][:, left : inputs[0].shape[1] - right]


def _sum(inputs: list[Array], config: Any, w: Mapping[str, Array]) -> Array:
    return np.sum(inputs, axis=0)


APPLY: Mapping[str, Callable[[list[Array], Any, Mapping[str, Array]], Array]] = {
    "InputLayer": lambda inputs, config, w: inputs[0],
    "Conv1D": _conv,
    "BatchNormalization": _normalise,
    "Activation": lambda inputs, config, w: ACTIVATIONS[config["activation"]](inputs[0]),
    "Add": _sum,
    "Cropping1D": _crop,
}

UNDERSTOOD: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Conv1D": {
        "padding": ("valid", "same"),
        "strides": (1, [1]),
        "groups": (1,),
        "data_format": ("channels_last",),
        "activation": tuple(ACTIVATIONS),
    },
    "BatchNormalization": {"axis": (-1, 2, [-1], [2])},
    "Activation": {"activation": tuple(ACTIVATIONS)},
}
"""Options of layers and the values they may have; the first is that of a file that does not say."""
