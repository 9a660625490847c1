"""What layers of Keras are in terms of ours: kind, options and weights; or, in words, why one is not understood."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from genarium.declaration import Array

from .layers import ACTIVATIONS, Layer

Weights = Mapping[str, Array]


class Strange(str):
    """What follows "layer NAME ..." about one that is not understood."""


class _Refused(Exception):  # noqa: N818
    pass


OWN = ("ConvDNA", "GlobalAveragePooling1D_Mask0", "SplineWeight1D")
"""Classes that are not Keras' own."""

OPERATIONS = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
"""Functions of Keras 3 that do what its layers of these names do."""


def foreign(layer: Mapping[str, Any]) -> bool:
    """Tell a class of its author's from Keras' own of the same name, as far as the file does."""
    module, registered = layer.get("module"), layer.get("registered_name")
    if module is None:
        return registered is not None
    return str(module).partition(".")[0] not in ("keras", "tf_keras", "tensorflow", "keras_core")


def translated(
    layer: Mapping[str, Any], weights: Weights, inputs: int, unit: int | None = None, fault: str = ""
) -> Layer | Strange:
    """Return a layer without a name, or say why there is none.

    Parameters
    ----------
    layer : mapping
        Its class, configuration and module.
    weights : mapping
        By their names, or, in files of Keras 3, by their numbers.
    inputs : int
        How many it takes.
    unit : int, optional
        Of maps with two dims along the sequence, the axis that is 1.
    fault : str
        What is strange about this call of it.
    """
    kind, config = layer["class_name"], {**layer["config"], "unit": unit}
    operation = ".ops." in f".{layer.get('module')}."
    if (foreign(layer) and kind not in OWN) or (operation and kind not in OPERATIONS):
        told = layer.get("module") or layer.get("registered_name")
        return Strange(f"is a {kind} of {told}, which is not understood. {REMEDY}")
    if kind not in KINDS and kind not in SAME:
        why = WHY.get(kind, "")
        known = ", ".join([*KINDS, *SAME])
        return Strange(f"is a {kind}, which is not understood{why}; understood are {known}. {REMEDY}")
    if fault:
        return Strange(fault)
    try:
        if not operation:
            _precise(config)
        if kind in SAME:
            return Layer("", "same", ())
        made = KINDS[kind](config, weights)
        wanted = 2 if kind == "Subtract" or made.kind == "masked_mean" else 1
        many = made.kind in ("combine", "concatenate") and kind != "Subtract"
        if inputs < wanted or (inputs > wanted and not many):
            raise _Refused(f"takes {inputs} inputs, but must take {wanted}. Save the whole model again.")
    except _Refused as error:
        return Strange(f"{error}")
    except (KeyError, IndexError) as error:
        return Strange(f"has no weights or option {error} in the file. Save the whole model again.")
    return made


REMEDY = "Take the output of a layer before it, export the network to ONNX, or give deep_mr a callable."


def _precise(config: Mapping[str, Any]) -> None:
    """Refuse a layer that rounds what it computes."""
    told = config.get("dtype")
    if isinstance(told, dict):
        named = (told.get("config") or {}).get("name") if "Quant" not in str(told.get("class_name")) else None
        told = named or told.get("class_name")
    if told not in (None, "float32", "float64") and not str(told).startswith("infer"):
        raise _Refused(
            f"computes in {told}, whose rounding is not repeated here. Build the model with dtype='float32', load its "
            "weights and save it again."
        )


SAME = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization",
)  # fmt: skip
"""Layers that do nothing where a network predicts."""

WHY = {
    "Lambda": " (it is code of its author's, which is not run)",
    "LocallyConnected1D": " (it has other weights at every position)",
    "LSTM": " (recurrent)",
    "GRU": " (recurrent)",
    "Bidirectional": " (recurrent)",
}


def _only(config: Mapping[str, Any], option: str, allowed: Sequence[Any]) -> None:
    """Refuse an option with another value; the first is that of a file that does not say."""
    value = config.get(option, allowed[0])
    value = list(value) if isinstance(value, tuple) else value
    if value not in allowed:
        told = ", ".join(str(a) for a in allowed if not isinstance(a, list))
        raise _Refused(f"has {option}={value!r}, which is not understood; understood: {told}. Use a model without it.")


def _function(config: Mapping[str, Any]) -> str:
    given = config.get("activation") or "linear"
    if isinstance(given, dict):  # a class of Keras 3, or a registered function
        given = given.get("config") if isinstance(given.get("config"), str) else given
    _only({"activation": given}, "activation", tuple(ACTIVATIONS))
    return str(given)


def _named(weights: Weights, names: Sequence[str]) -> dict[str, Array]:
    """Weights by their names, where a file of Keras 3 numbers them; others are not understood."""
    more = [key for key in weights if key not in names]
    if weights and all(key.isdigit() for key in weights):
        more = sorted(weights, key=int)[len(names) :]
        weights = dict(zip(names, (weights[key] for key in sorted(weights, key=int)), strict=False))
    if more:
        raise _Refused(
            f"has weights {more[0]!r} besides {', '.join(names)} (adapted or quantised?), which are not understood. "
            "Save it without them."
        )
    return dict(weights)


