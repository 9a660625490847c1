"""deep_mr against prediction from scratch, finite differences, closed forms and double loops."""

from typing import Any

import numpy as np
import pytest

from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.mendelian_randomization import divw
from genarium.models.mendelian_randomization.deep_mr import (
    Conv,
    ConvEnsemble,
    ConvNet,
    Dense,
    Scaled,
    effects,
    motifs,
    mutagenise,
    one_hot,
    simulation,
)
from genarium.models.mendelian_randomization.deep_mr.scales import logit
from genarium.models.mendelian_randomization.deep_mr.training import Plan, _codes, _gradients, train


def sequences(rng: np.random.Generator, count: int, length: int) -> Array:
    return np.eye(4)[rng.integers(0, 4, (count, length))].transpose(0, 2, 1)


def network(rng: np.random.Generator, L: int, pooling: Any, layers: tuple[tuple[int, int, int], ...]) -> ConvNet:
    """Random convolutions of (channels, width, dilation), then two dense layers."""
    convs, have = [], 4
    for i, (channels, width, dilation) in enumerate(layers):
        name: Any = ("relu", "sigmoid", "exp")[i % 3]
        weight = rng.normal(0, 0.5 / np.sqrt(width), (channels, have, width))
        convs.append(Conv(weight, rng.normal(0, 0.3, channels), name, dilation))
        have = channels
    features = have * L if pooling == "flatten" else have
    dense = [
        Dense(rng.normal(0, 0.2, (7, features)), rng.normal(size=7), "relu"),
        Dense(rng.normal(size=(2, 7)), np.ones(2)),
    ]
    return ConvNet(convs, pooling, dense)


# Mutagenesis


