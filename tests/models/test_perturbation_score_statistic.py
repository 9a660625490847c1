"""The neural statistic: its graph against loops in NumPy, backends against each other, samplers, metrics, simulator."""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genarium import InputError
from genarium.declaration import Array
from genarium.engines.blackjax import double_precision
from genarium.models.perturbation_score import statistic as net
from genarium.models.perturbation_score.statistic import metrics, network, samplers, steps
from genarium.models.perturbation_score.statistic.network import Size

SMALL = Size(genes=7, features=3, states=4, programs=3, token=2, values=5, width=6)


def some_weights(size: Size, dtype: str = "float64") -> dict[str, Array]:
    rng = np.random.default_rng(3)
    starting = network.initial(size, rng, dtype)
    return {name: np.asarray(v + 0.1 * rng.normal(size=v.shape), dtype=dtype) for name, v in starting.items()}


def some_batch(size: Size, dtype: str = "float64") -> dict[str, Array]:
    rng = np.random.default_rng(4)
    average = np.zeros((2, 6))
    average[0, :2], average[1, 2:5] = 1 / 2, 1 / 3
    target = rng.dirichlet(np.ones(size.states), 4)
    return {
        "cells": rng.normal(size=(9, size.genes)).astype(dtype),
        "index": np.array([8, 1, 5, 5, 0, 0]),
        "average": average.astype(dtype),
        "features": rng.normal(size=(2, size.features)).astype(dtype),
        "target": target.astype(dtype),
        "truth": rng.uniform(0, 2, (2, 4)).astype(dtype),
    }


def naive_softmax(x: Array) -> Array:
    return np.asarray(np.exp(x) / np.exp(x).sum())


def naive_losses(
    w: Mapping[str, Array], data: Mapping[str, Array], size: Size, recognition: str
) -> tuple[float, float]:
    """The two losses by loops, from the card's equations (11) to (16)."""
    m, B = size.programs, len(data["average"])
    s = np.zeros((B, m))
    for b in range(B):
        z = np.zeros(m)
        for j in range(m):
            for row, weight in zip(data["index"], data["average"][b], strict=True):
                z[j] += weight * np.tanh(data["cells"][row] @ w["f_weight"][:, j] + w["f_bias"][j])
        token = np.array([w["g_id"][j] + z[j] * w["g_value"][j] for j in range(m)])
        for j in range(m):
            scores = [(token[j] @ w["g_query"]) @ (token[i] @ w["g_key"]) / np.sqrt(size.token) for i in range(m)]
            attention = naive_softmax(np.array(scores))
            mixed = sum(attention[i] * (token[i] @ w["g_vector"]) for i in range(m))
            s[b, j] = z[j] + mixed @ w["g_out"] + w["g_bias"][j]
    error = 0.0
    for b in range(B):
        for j, Q in enumerate(data["target"]):
            hidden = np.tanh(Q @ w["h_weight"] + w["h_bias"])
            keys = (hidden @ w["h_keys"] + w["h_keys_bias"]).reshape(size.values, m)
            values = hidden @ w["h_values"] + w["h_values_bias"]
            mixed = naive_softmax(keys @ s[b] / np.sqrt(m)) * values
            y = np.tanh(mixed @ w["h_mix"] + w["h_mix_bias"]) @ w["h_out"] + w["h_out_bias"]
            error += (size.out_max / (1 + np.exp(-y)) - data["truth"][b, j]) ** 2
    told = np.tanh(data["features"] @ w["t_weight"] + w["t_bias"]) @ w["t_out"] + w["t_out_bias"]
    recognised = ((told - s) ** 2).sum(1).mean()
    if recognition != "raw":
        recognised /= s.var(0).sum() + 1e-8
    return error / data["truth"].size, float(recognised)


