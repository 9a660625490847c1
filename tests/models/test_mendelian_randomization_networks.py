"""Networks in files of PyTorch and ONNX, against loops; what is refused; deep_mr from files to files."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import network_files as nf
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.mendelian_randomization.deep_mr import load_network, mutagenise
from genarium.models.mendelian_randomization.deep_mr.tensors import read_tensors


def floor(x: Array) -> Array:
    return np.where(x > 0, x, 1e-6)


def deepsea_kipoi(w: dict[str, Array], x: Array) -> Array:
    """DeepSEA by loops: bases AGCT, Threshold(0, 1e-6)."""
    x = x[[0, 2, 1, 3]]
    for at in (0, 4, 8):
        x = floor(nf.conv(x, w[f"{at}.weight"][:, :, 0], w[f"{at}.bias"]))
        x = nf.pool(x, 4) if at < 8 else x
    x = floor(w["12.1.weight"] @ x.ravel() + w["12.1.bias"])
    return np.asarray(nf.sigmoid(w["14.1.weight"] @ x + w["14.1.bias"]))


def deepsea_selene(w: dict[str, Array], x: Array) -> Array:
    for at in (0, 4, 8):
        x = nf.relu(nf.conv(x, w[f"conv_net.{at}.weight"], w[f"conv_net.{at}.bias"]))
        x = nf.pool(x, 4) if at < 8 else x
    x = nf.relu(w["classifier.0.weight"] @ x.ravel() + w["classifier.0.bias"])
    return np.asarray(nf.sigmoid(w["classifier.2.weight"] @ x + w["classifier.2.bias"]))


def beluga(w: dict[str, Array], x: Array) -> Array:
    x = x[[0, 2, 1, 3]]
    for at in (0, 2, 6, 8, 12, 14):
        x = nf.relu(nf.conv(x, w[f"0.{at}.weight"][:, :, 0], w[f"0.{at}.bias"]))
        x = nf.pool(x, 4) if at in (2, 8) else x
    x = nf.relu(w["1.2.1.weight"] @ x.ravel() + w["1.2.1.bias"])
    return np.asarray(nf.sigmoid(w["1.4.1.weight"] @ x + w["1.4.1.bias"]))


LAYOUTS = {
    "kipoi": (deepsea_kipoi, "2.", 260, {
        "0": (5, 4, 1, 8), "4": (4, 5, 1, 8), "8": (3, 4, 1, 8), "12.1": (6, 3 * 7), "14.1": (2, 6)}),
    "selene": (deepsea_selene, "", 260, {
        "conv_net.0": (5, 4, 8), "conv_net.4": (4, 5, 8), "conv_net.8": (3, 4, 8), "classifier.0": (6, 3 * 7),
        "classifier.2": (2, 6)}),
    "beluga": (beluga, "model.", 348, {
        "0.0": (5, 4, 1, 8), "0.2": (4, 5, 1, 8), "0.6": (4, 4, 1, 8), "0.8": (3, 4, 1, 8), "0.12": (3, 3, 1, 8),
        "0.14": (2, 3, 1, 8), "1.2.1": (6, 2 * 3), "1.4.1": (3, 6)}),
}  # fmt: skip


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_state_dicts_of_deepsea_and_beluga(tmp_path: Path, name: str, older: bool) -> None:
    rng = np.random.default_rng(6)
    by_loops, prefix, L, shapes = LAYOUTS[name]
    w = nf.weights(rng, shapes)
    path = nf.torch_file(tmp_path / "net.pth", {prefix + key: value for key, value in w.items()}, older=older)
    net = load_network(path)
    x = nf.some(rng, 2, L)
    expected = np.array([by_loops(w, one) for one in x])
    np.testing.assert_allclose(net(x), expected, atol=1e-10)
    assert expected.std() > 0.01
    before = load_network(path, next(reversed(shapes)))  # log odds
    np.testing.assert_allclose(nf.sigmoid(before(x)), expected, atol=1e-10)
    nf.check_mutants(before, x, 100, 140)
    with pytest.raises(
        InputError, match=rf"there is no layer 'zz'; the network's outputs are output, {next(reversed(shapes))}"
    ):
        load_network(path, "zz")
    with pytest.raises(
        InputError, match=r"layer '.*' takes \d+ positions, but gets \d+\. Give sequences of the length"
    ):
        net(np.concatenate([x, x], 2))


def test_the_state_dict_of_deeper_deepsea(tmp_path: Path) -> None:
    rng = np.random.default_rng(14)
    shapes = {"0": (5, 4, 8), "2": (4, 5, 8), "6": (4, 4, 8), "8": (3, 4, 8), "13": (3, 3, 8), "15": (2, 3, 8)}
    w = nf.weights(rng, {f"conv_net.{at}": shape for at, shape in shapes.items()})
    w |= nf.weights(rng, {"classifier.0": (12, 2 * 3), "classifier.3": (2, 12)})
    w = {name: np.abs(value) if name.endswith("bias") else value for name, value in w.items()}  # no dead units
    for name, size in (("conv_net.5", 4), ("conv_net.11", 3), ("conv_net.17", 2), ("classifier.2", 12)):
        for one in ("weight", "bias", "running_mean", "running_var"):
            w[f"{name}.{one}"] = rng.uniform(0.5, 1.5, size).astype(np.float32).astype(float)
        w[f"{name}.num_batches_tracked"] = np.array(9)

    def normalised(v: Array, name: str) -> Array:
        weight, bias, mean, variance = (
            w[f"{name}.{one}"].reshape(-1, *[1] * (v.ndim - 1))
            for one in ("weight", "bias", "running_mean", "running_var")
        )
        return np.asarray((v - mean) / np.sqrt(variance + 1e-5) * weight + bias)

    path = nf.torch_file(tmp_path / "net.pth.tar", w, wrap="state_dict")
    net = load_network(path)
    x = nf.some(rng, 2, 348)
    for one, found in zip(x, net(x), strict=True):
        v = one
        for at in map(int, shapes):
            v = nf.relu(nf.conv(v, w[f"conv_net.{at}.weight"], w[f"conv_net.{at}.bias"]))
            v = nf.pool(v, 4) if at in (2, 8) else v
            v = normalised(v, f"conv_net.{at + (2 if at == 15 else 3)}") if at in (2, 8, 15) else v
        v = nf.relu(w["classifier.0.weight"] @ v.ravel() + w["classifier.0.bias"])
        v = w["classifier.3.weight"] @ normalised(v, "classifier.2") + w["classifier.3.bias"]
        np.testing.assert_allclose(found, nf.sigmoid(v), atol=1e-10)
    nf.check_mutants(load_network(path, "classifier.3"), x, 160, 190)
    nf.torch_file(path, {**w, "attention.weight": np.zeros((2, 2))})
    with pytest.raises(
        InputError, match=r"look like those of DeeperDeepSEA, but have a tensor 'attention\.weight' besides"
    ):
        load_network(path)


def sei(w: dict[str, Array], x: Array) -> Array:
    """Sei by loops; the spline's basis by the recursion of Cox and de Boor."""

    def conv(v: Array, name: str, padding: int = 4, dilation: int = 1) -> Array:
        weight = w[f"{name}.weight"]
        v = np.pad(v, ((0, 0), (padding, padding)))
        n = v.shape[1] - (weight.shape[2] - 1) * dilation
        out = sum(weight[:, :, t] @ v[:, t * dilation : t * dilation + n] for t in range(weight.shape[2]))
        return np.asarray(out + w[f"{name}.bias"][:, None])

    for block, first in ((1, 0), (2, 2), (3, 2)):
        x = nf.pool(x, 4) if block > 1 else x
        line = conv(conv(x, f"lconv{block}.{first}"), f"lconv{block}.{first + 1}")
        ahead = int(block > 1)
        out = nf.relu(conv(nf.relu(conv(line, f"conv{block}.{ahead}")), f"conv{block}.{ahead + 2}"))
        x = out + line
    whole = out
    for i, d in enumerate((2, 4, 8, 16, 25), 1):
        whole = whole + nf.relu(conv(x if i == 1 else whole, f"dconv{i}.1", 2 * d, d))
    n, df = whole.shape[1], 16
    inner = np.linspace(0, n - 1, df - 2)[1:-1]
    knots = np.r_[[0.0] * 4, inner, [n - 1.0] * 4]
    at = np.arange(n, dtype=float)
    basis = ((at[:, None] >= knots[:-1]) & (at[:, None] < knots[1:])).astype(float)
    basis[-1, np.flatnonzero(knots < n - 1)[-1]] = 1
    for k in range(1, 4):
        new = np.zeros((n, len(knots) - 1 - k))
        for i in range(new.shape[1]):
            for low, high, part, sign in ((knots[i], knots[i + k], i, 1), (knots[i + 1], knots[i + k + 1], i + 1, -1)):
                if high > low:
                    new[:, i] += ((at - low) if sign > 0 else (high - at)) / (high - low) * basis[:, part]
        basis = new
    x = nf.relu(w["classifier.0.weight"] @ (whole @ basis).ravel() + w["classifier.0.bias"])
    return np.asarray(nf.sigmoid(w["classifier.2.weight"] @ x + w["classifier.2.bias"]))