@pytest.mark.parametrize("pooling", ["max", "mean", "flatten"])
@pytest.mark.parametrize(
    "layers", [((5, 7, 1),), ((6, 4, 1), (3, 5, 2)), ((4, 3, 1), (5, 6, 3), (3, 2, 1)), ((3, 31, 1),)]
)
def test_receptive_fields_give_what_prediction_from_scratch_gives(pooling: Any, layers: Any) -> None:
    rng = np.random.default_rng(len(layers))
    L = 40
    ensemble = ConvEnsemble([network(rng, L, pooling, layers) for _ in range(2)])
    x = sequences(rng, 3, L)
    for start, stop in ((0, L), (0, 5), (33, 40), (17, 18)):
        fast = mutagenise(ensemble, x, start=start, stop=stop)
        slow = mutagenise(lambda batch: ensemble(batch), x, start=start, stop=stop, chunk=17)
        np.testing.assert_allclose(fast.delta, slow.delta, rtol=0, atol=1e-10)
        np.testing.assert_allclose(fast.reference, slow.reference, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(fast.alternative, slow.alternative)


def test_mutants_are_those_of_a_loop_and_identity_edits_are_skipped() -> None:
    rng = np.random.default_rng(1)
    x = sequences(rng, 2, 9)
    weight = rng.normal(size=(4, 9, 3))
    seen = 0

    def predict(batch: Array) -> Array:
        nonlocal seen
        seen += len(batch)
        return np.asarray(np.einsum("bcl,clt->bt", batch, weight) ** 2)

    found = mutagenise([predict, lambda b: 2 * predict(b)], x, start=2, stop=8, chunk=5)
    assert seen == 2 * 2 * (1 + 3 * 6)
    assert found.delta.shape == (2, 2, 3, 6, 3)
    for n in range(2):
        for w in range(6):
            base = int(x[n, :, 2 + w].argmax())
            for i, to in enumerate(b for b in range(4) if b != base):
                mutant = x[n].copy()
                mutant[:, 2 + w] = np.eye(4)[to]
                change = np.einsum("cl,clt->t", mutant, weight) ** 2 - np.einsum("cl,clt->t", x[n], weight) ** 2
                np.testing.assert_allclose(found.delta[0, n, i, w], change, rtol=1e-9, atol=1e-12)
                np.testing.assert_allclose(found.delta[1, n, i, w], 2 * change, rtol=1e-9, atol=1e-12)
                assert found.alternative[n, i, w] == to


class Sigmoids:
    """Members in float32: the exposure's log odds are linear in the sequence, the outcome's half of them."""

    def __init__(self, level: float, E: int = 5, L: int = 30) -> None:
        rng = np.random.default_rng(0)
        self.weight = rng.normal(size=(4, L)) + 0.1 * rng.normal(size=(E, 4, L))
        self.other = 0.5 * self.weight + 0.1 * rng.normal(size=(E, 4, L))
        self.level = level

    def __call__(self, x: Array) -> Array:
        odds = np.stack([np.einsum("ecl,bcl->eb", w, x) for w in (self.weight, self.other)], -1)
        odds[..., 0] += self.level
        return (1 / (1 + np.exp(-odds))).astype(np.float32)


def test_zero_and_one_are_the_last_numbers_of_their_type() -> None:
    for kind, top in ((np.float32, 24), (np.float64, 53), (np.float16, 11)):
        found = logit(np.array([0, 1 - 2.0**-top, 1], dtype=kind))
        assert found[2] == found[1] == pytest.approx(top * np.log(2), rel=1e-3)
        assert found[0] == pytest.approx(np.log(float(np.finfo(kind).tiny)), rel=1e-3)
    np.testing.assert_array_equal(logit(np.array([0, 1])), logit(np.array([0.0, 1.0])))


@pytest.mark.parametrize("listed", [False, True])
def test_saturated_substitutions_are_left_out(listed: bool) -> None:
    """Log odds of about 14, where float32 is coarse: a slope of .5 is found without what is cut off, not with it."""
    predict = Sigmoids(10.0)
    x = sequences(np.random.default_rng(1), 20, 30)
    members = [lambda s, e=e: predict(s)[e] for e in range(5)] if listed else predict
    found = mutagenise(Scaled(members, "logit"), x)
    assert found.saturated is not None
    share = found.saturated.any((0, -1)).mean()
    assert 0.05 < share < 0.9, share
    with pytest.warns(UserWarning, match=rf"{round(share * 1800)} of 1800 substitutions are left out"):
        some = effects(found, 0, 1)
    assert len(some) == 1800 - round(share * 1800)
    assert divw(some.x, some.se_x, some.y, some.se_y, covariance=some.covariance).estimate == pytest.approx(
        0.5, abs=0.01
    )
    every = effects(found, 0, 1, saturated="keep", floor=1e-3)
    assert len(every) == 1800
    cut = divw(every.x, every.se_x, every.y, every.se_y, covariance=every.covariance)
    assert abs(cut.estimate - 0.5) > 0.012
    unsaturated = mutagenise(Scaled(Sigmoids(0.0), "logit"), x[:3]).saturated
    assert unsaturated is not None
    assert not np.any(unsaturated[..., 1])
    assert mutagenise(Sigmoids(14.0), x).saturated is None
    with pytest.raises(InputError, match="saturated='hide' is not known"):
        effects(found, 0, 1, saturated="hide")
    with pytest.raises(InputError, match="predicts every substitution at a limit"):
        effects(mutagenise(Scaled(Sigmoids(99.0), "logit"), x), 0, 1)


def test_a_saturated_model_shows_its_effects_on_the_logit_scale() -> None:
    weight = np.random.default_rng(2).normal(size=(4, 12))

    def predict(batch: Array) -> Array:
        score = np.einsum("bcl,cl->b", batch, weight) + 25
        return np.stack([1 / (1 + np.exp(-score))] * 2, -1)

    x = one_hot("ACGTACGTACGT")
    plain, scaled = mutagenise(predict, x), mutagenise(Scaled(predict, "logit"), x)
    assert np.abs(plain.delta).max() < 1e-7
    base = x[0].argmax(0)
    expected = weight[scaled.alternative[0], np.arange(12)] - weight[base, np.arange(12)]
    np.testing.assert_allclose(scaled.delta[0, 0, ..., 0], expected, atol=2e-3)  # rounding of 1 - p


def test_a_single_network_is_an_ensemble_of_one() -> None:
    rng = np.random.default_rng(18)
    net, x = network(rng, 20, "max", ((4, 5, 1),)), sequences(rng, 2, 20)
    found, expected = mutagenise(net, x), mutagenise(ConvEnsemble([net]), x)
    assert found.delta.shape == (1, 2, 3, 20, 2)
    np.testing.assert_array_equal(found.delta, expected.delta)
    np.testing.assert_array_equal(mutagenise(Scaled(net, "identity"), x).delta, expected.delta)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_scales_of_counts_round_no_more_than_the_network_does(kind: type[np.floating[Any]]) -> None:
    def counts(x: Array) -> Array:  # 1,000 to 1,004, which half precision holds
        return (1000 + 2 * x[:, 0].sum(1, keepdims=True)).astype(kind)

    for scale, effect in (("log1p", np.log(1003 / 1001)), ("anscombe", 2 * np.sqrt(1002.375) - 2 * np.sqrt(1000.375))):
        found = mutagenise(Scaled(counts, scale), one_hot("CC"))
        np.testing.assert_allclose(found.delta[0, 0, 0, :, 0], effect, rtol=1e-9)


def test_a_scaled_ensemble_predicts_no_more_at_once_than_asked_for() -> None:
    most = 0

    def predict(batch: Array) -> Array:
        nonlocal most
        most = max(most, len(batch))
        return np.exp(batch[:, :2].sum(-1))

    mutagenise(Scaled(Scaled(predict, "log1p", 7), "identity", 7), sequences(np.random.default_rng(0), 1, 30))
    assert most == 7


def test_one_hot_by_hand() -> None:
    np.testing.assert_array_equal(
        one_hot("ACGTN")[0].T, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0] * 4]
    )
    assert one_hot(["acg", "TTT"]).shape == (2, 4, 3)