def test_losses_of_pairs_are_those_of_loops() -> None:
    """Stability (16b) and ranking (16c) of two samples of three perturbations."""
    import pytensor

    rng = np.random.default_rng(7)
    w = some_weights(SMALL)
    data = some_batch(SMALL) | {
        "index": np.arange(6),
        "average": np.eye(6),
        "features": rng.normal(size=(6, SMALL.features)),
        "truth": np.tile(rng.uniform(0, 2, (3, 4)), (2, 1)),
    }
    weights, inputs = network.symbols(SMALL, "float64")
    s = network.summary(weights, inputs["cells"][inputs["index"]], inputs["average"], SMALL)
    told = network.distance(weights, s, inputs["target"], SMALL)
    outputs = [*network.losses(weights, inputs, SMALL, "normalised", paired=True), s, told]
    function = pytensor.function([*weights.values(), *inputs.values()], outputs, mode="FAST_COMPILE")
    _, _, unsteady, misranked, S, d = function(*w.values(), *(data[name] for name in network.BATCH))
    middle = (S[:3] + S[3:]) / 2
    expected = sum(((S[b] - S[b + 3]) ** 2).sum() for b in range(3)) / 3 / (2 * middle.var(0).sum())
    assert float(unsteady) == pytest.approx(expected, rel=1e-6)
    total = weight = 0.0
    for j in range(4):
        for a in range(6):
            for b in range(6):
                apart = data["truth"][a, j] - data["truth"][b, j]
                total += abs(apart) * np.log1p(np.exp(-(d[a, j] - d[b, j]) * np.sign(apart) / 0.1))
                weight += abs(apart)
    assert float(misranked) == pytest.approx(total / weight, rel=1e-6)


def test_two_samples_of_a_perturbation_share_no_cell() -> None:
    one, _ = net.simulate(net.World(perturbations=6, genes=5, cells=20), np.random.default_rng(0))
    index, average = samplers.draw_pairs(one, np.arange(6), np.full(6, 4), 5, np.random.default_rng(1))
    for b in range(6):
        first, second = (set(index[average[row] > 0].tolist()) for row in (b, b + 6))
        assert len(first) == len(second) == 4
        assert not first & second
        assert all(one.first[b] <= cell < one.first[b + 1] for cell in first | second)
    np.testing.assert_allclose(average.sum(1), 1)


@cache
def python_function(recognition: str, dtype: str = "float64") -> Any:
    return steps.slopes_of(SMALL, recognition, (0.1, 0.0, 0.0), dtype, "FAST_COMPILE")


@pytest.mark.parametrize(
    "recognition", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("apart", "raw")), "normalised"]
)
def test_losses_are_those_of_loops(recognition: str) -> None:
    w, data = some_weights(SMALL), some_batch(SMALL)
    fit, recognised, *_ = python_function(recognition)(*w.values(), *data.values())
    assert list(data) == list(network.BATCH)
    expected = naive_losses(w, data, SMALL, recognition)
    np.testing.assert_allclose([fit, recognised], expected, rtol=1e-10)


def run_python(recognition: str) -> list[Array]:
    w, data = some_weights(SMALL), some_batch(SMALL)
    return list(python_function(recognition)(*w.values(), *data.values()))


def run_numba(recognition: str) -> list[Array]:
    w, data = some_weights(SMALL), some_batch(SMALL)
    return list(steps.slopes_of(SMALL, recognition, (0.1, 0.0, 0.0), "float64", "NUMBA")(*w.values(), *data.values()))


def run_jax(recognition: str) -> list[Array]:
    jax = pytest.importorskip("jax", reason="needs the extra `jax`")
    w, data = some_weights(SMALL), some_batch(SMALL)
    with double_precision():
        found = jax.jit(steps.lower(SMALL, recognition, (0.1, 0.0, 0.0), "float64", (6, 2, 4)))(
            *w.values(), *data.values()
        )
        return [np.asarray(value) for value in found]


RUNS = {"python": run_python, "jax": run_jax, "numba": run_numba}
BACKENDS = [name if name != "numba" else pytest.param(name, marks=pytest.mark.slow) for name in steps.STEPPERS]