def test_the_state_dict_of_sei(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {}
    for block, first, before, own in ((1, 0, 4, 4), (2, 2, 4, 3), (3, 2, 3, 3)):
        shapes |= {f"lconv{block}.{first}": (own, before, 9), f"lconv{block}.{first + 1}": (own, own, 9)}
        ahead = int(block > 1)
        shapes |= {f"conv{block}.{ahead}": (own, own, 9), f"conv{block}.{ahead + 2}": (own, own, 9)}
    shapes |= {f"dconv{i}.1": (3, 3, 5) for i in range(1, 6)}
    shapes |= {"classifier.0": (5, 3 * 16), "classifier.2": (2, 5)}
    w = nf.weights(rng, shapes)
    path = nf.torch_file(tmp_path / "sei.pth", {f"module.model.{k}": v for k, v in w.items()}, wrap="state_dict")
    net = load_network(path)
    x = nf.some(rng, 1, 4096)
    np.testing.assert_allclose(net(x)[0], sei(w, x[0]), atol=1e-9)
    nf.check_mutants(load_network(path, "classifier.2"), x, 2000, 2003)
    with pytest.raises(InputError, match="takes sequences of 4096 bases, but they have 4000"):
        net(x[:, :, :4000])


@pytest.mark.parametrize("controls", [0, 2])
def test_state_dicts_of_bpnet(tmp_path: Path, controls: int) -> None:
    rng = np.random.default_rng(8)
    n, L = 3, 90
    own, bias = nf.bpnet_weights(rng, 4, n, controls), nf.bpnet_weights(rng, 3, 2)
    steps = {"model.rconvs.0.num_batches_tracked": np.array(7)}
    both = {f"bias.{k}": v for k, v in bias.items()} | {f"model.{k}": v for k, v in own.items()} | steps
    path = nf.torch_file(tmp_path / "chrombpnet.pt", both)
    net = load_network(path)
    x = nf.some(rng, 2, L)
    np.testing.assert_allclose(net(x), [nf.bpnet(own, one, n)[0] for one in x], atol=1e-10)
    nf.check_mutants(net, x, 30, 60)
    reach, side = 10 + 2 + 4 + 8, 7
    padded = load_network(path, trimming=reach + side)  # as bpnet-lite trims: the same, from padded convolutions
    np.testing.assert_allclose(padded(x), net(x), atol=1e-10)
    profile = load_network(path, "profile", positions=range(L - 2 * reach - 2 * side))
    np.testing.assert_allclose(profile(x), [nf.bpnet(own, one, n)[1][0] for one in x], atol=1e-10)
    nf.check_mutants(profile, x, 0, 90)
    wide = load_network(path, trimming=reach + side + 5)
    assert np.abs(wide(x) - net(x)).max() > 1e-4
    early = load_network(path, preactivation=True)  # BasePairNet: 2^n cut off, controls as log(0 + 2)
    for one, found in zip(x, early(x), strict=True):
        v = nf.conv(one, own["iconv.weight"], own["iconv.bias"], padding=10)
        for i in range(n):
            d = 2 ** (i + 1)
            v = v + nf.conv(nf.relu(v), own[f"rconvs.{i}.weight"], own[f"rconvs.{i}.bias"], padding=d, dilation=d)
        inner = nf.relu(v)[:, 1:-1].mean(1)  # 2^3 - 7 cut off
        inner = np.append(inner, np.log(2)) if controls else inner
        np.testing.assert_allclose(found, own["linear.weight"] @ inner + own["linear.bias"], atol=1e-10)
    nf.check_mutants(early, x, 0, 90)
    with pytest.raises(InputError, match=r"the tensors do not fit their architecture .*unexpected keyword"):
        load_network(path, padding=3)


class Evil:
    def __init__(self, call: Any, *given: Any) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> Any:
        return self.call, self.given


def test_nothing_in_a_file_of_pytorch_is_run(tmp_path: Path) -> None:
    import os
    import subprocess

    mark = tmp_path / "was_run"
    path = tmp_path / "evil.pth"
    evil: list[Any] = [
        Evil(os.system, f"touch {mark}"),
        Evil(eval, f"open({str(mark)!r}, 'w')"),
        Evil(subprocess.Popen, ["touch", str(mark)]),
        Evil(Path.touch, mark),
        Evil(getattr, "x", "upper"),
    ]
    for one in evil:
        raw = pickle.dumps({"w": one}, 2)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", raw)
        with pytest.raises(
            InputError, match=r"evil\.pth: the file names \S+, which would have to be run; read are tensors"
        ):
            load_network(path)
        path.write_bytes(raw)
        with pytest.raises(InputError, match="which would have to be run"):
            load_network(path)
    assert not mark.exists()
    changed = b"\x80\x02ctorch._utils\n_rebuild_parameter\nNN}X\x01\x00\x00\x00aNs\x86b."  # a state given to a function
    path.write_bytes(changed)
    with pytest.raises(InputError, match=r"evil\.pth"):
        load_network(path)


def test_files_of_pytorch_that_are_damaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    w = nf.weights(rng, LAYOUTS["selene"][3])
    good = nf.torch_file(tmp_path / "good.pth", w, older=True)
    assert set(read_tensors(good)) == set(w)
    raw = good.read_bytes()
    path = tmp_path / "bad.pth"
    spots = rng.integers(0, 900, 150)
    for at in [*spots, *rng.integers(0, len(raw), 50)]:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << rng.integers(8))]) + raw[at + 1 :])
        try:
            read_tensors(path)
        except InputError as error:
            assert "bad.pth" in str(error)  # noqa: PT017
    for at in np.linspace(1, len(raw) - 1, 40).astype(int):
        path.write_bytes(raw[:at])
        with pytest.raises(InputError, match=r"bad\.pth"):
            read_tensors(path)
    nf.torch_file(path, {"encoder.weight": np.zeros((3, 4))})
    with pytest.raises(InputError, match=r"these weights \(encoder.weight \(3, 4\) \.\.\.\) are of no architecture"):
        load_network(path)
    nf.torch_file(path, {k: v for k, v in w.items() if k != "conv_net.4.weight"})
    with pytest.raises(InputError, match=r"these weights .* are of no architecture"):
        load_network(path)
    for name in ("archive/constants.pkl", "other.txt"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl" if "const" in name else "x", b"\x80\x02}.")
            archive.writestr(name, b"")
        with pytest.raises(InputError, match=r"TorchScript|no data\.pkl"):
            load_network(path)
    path = tmp_path / "net.txt"
    path.write_text("hello")
    with pytest.raises(InputError, match="neither its first bytes nor its name"):
        load_network(path)


