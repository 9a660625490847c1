"""Networks in Keras' files against loops over positions, and SpliceAI's sites."""

import json
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.mendelian_randomization.deep_mr import (
    effects,
    mutagenise,
)
from genarium.models.mendelian_randomization.deep_mr.keras import keras_network
from genarium.models.mendelian_randomization.deep_mr.splicing import SpliceSites


def sequences(rng: np.random.Generator, count: int, length: int) -> Array:
    return np.eye(4)[rng.integers(0, 4, (count, length))].transpose(0, 2, 1)


def keras_file(path: Path, rng: np.random.Generator) -> dict[str, Array]:
    """A small residual network as Keras stores it: convolution, normalisation, sum, crop, softmax."""
    import h5py

    w = {
        "k1": rng.normal(size=(3, 4, 5)), "b1": rng.normal(size=5), "gamma": rng.uniform(1, 2, 5),
        "beta": rng.normal(size=5),         "mean": rng.normal(size=5), "var": rng.uniform(0.5, 2, 5),
        "k2": rng.normal(size=(3, 5, 5)), "b2": rng.normal(size=5),
        "k3": rng.normal(size=(1, 5, 3)), "b3": rng.normal(size=3),
    }  # fmt: skip

    def conv(name: str, before: str, **more: Any) -> dict[str, Any]:
        config = {"name": name, "padding": "same", "strides": [1], "dilation_rate": [1], "activation": "linear", **more}
        return {"class_name": "Conv1D", "name": name, "config": config, "inbound_nodes": [[[before, 0, 0, {}]]]}

    layers = [
        {"class_name": "InputLayer", "name": "in", "config": {"name": "in"}, "inbound_nodes": []},
        conv("c1", "in"),
        {"class_name": "BatchNormalization", "name": "n", "config": {"name": "n", "epsilon": 1e-3},
         "inbound_nodes": [[["c1", 0, 0, {}]]]},
        {"class_name": "Activation", "name": "r", "config": {"name": "r", "activation": "relu"},
         "inbound_nodes": [[["n", 0, 0, {}]]]},
        conv("c2", "r", dilation_rate=[2]),
        {"class_name": "Add", "name": "a", "config": {"name": "a"},
         "inbound_nodes": [[["c1", 0, 0, {}], ["c2", 0, 0, {}]]]},
        {"class_name": "Cropping1D", "name": "x", "config": {"name": "x", "cropping": [4, 4]},
         "inbound_nodes": [[["a", 0, 0, {}]]]},
        conv("c3", "x", activation="softmax"),
    ]  # fmt: skip
    normal = {"gamma": "gamma", "beta": "beta", "moving_mean": "mean", "moving_variance": "var"}
    with h5py.File(path, "w") as file:
        config = {"class_name": "Model", "config": {"layers": layers, "output_layers": [["c3", 0, 0]]}}
        file.attrs["model_config"] = json.dumps(config)
        for layer, names in (("c1", {"kernel": "k1", "bias": "b1"}), ("c2", {"kernel": "k2", "bias": "b2"}),
                             ("c3", {"kernel": "k3", "bias": "b3"}),
                             ("n", normal)):  # fmt: skip
            for name, key in names.items():
                file[f"model_weights/{layer}/{layer}/{name}:0"] = w[key]
    return w


def rewired(path: Path, change: Any) -> Path:
    """Write a file of a small network with another configuration."""
    import h5py

    keras_file(path, np.random.default_rng(13))
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"])
        file.attrs["model_config"] = json.dumps(config)
    return path