def _biased(config: Mapping[str, Any], weights: Weights) -> dict[str, Array]:
    """Return the kernel, and the bias unless the layer has none."""
    w = _named(weights, ("kernel", "bias"))
    return {name: w[name] for name in ("kernel", *(["bias"] if config.get("use_bias", True) else []))}


def _one(config: Mapping[str, Any], value: Any, window: bool = True) -> int:
    """Return the number of the dim of sequences: of (1, n) and of (n, 1) it is n where maps have a dim that is 1."""
    many = [int(v) for v in np.atleast_1d(value)]
    if len(many) == 1:
        return many[0]
    unit = config["unit"] or (1 if many[0] == 1 else 2)
    if window and many[unit - 1] > 1:
        raise _Refused(f"has a window of {tuple(many)}, but must be 1 in one dim: sequences have one. Use Conv1D.")
    return many[2 - unit]


def _convolution(
    config: Mapping[str, Any], weights: Weights, names: Sequence[str], kernel: Callable[..., Array]
) -> Layer:
    """Return a convolution whose kernel, (k, C, F), follows from weights of these names."""
    _only(config, "padding", ("valid", "same", "causal"))
    _only(config, "data_format", ("channels_last", None))
    w = _named(weights, (*names, "bias"))
    parts = [w[name].reshape(_one(config, w[name].shape[:-2]), *w[name].shape[-2:]) for name in names]
    options = {
        "stride": _one(config, config.get("strides", 1), False),
        "dilation": _one(config, config.get("dilation_rate", 1), False),
        "padding": config.get("padding", "valid"),
        "activation": _function(config),
    }
    bias = {"bias": w["bias"]} if config.get("use_bias", True) else {}
    return Layer("", "conv", (), options, {"kernel": kernel(*parts), **bias})


def _conv(config: Mapping[str, Any], weights: Weights) -> Layer:
    def kernel_of(kernel: Array) -> Array:
        groups = config.get("groups") or 1
        if kernel.shape[2] % groups:
            _only(config, "groups", (1,))
        return _of_all(kernel, groups)

    return _convolution(config, weights, ("kernel",), kernel_of)


def _depthwise(config: Mapping[str, Any], weights: Weights) -> Layer:
    name = "depthwise_kernel" if "depthwise_kernel" in weights else "kernel"  # of Keras 2, 3
    return _convolution(config, weights, (name,), _of_each)


def _separable(config: Mapping[str, Any], weights: Weights) -> Layer:
    """Of each channel by itself, then across channels at one position: both are one convolution."""
    names = ("depthwise_kernel", "pointwise_kernel")
    return _convolution(config, weights, names, lambda own, across: np.asarray(_of_each(own) @ across[0]))


def _of_all(kernel: Array, groups: int) -> Array:
    """Return the kernel of all channels, (k, C, F), of one whose groups of channels are apart, (k, C / groups, F)."""
    k, c, F = kernel.shape
    out, f = np.zeros((k, c * groups, F)), F // groups
    for g in range(groups):
        out[:, g * c : (g + 1) * c, g * f : (g + 1) * f] = kernel[:, :, g * f : (g + 1) * f]
    return out


def _of_each(kernel: Array) -> Array:
    """Return the kernel of all channels, (k, C, C m), of one that makes m of each channel, (k, C, m)."""
    return _of_all(kernel.reshape(len(kernel), 1, -1), kernel.shape[1])


def _dense(config: Mapping[str, Any], weights: Weights) -> Layer:
    return Layer("", "dense", (), {"activation": _function(config)}, _biased(config, weights))


def _pool(how: str) -> Callable[[Mapping[str, Any], Weights], Layer]:
    def make(config: Mapping[str, Any], weights: Weights) -> Layer:
        _only(config, "padding", ("valid", "same"))
        _only(config, "data_format", ("channels_last", None))
        size = _one(config, config.get("pool_size", config.get("pool_length", 2)))
        stride = _one(config, config.get("strides") or size, False)
        return Layer(
            "", "pool", (), {"how": how, "size": size, "stride": stride, "padding": config.get("padding", "valid")}
        )

    return make


def _whole(kind: str) -> Callable[[Mapping[str, Any], Weights], Layer]:
    def make(config: Mapping[str, Any], weights: Weights) -> Layer:
        _only(config, "data_format", ("channels_last", None))
        _only(config, "keepdims", (False,))
        return Layer("", kind, ())

    return make


def _normalise(config: Mapping[str, Any], weights: Weights) -> Layer:
    _only(config, "renorm", (False,))
    own = [name for name, option in (("gamma", "scale"), ("beta", "center")) if config.get(option, True)]
    w = _named(weights, (*own, "moving_mean", "moving_variance"))
    scale = w.get("gamma", 1.0) / np.sqrt(w["moving_variance"] + config.get("epsilon", 1e-3))
    return Layer(
        "", "scale", (), _axis(config), {"scale": scale, "shift": w.get("beta", 0.0) - w["moving_mean"] * scale}
    )


