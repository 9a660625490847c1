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


def translated(kind: str, config: Mapping[str, Any], weights: Weights) -> Layer | Strange:
    """Return a layer without a name, or say why there is none.

    Parameters
    ----------
    kind : str
        Its class.
    config : mapping
    weights : mapping
        By their names, or, in files of Keras 3, by their numbers.
    """
    if kind in SAME:
        return Layer("", "same", ())
    if kind not in KINDS:
        why = WHY.get(kind, "")
        return Strange(f"is a {kind}, which is not understood{why}; understood are {', '.join([*KINDS, *SAME])}.")
    try:
        return KINDS[kind](config, weights)
    except _Refused as error:
        return Strange(f"{error}")
    except (KeyError, IndexError) as error:
        return Strange(f"has no weights or option {error} in the file. Save the whole model again.")


SAME = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization",
)  # fmt: skip
"""Layers that do nothing where a network predicts."""

WHY = {
    "Lambda": " (it is code of its author's, which is not run): take the output of a layer before it",
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
    """Weights by their names, where a file of Keras 3 numbers them."""
    if all(key.isdigit() for key in weights):
        return dict(zip(names, (weights[key] for key in sorted(weights, key=int)), strict=False))
    return dict(weights)


def _one(value: Any) -> int:
    """Return the number of a dim of sequences: of (1, n) and of (n, 1) it is n."""
    many = [int(v) for v in np.atleast_1d(value)]
    if len(many) > 1 and max(many) > 1 and min(many) > 1:
        raise _Refused(f"has a window of {tuple(many)}, but must be 1 in one dim: sequences have one. Use Conv1D.")
    return max(many)


def _conv(config: Mapping[str, Any], weights: Weights) -> Layer:
    _only(config, "padding", ("valid", "same", "causal"))
    _only(config, "groups", (1,))
    _only(config, "data_format", ("channels_last", None))
    w = _named(weights, ("kernel", "bias"))
    kernel = w["kernel"]
    if kernel.ndim == 4:
        unit = next((axis for axis in (0, 1) if kernel.shape[axis] == 1), None)
        if unit is None:
            raise _Refused(f"has a window of {kernel.shape[:2]}, but must be 1 in one dim: sequences have one.")
        kernel = kernel.squeeze(unit)
    options = {
        "stride": _one(config.get("strides", 1)),
        "dilation": _one(config.get("dilation_rate", 1)),
        "padding": config.get("padding", "valid"),
        "activation": _function(config),
    }
    bias = {"bias": w["bias"]} if config.get("use_bias", True) and "bias" in w else {}
    return Layer("", "conv", (), options, {"kernel": kernel, **bias})


def _dense(config: Mapping[str, Any], weights: Weights) -> Layer:
    w = _named(weights, ("kernel", "bias"))
    bias = {"bias": w["bias"]} if config.get("use_bias", True) and "bias" in w else {}
    return Layer("", "dense", (), {"activation": _function(config)}, {"kernel": w["kernel"], **bias})


def _pool(how: str) -> Callable[[Mapping[str, Any], Weights], Layer]:
    def make(config: Mapping[str, Any], weights: Weights) -> Layer:
        _only(config, "padding", ("valid", "same"))
        _only(config, "data_format", ("channels_last", None))
        size = _one(config.get("pool_size", config.get("pool_length", 2)))
        stride = _one(config.get("strides") or size)
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
    _only(config, "axis", (-1, 2, 1, 3, [-1], [2], [1], [3]))
    _only(config, "renorm", (False,))
    own = [name for name, option in (("gamma", "scale"), ("beta", "center")) if config.get(option, True)]
    w = _named(weights, (*own, "moving_mean", "moving_variance"))
    scale = w.get("gamma", 1.0) / np.sqrt(w["moving_variance"] + config.get("epsilon", 1e-3))
    axis = int(np.atleast_1d(config.get("axis", -1))[0])
    return Layer(
        "", "scale", (), {"axis": axis}, {"scale": scale, "shift": w.get("beta", 0.0) - w["moving_mean"] * scale}
    )


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
    _only(config, "alpha", (1.0,))
    return Layer("", "activation", (), {"activation": "elu"})


def _softmax(config: Mapping[str, Any], weights: Weights) -> Layer:
    _only(config, "axis", (-1, [-1]))
    return Layer("", "activation", (), {"activation": "softmax"})


def _combine(how: str) -> Callable[[Mapping[str, Any], Weights], Layer]:
    return lambda config, weights: Layer("", "combine", (), {"how": how})


def _concatenate(config: Mapping[str, Any], weights: Weights) -> Layer:
    _only(config, "axis", (-1, 2, -2, 1))
    return Layer("", "concatenate", (), {"axis": config.get("axis", -1)})


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