def test_keras_graphs_that_cannot_be_run_are_refused(tmp_path: Path) -> None:
    def second_call(config: Any) -> None:
        config["layers"][6]["inbound_nodes"] = [[["a", 1, 0, {}]]]

    def second_output(config: Any) -> None:
        config["layers"][6]["inbound_nodes"] = [[["a", 0, 1, {}]]]

    def two_inputs(config: Any) -> None:
        config["layers"].append({**config["layers"][0], "name": "other"})
        config["layers"][5]["inbound_nodes"] = [[["c1", 0, 0, {}], ["c2", 0, 0, {}], ["other", 0, 0, {}]]]

    def two_outputs(config: Any) -> None:
        config["output_layers"] = [["x", 0, 0], ["c3", 0, 0]]

    def lost(config: Any) -> None:
        config["layers"][6]["inbound_nodes"] = [[["b", 0, 0, {}]]]

    def circle(config: Any) -> None:
        config["layers"][4]["inbound_nodes"] = [[["a", 0, 0, {}]]]

    for change, message in (
        (second_call, r"net\.h5: layer 'x' takes the output of 'a', which the file does not have"),
        (second_output, r"layer 'a' has 1 outputs, but its output 1 is taken"),
        (two_inputs, r"layers 'in', 'other' are 2 inputs of the model.* inputs=\{'NAME': 0\}"),
        (two_outputs, r"has 2 outputs, of layers 'x', 'c3'\. Choose one: output='x'"),
        (lost, r"layer 'x' takes the output of 'b', which the file does not have"),
        (circle, r"layers 'c2', 'a', 'x', 'c3' wait for each other"),
    ):
        with pytest.raises(InputError, match=message):
            keras_network(rewired(tmp_path / "net.h5", change))
    path = rewired(tmp_path / "net.h5", two_outputs)
    x = np.random.default_rng(0).normal(size=(2, 20, 4))
    keras_file(tmp_path / "plain.h5", np.random.default_rng(13))
    np.testing.assert_array_equal(keras_network(path, "c3")(x), keras_network(tmp_path / "plain.h5")(x))
    assert keras_network(path, "x")(x).shape == (2, 12, 5)
    with pytest.raises(InputError, match=r"there is no layer 'y'; the model's outputs are x, c3"):
        keras_network(path, "y")


def test_a_file_of_keras_3_runs_as_that_of_keras_2(tmp_path: Path) -> None:
    def modern(config: Any) -> None:
        for layer in config["layers"]:
            nodes = layer["inbound_nodes"]
            tensors = [
                {"class_name": "__keras_tensor__", "config": {"shape": [None, 20, 4], "keras_history": link[:3]}}
                for link in (nodes[0] if nodes else [])
            ]
            args = [tensors] if len(tensors) > 1 else tensors
            layer["inbound_nodes"] = [{"args": args, "kwargs": {}}] if tensors else []
        config["output_layers"] = ["c3", 0, 0]

    x = np.random.default_rng(0).normal(size=(2, 20, 4))
    keras_file(tmp_path / "plain.h5", np.random.default_rng(13))
    found = keras_network(rewired(tmp_path / "net.h5", modern))(x)
    np.testing.assert_array_equal(found, keras_network(tmp_path / "plain.h5")(x))