def _layer_normalise(config: Mapping[str, Any], weights: Weights) -> Layer:
    axis = np.atleast_1d(config.get("axis", -1))
    if len(axis) > 1:
        raise _Refused(f"works along axis={axis.tolist()}, but must be along channels alone (-1). {REMEDY}")
    _only(config, "rms_scaling", (False,))
    own = [name for name, option in (("gamma", "scale"), ("beta", "center")) if config.get(option, True)]
    w = _named(weights, own)
    scale, shift, least = w.get("gamma", 1.0), w.get("beta", 0.0), config.get("epsilon", 1e-3)

    def normalised(x: Array) -> Array:
        spread = np.sqrt(x.var(-1, keepdims=True) + least)
        return np.asarray((x - x.mean(-1, keepdims=True)) / spread * scale + shift)

    return Layer("", "activation", (), {"activation": normalised, **_axis(config)})


def _axis(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a layer along an axis; whether that is of channels depends on what it gets."""
    return {"axis": int(np.atleast_1d(config.get("axis", -1))[0]), "unit": config["unit"]}


def _activation(config: Mapping[str, Any], weights: Weights) -> Layer:
    return Layer("", "activation", (), {"activation": _function(config)})


def _relu(config: Mapping[str, Any], weights: Weights) -> Layer:
    top, slope, low = (config.get(name) for name in ("max_value", "negative_slope", "threshold"))
    slope, low = float(slope or 0), float(low or 0)
    top = np.inf if top is None else float(top)
    return Layer(
        "", "activation", (), {"activation": lambda x: np.minimum(np.where(x >= low, x, slope * (x - low)), top)}
    )


def _leaky(config: Mapping[str, Any], weights: Weights) -> Layer:
    slope = float(config.get("negative_slope", config.get("alpha", 0.3)))
    return Layer("", "activation", (), {"activation": lambda x: np.where(x >= 0, x, slope * x)})


def _elu(config: Mapping[str, Any], weights: Weights) -> Layer:
    alpha = float(config.get("alpha", 1.0))
    return Layer("", "activation", (), {"activation": lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))})


def _softmax(config: Mapping[str, Any], weights: Weights) -> Layer:
    return Layer("", "activation", (), {"activation": "softmax", **_axis(config)})


def _combine(how: str) -> Callable[[Mapping[str, Any], Weights], Layer]:
    return lambda config, weights: Layer("", "combine", (), {"how": how})


def _concatenate(config: Mapping[str, Any], weights: Weights) -> Layer:
    return Layer("", "concatenate", (), _axis(config))


def _crop(sign: int, option: str) -> Callable[[Mapping[str, Any], Weights], Layer]:
    def make(config: Mapping[str, Any], weights: Weights) -> Layer:
        left, right = np.broadcast_to(config[option], 2)
        return Layer("", "crop", (), {"cropping": (sign * int(left), sign * int(right))})

    return make


def _spline_weight(config: Mapping[str, Any], weights: Weights) -> Layer:
    """Factors of positions, 1 + a spline (mmsplice, after mgcv's knots); how many there are follows from the input."""
    w = _named(weights, ("kernel", "bias"))
    return Layer("", "position_weight", (), {
        "bases": config.get("n_bases", len(w["kernel"])), "degree": config.get("spline_degree", 3),
    }, {"kernel": w["kernel"], "bias": w.get("bias", np.zeros(1))})  # fmt: skip


KINDS: Mapping[str, Callable[[Mapping[str, Any], Weights], Layer]] = {
    "Conv1D": _conv,
    "Conv2D": _conv,
    "ConvDNA": _conv,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv1D": _separable,
    "SeparableConvolution1D": _separable,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "MaxPooling1D": _pool("max"),
    "AveragePooling1D": _pool("mean"),
    "MaxPooling2D": _pool("max"),
    "AveragePooling2D": _pool("mean"),
    "GlobalAveragePooling1D": _whole("global_mean"),
    "GlobalAveragePooling2D": _whole("global_mean"),
    "GlobalMaxPooling1D": _whole("global_max"),
    "GlobalMaxPooling2D": _whole("global_max"),
    "GlobalAveragePooling1D_Mask0": _whole("masked_mean"),
    "Flatten": _whole("flatten"),
    "BatchNormalization": _normalise,
    "SyncBatchNormalization": _normalise,
    "LayerNormalization": _layer_normalise,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky,
    "ELU": _elu,
    "Softmax": _softmax,
    "Add": _combine("add"),
    "Average": _combine("average"),
    "Multiply": _combine("multiply"),
    "Maximum": _combine("maximum"),
    "Minimum": _combine("minimum"),
    "Subtract": _combine("subtract"),
    "Concatenate": _concatenate,
    "Cropping1D": _crop(1, "cropping"),
    "ZeroPadding1D": _crop(-1, "padding"),
    "SplineWeight1D": _spline_weight,
}
