"""Small files of public sequence models, in their layouts, with random weights; and networks computed by loops."""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.models.mendelian_randomization.deep_mr import mutagenise, one_hot

Tensors = dict[str, Array]


def some(rng: np.random.Generator, N: int, L: int) -> Array:
    return one_hot(["".join(rng.choice(list("ACGT"), L)) for _ in range(N)])


def check_mutants(net: Any, x: Array, start: int, stop: int) -> None:
    """The fast way gives what predicting every mutant gives."""
    fast = mutagenise(net, x[:1], start=start, stop=stop)
    slow = mutagenise(lambda batch: net(batch), x[:1], start=start, stop=stop)
    np.testing.assert_allclose(fast.reference, slow.reference, rtol=0, atol=1e-12)
    np.testing.assert_allclose(fast.delta, slow.delta, rtol=0, atol=1e-12)
    assert np.abs(slow.delta).max() > 1e-4


# Networks by loops, channels first


def conv(x: Array, weight: Array, bias: Array, *, padding: int = 0, dilation: int = 1) -> Array:
    """Convolve (C, n) with (F, C, k)."""
    x = np.pad(x, ((0, 0), (padding, padding)))
    k = weight.shape[2]
    n = x.shape[1] - (k - 1) * dilation
    out = np.zeros((len(weight), n))
    for p in range(n):
        for t in range(k):
            out[:, p] += weight[:, :, t] @ x[:, p + t * dilation]
    return out + bias[:, None]


def pool(x: Array, size: int) -> Array:
    """Maxima of (C, n) over windows one after the other."""
    return np.stack([x[:, low : low + size].max(1) for low in range(0, x.shape[1] - size + 1, size)], 1)


def relu(x: Array) -> Array:
    """Rectify."""
    return np.maximum(x, 0)


def sigmoid(x: Array) -> Array:
    """Map to probabilities."""
    return np.asarray(1 / (1 + np.exp(-x)))


# Files of PyTorch, by a pickler that knows its format


class _Named:
    """A name that a pickle calls or refers to."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Tensor:
    def __init__(self, key: str, kind: str, value: Array) -> None:
        self.key, self.kind, self.value = key, kind, value


KINDS = {"f4": "FloatStorage", "f8": "DoubleStorage", "i8": "LongStorage", "f2": "HalfStorage"}


BASE: Any = vars(pickle)["_Pickler"]  # the one in Python, which can be told what to write


class _Pickler(BASE):  # type: ignore[misc]
    """Writes tensors as torch.save does: _rebuild_tensor_v2 of a storage that is named, not held."""

    def __init__(self, stream: Any, older: bool) -> None:
        super().__init__(stream, 2)
        self.older = older

    def name(self, module: str, name: str) -> None:
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Named):
            self.name(obj.module, obj.name)
        elif isinstance(obj, _Tensor):
            self.tensor(obj)
        else:
            super().save(obj, save_persistent_id)

    def tensor(self, obj: _Tensor) -> None:
        shape = obj.value.shape
        strides = tuple(int(np.prod(shape[i + 1 :], dtype=int)) for i in range(len(shape)))
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.write(pickle.MARK)
        storage = (
            "storage",
            _Named("torch", obj.kind),
            obj.key,
            "cpu",
            obj.value.size,
            *([None] if self.older else []),
        )
        super().save(storage)
        self.write(pickle.BINPERSID)
        rest: tuple[Any, ...] = (0, shape, strides, False, OrderedDict())
        for value in rest:
            super().save(value)
        self.write(pickle.TUPLE + pickle.REDUCE)


def torch_file(path: Path, tensors: Tensors, *, older: bool = False, wrap: str = "") -> Path:
    """Write a state dict as torch.save does, in single precision."""
    stored: OrderedDict[str, _Tensor] = OrderedDict()
    for i, (name, value) in enumerate(tensors.items()):
        kind = "i8" if value.dtype.kind == "i" else "f4"
        stored[name] = _Tensor(str(i), KINDS[kind], np.ascontiguousarray(value, dtype=f"<{kind}"))
    stream = io.BytesIO()
    _Pickler(stream, older).dump({wrap: stored, "epoch": 3} if wrap else stored)
    if older:
        with path.open("wb") as file:
            for head in (
                0x1950A86A20F9469CFC6C,
                1001,
                {"protocol_version": 1001, "little_endian": True, "type_sizes": {}},
            ):
                pickle.dump(head, file, 2)
            file.write(stream.getvalue())
            pickle.dump([one.key for one in stored.values()], file, 2)
            for one in stored.values():
                file.write(struct.pack("<q", one.value.size) + one.value.tobytes())
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", "little")
        for one in stored.values():
            archive.writestr(f"archive/data/{one.key}", one.value.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def weights(rng: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """Random tensors that float32 holds exactly: a weight and a bias of each name."""
    found = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
        found[f"{name}.bias"] = rng.normal(0, 0.3, shape[0])
    return {name: value.astype(np.float32).astype(float) for name, value in found.items()}


# Files of Keras


def layer(kind: str, name: str, *before: str, **config: Any) -> dict[str, Any]:
    """A layer of a functional model of Keras 2."""
    nodes = [[[one.partition("#")[0], 0, int(one.partition("#")[2] or 0), {}] for one in before]] if before else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def model(name: str, layers: list[dict[str, Any]], inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    """A functional model."""
    ends = {"input_layers": [[one, 0, 0] for one in inputs], "output_layers": [[one, 0, 0] for one in outputs]}
    return {"class_name": "Functional", "config": {"name": name, "layers": layers, **ends}}


def keras_h5(path: Path, config: dict[str, Any], groups: dict[str, dict[str, Array]]) -> Path:
    """Write a model; groups: top layer -> path in its group -> weight."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.6.0"
        for top, own in groups.items():
            for name, value in own.items():
                file[f"model_weights/{top}/{name}:0"] = value.astype(np.float32)
    return path