# The simulation


def test_occupancy_is_a_loop_over_places() -> None:
    rng = np.random.default_rng(8)
    x = sequences(rng, 2, 25)
    weight = simulation.log_odds(motifs.EXPOSURE)
    for n in range(2):
        free = 1.0
        for p in range(25 - 10 + 1):
            score = sum(weight[i, int(x[n, :, p + i].argmax())] for i in range(10))
            free *= 1 - 1 / (1 + np.exp(-score))
        assert simulation.occupancy(x, motifs.EXPOSURE)[n] == pytest.approx(1 - free, rel=1e-9)


def test_true_effect_is_that_of_the_closed_form() -> None:
    """Where both motifs are bound the effect is sqrt(beta / alpha): 1 and 3.18, the median over sequences."""
    data = simulation.simulate(np.random.default_rng(9), 600, 100, 100)
    both = np.flatnonzero(data.kind == simulation.BOTH)
    for ratio, closed in ((1.0, 1.0), (10.125, 3.18)):
        local = [simulation.local_truth(data.x[n], int(data.at[n]), 100, 100 * ratio) for n in both]
        assert np.median(local) == pytest.approx(closed, rel=0.01)


@pytest.mark.parametrize("confounding", simulation.CONFOUNDING)
def test_simulated_sequences_have_what_they_say(confounding: str) -> None:
    data = simulation.simulate(np.random.default_rng(10), 2000, 100, 300, confounding)
    np.testing.assert_array_equal(data.x.sum(1), 1)
    share = np.bincount(data.kind, minlength=4) / 2000
    np.testing.assert_allclose(share, [0.25] * 4, atol=4 * np.sqrt(0.25 * 0.75 / 2000))
    assert ((data.at >= 0) == np.isin(data.kind, (simulation.EXPOSURE, simulation.BOTH))).all()
    bound = simulation.occupancy(data.x, motifs.EXPOSURE)
    assert bound[data.at >= 0].mean() > 0.85
    assert bound[data.at < 0].mean() < 0.4
    sox = simulation.occupancy(data.x, motifs.CONFOUNDER).mean()
    assert sox > 0.75 if confounding == "sequence" else sox < 0.7
    assert data.batch.mean() == pytest.approx(0.5 if confounding == "random" else 0, abs=0.05)
    free = data.x[data.kind == simulation.NEITHER].mean((0, 2))
    if confounding != "sequence":
        np.testing.assert_allclose(free, simulation.BACKGROUND, atol=0.01)


# The network


def test_gradients_are_those_of_differences() -> None:
    rng = np.random.default_rng(11)
    k, L = 5, 12
    whole, y = sequences(rng, 7, L), rng.normal(size=(7, 2))
    whole[2, :, 4] = 0  # an unknown base
    x = np.pad(whole, ((0, 0), (0, 0), (2, 2)))
    weights = [
        rng.normal(size=s).astype(np.float32).astype(float) for s in ((4 * k, 6), (6,), (6, 5), (5,), (5, 2), (2,))
    ]

    def loss() -> float:
        W, b, U, c, V, d = weights
        total = 0.0
        for n in range(7):
            scores = np.array([np.concatenate([x[n, a, p : p + k] for a in range(4)]) @ W for p in range(L)])
            hidden = np.maximum(np.maximum(scores.max(0) + b, 0) @ U + c, 0)
            total += ((hidden @ V + d - y[n]) ** 2).mean() / 7
        return float(total)

    for w, g in zip(weights, _gradients(weights, _codes(whole, k), y), strict=True):
        for at in [tuple(rng.integers(0, s) for s in w.shape) for _ in range(4)]:
            kept = w[at]
            w[at] = kept + 1e-6
            up = loss()
            w[at] = kept - 1e-6
            slope = (up - loss()) / 2e-6
            w[at] = kept
            assert g[at] == pytest.approx(slope, rel=1e-4, abs=1e-5)  # sums in single precision


def test_training_learns_a_motif() -> None:
    rng = np.random.default_rng(12)
    data = simulation.simulate(rng, 1500, 100, 100)
    net = train(data.x, data.labels, rng, Plan(channels=8, width=12, hidden=16, epochs=12, batch=50))
    again = simulation.simulate(rng, 400, 100, 100)
    explained = 1 - ((net(again.x) - again.labels) ** 2).mean(0) / again.labels.var(0)
    assert explained[0] > 0.6