def test_a_keras_file_runs_as_loops_do(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    w = keras_file(tmp_path / "net.h5", rng)
    x = rng.normal(size=(2, 20, 4))

    def conv(v: Array, kernel: Array, bias: Array, dilation: int) -> Array:
        out = np.zeros((len(v), kernel.shape[2]))
        for p in range(len(v)):
            for i in range(len(kernel)):
                at = p + (i - len(kernel) // 2) * dilation
                if 0 <= at < len(v):
                    out[p] += v[at] @ kernel[i]
            out[p] += bias
        return out

    found = keras_network(tmp_path / "net.h5")(x)
    for b in range(2):
        c1 = conv(x[b], w["k1"], w["b1"], 1)
        n = (c1 - w["mean"]) / np.sqrt(w["var"] + 1e-3) * w["gamma"] + w["beta"]
        a = (c1 + conv(np.maximum(n, 0), w["k2"], w["b2"], 2))[4:-4]
        score = np.exp(a @ w["k3"][0] + w["b3"])
        np.testing.assert_allclose(found[b], score / score.sum(1, keepdims=True), rtol=1e-10)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("padding", "reflect"),
        ("groups", 3),
        ("data_format", "channels_first"),
        ("activation", "hard_sigmoid"),
        ("activation", {"class_name": "LeakyReLU"}),
    ],
)
def test_options_of_keras_that_are_not_understood_are_refused(tmp_path: Path, option: str, value: Any) -> None:
    import h5py

    keras_file(tmp_path / "net.h5", np.random.default_rng(13))
    with h5py.File(tmp_path / "net.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        next(one for one in config["config"]["layers"] if one["name"] == "c2")["config"][option] = value
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(InputError, match=f"layer 'c2' has {option}=.*, which is not understood; understood: "):
        keras_network(tmp_path / "net.h5")


def test_splice_sites_of_a_stand_in(tmp_path: Path) -> None:
    """The loader and the sites, on networks that look 4 bases either way in place of SpliceAI's 5,000."""
    rng = np.random.default_rng(14)
    networks = []
    for e in range(3):
        keras_file(tmp_path / f"{e}.h5", rng)
        networks.append(keras_network(tmp_path / f"{e}.h5"))
    x = sequences(rng, 2, 30)
    sites = SpliceSites(networks, acceptor=8, donor=19, flank=4)
    found = sites(x)
    assert found.shape == (3, 2, 2)
    whole = np.pad(x, ((0, 0), (0, 0), (4, 4))).transpose(0, 2, 1)
    for e, net in enumerate(networks):
        p = net(whole)
        expected = np.stack([p[:, 8, 1], p[:, 19, 2]], -1)
        np.testing.assert_allclose(found[e], np.log(expected / (1 - expected)), rtol=1e-9)
    some = effects(mutagenise(sites, x, start=2, stop=28), 0, 1, floor=1e-6)
    assert (np.abs(some.covariance) < some.se_x * some.se_y).all()
    with pytest.raises(InputError, match="donor at 40"):
        SpliceSites(networks, 8, 40, flank=4)(x)


@pytest.mark.parametrize("window", [(0, 30), (0, 7), (12, 20), (25, 30)])
def test_only_what_a_substitution_touches_is_recomputed(tmp_path: Path, window: tuple[int, int]) -> None:
    rng = np.random.default_rng(16)
    keras_file(tmp_path / "net.h5", rng)
    x = sequences(rng, 1, 30)
    sites = SpliceSites([keras_network(tmp_path / "net.h5")], acceptor=14, donor=9, flank=4)
    fast = mutagenise(sites, x, start=window[0], stop=window[1])
    naive = mutagenise(lambda batch: sites(batch), x, start=window[0], stop=window[1])
    p, q = (1 / (1 + np.exp(-(one.reference[:, :, None, None] + one.delta))) for one in (fast, naive))
    np.testing.assert_allclose(p, q, rtol=0, atol=1e-13)  # log odds of a p near 1 would magnify rounding
    touched = (fast.delta != 0).any((0, 1, 2, 4))
    near = np.arange(*window)
    assert not touched[(near < 9 - 4) | (near > 14 + 4)].any()
    assert touched[(near >= 9 - 3) & (near <= 14 + 3)].all()


EMBL = Path("/usr/share/EMBOSS/test/embl/hum1.dat")


@pytest.mark.data
@pytest.mark.skipif(find_spec("spliceai") is None, reason="the wheel of spliceai is not installed (weights: CC BY-NC)")
@pytest.mark.skipif(not EMBL.exists(), reason="Debian's emboss-test is not installed")
def test_spliceai_on_a_human_gene(root: Path) -> None:
    """The worked example of validation/: mutants of the AG of epsilon-globin's second exon lose the acceptor."""
    example = run_path(str(root / "validation" / "splicing.py"))
    text, acceptor, donor = example["read_gene"](EMBL)
    assert (text[acceptor - 2 : acceptor], text[donor + 1 : donor + 3]) == ("ag", "gt")
    some = example["mutate"](text, acceptor, donor, 2, 0)
    assert len(some) == 6
    assert (some.x < -10).all()
    assert (np.abs(some.covariance) < some.se_x * some.se_y).all()