def bpnet_layers(prefix: str, n: int, length: int, profile: int, names: Any) -> list[dict[str, Any]]:
    """Layers of BPNet as chrombpnet has them: n dilated convolutions without padding."""
    found = [layer("InputLayer", "sequence", batch_input_shape=[None, length, 4])]
    plain = {"strides": [1], "padding": "valid", "groups": 1, "data_format": "channels_last"}
    found.append(layer("Conv1D", names(0), "sequence", activation="relu", dilation_rate=[1], **plain))
    end = names(0)
    for i in range(1, n + 1):
        found.append(layer("Conv1D", names(i), end, activation="relu", dilation_rate=[2**i], **plain))
        found.append(layer("Cropping1D", f"{prefix}{i}crop", end, cropping=[2**i, 2**i]))
        found.append(layer("Add", f"{prefix}add_{i}", names(i), f"{prefix}{i}crop"))
        end = f"{prefix}add_{i}"
    found.append(layer("Conv1D", f"{prefix}profile", end, activation="linear", dilation_rate=[1], **plain))
    found.append(layer("Flatten", f"{prefix}logits_profile_predictions", f"{prefix}profile"))
    found.append(layer("GlobalAveragePooling1D", "gap", end, data_format="channels_last"))
    found.append(layer("Dense", f"{prefix}logcount_predictions", "gap", activation="linear"))
    return found


def bpnet(w: Tensors, x: Array, n: int) -> tuple[Array, Array]:
    """BPNet by loops, (C, L) to the log count and the profile; tensors by bpnet-lite's names."""
    x = relu(conv(x, w["iconv.weight"], w["iconv.bias"]))
    for i in range(n):
        d = 2 ** (i + 1)
        x = x[:, d:-d] + relu(conv(x, w[f"rconvs.{i}.weight"], w[f"rconvs.{i}.bias"], dilation=d))
    F = len(x)
    profile = conv(x, w["fconv.weight"][:, :F], w["fconv.bias"])
    return w["linear.weight"][:, :F] @ x.mean(1) + w["linear.bias"], profile


def bpnet_weights(rng: np.random.Generator, filters: int, n: int, controls: int = 0) -> Tensors:
    """Tensors of BPNet."""
    shapes: dict[str, tuple[int, ...]] = {
        "iconv": (filters, 4, 21),
        **{f"rconvs.{i}": (filters, filters, 3) for i in range(n)},
    }
    shapes |= {"fconv": (1, filters + controls, 15), "linear": (1, filters + (controls > 0))}
    return weights(rng, shapes)
