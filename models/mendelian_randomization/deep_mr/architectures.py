"""Networks whose files hold weights alone: which tensors belong to which architecture, and how its layers follow.

A state dict of PyTorch has no graph. Those of a few public models are told by the names and shapes of their tensors:
DeepSEA (Zhou and Troyanskaya 2015, as in Kipoi and in Selene, and Selene's DeeperDeepSEA), Beluga (Zhou et al. 2018),
Sei (Chen et al. 2022), and BPNet and ChromBPNet in PyTorch (bpnet-lite, chrombpnet-pytorch). Theirs is the order of the
bases. A tensor that an architecture does not have is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .layers import Layer, spline_basis
from .network import Network
from .tensors import read_tensors

Tensors = Mapping[str, Array]
AGCT = [0, 2, 1, 3]
"""Order of the bases in the first DeepSEA and in Beluga."""


@dataclass(frozen=True)
class Architecture:
    """How to tell an architecture, and its network.

    Attributes
    ----------
    first, last : str
        Names of tensors that it has, after what all names begin with.
    build : callable
        ``build(tensors, **options)``: its layers, outputs by their names (the first is the usual one), and the length
        of its sequences where that is given.
    """

    first: str
    last: str
    build: Callable[..., tuple[list[Layer], list[str], int | None]]


class _Stack:
    """Layers one after the other."""

    def __init__(self, tensors: Tensors, order: list[int] | None = None) -> None:
        self.tensors = tensors
        self.layers = [Layer("sequence", "input", (), {} if order is None else {"order": order})]

    @property
    def end(self) -> str:
        """The last layer."""
        return self.layers[-1].name

    def add(self, name: str, kind: str, *inputs: str, weights: Tensors | None = None, **options: Any) -> str:
        """Add a layer, of the last one's output unless told otherwise."""
        self.layers.append(Layer(name, kind, inputs or (self.end,), options, weights or {}))
        return name

    def conv(self, name: str, *inputs: str, **options: Any) -> str:
        """Add a convolution by its tensors, (F, C, k) or (F, C, 1, k)."""
        w = self.tensors[f"{name}.weight"]
        kernel = w.reshape(*w.shape[:2], -1).transpose(2, 1, 0)
        return self.add(name, "conv", *inputs, weights=self.biased(name, kernel), **{"padding": "valid", **options})

    def dense(self, name: str, *inputs: str, **options: Any) -> str:
        """Add a dense layer by its tensors, (U, F)."""
        return self.add(name, "dense", *inputs, weights=self.biased(name, self.tensors[f"{name}.weight"].T), **options)

    def flat_dense(self, name: str, channels: int, **options: Any) -> str:
        """Add a dense layer on a flattened map, channels first, (U, C n)."""
        self.add(f"{name}.flat", "flatten")
        w = self.tensors[f"{name}.weight"]
        kernel = w.reshape(len(w), channels, -1).transpose(2, 1, 0).reshape(-1, len(w))
        return self.add(name, "dense", weights=self.biased(name, kernel), **options)

    def normalised(self, name: str) -> str:
        """Add batch normalisation by its tensors."""
        weight, bias, mean, variance = (
            self.tensors[f"{name}.{one}"] for one in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(variance + 1e-5)
        return self.add(name, "scale", weights={"scale": scale, "shift": bias - mean * scale})

    def pool(self, name: str, size: int) -> str:
        """Add maxima over windows one after the other."""
        return self.add(name, "pool", how="max", size=size, stride=size, padding="valid")

    def biased(self, name: str, kernel: Array) -> dict[str, Array]:
        """Return a kernel with the bias of its name, if there is one."""
        bias = self.tensors.get(f"{name}.bias")
        return {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}


Built = tuple[list[Layer], list[str], int | None]


def _deepsea(tensors: Tensors) -> Built:
    """DeepSEA of Kipoi: three convolutions by Threshold(0, 1e-6)."""
    stack = _Stack(tensors, AGCT)
    for at in (0, 4, 8):
        stack.conv(f"{at}", activation="threshold")
        if at < 8:
            stack.pool(f"{at}.pool", 4)
    stack.flat_dense("12.1", tensors["8.weight"].shape[0], activation="threshold")
    stack.dense("14.1")
    stack.add("output", "activation", activation="sigmoid")
    return stack.layers, ["output", "14.1"], None


def _selene(tensors: Tensors) -> Built:
    """DeepSEA of Selene."""
    stack = _Stack(tensors)
    for at in (0, 4, 8):
        stack.conv(f"conv_net.{at}", activation="relu")
        if at < 8:
            stack.pool(f"{at}.pool", 4)
    stack.flat_dense("classifier.0", tensors["conv_net.8.weight"].shape[0], activation="relu")
    stack.dense("classifier.2")
    stack.add("output", "activation", activation="sigmoid")
    return stack.layers, ["output", "classifier.2"], None


def _deeper(tensors: Tensors) -> Built:
    """DeeperDeepSEA, Selene's example: two convolutions a pool, batch normalisation."""
    stack = _Stack(tensors)
    for at in (0, 2, 6, 8, 13, 15):
        stack.conv(f"conv_net.{at}", activation="relu")
        if at in (2, 8):
            stack.pool(f"conv_net.{at}.pool", 4)
        if at in (2, 8, 15):
            stack.normalised(f"conv_net.{at + (2 if at == 15 else 3)}")
    stack.flat_dense("classifier.0", tensors["conv_net.15.weight"].shape[0], activation="relu")
    stack.normalised("classifier.2")
    stack.dense("classifier.3")
    stack.add("output", "activation", activation="sigmoid")
    return stack.layers, ["output", "classifier.3"], None


def _beluga(tensors: Tensors) -> Built:
    stack = _Stack(tensors, AGCT)
    for at in (0, 2, 6, 8, 12, 14):
        stack.conv(f"0.{at}", activation="relu")
        if at in (2, 8):
            stack.pool(f"0.{at}.pool", 4)
    stack.flat_dense("1.2.1", tensors["0.14.weight"].shape[0], activation="relu")
    stack.dense("1.4.1")
    stack.add("output", "activation", activation="sigmoid")
    return stack.layers, ["output", "1.4.1"], None


def _sei(tensors: Tensors) -> Built:
    stack = _Stack(tensors)

    def conv(name: str, *inputs: str, **options: Any) -> str:
        reach = (tensors[f"{name}.weight"].shape[2] - 1) * options.get("dilation", 1)
        return stack.conv(name, *inputs, padding=(reach // 2, reach // 2), **options)

    previous = ""
    for block, first in ((1, 0), (2, 2), (3, 2)):
        if previous:
            stack.pool(f"pool{block}", 4)
        conv(f"lconv{block}.{first}")
        linear = conv(f"lconv{block}.{first + 1}")
        ahead = 0 if block == 1 else 1
        conv(f"conv{block}.{ahead}", activation="relu")
        previous = conv(f"conv{block}.{ahead + 2}", activation="relu")
        stack.add(f"sum{block}", "combine", previous, linear, how="add")
    whole = previous
    for i, dilation in enumerate((2, 4, 8, 16, 25), 1):
        wide = conv(f"dconv{i}.1", dilation=dilation, activation="relu")
        whole = stack.add(f"cat{i}", "combine", whole, wide, how="add")
    channels = tensors["dconv5.1.weight"].shape[0]
    df = tensors["classifier.0.weight"].shape[1] // channels
    n = 4096 // 16
    inner = np.percentile(np.arange(n), 100 * np.linspace(0, 1, df - 4 + 2)[1:-1])
    knots = np.concatenate([np.zeros(4), inner, np.full(4, n - 1.0)])
    stack.add("spline", "position_basis", weights={"basis": spline_basis(np.arange(n), knots)})
    w = tensors["classifier.0.weight"].reshape(-1, channels, df).transpose(2, 1, 0).reshape(df * channels, -1)
    stack.add("classifier.0", "dense", weights=stack.biased("classifier.0", w), activation="relu")
    stack.dense("classifier.2")
    stack.add("output", "activation", activation="sigmoid")
    return stack.layers, ["output", "classifier.2"], 4096


def _bpnet(tensors: Tensors, trimming: int | None = None, preactivation: bool = False) -> Built:
    """BPNet of bpnet-lite and chrombpnet-pytorch: counts and profile, control tracks at zero.

    Its tensors do not tell where the rectifiers stand: after each convolution, or, with ``preactivation`` (bpnet-lite's
    BasePairNet), before the dilated ones.
    """
    stack = _Stack(tensors)
    many = sum(name.startswith("rconvs.") and name.endswith(".weight") for name in tensors)
    if preactivation and trimming is None:
        trimming = 2**many
    padded = trimming is not None
    after = "linear" if preactivation else "relu"

    def conv(name: str, *inputs: str, dilation: int = 1) -> str:
        reach = (tensors[f"{name}.weight"].shape[2] - 1) * dilation
        padding = (reach // 2, reach // 2) if padded else "valid"
        return stack.conv(name, *inputs, padding=padding, dilation=dilation, activation=after)

    end = conv("iconv")
    for i in range(many):
        ahead = stack.add(f"relu{i}", "activation", end, activation="relu") if preactivation else end
        wide = conv(f"rconvs.{i}", ahead, dilation=2 ** (i + 1))
        if not padded:
            end = stack.add(f"crop{i}", "crop", end, cropping=(2 ** (i + 1), 2 ** (i + 1)))
        end = stack.add(f"sum{i}", "combine", end, wide, how="add")
    if preactivation:
        end = stack.add("relu", "activation", end, activation="relu")
    filters, profile, counts = tensors["rconvs.0.weight"].shape[0], tensors["fconv.weight"], tensors["linear.weight"]
    side = profile.shape[2] // 2
    extra = {"fconv.weight": profile[:, :filters], "linear.weight": counts[:, :filters]}
    if preactivation and counts.shape[1] > filters:  # there the control's logarithm is of its sum and 2
        extra["linear.bias"] = tensors.get("linear.bias", 0.0) + counts[:, filters:].sum(1) * np.log(2)
    stack.tensors = {**tensors, **extra}  # control tracks, the channels after the filters, are zero
    stack.conv("fconv", end, padding=(side, side) if padded else "valid")
    edge = trimming or 0
    stack.add("profile", "crop", cropping=(edge, edge))
    inner = max(edge - side, 0)
    stack.add("core", "crop", end, cropping=(inner, inner) if padded else (0, 0))
    stack.add("mean", "global_mean")
    stack.dense("linear")
    return stack.layers, ["linear", "profile"], None


ARCHITECTURES: Mapping[str, Architecture] = {
    "DeepSEA (Kipoi)": Architecture("0.weight", "14.1.weight", _deepsea),
    "DeepSEA (Selene)": Architecture("conv_net.4.weight", "classifier.2.weight", _selene),
    "DeeperDeepSEA": Architecture("conv_net.15.weight", "classifier.3.weight", _deeper),
    "Beluga": Architecture("0.14.weight", "1.4.1.weight", _beluga),
    "Sei": Architecture("lconv1.0.weight", "dconv5.1.weight", _sei),
    "BPNet (PyTorch)": Architecture("iconv.weight", "linear.weight", _bpnet),
}


def torch_network(path: str | Path, output: str | None = None, **options: Any) -> Network:
    """Read the weights of a known architecture from a file of PyTorch.

    Parameters
    ----------
    path : path
    output : str, optional
        A layer of the network; default: its usual output (probabilities; of BPNet the log counts ``linear``,
        whose other output is ``profile``).
    **options
        ``trimming`` of BPNet: positions that it cuts off both ends, where it is another than the network's reach;
        ``preactivation=True`` where its rectifiers stand before the dilated convolutions (bpnet-lite's BasePairNet):
        the weights do not tell.

    Raises
    ------
    InputError
        If the tensors are those of no known architecture, or the architecture has no such option.
    """
    path = Path(path)
    tensors = read_tensors(path)
    for label, architecture in ARCHITECTURES.items():
        for start in _starts(tensors, architecture.first):
            own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
            if architecture.last in own:
                return _built(path, label, architecture, own, output, options)
    some = ", ".join(f"{name} {tuple(value.shape)}" for name, value in list(tensors.items())[:4])
    raise InputError(
        f"{path}: these weights ({some} ...) are of no architecture that is known without its program; known are "
        f"{', '.join(ARCHITECTURES)}. Export the network to ONNX, or give deep_mr a callable."
    )


def _starts(tensors: Tensors, first: str) -> list[str]:
    """Return what may stand before an architecture's names: the fewest parts first, a bias model last."""
    found = [name[: -len(first)] for name in tensors if name == first or name.endswith("." + first)]
    return sorted(found, key=lambda start: ("bias" in start.split("."), start.count("."), start))


def _built(
    path: Path, label: str, architecture: Architecture, own: Tensors, output: str | None, options: Any
) -> Network:
    try:
        layers, outputs, length = architecture.build(own, **options)
    except KeyError as error:
        raise InputError(f"{path}: the weights have no tensor {error}, which their architecture needs.") from error
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: the tensors do not fit their architecture ({error}). Give the published file."
        ) from error
    names = [layer.name for layer in layers]
    spare = next((one for one in own if one.rpartition(".")[0] not in names), None)
    if spare is not None:
        raise InputError(
            f"{path}: the weights look like those of {label}, but have a tensor {spare!r} besides. Export the "
            "network to ONNX, or give deep_mr a callable."
        )
    if output is not None and output not in names:
        raise InputError(f"{path}: there is no layer {output!r}; the network's outputs are {', '.join(outputs)}.")
    return Network(str(path), layers, output or outputs[0], length)