@cache
def finite_differences(recognition: str) -> list[tuple[Array, float]]:
    """A direction for each of the weights, and the slope along it of the loss by loops.

    A recognition that stands apart bends nothing but T: the slope by every other weight is that of the distance alone.
    """
    w, data = some_weights(SMALL), some_batch(SMALL)
    rng, h, out = np.random.default_rng(5), 1e-5, []
    for name, value in w.items():
        way = rng.normal(size=value.shape)
        weight = 0.0 if recognition == "apart" and not name.startswith("t_") else 0.1
        up, down = (naive_losses({**w, name: value + s * h * way}, data, SMALL, recognition) for s in (1, -1))
        out.append((way, (up[0] - down[0] + weight * (up[1] - down[1])) / 2 / h))
    return out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "recognition",
    [pytest.param("apart", marks=pytest.mark.slow), pytest.param("raw", marks=pytest.mark.slow), "normalised"],
)
def test_gradient_by_finite_differences(recognition: str, backend: str) -> None:
    slopes = RUNS[backend](recognition)[2:]
    for name, slope, (way, expected) in zip(some_weights(SMALL), slopes, finite_differences(recognition), strict=True):
        assert float((slope * way).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-8), name
        assert slope.shape == way.shape


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.slow
def test_jax_has_the_same_losses(dtype: str, tolerance: float) -> None:
    jax = pytest.importorskip("jax", reason="needs the extra `jax`")
    w, data = some_weights(SMALL, dtype), some_batch(SMALL, dtype)
    with double_precision():
        found = jax.jit(steps.lower(SMALL, "normalised", (0.1, 0.0, 0.0), dtype, (6, 2, 4)))(
            *w.values(), *data.values()
        )
    expected = naive_losses(some_weights(SMALL), some_batch(SMALL), SMALL, "normalised")
    np.testing.assert_allclose([float(part) for part in found[:2]], expected, rtol=tolerance)
    assert {str(value.dtype) for value in found} == {dtype}


@pytest.mark.slow
def test_numba_has_the_same_losses() -> None:
    w, data = some_weights(SMALL, "float32"), some_batch(SMALL, "float32")
    expected = naive_losses(some_weights(SMALL), some_batch(SMALL), SMALL, "normalised")
    found = steps.slopes_of(SMALL, "normalised", (0.1, 0.0, 0.0), "float32", "NUMBA")(*w.values(), *data.values())
    np.testing.assert_allclose([float(part) for part in found[:2]], expected, rtol=1e-5)


# Samplers


@cache
def world() -> tuple[net.Screen, net.Truth]:
    return net.simulate(net.World(perturbations=40, genes=60, cells=60, marker_sd=1.0), np.random.default_rng(7))


def test_splits_are_of_genes_and_disjoint() -> None:
    parts = net.split(50, np.random.default_rng(8))
    assert [len(part) for part in parts] == [30, 10, 10]
    assert sorted(np.concatenate(parts)) == list(range(50))


def test_a_batch_averages_cells_of_its_own_perturbations() -> None:
    screen, _ = world()
    settings = net.preset("normalised", steps=8, batch=5, targets=3)
    rows = np.arange(10, 30)
    owner = np.repeat(np.arange(40), screen.numbers)
    most = []
    for step in range(8):
        data = samplers.batch(screen, rows, settings, step, np.random.default_rng(step))
        assert data["average"].shape == (5, 5 * 40)
        np.testing.assert_allclose(data["average"].sum(1), 1, rtol=1e-6)
        np.testing.assert_allclose(data["target"].sum(1), 1, rtol=1e-6)
        assert not data["average"].reshape(5, 5, 40)[~np.eye(5, dtype=bool)].any()
        for b in range(5):
            used = data["index"][data["average"][b] > 0]
            assert len(set(used)) == len(used)
            (perturbation,) = set(owner[used])
            assert perturbation in rows
            np.testing.assert_allclose(data["features"][b], screen.features[perturbation], rtol=1e-6)
            expected = np.abs(screen.share[perturbation] - data["target"]).sum(1)
            np.testing.assert_allclose(data["truth"][b], expected, rtol=1e-5)
        most.append(int((data["average"] > 0).sum(1).max()))
    for stage, limit in enumerate((40, 30, 20, 10)):
        assert max(most[2 * stage : 2 * stage + 2]) <= limit


def test_targets_are_near_training_rows() -> None:
    share = np.eye(3)
    target = samplers.draw_targets(share, 500, 0.1, np.random.default_rng(9))
    np.testing.assert_allclose(target.sum(1), 1)
    assert (target.max(1) > 1 / 1.3 - 1e-12).all()
    assert len(set(target.argmax(1))) == 3


def test_the_baseline_always_sees_sixty_cells() -> None:
    screen, _ = world()
    able = np.flatnonzero(screen.numbers >= 60)
    data = samplers.batch(screen, able, net.preset("seed_baseline", batch=4), 0, np.random.default_rng(1))
    assert ((data["average"] > 0).sum(1) == 60).all()


