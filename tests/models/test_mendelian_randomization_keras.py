"""Networks in files of Keras 2 and 3, against loops; and what of theirs is refused by name."""

import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import network_files as nf
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.mendelian_randomization.deep_mr import load_network, one_hot

WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"


def chrombpnet_names(i: int) -> str:
    return "wo_bias_bpnet_1st_conv" if i == 0 else f"wo_bias_bpnet_{i}conv"


def chrombpnet_groups(w: dict[str, Array], prefix: str, names: Any, n: int) -> dict[str, Array]:
    """Weights as Keras keeps those of one model: layer/kernel, layer/bias."""
    places = {names(0): "iconv", **{names(i): f"rconvs.{i - 1}" for i in range(1, n + 1)}}
    places |= {f"{prefix}profile": "fconv", f"{prefix}logcount_predictions": "linear"}
    found = {}
    for place, name in places.items():
        weight = w[f"{name}.weight"]
        found[f"{place}/kernel"] = weight.T if weight.ndim == 2 else weight.transpose(2, 1, 0)
        found[f"{place}/bias"] = w[f"{name}.bias"]
    return found


def test_chrombpnet_without_its_bias(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n, L = 3, 80
    w = nf.bpnet_weights(rng, 5, n)
    layers = nf.bpnet_layers("wo_bias_bpnet_", n, L, 15, chrombpnet_names)
    ends = ["wo_bias_bpnet_logits_profile_predictions", "wo_bias_bpnet_logcount_predictions"]
    groups: dict[str, dict[str, Array]] = {}
    for place, value in chrombpnet_groups(w, "wo_bias_bpnet_", chrombpnet_names, n).items():
        groups.setdefault(place.partition("/")[0], {})[place] = value
    path = nf.keras_h5(tmp_path / "chrombpnet_nobias.h5", nf.model("model", layers, ["sequence"], ends), groups)
    with pytest.raises(
        InputError, match=r"has 2 outputs, .*Choose one: output='wo_bias_bpnet_logits_profile_predictions'"
    ):
        load_network(path)
    counts, profile = load_network(path, ends[1]), load_network(path, ends[0])
    assert counts.length == L
    x = nf.some(rng, 2, L)
    for one, count, logits in zip(x, counts(x), profile(x), strict=True):
        expected = nf.bpnet(w, one, n)
        np.testing.assert_allclose(count, expected[0], atol=1e-6)
        np.testing.assert_allclose(logits, expected[1][0], atol=1e-6)
    nf.check_mutants(counts, x, 30, 50)
    nf.check_mutants(profile, x, 0, L)
    with pytest.raises(InputError, match=r"takes sequences of 80 bases, but they have 79\. Cut windows of 80"):
        counts(x[:, :, 1:])
    few = load_network(path, ends[0], columns=[4, 0])
    np.testing.assert_array_equal(few(x), profile(x)[:, [4, 0]])


def test_chrombpnet_with_its_bias_is_a_model_of_models(tmp_path: Path) -> None:
    """Both models hold a layer 'gap'; the sum of counts is code (Lambda), which is not run."""
    rng = np.random.default_rng(2)
    n, L = 2, 70
    own, bias = nf.bpnet_weights(rng, 4, n), nf.bpnet_weights(rng, 3, n)

    def bias_names(i: int) -> str:
        return "bpnet_1st_conv" if i == 0 else f"bpnet_{i}conv"

    inner = {
        "model_wo_bias": ("wo_bias_bpnet_", chrombpnet_names, own),
        "model": ("", bias_names, bias),
    }
    layers = [nf.layer("InputLayer", "sequence", batch_input_shape=[None, L, 4])]
    groups = {}
    for name, (prefix, names, w) in inner.items():
        ends = [f"{prefix}logits_profile_predictions", f"{prefix}logcount_predictions"]
        made = nf.model(name, nf.bpnet_layers(prefix, n, L, 15, names), ["sequence"], ends)
        layers.append({**made, "name": name, "inbound_nodes": [[["sequence", 0, 0, {}]]]})
        groups[name] = chrombpnet_groups(w, prefix, names, n)
    layers += [
        nf.layer("Add", "logits_profile_predictions", "model_wo_bias#0", "model#0"),
        nf.layer("Concatenate", "concatenate", "model_wo_bias#1", "model#1", axis=-1),
        nf.layer("Lambda", "logcount_predictions", "concatenate", function=["4wEAAAA=", None, None]),
    ]
    config = nf.model("whole", layers, ["sequence"], ["logits_profile_predictions", "logcount_predictions"])
    path = nf.keras_h5(tmp_path / "chrombpnet.h5", config, groups)
    x = nf.some(rng, 1, L)
    with pytest.raises(
        InputError, match=r"layer 'logcount_predictions' is a Lambda.* code of its author's, which is not run"
    ):
        load_network(path, "logcount_predictions")
    count = load_network(path, "wo_bias_bpnet_logcount_predictions")
    np.testing.assert_allclose(count(x)[0], nf.bpnet(own, x[0], n)[0], atol=1e-6)
    profile = load_network(path, "logits_profile_predictions")
    expected = nf.bpnet(own, x[0], n)[1] + nf.bpnet(bias, x[0], n)[1]
    np.testing.assert_allclose(profile(x)[0], expected[0], atol=1e-6)
    both = load_network(path, "concatenate")
    np.testing.assert_allclose(both(x)[0, 1], nf.bpnet(bias, x[0], n)[0][0], atol=1e-6)
    nf.check_mutants(both, x, 20, 40)


def test_basepairmodels_with_controls(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    n, L = 2, 70
    w = nf.bpnet_weights(rng, 4, n)
    names = lambda i: "main_conv_0" if i == 0 else f"main_dil_conv_{i}"  # noqa: E731
    layers = nf.bpnet_layers("main_", n, L, 15, names)[:-1]
    layers += [
        nf.layer("InputLayer", "counts_bias_input_0", batch_input_shape=[None, 1]),
        nf.layer("Dense", "main_counts_head", "gap", activation="linear"),
        nf.layer("Concatenate", "concat_with_counts_bias", "main_counts_head", "counts_bias_input_0", axis=-1),
        nf.layer("Dense", "logcounts_predictions", "concat_with_counts_bias", activation="linear"),
    ]
    groups: dict[str, dict[str, Array]] = {}
    for place, value in chrombpnet_groups(w, "main_", names, n).items():
        top = place.partition("/")[0].replace("main_logcount_predictions", "main_counts_head")
        groups.setdefault(top, {})[f"{top}/{place.partition('/')[2]}"] = value
    last = rng.normal(size=(2, 1))
    groups["logcounts_predictions"] = {"logcounts_predictions/kernel": last, "logcounts_predictions/bias": np.zeros(1)}
    config = nf.model("bpnet", layers, ["sequence", "counts_bias_input_0"], ["main_profile", "logcounts_predictions"])
    path = nf.keras_h5(tmp_path / "bpnet.h5", config, groups)
    x = nf.some(rng, 2, L)
    head = load_network(path, "main_counts_head")
    expected = np.array([nf.bpnet(w, one, n)[0] for one in x])
    np.testing.assert_allclose(head(x), expected, atol=1e-6)
    with pytest.raises(InputError, match="layers 'sequence', 'counts_bias_input_0' are 2 inputs of the model"):
        load_network(path, "logcounts_predictions")
    with pytest.raises(InputError, match="no input 'control'; its inputs are sequence, counts_bias_input_0"):
        load_network(path, "logcounts_predictions", inputs={"control": 0})
    whole = load_network(path, "logcounts_predictions", inputs={"counts_bias_input_0": 1.5})
    np.testing.assert_allclose(whole(x), np.c_[expected, np.full(2, 1.5)] @ last.astype(np.float32), atol=1e-6)
    nf.check_mutants(whole, x, 10, 60)
    profile = load_network(path, "main_profile", positions=[0, 3])
    np.testing.assert_allclose(profile(x), [nf.bpnet(w, one, n)[1][0, [0, 3]] for one in x], atol=1e-6)
    nf.check_mutants(profile, x, 0, 30)
    with pytest.raises(InputError, match=r"the output has \d+ positions of 1 channels\. Choose positions="):
        load_network(path, "main_profile")(x)
    with pytest.raises(InputError, match="the output has no positions, so positions= has no use"):
        load_network(path, "logcounts_predictions", inputs={"counts_bias_input_0": 1.5}, positions=[0])(x)


def pooled_by_loops(x: Array, size: int, stride: int, how: str) -> Array:
    """Pool (n, F) with TensorFlow's padding "same": what is odd goes to the right, and counts for nothing."""
    n = len(x)
    outputs = -(-n // stride)
    left = max((outputs - 1) * stride + size - n, 0) // 2
    found = []
    for j in range(outputs):
        low = j * stride - left
        part = x[max(low, 0) : min(low + size, n)]
        found.append(part.max(0) if how == "max" else part.mean(0))
    return np.array(found)


def archive_of(path: Path, config: dict[str, Any], groups: dict[str, list[Array]]) -> Path:
    """Write a file of Keras 3: weights by numbers, in groups that know their layer's name."""
    import h5py

    inner = path.with_suffix(".weights.h5")
    with h5py.File(inner, "w") as file:
        for i, (name, values) in enumerate(groups.items()):
            own = file.create_group(f"layers/layer_{i}/vars")
            own.attrs["name"] = name
            for k, value in enumerate(values):
                own[str(k)] = value.astype(np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", json.dumps(config))
        archive.write(inner, "model.weights.h5")
    return path


@pytest.mark.parametrize("how", ["max", pytest.param("mean", marks=pytest.mark.slow)])
def test_strides_pooling_and_a_shared_layer_in_a_keras_3_archive(tmp_path: Path, how: str) -> None:
    rng = np.random.default_rng(4)
    L = 31
    k1, b1 = rng.normal(size=(4, 4, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    k2 = rng.normal(size=(3, 3, 3)).astype(np.float32)
    moving = [rng.normal(size=3), rng.uniform(0.5, 2, 3)]
    kernel, bias = rng.normal(size=(6, 2)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    pooling = {"max": "MaxPooling1D", "mean": "AveragePooling1D"}[how]
    twice = nf.layer("Conv1D", "shared", "p", padding="causal", activation="linear", use_bias=False, strides=[1])
    twice["inbound_nodes"].append([["shared", 0, 0, {}]])
    layers = [
        nf.layer("InputLayer", "in", batch_shape=[None, L, 4]),
        nf.layer("Conv1D", "c", "in", padding="same", strides=[2], activation="elu"),
        nf.layer(pooling, "p", "c", padding="same", pool_size=[3], strides=[2]),
        twice,
        nf.layer("BatchNormalization", "n", "shared", scale=False, center=False, epsilon=1e-3, axis=-1),
        nf.layer("LeakyReLU", "l", "n", negative_slope=0.2),
        nf.layer("Multiply", "m", "l", "p"),
        nf.layer("Dropout", "drop", "m", rate=0.5),
        nf.layer("GlobalMaxPooling1D", "top", "drop"),
        nf.layer("GlobalAveragePooling1D", "mean", "p"),
        nf.layer("Concatenate", "both", "top", "mean", axis=1),
        nf.layer("Dense", "d", "both", activation="softplus"),
    ]
    layers[4]["inbound_nodes"] = [[["shared", 1, 0, {}]]]
    config = nf.model("m", layers, ["in"], ["d"])
    groups: dict[str, list[Array]] = {"c": [k1, b1], "shared": [k2], "n": moving, "d": [kernel, bias]}
    net = load_network(archive_of(tmp_path / "net.keras", config, groups))
    x = nf.some(rng, 2, L)
    for one, found in zip(x, net(x), strict=True):
        padded = np.pad(one.T, ((1, 2), (0, 0)))  # 31 positions, 16 outputs: 3 zeros
        c = np.array([sum(padded[2 * j + t] @ k1[t] for t in range(4)) + b1 for j in range(16)])
        p = pooled_by_loops(np.where(c > 0, c, np.expm1(c)), 3, 2, how)

        def shared(v: Array) -> Array:
            ahead = np.pad(v, ((2, 0), (0, 0)))
            return np.array([sum(ahead[j + t] @ k2[t] for t in range(3)) for j in range(len(v))])

        n = (shared(shared(p)) - moving[0]) / np.sqrt(moving[1] + 1e-3)
        m = np.where(n > 0, n, 0.2 * n) * p
        expected = np.logaddexp(np.r_[m.max(0), p.mean(0)] @ kernel + bias, 0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    nf.check_mutants(net, x, 0, L)


def spline_basis(n: int, many: int = 10, degree: int = 3) -> Array:
    """B-splines on mgcv's knots, by the recursion of Cox and de Boor."""
    low, high = -(n - 1) * 0.001, (n - 1) * 1.001
    step = (high - low) / (many - degree)
    knots = np.array([low + step * (i - degree) for i in range(many + degree + 1)])
    at = np.arange(n, dtype=float)
    basis = ((at[:, None] >= knots[:-1]) & (at[:, None] < knots[1:])).astype(float)
    for k in range(1, degree + 1):
        left = (at[:, None] - knots[: -k - 1]) / (knots[k:-1] - knots[: -k - 1])
        right = (knots[k + 1 :] - at[:, None]) / (knots[k + 1 :] - knots[1:-k])
        basis = left * basis[:, :-1] + right * basis[:, 1:]
    return basis


def test_mtsplice_looks_at_two_parts_of_a_sequence(tmp_path: Path) -> None:
    """One convolution for both ends of an exon, splines along each, joined along the sequence."""
    rng = np.random.default_rng(12)
    L, F = 24, 5
    conv, bias = rng.normal(size=(9, 4, F)).astype(np.float32), rng.normal(size=F).astype(np.float32)
    splines = rng.normal(size=(2, 10, F)).astype(np.float32)
    kernel = rng.normal(size=(F, 3)).astype(np.float32)
    shared = nf.layer("Conv1D", "conv_exon", "seql", padding="same", activation="linear")
    shared["inbound_nodes"].append([["seqr", 0, 0, {}]])
    right = nf.layer("ReLU", "re_lu_2", "conv_exon")
    right["inbound_nodes"] = [[["conv_exon", 1, 0, {}]]]
    weight = {"n_bases": 10, "spline_degree": 3, "share_splines": False, "use_bias": False}
    layers = [
        nf.layer("InputLayer", "seql", batch_input_shape=[None, L, 4]),
        nf.layer("InputLayer", "seqr", batch_input_shape=[None, L, 4]),
        shared,
        nf.layer("ReLU", "re_lu_1", "conv_exon"),
        right,
        nf.layer("SplineWeight1D", "splinel", "re_lu_1", **weight),
        nf.layer("SplineWeight1D", "spliner", "re_lu_2", **weight),
        nf.layer("Concatenate", "concatenate_1", "splinel", "spliner", axis=-2),
        nf.layer("GlobalAveragePooling1D", "pool", "concatenate_1"),
        nf.layer("Dense", "dense2", "pool", activation="linear", use_bias=False),
    ]
    groups = {
        "conv_exon": {"conv_exon_68/kernel": conv, "conv_exon_68/bias": bias},
        "splinel": {"splinel_17/kernel": splines[0]},
        "spliner": {"spliner_17/kernel": splines[1]},
        "dense2": {"dense2_17/kernel": kernel},
    }
    path = nf.keras_h5(tmp_path / "mtsplice0.h5", nf.model("m", layers, ["seql", "seqr"], ["dense2"]), groups)
    net = load_network(path, inputs={"seql": (0, L), "seqr": (10, 10 + L)})
    x = nf.some(rng, 2, 10 + L)
    basis = spline_basis(L)
    np.testing.assert_allclose(basis.sum(1), 1, atol=1e-12)
    for one, found in zip(x, net(x), strict=True):
        parts = []
        for part, spline in zip((one[:, :L], one[:, 10:]), splines, strict=True):
            mapped = nf.relu(nf.conv(part, conv.transpose(2, 1, 0), bias, padding=4)).T
            parts.append(mapped * (1 + basis @ spline))
        np.testing.assert_allclose(found, np.concatenate(parts).mean(0) @ kernel, rtol=1e-4, atol=1e-5)
    nf.check_mutants(net, x, 0, 10 + L)
    with pytest.raises(InputError, match=r"layers 'seql', 'seqr' are 2 inputs of the model"):
        load_network(path)
    with pytest.raises(InputError, match=r"input 'seqr' takes 24 positions, but inputs= gives it \(10, 30\)"):
        load_network(path, inputs={"seql": (0, L), "seqr": (10, 30)})


@pytest.mark.slow
def test_mutants_of_a_dilated_network_cost_a_tenth(tmp_path: Path) -> None:
    """In the middle of chrombpnet's graph, where a substitution touches most."""
    from time import process_time

    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(13)
    net = load_network(nf.torch_file(tmp_path / "bpnet.pt", nf.bpnet_weights(rng, 64, 8)))
    x = nf.some(rng, 1, 2114)
    batch = np.repeat(x, 6, 0)
    for k, base in enumerate(np.eye(4)[1:]):
        batch[k, :, 1040] = base
    with threadpool_limits(1):  # waiting threads would count
        net.mutations(x[0], 1040, 1041)
        start = process_time()
        net.mutations(x[0], 1040, 1041)  # the sequence itself, for the most part
        own = process_time() - start
        start = process_time()
        _, fast = net.mutations(x[0], 1040, 1060)
        cone = (process_time() - start - own) / 57
        start = process_time()
        naive = net(batch)
        scratch = (process_time() - start) / 6
    assert scratch / cone > 6  # 10 on a quiet machine
    mine = [k for k in range(3) if (batch[k] != x[0]).any()]
    assert all(np.abs(fast[0, :, 0, 0] - naive[k, 0]).min() < 1e-12 for k in mine)


def test_keras_files_that_cannot_be_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(InputError, match=r"net\.keras: the archive has no model\.weights\.h5"):
        load_network(path)
    layers = [nf.layer("InputLayer", "in", batch_shape=[None, 9, 4]), nf.layer("Dense", "d", "in", activation="linear")]
    archive_of(path, {"class_name": "MyModel", "config": {}}, {})
    with pytest.raises(InputError, match=r"the model is a MyModel, whose graph is not in the file"):
        load_network(path)
    archive_of(path, nf.model("m", layers, ["in"], ["d"]), {})
    with pytest.raises(InputError, match=r"layer 'd' has no weights or option 'kernel' in the file"):
        load_network(path)
    for kind, config, message in (
        (
            "LocallyConnected1D",
            {},
            "'d' is a LocallyConnected1D, which is not understood .it has other weights at every position",
        ),
        ("Conv2D", {}, r"'d' has a window of \(3, 5\), but must be 1 in one dim"),
        ("MaxPooling2D", {"pool_size": [2, 2]}, r"'d' has a window of \(2, 2\), but must be 1 in one dim"),
    ):
        layers[1] = nf.layer(kind, "d", "in", **config)
        archive_of(path, nf.model("m", layers, ["in"], ["d"]), {"d": [rng.normal(size=(3, 5, 4, 2)), np.zeros(2)]})
        with pytest.raises(InputError, match=message):
            load_network(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match=r"net\.keras: this is not|net\.keras: this cannot be read"):
        load_network(path)


# What a file says besides layers' outputs; names, axes and precision


def kt(name: str, call: int = 0) -> dict[str, Any]:
    """A tensor as Keras 3 names it."""
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 9, 4], "keras_history": [name, call, 0]}}


def node(*args: Any, **kwargs: Any) -> list[Any]:
    """One call of a layer of Keras 3."""
    return [{"args": list(args), "kwargs": kwargs}]


def small(middle: dict[str, Any], nodes: Any, L: int = 9) -> Any:
    """A model of one layer between a sequence and the maximum over it."""
    own = {**nf.layer(middle.pop("class_name"), middle.pop("name", "m"), **middle.pop("config", {})), **middle}
    own["inbound_nodes"] = nodes
    layers = [
        nf.layer("InputLayer", "in", batch_shape=[None, L, 4]),
        nf.layer("Conv1D", "c", "in", padding="same", activation="linear"),
        own,
        nf.layer("GlobalMaxPooling1D", "top", own["name"]),
    ]
    return nf.model("m", layers, ["in"], ["top"])


MASK = {"class_name": "__keras_tensor__", "config": {"keras_history": ["in", 0, 0]}}
VALUE = {"class_name": "__numpy__", "config": {"value": [1.5, 2.5, 0.5], "dtype": "float32"}}
OPS = {"module": "keras.src.ops.numpy", "registered_name": "Multiply"}
POLICY = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}


@pytest.mark.parametrize(
    ("middle", "nodes", "message"),
    [
        ({"class_name": "Multiply", **OPS}, node(kt("c"), 2.5), r"'m' takes 2\.5 besides outputs of layers"),
        (
            {"class_name": "Add", **OPS},
            node(kt("c"), VALUE),
            r"'m' takes \{'value': \[1\.5.* besides outputs of layers",
        ),
        ({"class_name": "Softmax", "module": "keras.src.ops.nn"}, node(kt("c")), "is a Softmax of keras.src.ops.nn"),
        ({"class_name": "Dropout"}, node(kt("c"), training=True), "'m' is called with training=True, which is not"),
        ({"class_name": "Dropout"}, [[["c", 0, 0, {"training": True}]]], "'m' is called with training=True"),
        ({"class_name": "Conv1D"}, node(kt("c"), mask=MASK), "'m' is called with mask=the output of 'in'"),
        ({"class_name": "Dropout", "registered_name": "mine>Dropout"}, node(kt("c")), "is a Dropout of mine>Dropout"),
        ({"class_name": "Dense", "module": "my.layers"}, node(kt("c")), "is a Dense of my.layers, which is not"),
        ({"class_name": "Conv1D", "config": {"dtype": POLICY}}, node(kt("c")), "'m' computes in mixed_float16, whose"),
        ({"class_name": "ReLU", "config": {"dtype": "float16"}}, node(kt("c")), "'m' computes in float16, whose"),
        ({"class_name": "Softmax", "config": {"axis": 1}}, node(kt("c")), "'m' works along axis=1, which is not"),
        ({"class_name": "Subtract"}, node([kt("c")]), "'m' takes 1 inputs, but must take 2"),
        ({"class_name": "GroupNormalization"}, node(kt("c")), "export the network to ONNX, or give deep_mr a callable"),
    ],
)
def test_what_a_keras_call_is_given_is_not_left_out(
    tmp_path: Path, middle: dict[str, Any], nodes: Any, message: str
) -> None:
    rng = np.random.default_rng(20)
    kernel = [rng.normal(size=(3, 4, 3)), np.zeros(3)]
    groups = {"c": kernel, "m": [rng.normal(size=(3, 3, 3)), np.zeros(3)]}
    path = archive_of(tmp_path / "net.keras", small(dict(middle), nodes), groups)
    with pytest.raises(InputError, match=message):
        load_network(path)


@pytest.mark.parametrize("kwargs", [{}, {"training": False, "mask": None}, {"mask": [None, None]}])
def test_calls_of_keras_3_that_say_nothing_more(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    rng = np.random.default_rng(21)
    kernel = rng.normal(size=(3, 4, 3)).astype(np.float32)
    config = small({"class_name": "Multiply", **OPS}, node(kt("c"), kt("c"), **kwargs))
    net = load_network(archive_of(tmp_path / "net.keras", config, {"c": [kernel, np.ones(3)]}))
    x = nf.some(rng, 2, 9)
    c = np.array([nf.conv(one, kernel.transpose(2, 1, 0), np.ones(3), padding=1) for one in x])
    np.testing.assert_allclose(net(x), (c**2).max(2), atol=1e-6)


@pytest.mark.parametrize("kind", ["Conv1D", "DepthwiseConv1D", "SeparableConv1D"])
def test_channels_apart_from_each_other(tmp_path: Path, kind: str) -> None:
    """In two groups of two, each by itself, or that and then across them; then over the channels of a position."""
    rng = np.random.default_rng(23)
    own = rng.normal(size=(3, 2, 6) if kind == "Conv1D" else (3, 4, 2)).astype(np.float32)
    across, first = (rng.normal(size=size).astype(np.float32) for size in ((1, 8, 5), (3, 4, 4)))
    F = {"Conv1D": 6, "DepthwiseConv1D": 8, "SeparableConv1D": 5}[kind]
    bias, gamma, beta = rng.normal(size=(3, F)).astype(np.float32)
    layers = [
        nf.layer("InputLayer", "in", batch_shape=[None, 15, 4]),
        nf.layer("Conv1D", "c", "in", padding="same", activation="selu"),
        nf.layer(kind, "m", "c", padding="same", dilation_rate=[2], groups=2 if kind == "Conv1D" else 1),
        nf.layer("LayerNormalization", "n", "m", epsilon=0.1),
        nf.layer("GlobalMaxPooling1D", "top", "n"),
    ]
    weights = {"c": [first, np.ones(4)], "n": [gamma, beta]}
    weights["m"] = [own, across, bias] if kind == "SeparableConv1D" else [own, bias]
    net = load_network(archive_of(tmp_path / "net.keras", nf.model("m", layers, ["in"], ["top"]), weights))
    x = nf.some(rng, 2, 15)
    expected = []
    for one in x:
        c = nf.conv(one, first.transpose(2, 1, 0), np.ones(4), padding=1)
        c = 1.0507009873554805 * np.where(c > 0, c, 1.6732632423543772 * np.expm1(c))
        c = np.pad(c, ((0, 0), (2, 2)))
        made = np.zeros((6 if kind == "Conv1D" else 8, 15))
        for f, at, tap in itertools.product(range(len(made)), range(15), range(3)):
            if kind == "Conv1D":
                group = f // 3
                made[f, at] += sum(own[tap, k, f] * c[2 * group + k, at + 2 * tap] for k in (0, 1))
            else:
                made[f, at] += own[tap, f // 2, f % 2] * c[f // 2, at + 2 * tap]
        made = (across[0].T @ made if kind == "SeparableConv1D" else made) + bias[:, None]
        made = (made - made.mean(0)) / np.sqrt(made.var(0) + 0.1) * gamma[:, None] + beta[:, None]
        expected.append(made.max(1))
    np.testing.assert_allclose(net(x), expected, atol=1e-6)
    nf.check_mutants(net, x, 0, 15)


def test_weights_that_a_layer_has_besides_its_own_are_refused(tmp_path: Path) -> None:
    import h5py

    rng = np.random.default_rng(22)
    layers = [nf.layer("InputLayer", "in", batch_shape=[None, 9, 4]), nf.layer("Conv1D", "c", "in", padding="same")]
    kernel, bias = rng.normal(size=(3, 4, 3)), np.zeros(3)
    own = {"c/kernel": kernel, "c/bias": bias, "c/lora_kernel_a": np.ones((3, 4, 2))}
    path = nf.keras_h5(tmp_path / "net.h5", nf.model("m", layers, ["in"], ["c"]), {"c": own})
    with pytest.raises(InputError, match="'c' has weights 'lora_kernel_a' besides kernel, bias"):
        load_network(path)
    path = nf.keras_h5(tmp_path / "net.h5", nf.model("m", layers, ["in"], ["c"]), {"c": {"c/kernel": kernel}})
    with h5py.File(path, "a") as file:  # as Keras 3 leaves a file that it could not write
        file["model_weights/c"].attrs["weight_names"] = ["c/kernel:0", "c/kernel:0"]
    with pytest.raises(InputError, match="'c' has no weights or option 'kernel' in the file"):
        load_network(path)
    path = archive_of(tmp_path / "net.keras", nf.model("m", layers, ["in"], ["c"]), {"c": [kernel, bias, bias]})
    with pytest.raises(InputError, match="'c' has weights '2' besides kernel, bias"):
        load_network(path)
    path = archive_of(path, nf.model("m", layers, ["in"], ["c"]), {"c": [kernel]})
    with pytest.raises(InputError, match="'c' has no weights or option 'bias' in the file"):
        load_network(path)


def test_inputs_of_a_nested_model_are_in_its_own_order_and_keras_2_counts_its_calls_from_1(tmp_path: Path) -> None:
    rng = np.random.default_rng(23)
    L = 12
    names = ("ca", "cb", "first")
    kernels = {name: rng.normal(size=(3, 4, 4)).astype(np.float32) for name in names}
    inner = nf.model(
        "inner",
        [
            nf.layer("InputLayer", "ia", batch_input_shape=[None, L, 4]),
            nf.layer("InputLayer", "ib", batch_input_shape=[None, L, 4]),
            nf.layer("Conv1D", "ca", "ia", padding="same", activation="relu", use_bias=False),
            nf.layer("Conv1D", "cb", "ib", padding="same", activation="linear", use_bias=False),
            nf.layer("Subtract", "s", "ca", "cb"),
        ],
        ["ib", "ia"],
        ["s"],
    )
    nodes = [[["in", 0, 0, {}], ["first", 0, 0, {}]], [["first", 0, 0, {}], ["inner", 1, 0, {}]]]
    layers = [
        nf.layer("InputLayer", "in", batch_input_shape=[None, L, 4]),
        nf.layer("Conv1D", "first", "in", padding="same", activation="linear", use_bias=False),
        {**inner, "name": "inner", "inbound_nodes": nodes},
        nf.layer("GlobalAveragePooling1D", "mean", "inner"),
    ]
    layers[-1]["inbound_nodes"] = [[["inner", 2, 0, {}]]]
    groups = {"first": {"first/kernel": kernels["first"]}}
    groups["inner"] = {f"{name}/kernel": kernels[name] for name in ("ca", "cb")}
    net = load_network(nf.keras_h5(tmp_path / "net.h5", nf.model("m", layers, ["in"], ["mean"]), groups))

    def conv(v: Array, name: str) -> Array:
        return np.asarray(nf.conv(v, kernels[name].transpose(2, 1, 0), np.zeros(4), padding=1))

    def nested(b: Array, a: Array) -> Array:
        return np.asarray(nf.relu(conv(a, "ca")) - conv(b, "cb"))

    x = nf.some(rng, 2, L)
    for one, found in zip(x, net(x), strict=True):
        first = conv(one, "first")
        np.testing.assert_allclose(found, nested(first, nested(one, first)).mean(1), atol=1e-5)
    nf.check_mutants(net, x, 0, L)
    inside = load_network(tmp_path / "net.h5", "inner/ca", positions=range(L))  # the first call needs no number
    np.testing.assert_allclose(inside(x[:1])[0], nf.relu(conv(conv(x[0], "first"), "ca")).T.ravel(), atol=1e-5)


def test_a_keras_archive_without_names_of_layers(tmp_path: Path) -> None:
    """Before 3.6 Keras told weights by the layer's class and place; conv1d_1 is the second there, here the first."""
    import h5py

    rng = np.random.default_rng(24)
    kernels = [rng.normal(size=(3, 4, 4)).astype(np.float32) for _ in range(3)]
    plain = {"padding": "same", "use_bias": False}
    inner = {"class_name": "Sequential", "name": "sequential_9", "config": {"name": "sequential_9", "layers": [
        {"class_name": "Conv1D", "config": {"name": "conv1d_1", "activation": "linear", **plain}}]},
        "inbound_nodes": [[["conv1d", 0, 0, {}]]]}  # fmt: skip
    layers = [
        nf.layer("InputLayer", "in", batch_shape=[None, 9, 4]),
        nf.layer("Conv1D", "conv1d_1", "in", activation="tanh", **plain),
        nf.layer("Conv1D", "conv1d", "conv1d_1", activation="linear", **plain),
        inner,
        nf.layer("GlobalMaxPooling1D", "top", "sequential_9"),
    ]
    path, raw = tmp_path / "net.keras", tmp_path / "w.h5"
    with h5py.File(raw, "w") as file:
        for key, kernel in zip(("conv1d", "conv1d_1", "sequential/layers/conv1d"), kernels, strict=True):
            file[f"layers/{key}/vars/0"] = kernel
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(nf.model("m", layers, ["in"], ["top"])))
        archive.write(raw, "model.weights.h5")
    x = nf.some(rng, 2, 9)
    net = load_network(path)
    for one, found in zip(x, net(x), strict=True):
        v = one
        for i, kernel in enumerate(kernels):
            v = nf.conv(v, kernel.transpose(2, 1, 0), np.zeros(4), padding=1)
            v = np.tanh(v) if i == 0 else v
        np.testing.assert_allclose(found, v.max(1), atol=1e-6)


@pytest.mark.parametrize("unit", [1, 2])
def test_layers_with_two_dims_along_the_sequence(tmp_path: Path, unit: int) -> None:
    """The dim that is 1 is the input's: a stride, a pool or an axis along it is not one along the sequence."""
    rng = np.random.default_rng(25)
    L = 9
    kernel = rng.normal(size=(3, 4, 3)).astype(np.float32)

    def dims(along: int, other: int = 1) -> list[int]:
        return [other, along] if unit == 1 else [along, other]

    def net(*layers: dict[str, Any]) -> Any:
        own = [
            nf.layer("InputLayer", "in", batch_input_shape=[None, *dims(L), 4]),
            nf.layer("Conv2D", "c", "in", padding="same", strides=dims(1, 2), activation="linear", use_bias=False),
            *layers,
        ]
        config = nf.model("m", own, ["in"], [own[-1]["name"]])
        return load_network(
            nf.keras_h5(tmp_path / "net.h5", config, {"c": {"c/kernel": kernel.reshape(*dims(3), 4, 3)}})
        )

    x = nf.some(rng, 2, L)
    c = np.array([nf.conv(one, kernel.transpose(2, 1, 0), np.zeros(3), padding=1) for one in x])
    top = nf.layer("GlobalMaxPooling2D", "top", "m")
    both = {axis: nf.layer("Concatenate", "m", "c", "c", axis=axis) for axis in (1, 2, 3, -2)}
    np.testing.assert_allclose(net(nf.layer("GlobalMaxPooling2D", "top", "c"))(x), c.max(2), atol=1e-6)
    np.testing.assert_allclose(net(both[3], top)(x), np.tile(c.max(2), 2), atol=1e-6)
    np.testing.assert_allclose(net(both[3 - unit], top)(x), c.max(2), atol=1e-6)
    for axis in (unit, *([-2] if unit == 2 else [])):
        with pytest.raises(InputError, match=rf"'m' works along axis={axis}, which is not understood"):
            net(both[axis], top)
    pooling = nf.layer("MaxPooling2D", "m", "c", pool_size=dims(1, 2), padding="same")
    with pytest.raises(InputError, match=r"'m' has a window of \(\d, \d\), but must be 1 in one dim"):
        net(pooling, top)


def test_one_channel_goes_with_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(26)
    kernels = {"a": rng.normal(size=(3, 4, 1)).astype(np.float32), "b": rng.normal(size=(3, 4, 5)).astype(np.float32)}
    x = nf.some(rng, 1, 11)
    a, b = (
        nf.conv(x[0], kernel.transpose(2, 1, 0), np.zeros(kernel.shape[2]), padding=1) for kernel in kernels.values()
    )
    expected = {"Add": a + b, "Multiply": a * b, "Average": (a + b) / 2, "Maximum": np.maximum(a, b), "Subtract": a - b}
    weight = rng.normal(size=(55, 2)).astype(np.float32)
    for how, value in expected.items():
        layers = [
            nf.layer("InputLayer", "in", batch_shape=[None, 11, 4]),
            *(nf.layer("Conv1D", name, "in", padding="same", use_bias=False) for name in kernels),
            nf.layer(how, "m", "a", "b"),
            nf.layer("Flatten", "flat", "m"),
            nf.layer("Dense", "d", "flat", use_bias=False),
        ]
        groups = {name: {f"{name}/kernel": kernel} for name, kernel in kernels.items()} | {"d": {"d/kernel": weight}}
        net = load_network(nf.keras_h5(tmp_path / "net.h5", nf.model("m", layers, ["in"], ["d"]), groups))
        np.testing.assert_allclose(net(x)[0], value.T.ravel() @ weight, atol=1e-5)
        nf.check_mutants(net, x, 0, 11)


def test_keras_inputs_that_are_no_sequences(tmp_path: Path) -> None:
    for shape in ([4, 30], [30, 4, 1], [120], [30, 5]):
        layers = [nf.layer("InputLayer", "in", batch_shape=[None, *shape]), nf.layer("Flatten", "f", "in")]
        path = nf.keras_h5(tmp_path / "net.h5", nf.model("m", layers, ["in"], ["f"]), {"f": {"f/x": np.zeros(1)}})
        with pytest.raises(InputError, match=r"layer 'in', the input, has shape \(.*\), but a sequence's is \(L, 4\)"):
            load_network(path)


def test_a_sequential_model_without_an_input_layer(tmp_path: Path) -> None:
    rng = np.random.default_rng(27)
    kernel = rng.normal(size=(3, 4, 3)).astype(np.float32)
    layers = [
        {"class_name": "Conv1D", "config": {"name": "c", "batch_input_shape": [None, 9, 4], "use_bias": False}},
        {"class_name": "GlobalMaxPooling1D", "config": {"name": "top"}},
    ]
    path = tmp_path / "net.h5"
    for config in ({"name": "s", "layers": layers}, layers):
        nf.keras_h5(path, {"class_name": "Sequential", "config": config}, {"c": {"c/kernel": kernel}})
        net = load_network(path)
        assert net.length == 9
        x = nf.some(rng, 1, 9)
        np.testing.assert_allclose(net(x)[0], nf.conv(x[0], kernel.transpose(2, 1, 0), np.zeros(3)).max(1), atol=1e-6)
    for odd in ({"layers": [3]}, {"layers": [{"class_name": "Conv1D"}]}, 5):
        nf.keras_h5(path, {"class_name": "Sequential", "config": odd}, {"c": {"c/kernel": kernel}})
        with pytest.raises(InputError, match=r"net\.h5: this configuration is not one that Keras writes"):
            load_network(path)


# PyTorch
@pytest.mark.data
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the networks of mmsplice are not part of the repository")
def test_mmsplice_files_give_what_keras_gives() -> None:
    folder = WEIGHTS
    answers = json.loads((folder / "answers.json").read_text())
    for name in ("Donor", "Acceptor"):
        for one in answers[name]:
            net = load_network(folder / f"{name}.h5")
            np.testing.assert_allclose(net(one_hot(one["seq"]))[0, 0], one["keras"], atol=1e-6)
    exon = load_network(folder / "Exon.h5")
    x = one_hot("ACGTTGCAAC" * 6)
    ends = np.pad(x, ((0, 0), (0, 0), (7, 7)))
    inner = exon(ends) - exon(np.pad(x, ((0, 0), (0, 0), (9, 9))))
    np.testing.assert_allclose(inner, 0, atol=1e-6)  # positions without a base do not count
    nf.check_mutants(exon, x, 10, 30)