# ONNX


@pytest.mark.parametrize("shape", [(None, 4, 12), (None, 12, 4), (1, 4, 1, 12), (2, 1, 12, 4)])
def test_a_network_in_onnx(tmp_path: Path, shape: tuple[int | None, ...]) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(10)
    kernel = rng.normal(size=(48, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["in"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["scores"]),
            helper.make_node("Sigmoid", ["scores"], ["out"]),
        ],
        "net",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["N" if n is None else n for n in shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("scores", "out")],
        [numpy_helper.from_array(kernel, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    with pytest.raises(InputError, match=r"has outputs 'scores', 'out'. Choose one: output='scores'"):
        load_network(path)
    net = load_network(path, "scores", bases="AGCT")
    assert net.length == 12
    x = nf.some(rng, 3, 12)
    first = shape.index(4) < shape.index(12)
    told = x[:, [0, 2, 1, 3]] if first else x[:, [0, 2, 1, 3]].transpose(0, 2, 1)
    np.testing.assert_allclose(net(x), told.reshape(3, -1) @ kernel, atol=1e-5)
    assert mutagenise([net, net], x[:1]).delta.shape == (2, 1, 3, 12, 2)
    with pytest.raises(InputError, match=r"positions= has no use, .* Give columns="):
        load_network(path, "scores", positions=[0])
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"net\.onnx: ONNX Runtime cannot use this file"):
        load_network(path)


def test_what_onnx_runtime_cannot_run_or_does_not_return_by_sequence(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["in"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["scores"]),
            helper.make_node("Transpose", ["scores"], ["turned"], perm=[1, 0]),
            helper.make_node("ReduceMax", ["scores"], ["top"], keepdims=0),
        ],
        "net",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["N", 4, "L"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("scores", "turned", "top")],
        [numpy_helper.from_array(np.ones((48, 2), dtype=np.float32), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    x = nf.some(np.random.default_rng(28), 3, 12)
    np.testing.assert_allclose(load_network(path, "scores")(x), 12)
    with pytest.raises(InputError, match=r"cannot run the network on an input of shape \(3, 4, 11\) .*length"):
        load_network(path, "scores")(x[:, :, 1:])
    for output, shape in (("turned", r"\(2, 3\)"), ("top", r"\(\)")):
        with pytest.raises(
            InputError, match=rf"of 3 sequences output '{output}' is {shape}, but must be numbers, a row"
        ):
            load_network(path, output)(x)


@pytest.mark.parametrize("batch", ["N", 3])
@pytest.mark.parametrize("kind", ["batch normalisation", "dropout", "noise"])
def test_onnx_in_training_mode_is_refused(tmp_path: Path, kind: str, batch: str | int) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(37)
    said = {
        "w": rng.normal(size=(48, 5)).astype(np.float32),
        **{name: rng.uniform(1, 2, 5).astype(np.float32) for name in ("scale", "bias", "mean", "variance")},
        "rate": np.array(0.5, dtype=np.float32),
        "yes": np.array(True),
    }
    statistics = ["scores", "scale", "bias", "mean", "variance"]
    last = {
        "batch normalisation": [
            helper.make_node("BatchNormalization", statistics, ["out", "new_mean", "new_variance"], training_mode=1),
        ],
        "dropout": [helper.make_node("Dropout", ["scores", "rate", "yes"], ["out"])],
        "noise": [
            helper.make_node("RandomNormalLike", ["scores"], ["more"]),
            helper.make_node("Add", ["scores", "more"], ["out"]),
        ],
    }[kind]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["in"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["scores"]),
            *last,
        ],
        "net",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [batch, 4, 12])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("scores", "out")],
        [numpy_helper.from_array(value, name) for name, value in said.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    x = nf.some(rng, 2, 12)
    np.testing.assert_allclose(load_network(path, "scores")(x), x.reshape(2, -1) @ said["w"], atol=1e-5)
    with pytest.raises(InputError, match=r"output 'out' of a sequence changes by .* in training mode, say\. Export"):
        mutagenise(load_network(path, "out"), x)
    for empty in (lambda: load_network(path, "scores")(x[:0]), lambda: mutagenise(load_network(path, "scores"), x[:0])):
        with pytest.raises(InputError, match=r"there is no sequence to .*\. Give one or more"):
            empty()


# From files to files


def planted(folder: Path, rng: np.random.Generator, E: int, theta: float, L: int = 40) -> list[Path]:
    """Networks whose second output follows the first by theta, but for noise of the members' own."""
    F = 6
    kernel, head = rng.normal(size=(5, 4, F)), rng.normal(size=F)
    paths = []
    for e in range(E):
        mine = head + rng.normal(0, 0.02, F)
        dense = np.stack([mine, theta * mine + rng.normal(0, 0.01, F)], 1)
        layers = [
            nf.layer("InputLayer", "in", batch_input_shape=[None, L, 4]),
            nf.layer("Conv1D", "c", "in", activation="relu", padding="valid"),
            nf.layer("GlobalAveragePooling1D", "g", "c"),
            nf.layer("Dense", "d", "g", activation="linear"),
        ]
        groups = {
            "c": {"c/kernel": kernel + rng.normal(0, 0.01, kernel.shape), "c/bias": np.full(F, 0.1)},
            "d": {"d/kernel": dense, "d/bias": np.zeros(2)},
        }
        paths.append(nf.keras_h5(folder / f"net{e}.h5", nf.model("m", layers, ["in"], ["d"]), groups))
    return paths


def genome(folder: Path, rng: np.random.Generator, N: int) -> tuple[Path, Path]:
    """A genome, and regions of which the first hangs over its end and the second holds an N."""
    text = "".join(rng.choice(list("ACGT"), 200 * N))
    text = text[:250] + "n" + text[251:]
    fasta = folder / "genome.fa"
    fasta.write_text(">chr1\n" + "\n".join(text[low : low + 60] for low in range(0, len(text), 60)) + "\n")
    bed = folder / "regions.bed"
    starts = [0, 240, *(300 + 100 * i for i in range(N)), 300]
    bed.write_text("".join(f"chr1\t{start}\t{start + 20}\tpeak\n" for start in starts))
    return fasta, bed


def test_deep_mr_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from genarium import load
    from genarium.cli import main

    rng = np.random.default_rng(11)
    models = [str(path) for path in planted(tmp_path, rng, 5, 0.7)]
    fasta, bed = genome(tmp_path, rng, 12)
    given = ["--sequences", str(bed), "--fasta", str(fasta), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["deep_mr", "run", "--model", *models, *given, "--window", "20"]) == 0
    said = capsys.readouterr().out
    assert "1 regions at the end of a contig left out" in said
    assert "1 regions with a base other than A, C, G and T left out" in said
    assert "1 regions with the window of another left out" in said
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    low, high = told["ci"]
    assert low < 0.7 < high
    assert abs(told["estimate"] - 0.7) < 0.05
    assert told["sequences"] == 12
    local = (tmp_path / "out" / "local.tsv").read_text().splitlines()
    assert len(local) == 13
    assert local[1].startswith("chr1:290-330\t")
    # the table is one that the model reads
    table = tmp_path / "out" / "substitutions.tsv"
    assert f"next: genarium read mendelian_randomization {table} --set signs_given=1" in said
    read = ["read", "mendelian_randomization", str(table), "--set", "signs_given=1"]
    assert main([*read, "-o", str(tmp_path / "data.nc"), "--quiet"]) == 0
    assert "left out" not in capsys.readouterr().err
    labels = json.loads(load(tmp_path / "data.nc").attrs["labels"])["region"]
    assert sorted(line.split("\t")[0] for line in local[1:]) == labels
    # two networks a member, one for each trait, and held-out measurements
    held = tmp_path / "held.tsv"
    sd = [0.3, 0.6]
    lines = [line.split("\t")[:3] for line in bed.read_text().splitlines()[1:]] * 3
    held.write_text("".join("\t".join([*line, *(f"{rng.normal(0, s):.4f}" for s in sd)]) + "\n" for line in lines))
    command = ["deep_mr", "run", "--model", *models, "--outcome-model", *models, *given, "--held-out", str(held)]
    assert main([*command, "--outcome", "1"]) == 0
    said = capsys.readouterr().out
    assert "standard errors times" in said
    assert "3 held-out regions with a base other than A, C, G and T left out" in said
    again = json.loads((tmp_path / "out" / "result.json").read_text())
    assert abs(again["estimate"] - 0.7) < 0.1
    assert min(again["calibration_factors"]) > 1.5
    assert main([*command, "--outcome", "1", "--exposure", "7"]) == 2
    assert "the exposure is output 7, but there are 4" in capsys.readouterr().err
    for more, message in (
        (["--exposure", "5"], "the exposure is output 5, but there are 2"),
        (["--exposure", "1"], "exposure and outcome are the same output, 1"),
        (["--window", "50"], "window=50, but sequences have 40 bases"),
        (["--length", "30"], "the networks take sequences of 40 bases"),
        (["--outcome-model", models[0]], "there are 5 networks of the exposure and 1 of the outcome"),
        (["--layer", "zz"], "there is no layer 'zz'"),
        (["--instruments", "-1"], "instruments=-1 must be zero or more"),
        (["--floor", "nan"], "floor=nan must be zero or more"),
        (["--scale", "logit"], "scale='logit' is for probabilities, but a network puts out"),
        (["--held-out", str(bed)], "line 1 has 'peak' after the end of the region, where 2 measured numbers"),
        (["--sequences", "absent.bed"], "absent.bed: there is no such file"),
        (["--model", models[0]], "1 of 1 networks estimates"),
    ):
        assert main(["deep_mr", "run", "--model", *models, *given, *more]) == 2
        assert message in capsys.readouterr().err
    bed.write_text("chr2\t1\t2\n")
    assert main(["deep_mr", "run", "--model", *models, *given]) == 2
    assert "region 1 is on 'chr2', which genome.fa does not have (chr1 ...)" in capsys.readouterr().err


def test_deep_mr_of_networks_with_control_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As those of basepairmodels: an input besides the sequence, on which the output depends."""
    from genarium.cli import main

    rng = np.random.default_rng(12)
    paths = []
    for e in range(3):
        layers = [
            nf.layer("InputLayer", "sequence", batch_input_shape=[None, 30, 4]),
            nf.layer("InputLayer", "control", batch_input_shape=[None, 1]),
            nf.layer("GlobalAveragePooling1D", "g", "sequence"),
            nf.layer("Concatenate", "both", "g", "control"),
            nf.layer("Dense", "d", "both", activation="exponential"),
        ]
        kernel = np.array([[0.0, 0], [1, 0.5], [2, 1], [3, 2], [1, 1]]) + rng.normal(0, 0.01, (5, 2))
        groups = {"d": {"d/kernel": kernel, "d/bias": np.zeros(2)}}
        made = nf.model("m", layers, ["sequence", "control"], ["d"])
        paths.append(str(nf.keras_h5(tmp_path / f"net{e}.h5", made, groups)))
    fasta, bed = genome(tmp_path, rng, 6)
    given = [
        "--sequences",
        str(bed),
        "--fasta",
        str(fasta),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
        "--floor",
        "1e-6",
    ]
    call = ["deep_mr", "run", "--model", *paths, *given]
    assert main(call) != 0
    assert "Say what the others get: --inputs NAME=0" in capsys.readouterr().err
    assert main([*call, "--inputs", "control=x"]) != 0
    assert "must be the name of an input and a number" in capsys.readouterr().err
    found = []
    for control in (0.0, 1.0):
        assert main([*call, "--inputs", f"control={control}"]) == 0
        rows = (tmp_path / "out" / "substitutions.tsv").read_text().splitlines()[1:]
        found.append({row.split("\t")[0]: float(row.split("\t")[2]) for row in rows})
    same = found[0].keys() & found[1].keys()
    ratios = [found[1][name] / found[0][name] for name in same]
    assert np.median(ratios) == pytest.approx(np.e, rel=0.05)