def test_cells_are_grouped_by_condition() -> None:
    import pandas as pd

    counts = np.array([[1, 3], [8, 0], [2, 2], [0, 5]])
    features = pd.DataFrame([[1.0], [2.0]], index=["B", "A"])
    screen = net.screen(counts, ["B", "A", "B", "B"], ["x", "y", "y", "x"], features)
    assert screen.names.tolist() == ["A", "B"]
    assert screen.first.tolist() == [0, 1, 4]
    np.testing.assert_allclose(screen.share, np.array([[0, 1], [2 / 3, 1 / 3]]))
    np.testing.assert_allclose(screen.features, [[2], [1]])
    np.testing.assert_allclose(screen.cells[1], np.log1p([2500, 7500]), rtol=1e-6)
    assert screen.state.tolist() == [1, 0, 1, 0]
    reordered = net.screen(counts, ["B", "A", "B", "B"], ["x", "y", "y", "x"], features, states=["y", "x"])
    np.testing.assert_allclose(reordered.share, np.array([[1, 0], [1 / 3, 2 / 3]]))
    clusters = net.screen(counts, ["B", "A", "B", "B"], ["10", "2", "2", "10"], features)
    assert clusters.states == ("2", "10")
    ordered = pd.Categorical(["x", "y", "y", "x"], categories=["y", "x"])
    assert net.screen(counts, ["B", "A", "B", "B"], ordered, features).states == ("y", "x")
    with pytest.raises(InputError, match="the states are x: two different ones or more are needed"):
        net.screen(counts, ["B", "A", "B", "B"], ["x", "x", "x", "x"], features)
    with pytest.raises(InputError, match="the state 'y' is none of x"):
        net.screen(counts, ["B", "A", "B", "B"], ["x", "y", "y", "x"], features, states=["x"])
    with pytest.raises(InputError, match="there are no features for C"):
        net.screen(counts, ["B", "A", "B", "C"], ["x", "y", "y", "x"], features)
    with pytest.raises(InputError, match="4 cells, 3 conditions"):
        net.screen(counts, ["B", "A", "B"], ["x", "y", "y", "x"], features)


def test_features_of_the_control_are_zero_unless_given() -> None:
    import pandas as pd

    counts, labels, state = np.array([[1, 3], [8, 0], [2, 2]]), ["B", "Unperturbed", "B"], ["x", "y", "x"]
    features = pd.DataFrame([[1.0, 2.0]], index=["B"])
    with pytest.raises(InputError, match="no features for Unperturbed"):
        net.screen(counts, labels, state, features)
    screen = net.screen(counts, labels, state, features, control="Unperturbed")
    assert screen.names.tolist() == ["B", "Unperturbed"]
    assert screen.features.tolist() == [[1, 2], [0, 0]]
    given = pd.concat([features, pd.DataFrame([[5.0, 6.0]], index=["Unperturbed"])])
    assert net.screen(counts, labels, state, given, control="Unperturbed").features.tolist() == [[1, 2], [5, 6]]
    with pytest.raises(InputError, match=r"no control 'unperturbed'. Did you mean 'Unperturbed'"):
        net.screen(counts, labels, state, given, control="unperturbed")


@pytest.mark.parametrize("missing", [None, np.nan])
def test_every_cell_of_a_screen_needs_its_labels(missing: Any) -> None:
    import pandas as pd

    counts, features = np.ones((3, 2), dtype=int), pd.DataFrame([[1.0], [2.0]], index=["A", "B"])
    bad, good = ["x", missing, "y"], ["A", "B", "A"]
    for labels in (bad, pd.Series(bad), pd.Categorical(bad)):
        with pytest.raises(InputError, match=r"state\[1\] is missing \(1 such cells\). Label it, or drop the cell"):
            net.screen(counts, good, labels, features)
    with pytest.raises(InputError, match=r"condition\[1\] is missing"):
        net.screen(counts, ["A", missing, "B"], ["x", "x", "y"], features)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[1.0, np.nan]], "cell 0, gene 1 is nan"),
        ([[1, -2]], "cell 0, gene 1 is -2, but .* not below zero"),
        ([[1, 2], [0, 0.7]], "cell 1, gene 1 is 0.7, but .* whole numbers.*Pass raw counts"),
        ([[1, 1], [0, 0]], "cell 1 has no"),
    ],
)
def test_bad_expression(counts: Any, message: str, sparse: bool) -> None:
    from scipy.sparse import csr_array

    with pytest.raises(InputError, match=message):
        net.normalise(csr_array(np.array(counts)) if sparse else np.array(counts))


def test_a_bad_count_is_named_by_the_callers_position() -> None:
    import pandas as pd

    features = pd.DataFrame([[1.0], [2.0]], index=["A", "B"])
    with pytest.raises(InputError, match=r"cell 0, gene 1 is 0\.5"):  # B's, which is sorted behind A's
        net.screen(np.array([[1, 0.5], [1, 1]]), ["B", "A"], ["x", "y"], features)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("normalized", {}, "there is no preset 'normalized'. Did you mean 'normalised'"),
        ("normalised", {"step": 3}, "there is no setting 'step'. Did you mean 'steps'"),
        ("normalised", {"recognition": "l2"}, "there is no recognition 'l2'"),
        ("normalised", {"cells": (1,)}, "must be two or more"),
    ],
)
def test_bad_presets(name: str, changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        net.preset(name, **changes)


def test_a_screen_takes_any_matrix_and_names_what_it_cannot_take() -> None:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import coo_array

    counts, labels, kinds = np.array([[1, 3], [8, 0], [2, 2]]), ["B", "A", "B"], ["x", "y", "y"]
    features = pd.DataFrame([[1.0], [2.0]], index=["B", "A"])
    expected = net.screen(counts, labels, kinds, features).cells
    for given in (coo_array(counts), pd.DataFrame(counts), counts.tolist()):
        np.testing.assert_array_equal(net.screen(given, labels, kinds, features).cells, expected)
    with pytest.raises(InputError, match=r"counts is an AnnData.*adata\.X"):
        net.screen(AnnData(counts.astype(float)), labels, kinds, features)
    with pytest.raises(InputError, match="counts is a list of shape"):
        net.screen([["a", "b"]] * 3, labels, kinds, features)
    for odd in (None, np.ones((2, 1)), {"A": [1.0]}):
        with pytest.raises(InputError, match=rf"features is a {type(odd).__name__}\. Give a DataFrame"):
            net.screen(counts, labels, kinds, odd)
    with pytest.raises(InputError, match="feature 0 of 'A' is infinite"):
        net.screen(counts, labels, kinds, features.replace(2.0, np.inf))
    with pytest.raises(InputError, match=r"feature 0 holds .*, not numbers"):
        net.screen(counts, labels, kinds, features.astype(str))


def test_another_screen_is_aligned_by_the_names_of_genes_and_states() -> None:
    import pandas as pd

    rng = np.random.default_rng(31)
    counts = pd.DataFrame(rng.integers(1, 9, (6, 4)), columns=list("abcd"))
    labels, kinds = ["A", "B"] * 3, ["x", "y", "z", "x", "x", "z"]
    features = pd.DataFrame([[1.0], [2.0]], index=["A", "B"])
    first = net.screen(counts, labels, kinds, features)
    moved = net.screen(counts[list("cadb")], labels, kinds, features, states=["z", "x", "y"])
    assert (moved.genes, moved.states) == (tuple("cadb"), ("z", "x", "y"))
    back = net.aligned(moved, first.genes, first.states)
    for name in ("cells", "share", "state"):
        np.testing.assert_allclose(getattr(back, name), getattr(first, name), rtol=1e-6)
    with pytest.raises(InputError, match="lacks 1 of the 4 genes that the statistic was trained on: d"):
        net.aligned(net.screen(counts[list("abc")], labels, kinds, features), first.genes, first.states)
    with pytest.raises(InputError, match=r"lacks 1 of the 3 states .*: z"):
        net.aligned(net.screen(counts, labels, ["x", "y"] * 3, features), first.genes, first.states)
    with pytest.raises(InputError, match="not trained on the state 'z'"):
        net.aligned(first, first.genes, ("x", "y"))


# Training


@pytest.mark.slow
def test_training_learns_the_distance_and_a_seed_decides_it() -> None:
    screen, _ = world()
    rows = np.arange(30)
    few: dict[str, Any] = {"backend": "python", "steps": 80, "batch": 8, "targets": 8, "rate": 1e-2, "cells": (20,)}
    once, again = (net.train(screen, rows, np.random.default_rng(1), **few) for _ in range(2))
    np.testing.assert_array_equal(once.losses, again.losses)
    assert once.losses[-30:, 0].mean() < 0.5 * once.losses[:3, 0].mean()
    assert once.losses[-30:, 1].mean() < 0.5 * once.losses[:3, 1].mean()
    targets = samplers.draw_targets(screen.share[rows], 20, 0.1, np.random.default_rng(2))
    s = once.summarise(screen.cells[screen.rows(3)], metrics.full(screen, 3))
    assert s.shape == (1, 10)
    assert ((once.distance(s, targets) > 0) & (once.distance(s, targets) < 2)).all()


@pytest.mark.parametrize(
    ("wide", "name"),
    [
        *(pytest.param(wide, "normalised", marks=pytest.mark.slow) for wide in (True, False)),
        pytest.param(True, "seed_baseline", marks=pytest.mark.slow),
    ],
    ids=["64 bits", "32 bits", "apart"],
)
def test_jax_trains_as_python_does_whatever_its_setting(wide: bool, name: str) -> None:
    """Constants take JAX's setting at the time when the graph is lowered."""
    pytest.importorskip("optax", reason="needs the extra `jax`")
    screen, _ = world()
    few: dict[str, Any] = {"name": name, "steps": 8, "batch": 4, "targets": 4, "dtype": "float64", "cells": (6,)}
    expected = net.train(screen, np.arange(30), np.random.default_rng(1), backend="python", **few)
    steps.jax_step.cache_clear()
    with importlib.import_module("jax").enable_x64(wide):
        found = net.train(screen, np.arange(30), np.random.default_rng(1), backend="jax", **few)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-9)
    for weight, value in expected.weights.items():
        np.testing.assert_allclose(found.weights[weight], value, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_a_statistic_whose_recognition_stands_apart_does_not_depend_on_its_weight() -> None:
    screen, _ = world()
    few: dict[str, Any] = {"steps": 6, "batch": 4, "targets": 4, "dtype": "float64", "cells": (6,)}
    found = {
        (name, weight): net.train(
            screen, np.arange(30), np.random.default_rng(1), name=name, backend="python", weight=weight, **few
        ).weights["f_weight"]
        for name in ("seed_baseline", "normalised")
        for weight in (0.1, 10.0)
    }
    np.testing.assert_array_equal(found["seed_baseline", 0.1], found["seed_baseline", 10.0])
    assert np.abs(found["normalised", 0.1] - found["normalised", 10.0]).max() > 1e-4


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optax", None)
    screen, _ = world()
    with pytest.raises(InputError, match=r"pip install 'genarium\[jax\]'"):
        net.train(screen, np.arange(5), np.random.default_rng(1), backend="jax", steps=2)
    with pytest.raises(InputError, match="there is no backend 'torch'"):
        net.train(screen, np.arange(5), np.random.default_rng(1), backend="torch")
    with pytest.raises(InputError, match=r"rng=1 is no generator"):
        net.train(screen, np.arange(5), 1)  # type: ignore[arg-type]
    for rows, odd in (([0, 40], "40"), ([-1, 3], "-1"), (["gene1", "gene2"], r"\['gene1', 'gene2'\]")):
        with pytest.raises(InputError, match=f"rows: {odd} is no position"):
            net.train(screen, np.array(rows), np.random.default_rng(1))
    for changes, said in (
        ({"steps": "5"}, "steps='5' must be of the kind of its default, 2000"),
        ({"size": {"program": 3}}, "there is no size 'program'. Did you mean 'programs'"),
        ({"size": {"programs": 0}}, "size programs=0 must be a whole number"),
    ):
        with pytest.raises(InputError, match=said):
            net.train(screen, np.arange(5), np.random.default_rng(1), **changes)
    with pytest.raises(InputError, match="a perturbation is there twice"):
        net.train(screen, np.array([1, 1, 2]), np.random.default_rng(1))
    with pytest.raises(InputError, match="ndarray is no screen"):
        net.train(screen.cells, np.arange(5), np.random.default_rng(1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 training perturbations are too few"):
        net.train(screen, np.arange(1), np.random.default_rng(1))


@pytest.mark.slow
def test_evaluation_holds_its_baselines() -> None:
    screen, truth = world()
    parts = net.split(40, np.random.default_rng(3))
    few: dict[str, Any] = {"backend": "python", "steps": 20, "batch": 8, "cells": (10,)}
    trained = net.train(screen, parts[0], np.random.default_rng(1), **few)
    found = net.evaluate(trained, screen, parts, np.random.default_rng(2), truth, numbers=(2, 20), repeats=2)
    assert found["mse_oracle_20"] < found["mse_oracle_2"]
    assert found["mse_ideal_features"] < found["mse_q_only"] < found["mse_training_mean"]
    for name in ("2", "features", "ideal_features"):
        assert found[f"skill_{name}"] == pytest.approx(1 - found[f"mse_{name}"] / found["mse_q_only"])
    assert all(np.isfinite(value) for value in found.values())
    for name in ("ridge", "classifier"):  # simple rivals that see the same cells
        assert found[f"mse_{name}_20"] < found[f"mse_{name}_2"]
    assert found["mse_classifier_20"] < found["mse_q_only"]
    assert found["icc_pca_20"] > found["icc_pca_2"]


# Metrics


def test_overlap_curve_by_hand() -> None:
    truth = [4, 3, 2, 1]
    np.testing.assert_allclose(net.overlap_curve(truth, truth), 1)
    np.testing.assert_allclose(net.overlap_curve([1, 2, 3, 4], truth), [0, 0, 2 / 3, 1])
    np.testing.assert_allclose(net.overlap_curve([3, 4, 2, 1], truth), [0, 1, 1, 1])
    assert net.overlap_area(net.overlap_curve(truth, truth)) == pytest.approx(1)
    rng = np.random.default_rng(10)
    areas = [net.overlap_area(net.overlap_curve(rng.normal(size=30), rng.normal(size=30))) for _ in range(400)]
    assert abs(np.mean(areas)) < 4 * np.std(areas) / np.sqrt(400)
    with pytest.raises(InputError, match="cannot be compared"):
        net.overlap_curve([1, 2], [1, 2, 3])


def test_objectives_by_hand() -> None:
    q = np.array([[0.3, 0.2, 0.1, 0.4, 0.0], [0.5, 0.2, 0.22, 0.04, 0.04]])
    value, allowed = net.objective_a(q)
    assert value.tolist() == [0.3, 0.5]
    assert allowed.tolist() == [True, False]
    value, allowed = net.objective_b(q, [0.1, 0.2, 0.2, 0.4, 0.1])
    np.testing.assert_allclose(value, [3 + 1 - 0.5 + 1, 5 + 1 - 1.1 + 0.1])
    assert allowed.tolist() == [True, False]
    assert float(net.objective_b(net.CONTROL)[0]) == pytest.approx(2)
    with pytest.raises(InputError, match="five states"):
        net.objective_a([0.5, 0.5])


def test_reliability_of_known_variances() -> None:
    """Between 3, within 1: three quarters; the estimate's sd is about (1 - .75²) / sqrt(4000)."""
    rng = np.random.default_rng(11)
    level = np.sqrt(3) * rng.normal(size=(4000, 2))
    repeated = level + rng.normal(size=(2, 4000, 2))
    assert metrics.reliability(repeated) == pytest.approx(0.75, abs=4 * (1 - 0.75**2) / np.sqrt(4000))
    assert abs(metrics.reliability(rng.normal(size=(2, 4000, 1)))) < 4 / np.sqrt(4000)


def test_small_metrics() -> None:
    assert float(metrics.skill(0.1, 0.4)) == pytest.approx(0.75)
    assert metrics.recognition(np.array([[1.0], [3.0]]), np.array([[1.0], [3.0]])) == 1
    assert metrics.recognition(np.full((2, 1), 2.0), np.array([[1.0], [3.0]])) == 0
    assert metrics.coverage([0, 0], [1, 1], [0.5, 2]) == 0.5


# The benchmark

BENCHMARK = Path(__file__).parents[2] / "validation" / "benchmarks" / "perturbation_score.py"


@pytest.mark.skipif(not BENCHMARK.is_file(), reason="benchmarks are not part of the installed package")
def test_replicates_of_other_code_or_another_backend_are_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_of_perturbation_score", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    measured = dict.fromkeys(("mse_2", "mse_10", "mse_60", "mse_features", "icc_10", "recognition_r2"), 1.0)
    runs: list[str] = []

    def one_seed(seed: int, perturbations: int, steps: int, backend: str) -> dict[str, dict[str, float]]:
        runs.append(backend)
        return dict.fromkeys(net.PRESETS, measured)

    monkeypatch.setattr(benchmark, "one_seed", one_seed)
    keep = tmp_path / "claims.json"
    for backend in ("jax", "jax", "numba", "jax"):
        benchmark.claims(2, 20, 5, backend, keep)
    assert runs == ["jax"] * 2 + ["numba"] * 2
    for sources in ("digest", "digest_of"):  # of the model, and of the network beside it
        monkeypatch.setattr(benchmark, sources, lambda _: "other")
        benchmark.claims(2, 20, 5, "jax", keep)
    assert runs[4:] == ["jax"] * 4


# The simulator


def test_simulated_shares_lie_as_far_apart_as_real_ones() -> None:
    """Mean pairwise l1 of .57, over 30 worlds whose own means have sd .08."""
    found = []
    for seed in range(30):
        few = net.World(perturbations=60, genes=2, cells=1)
        q = net.simulate(few, np.random.default_rng(seed))[1].share
        found.append(np.abs(q[:, None] - q[None]).sum(-1)[np.triu_indices(60, 1)].mean())
    assert abs(np.mean(found) - 0.57) < 4 * np.std(found) / np.sqrt(30)


def test_features_explain_what_rho_says() -> None:
    for rho in (0.0, 0.6):
        truth = net.simulate(net.World(perturbations=3000, genes=2, cells=1, rho=rho), np.random.default_rng(12))[1]
        explained = (truth.predictable**2).mean()
        assert explained == pytest.approx(rho, abs=1e-9)
        assert (truth.program**2).mean() == pytest.approx(1, abs=4 * np.sqrt(2 / 18_000))


def test_cells_have_their_perturbations_states() -> None:
    screen, truth = net.simulate(
        net.World(perturbations=4, genes=2, cells=8000, evenness=1e6), np.random.default_rng(13)
    )
    for p in range(4):
        seen = np.bincount(screen.state[screen.rows(p)], minlength=5) / screen.numbers[p]
        error = np.sqrt(truth.share[p] * (1 - truth.share[p]) / screen.numbers[p])
        assert (np.abs(seen - truth.share[p]) < 4.5 * error + 1e-9).all()


def test_escaping_cells_are_as_the_controls() -> None:
    screen, truth = net.simulate(net.World(perturbations=2, genes=2, cells=9000, escape=0.5), np.random.default_rng(14))
    assert truth.escaped.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(truth.escaped)))
    seen = np.bincount(screen.state[truth.escaped], minlength=5) / truth.escaped.sum()
    error = np.sqrt(np.array(net.CONTROL) / truth.escaped.sum())
    assert (np.abs(seen - net.CONTROL) < 4.5 * error).all()


def test_growth_couples_cell_numbers_to_a_program() -> None:
    from scipy.stats import spearmanr

    for growth, least, most in ((0.0, -0.2, 0.2), (1.0, 0.6, 1.0)):
        few = net.World(perturbations=400, genes=2, cells=50, growth=growth)
        screen, truth = net.simulate(few, np.random.default_rng(15))
        assert least < spearmanr(screen.numbers, truth.program[:, 0]).statistic < most


def test_lanes_shift_expression() -> None:
    base = net.World(perturbations=5, genes=40, cells=200, marker_frac=0.0)
    for lanes, lane_sd, apart in ((1, 0.5, False), (2, 0.5, True)):
        screen, truth = net.simulate(replace(base, lanes=lanes, lane_sd=lane_sd), np.random.default_rng(16))
        assert set(truth.lane) == set(range(lanes))
        half = truth.lane == 0 if lanes == 2 else np.arange(len(truth.lane)) % 2 == 0
        difference = screen.cells[half].mean(0) - screen.cells[~half].mean(0)
        error = screen.cells.std(0) * np.sqrt(1 / half.sum() + 1 / (~half).sum())
        assert bool((np.abs(difference) > 5 * error).any()) == apart


def test_bad_worlds() -> None:
    with pytest.raises(InputError, match=r"escape=1.5 must lie in \[0, 1\]"):
        net.World(escape=1.5)
    with pytest.raises(InputError, match="lanes=0 must be one or more"):
        net.World(lanes=0)
